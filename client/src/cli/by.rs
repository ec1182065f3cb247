//! By what the reader of a text acts on it. It has to be told in words that it can act on.

use jeton_client::Scope;

use super::{output::clean, shell};

/// What the reader has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Commands of a shell.
    Commands,
    /// The tools of `jeton mcp`, and perhaps no shell.
    Tools,
}

impl By {
    /// What to ask for in place of what was refused: a heading, and how.
    #[must_use]
    pub fn instead(self, scope: &str) -> (&'static str, String) {
        let scope = clean(scope);
        // Why: an envelope's line may be a pattern, which cannot be asked for as it stands.
        match Scope::parse(&scope) {
            Ok(_) => ("ask instead", self.request(&scope)),
            Err(_) => ("ask within", scope),
        }
    }

    /// How to ask for a scope.
    #[must_use]
    pub fn request(self, scope: &str) -> String {
        match self {
            Self::Commands => format!("jeton grant request {}", shell::quote(scope)),
            Self::Tools => format!("call `request` with the scope `{scope}`"),
        }
    }

    /// How to wait for a grant. The id is one to paste.
    #[must_use]
    pub fn wait(self, id: &str) -> String {
        match self {
            Self::Commands => format!("jeton grant claim {id} --wait 1h"),
            Self::Tools => format!("call `wait` with the grant `{id}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_is_told_what_it_can_do() {
        let scope = "git:acme/api contents:write ref=agent/*";
        let told = [By::Commands, By::Tools].map(|by| by.instead(scope));
        let command = "jeton grant request 'git:acme/api contents:write ref=agent/*'".to_owned();
        let tool =
            "call `request` with the scope `git:acme/api contents:write ref=agent/*`".to_owned();
        assert_eq!(told, [("ask instead", command), ("ask instead", tool)]);
        assert_eq!(By::Tools.wait("gr_1"), "call `wait` with the grant `gr_1`");
    }

    #[test]
    fn a_pattern_is_a_bound_and_no_request() {
        let line = "git:acme/* contents:read";
        assert_eq!(By::Tools.instead(line), ("ask within", line.to_owned()));
        assert_eq!(By::Commands.instead(line), ("ask within", line.to_owned()));
    }
}
