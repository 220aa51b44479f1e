// To the provider and back: PKCE and state before, the authorization code after.

import { send } from "./api.js";
import { csrfToken } from "./credentials.js";
import { challengeOf, randomText } from "./pkce.js";

const KEY = "authmodes.login";
// What is in the address bar may come from anybody: a code picks a sentence and is not shown.
const REASONS = {
  access_denied: "The sign-in was cancelled or refused.",
  temporarily_unavailable: "The provider cannot be reached at the moment. Try again later.",
  user_inactive: "This account is inactive.",
  limit_reached: "You are signed in too often. Sign out elsewhere first.",
  login_outdated: "This sign-in was out of date. Try again.",
  upstream_logout: "You have been signed out at your provider. Try again.",
};
const FAILED = "The sign-in failed. Try again.";
export const HERE = `${location.origin}/spa/`;

// Leaves this page. allauth starts a social login only on a POST, so that a link cannot.
export async function begin(provider) {
  const attempt = { verifier: randomText(), state: randomText() };
  sessionStorage.setItem(KEY, JSON.stringify(attempt));
  // Without this, the browser's Back button would lead to the provider again.
  history.replaceState(null, "", HERE);
  const query = new URLSearchParams({
    mode: "jwt",
    next: HERE,
    code_challenge: await challengeOf(attempt.verifier),
    code_challenge_method: "S256",
    state: attempt.state,
  });
  post(`/auth/social/${encodeURIComponent(provider)}/start/?${query}`, await csrfToken());
}

export function hasReturned() {
  const query = new URLSearchParams(location.search);
  return query.has("code") || query.has("error");
}

// Returns the tokens, by the names that the other endpoints use.
export async function complete(credentials) {
  const query = new URLSearchParams(location.search);
  // Remove the code from the address bar and the history before anything can fail.
  history.replaceState(null, "", HERE);
  const attempt = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  sessionStorage.removeItem(KEY);
  // Without this, an attacker could send us their code and sign us in as them,
  // or an error that we never met.
  if (!attempt || query.get("state") !== attempt.state) {
    throw new Error("This sign-in was not begun in this tab. Please begin again.");
  }
  if (query.has("error")) {
    const known = ["error_description", "error"].map((name) => query.get(name));
    throw new Error(known.map(reason).find(Boolean) ?? FAILED);
  }
  const answer = await send("POST", "/auth/token/", {
    body: {
      grant_type: "authorization_code",
      client_id: "app",
      redirect_uri: HERE,
      code: query.get("code"),
      code_verifier: attempt.verifier,
    },
    ...(await credentials.attach("POST")),
  });
  return {
    sid: answer.sid,
    access: answer.access_token,
    refresh: answer.refresh_token,
    access_expires_at: Date.now() + answer.expires_in * 1000,
  };
}

function reason(code) {
  return Object.hasOwn(REASONS, code) ? REASONS[code] : undefined;
}

function post(action, token) {
  const form = document.createElement("form");
  form.method = "post";
  form.action = action;
  const field = document.createElement("input");
  field.type = "hidden";
  field.name = "csrfmiddlewaretoken";
  field.value = token;
  form.append(field);
  document.body.append(form);
  form.submit();
}
