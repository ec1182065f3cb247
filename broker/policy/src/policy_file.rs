//! Reads `*.cedar`: every policy named, its guard and its names understood, its types checked.

use std::collections::BTreeMap;

use cedar_policy::{
    ParseErrors, Policy, PolicyId as CedarId, PolicySet as CedarSet, Schema, ValidationMode,
    Validator, ffi::DetailedError,
};
use jeton_domain::{
    approval::{GroupName, Guard},
    decision::PolicyId,
    session::Words,
};

use super::{
    catalogue::Catalogue,
    guard,
    index::Rule,
    limits::{POLICIES, POLICY_BYTES, POLICY_ID_CHARS},
    literals,
    problem::{PolicyProblem, Source},
    shape,
};

/// The annotation of a policy that reads what only the gateway sees and still does not deny direct delivery.
pub(crate) const ALLOW_DIRECT: &str = "allow_direct";

/// Policies by their `@id`.
pub(super) type Policies<'s> = BTreeMap<String, Read<'s>>;

/// A policy that was understood, and where it stands.
pub(super) struct Read<'s> {
    pub rule: Rule,
    pub guard: Guard,
    source: &'s Source,
    byte: usize,
}

/// What the policies of a text are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// To decide: what they read of the context stands only where a guard can.
    Decisions,
    /// To be proved: they decide nothing, so they read what they like, and say what they are for.
    #[cfg(feature = "prove")]
    Proofs,
}

impl Use {
    fn word(self) -> &'static str {
        match self {
            Self::Decisions => "policy",
            #[cfg(feature = "prove")]
            Self::Proofs => "property",
        }
    }

    fn why_named(self) -> &'static str {
        match self {
            Self::Decisions => {
                "name it, such as `@id(\"builders-read\")`: decisions tell by which policies they were made"
            }
            #[cfg(feature = "prove")]
            Self::Proofs => {
                "name it, such as `@id(\"prod-needs-security\")`: what was proved is told by it"
            }
        }
    }
}

impl Read<'_> {
    /// The file where it stands.
    #[cfg(feature = "prove")]
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// The line where it stands.
    pub fn line(&self) -> usize {
        self.source.line(self.byte)
    }
}

/// Reads the policies of all sources; what is wrong goes to `problems`.
pub(super) fn read_all<'s>(
    sources: &'s [Source],
    catalogue: &Catalogue,
    made_for: Use,
    problems: &mut Vec<PolicyProblem>,
) -> Policies<'s> {
    let mut reading = Reading { catalogue, made_for, problems, rules: Policies::new() };
    for source in sources.iter().filter(|source| source.name.ends_with(".cedar")) {
        if let Err(problem) = shape::check(source) {
            reading.problems.push(problem);
            continue;
        }
        match source.text.parse() {
            Ok(set) => reading.file(source, &set),
            Err(errors) => {
                let errors: ParseErrors = errors;
                let problem = |error| PolicyProblem::from_cedar(source, DetailedError::from(error));
                reading.problems.extend(errors.iter().map(problem));
            }
        }
    }
    reading.rules
}

struct Reading<'s, 'r> {
    catalogue: &'r Catalogue,
    made_for: Use,
    problems: &'r mut Vec<PolicyProblem>,
    rules: Policies<'s>,
}

