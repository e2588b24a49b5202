//! The test harness itself: a harness that cannot fail proves nothing.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use support::compare::{Snapshot, differences};
use support::dovecot::Format;
use support::mail::{self, FOLDERS};
use support::tls::Certificate;
use support::{Dovecot, Imap, Options, assert_same, snapshot};

#[test]
fn a_filled_mailbox_equals_its_copy_on_a_server_with_another_layout() {
    let old = Dovecot::start();
    let new = Dovecot::builder().separator('.').prefix("INBOX.").start();
    let (mut anna, mut copy) = (old.connect("anna@old.example"), new.connect("anna@new.example"));
    mail::fill(&mut anna, 600, &FOLDERS, 1);
    mail::fill(&mut copy, 600, &FOLDERS, 1);
    let source = snapshot(&mut anna);
    assert_eq!(source.len(), FOLDERS.len());
    assert_eq!(source.values().map(Vec::len).sum::<usize>(), 600);
    assert_same(&source, &snapshot(&mut copy), &Options::default());
}

#[test]
fn filling_is_varied() {
    let all: Vec<_> = (0..600).map(|n| mail::message(n, 1)).collect();
    let some = |is: &dyn Fn(&mail::Mail) -> bool| all.iter().any(is);
    let has = |m: &mail::Mail, bytes: &[u8]| m.bytes.windows(bytes.len()).any(|w| w == bytes);
    assert!(some(&|m| !has(m, b"Message-ID")));
    assert!(all.iter().filter(|m| has(m, b"<same@repeated.example>")).count() > 1);
    assert!(some(&|m| std::str::from_utf8(&m.bytes).is_err()));
    assert!(some(&|m| has(m, b"multipart/mixed")));
    assert!(some(&|m| m.bytes.ends_with(b"\r\n\r\n")));
    assert!(some(&|m| !m.bytes.ends_with(b"\r\n")));
    assert!(some(&|m| m.bytes.len() > 50_000) && some(&|m| m.bytes.len() < 1_000));
    assert!(some(&|m| m.flags.contains("$Forwarded")) && some(&|m| m.flags.is_empty()));
    assert!(!some(&|m| m.bytes.contains(&0)));
    assert_ne!(all, (0..600).map(|n| mail::message(n, 2)).collect::<Vec<_>>());
}

#[test]
fn five_thousand_messages_take_seconds_not_minutes() {
    let server = Dovecot::start();
    let started = std::time::Instant::now();
    let mut imap = server.connect("bulk");
    mail::fill(&mut imap, 5000, &FOLDERS, 2);
    let filled = started.elapsed();
    assert_eq!(snapshot(&mut imap).values().map(Vec::len).sum::<usize>(), 5000);
    println!("5000 messages: filled in {filled:?}, read back by {:?}", started.elapsed());
    assert!(filled < Duration::from_secs(30));
}

/// A small mailbox, changed by `change` after a first look: what the comparison says about it.
fn differences_after(change: impl FnOnce(&mut Imap)) -> Vec<String> {
    differences_after_with(&Options::default(), change)
}

fn differences_after_with(options: &Options, change: impl FnOnce(&mut Imap)) -> Vec<String> {
    let server = Dovecot::start();
    let mut imap = server.connect("user");
    mail::fill(&mut imap, 40, &["INBOX", "Work"], 3);
    let before = snapshot(&mut imap);
    change(&mut imap);
    differences(&before, &snapshot(&mut imap), options)
}

