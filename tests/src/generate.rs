//! Makes stores with long logs, as a broker would have written them, many times faster: real entries,
//! real tiles, without a commit for each.

use std::{path::Path, sync::Arc};

use jeton_broker::store::sqlite::SqliteStore;
use jeton_domain::{
    audit::{About, ENTRY_VERSION, Entry, Event, Subject},
    decision::{Delivery, Layer, PolicyId},
    delegation::Chain,
    grant::DecidedBy,
    id::{GrantId, Row, SessionId, Tag},
    merkle::{TileBuilder, leaf_hash},
    principal::{AuthMethod, PrincipalId},
    revocation::UpstreamRevocation,
    scope::Scope,
    session::{Envelope, Words},
    ttl::Timestamp,
};
use rusqlite::{Connection, params};

/// Entries of one transaction.
const BATCH: u64 = 50_000;
/// Time of the first entry: 2026-01-01.
pub const BEGIN: i64 = 1_767_225_600_000;
/// Bits of a tile's row that hold its index.
const INDEX_BITS: u32 = 48;

/// Numbers that look random and are the same each time.
pub struct Dice(u64);

impl Dice {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// The log of a company: 200 agents of 40 people at 500 repositories.
pub struct Company {
    dice: Dice,
    at: i64,
    next: u64,
    grants: u64,
    sessions: u64,
    session: Option<(SessionId, PrincipalId, PrincipalId)>,
    live: Vec<Subject>,
    decided: Vec<DecidedBy>,
    person: PrincipalId,
}

impl Company {
    /// Starts one.
    pub fn new(seed: u64) -> Self {
        let decided = ["builders-read", "builders-write", "orders-read", "only-agent-refs"];
        let hash: Arc<str> = "ab607d02b1e4faed8ad04b9c60be8c7d".into();
        let by = |id: &&str| DecidedBy {
            policies: vec![PolicyId::new(id)],
            policy_hash: Arc::clone(&hash),
            approvals: vec![],
        };
        Self {
            dice: Dice::new(seed),
            at: BEGIN,
            next: 0,
            grants: 0,
            sessions: 0,
            session: None,
            live: Vec::new(),
            decided: decided.iter().map(by).collect(),
            person: PrincipalId::parse("spiffe://acme.dev/person/operator").unwrap(),
        }
    }

    /// The next entry.
    pub fn entry(&mut self) -> Entry {
        let event = self.event();
        self.at += i64::try_from(self.dice.below(400)).unwrap();
        let index = self.next;
        self.next += 1;
        Entry { v: ENTRY_VERSION, index, at: Timestamp::from_millis(self.at), event }
    }

    fn event(&mut self) -> Event {
        if self.session.is_none() || self.dice.below(40) == 0 {
            return self.open();
        }
        let (session, agent, person) = self.session.clone().unwrap();
        let upstream = UpstreamRevocation::NotNeeded;
        match self.dice.below(100) {
            0..55 => {
                self.grants += 1;
                let grant = GrantId::new(Row::new(self.grants).unwrap(), self.tag());
                let scope = self.scope();
                let decided_by = self.decision();
                let subject = Subject {
                    grant,
                    session,
                    agent: agent.clone(),
                    person: Some(person.clone()),
                    chain: Chain::default(),
                    scope: scope.clone(),
                };
                self.live.push(subject);
                let about = About {
                    grant,
                    session,
                    agent,
                    person: Some(person),
                    chain: Chain::default(),
                    scope,
                    delivery: Delivery::Direct,
                    request_id: None,
                    decided_by,
                };
                let fingerprint = format!("{:064x}", self.dice.below(u64::MAX >> 12));
                let until = Timestamp::from_millis(self.at + 600_000);
                Event::Issued { about, fingerprint, until }
            }
            55..63 => Event::Denied {
                session,
                agent,
                person: Some(person),
                chain: Chain::default(),
                scope: self.scope(),
                delivery: Delivery::Direct,
                layer: Layer::Policy,
                reason: Words::new("the policy `only-agent-refs` refuses `contents:write`"),
                decided_by: self.decided[3].clone(),
            },
            some => {
                if self.live.is_empty() {
                    return self.open();
                }
                let which = self.dice.below(self.live.len() as u64);
                let of = self.live.swap_remove(usize::try_from(which).unwrap());
                match some {
                    63..80 => Event::Released { of, upstream },
                    80..98 => Event::Expired { of, upstream },
                    _ => Event::Revoked {
                        of,
                        by: self.person.clone(),
                        reason: Words::new("seen enough"),
                        upstream,
                    },
                }
            }
        }
    }

