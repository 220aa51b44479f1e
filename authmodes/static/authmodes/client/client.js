/* authmodes-client: sign a browser app in at a Django site with authmodes. No dependencies.
 * The guide is docs/javascript.md of authmodes; the types are in client.d.ts beside this file. */

const SAFE = /^(GET|HEAD|OPTIONS|TRACE)$/;
const FLOW_KEY = "authmodes.flow";
// How long a tab waits for tokens that another tab has refreshed, and how long a lease lasts.
const WAIT = 2000;
const LEASE = 15_000;
// Whose number of refreshes it is, where the browser has the one login of its cookies.
const COOKIES = "cookies";

/** An answer that is an error. `status` is 0 where a flow, not a response, has failed. */
export class AuthError extends Error {
  constructor(status, body = {}) {
    super(body?.detail || body?.error_description || `The server answered ${status}.`);
    this.name = "AuthError";
    this.status = status;
    this.code = body?.code || body?.error || "";
    this.body = body;
  }
}

// Storages: where a page keeps its tokens. Each says what a script that was injected could take.

/** Gone with the page. Nothing is left for a script that comes later. */
export function memoryStorage() {
  let value = null;
  return { read: () => value, write: (tokens) => void (value = tokens), isShared: false };
}

/** Survives a reload and ends with the tab. A script on this origin can read it. */
export function tabStorage(key = "authmodes.tokens") {
  return webStorage(() => sessionStorage, key, false);
}

/** Shared by all tabs, and survives the browser. A script on this origin can read it at any time. */
export function sharedStorage(key = "authmodes.tokens") {
  return webStorage(() => localStorage, key, true);
}

function webStorage(area, key, isShared) {
  return {
    isShared,
    read() {
      try {
        return JSON.parse(area().getItem(key));
      } catch {
        return null; // what is there is not ours, or storage is switched off
      }
    },
    write(tokens) {
      if (tokens) area().setItem(key, JSON.stringify(tokens));
      else area().removeItem(key);
    },
  };
}

/**
 * `way` is "tokens" (in the page), "token-cookies" or "session". Events: "signedin", "refreshed" and
 * "signedout", whose `detail.where` is "here" or "elsewhere".
 */
export class AuthClient extends EventTarget {
  #base;
  #options;
  #storage;
  #origins;
  #name;
  #channel;
  #csrf = null;
  #refreshing = null;
  #isSignedIn = false;
  #sid = null;
  #release = null;

  constructor(options = {}) {
    super();
    const { url = "/auth/", way = "tokens", clientId = "app", storage, origins = [] } = options;
    this.#base = new URL(url, location.href);
    this.#options = { ...options, way, clientId };
    this.#storage = storage ?? (way === "tokens" ? memoryStorage() : null);
    // Credentials go to these and to no other.
    this.#origins = new Set([this.#base.origin, ...origins]);
    this.#name = `authmodes ${this.#base.href} ${clientId} ${way}`;
    this.#channel = openChannel(this.#name, (message) => this.#hear(message));
  }

  get isSignedIn() {
    return this.#isSignedIn;
  }

  /** The `sid` of the login session; null until a cookie was asked about, by `restore()`. */
  get sid() {
    return this.#storage?.read()?.sid ?? this.#sid;
  }

  /** When the access token expires, in milliseconds since 1970; null for cookies. */
  get expiresAt() {
    return this.#storage?.read()?.expiresAt ?? null;
  }

