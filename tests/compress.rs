//! COMPRESS=DEFLATE (RFC 4978): passes over compressed connections are like any other, when they are
//! compressed and when not, and what a server can do to whoever inflates its answers.
//!
//! Offsets come from a seed that is printed; `SEED=` repeats them.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use drover::definition::{Account, Compress, Endpoint, Login, SecretRef, Tls};
use drover::model::PassKind;
use drover::platform;
use drover::sync::Error;
use flate2::{Compression, FlushCompress, FlushDecompress};
use support::mail::{self, Mail, Rng};
use support::proxy::Direction::{ToClient, ToServer};
use support::proxy::{Proxy, What, When};
use support::{Dovecot, Imap, Options, World, note};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// No pass may take longer, whatever the wire does.
const BOUND: Duration = Duration::from_secs(20);

/// Two servers that can compress, and a user for each case.
struct Stage {
    source: Dovecot,
    destination: Dovecot,
    n_users: AtomicU32,
}

/// One mailbox with a proxy on each side.
struct Case {
    world: World,
    /// Source, destination.
    proxies: [Proxy; 2],
}

impl Stage {
    fn new() -> Self {
        let server =
            || Dovecot::builder().tls().raw_conf("protocol imap {\n  mail_plugins = imap_zlib\n}");
        let (source, destination) = (server().start(), server().start());
        Self { source, destination, n_users: AtomicU32::new(0) }
    }

    /// A mailbox of its own, over two connections to each side.
    async fn case(&self, compress: Compress, fill: impl FnOnce(&mut Imap)) -> Case {
        let ports = [&self.source, &self.destination].map(Dovecot::port);
        self.case_before(ports.map(Proxy::before), compress, fill).await
    }

    /// The same in TLS, where a proxy sees nothing but bytes.
    async fn encrypted(&self, compress: Compress, fill: impl FnOnce(&mut Imap)) -> Case {
        let servers = [&self.source, &self.destination];
        let proxies = servers.map(|server| Proxy::raw(server.tls_port()));
        let mut case = self.case_before(proxies, compress, fill).await;
        for (n, server) in servers.into_iter().enumerate() {
            let endpoint = case.endpoint(n);
            (endpoint.tls, endpoint.ca_file) = (Tls::Implicit, Some(server.ca_file()));
        }
        case
    }

    async fn case_before(
        &self,
        proxies: [Proxy; 2],
        compress: Compress,
        fill: impl FnOnce(&mut Imap),
    ) -> Case {
        let user = format!("user{}", self.n_users.fetch_add(1, Ordering::Relaxed));
        let mut world = World::of(&user, self.source.handle(), self.destination.handle()).await;
        world.connect_through(&proxies[0], &proxies[1], 2);
        world.context_mut().options.idle = Duration::from_secs(5);
        fill(&mut world.at_source());
        let mut case = Case { world, proxies };
        (0..2).for_each(|side| case.endpoint(side).compress = compress);
        case
    }
}

impl Case {
    fn endpoint(&mut self, side: usize) -> &mut Endpoint {
        let mailbox = &mut self.world.mailbox;
        Arc::make_mut(&mut [&mut mailbox.source, &mut mailbox.destination][side].endpoint)
    }

    /// How many connections to this side were compressed.
    fn compressed(&self, side: usize) -> u64 {
        let heard = self.proxies[side].heard();
        heard.iter().filter(|line| line.ends_with(" COMPRESS DEFLATE")).count() as u64
    }

    fn bytes(&self) -> [u64; 2] {
        [self.proxies[0].bytes(ToClient), self.proxies[1].bytes(ToServer)]
    }

    /// Runs a pass over a wire that may be anything, within bounds.
    async fn pass(&self, kind: PassKind) -> Result<(), Error> {
        let pass = tokio::time::timeout(BOUND, Box::pin(self.world.try_pass(kind)));
        pass.await.expect("the pass ends").map(|_| ())
    }

    /// Takes the faults away and passes until there is nothing to do.
    async fn rest(&self, hint: &str) {
        for proxy in &self.proxies {
            proxy.clear();
            proxy.sever();
        }
        self.proxies.iter().for_each(Proxy::drained);
        self.proxies.iter().for_each(Proxy::heal);
        for _ in 0..4 {
            match Box::pin(self.world.try_pass(PassKind::Delta)).await {
                Ok(report) if report.quiet => return,
                Ok(_) => {}
                Err(error) => panic!("{hint}: the wire is sound, and yet: {error}"),
            }
        }
        panic!("{hint}: drover finds no rest");
    }

