//! `RevocationService`.

use std::{pin::Pin, sync::Arc};

use jeton_proto::v1::{
    WatchRevocationsRequest, WatchRevocationsResponse, revocation_service_server::RevocationService,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
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
        // Why one: a reader that is slow holds one message here and one in the transport.
        let (out, stream) = mpsc::channel(1);
        let (broker, stop) = (Arc::clone(&self.broker), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = watch::watch(&broker, &caller, whose, from, out) => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
        let stream =
            ReceiverStream::new(stream).map(|word| word.map(wire::word).map_err(Status::from));
        Ok(Response::new(Box::pin(stream)))
    }
}
