//! Which entries: the same options wherever entries are chosen.

use clap::Args;
use jeton_client::{EntryFilter, now_millis};

use crate::cli::span;

/// Which entries. Every option that is given must fit.
#[derive(Args, Clone, Default)]
pub struct Filter {
    /// About this agent.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// About agents that act for this person.
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// Done by somebody, such as the operator who revoked.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Of this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Of this grant.
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// At this upstream.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// On this resource; * and ** are patterns.
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// With this action in the scope.
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// Of this kind, such as revoked.
    #[arg(long, value_name = "WORD")]
    event: Option<String>,
    /// That went like this: success, denied, pending or failure.
    #[arg(long, value_name = "WORD")]
    outcome: Option<String>,
    /// Decided by this policy.
    #[arg(long, value_name = "ID")]
    policy: Option<String>,
    /// Not before: a time such as 2026-11-23T10:00:00Z, or a span ago such as 2h.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<i64>,
    /// Before: a time, or a span ago.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<i64>,
}

impl From<Filter> for EntryFilter {
    fn from(filter: Filter) -> Self {
        let Filter { agent, person, by, session, grant, upstream, resource, .. } = filter;
        let Filter { action, event, outcome, policy, since, until, .. } = filter;
        Self {
            agent,
            person,
            by,
            session,
            grant,
            upstream,
            resource,
            action,
            event,
            outcome,
            policy,
            since,
            until,
        }
    }
}

/// Reads a time or a span ago as milliseconds since 1970.
pub fn moment(text: &str) -> Result<i64, String> {
    if let Ok(span) = span::parse(text) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        return Ok(now_millis().saturating_sub(millis));
    }
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(|_| {
        format!("`{text}` is no time; write `2026-11-23T10:00:00Z`, or a span ago such as `2h`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_moments_and_as_spans_ago() {
        assert_eq!(moment("1970-01-01T00:00:01.5Z"), Ok(1500));
        assert_eq!(moment("1970-01-01T01:00:00+01:00"), Ok(0));
        let hour_ago = moment("1h").unwrap();
        assert!((now_millis() - 3_600_000 - hour_ago).abs() < 5_000);
        let error = moment("yesterday").unwrap_err();
        assert!(error.starts_with("`yesterday` is no time; write"), "{error}");
    }
}
