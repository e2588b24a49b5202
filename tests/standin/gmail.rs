//! What is Gmail's own, as its documents have it.

use crate::support::standin::{LastExpunge, Twins};
use crate::support::{Imap, Standin, note, subjects};

const ALL: &str = "[Gmail]/All Mail";
const TRASH: &str = "[Gmail]/Trash";

fn folders(imap: &mut Imap) -> Vec<String> {
    imap.list().into_iter().map(|folder| folder.path).collect()
}

fn append(imap: &mut Imap, folder: &str, subject: &str) -> u32 {
    let note = note(subject);
    imap.append(folder, "", note.date, &note.bytes)
}

fn exists(imap: &mut Imap, folder: &str) -> usize {
    imap.uids(folder).len()
}

#[test]
fn a_message_is_stored_once_and_seen_under_each_label() {
    let server = Standin::gmail().user("anna", |m| m.folder("Work")).start();
    let mut imap = server.connect("anna");
    append(&mut imap, "INBOX", "hello");
    imap.store("INBOX", &[1], "+X-GM-LABELS (Work \\Starred \"Not there yet\")");
    assert_eq!(server.stored("anna").len(), 1);
    for folder in ["INBOX", "Work", "Not there yet", ALL, "[Gmail]/Starred"] {
        assert_eq!(subjects(&mut imap, folder), ["hello"], "{folder}");
    }
    // A flag is the message's, wherever it is set.
    imap.store("Work", &[1], "+FLAGS (\\Seen)");
    let seen = &imap.messages(ALL)[0].flags;
    assert!(seen.contains("\\seen") && seen.contains("\\flagged"), "{seen:?}");
}

#[test]
fn all_mail_holds_neither_spam_nor_trash() {
    let server = Standin::gmail().user("anna", |mailbox| {
        mailbox
            .message(&["INBOX"], &note("kept"))
            .message(&["[Gmail]/Spam"], &note("spam"))
            .message(&[TRASH], &note("gone"))
    });
    let server = server.start();
    let mut imap = server.connect("anna");
    assert_eq!(subjects(&mut imap, ALL), ["kept"]);
    assert_eq!(subjects(&mut imap, TRASH), ["gone"]);
    // Out of the trash, into a label: it is mail again.
    imap.uid_move(TRASH, &[1], "INBOX");
    assert_eq!(subjects(&mut imap, ALL), ["kept", "gone"]);
    assert_eq!(exists(&mut imap, TRASH), 0);
}

#[test]
fn expunging_takes_the_label_and_only_the_trash_forgets() {
    let server = Standin::gmail().user("anna", |m| m.notes("INBOX", ["one", "two"])).start();
    let mut imap = server.connect("anna");
    imap.expunge_uids("INBOX", &[1]);
    assert_eq!(subjects(&mut imap, ALL), ["one", "two"]);
    imap.expunge_uids(ALL, &[1]);
    assert_eq!(exists(&mut imap, ALL), 2);
    imap.uid_move(ALL, &[1], TRASH);
    imap.expunge_uids(TRASH, &[1]);
    assert_eq!(server.stored("anna").len(), 1);
}

#[test]
fn what_the_last_expunge_does_is_the_owners_choice() {
    for (last, left, in_trash) in
        [(LastExpunge::Archive, 1, 0), (LastExpunge::Trash, 1, 1), (LastExpunge::Delete, 0, 0)]
    {
        let server = Standin::gmail()
            .user("anna", move |m| m.notes("INBOX", ["one"]).last_expunge(last))
            .start();
        let mut imap = server.connect("anna");
        imap.expunge_uids("INBOX", &[1]);
        assert_eq!(server.stored("anna").len(), left, "{last:?}");
        assert_eq!(exists(&mut imap, TRASH), in_trash, "{last:?}");
    }
}

