//! Client CAs of two trust domains: each speaks for its own alone.

use std::fs;

use jeton_proto::v1::WhoAmIRequest;
use jeton_tests::{
    broker::Broker,
    raw::{Files, Raw, framed},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use tonic::Code;

const PATH: &str = "/jeton.v1.SessionService/WhoAmI";

fn partner() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "partner");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn a_ca_of_one_trust_domain_signs_nobody_of_another() {
    let ca = partner();
    let broker = Broker::start_with(|data| {
        fs::write(data.join("tls/partner.pem"), ca.pem()).unwrap();
        let file = data.join("jetond.toml");
        let added =
            "\n[[client_ca]]\ntrust_domain = \"partner.example\"\nfile = \"tls/partner.pem\"\n";
        fs::write(&file, fs::read_to_string(&file).unwrap() + added).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("one.pem"), folder.path().join("one.key"));
    for (id, code) in [
        ("spiffe://partner.example/agent/one", 0),
        // An operator of the example.
        ("spiffe://dev.jeton.local/person/ana", i32::from(Code::Unauthenticated)),
        ("spiffe://dev.jeton.local/agent/one", i32::from(Code::Unauthenticated)),
        ("spiffe://nobody.example/agent/one", i32::from(Code::Unauthenticated)),
    ] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        let pair = KeyPair::generate().unwrap();
        fs::write(&certificate, params.signed_by(&pair, &ca).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        let files = Files { certificate: &certificate, key: &key };
        let mut raw = Raw::connect_with(&broker, Some(files)).await.unwrap();
        let answer = raw.call(PATH, &[], framed(&WhoAmIRequest {})).await.unwrap();
        assert_eq!(answer.code, Some(code), "{id}: {answer:?}");
    }
    let mut own = Raw::connect(&broker, Some("ana")).await.unwrap();
    let answer = own.call(PATH, &[], framed(&WhoAmIRequest {})).await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
}
