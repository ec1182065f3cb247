//! What was spent. Pure: the store's writer holds one and tells it what it committed.

use std::collections::{HashMap, VecDeque};

use super::{BudgetKey, OverBudget, Rate, Spend, Used};
use crate::{id::Row, limits::BUDGET_STEPS, ttl::Timestamp};

/// What is kept of one grant's share of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Where it is counted.
    pub key: BudgetKey,
    /// How long it is remembered, in seconds: the time of the budget's rate, 0 if it has none.
    pub seconds: u32,
}

impl Spent {
    /// What is kept of a share.
    #[must_use]
    pub fn of(spend: &Spend) -> Self {
        Self { key: spend.key, seconds: spend.budget.rate.map_or(0, |rate| rate.seconds) }
    }
}

/// Everything that was spent and still counts.
#[derive(Debug, Default)]
pub struct Tally {
    counts: HashMap<BudgetKey, Count>,
    /// The shares of live grants.
    held: HashMap<Row, Box<[BudgetKey]>>,
    /// Counts that are kept before the first look at which are over.
    tidy_at: usize,
}

#[derive(Debug, Default)]
struct Count {
    at_once: u32,
    /// When grants began, in seconds, and how many; grants of one step stand together.
    begun: VecDeque<(i64, u32)>,
    seconds: u32,
}

impl Count {
    /// Longest time that one place stands for. Why steps: a place for each grant would cost what the
    /// grant itself costs.
    fn step(seconds: u32) -> i64 {
        i64::from((seconds / BUDGET_STEPS).max(1))
    }

    /// Those that count at a time, oldest first. Why a step more: whoever stands together counts until
    /// the last of them is over, so never too few count.
    fn counting(&self, seconds: u32, now: Timestamp) -> impl Iterator<Item = (i64, u32)> {
        let over = now.seconds().saturating_sub(i64::from(seconds));
        let step = Self::step(seconds.max(self.seconds));
        let counts = move |(at, _): &(i64, u32)| at.saturating_add(step) > over;
        self.begun.iter().copied().filter(counts)
    }

    fn used(&self, rate: Option<Rate>, now: Timestamp) -> Used {
        let Some(rate) = rate else { return Used { at_once: self.at_once, ..Used::default() } };
        let begun =
            self.counting(rate.seconds, now).fold(0_u32, |sum, (_, n)| sum.saturating_add(n));
        let first = self.counting(rate.seconds, now).next().map(|(at, _)| {
            let step = Self::step(rate.seconds.max(self.seconds));
            at.saturating_add(step)
                .saturating_add(rate.seconds.into())
                .saturating_sub(now.seconds())
        });
        let wait = first.map_or(0, |wait| u32::try_from(wait.max(1)).unwrap_or(u32::MAX));
        Used { at_once: self.at_once, begun, wait }
    }

    fn begin(&mut self, seconds: u32, at: Timestamp) {
        if seconds == 0 {
            return;
        }
        self.seconds = self.seconds.max(seconds);
        let (now, step) = (at.seconds(), Self::step(self.seconds));
        match self.begun.back_mut() {
            Some((last, count)) if now < last.saturating_add(step) => {
                *count = count.saturating_add(1);
            }
            Some(_) | None => self.begun.push_back((now, 1)),
        }
        self.forget(at);
    }

    fn forget(&mut self, now: Timestamp) {
        let over = now.seconds().saturating_sub(i64::from(self.seconds));
        let step = Self::step(self.seconds);
        while self.begun.front().is_some_and(|(at, _)| at.saturating_add(step) <= over) {
            self.begun.pop_front();
        }
    }

    fn is_over(&mut self, now: Timestamp) -> bool {
        self.forget(now);
        self.at_once == 0 && self.begun.is_empty()
    }
}

impl Tally {
    /// How much is used of what a grant would spend.
    #[must_use]
    pub fn used(&self, spend: &Spend, now: Timestamp) -> Used {
        let count = self.counts.get(&spend.key);
        count.map(|count| count.used(spend.budget.rate, now)).unwrap_or_default()
    }

    /// Sees whether one more grant is in the budgets. `more` tells how many were recorded that this
    /// tally has not been told of yet.
    ///
    /// # Errors
    /// With the first budget that it would exceed.
    pub fn check(
        &self,
        spends: &[Spend],
        more: impl Fn(&BudgetKey) -> u32,
        now: Timestamp,
    ) -> Result<(), OverBudget> {
        spends.iter().try_for_each(|spend| {
            let (mut used, more) = (self.used(spend, now), more(&spend.key));
            used.at_once = used.at_once.saturating_add(more);
            used.begun = used.begun.saturating_add(more);
            spend.room(used)
        })
    }

    /// Counts a grant that was recorded.
    pub fn spend(&mut self, grant: Row, shares: &[Spent], at: Timestamp) {
        self.began(shares, at);
        for share in shares {
            let count = self.counts.entry(share.key).or_default();
            count.at_once = count.at_once.saturating_add(1);
        }
        self.held.insert(grant, shares.iter().map(|share| share.key).collect());
        self.tidy(at);
    }

    /// Counts a grant that ended meanwhile: it is not live, but it did begin.
    pub fn began(&mut self, shares: &[Spent], at: Timestamp) {
        for share in shares {
            self.counts.entry(share.key).or_default().begin(share.seconds, at);
        }
    }

