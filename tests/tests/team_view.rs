//! People read what the log tells about the resources that their teams own, by each way to read it, and
//! nothing else.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use jeton_client::{Client, EntryFilter, EntryInfo, PageOf, Purpose, Until};
use jeton_domain::audit::Entry;
use jeton_proto::v1::{
    EntryFilter as WireFilter, GetReceiptRequest, ListEntriesRequest, Page, TailEntriesRequest,
    get_receipt_request::Of,
};
use jeton_tests::{
    broker::{AGENT, Broker, Caller, program},
    eventually::within,
};
use tonic::Code;

const OWN: &str = "git:acme/api contents:read";
const FOREIGN: &str = "git:acme/other contents:read";
const PLACES: [&str; 2] = ["git:acme/api", "orders:acme/other"];
const SOON: Duration = Duration::from_secs(10);

/// Gives resources to bo's team; the agent is listed as one of it too.
fn own(data: &Path, places: &[&str]) {
    let file = data.join("policies/catalogue.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.split("# bo's\n").next().unwrap();
    let mut owned = String::from("# bo's\n[[team]]\nname = \"api\"\n");
    for who in ["spiffe://dev.jeton.local/person/bo", AGENT] {
        owned += &format!("[[person]]\nid = \"{who}\"\nteams = [\"api\"]\n");
    }
    for (upstream, name) in places.iter().map(|place| place.split_once(':').unwrap()) {
        owned += &format!(
            "[[resource]]\nupstream = \"{upstream}\"\nname = \"{name}\"\nowner = \"api\"\n"
        );
    }
    fs::write(&file, format!("{text}{owned}")).unwrap();
}

async fn granted(agent: &Caller, scope: &str) -> String {
    agent.requests(scope).await.unwrap().grant.unwrap().id
}

async fn all(client: &Client, filter: EntryFilter) -> Vec<EntryInfo> {
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let page = client.list_entries(filter.clone(), true, PageOf { size: 2, token }).await;
        let page = page.unwrap();
        found.extend(page.items);
        token = page.next;
        if token.is_none() {
            return found;
        }
    }
}

/// Indexes of the entries about these places, found by reading the whole log.
async fn about(broker: &Broker, places: &[&str]) -> Vec<u64> {
    let entries = all(&broker.client("audrey").await, EntryFilter::default()).await;
    let entries = entries.iter().map(|entry| Entry::parse(entry.text.as_bytes()).unwrap());
    let own = entries.filter(|entry| {
        let place = |scope: &jeton_client::Scope| format!("{}:{}", scope.upstream, scope.resource);
        entry.event.facts().scope.is_some_and(|scope| places.contains(&place(scope).as_str()))
    });
    own.map(|entry| entry.index).collect()
}

