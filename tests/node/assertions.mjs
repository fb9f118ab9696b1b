// An authorization server, and clients that authenticate to it with a key (private_key_jwt).
//
// usage: node assertions.mjs JWKS_URL CLIENT <requests
//
// The server is oidc-provider, which reads the JWK Set of CLIENT at JWKS_URL. Each line has the library of a client and its
// private JWK, {"library":"openid-client","jwk":{…}}. For each, in the same order, it prints a line:
//   {"ok":"the alg of the assertion"}   or   {"error":"the message of the server"}

import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

import { decodeProtectedHeader, importJWK } from "jose";
import Provider from "oidc-provider";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";

// The server logs to standard output.
console.info = console.error;

const [jwksUri, clientId] = process.argv.slice(2);

const listener = createServer().listen(0, "127.0.0.1");
await once(listener, "listening");
const issuer = `http://127.0.0.1:${listener.address().port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: clientId,
      token_endpoint_auth_method: "private_key_jwt",
      jwks_uri: jwksUri,
      grant_types: ["client_credentials"],
      response_types: [],
      redirect_uris: [],
    },
  ],
  clientAuthMethods: ["private_key_jwt"],
  enabledJWA: { clientAuthSigningAlgValues: ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"] },
  // Its own fetch refuses addresses of this machine.
  fetch: (target, options) => fetch(target, { ...options, dispatcher: undefined }),
  features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
});
let seen, alg;
provider.on("grant.error", (_, error) => (seen = `${error.message}: ${error.error_detail}`));
// The header of an assertion names its algorithm.
provider.on("grant.success", ({ oidc }) => (alg = decodeProtectedHeader(oidc.body.client_assertion).alg));
listener.on("request", provider.callback());

const clients = {
  async "openid-client"(key, kid) {
    const authentication = openid.PrivateKeyJwt({ key, kid });
    const options = { execute: [openid.allowInsecureRequests] };
    const config = await openid.discovery(new URL(issuer), clientId, undefined, authentication, options);
    return openid.clientCredentialsGrant(config);
  },

  async oauth4webapi(key, kid) {
    const insecure = { [oauth.allowInsecureRequests]: true };
    const found = await oauth.discoveryRequest(new URL(issuer), insecure);
    const server = await oauth.processDiscoveryResponse(new URL(issuer), found);
    const client = { client_id: clientId };
    const authentication = oauth.PrivateKeyJwt({ key, kid });
    const response = await oauth.clientCredentialsGrantRequest(server, client, authentication, {}, insecure);
    return oauth.processClientCredentialsResponse(server, client, response);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { library, jwk } = JSON.parse(line);
  seen = alg = undefined;
  let said;
  try {
    const { access_token: token } = await clients[library](await importJWK(jwk, jwk.alg), jwk.kid);
    said = token ? { ok: alg } : { error: "no token" };
  } catch (error) {
    said = { error: seen ?? error.message };
  }
  console.log(JSON.stringify(said));
}
// fetch keeps connections for a while.
process.exit();
