//! The tools, in one table: what a model is told of each, and what its arguments are.

use std::sync::Arc;

use rmcp::{
    handler::server::tool::schema_for_input,
    model::{JsonObject, Tool as Described, ToolAnnotations},
};

use super::arguments::{Call, Explain, Grants, Release, Request, Session, Wait, read};
use crate::cli::{failure::Failure, output::clean};

/// Characters that are told of what was wrong. Why: it repeats what the model wrote.
const WRONG_CHARS: usize = 300;

/// One tool.
pub struct Tool {
    name: &'static str,
    does: &'static str,
    example: &'static str,
    effect: Effect,
    schema: fn() -> Result<Arc<JsonObject>, String>,
    read: fn(JsonObject) -> Result<Call, String>,
}

/// What a call changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    None,
    /// Once, however often it is called.
    Once,
    /// Each time.
    Each,
}

/// All of them.
pub static ALL: [Tool; 6] = [
    Tool {
        name: "session",
        does: "Tells what your session is, what it may ask for, how many grants are used, when it ends, and \
               for each thing whether it would be given now. Call it first.",
        example: "{}",
        effect: Effect::None,
        schema: schema_for_input::<Session>,
        read: read::<Session>,
    },
    Tool {
        name: "explain",
        does: "Tells whether a scope would be given to you now, why, and what to ask for instead. Grants \
               nothing and asks nobody.",
        example: r#"{"scope":"git:acme/api contents:read"}"#,
        effect: Effect::None,
        schema: schema_for_input::<Explain>,
        read: read::<Explain>,
    },
    Tool {
        name: "request",
        does: "Asks for a grant: access to one resource for a short time. You get no credential; the \
               broker's gateway adds it to your calls. If a person has to approve it first, the answer is an \
               error that names the grant and who approves: follow it with `wait`.",
        example: r#"{"scope":"git:acme/api contents:write ref=agent/*","reason":"push the fix of the build"}"#,
        effect: Effect::Each,
        schema: schema_for_input::<Request>,
        read: read::<Request>,
    },
    Tool {
        name: "wait",
        does: "Waits until a grant that needs a person is decided: it is active then, or refused. If it \
               still waits, call it again.",
        example: r#"{"grant":"gr_…","wait_seconds":45}"#,
        effect: Effect::Once,
        schema: schema_for_input::<Wait>,
        read: read::<Wait>,
    },
    Tool {
        name: "release",
        does: "Gives a grant back, at once and for good, or takes a request back that waits. Call it as soon \
               as you need the access no more.",
        example: r#"{"grant":"gr_…"}"#,
        effect: Effect::Once,
        schema: schema_for_input::<Release>,
        read: read::<Release>,
    },
    Tool {
        name: "grants",
        does: "Lists the grants of your session with their states, the newest first.",
        example: "{}",
        effect: Effect::None,
        schema: schema_for_input::<Grants>,
        read: read::<Grants>,
    },
];

/// The tool of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Tool> {
    ALL.iter().find(|tool| tool.name == name)
}

/// What is told of a name that no tool has.
#[must_use]
pub fn unknown(name: &str) -> String {
    let names: Vec<_> = ALL.iter().map(|tool| tool.name).collect();
    format!("there is no tool `{}`; there are {}", short(name), names.join(", "))
}

impl Tool {
    /// What the protocol tells of it.
    ///
    /// # Errors
    /// When its arguments have no schema, which a test excludes.
    pub fn described(&self) -> Result<Described, String> {
        let hints = ToolAnnotations::new()
            .read_only(self.effect == Effect::None)
            .destructive(false)
            .idempotent(self.effect != Effect::Each)
            .open_world(false);
        Ok(Described::new(self.name, self.does, (self.schema)()?).with_annotations(hints))
    }

    /// Reads what a model wrote.
    ///
    /// # Errors
    /// When it is not what the tool takes, with words on what to write.
    pub fn read(&self, arguments: JsonObject) -> Result<Call, Failure> {
        (self.read)(arguments).map_err(|wrong| {
            let Self { name, example, .. } = self;
            Failure::Invalid(format!("`{name}`: {}; write such as {example}", short(&wrong)))
        })
    }
}

