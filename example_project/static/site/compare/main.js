// The comparison: makes requests with a cookie and with a token, and shows what the server says of them.

import { AuthClient, memoryStorage } from "../../authmodes/client/client.js";
import { changed, decode, verify } from "./token.js";

const HELLO = "/api/hello/";
const ROUNDS = 20;
const KEPT = "compare.ends";
const { nonce, cookie: COOKIE, service, second, elsewhere, texts } = JSON.parse(
  document.getElementById("compare-data").textContent,
);
const one = (selector) => document.querySelector(selector);
const all = (selector) => document.querySelectorAll(selector);
const isRightToLeft = document.documentElement.dir === "rtl";
// Browsers do not mirror it.
const arrow = isRightToLeft ? "←" : "→";
// The digits of the server, which the codes have in every language.
const locale = `${document.documentElement.lang}-u-nu-latn`;
const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });

const storage = memoryStorage();
const clients = {
  cookie: new AuthClient({ way: "session" }),
  token: new AuthClient({ redirectUri: location.origin + location.pathname, storage }),
};
const signedIn = { cookie: true, token: false };
const firstProcess = {};
let chart = null;

// Cells

function put(name, value) {
  one(`[data-cell="${name}"]`).textContent = typeof value === "number" ? number.format(value) : value;
}

// A sign-in leaves the page, and what was tried before is to be compared with what comes after.
function keep(name, value) {
  put(name, value);
  sessionStorage.setItem(KEPT, JSON.stringify({ ...JSON.parse(sessionStorage.getItem(KEPT)), [name]: value }));
}

const yes = (value) => (value ? texts.yes : texts.no);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Requests

async function measured(way) {
  performance.clearResourceTimings();
  const response = await clients[way].fetch(HELLO, { headers: { "X-Measure": "1" }, cache: "no-store" });
  await response.text();
  return { status: response.status, took: await firstByte(), seen: JSON.parse(response.headers.get("X-Measured")) };
}

// Without the work of the page, and without the pauses of a development server within an answer.
async function firstByte() {
  for (;;) {
    const [entry] = performance.getEntriesByName(location.origin + HELLO);
    if (entry) return entry.responseStart - entry.requestStart;
    await sleep(1);
  }
}

// With this very token and nothing else, as another program would; without one, with nothing.
async function bare(access, url = HELLO) {
  const headers = access ? { Authorization: `Bearer ${access}` } : {};
  return outcome(await fetch(url, { headers, credentials: "omit" }));
}

async function outcome(response) {
  const { code } = await response.json();
  return code ? `${response.status} · ${code}` : response.status;
}

const atService = (access) => bare(access, `${service}/reports/`);

// With the same credential, before the login ends and after it.
async function showSecond(way, access) {
  if (way === "token" && !access) return;
  const headers = { "X-Measure": "1", ...(way === "token" && { Authorization: `Bearer ${access}` }) };
  const credentials = way === "token" ? "omit" : "include";
  const response = await fetch(second + HELLO, { headers, credentials, cache: "no-store" });
  const { session_key: key, authorization, process } = JSON.parse(response.headers.get("X-Measured"));
  const answer = `${await outcome(response)} · ${process.pid}`;
  const before = one(`[data-cell="second-${way}"]`).textContent;
  if (response.ok) put(`second-${way}`, answer);
  // Only the first answer after the end: the browser forgets a cookie that was refused.
  else if (!before.includes(arrow)) {
    put(`second-${way}`, `${before} ${arrow} ${key || authorization ? answer : `${texts.no_cookie} · ${answer}`}`);
  }
}

async function check(way) {
  const { access } = storage.read() ?? {};
  const answer = await measured(way);
  signedIn[way] = answer.status === 200;
  put(`now-${way}`, answer.status);
  const { pid, started_at: started } = answer.seen.process;
  firstProcess[way] ??= { pid, started };
  const first = firstProcess[way];
  const process = first.started === started ? pid : `${first.pid} ${arrow} ${pid}`;
  put(`process-${way}`, `${answer.status} · ${process}`);
  await guarded(() => showSecond(way, storage.read()?.access ?? access))();
  showState();
  return answer;
}

// Sections

