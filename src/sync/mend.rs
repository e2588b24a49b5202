//! Settles what an earlier pass left open. Only the destination tells; nothing is guessed.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio::time::{Instant, sleep_until};

use crate::ledger::{
    Change, Deed, Filed, FolderNo, Intent, IntentItem, MailboxLedger, MovedFrom, Origin, Overview,
    Place, PlaceNo, Record, Stranger,
};
use crate::model::{Epoch, Flags, FolderName, IdSet, ItemId};
use crate::platform::{ContentDigest, Destination, FlagChange, Sighting};

use super::job::unfile;
use super::lane::{Lane, at_destination};
use super::pairing::{Paired, Sizes, Trait, by_digest, pair};
use super::recognise::stranger;
use super::{Error, departures};

/// Did the last pass leave nothing to settle?
pub(crate) fn is_settled(overview: &Overview) -> bool {
    overview.intents.is_empty() && overview.places.values().all(|place| place.renaming.is_none())
}

/// Finds out which renames that were never answered for were done, before anything is looked for
/// in folders by their names. True if there were any. From `quiet` on nothing that an earlier pass
/// sent can still be under way.
pub(crate) async fn renames(
    ledger: &MailboxLedger,
    overview: &Overview,
    lane: &mut Lane,
    quiet: Instant,
) -> Result<bool, Error> {
    if overview.places.values().all(|place| place.renaming.is_none()) {
        return Ok(false);
    }
    sleep_until(quiet).await;
    let there = lane.destination.folders().await.map_err(at_destination)?;
    let exists = |name: &FolderName| there.iter().any(|s| s.selectable && s.folder.name == *name);
    let mut changes = Vec::new();
    for place in overview.places.values() {
        let mut place = place.clone();
        let Some(to) = place.renaming.take() else { continue };
        if exists(&to.name) && !exists(&place.name) {
            tracing::info!(from = %place.path, to = %to.path, "the destination had renamed the folder before an earlier pass was cut short");
            (place.name, place.path) = (to.name, to.path);
        }
        changes.push(Change::PutPlace(place));
    }
    ledger.commit(changes).await?;
    Ok(true)
}

/// Waits until nothing that an earlier pass sent can still be under way, then settles what it left.
/// Copies that are in doubt are settled by their content; see `recognise`.
pub(crate) async fn intents(
    ledger: &MailboxLedger,
    overview: &Overview,
    lane: &mut Lane,
    quiet: Instant,
) -> Result<(), Error> {
    if overview.intents.is_empty() {
        return Ok(());
    }
    tracing::info!(
        intents = overview.intents.len(),
        "an earlier pass was cut short; looking at the destination for what it left"
    );
    sleep_until(quiet).await;
    // What one intent settles is no candidate for the next.
    let mut places = overview.places.clone();
    for intent in &overview.intents {
        match intent.items.first().map(|item| &item.deed) {
            Some(Deed::Flag(_)) => flags(ledger, &places, lane, intent).await?,
            Some(Deed::Move(_)) => moves(ledger, &mut places, lane, intent).await?,
            Some(Deed::Remove(_)) => departures::settle(ledger, &places, lane, intent).await?,
            Some(Deed::Copy { .. }) | None => copies(ledger, &mut places, lane, intent).await?,
        }
    }
    Ok(())
}

