//! The directory of definitions: everything in it, read again and again into a [`Snapshot`].
//!
//! A snapshot is the whole truth as of one look; what changed is the difference of two snapshots,
//! the first start being the difference to an empty one. What protects the running migrations:
//!
//! - A file that cannot be read or is not valid leaves its last good version in place.
//! - A name that two files claim is an error for both; the last good version stays.
//! - A directory that is gone, unreadable or shows no definition at all removes nothing.
//! - Nor does one from which more than half of the known migrations, and at least two, vanish at
//!   once (an unmounted volume, a half-done checkout). Both end when the files come back, or when
//!   the operator says so: SIGHUP, `systemctl reload drover`.
//!
//! The names that were known are remembered over restarts by the caller ([`Catalog::remember`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::walk::{Signature, Walk};
use crate::definition::{Generation, Mailbox, Migration, MigrationName};

/// A file that is not valid is not complained about until it has been left alone for so long: it
/// may be half-written.
const SETTLE: Duration = Duration::from_secs(2);

/// One thing wrong with a definition.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Problem {
    /// Which file.
    pub file: PathBuf,
    /// From 1; 0 if it concerns the whole file.
    pub line: usize,
    /// From 1; 0 if it concerns the whole line.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
    /// The same with the line and a caret, for a terminal; without colour.
    pub rendered: String,
}

impl Problem {
    /// About a file as a whole.
    pub fn of_file(file: &Path, message: String) -> Self {
        let rendered = format!("error: {message}\n --> {}", file.display());
        Self { file: file.to_owned(), line: 0, column: 0, message, rendered }
    }
}

/// A definition that was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it declares.
    pub migration: Migration,
    /// What the operator should know although it is valid.
    pub warnings: Vec<Problem>,
    /// Other files it was made from (rosters, trust roots) or that it points to (secrets). A
    /// change of any of them is a change of the definition.
    pub files: Vec<PathBuf>,
}

/// A definition that is not valid.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// All that is wrong with it.
    pub problems: Vec<Problem>,
    /// As in [`Loaded`]: a change of any of them may mend it.
    pub files: Vec<PathBuf>,
}

/// Reads one definition file.
pub type Loader = Box<dyn Fn(&Path) -> Result<Loaded, Rejected> + Send>;

/// Finds what is wrong between definitions (one mailbox declared twice); each problem names the
/// file it concerns; both files of a conflict should have one.
pub type Conflicts = Box<dyn Fn(&[&Migration]) -> Vec<Problem> + Send>;

/// A migration in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// What it declares.
    pub migration: Arc<Migration>,
    /// The file it was read from.
    pub file: PathBuf,
    /// What the operator should know.
    pub warnings: Vec<Problem>,
}

/// Everything the directory says, as of one look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// In force: the newest valid version of each.
    pub migrations: BTreeMap<MigrationName, Declared>,
    /// Names whose newest version is not valid. They may be in force with an older one.
    pub broken: BTreeMap<MigrationName, Vec<Problem>>,
    /// Why nothing is removed, if something seems wrong with the directory as a whole.
    pub held: Option<String>,
    /// Names that are known: in force, broken, or gone and held.
    pub known: BTreeSet<MigrationName>,
    /// Marks that change when what a secret file holds changes; not derivable into the secret.
    pub seals: super::seal::Seals,
}

impl Snapshot {
    /// A digest of everything in force, for status.
    pub fn generation(&self) -> Generation {
        let mut text = String::new();
        for (name, declared) in &self.migrations {
            text.push_str(&format!("{}={}\n", name.0, declared.migration.generation.0));
        }
        Generation(format!("{:08x}", crc32c::crc32c(text.as_bytes())).into())
    }

    /// The mailbox over which passes run if they are asked for by these names (by none: all), if
    /// that is exactly one.
    pub fn sole(&self, names: &[String]) -> Option<Arc<Mailbox>> {
        let all = self.migrations.iter().filter(|(_, declared)| !declared.migration.suspend);
        let all = all.flat_map(|(migration, declared)| {
            declared.migration.mailboxes.iter().map(move |mailbox| (migration, mailbox))
        });
        let mut wanted = all.filter(|(migration, mailbox)| is_wanted(names, migration, mailbox));
        let (_, mailbox) = wanted.next()?;
        wanted.next().is_none().then(|| Arc::clone(mailbox))
    }
}

