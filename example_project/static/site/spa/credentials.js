// The credentials: tokens that this app holds, token cookies, or Django's session cookie.
// The rest of the app does not know which.

import { ApiError, send } from "./api.js";

const REFRESH_URL = "/auth/token/refresh/";
const KEY = "authmodes.refresh";
const NOT_SIGNED_IN = { detail: "You are not signed in." };
const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);

export function credentialsFor({ mode, transport }) {
  if (mode === "session") return new SessionCookie();
  return transport === "cookie" ? new TokenCookies() : new BearerTokens();
}

export async function csrfToken() {
  const { csrf_token: token } = await send("GET", "/auth/csrf/", { credentials: "same-origin" });
  return token;
}

async function attachCookies(method) {
  if (SAFE.has(method)) return { credentials: "same-origin" };
  return { credentials: "same-origin", headers: { "X-CSRFToken": await csrfToken() } };
}

// Shared by both kinds of tokens: when they expire, and one refresh at a time.
class Tokens {
  canRefresh = true;
  refreshes = 0;
  #inFlight = null;

  adopt(answer) {
    this.sid = answer.sid;
    this.accessExpiresAt = new Date(answer.access_expires_at);
    this.refreshExpiresAt = new Date(answer.refresh_expires_at);
    this.accessLifetime = this.accessExpiresAt - Date.now();
  }

  // Ten calls that get 401 together must not present ten refresh tokens.
  refresh() {
    this.#inFlight ??= this.rotate().finally(() => {
      this.#inFlight = null;
    });
    return this.#inFlight;
  }

  resume = () => this.refresh();
}

// Tokens in response bodies. The access token is a variable and is gone with the page. The
// refresh token is in sessionStorage, so that a reload does not sign out; it is gone with the
// tab. Any script on this origin could read it there. A site that cannot exclude such a script
// uses AUTHMODES_TOKEN_TRANSPORT = "cookie": no script can read those tokens.
export class BearerTokens extends Tokens {
  storage =
    "The access token is kept in memory only. The refresh token is kept in sessionStorage: " +
    "it survives a reload and ends with this tab, but a script injected into this page could " +
    "read it. The cookie transport keeps both away from scripts.";
  carrier = "This app sends an access token with every call, and no cookie.";
  #access = null;
  #tabs = new BroadcastChannel(KEY);

  constructor() {
    super();
    // A duplicated tab starts with a copy of the refresh token. If each tab refreshed on its
    // own, the second would present a used one, and the server would end the login.
    this.#tabs.onmessage = ({ data }) => {
      if (data.sid === kept()?.sid) this.#keep(data);
    };
  }

  async attach() {
    return this.#access ? { headers: { Authorization: `Bearer ${this.#access}` } } : {};
  }

  adopt(answer) {
    this.#keep(answer);
    this.#tabs.postMessage(answer);
  }

  async rotate() {
    await navigator.locks.request(KEY, async () => {
      const refresh = kept()?.refresh;
      if (!refresh) throw new ApiError(401, NOT_SIGNED_IN);
      this.adopt(await send("POST", REFRESH_URL, { body: { refresh } }));
      this.refreshes += 1;
    });
  }

  forget() {
    this.#access = null;
    sessionStorage.removeItem(KEY);
  }

  get mayResume() {
    return kept() !== null;
  }

  #keep(answer) {
    super.adopt(answer);
    this.#access = answer.access;
    sessionStorage.setItem(KEY, JSON.stringify({ sid: answer.sid, refresh: answer.refresh }));
  }
}

function kept() {
  return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
}

// Tokens in HttpOnly cookies: the browser sends them, so every unsafe call proves that it
// comes from this site.
export class TokenCookies extends Tokens {
  storage = "Both tokens lie in HttpOnly cookies: no script can read them, this app neither.";
  carrier = "The browser sends the token cookies; this app never sees a token.";
  mayResume = true;

  attach = attachCookies;

  async rotate() {
    const answer = send("POST", REFRESH_URL, { body: {}, ...(await attachCookies("POST")) });
    this.adopt(await answer.catch(this.#explain));
    this.refreshes += 1;
  }

  // The server clears the cookies with its answer to the logout.
  forget() {}

  // A bad request means here that there is no cookie with a refresh token.
  #explain(error) {
    throw error.status === 400 ? new ApiError(401, NOT_SIGNED_IN) : error;
  }
}

export class SessionCookie {
  canRefresh = false;
  mayResume = true;
  carrier = "The browser sends Django’s session cookie: the same API, without any token.";

  attach = attachCookies;

  async resume() {}

  adopt() {}

  forget() {}
}
