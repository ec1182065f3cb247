//! What agents, operators and auditors use to talk to a Jeton broker.
//!
//! An agent's whole program: it finds its broker and its session in the environment, asks for what
//! it needs, works, and gives it back.
//!
//! ```no_run
//! use jeton_client::{Client, Error};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     // JETON_ENDPOINT, JETON_CA, JETON_CERT, JETON_KEY and JETON_SESSION_FILE tell where and who.
//!     let session = Client::from_env().await?.session().await?;
//!
//!     let credential = match session.credential("git:acme/api contents:write ref=agent/*").await {
//!         Ok(credential) => credential,
//!         Err(error) => {
//!             eprintln!("{error}; {}", error.advice());
//!             return Err(error);
//!         }
//!     };
//!     // Renewed in the background; each look shows the one that is good now.
//!     let header = format!("Bearer {}", credential.expose().expose());
//!     println!("{} characters, good until {}", header.len(), credential.expires_at());
//!     session.close().await
//! }
//! ```
//!
//! Nothing here knows the rules: the broker decides, and its words come back in [`Error`].

mod approvals;
mod audit;
mod clock;
mod connect;
mod credential;
mod dpop;
mod emergencies;
mod env;
mod error;
mod gateway;
mod grants;
pub mod log;
mod policies;
mod revocations;
mod session;
pub mod session_file;
mod sessions;
mod types;
pub mod verifier;
mod wire;

pub use self::{
    approvals::{ApprovalInfo, Approvals, ApproverGroupInfo, GivenApprovalInfo, Reach},
    audit::{
        CheckpointInfo, EntryBatch, EntryFilter, EntryInfo, EntryPage, Purpose, Receipt, Summary,
        SummaryPart, Tail, Until,
    },
    clock::now_millis,
    connect::{Client, Settings},
    credential::{Credential, Exposed},
    dpop::DpopKey,
    emergencies::{Emergency, EmergencyInfo},
    env::{ENVIRONMENT, inherited, log_key, no_color, solver},
    error::{Error, ErrorKind},
    gateway::{Gateway, UpstreamAddress},
    grants::{Ask, GrantFilter, Matching, Revocation},
    policies::{
        KeptPolicies, PoliciesInfo, PolicyAnswer, PolicyQuestion, PolicyRow, ReloadedPolicies,
    },
    revocations::{EndedGrant, RevocationWord, Revocations},
    session::Session,
    sessions::{Binding, OpenSession, OpenedSession},
    types::{
        BudgetInfo, DelegatorInfo, GrantInfo, Granted, GuardInfo, Introspection, IssuedSecret,
        LostInfo, Means, Page, PageOf, ReDecided, Revoked, SessionInfo, StopInfo, WhoAmI,
    },
};
pub use jeton_domain::{
    decision::Delivery,
    scope::{Scope, ScopeBound},
    secret::Secret,
};