    /// Notes that a grant is live no more.
    pub fn end(&mut self, grant: Row) {
        let Some(keys) = self.held.remove(&grant) else { return };
        for key in &keys {
            if let Some(count) = self.counts.get_mut(key) {
                count.at_once = count.at_once.saturating_sub(1);
                if count.at_once == 0 && count.begun.is_empty() {
                    self.counts.remove(key);
                }
            }
        }
    }

    /// Forgets counts that are over. Why now and then: it looks at all, and each doubling pays for it.
    fn tidy(&mut self, now: Timestamp) {
        if self.counts.len() < self.tidy_at.max(1024) {
            return;
        }
        self.counts.retain(|_, count| !count.is_over(now));
        self.tidy_at = self.counts.len().saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::budget::{Budget, Per};

    fn share(at_once: Option<u32>, rate: Option<(u32, u32)>) -> Spend {
        let rate = rate.map(|(grants, seconds)| Rate { grants, seconds });
        let budget = Budget {
            name: "fast".into(),
            per: Per::Agent,
            upstream: None,
            resource: None,
            agent: None,
            actions: Default::default(),
            at_once,
            rate,
            calls: None,
        };
        Spend { budget: Arc::new(budget), whom: "bot".into(), key: BudgetKey([7; 16]) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn row(number: u64) -> Row {
        Row::new(number).unwrap()
    }

    fn refusal(tally: &Tally, spend: &Spend, more: u32, now: i64) -> String {
        let spends = std::slice::from_ref(spend);
        tally
            .check(spends, |_| more, at(now))
            .map_or_else(|over| over.to_string(), |()| String::new())
    }

    #[test]
    fn as_many_are_live_at_once_as_may_be_and_one_that_ends_makes_room() {
        let spend = share(Some(2), None);
        let mut tally = Tally::default();
        tally.spend(row(1), &[Spent::of(&spend)], at(0));
        assert_eq!(refusal(&tally, &spend, 0, 0), "");
        assert_ne!(refusal(&tally, &spend, 1, 0), "", "one of this very commit counts");
        tally.spend(row(2), &[Spent::of(&spend)], at(0));
        assert_eq!(
            refusal(&tally, &spend, 0, 99_999),
            "the budget `fast` allows 2 live grants at once for the agent `bot`, and they are all live; release one, or wait until one ends"
        );
        tally.end(row(1));
        tally.end(row(1));
        tally.end(row(77));
        assert_eq!(refusal(&tally, &spend, 0, 0), "");
        assert_eq!(tally.used(&spend, at(0)).at_once, 1, "an end counts once");
    }

    #[test]
    fn as_many_begin_in_a_time_as_may_and_the_refusal_says_when_the_next_may() {
        let spend = share(None, Some((2, 60)));
        let mut tally = Tally::default();
        tally.spend(row(1), &[Spent::of(&spend)], at(100));
        tally.spend(row(2), &[Spent::of(&spend)], at(130));
        tally.end(row(1));
        tally.end(row(2));
        assert_eq!(
            refusal(&tally, &spend, 0, 140),
            "the budget `fast` allows 2 grants in 60 s for the agent `bot`, and they are spent; the next one may begin in 21 s"
        );
        assert_ne!(refusal(&tally, &spend, 0, 160), "");
        assert_eq!(refusal(&tally, &spend, 0, 161), "", "as told");
        assert_eq!(tally.used(&spend, at(161)).begun, 1);
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let spend = share(None, Some((2, 60)));
        let mut tally = Tally::default();
        for number in 0..100_000_u64 {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&number.to_be_bytes());
            let share = Spent { key: BudgetKey(key), ..Spent::of(&spend) };
            tally.spend(row(number + 1), &[share], at(i64::try_from(number).unwrap()));
            tally.end(row(number + 1));
        }
        assert!(tally.counts.len() < 2_100, "{}", tally.counts.len());
        assert!(tally.held.is_empty());
    }

    proptest! {
        /// In no window of a rate begin more than may; and none is refused for longer than a step more.
        #[test]
        fn no_window_holds_more_than_its_rate(
            gaps in proptest::collection::vec(0..40_i64, 1..300),
            grants in 1..5_u32,
            seconds in 1..200_u32,
        ) {
            let spend = share(None, Some((grants, seconds)));
            let mut tally = Tally::default();
            let (mut now, mut begun) = (1_000, Vec::<i64>::new());
            let step = i64::from((seconds / BUDGET_STEPS).max(1));
            for (number, gap) in gaps.into_iter().enumerate() {
                now += gap;
                let within = |more: i64| {
                    begun.iter().filter(|at| **at > now - i64::from(seconds) - more).count()
                };
                let most = usize::try_from(grants).unwrap();
                let open = refusal(&tally, &spend, 0, now).is_empty();
                prop_assert!(!(open && within(0) >= most), "too many in one window");
                prop_assert!(open || within(step) >= most, "refused without need");
                if open {
                    begun.push(now);
                    let row = row(u64::try_from(number).unwrap() + 1);
                    tally.spend(row, &[Spent::of(&spend)], at(now));
                }
            }
        }
    }
}
