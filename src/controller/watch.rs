//! Notices when the definitions change. A cheap look at names, sizes and times once a second is
//! the truth; file events (notify) only make it come sooner.
//!
//! Events alone would not do: drover's own reads raise them, a replaced directory silently ends
//! its watch, and network file systems send none. Even so everything is read anew twice a minute,
//! for a change may keep size and times.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::{debug, warn};

use super::catalog::{Catalog, Snapshot};
use super::walk::{Signature, Walk};

/// Between two looks, unless an event comes.
const POLL: Duration = Duration::from_secs(1);
/// Looking takes at most a fiftieth of one processor: with very many files it comes less often.
const POLL_SHARE: u32 = 50;
/// Files must stand still this long before they are read.
const QUIET: Duration = Duration::from_millis(250);
/// … but a directory that never stands still is read anyway.
const LONGEST_UNREST: Duration = Duration::from_secs(3);
/// Between two readings of everything.
const REREAD: Duration = Duration::from_secs(30);

/// Wakes the watch and ends it, when dropped.
#[derive(Debug, Clone)]
pub struct WatchHandle {
    wake: mpsc::Sender<Wake>,
}

#[derive(Debug)]
enum Wake {
    /// Something happened in a watched directory.
    Hint,
    /// Read now; what is gone is meant to be gone.
    Reload,
    /// End.
    Stop,
}

impl WatchHandle {
    /// Reads the directory now and accepts that what is gone is gone (SIGHUP).
    pub fn reload(&self) {
        let _ = self.wake.send(Wake::Reload);
    }

    /// Ends the watch soon.
    pub fn stop(&self) {
        let _ = self.wake.send(Wake::Stop);
    }
}

/// Watches in a thread of its own (all of it is blocking I/O). `tell` gets the first snapshot and
/// then every one that differs, and after each reload, with true, whatever it found; it may block,
/// and returns false to end the watch.
pub fn watch(
    mut catalog: Catalog,
    mut tell: impl FnMut(Snapshot, bool) -> bool + Send + 'static,
) -> std::io::Result<WatchHandle> {
    let (wake, woken) = mpsc::channel();
    let handle = WatchHandle { wake: wake.clone() };
    std::thread::Builder::new().name("definitions".into()).spawn(move || {
        let mut hints = Hints::new(wake);
        let mut told: Option<Snapshot> = None;
        let mut reload = false;
        loop {
            let seen = see(&catalog);
            hints.watch(&seen, &catalog);
            let look = catalog.look(reload);
            let read = Instant::now();
            if reload || told.as_ref() != Some(&look.snapshot) {
                told = Some(look.snapshot.clone());
                if !tell(look.snapshot, reload) {
                    return;
                }
            }
            // A companion that nobody knew of before may have changed since it was read, unseen.
            if catalog.companions().iter().any(|path| !seen.companions.contains_key(*path)) {
                reload = false;
                continue;
            }
            match wait(&catalog, &woken, &seen, read, look.unsettled) {
                Some(accept) => reload = accept,
                None => return,
            }
        }
    })?;
    Ok(handle)
}

/// What one cheap look sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    walk: Walk,
    companions: BTreeMap<PathBuf, Option<Signature>>,
}

fn see(catalog: &Catalog) -> Seen {
    let signed = |path: &Path| (path.to_owned(), Signature::at(path));
    Seen {
        walk: Walk::of(catalog.directory()),
        companions: catalog.companions().into_iter().map(signed).collect(),
    }
}

/// Waits until the directory should be read again; true if removals are accepted, `None` to end.
fn wait(
    catalog: &Catalog,
    woken: &mpsc::Receiver<Wake>,
    read: &Seen,
    read_at: Instant,
    unsettled: bool,
) -> Option<bool> {
    let mut pause = if unsettled { QUIET } else { POLL };
    let mut moving: Option<(Instant, Seen)> = None;
    let mut cost = Duration::ZERO;
    loop {
        match woken.recv_timeout(pause) {
            Ok(Wake::Reload) => return Some(true),
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            // One hint of a burst is enough: let the rest of it come.
            Ok(Wake::Hint) => {
                std::thread::sleep((QUIET / 5).max(cost * POLL_SHARE / 5));
                let mut burst = woken.try_iter().filter(|wake| !matches!(wake, Wake::Hint));
                match burst.next() {
                    Some(Wake::Reload) => return Some(true),
                    Some(Wake::Stop) => return None,
                    Some(Wake::Hint) | None => {}
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if unsettled && read_at.elapsed() >= QUIET || read_at.elapsed() >= REREAD {
            return Some(false);
        }
        let began = Instant::now();
        let now = see(catalog);
        cost = began.elapsed();
        if now == *read && moving.is_none() {
            pause = if unsettled { QUIET } else { POLL.max(cost * POLL_SHARE) };
            continue;
        }
        match &moving {
            Some((_, before)) if *before == now => return Some(false),
            Some((since, _)) if since.elapsed() >= LONGEST_UNREST => return Some(false),
            Some((since, _)) => moving = Some((*since, now)),
            None => moving = Some((began, now)),
        }
        // Not by `pause`: hints would cut the quiet short.
        std::thread::sleep(QUIET);
        pause = Duration::ZERO;
    }
}

/// Watches of directories, laid anew when one is replaced.
struct Hints {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Option<(u64, u64)>>,
}

impl Hints {
    fn new(wake: mpsc::Sender<Wake>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reads are accesses; everything else, errors included, is worth a look.
            if !matches!(event, Ok(notify::Event { kind: EventKind::Access(_), .. })) {
                let _ = wake.send(Wake::Hint);
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                warn!("no file events ({error}); changes are noticed once a second");
            })
            .ok();
        Self { watcher, watched: BTreeMap::new() }
    }

    fn watch(&mut self, seen: &Seen, catalog: &Catalog) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut wanted: BTreeMap<PathBuf, Option<(u64, u64)>> =
            seen.walk.directories.iter().map(|(path, id)| (path.clone(), Some(*id))).collect();
        // The directory itself may be a link that is swapped, and rosters may lie elsewhere.
        let companions = catalog.companions();
        let beside: BTreeSet<&Path> = companions.iter().filter_map(|path| path.parent()).collect();
        for path in beside.into_iter().chain(catalog.directory().parent()) {
            wanted.entry(path.to_owned()).or_insert(None);
        }
        let old = |path: &PathBuf, id: &Option<(u64, u64)>| wanted.get(path) != Some(id);
        let outdated: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(|(path, id)| old(path, id))
            .map(|(path, _)| path.clone())
            .collect();
        for path in outdated {
            // Fails if the kernel has dropped it already.
            let _ = watcher.unwatch(&path);
            self.watched.remove(&path);
        }
        for (path, id) in wanted {
            let Entry::Vacant(vacant) = self.watched.entry(path) else { continue };
            match watcher.watch(vacant.key(), RecursiveMode::NonRecursive) {
                Ok(()) => drop(vacant.insert(id)),
                Err(error) => debug!("no file events for {}: {error}", vacant.key().display()),
            }
        }
    }
}
