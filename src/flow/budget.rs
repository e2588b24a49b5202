//! Bytes a day: some platforms let an account give or take so many, and shut it out for a day if it
//! asks for more (Gmail: 2,500 MB down and 500 MB up by IMAP; Google Workspace Admin Help, "Gmail
//! bandwidth limits").
//!
//! Nobody says when such a day begins. So any 24 hours are one: what was spent is counted by the
//! hour and counts until all of that hour is a day ago.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Seconds.
const HOUR: i64 = 3600;
/// Hours that count besides the present one.
const HOURS: i64 = 24;
/// Once it is spent, this much of it has to be free again, in percent: else each hour would bring
/// a few messages and a sign-in.
const WORTHWHILE: u64 = 10;

/// What one account may give or take in a day. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    /// Bytes in any 24 hours; `None`: it is never spent.
    limit: Option<u64>,
    spending: Arc<Mutex<Spending>>,
}

/// What was spent when, in a form that can be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spending {
    /// Hours since 1970 and bytes, ascending.
    hours: VecDeque<(i64, u64)>,
    /// Spent since it was last kept, bytes.
    #[serde(skip)]
    unkept: u64,
}

impl Spending {
    fn forget(&mut self, now: DateTime<Utc>) {
        let oldest = now.timestamp().div_euclid(HOUR) - HOURS;
        while self.hours.front().is_some_and(|(hour, _)| *hour < oldest) {
            self.hours.pop_front();
        }
    }

    fn sum(&self) -> u64 {
        self.hours.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

impl Budget {
    /// Counts bytes that went over the wire.
    pub fn spend(&self, bytes: u64, now: DateTime<Utc>) {
        if self.limit.is_none() {
            return;
        }
        let mut spending = self.spending(now);
        spending.unkept = spending.unkept.saturating_add(bytes);
        let hour = now.timestamp().div_euclid(HOUR);
        match spending.hours.back_mut() {
            // A clock that was put back does not begin another hour.
            Some((last, spent)) if *last >= hour => *spent = spent.saturating_add(bytes),
            _ => spending.hours.push_back((hour, bytes)),
        }
    }

    /// If it is spent, how much it is, bytes, and when there is something left again.
    pub fn spent(&self, now: DateTime<Utc>) -> Option<(u64, DateTime<Utc>)> {
        let limit = self.limit?;
        let spending = self.spending(now);
        let mut left = spending.sum();
        if left < limit {
            return None;
        }
        let enough = limit - limit.saturating_mul(WORTHWHILE) / 100;
        let until = spending.hours.iter().find_map(|(hour, bytes)| {
            left = left.saturating_sub(*bytes);
            let is_enough = left < enough.max(1);
            is_enough.then(|| DateTime::from_timestamp((hour + HOURS + 1) * HOUR, 0)).flatten()
        });
        Some((limit, until.unwrap_or(now + TimeDelta::hours(HOURS))))
    }

    /// What is to be kept over a restart, if so much was spent since that it is worth it: a
    /// hundredth of the limit, or anything if `all`.
    pub fn to_keep(&self, all: bool, now: DateTime<Utc>) -> Option<Spending> {
        let limit = self.limit?;
        let mut spending = self.spending(now);
        let enough = if all { 1 } else { (limit / 100).max(1) };
        if spending.unkept < enough {
            return None;
        }
        spending.unkept = 0;
        Some(spending.clone())
    }

    /// What still counts.
    fn spending(&self, now: DateTime<Utc>) -> MutexGuard<'_, Spending> {
        let mut spending = self.spending.lock().unwrap_or_else(PoisonError::into_inner);
        spending.forget(now);
        spending
    }
}

/// What all accounts have spent, by name: whoever uses an account spends of the same. Clones are
/// one.
#[derive(Debug, Clone, Default)]
pub struct Budgets {
    by_name: Arc<Mutex<HashMap<String, Arc<Mutex<Spending>>>>>,
}

impl Budgets {
    /// The budget of `name`, if it is known what was spent of it.
    pub fn known(&self, name: &str, limit: u64) -> Option<Budget> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let spending = Arc::clone(by_name.get(name)?);
        Some(Budget { limit: Some(limit), spending })
    }