async function showStored() {
  const { session_key: length } = (await measured("cookie")).seen;
  const access = storage.read()?.access;
  const has = (text) => ({ cookie: text.includes(`${COOKIE}=`), token: text.includes("eyJ") });
  const jar = has(document.cookie);
  const web = has(JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  put("readable-cookie", yes(jar.cookie || web.cookie));
  put("visible-cookie", yes(jar.cookie));
  put("web-cookie", yes(web.cookie));
  put("received-cookie", yes(length > 0));
  put("length-cookie", length);
  if (!access) return;
  const { authorization } = (await measured("token")).seen;
  put("readable-token", yes(decode(storage.read().access).payload.sid));
  put("visible-token", yes(jar.token));
  put("web-token", yes(web.token));
  put("received-token", yes(authorization > 0));
  put("length-token", storage.read().access.length);
}

async function showToken() {
  const token = storage.read()?.access;
  one('[data-part="decoded"]').hidden = !token;
  if (!token) return;
  const { raw, header, payload } = decode(token);
  for (const part of ["header", "payload", "signature"]) put(`raw-${part}`, raw[part]);
  put("header", JSON.stringify(header, null, 2));
  for (const row of all(".claims > div")) {
    const [name, value] = row.children;
    const claim = payload[name.textContent];
    row.hidden = claim === undefined;
    const isTime = ["iat", "exp", "auth_time"].includes(name.textContent);
    value.textContent = isTime ? `${claim} = ${clock.format(claim * 1000)}` : [claim].flat().join(" ");
  }
  const { keys } = await (await fetch("/auth/.well-known/jwks.json")).json();
  put("signature-valid", yes(await verify(token, keys)));
  put("signature-changed", yes(await verify(changed(token), keys)));
}

async function showCost() {
  const answers = { cookie: [], token: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const way of ["cookie", "token"]) if (signedIn[way]) answers[way].push(await measured(way));
  }
  for (const [way, list] of Object.entries(answers)) {
    if (!list.length) continue;
    const sorted = (value) => list.map(value).sort((a, b) => a - b);
    const median = (value) => sorted(value)[list.length >> 1];
    const queries = ({ seen }) => seen.queries.length;
    const { seen } = list.find((answer) => queries(answer) === median(queries));
    put(`bytes-${way}`, seen.request);
    put(`credential-${way}`, seen.cookie + seen.authorization);
    put(`queries-${way}`, median(queries));
    put(`most-${way}`, sorted(queries).at(-1));
    put(`median-${way}`, median(({ took }) => took));
    put(`server-${way}`, median((answer) => answer.seen.milliseconds));
    put(`slowest-${way}`, sorted(({ took }) => took).at(-1));
    put(`sql-${way}`, seen.queries.join("\n\n"));
  }
  draw(answers);
}

function draw(answers) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  Chart.defaults.color = colour("--muted");
  Chart.defaults.borderColor = colour("--line");
  one(".chart").hidden = false;
  chart?.destroy();
  chart = new Chart(one(".chart canvas"), {
    type: "line",
    data: {
      labels: Array.from({ length: ROUNDS }, (_, round) => round + 1),
      datasets: Object.entries(answers).map(([way, list]) => ({
        label: one(`#the-${way}`).textContent,
        data: list.map(({ took }) => took),
        borderColor: colour(`--${way}`),
        backgroundColor: colour(`--${way}`),
      })),
    },
    options: {
      animation: false,
      maintainAspectRatio: false,
      scales: {
        x: { reverse: isRightToLeft },
        y: { beginAtZero: true, position: isRightToLeft ? "right" : "left", title: { display: true, text: "ms" } },
      },
      plugins: { legend: { rtl: isRightToLeft }, tooltip: { rtl: isRightToLeft } },
    },
  });
}

async function showAttempts() {
  const seen = await (await fetch(`/compare/attempts/?nonce=${nonce}`)).json();
  for (const [name, { method, status, cookie, allowed }] of Object.entries(seen)) {
    const isRefused = method === "OPTIONS" && !allowed;
    put(name, isRefused ? texts.preflight : `${cookie ? texts.cookie : texts.no_cookie} · ${status}`);
  }
  return seen;
}

// The other page takes its time, and the link is the last thing that it tries.
async function awaitAttempts(place) {
  for (const end = Date.now() + 30_000; Date.now() < end && !(await showAttempts())[`${place}-link`]; ) {
    await sleep(500);
  }
}

