//! Witnesses of the log, by the specifications: one that keeps them, and ones that do not. The checks
//! of the honest one are those of libraries that others wrote.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jeton_domain::merkle::{KeyName, SignedCheckpoint, VerifierKey, WitnessKey};
use jeton_tests::{broker::Broker, eventually::within};
use ring::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Checkpoint, Hash, check_tree};
use tokio::net::TcpListener;

const READ: &str = "git:acme/api contents:read";
const SOON: Duration = Duration::from_secs(40);

/// What a witness does with a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As the specification says.
    Honest,
    /// Signs with a key that is not its own.
    Forges,
    /// Answers with an error.
    Breaks,
    /// Claims to have seen more.
    Ahead,
}

struct Witness {
    manner: Manner,
    pair: Ed25519KeyPair,
    name: String,
    log_key: String,
    seen: Option<(u64, Hash)>,
    asked: u32,
}

type Shared = Arc<Mutex<Witness>>;

impl Witness {
    fn key(&self) -> WitnessKey {
        let public = self.pair.public_key().as_ref().try_into().unwrap();
        WitnessKey::new(KeyName::parse(&self.name).unwrap(), public)
    }

    /// C2SP tlog-witness: add-checkpoint.
    fn add(&mut self, body: &str) -> Result<String, (StatusCode, String)> {
        let refuse = |code: StatusCode, text: &str| (code, text.to_owned());
        if self.log_key.is_empty() {
            return Err(refuse(StatusCode::NOT_FOUND, "no log that is known here"));
        }
        self.asked += 1;
        match self.manner {
            Manner::Breaks => return Err(refuse(StatusCode::BAD_GATEWAY, "\x1b[31mbroken")),
            Manner::Ahead => return Err(refuse(StatusCode::CONFLICT, "99999999\n")),
            Manner::Honest | Manner::Forges => {}
        }
        let (head, note) = body.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let hash = |line: &str| Hash(STANDARD.decode(line).unwrap().try_into().unwrap());
        let proof: Vec<Hash> = lines.map(hash).collect();
        let note = Note::from_bytes(note.as_bytes()).unwrap();
        let verifier = StandardVerifier::new(&self.log_key).unwrap();
        note.verify(&VerifierList::new(vec![Box::new(verifier)]))
            .map_err(|_| refuse(StatusCode::FORBIDDEN, "not signed by the log"))?;
        let checkpoint = Checkpoint::from_bytes(note.text()).unwrap();
        let seen = self.seen.map_or(0, |(size, _)| size);
        if old != seen {
            return Err((StatusCode::CONFLICT, format!("{seen}\n")));
        }
        if let Some((size, root)) = self.seen {
            check_tree(&proof, checkpoint.size(), *checkpoint.hash(), size, root)
                .map_err(|_| refuse(StatusCode::UNPROCESSABLE_ENTITY, "no proof"))?;
        } else {
            assert!(proof.is_empty());
        }
        self.seen = Some((checkpoint.size(), *checkpoint.hash()));
        let time = 1_800_000_000_u64;
        let text = String::from_utf8(note.text().to_vec()).unwrap();
        let signed = format!("cosignature/v1\ntime {time}\n{text}");
        let own = self.pair.sign(signed.as_bytes());
        let other = Ed25519KeyPair::from_seed_unchecked(&[99; 32]).unwrap().sign(signed.as_bytes());
        let signature = if self.manner == Manner::Forges { other } else { own };
        let public = self.pair.public_key().as_ref();
        let id = digest(&SHA256, &[self.name.as_bytes(), b"\n\x04", public].concat());
        let bytes = [&id.as_ref()[..4], &time.to_be_bytes(), signature.as_ref()].concat();
        Ok(format!("\u{2014} {} {}\n", self.name, STANDARD.encode(bytes)))
    }
}

