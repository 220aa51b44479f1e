/** What a page keeps for a login. */
export interface Tokens {
  sid: string;
  access: string;
  refresh: string;
  /** Milliseconds since 1970. */
  expiresAt: number;
  generation: number;
}

export interface TokenStorage {
  read(): Tokens | null;
  write(tokens: Tokens | null): void;
  /** Whether all tabs of the origin read the same. */
  readonly isShared: boolean;
}

/** Gone with the page. */
export function memoryStorage(): TokenStorage;
/** `sessionStorage`: survives a reload, ends with the tab; a script on this origin can read it. */
export function tabStorage(key?: string): TokenStorage;
/** `localStorage`: shared by all tabs; a script on this origin can read it at any time. */
export function sharedStorage(key?: string): TokenStorage;

export interface AuthClientOptions {
  /** Where `authmodes.urls` is included. Default: "/auth/". */
  url?: string;
  /** Default: "tokens". */
  way?: "tokens" | "token-cookies" | "session";
  /** The app's name in `AUTHMODES_REDIRECT_URIS`. Default: "app". */
  clientId?: string;
  /** One of `AUTHMODES_REDIRECT_URIS`. Default: this page, without its query. */
  redirectUri?: string;
  /** For the way "tokens". Default: `memoryStorage()`. */
  storage?: TokenStorage;
  /** Further origins that get the credentials, such as that of an API. */
  origins?: string[];
  /** `SIMPLE_JWT["ISSUER"]`, compared with `iss` of the answer to a sign-in (RFC 9207). */
  issuer?: string;
  /** The page that the way "session" signs in at. Default: "/accounts/login/". */
  loginUrl?: string;
}

/** The answer of `login/` and of `user/`. */
export interface User {
  id: string;
  username: string;
  email: string;
  display: string;
}

export interface AuthClientEventMap {
  signedin: CustomEvent<{ sid: string }>;
  refreshed: CustomEvent<{ sid: string }>;
  signedout: CustomEvent<{ where: "here" | "elsewhere" }>;
}

export class AuthError extends Error {
  /** The HTTP status; 0 where a sign-in has failed and not a response. */
  readonly status: number;
  /** `code` of authmodes, or `error` of RFC 6749. */
  readonly code: string;
  readonly body: Record<string, unknown>;
}

export class AuthClient extends EventTarget {
  constructor(options?: AuthClientOptions);
  readonly isSignedIn: boolean;
  readonly sid: string | null;
  readonly expiresAt: number | null;
  signIn(parameters?: { returnTo?: string; provider?: string; prompt?: string; [name: string]: string | undefined }): Promise<void>;
  handleRedirect(): Promise<{ returnTo: string } | null>;
  login(fields: { username?: string; email?: string; password: string; mfa_code?: string; remember?: boolean; [field: string]: unknown }): Promise<User>;
  restore(): Promise<{ sid: string; mode: string; user: User } | null>;
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  refresh(): Promise<boolean>;
  signOut(body?: { upstream?: boolean; post_logout_redirect_uri?: string; state?: string }): Promise<{ upstream_logout_url?: string | null }>;
  addEventListener<Name extends keyof AuthClientEventMap>(
    type: Name,
    listener: (event: AuthClientEventMap[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof AuthClientEventMap>(
    type: Name,
    listener: (event: AuthClientEventMap[Name]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}
