//! A push: what it moves is decided ref by ref, what it brings is read, and only what may be goes on.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use axum::body::{Body, BodyDataStream, Bytes};
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE},
};
use jeton_domain::{
    decision::Denial,
    deed::{Change, Deed, Moved},
    known::Known,
    scope::Scope,
};
use jeton_git::{
    commands::{Commands, Unreadable, Update},
    line::line,
    report::{self, Refused},
};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};

use super::{
    Asked, actions,
    ahead::Ahead,
    budget::PushBudget,
    content::{Content, Root},
    ended_early,
    fetch::Origin,
    spool::{Most, SpoolError, Spooled, spool},
    unreadable,
};
use crate::{
    capacity::Slot,
    gateway::{
        leash::Transfer,
        length,
        mask::Masked,
        outward::GrantGuard,
        words::{Told, of_ref},
    },
    limits::{ANSWER_BYTES, DECIDING_SLICE, PUSH_FRONT, PUSH_REST, PUSH_WAIT, REFUSED_BYTES},
    operation::under_grant::{Under, pushed},
    store::SessionRecord,
};

/// What answers to pushes are sent as.
const RESULT: &str = "application/x-git-receive-pack-result";

/// A ref of a push, and how it stands.
struct Fate {
    update: Update,
    scope: Scope,
    /// What the push does to it, as the log will have it.
    change: Change,
    /// What it may do to it, for all that is known: each of these is decided.
    possible: &'static [Change],
    /// Why it is not moved, in one line; `None` while it may be.
    refused: Option<String>,
    /// Whether that is for what it brings.
    content: bool,
}

impl Fate {
    fn may(&self) -> bool {
        self.refused.is_none()
    }

    /// Takes in whether the ref moves forward. Not known means: it may be either, and is recorded as the worse.
    fn moves_forward(&mut self, forward: Known) {
        const EITHER: &[Change] = &[Change::Update, Change::Force];
        (self.change, self.possible) = match forward {
            Known::Yes => (Change::Update, only(Change::Update)),
            Known::No => (Change::Force, only(Change::Force)),
            Known::Unknown => (Change::Force, EITHER),
        };
    }
}

/// A change alone.
fn only(change: Change) -> &'static [Change] {
    match change {
        Change::Create => &[Change::Create],
        Change::Update => &[Change::Update],
        Change::Delete => &[Change::Delete],
        Change::Force => &[Change::Force],
    }
}

/// A push whose front is read.
struct Push {
    commands: Commands,
    fates: Vec<Fate>,
}

/// What became of a push that was sent ahead.
enum Sent {
    /// It is done: the upstream's answer.
    Whole(Response<Body>),
    /// Not all of it may be done: what was read of it, if it was taken.
    Kept(Option<(u64, Spooled)>),
}

/// What stands behind the front.
type Rest = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

