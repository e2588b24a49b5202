//! The definitions directory, as editors, git and GitOps tools treat it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use drover::controller::catalog::{Catalog, CatalogDiff, Loaded, Problem, Rejected, Snapshot};
use drover::controller::watch::{WatchHandle, watch};
use drover::definition::{
    Account, Carry, Endpoint, FolderRules, Generation, Login, Mailbox, MaxDelete, Migration,
    MigrationName, Schedule, SecretRef, Selection, SyncRules, Tls,
};

/// A stand-in for definitions: the roster's users, one a word; `roster=FILE` reads more from
/// there, `bad` is an error.
fn load(path: &Path) -> Result<Loaded, Rejected> {
    let reject = |message: String, files| {
        Err(Rejected { problems: vec![Problem::of_file(path, message)], files })
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return reject(error.to_string(), vec![]),
    };
    let mut users = Vec::new();
    let mut files = Vec::new();
    for word in text.split_whitespace() {
        if word == "bad" {
            return reject("bad".into(), files);
        } else if let Some(roster) = word.strip_prefix("roster=") {
            let roster = path.with_file_name(roster);
            users.extend(
                fs::read_to_string(&roster).unwrap_or_default().split_whitespace().map(mailbox),
            );
            files.push(roster);
        } else {
            users.push(mailbox(word));
        }
    }
    if users.is_empty() {
        return reject("no mailbox".into(), files);
    }
    let migration = Migration {
        name: MigrationName(path.file_stem().unwrap().to_string_lossy().into()),
        generation: Generation(
            format!("{:?}", users.iter().map(|m| m.source.user.clone()).collect::<Vec<_>>()).into(),
        ),
        description: None,
        suspend: false,
        sync: SyncRules {
            schedule: Schedule::Every(Duration::from_secs(900)),
            timezone: chrono_tz::Tz::UTC,
            windows: vec![],
            concurrency: 4,
        },
        cutover: None,
        mailboxes: users,
    };
    Ok(Loaded { migration, warnings: vec![], files })
}

fn mailbox(user: &str) -> Arc<Mailbox> {
    let endpoint = Arc::new(Endpoint {
        platform: "imap".into(),
        host: "mail.example".into(),
        port: 993,
        tls: Tls::Implicit,
        ca_file: None,
        connections: 1,
        daily_bytes: None,
        compress: Default::default(),
        traits: Default::default(),
        labels: Default::default(),
    });
    let account = || Account {
        user: user.into(),
        endpoint: Arc::clone(&endpoint),
        login: Login::Password(SecretRef::Env("P".into())),
    };
    Arc::new(Mailbox {
        migration: MigrationName("acme".into()),
        source: account(),
        destination: account(),
        carry: Carry {
            flags: true,
            moves: true,
            deletes: false,
            max_delete: MaxDelete::Messages(0),
            rate: None,
        },
        select: Selection::default(),
        folders: FolderRules::default(),
        accept: vec![],
    })
}

/// One mailbox in two migrations concerns both files.
fn conflicts(migrations: &[&Migration]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for one in migrations {
        for other in migrations {
            let shared = |m: &Arc<Mailbox>| other.mailboxes.contains(m);
            if one.name != other.name && one.mailboxes.iter().any(shared) {
                let file = PathBuf::from(format!("{}.toml", one.name.0));
                problems.push(Problem::of_file(&file, format!("shared with {}", other.name.0)));
            }
        }
    }
    problems
}

fn catalog(directory: &Path) -> Catalog {
    Catalog::new(directory.to_owned(), Box::new(load), Box::new(conflicts))
}

/// Written long ago: it is not half-written.
fn write(path: impl AsRef<Path>, text: &str) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    age(path);
}

fn age(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.migrations.keys().map(|name| &*name.0).collect()
}

fn users(snapshot: &Snapshot, name: &str) -> Vec<String> {
    let declared = &snapshot.migrations[&MigrationName(name.into())];
    declared.migration.mailboxes.iter().map(|mailbox| mailbox.source.user.clone()).collect()
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("defs");
    fs::create_dir(&directory).unwrap();
    (root, directory)
}

#[test]
fn only_visible_toml_files_count_also_below() {
    let (_root, dir) = directory();
    for file in ["a.toml", "team/b.toml", "team/deep/c.toml"] {
        write(dir.join(file), Path::new(file).file_stem().unwrap().to_str().unwrap());
    }
    for file in
        [".git/d.toml", ".e.toml", "f.toml~", ".#g.toml", ".h.toml.swp", "i.txt", "#j.toml#"]
    {
        write(dir.join(file), "x");
    }
    let look = catalog(&dir).look(false);
    assert_eq!(names(&look.snapshot), ["a", "b", "c"]);
    assert!(look.snapshot.broken.is_empty());
}

