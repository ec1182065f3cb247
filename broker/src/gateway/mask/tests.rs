use jeton_domain::ttl::Timestamp;
use tokio_stream::StreamExt;

use super::*;
use crate::upstream::CredentialKind;

fn credential(secret: &str) -> Credential {
    Credential {
        secret: Secret::new(secret.to_owned()),
        kind: CredentialKind::SignedJwt,
        dies: Timestamp::from_seconds(0),
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test)
}

/// All that a stream gives, and whether it ended with an error.
fn sent(pieces: Vec<io::Result<Bytes>>, secret: &str) -> (String, bool) {
    let mut stream = Masked::new(tokio_stream::iter(pieces), marks(&credential(secret)));
    run(async {
        let (mut sent, mut broken) = (Vec::new(), false);
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(bytes) => sent.extend_from_slice(&bytes),
                Err(_) => broken = true,
            }
        }
        (String::from_utf8(sent).unwrap(), broken)
    })
}

fn masked(text: &str, secret: &str) -> String {
    sent(vec![Ok(Bytes::from(text.to_owned()))], secret).0
}

#[test]
fn a_credential_is_masked_wherever_it_is_cut() {
    let text = b"before canary-secret after canary-secrecanary-secret";
    for cut in 0..text.len() {
        let (one, two) = text.split_at(cut);
        let pieces = [one, two].map(|piece| Ok(Bytes::copy_from_slice(piece)));
        let wanted = "before ************* after canary-secre*************";
        assert_eq!(sent(pieces.into(), "canary-secret").0, wanted, "{cut}");
    }
}

#[test]
fn the_credentials_of_basic_are_masked_on_their_own() {
    let basic = STANDARD.encode("x-access-token:canary-secret");
    let told = masked(&format!("Basic {basic}"), "canary-secret");
    assert_eq!(told, format!("Basic {}{}==", &basic[..20], "*".repeat(18)));
    let twice = STANDARD.encode(format!("Authorization: Basic {basic}"));
    let told = masked(&twice, "canary-secret");
    assert!(told.contains("********************") && !told.contains(&twice[55..]), "{told}");
    let key = STANDARD.encode("user@acme.dev:canary-password");
    assert_eq!(masked("you are canary-password", &key), "you are ***************");
}

/// A mask that fails open when a read gives bytes and an error (CVE-2026-101998).
#[test]
fn nothing_that_is_held_back_is_sent_when_the_answer_breaks() {
    let text = "canary-secret, and canary-secre";
    for cut in 1..text.len() {
        let (one, two) = text.split_at(cut);
        let pieces = vec![
            Ok(Bytes::from(one.to_owned())),
            Ok(Bytes::from(two.to_owned())),
            Err(io::Error::other("reset")),
            Ok(Bytes::from("t")),
        ];
        let told = sent(pieces, "canary-secret");
        assert_eq!(told, ("*************, and ".to_owned(), true), "{cut}");
    }
}

#[test]
fn an_end_that_only_looks_like_a_beginning_is_sent_after_a_while_and_the_rest_is_masked() {
    let told = run(async {
        let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
        let pieces = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut stream = Masked::new(pieces, marks(&credential("canary-secret")));
        let mut told = Vec::new();
        for piece in ["a message c", "an", "ary", "-sec", "ret, and c"] {
            sender.send(Ok(Bytes::from(piece))).await.unwrap();
            let wait = tokio::time::timeout(Duration::from_millis(200), stream.next());
            if let Ok(Some(piece)) = wait.await {
                told.push(String::from_utf8(piece.unwrap().to_vec()).unwrap());
                let end = tokio::time::timeout(Duration::from_millis(200), stream.next());
                let end = end.await.ok().flatten().map(Result::unwrap);
                told.extend(end.map(|end| String::from_utf8(end.to_vec()).unwrap()));
            }
        }
        told
    });
    assert_eq!(told, ["a message ", "c", "an", "**********, and ", "c"]);
}
