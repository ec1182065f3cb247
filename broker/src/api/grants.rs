//! `GrantService`.

use std::{pin::Pin, sync::Arc};

use jeton_domain::session::Words;
use jeton_proto::v1::{
    AwaitGrantRequest, AwaitGrantResponse, ClaimGrantRequest, ClaimGrantResponse, GetGrantRequest,
    GetGrantResponse, LiftStopRequest, LiftStopResponse, ListBudgetsRequest, ListBudgetsResponse,
    ListGrantsRequest, ListGrantsResponse, ListStopsRequest, ListStopsResponse, ReDecideRequest,
    ReDecideResponse, ReleaseGrantRequest, ReleaseGrantResponse, RenewGrantRequest,
    RenewGrantResponse, RequestGrantRequest, RequestGrantResponse, RevokeGrantRequest,
    RevokeGrantResponse, RevokeMatchingRequest, RevokeMatchingResponse,
    grant_service_server::GrantService,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, page, status, wire};
use crate::operation::{
    budgets, claim_grant, list,
    re_decide::{self, Then},
    renew, request_grant, revoke,
};

#[async_trait]
impl GrantService for Api {
    type AwaitGrantStream = Pin<Box<dyn Stream<Item = Result<AwaitGrantResponse, Status>> + Send>>;

    async fn request_grant(
        &self,
        request: Request<RequestGrantRequest>,
    ) -> Result<Response<RequestGrantResponse>, Status> {
        let caller = caller(&request)?;
        let ask = wire::ask(request.into_inner(), &self.broker.spelling)?;
        let granted = request_grant::request_grant(&self.broker, &caller, ask).await?;
        Ok(Response::new(RequestGrantResponse {
            grant: Some(wire::grant(&granted.grant)),
            credential: granted.credential.map(wire::credential),
        }))
    }

    async fn claim_grant(
        &self,
        request: Request<ClaimGrantRequest>,
    ) -> Result<Response<ClaimGrantResponse>, Status> {
        let caller = caller(&request)?;
        let id = wire::grant_id("id", &request.get_ref().id)?;
        let granted = claim_grant::claim(&self.broker, &caller, id).await?;
        Ok(Response::new(ClaimGrantResponse {
            grant: Some(wire::grant(&granted.grant)),
            credential: granted.credential.map(wire::credential),
        }))
    }

    async fn await_grant(
        &self,
        request: Request<AwaitGrantRequest>,
    ) -> Result<Response<Self::AwaitGrantStream>, Status> {
        let caller = caller(&request)?;
        let id = wire::grant_id("id", &request.get_ref().id)?;
        let place = self.waits.take(&caller).ok_or_else(status::shed)?;
        let broker = Arc::clone(&self.broker);
        let stream = place.run(self.stop.clone(), async move |out| {
            claim_grant::wait(&broker, &caller, id, out).await;
        });
        let stream = stream.map(|granted| {
            let granted = granted.map_err(Status::from)?;
            Ok(AwaitGrantResponse {
                grant: Some(wire::grant(&granted.grant)),
                credential: granted.credential.map(wire::credential),
            })
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn renew_grant(
        &self,
        request: Request<RenewGrantRequest>,
    ) -> Result<Response<RenewGrantResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = wire::grant_id("id", &request.id)?;
        let ttl = wire::ttl(request.ttl_seconds);
        let granted = renew::renew(&self.broker, &caller, id, ttl).await?;
        Ok(Response::new(RenewGrantResponse {
            grant: Some(wire::grant(&granted.grant)),
            credential: granted.credential.map(wire::credential),
        }))
    }

    async fn release_grant(
        &self,
        request: Request<ReleaseGrantRequest>,
    ) -> Result<Response<ReleaseGrantResponse>, Status> {
        let caller = caller(&request)?;
        let id = wire::grant_id("id", &request.get_ref().id)?;
        let grant = revoke::release(&self.broker, &caller, id).await?;
        Ok(Response::new(ReleaseGrantResponse { grant: Some(wire::grant(&grant)) }))
    }

    async fn get_grant(
        &self,
        request: Request<GetGrantRequest>,
    ) -> Result<Response<GetGrantResponse>, Status> {
        let caller = caller(&request)?;
        let id = wire::grant_id("id", &request.get_ref().id)?;
        let grant = list::grant(&self.broker, &caller, id).await?;
        Ok(Response::new(GetGrantResponse { grant: Some(wire::grant(&grant)) }))
    }

    async fn list_grants(
        &self,
        request: Request<ListGrantsRequest>,
    ) -> Result<Response<ListGrantsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let query = list::GrantQuery {
            session: wire::optional("session", &request.session, wire::session_id)?,
            agent: wire::optional("agent", &request.agent, wire::principal)?,
            phase: wire::phase(request.state)?,
        };
        let filter = format!("{:?} {:?} {:?}", query.session, query.agent, query.phase);
        let name = page::query("grants", &filter, &caller);
        let at = page::parse(&self.broker, request.page, &name)?;
        let found = list::grants(&self.broker, &caller, query, at).await?;
        Ok(Response::new(ListGrantsResponse {
            grants: found.rows.iter().map(wire::grant).collect(),
            next_page_token: page::render(&self.broker, found.next, &name)?,
        }))
    }

    async fn revoke_grant(
        &self,
        request: Request<RevokeGrantRequest>,
    ) -> Result<Response<RevokeGrantResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = wire::grant_id("id", &request.id)?;
        let grant = revoke::revoke(&self.broker, &caller, id, Words::new(&request.reason)).await?;
        let wait = wire::wait(request.wait_seconds);
        let settled = revoke::settled(&self.broker, &caller, vec![grant], wait).await?;
        Ok(Response::new(RevokeGrantResponse { grant: settled.first().map(wire::grant) }))
    }

