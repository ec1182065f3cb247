//! Calls about grants.

use std::time::Duration;

use jeton_domain::{
    decision::Delivery,
    scope::Scope,
    secret::{Secret, hex},
};
use jeton_proto::v1::{
    self, grant_service_client::GrantServiceClient,
    introspection_service_client::IntrospectionServiceClient,
    revoke_matching_request::Matching as WireMatching,
};
use ring::rand::{SecureRandom, SystemRandom};

use crate::{
    connect::Client,
    error::Error,
    types::{GrantInfo, Granted, Introspection, Means, Page, PageOf, ReDecided, Revoked, StopInfo},
    wire,
};

/// A grant to ask for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What it is to open.
    pub scope: Scope,
    /// How long; `None` asks for the longest that is allowed.
    pub ttl: Option<Duration>,
    /// Where the credential goes: to the agent, or to the gateway and never to the agent. `None` leaves it
    /// to the broker, which prefers the gateway; then there may be no secret. Direct delivery is denied where
    /// a policy reads what a push or a call does.
    pub delivery: Option<Delivery>,
    /// Why, in the agent's own words.
    pub reason: String,
    /// Key for a safe retry; made afresh if absent.
    pub request_id: Option<String>,
}

impl Ask {
    /// Asks for a scope as long as allowed, with the delivery that the broker prefers.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { scope, ttl: None, delivery: None, reason: String::new(), request_id: None }
    }

    /// The same for the agent itself, which gets the secret.
    #[must_use]
    pub fn direct(scope: Scope) -> Self {
        Self { delivery: Some(Delivery::Direct), ..Self::new(scope) }
    }
}

/// Which grants to list.
#[derive(Debug, Clone, Default)]
pub struct GrantFilter {
    /// Of one session.
    pub session: Option<String>,
    /// Of one agent.
    pub agent: Option<String>,
    /// In one state, such as `active`.
    pub state: Option<String>,
}

/// What to take back.
#[derive(Debug, Clone)]
pub enum Matching {
    /// One session and all below it.
    Session(String),
    /// The sessions of one agent and all below them.
    Agent(String),
    /// The sessions that act for one person.
    Person(String),
    /// Grants for one resource, as `upstream:resource`.
    Resource(String),
    /// Grants at one upstream.
    Upstream(String),
    /// Grants that one policy had a part in.
    Policy(String),
    /// Everything.
    All,
}

/// How to take back all that matches.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// What.
    pub matching: Matching,
    /// Why, for the record.
    pub reason: String,
    /// Grant nothing that matches until [`Client::lift_stop`].
    pub stop: bool,
    /// How long to wait for upstreams to confirm it. Everything is revoked before.
    pub wait: Duration,
}

impl Client {
    /// Asks for a grant. A pending one comes back without a secret.
    ///
    /// # Errors
    /// When it is refused, with what could be asked for instead.
    pub async fn request_grant(&self, ask: Ask) -> Result<Granted, Error> {
        let request = v1::RequestGrantRequest {
            scope: Some(wire::scope(&ask.scope)),
            ttl_seconds: ask.ttl.map_or(0, seconds),
            delivery: wire::delivery(ask.delivery).into(),
            reason: ask.reason,
            request_id: match ask.request_id {
                Some(id) => id,
                None => fresh_request_id()?,
            },
        };
        let path = "/jeton.v1.GrantService/RequestGrant";
        let answer = self
            .again(path, request, |channel, request| async move {
                GrantServiceClient::new(channel).request_grant(request).await
            })
            .await?;
        wire::granted(answer.grant, answer.credential)
    }

    /// Replaces the credential of an active grant.
    ///
    /// # Errors
    /// When it is over, or refused by today's policies.
    pub async fn renew_grant(&self, id: &str, ttl: Option<Duration>) -> Result<Granted, Error> {
        let request =
            v1::RenewGrantRequest { id: id.to_owned(), ttl_seconds: ttl.map_or(0, seconds) };
        let path = "/jeton.v1.GrantService/RenewGrant";
        let answer = self
            .once(path, request, |channel, request| async move {
                GrantServiceClient::new(channel).renew_grant(request).await
            })
            .await?;
        wire::granted(answer.grant, answer.credential)
    }

