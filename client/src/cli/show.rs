//! How sessions and grants read as tables and lists.

use std::time::Duration;

use jeton_client::{
    BudgetInfo, DelegatorInfo, GrantInfo, IssuedSecret, LostInfo, Means, Page, ReDecided, Revoked,
    SessionInfo, StopInfo, now_millis,
};
use serde::Serialize;

use super::{
    output::{code, list, table},
    span,
};

/// A grant and what may be told of its credential, for programs.
#[derive(Serialize)]
pub struct GrantJson<'a> {
    grant: &'a GrantInfo,
    credential: CredentialJson<'a>,
}

#[derive(Serialize)]
struct CredentialJson<'a> {
    kind: &'a str,
    username: &'a str,
    expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl<'a> GrantJson<'a> {
    /// Tells the grant; the secret only if it is given.
    #[must_use]
    pub fn new(grant: &'a GrantInfo, issued: &'a IssuedSecret, secret: Option<&'a str>) -> Self {
        let IssuedSecret { kind, username, expires_at, .. } = issued;
        Self {
            grant,
            credential: CredentialJson { kind, username, expires_at: *expires_at, secret },
        }
    }
}

/// Tells one session.
#[must_use]
pub fn session(session: &SessionInfo) -> String {
    let now = now_millis();
    let longest = Duration::from_secs(session.max_grant_ttl_seconds.into());
    let mut rows = vec![
        ("session", session.id.clone()),
        ("state", session.state.clone()),
        ("agent", session.agent.clone()),
        ("person", session.person.clone()),
        ("opener", session.opener.clone()),
        ("vouched for by", session.issuers.join(", ")),
        ("passed on by", delegators(&session.delegators)),
        ("task", session.task.clone()),
    ];
    rows.extend(session.envelope.iter().map(|scope| ("may ask for", scope.clone())));
    rows.extend([
        ("grants", format!("{} of {} used", session.grants_used, session.max_grants)),
        ("longest grant", span::short(longest.as_secs())),
        ("bound to", session.binding.clone()),
        ("opened", span::relative(now, session.opened_at)),
        ("expires", span::relative(now, session.expires_at)),
        ("closed because", session.close_reason.clone()),
    ]);
    list(rows)
}

/// Tells a page of sessions.
#[must_use]
pub fn sessions(page: &Page<SessionInfo>) -> String {
    let now = now_millis();
    let rows = page.items.iter().map(|session| {
        [
            session.id.clone(),
            session.state.clone(),
            session.agent.clone(),
            session.person.clone(),
            format!("{}/{}", session.grants_used, session.max_grants),
            span::relative(now, session.expires_at),
            session.task.clone(),
        ]
    });
    let header = ["SESSION", "STATE", "AGENT", "PERSON", "GRANTS", "EXPIRES", "TASK"];
    table(header, rows) + &more(page.next.as_deref())
}

/// Tells one grant.
#[must_use]
pub fn grant(grant: &GrantInfo) -> String {
    let now = now_millis();
    let relative = |time: i64| span::relative(now, time);
    let renewals = if grant.renewals == 0 { String::new() } else { grant.renewals.to_string() };
    let mut rows = vec![
        ("grant", grant.id.clone()),
        ("state", grant.state.clone()),
        ("scope", grant.scope.clone()),
        ("credential", if grant.gateway { "for the gateway".to_owned() } else { String::new() }),
        ("session", grant.session.clone()),
        ("agent", grant.agent.clone()),
        ("passed on by", delegators(&grant.delegators)),
        ("reason", grant.reason.clone()),
        ("requested", relative(grant.requested_at)),
        ("expires", grant.expires_at.map(relative).unwrap_or_default()),
        ("renewals", renewals),
        ("policies", grant.policy_ids.join(", ")),
        ("ended", grant.end_reason.clone()),
        ("at the upstream", upstream(grant, now)),
        ("log entry", grant.entry.map(|entry| entry.to_string()).unwrap_or_default()),
    ];
    rows.extend(grant.guards.iter().map(|guard| {
        let by = guard.groups.join(", ");
        ("waits for", format!("{}: {} (approved by: {by})", guard.policy_id, guard.reason))
    }));
    list(rows)
}

/// Tells a page of grants.
#[must_use]
pub fn grants(page: &Page<GrantInfo>) -> String {
    let now = now_millis();
    let rows = page.items.iter().map(|grant| {
        [
            grant.id.clone(),
            grant.state.clone(),
            grant.agent.clone(),
            grant.scope.clone(),
            span::relative(now, grant.requested_at),
            grant.expires_at.map(|time| span::relative(now, time)).unwrap_or_default(),
        ]
    });
    let header = ["GRANT", "STATE", "AGENT", "SCOPE", "REQUESTED", "EXPIRES"];
    table(header, rows) + &more(page.next.as_deref())
}

