//! The CA of one run: it stands for the hosts of this run's upstreams, before this run's command alone.
//!
//! Its key is made here, never leaves the memory and ends with the process. It is bound to those hosts by name
//! constraints too, so that even a stolen key would open nothing else.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jeton_client::now_millis;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::limits::{BEFORE, CA_GOOD, LEAF_FRESH, LEAF_GOOD};
use crate::cli::failure::Failure;

/// The CA.
pub(super) struct RunCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    leaves: Mutex<HashMap<String, Leaf>>,
}

struct Leaf {
    made: u64,
    config: Arc<ServerConfig>,
}

impl RunCa {
    /// Makes one for these hosts.
    pub fn new<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Result<Self, Failure> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("jeton proxy, of one run");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.name_constraints = Some(only(hosts));
        bound(&mut params, now(), CA_GOOD);
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem, leaves: Mutex::default() })
    }

    /// The certificate, which is public.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// How to speak TLS as a host. The caller says only hosts of the run, so the cache stays small.
    pub fn speaks_as(&self, host: &str) -> Result<Arc<ServerConfig>, Failure> {
        let now = now();
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = leaves.get(host).filter(|leaf| now.abs_diff(leaf.made) < LEAF_FRESH);
        if let Some(leaf) = fresh {
            return Ok(Arc::clone(&leaf.config));
        }
        let config = self.leaf(host, now)?;
        leaves.insert(host.to_owned(), Leaf { made: now, config: Arc::clone(&config) });
        Ok(config)
    }

    fn leaf(&self, host: &str, now: u64) -> Result<Arc<ServerConfig>, Failure> {
        let bare = bare(host);
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(vec![bare.to_owned()]).map_err(failed)?;
        params.distinguished_name = name("jeton proxy");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        bound(&mut params, now, LEAF_GOOD);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let provider = Arc::new(ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let own = CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider);
        let own = Arc::new(own.map_err(failed)?);
        // An address is never named in a ClientHello (RFC 6066 §3).
        let named = bare.parse::<IpAddr>().is_err().then(|| host.to_owned());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Only { named, own }));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// Shows one certificate, to whoever asks for just that host.
#[derive(Debug)]
struct Only {
    named: Option<String>,
    own: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Only {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let same = match (&self.named, hello.server_name()) {
            (Some(own), Some(asked)) => own.eq_ignore_ascii_case(asked),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same.then(|| Arc::clone(&self.own))
    }
}

/// Nothing but these hosts. Why the addresses are excluded where there is none: constraints on one kind of
/// name leave the other kinds free (RFC 5280 §4.2.1.10).
fn only<'a>(hosts: impl IntoIterator<Item = &'a str>) -> NameConstraints {
    let (mut names, mut v4, mut v6) = (Vec::new(), Vec::new(), Vec::new());
    for host in hosts {
        match bare(host).parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => v4.push(CidrSubnet::from_v4_prefix(ip.octets(), 32)),
            Ok(IpAddr::V6(ip)) => v6.push(CidrSubnet::from_v6_prefix(ip.octets(), 128)),
            Err(_) => names.push(GeneralSubtree::DnsName(host.to_owned())),
        }
    }
    let mut excluded_subtrees = Vec::new();
    if v4.is_empty() && v6.is_empty() {
        excluded_subtrees.extend([
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ]);
    }
    if names.is_empty() {
        excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    names.extend(v4.into_iter().chain(v6).map(GeneralSubtree::IpAddress));
    NameConstraints { permitted_subtrees: names, excluded_subtrees }
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// From a little before, for so many seconds.
fn bound(params: &mut CertificateParams, now: u64, good: u64) {
    let at = |seconds: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let begin = now.saturating_sub(BEFORE);
    params.not_before = at(begin);
    params.not_after = at(begin.saturating_add(good));
}

/// Without the brackets of an address of IPv6.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

fn now() -> u64 {
    u64::try_from(now_millis()).unwrap_or(0) / 1000
}

fn failed(error: impl ToString) -> Failure {
    Failure::Broken(format!("a certificate can't be made: {}", error.to_string()))
}
