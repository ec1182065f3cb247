//! Signals between systems that share people and sessions: security event tokens (RFC 8417) in the
//! words of the OpenID Shared Signals Framework 1.0 and its Continuous Access Evaluation Profile.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    audit::{Entry, Event},
    jose::{json::Object, numeric_date},
    principal::PrincipalId,
    ttl::Timestamp,
};

/// `typ` of the tokens (RFC 8417 §2.3).
pub const TYPE: &str = "secevent+jwt";
/// Their media type.
pub const MEDIA_TYPE: &str = "application/secevent+jwt";
/// Most people that one event may be about.
const SUBJECTS: usize = 16;
/// Most events of one token.
const EVENTS: usize = 16;

/// What a signal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A session was ended before its time (CAEP §3.1).
    SessionRevoked,
    /// A credential was taken back (CAEP §3.3).
    CredentialChange,
    /// The stream works (SSF §8.1.4).
    Verification,
    /// An account was closed to its owner (RISC §2.4).
    AccountDisabled,
    /// An account is gone (RISC §2.2).
    AccountPurged,
}

impl Kind {
    /// The kinds that this broker sends about what it did.
    pub const SENT: [Self; 2] = [Self::SessionRevoked, Self::CredentialChange];
    const ALL: [Self; 5] = [
        Self::SessionRevoked,
        Self::CredentialChange,
        Self::Verification,
        Self::AccountDisabled,
        Self::AccountPurged,
    ];

    /// The name in `events`.
    #[must_use]
    pub fn uri(self) -> &'static str {
        match self {
            Self::SessionRevoked => {
                "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
            }
            Self::CredentialChange => {
                "https://schemas.openid.net/secevent/caep/event-type/credential-change"
            }
            Self::Verification => "https://schemas.openid.net/secevent/ssf/event-type/verification",
            Self::AccountDisabled => {
                "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
            }
            Self::AccountPurged => {
                "https://schemas.openid.net/secevent/risc/event-type/account-purged"
            }
        }
    }

    /// Its last part.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.uri().rsplit('/').next().unwrap_or_default()
    }

    /// Whether whoever it is about must lose their sessions.
    #[must_use]
    pub fn ends_sessions(self) -> bool {
        match self {
            Self::SessionRevoked | Self::AccountDisabled | Self::AccountPurged => true,
            Self::CredentialChange | Self::Verification => false,
        }
    }

    /// Whether it holds from then on, and not only for what was before.
    #[must_use]
    pub fn is_for_good(self) -> bool {
        match self {
            Self::AccountDisabled | Self::AccountPurged => true,
            Self::SessionRevoked | Self::CredentialChange | Self::Verification => false,
        }
    }

    fn named(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.uri() == uri)
    }
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// What it tells.
    pub kind: Kind,
    /// Whom or what it is about (RFC 9493).
    pub subject: Value,
    /// What is said of it.
    pub event: Value,
}

/// A security event token to be signed.
#[derive(Debug, Serialize)]
pub struct EventToken<'a> {
    /// Who says it.
    pub iss: &'a str,
    /// To whom.
    pub aud: &'a str,
    /// When it was said, in seconds since 1970.
    pub iat: i64,
    /// Its own name: the same when it is sent again.
    pub jti: &'a str,
    /// What it is about.
    pub sub_id: &'a Value,
    /// What happened.
    pub events: BTreeMap<&'static str, &'a Value>,
}

impl Signal {
    /// What others should hear of an entry, if anything. Not of what ended by itself, in its time.
    #[must_use]
    pub fn of(entry: &Entry, issuer: &str) -> Option<Self> {
        let at = entry.at.seconds();
        if let Event::SessionClosed { session, agent, person, by: Some(by), reason, .. } =
            &entry.event
        {
            let mut subject = json!({
                "format": "complex",
                "session": {"format": "opaque", "id": session.to_string()},
                "application": named(agent),
            });
            if let (Some(person), Some(subject)) = (person, subject.as_object_mut()) {
                subject.insert("user".to_owned(), named(person));
            }
            let event = happened(at, by == agent, reason.as_str());
            return Some(Self { kind: Kind::SessionRevoked, subject, event });
        }
        if let Event::Revoked { of, by, reason, .. } = &entry.event {
            let grant = of.grant.to_string();
            let subject = json!({"format": "jwt_id", "iss": issuer, "jti": grant});
            let mut event = happened(at, *by == of.agent, reason.as_str());
            if let Some(event) = event.as_object_mut() {
                event.insert("credential_type".to_owned(), "access-token".into());
                event.insert("change_type".to_owned(), "revoke".into());
            }
            return Some(Self { kind: Kind::CredentialChange, subject, event });
        }
        None
    }

