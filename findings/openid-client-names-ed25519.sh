#!/usr/bin/env bash
# openid-client 6.9.0 with jose 6.2.18 on Node.js 20.20.2
#
# Behaviour: a key imported from a JWK with alg "EdDSA" signs a client assertion whose header says "Ed25519".
# An authorization server that looks for a key by kid and alg finds none, since the published JWK says "EdDSA".
# A Web Crypto key does not remember the alg of its JWK, and oauth4webapi, which openid-client uses, derives the name of
# RFC 9864 from the key.
# Expected instead: the header repeats the alg of the JWK.
#
# Output seen:
#   jwk: EdDSA
#   header: Ed25519
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >npm.log
npm install --no-audit --no-fund --loglevel=error openid-client@6.9.0 oauth4webapi@3.8.8 jose@6.2.18 >>npm.log
cat >assertion.mjs <<'JS'
import crypto from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { decodeProtectedHeader, importJWK } from "jose";
import * as openid from "openid-client";

const { privateKey } = crypto.generateKeyPairSync("ed25519");
const jwk = { ...privateKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: "EdDSA" };
let assertion;
const server = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  assertion = new URLSearchParams(body).get("client_assertion");
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ access_token: "access", token_type: "bearer" }));
}).listen(0, "127.0.0.1");
await once(server, "listening");
const metadata = { issuer: "https://as.example.com", token_endpoint: `http://127.0.0.1:${server.address().port}/token` };
const authentication = openid.PrivateKeyJwt({ key: await importJWK(jwk, jwk.alg), kid: jwk.kid });
const config = new openid.Configuration(metadata, "client", undefined, authentication);
openid.allowInsecureRequests(config);
await openid.clientCredentialsGrant(config);
server.close();
console.log(`jwk: ${jwk.alg}\nheader: ${decodeProtectedHeader(assertion).alg}`);
JS
node assertion.mjs | tee seen
printf 'jwk: EdDSA\nheader: Ed25519\n' | diff - seen
