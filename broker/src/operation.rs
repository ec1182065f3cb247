//! The verbs, one a file: each reads as the story of one request from top to bottom.
//!
//! The only caller of the store and the minters. Knows no wire types.

pub mod approvals;
pub mod break_glass;
pub mod budgets;
pub mod checkpoint;
pub mod claim_grant;
pub mod close_session;
pub mod copy_out;
pub mod decide_approval;
mod delivery;
pub mod denial_log;
pub mod exchange;
pub mod explain;
pub mod halt;
pub mod hear;
pub mod identify;
pub mod introspect;
mod lift;
mod line;
pub mod list;
pub mod mints;
pub mod move_out;
pub mod open_session;
pub mod pass;
pub mod policies;
pub mod re_decide;
pub mod read_audit;
pub mod read_tiles;
pub mod receipt;
pub mod reconcile;
pub mod reload_policy;
pub mod renew;
pub mod request_grant;
pub mod restore;
pub mod review;
pub mod revoke;
pub mod revoke_upstream;
pub mod seal;
pub mod session_of;
pub mod status_list;
pub mod summarise;
pub mod sweep;
pub mod tail;
pub mod transmit;
pub mod under_grant;
pub mod view;
pub mod watch;
pub mod witness;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jeton_domain::{
    approval::GroupName,
    budget::{Calls, OverBudget},
    decision::Denial,
    grant::{Grant, GrantState},
    principal::{Issuers, Principal, PrincipalId, Role},
    revocation::{Matching, Stops},
    scope::Upstream,
    secret::FingerprintKey,
    session::Session,
    spelling::Spelling,
};
use jeton_policy::Policies;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio_util::task::TaskTracker;

use crate::{
    capacity::{Capacity, SlotHolder},
    clock::Clock,
    operation::{
        denial_log::DenialLog, halt::Halt, mints::Mints, pass::Turns, read_tiles::Readers,
        seal::Sealer, session_of::Handles, status_list::SignedLists,
    },
    signer::{KeyRing, log_key::LogKey, status::StatusLists, token::SignedMinter},
    store::{SessionRecord, Store, StoreError, index::LogIndex},
    telemetry::Metrics,
    upstream::{CredentialKind, MintError, Minter, kept::KeptKey},
};

/// How credentials for one upstream come to be.
pub enum Source {
    /// The upstream makes them.
    Minted(Arc<dyn Minter>),
    /// The broker signs them.
    Signed(Arc<SignedMinter>),
    /// There is one, which the broker keeps.
    Kept(Arc<KeptKey>),
}

impl Source {
    /// What kind of credential comes to be.
    #[must_use]
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::Minted(_) => CredentialKind::GithubInstallationToken,
            Self::Signed(_) => CredentialKind::SignedJwt,
            Self::Kept(_) => CredentialKind::StaticKey,
        }
    }
}

/// What all operations work with.
pub struct Broker {
    /// What is recorded.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is allowed.
    pub policies: Arc<Policies>,
    /// Where credentials come from.
    pub sources: HashMap<Upstream, Source>,
    /// Which upstreams tell names apart by their case.
    pub spelling: Spelling,
    /// Encrypts credentials at rest.
    pub sealer: Sealer,
    /// Names credentials without telling them.
    pub fingerprints: FingerprintKey,
    /// Makes and checks session handles.
    pub handles: Handles,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Mints under way.
    pub mints: Mints,
    /// Uses of grants through the gateway that are being recorded.
    pub uses: TaskTracker,
    /// Calls through the gateway, counted against budgets.
    pub calls: std::sync::Mutex<Calls>,
    /// Whose turn it is to ask for a grant for the gateway.
    pub turns: Turns,
    /// Signs tokens.
    pub keys: Arc<KeyRing>,
    /// Where the state of tokens is told.
    pub status: Arc<StatusLists>,
    /// Lists of it that were signed lately.
    pub signed_lists: SignedLists,
    /// Vouches for the log.
    pub log_key: LogKey,
    /// Denials that are not in the log yet.
    pub denials: DenialLog,
    /// Finds entries of the log.
    pub index: Arc<LogIndex>,
    /// Places for searches in it.
    pub searches: Arc<Semaphore>,
    /// Places for callers that wait until upstreams confirmed what was taken back.
    pub waiting: Capacity,
    /// Who reads the log by tiles.
    pub readers: Readers,
    /// What speaks against granting, whatever the policies say.
    pub halt: Halt,
    /// Woken when something waits to be revoked upstream.
    pub revocations: Notify,
    /// Woken when a reviewer is to be asked.
    pub reviews: Notify,
    /// Woken when another set of policies is in force.
    pub policies_changed: Notify,
    /// Held while the policies are changed; with what one operator proposed.
    pub changing_policies: Mutex<Option<policies::Proposal>>,
    /// Whether going back takes a second operator.
    pub second_person: bool,
    /// Whose word about callers counts.
    pub issuers: Issuers,
    /// Whether a handle may be bound to nothing.
    pub bearer_handles: bool,
    /// Upstreams that are reached through the gateway; none where no gateway is configured.
    pub behind_gateway: HashSet<Upstream>,
}

