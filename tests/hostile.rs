//! A server that is broken, or means harm: it ends as an error in bounded time and memory.
//!
//! Everything here is scripted on loopback and says what no honest server would. `docs/security.md`
//! lists the bounds.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use drover::definition::{Account, Tls};
use drover::flow::Memory;
use drover::model::{Epoch, IdSet, ItemId};
use drover::platform::{self, Append, Destination, Error, Options, Source};
use support::process::processor_time;
use support::{endpoint, inbox};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard, mpsc};

const MIB: u64 = 1024 * 1024;
const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n";

// ---- the server --------------------------------------------------------------------------------

/// What a server does when it hears a certain command.
enum Deed {
    /// Answers; `$` is the client's tag.
    Say(String),
    /// Answers so, then says these pieces, one after the other, for as long as there are any.
    Flood(String, Box<dyn FnMut(u64) -> Option<Vec<u8>> + Send>),
    /// Answers so, then says these bytes for ever, one each interval.
    Trickle(String, &'static [u8], Duration),
    /// Reads nothing any more, and keeps the connection open.
    Deafen,
}

fn say(text: &str) -> Deed {
    Deed::Say(text.into())
}

/// The same for ever.
fn flood(line: impl Into<Vec<u8>>) -> Deed {
    let line = line.into();
    // Pieces of some size, or the test would measure system calls.
    let piece = line.repeat((8192 / line.len()).max(1));
    Deed::Flood(String::new(), Box::new(move |_| Some(piece.clone())))
}

/// A new line each time, without end.
fn lines(line: impl Fn(u64) -> String + Send + 'static) -> Deed {
    let piece = move |n| Some((n * 100..n * 100 + 100).map(&line).collect::<String>().into_bytes());
    Deed::Flood(String::new(), Box::new(piece))
}

/// A text that is sent once, in small pieces, with nothing after it.
fn once(text: Vec<u8>) -> Deed {
    let piece = move |n: u64| {
        let at = usize::try_from(n).ok()?.checked_mul(16_384)?;
        let end = text.len().min(at + 16_384);
        text.get(at..end).filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec)
    };
    Deed::Flood(String::new(), Box::new(piece))
}

/// Serves one connection: answers sign-in and whatever is listed, each entry once and in any
/// order, and everything else with OK.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, mut deeds: Vec<(&str, Deed)>) {
    let mut stream = BufReader::new(stream);
    let greeting = match deeds.iter().position(|(when, _)| when.is_empty()) {
        Some(at) => deeds.remove(at).1,
        None => say(GREETING),
    };
    if act(&mut stream, "*", greeting).await.is_err() {
        return;
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        if !matches!(stream.read_until(b'\n', &mut line).await, Ok(1..)) {
            return;
        }
        let line = String::from_utf8_lossy(&line);
        let Some((tag, command)) = line.trim_end().split_once(' ') else { continue };
        let deed = match deeds.iter().position(|(when, _)| command.starts_with(when)) {
            Some(at) => deeds.remove(at).1,
            None if command.starts_with("LIST \"\" \"\"") => {
                say("* LIST (\\Noselect) \"/\" \"\"\r\n$ OK\r\n")
            }
            None if command.starts_with("EXAMINE") || command.starts_with("SELECT") => say(
                "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 4]\r\n$ OK [READ-WRITE]\r\n",
            ),
            None => say("$ OK\r\n"),
        };
        if act(&mut stream, tag, deed).await.is_err() {
            return;
        }
    }
}

async fn act(stream: &mut (impl AsyncWrite + Unpin), tag: &str, deed: Deed) -> std::io::Result<()> {
    let first = |text: String| text.replace('$', tag).into_bytes();
    match deed {
        Deed::Say(text) => stream.write_all(&first(text)).await?,
        Deed::Flood(text, mut piece) => {
            stream.write_all(&first(text)).await?;
            let mut n = 0;
            while let Some(bytes) = piece(n) {
                stream.write_all(&bytes).await?;
                n += 1;
            }
        }
        Deed::Trickle(text, bytes, interval) => {
            stream.write_all(&first(text)).await?;
            stream.flush().await?;
            for byte in bytes.iter().cycle() {
                stream.write_all(std::slice::from_ref(byte)).await?;
                stream.flush().await?;
                tokio::time::sleep(interval).await;
            }
        }
        Deed::Deafen => std::future::pending().await,
    }
    stream.flush().await
}

