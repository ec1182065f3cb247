//! The door of the host.

use std::{os::unix::fs::PermissionsExt, path::Path};

use super::*;

fn bind(path: &Path) -> Result<UnixSocket, UnixSocketError> {
    UnixSocket::bind(path, None)
}

#[tokio::test]
async fn a_process_on_this_host_is_named_by_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jeton.sock");
    let mut incoming = Incoming::unix(bind(&path).unwrap(), Bounds::default());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut client = UnixStream::connect(&path).await.unwrap();
    let mut server = incoming.next().await.unwrap().unwrap();
    let me = rustix::process::getuid().as_raw();
    match server.peer() {
        Peer::Unix(peer) => {
            assert_eq!((peer.uid, peer.pid), (me, i32::try_from(std::process::id()).ok()))
        }
        Peer::Tls(_) => panic!("it is a Unix socket"),
    }
    assert!(talks(&mut client, &mut server).await);
}

#[tokio::test]
async fn a_socket_file_is_replaced_only_if_nobody_answers_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jeton.sock");
    let first = bind(&path).unwrap();
    let shown = path.display();
    let refused = |path: &Path| bind(path).err().map(|error| error.to_string());
    assert_eq!(
        refused(&path),
        Some(format!("`{shown}`: somebody answers there already; stop it or choose another path"))
    );
    drop(first);
    assert!(path.exists());
    let _second = UnixSocket::bind(&path, Some(0o600)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "mine").unwrap();
    let expected = format!("`{}` exists and is no socket; choose another path", file.display());
    assert_eq!(refused(&file), Some(expected));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}
