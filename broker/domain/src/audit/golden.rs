//! Every event as it is written: changing one of these lines changes what is hashed.

use super::{About, DenialCount, DenialKind, ENTRY_VERSION, Entry, Event, Subject};
use crate::{
    accountable::AccountableSubject,
    approval::{Breadth, GlassName, GroupName, Guard, RequestHash},
    decision::{Delivery, Layer, PolicyId},
    deed::{Change, Moved},
    delegation::{Chain, Link},
    grant::DecidedBy,
    id::{GrantId, RequestId, Row, SessionId, Tag},
    merkle::leaf_hash,
    principal::{AuthMethod, Issuer, PrincipalId},
    review::Verdict,
    revocation::{Matching, UpstreamRevocation},
    scope::{Scope, ScopeBound},
    secret::hex,
    session::{Envelope, Words},
    ttl::{Timestamp, Ttl},
};

/// Entry and leaf hash of each event, a line each.
const GOLDEN: &str = include_str!("golden.txt");

/// Every event, in the order of [`Event::WORDS`].
fn events(chain: &Chain, issuers: &[Issuer]) -> Vec<Event> {
    let session = SessionId::new(Row::new(2).unwrap(), Tag([2; 10]));
    let grant = GrantId::new(Row::new(3).unwrap(), Tag([1; 10]));
    let name = |text: &str| PrincipalId::parse(text).unwrap();
    let agent = name("spiffe://acme.dev/agent/build-42");
    let person = Some(name("ana@acme.dev"));
    let operator = name("oz@acme.dev");
    let scope = Scope::parse("github:acme/api contents:write ref=agent/*").unwrap();
    let until = Timestamp::from_millis(1_700_000_600_000);
    let words = |text: &str| Words::new(text);
    let decided_by = || DecidedBy {
        policies: vec![PolicyId::new("builders-write")],
        policy_hash: "ab607d02b1e4faed8ad04b9c60be8c7d".into(),
        approvals: vec![],
    };
    let of = || Subject {
        grant,
        session,
        agent: agent.clone(),
        person: person.clone(),
        chain: chain.clone(),
        scope: scope.clone(),
    };
    let about = || About {
        grant,
        session,
        agent: agent.clone(),
        person: person.clone(),
        chain: chain.clone(),
        scope: scope.clone(),
        delivery: Delivery::Direct,
        request_id: Some(RequestId::parse("once").unwrap()),
        decided_by: decided_by(),
    };
    let fingerprint = "cd".repeat(32);
    let upstream = UpstreamRevocation::Pending { until };
    vec![
        Event::Started {
            version: "0.1.0".into(),
            policy_hash: "ab".into(),
            configuration: "cd".into(),
        },
        Event::PolicyLoaded { policy_hash: "ab".into(), refused: Some(words("line 3")) },
        Event::CertificatesLoaded { refused: None },
        Event::SignInFailed { reason: words("TOKEN_EXPIRED"), count: 25, subject: None },
        Event::LogRead { by: operator.clone(), query: words("list event=revoked") },
        Event::RestoreFound { signed: 900, found: 700 },
        Event::RestoreAcknowledged { by: operator.clone(), reason: words("the disk broke") },
        Event::EntriesMoved { first: 0, until: 4096, to: words("/var/lib/jeton/old") },
        Event::KeyRotated { kid: "k2".into() },
        Event::SessionOpened {
            session,
            agent: agent.clone(),
            person: person.clone(),
            chain: chain.clone(),
            opener: name("spiffe://acme.dev/orchestrator"),
            method: AuthMethod::Mtls,
            issuers: issuers.to_vec(),
            task: words("fix \"the\" build\u{e9}"),
            envelope: Envelope::new(
                vec![ScopeBound::parse("github:acme/* contents:write ref=agent/*").unwrap()],
                10,
                900,
            )
            .unwrap(),
            binding: "certificate".into(),
            until,
            decided_by: decided_by(),
        },
        Event::SessionRefused {
            agent: agent.clone(),
            chain: chain.clone(),
            opener: operator.clone(),
            reason: words("no policy allows it"),
            decided_by: decided_by(),
        },
        Event::SessionClosed {
            session,
            agent: agent.clone(),
            person: None,
            chain: chain.clone(),
            by: None,
            reason: words("its deadline passed"),
        },
        Event::Denied {
            session,
            agent: agent.clone(),
            person: person.clone(),
            chain: chain.clone(),
            scope: scope.clone(),
            delivery: Delivery::Direct,
            layer: Layer::Policy,
            reason: words("main is not the agent's"),
            decided_by: decided_by(),
        },
        Event::Pending {
            about: about(),
            guards: vec![Guard {
                policy: PolicyId::new("prod-needs-security"),
                groups: vec![crate::approval::GroupName::new("security")],
                reason: words("tier prod"),
            }],
            until,
        },
        Event::Intent { about: about(), ttl: Ttl::from_seconds(600).unwrap() },
        Event::Issued { about: about(), fingerprint: fingerprint.clone(), until },
        Event::Renewed { about: about(), fingerprint, until },
        Event::MintFailed { of: of(), reason: words("502"), upstream },
        Event::Released { of: of(), upstream },
        Event::Expired { of: of(), upstream: UpstreamRevocation::NotNeeded },
        Event::Lapsed { of: of() },
        Event::Revoked { of: of(), by: operator.clone(), reason: words("seen enough"), upstream },
        Event::RevocationAsked {
            matching: Matching::All,
            by: operator.clone(),
            reason: words("stop everything"),
            stop: !chain.is_empty(),
        },
        Event::UpstreamFailed { of: of(), attempts: 3, again: until },
        Event::UpstreamAnswered { of: of(), upstream: UpstreamRevocation::Confirmed { at: until } },
        Event::StopLifted {
            matching: Matching::All,
            by: operator.clone(),
            reason: words("it is over"),
        },
        Event::ReDecided {
            by: operator.clone(),
            policy_hash: "ab".into(),
            looked_at: 12,
            refused: 2,
            revoked: 2,
        },
        Event::DriftFound { of: of(), found: words("the upstream no longer takes it") },
        Event::Approved {
            of: of(),
            by: operator.clone(),
            groups: vec![GroupName::new("security")],
            guards: vec![PolicyId::new("prod-writes-need-security")],
            request_hash: RequestHash::new("ef01"),
            policy_hash: "ab".into(),
            reaches: Breadth::Session {
                within: ScopeBound::parse("github:acme/pay contents:write ref=agent/*").unwrap(),
                grants: 3,
                ttl: Ttl::from_seconds(600).unwrap(),
                until,
            },
            reason: words("the fix is reviewed"),
        },
        Event::ApprovalWithdrawn { of: of(), by: operator.clone(), approval: 12 },
        Event::Rejected { of: of(), by: operator.clone(), reason: words("not on a Friday") },
        Event::Commented { of: of(), by: operator.clone(), words: words("which ticket?") },
        Event::PolicyRolledBack {
            by: operator.clone(),
            reason: words("it was too narrow"),
            policy_hash: "ab".into(),
            instead_of: "cd".into(),
        },
        Event::GlassBroken {
            of: of(),
            by: operator.clone(),
            groups: vec![GroupName::new("security")],
            guards: vec![PolicyId::new("prod-writes-need-security")],
            request_hash: RequestHash::new("ef01"),
            policy_hash: "ab".into(),
            reaches: Breadth::Emergency {
                glass: GlassName::new("night"),
                within: ScopeBound::parse("github:acme/pay contents:write ref=agent/*").unwrap(),
                grants: 3,
                until,
            },
            reason: words("nothing can be paid"),
        },
        Event::GlassReviewed {
            entry: 61,
            glass: GlassName::new("night"),
            broken_by: operator,
            by: name("bo@acme.dev"),
            justified: true,
            words: words("the outage of the night"),
        },
        Event::ReviewAsked {
            of: of(),
            by: name("reviewer:diff-bot"),
            request_hash: RequestHash::new("ef01"),
            inputs: "ab".repeat(32),
        },
        Event::ReviewAnswered {
            of: of(),
            by: name("reviewer:diff-bot"),
            verdict: Verdict::Escalate,
            reason: words("it touches the ledger"),
            request_hash: RequestHash::new("ef01"),
            inputs: Some("ab".repeat(32)),
            answer: (!chain.is_empty()).then(|| "cd".repeat(32)),
            cause: chain.is_empty().then(|| words("it gave no answer in 10 s")),
        },
        Event::PolicyProposed {
            by: name("oz@acme.dev"),
            reason: words("it was too narrow"),
            policy_hash: "ab".into(),
        },
        Event::Pushed {
            of: of(),
            refs: vec![Moved {
                name: "refs/heads/agent/fix-1".into(),
                old: "0".repeat(40),
                new: "1".repeat(40),
                change: Change::Create,
            }],
            objects: 3,
            bytes: 250,
        },
        Event::Used {
            of: of(),
            request: words("POST git-receive-pack"),
            status: 200,
            sent: 420,
            received: 80,
            millis: 35,
            cut: (!chain.is_empty()).then(|| words("the grant was revoked")),
            one_of: None,
        },
        Event::DenialsSummarized {
            subject: (!chain.is_empty()).then(|| AccountableSubject::Tree(name("orchestrator"))),
            agent: (!chain.is_empty()).then(|| agent.clone()),
            first: Timestamp::from_millis(1_700_000_000_000),
            last: until,
            counts: vec![DenialCount {
                event: DenialKind::Denied,
                reason: words("policy: prod-is-closed"),
                count: 3_941,
            }],
            resources: 12,
            more_resources: chain.is_empty(),
        },
    ]
}

