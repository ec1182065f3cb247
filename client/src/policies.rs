//! The policies that a broker has in force, and those that it had.

use jeton_proto::v1::{self, policy_service_client::PolicyServiceClient};
use serde::Serialize;

use crate::{connect::Client, error::Error, wire};

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

impl Client {
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
