//! What delta passes carry: new mail, flags, moves, folders; with CONDSTORE and QRESYNC and
//! without, alike.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drover::model::PassKind;
use support::mail::{self, FOLDERS, Rng};
use support::proxy::{Proxy, Then, What, When};
use support::{Dovecot, Options, World, note, subjects};

/// What servers offer to find changes.
fn servers() -> [(&'static str, Dovecot); 3] {
    [
        ("QRESYNC", Dovecot::start()),
        ("CONDSTORE", Dovecot::builder().hide(&["QRESYNC"]).start()),
        ("neither", Dovecot::builder().hide(&["QRESYNC", "CONDSTORE"]).start()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_messages_arrive_whole_and_a_delta_copies_only_what_is_new() {
    let world = World::new().await;
    mail::fill(&mut world.at_source(), 5_000, &FOLDERS[..12], 7);
    let seed = world.seed().await;
    assert!(seed.record.accounts.is_whole(), "{:?}", seed.record.accounts);
    assert_eq!(seed.record.accounts.copied, 5_000);
    world.assert_same();

    let second = world.delta().await;
    assert!(second.quiet);
    assert_eq!((second.record.accounts.copied, second.record.bytes), (0, 0));

    let mut here = world.at_source();
    let mut rng = Rng::new(99);
    for n in 0..50 {
        let folder = FOLDERS[rng.below(12)];
        here.append_many(folder, &[mail::message(10_000 + n, 7)]);
    }
    for n in 0..30 {
        let folder = FOLDERS[rng.below(12)];
        let uids = here.uids(folder);
        let uid = uids[rng.below(uids.len())];
        let change = ["+FLAGS ($Urgent)", "-FLAGS (\\Seen)", "+FLAGS (\\Answered $Late)"][n % 3];
        here.store(folder, &[uid], change);
    }
    for n in 0..10 {
        let (from, to) = (FOLDERS[n], FOLDERS[n + 1]);
        let uids = here.uids(from);
        here.uid_move(from, &uids[3..4], to);
    }
    let delta = world.delta().await;
    assert_eq!(delta.record.accounts.copied, 50, "only the new ones");
    assert_eq!(delta.record.moves, 10);
    world.assert_same();
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_carried_alike_whatever_the_source_offers_to_find_them() {
    for (name, source) in servers() {
        let world = World::between(source, Dovecot::start()).await;
        let mut here = world.at_source();
        mail::fill(&mut here, 120, &FOLDERS[..4], 3);
        world.seed().await;
        let uids = here.uids("INBOX");
        here.store("INBOX", &uids[..3], "+FLAGS (\\Flagged $Todo)");
        here.store("INBOX", &uids[3..5], "-FLAGS (\\Seen)");
        here.uid_move("INBOX", &uids[5..9], "Sent");
        here.append_many("INBOX", &[note("new one"), note("new two")]);
        let report = world.delta().await;
        assert_eq!(report.record.accounts.copied, 2, "{name}");
        assert_eq!(report.record.moves, 4, "{name}");
        world.assert_same();
        assert_eq!(world.delta().await.record.accounts.copied, 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_destination_may_lack_every_extension() {
    let hidden = [
        "MULTIAPPEND",
        "LITERAL+",
        "UIDPLUS",
        "MOVE",
        "CONDSTORE",
        "QRESYNC",
        "LIST-STATUS",
        "NAMESPACE",
        "SPECIAL-USE",
    ];
    let destination = Dovecot::builder().hide(&hidden).start();
    let world = World::between(Dovecot::start(), destination).await;
    mail::fill(&mut world.at_source(), 150, &FOLDERS[..5], 4);
    world.seed().await;
    world.assert_same();
    let mut here = world.at_source();
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids[..2], "+FLAGS (\\Flagged)");
    here.append_many("Sent", &[note("new")]);
    assert_eq!(world.delta().await.record.accounts.copied, 1);
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_mail_and_moved_mail_keep_the_sources_order() {
    let world = World::new().await;
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("INBOX", &[note("a"), note("b"), note("c")]);
    world.seed().await;
    here.append_many("Box", &[note("first")]);
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..2], "Box");
    here.append_many("Box", &[note("third")]);
    here.uid_move("INBOX", &uids[..1], "Box");
    world.delta().await;
    assert_eq!(subjects(&mut world.at_destination(), "Box"), ["first", "b", "third", "a"]);
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_message_whose_flags_changed_arrives_with_both_changes() {
    let world = World::new().await;
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("INBOX", &[note("a"), note("b")]);
    world.seed().await;
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids[..1], "+FLAGS (\\Seen $Done)");
    here.uid_move("INBOX", &uids[..1], "Box");
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 1));
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_back_is_not_copied_again() {
    let mut world = World::new().await;
    world.mailbox.select.exclude =
        vec![drover::definition::FolderPattern::parse("Aside").expect("a glob")];
    let mut here = world.at_source();
    here.create("Aside");
    here.append_many("INBOX", &[note("a"), note("wanderer"), note("z")]);
    world.seed().await;
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..2], "Aside");
    world.delta().await;
    let uids = here.uids("Aside");
    here.uid_move("Aside", &uids, "INBOX");
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0);
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["a", "wanderer", "z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_created_even_if_empty_and_renamed_without_copying() {
    let world = World::new().await;
    let mut here = world.at_source();
    mail::fill(&mut here, 80, &["INBOX", "Work", "Work/2024", "Work/2024/Q1"], 5);
    here.create("Empty/Nested");
    world.seed().await;
    world.assert_same();
    here.rename_folder("Work", "Büro");
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0, "a rename copies nothing");
    assert_eq!(report.record.moves, 0, "nor moves messages one by one");
    world.assert_same_but(&Options { ignore_extra_folders: true, ..Options::default() });
    let there: Vec<String> = world.at_destination().list().into_iter().map(|f| f.path).collect();
    assert!(!there.iter().any(|path| path.starts_with("Work")), "{there:?}");
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_folder_moves_message_by_message_where_its_new_name_is_taken() {
    let world = World::new().await;
    let mut here = world.at_source();
    here.create("Old");
    here.append_many("Old", &[note("a"), note("b")]);
    world.seed().await;
    world.at_destination().create("New");
    world.at_destination().append_many("New", &[note("the user's own")]);
    here.rename_folder("Old", "New");
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 2));
    assert_eq!(subjects(&mut world.at_destination(), "New"), ["the user's own", "a", "b"]);
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_folder_that_is_made_anew_is_recognised_message_by_message() {
    let world = World::new().await;
    let mut here = world.at_source();
    mail::fill(&mut here, 60, &["INBOX", "Box"], 6);
    world.seed().await;
    // The same messages under other ids: UIDVALIDITY changes.
    let state = here.uid_state("Box");
    let messages = here.messages("Box");
    here.delete_folder("Box");
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    // Dovecot ends a session whose folder was deleted under it.
    here = world.at_source();
    here.create("Box");
    for m in &messages {
        let flags: Vec<&str> = m.flags.iter().map(String::as_str).collect();
        here.append("Box", &flags.join(" "), m.date.into(), &m.body);
    }
    assert_ne!(here.uid_state("Box").0, state.0, "this test needs another UIDVALIDITY");
    here.append_many("Box", &[note("and one more")]);
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 1, "{:?}", report.record.accounts);
    world.assert_same();
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_folder_that_is_made_anew_is_not_filled_again() {
    let world = World::new().await;
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("Box", &[note("a"), note("b")]);
    world.seed().await;
    let mut there = world.at_destination();
    there.delete_folder("Box");
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    here.append_many("Box", &[note("new")]);
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 1);
    assert_eq!(subjects(&mut there, "Box"), ["new"], "what its user removed stays removed");
    let uids = here.uids("Box");
    // Ids begin anew in a new folder: what has another's old id is not that other one.
    here.store("Box", &uids[..2], "+FLAGS (\\Flagged)");
    world.delta().await;
    assert_eq!(subjects(&mut there, "Box"), ["new"]);
    assert!(there.messages("Box")[0].flags.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_vanishes_at_the_source_stays_at_the_destination() {
    let world = World::new().await;
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("Box", &[note("a")]);
    here.append_many("INBOX", &[note("b")]);
    world.seed().await;
    here.delete_folder("Box");
    let report = world.delta().await;
    assert!(report.record.accounts.close());
    assert_eq!(subjects(&mut world.at_destination(), "Box"), ["a"]);
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn keywords_the_destination_cannot_keep_are_reported_and_nothing_else_is_lost() {
    let world = World::new().await;
    let mut mail = note("keyworded");
    mail.flags = "\\Seen $Forwarded".into();
    world.at_source().append_many("INBOX", &[mail]);
    let report = world.seed().await;
    assert_eq!(report.notes, Vec::<String>::new(), "Dovecot keeps any keyword");
    world.assert_same();
}

/// Moves a message between a pass's looks at the two folders. A seed may find much done, by one
/// that was cut short.
async fn move_while_surveying(from: &str, to: &str, kind: PassKind) {
    let mut world = World::new().await;
    let tap = world.tap_source();
    let mut here = world.at_source();
    for folder in ["A", "B"] {
        here.create(folder);
        here.append_many(folder, &["one", "two"].map(|text| note(&format!("{folder} {text}"))));
    }
    world.seed().await;
    // Both are looked at again, B first.
    for folder in ["A", "B"] {
        here.append_many(folder, &[note(&format!("{folder} three"))]);
    }
    let (here, from, to) = (Mutex::new(here), from.to_owned(), to.to_owned());
    let last = When::verb("EXAMINE").containing("\"A\"");
    tap.set(
        last,
        What::call(move || {
            // By now the server has answered what it was asked before.
            std::thread::sleep(Duration::from_millis(200));
            let mut here = here.lock().expect("not poisoned");
            here.uid_move(&from, &[2], &to);
            here.select("INBOX");
            Then::GoOn
        }),
    );
    world.pass(kind).await;
    assert_eq!(tap.fired(), 1);
    world.delta().await;
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_moved_while_the_source_is_looked_at_arrives_once() {
    for (from, to) in [("A", "B"), ("B", "A")] {
        for kind in [PassKind::Seed, PassKind::Delta, PassKind::Final] {
            move_while_surveying(from, to, kind).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_pass_is_quiet_once_everything_is_there() {
    let world = World::new().await;
    mail::fill(&mut world.at_source(), 40, &FOLDERS[..3], 8);
    world.seed().await;
    world.at_source().append_many("INBOX", &[note("last minute")]);
    assert!(!world.pass(PassKind::Final).await.quiet);
    assert!(world.pass(PassKind::Final).await.quiet);
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_pass_looks_at_every_message_whatever_the_server_says_did_not_change() {
    let source = Dovecot::builder().hide(&["QRESYNC"]).start();
    let mut world = World::between(source, Dovecot::start()).await;
    let tap = world.tap_source();
    let mut here = world.at_source();
    here.append_many("INBOX", &[note("old"), note("removed")]);
    world.seed().await;
    here.store("INBOX", &[1], "+FLAGS (\\Answered)");
    here.append_many("INBOX", &[note("new")]);
    // Which would explain that HIGHESTMODSEQ grew.
    here.expunge_uids("INBOX", &[2]);
    tap.always(
        When::verb("UID FETCH").containing("CHANGEDSINCE"),
        What::answer("OK nothing to see"),
    );
    world.delta().await;
    let is_answered = |world: &World| {
        let first = world.at_destination().messages("INBOX").remove(0);
        first.flags.contains("\\answered")
    };
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["old", "removed", "new"]);
    assert!(!is_answered(&world), "the server did hide the flag");
    world.pass(PassKind::Final).await;
    assert!(is_answered(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_moved_out_of_a_folder_that_is_then_deleted_is_moved_although_its_subfolder_stays() {
    let world = World::new().await;
    let mut here = world.at_source();
    here.create("Old/Sub");
    here.create("Old");
    here.create("New");
    here.append_many("Old", &[note("a"), note("b")]);
    here.append_many("Old/Sub", &[note("c")]);
    world.seed().await;
    let uids = here.uids("Old");
    here.uid_move("Old", &uids, "New");
    here.delete_folder("Old");
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 2));
    assert_eq!(subjects(&mut world.at_destination(), "New"), ["a", "b"]);
    assert!(world.at_destination().uids("Old").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nameless_message_the_user_deleted_does_not_come_back_when_it_is_moved_at_the_source() {
    let world = World::new().await;
    let mut here = world.at_source();
    here.create("Box");
    let mut nameless = note("x");
    nameless.bytes = b"X-Nothing: here\r\n\r\nbody\r\n".to_vec();
    here.append_many("INBOX", &[note("a"), nameless, note("twin"), note("twin")]);
    world.seed().await;
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.expunge_uids("INBOX", &uids[1..]);
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..], "Box");
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0, "{:?}", report.record.accounts);
    assert!(world.at_destination().uids("Box").is_empty());
}

/// A message that has the headers of its twins, and a text and flags of its own.
fn header_twin(text: &str, flags: &str) -> mail::Mail {
    let mut mail = note("the same headers");
    mail.bytes = String::from_utf8_lossy(&mail.bytes)
        .replace("\r\n\r\nthe same headers\r\n", &format!("\r\n\r\n{text}\r\n"))
        .into_bytes();
    mail.flags = flags.into();
    mail
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_say_where_messages_landed_is_asked() {
    let mut world = World::new().await;
    let _tap = world.tap_destination_without_ids();
    let mut here = world.at_source();
    here.create("Box");
    here.append_many(
        "INBOX",
        &[
            note("a"),
            header_twin("one", "\\Seen"),
            header_twin("two", "\\Flagged"),
            note("b"),
            note("twin"),
            note("twin"),
        ],
    );
    let report = world.seed().await;
    assert_eq!(report.record.accounts.copied, 6);
    world.assert_same();
    // Each record leads to its own copy.
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids[1..2], "-FLAGS (\\Seen)");
    here.store("INBOX", &uids[2..3], "+FLAGS ($Two)");
    here.store("INBOX", &uids[4..5], "+FLAGS ($First)");
    here.append_many("INBOX", &[note("c")]);
    world.delta().await;
    world.assert_same();
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..2], "Box");
    here.uid_move("INBOX", &uids[5..6], "Box");
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 2));
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_in_different_batches_are_told_apart_where_the_destination_does_not_say() {
    let mut world = World::new().await;
    let _tap = world.tap_destination_without_ids();
    let mut here = world.at_source();
    let flags = |n: usize| if n.is_multiple_of(3) { "\\Flagged" } else { "$Other" };
    let mails: Vec<_> = (0..600).map(|n| header_twin(&format!("text {n:04}"), flags(n))).collect();
    here.append_many("INBOX", &mails);
    world.seed().await;
    world.assert_same();
    let uids = here.uids("INBOX");
    let every_third: Vec<u32> = uids.iter().copied().step_by(3).collect();
    here.store("INBOX", &every_third, "-FLAGS (\\Flagged)");
    world.delta().await;
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_moves_a_moved_message_is_copied_and_one_that_returns_is_not_doubled() {
    let mut world = World::new().await;
    world.mailbox.carry.moves = false;
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("INBOX", &[note("a"), note("wanderer"), note("z")]);
    world.seed().await;
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..2], "Box");
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (1, 0));
    let mut there = world.at_destination();
    assert_eq!(subjects(&mut there, "INBOX"), ["a", "wanderer", "z"], "its copy stays");
    assert_eq!(subjects(&mut there, "Box"), ["wanderer"]);
    let uids = here.uids("Box");
    here.uid_move("Box", &uids, "INBOX");
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 0), "it was there");
    assert_eq!(subjects(&mut there, "INBOX"), ["a", "wanderer", "z"]);
    assert!(world.delta().await.quiet);
}

/// Holds the answers to such commands at the destination until one of the servers has heard
/// something, each for these seconds at most; true if it was heard.
fn hold_until(
    (at, when): (&Proxy, When),
    seconds: u64,
    (heard_by, text): (&Proxy, &'static str),
) -> Arc<AtomicBool> {
    let (heard_by, was_heard) = (heard_by.clone(), Arc::new(AtomicBool::new(false)));
    let noted = Arc::clone(&was_heard);
    let hold = What::call(move || {
        for _ in 0..100 * seconds {
            if heard_by.heard().iter().any(|line| line.contains(text)) {
                noted.store(true, Ordering::SeqCst);
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Then::GoOn
    });
    at.always(when.answered(), hold);
    was_heard
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_gives_messages_while_the_destination_makes_their_folders() {
    let mut world = World::new().await;
    let (here, there) = (world.tap_source(), world.tap_destination());
    mail::fill(&mut world.at_source(), 20, &["Box"], 3);
    let was_heard = hold_until((&there, When::verb("CREATE")), 10, (&here, "BODY.PEEK[]"));
    world.seed().await;
    assert!(was_heard.load(Ordering::SeqCst));
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_folder_is_opened_before_the_last_batch_of_this_one_is_answered() {
    let mut world = World::new().await;
    let (here, there) = (world.tap_source(), world.tap_destination());
    world.connect_through(&here, &there, 1);
    // The largest first, and more than a batch: while the answer to its first batch is held, the
    // source gives all others.
    let notes: Vec<_> = (0..150).map(|n| note(&format!("note {n}"))).collect();
    world.at_source().create("First");
    world.at_source().append_many("First", &notes);
    world.at_source().create("Second");
    world.at_source().append_many("Second", &[note("one")]);
    let when = When::verb("APPEND").containing("\"First\"");
    let was_heard = hold_until((&there, when), 2, (&there, "SELECT \"Second\""));
    world.seed().await;
    assert!(was_heard.load(Ordering::SeqCst));
    world.assert_same();
    let heard = there.heard();
    let opened = heard.iter().filter(|line| line.contains("SELECT \"Second\""));
    assert_eq!(opened.count(), 1, "it is not opened once more");
}

#[tokio::test]
async fn folders_where_nothing_happens_cost_no_commit_each() {
    let world = World::new().await;
    let folders: Vec<String> = (0..12).map(|n| format!("F{n}")).collect();
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    mail::fill(&mut world.at_source(), 30, &folders, 3);
    world.seed().await;
    // Not even the pass could be added to the history.
    world.context().ledger.fail_after(0);
    assert!(world.delta().await.quiet);
    let mut here = world.at_source();
    for folder in folders {
        let fleeting = here.append_many(folder, &[note("fleeting")]);
        here.expunge_uids(folder, &fleeting);
    }
    // Twelve folders stand otherwise than they did, and there is nothing to do.
    world.context().ledger.fail_after(1);
    assert!(world.delta().await.quiet);
}
