//! A body of an answer, with what is held until it ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};

use super::Active;

/// A body, and the request that goes on until its end.
pub struct Held<B> {
    body: B,
    _active: Option<Active>,
}

impl<B> Held<B> {
    /// Keeps the request active until the body is dropped.
    pub fn new(body: B, active: Option<Active>) -> Self {
        Self { body, _active: active }
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
