//! Why a command did not do what it was asked, as people and as programs read it.

use jeton_client::{Error, ErrorKind, GrantInfo, log::LogError};
use jeton_domain::decision::Layer;
use serde_json::{Value, json};

use super::{
    by::By,
    exit::{self, Exit},
    output::{clean, code},
};

/// Why a command failed.
pub enum Failure {
    /// The library's error: mostly the broker's words.
    Told(Error),
    /// Direct delivery is denied; the command does the same through the gateway.
    GatewayOnly(Box<(Error, String)>),
    /// The request is wrong, found before the broker was asked.
    Invalid(String),
    /// A program or a file that was named is not there.
    Missing(String),
    /// Something broke on this side.
    Broken(String),
    /// The log is not what was signed.
    Tampered(String),
    /// The grant waits for a person.
    Pending(Box<GrantInfo>),
    /// The grant ended, and gave nothing.
    Ended(Box<GrantInfo>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match &error {
            LogError::Unreadable { .. } | LogError::NoLog(_) => Self::Missing(error.to_string()),
            LogError::Unsigned => Self::Invalid(error.to_string()),
            LogError::Fault(_)
            | LogError::Missing(_)
            | LogError::Tile { .. }
            | LogError::Checkpoint(_) => Self::Tampered(error.to_string()),
        }
    }
}

impl Failure {
    /// Something on this side is not set up.
    pub fn config(words: impl Into<String>) -> Self {
        Self::Told(Error::config(words))
    }

    /// Names the command that does the same through the gateway, if direct delivery is what was denied.
    #[must_use]
    pub fn through_gateway(self, command: &str) -> Self {
        if let Self::Told(error) = self {
            if error.layer() != Some(Layer::Delivery.word()) {
                return Self::Told(error);
            }
            return Self::GatewayOnly(Box::new((error, command.to_owned())));
        }
        self
    }

    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Told(error) => exit::of(error.kind()),
            Self::GatewayOnly(denied) => exit::of(denied.0.kind()),
            Self::Invalid(_) => exit::INVALID,
            Self::Missing(_) => exit::NOT_FOUND,
            Self::Broken(_) => exit::INTERNAL,
            Self::Tampered(_) => exit::TAMPERED,
            Self::Pending(_) => exit::NEEDS_APPROVAL,
            Self::Ended(_) => exit::of(ErrorKind::Denied),
        }
    }

    /// The text for people: one line, then what helps, one a line.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_by(By::Commands)
    }

    /// The same text for whoever acts by other means.
    #[must_use]
    pub fn text_by(&self, by: By) -> String {
        match self {
            Self::Told(error) => told(error, by, None),
            Self::GatewayOnly(denied) => told(&denied.0, by, Some(denied.1.as_str())),
            Self::Tampered(words) => format!(
                "jeton: the log is NOT what was signed\n  found:        {}\n  what to do:   keep this copy as it is, and tell whoever answers for the broker\n",
                clean(words)
            ),
            Self::Invalid(words) | Self::Missing(words) | Self::Broken(words) => {
                format!("jeton: {}\n", clean(words))
            }
            Self::Pending(grant) => pending(grant, by),
            Self::Ended(grant) => ended(grant),
        }
    }

    /// The object for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Told(error) => broker_error(error, error.advice()),
            Self::GatewayOnly(denied) => broker_error(&denied.0, instead(&denied.1)),
            Self::Invalid(words) => local("invalid", words),
            Self::Missing(words) => local("not_found", words),
            Self::Broken(words) => local("internal", words),
            Self::Tampered(words) => local("tampered", words),
            Self::Pending(grant) | Self::Ended(grant) => {
                json!({ "grant": grant, "credential": null })
            }
        }
    }
}

fn broker_error(error: &Error, advice: String) -> Value {
    json!({ "error": {
        "kind": kind(error.kind()),
        "reason": error.reason(),
        "message": error.to_string(),
        "layer": error.layer(),
        "policy_ids": error.policy_ids(),
        "requestable": error.requestable(),
        "advice": advice,
    }})
}

fn instead(command: &str) -> String {
    format!("use the gateway: {command}")
}

fn local(kind: &str, words: &str) -> Value {
    json!({ "error": {
        "kind": kind, "reason": "", "message": words, "layer": null,
        "policy_ids": [], "requestable": [], "advice": "",
    }})
}

fn told(error: &Error, by: By, gateway: Option<&str>) -> String {
    let words = clean(&error.to_string());
    let refused = if error.kind() == ErrorKind::Denied { "refused: " } else { "" };
    let mut text = format!("jeton: {refused}{words}\n");
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("  {:<13} {}\n", format!("{name}:"), clean(value)));
    };
    if let Some(layer) = error.layer() {
        line("layer", layer);
    }
    if !error.policy_ids().is_empty() {
        line("policies", &error.policy_ids().join(", "));
    }
    let requestable = error.requestable();
    for scope in &requestable {
        let (name, what) = by.instead(scope);
        line(name, &what);
    }
    match gateway {
        Some(command) => line("what to do", &instead(command)),
        None if requestable.is_empty() => line("what to do", &error.advice()),
        None => {}
    }
    text
}

fn pending(grant: &GrantInfo, by: By) -> String {
    let id = code(&grant.id);
    let mut text = format!("jeton: grant {id} for `{}` waits for a person\n", clean(&grant.scope));
    for guard in &grant.guards {
        text.push_str(&format!(
            "  {}: {} (approved by: {})\n",
            clean(&guard.policy_id),
            clean(&guard.reason),
            clean(&guard.groups.join(", "))
        ));
    }
    text.push_str(&format!("  wait for it:  {}\n", by.wait(&id)));
    text
}

fn ended(grant: &GrantInfo) -> String {
    let (id, scope) = (code(&grant.id), clean(&grant.scope));
    format!("jeton: grant {id} for `{scope}` is {}: {}\n", grant.state, clean(&grant.end_reason))
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Denied => "denied",
        ErrorKind::NeedsApproval => "needs_approval",
        ErrorKind::Invalid => "invalid",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Busy => "busy",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Upstream => "upstream",
        ErrorKind::State => "state",
        ErrorKind::Config => "config",
        ErrorKind::Internal => "internal",
        // A kind that this command does not know yet.
        _ => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_this_side_says_what_to_do() {
        let failure = Failure::config("no broker is named");
        assert_eq!(failure.exit(), exit::CONFIG);
        assert_eq!(
            failure.text(),
            "jeton: no broker is named\n  what to do:   set this side up as the text says\n"
        );
        assert_eq!(failure.json()["error"]["kind"], "config");
    }

    #[test]
    fn words_cannot_forge_a_line_or_move_the_cursor() {
        let text = Failure::Invalid("a\r\njeton: done\x1b[2J\u{202e}".to_owned()).text();
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains(['\r', '\x1b', '\u{202e}']));
    }

    #[test]
    fn every_json_error_has_the_same_fields() {
        let fields = |failure: Failure| {
            let value = failure.json();
            value["error"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        let told = fields(Failure::config("x"));
        assert_eq!(told, fields(Failure::Invalid("x".to_owned())));
        assert_eq!(told, fields(Failure::Missing("x".to_owned())));
        assert_eq!(told, fields(Failure::Broken("x".to_owned())));
    }
}
