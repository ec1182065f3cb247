//! What proves the log: held against verifiers that others wrote, and against everything that
//! somebody with the store but without the key could do to it.

use std::{collections::HashMap, time::Duration};

use jeton_client::log::{LogError, LogSource, Report, verify};
use jeton_domain::{
    audit::Entry,
    merkle::{
        BundleId, Checkpoint, Hash, KeyName, SignedCheckpoint, TILE_WIDTH, TileBuilder, TileId,
        VerifierKey, leaf_hash,
    },
    ttl::Timestamp,
};
use jeton_tests::{
    broker::Broker,
    eventually::within,
    generate::{Company, Dice},
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rusqlite::Connection;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint as TheirCheckpoint, Error as TheirError, Hash as TheirHash, Tile, TileHashReader,
    TileReader, check_record, check_tree, prove_record, prove_tree, record_hash, tree_hash,
};

const READ: &str = "git:acme/api contents:read";

/// A log in memory, whole or spoiled.
#[derive(Clone)]
struct Log {
    texts: Vec<Vec<u8>>,
    tiles: HashMap<TileId, Vec<Hash>>,
    note: String,
}

impl Log {
    /// The log as a broker would keep it.
    fn of(texts: Vec<Vec<u8>>, note: String) -> Self {
        let mut log = Self { texts, tiles: HashMap::new(), note };
        log.rebuild();
        log
    }

    /// Makes the tiles fit the entries.
    fn rebuild(&mut self) {
        self.tiles = self.built().1;
    }

    fn built(&self) -> (TileBuilder, HashMap<TileId, Vec<Hash>>) {
        let (mut edge, mut tiles) = (TileBuilder::new(), HashMap::new());
        for text in &self.texts {
            for full in edge.push(leaf_hash(text)) {
                tiles.insert(full.id, full.hashes);
            }
        }
        (edge, tiles)
    }

    fn root(&self) -> Hash {
        self.built().0.frontier().root()
    }
}

impl LogSource for Log {
    fn size(&self) -> Result<Option<u64>, LogError> {
        Ok(Some(self.texts.len() as u64))
    }

    fn first(&self) -> Result<u64, LogError> {
        Ok(0)
    }

    fn checkpoint(&self) -> Result<Option<String>, LogError> {
        Ok(Some(self.note.clone()))
    }

    fn bundle(&self, id: BundleId) -> Result<Vec<Vec<u8>>, LogError> {
        let first = usize::try_from(id.index * TILE_WIDTH).unwrap();
        Ok(self.texts.iter().skip(first).take(id.width.into()).cloned().collect())
    }

    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, LogError> {
        if !id.is_full() {
            return Ok(None);
        }
        let tile = self.tiles.get(&id).cloned();
        tile.map(Some).ok_or_else(|| LogError::Missing(id.to_string()))
    }
}

/// Somebody who signs logs.
struct Signer {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl Signer {
    fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        Self { pair, key: VerifierKey::new(KeyName::parse("log.acme.dev").unwrap(), public) }
    }

    fn sign(&self, size: u64, root: Hash) -> SignedCheckpoint {
        let checkpoint = Checkpoint { origin: self.key.name().clone(), size, root };
        checkpoint.sign(&self.key, |text| self.pair.sign(text).as_ref().to_vec())
    }

    /// A log with a checkpoint over all of it.
    fn log(&self, seed: u64, size: usize) -> Log {
        let mut company = Company::new(seed);
        let texts = (0..size).map(|_| company.entry().text().unwrap().into_bytes()).collect();
        let mut log = Log::of(texts, String::new());
        log.note = self.sign(size as u64, log.root()).to_string();
        log
    }
}

fn check(log: &Log, key: &VerifierKey, kept: &[SignedCheckpoint]) -> Result<Report, LogError> {
    verify(log, key, kept, |_, _| ())
}

