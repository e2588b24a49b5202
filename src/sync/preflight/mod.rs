//! Before the seed: what of a migration will not go as its operator thinks. Both accounts are looked
//! at in a few round trips, nothing is written, and what was found is plain data.

mod finding;

pub use finding::{Finding, Kind, Level, judge};

use crate::definition::Mailbox;
use crate::platform::{self, Destination, Source};
use crate::sync::Side;

/// What a look before the seed gave.
#[derive(Debug)]
pub struct Preflight {
    /// What will not go as expected, the worst first.
    pub findings: Vec<Finding>,
    /// Messages in the source's folders that take part, as far as it tells.
    pub messages: u64,
}

/// Looks at both accounts of a mailbox, signed in to already.
///
/// # Errors
/// The account of that side cannot be looked at.
pub async fn look(
    mailbox: &Mailbox,
    source: &mut dyn Source,
    destination: &mut dyn Destination,
) -> Result<Preflight, (Side, platform::Error)> {
    let takes = |folder: &crate::model::Folder| mailbox.select.takes_folder(folder);
    let (ours, theirs) = tokio::join!(source.inspect(Some(&takes)), destination.inspect(None));
    let ours = ours.map_err(|error| (Side::Source, error))?;
    let theirs = theirs.map_err(|error| (Side::Destination, error))?;
    let oversized = match theirs.max_message.filter(|&limit| finding::is_above(mailbox, limit)) {
        Some(limit) => {
            let found = source.oversized(&ours.folders, limit).await;
            Some(found.map_err(|error| (Side::Source, error))?)
        }
        None => None,
    };
    let findings = judge(mailbox, &ours, &theirs, oversized);
    Ok(Preflight { findings, messages: ours.messages })
}
