//! Gives differences their names: only of what is listed are headers read.

use super::compare::Findings;
use super::entry::Entry;
use super::report::{Difference, FolderComparison, LISTED};
use super::{Group, manifest};
use crate::definition::{Loss, Mailbox};
use crate::model::{Folder, FolderName, IdSet, ItemId};
use crate::platform::Destination;
use crate::sync::Error;
use crate::sync::lane::{Lane, at_destination, at_source};

/// Messages whose headers are read at a time.
const AT_ONCE: usize = 500;

/// Takes from the missing ones those that the definition accepts by Message-ID.
pub(super) async fn accept(
    lane: &mut Lane,
    mailbox: &Mailbox,
    sources: &[&Folder],
    findings: &mut Findings,
) -> Result<(), Error> {
    let by_id = mailbox.accept.iter().any(|one| matches!(one.loss, Loss::MessageId(_)));
    if !by_id || findings.missing_at.is_empty() {
        return Ok(());
    }
    for (n, folder) in sources.iter().enumerate() {
        let of = findings.missing_at.iter().filter(|(at, _)| *at as usize == n);
        let ids: Vec<ItemId> = of.map(|(_, id)| *id).collect();
        for part in ids.chunks(AT_ONCE) {
            let part = part.iter().copied().collect();
            let seen = lane.source.sight(&folder.name, &part).await.map_err(at_source)?;
            for one in seen {
                let id = one.message_id.as_deref();
                let Some(reason) = mailbox.accepted(&folder.path, one.id, id) else { continue };
                findings.missing -= 1;
                findings.accepted += 1;
                let is_it = |entry: &Entry| (entry.folder as usize, entry.id) == (n, one.id);
                let listed = findings.missing_ones.iter().position(is_it);
                if let Some(at) = listed {
                    let mut entry = findings.missing_ones.remove(at);
                    entry.accepted = Some(reason.into());
                    findings.accepted_ones.push(entry);
                }
            }
        }
    }
    Ok(())
}

/// What was found in one folder, for people.
pub(super) async fn report(
    lane: &mut Lane,
    sources: &[&Folder],
    group: &Group,
    findings: Findings,
) -> Result<FolderComparison, Error> {
    let destination = group.path.to_string();
    let folder_of = |entry: &Entry| {
        sources.get(entry.folder as usize).map_or_else(String::new, |f| f.path.to_string())
    };
    let mut result = counted(&findings, destination);
    result.sources = sources.iter().map(|folder| folder.path.to_string()).collect();
    let mut listed = differences(&findings, folder_of);
    listed.truncate(LISTED);
    for (n, folder) in sources.iter().enumerate() {
        let ids = ids(&listed, Some(u32::try_from(n).unwrap_or(u32::MAX)));
        if !ids.is_empty() {
            let seen = lane.source.sight(&folder.name, &ids).await.map_err(at_source)?;
            name(&mut listed, Some(n as u32), seen);
        }
    }
    let ids = ids(&listed, None);
    if !ids.is_empty() {
        let seen = lane.destination.sight(&group.name, &ids).await.map_err(at_destination)?;
        name(&mut listed, None, seen);
    }
    result.differences = listed.into_iter().map(|one| one.difference).collect();
    Ok(result)
}

/// The same where a manifest stands for the source; `name` is the destination's folder, if it is
/// there.
pub(super) async fn report_manifest(
    destination: &mut dyn Destination,
    folder: &manifest::Folder,
    there: Option<&FolderName>,
    findings: Findings,
) -> Result<FolderComparison, Error> {
    let mut result = counted(&findings, folder.path.clone());
    let mut listed = differences(&findings, |_| folder.path.clone());
    for one in listed.iter_mut().filter(|one| one.folder.is_some()) {
        // The manifest's line, not a UID.
        one.difference.uid = None;
    }
    listed.truncate(LISTED);
    let ids = ids(&listed, None);
    if let (Some(there), false) = (there, ids.is_empty()) {
        let seen = destination.sight(there, &ids).await.map_err(at_destination)?;
        name(&mut listed, None, seen);
    }
    result.differences = listed.into_iter().map(|one| one.difference).collect();
    Ok(result)
}

/// A difference and where its name is to be looked up: a source folder, or the destination.
struct Listed {
    folder: Option<u32>,
    difference: Difference,
}

fn counted(findings: &Findings, destination: String) -> FolderComparison {
    FolderComparison {
        destination,
        expected: findings.expected,
        found: findings.found,
        missing: findings.missing,
        accepted: findings.accepted,
        duplicated: findings.duplicated,
        flags_differ: findings.flags_differ,
        dates_differ: findings.dates_differ,
        others: findings.others,
        ..FolderComparison::default()
    }
}

/// What is gone first, what is there twice next, what is there and differs last.
fn differences(findings: &Findings, folder_of: impl Fn(&Entry) -> String) -> Vec<Listed> {
    let mut listed = Vec::new();
    let mut list = |kind: &str, entry: &Entry, at_source: bool, detail: Option<String>| {
        listed.push(Listed {
            folder: at_source.then_some(entry.folder),
            difference: Difference {
                kind: kind.into(),
                folder: folder_of(entry),
                uid: Some(entry.id.0),
                message_id: entry.message_id.as_deref().map(str::to_owned),
                detail,
            },
        });
    };
    for entry in &findings.missing_ones {
        let unread = entry.digest == Entry::UNREAD;
        list("missing", entry, true, unread.then(|| "listed by the source, not delivered".into()));
    }
    findings.duplicates.iter().for_each(|entry| list("duplicated", entry, false, None));
    for (here, there) in &findings.other_flags {
        let detail = format!("({}) ≠ ({})", here.flags.0, there.flags.0);
        list("flags", here, true, Some(detail));
    }
    for (here, there) in &findings.other_dates {
        let detail = format!("{} ≠ {}", date(here), date(there));
        list("date", here, true, Some(detail));
    }
    for entry in &findings.accepted_ones {
        list("accepted", entry, true, entry.accepted.as_deref().map(str::to_owned));
    }
    listed
}

fn date(entry: &Entry) -> String {
    let date = entry.date.and_then(|date| chrono::DateTime::from_timestamp(date, 0));
    date.map_or_else(
        || "none".into(),
        |date| date.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    )
}

fn ids(listed: &[Listed], folder: Option<u32>) -> IdSet {
    let of =
        listed.iter().filter(|one| one.folder == folder && one.difference.message_id.is_none());
    of.filter_map(|one| one.difference.uid.map(ItemId)).collect()
}

fn name(listed: &mut [Listed], folder: Option<u32>, seen: Vec<crate::platform::Sighting>) {
    for sighting in seen {
        let is_it =
            |one: &&mut Listed| one.folder == folder && one.difference.uid == Some(sighting.id.0);
        for one in listed.iter_mut().filter(is_it) {
            one.difference.message_id.clone_from(&sighting.message_id);
        }
    }
}
