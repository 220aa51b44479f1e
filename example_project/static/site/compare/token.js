// Reads an access token (RFC 7519) and verifies its signature. A page needs neither to use one.

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const json = (part) => JSON.parse(new TextDecoder().decode(bytes(part)));

export function decode(token) {
  const [header, payload, signature] = token.split(".");
  return { raw: { header, payload, signature }, header: json(header), payload: json(payload) };
}

/** Whether the signature is that of one of the keys (ES256, the example's algorithm). */
export async function verify(token, keys) {
  const { raw, header } = decode(token);
  const jwk = keys.find(({ kid }) => kid === header.kid);
  const curve = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("jwk", jwk, curve, false, ["verify"]);
  const signed = new TextEncoder().encode(`${raw.header}.${raw.payload}`);
  return crypto.subtle.verify(curve, key, bytes(raw.signature), signed);
}

/** The same token with the number of a different user. */
export function changed(token) {
  const { raw, payload } = decode(token);
  const forged = btoa(JSON.stringify({ ...payload, sub: `${payload.sub}0` }));
  return `${raw.header}.${forged.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}.${raw.signature}`;
}
