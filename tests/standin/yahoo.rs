//! What is Yahoo's own, as others measured it.

use crate::support::{Imap, Standin, note, subjects};

fn server() -> Standin {
    Standin::yahoo().window(10, 4).user("anna", |m| m.notes("INBOX", 1..=12)).start()
}

/// The lines of a reply that begin so.
fn lines(imap: &mut Imap, command: &str, beginning: &str) -> Vec<String> {
    let reply = imap.command(command);
    let texts = reply.untagged.into_iter().map(|line| line.text);
    texts.filter(|text| text.contains(beginning)).collect()
}

#[test]
fn a_folder_shows_its_newest_messages_only() {
    let server = server();
    let mut imap = server.connect("anna");
    assert_eq!(lines(&mut imap, "SELECT INBOX", "EXISTS"), ["10 EXISTS"]);
    assert_eq!(
        lines(&mut imap, "STATUS INBOX (MESSAGES)", "STATUS"),
        ["STATUS \"INBOX\" (MESSAGES 10)"]
    );
    let refused = imap.try_command("FETCH 11 (FLAGS)").unwrap_err();
    assert_eq!(refused, "BAD [CLIENTBUG] FETCH Bad sequence in the command");
    // What is deleted lets an older one in.
    let newest = *imap.uids("INBOX").last().unwrap();
    imap.expunge_uids("INBOX", &[newest]);
    assert_eq!(lines(&mut imap, "SELECT INBOX", "EXISTS"), ["10 EXISTS"]);
}

#[test]
fn one_command_handles_so_many_messages_and_says_where_it_stopped() {
    let server = server();
    let mut imap = server.connect("anna");
    imap.select("INBOX");
    let reply = imap.command("UID FETCH 1:* (FLAGS)");
    assert_eq!(reply.untagged.len(), 4);
    let lowest = 107 + 3 * 8;
    assert!(reply.tagged.starts_with(&format!("OK [MESSAGELIMIT 4 {lowest}]")), "{}", reply.tagged);
    let rest = imap.command(&format!("UID FETCH 1:{} (FLAGS)", lowest - 1));
    assert_eq!(rest.untagged.len(), 4);
}

#[test]
fn uid_mode_shows_everything_page_by_page() {
    let server = server();
    let mut imap = server.connect("anna");
    assert_eq!(lines(&mut imap, "ENABLE UIDONLY", "ENABLED"), ["ENABLED UIDONLY"]);
    assert_eq!(lines(&mut imap, "SELECT INBOX", "EXISTS"), ["12 EXISTS"]);
    let refused = imap.try_command("FETCH 1 (FLAGS)").unwrap_err();
    assert!(refused.starts_with("BAD [UIDREQUIRED]"), "{refused}");
    let mut seen = Vec::new();
    for page in ["-1:-4", "-5:-8", "-9:-12", "-13:-16"] {
        let command = format!("UID FETCH 1:* (FLAGS EMAILID) (PARTIAL {page})");
        seen.extend(lines(&mut imap, &command, "UIDFETCH (FLAGS ()"));
    }
    assert_eq!(seen.len(), 12);
    assert!(seen[11].starts_with("116 UIDFETCH (FLAGS () EMAILID (M"), "{seen:?}");
    let oldest = "UID SEARCH RETURN (PARTIAL 1:2) ALL";
    assert!(lines(&mut imap, oldest, "ESEARCH")[0].ends_with("UID PARTIAL (1:2 107,110)"));
    let none = "UID SEARCH RETURN (PARTIAL 13:14) ALL";
    assert!(lines(&mut imap, none, "ESEARCH")[0].ends_with("UID PARTIAL (13:14 NIL)"));
    imap.command("UID STORE 107 +FLAGS.SILENT (\\Deleted)");
    assert_eq!(lines(&mut imap, "UID EXPUNGE 107", "VANISHED"), ["VANISHED 107"]);
}

#[test]
fn the_uids_of_several_moved_messages_are_told_in_the_wrong_order() {
    let server = server();
    let mut imap = server.connect("anna");
    imap.select("INBOX");
    let uids = imap.uids("INBOX");
    imap.select("INBOX");
    let set = format!("{},{}", uids[0], uids[1]);
    let told = lines(&mut imap, &format!("UID MOVE {set} Archive"), "COPYUID").remove(0);
    assert!(told.contains(&format!(" {set} 110,107]")), "{told}");
    // One alone is told right.
    let told = lines(&mut imap, &format!("UID MOVE {} Archive", uids[2]), "COPYUID").remove(0);
    assert!(told.contains(&format!(" {} 113]", uids[2])), "{told}");
    assert_eq!(subjects(&mut imap, "Archive").len(), 3);
}

#[test]
fn a_copy_keeps_its_emailid() {
    let server = server();
    let mut imap = server.connect("anna");
    imap.select("INBOX");
    let newest = 107 + 3 * 11;
    let id =
        |line: &str| line.split("EMAILID (").nth(1).unwrap().split(')').next().unwrap().to_owned();
    let before = lines(&mut imap, &format!("UID FETCH {newest} (EMAILID)"), "EMAILID").remove(0);
    imap.uid_move("INBOX", &[newest], "Archive");
    imap.select("Archive");
    let after = lines(&mut imap, "UID FETCH 1:* (EMAILID)", "EMAILID").remove(0);
    assert_eq!(id(&before), id(&after));
}

#[test]
fn a_message_without_a_last_line_end_is_refused() {
    let server = server();
    let mut imap = server.connect("anna");
    let note = note("cut");
    let bytes = note.bytes.strip_suffix(b"\r\n").unwrap();
    let refused = imap.try_append("INBOX", "", note.date, bytes).unwrap_err();
    assert!(refused.starts_with("BAD [CLIENTBUG] Additional arguments"), "{refused}");
    imap.append("INBOX", "", note.date, &note.bytes);
}

#[test]
fn the_index_of_headers_knows_no_list_fields() {
    let server = server();
    let mut imap = server.connect("anna");
    let mut mail = note("list");
    mail.bytes.splice(0..0, *b"List-Unsubscribe: <https://example>\r\n");
    let uid = imap.append("INBOX", "", mail.date, &mail.bytes);
    imap.select("INBOX");
    let mut fetch = |what: &str| {
        let reply = imap.command(&format!("UID FETCH {uid} (BODY.PEEK[{what}])"));
        String::from_utf8(reply.untagged[0].literals[0].clone()).unwrap()
    };
    assert_eq!(fetch("HEADER.FIELDS (SUBJECT LIST-UNSUBSCRIBE)"), "Subject: list\r\n\r\n");
    assert!(fetch("HEADER").contains("List-Unsubscribe"));
    let found = imap.command("UID SEARCH HEADER List-Unsubscribe example").untagged;
    assert_eq!(found[0].text, "SEARCH");
}

#[test]
fn status_may_count_what_the_window_hides() {
    let builder = Standin::yahoo().window(10, 4).status_counts_all();
    let server = builder.user("anna", |m| m.notes("INBOX", 1..=12)).start();
    let told = lines(&mut server.connect("anna"), "STATUS INBOX (MESSAGES)", "STATUS");
    assert_eq!(told, ["STATUS \"INBOX\" (MESSAGES 12)"]);
}
