//! Finds the destination's messages again where their ids are over: UIDVALIDITY changed, or a
//! folder was removed and made anew.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::ledger::{Change, FolderNo, MailboxLedger, Overview, Place, Record, Retired, Stranger};
use crate::model::{Epoch, Fingerprint, IdSet, ItemId};
use crate::platform::{ContentDigest, FolderStatus, Sighting};

use super::Error;
use super::lane::{Lane, at_destination, at_source};
use super::recognise::stranger;

/// Rebuilds the places whose ids at the destination are not those the ledger knows.
pub(crate) async fn places(
    ledger: &MailboxLedger,
    overview: &Overview,
    lane: &mut Lane,
    there: &[FolderStatus],
) -> Result<bool, Error> {
    let mut mended = false;
    for place in overview.places.values() {
        let status = there.iter().find(|s| s.folder.name == place.name);
        if let (Some(known), Some(now)) = (place.epoch, status.and_then(|s| s.epoch))
            && known != now
        {
            tracing::warn!(folder = %place.path, "the destination renewed the folder's ids; finding its messages again");
            place_anew(ledger, overview, lane, place.clone(), now).await?;
            mended = true;
        }
    }
    Ok(mended)
}

/// Pairs the records of a place with what stands there now. A record whose copy is not found was
/// removed by its user and stays so (law 4). Answers the place as it was filed.
pub(crate) async fn place_anew(
    ledger: &MailboxLedger,
    overview: &Overview,
    lane: &mut Lane,
    mut place: Place,
    epoch: Epoch,
) -> Result<Place, Error> {
    let opened = lane.destination.open(&place.name).await.map_err(at_destination)?;
    let all = match opened.next.0 {
        0 | 1 => IdSet::new(),
        next => IdSet::range(ItemId(1), ItemId(next - 1)),
    };
    let seen = if all.is_empty() || opened.messages == 0 {
        Vec::new()
    } else {
        lane.destination.sight(&place.name, &all).await.map_err(at_destination)?
    };
    let mut shelf = Shelf::new(&seen);
    let mut known = by_content(ledger, overview, lane, &place, &mut shelf).await?;
    place.epoch = Some(epoch);
    place.known = all;
    let mut changes =
        vec![Change::DropStrangers(place.no, IdSet::range(ItemId(0), ItemId(u64::MAX)))];
    for folder in overview.folders.values() {
        let mut walk = ledger.walk(folder.no);
        while let Some(page) = walk.next().await? {
            let found = |record: Record| {
                let by_name = |shelf: &mut Shelf| shelf.take(record.fingerprint, record.size);
                let at = known.remove(&(folder.no, record.id));
                Record { at: at.unwrap_or_else(|| by_name(&mut shelf)), ..record }
            };
            let here = |r: &Record| r.place == place.no && r.at.is_some();
            let found: Vec<Record> = page.into_iter().filter(here).map(found).collect();
            if !found.is_empty() {
                changes.push(Change::PutRecords(folder.no, found));
            }
        }
    }
    let retired = ledger.retired(&shelf.fingerprints()).await?;
    for row in retired.into_iter().filter(|row| row.place == place.no) {
        let at = shelf.take(row.fingerprint, row.size);
        changes.push(Change::Unretire(row.no));
        changes.push(Change::Retire(Retired { no: 0, at, ..row }));
    }
    changes.push(Change::PutStrangers(place.no, shelf.rest()));
    changes.push(Change::PutPlace(place.clone()));
    ledger.commit(changes).await?;
    Ok(place)
}