// ---- the client --------------------------------------------------------------------------------

/// A server to be met, and how patient the client is.
struct Hostile {
    account: Account,
    options: Options,
    _alone: MutexGuard<'static, ()>,
    resident: u64,
    /// The processor's time, of the process: other work on the machine is not ours.
    spent: Duration,
    began: Instant,
}

/// So much of the processor's time nothing here may take, both ends together, unoptimised.
const MOST_TIME: Duration = Duration::from_secs(20);

impl Hostile {
    async fn new(deeds: Vec<(&'static str, Deed)>) -> Self {
        // One at a time: the peak of memory is the process's.
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            if let Ok((stream, _)) = listener.accept().await {
                serve(stream, deeds).await;
            }
        });
        let options = Options {
            idle: Duration::from_secs(10),
            stall: Duration::from_secs(20),
            talk: 1 << 20,
            ..Options::default()
        };
        std::fs::write("/proc/self/clear_refs", "5").expect("reset the peak of memory");
        let resident = memory("VmRSS");
        let spent = processor_time();
        let account = support::account(endpoint(port));
        Self { account, options, _alone: alone, resident, spent, began: Instant::now() }
    }

    /// A client that gives up soon.
    async fn hasty(deeds: Vec<(&'static str, Deed)>) -> Self {
        let mut this = Self::new(deeds).await;
        this.options.stall = Duration::from_millis(600);
        this
    }

    /// As much may be said as by default.
    fn talkative(mut self) -> Self {
        self.options.talk = Options::default().talk;
        self
    }

    async fn source(&self) -> platform::Result<Box<dyn Source>> {
        platform::source(&self.account, &self.options).await
    }

    async fn signed_in(&self) -> Box<dyn Source> {
        self.source().await.expect("sign in")
    }

    async fn destination(&self) -> Box<dyn Destination> {
        platform::destination(&self.account, &self.options).await.expect("sign in")
    }

    /// The error that listing the folders ends in.
    async fn folders(&self) -> Error {
        self.signed_in().await.folders().await.expect_err("no such list is to be believed")
    }

    async fn changes(&self) -> platform::Result<platform::Changes> {
        self.signed_in().await.changes(&inbox(), None).await
    }

    /// Fetches messages 1 to 3; how many came, and how it ended.
    async fn fetch(&self) -> (usize, platform::Result<()>) {
        self.fetch_up_to(3).await
    }

    async fn fetch_up_to(&self, last: u64) -> (usize, platform::Result<()>) {
        let mut source = self.signed_in().await;
        let (out, mut messages) = mpsc::channel(100);
        let counting = tokio::spawn(async move {
            let mut n = 0;
            while messages.recv().await.is_some() {
                n += 1;
            }
            n
        });
        let budget = Memory::new(64 * MIB);
        let ids = IdSet::range(ItemId(1), ItemId(last));
        let outcome = source.fetch(&inbox(), Epoch(7), &ids, &budget, &out).await;
        drop((out, source));
        (counting.await.expect("counting"), outcome)
    }

    /// Fails if this took more memory than so many MiB, or too long.
    #[track_caller]
    fn took_at_most(&self, mebibytes: u64) {
        let taken = memory("VmHWM").saturating_sub(self.resident) / MIB;
        assert!(taken <= mebibytes, "{taken} MiB were taken, more than {mebibytes}");
        let spent = processor_time() - self.spent;
        assert!(spent < MOST_TIME, "it took {spent:?} of the processor's time");
    }
}

/// A figure of this process, bytes.
fn memory(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.expect("a figure of memory") * 1024
}

#[track_caller]
fn assert_reason(error: &Error, reason: &str) {
    assert_eq!(error.reason(), reason, "{error}");
}