#[test]
fn a_config_map_counts_once_and_links_in_a_circle_end() {
    let (_root, dir) = directory();
    write(dir.join("..2026_1/acme.toml"), "alice");
    symlink("..2026_1", dir.join("..data")).unwrap();
    symlink("..data/acme.toml", dir.join("acme.toml")).unwrap();
    symlink(".", dir.join("circle")).unwrap();
    symlink(&dir, dir.join("another")).unwrap();
    let look = catalog(&dir).look(false);
    assert_eq!((names(&look.snapshot), look.snapshot.broken.len()), (vec!["acme"], 0));
}

#[test]
fn a_name_taken_twice_is_an_error_for_both_and_the_last_good_one_runs_on() {
    let (_root, dir) = directory();
    write(dir.join("one/acme.toml"), "alice");
    let mut catalog = catalog(&dir);
    catalog.look(false);
    write(dir.join("another/acme.toml"), "bob");
    let snapshot = catalog.look(false).snapshot;
    assert_eq!(users(&snapshot, "acme"), ["alice"]);
    assert_eq!(snapshot.broken[&MigrationName("acme".into())].len(), 2);
}

#[test]
fn a_broken_file_keeps_its_last_good_version_and_spoils_no_other() {
    let (_root, dir) = directory();
    write(dir.join("a.toml"), "alice");
    write(dir.join("b.toml"), "bob");
    let mut catalog = catalog(&dir);
    let first = catalog.look(false).snapshot;
    write(dir.join("a.toml"), "bad");
    write(dir.join("b.toml"), "bob ben");
    let second = catalog.look(false).snapshot;
    assert_eq!(users(&second, "a"), ["alice"]);
    assert_eq!(users(&second, "b"), ["bob", "ben"]);
    let diff = CatalogDiff::between(&first, &second);
    let name = |text: &str| vec![MigrationName(text.into())];
    assert_eq!((diff.broken, diff.changed, diff.removed), (name("a"), name("b"), vec![]));
}

#[test]
fn a_file_that_is_half_written_is_not_complained_about() {
    let (_root, dir) = directory();
    write(dir.join("a.toml"), "alice");
    let mut catalog = catalog(&dir);
    catalog.look(false);
    fs::write(dir.join("a.toml"), "").unwrap();
    let look = catalog.look(false);
    assert!(look.unsettled && look.snapshot.broken.is_empty());
    assert_eq!(users(&look.snapshot, "a"), ["alice"]);
    age(&dir.join("a.toml"));
    let look = catalog.look(false);
    assert!(!look.unsettled && look.snapshot.broken.len() == 1);
}

#[test]
fn the_first_start_and_a_reload_are_the_same_difference() {
    let (_root, dir) = directory();
    write(dir.join("a.toml"), "alice");
    let mut catalog = catalog(&dir);
    let first = catalog.look(false).snapshot;
    let diff = CatalogDiff::between(&Snapshot::default(), &first);
    assert_eq!(diff.added, [MigrationName("a".into())]);
    assert!(CatalogDiff::between(&first, &catalog.look(false).snapshot).is_empty());
}

#[test]
fn a_directory_that_is_gone_or_empty_removes_nothing() {
    let (root, dir) = directory();
    write(dir.join("a.toml"), "alice");
    let mut catalog = catalog(&dir);
    let first = catalog.look(false).snapshot;
    let away = root.path().join("away");
    fs::rename(&dir, &away).unwrap();
    for accept in [false, true] {
        let held = catalog.look(accept).snapshot;
        assert!(held.held.as_ref().is_some_and(|why| why.contains("cannot be read")), "{held:?}");
        assert_eq!(held.migrations, first.migrations);
    }
    fs::create_dir(&dir).unwrap();
    let held = catalog.look(false).snapshot;
    assert!(held.held.as_ref().is_some_and(|why| why.contains("no definition")), "{held:?}");
    assert_eq!(held.migrations, first.migrations);
    fs::remove_dir(&dir).unwrap();
    fs::rename(&away, &dir).unwrap();
    let back = catalog.look(false).snapshot;
    assert_eq!((back.held, back.migrations), (None, first.migrations));
}

