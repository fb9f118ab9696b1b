//! Verify tokens as a service does that uses the crate jsonwebtoken.
//!
//! usage: verify VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens
//!
//! Reads one token a line and prints one JSON line for each, in the same order:
//! {"ok": "the sub of the token"} or {"error": "what the library says"}. The library fetches
//! nothing: the program gives it the JWK Set, once.

use std::{env, error::Error, io};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde::Deserialize;
use serde_json::json;

#[derive(Clone, Deserialize)]
struct Claims {
    sub: String,
}

fn fetch(url: &str) -> Result<JwkSet, Box<dyn Error>> {
    Ok(ureq::get(url).call()?.body_mut().read_json()?)
}

/// Return the sub of a token. The crate takes several algorithms only where one key type has them
/// all: that of the token is checked here, and is then the only one.
fn verify(
    keys: &JwkSet,
    token: &str,
    issuer: &str,
    audience: &str,
    algs: &str,
) -> Result<String, Box<dyn Error>> {
    let header = decode_header(token)?;
    let known: Vec<Algorithm> = algs.split(',').filter_map(|alg| alg.parse().ok()).collect();
    if !known.contains(&header.alg) {
        return Err(format!("{:?} is not expected", header.alg).into());
    }
    let jwk = keys
        .find(&header.kid.unwrap_or_default())
        .ok_or("no key has the kid")?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    Ok(
        decode::<Claims>(token, &DecodingKey::from_jwk(jwk)?, &validation)?
            .claims
            .sub,
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, _, url, issuer, audience, algs] = arguments.as_slice() else {
        return Err("usage: verify VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…]".into());
    };
    let keys = fetch(url).map_err(|error| error.to_string());
    for token in io::stdin().lines() {
        let verdict = match &keys {
            Ok(keys) => {
                verify(keys, &token?, issuer, audience, algs).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.clone()),
        };
        println!(
            "{}",
            verdict.map_or_else(|error| json!({"error": error}), |sub| json!({"ok": sub}))
        );
    }
    Ok(())
}
