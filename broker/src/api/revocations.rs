//! `RevocationService`.

use std::{pin::Pin, sync::Arc};

use jeton_proto::v1::{
    WatchRevocationsRequest, WatchRevocationsResponse, revocation_service_server::RevocationService,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, status, wire};
use crate::operation::watch;

#[async_trait]
impl RevocationService for Api {
    type WatchRevocationsStream =
        Pin<Box<dyn Stream<Item = Result<WatchRevocationsResponse, Status>> + Send>>;

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let caller = caller(&request)?;
        let from = request.get_ref().from_index;
        let whose = watch::may_watch(&self.broker, &caller, from)?;
        let place = self.watches.take(&caller).ok_or_else(status::shed)?;
        let broker = Arc::clone(&self.broker);
        let stream = place.run(self.stop.clone(), async move |out| {
            watch::watch(&broker, &caller, whose, from, out).await;
        });
        let stream = stream.map(|word| word.map(wire::word).map_err(Status::from));
        Ok(Response::new(Box::pin(stream)))
    }
}