/// Where the copies are of the records that share their name with others, as their content tells.
/// Of those that the source does not hold any more, and where the destination stores everything
/// in another form, nothing is said.
async fn by_content(
    ledger: &MailboxLedger,
    overview: &Overview,
    lane: &mut Lane,
    place: &Place,
    shelf: &mut Shelf,
) -> Result<HashMap<(FolderNo, ItemId), Option<ItemId>>, Error> {
    let mut once: HashSet<Fingerprint> = HashSet::new();
    let mut names: HashSet<Fingerprint> = HashSet::new();
    let mut doubtful: BTreeMap<FolderNo, IdSet> = BTreeMap::new();
    // Once to learn which names are shared, once for the messages that share them.
    for is_counting in [true, false] {
        for folder in overview.folders.values() {
            let mut walk = ledger.walk(folder.no);
            while let Some(page) = walk.next().await? {
                for record in page.iter().filter(|r| r.place == place.no && r.at.is_some()) {
                    let name = record.fingerprint;
                    if !is_counting && names.contains(&name) {
                        doubtful.entry(folder.no).or_default().insert(record.id);
                    } else if is_counting && (shelf.is_shared(name) || !once.insert(name)) {
                        names.insert(name);
                    }
                }
            }
        }
    }
    let mut found = HashMap::new();
    if names.is_empty() {
        return Ok(found);
    }
    let copies: IdSet = shelf.of(&names).collect();
    let digests = lane.destination.digest(&place.name, &copies).await.map_err(at_destination)?;
    let mut supply: HashMap<ContentDigest, VecDeque<ItemId>> = HashMap::new();
    for id in copies.iter() {
        if let Some(digest) = digests.get(&id) {
            supply.entry(*digest).or_default().push_back(id);
        }
    }
    // Ids mean something only as long as the folder is the one they were recorded in.
    let here = lane.source.folders().await.map_err(at_source)?;
    for (no, ids) in doubtful {
        let Some(folder) = overview.folders.get(&no) else { continue };
        let same = |s: &FolderStatus| {
            s.selectable && s.folder.name == folder.name && s.epoch == Some(folder.epoch)
        };
        if !here.iter().any(same) {
            continue;
        }
        let ours = match lane.source.digest(&folder.name, &ids).await {
            Ok(ours) => ours,
            Err(crate::platform::Error::FolderGone(_)) => continue,
            Err(error) => return Err(at_source(error)),
        };
        for id in ids.iter() {
            let Some(digest) = ours.get(&id) else { continue };
            let at = supply.get_mut(digest).and_then(VecDeque::pop_front);
            found.insert((no, id), at);
        }
    }
    if found.values().all(Option::is_none) {
        found.clear();
    }
    shelf.taken.extend(found.values().copied().flatten());
    Ok(found)
}

/// Messages that may be taken once each, by what names them. Those of one name may be all there
/// are: each is taken in constant time.
struct Shelf {
    rows: HashMap<Fingerprint, Vec<Stranger>>,
    /// By name and size, in order: indexes into `rows`.
    sized: HashMap<(Fingerprint, u64), VecDeque<usize>>,
    /// By name, in order.
    named: HashMap<Fingerprint, VecDeque<usize>>,
    taken: HashSet<ItemId>,
}

impl Shelf {
    fn new(seen: &[Sighting]) -> Self {
        let mut shelf = Self {
            rows: HashMap::new(),
            sized: HashMap::new(),
            named: HashMap::new(),
            taken: HashSet::new(),
        };
        for row in seen.iter().map(stranger) {
            let rows = shelf.rows.entry(row.fingerprint).or_default();
            let at = rows.len();
            rows.push(row);
            shelf.sized.entry((row.fingerprint, row.size)).or_default().push_back(at);
            shelf.named.entry(row.fingerprint).or_default().push_back(at);
        }
        shelf
    }

    /// The one of that size if there is one, else the first of that name: servers may store what
    /// they were given with another length.
    fn take(&mut self, fingerprint: Fingerprint, size: u64) -> Option<ItemId> {
        let rows = self.rows.get(&fingerprint)?;
        let taken = &mut self.taken;
        let sized = self.sized.get_mut(&(fingerprint, size));
        for queue in sized.into_iter().chain(self.named.get_mut(&fingerprint)) {
            while let Some(at) = queue.pop_front() {
                if taken.insert(rows[at].id) {
                    return Some(rows[at].id);
                }
            }
        }
        None
    }

    /// True if more than one message has that name.
    fn is_shared(&self, fingerprint: Fingerprint) -> bool {
        self.rows.get(&fingerprint).is_some_and(|rows| rows.len() > 1)
    }

    fn of(&self, names: &HashSet<Fingerprint>) -> impl Iterator<Item = ItemId> {
        let rows = names.iter().filter_map(|name| self.rows.get(name));
        rows.flatten().map(|row| row.id)
    }

    fn fingerprints(&self) -> HashSet<Fingerprint> {
        self.rows.keys().copied().collect()
    }

    fn rest(self) -> Vec<Stranger> {
        let taken = self.taken;
        self.rows.into_values().flatten().filter(|row| !taken.contains(&row.id)).collect()
    }
}