#[test]
fn when_most_vanish_at_once_all_stay_until_confirmed() {
    let (_root, dir) = directory();
    for name in ["a", "b", "c"] {
        write(dir.join(format!("{name}.toml")), name);
    }
    let mut catalog = catalog(&dir);
    catalog.look(false);
    fs::remove_file(dir.join("a.toml")).unwrap();
    fs::remove_file(dir.join("b.toml")).unwrap();
    for _ in 0..3 {
        let held = catalog.look(false).snapshot;
        assert!(held.held.as_ref().is_some_and(|why| why.contains("2 of 3")), "{held:?}");
        assert_eq!(names(&held), ["a", "b", "c"]);
    }
    let confirmed = catalog.look(true).snapshot;
    assert_eq!((names(&confirmed), confirmed.held.clone()), (vec!["c"], None));
    assert_eq!(names(&catalog.look(false).snapshot), ["c"]);
}

#[test]
fn one_that_is_removed_is_removed() {
    let (_root, dir) = directory();
    for name in ["a", "b"] {
        write(dir.join(format!("{name}.toml")), name);
    }
    let mut catalog = catalog(&dir);
    catalog.look(false);
    fs::remove_file(dir.join("a.toml")).unwrap();
    let snapshot = catalog.look(false).snapshot;
    assert_eq!((names(&snapshot), snapshot.held.as_ref()), (vec!["b"], None));
}

#[test]
fn a_restart_before_the_directory_is_mounted_holds_too() {
    let (_root, dir) = directory();
    write(dir.join("a.toml"), "alice");
    let known = catalog(&dir).look(false).snapshot.known;
    fs::remove_file(dir.join("a.toml")).unwrap();
    let mut catalog = catalog(&dir);
    catalog.remember(known.clone());
    let held = catalog.look(false).snapshot;
    assert!(held.held.is_some());
    assert_eq!(held.known, known);
}

#[test]
fn of_two_that_claim_a_mailbox_the_one_that_runs_keeps_it() {
    let (_root, dir) = directory();
    write(dir.join("m.toml"), "alice bob");
    let mut one = catalog(&dir);
    one.look(false);
    for newcomer in ["a.toml", "z.toml"] {
        write(dir.join(newcomer), "bob");
        let snapshot = one.look(false).snapshot;
        assert_eq!(names(&snapshot), ["m"], "{newcomer}");
        assert_eq!(snapshot.broken.len(), 1);
        fs::remove_file(dir.join(newcomer)).unwrap();
    }
    // Nobody runs yet: drover does not guess.
    write(dir.join("z.toml"), "bob");
    let snapshot = catalog(&dir).look(false).snapshot;
    assert_eq!((names(&snapshot).len(), snapshot.broken.len()), (0, 2));
}

/// A watch, and what it told. Stops when dropped.
struct Watching {
    handle: WatchHandle,
    told: Receiver<(Instant, Snapshot)>,
}

impl Watching {
    fn of(directory: &Path) -> Self {
        let (tell, told) = channel();
        let handle = watch(catalog(directory), move |snapshot, _| {
            tell.send((Instant::now(), snapshot)).is_ok()
        });
        Self { handle: handle.unwrap(), told }
    }