    /// Both sides are the same.
    fn is_equal(&self, hint: &str) {
        let source = support::snapshot(&mut self.world.at_source());
        let destination = support::snapshot(&mut self.world.at_destination());
        let options = Options { ignore_order: true, ..Options::default() };
        let found = support::compare::differences(&source, &destination, &options);
        assert!(found.is_empty(), "{hint}:\n{}", found.join("\n"));
    }
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
            assert_eq!(case.compressed(side), wanted, "{compress:?}, side {side}");
        }
        taken[n] = case.bytes();
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
        taken[n] = case.bytes();
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
    case.is_equal("waiting literals");
    assert_eq!(case.compressed(1), case.proxies[1].connections());
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
        case.is_equal(answer);
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
        case.is_equal("plain");
        assert_eq!((case.compressed(0), case.compressed(1)), (0, 0));
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
        near.is_equal("near");
        for (side, plain) in plain.iter_mut().enumerate() {
            *plain += near.proxies[side].connections() - near.compressed(side);
        }
    }
    assert!(plain[0] > 0 && plain[1] > 0, "{plain:?} connections were taken for near");
    let far = stage.case(Compress::Auto, few).await;
    far.proxies.iter().for_each(|proxy| hold_up(proxy, 40, 40));
    far.pass(PassKind::Seed).await.expect("it passes");
    far.is_equal("far");
    for (side, proxy) in far.proxies.iter().enumerate() {
        // A lane that comes too late to be of use is given up before it has signed in.
        let signed_in = proxy.heard().iter().filter(|line| line.contains(" ID (")).count() as u64;
        assert!(signed_in > 0);
        assert_eq!(far.compressed(side), signed_in, "side {side}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_cut_off_is_met_again_compressed() {
    let stage = Stage::new();
    let whole = stage.case(Compress::Always, varied).await;
    whole.pass(PassKind::Seed).await.expect("undisturbed");
    let case = stage.case(Compress::Always, varied).await;
    // In the middle of its messages.
    case.proxies[0].set(When::byte(ToClient, whole.bytes()[0] * 2 / 3), What::Cut);
    case.pass(PassKind::Seed).await.expect("it goes on");
    assert_eq!(case.proxies[0].fired(), 1);
    assert!(case.proxies[0].connections() > whole.proxies[0].connections());
    assert_eq!(case.compressed(0), case.proxies[0].connections());
    case.is_equal("met again");
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    seed
}

fn is_full() -> bool {
    std::env::var("DROVER_TORTURE").is_ok_and(|v| v == "full")
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_passes_may_break_off_anywhere_and_lose_and_double_nothing() {
    let stage = Stage::new();
    let seed = seed();
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
        case.rest(&hint).await;
        case.is_equal(&hint);
    }
    assert!(fired * 10 > rounds as u64 * 8, "{fired} of {rounds} passes were cut");
}

/// Deflate has no checksum: a flipped bit may come out as anything. But nobody panics or hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_in_what_is_compressed_ends_the_pass_at_worst() {
    let stage = Stage::new();
    let seed = seed();
    let mut rng = Rng::new(seed);
    let whole = stage.case(Compress::Always, few).await;
    whole.pass(PassKind::Seed).await.expect("undisturbed");
    let mut failed = 0;
    for _ in 0..if is_full() { 200 } else { 16 } {
        let case = stage.case(Compress::Always, few).await;
        // From where both are compressed.
        let at = 1_000 + rng.below(whole.bytes()[0] as usize - 1_000) as u64;
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
    let address = listener.local_addr().expect("an address");
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
        let mut source = platform::source(&account(address), &options).await?;
        source.folders().await.map(drop)
    };
    tokio::join!(serving, meeting).1
}

fn account(address: SocketAddr) -> Account {
    let endpoint = Endpoint {
        platform: "imap".into(),
        host: address.ip().to_string(),
        port: address.port(),
        tls: Tls::None,
        ca_file: None,
        connections: 1,
        compress: Compress::Always,
    };
    // Any variable that is surely set.
    let login = Login::Password(SecretRef::Env("PATH".into()));
    Account { user: "alice".into(), endpoint: Arc::new(endpoint), login }
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
