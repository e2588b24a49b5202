//! Conditions, as Kubernetes writes them: a type, whether it holds, why, and since when.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a condition is about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ConditionType {
    /// The newest definition could be read.
    DefinitionValid,
    /// Both sides accepted the credentials.
    CredentialsValid,
    /// Both sides answered.
    Reachable,
    /// The first pass is through.
    Seeded,
    /// The last pass left nothing behind.
    InSync,
    /// A server asked drover to wait.
    Throttled,
    /// Everything is in place for a short final pass.
    CutoverReady,
    /// The tail is over and nothing came late.
    Drained,
    /// The last `drover verify` found both sides equal.
    Verified,
    /// The migration is over.
    Complete,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not known yet.
    Unknown,
}

/// One condition of a migration or mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: Truth,
    /// One CamelCase word for machines.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// When `status` last changed.
    pub since: DateTime<Utc>,
    /// The generation of the definition it was observed for.
    pub observed_generation: String,
    /// Of `CredentialsValid`: when the first credential ends, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<DateTime<Utc>>,
}
