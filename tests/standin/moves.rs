//! drover moves plain mailboxes from and to the stand-ins, as it would any server's.

use std::sync::Arc;

use drover::definition::{Account, Endpoint, Login};

use crate::support::{Dovecot, Standin, World, note, subjects};

/// Makes the stand-in one side of a world.
fn put(standin: &Standin, side: &mut Account) {
    let endpoint = Endpoint { port: standin.port(), ..(*side.endpoint).clone() };
    side.endpoint = Arc::new(endpoint);
    assert!(matches!(side.login, Login::Password(_)));
}

async fn world_to(standin: &Standin) -> World {
    let server = Dovecot::start();
    let mut world = World::of("anna", server.handle(), server).await;
    put(standin, &mut world.mailbox.destination);
    world
}

async fn world_from(standin: &Standin) -> World {
    let server = Dovecot::start();
    let mut world = World::of("anna", server.handle(), server).await;
    put(standin, &mut world.mailbox.source);
    world
}

fn folder_of(server: &Standin, subject: &str) -> Vec<String> {
    let stored = server.stored("anna");
    let mut found = stored.iter().filter(|m| m.header("Subject").as_deref() == Some(subject));
    let one = found.next().unwrap_or_else(|| panic!("{subject} did not arrive"));
    assert!(found.next().is_none(), "{subject} arrived twice");
    one.labels.iter().cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn drover_moves_a_mailbox_to_each() {
    for builder in [Standin::plain(), Standin::gmail(), Standin::microsoft365().with_passwords()] {
        let server = builder.user("anna", |m| m.exact()).start();
        let world = world_to(&server).await;
        let mut user = world.at_source();
        user.create("Projects/Älpha & more");
        for n in 1..=5 {
            let note = note(&format!("inbox {n}"));
            user.append("INBOX", "\\Seen \\Answered", note.date, &note.bytes);
        }
        let long = [note("long").bytes, vec![b'x'; 9000], b"\r\n".to_vec()].concat();
        user.append("Projects/Älpha & more", "", note("long").date, &long);
        world.seed().await;
        assert_eq!(folder_of(&server, "inbox 3"), ["INBOX"]);
        assert_eq!(folder_of(&server, "long"), ["Projects/Älpha & more"]);
        let stored = server.stored("anna");
        let long_there = stored.iter().find(|m| m.header("Subject").as_deref() == Some("long"));
        assert_eq!(long_there.unwrap().bytes, long);
        assert!(stored.iter().filter(|m| m.flags.contains("\\Answered")).count() == 5);
        // A pass with nothing to do, and one with little.
        let note = note("late");
        user.append("INBOX", "", note.date, &note.bytes);
        world.delta().await;
        world.delta().await;
        assert_eq!(server.stored("anna").len(), 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drover_moves_a_mailbox_from_each() {
    for builder in [Standin::plain(), Standin::microsoft365().with_passwords()] {
        let server = builder.user("anna", |mailbox| {
            mailbox.notes("INBOX", ["one", "two"]).notes("Projects/Älpha & more", ["three"]).exact()
        });
        let server = server.start();
        let world = world_from(&server).await;
        world.seed().await;
        let mut there = world.at_destination();
        assert_eq!(subjects(&mut there, "INBOX"), ["one", "two"]);
        assert_eq!(subjects(&mut there, "Projects/Älpha & more"), ["three"]);
        server.deliver("anna", &["INBOX"], &note("four"));
        world.delta().await;
        assert_eq!(subjects(&mut there, "INBOX"), ["one", "two", "four"]);
        let wrote = ["STORE", "UID STORE", "APPEND", "SELECT", "CREATE", "EXPUNGE", "UID EXPUNGE"];
        assert!(server.heard().iter().all(|verb| !wrote.contains(&verb.as_str())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drover_moves_the_labels_of_gmail_as_folders_and_follows_them() {
    let server = Standin::gmail().user("anna", |mailbox| {
        mailbox.notes("INBOX", ["one", "two"]).message(&["INBOX", "Work"], &note("three"))
    });
    let server = server.start();
    let world = world_from(&server).await;
    world.seed().await;
    let mut there = world.at_destination();
    assert_eq!(subjects(&mut there, "INBOX"), ["one", "two", "three"]);
    assert_eq!(subjects(&mut there, "Work"), ["three"]);
    // Its owner reads one, and gives it a label instead of the inbox's.
    let mut user = server.connect("anna");
    user.store("INBOX", &[1], "+FLAGS (\\Seen)");
    user.store("INBOX", &[1], "X-GM-LABELS (Work)");
    server.deliver("anna", &["INBOX"], &note("four"));
    world.delta().await;
    assert_eq!(subjects(&mut there, "INBOX"), ["two", "three", "four"]);
    let work = there.messages("Work");
    assert_eq!(work.len(), 2);
    assert!(work.iter().any(|m| m.flags.contains("\\seen")));
}