// ---- announcements -----------------------------------------------------------------------------

#[tokio::test]
async fn nothing_is_allocated_on_an_announcements_word() {
    for size in ["1073741824", "4294967295", "9223372036854775808", "18446744073709551616", "-1"] {
        let body = format!("* 1 FETCH (UID 1 BODY[] {{{size}}}\r\nabc");
        let server = Hostile::new(vec![("UID FETCH", Deed::Flood(body, Box::new(|_| None)))]).await;
        let mut options = server.options.clone();
        options.idle = Duration::from_millis(300);
        let server = Hostile { options, ..server };
        let (n, outcome) = server.fetch().await;
        assert_eq!(n, 0);
        let error = outcome.expect_err("no message came");
        assert!(matches!(error.reason(), "ServerSilent" | "ProtocolViolated"), "{size}: {error}");
        server.took_at_most(8);
    }
}

#[tokio::test]
async fn many_bodies_in_one_response_do_not_wait_for_each_other() {
    // Each as large as the whole budget: the second can never get the room the first one holds.
    let body = "BODY[] {67108864}\r\n";
    let piece = move |n: u64| match n % 1025 {
        0 => Some(format!(" {body}").into_bytes()),
        _ => Some(vec![b'x'; 65_536]),
    };
    let deed = Deed::Flood("* 1 FETCH (UID 1".into(), Box::new(piece));
    let server = Hostile::new(vec![("UID FETCH", deed)]).await;
    let (_, outcome) = server.fetch().await;
    assert_reason(&outcome.expect_err("two bodies"), "ProtocolViolated");
    server.took_at_most(140);
}

#[tokio::test]
async fn thousands_of_literals_in_one_response_are_bounded_together() {
    for size in [0, 1, 1_000_000] {
        let literal = format!("{{{size}}}\r\n{}", "x".repeat(size));
        let deed = Deed::Flood(
            "* LIST (".into(),
            Box::new(move |_| Some(format!(" {literal}").into_bytes())),
        );
        let server = Hostile::new(vec![("LIST \"\" \"*\"", deed)]).await;
        assert_reason(&server.folders().await, "ProtocolViolated");
        server.took_at_most(40);
    }
}

// ---- floods ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    for start in ["* LIST () \"/\" ", "* SEARCH ", "* VANISHED ", "x"] {
        let deed = Deed::Flood(start.into(), Box::new(|_| Some(b"1 ".repeat(8192))));
        let server = Hostile::new(vec![("LIST \"\" \"*\"", deed)]).await;
        assert_reason(&server.folders().await, "ProtocolViolated");
        server.took_at_most(100);
    }
}

#[tokio::test]
async fn small_valid_lines_without_end_are_cut_off() {
    for line in [
        "* OK still here\r\n",
        "* 1 EXISTS\r\n",
        "* 5 EXPUNGE\r\n",
        "* LIST () \"/\" same\r\n",
        "* STATUS same (MESSAGES 1)\r\n",
        "* CAPABILITY IMAP4rev1\r\n",
        "* VANISHED 1:4294967295\r\n",
        "* 1 FETCH (FLAGS (\\Seen))\r\n",
        "D999 OK nobody asked\r\n",
        "+ go on\r\n",
        "what\r\n",
        "\r\n",
    ] {
        let server = Hostile::new(vec![("LIST \"\" \"*\"", flood(line))]).await;
        assert_reason(&server.folders().await, "ProtocolViolated");
        server.took_at_most(100);
    }
}

#[tokio::test]
async fn a_million_folders_are_no_account() {
    let server = Hostile::new(vec![(
        "LIST \"\" \"*\"",
        lines(|n| format!("* LIST (\\HasNoChildren) \"/\" folder-{n}\r\n")),
    )])
    .await;
    let error = server.folders().await;
    assert!(error.to_string().contains("100000 folders"), "{error}");
    server.took_at_most(200);
}

