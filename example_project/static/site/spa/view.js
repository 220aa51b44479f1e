// Updates the page. It knows no credentials and makes no calls.

import { words } from "./words.js";

const all = (selector) => document.querySelectorAll(selector);
const one = (selector) => document.querySelector(selector);

export function show(name, text) {
  for (const node of all(`[data-show="${name}"]`)) node.textContent = text ?? "";
}

export function badge(name, mode) {
  for (const node of all(`[data-show="${name}"]`)) {
    node.textContent = mode;
    node.className = `badge ${mode}`;
  }
}

export function reveal(part, visible = true) {
  one(`[data-part="${part}"]`).hidden = !visible;
}

export function onClick(name, handler) {
  for (const button of all(`[data-do="${name}"]`)) button.addEventListener("click", handler);
}

export function showState(isSignedIn) {
  reveal("signed-in", isSignedIn);
  reveal("signed-out", !isSignedIn);
  for (const button of all('[data-do="sign-out"]')) button.hidden = !isSignedIn;
  if (!isSignedIn) show("username", "");
}

// The button that had the focus may be hidden now.
export function focusHeading() {
  one("[data-part]:not([hidden]) h1").focus();
}

export function notice(text, kind = "") {
  const node = one('[data-show="notice"]');
  node.textContent = text;
  node.className = `notice ${kind}`;
  node.hidden = !text;
}

export function answer(value) {
  const node = one('[data-show="answer"]');
  node.textContent = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  node.hidden = false;
}

export function hideAnswer() {
  one('[data-show="answer"]').hidden = true;
}

export function providers(list, onChoose) {
  const buttons = list.map(({ label, value }, position) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = position ? "button wide outline" : "button wide";
    button.textContent = label;
    button.addEventListener("click", () => onChoose(value));
    return button;
  });
  one('[data-list="providers"]').replaceChildren(...buttons);
}

export function sessions(list, providerName, onRevoke) {
  const template = document.getElementById("session-row");
  const rows = list.map((session) => {
    const row = template.content.cloneNode(true);
    const cell = (name) => row.querySelector(`[data-cell="${name}"]`);
    cell("label").textContent = session.client;
    cell("mode").textContent = session.mode;
    cell("mode").classList.add(session.mode);
    if (!session.is_current) cell("current").remove();
    cell("details").textContent = details(session, providerName);
    cell("revoke").setAttribute(
      "aria-label",
      words("revoke", { client: session.client, mode: session.mode, time: ago(session.created_at) }),
    );
    cell("revoke").addEventListener("click", () => onRevoke(session));
    return row;
  });
  one('[data-list="sessions"]').replaceChildren(...rows);
}

export function lifetimes(expiresAt, lifetime, refreshes) {
  // The page knows nothing of tokens in cookies.
  reveal("lifetime", expiresAt !== null);
  const left = Math.max(0, expiresAt - Date.now());
  show("access-left", clock(left));
  one('[data-show="access-meter"]').value = lifetime > 0 ? left / lifetime : 0;
  show("refreshes", words("refreshes", { count: refreshes }));
}

function details(session, providerName) {
  return words("details", {
    time: ago(session.created_at),
    address: session.ip_address || "-",
    provider: providerName(session.provider) || session.method || "-",
    seen: ago(session.last_seen_at),
  });
}

const UNITS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];
const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });

function ago(moment) {
  const past = Date.now() - new Date(moment);
  const unit = UNITS.find(([, length]) => past >= length);
  return unit ? relative.format(-Math.floor(past / unit[1]), unit[0]) : relative.format(0, "second");
}

function clock(milliseconds) {
  const seconds = Math.ceil(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
