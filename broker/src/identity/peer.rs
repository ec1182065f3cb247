//! The other end of a connection, and what it proved when it connected.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use jeton_domain::{
    accountable::AccountableSubject,
    principal::PrincipalId,
    ttl::{Timestamp, Ttl},
};

use super::{
    admission::Admission,
    certificate::{CertificateError, PeerCertificate},
    tls::TlsState,
};
use crate::capacity::{Active, SlotHolder};

/// Seconds that a verified chain is taken as good while the configuration stays the same.
/// Why: an intermediate certificate can end in the middle of a connection.
const VERIFIED_SECONDS: u32 = 60;

/// The other end of a connection. Cheap to clone: tonic gives one to each request.
#[derive(Clone)]
pub enum Peer {
    /// Over TCP and TLS.
    Tls(Arc<TlsPeer>),
    /// A process on this host.
    Unix(UnixPeer),
}

impl Peer {
    /// Tells whether connecting proved who it is, so that a call needs no token.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        match self {
            Self::Tls(peer) => matches!(peer.presented(), ClientCertificate::Named(_)),
            Self::Unix(_) => true,
        }
    }

    /// Who holds what the peer takes before it has proved who it is.
    #[must_use]
    pub fn slot_holder(&self) -> SlotHolder {
        match self {
            Self::Tls(peer) => match &peer.certificate {
                ClientCertificate::Named(certificate) => SlotHolder::principal(&certificate.id),
                ClientCertificate::Absent | ClientCertificate::Unusable(_) => {
                    SlotHolder::address(peer.address.ip())
                }
            },
            Self::Unix(process) => SlotHolder::user(process.uid),
        }
    }

    /// A request begins on the connection; it ends when the value is dropped.
    #[must_use]
    pub fn begin(&self) -> Option<Active> {
        match self {
            Self::Tls(peer) => peer.admission.as_ref().map(|admission| admission.begin()),
            Self::Unix(_) => None,
        }
    }

    /// Keeps the connection open for this principal, which it proved.
    pub fn prove(&self, principal: &PrincipalId) {
        match self {
            Self::Tls(peer) => peer.admission.iter().for_each(|own| own.prove(principal)),
            Self::Unix(_) => {}
        }
    }
}

impl Peer {
    /// Who answers for its calls as long as it proves nothing.
    #[must_use]
    pub fn accountable(&self) -> AccountableSubject {
        match self {
            Self::Tls(peer) => AccountableSubject::of_address(peer.address.ip()),
            Self::Unix(peer) => AccountableSubject::LocalUser(peer.uid),
        }
    }
}

/// A process on the other end of a Unix socket, as the kernel told it when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixPeer {
    /// Its user.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// The process, for logs only: numbers are reused.
    pub pid: Option<i32>,
}

/// A client over TLS.
pub struct TlsPeer {
    /// Where it comes from: for logs, and for what is shared by callers that prove nothing.
    pub address: SocketAddr,
    certificate: ClientCertificate,
    tls: Arc<TlsState>,
    verified: Mutex<Option<Verified>>,
    admission: Option<Arc<Admission>>,
}

/// What the client presented in the handshake.
pub enum ClientCertificate {
    /// Nothing.
    Absent,
    /// One that a CA signed but that names nobody.
    Unusable(CertificateError),
    /// One that names a workload.
    Named(PeerCertificate),
}

struct Verified {
    generation: u64,
    until: Timestamp,
    outcome: Result<(), CertificateError>,
}

impl TlsPeer {
    /// Keeps what a handshake brought.
    #[must_use]
    pub fn new(address: SocketAddr, certificate: ClientCertificate, tls: Arc<TlsState>) -> Self {
        Self { address, certificate, tls, verified: Mutex::new(None), admission: None }
    }

    /// With what the connection holds of its listener's capacity.
    #[must_use]
    pub fn admitted(self, admission: Arc<Admission>) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// What the client presented, unchecked since.
    #[must_use]
    pub fn presented(&self) -> &ClientCertificate {
        &self.certificate
    }

    /// The certificate if it holds at this moment: within its life, and good for the CAs and
    /// revocation lists that are in force now and not only when the connection began.
    ///
    /// # Errors
    /// When there is one and it does not.
    pub fn certificate(
        &self,
        now: Timestamp,
    ) -> Result<Option<&PeerCertificate>, CertificateError> {
        match &self.certificate {
            ClientCertificate::Absent => Ok(None),
            ClientCertificate::Unusable(fault) => Err(fault.clone()),
            ClientCertificate::Named(certificate) => {
                certificate.lives_at(now)?;
                self.verify(certificate, now)?;
                Ok(Some(certificate))
            }
        }
    }

    fn verify(
        &self,
        certificate: &PeerCertificate,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let current = self.tls.current();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = verified.as_ref()
            && last.generation == current.generation
            && now < last.until
        {
            return last.outcome.clone();
        }
        let outcome = current.verify(certificate, now);
        let until = Ttl::from_seconds(VERIFIED_SECONDS).map_or(now, |life| now.plus(life));
        *verified =
            Some(Verified { generation: current.generation, until, outcome: outcome.clone() });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{Ca, Disk, leaf};

    #[test]
    fn an_intermediate_that_ends_is_noticed_within_a_minute_on_an_open_connection() {
        const YEAR_2030: i64 = 1_893_456_000;
        let root = Ca::new("clients");
        let branch = root.branch();
        let leaf = branch.sign(&leaf(&["spiffe://acme.dev/agent/one"]));
        let chain = vec![leaf.certificate.der().clone(), branch.der()];
        let certificate = ClientCertificate::Named(PeerCertificate::read(chain).unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let peer = TlsPeer::new(address, certificate, Disk::new(&root.pem()).load());
        let check = |seconds| {
            let now = Timestamp::from_seconds(YEAR_2030 + seconds);
            peer.certificate(now).map(|_| ())
        };
        assert_eq!(check(-1), Ok(()));
        assert_eq!(check(59), Err(CertificateError::Untrusted));
    }
}