/// Who calls, and the session that its handle opened.
#[derive(Clone)]
pub struct Caller {
    /// The principal.
    pub principal: Principal,
    /// The session of the handle on this call, its binding proved.
    pub session: Option<Arc<SessionRecord>>,
    /// Who is accountable for what the call holds.
    pub subject: SlotHolder,
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The call needs a session's handle and had none.
    #[error("this call needs a session; open one, and send its handle as metadata `jeton-session`")]
    NoHandle,
    /// A handle was sent that opens nothing for this caller.
    #[error(
        "the session handle opens nothing for this caller; it may be mistyped, of a closed session, or bound to another key"
    )]
    BadHandle,
    /// The caller lacks a role.
    #[error("{0}")]
    Forbidden(&'static str),
    /// A budget is spent.
    #[error(transparent)]
    OverBudget(Box<OverBudget>),
    /// The request was decided, and refused.
    #[error("{}", .0.reason)]
    Denied(Box<Denial>),
    /// The grant that the gateway needs waits for people.
    #[error(
        "this waits for the approval of {}, as {}: {}",
        waits_for(.0), .0.id, "once it is given, do the same again"
    )]
    Waits(Box<Grant>),
    /// A part of the request is not what it must be.
    #[error("{field}: {message}")]
    Invalid {
        /// The part.
        field: &'static str,
        /// What is wrong with it and what to write instead.
        message: String,
    },
    /// There is no such thing, or it is not the caller's: the answer is the same.
    #[error("no such {0}, or not yours to see")]
    NotFound(&'static str),
    /// The thing is in another state.
    #[error("{0}")]
    State(String),
    /// One creator has as many sessions open as it may, or as large ones.
    #[error("{0}")]
    TooMuchOpen(String),
    /// The request id was used for something else.
    #[error("the request id was used before for another request; use a fresh one")]
    RequestIdReused,
    /// The same request is being worked on.
    #[error("the same request is still being worked on; try again in a moment")]
    InProgress,
    /// The broker ends, and with it the stream.
    #[error("the broker is stopping; go on with the next one")]
    Stopping,
    /// Nothing is granted at the moment; taking back goes on.
    #[error("nothing is granted at the moment: {0}")]
    Halted(&'static str),
    /// The store did not record it.
    #[error(transparent)]
    Store(StoreError),
    /// The upstream gave no usable credential.
    #[error(transparent)]
    Upstream(Box<MintError>),
    /// Something that the caller can't help. The text is for the operator.
    #[error("internal: {0}")]
    Internal(String),
}

fn waits_for(grant: &Grant) -> String {
    let GrantState::Pending { guards, .. } = &grant.state else { return "somebody".to_owned() };
    let groups: Vec<_> =
        guards.iter().flat_map(|guard| &guard.groups).map(GroupName::as_str).collect();
    groups.join(", ")
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSession => Self::NotFound("session"),
            StoreError::NoGrant => Self::NotFound("grant"),
            StoreError::SessionOver => Self::State("the session is over; open a new one".into()),
            StoreError::GrantsUsedUp(most) => Self::State(format!(
                "the session used all {most} grants of its envelope; open a session with a larger max_grants"
            )),
            StoreError::Stopped(words) => Self::State(words),
            StoreError::TooManyChildren(most) => Self::State(format!(
                "there are {most} open sessions below it or a session above it, as many as may be; close some"
            )),
            StoreError::TooManySessions(most) => Self::TooMuchOpen(format!(
                "the creator of this session and of those above it has {most} sessions open, the limit for one creator; close those that are done"
            )),
            StoreError::SessionBytes(most) => Self::TooMuchOpen(format!(
                "the open sessions of the creator of this one and of those above it take {most} bytes, the limit for one creator at present; close those that are done, or open it with a shorter envelope"
            )),
            StoreError::TooManyPending(most) => Self::State(format!(
                "{most} requests of this session wait for people, as many as may; wait for their answers, or release some"
            )),
            StoreError::PendingShareUsed => Self::State(
                "too many requests of this agent, or of all whose sessions have the same creator, wait for people; wait for their answers, or release some".into(),
            ),
            StoreError::ApprovalGone => Self::State(
                "an approval that this rests on is used up, withdrawn or over; ask again".into(),
            ),
            StoreError::Unreviewed(entry) => Self::State(format!(
                "the emergency at entry {entry} is not reviewed yet, and stands in the way of the next; have somebody review it: jeton approval review {entry}"
            )),
            StoreError::AlreadyApproved => {
                Self::State("you approved this before, otherwise; withdraw that first".into())
            }
            StoreError::OverBudget(over) => Self::OverBudget(Box::new(over)),
            StoreError::Conflict(phase) => Self::State(format!("the grant is {}", phase.word())),
            StoreError::NoEntry { .. } => Self::NotFound("entry"),
            StoreError::Busy | StoreError::Full | StoreError::Broken(_) => Self::Store(error),
        }
    }
}

