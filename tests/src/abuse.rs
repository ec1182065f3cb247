//! Tokens of attackers, made from a good one: each is what somebody once got through somewhere.
//!
//! Where it matters, the key is the right one: what is wrong must be found although the signature is
//! good.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Map, Value, json};

/// Whoever signs the good token.
pub struct Forge {
    /// The key.
    pub pair: Ed25519KeyPair,
    /// Its header.
    pub header: Value,
    /// What it says.
    pub claims: Value,
    /// The `typ` of another kind of token of the same signer.
    pub other_type: &'static str,
    /// The claim that says whose token it is.
    pub subject: &'static str,
}

/// The order of the curve's group, little-endian (RFC 8032 §5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

impl Forge {
    /// Reads header and claims of a good token; the key is that of its signer.
    pub fn of(
        token: &str,
        pair: Ed25519KeyPair,
        other_type: &'static str,
        subject: &'static str,
    ) -> Self {
        let parts: Vec<_> = token.split('.').collect();
        let part = |at: usize| {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[at]).unwrap()).unwrap()
        };
        Self { pair, header: part(0), claims: part(1), other_type, subject }
    }

    fn signed(&self, header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn good(&self) -> String {
        self.signed(&self.header.to_string(), &self.claims.to_string())
    }

    fn header(&self, change: Value) -> String {
        self.signed(&changed(&self.header, change).to_string(), &self.claims.to_string())
    }

    fn claims(&self, change: Value) -> String {
        self.signed(&self.header.to_string(), &changed(&self.claims, change).to_string())
    }

    /// The good token first, then all that are not.
    pub fn tokens(&self) -> Vec<(String, String)> {
        let mut all = vec![("good".to_owned(), self.good())];
        for (group, part) in [
            ("algorithm", self.algorithms()),
            ("header", self.headers()),
            ("form", self.forms()),
            ("signature", self.signatures()),
            ("claim", self.all_claims()),
        ] {
            all.extend(part.into_iter().map(|(what, token)| (format!("{group}: {what}"), token)));
        }
        all
    }

    fn algorithms(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for name in ["none", "None", "NONE", "nOnE", ""] {
            let unsigned = self.header(json!({"alg": name}));
            let message = unsigned.rsplit_once('.').unwrap().0;
            all.push((format!("`{name}`, unsigned"), format!("{message}.")));
            all.push((format!("`{name}`, signed"), unsigned));
        }
        for name in ["HS256", "HS512"] {
            let message = self.header(json!({"alg": name}));
            let message = message.rsplit_once('.').unwrap().0;
            let kind =
                if name == "HS256" { ring::hmac::HMAC_SHA256 } else { ring::hmac::HMAC_SHA512 };
            let key = ring::hmac::Key::new(kind, self.pair.public_key().as_ref());
            let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
            all.push((format!("{name} with the public key"), format!("{message}.{tag}")));
        }
        for name in ["RS256", "PS256", "ES256", "ES256K", "ES384", "ed25519", "eddsa", "EdDSA "] {
            all.push((format!("`{name}`"), self.header(json!({"alg": name}))));
        }
        all.push(("null".into(), self.header(json!({"alg": null}))));
        all.push(("a list".into(), self.header(json!({"alg": ["EdDSA"]}))));
        all.push(("absent".into(), self.header(json!({"alg": REMOVED}))));
        all
    }

    fn headers(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (what, change) in [
            ("`crit`", json!({"crit": ["exp"]})),
            ("an empty `crit`", json!({"crit": []})),
            ("`b64` false", json!({"b64": false})),
            ("`b64` true", json!({"b64": true})),
            ("`zip`", json!({"zip": "DEF"})),
            ("another key's `kid`", json!({"kid": "other"})),
            ("a path as `kid`", json!({"kid": "../../../../etc/passwd"})),
            ("SQL as `kid`", json!({"kid": "x' OR '1'='1"})),
            ("a URL as `kid`", json!({"kid": "http://169.254.169.254/latest"})),
            ("10 KB of `kid`", json!({"kid": "k".repeat(10_000)})),
            ("a number as `kid`", json!({"kid": 1})),
            ("a list as `kid`", json!({"kid": [self.header["kid"]]})),
            ("null as `kid`", json!({"kid": null})),
            ("an empty `kid`", json!({"kid": ""})),
            ("no `kid`", json!({"kid": REMOVED})),
            ("a DPoP proof's `typ`", json!({"typ": "dpop+jwt"})),
            ("a logout token's `typ`", json!({"typ": "logout+jwt"})),
            ("an event's `typ`", json!({"typ": "secevent+jwt"})),
            ("another kind's `typ`", json!({"typ": self.other_type})),
            ("a number as `typ`", json!({"typ": 1})),
            (
                "`jku`, `x5u`",
                json!({"jku": "http://169.254.169.254/", "x5u": "file:///etc/passwd"}),
            ),
        ] {
            all.push((what.to_owned(), self.header(change)));
        }
        let thief = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let thief = Ed25519KeyPair::from_pkcs8(thief.as_ref()).unwrap();
        let jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(thief.public_key()),
        });
        let header = changed(&self.header, json!({"jwk": jwk, "x5c": ["MIIB"]}));
        let other = Self { pair: thief, header, claims: self.claims.clone(), ..*self };
        all.push(("the thief's own `jwk`".into(), other.good()));
        let (kid, claims) = (self.header["kid"].to_string(), self.claims.to_string());
        let twins =
            format!(r#"{{"alg":"none","alg":"EdDSA","kid":{kid},"typ":{}}}"#, self.header["typ"]);
        all.push(("`alg` twice".into(), self.signed(&twins, &claims)));
        all.push(("a list".into(), self.signed("[]", &claims)));
        all.push(("no JSON".into(), self.signed("alg=EdDSA", &claims)));
        let deep = format!("{}{}{}", r#"{"alg":"EdDSA","x":"#, "[".repeat(3000), "]".repeat(3000));
        all.push(("3,000 lists deep".into(), self.signed(&format!("{deep}}}"), &claims)));
        all
    }

    fn forms(&self) -> Vec<(String, String)> {
        let good = self.good();
        let parts: Vec<_> = good.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { unreachable!() };
        let again = |engine: &dyn Fn(&[u8]) -> String, part: &str| {
            engine(&URL_SAFE_NO_PAD.decode(part).unwrap())
        };
        let spaced = self.signed(&self.header.to_string(), &format!(" {}\n", self.claims));
        let json = json!({
            "payload": claims, "protected": header, "signature": signature,
        });
        [
            ("spaces within the JSON", spaced),
            ("two parts", format!("{header}.{claims}")),
            ("four parts", format!("{good}.")),
            ("five parts", format!("{header}.{claims}.{signature}.{claims}.{signature}")),
            ("JSON serialization", json.to_string()),
            ("a token in a token", self.signed(&self.header.to_string(), &good)),
            ("padding", format!("{header}.{claims}.{}", again(&|b| URL_SAFE.encode(b), signature))),
            ("the other alphabet", again(&|b| STANDARD.encode([b, &[0xff; 3]].concat()), claims)),
            ("a line break", format!("{header}.{claims}.\n{signature}")),
            ("a space in front", format!(" {good}")),
            ("a tab behind", format!("{good}\t")),
            ("a word in front", format!("Bearer {good}")),
            ("two tokens", format!("{good},{good}")),
            ("a loose bit at the end", loose(&good)),
            ("100 KB", format!("{header}.{}.{signature}", "e".repeat(100_000))),
            ("nothing", String::new()),
            ("dots", "..".to_owned()),
        ]
        .map(|(what, token)| (what.to_owned(), token))
        .into()
    }

    fn signatures(&self) -> Vec<(String, String)> {
        let good = self.good();
        let (message, signature) = good.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let with = |bytes: &[u8]| format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes));
        let mut flipped = bytes.clone();
        flipped[17] ^= 4;
        let (head, tail) = message.split_once('.').unwrap();
        let other = self.claims(json!({"sub": "somebody else"}));
        let other = other.split('.').nth(1).unwrap().to_owned();
        [
            ("none", format!("{message}.")),
            ("zeros", with(&[0; 64])),
            ("one bit", with(&flipped)),
            ("cut", with(&bytes[..63])),
            ("longer", with(&[&bytes[..], &[0]].concat())),
            ("its twin, S + L", with(&malleable(&bytes))),
            ("of other claims", format!("{head}.{other}.{signature}")),
            ("of the claims alone", {
                let own = self.pair.sign(tail.as_bytes());
                with(own.as_ref())
            }),
        ]
        .map(|(what, token)| (what.to_owned(), token))
        .into()
    }

    fn all_claims(&self) -> Vec<(String, String)> {
        let now = crate::now().as_second();
        let issuer = self.claims["iss"].as_str().unwrap();
        let audience = self.claims["aud"].as_str().unwrap();
        let subject = self.claims[self.subject].as_str().unwrap();
        let host = issuer.strip_prefix("https://").unwrap();
        let mut all = Vec::new();
        let mut add = |what: &str, change: Value| all.push((what.to_owned(), self.claims(change)));
        for (name, value) in [
            ("text", json!((now + 60).to_string())),
            ("negative", json!(-1)),
            ("null", json!(null)),
            ("a list", json!([now + 60])),
            ("true", json!(true)),
            ("1e300", json!(1e300)),
            ("absent", json!(REMOVED)),
            ("over", json!(now - 60)),
            ("to come", json!(now + 60)),
            ("a fraction", json!(0.5)),
            ("u64::MAX", json!(u64::MAX)),
        ] {
            for claim in ["exp", "nbf", "iat"] {
                add(&format!("`{claim}` {name}"), json!({claim: value}));
            }
        }
        for (what, value) in [
            ("with a slash", format!("{issuer}/")),
            ("in capitals", issuer.to_uppercase()),
            ("with the port", format!("{issuer}:443")),
            ("with a user", format!("https://x@{host}")),
            ("without TLS", format!("http://{host}")),
            ("as punycode", format!("https://xn--{host}")),
            ("with %2f", format!("{issuer}%2f")),
            ("with a fragment", format!("{issuer}#")),
            ("with a space", format!("{issuer} ")),
            ("twice", format!("{issuer},{issuer}")),
            ("another", "https://evil.example".to_owned()),
        ] {
            add(&format!("`iss` {what}"), json!({"iss": value}));
        }
        for (what, value) in [
            ("a list of it", json!([audience])),
            ("one of many", json!(["x", audience])),
            ("an empty list", json!([])),
            ("a list with a number", json!([audience, 1])),
            ("an object", json!({audience: true})),
            ("null", json!(null)),
            ("absent", json!(REMOVED)),
            ("a part", json!(audience[..audience.len() - 1])),
            ("longer", json!(format!("{audience}x"))),
            ("with a slash", json!(format!("{audience}/"))),
            ("in capitals", json!(audience.to_uppercase())),
            ("several in one", json!(format!("{audience} x"))),
            ("a star", json!("*")),
        ] {
            add(&format!("`aud` {what}"), json!({"aud": value}));
        }
        for (what, value) in [
            ("absent", json!(REMOVED)),
            ("empty", json!("")),
            ("a number", json!(1)),
            ("a list", json!([subject])),
            ("with a line break", json!(format!("{subject}\nx"))),
            ("with a NUL", json!(format!("{subject}\0"))),
            ("with bidi", json!(format!("\u{202e}{subject}"))),
            ("with a twin letter", json!(subject.replace('a', "а"))),
            ("with ..", json!(format!("{subject}/.."))),
            ("10 KB", json!(subject.repeat(400))),
        ] {
            add(&format!("`{}` {what}", self.subject), json!({self.subject: value}));
        }
        add("`iss` absent", json!({"iss": REMOVED}));
        add("`iss` a list", json!({"iss": [issuer]}));
        let claims = self.claims.to_string();
        let header = self.header.to_string();
        for claim in ["exp", "aud", "iss", "sub"] {
            let twins = claims.replacen('{', &format!("{{\"{claim}\":{},", self.claims[claim]), 1);
            all.push((format!("`{claim}` twice"), self.signed(&header, &twins)));
        }
        let huge = claims.replacen(&self.claims["exp"].to_string(), "1e999", 1);
        all.push(("`exp` 1e999".into(), self.signed(&header, &huge)));
        all.push(("a list".into(), self.signed(&header, "[]")));
        all.push(("no UTF-8".into(), {
            let message = format!(
                "{}.{}",
                URL_SAFE_NO_PAD.encode(&header),
                URL_SAFE_NO_PAD.encode(b"{\"a\":\"\xff\"}")
            );
            let signature = self.pair.sign(message.as_bytes());
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
        }));
        all
    }
}

/// Stands for a member that is taken out.
const REMOVED: &str = "\u{0}removed";

fn changed(object: &Value, change: Value) -> Value {
    let mut object: Map<String, Value> = object.as_object().unwrap().clone();
    let Value::Object(change) = change else { unreachable!() };
    for (name, value) in change {
        if value == REMOVED {
            object.remove(&name);
        } else {
            object.insert(name, value);
        }
    }
    Value::Object(object)
}

/// The same bytes, spelled with a bit that belongs to no byte.
fn loose(token: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let place = ALPHABET.iter().position(|letter| [*letter] == *last.as_bytes()).unwrap();
    format!("{rest}{}", char::from(ALPHABET[place ^ 1]))
}

/// The same signature with S + L: equal for a verifier that does not bound S (RFC 8032 §8.4).
fn malleable(signature: &[u8]) -> Vec<u8> {
    let mut twin = signature.to_vec();
    let mut carry = 0_u16;
    for (byte, order) in twin[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    twin
}
