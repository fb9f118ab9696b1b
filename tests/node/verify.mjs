// Verify tokens like a service with one of npm's libraries.
//
// usage: node verify.mjs VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens
//
// Reads one token a line and prints one JSON line for each, in the same order:
//   {"ok":"the sub of the token"}   or   {"error":"the message of the library"}
//
// All tokens of a run share the library's cache.

import { webcrypto } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

// Node.js 18, which Debian 12 ships, has Web Crypto but no global for it. jose looks for the
// global, so libraries are imported after this line and not above.
globalThis.crypto ??= webcrypto;

const [name, url, issuer, audience, algs] = process.argv.slice(2);
const algorithms = algs.split(",");

// Factories of functions from a token to its claims, by the name of the library that fetches.
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
    // It adds its default path unless another is given.
    const { origin, pathname } = new URL(url);
    const jwks = buildGetJwks({ jwksPath: pathname });
    const key = ({ header: { kid, alg } }) => jwks.getPublicKey({ kid, alg, domain: origin });
    return createVerifier({ key, algorithms, allowedIss: issuer, allowedAud: audience });
  },

  async "aws-jwt-verify"() {
    const { JwtVerifier } = await import("aws-jwt-verify");
    // It uses the algorithm of the key.
    const verifier = JwtVerifier.create({ jwksUri: url, issuer, audience });
    return (token) => verifier.verify(token);
  },

  async "express-jwt"() {
    const { auth } = await import("express-oauth2-jwt-bearer");
    // It uses the algorithm of the key, or a configured one.
    return byExpress(auth({ jwksUri: url, issuer, audience }), (request) => request.auth.payload);
  },

  async "passport-jwt"() {
    const { default: passport } = await import("passport");
    const { default: jwt } = await import("passport-jwt");
    const { default: jwksClient } = await import("jwks-rsa");
    const settings = {
      secretOrKeyProvider: jwksClient.passportJwtSecret({ jwksUri: url }),
      jwtFromRequest: jwt.ExtractJwt.fromAuthHeaderAsBearerToken(),
      issuer,
      audience,
      algorithms,
    };
    const strategy = new jwt.Strategy(settings, (claims, done) => done(null, claims));
    const guard = (request, response, next) =>
      passport.authenticate(strategy, { session: false }, (error, user, info) => {
        request.user = user;
        next(error ?? (user ? undefined : info));
      })(request, response, next);
    return byExpress(guard, (request) => request.user);
  },

  // A client that exchanges the code after the redirect: the token is its ID token.
  async oauth4webapi() {
    const oauth = await import("oauth4webapi");
    const server = { issuer, jwks_uri: url, id_token_signing_alg_values_supported: algorithms };
    const client = { client_id: audience };
    return async (token) => {
      const response = Response.json({ access_token: "access", token_type: "bearer", id_token: token });
      const result = await oauth.processAuthorizationCodeResponse(server, client, response);
      await oauth.validateApplicationLevelSignature(server, response, { [oauth.allowInsecureRequests]: true });
      return oauth.getValidatedIdTokenClaims(result);
    };
  },

  async "openid-client"() {
    const openid = await import("openid-client");
    let current;
    const endpoint = await listening((request, response) => {
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify({ access_token: "access", token_type: "bearer", id_token: current }));
    });
    const server = {
      issuer,
      jwks_uri: url,
      token_endpoint: `${endpoint}/token`,
      id_token_signing_alg_values_supported: algorithms,
    };
    const config = new openid.Configuration(server, audience, undefined, openid.None());
    openid.allowInsecureRequests(config);
    openid.enableNonRepudiationChecks(config);
    return async (token) => {
      current = token;
      const back = new URL("https://client.example.com/callback?code=code");
      const tokens = await openid.authorizationCodeGrant(config, back, { idTokenExpected: true });
      return tokens.claims();
    };
  },

  // An authorization server that AUDIENCE names; the token is the assertion of a client that ISSUER names.
  async "oidc-provider"() {
    // It logs to standard output.
    console.info = console.error;
    const { default: Provider } = await import("oidc-provider");
    // It starts only with algorithms that it supports.
    const known = algorithms.filter((alg) => /^([RP]S\d+|ES(256|384|512)|EdDSA|Ed25519)$/.test(alg));
    const provider = new Provider(audience, {
      clients: [
        {
          client_id: issuer,
          token_endpoint_auth_method: "private_key_jwt",
          jwks_uri: url,
          grant_types: ["client_credentials"],
          response_types: [],
          redirect_uris: [],
        },
      ],
      clientAuthMethods: ["private_key_jwt"],
      enabledJWA: { clientAuthSigningAlgValues: known.length ? known : algorithms },
      // Its own fetch refuses addresses of this machine.
      fetch: (target, options) => fetch(target, { ...options, dispatcher: undefined }),
      features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    });
    let seen;
    provider.on("grant.success", ({ oidc }) => (seen = { sub: oidc.client.clientId }));
    provider.on("grant.error", (_, error) => (seen = error));
    provider.on("server_error", (_, error) => (seen = error));
    const server = await listening(provider.callback());
    return async (token) => {
      await fetch(`${server}/token`, {
        method: "POST",
        body: new URLSearchParams({
          grant_type: "client_credentials",
          client_assertion: token,
          client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }),
      });
      if (seen instanceof Error) throw seen;
      return seen;
    };
  },
};

// Serve *listener* on this machine until the program ends, and return its address.
async function listening(listener) {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  server.unref();
  return `http://127.0.0.1:${server.address().port}`;
}

// Return the function from a token to its claims, with an Express app that *guard* protects.
async function byExpress(guard, claims) {
  const { default: express } = await import("express");
  const app = express();
  app.get("/", guard, (request, response) => response.json(claims(request)));
  app.use((error, request, response, next) =>
    response.status(401).json(response.headersSent ? next(error) : `${error.code ?? error.name}: ${error.message}`),
  );
  const server = await listening(app);
  return async (token) => {
    const response = await fetch(server, { headers: { Authorization: `Bearer ${token}` } });
    if (!response.ok) throw new Error(await response.json());
    return response.json();
  };
}

// Return the messages of an error and its causes: fetch hides the network error (ECONNREFUSED) in its cause, fast-jwt the
// key error, oidc-provider the details that the client does not get.
function words(error) {
  const inner = error.cause ?? error.originalError;
  return [error.message, error.error_detail, ...(inner instanceof Error ? words(inner) : [])].filter(Boolean);
}

let verify;
for await (const token of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let answer;
  try {
    verify ??= await verifiers[name]();
    answer = { ok: (await verify(token)).sub };
  } catch (error) {
    answer = { error: `${error.code ?? error.name}: ${words(error).join(": ")}` };
  }
  console.log(JSON.stringify(answer));
}
// fetch keeps connections open for some time.
process.exit();
