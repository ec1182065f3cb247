//! Finds the guards among the policies, and what each policy reads of the context.
//!
//! A guard is a `forbid` with `context.approvals.contains(Jeton::Group::"x")` in an `unless`, by
//! itself or joined with other conditions by `&&` and `||`. Approvals may stand nowhere else. Why:
//! so an approval can only ever lift a guard that people see, and never widen anything by itself.
//!
//! A ref that is asked for is a pattern, and policies see its text. A text that `like` or `==`
//! takes stands for refs that they would take too, because a literal letter never takes a `*`; but
//! a text that they do not take, such as `m*`, may well stand for `main`. So refs may be asked only
//! where "no" refuses.

use std::collections::BTreeSet;

use jeton_domain::approval::GroupName;
use serde_json::Value;

use super::context::{ExistsFor, exists_for};

/// What one policy reads of the context, and which groups can lift it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// Groups of a guard; none if it is no guard.
    pub groups: Vec<GroupName>,
    /// Whether it reads the time.
    pub now: bool,
    /// Whether it reads what a push brings along, and not only which refs it moves.
    pub content: bool,
    /// What it reads that exists only for a push or a call through the gateway.
    pub gateway_only: BTreeSet<String>,
}

/// Approvals where they may not be.
pub(super) const MISPLACED: (&str, &str) = (
    "uses `context.approvals` outside a guard",
    "write `forbid (…) unless { context.approvals.contains(Jeton::Group::\"name\") };`",
);
/// Two groups of which both would be needed.
const BOTH: (&str, &str) =
    ("needs the approval of two groups at once", "write two guards, one for each group");
/// The context as a whole.
const WHOLE: (&str, &str) =
    ("uses `context` as a whole", "name the attribute that it is about, such as `context.ttl`");

/// A ref where "no" would read as "yes".
pub(super) const NEGATED_REF: (&str, &str) = (
    "uses `context.ref` where a pattern such as `m*` would slip past it",
    "say which refs are allowed, in the `when` of a permit or the `unless` of a forbid, joined by `&&` and `||` only: `unless { context has ref && context.ref like \"agent/*\" }`",
);

type Wrong = (&'static str, &'static str);

/// Reads a policy in Cedar's JSON form.
pub(super) fn read(policy: &Value) -> Result<Reads, Wrong> {
    let mut seen = Seen::default();
    let mut open = Open::default();
    let forbids = policy.get("effect").and_then(Value::as_str) == Some("forbid");
    for condition in policy.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let Some(body) = condition.get("body") else { continue };
        seen.look(body);
        let unless = condition.get("kind").and_then(Value::as_str) == Some("unless");
        if unless == forbids {
            open.look(body)?;
        }
    }
    if seen.whole {
        return Err(WHOLE);
    }
    if seen.approvals != open.groups.len() || (!forbids && seen.approvals > 0) {
        return Err(MISPLACED);
    }
    if seen.refs != open.refs {
        return Err(NEGATED_REF);
    }
    open.groups.sort();
    open.groups.dedup();
    Ok(Reads {
        groups: open.groups,
        now: seen.now,
        content: seen.content,
        gateway_only: seen.gateway_only,
    })
}

/// How often a policy reads what, wherever that stands.
#[derive(Default)]
struct Seen {
    approvals: usize,
    refs: usize,
    now: bool,
    content: bool,
    gateway_only: BTreeSet<String>,
    whole: bool,
}

impl Seen {
    fn look(&mut self, node: &Value) {
        match attribute(node) {
            Some("approvals") => self.approvals += 1,
            Some("ref") => self.refs += 1,
            Some(name) => {
                let exists = exists_for(name);
                self.now |= name == "now";
                self.content |= exists == ExistsFor::PushContent;
                if exists.gateway_only() {
                    self.gateway_only.insert(name.to_owned());
                }
            }
            None if is_context(node) => self.whole = true,
            None => match node {
                Value::Array(items) => items.iter().for_each(|item| self.look(item)),
                Value::Object(fields) => fields.values().for_each(|field| self.look(field)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            },
        }
    }
}

/// What stands where "true" can only open: in the `when` of a permit or the `unless` of a forbid,
/// with nothing above it but `&&` and `||`.
#[derive(Default)]
struct Open {
    groups: Vec<GroupName>,
    refs: usize,
}

impl Open {
    fn look(&mut self, node: &Value) -> Result<(), Wrong> {
        if let Some((left, right)) = sides(node, "||") {
            self.look(left)?;
            return self.look(right);
        }
        if let Some((left, right)) = sides(node, "&&") {
            let before = self.groups.len();
            self.look(left)?;
            let between = self.groups.len();
            self.look(right)?;
            let both = before < between && between < self.groups.len();
            return if both { Err(BOTH) } else { Ok(()) };
        }
        self.groups.extend(group(node));
        let is_ref = |node: &Value| attribute(node) == Some("ref");
        let reads_ref = |node: &Value| is_ref(node) && node.get(".").is_some();
        let tests_ref = is_ref(node) && node.get("has").is_some()
            || node.get("like").and_then(|like| like.get("left")).is_some_and(reads_ref)
            || sides(node, "==").is_some_and(|(left, right)| reads_ref(left) != reads_ref(right));
        self.refs += usize::from(tests_ref);
        Ok(())
    }
}

fn sides<'v>(node: &'v Value, join: &str) -> Option<(&'v Value, &'v Value)> {
    let join = node.get(join)?;
    Some((join.get("left")?, join.get("right")?))
}

