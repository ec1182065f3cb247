//! Requests that wait for people, and their answers.

use std::time::Duration;

use jeton_domain::scope::ScopeBound;
use jeton_proto::v1::{self, approval_service_client::ApprovalServiceClient};
use serde::Serialize;
use tonic::Streaming;

use crate::{
    connect::Client,
    error::{Error, ErrorKind},
    types::{GrantInfo, Granted, SessionInfo},
    wire,
};

/// A request that waits for people.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ApprovalInfo {
    /// The grant that waits. Its `reason` is the agent's own word: untrusted.
    pub grant: GrantInfo,
    /// Its session.
    pub session: SessionInfo,
    /// What a yes names.
    pub request_hash: String,
    /// What is asked, in the broker's words.
    pub summary: Vec<String>,
    /// Who is asked.
    pub groups: Vec<ApproverGroupInfo>,
    /// The yes so far.
    pub given: Vec<GivenApprovalInfo>,
    /// Whether the policies changed since: then nothing can be approved any more.
    pub stale: bool,
    /// Whether the caller may answer.
    pub answerable: bool,
    /// Why not, if it is one of those who are asked.
    pub not_answerable: String,
}

/// A group that is asked.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ApproverGroupInfo {
    /// Its name.
    pub name: String,
    /// How many different people are needed.
    pub quorum: u32,
    /// Whether each has to say why.
    pub reason_required: bool,
    /// Grants that a yes for the session may reach; 0 where each request is asked.
    pub session_grants: u32,
    /// Seconds that it may last.
    pub session_seconds: u32,
    /// Whether the caller is of it.
    pub yours: bool,
}

/// A yes that was given.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct GivenApprovalInfo {
    /// By whom.
    pub by: String,
    /// For which groups.
    pub groups: Vec<String>,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Why.
    pub reason: String,
    /// Whether it reaches further requests of the session.
    pub for_session: bool,
    /// The log's entry that records it.
    pub entry: u64,
}

/// How far a yes reaches.
#[derive(Debug, Clone, Default)]
pub enum Reach {
    /// The one request.
    #[default]
    Once,
    /// Further requests of the session.
    Session {
        /// Scopes; the asked one if absent.
        within: Option<ScopeBound>,
        /// Grants, the asked one counted; as many as the group may give if absent.
        grants: Option<u32>,
        /// Time; as long as the group may give if absent.
        ttl: Option<Duration>,
    },
}

/// Questions of one page. Why the most: a list is read whole.
const PAGE: u32 = 500;

/// A stream of all questions, each time that they change.
pub struct Approvals(Streaming<v1::WatchApprovalsResponse>);

