//! What is still sound of a damaged database goes into the new one: states, histories, failures,
//! and every record whose page is whole. One bad page costs what was in it, not what is known of
//! all mailboxes.
//!
//! A record is a fact about two ids that are never given again, so it holds however old it is.
//! What says "nothing else is there" does not: cursors stay only where everything they stand on
//! was found, and the ids that drover has looked at (`known`) are counted anew from the rows that
//! are left, so that the rest is looked at again and adopted, not copied a second time.
//!
//! A mailbox's state may be older than the damage. Unless it says that the mailbox is cut over,
//! which is for ever, it is marked with the moment of the loss ([`MailboxState::lost`]), and so is
//! every mailbox of which nothing was found ([`lost`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::apply::{self, Meta};
use super::database::{Database, WITNESS, drop_aside, guarded, open_sled};
use super::keys::{self, Key, Kind, MailboxNo};
use super::page::{self, Row};
use super::view::{View, decode_row};
use super::witness::Witness;
use super::{
    Change, Counts, Error, Failure, FolderNo, FollowedFolder, Intent, MailboxKey, MailboxState,
    PassRecord, Place, PlaceNo, Record, Retired, Stranger,
};

/// A damaged database may hang; whoever waits for the next mailbox of it must not.
const PATIENCE: Duration = Duration::from_secs(20);
/// The note about the last damage. Not a name the daemon would choose.
const NOTE: &str = "ledger/damaged";

/// The last damage.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Damage {
    at: DateTime<Utc>,
    /// The directory it was set aside as.
    aside: String,
    /// Everything that could be saved is.
    saved: bool,
}

/// What was found of a mailbox.
#[derive(Default)]
struct Found {
    name: Option<MailboxKey>,
    state: Option<MailboxState>,
    passes: Vec<PassRecord>,
    folders: Vec<FollowedFolder>,
    places: BTreeMap<PlaceNo, Place>,
    intents: Vec<Intent>,
    retired: Vec<Retired>,
    failures: Vec<Failure>,
    records: BTreeMap<FolderNo, Vec<Record>>,
    strangers: BTreeMap<PlaceNo, Vec<Stranger>>,
    /// Folders whose records are as many as were counted.
    whole: HashSet<FolderNo>,
    /// Nothing at all is missing.
    sound: bool,
    /// The database is no older than its witness.
    current: bool,
}

/// Notes the damage in a new ledger and fills it with what can be saved from `dir/aside`.
pub(super) fn begin(database: &Database, dir: &Path, aside: &str) -> Result<(), Error> {
    let damage = Damage { at: Utc::now(), aside: aside.into(), saved: false };
    note(database, &damage)?;
    save(database, dir, damage)
}

/// Goes on with it, should it have been cut short.
pub(super) fn resume(database: &Database, dir: &Path) -> Result<(), Error> {
    let damage: Option<Damage> = View::new(&database.tree).row(Key::note(NOTE).as_bytes())?;
    match damage {
        Some(damage) if !damage.saved => save(database, dir, damage),
        _ => Ok(()),
    }
}

/// When the ledger was last damaged. A mailbox without rows may have had some then.
pub(super) fn lost(view: &View<'_>) -> Result<Option<DateTime<Utc>>, Error> {
    Ok(view.row::<Damage>(Key::note(NOTE).as_bytes())?.map(|damage| damage.at))
}

fn save(database: &Database, dir: &Path, damage: Damage) -> Result<(), Error> {
    let aside = dir.join(&damage.aside);
    let (send, receive) = mpsc::sync_channel(1);
    let reading = aside.clone();
    let reader = thread::Builder::new().name("ledger-salvage".into());
    reader
        .spawn(move || {
            let _ = guarded(|| read_all(&reading, &send));
        })
        .map_err(|e| Error::io("thread", &e))?;
    while let Ok(found) = receive.recv_timeout(PATIENCE) {
        if let Some(name) = found.name.clone() {
            let (folders, sound) = (found.folders.len(), found.sound && found.current);
            put(database, &name, found, damage.at)?;
            tracing::warn!(mailbox = %name, folders, whole = sound, "saved what is sound of the damaged ledger");
        }
    }
    note(database, &Damage { saved: true, ..damage })
}

fn note(database: &Database, damage: &Damage) -> Result<(), Error> {
    write(database, |view, _| view.put_row(Key::note(NOTE).as_bytes(), damage))
}

