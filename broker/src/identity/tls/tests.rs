use super::*;
use crate::identity::testing::{Ca, Disk};

#[test]
fn sessions_leave_nothing_to_resume_and_only_http_2_is_spoken() {
    let disk = Disk::new(&Ca::new("clients").pem());
    let server = &disk.load().current().server;
    assert_eq!(server.send_tls13_tickets, 0);
    assert!(!server.session_storage.can_cache());
    assert!(!server.ticketer.enabled());
    assert_eq!(server.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn bad_files_leave_the_old_configuration_in_force_and_say_which_and_why() {
    let ca = Ca::new("clients");
    let disk = Disk::new(&ca.pem());
    let tls = disk.load();
    let good = |name: &str| std::fs::read_to_string(disk.path(name)).unwrap();
    assert_eq!(tls.reload_if_changed().unwrap(), Reload::Unchanged);
    let (certificate, key, cas) = (good("tls.pem"), good("tls.key"), good("clients.pem"));
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (file, text, words) in [
        ("tls.pem", "", "holds no certificate in PEM"),
        ("tls.key", "", "holds no private key in PEM"),
        ("tls.key", other.as_str(), "is not usable: "),
        (
            "clients.pem",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
            "is not usable: ",
        ),
        ("clients.pem", key.as_str(), "holds no certificate in PEM"),
    ] {
        let before = good(file);
        disk.write(file, text);
        let error = tls.reload_if_changed().unwrap_err().to_string();
        // Which of two files that do not fit each other is wrong, nobody knows.
        let blamed = if words.contains("usable") && file == "tls.key" { "tls.pem" } else { file };
        let expected = format!("`{}`: {words}", disk.path(blamed).display());
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(tls.current().generation, 1);
        disk.write(file, &before);
    }
    assert_eq!((certificate, key, cas), (good("tls.pem"), good("tls.key"), good("clients.pem")));
    std::fs::set_permissions(disk.path("tls.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(
        tls.reload().unwrap_err().to_string(),
        format!(
            "`{}`: can be read by others (mode 0640); run `chmod 600` on it",
            disk.path("tls.key").display()
        )
    );
    std::fs::remove_file(disk.path("clients.pem")).unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(tls.current().generation, 1);
}
