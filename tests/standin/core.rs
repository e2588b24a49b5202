//! What the stand-ins have in common: IMAP as RFC 3501 has it.

use crate::support::{Imap, Standin};

fn told(imap: &mut Imap, command: &str) -> Vec<String> {
    imap.command(command).untagged.into_iter().map(|line| line.text).collect()
}

#[test]
fn an_expunge_is_told_by_the_numbers_of_that_moment() {
    let server = Standin::plain().user("anna", |m| m.notes("INBOX", 1..=4)).start();
    let mut imap = server.connect("anna");
    imap.select("INBOX");
    imap.command("STORE 1,3:4 +FLAGS.SILENT (\\Deleted)");
    assert_eq!(told(&mut imap, "EXPUNGE"), ["4 EXPUNGE", "3 EXPUNGE", "1 EXPUNGE"]);
    assert_eq!(told(&mut imap, "SEARCH ALL"), ["SEARCH 1"]);
}

#[test]
fn a_percent_sign_stays_on_its_level_and_a_star_does_not() {
    let server = Standin::plain().user("anna", |m| m.folder("X").folder("X/B").folder("X/B/C"));
    let server = server.start();
    let mut imap = server.connect("anna");
    for (pattern, n) in [("X%", 1), ("X/%", 1), ("%/B", 1), ("X*", 3), ("X/*", 2), ("inbox", 1)] {
        let listed = told(&mut imap, &format!("LIST \"\" \"{pattern}\""));
        assert_eq!(listed.len(), n, "{pattern}: {listed:?}");
    }
    assert_eq!(told(&mut imap, "LIST X/ %").len(), 1);
    assert_eq!(told(&mut imap, "LIST \"\" (X X/B) RETURN (STATUS (MESSAGES))").len(), 4);
}

#[test]
fn sequence_numbers_stand_while_they_are_in_use() {
    let server = Standin::plain().user("anna", |m| m.notes("INBOX", 1..=3)).start();
    let [mut imap, mut other] = [server.connect("anna"), server.connect("anna")];
    imap.select("INBOX");
    other.expunge_uids("INBOX", &[2]);
    assert_eq!(told(&mut imap, "FETCH 3 (UID)"), ["3 FETCH (UID 3)"]);
    assert_eq!(told(&mut imap, "NOOP"), ["2 EXPUNGE"]);
    assert_eq!(told(&mut imap, "FETCH 2 (UID)"), ["2 FETCH (UID 3)"]);
    other.store("INBOX", &[1], "+FLAGS (\\Seen)");
    assert_eq!(told(&mut imap, "NOOP"), ["1 FETCH (UID 1 FLAGS (\\Seen))"]);
    other.append("INBOX", "", crate::support::note("x").date, b"A: b\r\n\r\n");
    assert_eq!(told(&mut imap, "NOOP"), ["3 EXISTS"]);
}

#[test]
fn a_folder_opened_for_reading_is_not_written() {
    let server = Standin::plain().user("anna", |m| m.notes("INBOX", 1..=1)).start();
    let mut imap = server.connect("anna");
    imap.command("EXAMINE INBOX");
    imap.command("FETCH 1 (BODY[])");
    for command in ["STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "MOVE 1 Archive"] {
        assert!(imap.try_command(command).unwrap_err().starts_with("NO [READ-ONLY]"), "{command}");
    }
    assert!(server.stored("anna")[0].flags.is_empty());
    imap.select("INBOX");
    imap.command("FETCH 1 (BODY[])");
    assert!(server.stored("anna")[0].flags.contains("\\Seen"));
}

#[test]
fn a_store_on_a_condition_leaves_alone_what_changed() {
    let server = Standin::plain().user("anna", |m| m.notes("INBOX", 1..=2)).start();
    let mut imap = server.connect("anna");
    let selected = imap.select("INBOX").untagged;
    let line = selected.iter().find(|l| l.text.contains("HIGHESTMODSEQ")).unwrap().text.clone();
    let modseq = line.split(['[', ']', ' ']).find_map(|part| part.parse::<u64>().ok()).unwrap();
    imap.command("STORE 2 +FLAGS (\\Seen)");
    let command = format!("STORE 1:2 (UNCHANGEDSINCE {modseq}) +FLAGS (\\Flagged)");
    assert!(imap.command(&command).tagged.starts_with("OK [MODIFIED 2]"));
    let flags = server.stored("anna").into_iter().map(|m| m.flags.contains("\\Flagged"));
    assert_eq!(flags.collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_server_that_is_dropped_is_gone_with_its_connections() {
    let server = Standin::plain().user("anna", |m| m).start();
    let (mut imap, port) = (server.connect("anna"), server.port());
    imap.select("INBOX");
    drop(server);
    assert!(imap.try_command("NOOP").is_err());
    assert!(Imap::try_login("127.0.0.1", port, "anna", "pw").is_err());
}