fn written() -> String {
    let entry = |(index, event): (u64, Event)| {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let text = Entry { v: ENTRY_VERSION, index, at, event }.text().unwrap();
        format!("{} {text}\n", hex(&leaf_hash(text.as_bytes()).0))
    };
    let parent = SessionId::new(Row::new(1).unwrap(), Tag([3; 10]));
    let link = Link { session: parent, agent: PrincipalId::parse("planner").unwrap() };
    let passed_on = Chain::try_from(vec![link]).unwrap();
    // Why in parts: what came later stands behind, so that no line before it changes.
    let (mut all, mut with_chain) = (events(&Chain::default(), &[]), events(&passed_on, &[]));
    let mut pairs = |from| {
        let pairs: Vec<_> =
            all.split_off(from).into_iter().zip(with_chain.split_off(from)).collect();
        pairs.into_iter().flat_map(|(alone, passed_on)| [alone, passed_on])
    };
    let (summaries, newest, latest, later) = (pairs(40), pairs(33), pairs(28), pairs(26));
    let issuers = [Issuer::new("https://idp.acme.dev/a")];
    let vouched = events(&Chain::default(), &issuers).into_iter();
    let vouched = vouched.filter(|event| event.word() == "session_opened");
    let all =
        all.into_iter().chain(with_chain).chain(later).chain(vouched).chain(latest).chain(newest);
    let failed = [
        AccountableSubject::of_address("2001:db8:1:2:3::4".parse().unwrap()),
        AccountableSubject::of_address("192.0.2.7".parse().unwrap()),
        AccountableSubject::LocalUser(1000),
        AccountableSubject::Principal(PrincipalId::parse("ana@acme.dev").unwrap()),
    ];
    let failed = failed.map(|subject| Event::SignInFailed {
        reason: Words::new("SESSION_TOKEN_REJECTED"),
        count: 1,
        subject: Some(subject),
    });
    let all = all.chain(summaries).chain(failed);
    (0..).zip(all).map(entry).collect()
}

