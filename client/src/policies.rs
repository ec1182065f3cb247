//! The policies that a broker has in force, and those that it had.

use std::time::Duration;

use jeton_domain::{decision::Delivery, scope::Scope};
use jeton_proto::v1::{self, policy_service_client::PolicyServiceClient};
use serde::Serialize;

use crate::{connect::Client, error::Error, types::GuardInfo, wire};

/// Rows of one page.
const PAGE: u32 = 500;

/// What is in force, and what was.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PoliciesInfo {
    /// Hash of the set in force.
    pub hash: String,
    /// Hash of the folder's set, if somebody went back to another in its place.
    pub instead_of: Option<String>,
    /// Sets that are kept, newest first.
    pub kept: Vec<KeptPolicies>,
}

/// A set that was in force.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct KeptPolicies {
    /// Its hash.
    pub hash: String,
    /// When it came into force first, in milliseconds since 1970.
    pub since: i64,
}

/// What came of a reload.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ReloadedPolicies {
    /// Hash of the set in force.
    pub hash: String,
    /// Whether that is another than before.
    pub changed: bool,
    /// What is wrong with the folder; then the set before stays in force.
    pub problems: Vec<String>,
}

/// A question to the policies in force.
#[derive(Debug, Clone)]
pub struct PolicyQuestion {
    /// The agent; with a session's handle its own.
    pub agent: Option<String>,
    /// The person that it acts for.
    pub person: Option<String>,
    /// Agents that passed it on, from the first.
    pub delegators: Vec<String>,
    /// What it asks for.
    pub scope: Scope,
    /// How long; `None` asks for the longest that is allowed.
    pub ttl: Option<Duration>,
    /// Groups that approved it.
    pub approved_by: Vec<String>,
    /// Where the credential goes; `None` asks about each delivery that there is.
    pub delivery: Option<Delivery>,
}

impl PolicyQuestion {
    /// What the session of the handle would be answered.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        let none = Vec::new;
        let (agent, person, ttl, delivery) = (None, None, None, None);
        Self { agent, person, delegators: none(), scope, ttl, approved_by: none(), delivery }
    }
}

/// What would be answered.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PolicyAnswer {
    /// `allow`, `needs approval` or `deny`.
    pub answer: String,
    /// How long it would be given; absent if it is denied.
    pub ttl_seconds: Option<u32>,
    /// Policies that decide.
    pub policy_ids: Vec<String>,
    /// What people must lift first.
    pub guards: Vec<GuardInfo>,
    /// Why it is denied.
    pub reason: String,
    /// Which layer denies it.
    pub layer: Option<String>,
    /// What would be granted instead, the nearest first.
    pub requestable: Vec<String>,
    /// The delivery that it is the answer for; absent if the delivery makes no difference.
    pub delivery: Option<Delivery>,
}

/// The answer to one of many questions.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PolicyRow {
    /// Who: an agent, or a pattern of agents.
    pub agent: String,
    /// What.
    pub scope: String,
    /// The answer.
    pub answer: PolicyAnswer,
}

impl Client {
    /// What would be answered to a question: one answer, or one for each delivery if they differ, first the
    /// one for the delivery that a request without any gets if it is not denied. Grants nothing.
    ///
    /// # Errors
    /// When the caller may not ask it.
    pub async fn explain(&self, question: PolicyQuestion) -> Result<Vec<PolicyAnswer>, Error> {
        let ttl = question.ttl.map_or(Ok(0), |ttl| u32::try_from(ttl.as_secs()));
        let request = v1::ExplainRequest {
            agent: question.agent.unwrap_or_default(),
            person: question.person.unwrap_or_default(),
            delegators: question.delegators,
            scope: Some(wire::scope(&question.scope)),
            ttl_seconds: ttl.map_err(|_| Error::config("the time is longer than a century"))?,
            approved_by: question.approved_by,
            delivery: wire::delivery(question.delivery).into(),
        };
        let path = "/jeton.v1.PolicyService/Explain";
        let answer = self
            .again(path, request, |channel, request| async move {
                PolicyServiceClient::new(channel).explain(request).await
            })
            .await?;
        let first = answer.answer.ok_or_else(|| wire::missing("answer"))?;
        Ok(std::iter::once(first).chain(answer.other).map(wire::policy_answer).collect())
    }