/// The log of a real broker that did a bit of everything.
async fn real_log() -> (Log, VerifierKey) {
    let mut broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let id = agent.requests(READ).await.unwrap().grant.unwrap().id;
    agent.requests("git:other/api contents:read").await.unwrap_err();
    let revoke =
        jeton_proto::v1::RevokeGrantRequest { id, reason: "enough".into(), ..Default::default() };
    broker.as_("ana").await.grants().revoke_grant(revoke).await.unwrap();
    let key = VerifierKey::parse(broker.env("JETON_LOG_KEY")).unwrap();
    assert_eq!(broker.stop(), Some(0));
    let db = Connection::open(broker.data().join("jeton.db")).unwrap();
    let note =
        db.query_row("SELECT note FROM checkpoint WHERE one = 1", [], |row| row.get(0)).unwrap();
    let mut statement = db.prepare("SELECT text FROM entry ORDER BY place").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let texts = rows.map(|text| text.unwrap().into_bytes()).collect();
    (Log::of(texts, note), key)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_of_a_real_log_is_found() {
    let (log, key) = real_log().await;
    let signed = check(&log, &key, &[]).unwrap().signed;
    assert_eq!(signed, log.texts.len() as u64, "all of it is signed after a stop");
    let mut flips = 0_u32;
    for place in 0..log.texts.len() {
        for bit in 0..log.texts[place].len() * 8 {
            let mut spoiled = log.clone();
            spoiled.texts[place][bit / 8] ^= 1 << (bit % 8);
            assert!(check(&spoiled, &key, &[]).is_err(), "entry {place}, bit {bit}");
            flips += 1;
        }
    }
    let kept = SignedCheckpoint::open(&log.note, &key).unwrap();
    for bit in 0..log.note.len() * 8 {
        let mut bytes = log.note.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(note) = String::from_utf8(bytes) else { continue };
        let spoiled = Log { note, ..log.clone() };
        assert!(check(&spoiled, &key, std::slice::from_ref(&kept)).is_err(), "bit {bit}");
        flips += 1;
    }
    println!("{flips} flips of {} entries and their checkpoint", log.texts.len());
}

/// Writes entries anew with the numbers that their places ask for, as a careful forger would.
fn renumbered(texts: &mut [Vec<u8>]) {
    for (place, text) in texts.iter_mut().enumerate() {
        let mut entry: Entry = serde_json::from_slice(text).unwrap();
        entry.index = place as u64;
        *text = entry.text().unwrap().into_bytes();
    }
}

/// One thing that a forger without the key could do. Gives `None` where it would change nothing.
fn harmed(log: &Log, dice: &mut Dice, forger: &Signer) -> Option<(String, Log)> {
    let mut bad = log.clone();
    let size = bad.texts.len();
    let mut pick = |bound: usize| usize::try_from(dice.below(bound as u64)).unwrap();
    let (one, other) = (pick(size), pick(size));
    let kind = pick(10);
    let what = match kind {
        0 => {
            bad.texts.remove(one);
            format!("removed {one}")
        }
        1 => {
            bad.texts.insert(one, log.texts[other].clone());
            format!("{other} once more at {one}")
        }
        2 => {
            bad.texts.swap(one, other);
            format!("swapped {one} and {other}")
        }
        3 => {
            let mut entry: Entry = serde_json::from_slice(&bad.texts[one]).unwrap();
            entry.at = Timestamp::from_millis(entry.at.millis() + 1 + other as i64);
            bad.texts[one] = entry.text().unwrap().into_bytes();
            format!("moved {one} in time")
        }
        4 => {
            let text = String::from_utf8(bad.texts[one].clone()).unwrap();
            bad.texts[one] = text.replace("acme.dev", "acne.dev").into_bytes();
            format!("renamed in {one}")
        }
        5 => {
            bad.texts.truncate(one);
            format!("cut off behind {one}")
        }
        6 => {
            bad.texts[one] = log.texts[other].clone();
            format!("{one} replaced by {other}")
        }
        7 => {
            let text = String::from_utf8(bad.texts[one].clone()).unwrap();
            bad.texts[one] = text.replace(':', ": ").into_bytes();
            format!("spaces in {one}")
        }
        8 => {
            bad.texts.drain(one.min(other)..one.max(other));
            format!("removed {one} to {other}")
        }
        _ => {
            bad.texts[one] = Company::new(one as u64 + 1000).entry().text().unwrap().into_bytes();
            format!("a foreign entry at {one}")
        }
    };
    // What a careful forger does besides: numbers, tiles, a checkpoint by a key of his own.
    let care = pick(4);
    if care > 0 && kind != 7 {
        renumbered(&mut bad.texts);
    }
    if care > 1 {
        bad.rebuild();
    }
    if care > 2 {
        bad.note = forger.sign(bad.texts.len() as u64, bad.root()).to_string();
    }
    // What comes behind the last checkpoint is nobody's word yet.
    let changed = bad.texts.get(..size) != Some(&log.texts[..]) || bad.note != log.note;
    changed.then_some((format!("{what}, care {care}"), bad))
}

#[test]
fn fifty_thousand_edits_are_found_and_ten_thousand_clean_logs_are_not_suspected() {
    let (signer, forger) = (Signer::new(1), Signer::new(2));
    let mut dice = Dice::new(5);
    let mut edits = 0;
    while edits < 50_000 {
        // Now and then one with full tiles.
        let size = if edits % 1000 == 0 { 520 } else { 2 + dice.below(18) };
        let size = usize::try_from(size).unwrap();
        let log = signer.log(dice.below(1000), size);
        check(&log, &signer.key, &[]).unwrap();
        for _ in 0..if size > 256 { 5 } else { 50 } {
            let Some((what, bad)) = harmed(&log, &mut dice, &forger) else { continue };
            let found = check(&bad, &signer.key, &[]);
            assert!(found.is_err(), "{what} in a log of {size}: {found:?}");
            edits += 1;
        }
        // Rolled back to an older state with its own true checkpoint: found by a newer one.
        let newer = SignedCheckpoint::open(&log.note, &signer.key).unwrap();
        let older = signer.log(dice.below(1000), size - 1);
        assert!(check(&older, &signer.key, &[newer]).is_err());
    }
    for clean in 0..10_000 {
        let size = usize::try_from(dice.below(14)).unwrap();
        let log = signer.log(clean, size);
        let kept = usize::try_from(dice.below(size as u64 + 1)).unwrap();
        let before = Log::of(log.texts[..kept].to_vec(), String::new());
        let kept = signer.sign(kept as u64, before.root());
        let report = check(&log, &signer.key, &[kept]).unwrap();
        assert_eq!(report.size, size as u64);
    }
}

/// A log whose first entries are there by their hashes only.
struct Moved {
    log: Log,
    first: u64,
    edge: HashMap<TileId, Vec<Hash>>,
}

impl Moved {
    fn of(log: Log, first: u64) -> Self {
        let (mut edge, mut partial) = (TileBuilder::new(), HashMap::new());
        for text in log.texts.iter().take(usize::try_from(first).unwrap()) {
            edge.push(leaf_hash(text));
        }
        partial.extend(edge.partial().map(|(id, hashes)| (id, hashes.to_vec())));
        Self { log, first, edge: partial }
    }
}

impl LogSource for Moved {
    fn size(&self) -> Result<Option<u64>, LogError> {
        self.log.size()
    }

    fn first(&self) -> Result<u64, LogError> {
        Ok(self.first)
    }

    fn checkpoint(&self) -> Result<Option<String>, LogError> {
        self.log.checkpoint()
    }

    fn bundle(&self, id: BundleId) -> Result<Vec<Vec<u8>>, LogError> {
        assert!(id.index * TILE_WIDTH >= self.first, "{id} was moved out");
        self.log.bundle(id)
    }

    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, LogError> {
        match self.edge.get(&id) {
            Some(hashes) => Ok(Some(hashes.clone())),
            None => self.log.tile(id),
        }
    }
}

#[test]
fn a_log_without_its_first_entries_holds_only_where_it_says_so_itself() {
    let signer = Signer::new(1);
    let moved = |until: u64, place: usize| Entry {
        v: jeton_domain::audit::ENTRY_VERSION,
        index: place as u64,
        at: Timestamp::from_millis(i64::MAX / 2),
        event: jeton_domain::audit::Event::EntriesMoved {
            first: 0,
            until,
            to: jeton_domain::session::Words::new("elsewhere"),
        },
    };
    // 600 entries, then one that says what was moved out; the checkpoint covers `signed` of them.
    let log = |seed: u64, until: u64, signed: usize| {
        let mut texts = signer.log(seed, 600).texts;
        texts.push(moved(until, 600).text().unwrap().into_bytes());
        let mut log = Log::of(texts, String::new());
        let root = Log::of(log.texts[..signed].to_vec(), String::new()).root();
        log.note = signer.sign(signed as u64, root).to_string();
        log
    };
    let verified = |source: &Moved, kept: &[SignedCheckpoint]| {
        verify(source, &signer.key, kept, |_, _| ()).map_err(|error| error.to_string())
    };
    let honest = log(7, 512, 601);
    let kept = signer.sign(100, Log::of(honest.texts[..100].to_vec(), String::new()).root());
    let kept = std::slice::from_ref(&kept);
    assert_eq!(verified(&Moved::of(honest.clone(), 512), kept).unwrap().by_hash_only, 512);

    let cut = verified(&Moved::of(log(7, 256, 601), 512), kept).unwrap_err();
    assert!(cut.contains("says so of those before 256 only"), "{cut}");
    let unsaid = verified(&Moved::of(signer.log(7, 600), 512), kept).unwrap_err();
    assert!(unsaid.contains("does not say that they were moved out"), "{unsaid}");
    let unsigned = verified(&Moved::of(log(7, 512, 600), 512), kept).unwrap_err();
    assert!(unsigned.contains("entry 600, which says that they were moved out"), "{unsigned}");

    // Whoever has the key shows another log, with the first tile of the true one.
    let mut forked = Moved::of(log(8, 512, 601), 512);
    let first = TileId::full(0, 0);
    forked.log.tiles.insert(first, honest.tiles[&first].clone());
    let found = verified(&forked, kept).unwrap_err();
    assert!(found.contains("the checkpoint of size 100 was signed for"), "{found}");
}

/// Tiles as they come from the broker, under the names that the other library has for them.
struct Served(HashMap<(u8, u64, u32), Vec<u8>>);

impl TileReader for Served {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, TheirError> {
        let read = |tile: &Tile| {
            let key = (tile.level(), tile.level_index(), tile.width());
            self.0.get(&key).cloned().unwrap_or_else(|| panic!("no tile {}", tile.path()))
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn theirs(hash: &Hash) -> TheirHash {
    TheirHash(hash.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_that_others_wrote_accepts_checkpoints_tiles_and_proofs() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    for _ in 0..700 {
        agent.requests(READ).await.unwrap();
    }
    let read = |name: &str| std::fs::read(broker.data().join("tls").join(name)).unwrap();
    jeton_tests::crypto();
    let identity = [read("audrey.pem"), read("audrey.key")].concat();
    let web = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&read("ca.pem")).unwrap()])
        .identity(reqwest::Identity::from_pem(&identity).unwrap())
        .build()
        .unwrap();
    let get = async |name: &str| {
        let url = format!("{}/log/{name}", broker.env("JETON_ENDPOINT"));
        let answer = web.get(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{name}: {}", answer.status());
        answer.bytes().await.unwrap().to_vec()
    };

    let covers = async || {
        let note = Note::from_bytes(&get("checkpoint").await).unwrap();
        let checkpoint = TheirCheckpoint::from_bytes(note.text()).unwrap();
        (checkpoint.size() > 700).then_some(note)
    };
    let note = within(Duration::from_secs(20), "a checkpoint over all of it", covers).await;
    let verifier = StandardVerifier::new(broker.env("JETON_LOG_KEY")).unwrap();
    let (signed, _) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!(signed.len(), 1);
    let checkpoint = TheirCheckpoint::from_bytes(note.text()).unwrap();
    assert_eq!(checkpoint.origin(), "dev.jeton.local/log");
    let size = checkpoint.size();

    let mut tiles = HashMap::new();
    for level in 0..3_u8 {
        let hashes = size >> (8 * u32::from(level));
        for index in 0..hashes.div_ceil(256) {
            let id = TileId::holding(level, index * 256, size).unwrap();
            let key = (level, index, u32::from(id.width));
            tiles.insert(key, get(&id.to_string()).await);
        }
    }
    let served = Served(tiles);
    let reader = TileHashReader::new(size, *checkpoint.hash(), &served);
    assert_eq!(tree_hash(size, &reader).unwrap(), *checkpoint.hash());

    let mut texts = Vec::new();
    for index in 0..size.div_ceil(256) {
        let id = BundleId::holding(index * 256, size).unwrap();
        let bytes = get(&id.to_string()).await;
        texts.extend(
            jeton_domain::merkle::unbundle(&bytes).unwrap().into_iter().map(<[u8]>::to_vec),
        );
    }
    assert_eq!(texts.len() as u64, size);
    let audrey = broker.client("audrey").await;
    for index in (0..size).step_by(37) {
        let text = &texts[usize::try_from(index).unwrap()];
        let proof = prove_record(size, index, &reader).unwrap();
        check_record(&proof, size, *checkpoint.hash(), index, record_hash(text)).unwrap();
        let ours = audrey.receipt(index).await.unwrap();
        let path = ours.proof.path.iter().map(theirs).collect();
        let root = theirs(&ours.checkpoint.checkpoint().root);
        let leaf = record_hash(ours.entry.text.as_bytes());
        check_record(&path, ours.proof.size, root, index, leaf).unwrap();
        assert!(check_record(&path, ours.proof.size, root, index, record_hash(b"x")).is_err());
    }
    for old in [1, 2, 255, 256, 257, 511, 512, 600, size - 1] {
        let proof = audrey.consistency(old, size).await.unwrap();
        let path = proof.path.iter().map(theirs).collect();
        let before = tree_hash(old, &reader).unwrap();
        check_tree(&path, size, *checkpoint.hash(), old, before).unwrap();
        assert_eq!(path, prove_tree(size, old, &reader).unwrap());
    }

    let stranger = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&read("ca.pem")).unwrap()])
        .build()
        .unwrap();
    for name in ["checkpoint", "tile/0/000", "tile/entries/000"] {
        let url = format!("{}/log/{name}", broker.env("JETON_ENDPOINT"));
        assert_eq!(stranger.get(url).send().await.unwrap().status(), 401, "{name}");
    }
    for (name, code) in
        [("tile/0/999", 404), ("tile/0/0", 400), ("tile/entries/900", 404), ("x", 404)]
    {
        let url = format!("{}/log/{name}", broker.env("JETON_ENDPOINT"));
        assert_eq!(web.get(url).send().await.unwrap().status(), code, "{name}");
    }
}
