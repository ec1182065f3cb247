//! Taking back at an upstream that is down, slow, lying or refusing, by a broker that is killed at
//! any moment: nothing is forgotten.
//!
//! `JETON_FAULT_TRIALS` says how many grants are taken back, `JETON_SEED` repeats a run.

use std::{net::SocketAddr, time::Duration};

use jeton_proto::v1::{GetGrantRequest, Grant, GrantState, RevokeGrantRequest, UpstreamRevocation};
use jeton_tests::{
    broker::{Broker, Caller},
    eventually::within,
    generate::Dice,
    github::Github,
    github_front::{Call, Script, sha256},
    records::Records,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};

const WEB: &str = "github:acme/web contents:read";
const ENVELOPE: [&str; 1] = ["github:acme/* contents:read"];
/// Grants that are taken back together, before one kill.
const ROUND: usize = 10;
/// The longest pause between two tries is a minute.
const AT_LAST: Duration = Duration::from_secs(150);

/// The way to the upstream, which can be taken away: nobody listens then.
struct Way {
    address: SocketAddr,
    to: SocketAddr,
    open: Option<JoinHandle<()>>,
}

impl Way {
    async fn to(to: SocketAddr) -> Self {
        let mut way = Self { address: ([127, 0, 0, 1], 0).into(), to, open: None };
        way.open().await;
        way
    }

    async fn open(&mut self) {
        self.close().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(64).unwrap();
        self.address = listener.local_addr().unwrap();
        let to = self.to;
        self.open = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }));
    }

    async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            let _ = open.await;
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the size of a test is set from outside")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn fault(dice: &mut Dice) -> Script {
    match dice.below(11) {
        0 => Script::RevokeLies,
        1 => Script::RevokeFails(500),
        2 => Script::RevokeFails(503),
        3 => Script::RevokeFails(403),
        4 => Script::RateLimited403 { retry_after: Some(1) },
        5 => Script::Unauthorized401,
        6 => Script::NotFound404,
        7 => Script::CutAfterAccepting,
        8 => Script::ServerErrorAfterAccepting,
        9 => Script::Slow(Duration::from_millis(dice.below(400))),
        _ => Script::Html200,
    }
}

/// What a client got, and whether its end was acknowledged.
struct Held {
    grant: String,
    token: String,
    acknowledged: bool,
}

async fn takes_back(operator: &Caller, held: &mut Held) {
    let request = RevokeGrantRequest {
        id: held.grant.clone(),
        reason: "a trial".into(),
        ..Default::default()
    };
    held.acknowledged |= operator.grants().revoke_grant(request).await.is_ok();
}

async fn grant(operator: &Caller, id: &str) -> Grant {
    let get = GetGrantRequest { id: id.to_owned() };
    operator.grants().get_grant(get).await.unwrap().into_inner().grant.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_dies_at_the_upstream_whatever_happens_meanwhile() {
    let trials = usize::try_from(variable("JETON_FAULT_TRIALS").unwrap_or(500)).unwrap();
    let seed = variable("JETON_SEED")
        .unwrap_or_else(|| jeton_tests::now().as_microsecond().unsigned_abs());
    println!("JETON_SEED={seed}");
    let mut dice = Dice::new(seed);
    let github = Github::pretended().await;
    let target = github.front.url();
    let mut way = Way::to(target.strip_prefix("http://").unwrap().parse().unwrap()).await;
    let mut broker = Broker::make();
    github.configure(broker.data());
    let config = broker.data().join("jetond.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&target, &format!("http://{}", way.address))).unwrap();

    let mut held: Vec<Held> = Vec::new();
    let (mut faults, mut kills, mut downs) = (0, 0, 0);
    while held.len() < trials {
        broker.run();
        let (agent, _) = broker.agent_with(&ENVELOPE).await;
        let operator = broker.as_("ana").await;
        let mut round = Vec::new();
        for _ in 0..ROUND {
            let answer = agent.requests(WEB).await.unwrap();
            let (grant, token) = (answer.grant.unwrap().id, answer.credential.unwrap().secret);
            assert!(github.front.opens(&token).is_some(), "good before");
            round.push(Held { grant, token, acknowledged: false });
        }
        for _ in 0..dice.below(12) {
            faults += 1;
            github.front.next(Call::Revoke, fault(&mut dice));
        }
        if dice.below(4) == 0 {
            downs += 1;
            way.close().await;
        }
        let mut taking = JoinSet::new();
        for mut one in round {
            let operator = operator.clone();
            taking.spawn(async move {
                takes_back(&operator, &mut one).await;
                one
            });
        }
        tokio::time::sleep(Duration::from_millis(dice.below(120))).await;
        if dice.below(4) > 0 {
            kills += 1;
            broker.kill();
        }
        held.extend(taking.join_all().await);
        broker.kill();
        way.open().await;
    }

    // Whoever got no answer asks again; then everything is over, also where it hurts.
    broker.run();
    let operator = broker.as_("ana").await;
    let unanswered = held.iter().filter(|one| !one.acknowledged).count();
    for one in held.iter_mut().filter(|one| !one.acknowledged) {
        takes_back(&operator, one).await;
        assert!(one.acknowledged);
    }
    let records = Records::open(broker.data());
    let empty = async || (records.queued_revocations() == 0).then_some(());
    within(AT_LAST, "the queue of revocations empties", empty).await;
    for one in &held {
        let grant = grant(&operator, &one.grant).await;
        assert_eq!(grant.state(), GrantState::Revoked, "{}", one.grant);
        assert_eq!(
            grant.upstream_revocation(),
            UpstreamRevocation::Confirmed,
            "{}: the upstream has answered well by now",
            one.grant
        );
        assert!(github.front.opens(&one.token).is_none(), "{} still opens", one.grant);
    }
    let known: std::collections::HashSet<_> = held.iter().map(|one| sha256(&one.token)).collect();
    let strangers =
        github.front.live_tokens().into_iter().filter(|one| !known.contains(&one.sha256)).count();
    assert_eq!(strangers, 0, "no token beside those that were handed out");
    println!(
        "{} grants, {faults} faults, {downs} times down, {kills} kills, {unanswered} unanswered, {} calls",
        held.len(),
        github.front.revocations().len()
    );
}
