//! The audit log over real gRPC: who may read what, that nothing is skipped, and what proves it.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use jeton_client::{Client, EntryFilter, EntryInfo, PageOf, Purpose, Until};
use jeton_domain::merkle::{SignedCheckpoint, VerifierKey};
use jeton_proto::v1::{
    AcknowledgeRestoreRequest, EntryFilter as WireFilter, GetGrantRequest, GrantState,
    ListEntriesRequest, RevokeGrantRequest, TailEntriesRequest,
};
use jeton_tests::{
    broker::{AGENT, Broker, Caller, program},
    eventually::within,
    raw::{Raw, framed},
};
use rusqlite::Connection;
use tonic::Code;
use tonic_types::StatusExt;

const READ: &str = "git:acme/api contents:read";
const SOON: Duration = Duration::from_secs(20);

fn key(broker: &Broker) -> VerifierKey {
    VerifierKey::parse(broker.env("JETON_LOG_KEY")).unwrap()
}

async fn all(client: &Client, filter: EntryFilter) -> Vec<EntryInfo> {
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let page = client.list_entries(filter.clone(), true, PageOf { size: 3, token }).await;
        let page = page.unwrap();
        found.extend(page.items);
        token = page.next;
        if token.is_none() {
            return found;
        }
    }
}

fn reason(status: &tonic::Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

async fn granted(agent: &Caller) -> String {
    agent.requests(READ).await.unwrap().grant.unwrap().id
}

fn jeton(broker: &Broker, who: &str, words: &[&str]) -> Output {
    let tls = broker.data().join("tls");
    Command::new(program("jeton"))
        .args(words)
        .envs(broker.envs().iter().cloned())
        .env("JETON_CERT", tls.join(format!("{who}.pem")))
        .env("JETON_KEY", tls.join(format!("{who}.key")))
        .output()
        .unwrap()
}

fn verified(broker: &Broker, more: &[&str]) -> Output {
    let store = broker.data().join("jeton.db");
    let words = ["--json", "audit", "verify", "--store", store.to_str().unwrap()];
    jeton(broker, "audrey", &[&words[..], more].concat())
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_sees_all_and_is_on_record_and_a_session_sees_its_own() {
    let broker = Broker::start();
    let (one, session) = broker.agent_with(&[READ]).await;
    let (other, foreign) = broker.agent_with(&[READ]).await;
    let (id, _) = (granted(&one).await, granted(&other).await);
    one.requests("git:other/api contents:read").await.unwrap_err();

    let audrey = broker.client("audrey").await;
    let entries = all(&audrey, EntryFilter::default()).await;
    let indexes: Vec<u64> = entries.iter().map(|entry| entry.index).collect();
    assert_eq!(indexes, (0..entries.len() as u64).collect::<Vec<_>>(), "none is left out");
    let last = entries.last().unwrap();
    assert_eq!(last.event, "log_read");
    assert!(last.line.contains("person/audrey: list"), "{}", last.line);

    let only = |filter: EntryFilter| all(&audrey, filter);
    let words =
        |entries: Vec<EntryInfo>| entries.into_iter().map(|entry| entry.event).collect::<Vec<_>>();
    let some = |text: &str| Some(text.to_owned());
    let filter = EntryFilter { session: Some(session.id.clone()), ..Default::default() };
    assert_eq!(words(only(filter).await), ["session_opened", "issued", "denied"]);
    let filter = EntryFilter { grant: Some(id.clone()), ..Default::default() };
    assert_eq!(words(only(filter).await), ["issued"]);
    let filter = EntryFilter { outcome: some("denied"), ..Default::default() };
    assert_eq!(words(only(filter).await), ["denied"]);
    let filter = EntryFilter { resource: some("acme/**"), ..Default::default() };
    assert_eq!(words(only(filter).await), ["issued", "issued"]);
    let filter = EntryFilter { policy: some("builders-read"), ..Default::default() };
    assert_eq!(words(only(filter).await), ["issued", "issued"]);
    let filter = EntryFilter { agent: some(AGENT), event: some("issued"), ..Default::default() };
    assert_eq!(words(only(filter).await), ["issued", "issued"]);
    let filter =
        EntryFilter { since: Some(jeton_client::now_millis() + 60_000), ..Default::default() };
    assert!(only(filter).await.is_empty());
    let filter = EntryFilter { event: some("isued"), ..Default::default() };
    let error = audrey.list_entries(filter, false, PageOf::default()).await.unwrap_err();
    assert!(error.to_string().contains("`isued` is no event; there are started,"), "{error}");

    let mut own = one.audit();
    let seen = own.list_entries(ListEntriesRequest::default()).await.unwrap().into_inner().entries;
    let seen: Vec<&str> = seen.iter().map(|entry| entry.event.as_str()).collect();
    assert_eq!(seen, ["denied", "issued", "session_opened"], "newest first, its own only");
    let session = Some(WireFilter { session: foreign.id, ..Default::default() });
    let foreign = ListEntriesRequest { filter: session, ..Default::default() };
    assert_eq!(own.list_entries(foreign).await.unwrap_err().code(), Code::NotFound);
    let nobody = broker.as_("agent").await;
    let refused = nobody.audit().list_entries(ListEntriesRequest::default()).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "ROLE_MISSING")
    );
    let refused = nobody.audit().tail_entries(TailEntriesRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_goes_on_where_it_stood_and_skips_nothing() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let audrey = broker.client("audrey").await;
    let writing = tokio::spawn(async move {
        for _ in 0..600 {
            granted(&agent).await;
        }
    });
    let (mut next, mut seen, mut streams) = (0, Vec::new(), 0);
    let filter = EntryFilter { event: Some("issued".to_owned()), ..Default::default() };
    while seen.len() < 600 {
        let mut stream = audrey.tail_entries(filter.clone(), next, Until::Stopped).await.unwrap();
        streams += 1;
        // Each stream is left after a few batches, as one that breaks.
        for _ in 0..7 {
            if seen.len() >= 600 {
                break;
            }
            let batch = stream.next().await.unwrap().unwrap();
            seen.extend(batch.entries.into_iter().map(|entry| entry.index));
            next = batch.next;
        }
    }
    writing.await.unwrap();
    assert!(streams > 2, "{streams}");
    let listed = all(&audrey, filter).await;
    assert_eq!(seen, listed.iter().map(|entry| entry.index).collect::<Vec<_>>());
    let beyond = audrey.tail_entries(EntryFilter::default(), 1 << 40, Until::Stopped).await;
    let error = beyond.map(drop).unwrap_err().to_string();
    assert!(error.contains("from_index: the log has"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_credential_has_a_receipt_that_holds_without_trust() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let (audrey, key) = (broker.client("audrey").await, key(&broker));
    let first = agent.requests(READ).await.unwrap().grant.unwrap();
    let receipt = audrey.receipt_of_grant(&first.id).await.unwrap();
    assert_eq!(Some(receipt.entry.index), first.entry_index);
    assert_eq!(receipt.key, key, "the key that the operator published");
    SignedCheckpoint::open(&receipt.checkpoint.to_string(), &key).unwrap();
    assert!(receipt.entry.text.contains(&first.id));
    let before = receipt.checkpoint.checkpoint().clone();
    for _ in 0..300 {
        granted(&agent).await;
    }
    let newer = async || {
        let now = audrey.checkpoint().await.unwrap().checkpoint.checkpoint().clone();
        (now.size > before.size + 300).then_some(now)
    };
    let now = within(SOON, "a checkpoint of all of them", newer).await;
    let proof = audrey.consistency(before.size, now.size).await.unwrap();
    proof.verify(&before.root, &now.root).unwrap();
    let again = audrey.receipt(receipt.entry.index).await.unwrap();
    assert_eq!(again.entry.text, receipt.entry.text);

    let (stranger, _) = broker.agent_with(&[READ]).await;
    let get = |of| jeton_proto::v1::GetReceiptRequest { of: Some(of) };
    use jeton_proto::v1::get_receipt_request::Of;
    let own = Of::Index(receipt.entry.index);
    assert!(agent.audit().get_receipt(get(own.clone())).await.is_ok());
    let foreign = stranger.audit().get_receipt(get(own)).await.unwrap_err();
    let absent = stranger.audit().get_receipt(get(Of::Index(1 << 50))).await.unwrap_err();
    assert_eq!((foreign.code(), foreign.message()), (absent.code(), absent.message()));
    assert_eq!(foreign.code(), Code::NotFound);
    let back = audrey.consistency(now.size, before.size).await.unwrap_err();
    assert!(back.to_string().contains("swap them"), "{back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_edits_removes_or_cuts_off_entries_is_found_by_the_file_alone() {
    let mut broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    for _ in 0..600 {
        granted(&agent).await;
    }
    let kept = broker.data().join("kept");
    let keep =
        || jeton(&broker, "audrey", &["audit", "checkpoint", "--out", kept.to_str().unwrap()]);
    let kept_one = keep();
    assert!(kept_one.status.success(), "{}", text(&kept_one));
    granted(&agent).await;
    assert!(keep().status.success(), "a newer one takes its place, proved to have grown from it");
    let online =
        jeton(&broker, "audrey", &["audit", "verify", "--checkpoint", kept.to_str().unwrap()]);
    assert!(online.status.success(), "{}", text(&online));
    let url = format!("{}/log", broker.env("JETON_ENDPOINT"));
    let tiles = jeton(&broker, "audrey", &["audit", "verify", "--url", &url]);
    assert!(tiles.status.success(), "{}", text(&tiles));
    let refused = jeton(&broker, "agent", &["audit", "verify", "--url", &url]);
    assert_eq!(refused.status.code(), Some(66), "{}", text(&refused));
    assert!(
        text(&refused).contains("403 Forbidden: the log's tiles and entries need the role auditor"),
        "{}",
        text(&refused)
    );
    for mistyped in [&["--url", &format!("{url}s")][..], &["--tiles", "/nowhere"]] {
        let words = [&["audit", "verify", "--checkpoint", kept.to_str().unwrap()], mistyped];
        let none = jeton(&broker, "audrey", &words.concat());
        assert_eq!(none.status.code(), Some(66), "{}", text(&none));
        assert!(text(&none).contains("it is no log of tiles"), "{}", text(&none));
    }
    let elsewhere = jeton(
        &broker,
        "audrey",
        &["audit", "verify", "--url", "http://localhost.evil.example/log"],
    );
    assert!(text(&elsewhere).contains("begins with https://, or is on this host"));
    let good = verified(&broker, &["--checkpoint", kept.to_str().unwrap()]);
    assert!(good.status.success(), "{}", text(&good));
    assert_eq!(broker.stop(), Some(0));
    let good = verified(&broker, &[]);
    assert!(good.status.success(), "{}", text(&good));

    let store = broker.data().join("jeton.db");
    let untouched = fs::read(&store).unwrap();
    let bulk = "UPDATE entry SET text = replace(text, 'contents:read', 'contents:reed')";
    for (harm, named) in [
        (format!("{bulk} WHERE place = 5"), "entry 5:"),
        (format!("{bulk} WHERE place = 560"), "they are not those that the checkpoint of size"),
        ("DELETE FROM entry WHERE place = 100".to_owned(), "entry 100:"),
        ("DELETE FROM entry WHERE place > 300".to_owned(), "the log ends after 301 entries"),
        (
            "DELETE FROM entry WHERE place < 256".to_owned(),
            "entries before 256 are not there, and the log does not say that they were moved out",
        ),
        (
            "UPDATE entry SET place = -1 WHERE place = 10; UPDATE entry SET place = 10 WHERE place = 11; UPDATE entry SET place = 11 WHERE place = -1".to_owned(),
            "entry 10:",
        ),
        ("UPDATE tile SET hashes = zeroblob(8192) WHERE place = 1".to_owned(), "entry 256:"),
        ("UPDATE tile SET root = zeroblob(32) WHERE place = 0".to_owned(), "tile/1/000.p/2"),
        ("DELETE FROM tile WHERE place = 1".to_owned(), "tile/0/001 is missing"),
        ("UPDATE checkpoint SET note = replace(note, 'dev.jeton', 'dev.jiton')".to_owned(), "not signed by"),
    ] {
        fs::write(&store, &untouched).unwrap();
        let db = Connection::open(&store).unwrap();
        db.execute_batch(&harm).unwrap();
        drop(db);
        let found = verified(&broker, &["--checkpoint", kept.to_str().unwrap()]);
        assert_eq!(found.status.code(), Some(74), "{harm}: {}", text(&found));
        assert!(text(&found).contains(named), "{harm}: {}", text(&found));
    }
    let wrong = "other+00000000+AAAA";
    let refused = verified(&broker, &["--log-key", wrong]);
    assert_eq!(refused.status.code(), Some(65), "{}", text(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_can_not_leave_the_house_stops_granting_and_not_revoking() {
    let broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("copy = \"run/checkpoint\""));
        fs::create_dir(data.join("elsewhere")).unwrap();
        fs::write(&file, text.replace("run/checkpoint", "elsewhere/checkpoint")).unwrap();
    });
    let (agent, _) = broker.agent_with(&[READ]).await;
    let id = granted(&agent).await;
    let elsewhere = broker.data().join("elsewhere");
    let copied = async || elsewhere.join("checkpoint").exists().then_some(());
    within(SOON, "a copy", copied).await;

    fs::remove_dir_all(&elsewhere).unwrap();
    granted(&agent).await;
    let halted = async || agent.requests(READ).await.err();
    let halted = within(Duration::from_secs(40), "granting stops", halted).await;
    assert_eq!((halted.code(), reason(&halted).as_str()), (Code::Unavailable, "HALTED"));
    assert!(halted.message().contains("checkpoints can't be copied out"), "{}", halted.message());
    let operator = broker.as_("ana").await;
    let revoke = RevokeGrantRequest { id, reason: "enough".into(), ..Default::default() };
    operator.grants().revoke_grant(revoke).await.unwrap();

    fs::create_dir(&elsewhere).unwrap();
    let again = async || agent.requests(READ).await.ok();
    within(SOON, "granting goes on by itself", again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_put_back_from_a_backup_brings_nothing_back_and_waits_for_an_operator() {
    let mut broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let id = granted(&agent).await;
    assert_eq!(broker.stop(), Some(0));
    let store = broker.data().join("jeton.db");
    let backup = fs::read(&store).unwrap();
    broker.run();
    let operator = broker.as_("ana").await;
    let revoke =
        RevokeGrantRequest { id: id.clone(), reason: "leaked".into(), ..Default::default() };
    operator.grants().revoke_grant(revoke).await.unwrap();
    assert_eq!(broker.stop(), Some(0));
    let kept = broker.data().join("kept");
    fs::copy(broker.data().join("run/checkpoint"), &kept).unwrap();

    fs::write(&store, backup).unwrap();
    broker.run();
    let found = verified(&broker, &["--checkpoint", kept.to_str().unwrap()]);
    assert_eq!(found.status.code(), Some(74), "{}", text(&found));
    let mut again = broker.as_("agent").await;
    again.handle = agent.handle.clone();
    let refused = again.requests(READ).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "its session ended: {refused:?}");
    let operator = broker.as_("ana").await;
    let get = GetGrantRequest { id };
    let grant = operator.grants().get_grant(get).await.unwrap().into_inner().grant.unwrap();
    assert_eq!(grant.state(), GrantState::Revoked, "what was revoked stays so");
    let orchestrator = broker.as_("orchestrator").await;
    let mut open = jeton_tests::broker::opening(&[READ]);
    open.binding = Some(jeton_proto::v1::open_session_request::Binding::CertificateSha256(
        broker.thumbprint("agent"),
    ));
    let refused = orchestrator.sessions().open_session(open).await.unwrap_err();
    assert_eq!(reason(&refused), "HALTED", "{refused:?}");

    let acknowledge = |who: &str, why: &str| {
        jeton(&broker, who, &["audit", "acknowledge-restore", "--reason", why])
    };
    assert_eq!(acknowledge("audrey", "I looked").status.code(), Some(77), "not an auditor's");
    assert!(!acknowledge("ana", "").status.success(), "a reason is asked for");
    assert!(acknowledge("ana", "the disk broke").status.success());
    let (agent, _) = broker.agent_with(&[READ]).await;
    granted(&agent).await;
    let audrey = broker.client("audrey").await;
    let words: Vec<String> =
        all(&audrey, EntryFilter::default()).await.into_iter().map(|entry| entry.event).collect();
    let found = words.iter().position(|word| word == "restore_found").unwrap();
    let known = words.iter().position(|word| word == "restore_acknowledged").unwrap();
    assert!(found < known, "{words:?}");
    assert!(!acknowledge("ana", "again").status.success(), "nothing waits any more");
    assert_eq!(broker.stop(), Some(0));
    broker.run();
    assert!(
        broker
            .as_("agent")
            .await
            .audit()
            .get_checkpoint(jeton_proto::v1::GetCheckpointRequest {})
            .await
            .is_ok()
    );
    let (agent, _) = broker.agent_with(&[READ]).await;
    granted(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_gone_is_taken_for_a_store_that_was_put_back() {
    let mut broker = Broker::start();
    let copy = broker.data().join("run/checkpoint");
    let copied = async || copy.exists().then_some(());
    within(SOON, "a copy", copied).await;
    let (agent, _) = broker.agent_with(&[READ]).await;
    granted(&agent).await;
    assert_eq!(broker.stop(), Some(0));
    fs::remove_file(&copy).unwrap();
    broker.run();
    let refused = agent_again(&broker, &agent).await.requests(READ).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "its session ended: {refused:?}");
    assert!(broker.log().contains("the copy of the log's checkpoint is gone"), "{}", broker.log());
    let acknowledged =
        jeton(&broker, "ana", &["audit", "acknowledge-restore", "--reason", "I deleted it"]);
    assert!(acknowledged.status.success(), "{}", text(&acknowledged));
    let (agent, _) = broker.agent_with(&[READ]).await;
    granted(&agent).await;
    within(SOON, "a copy again", copied).await;
    assert_eq!(broker.stop(), Some(0));
    broker.run();
    granted(&agent_again(&broker, &agent).await).await;
}

/// The same agent with the same handle, connected anew.
async fn agent_again(broker: &Broker, agent: &Caller) -> Caller {
    let mut again = broker.as_("agent").await;
    again.handle.clone_from(&agent.handle);
    again
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_broker_tells_its_streams_and_an_end_is_told_apart() {
    let mut broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    granted(&agent).await;
    let audrey = broker.client("audrey").await;
    let end = Until::End(Purpose::Export);
    let mut whole = audrey.tail_entries(EntryFilter::default(), 0, end).await.unwrap();
    let mut ends = Vec::new();
    while let Some(batch) = whole.next().await.unwrap() {
        ends.push(batch.at_end);
    }
    assert_eq!(ends, [false, true]);
    let mut open = audrey.tail_entries(EntryFilter::default(), 0, Until::Stopped).await.unwrap();
    assert!(!open.next().await.unwrap().unwrap().entries.is_empty());
    assert_eq!(broker.stop(), Some(0));
    let told = loop {
        match open.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it looks like all there is"),
            Err(error) => break error,
        }
    };
    assert!(told.is_passing(), "{told:?}");

    broker.run();
    let session = agent_again(&broker, &agent).await;
    let verify = TailEntriesRequest { purpose: 2, ..Default::default() };
    let refused = session.audit().tail_entries(verify).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "a part is never verified as the whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_can_not_say_who_they_are_are_in_the_log_with_their_address() {
    let broker = Broker::start();
    let mut nobody = Raw::connect(&broker, None).await.unwrap();
    for _ in 0..25 {
        let bad = [("authorization", "Bearer not-a-token")];
        let path = "/jeton.v1.SessionService/WhoAmI";
        let request = framed(&jeton_proto::v1::WhoAmIRequest {});
        assert_ne!(nobody.call(path, &bad, request).await.unwrap().code, Some(0));
    }
    let audrey = broker.client("audrey").await;
    let filter = EntryFilter { event: Some("sign_in_failed".into()), ..Default::default() };
    let counted = async || {
        let found = all(&audrey, filter.clone()).await;
        (found.len() >= 25).then_some(found)
    };
    let found = within(SOON, "an entry of each", counted).await;
    assert_eq!(found.len(), 25);
    assert_eq!(found[0].line, "127.0.0.1: TOKEN_INVALID");
    let refused = broker.as_("audrey").await;
    let refused = refused
        .audit()
        .acknowledge_restore(AcknowledgeRestoreRequest { reason: "x".into() })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let signed = async || broker.data().join("run/checkpoint").exists().then_some(());
    within(SOON, "a signed checkpoint", signed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_hold_every_entry_go_on_after_a_break_and_are_on_record() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    for _ in 0..600 {
        granted(&agent).await;
    }
    let hostile = agent.requests_with_reason(READ, "=cmd|'/c calc'!A1, \"quoted\"\n").await;
    hostile.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let export = |format: &str, name: &str, more: &[&str]| {
        let out = path(name);
        let words = ["audit", "export", "--format", format, "--out", out.to_str().unwrap()];
        jeton(&broker, "audrey", &[&words[..], more].concat())
    };
    let upto = ["--until", "2100-01-01T00:00:00Z", "--event", "issued"];
    for (format, name) in [("jsonl", "log.jsonl"), ("csv", "log.csv"), ("ocsf", "log.ocsf")] {
        let made = export(format, name, &upto);
        assert!(made.status.success(), "{}", text(&made));
        let whole = fs::read_to_string(path(name)).unwrap();
        let header = usize::from(format == "csv");
        assert_eq!(whole.lines().count(), 601 + header, "{format}");
        let again = export(format, name, &upto);
        assert_eq!(again.status.code(), Some(65), "{}", text(&again));
        // As a break in the middle of a line leaves it.
        let cut = whole.len() / 3;
        fs::write(path(name), &whole[..cut]).unwrap();
        let resumed = export(format, name, &[&upto[..], &["--resume"]].concat());
        assert!(resumed.status.success(), "{}", text(&resumed));
        assert_eq!(fs::read_to_string(path(name)).unwrap(), whole, "{format}");
    }
    let csv = fs::read_to_string(path("log.csv")).unwrap();
    assert!(!csv.lines().any(|line| line.contains(",=") || line.starts_with('=')));
    let event: serde_json::Value =
        serde_json::from_str(fs::read_to_string(path("log.ocsf")).unwrap().lines().next().unwrap())
            .unwrap();
    assert_eq!(
        (event["class_uid"].as_u64(), event["type_uid"].as_u64()),
        (Some(3003), Some(300_301))
    );
    assert_eq!(event["user"]["uid"], AGENT);

    let made = export("parquet", "parts", &upto);
    assert!(made.status.success(), "{}", text(&made));
    let resumed = export("parquet", "parts", &[&upto[..], &["--resume"]].concat());
    assert!(text(&resumed).contains("0 entries"), "{}", text(&resumed));
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let mut rows = 0;
    for part in fs::read_dir(path("parts")).unwrap() {
        let file = fs::File::open(part.unwrap().path()).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        rows += reader.get_row_iter(None).unwrap().filter(Result::is_ok).count();
    }
    assert_eq!(rows, 601);

    let made = export("tiles", "tiles", &[]);
    assert!(made.status.success(), "{}", text(&made));
    let tiles = path("tiles");
    let check =
        || jeton(&broker, "audrey", &["audit", "verify", "--tiles", tiles.to_str().unwrap()]);
    assert!(check().status.success(), "{}", text(&check()));
    for _ in 0..300 {
        granted(&agent).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let grown = export("tiles", "tiles", &["--resume"]);
    assert!(grown.status.success(), "{}", text(&grown));
    assert!(check().status.success(), "{}", text(&check()));
    let bundle = tiles.join("tile/entries/001");
    let mut bytes = fs::read(&bundle).unwrap();
    let at = bytes.windows(13).position(|some| some == b"contents:read").unwrap();
    bytes[at] = b'k';
    fs::write(&bundle, bytes).unwrap();
    assert_eq!(check().status.code(), Some(74), "{}", text(&check()));
    assert!(
        text(&check()).contains("entry 256: it is not the entry that was written"),
        "{}",
        text(&check())
    );

    let audrey = broker.client("audrey").await;
    let read = EntryFilter { event: Some("log_read".into()), ..Default::default() };
    let lines: Vec<String> = all(&audrey, read).await.into_iter().map(|entry| entry.line).collect();
    let exports = lines.iter().filter(|line| line.contains("export from")).count();
    assert_eq!(exports, 10, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("event=issued")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_entries_leave_the_store_and_everything_still_holds() {
    const COUNT: u64 = 10_000;
    let mut written = Vec::new();
    let mut broker = Broker::start_with(|data| {
        jeton_tests::generate::store(&data.join("jeton.db"), 3, COUNT, |entry| {
            written.push(entry.text().unwrap());
        });
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let kept = "[audit]\nkeep_days = 100\narchive = \"old\"";
        fs::write(&file, text.replace("[audit]", kept)).unwrap();
    });
    let audrey = broker.client("audrey").await;
    let store = broker.data().join("jeton.db");
    let moved = async || {
        let db = Connection::open(&store).unwrap();
        let first = db.query_row("SELECT MIN(place) FROM entry", [], |row| row.get::<_, i64>(0));
        (first.ok()?.unsigned_abs() == COUNT / 256 * 256).then_some(())
    };
    within(SOON, "all whole bundles are moved", moved).await;
    let mut seen = Vec::new();
    let mut stream =
        audrey.tail_entries(EntryFilter::default(), 0, Until::End(Purpose::Look)).await.unwrap();
    while let Some(batch) = stream.next().await.unwrap() {
        seen.extend(batch.entries.into_iter().map(|entry| entry.text));
    }
    assert_eq!(seen[..written.len()], written, "a tail reads across the border");
    let entry: serde_json::Value = serde_json::from_str(&written[700]).unwrap();
    let session = entry["event"]["session"].as_str().unwrap();
    let own = EntryFilter { session: Some(session.to_owned()), ..Default::default() };
    let found: Vec<String> = all(&audrey, own).await.into_iter().map(|entry| entry.text).collect();
    let wanted: Vec<&String> = written.iter().filter(|text| text.contains(session)).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "searches do too");
    assert_eq!(audrey.receipt(700).await.unwrap().entry.text, written[700]);
    assert!(seen.iter().any(|text| text.contains("\"entries_moved\"")), "it is on record");

    let old = broker.data().join("old");
    let kept = broker.data().join("kept");
    let keep = ["audit", "checkpoint", "--out", kept.to_str().unwrap()];
    assert!(jeton(&broker, "audrey", &keep).status.success());
    let with = ["--tiles", old.to_str().unwrap(), "--checkpoint", kept.to_str().unwrap()];
    for (more, hashes) in [(&with[..], "\"by_hash_only\": 0"), (&[], "\"by_hash_only\": 9984")] {
        let good = verified(&broker, more);
        assert!(good.status.success() && text(&good).contains(hashes), "{}", text(&good));
    }
    assert_eq!(broker.stop(), Some(0));
    broker.run();
    let audrey = broker.client("audrey").await;
    assert_eq!(audrey.receipt(5).await.unwrap().entry.text, written[5]);
    assert_eq!(broker.stop(), Some(0));

    let bundle = old.join("tile/entries/002");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[40] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let bad = verified(&broker, &with);
    assert_eq!(bad.status.code(), Some(74), "{}", text(&bad));
    assert!(text(&bad).contains("entry 512:"), "{}", text(&bad));
    assert!(verified(&broker, &[]).status.success(), "by hash the rest still holds");

    let file = broker.data().join("jetond.toml");
    let config =
        fs::read_to_string(&file).unwrap().replace("keep_days = 100\narchive = \"old\"", "");
    fs::write(&file, config).unwrap();
    let start =
        Command::new(program("jetond")).args(["serve", "--config"]).arg(&file).output().unwrap();
    assert_eq!(start.status.code(), Some(64));
    assert!(
        text(&start).contains("name the folder where they are with `archive`"),
        "{}",
        text(&start)
    );

    let db = Connection::open(&store).unwrap();
    db.execute_batch("DELETE FROM entry WHERE place < 10000").unwrap();
    drop(db);
    let bad = verified(&broker, &[]);
    assert_eq!(bad.status.code(), Some(74), "{}", text(&bad));
}
