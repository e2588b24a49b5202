//! Faults of the disk under the ledger, through the whole program: files cut, flipped, lost, put
//! back from an older copy, and no room left. It always ends with the destination as the source
//! is, nothing lost and nothing doubled.
//!
//! `DROVER_SEED=n` repeats a run, `DROVER_ROUNDS=n` makes it longer.

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::mail::{self, FOLDERS, Rng};
use support::world::copy_directory;
use support::{
    Dovecot, Drover, Options, assert_same, definition, note, seed, setting, snapshot, subjects,
};

const OFTEN: &str = "[sync]\nevery = \"1s\"";
const CONFIG: &str = "definitions = \"definitions\"\nstate = \"state\"\nsocket = \"drover.sock\"\n\
                      [limits]\nsettle = \"300ms\"\n";

/// One mailbox between two servers, and a daemon that is not started yet.
struct Scene {
    source: Dovecot,
    destination: Dovecot,
    drover: Drover,
    rng: Rng,
    n: usize,
}

impl Scene {
    fn new(messages: usize) -> Self {
        let seed = seed("DROVER_SEED");
        let (source, destination) = (Dovecot::start(), Dovecot::start());
        mail::fill(&mut source.connect("anna"), messages, &FOLDERS[..6], seed);
        let drover = Drover::new();
        drover.write("config.toml", CONFIG);
        drover.define("one", &definition(&source, &destination, "anna", OFTEN));
        Self { source, destination, drover, rng: Rng::new(seed), n: 0 }
    }

    /// New mail and flags that are set: what can be told without a ledger too.
    fn add(&mut self) {
        let mut here = self.source.connect("anna");
        for _ in 0..8 {
            self.n += 1;
            let folder = FOLDERS[self.rng.below(6)];
            here.append_many(folder, &[note(&format!("added {}", self.n))]);
            let uids = here.uids(folder);
            let chosen = uids[self.rng.below(uids.len())];
            here.store(folder, &[chosen], "+FLAGS (\\Flagged $Added)");
        }
    }

    /// Moves, and a flag that is taken away: these take a ledger. No flag is given back: a ledger
    /// put back in between would take that for the other user's doing.
    fn shift(&mut self) {
        let mut here = self.source.connect("anna");
        for _ in 0..4 {
            let (from, to) = (FOLDERS[self.rng.below(6)], FOLDERS[self.rng.below(6)]);
            let uids = here.uids(from);
            if from != to && uids.len() > 3 {
                let first = self.rng.below(uids.len() - 2);
                here.uid_move(from, &uids[first..first + 2], to);
            }
            let uids = here.uids(to);
            if !uids.is_empty() {
                let chosen = uids[self.rng.below(uids.len())];
                here.store(to, &[chosen], "-FLAGS (\\Seen)");
            }
        }
    }

    /// Waits for a pass that began from now on and came to a good end.
    fn good_pass(&mut self) {
        let since = chrono::Utc::now().to_rfc3339();
        self.drover.until("a good pass since", |d| {
            let pass = &d.mailbox("one")["last_pass"];
            pass["error"].is_null()
                && pass["began"].as_str().is_some_and(|began| began > &since[..])
        });
    }

    fn halt(&mut self) {
        if self.rng.chance(50) {
            self.drover.kill();
        } else {
            self.drover.stop();
        }
    }

