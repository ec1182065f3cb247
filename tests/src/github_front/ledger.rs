//! Every token that passed through the front and every revocation that was asked of it.
//!
//! The tokens themselves are not in what it tells: only their SHA-256.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};

use crate::emulate::{Permissions, Selection};

/// One token that exists upstream, whether or not its client ever saw it.
#[derive(Clone, Debug)]
pub struct Minted {
    /// SHA-256 in hex of the token that the client was told; of the upstream's own token where
    /// none that works was told.
    pub sha256: String,
    pub at: Timestamp,
    /// When upstream stops honouring it, whatever the answer said.
    pub expires: Timestamp,
    pub installation: u64,
    /// What the token really opens, whatever the answer said.
    pub permissions: Permissions,
    pub selection: Selection,
    /// Full names; empty when the selection is `All`.
    pub repositories: Vec<String>,
    /// Whether the client was sent a token with which it can do something.
    pub delivered: bool,
    /// The call that ended it; none while it works.
    pub revoked: Option<Revocation>,
}

/// One `DELETE /installation/token`, as it was answered.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// SHA-256 in hex of the presented token.
    pub sha256: String,
    pub at: Timestamp,
    /// None when the connection was cut.
    pub status: Option<u16>,
    /// Whether this call ended the token.
    pub took_effect: bool,
}

#[derive(Default)]
pub(super) struct Ledger {
    tokens: Vec<Entry>,
    by_sha256: HashMap<String, usize>,
    revocations: Vec<Revocation>,
}

#[derive(Clone)]
struct Entry {
    minted: Minted,
    held: Held,
}

/// What the front must know to use a token upstream.
#[derive(Clone)]
pub(super) struct Held {
    /// The upstream's own token.
    pub(super) inner: String,
    /// Login of the account; only known for tokens that open all of its repositories.
    pub(super) account: Option<String>,
}

impl Ledger {
    pub(super) fn record(&mut self, minted: Minted, held: Held) {
        self.by_sha256.insert(minted.sha256.clone(), self.tokens.len());
        self.tokens.push(Entry { minted, held });
    }

    /// The token, if it passed through here and still works.
    pub(super) fn live(&self, token: &str, now: Timestamp) -> Option<(Minted, Held)> {
        let entry = &self.tokens[*self.by_sha256.get(&sha256(token))?];
        works(&entry.minted, now).then(|| (entry.minted.clone(), entry.held.clone()))
    }

    /// Puts a revocation on record, and ends its token if it took effect.
    pub(super) fn note(&mut self, revocation: Revocation) {
        if let Some(index) = self.by_sha256.get(&revocation.sha256)
            && revocation.took_effect
        {
            self.tokens[*index].minted.revoked.get_or_insert(revocation.clone());
        }
        self.revocations.push(revocation);
    }

    pub(super) fn opens_now(&mut self, token: &str, repositories: &[&str]) {
        let entry = &mut self.tokens[self.by_sha256[&sha256(token)]];
        entry.minted.repositories = repositories.iter().map(|name| (*name).to_owned()).collect();
    }

    pub(super) fn age(&mut self, by: SignedDuration) {
        for entry in &mut self.tokens {
            entry.minted.expires -= by;
        }
    }

    pub(super) fn minted(&self) -> Vec<Minted> {
        self.tokens.iter().map(|entry| entry.minted.clone()).collect()
    }

    pub(super) fn working(&self, now: Timestamp) -> Vec<Minted> {
        let mut tokens = self.minted();
        tokens.retain(|minted| works(minted, now));
        tokens
    }

    pub(super) fn revocations(&self) -> Vec<Revocation> {
        self.revocations.clone()
    }
}

fn works(minted: &Minted, now: Timestamp) -> bool {
    minted.revoked.is_none() && now < minted.expires
}

/// SHA-256 in lower-case hex: how the ledger names a token.
pub fn sha256(token: &str) -> String {
    digest(&SHA256, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