    /// Gives a grant back.
    ///
    /// # Errors
    /// When it is not the session's.
    pub async fn release_grant(&self, id: &str) -> Result<GrantInfo, Error> {
        let request = v1::ReleaseGrantRequest { id: id.to_owned() };
        let path = "/jeton.v1.GrantService/ReleaseGrant";
        let answer = self
            .again(path, request, |channel, request| async move {
                GrantServiceClient::new(channel).release_grant(request).await
            })
            .await?;
        answer.grant.map(wire::grant).ok_or_else(|| wire::missing("grant"))
    }

    /// Tells one grant.
    ///
    /// # Errors
    /// When there is none such for this caller.
    pub async fn get_grant(&self, id: &str) -> Result<GrantInfo, Error> {
        let request = v1::GetGrantRequest { id: id.to_owned() };
        let path = "/jeton.v1.GrantService/GetGrant";
        let answer = self
            .again(path, request, |channel, request| async move {
                GrantServiceClient::new(channel).get_grant(request).await
            })
            .await?;
        answer.grant.map(wire::grant).ok_or_else(|| wire::missing("grant"))
    }

    /// Lists grants, newest first.
    ///
    /// # Errors
    /// When a state is unknown or the broker can't be reached.
    pub async fn list_grants(
        &self,
        filter: GrantFilter,
        page: PageOf,
    ) -> Result<Page<GrantInfo>, Error> {
        let state = match &filter.state {
            None => v1::GrantState::Unspecified,
            Some(word) => {
                let name = format!("GRANT_STATE_{}", word.to_ascii_uppercase());
                v1::GrantState::from_str_name(&name).ok_or_else(|| {
                    Error::config(format!(
                        "`{word}` is no state of a grant, such as active or revoked"
                    ))
                })?
            }
        };
        let request = v1::ListGrantsRequest {
            session: filter.session.unwrap_or_default(),
            state: state.into(),
            agent: filter.agent.unwrap_or_default(),
            page: Some(v1::Page { size: page.size, token: page.token.unwrap_or_default() }),
        };
        let path = "/jeton.v1.GrantService/ListGrants";
        let answer = self
            .again(path, request, |channel, request| async move {
                GrantServiceClient::new(channel).list_grants(request).await
            })
            .await?;
        let next = Some(answer.next_page_token).filter(|token| !token.is_empty());
        Ok(Page { items: answer.grants.into_iter().map(wire::grant).collect(), next })
    }

    /// Takes one grant back, and waits a while for the upstream to confirm it.
    ///
    /// # Errors
    /// When there is none such for this caller.
    pub async fn revoke_grant(
        &self,
        id: &str,
        reason: &str,
        wait: Duration,
    ) -> Result<GrantInfo, Error> {
        let request = v1::RevokeGrantRequest {
            id: id.to_owned(),
            reason: reason.to_owned(),
            wait_seconds: whole(wait),
        };
        let path = "/jeton.v1.GrantService/RevokeGrant";
        let answer = self
            .again(path, request, |channel, request| async move {
                GrantServiceClient::new(channel).revoke_grant(request).await
            })
            .await?;
        answer.grant.map(wire::grant).ok_or_else(|| wire::missing("grant"))
    }