    #[track_caller]
    fn assert_same(&self) {
        let (ours, theirs) =
            (&mut self.source.connect("anna"), &mut self.destination.connect("anna"));
        assert_same(&snapshot(ours), &snapshot(theirs), &Options::any_order());
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() && !path.to_string_lossy().contains("damaged-") => {
                found.extend(files(&path));
            }
            path if path.is_file() => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// Spoils the ledger; says how.
fn spoil(state: &Path, rng: &mut Rng) -> String {
    match rng.below(12) {
        0 => {
            fs::remove_dir_all(state).expect("remove the ledger");
            return "the whole ledger is lost".into();
        }
        1 => {
            fs::remove_file(state.join("witness")).expect("remove the witness");
            return "the witness is lost".into();
        }
        2 => {
            fs::remove_dir_all(state.join("sled")).expect("remove the database");
            return "the database is lost".into();
        }
        _ => {}
    }
    let files = files(state);
    // The database more often than not.
    let path = match rng.chance(60) {
        true => state.join("sled/db"),
        false => files[rng.below(files.len())].clone(),
    };
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("open a file");
    let length = file.metadata().expect("ask for its length").len();
    let at = rng.below(length.max(1) as usize) as u64;
    let name = path.strip_prefix(state).unwrap_or(&path).display().to_string();
    if rng.chance(50) {
        file.set_len(at).expect("cut a file");
        return format!("{name} is cut at {at} of {length}");
    }
    let n = 1 + rng.below(8);
    for _ in 0..n {
        let at = rng.below(length.max(1) as usize) as u64;
        let mut byte = [0];
        if file.read_exact_at(&mut byte, at).is_ok() {
            byte[0] ^= 1 + rng.below(255) as u8;
            file.write_all_at(&byte, at).expect("write a byte");
        }
    }
    format!("{n} bytes of {name} are others")
}

#[test]
fn law_2_a_ledger_cut_flipped_or_lost_between_runs_costs_no_mail_and_doubles_none() {
    let mut scene = Scene::new(240);
    let state = scene.drover.path("state");
    for round in 0..setting("DROVER_ROUNDS").unwrap_or(9) {
        scene.drover.start();
        // Some damage is met by a seed or a delta that never came to its end.
        if round > 0 && scene.rng.chance(40) {
            std::thread::sleep(std::time::Duration::from_millis(scene.rng.below(400) as u64));
        } else {
            scene.good_pass();
        }
        scene.add();
        scene.halt();
        println!("round {round}: {}", spoil(&state, &mut scene.rng));
    }
    scene.drover.start();
    scene.good_pass();
    scene.assert_same();
}

#[test]
fn law_2_a_ledger_put_back_from_an_earlier_day_converges_with_moves_and_flags() {
    let mut scene = Scene::new(160);
    let (state, backup) = (scene.drover.path("state"), scene.drover.path("backup"));
    scene.drover.start();
    scene.good_pass();
    for round in 0..setting("DROVER_ROUNDS").unwrap_or(3) {
        scene.drover.stop();
        copy_directory(&state, &backup);
        scene.drover.start();
        for _ in 0..2 {
            scene.add();
            scene.shift();
            scene.good_pass();
        }
        scene.halt();
        scene.add();
        fs::remove_dir_all(&state).expect("remove the ledger");
        fs::rename(&backup, &state).expect("put the copy back");
        println!("round {round}: put back");
        scene.drover.start();
        scene.good_pass();
        scene.good_pass();
        scene.assert_same();
        // What was moved while the ledger was another is known again.
        scene.shift();
        scene.good_pass();
        scene.assert_same();
    }
}

#[test]
fn law_5_a_cutover_that_the_lost_ledger_knew_of_is_asked_for_not_guessed() {
    let mut scene = Scene::new(30);
    let past = "[sync]\nevery = \"1s\"\ndeletes = \"carry\"\nmax_delete = \"100%\"\n\
                [cutover]\nat = 2026-01-01T00:00:00Z\ntail = \"72h\"";
    let define = |scene: &Scene, more: &str| {
        let text = definition(&scene.source, &scene.destination, "anna", more);
        scene.drover.define("one", &text);
    };
    define(&scene, past);
    scene.drover.start();
    scene.drover.until_phase("one", "draining");
    scene.drover.stop();
    fs::remove_dir_all(scene.drover.path("state/sled")).expect("remove the database");
    let mut there = scene.destination.connect("anna");
    let uids = there.uids("INBOX");
    there.expunge_uids("INBOX", &uids[..1]);
    let left = subjects(&mut there, "INBOX");

    scene.drover.start();
    scene.drover.until_phase("one", "blocked");
    assert_eq!(scene.drover.mailbox("one")["reason"], "StateLost");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(subjects(&mut there, "INBOX"), left, "what they deleted was brought back");
    // Neither a restart nor another change of the definition makes it forget.
    scene.drover.stop();
    scene.drover.start();
    define(&scene, &past.replace("72h", "71h"));
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(scene.drover.mailbox("one")["phase"], "blocked");
    assert_eq!(subjects(&mut there, "INBOX"), left);
    // The operator says that it was not cut over.
    define(&scene, &past.replace("2026-01-01", "2999-01-01"));
    scene.drover.until_phase("one", "syncing");
}

/// Where the state directory has little room, until it is given more.
enum Room {
    /// A file system of its own.
    Tmpfs { ballast: PathBuf, mounted: PathBuf },
    /// No file may grow beyond this.
    Limit,
}

impl Room {
    fn little(drover: &Drover) -> Self {
        let state = drover.path("state");
        fs::create_dir_all(&state).expect("make a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m,mode=0700", "none"])
            .arg(&state)
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            println!("no tmpfs may be mounted here: limiting the size of files instead");
            return Self::Limit;
        }
        // All but a little of it: the journal, and a few times what is in it.
        let ballast = state.join("ballast");
        fs::write(&ballast, vec![0; 24 * 1024 * 1024 - 460 * 1024]).expect("write the ballast");
        Self::Tmpfs { ballast, mounted: state }
    }

    fn start(&self, drover: &mut Drover) {
        let run = drover.command(&["run"]);
        let Self::Limit = self else { return drover.start_as(run) };
        // The signal is ignored, so that the write fails as on a full disk.
        let mut shell = drover.command(&[]);
        shell = {
            let mut sh = Command::new("sh");
            sh.args(["-c", r#"trap "" XFSZ; ulimit -S -f 600; exec "$0" "$@""#]);
            sh.current_dir(shell.get_current_dir().expect("it has one"));
            sh.arg(run.get_program()).args(run.get_args());
            sh
        };
        drover.start_as(shell);
    }

    fn more(&self, drover: &Drover) {
        match self {
            Self::Tmpfs { ballast, .. } => fs::remove_file(ballast).expect("make room"),
            Self::Limit => {
                let status = Command::new("prlimit")
                    .args(["--fsize=unlimited", "--pid", &drover.pid().to_string()])
                    .status();
                assert!(status.is_ok_and(|s| s.success()), "the limit cannot be raised");
            }
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Self::Tmpfs { mounted, .. } = self {
            let _ = Command::new("umount").arg("-l").arg(mounted).status();
        }
    }
}

#[test]
fn a_disk_full_in_the_middle_of_a_seed_is_said_and_room_is_all_it_takes_to_go_on() {
    let mut scene = Scene::new(0);
    let mut here = scene.source.connect("anna");
    for n in 0..6 {
        let mails: Vec<_> = (0..1_000).map(|m| note(&format!("note {n} {m}"))).collect();
        here.append_many("INBOX", &mails);
    }
    let room = Room::little(&scene.drover);
    room.start(&mut scene.drover);
    scene.drover.until("that there is no room", |d| {
        d.mailbox("one").to_string().contains("no space is left for the ledger")
    });
    assert!(scene.destination.connect("anna").uids("INBOX").len() < 6_000, "it was no seed");
    room.more(&scene.drover);
    scene.good_pass();
    scene.assert_same();
    scene.drover.stop();
    drop(room);
}
