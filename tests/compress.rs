//! COMPRESS=DEFLATE (RFC 4978): passes over compressed connections are like any other, when they are
//! compressed and when not, and what a server can do to whoever inflates its answers.
//!
//! Offsets come from a seed that is printed; `SEED=` repeats them.

mod support;

use std::time::{Duration, Instant};

use drover::definition::{Compress, Endpoint};
use drover::model::PassKind;
use drover::platform;
use flate2::{Compression, FlushCompress, FlushDecompress};
use support::mail::{self, Mail, Rng};
use support::proxy::Direction::{ToClient, ToServer};
use support::proxy::{Proxy, What, When};
use support::{Dovecot, Imap, Pair, Tapped, is_full, note, seed};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Two servers that can compress, and a user for each case.
struct Stage {
    servers: Pair,
}

impl Stage {
    fn new() -> Self {
        let server =
            || Dovecot::builder().tls().raw_conf("protocol imap {\n  mail_plugins = imap_zlib\n}");
        Self { servers: Pair::of(server().start(), server().start()) }
    }

    /// A mailbox of its own, over two connections to each side.
    async fn case(&self, compress: Compress, fill: impl FnOnce(&mut Imap)) -> Tapped {
        prepared(self.servers.tapped(2).await, compress, fill)
    }

    /// The same in TLS.
    async fn encrypted(&self, compress: Compress, fill: impl FnOnce(&mut Imap)) -> Tapped {
        prepared(self.servers.encrypted(2).await, compress, fill)
    }
}

fn prepared(mut case: Tapped, compress: Compress, fill: impl FnOnce(&mut Imap)) -> Tapped {
    case.world.context_mut().options.idle = Duration::from_secs(5);
    fill(&mut case.world.at_source());
    (0..2).for_each(|side| case.endpoint(side).compress = compress);
    case
}

/// How many connections to this side were compressed.
fn compressed(case: &Tapped, side: usize) -> u64 {
    let heard = case.proxies[side].heard();
    heard.iter().filter(|line| line.ends_with(" COMPRESS DEFLATE")).count() as u64
}

/// Bytes the way mail goes: from the source, to the destination.
fn bytes(case: &Tapped) -> [u64; 2] {
    [case.proxies[0].bytes(ToClient), case.proxies[1].bytes(ToServer)]
}

/// Mail of all kinds, and some that is large.
fn varied(here: &mut Imap) {
    mail::fill(here, 60, &mail::FOLDERS[..5], 9);
    here.append_many("INBOX", &[large("text", 3 << 20), large("noise", 2 << 20)]);
}

/// A few small messages.
fn few(here: &mut Imap) {
    mail::fill(here, 12, &mail::FOLDERS[..3], 9);
}

fn large(what: &str, size: usize) -> Mail {
    let mut mail = note(what);
    let mut rng = Rng::new(1);
    let noise = |n: usize| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[n];
    while mail.bytes.len() < size {
        match what {
            "noise" => mail.bytes.extend((0..76).map(|_| noise(rng.below(64)))),
            _ => mail.bytes.extend(b"the same line again and again, as people like to quote it"),
        }
        mail.bytes.extend(b"\r\n");
    }
    mail
}

