//! What the tests of this room share: CAs, a TLS client, keys that sign tokens.

mod rsa;

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jeton_domain::ttl::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use ring::{
    rand::SystemRandom,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RsaKeyPair,
    },
};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    spiffe::TrustDomain,
    tls::{ClientCa, TlsFiles, TlsState},
};
use crate::crypto;

/// The time of most tests: 2023-11-14.
pub const NOW: i64 = 1_700_000_000;

/// A moment some seconds after [`NOW`].
pub fn after(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW + seconds)
}

/// A certificate authority.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Holder {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// An intermediate authority that ends with the year 2029.
    pub fn branch(&self) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "branch");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(2030, 1, 1);
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub fn sign(&self, params: &CertificateParams) -> Holder {
        let key = KeyPair::generate().unwrap();
        Holder { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }

    /// A certificate for a key whose private half is not there.
    pub fn certify(
        &self,
        params: &CertificateParams,
        key: &impl rcgen::PublicKeyData,
    ) -> CertificateDer<'static> {
        params.signed_by(key, &self.0).unwrap().der().clone()
    }

    pub fn agent(&self, name: &str) -> Holder {
        self.sign(&leaf(&[&format!("spiffe://acme.dev/agent/{name}")]))
    }

    pub fn revokes(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2023, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2023, 1, 1),
            next_update: date_time_ymd(4096, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// A leaf certificate from 1975 to 4096 with these URI names.
pub fn leaf(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
    params.subject_alt_names = uris.iter().map(name).collect();
    params
}

/// TLS files in a folder that goes away.
pub struct Disk {
    folder: TempDir,
    pub server_ca: Ca,
}

impl Disk {
    pub fn new(client_ca: &str) -> Self {
        let server_ca = Ca::new("servers");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        let server = server_ca.sign(&params);
        let disk = Self { folder: TempDir::new().unwrap(), server_ca };
        disk.write("tls.pem", &server.certificate.pem());
        disk.write("tls.key", &server.key.serialize_pem());
        fs::set_permissions(disk.path("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
        disk.write("clients.pem", client_ca);
        disk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// `clients.pem` for `acme.dev`, and `NAME.bundle` for the trust domain `NAME`.
    fn client_cas(&self) -> Vec<ClientCa> {
        let acme = ClientCa {
            trust_domain: TrustDomain::parse("acme.dev").unwrap(),
            file: self.path("clients.pem"),
        };
        let others = fs::read_dir(self.folder.path()).unwrap().filter_map(|entry| {
            let file = entry.unwrap().path();
            let name = file.file_name()?.to_str()?.strip_suffix(".bundle")?.to_owned();
            Some(ClientCa { trust_domain: TrustDomain::parse(&name).unwrap(), file })
        });
        std::iter::once(acme).chain(others).collect()
    }

    pub fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.path("tls.pem"),
            key: self.path("tls.key"),
            client_cas: self.client_cas(),
            crl: self.path("clients.crl").exists().then(|| self.path("clients.crl")),
        }
    }

    pub fn load(&self) -> Arc<TlsState> {
        Arc::new(TlsState::load(self.files()).unwrap())
    }

    /// A client of this server, which would resume sessions if it could.
    pub fn client(&self, holder: Option<&Holder>) -> ClientConfig {
        self.client_of(holder, &[&rustls::version::TLS13])
    }

    pub fn client_of(
        &self,
        holder: Option<&Holder>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.server_ca.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(crypto::tls_provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let Some(holder) = holder else {
            return config.with_no_client_auth();
        };
        let chain = vec![holder.certificate.der().clone()];
        let key = holder.key.serialize_der().try_into().unwrap();
        config.with_client_auth_cert(chain, key).unwrap()
    }

    /// Connects as a client; `Ok` does not mean that the server agreed, TLS 1.3 tells that later.
    pub async fn connect(
        &self,
        address: SocketAddr,
        holder: Option<&Holder>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = self.client(holder);
        config.alpn_protocols = vec![b"h2".to_vec()];
        connect(address, Arc::new(config)).await
    }
}

pub async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

/// A private key that signs tokens.
pub enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    Ps256(RsaKeyPair),
}

impl Signer {
    pub fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    pub fn p256() -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random).unwrap())
    }

    pub fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::from_pkcs8(&STANDARD.decode(rsa::RSA_2048).unwrap()).unwrap())
    }

    pub fn ps256() -> Self {
        Self::Ps256(RsaKeyPair::from_pkcs8(&STANDARD.decode(rsa::RSA_2048).unwrap()).unwrap())
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::Rs256(_) => "RS256",
            Self::Ps256(_) => "PS256",
        }
    }

    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())})
            }
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Self::Rs256(key) | Self::Ps256(key) => {
                let public = signature::RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "n": encode(&public.n), "e": encode(&public.e)})
            }
        }
    }

    pub fn jwk_named(&self, kid: &str) -> Value {
        let mut jwk = self.jwk();
        jwk["kid"] = json!(kid);
        jwk
    }

    /// Signs any two texts, JSON or not.
    pub fn signs(&self, header: &str, claims: &str) -> String {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let random = SystemRandom::new();
        let padding: &dyn signature::RsaEncoding = match self {
            Self::Ps256(_) => &signature::RSA_PSS_SHA256,
            Self::Ed25519(_) | Self::P256(_) | Self::Rs256(_) => &signature::RSA_PKCS1_SHA256,
        };
        let bytes = match self {
            Self::Ed25519(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
            Self::P256(key) => key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rs256(key) | Self::Ps256(key) => {
                let mut bytes = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, message.as_bytes(), &mut bytes).unwrap();
                bytes
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    pub fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": kid, "typ": "JWT"});
        self.signs(&header.to_string(), &claims.to_string())
    }
}
