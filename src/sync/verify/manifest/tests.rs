use std::io::BufReader;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::model::{ItemId, Normalisation};
use crate::sync::verify::entry::{Entry, FlagText};

fn entry(n: u8) -> Entry {
    Entry {
        digest: [n; 32],
        flags: FlagText("\\Seen".into()),
        date: Some(i64::from(n) * 1000),
        folder: 0,
        id: ItemId(n.into()),
        size: 100,
        message_id: (n != 2).then(|| format!("\"{n}\u{e9}\"@x").into()),
        accepted: (n == 3).then(|| "spam".into()),
    }
}

/// A section about the account `to`: two messages in INBOX, one in Sent, none in Empty.
fn section(to: &str) -> String {
    let text = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&text);
    let mut writer = Writer::new(Box::new(move |piece| {
        sink.lock().unwrap().push_str(piece);
        Ok(())
    }));
    let written = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    writer
        .begin(
            "imap://a@old:993".into(),
            format!("imap://{to}@new:993"),
            Normalisation::Content,
            written,
        )
        .unwrap();
    writer.total("Empty").unwrap();
    for n in [1, 2] {
        writer.message("INBOX", &entry(n)).unwrap();
    }
    writer.total("INBOX").unwrap();
    writer.message("Sent", &entry(3)).unwrap();
    writer.total("Sent").unwrap();
    writer.end().unwrap();
    text.lock().unwrap().clone()
}

fn refused(text: &str) -> Wrong {
    check(text.as_bytes()).expect_err("this is no manifest")
}

/// A manifest with some lines changed, whose digest says that nothing was.
fn forged(change: impl FnOnce(&mut Vec<String>)) -> String {
    let mut lines: Vec<String> = section("a").lines().map(|line| format!("{line}\n")).collect();
    lines.pop();
    change(&mut lines);
    let text = lines.concat();
    let sha256 = hex(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref());
    let end = End { sha256, folders: 3, messages: 3 };
    format!("{text}{}\n", serde_json::to_string(&end).unwrap())
}

#[test]
fn what_was_written_is_read_again() {
    let text = section("a");
    let sections = check(text.as_bytes()).unwrap();
    assert_eq!(sections.len(), 1);
    assert_eq!(sections[0].header.destination, "imap://a@new:993");
    let folders: Vec<_> =
        sections[0].folders.iter().map(|folder| (&*folder.path, folder.messages)).collect();
    assert_eq!(folders, [("Empty", 0), ("INBOX", 2), ("Sent", 1)]);
    let mut read = Vec::new();
    for folder in &sections[0].folders {
        let rest = &text.as_bytes()[folder.at as usize..];
        read.extend(Messages::new(BufReader::new(rest), folder).map(Result::unwrap));
    }
    // A message's id is its line here.
    let lines = [3, 4, 6].map(ItemId);
    let expected: Vec<Entry> =
        [1, 2, 3].into_iter().zip(lines).map(|(n, id)| Entry { id, ..entry(n) }).collect();
    assert_eq!(read, expected);
}

#[test]
fn files_may_be_joined() {
    let both = section("a") + &section("b");
    let sections = check(both.as_bytes()).unwrap();
    assert_eq!(sections.iter().map(|section| section.line).collect::<Vec<_>>(), [1, 9]);
    let inbox = &sections[1].folders[1];
    let rest = &both.as_bytes()[inbox.at as usize..];
    assert_eq!(Messages::new(BufReader::new(rest), inbox).count(), 2);
}

#[test]
fn a_manifest_that_was_cut_anywhere_is_refused() {
    let text = section("a");
    for at in 0..text.len() {
        let Some(cut) = text.get(..at) else { continue };
        assert!(check(cut.as_bytes()).is_err(), "cut at byte {at}");
    }
    let without_end = &text[..text.trim_end().rfind('\n').unwrap() + 1];
    assert_eq!(
        refused(without_end).to_string(),
        "line 8: the manifest ends before its last line: it was cut"
    );
    assert_eq!(refused("").to_string(), "line 1: the file is empty");
}

#[test]
fn a_line_that_was_altered_removed_or_added_is_found() {
    let text = section("a");
    let lines: Vec<&str> = text.lines().collect();
    for at in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(at);
        assert!(check((fewer.join("\n") + "\n").as_bytes()).is_err(), "without line {}", at + 1);
        let mut more = lines.clone();
        more.insert(at, lines[at]);
        assert!(check((more.join("\n") + "\n").as_bytes()).is_err(), "line {} twice", at + 1);
    }
    let altered = refused(&text.replacen("\\\\Seen", "\\\\Flagged", 1));
    assert_eq!(
        altered.to_string(),
        "line 8: the digest is not that of the lines above: they were altered"
    );
}

#[test]
fn what_no_drover_writes_is_named_with_its_line_though_its_digest_be_right() {
    assert!(check(forged(|_| ()).as_bytes()).is_ok());
    let wrong = |text: String, line: u64, what: &str| {
        let wrong = refused(&text);
        assert!(wrong.line == line && wrong.what.contains(what), "{wrong}");
    };
    wrong(forged(|lines| drop(lines.remove(2))), 4, "INBOX had 2 messages of 200 bytes, 1 of 100");
    wrong(forged(|lines| drop(lines.remove(4))), 5, "INBOX has no total");
    wrong(forged(|lines| drop(lines.remove(1))), 7, "3 messages in 3 folders were written");
    wrong(forged(|lines| lines.insert(2, lines[1].clone())), 3, "the folder Empty stands twice");
    wrong(
        forged(|lines| lines[2] = lines[2].replace("\"size\":100,", "")),
        3,
        "missing field `size`",
    );
    wrong(forged(|lines| lines[2] = lines[2].replace("size", "sise")), 3, "unknown field `sise`");
    wrong(forged(|lines| lines[2] = lines[2].replace("0101", "01")), 3, "64 hexadecimal digits");
    wrong(forged(|lines| lines[2] = "{}\n".into()), 3, "this line is none of a manifest");
    wrong(forged(|lines| lines[0] = lines[0].replace(":1,", ":2,")), 1, "format is 2");
    wrong(forged(|lines| lines[0] = lines[0].replace("content-", "x-")), 1, "under `x-1`");
    wrong("From a@b Thu Jan  1\n".into(), 1, "this is no manifest of drover");
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let endless = BufReader::new(std::io::repeat(b'a'));
    assert_eq!(check(endless).unwrap_err().to_string(), "line 1: no line is as long as this");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_answered_without_a_panic(
        at in 0..2000usize,
        noise in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = section("a").into_bytes();
        let at = at.min(bytes.len());
        let end = (at + noise.len()).min(bytes.len());
        let before = bytes.clone();
        bytes.splice(at..end, noise);
        prop_assert!(check(&bytes[..]).is_err() || bytes == before);
    }
}