#[tokio::test]
async fn folder_names_of_megabytes_are_refused() {
    for size in [70_000, 900_000, 10_000_000] {
        let name = "x".repeat(size);
        let quoted = format!("* LIST () \"/\" \"{name}\"\r\n$ OK\r\n").replace('$', "D1");
        let literal = format!("* LIST () \"/\" {{{size}}}\r\n{name}\r\nD1 OK\r\n");
        for text in [quoted, literal] {
            let server = Hostile::new(vec![("LIST \"\" \"*\"", once(text.into_bytes()))]).await;
            assert_reason(&server.folders().await, "ProtocolViolated");
            server.took_at_most(60);
        }
    }
}

#[tokio::test]
async fn folders_are_listed_to_any_depth_that_anybody_uses() {
    for (levels, is_taken) in [(900, true), (10_000, false)] {
        let name = "a/".repeat(levels - 1) + "a";
        let text = format!("* LIST () \"/\" \"{name}\"\r\nD1 OK\r\n");
        let server = Hostile::new(vec![("LIST \"\" \"*\"", once(text.into_bytes()))]).await;
        let depth = server.signed_in().await.folders().await;
        match depth.map(|folders| folders[0].folder.path.segments().len()) {
            Ok(depth) => assert!(is_taken && depth == levels, "{depth}"),
            Err(error) => assert!(!is_taken, "{error}"),
        }
        server.took_at_most(20);
    }
}

#[tokio::test]
async fn names_that_look_encoded_are_read_in_the_time_of_their_length() {
    // Each of these took the square of its length.
    for bomb in ["&", "&A", "&AAAA", "&&&-", "&AGE"] {
        let name = bomb.repeat(60_000 / bomb.len());
        let line = move |n| format!("* LIST () \"/\" \"{n}{name}\"\r\n");
        let deed = Deed::Flood(
            String::new(),
            Box::new(move |n| match n {
                0..60 => Some(line(n).into_bytes()),
                60 => Some(b"D1 OK\r\n".to_vec()),
                _ => None,
            }),
        );
        let server = Hostile::new(vec![("LIST \"\" \"*\"", deed)]).await.talkative();
        let folders = server.signed_in().await.folders().await.expect("odd names are names");
        assert_eq!(folders.len(), 60);
        server.took_at_most(150);
    }
}

#[tokio::test]
async fn nested_parentheses_and_open_brackets_are_read_in_the_time_of_their_length() {
    for bomb in ["(", "[ ", "((a)", "BODY[", "\"", "\\", "(NIL "] {
        let text = format!("* 1 FETCH ({}\r\n", bomb.repeat(900_000 / bomb.len()));
        let text = format!("{text}* LIST () \"/\" INBOX\r\nD1 OK\r\n");
        let server = Hostile::new(vec![("LIST \"\" \"*\"", once(text.into_bytes()))]).await;
        let folders = server.signed_in().await.folders().await.expect("noise is noise");
        assert_eq!(folders.len(), 1);
        server.took_at_most(60);
    }
}

#[tokio::test]
async fn messages_that_nobody_asked_for_are_cut_off() {
    for line in [
        "* 9 FETCH (UID 99 BODY[] {3}\r\nabc)\r\n",
        "* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n",
        "* 1 FETCH (UID 1 BODY[] \"abc\")\r\n",
        "* 4294967295 FETCH (UID 18446744073709551615 BODY[] {3}\r\nabc)\r\n",
    ] {
        let server = Hostile::new(vec![("UID FETCH", flood(line))]).await;
        let (n, outcome) = server.fetch().await;
        assert!(n <= 1, "the same message {n} times");
        assert_reason(&outcome.expect_err("it never ends"), "ProtocolViolated");
        server.took_at_most(40);
    }
}

#[tokio::test]
async fn a_message_sent_twice_is_handed_on_once() {
    let message = "* 1 FETCH (UID 2 BODY[] {3}\r\nabc)\r\n";
    let server =
        Hostile::new(vec![("UID FETCH", say(&format!("{message}{message}$ OK\r\n")))]).await;
    let (n, outcome) = server.fetch().await;
    assert!(n == 1 && outcome.is_ok(), "{n} {outcome:?}");
}