/// Books which of an intent's copies landed. Not left to their recognition: by then the message
/// may have moved on at the source, and would be copied once more where it is now.
async fn copies(
    ledger: &MailboxLedger,
    places: &mut Places,
    lane: &mut Lane,
    intent: &Intent,
) -> Result<(), Error> {
    let Some(place) = places.get_mut(&intent.place) else { return Ok(()) };
    let Some(intent) = &unfiled(ledger, intent).await? else { return Ok(()) };
    let landed = appeared(ledger, lane.destination.as_mut(), place, intent).await?;
    // What has no Message-ID is settled by its content, here if the intent has that, else when it
    // is met again.
    let named = |s: &Sighting| s.message_id.is_some();
    let theirs: Vec<Trait> = landed
        .iter()
        .map(|s| Trait { named: named(s), ..Trait::at_destination(s.fingerprint, s.size) })
        .collect();
    let ours: Vec<Trait> =
        intent.items.iter().map(|i| Trait::at_destination(i.fingerprint, i.size)).collect();
    let Paired { mut sure, mut doubtful } = pair(&ours, &theirs, Sizes::TwoServers);
    if sure.is_empty() && doubtful.is_empty() {
        return Ok(());
    }
    for (mine, yours) in &mut doubtful {
        let content = |m: usize| match intent.items[m].deed {
            Deed::Copy { content } => Some((m, content?)),
            _ => None,
        };
        let my: Vec<(usize, ContentDigest)> = mine.iter().filter_map(|&m| content(m)).collect();
        if my.is_empty() {
            continue;
        }
        let ids: IdSet = yours.iter().map(|&y| landed[y].id).collect();
        let digests = lane.destination.digest(&place.name, &ids).await.map_err(at_destination)?;
        let your = yours.iter().filter_map(|&y| Some((y, *digests.get(&landed[y].id)?)));
        let found = by_digest(&my, &your.collect::<Vec<_>>());
        yours.retain(|y| !found.iter().any(|(_, taken)| taken == y));
        sure.extend(found);
    }
    // The crash may have come before the place was ever filed with its epoch.
    place.epoch = Some(intent.epoch);
    let mut changes = Vec::new();
    // What is in doubt is filed where `recognise` looks, wherever its source is by now.
    let doubtful = doubtful.iter().flat_map(|(_, theirs)| theirs);
    let strangers: Vec<Stranger> = doubtful.map(|&at| stranger(&landed[at])).collect();
    place.known.extend_set(&strangers.iter().map(|s| s.id).collect());
    changes.push(Change::PutStrangers(place.no, strangers));
    let late =
        |&(mine, yours): &(usize, usize)| (landed[yours].id, intent.items[mine].flags.clone());
    let late: Vec<(ItemId, Flags)> = sure.iter().map(late).collect();
    store_late(lane.destination.as_mut(), place, intent.epoch, &late).await?;
    for &(mine, yours) in &sure {
        let (item, at) = (&intent.items[mine], landed[yours].id);
        place.known.insert(at);
        let record = settled(intent, item, at, OURS);
        changes.push(Change::DropStrangers(place.no, IdSet::range(at, at)));
        changes.push(Change::DropFailures(item.folder, IdSet::range(item.id, item.id)));
        changes.push(Change::PutRecords(item.folder, vec![record]));
    }
    let booked: HashSet<usize> = sure.into_iter().map(|(mine, _)| mine).collect();
    let mut n = 0..;
    let mut left = intent.clone();
    left.items.retain(|_| n.next().is_some_and(|n| !booked.contains(&n)));
    changes.push(rest(left));
    changes.push(Change::PutPlace(place.clone()));
    ledger.commit(changes).await?;
    Ok(())
}

/// What an intent still says: messages that were filed since, by another intent's look or when they
/// were sent again, want no copy any more, and would be given their twins'. `None` if that was all.
async fn unfiled(ledger: &MailboxLedger, intent: &Intent) -> Result<Option<Intent>, Error> {
    let mut asked: BTreeMap<FolderNo, IdSet> = BTreeMap::new();
    for item in intent.copies() {
        asked.entry(item.folder).or_default().insert(item.id);
    }
    let mut filed = HashSet::new();
    for (folder, ids) in asked {
        filed.extend(ledger.records(folder, &ids).await?.into_iter().map(|r| (folder, r.id)));
    }
    if filed.is_empty() {
        return Ok(Some(intent.clone()));
    }
    let mut left = intent.clone();
    left.items.retain(|item| !filed.contains(&(item.folder, item.id)));
    ledger.commit(vec![rest(left.clone())]).await?;
    Ok((!left.items.is_empty()).then_some(left))
}

/// What is left of an intent is still to be settled.
fn rest(left: Intent) -> Change {
    match left.items.is_empty() {
        true => Change::DropIntent(left.no),
        false => Change::PutIntent(left),
    }
}

/// The record of an intent's message that stands in its place at this id.
fn settled(intent: &Intent, item: &IntentItem, at: ItemId, origin: Origin) -> Record {
    Record {
        id: item.id,
        place: intent.place,
        at: Some(at),
        origin,
        flags: item.flags.clone(),
        fingerprint: item.fingerprint,
        size: item.size,
        date: item.date,
        identity: None,
    }
}

/// What came into an intent's place since it was made and is nobody's yet: never looked at, or
/// looked at by a survey that came no further.
async fn appeared(
    ledger: &MailboxLedger,
    destination: &mut dyn Destination,
    place: &Place,
    intent: &Intent,
) -> Result<Vec<Sighting>, Error> {
    let Some((epoch, next)) = open(destination, place).await? else { return Ok(Vec::new()) };
    if epoch != intent.epoch {
        return Ok(Vec::new());
    }
    let since = IdSet::range(intent.next, ItemId(next.0.saturating_sub(1)));
    let mut nobodys = since.difference(&place.known);
    let strangers = ledger.strangers(place.no).await?;
    nobodys.extend_set(&strangers.iter().map(|s| s.id).filter(|&id| since.contains(id)).collect());
    if nobodys.is_empty() {
        return Ok(Vec::new());
    }
    destination.sight(&place.name, &nobodys).await.map_err(at_destination)
}

