//! `SessionService`.

use jeton_domain::session::Words;
use jeton_proto::v1::{
    CloseSessionRequest, CloseSessionResponse, GetSessionRequest, GetSessionResponse,
    ListSessionsRequest, ListSessionsResponse, OpenSessionRequest, OpenSessionResponse,
    WhoAmIRequest, WhoAmIResponse, session_service_server::SessionService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, page, wire};
use crate::operation::{close_session, list, open_session};

#[async_trait]
impl SessionService for Api {
    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let caller = caller(&request)?;
        let opening = wire::opening(request.into_inner(), &self.broker.spelling)?;
        let (record, handle) = open_session::open_session(&self.broker, &caller, opening).await?;
        Ok(Response::new(OpenSessionResponse {
            session: Some(wire::session(&record, 0)),
            handle: handle.expose().to_owned(),
        }))
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let caller = caller(&request)?;
        let id = wire::session_id("id", &request.get_ref().id)?;
        let (record, used) = list::session(&self.broker, &caller, id).await?;
        Ok(Response::new(GetSessionResponse { session: Some(wire::session(&record, used)) }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let agent = wire::optional("agent", &request.agent, wire::principal)?;
        let state = wire::session_phase(request.state)?;
        let query = page::query("sessions", &format!("{agent:?} {state:?}"), &caller);
        let at = page::parse(&self.broker, request.page, &query)?;
        let found = list::sessions(&self.broker, &caller, agent, state, at).await?;
        Ok(Response::new(ListSessionsResponse {
            sessions: found.rows.iter().map(|record| wire::session(record, 0)).collect(),
            next_page_token: page::render(&self.broker, found.next, &query)?,
        }))
    }

    async fn close_session(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = wire::session_id("id", &request.id)?;
        let reason = Words::new(&request.reason);
        let (record, cut) = close_session::close_session(&self.broker, &caller, id, reason).await?;
        let used =
            self.broker.store.grants_used(id).await.map_err(crate::operation::Refusal::from)?;
        Ok(Response::new(CloseSessionResponse {
            session: Some(wire::session(&record, used)),
            grants_revoked: wire::count(cut.grants.len()),
            sessions_closed: wire::count(cut.sessions),
        }))
    }

    async fn who_am_i(
        &self,
        request: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIResponse>, Status> {
        Ok(Response::new(wire::who_am_i(&*caller(&request)?)))
    }
}
