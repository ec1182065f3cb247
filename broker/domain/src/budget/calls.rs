//! Counts calls through the gateway against budgets. In memory alone: a broker that starts anew counts anew,
//! because a commit for each call would cost more than most calls.

use std::collections::{HashMap, VecDeque};

use super::{BudgetKey, OverBudget, Spend};
use crate::ttl::Timestamp;

/// Parts of a time that are counted apart.
const PARTS: u32 = 60;
/// Counts that are kept before those that count nothing any more are looked for.
const KEPT: usize = 10_000;

/// Calls that were made, by the budget that they spent from.
#[derive(Debug, Default)]
pub struct Calls {
    counts: HashMap<BudgetKey, Count>,
    /// How many counts there were when those that count nothing were last looked for.
    looked: usize,
}

#[derive(Debug)]
struct Count {
    /// Calls by the second at which they count no more, the first to end first.
    parts: VecDeque<(i64, u32)>,
}

impl Count {
    fn forget(&mut self, now: i64) {
        while self.parts.front().is_some_and(|(until, _)| *until <= now) {
            self.parts.pop_front();
        }
    }

    fn sum(&self, now: i64) -> u32 {
        let live = self.parts.iter().filter(|(until, _)| *until > now);
        live.fold(0, |sum, (_, calls)| sum.saturating_add(*calls))
    }
}

impl Calls {
    /// Counts one call, if none of its budgets is spent.
    ///
    /// # Errors
    /// When one is: then nothing is counted.
    pub fn take(&mut self, spends: &[Spend], now: Timestamp) -> Result<(), OverBudget> {
        let now = now.seconds();
        for spend in spends {
            let Some(rate) = spend.budget.calls else { continue };
            let count = self.counts.get(&spend.key);
            if count.is_some_and(|count| count.sum(now) >= rate.grants) {
                let parts = count.and_then(|count| count.parts.iter().find(|part| part.0 > now));
                let wait = parts.map_or(0, |(until, _)| until.saturating_sub(now));
                let (budget, per, whom) =
                    (spend.budget.name.clone(), spend.budget.per, spend.whom.clone());
                let wait = u32::try_from(wait).unwrap_or(rate.seconds);
                return Err(OverBudget::Calls { budget, per, whom, rate, wait });
            }
        }
        // Why twice as many: each look goes over all of them.
        if self.counts.len() > KEPT.max(self.looked.saturating_mul(2)) {
            self.counts.retain(|_, count| {
                count.forget(now);
                !count.parts.is_empty()
            });
            self.looked = self.counts.len();
        }
        for spend in spends {
            let Some(rate) = spend.budget.calls else { continue };
            let part = i64::from((rate.seconds / PARTS).max(1));
            // Why the end of its part: so no time of this length ever holds more than it may.
            let end = now.saturating_sub(now.rem_euclid(part)).saturating_add(part);
            let until = end.saturating_add(i64::from(rate.seconds));
            let count = self.counts.entry(spend.key).or_insert(Count { parts: VecDeque::new() });
            count.forget(now);
            // Why: a budget that counts for a shorter time than before would still count for the longer one.
            for (last, _) in &mut count.parts {
                *last = until.min(*last);
            }
            match count.parts.back_mut() {
                Some((last, calls)) if *last >= until => *calls = calls.saturating_add(1),
                Some(_) | None => count.parts.push_back((until, 1)),
            }
        }
        Ok(())
    }

    /// Calls that count at this moment.
    #[must_use]
    pub fn used(&self, spend: &Spend, now: Timestamp) -> u32 {
        self.counts.get(&spend.key).map_or(0, |count| count.sum(now.seconds()))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use proptest::prelude::*;

    use super::*;
    use crate::budget::{Budget, Per, Rate};

    fn spend(name: &str, calls: u32, seconds: u32) -> Spend {
        let budget = Budget {
            name: name.into(),
            per: Per::Session,
            upstream: None,
            resource: None,
            agent: None,
            actions: BTreeSet::new(),
            at_once: None,
            rate: None,
            calls: Some(Rate { grants: calls, seconds }),
        };
        let key = budget.key("one");
        Spend { budget: Arc::new(budget), whom: "one".into(), key }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_spent_budget_says_when_and_counts_nothing_of_the_others() {
        let (two, many) = (spend("two", 2, 60), spend("many", 100, 60));
        let both = [many.clone(), two];
        let mut calls = Calls::default();
        calls.take(&both, at(100)).unwrap();
        calls.take(&both, at(130)).unwrap();
        let told = calls.take(&both, at(131)).unwrap_err().to_string();
        assert!(told.contains("`two` allows 2 calls in 60 s for the session `one`"), "{told}");
        assert!(told.contains("in 30 s"), "{told}");
        assert_eq!(calls.used(&many, at(131)), 2);
        calls.take(&both, at(161)).unwrap();
        assert!(calls.take(&both, at(162)).is_err());
    }

    proptest! {
        #[test]
        fn no_time_of_the_rate_s_length_holds_more_than_it_may(
            steps in proptest::collection::vec(0_i64..40, 1..200), seconds in 1_u32..300, most in 1_u32..8
        ) {
            let (one, mut calls) = ([spend("b", most, seconds)], Calls::default());
            let (mut now, mut taken) = (1000, Vec::new());
            for step in steps {
                now += step;
                if calls.take(&one, at(now)).is_ok() {
                    taken.push(now);
                }
            }
            for begin in &taken {
                let window = *begin..*begin + i64::from(seconds);
                let held = taken.iter().filter(|when| window.contains(when)).count();
                prop_assert!(held <= usize::try_from(most).unwrap());
            }
            prop_assert!(!taken.is_empty());
        }
    }
}
