//! See [`crate::fuzzing`].

use super::document::Document;
use super::roster::csv;

/// A roster is read or refused in words.
pub(crate) fn roster(text: &str) {
    let document = Document::new("roster.csv", text);
    let (entries, _) = csv(&document);
    assert!(entries.len() <= text.lines().count() + text.matches('\r').count());
}