impl<'s> Reading<'s, '_> {
    fn file(&mut self, source: &'s Source, set: &CedarSet) {
        for template in set.templates() {
            let byte = source.text.find(&template.to_string()).unwrap_or(0);
            let hint = "write the policy out, without `?principal` and `?resource`";
            self.problems.push(PolicyProblem::at(
                source,
                byte,
                "templates are not used here",
                hint,
            ));
        }
        let mut policies: Vec<_> = set.policies().collect();
        // Cedar counts them as they stand in the text: `policy0`, `policy1` …
        policies.sort_by_key(|policy| {
            let id: &str = policy.id().as_ref();
            id.strip_prefix("policy").and_then(|number| number.parse::<usize>().ok())
        });
        let mut from = 0;
        for policy in policies {
            let text = policy.to_string();
            let rest = source.text.get(from..).unwrap_or_default();
            let byte = from + rest.find(&text).unwrap_or(0);
            from = byte + text.len();
            self.policy(source, byte, policy, &text);
        }
    }

    fn policy(&mut self, source: &'s Source, byte: usize, policy: &Policy, text: &str) {
        let what = self.made_for.word();
        let mut wrong = |message: String, hint: &str| {
            self.problems.push(PolicyProblem::at(source, byte, message, hint));
        };
        let Some(id) = policy.annotation("id").filter(|id| !id.is_empty()) else {
            return wrong(format!("the {what} has no `@id`"), self.made_for.why_named());
        };
        if !good_id(id) {
            let hint = format!(
                "1 to {POLICY_ID_CHARS} letters, digits, `.`, `_`, `-` and `/` are allowed"
            );
            return wrong(format!("the `@id` `{}` is not a name", id.escape_debug()), &hint);
        }
        if let Some(first) = self.rules.get(id) {
            let place = format!("{}:{}", first.source.name, first.line());
            return wrong(
                format!("the `@id` `{id}` stands at {place} already"),
                "give each policy its own",
            );
        }
        if self.rules.len() >= POLICIES {
            return wrong(format!("there are more than {POLICIES} policies"), "join some of them");
        }
        if text.len() > POLICY_BYTES {
            return wrong(
                format!("the {what} `{id}` is larger than {POLICY_BYTES} bytes"),
                "divide it",
            );
        }
        let reads = match self.made_for {
            Use::Decisions => reads(id, policy),
            #[cfg(feature = "prove")]
            Use::Proofs => told(id, policy).map(|()| guard::Reads::default()),
        };
        let reads = match reads {
            Ok(reads) => reads,
            Err((message, hint)) => {
                wrong(message, hint);
                guard::Reads::default()
            }
        };
        if let Some((message, hint)) = literals::group_as_action(policy) {
            wrong(message, &hint);
        }
        for uid in policy.entity_literals() {
            if let Some((message, hint)) = literals::wrong(&uid, self.catalogue) {
                let quoted = format!("\"{}\"", uid.id().unescaped());
                let byte = byte + text.find(&quoted).unwrap_or(0);
                self.problems.push(PolicyProblem::at(source, byte, message, &hint));
            }
        }
        let rule = Rule {
            policy: policy.new_id(CedarId::new(id)),
            reads_now: reads.now,
            reads_content: reads.content,
            gateway_only: !reads.gateway_only.is_empty()
                && policy.annotation(ALLOW_DIRECT).is_none(),
        };
        let guard = guard_of(id, reads.groups, policy);
        self.rules.insert(id.to_owned(), Read { rule, guard, source, byte });
    }
}

fn reads(id: &str, policy: &Policy) -> Result<guard::Reads, (String, &'static str)> {
    if policy.annotation(ALLOW_DIRECT).is_some_and(|reason| reason.trim().is_empty()) {
        let hint = "say why a credential may be delivered directly, where this policy binds nobody: `@allow_direct(\"reason\")`";
        return Err((format!("the `@allow_direct` of the policy `{id}` has no reason"), hint));
    }
    let json = policy.to_json().map_err(|error| (error.to_string(), ""))?;
    guard::read(&json).map_err(|(words, hint)| (format!("the policy `{id}` {words}"), hint))
}

/// A proof is read by people, so what it is of stands in words, too.
#[cfg(feature = "prove")]
fn told(id: &str, policy: &Policy) -> Result<(), (String, &'static str)> {
    if policy.annotation("reason").is_some_and(|words| !words.trim().is_empty()) {
        return Ok(());
    }
    let hint = "say in words what has to hold, such as `@reason(\"no agent writes to production without security\")`";
    Err((format!("the property `{id}` has no `@reason`"), hint))
}

fn guard_of(id: &str, groups: Vec<GroupName>, policy: &Policy) -> Guard {
    let reason = Words::new(policy.annotation("reason").unwrap_or_default());
    Guard { policy: PolicyId::new(id), groups, reason }
}

fn good_id(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    id.len() <= POLICY_ID_CHARS && id.bytes().all(good)
}

/// Checks types and names. Why warnings count as well: a policy that can never match, or one whose
/// letters only look like others, is no policy that somebody meant.
pub(super) fn validate(schema: Schema, rules: &Policies<'_>, problems: &mut Vec<PolicyProblem>) {
    let mut set = CedarSet::new();
    for read in rules.values() {
        if let Err(error) = set.add(read.rule.policy.clone()) {
            problems.push(PolicyProblem::at(read.source, read.byte, error.to_string(), ""));
        }
    }
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    let errors =
        result.validation_errors().map(|error| (error.policy_id(), DetailedError::from(error)));
    let warnings = result
        .validation_warnings()
        .map(|warning| (warning.policy_id(), DetailedError::from(warning)));
    for (id, error) in errors.chain(warnings) {
        let id: &str = id.as_ref();
        if let Some(read) = rules.get(id) {
            let problem = PolicyProblem::from_cedar(read.source, error);
            let line = problem.line.or_else(|| Some(read.line()));
            problems.push(PolicyProblem { line, ..problem });
        }
    }
}
