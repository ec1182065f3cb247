//! What a caller can make the broker keep: entries and log lines of what is denied to it, and the
//! sessions that it opens.

use std::fs;

use jeton_client::{Client, EntryFilter, PageOf};
use jeton_domain::{
    accountable::AccountableSubject,
    audit::{DenialKind, Entry, Event},
};
use jeton_proto::v1::{CloseSessionRequest, WhoAmIRequest, open_session_request::Binding};
use jeton_tests::{
    broker::{Broker, Caller, opening, scope},
    raw::{Raw, framed},
};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const READ: &str = "git:acme/api contents:read";
const WHO_AM_I: &str = "/jeton.v1.SessionService/WhoAmI";
/// Denials of one subject in a minute that are written whole.
const WHOLE: usize = 60;
/// Sessions that one of eight lanes opens, if nothing denies them: more than the bound in all.
const MOST_OF_LANE: usize = 400;
/// What a flood consists of.
const FLOOD: usize = 1_000;
/// Resources that it tries.
const RESOURCES: usize = 12;
/// The longest that the flood may take in windows of a minute: each has its own sixty entries.
const WINDOWS: usize = 5;

async fn entries(broker: &Broker, event: &str) -> Vec<Entry> {
    let client: Client = broker.client("audrey").await;
    let filter = EntryFilter { event: Some(event.to_owned()), ..EntryFilter::default() };
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let page = PageOf { size: 500, token };
        let page = client.list_entries(filter.clone(), true, page).await.unwrap();
        let parsed = page.items.iter().map(|info| Entry::parse(info.text.as_bytes()).unwrap());
        found.extend(parsed);
        token = page.next;
        if token.is_none() {
            return found;
        }
    }
}

/// Counts of one kind in the summaries, with the subjects that they name.
async fn summarized(broker: &Broker, kind: DenialKind) -> Vec<(Option<AccountableSubject>, u64)> {
    let all = entries(broker, "denials_summarized").await;
    let of = |entry: Entry| {
        let Event::DenialsSummarized { subject, counts, resources, .. } = entry.event else {
            panic!("{entry:?}")
        };
        let counts = counts.into_iter().filter(|one| one.event == kind);
        let count = counts.map(|one| one.count).sum();
        assert!(resources <= u64::try_from(RESOURCES).unwrap());
        (subject, count)
    };
    all.into_iter().map(of).filter(|(_, count)| *count > 0).collect()
}

/// What the log has of a broker that was stopped in good order.
async fn after_a_stop(broker: &mut Broker) {
    assert_eq!(broker.stop(), Some(0));
    broker.run();
}

/// A broker that lets another caller open sessions, beside the orchestrator.
fn start() -> Broker {
    Broker::start_with(|data| {
        let path = data.join("policies/catalogue.toml");
        let bo = "spiffe://dev.jeton.local/person/bo";
        let more = format!("\n[[agent]]\nmatch = \"{bo}\"\nteams = [\"orchestrators\"]\n");
        fs::write(&path, fs::read_to_string(&path).unwrap() + &more).unwrap();
    })
}

/// A session of the example's agent that somebody opened.
async fn agent_of(broker: &Broker, opener: &str) -> Caller {
    let mut request = opening(&[READ]);
    request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let opened = broker.as_(opener).await.sessions().open_session(request).await.unwrap();
    let mut agent = broker.as_("agent").await;
    agent.handle = Some(opened.into_inner().handle);
    agent
}

