//! From the claims of a token to a principal: exact texts and segment globs, never free regexes.

use std::collections::BTreeMap;

use jeton_domain::{
    id::quote,
    principal::{PrincipalId, PrincipalKind},
};
use serde_json::Value as Json;

use jeton_domain::pattern::NamePattern;

use crate::identity::{json::Object, spiffe};

/// One way in which a token stands for a principal.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// What the claims must say; all of them.
    pub claims: BTreeMap<String, ClaimRule>,
    /// Program or person.
    pub kind: PrincipalKind,
    /// The name of the principal.
    pub principal: Template,
}

/// What one claim must say.
#[derive(Debug, Clone)]
pub struct ClaimRule {
    /// One value or a list.
    pub shape: Shape,
    /// What is looked for.
    pub value: WantedValue,
}

/// Of what shape a claim must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A single text, whole number, `true` or `false`. A list never fits, not even of one.
    One,
    /// A list of which some entry fits, such as `groups`. A single value never fits.
    AnyOf,
}

/// What a value must be.
#[derive(Debug, Clone)]
pub enum WantedValue {
    /// Just this text; numbers and truth values as JSON writes them.
    Exact(String),
    /// A text that the pattern matches.
    Matches(NamePattern),
}

/// A name with places for claims: `workload:github/{repository}`.
///
/// With several places, only the value of the first may hold a `/`, and two places never share a
/// segment. Why: otherwise two different tokens could make one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(String),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing, or an empty place.
    #[error("the template `{0}` is empty or has an empty place; write `{{claim}}`")]
    Empty(String),
    /// A brace without its other half.
    #[error("the braces of the template `{0}` do not pair")]
    Braces(String),
    /// A character that no name of a principal holds.
    #[error("the template `{0}` has a character that no principal's name may hold")]
    Character(String),
    /// Two places in one segment.
    #[error("two places of the template `{0}` stand in one segment; put a `/` between them")]
    Touching(String),
}

impl Mapping {
    /// The principal that these claims stand for, if the rules and the template fit.
    #[must_use]
    pub fn principal(&self, claims: &Object) -> Option<PrincipalId> {
        let fits = |(claim, rule): (&String, &ClaimRule)| {
            claims.get(claim).is_some_and(|value| rule.fits(value))
        };
        if !self.claims.iter().all(fits) {
            return None;
        }
        let name = self.principal.fill(claims)?;
        if !name.starts_with(spiffe::SCHEME) {
            return PrincipalId::parse(&name).ok();
        }
        // Why: a claim that anybody may choose must not become the name of somebody's certificate.
        self.may_name_spiffe().then(|| spiffe::parse(&name).ok()).flatten()
    }

    /// Names of the claims that decide.
    pub fn looks_at(&self) -> impl Iterator<Item = &str> {
        let rules = self.claims.keys().map(String::as_str);
        rules.chain(self.principal.places())
    }

    /// Tells whether the configuration itself says that this mapping makes SPIFFE ids.
    fn may_name_spiffe(&self) -> bool {
        match self.principal.0.first() {
            Some(Part::Text(text)) => text.starts_with(spiffe::SCHEME),
            Some(Part::Claim(claim)) => {
                self.claims.get(claim).is_some_and(|rule| match &rule.value {
                    WantedValue::Exact(text) => text.starts_with(spiffe::SCHEME),
                    WantedValue::Matches(NamePattern::Spiffe(_)) => true,
                    WantedValue::Matches(NamePattern::Plain(_)) => false,
                })
            }
            None => false,
        }
    }
}

impl ClaimRule {
    fn fits(&self, value: &Json) -> bool {
        match (self.shape, value) {
            (Shape::AnyOf, Json::Array(entries)) => {
                entries.iter().any(|entry| self.value.is(entry))
            }
            (Shape::AnyOf, _) => false,
            (Shape::One, value) => self.value.is(value),
        }
    }
}

impl WantedValue {
    fn is(&self, value: &Json) -> bool {
        let Some(text) = plain_text(value) else {
            return false;
        };
        match self {
            Self::Exact(wanted) => *wanted == text,
            Self::Matches(pattern) => pattern.matches(&text),
        }
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When its braces do not pair or hold nothing, its text could never be a name, or two places
    /// stand in one segment.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (plain, place) = match rest.split_once('{') {
                Some((plain, place)) => (plain, Some(place)),
                None => (rest, None),
            };
            if plain.contains('}') {
                return Err(TemplateError::Braces(quote(text)));
            }
            if !plain.is_empty() {
                PrincipalId::parse(plain).map_err(|_| TemplateError::Character(quote(text)))?;
                parts.push(Part::Text(plain.to_owned()));
            }
            rest = "";
            if let Some(place) = place {
                let (claim, after) =
                    place.split_once('}').ok_or_else(|| TemplateError::Braces(quote(text)))?;
                if claim.contains('{') {
                    return Err(TemplateError::Braces(quote(text)));
                }
                if claim.is_empty() {
                    return Err(TemplateError::Empty(quote(text)));
                }
                parts.push(Part::Claim(claim.to_owned()));
                rest = after;
            }
        }
        if parts.is_empty() {
            return Err(TemplateError::Empty(quote(text)));
        }
        let template = Self(parts);
        if template.places_touch() {
            Err(TemplateError::Touching(quote(text)))
        } else {
            Ok(template)
        }
    }

    fn places_touch(&self) -> bool {
        let mut open = false;
        for part in &self.0 {
            match part {
                Part::Text(text) => open = open && !text.contains('/'),
                Part::Claim(_) if open => return true,
                Part::Claim(_) => open = true,
            }
        }
        false
    }

    fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Claim(claim) => Some(claim.as_str()),
            Part::Text(_) => None,
        })
    }

    fn fill(&self, claims: &Object) -> Option<String> {
        let mut name = String::new();
        let mut first = true;
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Claim(claim) => {
                    let value = plain_text(claims.get(claim)?)?;
                    if value.is_empty() || (!first && value.contains('/')) {
                        return None;
                    }
                    name.push_str(&value);
                    first = false;
                }
            }
        }
        let path = name.strip_prefix(spiffe::SCHEME).unwrap_or(&name);
        // Why: `.` and `..` and empty segments read as another name to people and to URLs.
        let odd = path.split('/').any(|segment| matches!(segment, "" | "." | ".."));
        (!odd).then_some(name)
    }
}

/// A claim as text; lists, objects, `null` and broken numbers are none.
fn plain_text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(truth) => Some(truth.to_string()),
        Json::Number(number) if !number.is_f64() => Some(number.to_string()),
        Json::Number(_) | Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