    /// Takes back all that matches.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn revoke_matching(&self, order: Revocation) -> Result<Revoked, Error> {
        let matching = match order.matching {
            Matching::Session(id) => WireMatching::Session(id),
            Matching::Agent(name) => WireMatching::Agent(name),
            Matching::Person(name) => WireMatching::Person(name),
            Matching::Resource(name) => WireMatching::Resource(name),
            Matching::Upstream(name) => WireMatching::Upstream(name),
            Matching::Policy(id) => WireMatching::Policy(id),
            Matching::All => WireMatching::All(true),
        };
        let request = v1::RevokeMatchingRequest {
            matching: Some(matching),
            reason: order.reason,
            stop: order.stop,
            wait_seconds: whole(order.wait),
        };
        let path = "/jeton.v1.GrantService/RevokeMatching";
        let answer = self
            .again(path, request, |channel, request| async move {
                GrantServiceClient::new(channel).revoke_matching(request).await
            })
            .await?;
        Ok(wire::revoked(answer))
    }

    /// Lifts a stop: what matches may be granted again.
    ///
    /// # Errors
    /// When there is none such, or the caller may not.
    pub async fn lift_stop(&self, matching: Matching, reason: &str) -> Result<(), Error> {
        use v1::stop::Matching as Wire;
        let matching = match matching {
            Matching::Agent(name) => Wire::Agent(name),
            Matching::Person(name) => Wire::Person(name),
            Matching::Resource(name) => Wire::Resource(name),
            Matching::Upstream(name) => Wire::Upstream(name),
            Matching::All => Wire::All(true),
            Matching::Session(_) | Matching::Policy(_) => {
                return Err(Error::config(
                    "neither a session nor a policy can be stopped, so there is nothing to lift",
                ));
            }
        };
        let stop = v1::Stop { matching: Some(matching), ..v1::Stop::default() };
        let request = v1::LiftStopRequest { stop: Some(stop), reason: reason.to_owned() };
        let path = "/jeton.v1.GrantService/LiftStop";
        self.once(path, request, |channel, request| async move {
            GrantServiceClient::new(channel).lift_stop(request).await
        })
        .await
        .map(|_| ())
    }

    /// Lists what is stopped.
    ///
    /// # Errors
    /// When the caller may not see that.
    pub async fn list_stops(&self) -> Result<Vec<StopInfo>, Error> {
        let path = "/jeton.v1.GrantService/ListStops";
        let answer = self
            .again(path, v1::ListStopsRequest {}, |channel, request| async move {
                GrantServiceClient::new(channel).list_stops(request).await
            })
            .await?;
        Ok(answer.stops.into_iter().map(wire::stop).collect())
    }

    /// Tells what is left for grants of one scope, in the caller's session or in one that it may see.
    ///
    /// # Errors
    /// When there is no such session for this caller.
    pub async fn list_budgets(&self, session: &str, scope: &Scope) -> Result<Means, Error> {
        let request =
            v1::ListBudgetsRequest { session: session.to_owned(), scope: Some(wire::scope(scope)) };
        let path = "/jeton.v1.GrantService/ListBudgets";
        let answer = self
            .again(path, request, |channel, request| async move {
                GrantServiceClient::new(channel).list_budgets(request).await
            })
            .await?;
        Ok(Means {
            grants_used: answer.grants_used,
            max_grants: answer.max_grants,
            budgets: answer.budgets.into_iter().map(wire::budget).collect(),
        })
    }

    /// Decides all live grants again with the policies that hold now: which would not be given any
    /// more. They are taken back if that is wanted.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn re_decide(&self, revoke: bool) -> Result<ReDecided, Error> {
        let path = "/jeton.v1.GrantService/ReDecide";
        let (mut found, mut token) = (ReDecided::default(), String::new());
        loop {
            let page = Some(v1::Page { size: 0, token });
            let request = v1::ReDecideRequest { revoke, page };
            let answer = self
                .again(path, request, |channel, request| async move {
                    GrantServiceClient::new(channel).re_decide(request).await
                })
                .await?;
            found.looked_at = found.looked_at.saturating_add(answer.looked_at);
            found.lost.extend(answer.lost.into_iter().filter_map(wire::lost));
            token = answer.next_page_token;
            if token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Tells a resource server whether a credential is good at this moment.
    ///
    /// # Errors
    /// When the caller is no resource server or the broker can't be reached: unknown is never good.
    pub async fn introspect(
        &self,
        credential: &Secret,
        audience: &str,
    ) -> Result<Introspection, Error> {
        let request = v1::IntrospectRequest {
            credential: credential.expose().to_owned(),
            audience: audience.to_owned(),
        };
        let path = "/jeton.v1.IntrospectionService/Introspect";
        let answer = self
            .again(path, request, |channel, request| async move {
                IntrospectionServiceClient::new(channel).introspect(request).await
            })
            .await?;
        Ok(wire::introspection(answer))
    }
}

/// A key under which a call may be sent twice and done once.
pub(crate) fn fresh_request_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::config("the system gives no randomness"))?;
    Ok(hex(&bytes))
}

/// Whole seconds.
fn whole(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// Whole seconds, at least one: zero would ask for the longest.
pub(crate) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}
