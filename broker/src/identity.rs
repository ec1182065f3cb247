//! How callers prove who they are, on every call.
//!
//! Three ways: a client certificate with a SPIFFE id, a JWT of a configured issuer, a Unix socket.
//! The room holds no long-lived secret of a caller and reads no clock. It promises that an identity
//! is checked at the time of the call, also on a connection that has been open for long.

pub mod admission;
pub mod certificate;
pub mod error;
pub mod listener;
pub mod oidc;
pub mod peer;
pub mod proofs;
pub mod roles;
pub mod spiffe;
pub mod tls;
pub mod unix;

#[cfg(test)]
mod testing;

use std::sync::Arc;

use jeton_domain::{
    people::Account,
    principal::{AuthMethod, Issuer, Principal, PrincipalId, PrincipalKind, ProvedKeys},
    review::is_reviewer,
    ttl::Timestamp,
};

use self::{
    certificate::{CertificateError, PeerCertificate},
    dpop::{Call, Dpop},
    oidc::Oidc,
    peer::Peer,
    proofs::ProofHorizon,
    roles::Roles,
    unix::UnixAccounts,
};

pub use self::error::IdentityError;
/// Tokens and proofs as texts.
pub use jeton_domain::jose::{self, dpop, json, jwk};

/// Finds out who calls.
pub struct Authenticator {
    /// Issuers of tokens.
    pub oidc: Oidc,
    /// Proofs of keys.
    pub dpop: Dpop,
    /// What the next process has to know of them.
    pub proofs: ProofHorizon,
    /// Processes on this host.
    pub unix: UnixAccounts,
    /// Who has which role.
    pub roles: Roles,
}

/// What a call brings along. Each header stands at most once; more is refused before.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// The other end of the connection.
    pub peer: &'a Peer,
    /// The token of `authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// The proof of `dpop`.
    pub dpop: Option<&'a str>,
    /// The session handle.
    pub handle: Option<&'a str>,
    /// The HTTP method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
}

/// Who the call comes from, before the proofs of keys are counted.
struct Named {
    id: PrincipalId,
    kind: PrincipalKind,
    method: AuthMethod,
    issuer: Option<Issuer>,
    account: Option<Account>,
    groups: Arc<[Box<str>]>,
    ends: Timestamp,
}

impl Authenticator {
    /// Finds the one principal of a call: whom the token names, else the certificate, else the Unix
    /// socket's process.
    ///
    /// A token beside a certificate or a Unix socket wins; those then only prove a key or a user, to
    /// which a session handle can be bound. Why allowed: a CI job has its own token and runs on a
    /// machine that has its own certificate. A certificate that has ended or is revoked is refused
    /// even so; one that names nobody proves nothing.
    ///
    /// # Errors
    /// When there is no identity, or anything that is presented is not good at `now`.
    pub async fn authenticate(
        &self,
        presented: Presented<'_>,
        now: Timestamp,
    ) -> Result<Principal, IdentityError> {
        let certificate = certificate(presented, now)?;
        let mut keys = proved_by_connection(presented.peer, certificate);
        let mut binding = None;
        let mut named = match presented.bearer {
            Some(token) => {
                let token = self.oidc.jwt(token, now).await?;
                binding = token.binding;
                Named {
                    id: token.principal,
                    kind: token.kind,
                    method: AuthMethod::Oidc,
                    account: token.account,
                    issuer: Some(token.issuer),
                    groups: token.groups,
                    ends: token.ends,
                }
            }
            None => self.named_by_connection(presented.peer, certificate)?,
        };
        // Why: what acts under such a name counts for more than a name in a group.
        if is_reviewer(&named.id) {
            return Err(IdentityError::Reserved);
        }
        if let Some(certificate) = certificate {
            named.ends = named.ends.min(certificate.not_after);
        }
        // After the identity: nobody unknown takes a place in the memory of used proofs.
        if let Some(proof) = presented.dpop {
            let Presented { method, path, handle, .. } = presented;
            let call = Call { method, path, bound: handle };
            let proved = self.dpop.read(proof, call, now)?;
            self.proofs.note(&proved, now).await?;
            self.dpop.use_up(&proved, now)?;
            keys.jwk = Some(proved.key);
        }
        match binding {
            Some(binding) if !binding.is_proved_by(&keys) => {
                Err(IdentityError::Unproved(binding.word()))
            }
            Some(_) | None => {
                presented.peer.prove(&named.id);
                Ok(self.principal(named, keys))
            }
        }
    }

    fn named_by_connection(
        &self,
        peer: &Peer,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Named, IdentityError> {
        match (peer, certificate) {
            (Peer::Unix(process), _) => {
                let rule = self.unix.find(*process)?;
                Ok(Named {
                    id: rule.principal.clone(),
                    kind: rule.kind,
                    method: AuthMethod::Unix,
                    issuer: None,
                    account: None,
                    groups: Arc::default(),
                    ends: Timestamp::NEVER,
                })
            }
            (Peer::Tls(_), Some(certificate)) => Ok(Named {
                id: certificate.id.clone(),
                // SPIFFE names workloads; which of them are people, the catalogue declares.
                kind: PrincipalKind::Workload,
                method: AuthMethod::Mtls,
                issuer: None,
                account: None,
                groups: Arc::default(),
                ends: certificate.not_after,
            }),
            (Peer::Tls(_), None) => Err(IdentityError::Missing),
        }
    }

    fn principal(&self, named: Named, keys: ProvedKeys) -> Principal {
        Principal {
            roles: self.roles.of(&named.id),
            id: named.id,
            kind: named.kind,
            method: named.method,
            issuer: named.issuer,
            account: named.account,
            groups: named.groups,
            proof_ends: named.ends,
            keys,
        }
    }
}

fn certificate<'a>(
    presented: Presented<'a>,
    now: Timestamp,
) -> Result<Option<&'a PeerCertificate>, CertificateError> {
    match presented.peer {
        Peer::Unix(_) => Ok(None),
        Peer::Tls(peer) => match peer.certificate(now) {
            Err(fault) if presented.bearer.is_some() && fault.names_nobody() => Ok(None),
            outcome => outcome,
        },
    }
}

fn proved_by_connection(peer: &Peer, certificate: Option<&PeerCertificate>) -> ProvedKeys {
    ProvedKeys {
        certificate: certificate.map(|certificate| certificate.thumbprint),
        jwk: None,
        unix_uid: match peer {
            Peer::Unix(process) => Some(process.uid),
            Peer::Tls(_) => None,
        },
    }
}

#[cfg(test)]
mod tests;
