//! Who calls: the same proofs as everywhere, and the session's handle, which git can only send as a password.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName,
    header::{AUTHORIZATION, PROXY_AUTHORIZATION},
    request::Parts,
};
use jeton_domain::secret::Secret;
use jeton_proto::{DPOP_METADATA, SESSION_METADATA};
use tonic::Status;
use zeroize::Zeroizing;

use super::Gateway;
use crate::{
    api::status,
    capacity::Slot,
    identity::{Presented, peer::Peer},
    operation::{
        Caller, Refusal, denial_log::record_failure, identify::identify, session_of::session_of,
    },
};

/// What every handle begins with.
const HANDLE: &str = "jeton_s_";

/// A caller that was let in, with its place.
pub(super) struct Admitted {
    /// Who.
    pub caller: Arc<Caller>,
    _slot: Slot,
}

/// What a request says of who sends it.
#[derive(Default)]
struct Shown {
    bearer: Option<Zeroizing<String>>,
    handle: Option<Zeroizing<String>>,
}

impl Gateway {
    /// Lets a request in, or says why not. What it showed is taken out, so that nothing passes it on.
    pub(super) async fn admit(&self, parts: &mut Parts) -> Result<Admitted, Status> {
        let peer = parts.extensions.get::<Peer>().cloned();
        let peer = peer
            .ok_or_else(|| Status::from(Refusal::Internal("a connection without a peer".into())))?;
        let shown = shown(&mut parts.headers)?;
        // Why not for all: see `api::authenticate`.
        let unknown = match shown.bearer.is_some() || !peer.is_proved() {
            true => Some(self.unknown.take(&peer.slot_holder()).ok_or_else(|| self.shed())?),
            false => None,
        };
        let dpop = take(&mut parts.headers, DPOP_METADATA)?;
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let presented = Presented {
            peer: &peer,
            bearer: shown.bearer.as_ref().map(|token| token.as_str()),
            dpop: dpop.as_ref().map(|proof| proof.as_str()),
            handle: shown.handle.as_ref().map(|handle| handle.as_str()),
            method,
            path,
        };
        let now = self.broker.clock.now();
        let principal = self.authenticator.authenticate(presented, now).await;
        let principal = principal.map_err(|error| {
            record_failure(&self.broker, &peer.accountable(), error.reason(), "gateway");
            Status::from(error)
        })?;
        let principal = identify(&self.broker, principal);
        let handle = shown.handle.ok_or(Refusal::NoHandle)?;
        let handle = Secret::new(handle.to_string());
        let session = session_of(&self.broker, &handle, &principal).await?;
        drop(unknown);
        let caller = Arc::new(Caller::new(&self.broker, principal, Some(session)).await?);
        let slot = self.transfers.take(&caller.subject).ok_or_else(|| self.shed())?;
        Ok(Admitted { caller, _slot: slot })
    }

    /// Refuses for now, and counts it.
    pub(super) fn shed(&self) -> Status {
        self.broker.metrics.shed();
        status::shed()
    }
}

/// Takes out what proves who calls. Each may stand once, and only one of them may hold a handle.
fn shown(headers: &mut HeaderMap) -> Result<Shown, Status> {
    let mut shown = Shown { handle: take(headers, SESSION_METADATA)?, ..Shown::default() };
    take(headers, PROXY_AUTHORIZATION.as_str())?;
    let Some(value) = take(headers, AUTHORIZATION.as_str())? else { return Ok(shown) };
    let odd = || {
        let words = "send the session's handle as the password of `Basic`, or a token as `Bearer`";
        status::invalid("authorization", words)
    };
    let (scheme, value) = value.split_once(' ').ok_or_else(odd)?;
    if scheme.eq_ignore_ascii_case("basic") {
        let bytes = Zeroizing::new(STANDARD.decode(value.trim()).map_err(|_| odd())?);
        let pair = str::from_utf8(&bytes).map_err(|_| odd())?;
        let (_, password) = pair.split_once(':').ok_or_else(odd)?;
        if shown.handle.is_some() {
            let words = "the session's handle stands there twice; send it once";
            return Err(status::invalid("authorization", words));
        }
        shown.handle = Some(Zeroizing::new(password.to_owned()));
    } else if ["bearer", "dpop"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        match value.starts_with(HANDLE) && shown.handle.is_none() {
            true => shown.handle = Some(Zeroizing::new(value.to_owned())),
            false => shown.bearer = Some(Zeroizing::new(value.to_owned())),
        }
    } else {
        return Err(odd());
    }
    Ok(shown)
}

/// Takes a header out that may stand once. Why: of two, one part of a system reads the first and another the
/// second.
fn take(headers: &mut HeaderMap, name: &'static str) -> Result<Option<Zeroizing<String>>, Status> {
    let key = HeaderName::from_static(name);
    if headers.get_all(&key).iter().nth(1).is_some() {
        return Err(status::invalid(name, "it stands more than once; send it once"));
    }
    let Some(value) = headers.remove(&key) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
        Err(_) => Err(status::invalid(name, "it holds other than visible ASCII")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        let pair =
            |(name, text): &(&'static str, &str)| (HeaderName::from_static(name), value(text));
        let mut headers = HeaderMap::new();
        pairs.iter().map(pair).for_each(|(name, value)| {
            let _ = headers.append(name, value);
        });
        headers
    }

    #[test]
    fn a_handle_is_the_password_a_bearer_token_or_its_own_header_and_leaves_none_of_them() {
        let basic = format!("Basic {}", STANDARD.encode("x:jeton_s_1"));
        for pairs in [
            vec![("authorization", basic.as_str())],
            vec![("authorization", "Bearer jeton_s_1")],
            vec![("jeton-session", "jeton_s_1")],
        ] {
            let mut headers = headers(&pairs);
            let shown = shown(&mut headers).unwrap();
            assert_eq!(shown.handle.unwrap().as_str(), "jeton_s_1");
            assert!(shown.bearer.is_none() && headers.is_empty());
        }
        let both = [("authorization", "DPoP ey.J.x"), ("jeton-session", "jeton_s_1")];
        let shown = shown(&mut headers(&both)).unwrap();
        assert_eq!(shown.bearer.unwrap().as_str(), "ey.J.x");
    }

    #[test]
    fn what_stands_twice_or_is_no_proof_is_refused() {
        let basic = format!("Basic {}", STANDARD.encode("x:jeton_s_1"));
        for pairs in [
            vec![("authorization", basic.as_str()), ("authorization", basic.as_str())],
            vec![("authorization", basic.as_str()), ("jeton-session", "jeton_s_1")],
            vec![("authorization", "Basic !")],
            vec![("authorization", "Negotiate x")],
            vec![("authorization", "jeton_s_1")],
        ] {
            assert!(shown(&mut headers(&pairs)).is_err(), "{pairs:?}");
        }
    }
}