#[test]
fn an_appended_twin_is_answered_by_a_uid_that_vanishes() {
    let server = Standin::gmail().user("anna", |m| m.folder("Work")).start();
    let mut imap = server.connect("anna");
    let first = append(&mut imap, "INBOX", "same");
    let second = append(&mut imap, "Work", "same");
    assert_eq!(server.stored("anna").len(), 1);
    assert!(!imap.uids("Work").contains(&second));
    assert_eq!(subjects(&mut imap, "Work"), ["same"]);
    assert_eq!(imap.uids("INBOX"), [first]);
    // Once more, and not even a new UID of the one that is there.
    let third = append(&mut imap, "INBOX", "same");
    assert_ne!(third, first);
    assert_eq!(imap.uids("INBOX"), [first]);
}

#[test]
fn twins_may_be_told_by_content_or_kept() {
    for (twins, left) in [(Twins::ByMessageId, 1), (Twins::ByContent, 2), (Twins::Kept, 3)] {
        let server = Standin::gmail().user("anna", move |m| m.twins(twins)).start();
        let mut imap = server.connect("anna");
        append(&mut imap, "INBOX", "same");
        append(&mut imap, "INBOX", "same");
        let other = [note("same").bytes, b"signed\r\n".to_vec()].concat();
        imap.append("INBOX", "", note("same").date, &other);
        assert_eq!(server.stored("anna").len(), left, "{twins:?}");
    }
}

#[test]
fn what_its_owner_hides_is_hidden_but_from_an_administrators_token() {
    let server = Standin::gmail().user("anna", |mailbox| {
        mailbox.notes("INBOX", 1..=5).hide("Secret").hide(ALL).folder_limit(3).admin_token("admin")
    });
    let server = server.start();
    let mut imap = server.connect("anna");
    assert!(!folders(&mut imap).iter().any(|folder| folder == "Secret" || folder == ALL));
    assert!(imap.try_command("SELECT Secret").unwrap_err().contains("Unknown Mailbox"));
    assert_eq!(subjects(&mut imap, "INBOX"), ["3", "4", "5"]);
    let mut admin = server.connect_with_token("anna", "admin").unwrap();
    assert!(folders(&mut admin).contains(&"Secret".to_owned()));
    assert_eq!(exists(&mut admin, "INBOX"), 5);
    assert_eq!(exists(&mut admin, ALL), 5);
}

#[test]
fn the_days_bytes_run_out_and_come_back() {
    let server =
        Standin::gmail().user("anna", |m| m.notes("INBOX", 1..=20).bytes_a_day(2000, 200)).start();
    let mut imap = server.connect("anna");
    imap.select("INBOX");
    let refused = imap.try_command("UID FETCH 1:* (BODY.PEEK[])").unwrap_err();
    assert!(refused.contains("[OVERQUOTA] Account exceeded command or bandwidth"), "{refused}");
    assert!(imap.try_command("EXAMINE INBOX").is_err());
    assert!(server.try_connect("anna").err().unwrap().contains("[OVERQUOTA]"));
    server.next_day("anna");
    imap.command("UID FETCH 1 (BODY.PEEK[])");
    append(&mut imap, "INBOX", "first");
    let note = note("second");
    let refused = imap.try_append("INBOX", "", note.date, &note.bytes).unwrap_err();
    assert!(refused.contains("[OVERQUOTA]"), "{refused}");
    assert!(server.spent("anna")[1] > 200);
}