/// Do these names, of migrations or of mailboxes, select it? None select all.
pub(super) fn is_wanted(names: &[String], migration: &MigrationName, mailbox: &Mailbox) -> bool {
    let is_it = |name: &String| *name == *migration.0 || *name == migration.of_mailbox(mailbox);
    names.is_empty() || names.iter().any(is_it)
}

/// What changed between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogDiff {
    /// In force now and not before.
    pub added: Vec<MigrationName>,
    /// In force with another generation.
    pub changed: Vec<MigrationName>,
    /// Not in force any more.
    pub removed: Vec<MigrationName>,
    /// Newly broken, or broken in another way.
    pub broken: Vec<MigrationName>,
}

impl CatalogDiff {
    /// From `old` to `new`; the first start is from an empty one.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let mut diff = Self::default();
        for (name, declared) in &new.migrations {
            match old.migrations.get(name) {
                None => diff.added.push(name.clone()),
                Some(before) if before.migration != declared.migration => {
                    diff.changed.push(name.clone());
                }
                Some(_) => {}
            }
        }
        let gone = |name: &&MigrationName| !new.migrations.contains_key(*name);
        diff.removed = old.migrations.keys().filter(gone).cloned().collect();
        let news = |(name, problems): &(&MigrationName, &Vec<Problem>)| {
            old.broken.get(*name) != Some(*problems)
        };
        diff.broken = new.broken.iter().filter(news).map(|(name, _)| name.clone()).collect();
        diff
    }

    /// True if nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the directory; keeps what it needs to keep running migrations safe.
pub struct Catalog {
    directory: PathBuf,
    load: Loader,
    conflicts: Conflicts,
    current: Snapshot,
    /// Files beside the definitions that they are made from.
    companions: BTreeMap<MigrationName, Vec<PathBuf>>,
    seals: super::seal::Sealer,
}

/// One look at the directory.
#[derive(Debug, Clone)]
pub struct Look {
    /// What it says.
    pub snapshot: Snapshot,
    /// True if some file may be half-written: look again soon.
    pub unsettled: bool,
}

