//! One claim about every request, put to the solver kind of request by kind of request.

use std::collections::BTreeSet;

use cedar_policy::{
    Effect, Policy, PolicyId as CedarId, PolicySet as CedarSet, RequestEnv, Schema,
};
use cedar_policy_symcc::Env;
use jeton_domain::decision::PolicyId;
use serde_json::{Value, json};

use crate::{PolicySet, Vocabulary};

use super::{
    CounterExample, Verdict,
    case::{Answer, Case},
    delivery::{Delivered, policy_of},
    engine::{Engine, Stop, Whole},
    plain, words, world,
};

/// What claims are about, taken apart once.
pub(super) struct Parts {
    pub schema: Schema,
    /// The policies of the set, one by one.
    pub delivered: Delivered,
    /// The same, together.
    set: Whole,
    /// Those that it is compared with.
    other: Option<Whole>,
    world: Vec<Policy>,
    /// Every request that there can be is allowed by these.
    within: CedarSet,
    /// A policy that no proof can be about.
    beyond: Option<PolicyId>,
}

/// One claim.
pub(super) struct Claim<'p> {
    parts: &'p Parts,
    about: About<'p>,
    /// What allows just the requests that the claim is about.
    asked: CedarSet,
    kinds: Vec<RequestEnv>,
}

