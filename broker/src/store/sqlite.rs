//! The embedded store: one SQLite file, one writer with group commit, readers beside it.

mod approvals;
mod budgets;
mod edge;
mod emergencies;
mod endings;
mod grants;
mod live;
mod log;
mod log_file;
mod open_sessions;
mod queue;
mod reads;
mod reserve;
mod reviews;
mod rows;
mod schema;
mod sessions;
mod stops;
mod writer;

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jeton_domain::{
    approval::{Approval, Unreviewed},
    audit::{Entry, Event},
    budget::{Spend, Used},
    grant::{Grant, Phase},
    id::{GrantId, RequestId, Row, SessionId, Tag},
    merkle::{ConsistencyProof, Frontier, Hash, InclusionProof, SignedCheckpoint, TileId, Tiles},
    people::People,
    permit::Permit,
    principal::PrincipalId,
    review::{Review, ReviewerName},
    revocation::{Matching, Stops},
    scope::{Resource, Upstream},
    session::Words,
    ttl::{Timestamp, Ttl},
};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot, watch};

use self::{
    live::{Live, LiveGrant},
    open_sessions::ReadSessions,
    queue::{JobQueue, Lane},
    writer::{Ack, Job, Txn, Writer},
};
use crate::{
    crypto,
    limits::{STORE_FEED, STORE_READERS},
    store::{
        ApprovalDraft, CheckpointKind, Cut, Ended, EndedEarly, Ending, Failure, GlassReview,
        GrantFilter, Intent, IssueRecord, Issued, Mark, Order, PageAt, PageOf, PendingDraft,
        QueuedRevocation, RecordedPermit, ReviewDraft, RevocationTry, Sealed, SessionDraft,
        SessionEnding, SessionFilter, SessionRecord, Signed, Store, StoreError, archive::Archive,
    },
};

pub use self::log_file::{LogSummary, read_log};

/// How long a step that takes something back waits for the writer.
const INSISTENCE: Duration = Duration::from_secs(5);
/// Between two tries of it.
const INSISTENCE_PAUSE: Duration = Duration::from_millis(5);
/// The embedded store.
pub struct SqliteStore {
    path: PathBuf,
    jobs: Arc<JobQueue>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    live: Arc<RwLock<Live>>,
    read_sessions: ReadSessions,
    readers: Arc<Mutex<Vec<Connection>>>,
    reading: Semaphore,
    next_session: AtomicU64,
    next_grant: AtomicU64,
    last_entry: Timestamp,
    growth: watch::Receiver<Frontier>,
    endings: watch::Receiver<()>,
    feed: Mutex<Option<tokio::sync::mpsc::Receiver<Vec<Entry>>>>,
    archive: Option<Archive>,
}

