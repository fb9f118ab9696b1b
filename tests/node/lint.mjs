// Verify tokens by JWK Sets that may be broken, each with a remote set of its own.
//
// Reads JSON lines {"jwks_uri", "token"} and prints a JSON text for each, in the same order: empty where the token was
// accepted, else the code of the error.

import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";

// As in verify.mjs.
globalThis.crypto ??= webcrypto;
const { createRemoteJWKSet, jwtVerify } = await import("jose");

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const { jwks_uri, token } = JSON.parse(line);
  let refused = "";
  try {
    await jwtVerify(token, createRemoteJWKSet(new URL(jwks_uri)));
  } catch (error) {
    refused = error.code ?? error.cause?.code ?? error.name;
  }
  console.log(JSON.stringify(String(refused)));
}