async function inject() {
  const script = document.createElement("script");
  script.src = new URL("injected.js", import.meta.url);
  await new Promise((resolve) => {
    script.onload = resolve;
    document.body.append(script);
  });
  // The page goes on with its work.
  const here = { cookie: await measured("cookie"), token: await measured("token") };
  await clients.token.refresh();
  const loot = await new Promise((resolve) => {
    document.addEventListener("loot", ({ detail }) => resolve(detail), { once: true });
    document.dispatchEvent(new CustomEvent("hand-over"));
  });
  const cookie = loot.cookie.includes(`${COOKIE}=`) || loot.stored.includes(`${COOKIE}=`);
  put("took-cookie", cookie ? COOKIE : texts.none);
  const taken = [["access_token", loot.access], ["refresh_token", loot.refresh]].filter(([, value]) => value);
  put("took-token", taken.map(([name, value]) => `${name} ${value.slice(0, 12)}…`).join(", ") || texts.none);
  for (const way of ["cookie", "token"]) put(`here-${way}`, here[way].status);
  put("there-cookie", await bare(null));
  put("there-token", await bare(loot.access));

  const inline = document.createElement("script");
  inline.textContent = "window.ranInline = true";
  document.body.append(inline);
  put("inline", window.ranInline ? texts.yes : texts.blocked);
  const sent = await fetch(elsewhere, { method: "POST", mode: "no-cors" }).catch(() => null);
  put("send", sent ? texts.yes : texts.blocked);
}

// The ends of a login: do it, then present the same credential once more.

const revoke = (by, sid) => clients[by].fetch(`/auth/sessions/${sid}/`, { method: "DELETE" });

async function endToken(name, end) {
  const { access, sid } = storage.read();
  await end(sid);
  keep(name, await bare(access));
  await showSecond("token", access);
  keep("late-token", await atService(access));
}

async function endCookie(name, end) {
  await end(one('[data-cell="sid-cookie"]').textContent);
  // At the same time: either answer makes the browser forget the cookie.
  const [answer] = await Promise.all([fetch(HELLO), showSecond("cookie")]);
  keep(name, await outcome(answer));
}

const ENDS = {
  "signout-token": (name) => endToken(name, () => clients.token.signOut()),
  "revoke-token": (name) => endToken(name, (sid) => revoke("cookie", sid)),
  "signout-cookie": (name) => endCookie(name, () => clients.cookie.signOut()),
  "revoke-cookie": (name) => endCookie(name, (sid) => revoke("token", sid)),
};

async function showExpiry() {
  const { results } = await (await clients.cookie.fetch("/auth/sessions/")).json();
  const at = (time) => texts.expires.replace("{time}", clock.format(new Date(time)));
  put("expired-cookie", at(results.find((each) => each.is_current).expires_at));
  if (!signedIn.token) return;
  const { access, expiresAt } = storage.read();
  put("expired-token", at(expiresAt));
  setTimeout(
    guarded(async () => put("expired-token", await bare(access))),
    expiresAt - Date.now() + 1000,
  );
}

function showState() {
  for (const way of ["cookie", "token"]) {
    for (const button of all(`[data-needs="${way}"]`)) button.disabled = !signedIn[way];
  }
  for (const button of all('[data-needs="both"]')) button.disabled = !(signedIn.cookie && signedIn.token);
  one('[data-do="sign-in"]').hidden = signedIn.token || !signedIn.cookie;
  one('[data-part="cookie-ended"]').hidden = signedIn.cookie;
}

function guarded(action) {
  return async () => {
    try {
      await action();
    } catch (error) {
      console.error(error);
      put("notice", texts.failed);
      one('[data-cell="notice"]').hidden = false;
    }
  };
}

function onClick(name, action) {
  for (const node of all(`[data-do="${name}"]`)) {
    node.addEventListener("click", async () => {
      node.setAttribute("aria-busy", "true");
      await guarded(() => action(node))();
      node.removeAttribute("aria-busy");
    });
  }
}

async function checkAll() {
  for (const way of Object.keys(clients)) if (signedIn[way]) await check(way);
}

onClick("sign-in", () => clients.token.signIn());
onClick("measure", showCost);
onClick("inject", inject);
onClick("check", checkAll);
onClick("attempt", (link) => awaitAttempts(link.dataset.place));
for (const [name, end] of Object.entries(ENDS)) {
  onClick(name, async () => {
    await end(name);
    await checkAll();
  });
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) guarded(checkAll)();
});

await guarded(async () => {
  await clients.token.handleRedirect();
  signedIn.token = clients.token.isSignedIn;
  for (const [name, value] of Object.entries(JSON.parse(sessionStorage.getItem(KEPT)) ?? {})) put(name, value);
  put("sid-cookie", (await clients.cookie.restore()).sid);
  put("sid-token", clients.token.sid ?? "–");
  await checkAll();
  await showStored();
  await showToken();
  await showExpiry();
  put("service-cookie", await atService(null));
  if (signedIn.token) put("service-token", await atService(storage.read().access));
  await showCost();
})();
document.body.dataset.ready = "yes";
