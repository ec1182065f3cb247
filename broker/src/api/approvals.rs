//! `ApprovalService`.

use std::{pin::Pin, sync::Arc};

use jeton_domain::{
    approval::{GlassName, RequestHash},
    session::Words,
    spelling::Spelling,
};
use jeton_proto::v1::{
    ApproveRequest, ApproveResponse, BreakGlassRequest, BreakGlassResponse, CommentRequest,
    CommentResponse, GetApprovalRequest, GetApprovalResponse, ListApprovalsRequest,
    ListApprovalsResponse, ListUnreviewedRequest, ListUnreviewedResponse, RejectRequest,
    RejectResponse, ReviewEmergencyRequest, ReviewEmergencyResponse, WatchApprovalsRequest,
    WatchApprovalsResponse, WithdrawApprovalRequest, WithdrawApprovalResponse,
    approval_service_server::ApprovalService,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, page, status, wire};
use crate::operation::{
    approvals,
    break_glass::{self, Breaking},
    decide_approval::{self, Reach, Yes},
};

#[async_trait]
impl ApprovalService for Api {
    type WatchApprovalsStream =
        Pin<Box<dyn Stream<Item = Result<WatchApprovalsResponse, Status>> + Send>>;

    async fn list_approvals(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        let caller = caller(&request)?;
        let name = page::query("approvals", "", &caller);
        let at = page::parse(&self.broker, request.into_inner().page, &name)?;
        let size = usize::try_from(at.size).unwrap_or(usize::MAX);
        // Why one more: it tells whether there is a next page.
        let most = size.saturating_add(1);
        let found = approvals::questions(&self.broker, &caller, at.below, most).await?;
        let approvals = wire::approvals::listed(found.iter().take(size));
        let last = approvals.len().checked_sub(1).filter(|_| approvals.len() < found.len());
        let next = last.and_then(|last| found.get(last)).map(|question| question.grant.id.row());
        let next_page_token = page::render(&self.broker, next, &name)?;
        Ok(Response::new(ListApprovalsResponse { approvals, next_page_token }))
    }

    async fn get_approval(
        &self,
        request: Request<GetApprovalRequest>,
    ) -> Result<Response<GetApprovalResponse>, Status> {
        let caller = caller(&request)?;
        let id = wire::grant_id("grant", &request.get_ref().grant)?;
        let found = approvals::question(&self.broker, &caller, id).await?;
        Ok(Response::new(GetApprovalResponse { approval: Some(wire::approvals::question(&found)) }))
    }