impl Asked<'_> {
    /// Takes a push.
    pub(super) async fn push(&self, body: Body) -> Result<Response<Body>, Told> {
        if self.headers.contains_key(CONTENT_ENCODING) {
            return Err(Told::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "a push can't be read through a content encoding; send it plain",
            ));
        }
        let mut body = body.into_data_stream();
        let read = timeout(PUSH_FRONT, front(&mut body)).await;
        let (commands, rest) = match read.unwrap_or(Err(Unreadable::Short)) {
            Ok(read) => read,
            Err(error) => {
                drain(body).await;
                return Ok(fatal(&unreadable(&error.to_string())));
            }
        };
        let rest: Rest = Box::pin(tokio_stream::once(Ok(rest)).chain(body));
        // git asks with nothing to move, before a long push, whether it will be heard at all.
        if commands.updates.is_empty() {
            return Ok(result(Body::empty()));
        }
        let fates = self.fates(&commands)?;
        let mut push = Push { commands, fates };
        let record = self.record()?;
        let scopes = self.covering(&push.fates);
        if scopes.is_empty() {
            return self.outside(push, record, rest).await;
        }
        let pass = match self.pass(&scopes).await {
            Ok(pass) => pass,
            Err(told) => {
                push.refuse_all(told.first());
                drain(rest).await;
                return Ok(push.answer(&told.text()));
            }
        };
        let under = Under::new(&self.gateway.broker, record, Some(&pass.grant)).await;
        let under = under.map_err(Told::of)?;
        self.decide_moves(&mut push, &under, false).await?;
        push.settle();
        if !push.fates.iter().any(Fate::may) {
            drain(rest).await;
            return Ok(push.answer(&push.words()));
        }
        let guard = GrantGuard::new(self.gateway, &pass, &self.line());
        // A push that only takes refs away brings nothing.
        let brings = push.fates.iter().any(|fate| !fate.update.new.is_none());
        let reads = push.fates.iter().any(|fate| under.reads_content(&fate.scope));
        let spooled = match brings {
            false => None,
            true if !reads && push.fates.iter().all(Fate::may) => {
                match self.send_ahead(&mut push, &under, &guard, rest).await? {
                    Sent::Whole(answer) => return Ok(answer),
                    Sent::Kept(spooled) => spooled,
                }
            }
            true => {
                let looking = self.look_into(&mut push, &under, &guard, rest, None);
                guard.while_live(looking).await.map_err(ended_early)??
            }
        };
        push.settle();
        let going: Vec<_> = push.fates.iter().filter(|fate| fate.may()).collect();
        if going.is_empty() {
            guard.transfer().cut("nothing of the push may be done");
            return Ok(push.answer(&push.words()));
        }
        let moved = going.iter().map(|fate| fate.moved()).collect();
        let (count, bytes) =
            spooled.as_ref().map_or((0, 0), |(count, spooled)| (*count, spooled.bytes));
        pushed(&self.gateway.broker, &pass.grant, moved, (count, bytes)).await.map_err(Told::of)?;
        self.go_on(&push, &guard, spooled.map(|(_, spooled)| spooled)).await
    }

    /// A push of which no ref lies within the session: nothing is asked for, and each is told why.
    async fn outside(
        &self,
        mut push: Push,
        record: &SessionRecord,
        rest: Rest,
    ) -> Result<Response<Body>, Told> {
        let under = Under::new(&self.gateway.broker, record, None).await.map_err(Told::of)?;
        self.decide_moves(&mut push, &under, false).await?;
        // Never seen: what no line covers is refused by the envelope.
        push.refuse_all("it is outside this session's scope");
        drain(rest).await;
        Ok(push.answer(&push.words()))
    }

    /// Each ref with the scope that moving it needs.
    fn fates(&self, commands: &Commands) -> Result<Vec<Fate>, Told> {
        let actions = actions(true).ok_or_else(|| unreadable("no action"))?;
        let fate = |update: &Update| {
            let pattern = update.name.pattern();
            let pattern = pattern.ok_or_else(|| unreadable("a ref that no scope can name"))?;
            let change = match (update.old.is_none(), update.new.is_none()) {
                (true, _) => Change::Create,
                (false, true) => Change::Delete,
                // A tag does not go on; it is another one.
                (false, false) if !update.name.as_str().starts_with("refs/heads/") => Change::Force,
                (false, false) => Change::Update,
            };
            let scope = Scope {
                upstream: self.wanted.upstream.clone(),
                resource: self.wanted.resource.clone(),
                actions: actions.clone(),
                git_ref: Some(pattern),
            };
            let (update, possible) = (update.clone(), only(change));
            Ok(Fate { update, scope, change, possible, refused: None, content: false })
        };
        commands.updates.iter().map(fate).collect()
    }

    /// The scopes to ask for, those that cover most of the refs first.
    fn covering(&self, fates: &[Fate]) -> Vec<Scope> {
        let Some(record) = self.caller.session.as_deref() else { return vec![] };
        let mut scopes = self.scopes(record);
        let covered = |scope: &Scope| fates.iter().filter(|fate| scope.holds(&fate.scope)).count();
        scopes.sort_by_key(|scope| std::cmp::Reverse(covered(scope)));
        scopes.retain(|scope| covered(scope) > 0);
        scopes
    }

    /// Decides of each ref that still may be whether it may be moved so; or of the forced ones alone, once
    /// it is known which those are.
    async fn decide_moves(
        &self,
        push: &mut Push,
        under: &Under<'_>,
        only_forced: bool,
    ) -> Result<(), Told> {
        let bounds = self.record().map(|record| self.scopes(record))?;
        for fate in push.fates.iter_mut().filter(|fate| fate.may()) {
            if only_forced && fate.change != Change::Force {
                continue;
            }
            let deed = Deed::Move(fate.change);
            if let Err(denial) = under.may(&fate.scope, Some(&deed)) {
                let name = match fate.change {
                    Change::Create | Change::Update => fate.update.name.to_string(),
                    Change::Delete => format!("deleting {}", fate.update.name),
                    Change::Force => format!("forcing {}", fate.update.name),
                };
                fate.refused = Some(of_ref(&name, &denial, &bounds));
                self.record_refusal(under, fate, deed, denial).await?;
            }
        }
        Ok(())
    }

    async fn record_refusal(
        &self,
        under: &Under<'_>,
        fate: &Fate,
        deed: Deed,
        denial: Denial,
    ) -> Result<(), Told> {
        match under.refuse(fate.scope.clone(), Some(deed), denial).await {
            Ok(()) | Err(crate::operation::Refusal::Denied(_)) => Ok(()),
            Err(other) => Err(Told::of(other)),
        }
    }

    /// Sends a push on while it is read, if no rule looks at what it brings: only which refs are forced is found
    /// out meanwhile. Its end waits for that, so nothing is moved before all is decided and recorded.
    async fn send_ahead(
        &self,
        push: &mut Push,
        under: &Under<'_>,
        guard: &GrantGuard<'_>,
        rest: Rest,
    ) -> Result<Sent, Told> {
        let updates: Vec<_> = push.fates.iter().map(|fate| fate.update.clone()).collect();
        let front = Bytes::from(push.commands.with_only(&updates));
        let (mut ahead, body) = Ahead::new(front);
        let call = self.asks(Some(reqwest::Body::wrap_stream(body)))?;
        let deciding = async move {
            let kept = self.look_into(push, under, guard, rest, Some(&mut ahead)).await?;
            push.settle();
            match kept {
                Some((count, spooled)) if push.fates.iter().all(Fate::may) => {
                    let moved = push.fates.iter().map(Fate::moved).collect();
                    let broker = &self.gateway.broker;
                    let recorded =
                        pushed(broker, guard.grant(), moved, (count, spooled.bytes)).await;
                    recorded.map_err(Told::of)?;
                    // Why again: what goes now makes a push of it.
                    guard.check().map_err(ended_early)?;
                    ahead.finish().await;
                    Ok(None)
                }
                // Why dropped: the upstream hears a push that breaks off, and moves nothing.
                kept => {
                    drop(ahead);
                    Ok(Some(kept))
                }
            }
        };
        let both = async { tokio::join!(self.way.call(guard, call), deciding) };
        let (answer, decided) = guard.while_live(both).await.map_err(ended_early)?;
        if let Some(kept) = decided? {
            return Ok(Sent::Kept(kept));
        }
        let answer = self.good(answer, guard)?;
        Ok(Sent::Whole(self.back(answer, guard)))
    }

    /// Takes the pack in and decides what can be told only by it: whether refs are forced, and what is in it.
    /// One that is not taken refuses all.
    async fn look_into(
        &self,
        push: &mut Push,
        under: &Under<'_>,
        guard: &GrantGuard<'_>,
        rest: Rest,
        ahead: Option<&mut Ahead>,
    ) -> Result<Option<(u64, Spooled)>, Told> {
        let (transfer, budget) = (guard.transfer(), PushBudget::default());
        let mut rest = transfer.out(rest);
        let (slot, first) = match self.push_slot(transfer, &mut rest).await {
            Ok(found) => found,
            Err(told) => {
                transfer.cut("the push was not taken");
                // Why: git may not see the answer while it still writes. Why ignored: it waits no longer.
                let _ = timeout(PUSH_WAIT, drain(rest)).await;
                return Err(told);
            }
        };
        let reads = push.fates.iter().any(|fate| under.reads_content(&fate.scope));
        let room = &self.gateway.room;
        let most = Most { bytes: room.push_bytes, file: room.file_bytes };
        let mut rest = tokio_stream::iter(first).chain(rest.steady());
        let readers = &self.gateway.readers;
        let (objects, mut spooled) =
            match spool(&room.spool, &mut rest, most, reads, ahead, (readers, &budget)).await {
                Ok(spooled) => spooled,
                Err(error) => {
                    let words = error.to_string();
                    transfer.cut("the push was not taken");
                    drain(rest).await;
                    if let SpoolError::Disk(error) = error {
                        tracing::error!(%error, "a push could not be written to disk");
                    }
                    push.refuse_all(&words);
                    return Ok(None);
                }
            };
        let origin = Origin {
            way: self.way,
            resource: &self.wanted.resource,
            guard,
            budget: &budget,
            readers,
            unfiltered: AtomicBool::new(false),
        };
        let mut content = Content::new(&origin, objects);
        for fate in push.fates.iter_mut().filter(|fate| fate.may()) {
            if fate.change == Change::Update {
                let Update { old, new, .. } = fate.update;
                fate.moves_forward(content.moves_forward(old, new).await);
            }
        }
        self.decide_moves(push, under, true).await?;
        if reads {
            self.decide_content(push, under, &mut content).await?;
            // Why all: the pack goes on whole, and what one ref may not bring would come with it.
            let refused = push.fates.iter().find(|fate| fate.content).map(|fate| &fate.update.name);
            if let Some(name) = refused.map(ToString::to_string) {
                push.refuse_all(&format!(
                    "the push brings what {name} may not; push the rest alone"
                ));
            }
        }
        spooled.keep(slot);
        Ok(Some((content.count(), spooled)))
    }

    /// Takes a slot for reading a push once its pack begins: until then git may be compressing. Of those
    /// slots, one accountable subject has a share; what is busy for long is refused with a time.
    async fn push_slot<S: Stream<Item = std::io::Result<Bytes>> + Unpin>(
        &self,
        transfer: &Arc<Transfer>,
        rest: &mut S,
    ) -> Result<(Slot, Option<S::Item>), Told> {
        let first = loop {
            match rest.next().await {
                Some(Ok(piece)) if piece.is_empty() => {}
                first => break first,
            }
        };
        let slot = self.gateway.pushes.take_within(&self.caller.subject, PUSH_WAIT);
        tokio::select! {
            slot = slot => match slot {
                Some(slot) => Ok((slot, first)),
                None => Err(Told::plain(self.gateway.shed())),
            },
            why = Arc::clone(transfer).snapped() => Err(Told::new(StatusCode::FORBIDDEN, why)),
        }
    }

    /// Decides every commit and every file that the refs bring.
    async fn decide_content(
        &self,
        push: &mut Push,
        under: &Under<'_>,
        content: &mut Content<'_>,
    ) -> Result<(), Told> {
        let fates = push.fates.iter_mut();
        let mut fates: Vec<_> =
            fates.filter(|fate| fate.may() && !fate.update.new.is_none()).collect();
        let roots: Vec<_> = fates
            .iter()
            .map(|fate| Root { new: fate.update.new, changes: fate.possible })
            .collect();
        let brought = content.deeds(&roots).await;
        let mut slice = (self.gateway.readers.short_turn().await, Instant::now());
        for (fate, deeds) in fates.iter_mut().zip(brought) {
            let deeds = match deeds {
                Ok(deeds) => deeds,
                Err(error) => {
                    fate.refused = Some(format!("{}: {error}", fate.update.name));
                    fate.content = true;
                    continue;
                }
            };
            for deed in deeds {
                // Why now and then: thousands of decisions must not hold others up.
                if slice.1.elapsed() > DECIDING_SLICE {
                    drop(slice);
                    tokio::task::yield_now().await;
                    slice = (self.gateway.readers.short_turn().await, Instant::now());
                }
                if let Err(denial) = under.may(&fate.scope, Some(&deed)) {
                    let name = format!("{}: {deed}", fate.update.name);
                    fate.refused = Some(of_ref(&name, &denial, &[]));
                    fate.content = true;
                    self.record_refusal(under, fate, deed, denial).await?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends on what may be done, and tells the client what became of all of it.
    async fn go_on(
        &self,
        push: &Push,
        guard: &GrantGuard<'_>,
        spooled: Option<Spooled>,
    ) -> Result<Response<Body>, Told> {
        let updates: Vec<_> =
            push.fates.iter().filter(|fate| fate.may()).map(|fate| fate.update.clone()).collect();
        let front = Bytes::from(push.commands.with_only(&updates));
        let deletes = updates.iter().all(|update| update.new.is_none());
        let spooled = spooled.filter(|_| !deletes);
        let length = u64::try_from(front.len()).unwrap_or(u64::MAX);
        let length = length.saturating_add(spooled.as_ref().map_or(0, |spooled| spooled.bytes));
        let front = tokio_stream::once(std::io::Result::Ok(front));
        let body = match spooled {
            Some(spooled) => reqwest::Body::wrap_stream(front.chain(spooled.stream())),
            None => reqwest::Body::wrap_stream(front),
        };
        let mut call = self.asks(Some(body))?;
        length::told(&mut call.headers, Some(length));
        let answer = self.called(call, guard).await?;
        if push.fates.iter().all(Fate::may) {
            return Ok(self.back(answer, guard));
        }
        let bytes = Masked::new(answer.bytes_stream(), guard.marks());
        let mut bytes = guard.transfer().back(bytes);
        let mut taken = Vec::new();
        while let Some(piece) = bytes.next().await {
            let piece =
                piece.map_err(|error| Told::new(StatusCode::BAD_GATEWAY, &error.to_string()))?;
            taken.extend_from_slice(&piece);
            if taken.len() > ANSWER_BYTES {
                break;
            }
        }
        let (refused, words) = (push.refused(), push.words());
        let told = report::beside(&push.commands, &taken, &refused, &words);
        // Why as it is: the refs were moved, and what was not is not in it.
        Ok(result(Body::from(told.unwrap_or(taken))))
    }
}

impl Fate {
    fn moved(&self) -> Moved {
        Moved {
            name: self.update.name.to_string(),
            old: self.update.old.to_string(),
            new: self.update.new.to_string(),
            change: self.change,
        }
    }
}

impl Push {
    fn refuse_all(&mut self, why: &str) {
        for fate in self.fates.iter_mut().filter(|fate| fate.may()) {
            fate.refused = Some(why.to_owned());
        }
    }

    /// Of an atomic push, nothing is moved if one ref is not.
    fn settle(&mut self) {
        let refused = self.fates.iter().find(|fate| !fate.may());
        if let Some(name) = refused.map(|fate| fate.update.name.to_string())
            && self.commands.atomic
        {
            self.refuse_all(&format!("the push is atomic, and {name} was refused"));
        }
    }

    fn refused(&self) -> Vec<Refused<'_>> {
        let mut refused = Vec::new();
        for Fate { update, refused: why, .. } in &self.fates {
            // Why the first part alone: all of it stands in the words beside.
            let short =
                |why: &str| why.split_once("; ").map_or(why.len(), |(first, _)| first.len());
            let why = why.as_deref().map(|why| why.get(..short(why)).unwrap_or(why));
            refused.extend(why.map(|why| Refused { name: &update.name, why }));
        }
        refused
    }

    /// The words beside the outcome, each once.
    fn words(&self) -> String {
        let mut seen = BTreeMap::new();
        for (place, why) in self.fates.iter().filter_map(|fate| fate.refused.as_deref()).enumerate()
        {
            seen.entry(why).or_insert(place);
        }
        let mut lines: Vec<_> = seen.into_iter().collect();
        lines.sort_by_key(|(_, place)| *place);
        lines.iter().map(|(why, _)| format!("jeton: {why}\n")).collect()
    }

    fn answer(&self, words: &str) -> Response<Body> {
        if !self.commands.side_band && !self.commands.reports {
            return Told::new(StatusCode::FORBIDDEN, words.trim_end()).response();
        }
        result(Body::from(report::nothing(&self.commands, &self.refused(), words)))
    }
}

/// Reads up to the end of the commands. Gives what has come behind them too.
async fn front(body: &mut BodyDataStream) -> Result<(Commands, Bytes), Unreadable> {
    let (mut taken, mut looked) = (Vec::new(), 0_usize);
    loop {
        // Why not at each byte: what came one by one would be read from the start each time.
        let worth =
            looked == 0 || taken.len() >= looked.saturating_add(512) || taken.ends_with(b"0000");
        if let Some((commands, length)) = if worth { Commands::parse(&taken)? } else { None } {
            let rest = taken.split_off(length.min(taken.len()));
            return Ok((commands, Bytes::from(rest)));
        }
        if worth {
            looked = taken.len();
        }
        match body.next().await {
            Some(Ok(piece)) => taken.extend_from_slice(&piece),
            Some(Err(_)) | None => {
                let whole = Commands::parse(&taken)?.ok_or(Unreadable::Short)?;
                let rest = taken.split_off(whole.1.min(taken.len()));
                return Ok((whole.0, Bytes::from(rest)));
            }
        }
    }
}

/// Reads over what a refused client still sends: else it might not see the answer.
pub(super) async fn drain<E>(mut rest: impl Stream<Item = Result<Bytes, E>> + Unpin) {
    let reading = async {
        let mut read = 0_usize;
        while let Some(Ok(piece)) = rest.next().await {
            read = read.saturating_add(piece.len());
            if read > REFUSED_BYTES {
                return;
            }
        }
    };
    // Why ignored: who is that slow gets no words.
    let _ = timeout(PUSH_REST, reading).await;
}

fn result(body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(RESULT));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// The end of a push that is not understood: on the band that git takes for an error.
fn fatal(told: &Told) -> Response<Body> {
    let mut out = Vec::new();
    line(&mut out, &[b"\x03", told.text().as_bytes()].concat());
    out.extend_from_slice(b"0000");
    result(Body::from(out))
}
