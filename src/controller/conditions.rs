//! The conditions of a migration and its one-word summary: pure functions of what the controller
//! knows and the time.

use chrono::{DateTime, TimeDelta, Utc};

use super::catalog::Problem;
use super::herd::Entry;
use super::status::Summary;
use crate::auth::{Expiry, in_days};
use crate::definition::Migration;
use crate::model::{ConditionType, Phase, Truth};

/// What is wrong with credentials, as platform errors name it.
const CREDENTIALS: [&str; 3] = ["CredentialsRefused", "SecretUnreadable", "AccessForbidden"];
/// What is wrong with the way to a server.
const NETWORK: [&str; 5] =
    ["Unreachable", "TlsFailed", "ServerSilent", "ServerStalled", "ConnectionBroken"];

/// The reason of `CredentialsValid` when a credential ends soon.
pub const EXPIRES_SOON: &str = "ExpiresSoon";

/// What one condition says now. Since when is the caller's to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: ConditionType,
    pub(super) status: Truth,
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Of credentials: when the first of them ends.
    pub(super) expires: Option<DateTime<Utc>>,
}

/// What is to be judged.
pub(super) struct Case<'a> {
    /// In force, if any version is.
    pub(super) migration: Option<&'a Migration>,
    /// What is wrong with the newest version.
    pub(super) problems: &'a [Problem],
    /// Its mailboxes.
    pub(super) entries: Vec<&'a Entry>,
    /// The credential that ends first, and on which side.
    pub(super) expiry: Option<(Expiry, &'static str)>,
    /// Passes that may run at once.
    pub(super) width: usize,
    pub(super) now: DateTime<Utc>,
}