async fn serve(seed: u8, manner: Manner) -> (Shared, String) {
    let witness = Witness {
        manner,
        pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(),
        name: format!("witness-{seed}.example"),
        log_key: String::new(),
        seen: None,
        asked: 0,
    };
    let shared = Arc::new(Mutex::new(witness));
    let add = async |State(witness): State<Shared>, body: String| match witness
        .lock()
        .unwrap()
        .add(&body)
    {
        Ok(lines) => (StatusCode::OK, lines),
        Err(refused) => refused,
    };
    let routes = Router::new().route("/w/add-checkpoint", post(add)).with_state(shared.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/w", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (shared, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_witnesses_cosign_and_others_keep_nothing_from_working() {
    let manners = [Manner::Breaks, Manner::Forges, Manner::Honest, Manner::Ahead, Manner::Honest];
    let mut witnesses = Vec::new();
    for (seed, manner) in (1..).zip(manners) {
        witnesses.push(serve(seed, manner).await);
    }
    let posted = Arc::new(Mutex::new(Vec::new()));
    let keep = async |State(kept): State<Arc<Mutex<Vec<String>>>>, body: String| {
        kept.lock().unwrap().push(body);
    };
    let routes = Router::new().route("/keep", post(keep)).with_state(Arc::clone(&posted));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let copy_url = format!("http://{}/keep", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let mut broker = Broker::make();
    let file = broker.data().join("jetond.toml");
    let text = fs::read_to_string(&file).unwrap();
    let mut more = format!("[audit]\ncopy_url = \"{copy_url}\"");
    let tables: String = witnesses
        .iter()
        .map(|(witness, url)| {
            let key = witness.lock().unwrap().key();
            format!("\n[[audit.witness]]\nurl = \"{url}\"\nkey = \"{key}\"\n")
        })
        .collect();
    let text = text.replace("[audit]", &std::mem::take(&mut more));
    fs::write(&file, text + &tables).unwrap();
    // The log's key is made at the first start; until they know it, they answer as to a stranger.
    broker.run();
    for (witness, _) in &witnesses {
        witness.lock().unwrap().log_key = broker.env("JETON_LOG_KEY").to_owned();
    }
    let key = VerifierKey::parse(broker.env("JETON_LOG_KEY")).unwrap();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let audrey = broker.client("audrey").await;
    let mut size = 0;
    // Twice, so that a proof of growth is asked for.
    for _ in 0..2 {
        for _ in 0..20 {
            agent.requests(READ).await.unwrap();
        }
        let cosigned = async || {
            let found = audrey.checkpoint().await.unwrap().cosigned?;
            (found.checkpoint().size >= size + 20).then_some(found)
        };
        let cosigned = within(SOON, "a cosigned checkpoint", cosigned).await;
        size = cosigned.checkpoint().size;
        for ((witness, _), manner) in witnesses.iter().zip(manners) {
            let key = witness.lock().unwrap().key();
            let signed = cosigned.time_by(&key).is_ok_and(|time| time == 1_800_000_000);
            assert_eq!(signed, manner == Manner::Honest, "{key}");
        }
        let note = cosigned.to_string();
        assert_eq!(SignedCheckpoint::open(&note, &key).unwrap(), cosigned);
    }
    assert!(witnesses.iter().all(|(witness, _)| witness.lock().unwrap().asked >= 2));
    assert!(!broker.log().contains("\x1b[31mbroken"), "what they say moves no cursor");
    let newest = posted.lock().unwrap().last().cloned().unwrap();
    assert!(SignedCheckpoint::open(&newest, &key).unwrap().checkpoint().size > 20);

    // A witness that forgot what it saw, or a broker that did, goes on by what the other says.
    assert_eq!(broker.stop(), Some(0));
    broker.run();
    let (agent, _) = broker.agent_with(&[READ]).await;
    agent.requests(READ).await.unwrap();
    let audrey = broker.client("audrey").await;
    let cosigned = async || {
        let found = audrey.checkpoint().await.unwrap().cosigned?;
        (found.checkpoint().size > size).then_some(())
    };
    within(SOON, "cosigned after a restart", cosigned).await;
}

/// A broker with one witness and no other copy of its checkpoints.
async fn watched(manner: Manner) -> (Broker, Shared) {
    let (witness, url) = serve(9, manner).await;
    let mut broker = Broker::make();
    let file = broker.data().join("jetond.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("copy = \"run/checkpoint\"\n"));
    let key = witness.lock().unwrap().key();
    let table = format!("\n[[audit.witness]]\nurl = \"{url}\"\nkey = \"{key}\"\n");
    fs::write(&file, text.replace("copy = \"run/checkpoint\"\n", "") + &table).unwrap();
    broker.run();
    broker.env("JETON_LOG_KEY").clone_into(&mut witness.lock().unwrap().log_key);
    (broker, witness)
}

fn acknowledged(broker: &Broker) -> bool {
    let tls = broker.data().join("tls");
    std::process::Command::new(jeton_tests::broker::program("jeton"))
        .args(["audit", "acknowledge-restore", "--reason", "the disk broke"])
        .envs(broker.envs().iter().cloned())
        .env("JETON_CERT", tls.join("ana.pem"))
        .env("JETON_KEY", tls.join("ana.key"))
        .output()
        .unwrap()
        .status
        .success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_put_back_is_found_by_a_witness_alone() {
    let (mut broker, witness) = watched(Manner::Honest).await;
    let seen = async |least: u64| {
        let seen = async || {
            let seen = witness.lock().unwrap().seen;
            seen.map(|(size, _)| size).filter(|size| *size >= least)
        };
        within(SOON, "the witness has seen it", seen).await
    };
    let (agent, _) = broker.agent_with(&[READ]).await;
    seen(2).await;
    assert_eq!(broker.stop(), Some(0));
    let store = broker.data().join("jeton.db");
    let backup = fs::read(&store).unwrap();
    broker.run();
    let mut again = broker.as_("agent").await;
    again.handle.clone_from(&agent.handle);
    let mut after = String::new();
    for _ in 0..20 {
        after = again.requests(READ).await.unwrap().credential.unwrap().secret;
    }
    seen(20).await;
    assert_eq!(broker.stop(), Some(0));

    fs::write(&store, backup).unwrap();
    broker.run();
    // Opening a session is refused as soon as the witness was asked.
    let orchestrator = broker.as_("orchestrator").await;
    let refused = async || {
        let mut open = jeton_tests::broker::opening(&[READ]);
        open.binding = Some(jeton_proto::v1::open_session_request::Binding::CertificateSha256(
            broker.thumbprint("agent"),
        ));
        orchestrator.sessions().open_session(open).await.err()
    };
    let refused = within(SOON, "granting stops", refused).await;
    assert!(refused.message().contains("restored from a backup"), "{refused:?}");
    // The backup knows nothing of what was issued after it, so nobody could take that back.
    let header = URL_SAFE_NO_PAD.decode(after.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    let unpublished = async || {
        let keys = reqwest::get(broker.env("JETON_JWKS")).await.unwrap();
        let keys: serde_json::Value = keys.json().await.unwrap();
        let keys = keys["keys"].as_array().unwrap();
        (keys.len() == 1 && keys[0]["kid"] != header["kid"]).then_some(())
    };
    within(SOON, "no key that signed it is published", unpublished).await;
    assert!(acknowledged(&broker));
    let (agent, _) = broker.agent_with(&[READ]).await;
    agent.requests(READ).await.unwrap();
    // The witness says the same again, and an operator has answered for that.
    let asked = witness.lock().unwrap().asked;
    let asked_again = async || (witness.lock().unwrap().asked > asked + 1).then_some(());
    within(SOON, "the witness is asked again", asked_again).await;
    agent.requests(READ).await.unwrap();
    assert_eq!(broker.stop(), Some(0));
    broker.run();
    let asked = witness.lock().unwrap().asked;
    let asked_again = async || (witness.lock().unwrap().asked > asked).then_some(());
    within(SOON, "the witness is asked again", asked_again).await;
    let mut again = broker.as_("agent").await;
    again.handle.clone_from(&agent.handle);
    again.requests(READ).await.unwrap();
}