#[test]
fn every_event_is_written_as_it_always_was() {
    let words: Vec<&str> = events(&Chain::default(), &[]).iter().map(Event::word).collect();
    assert_eq!(words, Event::WORDS, "each event stands here once, in order");
    let written = written();
    for (line, golden) in written.lines().zip(GOLDEN.lines()) {
        assert_eq!(line, golden);
        let (_, text) = golden.split_once(' ').unwrap();
        assert_eq!(Entry::parse(text.as_bytes()).unwrap().text().unwrap(), text);
    }
    assert_eq!(written.lines().count(), GOLDEN.lines().count(), "{written}");
}

#[test]
fn an_entry_in_other_bytes_is_none() {
    for line in GOLDEN.lines() {
        let (_, text) = line.split_once(' ').unwrap();
        for odd in [
            text.replacen(',', ", ", 1),
            text.replacen("{\"v\":1,", "{", 1),
            text.replacen("\"v\":1", "\"v\":2", 1),
            text.replacen("\"v\":1", "\"v\":1.0", 1),
            text.replacen("\"event\":{", "\"event\":{\"more\":1,", 1),
            text.replacen("1700000000000", "1700000000000.0", 1),
            text.replacen("\"type\"", "\"\\u0074ype\"", 1),
            format!("{text}\n"),
            format!(" {text}"),
            text[..text.len() - 1].to_owned(),
        ] {
            assert!(Entry::parse(odd.as_bytes()).is_err(), "{odd}");
        }
    }
}
