//! The IMAP platform against servers that misbehave: scripted, one line at a time.

mod support;

use std::time::Duration;

use drover::definition::{Account, Endpoint, Tls};
use drover::flow::Memory;
use drover::model::{Epoch, Flags, FolderName, IdSet, ItemId};
use drover::platform::{self, Append, Appended, Destination, Error, Gone, Landed, Options, Source};
use support::{endpoint, inbox};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What the client must say next (part of it), and the answer, in which `$` is the client's tag.
type Script<'a> = &'a [(&'static str, &'static str)];

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n";
const SIGN_IN: (&str, &str) = ("AUTHENTICATE PLAIN", "$ OK [CAPABILITY IMAP4rev1 X] in\r\n");
const EXAMINE: (&str, &str) =
    ("EXAMINE", "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 4]\r\n$ OK [READ-ONLY]\r\n");

/// Serves one connection by the script, then closes it. What the client said is in the answer.
async fn serve(greeting: &'static str, script: Vec<(&'static str, &'static str)>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(greeting.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        for (expected, answer) in script {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                break;
            }
            assert!(line.contains(expected), "expected {expected:?}, got {line:?}");
            let tag = line.split(' ').next().unwrap().trim();
            stream.write_all(answer.replace('$', tag).as_bytes()).await.unwrap();
            said.push(line);
        }
        said
    });
    Server { port, task }
}

