// Compiled against the types that openapi-typescript has made, and then run.

import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2] });
const body = { username: "alice", password: "alice-demo", mode: "jwt" as const };
const { data: answer, error } = await client.POST("/auth/login/", { body });
if (!answer || !("access" in answer)) throw new Error(JSON.stringify(error ?? answer));
const headers = { Authorization: `Bearer ${answer.access}` };
const { data: me } = await client.GET("/auth/user/", { headers });
const { data: pair } = await client.POST("/auth/token/refresh/", {
  body: { refresh: answer.refresh ?? "" },
});
await client.POST("/auth/logout/", { body: {}, headers });
const { response } = await client.GET("/auth/user/", { headers });
console.log(JSON.stringify([me?.user.username, pair?.sid === answer.sid, response.status]));
