//! Finds the guards among the policies, and what each policy reads of the context.
//!
//! A guard is a `forbid` with `context.approvals.contains(Jeton::Group::"x")` in an `unless`, by
//! itself or joined with other conditions by `&&` and `||`. Approvals may stand nowhere else. Why:
//! so an approval can only ever lift a guard that people see, and never widen anything by itself.

use jeton_domain::approval::GroupName;
use serde_json::Value;

/// What one policy reads of the context, and which groups can lift it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// Groups of a guard; none if it is no guard.
    pub groups: Vec<GroupName>,
    /// Whether it reads the time.
    pub now: bool,
}

/// Approvals where they may not be.
pub(super) const MISPLACED: (&str, &str) = (
    "uses `context.approvals` outside a guard",
    "write `forbid (…) unless { context.approvals.contains(Jeton::Group::\"name\") };`",
);
/// Two groups of which both would be needed.
const BOTH: (&str, &str) = (
    "needs the approval of two groups at once",
    "write two guards, one for each group",
);
/// The context as a whole.
const WHOLE: (&str, &str) = (
    "uses `context` as a whole",
    "name the attribute that it is about, such as `context.ttl`",
);

type Wrong = (&'static str, &'static str);

/// Reads a policy in Cedar's JSON form.
pub(super) fn read(policy: &Value) -> Result<Reads, Wrong> {
    let mut seen = Seen::default();
    let mut leaves = vec![];
    let forbids = policy.get("effect").and_then(Value::as_str) == Some("forbid");
    for condition in policy.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let Some(body) = condition.get("body") else { continue };
        seen.look(body);
        if forbids && condition.get("kind").and_then(Value::as_str) == Some("unless") {
            lifts(body, &mut leaves)?;
        }
    }
    if seen.whole {
        return Err(WHOLE);
    }
    if seen.approvals != leaves.len() {
        return Err(MISPLACED);
    }
    leaves.sort();
    leaves.dedup();
    Ok(Reads { groups: leaves, now: seen.now })
}

#[derive(Default)]
struct Seen {
    approvals: usize,
    now: bool,
    whole: bool,
}

impl Seen {
    fn look(&mut self, node: &Value) {
        match attribute(node) {
            Some("approvals") => self.approvals += 1,
            Some("now") => self.now = true,
            Some(_) => {}
            None if is_context(node) => self.whole = true,
            None => match node {
                Value::Array(items) => items.iter().for_each(|item| self.look(item)),
                Value::Object(fields) => fields.values().for_each(|field| self.look(field)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            },
        }
    }
}

/// Collects the groups that can make a body true, where no `!` or `if` stands above them.
fn lifts(node: &Value, leaves: &mut Vec<GroupName>) -> Result<(), Wrong> {
    let sides = |join: &Value| Some((join.get("left")?.clone(), join.get("right")?.clone()));
    if let Some((left, right)) = node.get("||").and_then(sides) {
        lifts(&left, leaves)?;
        return lifts(&right, leaves);
    }
    if let Some((left, right)) = node.get("&&").and_then(sides) {
        let before = leaves.len();
        lifts(&left, leaves)?;
        let between = leaves.len();
        lifts(&right, leaves)?;
        return if before < between && between < leaves.len() { Err(BOTH) } else { Ok(()) };
    }
    leaves.extend(node.get("contains").and_then(group));
    Ok(())
}

fn group(contains: &Value) -> Option<GroupName> {
    let entity = contains.get("right")?.get("Value")?.get("__entity")?;
    let of_context = attribute(contains.get("left")?) == Some("approvals");
    let is_group = entity.get("type")?.as_str() == Some("Jeton::Group");
    (of_context && is_group).then_some(())?;
    entity.get("id")?.as_str().map(GroupName::new)
}

/// The attribute of the context that a node reads or asks for.
fn attribute(node: &Value) -> Option<&str> {
    let access = node.get(".").or_else(|| node.get("has"))?;
    if is_context(access.get("left")?) { access.get("attr")?.as_str() } else { None }
}

fn is_context(node: &Value) -> bool {
    node.get("Var").and_then(Value::as_str) == Some("context")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Reads, Wrong> {
        read(&cedar_policy::Policy::parse(None, text).unwrap().to_json().unwrap())
    }

    fn groups(text: &str) -> Vec<String> {
        let reads = read_text(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
        reads.groups.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_groups_of_a_guard_are_found_wherever_one_alone_can_lift_it() {
        let lifted = |by: &str| format!("context.approvals.contains(Jeton::Group::\"{by}\")");
        let (a, b) = (lifted("a"), lifted("b"));
        for (rest, wanted) in [
            (format!("unless {{ {a} }}"), vec!["a"]),
            (format!("unless {{ {b} || {a} }}"), vec!["a", "b"]),
            (format!("unless {{ {a} }} unless {{ {b} }}"), vec!["a", "b"]),
            (format!("unless {{ {a} && context.ttl <= 60 }}"), vec!["a"]),
            (format!("unless {{ context.ttl <= 60 || ({a} && context[\"ttl\"] <= 600) }}"), vec!["a"]),
            (format!("when {{ context.ttl > 60 }} unless {{ {a} }}"), vec!["a"]),
            ("unless { context.ttl <= 60 }".into(), vec![]),
        ] {
            assert_eq!(groups(&format!("forbid (principal, action, resource) {rest};")), wanted, "{rest}");
        }
    }

    #[test]
    fn approvals_in_any_other_place_are_refused() {
        let a = "context.approvals.contains(Jeton::Group::\"a\")";
        let b = "context.approvals.contains(Jeton::Group::\"b\")";
        for (text, wrong) in [
            (format!("permit (principal, action, resource) when {{ {a} }};"), MISPLACED),
            (format!("permit (principal, action, resource) unless {{ {a} }};"), MISPLACED),
            (format!("forbid (principal, action, resource) when {{ {a} }};"), MISPLACED),
            (format!("forbid (principal, action, resource) when {{ !{a} }};"), MISPLACED),
            (format!("forbid (principal, action, resource) unless {{ !{a} }};"), MISPLACED),
            (format!("forbid (principal, action, resource) unless {{ if {a} then true else false }};"), MISPLACED),
            ("forbid (principal, action, resource) unless { context.approvals.isEmpty() };".into(), MISPLACED),
            ("forbid (principal, action, resource) unless { context has approvals };".into(), MISPLACED),
            ("forbid (principal, action, resource) unless { context[\"appr\\u{6f}vals\"].isEmpty() };".into(), MISPLACED),
            (
                "forbid (principal, action, resource) unless { context.approvals.containsAny([Jeton::Group::\"a\"]) };".into(),
                MISPLACED,
            ),
            (format!("forbid (principal, action, resource) unless {{ {a} && {b} }};"), BOTH),
            ("forbid (principal, action, resource) unless { context == {} };".into(), WHOLE),
            ("permit (principal, action, resource) when { [context].isEmpty() };".into(), WHOLE),
        ] {
            assert_eq!(read_text(&text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn only_policies_that_read_the_time_pay_for_it() {
        let reads = |body: &str| read_text(&format!("permit (principal, action, resource) when {{ {body} }};")).unwrap().now;
        assert!(reads("context.now > datetime(\"2026-01-01\")"));
        assert!(reads("context[\"n\\u{6f}w\"] > datetime(\"2026-01-01\")"));
        assert!(!reads("context.ttl > 1 && principal.name like \"now\""));
    }
}