#[tokio::test]
async fn a_listing_of_more_messages_than_the_folder_can_hold_is_cut_off() {
    let examine = "* 3 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 4]\r\n$ OK\r\n";
    let server = Hostile::new(vec![
        ("EXAMINE", say(examine)),
        ("UID FETCH", lines(|n| format!("* {n} FETCH (UID {n} RFC822.SIZE 1)\r\n"))),
    ])
    .await;
    assert_reason(&server.changes().await.expect_err("it never ends"), "ProtocolViolated");
    server.took_at_most(40);
}

// ---- absurd numbers ----------------------------------------------------------------------------

#[tokio::test]
async fn absurd_numbers_are_errors_or_ignored_and_never_walked() {
    let max = u64::MAX;
    for (exists, next, modseq, listing, search) in [
        ("4294967295", "4294967296", "1", "", "* SEARCH 1\r\n"),
        ("18446744073709551615", "18446744073709551615", "18446744073709551615", "", ""),
        ("3", "0", "0", "* 1 FETCH (UID 0)\r\n", "* SEARCH 0 0 0\r\n"),
        (
            "3",
            "4",
            "5",
            "* 1 FETCH (UID 5000000000)\r\n",
            "* SEARCH 5000000000 18446744073709551615\r\n",
        ),
        ("3", "18446744073709551614", "5", "", "* ESEARCH UID ALL 0:18446744073709551615\r\n"),
        ("3", "9223372036854775807", "5", "", "* ESEARCH UID ALL 1:4294967295\r\n"),
        ("1", "9223372036854775807", "5", "", "* SEARCH 9223372036854775807\r\n"),
    ] {
        let examine = format!(
            "* {exists} EXISTS\r\n* OK [UIDVALIDITY {max}]\r\n* OK [UIDVALIDITY 7]\r\n\
             * OK [UIDNEXT {next}]\r\n* OK [HIGHESTMODSEQ {modseq}]\r\n$ OK\r\n"
        );
        let (listing, search) = (format!("{listing}$ OK\r\n"), format!("{search}$ OK\r\n"));
        let server = Hostile::new(vec![
            ("EXAMINE", Deed::Say(examine)),
            ("UID FETCH", Deed::Say(listing)),
            ("UID SEARCH", Deed::Say(search)),
        ])
        .await;
        if let Ok(changes) = server.changes().await {
            assert!(changes.items.len() <= 3, "{} of {exists}", changes.items.len());
        }
        server.took_at_most(20);
    }
}

#[tokio::test]
async fn counts_that_no_folder_has_are_refused() {
    for (exists, next) in [("4294967295", "4294967295"), ("3", "9223372036854775807")] {
        let examine = format!(
            "* {exists} EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT {next}]\r\n$ OK\r\n"
        );
        let server = Hostile::new(vec![("EXAMINE", Deed::Say(examine))]).await;
        assert_reason(&server.changes().await.expect_err("no such folder"), "ProtocolViolated");
    }
}

#[tokio::test]
async fn sizes_that_no_message_has_can_be_added_up() {
    let line = |n| format!("* {n} FETCH (UID {n} RFC822.SIZE 9223372036854775807)\r\n");
    let listing: String = (1..4).map(line).collect::<String>() + "$ OK\r\n";
    let server = Hostile::new(vec![("UID FETCH", Deed::Say(listing))]).await;
    let changes = server.changes().await.expect("sizes do not matter here");
    let mut sizes = changes.items.iter().filter_map(|item| Some(item.meta?.size));
    assert!(sizes.try_fold(0_u64, u64::checked_add).is_some());
}

