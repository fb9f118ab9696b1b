//! Verify tokens by JWK Sets that may be broken, with the crate jsonwebtoken.
//!
//! Reads JSON lines {"jwks_uri", "token"} and prints a JSON line for each, in the same order:
//! {"jsonwebtoken": "…"}, empty where the token was accepted, else why it was not. The library
//! fetches nothing: the program gives it the bytes of the JWK Set.

use std::{error::Error, io, panic};

use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Question {
    jwks_uri: String,
    token: String,
}

fn verify(question: &Question) -> Result<(), Box<dyn Error>> {
    let body = ureq::get(&question.jwks_uri)
        .call()?
        .body_mut()
        .read_to_vec()?;
    let keys: JwkSet = serde_json::from_slice(&body)?;
    let header = decode_header(&question.token)?;
    let jwk = keys
        .find(&header.kid.unwrap_or_default())
        .ok_or("no key has the kid")?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["app"]);
    decode::<Value>(&question.token, &DecodingKey::from_jwk(jwk)?, &validation)?;
    Ok(())
}

/// Return why a token is refused, in whatever way; empty where it is accepted.
fn why(question: &Question) -> String {
    match panic::catch_unwind(|| verify(question).err().map(|error| error.to_string())) {
        Ok(refused) => refused.unwrap_or_default(),
        Err(_) => "refused".to_string(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    panic::set_hook(Box::new(|_| ()));
    for line in io::stdin().lines() {
        let question: Question = serde_json::from_str(&line?)?;
        println!("{}", json!({ "jsonwebtoken": why(&question) }));
    }
    Ok(())
}