    /// Asks a receiver to show that it hears (SSF §8.1.4.1).
    #[must_use]
    pub fn verification(stream: &str, state: &str) -> Self {
        Self {
            kind: Kind::Verification,
            subject: json!({"format": "opaque", "id": stream}),
            event: json!({"state": state}),
        }
    }

    /// The token that tells it.
    #[must_use]
    pub fn token<'a>(
        &'a self,
        issuer: &'a str,
        audience: &'a str,
        id: &'a str,
        now: Timestamp,
    ) -> EventToken<'a> {
        EventToken {
            iss: issuer,
            aud: audience,
            iat: now.seconds(),
            jti: id,
            sub_id: &self.subject,
            events: [(self.kind.uri(), &self.event)].into(),
        }
    }
}

/// A subject identifier (RFC 9493 §3.2.5, §3.2.7).
fn named(principal: &PrincipalId) -> Value {
    match principal.as_str() {
        uri if uri.contains("://") => json!({"format": "uri", "uri": uri}),
        name => json!({"format": "opaque", "id": name}),
    }
}

fn happened(at: i64, by_agent: bool, reason: &str) -> Value {
    let mut event = json!({
        "event_timestamp": at,
        "initiating_entity": if by_agent { "user" } else { "admin" },
    });
    if let Some(event) = event.as_object_mut()
        && !reason.is_empty()
    {
        event.insert("reason_admin".to_owned(), json!({ "en": reason }));
    }
    event
}

/// What somebody else's token says, before anybody trusts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Who says it.
    pub issuer: String,
    /// To whom.
    pub audience: Vec<String>,
    /// When it was said, in seconds since 1970.
    pub issued: i64,
    /// Its own name.
    pub id: String,
    /// What happened, as far as it is understood here.
    pub events: Vec<Happened>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// What it tells.
    pub kind: Kind,
    /// When it happened, in seconds since 1970.
    pub at: i64,
    /// Whom it is about: each is a subject identifier (RFC 9493).
    pub people: Vec<Object>,
}

/// Why the claims are none of an event token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToldError {
    /// A claim is missing or of another type.
    #[error("the claim `{0}` must be {1}")]
    Claim(&'static str, &'static str),
    /// Nothing, or too much.
    #[error("`events` must hold 1 to {EVENTS} events")]
    Events,
    /// About nobody, or about too many.
    #[error("an event must be about 1 to {SUBJECTS} subjects, as `sub_id` of RFC 9493")]
    Subject,
}

impl Told {
    /// Reads the claims of a token.
    ///
    /// # Errors
    /// When they are none of an event token.
    pub fn read(claims: &Object) -> Result<Self, ToldError> {
        let text = |name: &'static str| {
            let text = claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
            text.map(str::to_owned).ok_or(ToldError::Claim(name, "a text"))
        };
        let date = |object: &Object, name: &'static str| {
            let read =
                |value| numeric_date(value).ok_or(ToldError::Claim(name, "seconds since 1970"));
            object.get(name).map(read).transpose()
        };
        let issued = date(claims, "iat")?.ok_or(ToldError::Claim("iat", "seconds since 1970"))?;
        // Spec: RFC 8417 §2.2 `toe`; CAEP §2 `event_timestamp`.
        let told = date(claims, "toe")?.unwrap_or(issued);
        let events = claims.get("events").and_then(Value::as_object);
        let events = events.ok_or(ToldError::Claim("events", "an object"))?;
        if !(1..=EVENTS).contains(&events.len()) {
            return Err(ToldError::Events);
        }
        let mut happened = Vec::new();
        for (uri, event) in events {
            let Some(kind) = Kind::named(uri) else { continue };
            let event =
                event.as_object().ok_or(ToldError::Claim("events", "an object of objects"))?;
            let at = date(event, "event_timestamp")?.unwrap_or(told);
            // Why also within: drafts of the framework had it there, and they are still spoken.
            let subject = claims.get("sub_id").or_else(|| event.get("subject"));
            let people = if kind.ends_sessions() { people(subject)? } else { Vec::new() };
            happened.push(Happened { kind, at, people });
        }
        Ok(Self {
            issuer: text("iss")?,
            audience: audience(claims)?,
            issued,
            id: text("jti")?,
            events: happened,
        })
    }
}