    async fn revoke_matching(
        &self,
        request: Request<RevokeMatchingRequest>,
    ) -> Result<Response<RevokeMatchingResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let reason = Words::new(&request.reason);
        let matching = wire::matching(request.matching, &self.broker.spelling)?;
        let cut =
            revoke::revoke_matching(&self.broker, &caller, matching, reason, request.stop).await?;
        let wait = wire::wait(request.wait_seconds);
        let grants = revoke::settled(&self.broker, &caller, cut.grants, wait).await?;
        Ok(Response::new(wire::cut(cut.sessions, &grants)))
    }

    async fn lift_stop(
        &self,
        request: Request<LiftStopRequest>,
    ) -> Result<Response<LiftStopResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let matching = wire::stopped(request.stop, &self.broker.spelling)?;
        let reason = Words::new(&request.reason);
        revoke::lift_stop(&self.broker, &caller, matching, reason).await?;
        Ok(Response::new(LiftStopResponse {}))
    }

    async fn list_stops(
        &self,
        request: Request<ListStopsRequest>,
    ) -> Result<Response<ListStopsResponse>, Status> {
        let stops = revoke::stops(&self.broker, &*caller(&request)?)?;
        Ok(Response::new(ListStopsResponse { stops: stops.iter().map(wire::stop).collect() }))
    }

    async fn list_budgets(
        &self,
        request: Request<ListBudgetsRequest>,
    ) -> Result<Response<ListBudgetsResponse>, Status> {
        let caller = caller(&request)?;
        let ListBudgetsRequest { session, scope } = request.into_inner();
        let session = wire::optional("session", &session, wire::session_id)?;
        let scope = wire::parsed_scope(scope, &self.broker.spelling)?;
        let means = budgets::means(&self.broker, &caller, session, scope).await?;
        Ok(Response::new(ListBudgetsResponse {
            grants_used: means.used,
            max_grants: means.most,
            budgets: means.budgets.into_iter().map(wire::budgets::budget).collect(),
        }))
    }

    async fn re_decide(
        &self,
        request: Request<ReDecideRequest>,
    ) -> Result<Response<ReDecideResponse>, Status> {
        let caller = caller(&request)?;
        let ReDecideRequest { revoke, page } = request.into_inner();
        let query = page::query("re-decide", &revoke.to_string(), &caller);
        let at = page::parse(&self.broker, page, &query)?;
        let then = if revoke { Then::Revoke } else { Then::Report };
        let looked = re_decide::re_decide(&self.broker, &caller, at.below, then).await?;
        Ok(Response::new(ReDecideResponse {
            looked_at: looked.at,
            next_page_token: page::render(&self.broker, looked.next, &query)?,
            policy_hash: looked.policy_hash,
            lost: looked.lost.iter().map(wire::lost).collect(),
        }))
    }
}
