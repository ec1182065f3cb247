//! A private CA and certificates of everyone in the example: agents, orchestrator, people, services.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, string::Ia5String,
};

use super::{private, public};
use crate::app::AppError;

/// Everyone who gets a certificate: the file's name and the SPIFFE id.
const EVERYONE: [(&str, &str); 8] = [
    ("agent", "spiffe://dev.jeton.local/agent/build-42"),
    ("agent-2", "spiffe://dev.jeton.local/agent/review-7"),
    ("orchestrator", "spiffe://dev.jeton.local/orchestrator"),
    ("ana", "spiffe://dev.jeton.local/person/ana"),
    ("bo", "spiffe://dev.jeton.local/person/bo"),
    ("audrey", "spiffe://dev.jeton.local/person/audrey"),
    ("git-host", "spiffe://dev.jeton.local/service/git-host"),
    ("orders", "spiffe://dev.jeton.local/service/orders"),
];

/// Makes what is missing: `ca.pem`, `server.pem` and a pair of files for everyone.
pub(super) fn make(folder: &Path) -> Result<(), AppError> {
    let ca_file = folder.join("ca.pem");
    if ca_file.exists() {
        return Ok(());
    }
    let ca_key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "jeton development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = params.self_signed(&ca_key).map_err(failed)?;
    let ca_pem = ca.pem();
    let issuer = Issuer::new(params, ca_key);

    let mut server = CertificateParams::new(vec!["localhost".to_owned()]).map_err(failed)?;
    server.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    write(folder, "server", server, &issuer)?;
    for (name, id) in EVERYONE {
        let mut params = CertificateParams::default();
        let id = Ia5String::try_from(id).map_err(failed)?;
        params.subject_alt_names.push(SanType::URI(id));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        write(folder, name, params, &issuer)?;
    }
    // Why last: with it in place, the others are there too.
    public(&ca_file, &ca_pem)
}

fn write(
    folder: &Path,
    name: &str,
    mut params: CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(), AppError> {
    let key = KeyPair::generate().map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = params.signed_by(&key, issuer).map_err(failed)?;
    private(&folder.join(format!("{name}.key")), || key.serialize_pem())?;
    public(&folder.join(format!("{name}.pem")), &certificate.pem())
}

fn failed(error: impl ToString) -> AppError {
    AppError::Broken(format!("a certificate could not be made: {}", error.to_string()))
}
