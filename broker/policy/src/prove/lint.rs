//! What only a solver sees: policies that match nothing, and those that others make idle.

use cedar_policy::{Effect, Policy, PolicySet as CedarSet, RequestEnv};
use cedar_policy_symcc::Env;
use jeton_domain::decision::PolicyId;

use crate::{PolicySet, author::lint::Finding};

use super::{
    Solver, at_work,
    case::Case,
    claim::{Parts, as_permit},
    engine::{Engine, Stop, Whole},
    world,
};

/// What was found, and what was not found out.
#[derive(Debug, Default)]
pub struct Found {
    /// Findings, in the order of the policies' ids.
    pub findings: Vec<Finding>,
    /// Policies that the solver said nothing clear about, and why.
    pub undecided: Vec<(PolicyId, String)>,
}

/// Looks at every policy and at every two of one effect.
///
/// # Errors
/// When the policies can't be put to the solver at all.
pub fn lint(set: &PolicySet, solver: &Solver) -> Result<Found, String> {
    at_work(|| {
        let parts = Parts::of(set, &[])?;
        parts.within_reach()?;
        let mut engine = Engine::new(solver, &parts.schema);
        let mut seen = Vec::new();
        let mut found = Found::default();
        for policy in &parts.delivered.policies {
            let id = PolicyId::new(policy.id().as_ref());
            engine.begin();
            let one = Seen::of(id.clone(), policy, &parts)?;
            match one.example(&mut engine) {
                Ok(Some(example)) => seen.push((one, Case::of(&example)?)),
                Ok(None) => found.findings.push(Finding {
                    policy: id,
                    kind: "never matches",
                    words:
                        "no request that there can be is matched by it; correct it, or take it out"
                            .to_owned(),
                }),
                Err(Stop::Undecided(why) | Stop::Failed(why)) => found.undecided.push((id, why)),
            }
        }
        for place in 0..seen.len() {
            engine.begin();
            let Some((one, example)) = seen.get(place) else { continue };
            let others = seen.iter().map(|(other, _)| other).filter(|other| other.id != one.id);
            match idle(one, example, others, &parts, &mut engine) {
                Ok(words) => found.findings.extend(words.map(|words| Finding {
                    policy: one.id.clone(),
                    kind: "shadowed",
                    words,
                })),
                Err(Stop::Undecided(why) | Stop::Failed(why)) => {
                    found.undecided.push((one.id.clone(), why));
                }
            }
        }
        found.findings.sort_by(|a, b| (&a.policy, a.kind).cmp(&(&b.policy, b.kind)));
        Ok(found)
    })
}

/// A policy that is looked at.
struct Seen<'p> {
    id: PolicyId,
    policy: &'p Policy,
    kinds: Vec<RequestEnv>,
    /// What allows the requests that it matches and that there can be.
    asked: CedarSet,
    /// The same, whether there can be such requests or not.
    alone: Whole,
}

impl<'p> Seen<'p> {
    fn of(id: PolicyId, policy: &'p Policy, parts: &Parts) -> Result<Self, String> {
        let alone = Whole::new(world::joined([as_permit(policy)?], &[])?);
        let asked = parts.matched_by(policy)?;
        Ok(Self { id, policy, kinds: parts.kinds(&[policy]), asked, alone })
    }

    /// A request that it matches.
    fn example(&self, engine: &mut Engine<'_>) -> Result<Option<Env>, Stop> {
        for kind in &self.kinds {
            if let Some(found) = engine.allowed(&self.asked, kind)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether another matches whatever this one does.
    fn within(&self, other: &Self, engine: &mut Engine<'_>) -> Result<bool, Stop> {
        for kind in &self.kinds {
            if engine.allowed_by_first_alone(&self.asked, &other.alone, kind)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Why a policy does nothing that others don't do without it.
fn idle<'s, 'p: 's>(
    one: &Seen<'p>,
    example: &Case,
    others: impl Iterator<Item = &'s Seen<'p>> + Clone,
    parts: &Parts,
    engine: &mut Engine<'_>,
) -> Result<Option<String>, Stop> {
    for other in others.clone().filter(|other| other.policy.effect() == one.policy.effect()) {
        // Why first: one request that the other does not match spares the solver the question.
        let matched = example.put_to(&other.alone.policies, &parts.schema);
        if !matched.map_err(Stop::Failed)?.allowed || !one.within(other, engine)? {
            continue;
        }
        // Why not both: of two that match the same, one has to stay.
        if other.id > one.id && other.within(one, engine)? {
            continue;
        }
        return Ok(Some(format!(
            "`{}` matches all that it matches; take this one out, or narrow that",
            other.id
        )));
    }
    if one.policy.effect() == Effect::Forbid {
        return Ok(None);
    }
    let forbids: Vec<_> = others.filter(|one| one.policy.effect() == Effect::Forbid).collect();
    let policies = forbids.iter().map(|forbid| forbid.policy.clone()).chain([one.policy.clone()]);
    let policies = policies.chain(parts.delivered.denials.iter().cloned());
    let left = world::joined(policies, parts.world()).map_err(Stop::Failed)?;
    for kind in &one.kinds {
        if engine.allowed(&left, kind)?.is_some() {
            return Ok(None);
        }
    }
    Ok(Some("forbids refuse all that it permits; take it out, or narrow them".to_owned()))
}