/// Books which of an intent's flags were stored: those that are as they should become. Whatever is
/// not counts as never sent, and is sent again if the source still wants it.
async fn flags(
    ledger: &MailboxLedger,
    places: &Places,
    lane: &mut Lane,
    intent: &Intent,
) -> Result<(), Error> {
    let mut changes = vec![Change::DropIntent(intent.no)];
    if let Some(there) = still_standing(places, lane, intent).await? {
        for item in &intent.items {
            let Deed::Flag(at) = item.deed else { continue };
            let Some(now) = there.get(&at).map(|seen| &seen.flags) else { continue };
            let Some(record) = record_at(ledger, intent, item, at).await? else { continue };
            let (add, remove) = (item.flags.minus(&record.flags), record.flags.minus(&item.flags));
            let (added, removed) = (add.minus(&add.minus(now)), remove.minus(now));
            let flags = record.flags.union(&added).minus(&removed);
            changes.push(Change::PutRecords(item.folder, vec![Record { flags, ..record }]));
        }
    }
    ledger.commit(changes).await?;
    Ok(())
}

/// What is still there of the copies an intent was about to flag or to remove; `None` if its place
/// is gone, or was made anew.
pub(crate) async fn still_standing(
    places: &Places,
    lane: &mut Lane,
    intent: &Intent,
) -> Result<Option<HashMap<ItemId, Sighting>>, Error> {
    let destination = lane.destination.as_mut();
    let Some(place) = places.get(&intent.place) else { return Ok(None) };
    match open(destination, place).await? {
        Some((epoch, _)) if epoch == intent.epoch => {}
        _ => return Ok(None),
    }
    let copy = |item: &IntentItem| match item.deed {
        Deed::Flag(at) | Deed::Remove(at) => Some(at),
        Deed::Copy { .. } | Deed::Move(_) => None,
    };
    let ids: IdSet = intent.items.iter().filter_map(copy).collect();
    let seen = destination.sight(&place.name, &ids).await.map_err(at_destination)?;
    Ok(Some(seen.into_iter().map(|seen| (seen.id, seen)).collect()))
}

/// The record an intent's message was taken from, if it still says that its copy is there.
pub(crate) async fn record_at(
    ledger: &MailboxLedger,
    intent: &Intent,
    item: &IntentItem,
    at: ItemId,
) -> Result<Option<Record>, Error> {
    let records = ledger.records(item.folder, &IdSet::range(item.id, item.id)).await?;
    Ok(records.into_iter().find(|r| r.place == intent.place && r.at == Some(at)))
}

/// Finds out which of an intent's moves happened.
async fn moves(
    ledger: &MailboxLedger,
    places: &mut Places,
    lane: &mut Lane,
    intent: &Intent,
) -> Result<(), Error> {
    let mut changes = vec![Change::DropIntent(intent.no)];
    let mut landed = Vec::new();
    let mut place = places.get(&intent.place).cloned();
    if let Some(place) = &place {
        landed = appeared(ledger, lane.destination.as_mut(), place, intent).await?;
    }
    let mut items = Vec::new();
    for item in &intent.items {
        let Deed::Move(from) = &item.deed else { continue };
        items.push((still_there(places, lane, from).await?, item, from));
    }
    // What left its origin has landed for sure; only then may its twin, still there, have.
    items.sort_by_key(|(is_still_there, ..)| *is_still_there);
    for (is_still_there, item, from) in items {
        let found = landed.iter().position(|s| s.fingerprint == item.fingerprint);
        if let Some(at) = found.map(|at| landed.remove(at).id) {
            if is_still_there {
                finish(places, lane, from).await?;
            }
            changes.push(unfile(from.filed));
            changes.push(Change::DropStrangers(intent.place, IdSet::range(at, at)));
            let record = settled(intent, item, at, from.origin);
            changes.push(Change::DropFailures(item.folder, IdSet::range(item.id, item.id)));
            changes.push(Change::PutRecords(item.folder, vec![record]));
            if let Some(place) = &mut place {
                place.epoch = Some(intent.epoch);
                place.known.insert(at);
            }
        } else if !is_still_there {
            // Neither here nor there: its user took it away meanwhile.
            changes.extend(forget_copy(ledger, from).await?);
        }
    }
    if let Some(place) = place {
        changes.push(Change::PutPlace(place.clone()));
        places.insert(place.no, place);
    }
    ledger.commit(changes).await?;
    Ok(())
}

