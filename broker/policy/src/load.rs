//! Makes a policy set of texts: every policy named, validated and understood, or none is used.

use std::{collections::HashMap, path::Path, sync::Arc};

use cedar_policy::{Authorizer, Effect, Policy};
use jeton_domain::{
    approval::Guard,
    decision::PolicyId,
    scope::{Action, Upstream},
    secret::{hex, sha256},
};
use moka::sync::Cache;

use super::{
    author::lint::gives_grants,
    catalogue::Catalogue,
    catalogue_file::{self, CATALOGUE},
    folder,
    index::Index,
    limits::{LOADING_STACK, PREPARED, PROBLEMS},
    names::Names,
    policy_file::{self, Use},
    prepare::Prepared,
    problem::{PolicyProblem, Source},
    vocabulary::Vocabulary,
};

/// Policies, catalogue and schema that belong together.
pub struct PolicySet {
    pub(super) hash: String,
    pub(super) sources: Vec<Source>,
    pub(super) names: Names,
    pub(super) catalogue: Catalogue,
    pub(super) vocabulary: Vocabulary,
    pub(super) index: Index,
    pub(super) guards: HashMap<PolicyId, Guard>,
    pub(super) prepared: Cache<String, Arc<Prepared>>,
    pub(super) authorizer: Authorizer,
}

impl PolicySet {
    /// Reads a folder.
    ///
    /// # Errors
    /// With every problem at once; none of the folder is used then.
    pub fn load(folder: &Path, vocabulary: &Vocabulary) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = vec![];
        let sources = folder::read(folder, &mut problems);
        Self::of(sources, vocabulary, problems)
    }

    /// Takes texts by their file names. `catalogue.toml` may be left out.
    ///
    /// # Errors
    /// With every problem at once.
    pub fn from_sources(
        texts: &[(&str, &str)],
        vocabulary: &Vocabulary,
    ) -> Result<Self, Vec<PolicyProblem>> {
        let source =
            |(name, text): &(&str, &str)| Source { name: (*name).into(), text: (*text).into() };
        let mut sources: Vec<_> = texts.iter().map(source).collect();
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        Self::of(sources, vocabulary, vec![])
    }

    /// What is known about agents, people and resources.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The files that it was made of.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Every policy, in the order of their ids.
    pub fn policies(&self) -> impl Iterator<Item = (PolicyId, &Policy)> {
        let policies = self.index.policies().map(|policy| (policy.id().as_ref(), policy));
        let mut policies: Vec<(&str, &Policy)> = policies.collect();
        policies.sort_unstable_by_key(|(id, _)| *id);
        policies.into_iter().map(|(id, policy)| (PolicyId::new(id), policy))
    }

    /// The ids of those that are about grants, and not only about opening sessions.
    pub fn about_grants(&self) -> impl Iterator<Item = PolicyId> {
        self.policies().filter(|(_, policy)| gives_grants(policy)).map(|(id, _)| id)
    }

    /// What may be asked for at an upstream.
    pub fn actions(&self, upstream: &Upstream) -> Vec<Action> {
        self.vocabulary.actions(upstream)
    }

    /// Every forbid, in no order; those with groups are guards.
    pub fn forbids(&self) -> impl Iterator<Item = &Guard> {
        self.guards.values()
    }

    /// Works on a thread of its own, whose stack holds whatever the limits let through.
    fn of(
        sources: Vec<Source>,
        vocabulary: &Vocabulary,
        problems: Vec<PolicyProblem>,
    ) -> Result<Self, Vec<PolicyProblem>> {
        let broken = |words: &str| vec![PolicyProblem::of_file("", words, "")];
        std::thread::scope(|scope| {
            let work = move || Self::understood(sources, vocabulary, problems);
            let thread = std::thread::Builder::new().stack_size(LOADING_STACK);
            let thread = thread
                .spawn_scoped(scope, work)
                .map_err(|error| broken(&format!("no thread to load policies: {error}")))?;
            thread.join().map_err(|_| broken("the policies could not be understood"))?
        })
    }

    fn understood(
        sources: Vec<Source>,
        vocabulary: &Vocabulary,
        mut problems: Vec<PolicyProblem>,
    ) -> Result<Self, Vec<PolicyProblem>> {
        let mut vocabulary = vocabulary.clone();
        let file = sources.iter().find(|source| source.name == CATALOGUE);
        let mut catalogue = match file.map(|file| catalogue_file::read(file, &mut problems)) {
            None => Catalogue::default(),
            Some(Some(catalogue)) => catalogue,
            // Why no further: without its facts, every name in the policies would look wrong.
            Some(None) => return Err(problems),
        };
        // Why before the policies are read: they name resources as they are compared.
        catalogue.spell(vocabulary.spelling(), &mut problems);
        catalogue
            .upstreams
            .iter()
            .for_each(|(upstream, actions)| vocabulary.add(upstream, actions));
        let inside =
            |error: String| vec![PolicyProblem::of_file("", format!("the schema: {error}"), "")];
        let schema = vocabulary.schema().map_err(inside)?;
        let names = Names::new().map_err(|error| inside(error.to_string()))?;
        let rules = policy_file::read_all(&sources, &catalogue, Use::Decisions, &mut problems);
        policy_file::validate(schema, &rules, &mut problems);
        if !problems.is_empty() {
            problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
            problems.dedup();
            problems.truncate(PROBLEMS);
            return Err(problems);
        }
        let guards = rules.values().filter(|read| read.rule.policy.effect() == Effect::Forbid);
        Ok(Self {
            hash: hash(&sources),
            names,
            catalogue,
            vocabulary,
            guards: guards.map(|read| (read.guard.policy.clone(), read.guard.clone())).collect(),
            index: Index::new(rules.into_values().map(|read| read.rule).collect()),
            prepared: Cache::new(PREPARED),
            authorizer: Authorizer::new(),
            sources,
        })
    }
}

/// The first half of the SHA-256 over all names and texts, each with its length before it.
/// Why half: it stands in every log entry, and who could find two sets for it writes both anyway.
fn hash(sources: &[Source]) -> String {
    let mut canonical = vec![];
    for part in sources.iter().flat_map(|source| [&source.name, &source.text]) {
        canonical.extend(part.len().to_be_bytes());
        canonical.extend(part.as_bytes());
    }
    hex(sha256(&canonical).get(..16).unwrap_or_default())
}
