//! The attributes of a grant's context, by when they exist. Derived from the schema that is shipped, where
//! each says it by `@exists_for`.
//!
//! Why the schema: it is what authors read and what Cedar validates, so there is no second list to keep.
//! An attribute without a known class makes every load fail, and fails a test here before that.

use std::{collections::BTreeMap, sync::LazyLock};

use cedar_policy::SchemaFragment;
use serde_json::Value;

use super::vocabulary::SCHEMA;

/// When an attribute exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExistsFor {
    /// Whenever policies are asked about a grant.
    Request,
    /// When a push moves a ref.
    Push,
    /// For a commit or a file of a push.
    PushContent,
    /// For a call of an API.
    Call,
}

impl ExistsFor {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "request" => Some(Self::Request),
            "push" => Some(Self::Push),
            "push_content" => Some(Self::PushContent),
            "call" => Some(Self::Call),
            _ => None,
        }
    }

    /// Whether only the gateway ever sees it: a directly delivered credential is used elsewhere.
    pub fn gateway_only(self) -> bool {
        match self {
            Self::Request => false,
            Self::Push | Self::PushContent | Self::Call => true,
        }
    }
}

type Attributes = BTreeMap<String, ExistsFor>;

static ATTRIBUTES: LazyLock<Result<Attributes, String>> = LazyLock::new(|| classified(SCHEMA));

/// Every attribute with its class.
///
/// # Errors
/// When the schema leaves one without.
pub(crate) fn attributes() -> Result<&'static Attributes, &'static str> {
    ATTRIBUTES.as_ref().map_err(String::as_str)
}

/// When an attribute exists. One that is not known counts as the content of a push, the class with the
/// most consequences: it is read before anything is sent, and denies direct delivery.
pub(crate) fn exists_for(attribute: &str) -> ExistsFor {
    let known = attributes().ok().and_then(|all| all.get(attribute).copied());
    known.unwrap_or(ExistsFor::PushContent)
}

fn classified(schema: &str) -> Result<Attributes, String> {
    let (fragment, _) =
        SchemaFragment::from_cedarschema_str(schema).map_err(|error| error.to_string())?;
    let json = fragment.to_json_value().map_err(|error| error.to_string())?;
    let all = json.pointer("/Jeton/commonTypes/Asked/attributes").and_then(Value::as_object);
    let all = all.ok_or("the context of a grant is not declared")?;
    let class = |(name, declared): (&String, &Value)| {
        let word = declared.pointer("/annotations/exists_for").and_then(Value::as_str);
        let class = word.and_then(ExistsFor::parse).ok_or_else(|| {
            format!(
                "`context.{name}` does not say when it exists; write `@exists_for(\"request\")`, \
                 \"push\", \"push_content\" or \"call\" before it"
            )
        })?;
        Ok((name.clone(), class))
    };
    all.iter().map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_says_when_it_exists() {
        let of = |class: ExistsFor| {
            let all = attributes().unwrap().iter();
            all.filter(|(_, one)| **one == class).map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(
            of(ExistsFor::Request),
            ["approvals", "delegators", "delivery", "depth", "now", "person", "ref", "ttl"]
        );
        assert_eq!(of(ExistsFor::Push), ["change"]);
        assert_eq!(of(ExistsFor::PushContent), ["author", "bytes", "file", "signed_off"]);
        assert_eq!(of(ExistsFor::Call), ["fields", "method", "operation", "path"]);
    }

    #[test]
    fn an_attribute_without_a_class_is_refused_and_counts_as_gateway_only() {
        for (from, to) in [
            ("@exists_for(\"push\")\n", ""),
            ("@exists_for(\"push\")\n", "@exists_for(\"pull\")\n"),
            ("ttl: Long,\n        // The", "ttl: Long, new?: String,\n        // The"),
        ] {
            assert!(SCHEMA.contains(from), "{from}");
            let why = classified(&SCHEMA.replacen(from, to, 1)).unwrap_err();
            assert!(why.contains("does not say when it exists"), "{why}");
        }
        assert!(exists_for("new").gateway_only());
    }
}