/// A move that landed is done but for its origin, where the server has no MOVE (RFC 6851): there it
/// is a copy that is removed afterwards.
async fn finish(places: &Places, lane: &mut Lane, from: &MovedFrom) -> Result<(), Error> {
    let Some(place) = places.get(&from.place) else { return Ok(()) };
    let (Some(epoch), ids) = (place.epoch, IdSet::range(from.at, from.at)) else { return Ok(()) };
    match lane.destination.remove(&place.name, epoch, &ids, &[]).await {
        Ok(())
        | Err(crate::platform::Error::FolderGone(_) | crate::platform::Error::EpochChanged(_)) => {
            Ok(())
        }
        Err(error) => Err(at_destination(error)),
    }
}

async fn still_there(places: &Places, lane: &mut Lane, from: &MovedFrom) -> Result<bool, Error> {
    let Some(place) = places.get(&from.place) else { return Ok(false) };
    let ids = IdSet::range(from.at, from.at);
    match lane.destination.sight(&place.name, &ids).await {
        Ok(seen) => Ok(!seen.is_empty()),
        Err(crate::platform::Error::FolderGone(_)) => Ok(false),
        Err(error) => Err(at_destination(error)),
    }
}

/// Notes that a message's copy is gone.
async fn forget_copy(ledger: &MailboxLedger, from: &MovedFrom) -> Result<Vec<Change>, Error> {
    Ok(match from.filed {
        Filed::Record(folder, id) => {
            let records = ledger.records(folder, &IdSet::range(id, id)).await?;
            let lost = records.into_iter().map(|record| Record { at: None, ..record }).collect();
            vec![Change::PutRecords(folder, lost)]
        }
        Filed::Retired(no) => vec![Change::Unretire(no)],
        Filed::Stranger(place, at) => vec![Change::DropStrangers(place, IdSet::range(at, at))],
    })
}

/// Opens a place: the epoch of its ids, and its UIDNEXT. `None` if it is not there any more.
pub(crate) async fn open(
    destination: &mut dyn Destination,
    place: &Place,
) -> Result<Option<(Epoch, ItemId)>, Error> {
    match destination.open(&place.name).await {
        Ok(opened) => Ok(Some((opened.epoch, opened.next))),
        Err(crate::platform::Error::FolderGone(_)) => Ok(None),
        Err(error) => Err(at_destination(error)),
    }
}

/// What landed of a batch whose answer was lost, refused as a whole, or did not name the ids:
/// for each of `wanted` its id, if it is there.
pub(crate) async fn landed(
    destination: &mut dyn Destination,
    place: &Place,
    epoch: Epoch,
    since: ItemId,
    wanted: &[Trait],
) -> Result<Vec<Option<ItemId>>, Error> {
    let opened = destination.open(&place.name).await.map_err(at_destination)?;
    if opened.epoch != epoch {
        let name = place.path.to_string();
        return Err(at_destination(crate::platform::Error::EpochChanged(name)));
    }
    let range = IdSet::range(since, ItemId(opened.next.0.saturating_sub(1)));
    let unseen = range.difference(&place.known);
    let mut at = vec![None; wanted.len()];
    if unseen.is_empty() {
        return Ok(at);
    }
    let seen = destination.sight(&place.name, &unseen).await.map_err(at_destination)?;
    let theirs: Vec<Trait> =
        seen.iter().map(|s| Trait::at_destination(s.fingerprint, s.size)).collect();
    let ours: Vec<Trait> = wanted.iter().map(|t| Trait::elsewhere(*t)).collect();
    let paired = pair(&ours, &theirs, Sizes::TwoServers);
    for (mine, theirs) in paired.sure {
        at[mine] = Some(seen[theirs].id);
    }
    for (mine, yours) in paired.doubtful {
        // All of them were sent in order, in one go; what landed of equals is a leading part.
        for (mine, yours) in mine.into_iter().zip(yours) {
            at[mine] = Some(seen[yours].id);
        }
    }
    Ok(at)
}

/// Gives copies that were found in their place the flags that a destination takes only then.
pub(crate) async fn store_late(
    destination: &mut dyn Destination,
    place: &Place,
    epoch: Epoch,
    found: &[(ItemId, Flags)],
) -> Result<(), Error> {
    let late = destination.late_flags();
    let change = |(id, flags): &(ItemId, Flags)| {
        let add = flags.both(&late);
        (!add.is_empty()).then_some(FlagChange { id: *id, add, remove: Flags::NONE })
    };
    let changes: Vec<FlagChange> = found.iter().filter_map(change).collect();
    destination.store_flags(&place.name, epoch, &changes, &[]).await.map_err(at_destination)
}

/// The origin of everything drover writes.
pub(crate) const OURS: Origin = Origin::Copied;

/// Places by number, as a job needs them to find what it moves from.
pub(crate) type Places = BTreeMap<PlaceNo, Place>;