impl Case<'_> {
    /// All conditions, in the order of their declaration.
    pub(super) fn findings(&self) -> Vec<Finding> {
        vec![
            self.definition_valid(),
            self.credentials_valid(),
            self.reachable(),
            self.seeded(),
            self.in_sync(),
            self.throttled(),
            self.cutover_ready(),
            self.drained(),
            self.verified(),
            self.complete(),
        ]
    }

    /// In one word.
    pub(super) fn summary(&self, findings: &[Finding]) -> Summary {
        let holds = |kind| findings.iter().any(|f| f.kind == kind && f.status == Truth::True);
        let any_phase = |phases: &[Phase]| {
            self.entries.iter().any(|e| e.next.is_some_and(|next| phases.contains(&next.phase)))
        };
        let Some(migration) = self.migration else { return Summary::Invalid };
        if holds(ConditionType::Complete) {
            Summary::Complete
        } else if migration.suspend {
            Summary::Suspended
        } else if any_phase(&[Phase::Blocked])
            || !self.problems.is_empty()
            || self.entries.iter().any(|entry| has_lost(entry))
        {
            Summary::NeedsAttention
        } else if any_phase(&[Phase::Finalizing, Phase::Draining]) {
            Summary::CuttingOver
        } else if holds(ConditionType::CutoverReady) && migration.cutover.is_some() {
            Summary::CutoverReady
        } else if holds(ConditionType::InSync) {
            Summary::Synced
        } else if self.entries.iter().any(|e| e.state().is_some_and(|s| s.last_began.is_some())) {
            Summary::Active
        } else {
            Summary::Pending
        }
    }

    fn definition_valid(&self) -> Finding {
        let kind = ConditionType::DefinitionValid;
        match self.problems.first() {
            Some(problem) => Finding {
                kind,
                status: Truth::False,
                reason: "Invalid",
                message: match self.migration {
                    Some(_) => {
                        format!("the last valid version stays in force: {}", problem.message)
                    }
                    None => problem.message.clone(),
                },
                expires: None,
            },
            None if self.migration.is_some() => {
                finding(kind, Truth::True, "Valid", "the definition is valid")
            }
            None => finding(kind, Truth::Unknown, "Missing", "the definition is not there"),
        }
    }

    fn credentials_valid(&self) -> Finding {
        let kind = ConditionType::CredentialsValid;
        let refused = self.named(|entry| {
            let blocked = entry.state().and_then(|state| state.blocked.as_ref());
            blocked.is_some_and(|blocked| CREDENTIALS.contains(&&*blocked.reason))
        });
        let expires = self.expiry.map(|(expiry, _)| expiry.at);
        let found = if refused.is_empty() {
            self.unless_untried(kind, "Accepted", "both sides accept the credentials")
        } else {
            let message = format!("refused or unreadable for {}", some_of(&refused));
            no(kind, "Refused", message)
        };
        match self.expiry {
            // What is refused already needs no warning.
            Some((expiry, side)) if refused.is_empty() && expiry.is_soon(self.now) => {
                let Expiry { at, what } = expiry;
                let (when, remedy) = (in_days(at, self.now), what.remedy());
                let message = format!("{what} of the {side} ends on {when}: {remedy}");
                Finding { reason: EXPIRES_SOON, message, expires, ..found }
            }
            _ => Finding { expires, ..found },
        }
    }

    fn reachable(&self) -> Finding {
        let kind = ConditionType::Reachable;
        let trouble = self.entries.iter().filter_map(|entry| entry.trouble.as_ref());
        if let Some(trouble) = trouble.into_iter().find(|t| NETWORK.contains(&&*t.reason)) {
            let message = trouble.message.clone();
            return no(kind, "Unreachable", message);
        }
        self.unless_untried(kind, "Answering", "both sides answer")
    }

    fn seeded(&self) -> Finding {
        let n_seeded = self.count(|entry| entry.state().is_some_and(|s| s.seeded.is_some()));
        self.all(ConditionType::Seeded, n_seeded, "Seeded", "Seeding", "seeded")
    }

    fn in_sync(&self) -> Finding {
        let kind = ConditionType::InSync;
        match self.blocker() {
            Some((reason, message)) => no(kind, reason, message),
            None if self.entries.is_empty() => no_mailboxes(kind),
            None => finding(kind, Truth::True, "InSync", "the last passes left nothing behind"),
        }
    }

    fn throttled(&self) -> Finding {
        let kind = ConditionType::Throttled;
        let until = |entry: &Entry| {
            let trouble = entry.trouble.as_ref()?;
            trouble.throttled_until.filter(|until| *until > self.now)
        };
        let waiting = self.named(|entry| until(entry).is_some());
        // A day's budget lasts longer than most servers' patience, and is of one's own making.
        let own = "DayBudgetSpent";
        let is_own = |entry: &Entry| entry.trouble.as_ref().is_some_and(|t| t.reason == own);
        let is_own = self.entries.iter().any(|entry| until(entry).is_some() && is_own(entry));
        match self.entries.iter().filter_map(|entry| until(entry)).max() {
            Some(last) => Finding {
                kind,
                status: Truth::True,
                reason: if is_own { own } else { "ServerAsked" },
                message: format!("until {} at the latest: {}", short(last), some_of(&waiting)),
                expires: None,
            },
            None => finding(kind, Truth::False, "NotThrottled", "no server asks to wait"),
        }
    }

    fn cutover_ready(&self) -> Finding {
        let kind = ConditionType::CutoverReady;
        if self.entries.is_empty() {
            return no_mailboxes(kind);
        }
        if self.entries.iter().all(|e| e.state().is_some_and(|s| s.cut_over.is_some())) {
            return finding(kind, Truth::True, "CutOver", "all mailboxes are cut over");
        }
        if let Some((reason, message)) = self.blocker() {
            return no(kind, reason, message);
        }
        let unknown = self.named(|entry| usual_delta(entry).is_none());
        if !unknown.is_empty() {
            let message = format!("no delta has run yet for {}", some_of(&unknown));
            return no(kind, "NoDeltaYet", message);
        }
        let duration = self.predicted_finals();
        let message = format!(
            "the final passes would take about {} ({} mailboxes, {} at once)",
            human(duration),
            self.entries.len(),
            self.width.min(self.entries.len()),
        );
        finding(kind, Truth::True, "Ready", &message)
    }

    fn drained(&self) -> Finding {
        let over = |entry: &Entry| entry.state().is_some_and(|state| state.complete.is_some());
        let n_over = self.count(over);
        self.all(ConditionType::Drained, n_over, "Drained", "NotDrained", "drained")
    }

    fn verified(&self) -> Finding {
        let kind = ConditionType::Verified;
        let verified = |entry: &Entry| entry.state().and_then(|state| state.verified);
        let different = self.named(|entry| verified(entry).is_some_and(|(_, n)| n > 0));
        let unverified = self.named(|entry| verified(entry).is_none());
        if !different.is_empty() {
            let message = format!("the sides differ for {}", some_of(&different));
            no(kind, "Different", message)
        } else if self.entries.is_empty() {
            no_mailboxes(kind)
        } else if !unverified.is_empty() {
            let message = format!("`drover verify` has not run for {}", some_of(&unverified));
            finding(kind, Truth::Unknown, "NotVerified", &message)
        } else {
            finding(kind, Truth::True, "Equal", "both sides were found equal")
        }
    }

    fn complete(&self) -> Finding {
        let n_complete = self.count(|entry| entry.state().is_some_and(|s| s.complete.is_some()));
        self.all(ConditionType::Complete, n_complete, "Complete", "NotComplete", "complete")
    }

    /// The first thing that keeps the migration from being ready, and whose it is.
    fn blocker(&self) -> Option<(&'static str, String)> {
        let say = |reason, names: Vec<String>, what: &str| {
            (!names.is_empty()).then(|| (reason, format!("{what}: {}", some_of(&names))))
        };
        let of = |entry: &Entry| entry.state().cloned().unwrap_or_default();
        let last =
            |entry: &Entry| entry.memory.as_ref().and_then(|m| m.completed().next().cloned());
        say("Blocked", self.named(|e| of(e).blocked.is_some()), "waiting for an operator")
            .or_else(|| say("NotSeeded", self.named(|e| of(e).seeded.is_none()), "not seeded yet"))
            .or_else(|| say("Failing", self.named(|e| of(e).failures_in_a_row > 0), "failing"))
            .or_else(|| {
                let failed = |e: &Entry| {
                    last(e).is_some_and(|pass| pass.accounts.failed.min(pass.accounts.lost()) > 0)
                };
                say("MessagesFailed", self.named(failed), "messages failed in the last pass")
            })
            .or_else(|| {
                let what = "messages were given up; see `drover failed`, and mend or `accept` them";
                say("MessagesLost", self.named(has_lost), what)
            })
            .or_else(|| {
                let in_part = |e: &Entry| {
                    let accepts = e.mailbox.source.endpoint.traits.accepts_partial;
                    !accepts && last(e).is_some_and(|pass| pass.in_part > 0)
                };
                let what = "folders show a part of their messages only; see the notes of \
                            `drover plan`, and show more or set `partial = \"accept\"`";
                say("PartialView", self.named(in_part), what)
            })
            .or_else(|| {
                let behind = |e: &Entry| last(e).is_some_and(|pass| pass.accounts.deferred > 0);
                say("Behind", self.named(behind), "messages were left for the next pass")
            })
    }

    /// Two passes over each mailbox, one that brings the rest and one that finds nothing, as long
    /// as deltas usually take, as many at once as may run.
    fn predicted_finals(&self) -> TimeDelta {
        let usual = || self.entries.iter().filter_map(|entry| usual_delta(entry));
        let longest = usual().max().unwrap_or_default();
        let all: TimeDelta = usual().sum();
        let width = i32::try_from(self.width.max(1)).unwrap_or(i32::MAX);
        longest.max(all / width) * 2
    }

    fn unless_untried(&self, kind: ConditionType, reason: &'static str, message: &str) -> Finding {
        let tried =
            |entry: &&Entry| entry.memory.as_ref().is_some_and(|m| m.completed().next().is_some());
        if self.entries.iter().any(tried) {
            finding(kind, Truth::True, reason, message)
        } else {
            finding(kind, Truth::Unknown, "NotTried", "no pass has ended yet")
        }
    }

    fn all(
        &self,
        kind: ConditionType,
        n: usize,
        yes: &'static str,
        no: &'static str,
        word: &str,
    ) -> Finding {
        let n_all = self.entries.len();
        if n_all == 0 {
            return no_mailboxes(kind);
        }
        let message = format!("{n} of {n_all} mailboxes are {word}");
        let (status, reason) = if n == n_all { (Truth::True, yes) } else { (Truth::False, no) };
        finding(kind, status, reason, &message)
    }

    fn count(&self, is: impl Fn(&Entry) -> bool) -> usize {
        self.entries.iter().filter(|entry| is(entry)).count()
    }

    fn named(&self, is: impl Fn(&Entry) -> bool) -> Vec<String> {
        let named = self.entries.iter().filter(|entry| is(entry));
        named.map(|entry| entry.mailbox.source.user.clone()).collect()
    }
}

/// Were messages given up whose loss nobody has accepted?
fn has_lost(entry: &Entry) -> bool {
    let last = entry.memory.as_ref().and_then(|memory| memory.completed().next());
    last.is_some_and(|pass| pass.accounts.skipped.min(pass.accounts.lost()) > 0)
}

fn usual_delta(entry: &Entry) -> Option<TimeDelta> {
    entry.memory.as_ref()?.usual_delta()
}

fn finding(kind: ConditionType, status: Truth, reason: &'static str, message: &str) -> Finding {
    Finding { kind, status, reason, message: message.into(), expires: None }
}

fn no(kind: ConditionType, reason: &'static str, message: String) -> Finding {
    Finding { kind, status: Truth::False, reason, message, expires: None }
}

fn no_mailboxes(kind: ConditionType) -> Finding {
    finding(kind, Truth::Unknown, "NoMailboxes", "there is no mailbox")
}

/// The first three by name, and how many more.
fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn short(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn human(duration: TimeDelta) -> String {
    match duration.num_seconds() {
        seconds @ ..120 => format!("{} s", seconds.max(1)),
        seconds @ ..7200 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h", (seconds + 1800) / 3600),
    }
}
