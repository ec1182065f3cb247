//! A JSON body, read in the one way that every reader behind us reads it too, or not at all.
//!
//! Why so strict: of two keys that are the same, or differ only in case, one reader takes the first and another
//! the last, and what was decided would not be what is done.

use std::{cell::Cell, collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::{
    id::quote,
    limits::{BODY_VALUES, DOTTED},
};

/// Why a body is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is no text.
    #[error("the body is not UTF-8; send JSON in UTF-8")]
    Utf8,
    /// It is no JSON, or JSON that can be read in two ways.
    #[error("the body is no JSON that is taken: {0}")]
    Json(String),
    /// It is no object.
    #[error("the body is no JSON object; send one call at a time, as one object")]
    NoObject,
}

/// A JSON value without keys that could be meant for each other.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(Number),
    /// A string, decoded.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole body that is one object.
    ///
    /// # Errors
    /// When it is none, or none that has one meaning.
    pub fn object(bytes: &[u8]) -> Result<Self, BodyError> {
        let text = str::from_utf8(bytes).map_err(|_| BodyError::Utf8)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let left = Cell::new(BODY_VALUES);
        let read =
            Read(&left).deserialize(&mut reader).and_then(|json| reader.end().map(|()| json));
        let json = read.map_err(|error| BodyError::Json(quote(&error.to_string())))?;
        match json {
            Self::Object(_) => Ok(json),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => {
                Err(BodyError::NoObject)
            }
        }
    }

    /// Its fields, if it is an object.
    #[must_use]
    pub fn fields(&self) -> Option<&[(String, Json)]> {
        match self {
            Self::Object(fields) => Some(fields),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// A field, if it is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.fields()?.iter().find(|(own, _)| own == key).map(|(_, value)| value)
    }

    /// What stands at a place in it. Never looks into lists.
    #[must_use]
    pub fn at(&self, place: &[String]) -> Option<&Self> {
        place.iter().try_fold(self, |json, key| json.get(key))
    }

    /// What it is as a part of a resource's name: a string, or a whole number that is not negative.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => {
                number.as_u64().filter(|number| *number <= EXACT).map(|number| number.to_string())
            }
            Self::Null | Self::Bool(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

/// Largest whole number that everybody reads as itself: a reader that makes floating-point numbers of all rounds
/// larger ones (RFC 8259 §6).
pub(super) const EXACT: u64 = (1 << 53) - 1;

/// Reads one value, and counts it.
#[derive(Clone, Copy)]
struct Read<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Json, D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0.set(
            left.ok_or_else(|| {
                D::Error::custom(format!("it holds more than {BODY_VALUES} values"))
            })?,
        );
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        let number = Number::from_f64(value);
        number.map(Json::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let (mut fields, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some(key) = entries.next_key::<String>()? {
            // Why: a reader in C ends a text at the first NUL.
            if key.chars().any(char::is_control) {
                let words = format!("the key `{}` holds a control character", quote(&key));
                return Err(A::Error::custom(words));
            }
            if !seen.insert(folded(&key)) {
                let words = format!(
                    "the key `{}` stands there twice, or twice but for its case",
                    quote(&key)
                );
                return Err(A::Error::custom(words));
            }
            fields.push((key, entries.next_value_seed(self)?));
        }
        Ok(Json::Object(fields))
    }
}

/// A key without its case. Why up and down again: some letters, such as `ſ`, have the same capital as another.
fn folded(key: &str) -> String {
    key.to_uppercase().to_lowercase()
}

/// A place in a body: keys with dots between them, such as `parent.type`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dotted(Vec<String>);

impl Dotted {
    /// Reads it. `None` if it names no place.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let keys: Vec<_> = text.split('.').map(str::to_owned).collect();
        let good = |key: &String| {
            !key.is_empty() && !key.contains(['{', '}']) && !key.chars().any(char::is_control)
        };
        (keys.len() <= DOTTED && keys.iter().all(good)).then_some(Self(keys))
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// What a route may want to stand at a place.
///
/// Compared as JSON has it: the string `"7"` is not the number `7`, `"true"` is not `true`, and `7.0` is not `7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Constant {
    /// A string.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// `true` or `false`.
    Bool(bool),
}

impl Constant {
    /// Whether a value is this one.
    #[must_use]
    pub fn is(&self, json: &Json) -> bool {
        match (self, json) {
            (Self::Text(own), Json::Text(text)) => own == text,
            (Self::Whole(own), Json::Number(number)) => number.as_i64() == Some(*own),
            (Self::Bool(own), Json::Bool(value)) => own == value,
            (Self::Text(_) | Self::Whole(_) | Self::Bool(_), _) => false,
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str) -> String {
        Json::object(text.as_bytes()).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_body_that_two_readers_could_read_differently_is_none() {
        for (text, words) in [
            ("", "EOF"),
            ("[]", "one call at a time"),
            ("[{}]", "one call at a time"),
            ("\"x\"", "one call at a time"),
            ("null", "one call at a time"),
            ("{\"a\":1,\"a\":2}", "twice"),
            ("{\"a\":1,\"\\u0061\":2}", "twice"),
            ("{\"base\":1,\"Base\":2}", "twice"),
            ("{\"base\":1,\"ba\u{17f}e\":2}", "twice"),
            ("{\"k\":1,\"\u{212a}\":2}", "twice"),
            ("{\"x\":[{\"a\":1,\"A\":2}]}", "twice"),
            ("{\"a\\u0000b\":1}", "control character"),
            ("\u{feff}{}", "expected value"),
            ("{} {}", "trailing"),
            ("{}x", "trailing"),
            ("{\"a\":1,}", "trailing comma"),
            ("{'a':1}", "key must be a string"),
            ("{a:1}", "key must be a string"),
            ("{\"a\":NaN}", "expected value"),
            ("{\"a\":1e999}", "out of range"),
            ("{\"a\":01}", "invalid number"),
            ("{\"a\":\"\\ud800\"}", "hex escape"),
            ("{/* */}", "key must be a string"),
            ("{\"a\":\"\n\"}", "control character"),
        ] {
            assert!(told(text).contains(words), "{text}: {}", told(text));
        }
        assert!(Json::object(b"{\"a\":\"\xff\"}").is_err());
        let utf16: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(Json::object(&utf16).is_err());
    }

    #[test]
    fn a_body_has_bounds_and_no_depth_overflows() {
        for deep in ["{\"a\":".repeat(100_000), format!("{{\"a\":{}", "[".repeat(1_000_000))] {
            assert!(told(&deep).contains("recursion limit"), "{}", told(&deep));
        }
        let many = format!("{{\"a\":[{}1]}}", "1,".repeat(BODY_VALUES));
        assert!(told(&many).contains("more than"), "{}", told(&many));
        assert_eq!(told(&format!("{{\"a\":[{}1]}}", "1,".repeat(BODY_VALUES - 3))), "");
    }

    #[test]
    fn a_place_is_found_by_its_keys_alone() {
        let body = r#"{"parent":{"type":"page","n":7},"a.b":1,"list":[{"x":1}],"id":7,"f":7.0,"t":"7","big":18446744073709551616,"neg":-7}"#;
        let body = Json::object(body.as_bytes()).unwrap();
        let at = |text: &str| body.at(Dotted::parse(text).unwrap().keys());
        assert_eq!(at("parent.type"), Some(&Json::Text("page".into())));
        for nowhere in
            ["a.b", "list.x", "list.0", "list.0.x", "parent.type.x", "Parent.type", "id.x"]
        {
            assert_eq!(at(nowhere), None, "{nowhere}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "{a}", "a\nb"] {
            assert_eq!(Dotted::parse(bad), None, "{bad:?}");
        }
        let is = |one: Constant, place: &str| one.is(at(place).unwrap());
        assert!(is(Constant::Whole(7), "id") && is(Constant::Text("7".into()), "t"));
        assert!(!is(Constant::Whole(7), "f") && !is(Constant::Whole(7), "t"));
        assert!(!is(Constant::Text("7".into()), "id") && !is(Constant::Bool(true), "id"));
        let name = |place: &str| at(place).unwrap().name();
        assert_eq!(name("id").as_deref(), Some("7"));
        assert_eq!([name("f"), name("big"), name("neg"), name("parent")], [const { None }; 4]);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_another_reader_reads(text in r#"\{("[abA.]{1,2}":("[a-c]{0,2}"|[0-9]{1,2}|\{\}|\[1,2\]|true|null),?){0,4}\}"#) {
            if let Ok(json) = Json::object(text.as_bytes()) {
                let other: serde_json::Value = serde_json::from_str(&text).unwrap();
                let other = other.as_object().unwrap();
                let fields = json.fields().unwrap();
                prop_assert_eq!(fields.len(), other.len());
                for (key, value) in fields {
                    let (text, number) = (other[key].as_str(), other[key].as_number());
                    let name = text.map(str::to_owned).or(number.map(ToString::to_string));
                    prop_assert_eq!(value.name(), name);
                }
            }
        }
    }
}
