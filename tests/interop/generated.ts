// Compiled against the types that openapi-typescript has made, and then run.

import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { argv: string[]; stdin: AsyncIterable<unknown> };

const client = createClient<paths>({ baseUrl: process.argv[2] });
const name = { username: "alice", password: "alice-demo" };

async function login() {
  const { data, error } = await client.POST("/auth/login/", { body: { ...name, mode: "jwt" } });
  if (!data || !("access" in data)) throw new Error(JSON.stringify(error ?? data));
  return data;
}

async function obtain() {
  const { data, error } = await client.POST("/auth/token/", { body: name });
  if (!data || !("access" in data)) throw new Error(JSON.stringify(error ?? data));
  return data;
}

async function user(access: string) {
  const headers = { Authorization: `Bearer ${access}` };
  const { data, response } = await client.GET("/auth/user/", { headers });
  return data?.user.username ?? response.status;
}

async function refresh(token: string) {
  const body = { refresh: token };
  const { data, response } = await client.POST("/auth/token/refresh/", { body });
  return data ?? response.status;
}

async function grant(token: string) {
  const { data, response } = await client.POST("/auth/token/", {
    body: { grant_type: "refresh_token", refresh_token: token },
    bodySerializer: (body) => new URLSearchParams(body as Record<string, string>),
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
  });
  return data && "access_token" in data ? data : response.status;
}

const answers = process.stdin[Symbol.asyncIterator]();
const seen: unknown[] = [];
for (const signIn of [login, obtain]) {
  const first = await signIn();
  const second = await refresh(first.refresh);
  if (typeof second === "number") throw new Error(`refresh: ${second}`);
  const third = await grant(second.refresh);
  if (typeof third === "number") throw new Error(`grant: ${third}`);
  seen.push(await user(third.access_token ?? ""));
  // The test revokes this login, and answers.
  console.log(first.sid);
  await answers.next();
  const token = third.refresh_token ?? "";
  seen.push(await user(second.access), await refresh(token), await grant(token));
  const last = await signIn();
  const headers = { Authorization: `Bearer ${last.access}` };
  await client.POST("/auth/logout/", { body: {}, headers });
  seen.push(await user(last.access));
}
console.log(JSON.stringify(seen));
