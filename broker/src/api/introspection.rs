//! `IntrospectionService`.

use jeton_domain::secret::Secret;
use jeton_proto::v1::{
    IntrospectRequest, IntrospectResponse, introspection_service_server::IntrospectionService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, wire};
use crate::operation::introspect;

#[async_trait]
impl IntrospectionService for Api {
    async fn introspect(
        &self,
        request: Request<IntrospectRequest>,
    ) -> Result<Response<IntrospectResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let credential = Secret::new(request.credential);
        let found =
            introspect::introspect(&self.broker, &caller, &credential, Some(&request.audience))
                .await?;
        Ok(Response::new(found.map(wire::introspection).unwrap_or_default()))
    }
}
