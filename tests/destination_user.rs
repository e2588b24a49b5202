//! Law 4 while passes run: the destination's user deletes, moves, flags and adds mail during seeds
//! and deltas. What they did stands, exactly; everything else equals the source.
//!
//! Every message belongs to one of three parties, so that the outcome is exact whatever comes
//! first: the source's user moves the first third, the destination's user deletes or moves the
//! second and flags the last. The source's user sets keywords of their own on all of them.
//! `DROVER_SEED=n` repeats a run.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use drover::definition::MaxDelete;
use drover::model::PassKind;
use support::mail::{Mail, Rng};
use support::{Imap, World, note, seed, snapshot};

const MESSAGES: usize = 240;
const DELTAS: usize = 5;
const FOLDERS: [&str; 3] = ["INBOX", "Box", "Box/Deep"];
/// Where the destination's user puts mail; the source has no such folder.
const MINE: &str = "Mine";

/// Whose message it is, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    SourceMoves,
    TheyTake,
    TheyFlag,
}

fn party(n: usize) -> Party {
    [Party::SourceMoves, Party::TheyTake, Party::TheyFlag][n % 3]
}

/// Unique, large enough that a pass takes a while.
fn message(n: usize) -> Mail {
    let mut mail = note(&format!("message {n}"));
    mail.flags = "\\Seen".into();
    mail.bytes.extend(std::iter::repeat_n(b"a line of text\r\n", 180).flatten());
    mail
}

fn number(body: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    let subject = text.lines().find_map(|l| l.strip_prefix("Subject: message "))?.to_owned();
    subject.parse().ok()
}

/// What the destination's user did, as the server confirmed it.
#[derive(Debug, Default)]
struct Deeds {
    deleted: BTreeSet<usize>,
    moved: BTreeSet<usize>,
    flagged: BTreeSet<usize>,
    unseen: BTreeSet<usize>,
    /// Subject → folder.
    own: BTreeMap<String, String>,
}

/// The destination's user, at work in a thread until told to stop.
struct They {
    stop: Arc<AtomicBool>,
    acts: Arc<AtomicU64>,
    thread: JoinHandle<Deeds>,
}

impl They {
    fn at_work(world: &World, seed: u64) -> Self {
        let (stop, acts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (imap, over, counter) = (world.at_destination(), Arc::clone(&stop), Arc::clone(&acts));
        let thread = std::thread::spawn(move || work(imap, seed, &over, &counter));
        Self { stop, acts, thread }
    }

    fn acts(&self) -> u64 {
        self.acts.load(Ordering::Relaxed)
    }

    fn go_home(self) -> Deeds {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the destination's user does not panic")
    }
}

fn work(mut imap: Imap, seed: u64, over: &AtomicBool, acts: &AtomicU64) -> Deeds {
    let (mut rng, mut deeds) = (Rng::new(seed), Deeds::default());
    imap.create(MINE);
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            return deeds;
        }
        std::thread::sleep(std::time::Duration::from_millis(rng.below(12) as u64));
        let folder = FOLDERS[rng.below(FOLDERS.len())];
        if rng.chance(8) {
            let subject = format!("own {n}");
            imap.create(folder);
            imap.append(folder, "$Own", chrono::Utc::now().into(), &note(&subject).bytes);
            deeds.own.insert(subject, folder.into());
            acts.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let selected = imap.try_command(&format!("SELECT \"{folder}\""));
        if selected.is_err() {
            continue;
        }
        let copies = subjects_by_uid(&mut imap);
        let Some(&(uid, n)) = copies.get(rng.below(copies.len().max(1))) else { continue };
        let store = |imap: &mut Imap, change: &str| {
            let reply = imap.command(&format!("UID STORE {uid} {change}"));
            let wanted = format!("UID {uid}");
            reply.untagged.iter().any(|l| l.text.contains("FETCH") && l.text.contains(&wanted))
        };
        let acted = match party(n) {
            Party::SourceMoves => false,
            Party::TheyTake if rng.chance(50) => {
                let is_there = store(&mut imap, "+FLAGS (\\Deleted)");
                if is_there {
                    imap.command(&format!("UID EXPUNGE {uid}"));
                    deeds.deleted.insert(n);
                }
                is_there
            }
            Party::TheyTake => {
                let reply = imap.command(&format!("UID MOVE {uid} {MINE}"));
                let is_there = reply.untagged.iter().any(|l| l.text.contains("COPYUID"));
                if is_there {
                    deeds.moved.insert(n);
                }
                is_there
            }
            Party::TheyFlag if rng.chance(50) => {
                store(&mut imap, "+FLAGS ($Mine)") && deeds.flagged.insert(n)
            }
            Party::TheyFlag => store(&mut imap, "-FLAGS (\\Seen)") && deeds.unseen.insert(n),
        };
        acts.fetch_add(u64::from(acted), Ordering::Relaxed);
    }
    deeds
}

/// The numbered messages of the selected folder.
fn subjects_by_uid(imap: &mut Imap) -> Vec<(u32, usize)> {
    let reply = imap.command("UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])");
    let one = |line: &support::imap::Line| {
        let uid = line.text.split("UID ").nth(1)?.split([' ', ')']).next()?.parse().ok()?;
        Some((uid, number(line.literals.first()?)?))
    };
    reply.untagged.iter().filter_map(one).collect()
}