#[test]
fn fifteen_connections_are_an_accounts_most() {
    let server = Standin::gmail().user("anna", |m| m).user("bo", |m| m).start();
    let mut open: Vec<_> = (0..15).map(|_| server.connect("anna")).collect();
    let refused = server.try_connect("anna").err().unwrap();
    assert!(refused.contains("[ALERT] Too many simultaneous connections."), "{refused}");
    server.connect("bo");
    open.pop().unwrap().logout();
    for _ in 0..500 {
        if server.connections("anna") < 15 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    server.connect("anna");
}

#[test]
fn a_session_ends_in_gmails_words_and_its_token_with_it() {
    let server = Standin::gmail().user("anna", |m| m.token("old")).start();
    let mut imap = server.connect_with_token("anna", "old").unwrap();
    imap.command("NOOP");
    server.expire_token("anna", "old");
    let last = imap.try_command("NOOP").unwrap_err();
    assert!(last.contains("BYE Session expired, please login again."), "{last}");
    let refused = server.connect_with_token("anna", "old").err().unwrap();
    assert_eq!(refused, "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)");
    server.allow_token("anna", "new");
    let mut imap = server.connect_with_token("anna", "new").unwrap();
    server.end_sessions("anna");
    assert!(imap.try_command("NOOP").is_err());
    server.connect_with_token("anna", "new").unwrap();
}

#[test]
fn names_that_gmail_does_not_take_are_refused() {
    let server = Standin::gmail().user("anna", |m| m.folder("Work")).start();
    let mut imap = server.connect("anna");
    let long = "x".repeat(226);
    for (name, words) in [
        (" a", "excess whitespace"),
        ("a ", "excess whitespace"),
        ("a  b", "excess whitespace"),
        ("a/ b", "excess whitespace"),
        ("a^b", "Invalid folder name"),
        ("a//b", "Invalid folder name"),
        ("Sent", "Invalid folder name"),
        ("[Gmail]/Mine", "Invalid folder name"),
        ("Work", "[ALREADYEXISTS]"),
        (&long, "too long"),
    ] {
        let refused = imap.try_command(&format!("CREATE \"{name}\"")).unwrap_err();
        assert!(refused.starts_with("NO [") && refused.contains(words), "{name:?}: {refused}");
    }
}

#[test]
fn only_a_small_literal_need_not_be_waited_for() {
    let server = Standin::gmail().user("anna", |m| m).append_limit(9000).start();
    let mut imap = server.connect("anna");
    let mail = |n: usize| format!("A: b\r\n\r\n{}", "x".repeat(n - 8));
    let append = |n: usize| format!("APPEND INBOX {{{n}+}}\r\n{}", mail(n));
    imap.command(&append(4096));
    assert!(imap.try_command(&append(4097)).unwrap_err().starts_with("BAD [TOOBIG]"));
    let date = note("x").date;
    imap.append("INBOX", "", date, mail(5000).as_bytes());
    let refused = imap.try_append("INBOX", "", date, mail(9001).as_bytes()).unwrap_err();
    assert!(refused.contains("[TOOBIG]"), "{refused}");
    assert_eq!(exists(&mut imap, "INBOX"), 2);
}

#[test]
fn a_slow_server_says_so() {
    let server = Standin::gmail().user("anna", |m| m.notes("INBOX", 1..=2)).start();
    let mut imap = server.connect("anna");
    imap.select("INBOX");
    server.be_slow(true);
    assert_eq!(imap.command("UID FETCH 1:* (FLAGS)").tagged, "OK Success [THROTTLED]");
}

#[test]
fn a_sign_in_of_the_wrong_kind_is_answered_by_what_to_do() {
    const ANSWER: &str = "NO [ALERT] Application-specific password required: https://example";
    let server = Standin::gmail().user("anna", |m| m.refuses_passwords(ANSWER)).start();
    assert!(server.try_connect("anna").err().unwrap().contains("Application-specific"));
    const DISABLED: &str = "NO [ALERT] Your account is not enabled for IMAP use";
    let server = Standin::gmail().user("anna", |m| m.token("good").refuses(DISABLED)).start();
    assert_eq!(server.connect_with_token("anna", "good").err().unwrap(), DISABLED);
    // An app password may be typed as it is shown.
    let server = Standin::gmail().user("bo", |m| m.password("abcdefghijklmnop")).start();
    Imap::try_login("127.0.0.1", server.port(), "bo", "abcd efgh ijkl mnop").unwrap();
}