#[test]
fn a_missing_and_an_extra_message_are_seen() {
    let found = differences_after(|imap| imap.uid_move("INBOX", &[1], "Work"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("INBOX: missing uid 1 "), "{found:?}");
    assert!(found[1].starts_with("Work: extra uid "), "{found:?}");
}

#[test]
fn a_second_copy_is_seen() {
    let found = differences_after(|imap| imap.uid_copy("INBOX", &[2], "INBOX"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("INBOX: extra "), "{found:?}");
}

#[test]
fn a_changed_keyword_is_seen() {
    let change = |imap: &mut Imap| imap.store("Work", &[1], "+FLAGS (Urgent)");
    let found = differences_after(change);
    assert!(found.len() == 1 && found[0].contains("urgent"), "{found:?}");
    let options = Options { ignore_keywords: true, ..Options::default() };
    assert!(differences_after_with(&options, change).is_empty());
}

#[test]
fn another_order_is_seen() {
    let change = |imap: &mut Imap| {
        let first = imap.messages("Work").remove(0);
        let flags: Vec<_> = first.flags.into_iter().collect();
        imap.expunge_uids("Work", &[first.uid]);
        imap.append("Work", &flags.join(" "), first.date.into(), &first.body);
    };
    assert_eq!(differences_after(change), ["Work: messages are in another order"]);
    let options = Options::any_order();
    assert!(differences_after_with(&options, change).is_empty());
}

#[test]
fn another_date_and_a_changed_byte_are_seen() {
    let later = |imap: &mut Imap| {
        let last = imap.messages("Work").pop().expect("a message");
        let flags: Vec<_> = last.flags.into_iter().collect();
        imap.expunge_uids("Work", &[last.uid]);
        let date = last.date + chrono::TimeDelta::seconds(1);
        imap.append("Work", &flags.join(" "), date.into(), &last.body);
    };
    let found = differences_after(later);
    assert!(found.len() == 1 && found[0].contains("date "), "{found:?}");
    let changed = |imap: &mut Imap| {
        let last = imap.messages("Work").pop().expect("a message");
        imap.expunge_uids("Work", &[last.uid]);
        let body = [last.body.as_slice(), b"x"].concat();
        imap.append("Work", "", last.date.into(), &body);
    };
    assert_eq!(differences_after(changed).len(), 2);
}

#[test]
fn missing_empty_and_mapped_folders_are_told_apart() {
    let found = differences_after(|imap| imap.create("Empty"));
    assert_eq!(found, ["Empty: extra folder, with 0 messages"]);
    let found = differences_after_with(&Options::ignoring_empty(), |imap| imap.create("Empty"));
    assert!(found.is_empty(), "{found:?}");
    let found = differences_after(|imap| imap.rename_folder("Work", "Arbeit"));
    assert_eq!(found.len(), 2, "{found:?}");
    let mapped = Options::default().map("Work", "Arbeit");
    let found = differences_after_with(&mapped, |imap| imap.rename_folder("Work", "Arbeit"));
    assert!(found.is_empty(), "{found:?}");
    let found = differences_after(|imap| imap.delete_folder("Work"));
    assert!(found.len() == 1 && found[0].starts_with("Work: folder missing"), "{found:?}");
}

#[test]
fn assert_same_panics_with_the_difference() {
    let message = |body: &str| support::imap::Msg {
        uid: 7,
        flags: Default::default(),
        date: chrono::DateTime::UNIX_EPOCH,
        body: body.into(),
    };
    let source =
        Snapshot::from([("INBOX".to_owned(), vec![message("Message-ID: <a@b>\r\n\r\nx")])]);
    let destination = Snapshot::from([("INBOX".to_owned(), Vec::new())]);
    let panic = std::panic::catch_unwind(|| {
        assert_same(&source, &destination, &Options::default());
    });
    let text = *panic.expect_err("they differ").downcast::<String>().expect("a formatted panic");
    assert!(text.contains("INBOX: missing uid 7 (22 bytes, <a@b>"), "{text}");
}

#[test]
fn hidden_capabilities_are_not_said() {
    let server = Dovecot::builder().hide(&["CONDSTORE", "QRESYNC"]).no_multiappend().start();
    let imap = server.connect("user");
    assert!(!imap.has("CONDSTORE") && !imap.has("QRESYNC") && !imap.has("MULTIAPPEND"));
    assert!(imap.has("UIDPLUS") && imap.has("LITERAL+"));
    let imap = Dovecot::start().connect("user");
    assert!(imap.has("CONDSTORE") && imap.has("QRESYNC") && imap.has("MULTIAPPEND"));
}

#[test]
fn literal_minus_refuses_large_non_synchronising_literals() {
    let server = Dovecot::builder().literal_minus().start();
    let mut imap = server.connect("user");
    assert!(imap.has("LITERAL-") && !imap.has("LITERAL+"));
    mail::fill(&mut imap, 60, &["INBOX"], 4);
    assert_eq!(imap.messages("INBOX").len(), 60);
    let refusal = imap.try_command("APPEND INBOX {5000+}").expect_err("too big for LITERAL-");
    assert!(refusal.contains("BYE") && refusal.contains("too large"), "{refusal}");
}

#[test]
fn a_quota_and_a_size_limit_refuse_messages() {
    let mut server = Dovecot::builder().quota("1M").max_size("500k").start();
    let mut imap = server.connect("user");
    let date = mail::message(0, 1).date;
    let large = vec![b'x'; 600_000];
    let refusal = imap.try_append("INBOX", "", date, &large).expect_err("larger than 500k");
    assert!(refusal.contains("[LIMIT]"), "{refusal}");
    let medium = vec![b'x'; 400_000];
    imap.append("INBOX", "", date, &medium);
    imap.append("INBOX", "", date, &medium);
    let refusal = imap.try_append("INBOX", "", date, &medium).expect_err("over 1M");
    assert!(refusal.contains("[OVERQUOTA]"), "{refusal}");
    server.reconfigure(|b| b.quota("10M"));
    server.connect("user").append("INBOX", "", date, &medium);
}

#[test]
fn too_many_connections_are_refused() {
    let server = Dovecot::builder().max_connections(2).start();
    let _held = (server.connect("user"), server.connect("user"));
    let refusal = Imap::try_login(server.host(), server.port(), "user", "pw");
    assert!(refusal.err().is_some_and(|e| e.contains("[LIMIT]")));
}

#[test]
fn a_wrong_password_is_refused_at_once_and_a_master_user_enters() {
    let server = Dovecot::builder().password("right").master_user("admin", "secret").start();
    let started = std::time::Instant::now();
    for _ in 0..5 {
        let refusal = Imap::try_login(server.host(), server.port(), "user", "wrong");
        assert!(refusal.err().is_some_and(|e| e.contains("[AUTHENTICATIONFAILED]")));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    server.connect("user").create("Mine");
    let master = Imap::try_login(server.host(), server.port(), "user*admin", "secret");
    let folders = master.expect("the master may enter").list();
    assert!(folders.iter().any(|f| f.path == "Mine"), "{folders:?}");
}

#[test]
fn awkward_folder_names_and_namespaces_round_trip() {
    for server in [
        Dovecot::start(),
        Dovecot::builder().separator('.').prefix("INBOX.").start(),
        Dovecot::builder().separator('.').format(Format::Maildir).start(),
        Dovecot::builder().format(Format::Mdbox).mail_on_disk().start(),
    ] {
        let mut imap = server.connect("user");
        for folder in FOLDERS {
            imap.create(folder);
        }
        let mut paths: Vec<_> = imap.list().into_iter().map(|f| f.path).collect();
        // Parents that nobody created are listed too, by some layouts.
        paths.retain(|path| path != "Projects" && path != "Lists" && path != "Archive/2022");
        paths.sort();
        let mut expected = FOLDERS.map(str::to_owned).to_vec();
        expected.sort();
        assert_eq!(paths, expected);
    }
}

#[test]
fn a_killed_server_breaks_its_connections_and_comes_back_with_its_mail() {
    let mut server = Dovecot::start();
    let mut imap = server.connect("user");
    mail::fill(&mut imap, 50, &FOLDERS, 5);
    let before = snapshot(&mut imap);
    server.kill();
    assert!(imap.try_command("NOOP").is_err());
    assert!(TcpStream::connect((server.host(), server.port())).is_err());
    server.restart();
    assert_same(&before, &snapshot(&mut server.connect("user")), &Options::default());
    let port = server.port();
    server.restart();
    assert_eq!(port, server.port());
    assert_same(&before, &snapshot(&mut server.connect("user")), &Options::default());
}

#[test]
fn a_dropped_server_is_gone_with_its_directory() {
    let server = Dovecot::start();
    let (port, dir) = (server.port(), server.mail_dir("user"));
    server.connect("user").create("Work");
    assert!(dir.exists());
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!dir.parent().is_some_and(std::path::Path::exists));
}

#[test]
fn raw_configuration_is_used() {
    let server = Dovecot::builder().raw_conf("login_greeting = Moo.").start();
    let stream = TcpStream::connect((server.host(), server.port())).expect("connect");
    assert!(read_line(&mut BufReader::new(stream)).ends_with("Moo."));
}

#[test]
fn implicit_tls_works_with_the_right_authority_and_name_only() {
    let server = Dovecot::builder().tls().start();
    let greeting = tls_greeting(&server, server.tls_port(), false);
    assert!(greeting.is_ok_and(|g| g.starts_with("* OK")));
    let starttls = tls_greeting(&server, server.port(), true);
    assert!(starttls.is_ok_and(|g| g.contains("OK NOOP")));
    for (kind, complaint) in [
        (Certificate::WrongHost, "not valid for name"),
        (Certificate::Expired, "expired"),
        (Certificate::UnknownAuthority, "UnknownIssuer"),
    ] {
        let server = Dovecot::builder().tls().certificate(kind).start();
        let error = tls_greeting(&server, server.tls_port(), false).expect_err("must be refused");
        assert!(error.contains(complaint), "{kind:?}: {error}");
    }
}

#[test]
fn starttls_only_refuses_signing_in_in_the_clear() {
    let server = Dovecot::builder().starttls_only().start();
    let refusal = Imap::try_login(server.host(), server.port(), "user", "pw");
    assert!(refusal.err().is_some_and(|e| e.contains("[PRIVACYREQUIRED]")));
    let answer = tls_greeting(&server, server.port(), true);
    assert!(answer.is_ok_and(|a| a.contains("OK NOOP")));
    // The harness itself still gets in.
    server.connect("user").create("Work");
}

#[test]
fn comparing_nothing_with_something_fails() {
    let something = Snapshot::from([("INBOX".to_owned(), Vec::new())]);
    assert_eq!(differences(&something, &Snapshot::new(), &Options::default()).len(), 1);
}

/// What the server says first over TLS: its greeting, or the answer to a NOOP after STARTTLS.
fn tls_greeting(server: &Dovecot, port: u16, starttls: bool) -> Result<String, String> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(server.ca_file()).expect("the authority");
    roots.add(ca).expect("a usable authority");
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(server.host()).expect("an address");
    let client = rustls::ClientConnection::new(Arc::new(config), name).expect("a TLS client");
    let stream = TcpStream::connect((server.host(), port)).expect("connect");
    if starttls {
        let mut plain = BufReader::new(&stream);
        assert!(read_line(&mut plain).contains("STARTTLS"));
        (&stream).write_all(b"a STARTTLS\r\n").expect("write");
        assert!(read_line(&mut plain).starts_with("a OK"));
    }
    let mut tls = rustls::StreamOwned::new(client, stream);
    if starttls {
        tls.write_all(b"b NOOP\r\n").map_err(|e| e.to_string())?;
    }
    let mut line = String::new();
    BufReader::new(tls).read_line(&mut line).map_err(|e| e.to_string())?;
    Ok(line)
}

fn read_line(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).expect("read a line");
    line.trim_end().to_owned()
}
