//! `AuditService`.

use std::sync::Arc;

use jeton_domain::session::Words;
use jeton_proto::v1::{
    AcknowledgeRestoreRequest, AcknowledgeRestoreResponse, GetCheckpointRequest,
    GetCheckpointResponse, GetConsistencyProofRequest, GetConsistencyProofResponse,
    GetReceiptRequest, GetReceiptResponse, ListEntriesRequest, ListEntriesResponse,
    SummariseRequest, SummariseResponse, TailEntriesRequest, TailEntriesResponse,
    audit_service_server::AuditService,
};
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, page, status, wire::audit as wire};
use crate::{
    operation::{
        Refusal,
        read_audit::{self, From},
        receipt::{self, Of},
        restore, summarise, tail,
        view::View,
    },
    store::CheckpointKind,
};

#[async_trait]
impl AuditService for Api {
    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let caller = caller(&request)?;
        let _place = self.looks.take(&caller).ok_or_else(status::shed)?;
        let request = request.into_inner();
        let asked = wire::filter(request.filter, &self.broker.spelling)?;
        let oldest_first = request.oldest_first;
        let view = View::of(&self.broker, &caller)?;
        let filter = view.narrow(asked)?;
        let query = page::query("entries", &format!("{filter:?} {oldest_first}"), &caller);
        let (place, size) = page::place(&self.broker, request.page, &query)?;
        let first_page = place.is_none();
        read_audit::record_listing(&self.broker, &caller, (&view, &filter), first_page).await?;
        let from = From { place, oldest_first, size };
        let found = read_audit::list(&self.broker, &filter, from).await?;
        Ok(Response::new(ListEntriesResponse {
            entries: found.entries.into_iter().map(wire::entry).collect(),
            next_page_token: page::render_place(&self.broker, found.next, &query)?,
            part: view.words().unwrap_or_default(),
        }))
    }

    async fn summarise(
        &self,
        request: Request<SummariseRequest>,
    ) -> Result<Response<SummariseResponse>, Status> {
        let caller = caller(&request)?;
        let _place = self.looks.take(&caller).ok_or_else(status::shed)?;
        let wanted = wire::wanted(request.into_inner(), &self.broker.spelling)?;
        let view = View::of(&self.broker, &caller)?;
        let filter = view.narrow(wanted.filter)?;
        let how = format!("summary by {} {}", wanted.by.word(), filter.words());
        read_audit::record_reading(&self.broker, &caller, &view, &how).await?;
        let summary = summarise::Wanted { filter, ..wanted };
        let summary = summarise::summarise(&self.broker, summary).await?;
        let part = view.words().unwrap_or_default();
        Ok(Response::new(SummariseResponse { part, ..wire::summary(summary) }))
    }

    type TailEntriesStream = std::pin::Pin<
        Box<dyn tokio_stream::Stream<Item = Result<TailEntriesResponse, Status>> + Send>,
    >;

    async fn tail_entries(
        &self,
        request: Request<TailEntriesRequest>,
    ) -> Result<Response<Self::TailEntriesStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let view = View::of(&self.broker, &caller)?;
        let filter = view.narrow(wire::filter(request.filter, &self.broker.spelling)?)?;
        let purpose = wire::purpose(request.purpose)?;
        let (from, stop_at_end) = (request.from_index, request.stop_at_end);
        let part = view.words().unwrap_or_default();
        let wanted = tail::Wanted { filter, view, from, stop_at_end, purpose };
        tail::check(&self.broker, &caller, &wanted)?;
        let place = self.tails.take(&caller).ok_or_else(status::shed)?;
        let how = format!("{} from {from} {}", purpose.word(), wanted.filter.words());
        read_audit::record_reading(&self.broker, &caller, &wanted.view, &how).await?;
        let broker = Arc::clone(&self.broker);
        let stream = place.run(self.stop.clone(), async move |out| {
            tail::tail(&broker, &caller, wanted, out).await;
        });
        let told = move |batch| TailEntriesResponse { part: part.clone(), ..wire::batch(batch) };
        let stream = stream.map(move |batch| batch.map(&told).map_err(Status::from));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_receipt(
        &self,
        request: Request<GetReceiptRequest>,
    ) -> Result<Response<GetReceiptResponse>, Status> {
        let caller = caller(&request)?;
        let of = wire::of(request.into_inner().of)?;
        let view = View::of(&self.broker, &caller)?;
        let receipt = receipt::receipt(&self.broker, &view, of).await?;
        let how = match of {
            Of::Index(index) => format!("receipt of {index}"),
            Of::Grant(id) => format!("receipt of {id}"),
        };
        read_audit::record_reading(&self.broker, &caller, &view, &how).await?;
        Ok(Response::new(wire::receipt(receipt, self.broker.log_key.public().to_string())))
    }

    async fn get_checkpoint(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        let newest = receipt::newest(&self.broker).await?.ok_or(Refusal::InProgress)?;
        let cosigned = receipt::newest_of(&self.broker, CheckpointKind::Witnessed).await;
        // Why not an error: the newest one is asked for first of all.
        let cosigned = cosigned.inspect_err(|error| {
            tracing::error!(%error, "the cosigned checkpoint can't be read");
        });
        let cosigned = cosigned.ok().flatten();
        Ok(Response::new(GetCheckpointResponse {
            cosigned: cosigned.map(|note| note.to_string()).unwrap_or_default(),
            checkpoint: newest.to_string(),
            verifier_key: self.broker.log_key.public().to_string(),
        }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<GetConsistencyProofRequest>,
    ) -> Result<Response<GetConsistencyProofResponse>, Status> {
        let GetConsistencyProofRequest { old_size, new_size } = request.into_inner();
        let proof = receipt::consistency(&self.broker, old_size, new_size).await?;
        let proof = proof.path.iter().map(|hash| hash.0.to_vec()).collect();
        Ok(Response::new(GetConsistencyProofResponse { proof }))
    }

    async fn acknowledge_restore(
        &self,
        request: Request<AcknowledgeRestoreRequest>,
    ) -> Result<Response<AcknowledgeRestoreResponse>, Status> {
        let caller = caller(&request)?;
        let reason = Words::new(&request.get_ref().reason);
        restore::acknowledge(&self.broker, &caller, reason).await?;
        Ok(Response::new(AcknowledgeRestoreResponse {}))
    }
}