impl Catalog {
    /// Of this directory. Reads nothing yet.
    pub fn new(directory: PathBuf, load: Loader, conflicts: Conflicts) -> Self {
        Self {
            directory,
            load,
            conflicts,
            current: Snapshot::default(),
            companions: BTreeMap::new(),
            seals: super::seal::Sealer::default(),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Names known before a restart: without them a directory that is not mounted yet would look
    /// like one that is meant to be empty.
    pub fn remember(&mut self, names: impl IntoIterator<Item = MigrationName>) {
        self.current.known.extend(names);
    }

    /// Files beside the definitions that matter, each once.
    pub(super) fn companions(&self) -> BTreeSet<&Path> {
        self.companions.values().flatten().map(PathBuf::as_path).collect()
    }

    /// Reads everything. `accept_removals`: the operator says that what is gone is meant to be.
    pub fn look(&mut self, accept_removals: bool) -> Look {
        let walk = Walk::of(&self.directory);
        let mut by_name: BTreeMap<MigrationName, Vec<&Path>> = BTreeMap::new();
        for file in walk.files.keys() {
            by_name.entry(name_of(file)).or_default().push(file);
        }
        let mut next = Snapshot::default();
        let mut unsettled = false;
        for (name, files) in &by_name {
            match self.read(files) {
                Ok(loaded) => {
                    let Loaded { migration, warnings, files: companions } = loaded;
                    let (migration, file) = (Arc::new(migration), files[0].to_owned());
                    self.companions.insert(name.clone(), companions);
                    next.migrations.insert(name.clone(), Declared { migration, file, warnings });
                }
                Err(Rejected { problems, files: companions }) => {
                    self.companions.entry(name.clone()).or_default().extend(companions);
                    let before = self.current.migrations.get(name);
                    next.migrations.extend(before.map(|before| (name.clone(), before.clone())));
                    if files.iter().any(|file| is_fresh(walk.files.get(*file).copied().flatten())) {
                        unsettled = true;
                        let known = self.current.broken.get(name).cloned();
                        next.broken.extend(known.map(|known| (name.clone(), known)));
                    } else {
                        next.broken.insert(name.clone(), problems);
                    }
                }
            }
        }
        self.settle_conflicts(&mut next);
        next.known = by_name.into_keys().collect();
        next.held = self.brake(&next.known, &walk, accept_removals);
        if next.held.is_some() {
            for name in self.current.known.difference(&next.known.clone()) {
                let before = self.current.migrations.get(name);
                next.migrations.extend(before.map(|before| (name.clone(), before.clone())));
                next.known.insert(name.clone());
            }
        }
        self.companions.retain(|name, _| next.known.contains(name));
        let migrations = next.migrations.values().map(|declared| declared.migration.as_ref());
        next.seals = self.seals.seal(migrations);
        self.current = next.clone();
        Look { snapshot: next, unsettled }
    }

    fn read(&self, files: &[&Path]) -> Result<Loaded, Rejected> {
        match files {
            [file] => (self.load)(file),
            files => {
                let problems = files.iter()
                .map(|file| {
                    let others: Vec<_> = files.iter().filter(|other| *other != file).collect();
                    let others: Vec<_> = others.iter().map(|f| f.display().to_string()).collect();
                    let message = format!(
                        "a migration is named after its file, and this name is also taken by {}; \
                         rename one of them",
                        others.join(", ")
                    );
                    Problem::of_file(file, message)
                })
                .collect();
                Err(Rejected { problems, files: vec![] })
            }
        }
    }

    /// A definition that came into conflict with another falls back to its last good version, or
    /// is out of force if it has none; those that run as they are stay. Of two that are both new
    /// both are out: drover does not guess whose mailbox it is.
    fn settle_conflicts(&self, next: &mut Snapshot) {
        loop {
            let all: Vec<&Migration> = next.migrations.values().map(|d| &*d.migration).collect();
            let newcomers: Vec<(MigrationName, Problem)> = (self.conflicts)(&all)
                .into_iter()
                .map(|problem| (name_of(&problem.file), problem))
                .filter(|(name, _)| {
                    let of = |snapshot: &Snapshot| {
                        snapshot.migrations.get(name).map(|d| Arc::clone(&d.migration))
                    };
                    of(next).is_some() && of(next) != of(&self.current)
                })
                .collect();
            // Each round leaves fewer newcomers.
            if newcomers.is_empty() {
                return;
            }
            for (name, problem) in newcomers {
                next.migrations.remove(&name);
                if let Some(before) = self.current.migrations.get(&name) {
                    next.migrations.insert(name.clone(), before.clone());
                }
                next.broken.entry(name).or_default().push(problem);
            }
        }
    }

    /// Why nothing must be removed, if so.
    fn brake(
        &self,
        present: &BTreeSet<MigrationName>,
        walk: &Walk,
        accept_removals: bool,
    ) -> Option<String> {
        // What cannot be seen is not known to be gone, whatever the operator accepts.
        if let Some((unreadable, cause)) = walk.unreadable.first_key_value() {
            let unreadable = unreadable.display();
            return Some(format!("{unreadable} cannot be read ({cause}); nothing is removed"));
        }
        let n_known = self.current.known.len();
        let n_gone = self.current.known.difference(present).count();
        if n_gone == 0 || accept_removals {
            return None;
        }
        let directory = self.directory.display();
        let what = if present.is_empty() {
            format!("{directory} shows no definition any more")
        } else if n_gone >= 2 && 2 * n_gone > n_known {
            format!("{n_gone} of {n_known} definitions vanished from {directory} at once")
        } else {
            return None;
        };
        Some(format!(
            "{what}; nothing is removed until they are back, or until you confirm with \
             `systemctl reload drover` (SIGHUP)"
        ))
    }
}

/// The definition files of a directory, and the directories in it that cannot be read with why.
pub fn definition_files(directory: &Path) -> (Vec<PathBuf>, BTreeMap<PathBuf, String>) {
    let walk = Walk::of(directory);
    (walk.files.into_keys().collect(), walk.unreadable)
}

/// A migration is named after its file.
fn name_of(file: &Path) -> MigrationName {
    MigrationName(file.file_stem().unwrap_or_default().to_string_lossy().into())
}

/// Was the file touched so lately that it may be half-written? A link that leads nowhere may be
/// half of a swap, but has no time; the next look tells.
fn is_fresh(signature: Option<Signature>) -> bool {
    let modified = signature.and_then(|signature| signature.modified);
    modified.is_some_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < SETTLE))
}
