// Verify tokens as a service does that uses one of npm's libraries.
//
// usage: node verify.mjs VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens
//
// Reads one token a line and prints one JSON line for each, in the same order:
//   {"ok":"the sub of the token"}   or   {"error":"what the library says"}
//
// All tokens of a run share what the library caches.

import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";

// Node.js 18, which Debian 12 ships, has Web Crypto but no global for it. jose looks for the
// global, so libraries are imported after this line and not above.
globalThis.crypto ??= webcrypto;

const [name, url, issuer, audience, algs] = process.argv.slice(2);
const algorithms = algs.split(",");

// What makes the function from a token to its claims, by the name of the library that fetches.
const verifiers = {
  async jose() {
    const { createRemoteJWKSet, jwtVerify } = await import("jose");
    const keys = createRemoteJWKSet(new URL(url));
    return async (token) => (await jwtVerify(token, keys, { issuer, audience, algorithms })).payload;
  },

  async "jwks-rsa"() {
    const { default: jwksClient } = await import("jwks-rsa");
    const { default: jsonwebtoken } = await import("jsonwebtoken");
    const client = jwksClient({ jwksUri: url });
    const getKey = ({ kid }, callback) =>
      client.getSigningKey(kid, (error, key) => callback(error, key?.getPublicKey()));
    return (token) =>
      new Promise((resolve, reject) =>
        jsonwebtoken.verify(token, getKey, { issuer, audience, algorithms }, (error, claims) =>
          error ? reject(error) : resolve(claims),
        ),
      );
  },

  async "fast-jwt"() {
    const { createVerifier } = await import("fast-jwt");
    const { default: buildGetJwks } = await import("get-jwks");
    // It adds the path itself, unless told another.
    const { origin, pathname } = new URL(url);
    const jwks = buildGetJwks({ jwksPath: pathname });
    const key = ({ header: { kid, alg } }) => jwks.getPublicKey({ kid, alg, domain: origin });
    return createVerifier({ key, algorithms, allowedIss: issuer, allowedAud: audience });
  },
};

let verify;
for await (const token of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let answer;
  try {
    verify ??= await verifiers[name]();
    answer = { ok: (await verify(token)).sub };
  } catch (error) {
    // fetch hides the error of the network (ECONNREFUSED) in its cause, fast-jwt that of the key.
    const inner = error.cause ?? error.originalError;
    answer = { error: `${error.code ?? error.name}: ${error.message}${inner ? ` (${inner.message})` : ""}` };
  }
  console.log(JSON.stringify(answer));
}
