//! What a comparison found, as plain data: stable and additive.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of each folder's differences is listed by name; all of it is counted.
pub(super) const LISTED: usize = 100;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// By destination folder.
    pub folders: Vec<FolderComparison>,
    /// What was done to contents before their digests were taken; see docs/verify.md.
    #[serde(default)]
    pub normalisation: String,
    /// Present if only a sample was compared.
    #[serde(default)]
    pub sample: Option<Sampled>,
    /// Present if the destination was compared with a manifest instead of the source.
    #[serde(default)]
    pub manifest: Option<ManifestUsed>,
}

/// Which part of a mailbox was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sampled {
    /// As asked for: `5%` or `500`.
    pub asked: String,
    /// Gives the same sample of the same mailbox again.
    pub seed: u64,
    /// Selected messages at the source.
    pub of: u64,
    /// Those that were compared: the sample, and the twins of what is in it.
    pub compared: u64,
}

/// The manifest that stood for the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestUsed {
    /// When it was written.
    pub written: DateTime<Utc>,
    /// The source account that was read for it.
    pub source: String,
}

/// What a comparison found in one destination folder, in messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FolderComparison {
    /// The source folders that go there.
    pub sources: Vec<String>,
    /// The destination folder.
    pub destination: String,
    /// Selected messages at the source.
    pub expected: u64,
    /// Those found at the destination with the same content.
    pub found: u64,
    /// Those not found.
    pub missing: u64,
    /// Those not found whose loss the definition accepts. No difference.
    #[serde(default)]
    pub accepted: u64,
    /// Copies of source messages beyond their number at the source.
    pub duplicated: u64,
    /// Found ones whose flags differ.
    pub flags_differ: u64,
    /// Found ones whose INTERNALDATE differs.
    pub dates_differ: u64,
    /// Messages only the destination has; not known of a sample.
    pub others: u64,
    /// Source folders that show a part of themselves only: what they hide was not compared.
    #[serde(default)]
    pub in_part: Vec<String>,
    /// The first differences, by name.
    pub differences: Vec<Difference>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// `missing`, `duplicated`, `flags` or `date`; or `accepted`, which is none.
    pub kind: String,
    /// The source folder, or the destination's for a duplicate and where a manifest stands for
    /// the source.
    pub folder: String,
    /// Its id there; a manifest has none.
    pub uid: Option<u64>,
    /// Its Message-ID, if it has one.
    pub message_id: Option<String>,
    /// For flags and dates: source and destination. For what is accepted: why.
    pub detail: Option<String>,
}

impl FolderComparison {
    /// True if nothing differs.
    pub const fn is_equal(&self) -> bool {
        self.total() == 0
    }

    /// Differences of all kinds.
    pub const fn total(&self) -> u64 {
        self.missing + self.duplicated + self.flags_differ + self.dates_differ
    }
}

impl Comparison {
    /// True if nothing differs anywhere.
    pub fn is_equal(&self) -> bool {
        self.folders.iter().all(FolderComparison::is_equal)
    }

    /// Differences of all kinds, everywhere.
    pub fn total(&self) -> u64 {
        self.folders.iter().map(FolderComparison::total).sum()
    }
}