fn audience(claims: &Object) -> Result<Vec<String>, ToldError> {
    let wrong = ToldError::Claim("aud", "a text or a list of texts");
    match claims.get("aud") {
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) => {
            let texts = many.iter().map(|one| one.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or(wrong)
        }
        _ => Err(wrong),
    }
}

/// The people of a subject: of a complex one its user (SSF §3.3), of aliases each.
fn people(subject: Option<&Value>) -> Result<Vec<Object>, ToldError> {
    let subject = subject.and_then(Value::as_object).ok_or(ToldError::Subject)?;
    let user = subject.get("user").and_then(Value::as_object);
    let one = match subject.get("format").and_then(Value::as_str) {
        Some("complex") | None => user.ok_or(ToldError::Subject)?,
        Some(_) => subject,
    };
    let all: Vec<Object> = match one.get("identifiers").and_then(Value::as_array) {
        Some(many) if many.len() <= SUBJECTS => {
            many.iter().filter_map(Value::as_object).cloned().collect()
        }
        Some(_) => return Err(ToldError::Subject),
        None => vec![one.clone()],
    };
    if all.is_empty() { Err(ToldError::Subject) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims(subject: Value, event: Value) -> Object {
        let claims = json!({
            "iss": "https://idp.example", "aud": "https://jeton.example", "iat": 1000, "jti": "a",
            "sub_id": subject, "events": {Kind::SessionRevoked.uri(): event},
        });
        claims.as_object().unwrap().clone()
    }

    #[test]
    fn a_subject_is_found_in_each_of_its_forms() {
        let email = json!({"format": "email", "email": "ana@example.org"});
        let other = json!({"format": "opaque", "id": "7"});
        let both = [email.as_object().unwrap().clone(), other.as_object().unwrap().clone()];
        for (subject, expected) in [
            (email.clone(), &both[..1]),
            (json!({"format": "complex", "user": email, "device": {}}), &both[..1]),
            (json!({"user": email, "session": {}}), &both[..1]),
            (json!({"format": "aliases", "identifiers": [email, other]}), &both[..]),
        ] {
            let told = Told::read(&claims(subject, json!({}))).unwrap();
            assert_eq!(told.events[0].people, expected);
            assert_eq!((told.events[0].at, told.issued), (1000, 1000));
        }
        let mut older = claims(json!(null), json!({"subject": email, "event_timestamp": 900}));
        older.remove("sub_id");
        let told = Told::read(&older).unwrap();
        assert_eq!((told.events[0].at, told.events[0].people.len()), (900, 1));
    }

    #[test]
    fn what_is_no_event_token_is_told_so() {
        let good = claims(json!({"format": "opaque", "id": "7"}), json!({}));
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims.insert(name.to_owned(), value);
            Told::read(&claims).unwrap_err().to_string()
        };
        for (name, value, words) in [
            ("iss", json!(1), "the claim `iss` must be a text"),
            ("jti", json!(""), "the claim `jti` must be a text"),
            ("iat", json!("1000"), "the claim `iat` must be seconds since 1970"),
            ("toe", json!(-1), "the claim `toe` must be seconds since 1970"),
            ("aud", json!([1]), "the claim `aud` must be a text or a list of texts"),
            ("events", json!([]), "the claim `events` must be an object"),
            ("events", json!({}), "`events` must hold 1 to 16 events"),
            (
                "events",
                json!({Kind::SessionRevoked.uri(): 1}),
                "the claim `events` must be an object of objects",
            ),
            (
                "sub_id",
                json!("7"),
                "an event must be about 1 to 16 subjects, as `sub_id` of RFC 9493",
            ),
            (
                "sub_id",
                json!({"format": "complex"}),
                "an event must be about 1 to 16 subjects, as `sub_id` of RFC 9493",
            ),
            (
                "sub_id",
                json!({"format": "aliases", "identifiers": []}),
                "an event must be about 1 to 16 subjects, as `sub_id` of RFC 9493",
            ),
        ] {
            assert_eq!(with(name, value), words);
        }
        let mut unknown = good.clone();
        unknown.insert("events".to_owned(), json!({"https://example.org/other": {}}));
        assert_eq!(
            Told::read(&unknown).unwrap().events,
            [],
            "what is not known here is passed over"
        );
    }

    proptest! {
        #[test]
        fn no_claims_crash_the_reader(name in "(iss|aud|iat|jti|toe|sub_id|events)", text in "\\PC{0,40}") {
            let mut claims = claims(json!({"format": "opaque", "id": "7"}), json!({}));
            claims.insert(name, serde_json::from_str(&text).unwrap_or(Value::String(text)));
            let _ = Told::read(&claims);
        }
    }
}
