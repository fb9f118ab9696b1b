// Verify tokens as a service does that uses the npm package jose.
//
// usage: node verify.mjs JWKS_URL ISSUER AUDIENCE <tokens
//
// Reads one token a line and prints one JSON line for each, in the same order:
//   {"ok":true,"payload":{…}}   or   {"ok":false,"code":"ERR_…"}
//
// All tokens of a run share one remote set, with jose's own cache and cooldown.

import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";

// Node.js 18, which Debian 12 ships, has Web Crypto but no global for it. jose looks for the
// global, so it is imported after this line and not above.
globalThis.crypto ??= webcrypto;
const { createRemoteJWKSet, jwtVerify } = await import("jose");

const [url, issuer, audience, ...rest] = process.argv.slice(2);
if (audience === undefined || rest.length > 0) {
  console.error("usage: node verify.mjs JWKS_URL ISSUER AUDIENCE <tokens");
  process.exit(2);
}

const keys = createRemoteJWKSet(new URL(url));
for await (const token of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let result;
  try {
    const { payload } = await jwtVerify(token, keys, { issuer, audience });
    result = { ok: true, payload };
  } catch (error) {
    // Errors of jose have a code; fetch hides the one of the network (ECONNREFUSED) in its cause.
    result = { ok: false, code: error.code ?? error.cause?.code ?? error.name };
  }
  console.log(JSON.stringify(result));
}
