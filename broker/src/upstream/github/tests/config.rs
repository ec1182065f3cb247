//! Which configurations are taken.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::fake::{APP_KEY, config};
use crate::upstream::github::GithubMinter;

#[test]
fn a_bad_configuration_is_refused_with_words() {
    for (base, expected) in [
        ("http://api.github.com", "`http://api.github.com` is not https"),
        ("http://127.0.0.1.evil.example", "is not https"),
        ("http://10.0.0.1", "is not https"),
        ("ftp://api.github.com", "is not the address of a GitHub API"),
        ("https://user@api.github.com", "is not the address"),
        ("https://api.github.com?x", "is not the address"),
        ("api.github.com", "is not the address"),
        ("", "is not the address"),
    ] {
        let error = GithubMinter::new(config(base, APP_KEY)).err().unwrap().to_string();
        assert!(error.contains(expected), "{base}: {error}");
    }
    for base in [
        "http://127.0.0.1:4600",
        "http://[::1]:1/api/v3/",
        "http://localhost",
        "https://ghe.example/api/v3",
    ] {
        assert!(GithubMinter::new(config(base, APP_KEY)).is_ok(), "{base}");
    }
    let error = GithubMinter::new(config("https://api.github.com", "s3cret")).err().unwrap();
    assert!(error.to_string().starts_with("the app's private key: it is no private key in PEM"));
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[test]
fn the_app_key_may_be_pkcs8_too() {
    let body: String = APP_KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let pkcs1 = STANDARD.decode(body).unwrap();
    let two = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    // PrivateKeyInfo: version 0, rsaEncryption, the PKCS#1 key as an octet string (RFC 5208 §5).
    let head = [
        &[
            0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
            0x01, 0x01, 0x05, 0x00, 0x04, 0x82,
        ][..],
        &two(pkcs1.len()),
    ]
    .concat();
    let der = [&[0x30, 0x82][..], &two(head.len() + pkcs1.len()), &head, &pkcs1].concat();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der)
    );
    assert!(GithubMinter::new(config("https://api.github.com", &pem)).is_ok());
}
