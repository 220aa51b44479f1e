// A project that uses everything which the types of the JavaScript client have; it is compiled only.

import { AuthClient, AuthError, memoryStorage, sharedStorage, tabStorage } from "authmodes-client";
import type {
  AuthClientEventMap,
  AuthClientOptions,
  Tokens,
  TokenStorage,
  User,
} from "authmodes-client";

const storage: TokenStorage = {
  isShared: false,
  read: (): Tokens | null => null,
  write: (tokens: Tokens | null) => void tokens?.refresh,
};
const options: AuthClientOptions = {
  url: "https://site.example/auth/",
  way: "tokens",
  clientId: "app",
  redirectUri: "https://app.example/",
  storage,
  origins: ["https://api.example"],
  issuer: "https://site.example",
  loginUrl: "/accounts/login/",
};
const auth = new AuthClient(options);
for (const kept of [memoryStorage(), tabStorage(), sharedStorage("key")]) {
  new AuthClient({ storage: kept });
}
new AuthClient({ way: "session" });
new AuthClient({ way: "token-cookies" });
// @ts-expect-error There is no such way.
new AuthClient({ way: "cookie" });
// @ts-expect-error It is read only.
auth.sid = "";

export async function use(): Promise<[boolean, string | null, number | null]> {
  const back: { returnTo: string } | null = await auth.handleRedirect();
  if (!back) await auth.signIn({ provider: "demo", prompt: "login", max_age: "60", returnTo: "/" });
  const user: User = await auth.login({ username: "a", password: "b", mfa_code: "1", remember: false });
  const me = await auth.restore();
  const names: (string | undefined)[] = [user.display, me?.user.email, me?.mode, me?.sid];
  const response: Response = await auth.fetch(new URL("/api/", location.href), { method: "POST" });
  const isRefreshed: boolean = await auth.refresh();
  const { upstream_logout_url } = await auth.signOut({
    upstream: true,
    post_logout_redirect_uri: "https://app.example/",
    state: "s",
  });
  if (upstream_logout_url) location.assign(upstream_logout_url);
  console.log(names, response.status, isRefreshed);
  return [auth.isSignedIn, auth.sid, auth.expiresAt];
}

export function explain(error: unknown): string {
  return error instanceof AuthError ? `${error.status} ${error.code} ${error.body["detail"]}` : "";
}

const listen = ({ detail }: AuthClientEventMap["signedin"]) => console.log(detail.sid);
auth.addEventListener("signedin", listen, { once: true });
auth.removeEventListener("signedin", listen);
auth.addEventListener("refreshed", ({ detail }) => console.log(detail.sid));
auth.addEventListener("signedout", ({ detail }) => {
  const where: "here" | "elsewhere" = detail.where;
  console.log(where);
});
