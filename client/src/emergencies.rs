//! Calls about emergencies: guards that a person lifts alone, and what others find afterwards.

use std::time::Duration;

use jeton_proto::v1::{self, approval_service_client::ApprovalServiceClient};
use serde::Serialize;

use crate::{approvals::ApprovalInfo, connect::Client, error::Error, wire};

/// An emergency that nobody has reviewed yet.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct EmergencyInfo {
    /// The log's entry that tells of it.
    pub entry: u64,
    /// What the person was named for.
    pub glass: String,
    /// Who.
    pub by: String,
    /// The grant that waited.
    pub grant: String,
    /// Its session.
    pub session: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// An emergency that somebody takes upon itself.
#[derive(Debug, Clone)]
pub struct Emergency {
    /// What the caller is named for; may be left out where that is one thing.
    pub glass: Option<String>,
    /// For how long; as long as the catalogue allows if absent.
    pub ttl: Option<Duration>,
    /// What it is.
    pub reason: String,
}

impl Client {
    /// Lifts the guards of a request alone, for a short time. Others hear of it, and review it.
    ///
    /// # Errors
    /// When the caller is not named for it, it lies outside what that allows, or the emergency before is
    /// not reviewed.
    pub async fn break_glass(
        &self,
        shown: &ApprovalInfo,
        emergency: Emergency,
    ) -> Result<ApprovalInfo, Error> {
        let request = v1::BreakGlassRequest {
            grant: shown.grant.id.clone(),
            request_hash: shown.request_hash.clone(),
            glass: emergency.glass.unwrap_or_default(),
            ttl_seconds: emergency.ttl.map_or(0, crate::grants::seconds),
            reason: emergency.reason,
        };
        let path = "/jeton.v1.ApprovalService/BreakGlass";
        let answer = self
            .once(path, request, |channel, request| async move {
                ApprovalServiceClient::new(channel).break_glass(request).await
            })
            .await?;
        wire::approval(answer.approval.ok_or_else(|| wire::missing("approval"))?)
    }

    /// Lists emergencies that nobody has reviewed yet, oldest first: all for those who see everything,
    /// otherwise those that the caller reviews.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn list_unreviewed(&self) -> Result<Vec<EmergencyInfo>, Error> {
        let request = v1::ListUnreviewedRequest {};
        let path = "/jeton.v1.ApprovalService/ListUnreviewed";
        let answer = self
            .again(path, request, |channel, request| async move {
                ApprovalServiceClient::new(channel).list_unreviewed(request).await
            })
            .await?;
        Ok(answer.emergencies.into_iter().map(wire::emergency).collect())
    }

    /// Records what was found about an emergency.
    ///
    /// # Errors
    /// When there is none to review, or the caller is not the one to do it.
    pub async fn review_emergency(
        &self,
        entry: u64,
        justified: bool,
        words: &str,
    ) -> Result<(), Error> {
        let request =
            v1::ReviewEmergencyRequest { entry_index: entry, justified, words: words.to_owned() };
        let path = "/jeton.v1.ApprovalService/ReviewEmergency";
        self.once(path, request, |channel, request| async move {
            ApprovalServiceClient::new(channel).review_emergency(request).await
        })
        .await
        .map(drop)
    }
}
