//! Calls about sessions.

use std::{path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{
    scope::ScopeBound,
    secret::{Secret, sha256},
};
use jeton_proto::v1::{
    self, open_session_request::Binding as WireBinding,
    session_service_client::SessionServiceClient,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::{
    connect::Client,
    dpop::DpopKey,
    error::Error,
    grants::{fresh_request_id, seconds},
    types::{Page, PageOf, SessionInfo, WhoAmI},
    wire,
};

/// A session to open.
pub struct OpenSession {
    /// The agent that runs.
    pub agent: String,
    /// The person it acts for.
    pub person: Option<String>,
    /// What it is to do.
    pub task: String,
    /// The most it may be granted.
    pub allow: Vec<ScopeBound>,
    /// How many grants.
    pub max_grants: u32,
    /// The longest life of one.
    pub max_grant_ttl: Duration,
    /// How long the session lasts.
    pub ttl: Duration,
    /// What its handle is bound to.
    pub binding: Binding,
    /// The session that passes on what it has: the one that the client calls with. `None`: none.
    pub parent: Option<String>,
}

/// What a session's handle is bound to.
pub enum Binding {
    /// The certificate in this PEM file.
    CertificateFile(PathBuf),
    /// A key, proved with each call.
    Key(DpopKey),
    /// Processes of this user on the broker's host.
    UnixUid(u32),
    /// Nothing; only where the broker allows it.
    Bearer,
}

/// An opened session and the handle for its agent.
pub struct OpenedSession {
    /// The session.
    pub session: SessionInfo,
    /// The handle. Shown once.
    pub handle: Secret,
}

impl Client {
    /// Opens a session for an agent: of its own, or below the one that the client calls with.
    ///
    /// # Errors
    /// When policy refuses it or the broker can't be reached.
    pub async fn open_session(&self, opening: &OpenSession) -> Result<OpenedSession, Error> {
        let request = v1::OpenSessionRequest {
            agent: opening.agent.clone(),
            person: opening.person.clone().unwrap_or_default(),
            task: opening.task.clone(),
            envelope: Some(v1::Envelope {
                scopes: opening.allow.iter().map(wire::bound).collect(),
                max_grants: opening.max_grants,
                max_ttl_seconds: seconds(opening.max_grant_ttl),
            }),
            ttl_seconds: seconds(opening.ttl),
            request_id: fresh_request_id()?,
            binding: Some(binding(&opening.binding)?),
            parent: opening.parent.clone().unwrap_or_default(),
        };
        let path = "/jeton.v1.SessionService/OpenSession";
        let opened = self
            .again(path, request, |channel, request| async move {
                SessionServiceClient::new(channel).open_session(request).await
            })
            .await?;
        let session = opened.session.ok_or_else(|| wire::missing("session"))?;
        Ok(OpenedSession { session: wire::session(session), handle: Secret::new(opened.handle) })
    }

    /// Tells one session.
    ///
    /// # Errors
    /// When there is none such for this caller.
    pub async fn get_session(&self, id: &str) -> Result<SessionInfo, Error> {
        let request = v1::GetSessionRequest { id: id.to_owned() };
        let path = "/jeton.v1.SessionService/GetSession";
        let answer = self
            .again(path, request, |channel, request| async move {
                SessionServiceClient::new(channel).get_session(request).await
            })
            .await?;
        answer.session.map(wire::session).ok_or_else(|| wire::missing("session"))
    }

    /// Lists sessions, newest first.
    ///
    /// # Errors
    /// When a state is unknown or the broker can't be reached.
    pub async fn list_sessions(
        &self,
        agent: Option<&str>,
        state: Option<&str>,
        page: PageOf,
    ) -> Result<Page<SessionInfo>, Error> {
        let state = match state {
            None => v1::SessionState::Unspecified,
            Some(word) => {
                let name = format!("SESSION_STATE_{}", word.to_ascii_uppercase());
                v1::SessionState::from_str_name(&name).ok_or_else(|| {
                    Error::config(format!("`{word}` is no state; open, closed and expired are"))
                })?
            }
        };
        let request = v1::ListSessionsRequest {
            agent: agent.unwrap_or_default().to_owned(),
            state: state.into(),
            page: Some(v1::Page { size: page.size, token: page.token.unwrap_or_default() }),
        };
        let path = "/jeton.v1.SessionService/ListSessions";
        let answer = self
            .again(path, request, |channel, request| async move {
                SessionServiceClient::new(channel).list_sessions(request).await
            })
            .await?;
        let next = Some(answer.next_page_token).filter(|token| !token.is_empty());
        Ok(Page { items: answer.sessions.into_iter().map(wire::session).collect(), next })
    }

    /// Closes a session with all below it, and revokes their live grants. Tells how many those were.
    ///
    /// # Errors
    /// When there is none such for this caller.
    pub async fn close_session(&self, id: &str, reason: &str) -> Result<(SessionInfo, u32), Error> {
        let request = v1::CloseSessionRequest { id: id.to_owned(), reason: reason.to_owned() };
        let path = "/jeton.v1.SessionService/CloseSession";
        let answer = self
            .again(path, request, |channel, request| async move {
                SessionServiceClient::new(channel).close_session(request).await
            })
            .await?;
        let session = answer.session.map(wire::session).ok_or_else(|| wire::missing("session"))?;
        Ok((session, answer.grants_revoked))
    }

    /// Tells who the broker takes the caller for.
    ///
    /// # Errors
    /// When it takes it for nobody.
    pub async fn who_am_i(&self) -> Result<WhoAmI, Error> {
        let path = "/jeton.v1.SessionService/WhoAmI";
        let answer = self
            .again(path, v1::WhoAmIRequest {}, |channel, request| async move {
                SessionServiceClient::new(channel).who_am_i(request).await
            })
            .await?;
        Ok(wire::who_am_i(answer))
    }
}

fn binding(binding: &Binding) -> Result<WireBinding, Error> {
    Ok(match binding {
        Binding::CertificateFile(path) => {
            let der = CertificateDer::from_pem_file(path).map_err(|error| {
                Error::config(format!("`{}` holds no certificate in PEM: {error}", path.display()))
            })?;
            WireBinding::CertificateSha256(URL_SAFE_NO_PAD.encode(sha256(&der)))
        }
        Binding::Key(key) => WireBinding::JwkSha256(key.thumbprint()),
        Binding::UnixUid(uid) => WireBinding::UnixUid(*uid),
        Binding::Bearer => WireBinding::Bearer(true),
    })
}
