//! What is known of mail systems, as data.

use crate::model::Role;

/// The role that a folder's well-known leaf name suggests, in the common languages, without
/// regard to case: `Sent Items`, `Gesendete Elemente`, … Only for servers that do not say.
pub fn role_of_name(_leaf: &str) -> Option<Role> {
    None
}