    /// Waits for a snapshot that is as wanted; fails after ten seconds without.
    fn until(&self, what: &str, wanted: impl Fn(&Snapshot) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut last = None;
        while let Ok((_, snapshot)) =
            self.told.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if wanted(&snapshot) {
                return;
            }
            last = Some(snapshot);
        }
        panic!("not within ten seconds: {what}; last: {last:?}");
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

#[test]
fn a_fix_is_noticed_within_two_seconds() {
    let (_root, dir) = directory();
    write(dir.join("a.toml"), "bad");
    let watching = Watching::of(&dir);
    watching.until("broken", |s| s.broken.len() == 1);
    fs::write(dir.join("a.toml"), "alice").unwrap();
    watching.until("fixed", |s| s.broken.is_empty() && names(s) == ["a"]);
}

#[test]
fn a_config_map_swap_is_noticed() {
    let (_root, dir) = directory();
    write(dir.join("..1/acme.toml"), "alice");
    write(dir.join("..2/acme.toml"), "alice bob");
    symlink("..1", dir.join("..data")).unwrap();
    symlink("..data/acme.toml", dir.join("acme.toml")).unwrap();
    let watching = Watching::of(&dir);
    watching.until("first", |s| users(s, "acme").len() == 1);
    symlink("..2", dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    watching.until("swapped", |s| users(s, "acme").len() == 2);
}

#[test]
fn a_git_sync_swap_of_the_directory_itself_is_noticed_again_and_again() {
    let (root, _) = directory();
    let link = root.path().join("current");
    write(root.path().join("sha0/acme.toml"), "alice");
    symlink("sha0", &link).unwrap();
    let watching = Watching::of(&link);
    watching.until("first", |s| users(s, "acme").len() == 1);
    for n in 1..=3 {
        let tree = format!("sha{n}");
        write(root.path().join(&tree).join("acme.toml"), &format!("alice{}", " x".repeat(n)));
        symlink(&tree, root.path().join("next")).unwrap();
        fs::rename(root.path().join("next"), &link).unwrap();
        watching.until(&tree, |s| users(s, "acme").len() == n + 1);
        fs::remove_dir_all(root.path().join(format!("sha{}", n - 1))).unwrap();
    }
}

#[test]
fn a_directory_that_goes_and_comes_back_is_followed() {
    let (root, dir) = directory();
    write(dir.join("a.toml"), "alice");
    let watching = Watching::of(&dir);
    watching.until("first", |s| s.held.is_none());
    fs::rename(&dir, root.path().join("away")).unwrap();
    watching.until("held", |s| s.held.is_some() && names(s) == ["a"]);
    write(dir.join("a.toml"), "alice bob");
    watching.until("back", |s| s.held.is_none() && users(s, "a").len() == 2);
    write(dir.join("sub/b.toml"), "ben");
    watching.until("a new directory below", |s| names(s) == ["a", "b"]);
    fs::write(dir.join("sub/b.toml"), "ben bill").unwrap();
    watching.until("a change in it", |s| users(s, "b").len() == 2);
}

#[test]
fn a_roster_beside_the_definition_is_watched_too() {
    let (_root, dir) = directory();
    write(dir.join("wave.csv"), "alice");
    write(dir.join("a.toml"), "roster=wave.csv");
    let watching = Watching::of(&dir);
    watching.until("first", |s| users(s, "a").len() == 1);
    fs::write(dir.join("wave.csv"), "alice bob").unwrap();
    watching.until("grown", |s| users(s, "a").len() == 2);
}

#[test]
fn a_roster_that_changes_while_it_is_told_of_is_read_again() {
    let (_root, dir) = directory();
    let roster = dir.join("wave.csv");
    write(roster.clone(), "alice");
    write(dir.join("a.toml"), "roster=wave.csv");
    let (tell, told) = channel();
    let handle = watch(catalog(&dir), move |snapshot, _| {
        if users(&snapshot, "a").len() == 1 {
            fs::write(&roster, "alice bob").unwrap();
        }
        tell.send((Instant::now(), snapshot)).is_ok()
    });
    let watching = Watching { handle: handle.unwrap(), told };
    watching.until("grown", |s| users(s, "a").len() == 2);
}

#[test]
fn a_reload_tells_even_if_nothing_changed_and_confirms_removals() {
    let (_root, dir) = directory();
    write(dir.join("a.toml"), "alice");
    let watching = Watching::of(&dir);
    watching.until("first", |s| names(s) == ["a"]);
    watching.handle.reload();
    watching.until("told again", |s| names(s) == ["a"]);
    fs::remove_file(dir.join("a.toml")).unwrap();
    watching.until("held", |s| s.held.is_some());
    watching.handle.reload();
    watching.until("confirmed", |s| s.held.is_none() && names(s).is_empty());
}

#[test]
fn reading_the_files_does_not_make_the_watch_read_them_again() {
    let (_root, dir) = directory();
    write(dir.join("a.toml"), "alice");
    let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let loader = move |path: &Path| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        load(path)
    };
    let catalog = Catalog::new(dir.clone(), Box::new(loader), Box::new(conflicts));
    let handle = watch(catalog, |_, _| true).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    handle.stop();
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn one_mailbox_alone_is_told_from_several() {
    let (_root, dir) = directory();
    write(dir.join("acme.toml"), "anna");
    let sole = |snapshot: &Snapshot, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        snapshot.sole(&names).map(|mailbox| mailbox.source.user.clone())
    };
    let one = catalog(&dir).look(false).snapshot;
    let anna = Some("anna".to_owned());
    assert_eq!(sole(&one, &[]), anna);
    assert_eq!(sole(&one, &["acme"]), anna);
    assert_eq!(sole(&one, &["acme/anna"]), anna);
    assert_eq!(sole(&one, &["acme", "acme/anna"]), anna);
    assert_eq!(sole(&one, &["acme/bert"]), None);

    write(dir.join("beta.toml"), "bert carl");
    let three = catalog(&dir).look(false).snapshot;
    assert_eq!(sole(&three, &[]), None);
    assert_eq!(sole(&three, &["beta"]), None);
    assert_eq!(sole(&three, &["acme"]), anna);
    assert_eq!(sole(&three, &["beta/carl"]), Some("carl".to_owned()));
    assert_eq!(sole(&three, &["acme", "beta/carl"]), None);
}
