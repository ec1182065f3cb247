//! What the front does to the next call: the honest thing, or one of the things that go wrong.

use std::collections::VecDeque;
use std::time::Duration;

/// One behaviour. "Accepting" means that the token is minted or revoked all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    Honest,
    /// Mints with every permission of the installation, and says so.
    BroaderPermissions,
    /// Mints for more repositories than were asked for, and says so.
    BroaderRepositories,
    /// Mints for every repository of the installation and answers `all`, without a list.
    AllRepositories,
    /// 502 after accepting.
    ServerErrorAfterAccepting,
    /// The connection goes away after accepting.
    CutAfterAccepting,
    /// The honest answer, so much later.
    Slow(Duration),
    /// 1 GB of JSON that never says anything; nothing is accepted.
    HugeBody,
    WrongExpiry(Expiry),
    /// A working token of this many characters: 40 as of old, 520 as of the newer format.
    TokenLength(usize),
    EmptyToken,
    TokenWithCrlf,
    /// The first half of the honest answer, as if it were the whole.
    TruncatedJson,
    RateLimited403 {
        retry_after: Option<i64>,
    },
    TooMany429,
    Unauthorized401,
    NotFound404,
    /// 200 with a page for people.
    Html200,
    /// 302 to another host, which records who follows: see `GithubFront::strayed`.
    Redirect,
    /// 204, but the token goes on working.
    RevokeLies,
    /// This status; the token goes on working.
    RevokeFails(u16),
}

/// How the `expires_at` of a minted token is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Past,
    TenYears,
    Absent,
    Garbage,
}

/// The two calls that can be scripted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `POST /app/installations/{id}/access_tokens`
    Mint,
    /// `DELETE /installation/token`
    Revoke,
}

/// The scripts to come for one call.
#[derive(Debug)]
pub(super) struct Play {
    next: VecDeque<Script>,
    otherwise: Script,
}

impl Default for Play {
    fn default() -> Self {
        Self { next: VecDeque::new(), otherwise: Script::Honest }
    }
}

impl Play {
    pub(super) fn then(&mut self, script: Script) {
        self.next.push_back(script);
    }

    pub(super) fn always(&mut self, script: Script) {
        self.next.clear();
        self.otherwise = script;
    }

    pub(super) fn take(&mut self) -> Script {
        self.next.pop_front().unwrap_or_else(|| self.otherwise.clone())
    }
}

impl Script {
    /// Whether the behaviour means anything for this call.
    pub(super) fn fits(&self, call: Call) -> bool {
        match self {
            Self::Honest
            | Self::ServerErrorAfterAccepting
            | Self::CutAfterAccepting
            | Self::Slow(_)
            | Self::HugeBody
            | Self::RateLimited403 { .. }
            | Self::TooMany429
            | Self::Unauthorized401
            | Self::NotFound404
            | Self::Html200
            | Self::Redirect => true,
            Self::BroaderPermissions
            | Self::BroaderRepositories
            | Self::AllRepositories
            | Self::WrongExpiry(_)
            | Self::TokenLength(_)
            | Self::EmptyToken
            | Self::TokenWithCrlf
            | Self::TruncatedJson => call == Call::Mint,
            Self::RevokeLies | Self::RevokeFails(_) => call == Call::Revoke,
        }
    }
}
