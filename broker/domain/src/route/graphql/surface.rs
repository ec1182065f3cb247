//! Looks over a document's characters, tokens and brackets, before anything recurses into them.

use apollo_parser::{Lexer, TokenKind};

use super::GraphqlError;
use crate::{
    id::quote,
    limits::{GRAPHQL_DEPTH, GRAPHQL_TOKENS},
};

/// Tells whether it is one that every parser reads alike, within bounds.
///
/// # Errors
/// When it is not.
pub(super) fn surface(document: &str) -> Result<(), GraphqlError> {
    let mut characters = document.chars().peekable();
    while let Some(character) = characters.next() {
        let plain = match character {
            '\t' | '\n' => true,
            // Why: to some it ends a line, and a comment with it, to others it does not.
            '\r' => characters.peek() == Some(&'\n'),
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
            other => !other.is_control(),
        };
        if !plain {
            return Err(GraphqlError::Character(character.escape_unicode().to_string()));
        }
    }
    let mut open = Vec::new();
    for token in Lexer::new(document).with_limit(GRAPHQL_TOKENS) {
        let token = match token {
            Ok(token) => token,
            Err(error) if error.is_limit() => {
                return Err(GraphqlError::Bound(GRAPHQL_TOKENS, "tokens"));
            }
            Err(error) => return Err(GraphqlError::Syntax(quote(error.message()))),
        };
        open.extend(match token.data() {
            "{" => Some("}"),
            "(" => Some(")"),
            "[" => Some("]"),
            _ => None,
        });
        if open.len() > GRAPHQL_DEPTH {
            return Err(GraphqlError::Bound(GRAPHQL_DEPTH, "brackets open at once"));
        }
        if matches!(token.data(), "}" | ")" | "]") && open.pop() != Some(token.data()) {
            return Err(GraphqlError::Syntax(format!("a `{}` ends nothing", token.data())));
        }
        if token.kind() == TokenKind::StringValue {
            // Why: a text before a definition describes it, which only the newest parsers know.
            if open.is_empty() {
                return Err(GraphqlError::Definition);
            }
            // Spec: GraphQL §2.9.4. Why here: the lexer lets one stand right behind the quote.
            if !token.data().starts_with("\"\"\"") && token.data().contains('\n') {
                return Err(GraphqlError::Syntax("a string has more than one line".to_owned()));
            }
        }
    }
    match open.pop() {
        None => Ok(()),
        Some(shut) => Err(GraphqlError::Syntax(format!("a `{shut}` is missing"))),
    }
}