    /// The budget of `name`, of which this was spent before.
    pub fn learn(&self, name: &str, limit: u64, spending: Spending) -> Budget {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been quicker.
        let spending = by_name.entry(name.to_owned()).or_insert_with(|| Arc::new(spending.into()));
        Budget { limit: Some(limit), spending: Arc::clone(spending) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64, minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp((500_000 + hour) * HOUR + minute * 60, 0).expect("a time")
    }

    fn of(limit: u64) -> Budget {
        Budget { limit: Some(limit), ..Budget::default() }
    }

    fn until(budget: &Budget, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        budget.spent(now).map(|(_, until)| until)
    }

    #[test]
    fn without_a_limit_it_is_never_spent() {
        let budget = Budget::default();
        budget.spend(u64::MAX, at(0, 0));
        assert_eq!(budget.spent(at(0, 0)), None);
        assert_eq!(budget.to_keep(true, at(0, 0)), None);
    }

    #[test]
    fn what_is_spent_counts_for_a_day() {
        let budget = of(1000);
        budget.spend(999, at(0, 59));
        assert_eq!(until(&budget, at(1, 0)), None);
        budget.spend(1, at(3, 0));
        assert_eq!(budget.spent(at(24, 59)), Some((1000, at(25, 0))));
        assert_eq!(until(&budget, at(25, 0)), None);
        budget.spend(999, at(25, 0));
        assert_eq!(until(&budget, at(25, 0)), Some(at(50, 0)));
    }

    #[test]
    fn it_is_worth_going_on_only_with_a_tenth_of_it() {
        let budget = of(1000);
        for (hour, bytes) in [(0, 50), (1, 49), (2, 2), (3, 899)] {
            budget.spend(bytes, at(hour, 0));
        }
        assert_eq!(until(&budget, at(3, 30)), Some(at(27, 0)));
    }

    #[test]
    fn more_than_a_days_worth_at_once_waits_a_day() {
        let budget = of(1000);
        budget.spend(5000, at(0, 10));
        assert_eq!(until(&budget, at(0, 10)), Some(at(25, 0)));
    }

    #[test]
    fn a_clock_that_is_put_back_forgets_nothing() {
        let budget = of(1000);
        budget.spend(600, at(10, 0));
        budget.spend(600, at(4, 0));
        assert!(budget.spent(at(4, 0)).is_some());
    }

    #[test]
    fn what_was_kept_is_known_after_a_restart() {
        let (before, after) = (Budgets::default(), Budgets::default());
        let budget = before.learn("anna", 1000, Spending::default());
        budget.spend(1000, at(0, 0));
        let kept = serde_json::to_vec(&budget.to_keep(true, at(0, 0))).expect("it can be written");
        let kept: Spending = serde_json::from_slice(&kept).expect("it can be read");
        let again = after.learn("anna", 1000, kept);
        assert_eq!(until(&again, at(1, 0)), Some(at(25, 0)));
    }

    #[test]
    fn it_is_kept_by_the_hundredth_and_whole_at_the_end() {
        let (budget, now) = (of(1000), at(0, 0));
        budget.spend(9, now);
        assert_eq!(budget.to_keep(false, now), None);
        budget.spend(1, now);
        assert!(budget.to_keep(false, now).is_some());
        assert_eq!(budget.to_keep(true, now), None);
        budget.spend(1, now);
        assert!(budget.to_keep(true, now).is_some());
    }

    #[test]
    fn who_uses_an_account_spends_of_the_same_whatever_the_limit() {
        let (budgets, now) = (Budgets::default(), at(0, 0));
        budgets.learn("anna", 1000, Spending::default()).spend(700, now);
        let same = budgets.learn("anna", 500, Spending::default());
        assert!(same.spent(now).is_some());
        assert!(budgets.known("anna", 1000).is_some_and(|budget| budget.spent(now).is_none()));
        assert!(budgets.known("bob", 1000).is_none());
    }
}
