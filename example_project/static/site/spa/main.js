// The token app: signs in, shows who is signed in and where, renews in time, signs out.

import { Api, send } from "./api.js";
import { credentialsFor } from "./credentials.js";
import * as login from "./login.js";
import * as view from "./view.js";

const WAYS = {
  jwt: "You are signed out. Signing in gets an authorization code from the server. This app exchanges it for an access token and a refresh token.",
  session:
    "Tokens are switched off on this server. The same app works with the cookie: sign in, and come back here.",
};

const server = await send("GET", "/auth/");
const way = server.mode === "session" ? "session" : "jwt";
const credentials = credentialsFor({ mode: way, transport: server.token_transport });
const api = new Api(credentials);
let renewal = 0;
let isSignedIn = false;

view.show("explanation", WAYS[way]);
view.badge("way", way);
view.show("carrier", credentials.carrier);
view.show("storage", credentials.storage);
showWaysIn();

view.onClick("sign-out", guarded(signOut));
view.onClick("leave-provider", guarded(leaveProvider));
view.onClick("hello", guarded(hello));
view.onClick("refresh", guarded(renew));
setInterval(tick, 500);
// When the user returns to the tab, the login may have ended in the meantime.
document.addEventListener("visibilitychange", () => {
  if (isSignedIn && !document.hidden) guarded(showSessions)();
});

await guarded(enter)();

async function enter() {
  if (way === "jwt" && login.hasReturned()) {
    credentials.adopt(await login.complete(credentials));
    return welcome();
  }
  if (credentials.mayResume && (await resumed())) return welcome();
  view.showState(false);
  return followHash();
}

// The home page names a provider in the hash, so that one click leads to the provider. A link on
// another site may name one too, and that click was not meant for a sign-in here.
async function followHash() {
  const provider = location.hash.match(/^#sign-in=([\w.-]+)$/)?.[1];
  if (!document.referrer.startsWith(`${location.origin}/`)) return;
  if (provider && !isSignedIn && way === "jwt") await guarded(() => login.begin(provider))();
}

async function resumed() {
  try {
    await credentials.resume();
    if (!credentials.canRefresh) await api.get("/auth/user/");
    return true;
  } catch (error) {
    if (error.status !== 401) throw error;
    credentials.forget();
    return false;
  }
}

async function welcome() {
  const { user, mode, sid } = await api.get("/auth/user/");
  isSignedIn = true;
  view.notice("");
  view.hideAnswer();
  view.show("name", user.display);
  view.show("username", user.username);
  view.show("email", user.email || "none");
  view.show("sid", sid);
  view.badge("mode", mode);
  view.reveal("tokens", credentials.canRefresh);
  tick();
  view.showState(true);
  scheduleRenewal();
  await showSessions();
}

async function showSessions() {
  const { results: sessions } = await api.get("/auth/sessions/");
  view.sessions(sessions, (session) => guarded(() => revoke(session))());
}

async function revoke(session) {
  await api.delete(`/auth/sessions/${session.sid}/`);
  // Ask again: if this login itself was revoked, the answer is a 401.
  await showSessions();
  view.notice(`${session.client} is signed out.`, "success");
}

async function hello() {
  view.answer(await api.get("/api/hello/"));
}

async function renew() {
  await credentials.refresh();
  scheduleRenewal();
}

// Refresh shortly before the access token expires; a later call refreshes by itself.
function scheduleRenewal() {
  clearTimeout(renewal);
  if (!credentials.canRefresh) return;
  const left = credentials.accessExpiresAt - Date.now();
  renewal = setTimeout(guarded(renew), Math.max(1000, left - Math.min(10_000, left / 5)));
}

async function signOut() {
  await api.post("/auth/logout/");
  leave("You are signed out.", "success");
}

// Sign out here first; then go to the provider's own page, which asks and redirects back.
async function leaveProvider() {
  const body = { upstream: true, post_logout_redirect_uri: login.HERE };
  const { upstream_logout_url: url } = await api.post("/auth/logout/", body);
  leave("You are signed out.", "success");
  if (url) location.assign(url);
}

function leave(text, kind) {
  isSignedIn = false;
  clearTimeout(renewal);
  credentials.forget();
  view.showState(false);
  view.notice(text, kind);
  view.focusHeading();
}

function tick() {
  if (isSignedIn && credentials.canRefresh) view.lifetimes(credentials, credentials.refreshes);
}

// A 401 after a refresh means that the login has ended. Any other error may be temporary.
function guarded(action) {
  return async () => {
    try {
      await action();
    } catch (error) {
      if (error.status === 401) return leave(`Signed out: ${reason(error)}`, "error");
      if (!isSignedIn) view.showState(false);
      view.notice(error.message, "error");
    }
  };
}

// After a cookie login has ended, the server treats the browser as anonymous.
function reason(error) {
  return error.code === "not_authenticated" ? "The login session has ended." : error.message;
}

function showWaysIn() {
  if (way === "session") {
    const here = [{ label: "Sign in with a cookie", value: "/accounts/login/?next=/spa/" }];
    return view.providers(here, (url) => location.assign(url));
  }
  const buttons = server.providers
    .filter(({ redirect }) => redirect)
    .map(({ id, name }) => ({ label: `Sign in with ${name}`, value: id }));
  return view.providers(buttons, (provider) => guarded(() => login.begin(provider))());
}
