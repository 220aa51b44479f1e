// What an app would write with each library; the tests call it in Chromium.

const METADATA = "/.well-known/oauth-authorization-server";
const REDIRECT_URI = `${location.origin}/interop/`;

export async function oauth4webapi() {
  const oauth = await import("/interop/oauth4webapi.js");
  const insecure = { [oauth.allowInsecureRequests]: true };
  const issuer = new URL(location.origin);
  const client = { client_id: "app", token_endpoint_auth_method: "none" };
  const discover = async () =>
    oauth.processDiscoveryResponse(
      issuer,
      await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }),
    );
  return {
    async signIn() {
      const server = await discover();
      const verifier = oauth.generateRandomCodeVerifier();
      const state = oauth.generateRandomState();
      sessionStorage.setItem("flow", JSON.stringify({ verifier, state }));
      const url = new URL(server.authorization_endpoint);
      url.search = new URLSearchParams({
        client_id: "app",
        redirect_uri: REDIRECT_URI,
        response_type: "code",
        state,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
      });
      location.assign(url);
    },
    async finish() {
      const server = await discover();
      const { verifier, state } = JSON.parse(sessionStorage.getItem("flow"));
      // It compares `state`, and `iss` because the metadata say that it is sent.
      const answer = oauth.validateAuthResponse(server, client, new URL(location.href), state);
      const response = await oauth.authorizationCodeGrantRequest(
        server, client, oauth.None(), answer, REDIRECT_URI, verifier, insecure,
      );
      return oauth.processAuthorizationCodeResponse(server, client, response);
    },
    async refresh(tokens) {
      const server = await discover();
      const response = await oauth.refreshTokenGrantRequest(
        server, client, oauth.None(), tokens.refresh_token, insecure,
      );
      try {
        return await oauth.processRefreshTokenResponse(server, client, response);
      } catch (error) {
        return { error: error.error, status: error.status };
      }
    },
    async signOut(tokens) {
      const server = await discover();
      const response = await oauth.revocationRequest(
        server, client, oauth.None(), tokens.refresh_token, insecure,
      );
      await oauth.processRevocationResponse(response);
    },
  };
}

export async function oidcClient() {
  if (!window.oidc) {
    const script = document.createElement("script");
    script.src = "/interop/oidc-client-ts.js";
    await new Promise((loaded) => {
      script.onload = loaded;
      document.head.append(script);
    });
  }
  const { UserManager, WebStorageStateStore } = window.oidc;
  const manager = new UserManager({
    authority: location.origin,
    metadataUrl: location.origin + METADATA,
    client_id: "app",
    redirect_uri: REDIRECT_URI,
    // Its default, "openid", asks for an ID token; this keeps the name, and does not send it.
    scope: "none",
    omitScopeWhenRequesting: true,
    automaticSilentRenew: false,
    revokeTokenTypes: ["refresh_token"],
    userStore: new WebStorageStateStore({ store: sessionStorage }),
  });
  const plain = ({ access_token, refresh_token }) => ({ access_token, refresh_token });
  return {
    signIn: () => manager.signinRedirect(),
    finish: async () => plain(await manager.signinCallback()),
    async refresh() {
      try {
        return plain(await manager.signinSilent());
      } catch (error) {
        return { error: error.error, status: 400 };
      }
    },
    signOut: () => manager.revokeTokens(),
  };
}
