//! Questions that wait for people: who is asked, what exactly, and who may answer.

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    approval::{
        Approval, Glass, GroupName, Guard, Involved, RequestHash, Terms, involved, request_hash,
    },
    decision::{Delivery, Rules},
    grant::{Grant, GrantState},
    id::{GrantId, Row},
    principal::PrincipalId,
    review::{Review, Verdict},
    session::Session,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{Broker, Caller, Refusal, break_glass::is_named, line::Line, line::unknown};
use crate::{
    limits::{STREAM_LOOK, STREAM_PAUSE},
    store::{SessionRecord, StoreError},
};

/// A question as whoever may see it sees it.
pub struct Question {
    /// The grant that waits.
    pub grant: Grant,
    /// Its session.
    pub session: Arc<SessionRecord>,
    /// What waits.
    pub guards: Vec<Guard>,
    /// What an approval is bound to.
    pub hash: RequestHash,
    /// Who is asked.
    pub groups: Vec<Asked>,
    /// The approvals so far.
    pub approvals: Vec<Arc<Approval>>,
    /// The reviewers that are asked before people, and what they said.
    pub reviews: Vec<Arc<Review>>,
    /// Whether the policies changed since: then nothing can be approved any more.
    pub stale: bool,
    /// Why the caller may not answer, if it is one of those who are asked.
    pub involved: Option<Involved>,
}

/// A group that is asked.
pub struct Asked {
    /// Its name.
    pub name: GroupName,
    /// What it keeps to.
    pub terms: Terms,
    /// Whether the caller is of it.
    pub yours: bool,
}

impl Question {
    /// What is asked, a line each, in the broker's own words: nothing of it was written by the agent. What
    /// a reviewer said of it is a quotation.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let mut lines = summary(&self.grant, &self.session.session, &self.guards);
        lines.extend(self.reviews.iter().map(|review| reviewed(review)));
        lines
    }

    /// Sees whether the caller's word counts: it may have been stopped since it signed in.
    ///
    /// # Errors
    /// When it does not.
    pub fn counts(&self, broker: &Broker, caller: &Caller) -> Result<(), Refusal> {
        match broker.stops()?.silence(&caller.principal.id) {
            true => Err(Refusal::Forbidden("what you approve counts for nothing: you are stopped")),
            false => Ok(()),
        }
    }

    /// Sees whether this is what somebody was shown, and can still be answered.
    ///
    /// # Errors
    /// When it is not.
    pub fn is(&self, shown: &RequestHash) -> Result<(), Refusal> {
        if self.stale {
            return Err(Refusal::State(
                "the policies changed since this was asked; the agent has to ask again".into(),
            ));
        }
        if self.hash != *shown {
            return Err(Refusal::State(
                "what you were shown is not what is asked; look at it again".into(),
            ));
        }
        Ok(())
    }

    /// The groups for which the caller may answer.
    ///
    /// # Errors
    /// When there is none, or it would answer its own question.
    pub fn answerable(&self) -> Result<BTreeSet<GroupName>, Refusal> {
        if let Some(involved) = self.involved {
            return Err(Refusal::State(format!("{involved}; somebody else has to answer")));
        }
        let yours = self.groups.iter().filter(|group| group.yours);
        let yours: BTreeSet<_> = yours.map(|group| group.name.clone()).collect();
        if yours.is_empty() {
            return Err(Refusal::Forbidden("you are in none of the groups that are asked"));
        }
        Ok(yours)
    }
}

