//! The guard of a grant: no credential leaves without it.
//!
//! `Outward` attaches a credential only for a guard, and a guard gives it only while its grant is live. Everything
//! that waits for an upstream waits under the guard, so it ends when the grant does.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use jeton_domain::grant::Grant;

use crate::{
    gateway::{
        Gateway,
        leash::Transfer,
        mask::{Marks, marks},
    },
    operation::pass::Pass,
    upstream::Credential,
};

/// A grant and its credential, for one use.
pub(in crate::gateway) struct GrantGuard<'p> {
    pass: &'p Pass,
    transfer: Arc<Transfer>,
}

/// The grant ended, for this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::gateway) struct GrantEnded(pub &'static str);

impl<'p> GrantGuard<'p> {
    /// Begins one use of a grant.
    pub fn new(gateway: &Gateway, pass: &'p Pass, line: &str) -> Self {
        Self { pass, transfer: gateway.transfer(&pass.grant, line) }
    }

    /// The grant.
    pub fn grant(&self) -> &'p Grant {
        &self.pass.grant
    }

    /// The use, as the log will have it.
    pub fn transfer(&self) -> &Arc<Transfer> {
        &self.transfer
    }

    /// What covers the credential in what comes back.
    pub fn marks(&self) -> Marks {
        marks(self.pass.credential())
    }

    /// Whether the grant is live at this moment.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self) -> Result<(), GrantEnded> {
        if self.transfer.is_live() { Ok(()) } else { Err(self.ended("the grant ended")) }
    }

    /// Does something as long as the grant lives. When it ends, the work is dropped before its next step.
    ///
    /// # Errors
    /// When the grant ended.
    pub async fn while_live<T>(&self, work: impl Future<Output = T>) -> Result<T, GrantEnded> {
        let (mut work, mut end) = (pin!(work), pin!(Arc::clone(&self.transfer).snapped()));
        poll_fn(|cx| {
            if let Poll::Ready(why) = end.as_mut().poll(cx) {
                return Poll::Ready(Err(self.ended(why)));
            }
            // Why beside waiting for it: the work must not take one more step after the revocation was
            // acknowledged, and what wakes this task may come late.
            match self.check() {
                Ok(()) => work.as_mut().poll(cx).map(Ok),
                Err(ended) => Poll::Ready(Err(ended)),
            }
        })
        .await
    }

    /// The credential, for a call that is made at this moment.
    ///
    /// # Errors
    /// When the grant ended.
    pub(super) fn credential(&self) -> Result<&'p Credential, GrantEnded> {
        self.check().map(|()| self.pass.credential())
    }

    fn ended(&self, why: &'static str) -> GrantEnded {
        self.transfer.cut(why);
        GrantEnded(why)
    }
}