fn short(text: &str) -> String {
    clean(text).chars().take(WRONG_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use jeton_domain::limits::{GRANT_TTL_SECONDS, WORDS_CHARS};
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::mcp::arguments::{SCOPE_CHARS, WAIT_SECONDS};

    fn read(tool: &str, arguments: Value) -> Result<Call, String> {
        let arguments = arguments.as_object().unwrap().clone();
        named(tool).unwrap().read(arguments).map_err(|failure| failure.text())
    }

    fn refused(tool: &str, arguments: Value) -> String {
        read(tool, arguments).err().unwrap()
    }

    #[test]
    fn every_tool_has_a_schema_that_takes_no_other_field() {
        for tool in &ALL {
            let described = tool.described().unwrap();
            assert_eq!(described.input_schema["type"], "object", "{}", tool.name);
            assert_eq!(described.input_schema["additionalProperties"], false, "{}", tool.name);
            assert!(tool.does.len() < 400, "{} is told at length", tool.name);
        }
    }

    #[test]
    fn bounds_stand_in_the_schema_as_they_are_kept() {
        let schema = named("request").unwrap().described().unwrap().input_schema;
        let fields = &schema["properties"];
        assert_eq!(fields["scope"]["maxLength"], SCOPE_CHARS);
        assert_eq!(fields["reason"]["maxLength"], WORDS_CHARS);
        assert_eq!(fields["ttl_seconds"]["maximum"], GRANT_TTL_SECONDS);
        assert_eq!(fields["wait_seconds"]["maximum"], WAIT_SECONDS);
        assert_eq!(schema["required"], json!(["scope", "reason"]));
    }

    #[test]
    fn examples_are_read_by_their_own_tools() {
        for tool in &ALL {
            let id = "gr_00000000000000000000000000";
            let example = tool.example.replace("gr_…", id);
            let read = read(tool.name, serde_json::from_str(&example).unwrap());
            let odd_id = example.contains(id);
            assert!(read.is_ok() || odd_id, "{}: {}", tool.name, read.err().unwrap());
        }
    }

    #[test]
    fn a_wrong_argument_is_answered_with_what_to_write() {
        let scope = "git:acme/api contents:read";
        assert_eq!(
            refused("request", json!({ "scope": scope })),
            "jeton: `request`: missing field `reason`; write such as \
             {\"scope\":\"git:acme/api contents:write ref=agent/*\",\"reason\":\"push the fix of the build\"}\n"
        );
        let long = "x".repeat(WORDS_CHARS + 1);
        for (arguments, words) in [
            (
                json!({ "scope": scope, "reason": " " }),
                "`reason` is empty; say what the access is for",
            ),
            (json!({ "scope": scope, "reason": long }), "`reason` has more than 500 characters"),
            (
                json!({ "scope": "x".repeat(6000), "reason": "r" }),
                "`scope` has more than 5000 characters",
            ),
            (json!({ "scope": "git", "reason": "r" }), "`scope`: "),
            (
                json!({ "scope": scope, "reason": "r", "ttl_seconds": 0 }),
                "`ttl_seconds` is 0; it is 1 to 43200",
            ),
            (
                json!({ "scope": scope, "reason": "r", "wait_seconds": 601 }),
                "`wait_seconds` is 601; it is 0 to 600",
            ),
            (
                json!({ "scope": scope, "reason": "r", "delivery": "direct" }),
                "unknown field `delivery`",
            ),
        ] {
            let told = refused("request", arguments);
            assert!(told.contains(words) && told.contains("write such as"), "{told}");
        }
        assert!(refused("wait", json!({ "grant": "gr_1" })).contains("`gr_1` is not a grant id"));
    }

    #[test]
    fn what_a_model_wrote_comes_back_short_and_on_one_line() {
        let nasty = format!("a\r\njeton: done\u{202e}{}", "b".repeat(5000));
        for told in [unknown(&nasty), refused("explain", json!({ nasty.as_str(): 1 }))] {
            assert!(told.chars().count() < 500, "{told}");
            assert!(!told.trim_end().contains(['\r', '\n', '\u{202e}']), "{told}");
        }
    }
}