/// What is asked, a line each, in the broker's own words.
pub(super) fn summary(grant: &Grant, session: &Session, guards: &[Guard]) -> Vec<String> {
    let whom = session.person.as_ref().map_or_else(String::new, |who| format!(" for {who}"));
    let (upstream, resource) = (&grant.scope.upstream, &grant.scope.resource);
    let actions: Vec<_> = grant.scope.actions.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        format!("{}{whom} wants {} on {upstream}:{resource}", grant.agent, actions.join(", ")),
        match &grant.scope.git_ref {
            Some(pattern) => format!("on refs that match {pattern}"),
            None => "on every ref".to_owned(),
        },
        format!("for {} s from the moment it gets it", grant.ttl.seconds()),
    ];
    if grant.delivery == Delivery::Gateway {
        lines.push("through the gateway: it never gets the credential itself".to_owned());
    }
    let chain: Vec<_> = grant.chain.links().iter().map(|link| link.agent.as_str()).collect();
    if !chain.is_empty() {
        lines.push(format!("passed on by {}", chain.join(", then ")));
    }
    lines.push(format!("in a session that {} opened", session.opener));
    lines.extend(guards.iter().map(|guard| {
        let groups: Vec<_> = guard.groups.iter().map(GroupName::as_str).collect();
        let (policy, groups) = (&guard.policy, groups.join(" or "));
        format!("held by {policy}, which {groups} can lift: {}", guard.reason.as_str())
    }));
    lines
}

/// What a reviewer says of it, a line.
fn reviewed(review: &Review) -> String {
    let name = &review.reviewer;
    let Some(answer) = &review.answer else { return format!("the reviewer {name} is being asked") };
    let verdict = match answer.verdict {
        Verdict::Approve => "approves it",
        Verdict::Narrow => "offers less",
        Verdict::Escalate => "leaves it to people",
    };
    let cause = answer
        .cause
        .as_ref()
        .map_or_else(String::new, |cause| format!(", because {}", cause.as_str()));
    let reason = match answer.reason.as_str() {
        "" => String::new(),
        reason => format!(": “{reason}”"),
    };
    format!("the reviewer {name} {verdict}{cause}{reason}")
}

/// One question.
///
/// # Errors
/// When there is none such for this caller.
pub async fn question(broker: &Broker, caller: &Caller, id: GrantId) -> Result<Question, Refusal> {
    // Why one word for both: to those who see neither, it is the same.
    let grant = match broker.store.grant(id).await {
        Err(StoreError::NoGrant) => return Err(Refusal::NotFound("question")),
        found => found?,
    };
    let phase = grant.state.phase();
    match seen(broker, caller, grant).await? {
        Some(question) => Ok(question),
        // Why told only to those who see everything: to others it never was theirs to see.
        None if caller.sees_all() => {
            Err(Refusal::State(format!("the grant is {}; nobody is asked", phase.word())))
        }
        None => Err(Refusal::NotFound("question")),
    }
}

/// The questions below a row that a caller may see, newest first, up to a number.
///
/// # Errors
/// When the store can't be read.
pub async fn questions(
    broker: &Broker,
    caller: &Caller,
    below: Option<Row>,
    most: usize,
) -> Result<Vec<Question>, Refusal> {
    let mut found = Vec::new();
    if !is_asked(broker, caller) {
        return Ok(found);
    }
    for id in broker.store.pending(below) {
        if found.len() >= most {
            break;
        }
        let grant = broker.store.grant(id).await?;
        found.extend(seen(broker, caller, grant).await?);
    }
    Ok(found)
}

/// All questions that a caller may see, by turns of those who are accountable for them.
async fn questions_by_turns(broker: &Broker, caller: &Caller) -> Result<Vec<Question>, Refusal> {
    let mut found = Vec::new();
    if !is_asked(broker, caller) {
        return Ok(found);
    }
    for id in broker.store.pending_by_turns() {
        let grant = broker.store.grant(id).await?;
        found.extend(seen(broker, caller, grant).await?);
    }
    Ok(found)
}

/// Tells whether there may be questions for somebody at all. Why before: each costs looks into the store.
fn is_asked(broker: &Broker, caller: &Caller) -> bool {
    let rules = broker.policies.current();
    let catalogue = rules.catalogue();
    caller.sees_all()
        || catalogue.groups().any(|group| group.holds(&caller.principal))
        || catalogue.glasses().iter().any(|glass| is_named(glass, caller))
}