/// Tells what a revocation cut.
#[must_use]
pub fn cut(cut: &Revoked, stopped: bool) -> String {
    let mut text = format!("{} grants revoked", cut.revoked);
    if cut.sessions_closed > 0 {
        text += &format!(", {} sessions closed", cut.sessions_closed);
    }
    if cut.upstream_confirmed > 0 {
        text += &format!("; {} confirmed by the upstream", cut.upstream_confirmed);
    }
    if cut.upstream_pending > 0 {
        text += &format!("; {} pending", cut.upstream_pending);
    }
    if cut.upstream_unsupported > 0 {
        text += &format!("; {} unsupported", cut.upstream_unsupported);
    }
    if let Some(until) = cut.upstream_until {
        text += &format!("; the last dies {}", span::relative(now_millis(), until));
    }
    text.push('\n');
    if stopped {
        text += "nothing that matches is granted until `jeton grant lift`\n";
    }
    text
}

/// Tells what is stopped.
#[must_use]
pub fn stops(stops: &[StopInfo]) -> String {
    if stops.is_empty() {
        return "nothing is stopped\n".to_owned();
    }
    let now = now_millis();
    let rows = stops.iter().map(|stop| {
        let since = span::relative(now, stop.since);
        [stop.matching.clone(), since, stop.by.clone(), stop.reason.clone()]
    });
    table(["STOPPED", "SINCE", "BY", "REASON"], rows)
}

/// What a session has left.
#[must_use]
pub fn means(means: &Means) -> String {
    let of = |used: u32, most: u32| match most {
        0 => String::new(),
        most => format!("{used} of {most}"),
    };
    let own = ["envelope", "session", ""].map(str::to_owned);
    let [name, per, whom] = own;
    let envelope = [
        name,
        per,
        whom,
        String::new(),
        of(means.grants_used, means.max_grants),
        String::new(),
        String::new(),
    ];
    let rows = means.budgets.iter().map(|budget| {
        let counted = |used: u32, most: u32| match most {
            0 => String::new(),
            most => format!("{} in {}", of(used, most), span::short(budget.seconds.into())),
        };
        let begun = counted(budget.begun, budget.max_begun);
        let calls = counted(budget.calls, budget.max_calls);
        let next = match budget.begun >= budget.max_begun && budget.max_begun > 0 {
            true => format!("in {}", span::short(budget.wait_seconds.into())),
            false => String::new(),
        };
        let BudgetInfo { name, per, whom, live, max_live, .. } = budget;
        [name.clone(), per.clone(), whom.clone(), of(*live, *max_live), begun, calls, next]
    });
    let rows = std::iter::once(envelope).chain(rows);
    table(["BUDGET", "PER", "WHOM", "LIVE", "GRANTS", "CALLS", "NEXT"], rows)
}

/// What deciding again found.
#[must_use]
pub fn re_decided(found: &ReDecided, revoked: bool) -> String {
    let (lost, looked) = (found.lost.len(), found.looked_at);
    if lost == 0 {
        return format!("all of {looked} live grants would be given again\n");
    }
    let rows = found.lost.iter().map(|lost| {
        let LostInfo { grant, reason, .. } = lost;
        [grant.id.clone(), grant.agent.clone(), grant.scope.clone(), reason.clone()]
    });
    let table = table(["GRANT", "AGENT", "SCOPE", "WHY NOT"], rows);
    let then = if revoked { "they are taken back" } else { "--revoke takes them back" };
    format!("{table}\n{lost} of {looked} live grants would not be given any more; {then}\n")
}

fn delegators(links: &[DelegatorInfo]) -> String {
    let agents: Vec<_> = links.iter().map(|link| link.agent.as_str()).collect();
    agents.join(" → ")
}

fn upstream(grant: &GrantInfo, now: i64) -> String {
    let word = &grant.upstream_revocation;
    match grant.upstream_until {
        Some(until) if word == "unsupported" => {
            format!(
                "unsupported until it dies by itself, {} at the latest",
                span::relative(now, until)
            )
        }
        Some(until) => format!("{word}, dies {} at the latest", span::relative(now, until)),
        None => word.clone(),
    }
}

fn more(next: Option<&str>) -> String {
    // Page tokens are base64url, which `code` would cut; quoted they are safe to paste.
    next.map(|token| {
        format!("more: --after {}\n", super::shell::quote(&super::output::clean(token)))
    })
    .unwrap_or_default()
}

/// Tells how to get at the credential of a grant that did not show it.
#[must_use]
pub fn hint(grant: &GrantInfo) -> String {
    format!(
        "The credential is not shown. `jeton grant renew {} --secret-file FILE` gives a fresh one;\n\
         the next time ask with --secret-file FILE or --show-secret, or use `jeton exec`.\n",
        code(&grant.id)
    )
}