    async fn watch_approvals(
        &self,
        request: Request<WatchApprovalsRequest>,
    ) -> Result<Response<Self::WatchApprovalsStream>, Status> {
        let caller = caller(&request)?;
        let place = self.watches.take(&caller).ok_or_else(status::shed)?;
        let broker = Arc::clone(&self.broker);
        let stream = place.run(self.stop.clone(), async move |out| {
            approvals::watch(&broker, &caller, out).await;
        });
        let stream = stream.map(|found| {
            let found = found.map_err(Status::from)?;
            let mut approvals = wire::approvals::listed(found.iter());
            approvals.sort_by_key(|one| std::cmp::Reverse(wire::approvals::asked_at(one)));
            Ok(WatchApprovalsResponse { approvals })
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn approve(
        &self,
        request: Request<ApproveRequest>,
    ) -> Result<Response<ApproveResponse>, Status> {
        let caller = caller(&request)?;
        let yes = yes(request.into_inner(), &self.broker.spelling)?;
        let found = decide_approval::approve(&self.broker, &caller, yes).await?;
        Ok(Response::new(ApproveResponse { approval: Some(wire::approvals::question(&found)) }))
    }

    async fn reject(
        &self,
        request: Request<RejectRequest>,
    ) -> Result<Response<RejectResponse>, Status> {
        let caller = caller(&request)?;
        let RejectRequest { grant, reason } = request.into_inner();
        let id = wire::grant_id("grant", &grant)?;
        let ended = decide_approval::reject(&self.broker, &caller, id, Words::new(&reason)).await?;
        Ok(Response::new(RejectResponse { grant: Some(wire::grant(&ended)) }))
    }

    async fn comment(
        &self,
        request: Request<CommentRequest>,
    ) -> Result<Response<CommentResponse>, Status> {
        let caller = caller(&request)?;
        let CommentRequest { grant, words } = request.into_inner();
        let id = wire::grant_id("grant", &grant)?;
        decide_approval::comment(&self.broker, &caller, id, Words::new(&words)).await?;
        Ok(Response::new(CommentResponse {}))
    }

    async fn break_glass(
        &self,
        request: Request<BreakGlassRequest>,
    ) -> Result<Response<BreakGlassResponse>, Status> {
        let caller = caller(&request)?;
        let BreakGlassRequest { grant, request_hash, glass, ttl_seconds, reason } =
            request.into_inner();
        let breaking = Breaking {
            grant: wire::grant_id("grant", &grant)?,
            hash: RequestHash::new(&request_hash),
            glass: (!glass.is_empty()).then(|| GlassName::new(&glass)),
            ttl: wire::ttl(ttl_seconds),
            reason: Words::new(&reason),
        };
        let found = break_glass::break_glass(&self.broker, &caller, breaking).await?;
        Ok(Response::new(BreakGlassResponse { approval: Some(wire::approvals::question(&found)) }))
    }

    async fn list_unreviewed(
        &self,
        request: Request<ListUnreviewedRequest>,
    ) -> Result<Response<ListUnreviewedResponse>, Status> {
        let caller = caller(&request)?;
        let found = break_glass::unreviewed(&self.broker, &caller).await?;
        let emergencies = found.iter().map(wire::approvals::emergency).collect();
        Ok(Response::new(ListUnreviewedResponse { emergencies }))
    }

    async fn review_emergency(
        &self,
        request: Request<ReviewEmergencyRequest>,
    ) -> Result<Response<ReviewEmergencyResponse>, Status> {
        let caller = caller(&request)?;
        let ReviewEmergencyRequest { entry_index, justified, words } = request.into_inner();
        let words = Words::new(&words);
        break_glass::review(&self.broker, &caller, entry_index, justified, words).await?;
        Ok(Response::new(ReviewEmergencyResponse {}))
    }

    async fn withdraw_approval(
        &self,
        request: Request<WithdrawApprovalRequest>,
    ) -> Result<Response<WithdrawApprovalResponse>, Status> {
        let caller = caller(&request)?;
        let WithdrawApprovalRequest { grant, by } = request.into_inner();
        let id = wire::grant_id("grant", &grant)?;
        let whose = wire::optional("by", &by, wire::principal)?;
        decide_approval::withdraw(&self.broker, &caller, id, whose).await?;
        Ok(Response::new(WithdrawApprovalResponse {}))
    }
}

fn yes(request: ApproveRequest, spelling: &Spelling) -> Result<Yes, Status> {
    let ApproveRequest { grant, request_hash, reason, for_session, within, grants, ttl_seconds } =
        request;
    let reach = match for_session {
        true => {
            let within = within.map(|within| wire::scope_bound(within, spelling)).transpose()?;
            let grants = (grants > 0).then_some(grants);
            Reach::Session { within, grants, ttl: wire::ttl(ttl_seconds) }
        }
        false if within.is_some() || grants > 0 || ttl_seconds > 0 => {
            let message = "bounds are for a yes for the session; set it, or leave them out";
            return Err(status::invalid("for_session", message));
        }
        false => Reach::Once,
    };
    Ok(Yes {
        grant: wire::grant_id("grant", &grant)?,
        hash: RequestHash::new(&request_hash),
        reach,
        reason: Words::new(&reason),
    })
}
