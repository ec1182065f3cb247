//! Reads what is to be proved: policies in a file of their own, which no broker loads.

use std::{fs::File, io::Read, path::Path};

use cedar_policy::Policy;
use jeton_domain::decision::PolicyId;

use crate::{
    PolicySet,
    limits::FILE_BYTES,
    policy_file::{self, Use},
    problem::{PolicyProblem, Source},
};

/// What is to be proved of a set.
#[derive(Debug)]
pub struct Properties(Vec<Property>);

/// One property. A `forbid` says that what it matches is never allowed, a `permit` that it always is.
#[derive(Debug)]
pub struct Property {
    /// Its `@id`.
    pub id: PolicyId,
    /// Its `@reason`.
    pub reason: String,
    /// Where it stands, as `file:line`.
    pub place: String,
    pub(super) policy: Policy,
}

impl Properties {
    /// Reads a file.
    ///
    /// # Errors
    /// With every problem at once.
    pub fn load(file: &Path, set: &PolicySet) -> Result<Self, Vec<PolicyProblem>> {
        let name = file.display().to_string();
        let wrong = |words: String, hint: &str| vec![PolicyProblem::of_file(&name, words, hint)];
        let mut text = String::new();
        File::open(file)
            .and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| wrong(format!("can't be read: {error}"), ""))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > FILE_BYTES) {
            return Err(wrong(format!("is larger than {FILE_BYTES} bytes"), "divide it"));
        }
        if !name.ends_with(".cedar") {
            let hint = "properties stand in files named `*.cedar`";
            return Err(wrong("is no file of properties".into(), hint));
        }
        Self::read(Source { name, text }, set)
    }

    /// Takes a text.
    pub(super) fn read(source: Source, set: &PolicySet) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = vec![];
        let sources = [source];
        let rules = policy_file::read_all(&sources, &set.catalogue, Use::Proofs, &mut problems);
        let schema = set.vocabulary.schema().map_err(|error| {
            vec![PolicyProblem::of_file("", format!("the schema: {error}"), "")]
        })?;
        policy_file::validate(schema, &rules, &mut problems);
        if rules.is_empty() && problems.is_empty() {
            let [Source { name, .. }] = &sources;
            let hint = "write a forbid for what is never allowed, a permit for what always is";
            problems.push(PolicyProblem::of_file(name, "holds no property", hint));
        }
        if !problems.is_empty() {
            problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
            problems.dedup();
            return Err(problems);
        }
        let mut all: Vec<_> = rules.into_values().collect();
        all.sort_by_key(|read| read.line());
        let property = |read: policy_file::Read<'_>| Property {
            id: read.guard.policy.clone(),
            reason: read.guard.reason.as_str().to_owned(),
            place: format!("{}:{}", read.file(), read.line()),
            policy: read.rule.policy,
        };
        Ok(Self(all.into_iter().map(property).collect()))
    }

    /// In the order in which they stand.
    pub fn iter(&self) -> impl Iterator<Item = &Property> {
        self.0.iter()
    }
}
