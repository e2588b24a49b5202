//! What can be asked of a mailbox's rows.

use std::collections::HashSet;

use crate::model::{Fingerprint, FolderPath, IdSet};

use super::apply::{self, Tally};
use super::keys::{self, Key, Kind, MailboxNo};
use super::view::{View, decode_row};
use super::{
    Counts, Error, Failure, FolderNo, FollowedFolder, MailboxKey, Overview, PassRecord, Place,
    PlaceNo, Retired,
};

/// The number of a mailbox, if anything was ever committed to it.
pub(super) fn number(view: &View<'_>, key: &MailboxKey) -> Result<Option<MailboxNo>, Error> {
    Ok(view.row(Key::name(key).as_bytes())?.map(MailboxNo))
}

/// Every mailbox with rows.
pub(super) fn mailboxes(view: &View<'_>) -> Result<Vec<MailboxKey>, Error> {
    let mut found = Vec::new();
    view.rows(&Key::names(), |key, _: u32| {
        found.extend(keys::named(key));
        Ok(())
    })?;
    Ok(found)
}

/// One walk over the rows that lie together, none of which are messages.
pub(super) fn overview(view: &View<'_>, mailbox: MailboxNo) -> Result<Overview, Error> {
    let mut overview = Overview::default();
    let from = Key::of(mailbox, Kind::State);
    let to = Key::of(mailbox, Kind::Intent).end();
    view.scan(from.as_bytes(), &to, |key, value| {
        match key.get(5) {
            Some(&kind) if kind == Kind::State as u8 => overview.state = decode_row(key, value)?,
            Some(&kind) if kind == Kind::Tally as u8 => {
                overview.retired = decode_row::<Tally>(key, value)?.retired;
            }
            Some(&kind) if kind == Kind::Folder as u8 => {
                let folder: FollowedFolder = decode_row(key, value)?;
                overview.folders.insert(folder.no, folder);
            }
            Some(&kind) if kind == Kind::Counts as u8 => {
                let counts: Counts = decode_row(key, value)?;
                overview.counts.insert(FolderNo(keys::number(key)), counts);
            }
            Some(&kind) if kind == Kind::Place as u8 => {
                let place: Place = decode_row(key, value)?;
                overview.places.insert(place.no, place);
            }
            _ => overview.intents.push(decode_row(key, value)?),
        }
        Ok(())
    })?;
    for no in overview.folders.keys() {
        overview.counts.entry(*no).or_default();
    }
    overview.intents.sort_by_key(|intent| (intent.made, intent.no));
    Ok(overview)
}

/// Newest last.
pub(super) fn passes(view: &View<'_>, mailbox: MailboxNo) -> Result<Vec<PassRecord>, Error> {
    let mut found = Vec::new();
    view.rows(&Key::of(mailbox, Kind::Pass), |_, pass| {
        found.push(pass);
        Ok(())
    })?;
    Ok(found)
}

/// Of one folder, by id.
pub(super) fn failures(
    view: &View<'_>,
    mailbox: MailboxNo,
    folder: FolderNo,
) -> Result<Vec<Failure>, Error> {
    let mut found = Vec::new();
    view.rows(&Key::of(mailbox, Kind::Failure).no(folder.0), |_, failure| {
        found.push(failure);
        Ok(())
    })?;
    Ok(found)
}

/// Of all folders, with their paths.
pub(super) fn all_failures(
    view: &View<'_>,
    mailbox: MailboxNo,
) -> Result<Vec<(FolderPath, Failure)>, Error> {
    let mut found = Vec::new();
    let mut folder: Option<(FolderNo, FolderPath)> = None;
    view.rows(&Key::of(mailbox, Kind::Failure), |_, failure: Failure| {
        let path = match &folder {
            Some((no, path)) if *no == failure.folder => path.clone(),
            _ => {
                let key = Key::of(mailbox, Kind::Folder).no(failure.folder.0);
                let row: Option<FollowedFolder> = view.row(key.as_bytes())?;
                // A failure outlives no folder; should one do so, its number must serve.
                let path = row.map_or_else(
                    || FolderPath::new([format!("folder {}", failure.folder.0)]),
                    |row| row.path,
                );
                folder = Some((failure.folder, path.clone()));
                path
            }
        };
        found.push((path, failure));
        Ok(())
    })?;
    Ok(found)
}

/// Retired rows with one of these fingerprints, by fingerprint and number.
pub(super) fn retired(
    view: &View<'_>,
    mailbox: MailboxNo,
    of: &HashSet<Fingerprint>,
) -> Result<Vec<Retired>, Error> {
    let mut found = Vec::new();
    let tally: Tally = view.row(Key::of(mailbox, Kind::Tally).as_bytes())?.unwrap_or_default();
    if tally.retired <= of.len() as u64 {
        // Reading them all takes fewer steps than looking each fingerprint up.
        view.rows(&Key::of(mailbox, Kind::Retired), |_, row: Retired| {
            if of.contains(&row.fingerprint) {
                found.push(row);
            }
            Ok(())
        })?;
        return Ok(found);
    }
    let mut sorted: Vec<_> = of.iter().collect();
    sorted.sort_unstable();
    for fingerprint in sorted {
        view.rows(&Key::of(mailbox, Kind::Retired).id(fingerprint.0), |_, row| {
            found.push(row);
            Ok(())
        })?;
    }
    Ok(found)
}

/// The ids of a folder's records.
pub(super) fn record_ids(
    view: &View<'_>,
    mailbox: MailboxNo,
    folder: FolderNo,
) -> Result<IdSet, Error> {
    let mut ids = IdSet::new();
    apply::records(mailbox, folder).each(view, |record| ids.insert(record.id))?;
    Ok(ids)
}

/// Every stranger of a place, by id.
pub(super) fn strangers(
    view: &View<'_>,
    mailbox: MailboxNo,
    place: PlaceNo,
) -> Result<Vec<super::Stranger>, Error> {
    let mut found = Vec::new();
    apply::strangers(mailbox, place.0).each(view, |stranger| found.push(stranger))?;
    Ok(found)
}
