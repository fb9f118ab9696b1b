// Sign a client assertion (private_key_jwt) with an exported key, and find the key in a JWK Set like a server.
//
// Reads a JSON line {"key", "set"}, a private JWK and the JWK Set that the client registered, and prints a JSON line:
// {"alg": "the alg in the header", "found": whether jose finds a key of the set for it}.

import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";

// As in verify.mjs.
globalThis.crypto ??= webcrypto;
const oauth = await import("oauth4webapi");
const { createLocalJWKSet, decodeProtectedHeader, jwtVerify } = await import("jose");

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const { key, set } = JSON.parse(line);
  // The last two arguments give the use of the key; some versions of Web Crypto do not support every alg.
  const { alg, key_ops, use, ...bare } = key;
  const signer = await crypto.subtle.importKey("jwk", bare, { name: "Ed25519" }, false, ["sign"]);
  const body = new URLSearchParams();
  const authenticate = oauth.PrivateKeyJwt({ key: signer, kid: key.kid });
  await authenticate({ issuer: "https://as.example" }, { client_id: "client" }, body, new Headers());
  const assertion = body.get("client_assertion");
  let found = true;
  try {
    await jwtVerify(assertion, createLocalJWKSet(set));
  } catch (error) {
    if (error.code !== "ERR_JWKS_NO_MATCHING_KEY") {
      throw error;
    }
    found = false;
  }
  console.log(JSON.stringify({ alg: decodeProtectedHeader(assertion).alg, found }));
}
