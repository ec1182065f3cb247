//! Clock jumps never lengthen a grant: `jetond` under a wall clock that leaps, races, crawls and
//! stands still (libfaketime), against the real time of the test.
//!
//! The monotonic clock stays true: that is the clock that the kernel never turns.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jeton_proto::v1::{IntrospectRequest, RequestGrantRequest};
use jeton_tests::broker::{Broker, Caller, scope};

const AUDIENCE: &str = "https://git.dev.jeton.local";
/// The life of each grant.
const LIFE: Duration = Duration::from_secs(3);
/// How much longer a credential may be taken: rounding, and the answer's way.
const LEEWAY: Duration = Duration::from_millis(1500);

/// What the wall clock does, and when: milliseconds after the grant, and libfaketime's words.
type Schedule = &'static [(u64, &'static str)];

/// Each with whether the credential must still be taken before its end: leaps forward end grants
/// early, and certificates with them.
const SCHEDULES: [(Schedule, bool); 12] = [
    (&[(200, "-10y")], true),
    (&[(200, "+10y")], false),
    (&[(200, "-6s")], true),
    (&[(200, "+6s")], false),
    (&[(200, "+0 x10")], false),
    (&[(200, "+0 x0.1")], true),
    (&[(200, "2026-01-01 00:00:00")], true),
    (&[(200, "+10y"), (600, "-10y")], false),
    (&[(200, "-10y"), (600, "+10y")], false),
    (&[(200, "-1d"), (700, "-2d"), (1200, "-3d"), (1700, "-4d"), (2600, "-5d")], true),
    (&[(100, "-1s"), (200, "+1s"), (300, "-1s"), (400, "+1s"), (500, "-1s")], false),
    (&[(2000, "-3s"), (2500, "+0 x0.1"), (2900, "-10y")], true),
];

fn library() -> PathBuf {
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|kind| Path::new("/usr/lib").join(kind).join("faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| path.is_file());
    found.expect("no libfaketime; hint: run ./tests/run --setup")
}

/// A broker whose wall clock follows a file.
fn broker() -> (Broker, PathBuf) {
    let mut broker = Broker::make();
    let file = broker.data().join("time");
    fs::write(&file, "+0\n").unwrap();
    for (name, value) in [
        ("LD_PRELOAD", library().to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ] {
        broker.variable(name, value);
    }
    broker.run();
    (broker, file)
}

async fn is_taken(host: &Caller, secret: &str) -> bool {
    let request = IntrospectRequest { credential: secret.into(), audience: AUDIENCE.into() };
    // A refused caller learns nothing, so nothing is taken.
    host.introspection().introspect(request).await.is_ok_and(|answer| answer.into_inner().active)
}

async fn live_through(schedule: Schedule, lives: bool) {
    let (broker, file) = broker();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let host = broker.as_("git-host").await;
    let request = RequestGrantRequest {
        scope: Some(scope("git:acme/api contents:read")),
        ttl_seconds: u32::try_from(LIFE.as_secs()).unwrap(),
        ..Default::default()
    };
    let granted = Instant::now();
    let answer = agent.grants().request_grant(request).await.unwrap().into_inner();
    let secret = answer.credential.unwrap().secret;
    assert!(is_taken(&host, &secret).await, "{schedule:?}: it works at first");
    let (mut steps, mut last) = (schedule.iter().peekable(), Duration::ZERO);
    while granted.elapsed() < LIFE + LEEWAY + Duration::from_secs(1) {
        if let Some((_, spec)) =
            steps.next_if(|(after, _)| granted.elapsed() >= Duration::from_millis(*after))
        {
            // By rename: no reader finds half a line.
            let draft = file.with_extension("new");
            fs::write(&draft, format!("{spec}\n")).unwrap();
            fs::rename(&draft, &file).unwrap();
        }
        let asked = granted.elapsed();
        if is_taken(&host, &secret).await {
            last = asked;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(steps.next().is_none(), "every step was taken");
    assert!(last <= LIFE + LEEWAY, "{schedule:?}: taken {last:?} after it was given for {LIFE:?}");
    if lives {
        assert!(last >= LIFE - LEEWAY, "{schedule:?}: it ended early, after {last:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_leap_of_the_wall_clock_lengthens_a_grant() {
    let mut running = tokio::task::JoinSet::new();
    for (schedule, lives) in SCHEDULES {
        running.spawn(live_through(schedule, lives));
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}
