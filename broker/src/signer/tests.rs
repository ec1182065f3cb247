//! Keys that follow one another, and the files they live in.

mod hostile;
mod tokens;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use jeton_domain::ttl::{Timestamp, Ttl};
use jsonwebtoken::jwk::ThumbprintHash;
use tempfile::TempDir;

use super::{KeyRing, KeyRingError, SigningAlgorithm, schedule::Rotation};

const DAY: u32 = 86_400;
/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW + seconds)
}

fn rotation() -> Rotation {
    let ttl = |seconds| Ttl::from_seconds(seconds).unwrap();
    Rotation { every: ttl(30 * DAY), overlap: ttl(600), longest_life: ttl(3600) }
}

fn open(folder: &Path, algorithm: SigningAlgorithm) -> Result<KeyRing, KeyRingError> {
    KeyRing::open(folder, algorithm, rotation(), after(0))
}

fn ring(algorithm: SigningAlgorithm) -> (TempDir, Arc<KeyRing>) {
    crate::crypto::install();
    let folder = TempDir::new().unwrap();
    let ring = open(&folder.path().join("keys"), algorithm).unwrap();
    (folder, Arc::new(ring))
}

fn published(ring: &KeyRing, now: Timestamp) -> Vec<String> {
    ring.jwks(now).keys.into_iter().filter_map(|key| key.common.key_id).collect()
}

#[test]
fn a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_have_ended() {
    let (_folder, ring) = ring(SigningAlgorithm::EdDsa);
    let old = ring.active(after(0)).kid().to_owned();
    let new = ring.rotate(after(100)).unwrap();
    assert_ne!(old, new);
    for (seconds, signs, shown) in [
        (100, &old, vec![&old, &new]),
        (699, &old, vec![&old, &new]),
        (700, &new, vec![&old, &new]),
        (4299, &new, vec![&old, &new]),
        (4300, &new, vec![&new]),
    ] {
        let now = after(seconds);
        assert_eq!(ring.active(now).kid(), signs, "after {seconds} s");
        assert_eq!(published(&ring, now).iter().collect::<Vec<_>>(), shown, "after {seconds} s");
    }
}

#[test]
fn at_every_moment_of_a_year_the_signing_key_is_published_and_was_so_for_the_overlap() {
    let (_folder, ring) = ring(SigningAlgorithm::EdDsa);
    for hour in 0..365 * 24 {
        let now = after(hour * 3600);
        ring.tend(now).unwrap();
        let signs = ring.active(now);
        assert!(published(&ring, now).contains(&signs.kid().to_owned()));
        let first = published(&ring, now).len() == 1;
        assert!(signs.created().plus(rotation().overlap) <= now || first || hour == 0);
        assert!((1..=2).contains(&published(&ring, now).len()));
    }
}

#[test]
fn tending_makes_the_next_key_in_time_and_removes_the_file_of_one_that_has_served() {
    let (folder, ring) = ring(SigningAlgorithm::EdDsa);
    let files = || fs::read_dir(folder.path().join("keys")).unwrap().count();
    let old = ring.active(after(0)).kid().to_owned();
    let month = 30 * i64::from(DAY);
    assert_eq!(ring.tend(after(month - 1)).unwrap(), super::Tended::default());
    let made = ring.tend(after(month)).unwrap().made.unwrap();
    assert_eq!((ring.active(after(month)).kid(), files()), (old.as_str(), 2));
    assert!(ring.tend(after(month + 4199)).unwrap().removed.is_empty());
    assert_eq!(ring.tend(after(month + 4200)).unwrap().removed, [old]);
    assert_eq!((ring.active(after(month + 4200)).kid(), files()), (made.as_str(), 1));
}

#[test]
fn a_restart_finds_the_same_keys_at_the_same_place_in_time() {
    let (folder, ring) = ring(SigningAlgorithm::Es256);
    ring.rotate(after(100)).unwrap();
    let again = open(&folder.path().join("keys"), SigningAlgorithm::Es256).unwrap();
    for seconds in [0, 699, 700, 4300] {
        let now = after(seconds);
        assert_eq!(again.active(now).kid(), ring.active(now).kid());
        assert_eq!(again.jwks(now), ring.jwks(now));
    }
}

#[test]
fn a_key_that_others_could_read_or_a_folder_that_they_could_write_is_refused() {
    let (folder, _ring) = ring(SigningAlgorithm::EdDsa);
    let keys = folder.path().join("keys");
    let file = keys.join(format!("{NOW}.pem"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&keys), mode(&file)), (0o700, 0o600));
    let refusal = |path: &Path, mode| {
        let before = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        let error = open(&keys, SigningAlgorithm::EdDsa).err().unwrap().to_string();
        fs::set_permissions(path, before).unwrap();
        error
    };
    for mode in [0o640, 0o604, 0o620, 0o601] {
        let error = refusal(&file, mode);
        assert!(error.contains(&format!("(mode {mode:04o}); run `chmod 600 ")), "{error}");
    }
    assert!(refusal(&keys, 0o770).contains("run `chmod 700 "));
    assert!(open(&keys, SigningAlgorithm::EdDsa).is_ok());
}

#[test]
fn what_is_no_key_is_refused_by_name_and_never_overwritten() {
    let (folder, ring) = ring(SigningAlgorithm::EdDsa);
    let keys = folder.path().join("keys");
    let refusal = |name: &str, text: &str| {
        let file = keys.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let error = open(&keys, SigningAlgorithm::EdDsa).err().unwrap().to_string();
        fs::remove_file(&file).unwrap();
        error
    };
    assert!(refusal("7.pem", "s3cret").contains("7.pem`: it is no private key in PEM"));
    assert!(!refusal("7.pem", "s3cret").contains("s3cret"));
    let der = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    assert!(refusal("7.pem", der).contains("it is no Ed25519, P-256 or RSA key"));
    for name in ["mine.pem", "-7.pem", ".pem.pem"] {
        assert!(refusal(name, der).contains("call it `SECONDS.pem`"));
    }
    assert!(matches!(ring.rotate(after(0)), Err(KeyRingError::Exists(_))));
    assert_eq!(fs::read_dir(&keys).unwrap().count(), 1, "no draft is left");
}

#[test]
fn a_key_is_named_by_the_thumbprint_of_its_public_half() {
    for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256] {
        let (_folder, ring) = ring(algorithm);
        for key in ring.jwks(after(0)).keys {
            assert_eq!(key.common.key_id, key.thumbprint(ThumbprintHash::SHA256).ok());
        }
        let text = serde_json::to_string(&ring.jwks(after(0))).unwrap();
        assert!(!text.contains("\"d\""), "no private half: {text}");
    }
}