impl Client {
    /// The questions that the caller may see, newest first.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn list_approvals(&self) -> Result<Vec<ApprovalInfo>, Error> {
        let path = "/jeton.v1.ApprovalService/ListApprovals";
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let page = Some(v1::Page { size: PAGE, token });
            let request = v1::ListApprovalsRequest { page };
            let answer = self
                .again(path, request, |channel, request| async move {
                    ApprovalServiceClient::new(channel).list_approvals(request).await
                })
                .await?;
            for one in answer.approvals {
                found.push(wire::approval(one)?);
            }
            if answer.next_page_token.is_empty() {
                return Ok(found);
            }
            token = answer.next_page_token;
        }
    }

    /// One question.
    ///
    /// # Errors
    /// When there is none such for this caller.
    pub async fn get_approval(&self, grant: &str) -> Result<ApprovalInfo, Error> {
        let request = v1::GetApprovalRequest { grant: grant.to_owned() };
        let path = "/jeton.v1.ApprovalService/GetApproval";
        let answer = self
            .again(path, request, |channel, request| async move {
                ApprovalServiceClient::new(channel).get_approval(request).await
            })
            .await?;
        wire::approval(answer.approval.ok_or_else(|| wire::missing("approval"))?)
    }

    /// All questions now, and again each time that they change. The broker ends a stream after some
    /// minutes.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn watch_approvals(&self) -> Result<Approvals, Error> {
        let path = "/jeton.v1.ApprovalService/WatchApprovals";
        let request = v1::WatchApprovalsRequest {};
        self.open(path, request, |channel, request| async move {
            ApprovalServiceClient::new(channel).watch_approvals(request).await
        })
        .await
        .map(Approvals)
    }

    /// Says yes to what was shown. The same yes again changes nothing.
    ///
    /// # Errors
    /// When the caller may not, it reaches too far, or what was shown is not what is asked.
    pub async fn approve(
        &self,
        shown: &ApprovalInfo,
        reach: Reach,
        reason: &str,
    ) -> Result<ApprovalInfo, Error> {
        let mut request = v1::ApproveRequest {
            grant: shown.grant.id.clone(),
            request_hash: shown.request_hash.clone(),
            reason: reason.to_owned(),
            ..Default::default()
        };
        if let Reach::Session { within, grants, ttl } = reach {
            request.for_session = true;
            request.within = within.as_ref().map(wire::bound);
            request.grants = grants.unwrap_or(0);
            request.ttl_seconds = ttl.map_or(0, crate::grants::seconds);
        }
        let path = "/jeton.v1.ApprovalService/Approve";
        let answer = self
            .again(path, request, |channel, request| async move {
                ApprovalServiceClient::new(channel).approve(request).await
            })
            .await?;
        wire::approval(answer.approval.ok_or_else(|| wire::missing("approval"))?)
    }

    /// Says no, for good.
    ///
    /// # Errors
    /// When the caller may not, or nobody is asked any more.
    pub async fn reject(&self, grant: &str, reason: &str) -> Result<GrantInfo, Error> {
        let request = v1::RejectRequest { grant: grant.to_owned(), reason: reason.to_owned() };
        let path = "/jeton.v1.ApprovalService/Reject";
        let answer = self
            .once(path, request, |channel, request| async move {
                ApprovalServiceClient::new(channel).reject(request).await
            })
            .await?;
        answer.grant.map(wire::grant).ok_or_else(|| wire::missing("grant"))
    }

    /// Says something about a request that waits, for the record.
    ///
    /// # Errors
    /// When the caller may not see it.
    pub async fn comment(&self, grant: &str, words: &str) -> Result<(), Error> {
        let request = v1::CommentRequest { grant: grant.to_owned(), words: words.to_owned() };
        let path = "/jeton.v1.ApprovalService/Comment";
        self.once(path, request, |channel, request| async move {
            ApprovalServiceClient::new(channel).comment(request).await
        })
        .await
        .map(drop)
    }

    /// Takes a yes back, as far as it is not used up: the caller's own, or somebody's by an operator.
    ///
    /// # Errors
    /// When there is none, or the caller may not.
    pub async fn withdraw_approval(&self, grant: &str, by: Option<&str>) -> Result<(), Error> {
        let by = by.unwrap_or_default().to_owned();
        let request = v1::WithdrawApprovalRequest { grant: grant.to_owned(), by };
        let path = "/jeton.v1.ApprovalService/WithdrawApproval";
        self.once(path, request, |channel, request| async move {
            ApprovalServiceClient::new(channel).withdraw_approval(request).await
        })
        .await
        .map(drop)
    }

    /// Waits until a grant waits no more: it comes back with its credential, in the gateway's hands, or
    /// ended. Goes on over streams that end and a broker that starts anew, for as long as `patience`
    /// says.
    ///
    /// # Errors
    /// When it still waits then, is refused, or the broker can't be reached for too long.
    pub async fn await_grant(&self, id: &str, patience: Duration) -> Result<Granted, Error> {
        match tokio::time::timeout(patience, self.awaited(id)).await {
            Ok(done) => done,
            Err(_) => Err(Error::local(
                ErrorKind::NeedsApproval,
                format!("{id} still waits for an approval; claim it later"),
            )),
        }
    }

    async fn awaited(&self, id: &str) -> Result<Granted, Error> {
        loop {
            match self.told_of(id).await {
                Ok(Some(granted)) => return Ok(granted),
                Ok(None) => {}
                Err(error) if error.is_passing() => {}
                Err(error) => return Err(error),
            }
            // A stream that ended, or a broker that is away.
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn told_of(&self, id: &str) -> Result<Option<Granted>, Error> {
        let request = v1::AwaitGrantRequest { id: id.to_owned() };
        let path = "/jeton.v1.GrantService/AwaitGrant";
        let mut stream = self
            .open(path, request, |channel, request| async move {
                v1::grant_service_client::GrantServiceClient::new(channel)
                    .await_grant(request)
                    .await
            })
            .await?;
        while let Some(word) = stream.message().await.map_err(Error::of_stream)? {
            let granted = wire::granted(word.grant, word.credential)?;
            let grant = &granted.grant;
            // Why: of what the gateway uses no credential ever comes here.
            let used_there = grant.gateway && grant.state == "active";
            if granted.secret.is_some() || used_there || !grant.is_open() {
                return Ok(Some(granted));
            }
        }
        Ok(None)
    }

    /// Tells how a grant stands, with its credential once people approved it.
    ///
    /// # Errors
    /// When it is not this session's, or is refused now.
    pub async fn claim_grant(&self, id: &str) -> Result<Granted, Error> {
        let request = v1::ClaimGrantRequest { id: id.to_owned() };
        let path = "/jeton.v1.GrantService/ClaimGrant";
        let answer = self
            .again(path, request, |channel, request| async move {
                v1::grant_service_client::GrantServiceClient::new(channel)
                    .claim_grant(request)
                    .await
            })
            .await?;
        wire::granted(answer.grant, answer.credential)
    }
}

/// Time between two streams.
const AGAIN: Duration = Duration::from_millis(500);

impl Approvals {
    /// All questions as they are now; `None` when the stream has ended and is to be opened again.
    ///
    /// # Errors
    /// When the broker can't be heard any more.
    pub async fn next(&mut self) -> Result<Option<Vec<ApprovalInfo>>, Error> {
        let word = self.0.message().await.map_err(Error::of_stream)?;
        let all = word.map(|word| word.approvals.into_iter().map(wire::approval).collect());
        all.transpose()
    }
}
