//! A real server with OBJECTID (RFC 8474), and that is not Dovecot: pymap.

mod support;

use support::mail::Mail;
use support::pymap::Pymap;
use support::{World, note};

/// A message that only its content tells from others, of the same size.
fn alike(content: &str) -> Mail {
    let mut mail = note("alike");
    let head = "Date: Thu, 1 Jan 2026 10:00:00 +0000\r\nFrom: bo@a.example\r\nSubject: alike\r\n";
    mail.bytes = format!("{head}\r\n{content}\r\n").into_bytes();
    mail
}

#[tokio::test]
async fn what_is_moved_at_a_server_with_objectid_is_moved_and_not_copied() {
    let (pymap, dir) = (Pymap::start(), tempfile::tempdir().unwrap());
    let mut world = World::mirroring().await;
    pymap.take(&mut world.mailbox.source, dir.path());
    let mut user = pymap.connect();
    user.create("A");
    user.create("B");
    let uids = user.append_many("INBOX", &[alike("first"), alike("other")]);
    world.seed().await;
    assert!(world.verify().await.is_equal());
    user.uid_move("INBOX", &uids[1..], "A");
    user.uid_move("INBOX", &uids[..1], "B");
    let delta = world.delta().await.record;
    assert_eq!((delta.moves, delta.accounts.copied), (2, 0));
    for (folder, content) in [("A", "other"), ("B", "first")] {
        let there = world.at_destination().messages(folder);
        let last = String::from_utf8_lossy(&there.last().expect("a message").body).into_owned();
        assert!(last.contains(content), "{folder}: {last}");
    }
    assert!(world.verify().await.is_equal());
    assert!(world.delta().await.quiet);
}

#[tokio::test]
async fn a_server_that_keeps_no_keywords_gets_all_else_and_the_pass_says_what_was_lost() {
    let (pymap, dir) = (Pymap::start(), tempfile::tempdir().unwrap());
    let mut world = World::new().await;
    pymap.take(&mut world.mailbox.destination, dir.path());
    let mut mail = note("with a keyword");
    mail.flags = "\\Seen \\Flagged $Forwarded".into();
    world.at_source().append_many("INBOX", &[mail, note("two")]);
    let report = world.seed().await;
    assert_eq!(report.record.accounts.copied, 2);
    assert!(report.notes.iter().any(|note| note.contains("$Forwarded")), "{:?}", report.notes);
    let there = pymap.connect().messages("INBOX");
    let copy = &there[there.len() - 2];
    assert!(copy.flags.contains("\\seen") && copy.flags.contains("\\flagged"), "{copy:?}");
    assert!(world.delta().await.quiet);
}
