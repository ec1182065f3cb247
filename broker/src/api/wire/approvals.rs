//! Questions to people on the wire, and their answers.

use jeton_domain::approval::{Approval, Breadth, Unreviewed};
use jeton_proto::v1;

use super::{grant, session, time};
use crate::operation::approvals::{Asked, Question};

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

/// A question among many. Why without the envelope: a thousand of them must fit one answer.
pub(crate) fn listed_question(one: &Question) -> v1::Approval {
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
