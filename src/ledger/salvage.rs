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
use super::journal::{self, Staged};
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
    let key = Key::note(NOTE);
    match database.read(|view| view.row::<Damage>(key.as_bytes()))? {
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
    let pending = database.pending();
    let mut view = database.view(&pending);
    let missing = || Error::damaged("the row about the ledger is missing");
    let mut meta: Meta = view.row(keys::META)?.ok_or_else(missing)?;
    stage(&mut view, &mut meta)?;
    apply::seal(&mut view, &mut meta)?;
    let changes = view.into_accepted();
    drop(pending);
    database.commit(changes, &meta)
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
    let mut stock = Stock { tree: &tree, pending: Staged::new() };
    let mut meta = stock.meta();
    let mut is_gapless = true;
    if let Some(found) = &meta {
        match journal::left(aside, found) {
            Ok(pending) => stock.pending = pending,
            Err(_) => is_gapless = false,
        }
        meta = stock.meta();
    }
    let names = stock.rows::<u32>(&Key::names()).rows;
    // A mailbox may agree with itself and yet be from an earlier day, if the database lost what
    // was written since: then the mailboxes together count less than the ledger does.
    let counted: u64 = names.values().map(|no| stock.counted(MailboxNo(*no))).sum();
    let current = is_gapless && meta.is_some_and(|meta| counted == meta.records && current(&meta));
    for (key, no) in names {
        let mut found = stock.read(MailboxNo(no));
        (found.name, found.current) = (keys::named(&key), current);
        if send.send(found).is_err() {
            break;
        }
    }
    drop_aside(tree);
    Ok(())
}

/// A damaged database with what its journal holds beyond it.
struct Stock<'t> {
    tree: &'t sled::Db,
    pending: Staged,
}

impl Stock<'_> {
    /// The records a mailbox says it has.
    fn counted(&self, mailbox: MailboxNo) -> u64 {
        let counts = self.rows::<Counts>(&Key::of(mailbox, Kind::Counts));
        counts.values().map(|counts| counts.records).sum()
    }

    fn read(&self, mailbox: MailboxNo) -> Found {
        let of = |kind| Key::of(mailbox, kind);
        let state = self.rows::<MailboxState>(&of(Kind::State));
        let tally = self.rows::<apply::Tally>(&of(Kind::Tally));
        let (folders, places) = (self.rows(&of(Kind::Folder)), self.rows(&of(Kind::Place)));
        let counts = self.rows::<Counts>(&of(Kind::Counts));
        let (intents, retired) = (self.rows(&of(Kind::Intent)), self.rows(&of(Kind::Retired)));
        let (failures, passes) = (self.rows(&of(Kind::Failure)), self.rows(&of(Kind::Pass)));
        let records = self.pages::<Record>(&of(Kind::Records));
        let strangers = self.pages::<Stranger>(&of(Kind::Strangers));
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
        let counted: HashMap<FolderNo, Counts> = counts
            .rows
            .iter()
            .map(|(key, counts)| (FolderNo(keys::number(key)), *counts))
            .collect();
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

    fn meta(&self) -> Option<Meta> {
        guarded(|| View::new(self.tree, &self.pending).row(keys::META)).ok().flatten()
    }

    fn rows<T: DeserializeOwned>(&self, prefix: &Key) -> Read<T> {
        self.sound(prefix, |key, value| decode_row(key, value).ok())
    }

    fn pages<R: Row>(&self, prefix: &Key) -> Read<Vec<R>> {
        self.sound(prefix, |key, value| page::decode(key, value).ok())
    }

    /// Every row of a prefix that is sound: from the front up to where the database fails, then
    /// from the back; and what the journal says instead.
    fn sound<T>(&self, prefix: &Key, decode: impl Fn(&[u8], &[u8]) -> Option<T>) -> Read<T> {
        let mut read = Read { rows: BTreeMap::new(), whole: true };
        let is_newer = |key: &[u8]| self.pending.contains_key(key);
        let range = || self.tree.range(prefix.as_bytes()..=prefix.end().as_slice());
        let mut front = range();
        let mut last: Option<Vec<u8>> = None;
        loop {
            match guarded(|| Ok(front.next())) {
                Ok(Some(Ok((key, value)))) => {
                    last = Some(key.to_vec());
                    if !is_newer(&key) {
                        read.take(&key, decode(&key, &value));
                    }
                }
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) => {
                    read.whole = false;
                    break;
                }
            }
        }
        let mut back = range();
        while !read.whole
            && let Ok(Some(Ok((key, value)))) = guarded(|| Ok(back.next_back()))
            && last.as_deref().is_none_or(|last| key.as_ref() > last)
        {
            if !is_newer(&key) {
                read.take(&key, decode(&key, &value));
            }
        }
        let newer = self.pending.range(prefix.as_bytes().to_vec()..=prefix.end());
        for (key, value) in newer {
            if let Some(value) = value {
                read.take(key, decode(key, value));
            }
        }
        read
    }
}

/// What a range of keys gave.
struct Read<T> {
    rows: BTreeMap<Vec<u8>, T>,
    /// Every row of it could be read.
    whole: bool,
}

impl<T> Read<T> {
    fn take(&mut self, key: &[u8], row: Option<T>) {
        match row {
            Some(row) => drop(self.rows.insert(key.to_vec(), row)),
            None => self.whole = false,
        }
    }

    fn values(self) -> impl Iterator<Item = T> {
        self.rows.into_values()
    }
}
