//! Carries an answer to its reader in a task of its own: so a reader that reads no more holds no place, and
//! a grant that ends is noticed although nobody asks for the next piece.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::body::{Body, Bytes};
use http::Response;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use super::{door::Admitted, leash::Transfer};
use crate::limits::TRANSFER_SILENCE;

/// Pieces on their way.
const PIECES: usize = 2;

/// The answer, with its place kept until the last piece was taken or the transfer was cut.
pub(super) fn pumped(mut answer: Response<Body>, admitted: Admitted) -> Response<Body> {
    let transfer = answer.extensions_mut().remove::<Arc<Transfer>>();
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let cut = Arc::new(AtomicBool::new(true));
    let whole = Arc::clone(&cut);
    answer.map(|body| {
        let mut pieces = body.into_data_stream();
        let work = async move {
            let _admitted = admitted;
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(io::Error::other);
                let broken = piece.is_err();
                let taken = tokio::select! {
                    sent = sender.send(piece) => sent.is_ok(),
                    why = snapped(transfer.clone()) => {
                        transfer.iter().for_each(|transfer| transfer.cut(why));
                        false
                    }
                    () = sleep(TRANSFER_SILENCE) => {
                        transfer.iter().for_each(|transfer| transfer.cut("nobody read on"));
                        false
                    }
                };
                if broken || !taken {
                    return;
                }
            }
            whole.store(false, Ordering::Release);
        };
        tokio::spawn(work);
        // Why an error at the end: an answer that was cut must not look whole.
        let end = tokio_stream::once(()).filter_map(move |()| {
            cut.load(Ordering::Acquire).then(|| Err(io::Error::other("the transfer was cut")))
        });
        Body::from_stream(ReceiverStream::new(receiver).chain(end))
    })
}

async fn snapped(transfer: Option<Arc<Transfer>>) -> &'static str {
    match transfer {
        Some(transfer) => transfer.snapped().await,
        None => std::future::pending().await,
    }
}
