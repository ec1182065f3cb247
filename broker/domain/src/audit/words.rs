//! Events in one line, for people.

use super::{DenialCount, Event};
use crate::{
    approval::{Breadth, GroupName},
    deed::Moved,
    session::Words,
    ttl::Timestamp,
};

impl Event {
    /// What happened, in one line. Holds words of agents, cleaned of what is not printable.
    #[must_use]
    pub fn line(&self) -> String {
        Words::new(&self.told()).as_str().to_owned()
    }

    fn told(&self) -> String {
        match self {
            Self::Started { version, policy_hash, configuration } => {
                let (policies, configuration) = (short(policy_hash), short(configuration));
                format!("jetond {version}, policies {policies}, configuration {configuration}")
            }
            Self::PolicyLoaded { policy_hash, refused: None } => {
                format!("policies {}", short(policy_hash))
            }
            Self::PolicyLoaded { refused: Some(why), .. }
            | Self::CertificatesLoaded { refused: Some(why) } => {
                format!("refused: {}", why.as_str())
            }
            Self::CertificatesLoaded { refused: None } => "new certificates".to_owned(),
            Self::SignInFailed { reason, count, subject: None } => {
                format!("{count} × {}", reason.as_str())
            }
            Self::SignInFailed { reason, subject: Some(subject), .. } => {
                format!("{subject}: {}", reason.as_str())
            }
            Self::DenialsSummarized { subject, counts, resources, more_resources, .. } => {
                let whose = subject.as_ref().map_or("others".to_owned(), ToString::to_string);
                let one = |one: &DenialCount| {
                    format!("{} × {} ({})", one.count, one.event.word(), one.reason.as_str())
                };
                let counts: Vec<_> = counts.iter().map(one).collect();
                let more = if *more_resources { "over " } else { "" };
                format!("{whose}: {}; {more}{resources} resources", counts.join(", "))
            }
            Self::LogRead { by, query } => format!("{by}: {}", query.as_str()),
            Self::RestoreFound { signed, found } => {
                format!("the store has {found} entries, a checkpoint was signed for {signed}")
            }
            Self::RestoreAcknowledged { by, reason } => format!("by {by}: {}", reason.as_str()),
            Self::EntriesMoved { first, until, to } => {
                let last = until.saturating_sub(1);
                format!("{first} to {last}, to {}", to.as_str())
            }
            Self::ReDecided { by, policy_hash, looked_at, refused, revoked } => format!(
                "by {by}, policies {}: of {looked_at} grants {refused} would not be given any more, {revoked} taken back",
                short(policy_hash)
            ),
            Self::PolicyProposed { by, reason, policy_hash } => {
                format!("{} by {by}: {}", short(policy_hash), reason.as_str())
            }
            Self::PolicyRolledBack { by, reason, policy_hash, instead_of } => format!(
                "by {by} to {} in place of {}: {}",
                short(policy_hash),
                short(instead_of),
                reason.as_str()
            ),
            Self::KeyRotated { kid } => format!("signing key {kid}"),
            Self::SessionOpened { session, agent, opener, task, .. } => {
                format!("{session} for {agent}, by {opener}: {}", task.as_str())
            }
            Self::SessionRefused { reason, .. } => reason.as_str().to_owned(),
            Self::SessionClosed { session, by, reason, .. } => {
                let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
                format!("{session}{by}: {}", reason.as_str())
            }
            Self::Denied { scope, layer, reason, .. } => {
                format!("{scope}; {}: {}", layer.word(), reason.as_str())
            }
            Self::Pending { about, .. } => format!("{} {}", about.grant, about.scope),
            Self::Intent { about, ttl } => {
                format!("{} {} for {} s", about.grant, about.scope, ttl.seconds())
            }
            Self::Issued { about, fingerprint, .. } | Self::Renewed { about, fingerprint, .. } => {
                format!("{} {} credential {}", about.grant, about.scope, short(fingerprint))
            }
            Self::MintFailed { of, reason, .. } => format!("{}: {}", of.grant, reason.as_str()),
            Self::Released { of, .. } | Self::Expired { of, .. } | Self::Lapsed { of } => {
                format!("{} {}", of.grant, of.scope)
            }
            Self::Pushed { of, refs, .. } => {
                let moved = |one: &Moved| format!("{} {}", one.change, one.name);
                let moved: Vec<_> = refs.iter().map(moved).collect();
                format!("{} {}: {}", of.grant, of.scope.resource, moved.join(", "))
            }
            Self::Used { of, request, status, sent, received, cut, .. } => {
                let cut =
                    cut.as_ref().map_or_else(String::new, |why| format!("; {}", why.as_str()));
                let (grant, request) = (of.grant, request.as_str());
                format!("{grant} {request}: {status}, {sent} bytes out, {received} in{cut}")
            }
            Self::Revoked { of, by, reason, .. } => {
                format!("{} by {by}: {}", of.grant, reason.as_str())
            }
            Self::RevocationAsked { matching, by, reason, stop } => {
                let stopped = if *stop { ", stopped from now on" } else { "" };
                format!("{matching}{stopped}, by {by}: {}", reason.as_str())
            }
            Self::UpstreamFailed { of, attempts, .. } => {
                format!("{}: {attempts} tries to revoke it upstream failed", of.grant)
            }
            Self::Approved { of, by, groups, reaches, reason, .. } => {
                let groups: Vec<_> = groups.iter().map(GroupName::as_str).collect();
                let reach = match reaches {
                    Breadth::Once => "once".to_owned(),
                    Breadth::Session { within, grants, .. }
                    | Breadth::Emergency { within, grants, .. } => {
                        format!("for the session, {grants} grants within {within}")
                    }
                };
                let (grant, groups) = (of.grant, groups.join(", "));
                format!("{grant} by {by} for {groups}, {reach}: {}", reason.as_str())
            }
            Self::GlassBroken { of, by, groups, reaches, reason, .. } => {
                let groups: Vec<_> = groups.iter().map(GroupName::as_str).collect();
                let (grants, until) = (reaches.grants(), reaches.deadline());
                let seconds = until.map_or(0, Timestamp::seconds);
                let (grant, groups) = (of.grant, groups.join(", "));
                format!(
                    "{grant} by {by} in place of {groups}, {grants} grants until {seconds}: {}",
                    reason.as_str()
                )
            }
            Self::GlassReviewed { entry, glass, broken_by, by, justified, words } => {
                let found = if *justified { "justified" } else { "not justified" };
                let (glass, words) = (glass.as_str(), words.as_str());
                format!("{glass} at {entry} by {broken_by} was {found}, by {by}: {words}")
            }
            Self::ApprovalWithdrawn { of, by, approval } => {
                format!("{}: approval {approval} by {by}", of.grant)
            }
            Self::Rejected { of, by, reason } => {
                format!("{} by {by}: {}", of.grant, reason.as_str())
            }
            Self::Commented { of, by, words } => {
                format!("{} {by}: {}", of.grant, words.as_str())
            }
            Self::ReviewAsked { of, by, .. } => format!("{} {by} is asked", of.grant),
            Self::ReviewAnswered { of, by, verdict, reason, cause, .. } => {
                let (grant, verdict, reason) = (of.grant, verdict.word(), reason.as_str());
                match cause {
                    Some(cause) => format!("{grant} {by} {verdict}: {}; {reason}", cause.as_str()),
                    None => format!("{grant} {by} {verdict}: {reason}"),
                }
            }
            Self::DriftFound { of, found } => format!("{}: {}", of.grant, found.as_str()),
            Self::UpstreamAnswered { of, upstream } => {
                format!("{}: upstream revocation {}", of.grant, upstream.word())
            }
            Self::StopLifted { matching, by, reason } => {
                format!("{matching}, by {by}: {}", reason.as_str())
            }
        }
    }
}

/// The start of a hash, for people.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
