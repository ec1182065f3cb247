//! What GitHub asks of an App JWT beyond its signature, which is checked behind the front.
//!
//! Source: GitHub's documentation of JSON web tokens for GitHub Apps: `iat`, `exp` and `iss` are
//! required, and `exp` is no more than ten minutes ahead.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;

/// Ten minutes in seconds.
const LONGEST: i64 = 600;

/// The claims that the front looks at.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) issuer: String,
}

/// Checks the life of a JWT; the error is a sentence for the answer.
pub(super) fn check(jwt: &str, now: Timestamp) -> Result<Claims, &'static str> {
    let mut parts = jwt.split('.');
    let (Some(header), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("A JSON web token could not be decoded");
    };
    let header = json(header).ok_or("A JSON web token could not be decoded")?;
    let claims = json(payload).ok_or("A JSON web token could not be decoded")?;
    if header["alg"] != "RS256" {
        return Err("The JSON web token is not signed with RS256");
    }

    let issued = claims["iat"].as_i64().ok_or("'Issued at' claim ('iat') must be an Integer")?;
    let expires = claims["exp"].as_i64().ok_or("'Expiration' claim ('exp') must be an Integer")?;
    let now = now.as_second();
    if expires <= now {
        return Err("'Expiration' claim ('exp') is in the past");
    }
    if expires - issued > LONGEST || expires - now > LONGEST {
        return Err("'Expiration time' claim ('exp') is too far in the future");
    }
    let issuer = match &claims["iss"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err("'Issuer' claim ('iss') is missing"),
    };
    Ok(Claims { issuer })
}

fn json(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
