// The token app: signs in, shows who is signed in and where, signs out. All of the signing in and
// refreshing is the work of authmodes' client.

import { AuthClient, AuthError, tabStorage } from "../../authmodes/client/client.js";
import * as view from "./view.js";
import { words } from "./words.js";

// On an origin of its own, the page names the site and the client in its head.
const AUTH = new URL(named("authmodes-url") ?? "/auth/", location.href);
const HERE = location.origin + location.pathname;
// What is in the address bar may come from any site: a code picks a sentence and is not shown.
const REASONS = [
  "access_denied",
  "temporarily_unavailable",
  "user_inactive",
  "limit_reached",
  "login_outdated",
  "upstream_logout",
  "invalid_state",
];

const server = await (await fetch(AUTH)).json();
const way = wayOf(server);
const auth = new AuthClient({
  url: AUTH.href,
  clientId: named("authmodes-client-id") ?? "app",
  way,
  redirectUri: HERE,
  storage: way === "tokens" ? tabStorage() : undefined,
});
let refreshes = 0;
let lifetime = 0;

auth.addEventListener("refreshed", () => {
  refreshes += 1;
  lifetime = auth.expiresAt - Date.now();
});
auth.addEventListener("signedout", ({ detail }) => {
  leave(detail.where === "here" ? words("signed-out") : words("ended"), detail.where);
});

view.show("explanation", words(`${way}.explanation`));
view.badge("way", way === "session" ? "session" : "jwt");
view.show("carrier", words(`${way}.carrier`));
view.show("storage", words(`${way}.storage`));
showWaysIn();

view.onClick("sign-out", guarded(() => auth.signOut()));
view.onClick("leave-provider", guarded(leaveProvider));
view.onClick("hello", guarded(async () => view.answer(await call("GET", "/api/hello/"))));
view.onClick("refresh", guarded(() => auth.refresh()));
setInterval(tick, 500);
// When the user returns to the tab, the login may have ended in the meantime.
document.addEventListener("visibilitychange", () => {
  if (auth.isSignedIn && !document.hidden) guarded(showSessions)();
});

await guarded(enter)();

function named(name) {
  return document.querySelector(`meta[name="${name}"]`)?.content;
}

function wayOf({ mode, token_transport: transport }) {
  if (mode === "session") return "session";
  return transport === "cookie" ? "token-cookies" : "tokens";
}

async function enter() {
  try {
    await auth.handleRedirect();
  } catch (error) {
    if (!(error instanceof AuthError) || error.status !== 0) throw error;
    const codes = [error.body.error_description, error.code];
    throw new Error(words(codes.find((code) => REASONS.includes(code)) ?? "failed"));
  }
  const answer = await auth.restore();
  if (answer) return welcome(answer);
  view.showState(false);
  return followHash();
}

// The home page names a provider in the hash, so that one click leads to the provider. A link on
// another site may name one too, and that click was not meant for a sign-in here.
async function followHash() {
  const provider = location.hash.match(/^#sign-in=([\w.-]+)$/)?.[1];
  if (!document.referrer.startsWith(`${location.origin}/`)) return;
  if (provider && way !== "session") await begin(provider);
}

async function begin(provider) {
  // Without this, the browser's Back button would lead to the provider again.
  history.replaceState(null, "", HERE);
  await auth.signIn({ provider });
}

async function welcome({ user, mode, sid }) {
  lifetime = auth.expiresAt - Date.now();
  view.notice("");
  view.hideAnswer();
  view.show("name", user.display);
  view.show("username", user.username);
  view.show("email", user.email || words("none"));
  view.show("sid", sid);
  view.badge("mode", mode);
  view.reveal("tokens", way !== "session");
  tick();
  view.showState(true);
  await showSessions();
}

async function call(method, path) {
  const response = await auth.fetch(new URL(path, AUTH), { method });
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new AuthError(response.status, body ?? {});
  return body;
}

async function showSessions() {
  const { results } = await call("GET", "/auth/sessions/");
  view.sessions(results, providerName, (session) => guarded(() => revoke(session))());
}

// A login session has the provider's id, and people read its name.
function providerName(provider) {
  return server.providers.find(({ id }) => id === provider)?.name ?? provider;
}

async function revoke(session) {
  await call("DELETE", `/auth/sessions/${session.sid}/`);
  // Ask again: if this login itself was revoked, the answer is a 401.
  await showSessions();
  view.notice(words("revoked", { client: session.client }), "success");
}

// Sign out here first; then go to the provider's own page, which asks and redirects back.
async function leaveProvider() {
  const { upstream_logout_url: url } = await auth.signOut({ upstream: true, post_logout_redirect_uri: HERE });
  if (url) location.assign(url);
}

function leave(text, where) {
  view.showState(false);
  view.notice(text, where === "here" ? "success" : "error");
  view.focusHeading();
}

function tick() {
  if (auth.isSignedIn) view.lifetimes(auth.expiresAt, lifetime, refreshes);
}

// A login that has ended is told by an event. Any other error may be temporary.
function guarded(action) {
  return async () => {
    try {
      await action();
    } catch (error) {
      if (error.status === 401) return;
      if (!auth.isSignedIn) view.showState(false);
      view.notice(error.message, "error");
    }
  };
}

function showWaysIn() {
  if (way === "session") {
    const here = [{ label: words("cookie"), value: "" }];
    return view.providers(here, () => auth.signIn({ returnTo: HERE }));
  }
  const buttons = server.providers
    .filter(({ redirect }) => redirect)
    .map(({ id, name }) => ({ label: words("provider", { provider: name }), value: id }));
  return view.providers(buttons, (provider) => guarded(() => begin(provider))());
}