    fn open(&mut self) -> Event {
        self.sessions += 1;
        let session = SessionId::new(Row::new(self.sessions).unwrap(), self.tag());
        let name = |kind: &str, number: u64| {
            PrincipalId::parse(&format!("spiffe://acme.dev/{kind}/{number:03}")).unwrap()
        };
        let agent = name("agent", self.dice.below(200));
        let person = name("person", self.dice.below(40));
        self.session = Some((session, agent.clone(), person.clone()));
        Event::SessionOpened {
            issuers: vec![],
            session,
            agent,
            person: Some(person),
            chain: Chain::default(),
            opener: name("orchestrator", 0),
            method: AuthMethod::Mtls,
            task: Words::new("fix the build"),
            envelope: Envelope::new(
                vec![jeton_domain::scope::ScopeBound::parse("git:acme/** contents:read").unwrap()],
                100,
                900,
            )
            .unwrap(),
            binding: "certificate".into(),
            until: Timestamp::from_millis(self.at + 3_600_000),
            decided_by: self.decided[0].clone(),
        }
    }

    fn decision(&mut self) -> DecidedBy {
        let which = usize::try_from(self.dice.below(3)).unwrap();
        self.decided[which].clone()
    }

    fn scope(&mut self) -> Scope {
        let (team, repository) = (self.dice.below(10), self.dice.below(50));
        let text = match self.dice.below(3) {
            0 => format!("git:team-{team}/repo-{repository:02} contents:read"),
            1 => format!("git:team-{team}/repo-{repository:02} contents:write ref=agent/*"),
            _ => format!("orders:team-{team}/shop orders:read"),
        };
        Scope::parse(&text).unwrap()
    }

    fn tag(&mut self) -> Tag {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.dice.below(u64::MAX >> 12).to_le_bytes());
        Tag(bytes)
    }
}

/// Writes a store whose log has so many entries. Each is handed on as it is written.
pub fn store(path: &Path, seed: u64, count: u64, mut each: impl FnMut(&Entry)) {
    SqliteStore::open(path).unwrap().close();
    let mut db = Connection::open(path).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;").unwrap();
    let mut company = Company::new(seed);
    let mut tiles = TileBuilder::new();
    while tiles.size() < count {
        let txn = db.transaction().unwrap();
        {
            let mut insert = txn.prepare_cached("INSERT INTO entry VALUES (?1, ?2)").unwrap();
            let mut fill = txn.prepare_cached("INSERT INTO tile VALUES (?1, ?2, ?3)").unwrap();
            for _ in 0..BATCH.min(count - tiles.size()) {
                let entry = company.entry();
                let text = entry.text().unwrap();
                insert.execute(params![i64::try_from(entry.index).unwrap(), text]).unwrap();
                for full in tiles.push(leaf_hash(text.as_bytes())) {
                    let bytes: Vec<u8> = full.hashes.iter().flat_map(|hash| hash.0).collect();
                    let place = (u64::from(full.id.level) << INDEX_BITS) | full.id.index;
                    fill.execute(params![i64::try_from(place).unwrap(), full.root.0, bytes])
                        .unwrap();
                }
                each(&entry);
            }
        }
        txn.commit().unwrap();
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
}
