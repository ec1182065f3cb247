//! A disk that is really full, to the last byte: nothing is granted, everything can be taken back.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
    process::Command,
    time::Duration,
};

use jeton_proto::v1::{
    CloseSessionRequest, GetGrantRequest, GrantState, IntrospectRequest, ListGrantsRequest,
    ReleaseGrantRequest, RenewGrantRequest, RevokeGrantRequest, RevokeMatchingRequest,
    SessionState, open_session_request::Binding, revoke_matching_request::Matching,
};
use jeton_tests::{
    broker::{Broker, Caller, opening},
    eventually::within,
    github::Github,
    records::Records,
};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const SIGNED: &str = "git:acme/api contents:read";
const MINTED: &str = "github:acme/web contents:read";
const ENVELOPE: [&str; 2] = [SIGNED, MINTED];
const AUDIENCE: &str = "https://git.dev.jeton.local";
/// Time in which the broker must notice that there is room again.
const AGAIN: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(20);

/// A small disk of its own, gone at the end.
struct Disk(TempDir);

impl Disk {
    /// Mounts one, or says why that can't be.
    fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(folder.path())
            .output()
            .map_err(|error| format!("`mount` can't be run: {error}"))?;
        if !mounted.status.success() {
            return Err(String::from_utf8_lossy(&mounted.stderr).into_owned());
        }
        Ok(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes every byte that is left; gives how many these were.
    fn fill(&self) -> usize {
        let mut file = File::create(self.path().join("filler")).unwrap();
        let mut taken = 0;
        for size in [1 << 20, 4096, 1] {
            let bytes = vec![0x55; size];
            loop {
                match file.write(&bytes) {
                    Ok(written) => taken += written,
                    Err(full) if full.kind() == ErrorKind::StorageFull => break,
                    Err(other) => panic!("{other}"),
                }
            }
        }
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        assert_eq!(disk.f_bavail, 0, "the disk is full");
        taken
    }

    fn empty(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmount = |how: &[&str]| {
            let done = Command::new("umount").args(how).arg(self.path()).status();
            done.is_ok_and(|status| status.success())
        };
        // Why lazily then: a reader that has the file open must not keep it mounted for ever.
        let _ = unmount(&[]) || unmount(&["--lazy"]);
    }
}

fn is_full(refused: &Status) -> bool {
    let reason = refused.get_error_details().error_info().map(|info| info.reason.clone());
    refused.code() == Code::Unavailable
        && reason.as_deref() == Some("STORE_FULL")
        && refused.message().contains("the store's disk is full; nothing is granted")
}

/// Everything that is refused while the disk is full.
async fn grants_nothing(broker: &Broker, agent: &Caller, github: &Github) {
    let orchestrator = broker.as_("orchestrator").await;
    let minted = github.front.minted().len();
    for _ in 0..20 {
        for scope in ENVELOPE {
            let refused = agent.requests(scope).await.unwrap_err();
            assert!(is_full(&refused), "{refused:?}");
        }
        let mut open = opening(&ENVELOPE);
        open.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
        let refused = orchestrator.sessions().open_session(open).await.unwrap_err();
        assert!(is_full(&refused), "{refused:?}");
    }
    assert_eq!(github.front.minted().len(), minted, "no upstream was asked");
}

async fn count(operator: &Caller) -> usize {
    let list = operator.grants().list_grants(ListGrantsRequest::default()).await.unwrap();
    list.into_inner().grants.len()
}

async fn state(operator: &Caller, id: &str) -> GrantState {
    let get = GetGrantRequest { id: id.into() };
    operator.grants().get_grant(get).await.unwrap().into_inner().grant.unwrap().state()
}

async fn revoke(operator: &Caller, id: &str) -> Result<(), Status> {
    let revoke =
        RevokeGrantRequest { id: id.into(), reason: "enough".into(), ..Default::default() };
    operator.grants().revoke_grant(revoke).await.map(|_| ())
}

async fn is_live(operator: &Caller, secret: &str) -> bool {
    let request = IntrospectRequest { credential: secret.into(), audience: AUDIENCE.into() };
    operator.introspection().introspect(request).await.unwrap().into_inner().active
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_granted_and_everything_can_be_taken_back() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            println!("\n*** NOT RUN: a full disk takes a `mount`, which only root may: {why}\n");
            return;
        }
    };
    let github = Github::pretended().await;
    let mut broker = Broker::start_with(|data| {
        github.configure(data);
        let file = data.join("jetond.toml");
        let store = format!("path = \"{}\"", disk.path().join("jeton.db").display());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("path = \"jeton.db\""));
        fs::write(&file, text.replace("path = \"jeton.db\"", &store)).unwrap();
    });
    let (agent, session) = broker.agent_with(&ENVELOPE).await;
    let operator = broker.as_("ana").await;
    let mut held = Vec::new();
    for scope in [SIGNED, SIGNED, SIGNED, MINTED, MINTED, SIGNED] {
        let answer = agent.requests(scope).await.unwrap();
        held.push((answer.grant.unwrap().id, answer.credential.unwrap().secret));
    }
    let [first, second, third, fourth, fifth, sixth] = held.try_into().unwrap();
    let before = count(&operator).await;

    // The very first thing on the full disk is a revocation.
    let taken = disk.fill();
    revoke(&operator, &first.0).await.unwrap();
    assert!(!is_live(&operator, &first.1).await);
    grants_nothing(&broker, &agent, &github).await;
    assert_eq!(count(&operator).await, before, "nothing new is on record");
    for id in [&second.0, &fifth.0] {
        let renew = RenewGrantRequest { id: id.clone(), ..Default::default() };
        let refused = agent.grants().renew_grant(renew).await.unwrap_err();
        assert!(is_full(&refused), "{refused:?}");
    }
    assert!(is_live(&operator, &second.1).await, "what was granted still works");
    revoke(&operator, &second.0).await.unwrap();
    agent.grants().release_grant(ReleaseGrantRequest { id: third.0.clone() }).await.unwrap();
    revoke(&operator, &fourth.0).await.unwrap();
    let dead = async || github.front.opens(&fourth.1).is_none().then_some(());
    within(SOON, "the upstream hears of the revocation", dead).await;
    assert!(github.front.opens(&fifth.1).is_some());

    // A start on a full disk: what was acknowledged holds, and it goes on like before.
    assert_eq!(broker.stop(), Some(0));
    broker.run();
    let operator = broker.as_("ana").await;
    let mut again = broker.as_("agent").await;
    again.handle = agent.handle.clone();
    for (id, secret) in [&first, &second] {
        assert_eq!(state(&operator, id).await, GrantState::Revoked);
        assert!(!is_live(&operator, secret).await);
    }
    assert_eq!(state(&operator, &third.0).await, GrantState::Released);
    grants_nothing(&broker, &again, &github).await;
    let close = CloseSessionRequest { id: session.id, reason: "done".into() };
    let closed = operator.sessions().close_session(close).await.unwrap().into_inner();
    assert_eq!(closed.session.unwrap().state(), SessionState::Closed);
    assert!(!is_live(&operator, &sixth.1).await, "its grants ended with the session");
    let dead = async || github.front.opens(&fifth.1).is_none().then_some(());
    within(SOON, "those of the upstream too", dead).await;
    let all = RevokeMatchingRequest {
        matching: Some(Matching::All(true)),
        reason: "the end".into(),
        ..Default::default()
    };
    operator.grants().revoke_matching(all).await.unwrap();

    // Room again, and no restart.
    disk.empty();
    let orchestrator = broker.as_("orchestrator").await;
    let mut open = opening(&ENVELOPE);
    open.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let began = std::time::Instant::now();
    let opened = async || orchestrator.sessions().open_session(open.clone()).await.ok();
    let opened = within(AGAIN, "sessions are opened again", opened).await.into_inner();
    again.handle = Some(opened.handle);
    for scope in ENVELOPE {
        assert!(again.requests(scope).await.unwrap().credential.is_some());
    }
    println!("{taken} bytes of filler; granting again after {:?}", began.elapsed());

    // And full once more, first met by a request, in the same run.
    let last = again.requests(SIGNED).await.unwrap().grant.unwrap().id;
    within(AGAIN, "the reserve is back", async || {
        disk.path().join("jeton.reserve").exists().then_some(())
    })
    .await;
    disk.fill();
    grants_nothing(&broker, &again, &github).await;
    revoke(&operator, &last).await.unwrap();
    assert_eq!(state(&operator, &last).await, GrantState::Revoked);
    disk.empty();
    let granted = async || again.requests(SIGNED).await.ok();
    within(AGAIN, "grants again", granted).await;

    assert_eq!(broker.stop(), Some(0));
    let records = Records::open(disk.path());
    println!("{} entries", records.events().len());
    assert_eq!(records.integrity(), "ok");
}
