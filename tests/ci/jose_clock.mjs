// Verify tokens with the npm package jose under a clock of the test's own.
//
// usage: node jose_clock.mjs JWKS_URL ISSUER AUDIENCE <lines
//
// A line is {"now": milliseconds, "token": "…"}; for each, one line {"ok": true} or {"ok": false, "code": "…"} is
// printed. All share one remote set, whose cache and cooldown go by that clock.

import { webcrypto } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// Node.js 18, which Debian 12 ships, has Web Crypto but no global for it.
globalThis.crypto ??= webcrypto;
const require = createRequire(new URL("../node/", import.meta.url));
const { createRemoteJWKSet, jwtVerify } = await import(pathToFileURL(require.resolve("jose")));

const [url, issuer, audience] = process.argv.slice(2);
let now = 0;
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...values) {
    super(...(values.length ? values : [now]));
  }
  static now() {
    return now;
  }
};

const keys = createRemoteJWKSet(new URL(url));
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const asked = JSON.parse(line);
  now = asked.now;
  let result = { ok: true };
  try {
    await jwtVerify(asked.token, keys, { issuer, audience });
  } catch (error) {
    result = { ok: false, code: error.code ?? error.cause?.code ?? error.name };
  }
  console.log(JSON.stringify(result));
}
