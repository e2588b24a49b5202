//! What is Exchange's own, as Microsoft's documents and others' transcripts have it.

use std::time::Duration;

use crate::support::standin::Builder;
use crate::support::{Imap, Standin, note};

fn exchange() -> Builder {
    Standin::microsoft365().with_passwords()
}

fn append(imap: &mut Imap, flags: &str, subject: &str) -> u32 {
    let note = note(subject);
    imap.append("INBOX", flags, note.date, &note.bytes)
}

#[test]
fn exchange_online_takes_tokens_and_no_passwords() {
    let server = Standin::microsoft365().user("anna", |m| m.token("good")).start();
    assert!(server.try_connect("anna").is_err());
    // No challenge comes before this NO.
    let refused = server.connect_with_token("anna", "bad").err().unwrap();
    assert_eq!(refused, "NO AUTHENTICATE failed.");
    server.connect_with_token("anna", "good").unwrap();
}

#[test]
fn only_the_flags_that_exchange_knows_are_kept_and_a_star_by_store_alone() {
    let server = exchange().user("anna", |m| m).start();
    let mut imap = server.connect("anna");
    let uid = append(&mut imap, "\\Seen \\Flagged $MDNSent $Work", "flags");
    let flags =
        |server: &Standin| server.stored("anna")[0].flags.iter().cloned().collect::<Vec<_>>();
    assert_eq!(flags(&server), ["$MDNSent", "\\Seen"]);
    imap.store("INBOX", &[uid], "+FLAGS (\\Flagged $Work)");
    assert_eq!(flags(&server), ["$MDNSent", "\\Flagged", "\\Seen"]);
}

#[test]
fn bytes_come_back_otherwise_and_sizes_are_estimates_unless_told() {
    for is_exact in [false, true] {
        let server = exchange().user("anna", move |m| if is_exact { m.exact() } else { m }).start();
        let mut imap = server.connect("anna");
        append(&mut imap, "", "bytes");
        let body = imap.messages("INBOX").remove(0).body;
        assert_eq!(body == note("bytes").bytes, is_exact);
        imap.select("INBOX");
        let told = imap.command("FETCH 1 (RFC822.SIZE)").untagged.remove(0).text;
        assert_eq!(told.contains(&format!("RFC822.SIZE {})", body.len())), is_exact, "{told}");
    }
}

#[test]
fn messages_too_large_or_with_lines_too_long_are_refused() {
    let server = exchange().append_limit(50_000).user("anna", |m| m).start();
    let mut imap = server.connect("anna");
    let date = note("x").date;
    let mut refused = |bytes: &str| imap.try_append("INBOX", "", date, bytes.as_bytes());
    let long = format!("A: b\r\n\r\n{}\r\n", "x".repeat(10_300));
    assert_eq!(refused(&long).unwrap_err(), "BAD Command Argument Error. 11");
    let large = format!("A: b\r\n\r\n{}", "line\r\n".repeat(10_000));
    let words = refused(&large).unwrap_err();
    assert!(words.contains("NO Maximum size of appendable message has been exceeded"), "{words}");
    assert!(server.stored("anna").is_empty());
}

#[test]
fn reserved_names_and_names_that_are_there_are_refused() {
    let server = exchange().user("anna", |m| m).start();
    let mut imap = server.connect("anna");
    assert_eq!(imap.try_command("CREATE Files").unwrap_err(), "NO Folder name is reserved");
    assert_eq!(imap.try_command("CREATE Drafts").unwrap_err(), "NO Mailbox already exists");
}

#[test]
fn a_throttled_mailbox_is_told_how_long_and_cut_off() {
    let server = exchange().user("anna", |m| m).start();
    let mut imap = server.connect("anna");
    server.throttle("anna", 1, Duration::from_millis(92_415));
    let words = imap.try_command("SELECT INBOX").unwrap_err();
    assert_eq!(words, "BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds");
    assert!(imap.try_command("NOOP").is_err());
    server.connect("anna").select("INBOX");
}

#[test]
fn an_unavailable_server_says_so_in_a_line_without_a_tag() {
    let server = exchange().user("anna", |m| m).start();
    let mut imap = server.connect("anna");
    server.be_unavailable("anna", 1);
    assert!(imap.try_command("SELECT INBOX").unwrap_err().contains("closed"));
    server.connect("anna").select("INBOX");
}

#[test]
fn the_tenth_error_ends_a_session() {
    let server = exchange().user("anna", |m| m).start();
    let mut imap = server.connect("anna");
    for _ in 0..9 {
        assert_eq!(imap.try_command("SELECT Nowhere").unwrap_err(), "NO Nowhere doesn't exist.");
    }
    imap.command("NOOP");
    imap.try_command("SELECT Nowhere").unwrap_err();
    let after = imap.try_command("NOOP").unwrap_err();
    assert!(after.contains("BYE Connection closed. 14"), "{after}");
}

#[test]
fn a_session_ends_with_its_token() {
    let server = Standin::microsoft365().user("anna", |m| m.token("old")).start();
    let mut imap = server.connect_with_token("anna", "old").unwrap();
    server.expire_token("anna", "old");
    let words = imap.try_command("SELECT INBOX").unwrap_err();
    assert_eq!(words, "BAD Session invalidated - AccessTokenExpired");
    assert!(imap.try_command("NOOP").is_err());
}

#[test]
fn a_mailbox_that_the_token_does_not_reach_is_found_out_after_sign_in() {
    let server = Standin::microsoft365().user("anna", |m| m.token("good").not_connected()).start();
    let words = server.connect_with_token("anna", "good").err().unwrap();
    assert_eq!(words, "BAD User is authenticated but not connected.");
}