enum About<'p> {
    /// What the property matches is never allowed.
    Never(&'p Policy),
    /// What the property matches is always allowed.
    Always(&'p Policy),
    /// What the set allows, the other allows too.
    NoWider(&'p Whole),
}

/// What was seen on the way through the kinds.
#[derive(Default)]
struct Seen {
    /// Whether the claim is about any request.
    a_match: bool,
    /// Policies that may fail to evaluate.
    may_fail: BTreeSet<PolicyId>,
}

/// Why a request that the solver found refutes nothing.
enum Doubt {
    /// A policy fails to evaluate there, so that nothing is granted.
    Fails(Vec<String>),
    /// The evaluator answers otherwise than the solver.
    Otherwise(String),
}

impl Parts {
    /// A set, and the properties to be proved of it.
    pub fn of(set: &PolicySet, properties: &[&Policy]) -> Result<Self, String> {
        Self::new(set, None, &set.vocabulary, properties)
    }

    /// A set, and another that it is compared with.
    pub fn of_two(set: &PolicySet, other: &PolicySet) -> Result<Self, String> {
        Self::new(set, Some(other), &set.vocabulary.joined(&other.vocabulary), &[])
    }

    fn new(
        set: &PolicySet,
        other: Option<&PolicySet>,
        vocabulary: &Vocabulary,
        properties: &[&Policy],
    ) -> Result<Self, String> {
        let policies = || set.policies().map(|(_, policy)| policy);
        let others = || other.into_iter().flat_map(PolicySet::policies).map(|(_, policy)| policy);
        let all = || policies().chain(others()).chain(properties.iter().copied());
        let beyond = all().find(|policy| looks_inside(policy));
        let world = world::of(set, all())?;
        let any = Policy::parse(Some(CedarId::new("any")), world::ANY);
        let any = any.map_err(|error| error.to_string())?;
        let whole =
            |delivered: &Delivered| world::joined(delivered.all().cloned(), &[]).map(Whole::new);
        let delivered = Delivered::of(set, vocabulary)?;
        let other = other.map(|other| Delivered::of(other, vocabulary)).transpose()?;
        Ok(Self {
            schema: vocabulary.schema()?,
            set: whole(&delivered)?,
            other: other.as_ref().map(whole).transpose()?,
            delivered,
            within: world::joined([any], &world)?,
            beyond: beyond.map(|policy| PolicyId::new(policy.id().as_ref())),
            world,
        })
    }

    /// What allows the requests that a policy matches, whatever its effect.
    pub fn matched_by(&self, policy: &Policy) -> Result<CedarSet, String> {
        world::joined([as_permit(policy)?], &self.world)
    }

    /// The kinds of requests that a policy may be about. Those about actions that the catalogue lists
    /// come first; then, for each level, one that stands for all actions that it does not list, since
    /// a broker may know more of them.
    pub fn kinds(&self, policies: &[&Policy]) -> Vec<RequestEnv> {
        let all = policies.iter().flat_map(|policy| policy.get_valid_request_envs(&self.schema));
        let mut kinds: Vec<_> =
            all.filter(|kind| kind.action().id().unescaped() != "grant").collect();
        kinds.sort_by_key(|kind| {
            let action = kind.action().id().unescaped().to_owned();
            (words::level(&action).is_some(), action, kind.principal().to_string())
        });
        kinds.dedup();
        kinds
    }

    /// Tells whether proofs can be about all of it.
    pub fn within_reach(&self) -> Result<(), String> {
        self.beyond.as_ref().map_or(Ok(()), |policy| {
            Err(format!(
                "`{policy}` looks into something that it names, which the broker may not show it; ask `principal`, `resource` or `context` instead"
            ))
        })
    }

    pub fn world(&self) -> &[Policy] {
        &self.world
    }
}

impl<'p> Claim<'p> {
    /// What the property matches is never allowed.
    pub fn never(parts: &'p Parts, property: &'p Policy) -> Result<Self, String> {
        let asked = parts.matched_by(property)?;
        Ok(Self { about: About::Never(property), asked, kinds: parts.kinds(&[property]), parts })
    }

    /// What the property matches is always allowed.
    pub fn always(parts: &'p Parts, property: &'p Policy) -> Result<Self, String> {
        let asked = parts.matched_by(property)?;
        Ok(Self { about: About::Always(property), asked, kinds: parts.kinds(&[property]), parts })
    }

    /// What the set allows, the other allows too.
    pub fn no_wider(parts: &'p Parts) -> Result<Self, String> {
        let other = parts.other.as_ref().ok_or("there is nothing to compare with")?;
        let policies: Vec<_> = parts.set.policies.policies().collect();
        let asked = world::joined(policies.iter().map(|policy| (*policy).clone()), &parts.world)?;
        let permits: Vec<_> =
            policies.into_iter().filter(|policy| policy.effect() == Effect::Permit).collect();
        let kinds = parts.kinds(&permits);
        Ok(Self { about: About::NoWider(other), asked, kinds, parts })
    }

    /// Finds out.
    pub fn verdict(&self, engine: &mut Engine<'_>) -> Verdict {
        if let Err(why) = self.parts.within_reach() {
            return Verdict::NotDecided(why);
        }
        engine.begin();
        let mut seen = Seen::default();
        let mut undecided = None;
        for kind in &self.kinds {
            match self.at(kind, engine, &mut seen) {
                Ok(None) => {}
                Ok(Some(verdict)) => return verdict,
                Err(Stop::Failed(why)) => return Verdict::Failed(why),
                // Why further: a request of another kind may refute it at once.
                Err(Stop::Undecided(why)) => undecided = Some(why),
            }
        }
        let unless_fails: Vec<_> = seen.may_fail.into_iter().collect();
        match (undecided, &self.about) {
            (Some(why), _) => Verdict::NotDecided(why),
            (None, About::NoWider(_)) if !unless_fails.is_empty() => Verdict::NotDecided(format!(
                "`{}` of the other may fail to evaluate, and refuses then; bound its numbers",
                words::ids(&unless_fails, "`, `")
            )),
            (None, About::Never(_) | About::Always(_)) if !seen.a_match => Verdict::Empty,
            (None, _) => Verdict::Proved { kinds: self.kinds.len(), unless_fails },
        }
    }

    /// Finds out for one kind of request. `None` if it holds there.
    fn at(
        &self,
        kind: &RequestEnv,
        engine: &mut Engine<'_>,
        seen: &mut Seen,
    ) -> Result<Option<Verdict>, Stop> {
        let within = &self.parts.within;
        let (found, may_fail) = match &self.about {
            About::Never(property) | About::Always(property)
                if engine.may_fail(property, within, kind)? =>
            {
                let why =
                    "it may fail to evaluate itself, and matches nothing then; bound its numbers";
                return Ok(Some(Verdict::NotDecided(why.to_owned())));
            }
            About::Never(_) => (engine.allowed_by_both(&self.asked, &self.parts.set, kind)?, None),
            About::Always(_) => {
                let set = &self.parts.set;
                (engine.allowed_by_first_alone(&self.asked, set, kind)?, Some(set))
            }
            About::NoWider(other) => {
                (engine.allowed_by_first_alone(&self.asked, other, kind)?, Some(*other))
            }
        };
        if let Some(found) = found {
            return Ok(Some(self.refuted(&found)));
        }
        if !seen.a_match {
            seen.a_match = engine.allowed(&self.asked, kind)?.is_some();
        }
        for policy in may_fail.into_iter().flat_map(|whole| whole.policies.policies()) {
            if engine.may_fail(policy, within, kind)? {
                seen.may_fail.insert(policy_of(policy.id().as_ref()));
            }
        }
        Ok(None)
    }

    /// Believes a request only after the evaluator gave the same answer.
    fn refuted(&self, found: &Env) -> Verdict {
        let told = Case::of(found).map_err(Doubt::Otherwise).and_then(|case| {
            self.confirm(&case)?;
            let case = plain::made_plain(case, |case| self.confirm(case).is_ok());
            let (allows, refuses) = self.confirm(&case)?;
            Ok((case, allows, refuses))
        });
        match told {
            Ok((case, allows, refuses)) => Verdict::Refuted(Box::new(CounterExample {
                words: words::of(&case),
                allowed_by: named(allows),
                refused_by: named(refuses),
                request: case.request,
                entities: case.entities.into(),
            })),
            Err(Doubt::Fails(ids)) => Verdict::NotDecided(format!(
                "at the request that was found, `{}` fails to evaluate, so that nothing is granted; bound its numbers",
                ids.join("`, `")
            )),
            Err(Doubt::Otherwise(why)) => Verdict::Failed(format!(
                "the solver found a request that does not hold up before the evaluator: {why}"
            )),
        }
    }

    /// Evaluates a request as the broker would. Tells what allows it and what refuses it.
    fn confirm(&self, case: &Case) -> Result<(Vec<String>, Vec<String>), Doubt> {
        let put = |set: &CedarSet| case.put_to(set, &self.parts.schema).map_err(Doubt::Otherwise);
        let otherwise = |words: &str| Err(Doubt::Otherwise(words.to_owned()));
        let asked = put(&self.asked)?;
        if !asked.allowed || !asked.failed.is_empty() {
            return otherwise("the claim is not about it");
        }
        let answer = put(&self.parts.set.policies)?;
        if !answer.failed.is_empty() {
            return Err(Doubt::Fails(answer.failed));
        }
        let refused = |answer: Answer| if answer.allowed { None } else { Some(answer.by) };
        match &self.about {
            About::Never(_) if answer.allowed => Ok((answer.by, vec![])),
            About::Never(_) => otherwise("the policies refuse it"),
            About::Always(_) => match refused(answer) {
                Some(by) => Ok((vec![], by)),
                None => otherwise("the policies allow it"),
            },
            About::NoWider(_) if !answer.allowed => otherwise("the policies refuse it"),
            About::NoWider(other) => match refused(put(&other.policies)?) {
                Some(by) => Ok((answer.by, by)),
                None => otherwise("the other policies allow it, too"),
            },
        }
    }
}

/// Whether a policy reads an attribute of anything but what is asked: `Jeton::Agent::"x".trust`.
///
/// Why it matters: a broker shows its policies the ends of a request and the person, and nothing else.
/// To the solver, every entity is there.
fn looks_inside(policy: &Policy) -> bool {
    fn looks(node: &Value) -> bool {
        let access = node.get(".").or_else(|| node.get("has"));
        let left = access.and_then(|access| access.get("left"));
        left.is_some_and(|left| left.get("Var").is_none() && left.get(".").is_none())
            || match node {
                Value::Array(items) => items.iter().any(looks),
                Value::Object(fields) => fields.values().any(looks),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
            }
    }
    policy.to_json().map_or(true, |json| json.get("conditions").is_some_and(looks))
}

fn named(ids: Vec<String>) -> Vec<PolicyId> {
    let mut named: Vec<_> = ids.iter().map(|id| policy_of(id)).collect();
    named.dedup();
    named
}

/// The same policy, as a permit.
pub(super) fn as_permit(policy: &Policy) -> Result<Policy, String> {
    let mut body = policy.to_json().map_err(|error| error.to_string())?;
    if let Some(effect) = body.get_mut("effect") {
        *effect = json!("permit");
    }
    Policy::from_json(Some(policy.id().clone()), body).map_err(|error| error.to_string())
}