/// What users do between two passes.
fn changes(here: &mut Imap) {
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids[..2], "+FLAGS (\\Flagged)");
    here.uid_move("INBOX", &uids[2..4], "Drafts");
    here.append_many("INBOX", &[note("new"), note("newer")]);
    here.append_many("Sent", &[note("sent")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_over_compressed_connections_are_like_any_other_and_take_fewer_bytes() {
    let stage = Stage::new();
    let mut taken = [[0, 0]; 2];
    for (n, compress) in [Compress::Never, Compress::Always].into_iter().enumerate() {
        let case = stage.case(compress, varied).await;
        case.world.seed().await;
        changes(&mut case.world.at_source());
        case.world.delta().await;
        case.world.assert_same();
        let found = case.world.verify().await;
        assert!(found.is_equal(), "{found:?}");
        for side in 0..2 {
            let wanted = case.proxies[side].connections() * n as u64;
            assert!(wanted >= 4 * n as u64);
            assert_eq!(compressed(&case, side), wanted, "{compress:?}, side {side}");
        }
        taken[n] = bytes(&case);
    }
    println!("plain {:?}, compressed {:?} bytes", taken[0], taken[1]);
    for side in 0..2 {
        assert!(taken[1][side] * 2 < taken[0][side], "side {side}: {taken:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_lies_below_tls_too() {
    let stage = Stage::new();
    let mut taken = [[0, 0]; 2];
    for (n, compress) in [Compress::Never, Compress::Always].into_iter().enumerate() {
        let case = stage.encrypted(compress, varied).await;
        case.world.seed().await;
        case.world.assert_same();
        taken[n] = bytes(&case);
    }
    for side in 0..2 {
        assert!(taken[1][side] * 2 < taken[0][side], "side {side}: {taken:?}");
    }
}

/// Each literal is waited for then, and each command flushed.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_allows_each_literal_by_itself_waits_for_nothing_unsent() {
    let stage = Stage::new();
    let mut case = stage.case(Compress::Always, varied).await;
    let veto = ["LITERAL+", "MULTIAPPEND"].map(str::to_owned);
    case.world.context_mut().options.veto = veto.into();
    case.pass(PassKind::Seed).await.expect("it passes");
    case.assert_equal("waiting literals");
    assert_eq!(compressed(&case, 1), case.proxies[1].connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_to_compress_is_served_without() {
    let stage = Stage::new();
    for answer in ["NO [COMPRESSIONACTIVE] DEFLATE active via TLS", "BAD unknown command"] {
        let case = stage.case(Compress::Always, few).await;
        for proxy in &case.proxies {
            proxy.always(When::verb("COMPRESS"), What::answer(answer));
        }
        case.pass(PassKind::Seed).await.unwrap_or_else(|error| panic!("{answer}: {error}"));
        case.assert_equal(answer);
        assert!(case.proxies.iter().all(|proxy| proxy.fired() > 0), "{answer}: nobody asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_vetoed_or_never_wanted_is_not_asked_for() {
    let stage = Stage::new();
    let never = stage.case(Compress::Never, few).await;
    let mut vetoed = stage.case(Compress::Always, few).await;
    vetoed.world.context_mut().options.veto = vec!["compress=deflate".into()];
    for case in [never, vetoed] {
        case.pass(PassKind::Seed).await.expect("it passes");
        case.assert_equal("plain");
        assert_eq!((compressed(&case, 0), compressed(&case, 1)), (0, 0));
    }
}

/// Delays the greeting, the answer to the sign-in, or both.
fn hold_up(proxy: &Proxy, greeting: u64, sign_in: u64) {
    let delay = |time| What::Delay(Duration::from_millis(time));
    proxy.always(When::byte(ToClient, 0).on_each_connection(), delay(greeting));
    proxy.always(When::verb("AUTHENTICATE").answered(), delay(sign_in));
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_compresses_if_everything_takes_its_time_and_only_then() {
    let stage = Stage::new();
    // A busy machine may hold up a connection so long that it seems far; not each one of many.
    let mut plain = [0, 0];
    let began = Instant::now();
    while plain.contains(&0) && began.elapsed() < Duration::from_secs(60) {
        let near = stage.case(Compress::Auto, few).await;
        // Passwords are hashed slowly, names looked up slowly: that is no distance.
        hold_up(&near.proxies[0], 0, 200);
        hold_up(&near.proxies[1], 200, 0);
        near.pass(PassKind::Seed).await.expect("it passes");
        near.assert_equal("near");
        for (side, plain) in plain.iter_mut().enumerate() {
            *plain += near.proxies[side].connections() - compressed(&near, side);
        }
    }
    assert!(plain[0] > 0 && plain[1] > 0, "{plain:?} connections were taken for near");
    let far = stage.case(Compress::Auto, few).await;
    far.proxies.iter().for_each(|proxy| hold_up(proxy, 40, 40));
    far.pass(PassKind::Seed).await.expect("it passes");
    far.assert_equal("far");
    for (side, proxy) in far.proxies.iter().enumerate() {
        // A lane that comes too late to be of use is given up before it has signed in.
        let signed_in = proxy.heard().iter().filter(|line| line.contains(" ID (")).count() as u64;
        assert!(signed_in > 0);
        assert_eq!(compressed(&far, side), signed_in, "side {side}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_cut_off_is_met_again_compressed() {
    let stage = Stage::new();
    let whole = stage.case(Compress::Always, varied).await;
    whole.pass(PassKind::Seed).await.expect("undisturbed");
    let case = stage.case(Compress::Always, varied).await;
    // In the middle of its messages.
    case.proxies[0].set(When::byte(ToClient, bytes(&whole)[0] * 2 / 3), What::Cut);
    case.pass(PassKind::Seed).await.expect("it goes on");
    assert_eq!(case.proxies[0].fired(), 1);
    assert!(case.proxies[0].connections() > whole.proxies[0].connections());
    assert_eq!(compressed(&case, 0), case.proxies[0].connections());
    case.assert_equal("met again");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_passes_may_break_off_anywhere_and_lose_and_double_nothing() {
    let stage = Stage::new();
    let seed = seed("SEED");
    let mut rng = Rng::new(seed);
    let whole = stage.case(Compress::Always, few).await;
    whole.pass(PassKind::Seed).await.expect("undisturbed");
    let (rounds, mut fired) = (if is_full() { 200 } else { 30 }, 0);
    for round in 0..rounds {
        let case = stage.case(Compress::Always, few).await;
        let (side, direction) = (round % 2, [ToServer, ToClient][round / 2 % 2]);
        let proxy = &case.proxies[side];
        let kind = if round % 3 == 0 { PassKind::Delta } else { PassKind::Seed };
        let (mut from, mut n) = (0, whole.proxies[side].bytes(direction));
        if kind == PassKind::Delta {
            case.pass(PassKind::Seed).await.expect("undisturbed");
            changes(&mut case.world.at_source());
            (from, n) = (proxy.bytes(direction), n / 4);
        }
        let at = from + rng.below(n as usize) as u64;
        proxy.set(When::byte(direction, at), What::Cut);
        let _ = case.pass(kind).await;
        fired += proxy.fired();
        let hint = format!("SEED={seed}, round {round}, {kind:?}, side {side}, {direction:?}");
        case.ends_equal(&hint).await;
    }
    assert!(fired * 10 > rounds as u64 * 8, "{fired} of {rounds} passes were cut");
}

/// Deflate has no checksum: a flipped bit may come out as anything. But nobody panics or hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_in_what_is_compressed_ends_the_pass_at_worst() {
    let stage = Stage::new();
    let seed = seed("SEED");
    let mut rng = Rng::new(seed);
    let whole = stage.case(Compress::Always, few).await;
    whole.pass(PassKind::Seed).await.expect("undisturbed");
    let mut failed = 0;
    for _ in 0..if is_full() { 200 } else { 16 } {
        let case = stage.case(Compress::Always, few).await;
        // From where both are compressed.
        let at = 1_000 + rng.below(bytes(&whole)[0] as usize - 1_000) as u64;
        case.proxies[0].set(When::byte(ToClient, at), What::Flip);
        failed += u32::from(case.pass(PassKind::Seed).await.is_err());
    }
    println!("{failed} passes failed");
}

/// A source at a server that signs in, takes the setup's commands and does this then; up to the
/// source's folders.
async fn met(
    deed: impl AsyncFnOnce(BufReader<TcpStream>, Vec<String>) + 'static,
) -> Result<(), platform::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
    let port = listener.local_addr().expect("an address").port();
    let serving = async move {
        let (stream, _) = listener.accept().await.expect("drover comes");
        let mut stream = BufReader::new(stream);
        let greeting = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n";
        stream.write_all(greeting).await.expect("greet");
        let signed_in =
            "$ OK [CAPABILITY IMAP4rev1 ID ENABLE QRESYNC NAMESPACE COMPRESS=DEFLATE] in\r\n";
        let tag = tag(&line(&mut stream).await);
        stream.write_all(signed_in.replace('$', &tag).as_bytes()).await.expect("sign in");
        // The whole flight, of which nothing is answered yet.
        let mut flight = Vec::new();
        while !flight.last().is_some_and(|line: &String| line.contains("COMPRESS")) {
            flight.push(line(&mut stream).await);
        }
        deed(stream, flight).await;
    };
    let options =
        platform::Options { idle: Duration::from_secs(2), ..platform::Options::default() };
    let meeting = async {
        let endpoint = Endpoint { compress: Compress::Always, ..support::endpoint(port) };
        let mut source = platform::source(&support::account(endpoint), &options).await?;
        source.folders().await.map(drop)
    };
    tokio::join!(serving, meeting).1
}

async fn line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("drover speaks");
    assert!(!line.is_empty(), "drover hung up");
    line
}

fn tag(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().into()
}

/// Answers to these commands.
fn answers(lines: &[String]) -> String {
    let answer = |line: &String| {
        let data = match line.contains("NAMESPACE") {
            true => "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n",
            false => "",
        };
        format!("{data}{} OK done\r\n", tag(line))
    };
    lines.iter().map(answer).collect()
}

fn deflated(bytes: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 1000);
    flate2::Compress::new(Compression::best(), false)
        .compress_vec(bytes, &mut out, flush)
        .expect("it deflates");
    out
}

/// Answers the flight, and has this follow for ever.
fn flooding(bytes: Vec<u8>) -> impl AsyncFnOnce(BufReader<TcpStream>, Vec<String>) {
    async move |mut stream, flight| {
        stream.write_all(answers(&flight).as_bytes()).await.expect("answer");
        while stream.write_all(&bytes).await.is_ok() {}
    }
}

#[tokio::test]
async fn compress_goes_with_the_other_commands_and_nothing_follows_before_its_answer() {
    // The server answers nothing before it has it all: else drover would wait for ever.
    let met = met(async |mut stream, flight| {
        let verbs: Vec<_> = flight.iter().filter_map(|l| l.split_whitespace().nth(1)).collect();
        assert_eq!(verbs, ["ID", "ENABLE", "NAMESPACE", "COMPRESS"]);
        let more = tokio::time::timeout(Duration::from_millis(100), stream.read_u8()).await;
        assert!(more.is_err(), "drover says more: {more:?}");
        stream.write_all(b"* BYE that is all\r\n").await.expect("speak");
    });
    let error = met.await.expect_err("the server hangs up");
    assert!(error.to_string().contains("that is all"), "{error}");
}

#[tokio::test]
async fn answers_are_inflated_from_the_ok_on_even_if_it_overtakes_others_and_they_come_with_it() {
    let met = met(async |mut stream, mut flight| {
        let compress = flight.pop().expect("the last one");
        let mut said = answers(&[compress]).into_bytes();
        let mut deflate = flate2::Compress::new(Compression::fast(), false);
        let mut say = |text: String| {
            let mut out = Vec::with_capacity(text.len() + 1000);
            let done = deflate.compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync);
            done.expect("it deflates");
            out
        };
        said.extend(say(answers(&flight)));
        stream.write_all(&said).await.expect("answer");
        let mut inflate = flate2::Decompress::new(false);
        let (mut heard, mut text) = ([0; 1000], Vec::with_capacity(1000));
        let n = stream.read(&mut heard).await.expect("drover speaks");
        let done = inflate.decompress_vec(&heard[..n], &mut text, FlushDecompress::None);
        done.expect("it is deflated");
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(" LIST "), "{text}");
        let list = format!("* LIST () \"/\" INBOX\r\n{} OK done\r\n", tag(&text));
        stream.write_all(&say(list)).await.expect("answer");
        // Whatever else is asked is not answered.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let error = met.await.err();
    assert!(matches!(error, None | Some(platform::Error::Silent { .. })), "{error:?}");
}

#[tokio::test]
async fn plain_text_after_the_ok_breaks_the_connection_and_says_what_to_do() {
    for garbage in [&b"* OK still plain\r\n"[..], &[0xff; 3000], &[0x06]] {
        let error = met(flooding(garbage.to_vec())).await.expect_err("that is no deflate");
        assert!(matches!(error, platform::Error::Broken { .. }), "{error}");
        assert!(error.to_string().contains("compress = \"never\""), "{error}");
    }
}

#[tokio::test]
async fn bombs_end_at_the_limits_that_hold_for_every_answer() {
    let line = vec![b'A'; 1 << 20];
    let talk = b"* OK Still here\r\n".repeat(1 << 16);
    for endless in [line, talk] {
        // Each flush forgets what was before: the same bytes go on and on.
        let bomb = deflated(&endless, FlushCompress::Full);
        assert!(bomb.len() * 200 < endless.len());
        let error = met(flooding(bomb)).await.expect_err("it never ends");
        assert!(matches!(error, platform::Error::Protocol { .. }), "{error}");
    }
}

#[tokio::test]
async fn blocks_of_nothing_without_end_are_silence() {
    let start = Instant::now();
    let error = met(flooding([0, 0, 0, 0xff, 0xff].repeat(1000))).await.expect_err("no end");
    assert!(matches!(error, platform::Error::Silent { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
