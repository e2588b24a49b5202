use proptest::prelude::*;

use super::*;
use crate::model::SystemFlag;
use crate::platform::imap::frame::framed;
use crate::platform::imap::wire::Part;

/// Frames as the connection does, from bytes that hold one whole response.
fn response(bytes: &[u8]) -> Option<Response> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut parts = Vec::new();
    loop {
        let end = rest.iter().position(|&b| b == b'\n')? + 1;
        let Some((text, announced)) = framed(rest.split_to(end), parts.is_empty()) else {
            continue;
        };
        let body = text.to_ascii_uppercase().ends_with(b"BODY[] ");
        parts.push(Part::Text(text));
        let Some(size) = announced else { return Some(parts) };
        if size > rest.len() as u64 {
            return None;
        }
        let bytes = rest.split_to(size as usize);
        let literal =
            if body { Literal::Body(bytes, Room::default()) } else { Literal::Plain(bytes) };
        parts.push(Part::Literal(literal));
    }
}

fn one(line: &str) -> Reply {
    read(response(format!("{line}\r\n").as_bytes()).expect(line))
}

fn fetch(line: &str) -> Fetched {
    match one(line) {
        Reply::Fetch(fetched) => fetched,
        other => panic!("{line}: {other:?}"),
    }
}

fn list(line: &str) -> Listed {
    match one(line) {
        Reply::List(listed) => listed,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn tagged_lines_are_read_with_and_without_code_and_text() {
    for (line, status, code, text) in [
        ("A1 OK", Status::Ok, None, ""),
        ("a1 ok done", Status::Ok, None, "done"),
        ("A1 NO [OVERQUOTA] Full", Status::No, Some(("OVERQUOTA", "")), "Full"),
        ("A1 OK [appenduid 7 2:3]", Status::Ok, Some(("APPENDUID", "7 2:3")), ""),
        ("A1 NO [ALERT]\u{fc}ber", Status::No, Some(("ALERT", "")), "\u{fc}ber"),
        ("A1 BAD [unclosed text", Status::Bad, None, "[unclosed text"),
        ("A1 OK [X \"a]b\"] t {3}", Status::Ok, Some(("X", "\"a]b\"")), "t {3}"),
        (
            "A1 OK [PERMANENTFLAGS (a] \\*)] t",
            Status::Ok,
            Some(("PERMANENTFLAGS", "(a] \\*)")),
            "t",
        ),
    ] {
        let Reply::Tagged(_, saying) = one(line) else { panic!("{line}") };
        assert_eq!(saying.status, status, "{line}");
        let seen = saying.code.as_ref().map(|(name, rest)| (name.as_str(), rest.as_str()));
        assert_eq!(seen, code, "{line}");
        assert_eq!(saying.text, text, "{line}");
    }
}

#[test]
fn untagged_statuses_need_no_text() {
    for line in ["* OK", "* BYE", "* PREAUTH", "* OK [UIDVALIDITY 3]"] {
        assert!(matches!(one(line), Reply::Status(_)), "{line}");
    }
    let Reply::Status(saying) = one("* OK [UIDVALIDITY 3]") else { panic!() };
    assert_eq!(saying.code_number("UIDVALIDITY"), Some(3));
}

#[test]
fn stray_and_unknown_lines_are_survived() {
    assert!(
        matches!(one("Server Unavailable. 15"), Reply::Stray(s) if s == "Server Unavailable. 15")
    );
    assert!(matches!(one("NO Server Unavailable. 15"), Reply::Stray(_)));
    for line in [
        "* XYZZY (a \"b",
        "* 12 BLURDY",
        "*",
        "* ",
        "* 99999999999999999999999 EXISTS",
        "* LIST",
        "* STATUS",
        "* FLAGS (\\Seen \\*)",
        "* VANISHED",
        "* LIST () NIL",
    ] {
        assert!(matches!(one(line), Reply::Other), "{line}");
    }
}

#[test]
fn list_is_read_as_servers_write_it() {
    let glued = list("* LIST (\\Sent\\HasNoChildren) \"/\" Sent");
    assert_eq!(glued.attributes, ["\\Sent", "\\HasNoChildren"]);
    assert_eq!(glued.name, b"Sent");
    for (line, separator, name) in [
        ("* LIST () \"/\" \"a\\\"b\\\\c\"", Some('/'), "a\"b\\c"),
        ("* LIST () NIL INBOX", None, "INBOX"),
        ("* LIST () \"\\\\\" \"x\\\\y\"", Some('\\'), "x\\y"),
        ("* LIST () \".\" {3}\r\nA B", Some('.'), "A B"),
        ("* LIST () \"/\" 2024:Q1", Some('/'), "2024:Q1"),
        ("* LIST () \"/\" NIL", Some('/'), "NIL"),
        ("* LIST () \"/\" /lead", Some('/'), "/lead"),
        ("* LIST () \"/\" Sent Items", Some('/'), "Sent Items"),
        ("* LIST () \"/\" [Gmail]/x", Some('/'), "[Gmail]/x"),
        ("* LIST () \"/\" a[b", Some('/'), "a[b"),
        ("* LIST () \"/\" foo (\"CHILDINFO\" (\"SUBSCRIBED\"))", Some('/'), "foo"),
        ("* list (\\Marked) \"/\" \"\"", Some('/'), ""),
    ] {
        let listed = list(line);
        assert_eq!(listed.separator, separator, "{line}");
        assert_eq!(String::from_utf8_lossy(&listed.name), name, "{line}");
    }
}

#[test]
fn status_keeps_what_it_knows_and_skips_the_rest() {
    let Reply::FolderStatus(counted) = one(
        "* STATUS \"a b\" (MESSAGES 3 MAILBOXID (F2) UIDNEXT 9 APPENDLIMIT NIL UIDVALIDITY 7 SIZE 99 HIGHESTMODSEQ 12)",
    ) else {
        panic!()
    };
    let expected = Counted {
        name: b"a b".to_vec(),
        messages: Some(3),
        uid_next: Some(9),
        uid_validity: Some(7),
        highest_modseq: Some(12),
        size: Some(99),
    };
    assert_eq!(counted, expected);
}

#[test]
fn searches_give_sets() {
    for (line, set) in [
        ("* SEARCH", "(none)"),
        ("* SEARCH 2 3 9 (MODSEQ 12)", "2:3,9"),
        ("* ESEARCH (TAG \"D1\") UID", "(none)"),
        ("* ESEARCH (TAG \"D1\") UID MIN 1 COUNT 3 ALL 1:2,8", "1:2,8"),
        ("* ESEARCH UID ALL 5", "5"),
    ] {
        let Reply::Found(found) = one(line) else { panic!("{line}") };
        assert_eq!(found.to_string(), set, "{line}");
    }
    let Reply::Vanished(true, set) = one("* VANISHED (EARLIER) 300:310,405") else { panic!() };
    assert_eq!(set.to_string(), "300:310,405");
    assert!(matches!(one("* VANISHED 4"), Reply::Vanished(false, _)));
}

#[test]
fn namespaces_are_read() {
    let Reply::Namespace(spaces) = one(
        "* NAMESPACE ((\"INBOX.\" \".\" \"X-P\" (\"a\" \"b\"))) NIL ((\"Shared/\" \"/\")(\"\" NIL))",
    ) else {
        panic!()
    };
    assert_eq!(spaces.personal, [(b"INBOX.".to_vec(), Some('.'))]);
    assert_eq!(spaces.foreign, [(b"Shared/".to_vec(), Some('/')), (Vec::new(), None)]);
}

#[test]
fn labels_come_as_words_in_quotes_or_as_literals() {
    let labels = |line: &str| fetch(line).labels.expect(line);
    let line = r#"* 1 FETCH (X-GM-LABELS (\Inbox "\\Sent" Important "Muy Importante" NIL {6}
a"b\c)) UID 9)"#;
    let told = labels(&line.replace('\n', "\r\n"));
    let wanted: [&[u8]; 6] =
        [br"\Inbox", br"\Sent", b"Important", b"Muy Importante", b"NIL", br#"a"b\c)"#];
    assert_eq!(told, wanted);
    assert!(labels("* 1 FETCH (X-GM-LABELS ())").is_empty());
    assert_eq!(fetch("* 1 FETCH (UID 9)").labels, None);
}

#[test]
fn fetch_items_come_in_any_order_and_form() {
    let full = fetch(
        "* 3 FETCH (X-NEW (a (b)) BODY[] {5}\r\nab\r\nc FLAGS (\\Seen $Fwd \\Recent) INTERNALDATE \" 1-Jul-2003 10:52:37 +0200\" RFC822.SIZE 5 MODSEQ (9) UID 44)",
    );
    assert_eq!(full.uid, Some(44));
    assert_eq!(full.size, Some(5));
    assert!(full.flags.as_ref().is_some_and(|f| f.contains(SystemFlag::Seen)));
    assert_eq!(full.date.unwrap().to_rfc3339(), "2003-07-01T10:52:37+02:00");
    assert_eq!(full.body.unwrap().0.as_ref(), b"ab\r\nc");

    let quoted = fetch("* 3 FETCH (UID 4 BODY[] \"tiny \\\"x\\\"\")");
    assert_eq!(quoted.body.unwrap().0.as_ref(), b"tiny \"x\"");
    let nil = fetch("* 3 FETCH (INTERNALDATE NIL  BODY[] NIL UID 4 )");
    assert!(nil.date.is_none() && nil.body.is_none() && nil.uid == Some(4));
    let header = fetch("* 3 FETCH (BODY[HEADER.FIELDS (\"DATE\" FROM)] {4}\r\na:b\n UID 7)");
    assert_eq!((header.header.unwrap().as_ref(), header.uid), (&b"a:b\n"[..], Some(7)));
    assert_eq!(fetch("* 9 UIDFETCH (FLAGS ())").uid, Some(9));
    assert_eq!(fetch("* 9 UIDFETCH (UID 9 FLAGS ())").uid, Some(9));
    assert_eq!(fetch("* 9 FETCH (FLAGS (\\Seen) UID 2").uid, Some(2));
    assert_eq!(fetch("* 9 FETCH (RFC822.SIZE 5000000000 UID 1)").size, Some(5_000_000_000));
    assert_eq!(fetch("* 9 FETCH NIL").uid, None);
}

#[test]
fn deep_nesting_is_survived() {
    one(&format!("* 1 FETCH {}", "(".repeat(100_000)));
}

const SEEDS: [&str; 8] = [
    "* 3 FETCH (UID 4 FLAGS (\\Seen) BODY[] {5}\r\nabcde INTERNALDATE \" 1-Jul-2003 10:52:37 +0200\")\r\n",
    "* LIST (\\Sent\\HasNoChildren) \"/\" \"a\\\"b\"\r\n",
    "* STATUS {3}\r\nabc (MESSAGES 1 UIDNEXT 2)\r\n",
    "* ESEARCH (TAG \"a\") UID ALL 4:18,21\r\n",
    "* VANISHED (EARLIER) 1:9\r\n",
    "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\n",
    "A1 OK [COPYUID 1 2:3 4:5] done\r\n",
    "* OK [PERMANENTFLAGS (\\Seen \\*)] x\r\n",
];

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(response) = response(&[&bytes[..], b"\r\n"].concat()) {
            read(response);
        }
    }

    #[test]
    fn no_mutation_of_a_real_line_makes_it_panic(
        seed in 0..SEEDS.len(),
        edits in proptest::collection::vec((any::<usize>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at % bytes.len();
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        bytes.extend_from_slice(b"\r\n");
        if let Some(response) = response(&bytes) {
            read(response);
        }
    }
}
