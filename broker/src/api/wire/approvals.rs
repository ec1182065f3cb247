//! Questions to people on the wire, and their answers.

use jeton_domain::approval::{Approval, Breadth, Unreviewed};
use jeton_proto::v1;
use prost::Message;

use super::{grant, session, time};
use crate::{
    limits::PENDING_BYTES,
    operation::approvals::{Asked, Question},
};

pub(crate) fn emergency(one: &Unreviewed) -> v1::Emergency {
    v1::Emergency {
        entry_index: one.entry,
        glass: one.glass.as_str().to_owned(),
        by: one.by.to_string(),
        grant: one.grant.to_string(),
        session: one.session.to_string(),
        reason: one.reason.as_str().to_owned(),
        time: Some(time(one.at)),
    }
}

/// The first of these questions, as many as fit one message.
pub(crate) fn listed<'a>(questions: impl Iterator<Item = &'a Question>) -> Vec<v1::Approval> {
    let mut bytes = 0_usize;
    let mut listed = Vec::new();
    for one in questions.map(listed_question) {
        bytes = bytes.saturating_add(one.encoded_len());
        if bytes > PENDING_BYTES && !listed.is_empty() {
            break;
        }
        listed.push(one);
    }
    listed
}

/// When a question was asked.
pub(crate) fn asked_at(one: &v1::Approval) -> Option<(i64, i32)> {
    let time = one.grant.as_ref()?.request_time?;
    Some((time.seconds, time.nanos))
}

/// A question among many. Why without the envelope: many of them must fit one answer.
fn listed_question(one: &Question) -> v1::Approval {
    let mut listed = question(one);
    if let Some(session) = &mut listed.session {
        session.envelope = None;
    }
    listed
}

pub(crate) fn question(question: &Question) -> v1::Approval {
    let answerable = question.answerable();
    let concerned = question.groups.iter().any(|group| group.yours);
    let not_answerable = match &answerable {
        _ if question.stale => "the policies changed since; the agent has to ask again".to_owned(),
        Err(refusal) if concerned => refusal.to_string(),
        Ok(_) | Err(_) => String::new(),
    };
    v1::Approval {
        grant: Some(grant(&question.grant)),
        session: Some(session(&question.session, 0)),
        request_hash: question.hash.as_str().to_owned(),
        summary: question.summary(),
        groups: question.groups.iter().map(asked).collect(),
        given: question.approvals.iter().map(|approval| given(approval)).collect(),
        stale: question.stale,
        answerable: answerable.is_ok() && !question.stale,
        not_answerable,
    }
}

fn asked(group: &Asked) -> v1::ApproverGroup {
    v1::ApproverGroup {
        name: group.name.to_string(),
        quorum: group.terms.quorum,
        reason_required: group.terms.reason,
        session_grants: group.terms.session.map_or(0, |terms| terms.grants),
        session_seconds: group.terms.session.map_or(0, |terms| terms.ttl.seconds()),
        yours: group.yours,
    }
}

fn given(approval: &Approval) -> v1::GivenApproval {
    v1::GivenApproval {
        by: approval.by.to_string(),
        groups: approval.groups.iter().map(ToString::to_string).collect(),
        time: Some(time(approval.at)),
        reason: approval.reason.as_str().to_owned(),
        for_session: approval.breadth != Breadth::Once,
        entry_index: approval.entry,
    }
}
