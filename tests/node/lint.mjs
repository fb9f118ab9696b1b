// Verify tokens by JWK Sets that may be broken, each with a remote set of its own.
//
// Reads JSON lines {"jwks_uri", "token"} and prints a JSON line for each, in the same order:
// {"jose": "…", "jwks-rsa": "…", …}, each empty if the token was accepted, else the code of the error.

import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";

// As in verify.mjs.
globalThis.crypto ??= webcrypto;
const { createRemoteJWKSet, jwtVerify } = await import("jose");
const { default: jwksClient } = await import("jwks-rsa");
const { default: jsonwebtoken } = await import("jsonwebtoken");
const oauth = await import("oauth4webapi");

const algorithms = ["256", "384", "512"].flatMap((size) => [`RS${size}`, `PS${size}`, `ES${size}`]);
algorithms.push("ES256K", "EdDSA", "Ed25519", "Ed448");

const verifiers = {
  jose: ({ jwks_uri, token }) => jwtVerify(token, createRemoteJWKSet(new URL(jwks_uri))),

  "jwks-rsa"({ jwks_uri, token }) {
    const client = jwksClient({ jwksUri: jwks_uri });
    const getKey = ({ kid }, callback) =>
      client.getSigningKey(kid, (error, key) => callback(error, key?.getPublicKey()));
    return new Promise((resolve, reject) =>
      jsonwebtoken.verify(token, getKey, {}, (error, claims) => (error ? reject(error) : resolve(claims))),
    );
  },

  // As an ID token in the response of a token endpoint, like openid-client.
  async oauth4webapi({ jwks_uri, token }) {
    const issuer = "https://issuer.example";
    const as = { issuer, jwks_uri, id_token_signing_alg_values_supported: algorithms };
    const response = Response.json({ access_token: "none", token_type: "bearer", id_token: token });
    await oauth.processGenericTokenEndpointResponse(as, { client_id: "app" }, response);
    await oauth.validateApplicationLevelSignature(as, response, { [oauth.allowInsecureRequests]: true });
  },
};

async function why(verify, question) {
  try {
    await verify(question);
    return "";
  } catch (error) {
    return String(error.code ?? error.cause?.code ?? error.message);
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const question = JSON.parse(line);
  const answer = {};
  for (const [name, verify] of Object.entries(verifiers)) {
    answer[name] = await why(verify, question);
  }
  console.log(JSON.stringify(answer));
}
