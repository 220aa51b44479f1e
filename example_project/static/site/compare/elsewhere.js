// A page on another origin that tries to use a login of the example site. The site keeps what arrives.

const site = document.querySelector('meta[name="site"]').content;
const name = location.hash.slice(1);
const url = (path, attempt) => `${site}${path}?attempt=${name}-${attempt}`;
const attempt = (address, init) => fetch(address, init).catch(() => null);

// As any page may, without asking: the answer stays hidden, and the request is made.
await attempt(url("/api/hello/", "read"), { mode: "no-cors", credentials: "include" });
await attempt(url("/accounts/logout/", "write"), { mode: "no-cors", credentials: "include", method: "POST" });
// This one the browser asks about first, by a preflight.
await attempt(url("/api/hello/", "bearer"), { headers: { Authorization: "Bearer guessed" } });

const form = document.querySelector("form");
form.action = url("/accounts/logout/", "form");
document.querySelector("iframe").addEventListener("load", () => location.assign(url("/account/", "link")), { once: true });
form.submit();