#[tokio::test]
async fn ids_in_any_order_are_sorted_in_the_time_of_their_number() {
    // Descending and with gaps: inserted one by one, each would push all others along.
    let ids: String = (1..400_000_u64).rev().map(|n| format!(" {}", n * 2)).collect();
    let examine = "* 1 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 2]\r\n$ OK\r\n";
    let mut search = format!("* SEARCH{ids}\r\n").into_bytes();
    let one_by_one = (1..40_000_u64).rev().map(|n| format!("* SEARCH {}\r\n", n * 2 + 1));
    search.extend(one_by_one.collect::<String>().bytes());
    search.extend(b"D3 OK\r\n");
    let deeds = vec![("EXAMINE", say(examine)), ("UID SEARCH", once(search))];
    let server = Hostile::new(deeds).await.talkative();
    server.changes().await.expect("only one of them can be new");
    server.took_at_most(200);
}

#[tokio::test]
async fn an_appenduid_of_four_billion_says_nothing() {
    let server = Hostile::new(vec![(
        "APPEND",
        Deed::Say("+\r\nD2 OK [APPENDUID 7 1:4294967295] done\r\n".into()),
    )])
    .await;
    let mut destination = server.destination().await;
    destination.open(&inbox()).await.expect("open");
    let message = Append { body: "x".into(), ..message() };
    destination.append(&inbox(), vec![message]).await.expect("send");
    let fates = format!("{:?}", destination.appended().await.expect("it landed"));
    assert!(fates.contains("Somewhere"), "{fates}");
}

#[tokio::test]
async fn a_copyuid_of_four_billion_says_nothing() {
    let said = "* OK [COPYUID 7 1:4294967295 1:4294967295] moved\r\n".repeat(1000) + "$ OK\r\n";
    let server = Hostile::new(vec![("UID COPY", Deed::Say(said))]).await;
    let mut destination = server.destination().await;
    let places = destination.move_items(&inbox(), Epoch(7), &[ItemId(1)], &inbox(), &[]).await;
    assert_eq!(places.expect("it moved"), [None]);
    server.took_at_most(20);
}

fn message() -> Append {
    Append { flags: drover::model::Flags::NONE, date: None, body: Vec::new().into() }
}

// ---- time --------------------------------------------------------------------------------------

const TICK: Duration = Duration::from_millis(20);

#[tokio::test]
async fn bytes_that_trickle_do_not_hold_a_command_for_ever() {
    for first in ["", "* LIST () \"/\" {900000}\r\n", "* LIST () \"/\" \""] {
        let deed = Deed::Trickle(first.into(), b"x", TICK);
        let server = Hostile::hasty(vec![("LIST \"\" \"*\"", deed)]).await;
        assert_reason(&server.folders().await, "ServerStalled");
    }
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let deed = Deed::Trickle("* 1 FETCH (UID 1 BODY[] {900000}\r\n".into(), b"x", TICK);
    let server = Hostile::hasty(vec![("UID FETCH", deed)]).await;
    assert_reason(&server.fetch().await.1.expect_err("it never ends"), "ServerStalled");
}