fn same(one: &Status, other: &Status) -> bool {
    let told = |status: &Status| {
        let info = status.get_error_details().error_info().cloned();
        (status.code(), status.message().to_owned(), info.map(|info| (info.reason, info.metadata)))
    };
    told(one) == told(other)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_denied_without_end_fills_no_log_and_hides_nobody() {
    let mut broker = start();
    let (mallory, session) = broker.agent_with(&[READ]).await;
    let victim = agent_of(&broker, "bo").await;
    let what =
        |place: usize| format!("git:acme/repo-{} contents:write ref=agent/x", place % RESOURCES);
    let first = mallory.requests(&what(0)).await.unwrap_err();
    assert_eq!(first.code(), Code::PermissionDenied, "{first:?}");
    let mut calls = JoinSet::new();
    for lane in 0..8 {
        let mallory = mallory.clone();
        calls.spawn(async move {
            for place in (lane..FLOOD).step_by(8) {
                mallory.requests(&what(place)).await.unwrap_err();
            }
        });
    }
    calls.join_all().await;
    for _ in 0..20 {
        victim.requests(&what(0)).await.unwrap_err();
    }
    let last = mallory.requests(&what(0)).await.unwrap_err();
    assert!(same(&first, &last), "counted or written, the answer is one: {first:?} {last:?}");
    let metrics = reqwest::get(format!("{}/metrics", broker.env("JETON_ADMIN"))).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    after_a_stop(&mut broker).await;

    let denied = entries(&broker, "denied").await;
    let own = |entry: &&Entry| entry.event.facts().session.unwrap().to_string() == session.id;
    let whole = denied.iter().filter(own).count();
    assert!((WHOLE..=WHOLE * WINDOWS).contains(&whole), "{whole} of {FLOOD} written whole");
    assert_eq!(denied.len() - whole, 20, "the victim's are whole");
    let summaries = summarized(&broker, DenialKind::Denied).await;
    let bytes = |entry: &Entry| entry.text().unwrap().len();
    let written: usize = denied.iter().filter(own).map(bytes).sum();
    let counted = entries(&broker, "denials_summarized").await;
    let counts: usize = counted.iter().map(bytes).sum();
    println!("{FLOOD} denials: {whole} entries of {written} bytes, {counts} bytes of summaries");
    assert!(summaries.len() <= WINDOWS, "{summaries:?}");
    let orchestrator = "spiffe://dev.jeton.local/orchestrator";
    for (subject, _) in &summaries {
        let id = subject.as_ref().and_then(AccountableSubject::principal).unwrap();
        assert_eq!(id.as_str(), orchestrator, "the creator of the session answers for it");
    }
    let counted: u64 = summaries.iter().map(|(_, count)| count).sum();
    assert_eq!(usize::try_from(counted).unwrap() + whole, FLOOD + 2, "none is lost");
    assert!(
        metrics.contains(&format!("jeton_decisions_total{{outcome=\"deny\"}} {}", FLOOD + 22)),
        "metrics count all: {metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_without_an_identity_fill_neither_the_log_nor_standard_error() {
    let mut broker = Broker::start();
    let before = broker.log().len();
    let mut nobody = Raw::connect(&broker, None).await.unwrap();
    for _ in 0..FLOOD {
        let bad = [("authorization", "Bearer not-a-token")];
        let answer = nobody.call(WHO_AM_I, &bad, framed(&WhoAmIRequest {})).await.unwrap();
        assert_eq!(answer.code, Some(i32::from(Code::Unauthenticated)), "{answer:?}");
    }
    // Known, but with a session token that opens nothing.
    let mut agent = broker.as_("agent").await;
    agent.handle = Some("jeton_s_nothing".to_owned());
    for _ in 0..WHOLE + 10 {
        let refused = agent.requests(READ).await.unwrap_err();
        let reason = refused.get_error_details().error_info().unwrap().reason.clone();
        assert_eq!(reason, "BAD_SESSION_HANDLE");
    }
    after_a_stop(&mut broker).await;

    let log = broker.log();
    let lines = log.lines().filter(|line| line.contains("could not prove who it is")).count();
    assert!(lines <= 2 * 10 * WINDOWS, "{lines} lines for {FLOOD} calls");
    assert!(log.len() - before < 64 * 1024, "{} bytes of log lines", log.len() - before);
    assert!(log.contains("similar lines suppressed"), "{log}");

    let failed = entries(&broker, "sign_in_failed").await;
    let of = |known: bool| {
        let mine = failed.iter().filter(move |entry| match &entry.event {
            Event::SignInFailed { subject, count: 1, .. } => {
                subject.as_ref().is_some_and(|subject| subject.is_authenticated() == known)
            }
            other => panic!("{other:?}"),
        });
        mine.count()
    };
    let summaries = summarized(&broker, DenialKind::SignInFailed).await;
    assert!(summaries.len() <= 2 * WINDOWS, "{summaries:?}");
    for (known, sent) in [(false, FLOOD), (true, WHOLE + 10)] {
        let whole = of(known);
        assert!((WHOLE..=WHOLE * WINDOWS).contains(&whole), "{whole} of {sent} written whole");
        let counted = summaries.iter().filter(|(subject, _)| {
            subject.as_ref().is_some_and(|subject| subject.is_authenticated() == known)
        });
        let counted: u64 = counted.map(|(_, count)| count).sum();
        assert_eq!(usize::try_from(counted).unwrap() + whole, sent, "none is lost");
    }
}

/// Bytes of memory of a process that no file stands behind.
fn memory(broker: &Broker) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// An envelope of the largest request: short names cost the most beside their text.
fn large_envelope() -> Vec<String> {
    let actions = |line: usize| {
        let one = |place: usize| format!("a{line:02}{place:02}:r");
        (0..32).map(one).collect::<Vec<_>>().join(",")
    };
    (0..64).map(|line| format!("git:acme/r{line} {}", actions(line))).collect()
}

async fn open(caller: &Caller, envelope: &[String], binding: &Binding) -> Result<String, Status> {
    let lines: Vec<_> = envelope.iter().map(String::as_str).collect();
    let mut request = opening(&lines);
    request.binding = Some(binding.clone());
    let opened = caller.sessions().open_session(request).await?.into_inner();
    Ok(opened.session.unwrap().id)
}

/// Bytes that the open sessions take in the store.
fn stored(broker: &Broker) -> u64 {
    let db = rusqlite::Connection::open_with_flags(
        broker.data().join("jeton.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    );
    let sql = "SELECT SUM(length(envelope) + length(agent) + length(opener) + length(task) + 200)
        FROM session WHERE phase = 0";
    let bytes: i64 = db.unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    u64::try_from(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn open_sessions_cost_little_memory_and_have_a_bound_for_each_creator() {
    let broker = start();
    let binding = Binding::CertificateSha256(broker.thumbprint("agent"));
    let orchestrator = broker.as_("orchestrator").await;
    let large = large_envelope();
    assert!(large.iter().all(|line| scope(line).actions.len() == 32));
    for _ in 0..100 {
        open(&orchestrator, &large, &binding).await.unwrap();
    }
    let before = (memory(&broker), stored(&broker));
    let mut lanes = JoinSet::new();
    for _ in 0..8 {
        let (orchestrator, large, binding) = (orchestrator.clone(), large.clone(), binding.clone());
        lanes.spawn(async move {
            let mut opened = Vec::new();
            while opened.len() < MOST_OF_LANE {
                match open(&orchestrator, &large, &binding).await {
                    Ok(id) => opened.push(id),
                    Err(status) => return (opened, Some(status)),
                }
            }
            (opened, None)
        });
    }
    let (opened, denied): (Vec<_>, Vec<_>) = lanes.join_all().await.into_iter().unzip();
    let (mut opened, denied) = (opened.concat(), denied.into_iter().flatten().next());
    let grown = memory(&broker).saturating_sub(before.0);
    let stored = stored(&broker) - before.1;
    let per_session = grown / u64::try_from(opened.len()).unwrap();
    println!(
        "{} sessions: {stored} bytes stored, {grown} of memory, {per_session} each",
        opened.len()
    );
    assert!(grown <= 3 * stored, "{grown} bytes of memory for {stored} stored");

    let denied = denied.expect("one creator opens so many sessions and no more");
    assert_eq!(denied.code(), Code::ResourceExhausted, "{denied:?}");
    let details = denied.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "SESSION_LIMIT_REACHED");
    assert!(denied.message().contains("67108864 bytes"), "names the bound: {denied:?}");
    assert!(denied.message().contains("close"), "and what to do: {denied:?}");
    // Somebody else opens one of the same size, and so does the creator after it closed some.
    open(&broker.as_("bo").await, &large, &binding).await.unwrap();
    for id in opened.drain(..2) {
        let close = CloseSessionRequest { id, reason: "done".into() };
        orchestrator.sessions().close_session(close).await.unwrap();
    }
    open(&orchestrator, &large, &binding).await.unwrap();
}