  /**
   * Leave this page for `authorize/` (RFC 6749, 4.1; RFC 7636). `handleRedirect()` goes on when the
   * browser returns. Further parameters, such as `prompt`, are sent as they are. With a `provider`, a page
   * on the site's own origin leads there at once; others come to a page with a button first.
   */
  async signIn({ returnTo = location.href, ...parameters } = {}) {
    // A page may take it from its URL; a "javascript:" URL has no origin.
    if (new URL(returnTo, location.href).origin !== location.origin) {
      throw new TypeError("returnTo is of another origin.");
    }
    if (this.#options.way === "session") {
      const target = new URL(this.#options.loginUrl ?? "/accounts/login/", this.#base);
      target.searchParams.set("next", new URL(returnTo, location.href).href);
      return location.assign(target);
    }
    const flow = { verifier: random(), state: random(), returnTo };
    sessionStorage.setItem(FLOW_KEY, JSON.stringify(flow));
    const query = {
      ...parameters,
      client_id: this.#options.clientId,
      state: flow.state,
      code_challenge: await challengeOf(flow.verifier),
      code_challenge_method: "S256",
    };
    const { provider } = parameters;
    if (provider && this.#base.origin === location.origin) {
      const start = { ...query, mode: "jwt", next: this.#redirectUri };
      // allauth starts a sign-in at a provider on a POST only, so that no link can.
      submit(this.#url(`social/${encodeURIComponent(provider)}/start/`, start), await this.#csrfToken());
    } else {
      location.assign(this.#url("authorize/", { ...query, response_type: "code", redirect_uri: this.#redirectUri }));
    }
  }

  /**
   * Complete a sign-in if this page is what it returned to; give `{ returnTo }`, otherwise null.
   * Throws `AuthError` where it has failed: its `code` is RFC 6749's `error`.
   */
  async handleRedirect() {
    const query = new URLSearchParams(location.search);
    if (!query.has("state") || !(query.has("code") || query.has("error"))) return null;
    // Out of the address bar and the history, before anything can fail.
    const rest = new URL(location.href);
    for (const name of ["code", "error", "error_description", "state", "iss"]) rest.searchParams.delete(name);
    history.replaceState(history.state, "", rest);
    const flow = JSON.parse(sessionStorage.getItem(FLOW_KEY));
    sessionStorage.removeItem(FLOW_KEY);
    // Otherwise a link could sign this browser in as a different user (RFC 9700, 4.7), or show an error.
    if (query.get("state") !== flow?.state) {
      throw new AuthError(0, { code: "invalid_state", detail: "This sign-in was not begun in this tab." });
    }
    const { issuer } = this.#options;
    if (issuer && query.get("iss") !== issuer) {
      throw new AuthError(0, { code: "invalid_issuer", detail: "The answer is of a different server." });
    }
    if (query.has("error")) throw new AuthError(0, Object.fromEntries(query));
    await this.#adopt(
      await this.#grant({
        grant_type: "authorization_code",
        code: query.get("code"),
        code_verifier: flow.verifier,
        redirect_uri: this.#redirectUri,
      }),
    );
    return { returnTo: flow.returnTo };
  }

  /**
   * Sign in at `login/` by `username` or `email`, `password` and further fields. Throws `AuthError`,
   * with the code "stage_pending" where a second factor is asked for: call again with `mfa_code`.
   */
  async login(fields) {
    const mode = this.#options.way === "session" ? "session" : "jwt";
    const answer = await this.#post("login/", { ...fields, mode });
    this.#csrf = null; // Django changes it at every sign-in
    await this.#adopt(answer);
    return answer.user;
  }

  /** Give the signed-in user as `user/` tells, refreshing if need be; null if signed out. */
  async restore() {
    if (this.#storage && !this.#storage.read()) return null;
    const response = await this.fetch(new URL("user/", this.#base));
    if (response.status === 401) return null;
    const answer = await read(response);
    this.#isSignedIn = true;
    this.#sid = answer.sid;
    return answer;
  }

  /**
   * Do what `fetch` does, with the credentials. After a 401 they are refreshed, once across all tabs,
   * and the request is sent once more. A response comes back whatever its status.
   */
  async fetch(input, init) {
    const request = new Request(input, init);
    if (!this.#origins.has(new URL(request.url).origin)) return fetch(request);
    const before = this.#mark;
    const isSame = this.#watchLogin();
    const response = await this.#send(request);
    if (response.status === 403 && (await codeOf(response)) === "csrf_failed") {
      this.#csrf = null;
      return this.#send(request);
    }
    // A refusal of the login before is not one of this login.
    if (response.status !== 401 || !isSame()) return response;
    const code = await codeOf(response);
    // A recent sign-in is asked for, which no refresh gives.
    if (code === "insufficient_user_authentication") return response;
    const canRefresh = this.#options.way !== "session" && (!this.#storage || this.#storage.read());
    if (!canRefresh || code === "login_session_ended" || code === "user_not_found") {
      this.#forget("elsewhere");
      return response;
    }
    return (await this.refresh(before)) && isSame() ? this.#send(request) : response;
  }

  /**
   * Refresh the tokens; give false if the login has ended. One tab asks the server, and the others
   * take what it got. Throws where the server cannot be reached; the tokens are kept then.
   */
  refresh(before = this.#mark) {
    this.#refreshing ??= exclusively(this.#name, () => this.#refresh(before)).finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  /** End the login at the server, and forget it in all tabs, also where the server is away. */
  async signOut(body = {}) {
    const refresh = this.#storage?.read()?.refresh;
    try {
      return await this.#post("logout/", refresh ? { ...body, refresh } : body);
    } finally {
      this.#csrf = null;
      this.#forget("here");
    }
  }

  #url(path, query) {
    const url = new URL(path, this.#base);
    url.search = new URLSearchParams(query);
    return url;
  }

  get #redirectUri() {
    return this.#options.redirectUri ?? location.origin + location.pathname;
  }

  // What a refresh changes.
  get #mark() {
    return this.#storage ? this.#storage.read()?.access : count(this.#name, COOKIES);
  }

  async #send(request) {
    const headers = new Headers(request.headers);
    const { way } = this.#options;
    if (way === "tokens") {
      const access = this.#storage.read()?.access;
      if (access) headers.set("Authorization", `Bearer ${access}`);
    } else if (!SAFE.test(request.method)) {
      headers.set("X-CSRFToken", await this.#csrfToken());
    }
    // The request stays unused, for the second time.
    return fetch(request.clone(), { headers, credentials: way === "tokens" ? "omit" : "include" });
  }

  async #csrfToken() {
    this.#csrf ??= (await read(await fetch(new URL("csrf/", this.#base), { credentials: "include" }))).csrf_token;
    return this.#csrf;
  }

  async #post(path, body) {
    const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const request = new Request(new URL(path, this.#base), init);
    let response = await this.#sendAlone(request);
    if (response.status === 403 && (await codeOf(response)) === "csrf_failed") {
      this.#csrf = null;
      response = await this.#sendAlone(request);
    }
    return read(response);
  }

  // Without the access token, which may have expired: these endpoints take what is in the body.
  async #sendAlone(request) {
    const isCookie = this.#options.way !== "tokens";
    const headers = new Headers(request.headers);
    if (isCookie) headers.set("X-CSRFToken", await this.#csrfToken());
    return fetch(request.clone(), { headers, credentials: isCookie ? "include" : "omit" });
  }

  #grant(fields) {
    return this.#post("token/", { ...fields, client_id: this.#options.clientId });
  }

  async #refresh(before) {
    if (this.#storage) await this.#catchUp();
    const kept = this.#storage?.read();
    if (this.#storage && !kept) return false;
    // Another tab has refreshed while this one waited.
    if ((kept ? kept.access : await this.#latest(COOKIES)) !== before) return true;
    const body = { grant_type: "refresh_token", ...(kept ? { refresh_token: kept.refresh } : {}) };
    const isSame = this.#watchLogin();
    try {
      const answer = await this.#grantTwice(body);
      if (!isSame()) return false;
      await this.#adopt(answer, "refreshed");
      return true;
    } catch (error) {
      if (error.status !== 400 && error.status !== 401) throw error;
      if (isSame()) this.#forget("elsewhere");
      return false;
    }
  }

  // Whether the login has stayed the same.
  #watchLogin() {
    const { sid } = this;
    return () => sid === null || this.sid === sid;
  }

  // An answer that was lost is given again, if it is asked for within `AUTHMODES_REFRESH_GRACE`.
  async #grantTwice(body) {
    try {
      return await this.#grant(body);
    } catch (error) {
      if (error instanceof AuthError) throw error;
      return this.#grant(body);
    }
  }

  // Take the tokens that another tab has got, and whose message is still on its way.
  async #catchUp() {
    const kept = this.#storage.read();
    const latest = kept ? await this.#latest(kept.sid) : 0;
    const isBehind = () => this.#storage.read()?.generation < latest;
    if (!isBehind()) return;
    this.#channel.post({ ask: kept.sid });
    for (const end = Date.now() + WAIT; isBehind() && Date.now() < end; ) await sleep(20);
  }

  async #adopt(answer, event = "signedin") {
    this.#isSignedIn = true;
    this.#sid = answer.sid;
    if (this.#storage) {
      // How often the tokens of the login were refreshed: for tabs that share no storage, this number
      // is all that they share. The tokens travel from page to page.
      const generation = event === "signedin" ? 0 : (this.#storage.read()?.generation ?? 0) + 1;
      const tokens = {
        sid: answer.sid,
        access: answer.access_token ?? answer.access,
        refresh: answer.refresh_token ?? answer.refresh,
        expiresAt: answer.expires_in ? Date.now() + answer.expires_in * 1000 : Date.parse(answer.access_expires_at),
        generation,
      };
      this.#storage.write(tokens);
      if (event === "refreshed") await this.#publish(tokens.sid, generation);
      if (event === "refreshed" && !this.#storage.isShared) this.#channel.post({ tokens });
    } else {
      await this.#publish(COOKIES, (await this.#latest(COOKIES)) + 1);
    }
    this.#tell(event, { sid: answer.sid });
  }

  // What one tab writes to localStorage, another may read a little later. Locks are the same for all
  // tabs at once, so the number is the name of one, which this tab holds until the next number.
  async #publish(of, number) {
    setCount(this.#name, of, number);
    if (!navigator.locks) return;
    const release = this.#release;
    await new Promise((granted) => {
      navigator.locks.request(`${this.#name} ${of} ${number}`, { mode: "shared" }, () => {
        granted();
        return new Promise((resolve) => (this.#release = resolve));
      });
    });
    release?.();
  }

  async #latest(of) {
    const prefix = `${this.#name} ${of} `;
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    const names = held.map(({ name }) => name).filter((name) => name.startsWith(prefix));
    return Math.max(count(this.#name, of), ...names.map((name) => Number(name.slice(prefix.length))));
  }

  #hear({ tokens, ask, signedOut }) {
    if (signedOut !== undefined) {
      if (!this.#storage || signedOut === this.#sid) this.#forget("elsewhere", false);
      return;
    }
    const kept = this.#storage?.read();
    if (tokens && kept?.sid === tokens.sid && kept.generation < tokens.generation) {
      this.#storage.write(tokens);
      this.#sid = tokens.sid;
      this.#tell("refreshed", { sid: tokens.sid });
    }
    if (ask && kept?.sid === ask) this.#channel.post({ tokens: kept });
  }

  #forget(where, tellsTabs = true) {
    const { sid } = this;
    const wasSignedIn = this.#isSignedIn || sid;
    if (tellsTabs && wasSignedIn) this.#channel.post({ signedOut: sid });
    this.#storage?.write(null);
    this.#isSignedIn = false;
    this.#sid = null;
    this.#release?.();
    if (wasSignedIn) this.#tell("signedout", { where });
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

async function read(response) {
  const text = await response.text();
  let body = {};
  try {
    body = text ? JSON.parse(text) : {};
  } catch {
    // an error page of something in between
  }
  if (!response.ok) throw new AuthError(response.status, body);
  return body;
}

async function codeOf(response) {
  const body = await response.clone().json().catch(() => null);
  return body?.code ?? "";
}

// Tabs: one at a time, a number that all can read, and messages.

async function exclusively(name, work) {
  if (navigator.locks) return navigator.locks.request(name, work);
  // Without Web Locks (a page without https): a lease in localStorage.
  const key = `${name} lease`;
  const owner = random();
  for (;;) {
    const lease = JSON.parse(localStorage.getItem(key));
    if (!lease || lease.until < Date.now()) {
      localStorage.setItem(key, JSON.stringify({ owner, until: Date.now() + LEASE }));
      await sleep(30 + 40 * Math.random());
      if (JSON.parse(localStorage.getItem(key))?.owner === owner) break;
    }
    await sleep(50);
  }
  try {
    return await work();
  } finally {
    localStorage.removeItem(key);
  }
}

function counts(name) {
  return JSON.parse(localStorage.getItem(`${name} counts`)) ?? {};
}

function count(name, of) {
  return counts(name)[of] ?? 0;
}

function setCount(name, of, value) {
  const { [of]: _old, ...others } = counts(name);
  // The newest ones: a login that ended with its tab leaves a number behind.
  const kept = Object.entries({ ...others, [of]: value }).slice(-20);
  localStorage.setItem(`${name} counts`, JSON.stringify(Object.fromEntries(kept)));
}

function openChannel(name, hear) {
  if (globalThis.BroadcastChannel) {
    const channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => hear(data);
    return { post: (message) => channel.postMessage(message) };
  }
  const key = `${name} message`;
  addEventListener("storage", (event) => {
    if (event.key === key && event.newValue) hear(JSON.parse(event.newValue));
  });
  return {
    post(message) {
      localStorage.setItem(key, JSON.stringify(message));
      localStorage.removeItem(key);
    },
  };
}

function submit(action, csrfmiddlewaretoken) {
  const form = Object.assign(document.createElement("form"), { method: "post", action });
  const field = { type: "hidden", name: "csrfmiddlewaretoken", value: csrfmiddlewaretoken };
  form.append(Object.assign(document.createElement("input"), field));
  document.body.append(form);
  form.submit();
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function random() {
  return encode(crypto.getRandomValues(new Uint8Array(32)));
}

async function challengeOf(verifier) {
  return encode(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
}

function encode(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