#[tokio::test]
async fn keep_alives_alone_do_not_hold_a_command_for_ever() {
    let deed = Deed::Trickle(String::new(), b"* OK Still here\r\n", TICK / 10);
    let server = Hostile::hasty(vec![("UID FETCH", deed)]).await;
    assert_reason(&server.fetch().await.1.expect_err("it never ends"), "ServerStalled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_that_brings_messages_is_waited_for() {
    // In all it takes longer than a stall may last; each message earns a little more time.
    let piece = |n: u64| {
        std::thread::sleep(Duration::from_millis(50));
        let text = match n {
            0..80 => format!("* 1 FETCH (UID {} BODY[] {{1}}\r\na)\r\n", n + 1),
            80 => "D2 OK\r\n".into(),
            _ => return None,
        };
        Some(text.into_bytes())
    };
    let deed = Deed::Flood(String::new(), Box::new(piece));
    let mut server = Hostile::new(vec![("UID FETCH", deed)]).await;
    server.options.stall = Duration::from_secs(3);
    let (n, outcome) = server.fetch_up_to(80).await;
    assert!(n == 80 && outcome.is_ok(), "{n} {outcome:?}");
    assert!(server.began.elapsed() > server.options.stall);
}

#[tokio::test]
async fn a_server_that_stops_reading_is_given_up() {
    let mut server = Hostile::new(vec![("SELECT", say(SELECTED)), ("APPEND", Deed::Deafen)]).await;
    server.options.idle = Duration::from_millis(500);
    server.options.veto = Vec::new();
    let mut destination = server.destination().await;
    destination.open(&inbox()).await.expect("open");
    let body = vec![b'x'; 32 << 20];
    let sent = destination.append(&inbox(), vec![Append { body: body.into(), ..message() }]).await;
    let error = match sent {
        Ok(()) => destination.appended().await.expect_err("it read nothing"),
        Err(error) => error,
    };
    assert!(matches!(error.reason(), "ServerSilent" | "ServerStalled"), "{error}");
    server.took_at_most(80);
}

const SELECTED: &str =
    "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 4]\r\n$ OK [READ-WRITE]\r\n";

#[tokio::test]
async fn a_server_that_does_not_answer_logout_is_left() {
    for deed in [Deed::Deafen, Deed::Trickle(String::new(), b"* OK wait\r\n", TICK)] {
        let server = Hostile::new(vec![("LOGOUT", deed)]).await;
        let mut source = server.signed_in().await;
        let began = Instant::now();
        source.logout().await;
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    }
}

// ---- signing in --------------------------------------------------------------------------------

#[tokio::test]
async fn challenges_without_end_are_given_up() {
    for challenge in ["+ \r\n", "+ c29tZXRoaW5n\r\n", "+ not base64 at all\r\n"] {
        let server = Hostile::new(vec![("AUTHENTICATE", flood(challenge))]).await;
        let error = server.source().await.err().expect("it never lets us in");
        assert_reason(&error, "ProtocolViolated");
        server.took_at_most(20);
    }
}

#[tokio::test]
async fn capabilities_without_end_are_cut_off() {
    let one_line = Deed::Flood("* CAPABILITY".into(), Box::new(|_| Some(b" X-A".repeat(2048))));
    for deed in [one_line, flood("* CAPABILITY IMAP4rev1\r\n"), flood("* OK still here\r\n")] {
        let server = Hostile::new(vec![("", say("* OK hello\r\n")), ("CAPABILITY", deed)]).await;
        let error = server.source().await.err().expect("it never ends");
        assert_reason(&error, "ProtocolViolated");
        server.took_at_most(40);
    }
}

#[tokio::test]
async fn no_step_of_signing_in_waits_for_ever() {
    for when in ["", "CAPABILITY", "AUTHENTICATE"] {
        for trickles in [false, true] {
            let deed = match trickles {
                true => Deed::Trickle(String::new(), b"* OK wait\r\n", TICK),
                false => Deed::Deafen,
            };
            let mut deeds = vec![(when, deed)];
            if when == "CAPABILITY" {
                deeds.push(("", say("* OK hello\r\n")));
            }
            // A greeting that trickles is one, after some time.
            if when.is_empty() && trickles {
                continue;
            }
            let mut server = Hostile::new(deeds).await;
            server.options.idle = Duration::from_millis(500);
            let error = server.source().await.err().expect("it never answers");
            assert_reason(&error, "ServerSilent");
            assert!(server.began.elapsed() < Duration::from_secs(10));
        }
    }
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_is_given_up() {
    let mut server = Hostile::new(vec![("", Deed::Deafen)]).await;
    server.options.idle = Duration::from_millis(500);
    Arc::make_mut(&mut server.account.endpoint).tls = Tls::Implicit;
    assert_reason(&server.source().await.err().expect("no handshake"), "ServerSilent");
}

#[tokio::test]
async fn a_connection_that_is_never_accepted_is_given_up() {
    // A backlog that is full: the kernel drops what comes on top.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut server = Hostile::new(vec![]).await;
    Arc::make_mut(&mut server.account.endpoint).port = port;
    server.options.idle = Duration::from_millis(300);
    // Accepted by the kernel or not: nobody ever says anything.
    let error = server.source().await.err().expect("nobody answers");
    assert!(matches!(error.reason(), "ServerSilent" | "Unreachable"), "{error}");
    drop(listener);
}