/// What the source's user does between two passes.
fn edit(here: &mut Imap, rng: &mut Rng, round: usize, next: &mut usize) {
    for folder in FOLDERS {
        let more: Vec<Mail> = (*next..*next + 6).map(message).collect();
        *next += more.len();
        here.append_many(folder, &more);
        let messages = here.messages(folder);
        let chosen: Vec<u32> = messages.iter().filter(|_| rng.chance(20)).map(|m| m.uid).collect();
        if !chosen.is_empty() {
            let sign = if rng.chance(60) { '+' } else { '-' };
            here.store(folder, &chosen, &format!("{sign}FLAGS ($Src{} \\Flagged)", round % 2));
        }
        let movable =
            messages.iter().filter(|m| number(&m.body).map(party) == Some(Party::SourceMoves));
        let moving: Vec<u32> = movable.filter(|_| rng.chance(15)).map(|m| m.uid).collect();
        let to = FOLDERS[rng.below(FOLDERS.len())];
        if !moving.is_empty() && to != folder {
            here.uid_move(folder, &moving, to);
        }
    }
}

/// Seeds and deltas with the destination's user at work all the while, then what came of it.
async fn play(world: &mut World, seed: u64) {
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
    world.mailbox.carry.rate = Some(600_000);
    let mut rng = Rng::new(seed);
    let mut here = world.at_source();
    let mut next = 0;
    for folder in FOLDERS {
        here.create(folder);
        let mails: Vec<Mail> = (next..next + MESSAGES / 3).map(message).collect();
        next += mails.len();
        here.append_many(folder, &mails);
    }
    let they = They::at_work(world, seed);
    world.pass(PassKind::Seed).await;
    let during_seed = they.acts();
    for round in 0..DELTAS {
        edit(&mut here, &mut rng, round, &mut next);
        world.delta().await;
    }
    let during_deltas = they.acts() - during_seed;
    let deeds = they.go_home();
    assert!(during_seed > 3 && during_deltas > 3, "{during_seed} {during_deltas}: not at once");
    world.delta().await;
    assert!(world.delta().await.quiet);
    check(world, &deeds);
}

/// The exact oracle.
fn check(world: &World, deeds: &Deeds) {
    let here = snapshot(&mut world.at_source());
    let there = snapshot(&mut world.at_destination());
    let mut wrong = Vec::new();
    let mut found: BTreeMap<usize, Vec<(&str, &support::imap::Msg)>> = BTreeMap::new();
    let mut own = deeds.own.clone();
    for (folder, messages) in &there {
        for message in messages {
            let text = String::from_utf8_lossy(&message.body[..message.body.len().min(300)]);
            let subject = text.lines().find_map(|l| l.strip_prefix("Subject: ")).unwrap_or("");
            match number(&message.body) {
                Some(n) => found.entry(n).or_default().push((folder, message)),
                None if own.get(subject) == Some(folder)
                    && message.flags == ["$own".to_owned()].into() =>
                {
                    own.remove(subject);
                }
                None => wrong.push(format!("{folder}: {subject:?} with {:?}", message.flags)),
            }
        }
    }
    wrong.extend(own.keys().map(|subject| format!("their {subject:?} is gone or was touched")));
    for (folder, messages) in &here {
        for message in messages {
            let n = number(&message.body).expect("a message of this test");
            let mut flags = message.flags.clone();
            if deeds.flagged.contains(&n) {
                flags.insert("$mine".into());
            }
            if deeds.unseen.contains(&n) {
                flags.remove("\\seen");
            }
            let copies = found.remove(&n).unwrap_or_default();
            let places: Vec<&str> = copies.iter().map(|(folder, _)| *folder).collect();
            let wanted: &[&str] = match () {
                () if deeds.deleted.contains(&n) => &[],
                () if deeds.moved.contains(&n) => &[MINE],
                () => &[folder],
            };
            if places != wanted {
                wrong.push(format!("message {n}: in {places:?}, not in {wanted:?}"));
            } else if let [(_, copy)] = copies.as_slice()
                && !deeds.moved.contains(&n)
                && (copy.flags != flags || copy.body != message.body)
            {
                wrong.push(format!("message {n}: {:?}, not {flags:?}", copy.flags));
            }
        }
    }
    wrong.extend(found.keys().map(|n| format!("message {n} is not at the source")));
    assert!(wrong.is_empty(), "{} wrong:\n{}\n{deeds:?}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn law_4_what_their_user_does_during_passes_stands_and_all_else_is_carried() {
    let seed = seed("DROVER_SEED");
    let mut world = World::new().await;
    play(&mut world, seed).await;
}

/// Without UIDPLUS the copies are looked up after they were sent: some are gone by then.
#[tokio::test(flavor = "multi_thread")]
async fn law_4_what_their_user_does_during_passes_stands_where_ids_are_not_told() {
    let seed = seed("DROVER_SEED");
    let mut world = World::new().await;
    let _tap = world.tap_destination_without_ids();
    play(&mut world, seed).await;
}