fn indexes(entries: &[EntryInfo]) -> Vec<u64> {
    entries.iter().map(|entry| entry.index).collect()
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

fn text(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A log with entries about what bo's team owns, and about what only looks like it.
async fn scene() -> (Broker, Caller, [String; 2]) {
    let broker = Broker::start_with(|data| own(data, &PLACES));
    let envelope = ["git:** contents:read", "orders:** orders:read"];
    let (agent, _) = broker.agent_with(&envelope).await;
    let grants = [granted(&agent, OWN).await, granted(&agent, FOREIGN).await];
    // The upstream of one owned resource, and the name of the other.
    granted(&agent, "orders:acme/api orders:read").await;
    granted(&agent, "orders:acme/other orders:read").await;
    let refused = agent.requests("git:elsewhere/api contents:read").await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let release = jeton_proto::v1::ReleaseGrantRequest { id: grants[0].clone() };
    agent.grants().release_grant(release).await.unwrap();
    (broker, agent, grants)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_team_read_what_it_owns_by_every_way_and_nothing_else() {
    let (broker, agent, [grant, foreign]) = scene().await;
    let own = about(&broker, &PLACES).await;
    assert_eq!(own.len(), 3, "issued, issued, released");
    let bo = broker.client("bo").await;

    let listed = all(&bo, EntryFilter::default()).await;
    assert_eq!(indexes(&listed), own);
    let page = bo.list_entries(EntryFilter::default(), false, PageOf::default()).await.unwrap();
    assert_eq!(
        page.part.as_deref(),
        Some("the entries about what your teams own: git:acme/api, orders:acme/other")
    );
    assert_eq!(indexes(&page.items), own.iter().rev().copied().collect::<Vec<_>>());

    let until = Until::End(Purpose::Export);
    let mut tail = bo.tail_entries(EntryFilter::default(), 0, until).await.unwrap();
    let mut tailed = Vec::new();
    while let Some(batch) = tail.next().await.unwrap() {
        tailed.extend(indexes(&batch.entries));
    }
    assert_eq!(tailed, own);

    let counted = async |by| {
        let found = bo.summarise(EntryFilter::default(), by, None).await.unwrap();
        let mut counts: Vec<_> = found.parts.into_iter().flat_map(|part| part.counts).collect();
        counts.sort();
        counts
    };
    let one = |name: &str, count| (name.to_owned(), count);
    assert_eq!(counted("event").await, [one("issued", 2), one("released", 1)]);
    assert_eq!(counted("resource").await, [one("acme/api", 2), one("acme/other", 1)]);
    assert_eq!(counted("upstream").await, [one("git", 2), one("orders", 1)]);

    // Each index is answered as one that never was, unless it is of the team's.
    let service = broker.as_("bo").await;
    let receipt = async |of| service.audit().get_receipt(GetReceiptRequest { of: Some(of) }).await;
    let absent = receipt(Of::Index(1 << 50)).await.unwrap_err();
    let answer = |error: &tonic::Status| (error.code(), error.message().to_owned());
    let size = broker.client("audrey").await.checkpoint().await.unwrap();
    for index in 0..size.checkpoint.checkpoint().size {
        match receipt(Of::Index(index)).await {
            Ok(_) => assert!(own.contains(&index), "{index}"),
            Err(error) => {
                assert!(!own.contains(&index), "{index}: {error}");
                assert_eq!(answer(&error), answer(&absent), "{index}");
            }
        }
    }
    assert!(receipt(Of::Grant(grant.clone())).await.is_ok());
    let error = receipt(Of::Grant(foreign.clone())).await.unwrap_err();
    let nobodys = receipt(Of::Grant(format!("{}0", &foreign[..foreign.len() - 1]))).await;
    assert_eq!(answer(&error), answer(&absent));
    assert_eq!(answer(&nobodys.unwrap_err()), answer(&absent));

    let filter = EntryFilter { grant: Some(foreign.clone()), ..Default::default() };
    assert!(all(&bo, filter).await.is_empty());
    let filter = EntryFilter { resource: Some("acme/oth*".into()), ..Default::default() };
    assert_eq!(all(&bo, filter.clone()).await.len(), 1);
    let found = bo.summarise(filter, "event", None).await.unwrap();
    assert_eq!(found.parts[0].counts, [one("issued", 1)]);
    let verify = bo.tail_entries(EntryFilter::default(), 0, Until::End(Purpose::Verify)).await;
    assert!(verify.map(drop).unwrap_err().to_string().contains("the role auditor"));
    let url = format!("{}/log/tile/entries/000.p/1", broker.env("JETON_ENDPOINT"));
    assert_eq!(broker.http(Some("bo")).get(url).send().await.unwrap().status(), 403);

    // A session sees its own, whatever teams its principal is of.
    let seen = agent.audit().list_entries(ListEntriesRequest::default()).await.unwrap();
    assert_eq!(seen.into_inner().entries.len(), 7, "opened, 4 issued, denied, released");
    let (other, _) = broker.agent_with(&[FOREIGN]).await;
    let seen = other.audit().list_entries(ListEntriesRequest::default()).await.unwrap();
    assert_eq!(seen.into_inner().entries.len(), 1, "session_opened");
    for who in ["agent-2", "orchestrator", "git-host"] {
        let nobody = broker.as_(who).await;
        let list = nobody.audit().list_entries(ListEntriesRequest::default()).await;
        let error = list.unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied, "{who}");
        assert!(error.message().ends_with("or a team that owns resources of the catalogue"));
    }
    let read = EntryFilter { event: Some("log_read".into()), ..Default::default() };
    let read = all(&broker.client("audrey").await, read).await;
    let by_bo = |entry: &&EntryInfo| entry.line.contains("person/bo: list within=2-owned");
    assert!(read.iter().any(|entry| by_bo(&entry)), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_that_it_shows_a_part() {
    let (broker, _, [grant, foreign]) = scene().await;
    let note = "jeton: this is a part of the log: the entries about what your teams own: git:acme/api, orders:acme/other\n";
    let out = broker.data().join("out.jsonl");
    let out = out.to_str().unwrap();
    for words in [
        &["audit", "list"][..],
        &["audit", "tail", "--from", "0", "--no-follow"],
        &["audit", "summary"],
        &["audit", "show", &grant],
        &["audit", "export", "--format", "jsonl", "--out", out],
    ] {
        let (told, noted) = text(&jeton(&broker, "bo", words));
        assert_eq!(noted, note, "{words:?}: {told}");
        assert!(!told.contains("elsewhere") && !told.contains(&foreign), "{words:?}: {told}");
        let (_, noted) = text(&jeton(&broker, "audrey", &["audit", "list"]));
        assert_eq!(noted, "", "an auditor sees all");
    }
    let exported = fs::read_to_string(out).unwrap();
    assert_eq!(exported.lines().count(), 3, "{exported}");
    let (story, _) = text(&jeton(&broker, "bo", &["audit", "show", &grant]));
    assert!(story.contains("issued") && story.contains("released"), "{story}");
    let (_, refused) = text(&jeton(&broker, "bo", &["audit", "show", &foreign]));
    assert!(refused.contains(&format!("the log has no entry of `{foreign}` for you")), "{refused}");
    let (listed, _) = text(&jeton(&broker, "bo", &["--json", "audit", "list"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert!(listed["part"].as_str().unwrap().starts_with("the entries about"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_that_other_policies_take_away_takes_the_view_away_on_open_tails_too() {
    let (broker, agent, _) = scene().await;
    let (bo, ana) = (broker.client("bo").await, broker.client("ana").await);
    let raw = broker.as_("bo").await;
    let page = |token: String| ListEntriesRequest {
        page: Some(Page { size: 1, token }),
        ..Default::default()
    };
    let token = raw.audit().list_entries(page(String::new())).await.unwrap().into_inner();
    let token = token.next_page_token;
    assert!(!token.is_empty());

    // One of two is taken: the tail ends, and goes on with what is left.
    let mut tail = bo.tail_entries(EntryFilter::default(), 0, Until::Stopped).await.unwrap();
    assert_eq!(tail.next().await.unwrap().unwrap().entries.len(), 3);
    own(broker.data(), &PLACES[1..]);
    assert!(ana.reload_policies().await.unwrap().changed);
    let id = granted(&agent, OWN).await;
    let mut late = Vec::new();
    let ended = async {
        while let Some(batch) = tail.next().await.unwrap() {
            late.extend(batch.entries);
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("it ends by itself");
    assert!(late.iter().all(|entry| !entry.text.contains(&id)), "{late:?}");
    assert_eq!(
        indexes(&all(&bo, EntryFilter::default()).await),
        about(&broker, &PLACES[1..]).await
    );
    let stale = raw.audit().list_entries(page(token)).await.unwrap_err();
    assert_eq!(stale.code(), Code::InvalidArgument, "{stale}");

    // All is taken: the tail is refused, and so is whatever else.
    let mut tail = bo.tail_entries(EntryFilter::default(), 0, Until::Stopped).await.unwrap();
    assert_eq!(tail.next().await.unwrap().unwrap().entries.len(), 1);
    own(broker.data(), &[]);
    assert!(ana.reload_policies().await.unwrap().changed);
    granted(&agent, "orders:acme/other orders:read").await;
    let refused = async {
        loop {
            match tail.next().await {
                Ok(Some(batch)) => assert!(batch.entries.is_empty(), "{batch:?}"),
                Ok(None) => panic!("it ends without a word"),
                Err(error) => break error,
            }
        }
    };
    let refused = tokio::time::timeout(SOON, refused).await.expect("it ends by itself");
    assert!(refused.to_string().contains("a team that owns resources"), "{refused}");
    for refused in [
        raw.audit().list_entries(ListEntriesRequest::default()).await.unwrap_err(),
        raw.audit().tail_entries(TailEntriesRequest::default()).await.unwrap_err(),
        raw.audit().get_receipt(GetReceiptRequest { of: Some(Of::Index(0)) }).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::PermissionDenied);
    }

    // Given back, it is seen again.
    own(broker.data(), &PLACES);
    assert!(ana.reload_policies().await.unwrap().changed);
    let filter = WireFilter { event: "issued".into(), ..Default::default() };
    let issued = ListEntriesRequest { filter: Some(filter), ..Default::default() };
    let again = async || {
        let seen = raw.audit().list_entries(issued.clone()).await.unwrap().into_inner();
        (seen.entries.len() == 4).then_some(())
    };
    within(SOON, "what was granted meanwhile", again).await;
}
