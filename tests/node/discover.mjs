// Verify ID tokens like a client that uses openid-client and reads the discovery document when it starts.
//
// usage: node discover.mjs ISSUER AUDIENCE <tokens
//
// Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
// {"error": "the message of the library"}. All tokens of a run share the library's cache. The first line says "ready".

import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";
import * as openid from "openid-client";

globalThis.crypto ??= webcrypto;

const [issuer, audience] = process.argv.slice(2);
const settings = { execute: [openid.allowInsecureRequests] };
const config = await openid.discovery(new URL(issuer), audience, undefined, openid.None(), settings);
openid.useIdTokenResponseType(config);
console.log(JSON.stringify({ ready: true }));

for await (const token of createInterface({ input: process.stdin })) {
  const answer = await openid
    .implicitAuthentication(config, new URL(`https://client.example.com/callback#id_token=${token}`), "nonce")
    .then(({ sub }) => ({ ok: sub }))
    .catch((error) => ({ error: [error.message, error.cause?.message].filter(Boolean).join(": ") || error.name }));
  console.log(JSON.stringify(answer));
}
