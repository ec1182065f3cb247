//! Budgets on the wire.

use jeton_proto::v1;

use crate::operation::budgets::Left;

/// A budget, and what is used of it.
#[must_use]
pub fn budget(left: Left) -> v1::Budget {
    let Left { budget, whom, used, calls } = left;
    v1::Budget {
        per: budget.per.word().to_owned(),
        whom,
        live: used.at_once,
        max_live: budget.at_once.unwrap_or_default(),
        begun: used.begun,
        max_begun: budget.rate.map_or(0, |rate| rate.grants),
        seconds: budget.rate.or(budget.calls).map_or(0, |rate| rate.seconds),
        calls,
        max_calls: budget.calls.map_or(0, |rate| rate.grants),
        wait_seconds: used.wait,
        name: budget.name,
    }
}