async fn seen(broker: &Broker, caller: &Caller, grant: Grant) -> Result<Option<Question>, Refusal> {
    let GrantState::Pending { guards, until } = &grant.state else { return Ok(None) };
    // Why not with a session: that is the agents' side.
    if *until <= broker.clock.now() || caller.session.is_some() {
        return Ok(None);
    }
    let guards = guards.clone();
    let rules = broker.policies.current();
    let who = &caller.principal.id;
    let names: BTreeSet<_> = guards.iter().flat_map(|guard| guard.groups.iter()).collect();
    let groups: Vec<_> = names
        .into_iter()
        .filter_map(|name| {
            let group = rules.catalogue().group(name)?;
            let yours = group.holds(&caller.principal);
            Some(Asked { name: name.clone(), terms: group.terms.clone(), yours })
        })
        .collect();
    let glasses = rules.catalogue().glasses().iter().filter(|glass| is_named(glass, caller));
    let lifts = |glass: &Glass| groups.iter().any(|group| glass.lifts.contains(&group.name));
    let emergency = glasses.into_iter().any(lifts);
    if !caller.sees_all() && !emergency && !groups.iter().any(|group| group.yours) {
        return Ok(None);
    }
    let session = broker.store.session(grant.session).await?;
    let openers = openers(broker, &session.session).await?;
    // One at an upstream that is configured no more can't be granted; it lapses.
    let Ok(source) = broker.source(&grant.scope.upstream) else { return Ok(None) };
    let kind = source.kind();
    let approvals = broker.store.approvals(grant.session).into_iter();
    let approvals = approvals.map(|(approval, _)| approval);
    Ok(Some(Question {
        hash: request_hash(&grant, &guards, kind.word()),
        involved: involved(who, &session.session, openers.iter(), rules.catalogue().people()),
        stale: rules.hash() != &*grant.decided_by.policy_hash,
        reviews: broker.store.reviews(grant.id),
        approvals: approvals.filter(|approval| approval.grant == grant.id).collect(),
        session,
        guards,
        groups,
        grant,
    }))
}

/// Who opened the sessions above one.
pub(super) async fn openers(
    broker: &Broker,
    session: &Session,
) -> Result<Vec<PrincipalId>, Refusal> {
    let mut openers = Vec::new();
    for link in session.chain.links() {
        openers.push(broker.store.session(link.session).await?.session.opener.clone());
    }
    Ok(openers)
}

/// Sends all questions that a caller may see, by turns, and again each time that they are others, until the reader
/// goes away.
pub async fn watch(
    broker: &Broker,
    caller: &Caller,
    out: mpsc::Sender<Result<Vec<Question>, Refusal>>,
) {
    if let Err(error) = follow(broker, caller, &out).await {
        // Why ignored: a reader that went away wants no error.
        let _ = out.send(Err(error)).await;
    }
}

async fn follow(
    broker: &Broker,
    caller: &Caller,
    out: &mpsc::Sender<Result<Vec<Question>, Refusal>>,
) -> Result<(), Refusal> {
    let mut growth = broker.store.growth();
    let line = Line::new(broker, caller, out);
    let mut told = None;
    while line.goes_on().await? {
        growth.borrow_and_update();
        // Why by numbers in memory: reading the questions costs a look at each.
        let state = (broker.store.asked(), broker.policies.current().hash().to_owned());
        if told.as_ref() != Some(&state) {
            told = Some(state);
            if !line.send(questions_by_turns(broker, caller).await?).await? {
                return Ok(());
            }
        }
        // Why a pause: under load the log grows thousands of times a second.
        tokio::time::sleep(STREAM_PAUSE).await;
        tokio::select! {
            () = line.closed() => return Ok(()),
            grown = timeout_at(Instant::now() + STREAM_LOOK, growth.changed()) => {
                if let Ok(Err(_)) = grown {
                    return Err(unknown());
                }
            }
        }
    }
    Ok(())
}
