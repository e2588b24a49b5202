//! What was done to drover, and what came of it.

use std::collections::BTreeMap;
use std::fmt;

use super::herd::Verdict;

/// Counts of one campaign, or of all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) campaigns: u64,
    pub(crate) rounds: u64,
    /// Processes killed: drover and servers.
    pub(crate) kills: u64,
    /// Connections cut, stalled or mangled.
    pub(crate) cuts: u64,
    /// Answers that were not the server's own.
    pub(crate) lies: u64,
    /// Ledgers cut, put back or lost.
    pub(crate) ledgers: u64,
    /// By the name of the fault.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) messages: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) wrong: u64,
    /// What was lost, doubled or wrong, in words.
    pub(crate) complaints: Vec<String>,
}

impl Tally {
    /// True if a single message is not as it should be.
    pub(crate) fn is_spoilt(&self) -> bool {
        !self.complaints.is_empty()
    }

    pub(crate) fn judge(&mut self, seed: u64, verdict: &Verdict) {
        self.messages += verdict.messages as u64;
        self.lost += verdict.lost.len() as u64;
        self.doubled += verdict.doubled.len() as u64;
        self.wrong += verdict.wrong.len() as u64;
        let all = [&verdict.lost, &verdict.doubled, &verdict.wrong];
        let lines = all.into_iter().flatten().take(30);
        self.complaints.extend(lines.map(|line| format!("SEED={seed}: {line}")));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.campaigns += other.campaigns;
        self.rounds += other.rounds;
        self.kills += other.kills;
        self.cuts += other.cuts;
        self.lies += other.lies;
        self.ledgers += other.ledgers;
        self.messages += other.messages;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.wrong += other.wrong;
        self.complaints.extend(other.complaints.iter().cloned());
        for (name, n) in &other.faults {
            *self.faults.entry(name).or_default() += n;
        }
    }

    /// All of it, in a few lines.
    pub(crate) fn summary(&self) -> String {
        let faults: Vec<String> =
            self.faults.iter().map(|(name, n)| format!("{name} {n}")).collect();
        format!("{} campaigns: {self}\nfaults: {}", self.campaigns, faults.join(", "))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds, {} kills, {} cuts, {} server lies, {} ledgers spoilt, {} messages: \
             {} lost, {} doubled, {} wrong",
            self.rounds,
            self.kills,
            self.cuts,
            self.lies,
            self.ledgers,
            self.messages,
            self.lost,
            self.doubled,
            self.wrong
        )
    }
}