fn group(node: &Value) -> Option<GroupName> {
    let (set, member) = sides(node, "contains")?;
    let entity = member.get("Value")?.get("__entity")?;
    let fits = attribute(set) == Some("approvals")
        && entity.get("type").and_then(Value::as_str) == Some("Jeton::Group");
    if fits { entity.get("id")?.as_str().map(GroupName::new) } else { None }
}

/// The attribute of the context that a node reads or asks for.
pub(super) fn attribute(node: &Value) -> Option<&str> {
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
            (
                format!("unless {{ context.ttl <= 60 || ({a} && context[\"ttl\"] <= 600) }}"),
                vec!["a"],
            ),
            (format!("when {{ context.ttl > 60 }} unless {{ {a} }}"), vec!["a"]),
            ("unless { context.ttl <= 60 }".into(), vec![]),
        ] {
            assert_eq!(
                groups(&format!("forbid (principal, action, resource) {rest};")),
                wanted,
                "{rest}"
            );
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
    fn a_ref_is_asked_only_where_no_refuses() {
        let like = "context has ref && context.ref like \"agent/*\"";
        for text in [
            format!("permit (principal, action, resource) when {{ {like} }};"),
            format!("permit (principal, action, resource) when {{ context.ttl < 9 && ({like} || {like}) }};"),
            format!("forbid (principal, action, resource) unless {{ {like} }};"),
            "forbid (principal, action, resource) unless { context has ref && \"docs\" == context.ref };".into(),
        ] {
            assert!(read_text(&text).is_ok(), "{text}");
        }
        for text in [
            "forbid (principal, action, resource) when { context has ref && context.ref == \"main\" };",
            "forbid (principal, action, resource) when { context has ref };",
            "forbid (principal, action, resource) unless { !(context has ref) };",
            "permit (principal, action, resource) unless { context has ref && context.ref == \"main\" };",
            "permit (principal, action, resource) when { context has ref && context.ref != \"main\" };",
            "permit (principal, action, resource) when { context has ref && !(context.ref like \"main\") };",
            "permit (principal, action, resource) when { if context has ref then false else true };",
            "permit (principal, action, resource) when { (context has ref) == false };",
        ] {
            assert_eq!(read_text(text), Err(NEGATED_REF), "{text}");
        }
    }

    #[test]
    fn whatever_exists_only_for_a_push_or_a_call_is_noticed() {
        for (name, exists) in crate::context::attributes().unwrap() {
            let text =
                format!("forbid (principal, action, resource) when {{ context has {name} }};");
            if ["ref", "approvals"].contains(&name.as_str()) {
                assert!(read_text(&text).is_err(), "{text}");
                continue;
            }
            for text in [
                text.clone(),
                text.replace("when", "unless"),
                text.replace("forbid", "permit"),
                format!(
                    "forbid (principal, action, resource) when {{ context.ttl > 1 && [context[\"{name}\"]].contains(1) }};"
                ),
                format!(
                    "forbid (principal, action, resource) when {{ if context.{name} == 1 then true else false }};"
                ),
            ] {
                let reads = read_text(&text).unwrap();
                let found = reads.gateway_only.contains(name);
                assert_eq!(found, exists.gateway_only(), "{text}");
                assert_eq!(reads.content, *exists == ExistsFor::PushContent, "{text}");
            }
        }
    }

    #[test]
    fn only_policies_that_read_the_time_pay_for_it() {
        let reads = |body: &str| {
            read_text(&format!("permit (principal, action, resource) when {{ {body} }};"))
                .unwrap()
                .now
        };
        assert!(reads("context.now > datetime(\"2026-01-01\")"));
        assert!(reads("context[\"n\\u{6f}w\"] > datetime(\"2026-01-01\")"));
        assert!(!reads("context.ttl > 1 && principal.name like \"now\""));
    }
}
