//! The proxy that the fault tests stand on: it does what it is told, where it is told, and nothing
//! else.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::proxy::{Counter, Direction, Proxy, Then, What, When};
use support::{Dovecot, Imap, note};

struct Stand {
    server: Dovecot,
    proxy: Proxy,
}

/// A server, and a proxy before it.
fn stand() -> Stand {
    let server = Dovecot::start();
    let proxy = Proxy::before(server.port());
    Stand { server, proxy }
}

impl Stand {
    /// Through the proxy.
    fn through(&self) -> Imap {
        Imap::try_login("127.0.0.1", self.proxy.port(), "anna", "pw").expect("sign in")
    }

    /// Appends one message through the proxy.
    fn append(&self, imap: &mut Imap) -> Result<u32, String> {
        let note = note("hello");
        imap.try_append("INBOX", "", note.date, &note.bytes)
    }

    /// Messages that the server has.
    fn n_there(&self) -> usize {
        self.server.connect("anna").uids("INBOX").len()
    }
}

#[test]
fn without_faults_everything_passes_and_is_counted() {
    let stand = stand();
    let mut imap = stand.through();
    stand.append(&mut imap).expect("append");
    assert_eq!(imap.messages("INBOX").len(), 1);
    assert_eq!(stand.proxy.connections(), 1);
    assert_eq!(stand.proxy.fired(), 0);
    let commands = stand.proxy.heard().iter().filter(|line| !line.is_empty()).count() as u64;
    assert_eq!(stand.proxy.commands(), commands, "{:?}", stand.proxy.heard());
    assert!(stand.proxy.bytes(Direction::ToServer) > 0);
}

#[test]
fn a_command_is_cut_before_in_or_after_the_server_has_it() {
    let append = || When::verb("APPEND");
    for (when, n) in [
        (append().before(), 0),
        (append().after_line(), 0),
        (append().in_literal(), 0),
        (append().answered(), 1),
        (append().nth(2), 1),
    ] {
        let stand = stand();
        stand.proxy.set(when.clone(), What::Cut);
        let mut imap = stand.through();
        let ended = stand.append(&mut imap).and_then(|_| stand.append(&mut imap));
        assert!(ended.is_err(), "{when:?}");
        assert_eq!((stand.n_there(), stand.proxy.fired()), (n, 1), "{when:?}");
        stand.append(&mut stand.through()).expect("once only");
    }
}

#[test]
fn drover_may_be_cut_off_while_the_server_gets_the_command_late() {
    let stand = stand();
    let late = Duration::from_millis(200);
    stand.proxy.set(When::verb("APPEND").sent(), What::CutClient);
    stand.append(&mut stand.through()).expect_err("cut off");
    stand.proxy.drained();
    assert_eq!(stand.n_there(), 1);
    stand.proxy.set(When::verb("APPEND"), What::Late(late));
    stand.append(&mut stand.through()).expect_err("cut off");
    assert_eq!(stand.n_there(), 1);
    stand.proxy.drained();
    assert_eq!(stand.n_there(), 2);
}

#[test]
fn an_answer_in_the_servers_place_keeps_the_command_from_it() {
    let stand = stand();
    stand.proxy.times(2, When::verb("APPEND"), What::answer("* 7 EXISTS\r\nNO [LIMIT] no more"));
    let mut imap = stand.through();
    for _ in 0..2 {
        let refused = stand.append(&mut imap).expect_err("refused");
        assert!(refused.contains("NO [LIMIT] no more"), "{refused}");
    }
    stand.append(&mut imap).expect("append");
    assert_eq!(stand.n_there(), 1);
    stand.proxy.set(When::any(), What::LastWords("* BYE going down".into()));
    imap.try_command("NOOP").expect_err("the connection is gone");
}

#[test]
fn an_answer_is_rewritten_and_lines_are_put_before_it() {
    let stand = stand();
    let mut imap = stand.through();
    stand.proxy.set(When::verb("NOOP").answered(), What::inject("* OK [ALERT] hear\r\n"));
    stand.proxy.set(When::verb("NOOP").answered(), What::rewrite("OK [X] other"));
    let reply = imap.command("NOOP");
    assert_eq!(reply.tagged, "OK [X] other");
    assert_eq!(reply.untagged.last().expect("a line").text, "OK [ALERT] hear");
    stand.proxy.hide_ids();
    stand.append(&mut imap).expect_err("no APPENDUID");
}

#[test]
fn bytes_are_cut_flipped_and_split_where_the_test_says() {
    let stand = stand();
    stand.proxy.set(When::byte(Direction::ToClient, 0), What::Flip);
    stand.proxy.set(When::byte(Direction::ToClient, 1).on_connection(1), What::Cut);
    let error = Imap::try_login("127.0.0.1", stand.proxy.port(), "anna", "pw").err();
    assert!(error.is_some());
    assert_eq!(stand.proxy.bytes(Direction::ToClient), 1);
    stand.proxy.always(When::byte(Direction::ToServer, 0).on_each_connection(), What::Split(3));
    let mut imap = stand.through();
    stand.append(&mut imap).expect("append");
    assert_eq!(imap.messages("INBOX")[0].body, note("hello").bytes);
}

#[test]
fn what_is_stalled_stays_so_until_the_faults_are_cleared_and_delays_end() {
    let stand = stand();
    let mut imap = stand.through();
    let start = Instant::now();
    stand.proxy.set(When::verb("NOOP"), What::Delay(Duration::from_millis(50)));
    imap.command("NOOP");
    assert!(start.elapsed() >= Duration::from_millis(50));
    stand.proxy.set(When::verb("NOOP").answered(), What::Stall);
    let proxy = stand.proxy.clone();
    let clear = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        proxy.clear();
    });
    imap.try_command("NOOP").expect_err("stalled, then cut");
    clear.join().expect("clear");
}

#[test]
fn numbers_are_counted_over_proxies_and_a_closure_may_pull_every_plug() {
    let server = Dovecot::start();
    let counter = Counter::default();
    let (one, two) =
        (Proxy::counting(server.port(), &counter), Proxy::counting(server.port(), &counter));
    let sign_in = |proxy: &Proxy| Imap::try_login("127.0.0.1", proxy.port(), "anna", "pw");
    let mut first = sign_in(&one).expect("sign in");
    let n_called = Arc::new(AtomicU64::new(0));
    for proxy in [&one, &two] {
        let (calls, plugs) = (Arc::clone(&n_called), [one.clone(), two.clone()]);
        let pull = What::call(move || {
            calls.fetch_add(1, Ordering::SeqCst);
            plugs.iter().for_each(Proxy::sever);
            Then::Cut
        });
        proxy.set(When::command(counter.read() + 2), pull);
    }
    first.command("NOOP");
    assert!(sign_in(&two).is_err(), "its first command is the one");
    first.try_command("NOOP").expect_err("everything is severed");
    assert!(sign_in(&one).is_err());
    assert_eq!(n_called.load(Ordering::SeqCst), 1);
    one.clear();
    one.heal();
    sign_in(&one).expect("healed");
}

#[test]
fn an_answer_is_cut_in_the_middle_of_its_literal() {
    let stand = stand();
    let mut imap = stand.through();
    stand.append(&mut imap).expect("append");
    imap.select("INBOX");
    stand.proxy.set(When::verb("UID FETCH").in_answer(), What::Cut);
    imap.try_command("UID FETCH 1 (BODY.PEEK[])").expect_err("cut");
    assert_eq!(stand.proxy.fired(), 1);
}
