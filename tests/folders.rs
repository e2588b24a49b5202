//! Folder names between servers that disagree about them, roles, maps, and changed maps.

mod support;

use drover::definition::FolderTarget;
use drover::model::{FolderPath, Role};
use support::dovecot::Format;
use support::mail::{self, FOLDERS};
use support::{Dovecot, Options, World, note, snapshot, subjects};

const AWKWARD: [&str; 12] = [
    "INBOX",
    "Bills \"quoted\"",
    "back\\slash",
    "100% sure *",
    "R&D",
    "&",
    "&-",
    "&AOk-",
    "Entwürfe/日本語 📬/Ünder",
    "a/b/c/d/e/f/g/h",
    "=2E",
    "(parenthesis) {5}",
];

fn courier() -> Dovecot {
    Dovecot::builder().separator('.').prefix("INBOX.").start()
}

fn paths(world: &World) -> Vec<String> {
    let mut paths: Vec<String> =
        world.at_destination().list().into_iter().map(|f| f.path).collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn awkward_names_arrive_between_any_two_separators() {
    for (n, (source, destination)) in [
        (Dovecot::start(), Dovecot::start()),
        (Dovecot::start(), courier()),
        (courier(), Dovecot::start()),
        (courier(), courier()),
    ]
    .into_iter()
    .enumerate()
    {
        let world = World::between(source, destination).await;
        let mut here = world.at_source();
        for folder in AWKWARD.into_iter().chain(FOLDERS) {
            here.create(folder);
            here.append_many(folder, &[note(&format!("in {folder}"))]);
        }
        let report = world.seed().await;
        // `=2E` already looks like what an escaped dot looks like.
        let options = Options::default().map("=2E", "=3D2E");
        world.assert_same_but(&options);
        assert!(report.notes.iter().all(|n| n.contains("=3D2E")), "{n}: {:?}", report.notes);
        assert!(world.delta().await.quiet, "{n}");
        assert!(world.verify().await.is_equal(), "{n}");
        here.rename_folder("a/b", "x");
        let renamed = world.delta().await;
        assert_eq!(renamed.record.accounts.copied, 0, "{n}");
        let options = Options { ignore_extra_folders: true, ..options };
        world.assert_same_but(&options);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_separates_at_the_destination_is_repaired_and_said() {
    let source = Dovecot::builder().format(Format::Mdbox).start();
    let mut world = World::between(source, courier()).await;
    let mut here = world.at_source();
    for folder in ["v1.2", "Mr. Q/Q.E.D.", "v1/2"] {
        here.create(folder);
        here.append_many(folder, &[note(&format!("in {folder}"))]);
    }
    let report = world.seed().await;
    let options =
        Options::ignoring_empty().map("v1.2", "v1=2E2").map("Mr. Q/Q.E.D.", "Mr=2E Q/Q=2EE=2ED=2E");
    world.assert_same_but(&options);
    let notes = report.notes.join("\n");
    assert!(notes.contains("v1.2") && notes.contains("Q.E.D."), "{notes}");
    assert!(world.delta().await.quiet);
    assert_eq!(world.delta().await.notes, Vec::<String>::new(), "said once");
    world.lose_ledger().await;
    assert_eq!(world.seed().await.record.accounts.copied, 0, "found again without a ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_the_destination_refuses_is_spelt_more_cautiously() {
    // Maildir has no dots in names, whatever separates them on the wire.
    let source = Dovecot::builder().format(Format::Mdbox).start();
    let mut world = World::between(source, Dovecot::start()).await;
    let mut here = world.at_source();
    here.create("v1.2");
    here.create("v1.2/sub");
    here.append_many("v1.2", &[note("dotted")]);
    here.append_many("v1.2/sub", &[note("below")]);
    let report = world.seed().await;
    let notes = report.notes.join("\n");
    assert!(notes.contains("v1.2"), "{notes}");
    assert_eq!(subjects(&mut world.at_destination(), "v1=2E2"), ["dotted"]);
    assert_eq!(
        subjects(&mut world.at_destination(), "v1=2E2/sub"),
        ["below"],
        "{:?}",
        paths(&world)
    );
    assert!(world.delta().await.quiet);
    here.append_many("v1.2", &[note("more")]);
    assert_eq!(world.delta().await.record.accounts.copied, 1);
    assert_eq!(subjects(&mut world.at_destination(), "v1=2E2"), ["dotted", "more"]);
    world.lose_ledger().await;
    let again = world.seed().await.record.accounts;
    assert_eq!((again.copied, again.adopted), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mere_node_of_the_hierarchy_is_no_folder() {
    let source = Dovecot::builder().format(Format::Mdbox).start();
    let world = World::between(source, Dovecot::start()).await;
    let mut here = world.at_source();
    here.create("Node/Leaf");
    here.append_many("Node/Leaf", &[note("leaf")]);
    world.seed().await;
    assert_eq!(subjects(&mut world.at_destination(), "Node/Leaf"), ["leaf"]);
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_matched_by_attribute_and_by_well_known_name() {
    let german = "namespace inbox {\n  mailbox Gesendet {\n    special_use = \\Sent\n    auto = create\n  }\n  \
                  mailbox Sent {\n    special_use =\n  }\n}";
    let there = "namespace inbox {\n  mailbox \"Sent Items\" {\n    special_use = \\Sent\n    auto = create\n  }\n  \
                 mailbox Sent {\n    special_use =\n  }\n  mailbox Trash {\n    auto = create\n  }\n}";
    let source = Dovecot::builder().raw_conf(german).start();
    let world = World::between(source, Dovecot::builder().raw_conf(there).start()).await;
    let mut here = world.at_source();
    here.create("Gesendet/2024");
    here.create("Deleted Items");
    here.append_many("Gesendet", &[note("sent")]);
    here.append_many("Gesendet/2024", &[note("sent long ago")]);
    here.append_many("Deleted Items", &[note("deleted")]);
    world.seed().await;
    let mut imap = world.at_destination();
    assert_eq!(subjects(&mut imap, "Sent Items"), ["sent"], "{:?}", paths(&world));
    assert_eq!(subjects(&mut imap, "Sent Items/2024"), ["sent long ago"]);
    assert_eq!(subjects(&mut imap, "Trash"), ["deleted"]);
    assert!(world.delta().await.quiet);
    assert!(world.verify().await.is_equal());
}

fn to_path(from: &str, to: &str) -> (FolderPath, FolderTarget) {
    (FolderPath::parse(from), FolderTarget::Path(FolderPath::parse(to)))
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_and_prefixes_are_obeyed() {
    let mut world = World::new().await;
    let mut here = world.at_source();
    for folder in ["INBOX", "Weg", "A", "B", "C/Sub"] {
        here.create(folder);
        here.append_many(folder, &[note(&format!("in {folder}"))]);
    }
    world.at_destination().create("Trash");
    world.mailbox.folders.prefix = Some(FolderPath::parse("Imported/Acme"));
    world.mailbox.folders.map = vec![
        (FolderPath::parse("Weg"), FolderTarget::Role(Role::Trash)),
        to_path("A", "Both"),
        to_path("B", "Both"),
    ];
    world.seed().await;
    let mut there = world.at_destination();
    assert_eq!(subjects(&mut there, "Trash"), ["in Weg"]);
    let mut both = subjects(&mut there, "Both");
    both.sort();
    assert_eq!(both, ["in A", "in B"]);
    assert_eq!(subjects(&mut there, "Imported/Acme/INBOX"), ["in INBOX"]);
    assert_eq!(subjects(&mut there, "Imported/Acme/C/Sub"), ["in C/Sub"]);
    assert!(there.uids("INBOX").is_empty());
    assert!(world.delta().await.quiet);
    assert!(world.verify().await.is_equal());
    world.lose_ledger().await;
    let again = world.seed().await.record.accounts;
    assert_eq!((again.copied, again.adopted), (0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_changed_later_moves_what_was_copied() {
    let mut world = World::new().await;
    let mut here = world.at_source();
    mail::fill(&mut here, 60, &["INBOX", "A", "A/Sub", "B"], 31);
    world.seed().await;
    let n = world.at_destination().uids("A").len();
    world.at_destination().append_many("A", &[note("the user's own")]);
    world.at_destination().create("Box");
    world.mailbox.folders.map = vec![to_path("A", "Box"), to_path("B", "Fresh")];
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0, "{:?}", report.record);
    assert_eq!(world.at_destination().uids("Box").len(), n, "{:?}", paths(&world));
    assert_eq!(subjects(&mut world.at_destination(), "A"), ["the user's own"]);
    let options = Options { skip: vec!["A".into()], ..Options::ignoring_empty() };
    let options = options.map("A", "Box").map("A/Sub", "Box/Sub").map("B", "Fresh");
    world.assert_same_but(&options);
    assert!(world.delta().await.quiet);
    assert!(world.verify().await.is_equal());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_folders_that_are_joined_later_stand_in_one() {
    let mut world = World::new().await;
    let mut here = world.at_source();
    for folder in ["A", "B"] {
        here.create(folder);
        here.append_many(folder, &[note(&format!("in {folder}"))]);
    }
    world.seed().await;
    world.mailbox.folders.map = vec![to_path("A", "Both"), to_path("B", "Both")];
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0);
    let mut both = subjects(&mut world.at_destination(), "Both");
    both.sort();
    assert_eq!(both, ["in A", "in B"]);
    assert!(world.delta().await.quiet);
    // And apart again.
    world.mailbox.folders.map.clear();
    assert_eq!(world.delta().await.record.accounts.copied, 0);
    world.assert_same_but(&Options::ignoring_empty());
    let before = snapshot(&mut world.at_destination());
    assert!(world.delta().await.quiet);
    assert_eq!(snapshot(&mut world.at_destination()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_exchange_their_names_keep_their_mail() {
    for names in [["A", "B", "X"], ["X", "B", "A"], ["B", "X", "A"], ["B", "A", "X"]] {
        let [first, second, third] = names;
        let world = World::new().await;
        let mut here = world.at_source();
        for folder in [first, second] {
            here.create(folder);
            here.append_many(folder, &[note(&format!("once in {folder}"))]);
        }
        world.seed().await;
        here.rename_folder(first, third);
        here.rename_folder(second, first);
        let report = world.delta().await;
        assert_eq!(report.record.accounts.copied, 0, "{names:?}");
        world.assert_same_but(&Options::ignoring_empty());
        here.append_many(first, &[note("new")]);
        here.append_many(third, &[note("new too")]);
        world.delta().await;
        world.assert_same_but(&Options::ignoring_empty());
        assert!(world.delta().await.quiet, "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_follows_a_new_map_into_a_folder_that_is_yet_to_be_made() {
    let mut world = World::new().await;
    world.at_source().append_many("INBOX", &[note("a"), note("b")]);
    world.seed().await;
    // The inbox cannot be renamed away: its mail is moved.
    world.mailbox.folders.map = vec![to_path("INBOX", "Old/Inbox")];
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 2));
    assert_eq!(subjects(&mut world.at_destination(), "Old/Inbox"), ["a", "b"]);
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_that_shift_folders_along_move_each_ones_mail_to_its_own() {
    let shifts = [
        [("A", "X"), ("B", "A")],
        [("A", "B"), ("B", "X")],
        [("A", "B"), ("B", "A")],
        [("B", "A"), ("A", "A/B")],
    ];
    for shift in shifts {
        let mut world = World::new().await;
        let mut here = world.at_source();
        for folder in ["A", "B"] {
            here.create(folder);
            here.append_many(
                folder,
                &[note(&format!("one in {folder}")), note(&format!("two in {folder}"))],
            );
        }
        world.seed().await;
        world.mailbox.folders.map = shift.iter().map(|(from, to)| to_path(from, to)).collect();
        let report = world.delta().await;
        assert_eq!(report.record.accounts.copied, 0, "{shift:?}");
        let options = Options::ignoring_empty();
        world.assert_same_but(&shift.iter().fold(options, |o, (from, to)| o.map(from, to)));
        assert!(world.delta().await.quiet, "{shift:?}");
    }
}