impl SqliteStore {
    /// Opens or makes a store file, reads what is live and starts the writer.
    ///
    /// # Errors
    /// When the file can't be opened, is of another version or holds what this program never writes.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, None)
    }

    /// The same for a store whose old entries are in an archive.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: &Path, archive: Option<Archive>) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let db = schema::open_writer(path)?;
        let head = writer::read_head(&db)?;
        let start = reads::start(&db)?;
        let live = Arc::new(RwLock::new(start.live));
        let edge = edge::read_edge(&db)?;
        let (grown, growth) = watch::channel(edge.frontier().clone());
        let (ended, endings) = watch::channel(());
        let (feed, fed) = tokio::sync::mpsc::channel(STORE_FEED);
        let jobs = Arc::new(JobQueue::default());
        let writer = Writer {
            _lock: lock,
            db,
            head,
            edge,
            grown,
            feed,
            endings: ended,
            live: Arc::clone(&live),
            recent: start.recent,
            reserve: reserve::Reserve::new(writer::reserve_path(path)),
            mark: start.mark,
        };
        let waiting = Arc::clone(&jobs);
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&waiting))
            .map_err(|error| StoreError::Broken(error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            jobs,
            thread: Mutex::new(Some(thread)),
            live,
            read_sessions: ReadSessions::default(),
            readers: Arc::default(),
            reading: Semaphore::new(STORE_READERS),
            next_session: AtomicU64::new(start.next_session),
            next_grant: AtomicU64::new(start.next_grant),
            last_entry: head.at,
            growth,
            endings,
            feed: Mutex::new(Some(fed)),
            archive,
        })
    }

    /// Tells whether nothing was recorded before this start.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.last_entry == Timestamp::from_millis(0)
    }

    /// When the last entry was written before this start: a clock must not begin earlier.
    #[must_use]
    pub fn last_entry(&self) -> Timestamp {
        self.last_entry
    }

    /// Closes what a crash left open inside the store. Call once, before serving.
    ///
    /// # Errors
    /// When the store can't write.
    pub async fn recover(&self, now: Timestamp) -> Result<(), StoreError> {
        self.insistent_step(move |txn| endings::close_open_renewals(txn, now)).await
    }

    /// Writes what waits and closes the file.
    pub fn close(&self) {
        self.jobs.close();
        if let Some(thread) = self.thread.lock().ok().and_then(|mut thread| thread.take()) {
            let _ = thread.join();
        }
    }

    /// Hands a step to the writer and waits until its commit is on disk.
    async fn step<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.step_in(Lane::Ordinary, step).await
    }

    async fn step_in<T: Send + 'static>(
        &self,
        lane: Lane,
        step: impl FnOnce(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |txn| {
            let result = step(txn);
            let ack: Ack = Box::new(move |failed| {
                let _ = answer.send(failed.map_or(result, Err));
            });
            ack
        });
        self.jobs.push(lane, job)?;
        answered.await.map_err(|_| StoreError::Broken("the writer has stopped".into()))?
    }

    /// Like [`Self::step`], but once more if the disk was full (the reserve was given up for this), and repeatedly for
    /// a bounded time if the queue is full.
    async fn insistent_step<T: Send + 'static>(
        &self,
        step: impl Fn(&mut Txn<'_>) -> Result<T, StoreError> + Send + Sync + Clone + 'static,
    ) -> Result<T, StoreError> {
        self.insistent_step_in(Lane::Ordinary, step).await
    }

    /// Like [`Self::insistent_step`], ahead of everything that ends nothing.
    async fn ending_step<T: Send + 'static>(
        &self,
        step: impl Fn(&mut Txn<'_>) -> Result<T, StoreError> + Send + Sync + Clone + 'static,
    ) -> Result<T, StoreError> {
        self.insistent_step_in(Lane::Urgent, step).await
    }

    async fn insistent_step_in<T: Send + 'static>(
        &self,
        lane: Lane,
        step: impl Fn(&mut Txn<'_>) -> Result<T, StoreError> + Send + Sync + Clone + 'static,
    ) -> Result<T, StoreError> {
        let patience = Instant::now() + INSISTENCE;
        loop {
            match self.step_in(lane, step.clone()).await {
                Err(StoreError::Full) => return self.step_in(lane, step).await,
                Err(StoreError::Busy) if Instant::now() < patience => {
                    tokio::time::sleep(INSISTENCE_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// Runs a query on a reader's connection, off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // Why: beyond these a query waits here, where it costs neither a thread nor a file.
        let _place = self
            .reading
            .acquire()
            .await
            .map_err(|_| StoreError::Broken("the store is closed".into()))?;
        let (path, readers) = (self.path.clone(), Arc::clone(&self.readers));
        let work = move || {
            let kept = readers.lock().map_err(|_| poisoned())?.pop();
            let db = kept.map_or_else(|| schema::open_reader(&path), Ok)?;
            let result = query(&db);
            readers.lock().map_err(|_| poisoned())?.push(db);
            result
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| StoreError::Broken(error.to_string()))?
    }

    fn with_live<T>(&self, look: impl FnOnce(&Live) -> T) -> Option<T> {
        self.live.read().ok().map(|live| look(&live))
    }
}

/// Holds a store for one process: two writers would each chain the log to another head.
fn lock(path: &Path) -> Result<std::fs::File, StoreError> {
    let file = jeton_files::lock_file(&path.with_extension("lock"))
        .map_err(|error| StoreError::Broken(format!("`{}`: {error}", path.display())))?;
    file.try_lock().map_err(|_| {
        let path = path.display();
        StoreError::Broken(format!("`{path}` is in use by another broker; stop that one first"))
    })?;
    Ok(file)
}

fn no_archive() -> StoreError {
    StoreError::Broken("no archive is configured".into())
}

fn poisoned() -> StoreError {
    StoreError::Broken("a lock is poisoned".into())
}

fn next(counter: &AtomicU64) -> Row {
    // Why the loop: row numbers fit 48 bits for 280 trillion records; zero is never handed out.
    loop {
        if let Some(row) = Row::new(counter.fetch_add(1, Ordering::Relaxed)) {
            return row;
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn reserve_session(&self) -> SessionId {
        SessionId::new(next(&self.next_session), Tag(crypto::random()))
    }

    fn reserve_grant(&self) -> GrantId {
        GrantId::new(next(&self.next_grant), Tag(crypto::random()))
    }

    fn last_grant(&self) -> u64 {
        self.next_grant.load(Ordering::Relaxed).saturating_sub(1)
    }

    async fn append(&self, event: Event, now: Timestamp) -> Result<(), StoreError> {
        self.insistent_step(move |txn| {
            // Why: refusals come as often as anybody likes; they must not eat the reserve.
            if matches!(
                event,
                Event::Denied { .. }
                    | Event::SessionRefused { .. }
                    | Event::SignInFailed { .. }
                    | Event::DenialsSummarized { .. }
                    | Event::LogRead { .. }
                    | Event::ReDecided { .. }
                    | Event::DriftFound { .. }
                    | Event::Pushed { .. }
                    | Event::Used { .. }
            ) {
                txn.room()?;
            }
            txn.append(event.clone(), now).map(|_| ())
        })
        .await
    }

    async fn open_session(&self, draft: SessionDraft) -> Result<SessionRecord, StoreError> {
        let first_grant = self.next_grant.load(Ordering::Relaxed);
        self.step(move |txn| sessions::open(txn, draft, first_grant)).await
    }

    async fn end_session(
        &self,
        id: SessionId,
        ending: SessionEnding,
        now: Timestamp,
    ) -> Result<Cut, StoreError> {
        self.ending_step(move |txn| {
            let ids = sessions::matching(txn, &Matching::Session(id), None, &People::default())?;
            let cut = sessions::end_all(txn, ids, &ending, now);
            txn.whole(cut)
        })
        .await
    }

    async fn record_pending(
        &self,
        draft: PendingDraft,
        now: Timestamp,
    ) -> Result<Grant, StoreError> {
        self.step(move |txn| grants::pending(txn, draft, now)).await
    }

    async fn record_approval(
        &self,
        draft: ApprovalDraft,
        now: Timestamp,
    ) -> Result<Approval, StoreError> {
        self.step(move |txn| approvals::record(txn, draft, now)).await
    }

    async fn record_glass_review(
        &self,
        review: GlassReview,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.step(move |txn| {
            let done = emergencies::review(txn, review, now);
            txn.whole(done)
        })
        .await
    }

    async fn unreviewed(&self) -> Result<Vec<Unreviewed>, StoreError> {
        self.read(emergencies::read).await
    }

    async fn withdraw_approval(
        &self,
        id: GrantId,
        whose: PrincipalId,
        by: PrincipalId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.ending_step(move |txn| {
            let done = approvals::withdraw(txn, id, &whose, by.clone(), now);
            txn.whole(done)
        })
        .await
    }

    async fn record_approved_signed(
        &self,
        id: GrantId,
        permit: Permit,
        issue: IssueRecord,
    ) -> Result<Issued, StoreError> {
        self.step(move |txn| {
            let done = approvals::signed(txn, id, &permit, issue);
            txn.whole(done)
        })
        .await
    }

    async fn record_approved_intent(
        &self,
        id: GrantId,
        permit: Permit,
    ) -> Result<RecordedPermit, StoreError> {
        self.step(move |txn| {
            let done = approvals::intent(txn, id, permit);
            txn.whole(done)
        })
        .await
    }

    fn used(&self, spends: &[Spend], now: Timestamp) -> Vec<Used> {
        let used = |live: &Live| spends.iter().map(|one| live.tally().used(one, now)).collect();
        self.with_live(used).unwrap_or_default()
    }

    async fn record_review(&self, draft: ReviewDraft, now: Timestamp) -> Result<(), StoreError> {
        self.step(move |txn| {
            let done = reviews::record(txn, draft, now);
            txn.whole(done)
        })
        .await
    }

    fn due_reviews(&self) -> Vec<(GrantId, ReviewerName)> {
        self.with_live(Live::due_reviews).unwrap_or_default()
    }

    fn reviews(&self, id: GrantId) -> Vec<Arc<Review>> {
        self.with_live(|live| live.reviews_of(id)).unwrap_or_default()
    }

    fn reviews_given(&self, session: SessionId, reviewer: &ReviewerName) -> Option<u32> {
        self.with_live(|live| live.reviews_given(session, reviewer))
    }

    fn approvals(&self, session: SessionId) -> Vec<(Arc<Approval>, u32)> {
        self.with_live(|live| live.approvals_of(session)).unwrap_or_default()
    }

    fn asked(&self) -> u64 {
        self.with_live(Live::asked).unwrap_or_default()
    }

    fn is_pending(&self, id: GrantId) -> bool {
        let pending = |grant: LiveGrant| grant.phase == Phase::Pending;
        self.with_live(|live| live.grant(id).is_some_and(pending)).unwrap_or(false)
    }

    async fn issued(&self, id: GrantId) -> Result<Issued, StoreError> {
        let grant = self.grant(id).await?;
        let phase = grant.state.phase();
        if phase == Phase::Active { Ok(Issued { grant }) } else { Err(StoreError::Conflict(phase)) }
    }

    fn pending(&self, below: Option<Row>) -> Vec<GrantId> {
        self.with_live(|live| live.pending(below)).unwrap_or_default()
    }

    fn pending_by_turns(&self) -> Vec<GrantId> {
        self.with_live(Live::pending_by_turns).unwrap_or_default()
    }

    async fn record_intent(
        &self,
        id: GrantId,
        permit: Permit,
        request_id: Option<RequestId>,
    ) -> Result<Intent, StoreError> {
        self.step(move |txn| grants::intent(txn, id, permit, request_id)).await
    }

    async fn record_issued(
        &self,
        id: GrantId,
        issue: IssueRecord,
        now: Timestamp,
    ) -> Result<Issued, StoreError> {
        self.step(move |txn| grants::issued(txn, id, issue, now)).await
    }

    async fn record_signed(
        &self,
        id: GrantId,
        permit: Permit,
        request_id: Option<RequestId>,
        issue: IssueRecord,
    ) -> Result<Signed, StoreError> {
        self.step(move |txn| grants::signed(txn, id, &permit, request_id, issue)).await
    }

    async fn record_renewal_intent(
        &self,
        id: GrantId,
        permit: Permit,
    ) -> Result<RecordedPermit, StoreError> {
        self.step(move |txn| grants::renewal_intent(txn, id, permit)).await
    }

    async fn record_renewed(
        &self,
        id: GrantId,
        issue: IssueRecord,
        now: Timestamp,
    ) -> Result<Issued, StoreError> {
        self.step(move |txn| grants::renewed(txn, id, issue, now)).await
    }

    async fn record_failure(&self, failure: Failure, now: Timestamp) -> Result<Grant, StoreError> {
        self.insistent_step(move |txn| endings::failure(txn, failure.clone(), now)).await
    }

    async fn end_grant(
        &self,
        id: GrantId,
        ending: Ending,
        now: Timestamp,
    ) -> Result<Ended, StoreError> {
        self.ending_step(move |txn| endings::end(txn, id, ending.clone(), now)).await
    }

    async fn revoke_matching(
        &self,
        matching: Matching,
        order: Order,
        now: Timestamp,
    ) -> Result<Cut, StoreError> {
        self.ending_step(move |txn| {
            let cut = endings::revoke_matching(txn, &matching, order.clone(), now);
            txn.whole(cut)
        })
        .await
    }

    async fn lift_stop(
        &self,
        matching: Matching,
        by: PrincipalId,
        reason: Words,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.step(move |txn| stops::lift(txn, matching, by, reason, now)).await
    }

    fn stops(&self) -> Option<Arc<Stops>> {
        self.with_live(Live::stops)
    }

    async fn due_revocations(
        &self,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<QueuedRevocation>, StoreError> {
        self.read(move |db| reads::due_revocations(db, now, most)).await
    }

    async fn record_revocation_try(
        &self,
        queued: QueuedRevocation,
        outcome: RevocationTry,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.insistent_step(move |txn| endings::revocation_try(txn, &queued, outcome, now)).await
    }

    fn due_grants(&self, now: Timestamp, minting_before: Timestamp, most: usize) -> Vec<GrantId> {
        self.with_live(|live| live.due(now, minting_before, most)).unwrap_or_default()
    }

    fn due_sessions(&self, now: Timestamp, most: usize) -> Vec<SessionId> {
        self.with_live(|live| live.sessions().due(now, most)).unwrap_or_default()
    }

    fn is_active(&self, id: GrantId, now: Timestamp) -> bool {
        let grant = self.with_live(|live| live.grant(id)).flatten();
        grant.is_some_and(|grant| grant.phase == Phase::Active && grant.due > now)
    }

    fn for_gateway(
        &self,
        session: SessionId,
        upstream: &Upstream,
        resource: &Resource,
    ) -> Vec<GrantId> {
        let target = (upstream.clone(), resource.clone());
        self.with_live(|live| live.for_gateway(session, &target)).unwrap_or_default()
    }

    fn active_at(&self, upstream: &Upstream) -> Vec<GrantId> {
        let matching = Matching::Upstream(upstream.clone());
        self.with_live(|live| live.grants_for(&matching)).unwrap_or_default()
    }

    fn active_from(&self, from: Option<Row>, most: usize) -> Vec<GrantId> {
        self.with_live(|live| live.active_from(from, most)).unwrap_or_default()
    }

    fn live_grants(&self) -> u64 {
        self.with_live(|live| u64::try_from(live.count()).unwrap_or(u64::MAX)).unwrap_or(0)
    }

    fn ended_early(&self, from: u64, most: usize) -> Vec<EndedEarly> {
        self.with_live(|live| live.ended_early(from, most)).unwrap_or_default()
    }

    fn ended_rows(&self, rows: Range<u64>) -> Vec<Row> {
        self.with_live(|live| live.ended_rows(rows)).unwrap_or_default()
    }

    fn endings(&self) -> watch::Receiver<()> {
        self.endings.clone()
    }

    async fn forget_ended(&self, now: Timestamp, most: usize) -> Result<usize, StoreError> {
        let dead = self.with_live(|live| live.dead(now, most)).unwrap_or_default();
        if dead.is_empty() {
            return Ok(0);
        }
        self.step(move |txn| endings::forget(txn, dead)).await
    }

    async fn session(&self, id: SessionId) -> Result<Arc<SessionRecord>, StoreError> {
        if let Some(open) = self.with_live(|live| live.sessions().get(id)).flatten() {
            return self.read_sessions.record(&open);
        }
        self.read(move |db| rows::find_session(db, id)).await.map(Arc::new)
    }

    async fn grants_used(&self, id: SessionId) -> Result<u32, StoreError> {
        self.read(move |db| reads::grants_used(db, id)).await
    }

    async fn grant(&self, id: GrantId) -> Result<Grant, StoreError> {
        self.read(move |db| rows::find_grant(db, id)).await
    }

    async fn sealed(&self, id: GrantId) -> Result<Option<(Sealed, u32, Timestamp)>, StoreError> {
        self.read(move |db| reads::sealed(db, id)).await
    }

    async fn list_sessions(
        &self,
        filter: SessionFilter,
        page: PageAt,
    ) -> Result<PageOf<SessionRecord>, StoreError> {
        self.read(move |db| reads::list_sessions(db, &filter, page)).await
    }

    async fn list_grants(
        &self,
        filter: GrantFilter,
        page: PageAt,
    ) -> Result<PageOf<Grant>, StoreError> {
        self.read(move |db| reads::list_grants(db, &filter, page)).await
    }

    fn growth(&self) -> watch::Receiver<Frontier> {
        self.growth.clone()
    }

    fn feed(&self) -> Option<tokio::sync::mpsc::Receiver<Vec<Entry>>> {
        self.feed.lock().ok()?.take()
    }

    async fn first_entry(&self) -> Result<u64, StoreError> {
        self.read(log::first).await
    }

    async fn archive(&self, from: u64, until: u64) -> Result<(), StoreError> {
        let archive = self.archive.clone().ok_or_else(no_archive)?;
        self.read(move |db| log::archive(db, &archive, from, until)).await
    }

    async fn drop_entries(&self, below: u64, to: Words, now: Timestamp) -> Result<(), StoreError> {
        self.step(move |txn| log::drop_entries(txn, below, to, now)).await
    }

    async fn entries(&self, from: u64, most: u32) -> Result<Vec<String>, StoreError> {
        let archive = self.archive.clone();
        self.read(move |db| log::entries(db, archive.as_ref(), from, most)).await
    }

    async fn entries_at(&self, places: Vec<u64>) -> Result<Vec<String>, StoreError> {
        let archive = self.archive.clone();
        self.read(move |db| log::entries_at(db, archive.as_ref(), &places)).await
    }

    async fn tile(&self, id: TileId) -> Result<Vec<Hash>, StoreError> {
        self.read(move |db| edge::FileTiles(db).tile(id)).await
    }

    async fn root(&self, size: u64) -> Result<Hash, StoreError> {
        self.read(move |db| log::root(db, size)).await
    }

    async fn inclusion(&self, index: u64, size: u64) -> Result<InclusionProof, StoreError> {
        self.read(move |db| log::inclusion(db, index, size)).await
    }

    async fn consistency(&self, old: u64, new: u64) -> Result<ConsistencyProof, StoreError> {
        self.read(move |db| log::consistency(db, old, new)).await
    }

    async fn record_checkpoint(
        &self,
        kind: CheckpointKind,
        checkpoint: SignedCheckpoint,
    ) -> Result<(), StoreError> {
        self.insistent_step(move |txn| log::record_checkpoint(txn, kind, &checkpoint)).await
    }

    async fn checkpoint(&self, kind: CheckpointKind) -> Result<Option<String>, StoreError> {
        self.read(move |db| log::checkpoint(db, kind)).await
    }

    async fn mark(&self, mark: Mark) -> Result<Option<u64>, StoreError> {
        self.read(move |db| log::mark(db, mark)).await
    }

    async fn first_received(
        &self,
        name: [u8; 32],
        memory: Ttl,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.insistent_step(move |txn| log::first_received(txn, name, memory, now)).await
    }

    async fn record_mark(&self, mark: Mark, value: u64) -> Result<(), StoreError> {
        self.insistent_step(move |txn| log::record_mark(txn, mark, value)).await
    }

    fn oldest_wait(&self) -> Duration {
        self.jobs.oldest_wait()
    }

    fn is_healthy(&self) -> bool {
        self.thread.lock().is_ok_and(|thread| thread.as_ref().is_some_and(|t| !t.is_finished()))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}