/// One durable batch.
fn write(
    database: &Database,
    stage: impl FnOnce(&mut View<'_>, &mut Meta) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut view = View::new(&database.tree);
    let missing = || Error::damaged("the row about the ledger is missing");
    let mut meta: Meta = view.row(keys::META)?.ok_or_else(missing)?;
    stage(&mut view, &mut meta)?;
    meta.generation += 1;
    view.put_row(keys::META, &meta)?;
    view.accept();
    let batch = view.into_batch();
    guarded(|| Ok(database.tree.apply_batch(batch)?))?;
    database.make_durable(&meta)
}

/// Files a mailbox whole, or not at all: a crash in between leaves it for another try.
fn put(
    database: &Database,
    name: &MailboxKey,
    found: Found,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    let changes = changes(found, at);
    write(database, |view, meta| {
        if view.get(Key::name(name).as_bytes())?.is_some() {
            return Ok(());
        }
        let no = apply::number(view, meta, name)?;
        changes.into_iter().try_for_each(|change| apply::apply(view, meta, no, change))
    })
}

fn changes(mut found: Found, at: DateTime<Utc>) -> Vec<Change> {
    let is_exact = found.sound && found.current;
    if !is_exact {
        drop_contradictions(&mut found);
        count_known_anew(&mut found);
    }
    let mut state =
        found.state.take().unwrap_or(MailboxState { lost: Some(at), ..MailboxState::default() });
    if !found.current && state.cut_over.is_none() && state.complete.is_none() {
        state.lost = Some(at);
    }
    let mut changes = vec![Change::PutState(state)];
    changes.extend(found.passes.into_iter().map(Change::AddPass));
    for mut folder in found.folders {
        let no = folder.no;
        if !(found.current && found.whole.contains(&no) && found.places.contains_key(&folder.place))
        {
            folder.cursor = None;
        }
        changes.push(Change::PutFolder(folder));
        changes.extend(found.records.remove(&no).map(|rows| Change::PutRecords(no, rows)));
        let failures = found.failures.iter().filter(|failure| failure.folder == no);
        changes.extend(failures.cloned().map(Change::PutFailure));
    }
    for (no, rows) in found.strangers {
        if found.places.contains_key(&no) {
            changes.push(Change::PutStrangers(no, rows));
        }
    }
    changes.extend(found.places.into_values().map(Change::PutPlace));
    changes.extend(found.retired.into_iter().map(Change::Retire));
    changes.extend(found.intents.into_iter().map(Change::PutIntent));
    changes
}

/// Takes out what cannot be true together: copies that are claimed twice, because one of the
/// claims is from an earlier day, and whatever is said to be in a folder that is not known.
fn drop_contradictions(found: &mut Found) {
    let folders: HashSet<FolderNo> = found.folders.iter().map(|folder| folder.no).collect();
    found.records.retain(|no, _| folders.contains(no));
    let mut claims: HashMap<(PlaceNo, u64), u32> = HashMap::new();
    let records = found.records.values().flatten().map(|r| (r.place, r.at));
    for (place, at) in records.chain(found.retired.iter().map(|r| (r.place, r.at))) {
        if let Some(at) = at {
            *claims.entry((place, at.0)).or_default() += 1;
        }
    }
    let places = &found.places;
    let holds = |place: PlaceNo, at: Option<crate::model::ItemId>| {
        at.is_none_or(|at| places.contains_key(&place) && claims[&(place, at.0)] == 1)
    };
    for rows in found.records.values_mut() {
        rows.retain(|r| holds(r.place, r.at));
    }
    found.retired.retain(|r| holds(r.place, r.at));
    for (place, rows) in &mut found.strangers {
        rows.retain(|row| !claims.contains_key(&(*place, row.id.0)));
    }
}

/// What nobody has a row of any more is to be looked at again.
fn count_known_anew(found: &mut Found) {
    for place in found.places.values_mut() {
        place.known = crate::model::IdSet::new();
    }
    let records = found.records.values().flatten().map(|r| (r.place, r.at));
    let retired = found.retired.iter().map(|r| (r.place, r.at));
    let strangers = found.strangers.iter();
    let strangers = strangers.flat_map(|(no, rows)| rows.iter().map(|row| (*no, Some(row.id))));
    for (place, at) in records.chain(retired).chain(strangers) {
        if let (Some(place), Some(at)) = (found.places.get_mut(&place), at) {
            place.known.insert(at);
        }
    }
}

/// Reads mailbox by mailbox; stops when nobody listens any more.
fn read_all(aside: &Path, send: &mpsc::SyncSender<Found>) -> Result<(), Error> {
    let current = |meta: &Meta| {
        let witness = Witness::open(&aside.join(WITNESS)).and_then(|mut witness| witness.read());
        let behind = |t: super::witness::Testimony| {
            t.identity != meta.identity || t.generation > meta.generation
        };
        !witness.ok().flatten().is_some_and(behind)
    };
    let tree = open_sled(aside)?;
    let meta = guarded(|| View::new(&tree).row::<Meta>(keys::META)).ok().flatten();
    let current = meta.as_ref().is_some_and(current);
    let names = rows::<u32>(&tree, &Key::names());
    for (key, no) in names.rows {
        let mut found = read(&tree, MailboxNo(no));
        (found.name, found.current) = (keys::named(&key), current);
        if send.send(found).is_err() {
            break;
        }
    }
    drop_aside(tree);
    Ok(())
}

fn read(tree: &sled::Db, mailbox: MailboxNo) -> Found {
    let of = |kind| Key::of(mailbox, kind);
    let state = rows::<MailboxState>(tree, &of(Kind::State));
    let tally = rows::<apply::Tally>(tree, &of(Kind::Tally));
    let (folders, places) = (rows(tree, &of(Kind::Folder)), rows(tree, &of(Kind::Place)));
    let counts = rows::<Counts>(tree, &of(Kind::Counts));
    let (intents, retired) = (rows(tree, &of(Kind::Intent)), rows(tree, &of(Kind::Retired)));
    let (failures, passes) = (rows(tree, &of(Kind::Failure)), rows(tree, &of(Kind::Pass)));
    let records = pages::<Record>(tree, &of(Kind::Records));
    let strangers = pages::<Stranger>(tree, &of(Kind::Strangers));
    let all_read = state.whole
        && tally.whole
        && folders.whole
        && places.whole
        && counts.whole
        && intents.whole
        && retired.whole
        && failures.whole
        && passes.whole
        && records.whole
        && strangers.whole;
    let mut found = Found {
        state: state.values().next(),
        passes: passes.values().collect(),
        folders: folders.values().collect(),
        places: places.values().map(|place: Place| (place.no, place)).collect(),
        intents: intents.values().collect(),
        retired: retired.values().collect(),
        failures: failures.values().collect(),
        ..Found::default()
    };
    for (key, rows) in records.rows {
        found.records.entry(FolderNo(keys::number(&key))).or_default().extend(rows);
    }
    for (key, rows) in strangers.rows {
        found.strangers.entry(PlaceNo(keys::number(&key))).or_default().extend(rows);
    }
    let counted: HashMap<FolderNo, Counts> =
        counts.rows.iter().map(|(key, counts)| (FolderNo(keys::number(key)), *counts)).collect();
    let n_records = |no: &FolderNo| found.records.get(no).map_or(0, Vec::len) as u64;
    let whole = found.folders.iter().map(|folder| folder.no);
    // A folder without records has no counts.
    found.whole =
        whole.filter(|no| n_records(no) == counted.get(no).map_or(0, |c| c.records)).collect();
    let n_strangers: usize = found.strangers.values().map(Vec::len).sum();
    let stock = [found.folders.len(), found.places.len(), n_strangers, found.retired.len()];
    let tally = tally.values().next().unwrap_or_default();
    let tallied = [tally.folders, tally.places, tally.strangers, tally.retired];
    found.sound = all_read
        && stock.map(|n| n as u64) == tallied
        && found.whole.len() == found.folders.len()
        && found.records.keys().all(|no| found.whole.contains(no));
    found
}

/// What a range of keys gave.
struct Read<T> {
    rows: Vec<(Vec<u8>, T)>,
    /// Every row of it could be read.
    whole: bool,
}

impl<T> Read<T> {
    fn values(self) -> impl Iterator<Item = T> {
        self.rows.into_iter().map(|(_, row)| row)
    }
}

fn rows<T: DeserializeOwned>(tree: &sled::Db, prefix: &Key) -> Read<T> {
    sound(tree, prefix, |key, value| decode_row(key, value).ok())
}

fn pages<R: Row>(tree: &sled::Db, prefix: &Key) -> Read<Vec<R>> {
    sound(tree, prefix, |key, value| page::decode(key, value).ok())
}

/// Every row of a prefix that is sound: from the front up to where the database fails, then from
/// the back.
fn sound<T>(tree: &sled::Db, prefix: &Key, decode: impl Fn(&[u8], &[u8]) -> Option<T>) -> Read<T> {
    let mut read = Read { rows: Vec::new(), whole: true };
    let range = || tree.range(prefix.as_bytes()..=prefix.end().as_slice());
    let mut front = range();
    let mut last: Option<Vec<u8>> = None;
    loop {
        match guarded(|| Ok(front.next())) {
            Ok(Some(Ok((key, value)))) => {
                last = Some(key.to_vec());
                match decode(&key, &value) {
                    Some(row) => read.rows.push((key.to_vec(), row)),
                    None => read.whole = false,
                }
            }
            Ok(None) => return read,
            Ok(Some(Err(_))) | Err(_) => break,
        }
    }
    read.whole = false;
    let mut back = range();
    let mut rest = Vec::new();
    while let Ok(Some(Ok((key, value)))) = guarded(|| Ok(back.next_back())) {
        if last.as_deref().is_some_and(|last| key.as_ref() <= last) {
            break;
        }
        rest.extend(decode(&key, &value).map(|row| (key.to_vec(), row)));
    }
    read.rows.extend(rest.into_iter().rev());
    read
}
