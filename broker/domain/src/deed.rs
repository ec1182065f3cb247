//! What is done with a grant through the gateway, as it is seen on the wire.
//!
//! A grant says what may be done; a deed is one thing that is done under it. Each enters `decide` like a
//! request, so that policies can speak about what no forge's token can be limited to.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// What a push does to a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there.
    Create,
    /// It goes on from where it stood: a fast-forward.
    Update,
    /// It is taken away.
    Delete,
    /// It goes elsewhere, and what it held may be lost: no fast-forward, or nobody can tell.
    Force,
}

impl Change {
    /// Every change.
    pub const ALL: [Self; 4] = [Self::Create, Self::Update, Self::Delete, Self::Force];

    /// The word for it in policies and in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Force => "force",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A ref that a push moves. An id of zeros stands for "not there".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// Its whole name, such as `refs/heads/agent/fix-1`.
    #[serde(rename = "ref")]
    pub name: String,
    /// Where it stood, by the one who pushes.
    pub old: String,
    /// Where it goes.
    pub new: String,
    /// What that is.
    pub change: Change,
}

/// What the operations of a GraphQL request are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// They read.
    Query,
    /// They change something.
    Mutation,
}

impl OperationKind {
    /// The word for it in policies, routes and documents.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
        }
    }
}

/// What a GraphQL request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operation {
    /// What each of its operations is.
    pub kind: OperationKind,
    /// The root fields of all of them, by their own names and without `__typename`.
    pub fields: Arc<BTreeSet<String>>,
}

/// The kind and the first fields: arguments may be secret, and there may be many fields.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        f.write_str(self.kind.word())?;
        for (place, field) in self.fields.iter().take(SHOWN).enumerate() {
            write!(f, "{}{field}", if place == 0 { " " } else { ", " })?;
        }
        match self.fields.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// One thing that is done under a grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Deed {
    /// A ref is moved. Which one stands in the scope.
    Move(Change),
    /// A commit is brought along.
    Commit {
        /// The change that brings it.
        change: Change,
        /// Its author's e-mail address, as the commit says it: nobody has proved it.
        author: Arc<str>,
        /// Whether the author, or whoever committed it, signed it off.
        signed_off: bool,
    },
    /// A commit that is brought along adds, changes or removes a file.
    File {
        /// The change that brings it.
        change: Change,
        /// Its path, segments divided by `/`.
        path: Arc<str>,
        /// Its size in bytes; `None` if it is removed, or was there before under another name.
        bytes: Option<u64>,
    },
    /// An API is called.
    Call {
        /// The HTTP method, in upper case.
        method: Arc<str>,
        /// The path below the API's address, decoded and with one spelling.
        path: Arc<str>,
        /// What its body asks for, if a route looked into it as GraphQL.
        operation: Option<Operation>,
    },
}

impl Deed {
    /// What it does to a ref, if it is part of a push.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        match self {
            Self::Move(change) | Self::Commit { change, .. } | Self::File { change, .. } => {
                Some(*change)
            }
            Self::Call { .. } => None,
        }
    }
}

/// What it is, for people: behind "refuses".
impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Move(change) => write!(f, "to {change} it"),
            Self::Commit { author, .. } => write!(f, "a commit by `{author}`"),
            Self::File { path, .. } => write!(f, "a change of `{path}`"),
            Self::Call { method, path, operation } => {
                write!(f, "{method} {path}")?;
                operation.iter().try_for_each(|operation| write!(f, " {operation}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_with_its_first_fields_and_never_at_length() {
        let told = |fields: &[&str]| {
            let fields: BTreeSet<_> = fields.iter().map(|field| (*field).to_owned()).collect();
            let operation = Operation { kind: OperationKind::Mutation, fields: fields.into() };
            let (method, path) = ("POST".into(), "/graphql".into());
            Deed::Call { method, path, operation: Some(operation) }.to_string()
        };
        assert_eq!(told(&[]), "POST /graphql mutation");
        assert_eq!(told(&["createIssue"]), "POST /graphql mutation createIssue");
        assert_eq!(told(&["a", "b", "c", "d", "e"]), "POST /graphql mutation a, b, c and 2 more");
    }
}