impl Broker {
    /// The source of an upstream's credentials.
    fn source(&self, upstream: &Upstream) -> Result<&Source, Refusal> {
        self.sources.get(upstream).ok_or_else(|| {
            let mut known: Vec<_> = self.sources.keys().map(Upstream::as_str).collect();
            known.sort_unstable();
            Refusal::Invalid {
                field: "scope.upstream",
                message: format!(
                    "`{upstream}` is not configured here; known are {}",
                    known.join(", ")
                ),
            }
        })
    }

    /// What is stopped.
    ///
    /// # Errors
    /// When the store can't tell: unknown is never "nothing".
    fn stops(&self) -> Result<Arc<Stops>, Refusal> {
        let unknown = || StoreError::Broken("the live table is poisoned".into());
        let stops = self.store.stops().ok_or_else(unknown)?;
        if stops.is_empty() {
            return Ok(stops);
        }
        let people = Arc::clone(self.policies.current().catalogue().people());
        Ok(Arc::new(stops.about(people)))
    }

    /// The one name of the person that a name stands for.
    fn identity(&self, name: &PrincipalId) -> PrincipalId {
        self.policies.current().catalogue().people().identity(name)
    }

    /// What is meant, with the one name of a person.
    fn canonical(&self, matching: Matching) -> Matching {
        match matching {
            Matching::Person(name) => Matching::Person(self.identity(&name)),
            Matching::Session(_)
            | Matching::Agent(_)
            | Matching::Resource(..)
            | Matching::Upstream(_)
            | Matching::Policy(_)
            | Matching::All => matching,
        }
    }

    /// The name under which the broker itself acts.
    fn own_name() -> Result<PrincipalId, Refusal> {
        PrincipalId::parse("jeton").map_err(|error| Refusal::Internal(error.to_string()))
    }
}

impl Caller {
    /// The caller that a call proved.
    ///
    /// # Errors
    /// When the store cannot tell who created the first session of its tree.
    pub async fn new(
        broker: &Broker,
        principal: Principal,
        session: Option<Arc<SessionRecord>>,
    ) -> Result<Self, Refusal> {
        let subject = match session.as_deref() {
            None => SlotHolder::principal(&principal.id),
            Some(own) => {
                let creator = denial_log::creator(broker, own).await?;
                let root = own.session.chain.links().first();
                SlotHolder::delegated(&creator, root.map_or(&own.session.agent, |root| &root.agent))
            }
        };
        Ok(Self { principal, session, subject })
    }

    /// The session of the caller's handle.
    fn session(&self) -> Result<&SessionRecord, Refusal> {
        self.session.as_deref().ok_or(Refusal::NoHandle)
    }

    /// Tells whether the caller holds this session's handle.
    fn holds(&self, session: &Session) -> bool {
        self.session.as_ref().is_some_and(|own| own.session.id == session.id)
    }

    /// Tells whether the caller may see a session and its grants.
    fn may_see(&self, session: &Session) -> bool {
        self.may_end(session) || self.principal.has(Role::Auditor)
    }

    /// Tells whether the caller may close a session and revoke its grants. Whoever holds a session
    /// answers for all below it.
    fn may_end(&self, session: &Session) -> bool {
        self.holds(session)
            || self.session.as_ref().is_some_and(|own| session.chain.holds(own.session.id))
            || self.principal.id == session.opener
            || self.principal.has(Role::Operator)
    }

    /// Tells whether the caller may see everything.
    fn sees_all(&self) -> bool {
        self.principal.has(Role::Operator) || self.principal.has(Role::Auditor)
    }
}