    /// What an agent may do, for all that the catalogue lists; without a name, what the session of the
    /// handle may, for what its envelope holds. Where the answer differs by delivery, there are two rows.
    ///
    /// # Errors
    /// When the caller may not ask it.
    pub async fn may(
        &self,
        agent: Option<&str>,
        person: Option<&str>,
        delivery: Option<Delivery>,
    ) -> Result<Vec<PolicyRow>, Error> {
        self.survey(agent, None, person, delivery).await
    }

    /// Who of the listed agents may do something.
    ///
    /// # Errors
    /// When the caller may not ask it.
    pub async fn who_may(
        &self,
        scope: &Scope,
        person: Option<&str>,
    ) -> Result<Vec<PolicyRow>, Error> {
        self.survey(None, Some(scope), person, None).await
    }

    async fn survey(
        &self,
        agent: Option<&str>,
        scope: Option<&Scope>,
        person: Option<&str>,
        delivery: Option<Delivery>,
    ) -> Result<Vec<PolicyRow>, Error> {
        let (mut rows, mut token) = (Vec::new(), String::new());
        loop {
            let request = v1::SurveyRequest {
                agent: agent.unwrap_or_default().to_owned(),
                scope: scope.map(wire::scope),
                person: person.unwrap_or_default().to_owned(),
                page: Some(v1::Page { size: PAGE, token }),
                delivery: wire::delivery(delivery).into(),
            };
            let path = "/jeton.v1.PolicyService/Survey";
            let answer = self
                .again(path, request, |channel, request| async move {
                    PolicyServiceClient::new(channel).survey(request).await
                })
                .await?;
            for row in answer.rows {
                rows.push(wire::policy_row(row)?);
            }
            token = answer.next_page_token;
            if token.is_empty() {
                return Ok(rows);
            }
        }
    }

    /// What is in force, and what was.
    ///
    /// # Errors
    /// When the caller may not see it.
    pub async fn policies(&self) -> Result<PoliciesInfo, Error> {
        let path = "/jeton.v1.PolicyService/GetPolicies";
        let answer = self
            .again(path, v1::GetPoliciesRequest {}, |channel, request| async move {
                PolicyServiceClient::new(channel).get_policies(request).await
            })
            .await?;
        let kept = answer.kept.into_iter().map(|one| KeptPolicies {
            hash: one.hash,
            since: wire::millis(one.since).unwrap_or(0),
        });
        let instead_of = Some(answer.instead_of).filter(|hash| !hash.is_empty());
        Ok(PoliciesInfo { hash: answer.hash, instead_of, kept: kept.collect() })
    }

    /// The files of a set that is kept: names and texts.
    ///
    /// # Errors
    /// When it is not kept, or the caller may not see it.
    pub async fn policy_set(&self, hash: &str) -> Result<Vec<(String, String)>, Error> {
        let request = v1::GetPolicySetRequest { hash: hash.to_owned() };
        let path = "/jeton.v1.PolicyService/GetPolicySet";
        let answer = self
            .again(path, request, |channel, request| async move {
                PolicyServiceClient::new(channel).get_policy_set(request).await
            })
            .await?;
        Ok(answer.files.into_iter().map(|one| (one.name, one.text)).collect())
    }

    /// Has the folder loaded anew at once.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn reload_policies(&self) -> Result<ReloadedPolicies, Error> {
        let path = "/jeton.v1.PolicyService/ReloadPolicies";
        let answer = self
            .once(path, v1::ReloadPoliciesRequest {}, |channel, request| async move {
                PolicyServiceClient::new(channel).reload_policies(request).await
            })
            .await?;
        let v1::ReloadPoliciesResponse { hash, changed, problems } = answer;
        Ok(ReloadedPolicies { hash, changed, problems })
    }

    /// Goes back to a set that was in force. `false`: another operator has to want the same first.
    ///
    /// # Errors
    /// When the caller may not, or the set is not kept or no good any more.
    pub async fn roll_back_policies(&self, hash: &str, reason: &str) -> Result<bool, Error> {
        let request =
            v1::RollBackPoliciesRequest { hash: hash.to_owned(), reason: reason.to_owned() };
        let path = "/jeton.v1.PolicyService/RollBackPolicies";
        self.once(path, request, |channel, request| async move {
            PolicyServiceClient::new(channel).roll_back_policies(request).await
        })
        .await
        .map(|answer| !answer.proposed)
    }
}