struct Server {
    port: u16,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Server {
    fn account(&self, tls: Tls) -> Account {
        support::account(Endpoint { tls, ..endpoint(self.port) })
    }

    async fn source(&self) -> platform::Result<Box<dyn Source>> {
        platform::source(&self.account(Tls::None), &options()).await
    }

    async fn destination(&self) -> platform::Result<Box<dyn Destination>> {
        platform::destination(&self.account(Tls::None), &options()).await
    }
}

fn options() -> Options {
    Options { idle: Duration::from_secs(5), ..Options::default() }
}

async fn signed_in(rest: Script<'_>) -> Server {
    serve(GREETING, [&[SIGN_IN], rest].concat()).await
}

/// Fetches messages 1 to 9; how many came, and how it ended.
async fn fetched(rest: Script<'_>) -> (usize, platform::Result<()>) {
    let server = signed_in(rest).await;
    let mut source = server.source().await.unwrap();
    let (out, mut messages) = mpsc::channel(100);
    let memory = Memory::new(1 << 20);
    let ids = IdSet::range(ItemId(1), ItemId(9));
    let outcome = source.fetch(&inbox(), Epoch(7), &ids, &memory, &out).await;
    drop(out);
    let mut n = 0;
    while messages.recv().await.is_some() {
        n += 1;
    }
    (n, outcome)
}

/// Three messages in three forms, and what comes after them.
macro_rules! three {
    ($end:literal) => {
        concat!(
            "* 1 FETCH (UID 1 FLAGS () BODY[] {3}\r\nabc)\r\n",
            "* 2 FETCH (BODY[] \"d\" UID 2)\r\n",
            "* 3 FETCH (BODY[] {0}\r\n UID 3 FLAGS (\\Seen))\r\n",
            $end
        )
    };
}

#[tokio::test]
async fn an_end_between_messages_is_no_success() {
    let (n, outcome) = fetched(&[EXAMINE, ("UID FETCH 1:9", three!(""))]).await;
    assert!(n == 3 && matches!(outcome, Err(Error::Broken { .. })), "{outcome:?}");
}

#[tokio::test]
async fn no_cut_anywhere_looks_like_success() {
    let fetch = three!("$ OK done\r\n");
    for cut in 0..fetch.len() {
        let (_, outcome) = fetched(&[EXAMINE, ("UID FETCH", &fetch[..cut])]).await;
        assert!(matches!(outcome, Err(Error::Broken { .. })), "cut at {cut}: {outcome:?}");
    }
    for cut in 0..EXAMINE.1.len() {
        let server = signed_in(&[("EXAMINE", &EXAMINE.1[..cut])]).await;
        let outcome = server.source().await.unwrap().changes(&inbox(), None).await;
        assert!(matches!(outcome, Err(Error::Broken { .. })), "cut at {cut}: {outcome:?}");
    }
    let list = "* LIST () \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 1)\r\n$ OK\r\n";
    for cut in 0..list.len() {
        let server = signed_in(&[("LIST", &list[..cut])]).await;
        let outcome = server.source().await.unwrap().folders().await;
        assert!(matches!(outcome, Err(Error::Broken { .. })), "cut at {cut}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_refusal_after_some_messages_is_no_success() {
    let (n, outcome) =
        fetched(&[EXAMINE, ("UID FETCH", three!("$ NO [UNAVAILABLE] failed\r\n"))]).await;
    assert_eq!(n, 3);
    let Err(Error::Refused { refusal, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((refusal.code.as_deref(), refusal.transient), (Some("UNAVAILABLE"), true));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_found_by_halves_and_costs_no_other() {
    let no = "$ NO [SERVERBUG] cannot read\r\n";
    let server = signed_in(&[
        EXAMINE,
        (
            "UID FETCH 1:3 ",
            concat!("* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n", "$ NO [SERVERBUG] x\r\n"),
        ),
        ("UID FETCH 2 ", no),
        ("UID FETCH 3 ", "* 3 FETCH (UID 3 BODY[] \"d\")\r\n$ OK\r\n"),
    ])
    .await;
    let mut source = server.source().await.unwrap();
    let (out, mut messages) = mpsc::channel(100);
    let (memory, ids) = (Memory::new(1 << 20), IdSet::range(ItemId(1), ItemId(3)));
    source.fetch(&inbox(), Epoch(7), &ids, &memory, &out).await.unwrap();
    drop(out);
    let mut came = Vec::new();
    while let Some(message) = messages.recv().await {
        came.push(message.id.0);
    }
    assert_eq!(came, [1, 3]);
    let refused = source.refused();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[&ItemId(2)].text, "cannot read");
}

#[tokio::test]
async fn an_answer_that_says_it_is_partial_is_no_success() {
    let end = three!("$ OK [MESSAGELIMIT 3 3] there is more\r\n");
    let (_, outcome) = fetched(&[EXAMINE, ("UID FETCH", end)]).await;
    assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
}

#[tokio::test]
async fn the_words_of_a_bye_and_of_stray_lines_are_kept() {
    let (_, outcome) = fetched(&[EXAMINE, ("UID FETCH", three!("* BYE shutting down\r\n"))]).await;
    assert!(outcome.unwrap_err().to_string().contains("shutting down"));
    let (_, outcome) = fetched(&[EXAMINE, ("UID FETCH", "Server Unavailable. 15\r\n")]).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }));
    assert!(error.to_string().contains("Server Unavailable. 15"), "{error}");
    let bye = "* BYE [OVERQUOTA] Account exceeded command or bandwidth limits\r\n";
    let (_, outcome) = fetched(&[EXAMINE, ("UID FETCH", bye)]).await;
    assert!(matches!(outcome, Err(Error::Throttled { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_throttle_is_obeyed_to_the_millisecond() {
    let bad = "$ BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds\r\n";
    let (_, outcome) = fetched(&[EXAMINE, ("UID FETCH", bad)]).await;
    let Err(Error::Throttled { delay, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(delay, Duration::from_millis(92415));
}

#[tokio::test]
async fn noise_between_messages_disturbs_nothing() {
    let noise = three!(
        "* XYZZY \"unbalanced (\r\n\r\n\0\0* 9 EXISTS\r\n* 1 FETCH (FLAGS (\\Seen))\r\n* 1 EXPUNGE\r\n* OK [INPROGRESS] still here {3}\r\n* 9 FETCH (UID 9 FLAGS (\\Seen))\r\n$ OK\r\n"
    );
    let (n, outcome) = fetched(&[EXAMINE, ("UID FETCH", noise)]).await;
    assert!(n == 3 && outcome.is_ok(), "{n} {outcome:?}");
}

#[tokio::test]
async fn signing_in_survives_what_servers_say() {
    let server = serve(
        "* OK\r\n",
        vec![
            (
                "CAPABILITY",
                "* CAPABILITY IMAP4rev1 AUTH=PLAIN LITERAL+ X-\u{fc}(\r\n* NONSENSE \"\r\n$ OK\r\n",
            ),
            ("AUTHENTICATE PLAIN", "* 9 ODD (\r\n* OK wait\r\n+ go ahead, please\r\n"),
            ("", "* 3 BLURDY (\r\nA0001 OK\r\n"),
            ("CAPABILITY", "* CAPABILITY IMAP4rev1 ID NAMESPACE\r\n$ OK [ALERT]\u{fc}\r\n"),
            ("ID (", "* ID {3}\r\nabc\r\n$ NO not now\r\n"),
            ("NAMESPACE", "* NAMESPACE ((\"INBOX.\" \".\" \"X\" (\"a\"))) NIL NIL\r\n$ OK\r\n"),
            ("NOOP", "$ OK\r\n"),
        ],
    )
    .await;
    let mut destination = server.destination().await.unwrap();
    assert_eq!(destination.naming().await.unwrap().prefix, "INBOX.");
    assert_eq!(destination.naming().await.unwrap().separator, Some('.'));
    destination.ping().await.unwrap();
}

#[tokio::test]
async fn refused_logins_say_why_and_show_no_secret() {
    let refused = |line| async move {
        let server = serve(GREETING, vec![("AUTHENTICATE", line)]).await;
        server.source().await.err().unwrap()
    };
    let error = refused("$ NO [AUTHENTICATIONFAILED]\u{fc}ber\r\n").await;
    let Error::Credentials { text, user, .. } = &error else { panic!("{error:?}") };
    assert_eq!((text.as_str(), user.as_str()), ("\u{fc}ber", "alice"));
    assert!(!format!("{error:?}").contains("bin"));
    for (line, reason) in [
        ("$ NO\r\n", "CredentialsRefused"),
        ("$ NO [ALERT] Too many simultaneous connections. (Failure)\r\n", "Throttled"),
        ("$ NO [ALERT] Your account is not enabled for IMAP use\r\n", "AccessForbidden"),
        ("$ NO [UNAVAILABLE] Temporary System Problem\r\n", "CommandRefused"),
        ("* BYE too many\r\n", "ConnectionBroken"),
        ("", "ConnectionBroken"),
    ] {
        assert_eq!(refused(line).await.reason(), reason, "{line}");
    }
}

#[tokio::test]
async fn a_server_that_greets_with_bye_is_not_asked_for_more() {
    for (greeting, reason) in [
        ("* BYE [LIMIT] too many connections\r\n", "Throttled"),
        ("* BYE closed for today\r\n", "ConnectionBroken"),
        ("", "ConnectionBroken"),
    ] {
        let server = serve(greeting, vec![]).await;
        assert_eq!(server.source().await.err().unwrap().reason(), reason, "{greeting}");
    }
}

#[tokio::test]
async fn logindisabled_is_respected() {
    let server =
        serve("* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] x\r\n", vec![("NEVER", "")]).await;
    assert_eq!(server.source().await.err().unwrap().reason(), "AccessForbidden");
    assert!(server.task.await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_goes_over_the_wire_before_tls_but_the_wish_for_it() {
    for (greeting, script) in [
        (GREETING, vec![]),
        ("* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] in\r\n", vec![]),
        (
            "* OK [CAPABILITY IMAP4rev1 STARTTLS] x\r\n",
            vec![("STARTTLS", "$ OK go\r\n* CAPABILITY AUTH=PLAIN\r\n")],
        ),
        ("* OK [CAPABILITY STARTTLS] x\r\n", vec![("STARTTLS", "$ NO not today\r\n")]),
    ] {
        let server = serve(greeting, script).await;
        let error = platform::source(&server.account(Tls::Starttls), &options()).await.err();
        let error = error.unwrap();
        assert!(matches!(error, Error::Tls { .. } | Error::Refused { .. }), "{error:?}");
        assert!(server.task.await.unwrap().iter().all(|line| line.contains("STARTTLS")));
    }
}

#[tokio::test]
async fn a_truncated_list_is_no_list() {
    let line = "* LIST () \"/\" INBOX\r\n";
    for end in ["$ NO [SERVERBUG] sorry\r\n", ""] {
        let answer: &'static str = format!("{line}{end}").leak();
        let server = serve(GREETING, vec![SIGN_IN, ("LIST \"\" \"*\"", answer)]).await;
        assert!(server.source().await.unwrap().folders().await.is_err());
    }
}

#[tokio::test]
async fn a_message_whose_labels_are_not_told_is_not_placed_anywhere() {
    let sign_in =
        ("AUTHENTICATE PLAIN", "$ OK [CAPABILITY IMAP4rev1 X-GM-EXT-1 LIST-STATUS] in\r\n");
    let list =
        "* LIST (\\All) \"/\" All\r\n* STATUS All (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 7)\r\n$ OK\r\n";
    let two = "* 1 FETCH (UID 1 FLAGS () X-GM-LABELS (a))\r\n* 2 FETCH (UID 2 FLAGS () X-GM-LABELS ())\r\n";
    let fetched = format!("{two}* 3 FETCH (UID 3 FLAGS ())\r\n$ OK\r\n").leak();
    let script = vec![
        sign_in,
        ("LIST", list),
        EXAMINE,
        ("UID SEARCH", "* SEARCH 1 2 3\r\n$ OK\r\n"),
        ("UID FETCH 1:3", fetched),
        ("UID SEARCH", "* SEARCH 1 2 3\r\n$ OK\r\n"),
        ("UID FETCH 3", "* 3 FETCH (UID 3 FLAGS ())\r\n$ OK\r\n"),
        ("UID SEARCH", "* SEARCH 1 2 3\r\n$ OK\r\n"),
    ];
    let server = serve(GREETING, script).await;
    let mut source = server.source().await.unwrap();
    let outcome = source.changes(&FolderName(b"All".to_vec()), None).await;
    assert!(matches!(outcome, Err(Error::Protocol { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_folder_without_uidnext_is_surveyed_all_the_same() {
    let server = signed_in(&[
        ("EXAMINE", "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n$ OK\r\n"),
        ("STATUS", "* STATUS INBOX (MESSAGES 2)\r\n$ OK\r\n"),
        ("UID SEARCH ALL", "* SEARCH 3 8\r\n$ OK\r\n"),
        (
            "UID FETCH 1:8 (UID FLAGS INTERNALDATE RFC822.SIZE)",
            "* 1 FETCH (UID 3 RFC822.SIZE 5)\r\n* 2 FETCH (UID 8 RFC822.SIZE 6)\r\n$ OK\r\n",
        ),
        ("EXAMINE", "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 10]\r\n$ OK\r\n"),
        ("UID FETCH 1:8 (UID FLAGS)", "* 1 FETCH (UID 3)\r\n* 2 FETCH (UID 8)\r\n$ OK\r\n"),
        ("UID FETCH 9:9", "* 3 FETCH (UID 9 RFC822.SIZE 1)\r\n* 3 FETCH (UID 8)\r\n$ OK\r\n"),
    ])
    .await;
    let mut source = server.source().await.unwrap();
    let first = source.changes(&inbox(), None).await.unwrap();
    assert_eq!(first.items.len(), 2);
    let second = source.changes(&inbox(), Some(&first.cursor)).await.unwrap();
    let new: Vec<_> = second.items.iter().filter(|item| item.meta.is_some()).collect();
    assert_eq!((new.len(), new[0].id), (1, ItemId(9)));
    assert_eq!(second.gone, Gone::AllBut([3, 8, 9].map(ItemId).into_iter().collect()));
}

#[tokio::test]
async fn messages_that_a_listing_hides_are_neither_gone_nor_passed_over() {
    let server = signed_in(&[
        EXAMINE,
        ("UID FETCH 1:3", "* 1 FETCH (UID 1 RFC822.SIZE 5)\r\n$ OK\r\n"),
        ("UID SEARCH ALL", "* SEARCH 1 2 3\r\n$ OK\r\n"),
        ("UID FETCH 2:3", "* 1 FETCH (UID 2 RFC822.SIZE 6)\r\n$ OK\r\n"),
    ])
    .await;
    let changes = server.source().await.unwrap().changes(&inbox(), None).await.unwrap();
    assert_eq!(changes.gone, Gone::AllBut(IdSet::range(ItemId(1), ItemId(3))));
    let sizes: Vec<u64> = changes.items.iter().map(|item| item.meta.unwrap().size).collect();
    assert_eq!(sizes, [5, 6, 0]);
}

#[tokio::test]
async fn a_server_that_names_too_many_as_vanished_is_not_believed() {
    let server = serve(GREETING, vec![
        ("AUTHENTICATE", "$ OK [CAPABILITY IMAP4rev1 ENABLE QRESYNC CONDSTORE ESEARCH] in\r\n"),
        ("ENABLE QRESYNC", "* ENABLED QRESYNC\r\n$ OK\r\n"),
        (
            "EXAMINE",
            "* 2 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 3]\r\n* OK [HIGHESTMODSEQ 5]\r\n$ OK\r\n",
        ),
        ("UID FETCH 1:2", "* 1 FETCH (UID 1 FLAGS ())\r\n* 2 FETCH (UID 2 FLAGS ())\r\n$ OK\r\n"),
        (
            "EXAMINE \"INBOX\" (QRESYNC (7 5))",
            "* 1 FETCH (UID 2 FLAGS (\\Deleted))\r\n* OK [CLOSED]\r\n* VANISHED (EARLIER) 1:2\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 3]\r\n* OK [HIGHESTMODSEQ 6]\r\n$ OK\r\n",
        ),
        ("UID SEARCH RETURN (ALL) ALL", "* ESEARCH (TAG \"$\") UID ALL 2\r\n$ OK\r\n"),
    ])
    .await;
    let mut source = server.source().await.unwrap();
    let first = source.changes(&inbox(), None).await.unwrap();
    let second = source.changes(&inbox(), Some(&first.cursor)).await.unwrap();
    assert_eq!(second.gone, Gone::AllBut([ItemId(2)].into_iter().collect()));
    assert!(second.items.is_empty(), "flags of the folder open before: {:?}", second.items);
}

#[tokio::test]
async fn a_message_refused_before_it_is_sent_is_refused_alone() {
    let server = signed_in(&[
        ("SELECT", "* 0 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 1]\r\n$ OK\r\n"),
        ("APPEND \"INBOX\" {3}", "$ NO [TOOBIG] no\r\n"),
        ("APPEND \"INBOX\" (\\Seen) {2}", "* 1 EXISTS\r\n+\r\n"),
        ("hi", "D3 OK [APPENDUID 7 1] done\r\n"),
    ])
    .await;
    let mut to = server.destination().await.unwrap();
    to.open(&inbox()).await.unwrap();
    let message = |flags: &[&str], body: &'static [u8]| Append {
        flags: Flags::parse(flags.iter().copied()),
        date: None,
        body: body.into(),
    };
    to.append(&inbox(), vec![message(&[], b"abc"), message(&["\\Seen"], b"hi")]).await.unwrap();
    let Appended::Each(fates) = to.appended().await.unwrap() else { panic!() };
    assert_eq!(fates[0].as_ref().unwrap_err().code.as_deref(), Some("TOOBIG"));
    assert_eq!(fates[1], Ok(Landed::At(ItemId(1))));
}

#[tokio::test]
async fn an_append_into_another_epoch_is_noticed() {
    let server = signed_in(&[
        ("SELECT", "* 0 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 1]\r\n$ OK\r\n"),
        ("APPEND", "+ go\r\n"),
        ("hi", "D2 OK [APPENDUID 8 1] done\r\n"),
    ])
    .await;
    let mut to = server.destination().await.unwrap();
    to.open(&inbox()).await.unwrap();
    let message = Append { flags: Flags::NONE, date: None, body: (&b"hi"[..]).into() };
    to.append(&inbox(), vec![message]).await.unwrap();
    assert!(matches!(to.appended().await, Err(Error::EpochChanged(_))));
}

#[tokio::test]
async fn a_connection_cut_off_mid_fetch_is_of_no_further_use() {
    let server =
        signed_in(&[EXAMINE, ("UID FETCH", three!("$ OK\r\n")), ("NOOP", "$ OK\r\n")]).await;
    let mut source = server.source().await.unwrap();
    let (out, messages) = mpsc::channel(1);
    drop(messages);
    let ids = IdSet::range(ItemId(1), ItemId(9));
    source.fetch(&inbox(), Epoch(7), &ids, &Memory::new(1000), &out).await.unwrap();
    assert!(matches!(source.ping().await, Err(Error::Broken { .. })));
}

#[tokio::test]
async fn a_server_that_closes_within_an_append_is_heard_out() {
    let server = serve(
        GREETING,
        vec![
            ("AUTHENTICATE", "$ OK [CAPABILITY IMAP4rev1 LITERAL+] in\r\n"),
            ("SELECT", "* 0 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 1]\r\n$ OK\r\n"),
            ("APPEND", "* BYE no such large messages here\r\n"),
        ],
    )
    .await;
    let mut to = server.destination().await.unwrap();
    to.open(&inbox()).await.unwrap();
    let body = vec![b'x'; 50_000_000].into();
    let error = to
        .append(&inbox(), vec![Append { flags: Flags::NONE, date: None, body }])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no such large messages here"), "{error}");
}
