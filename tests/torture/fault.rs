//! What breaks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::drover::kill_process;
use crate::support::mail::Rng;
use crate::support::proxy::{Direction, Proxy, Then, What, When};
use crate::support::world::copy_directory;

use super::campaign::{Field, Wire};
use super::herd::Memory;

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// What breaks in a round.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Nothing: also that must go well.
    Nothing,
    /// drover dies, whatever it is doing.
    Kill,
    /// drover dies at a point of the conversation with the destination.
    KillAt(Point, &'static str),
    /// drover dies while definitions are being changed.
    KillBetweenDefinitions,
    /// A server dies, with all its processes at once, and comes back.
    KillServer(Side),
    /// A server is restarted in good order.
    RestartServer(Side),
    /// A connection breaks at some byte.
    CutByte(Side, Direction),
    /// Connections break at a command.
    CutCommand(Side, Point, &'static str),
    /// What was sent reaches the server when drover has long seen the connection break.
    Late,
    /// Nothing more comes.
    Stall(Side, Direction),
    /// Everything comes late, or in crumbs.
    Crawl(Side, Direction),
    /// A byte changes on its way. Only where TLS guards the connection.
    Flip(Side, Direction),
    /// The server answers otherwise than it should.
    Lie(Side, &'static str, &'static str),
    /// The destination does as told and says that it did not.
    DeniedAppend,
    /// The server says what nobody asked for.
    Chatter(Side, &'static str),
    /// All ids of a folder are over.
    Renew(Side),
    /// A file of the ledger ends at some byte.
    LedgerCut,
    /// Some bytes of the ledger change.
    LedgerFlip,
    /// The ledger is put back from an older copy.
    LedgerOld,
    /// The ledger is gone.
    LedgerLost,
}

/// A moment of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Point {
    Before,
    AfterLine,
    InLiteral,
    Sent,
    Answered,
    /// A moment after the answer went through: the outcome is being made durable.
    Flushing,
}

const WRITES: [&str; 7] =
    ["APPEND", "APPEND", "UID STORE", "UID MOVE", "RENAME", "CREATE", "UID EXPUNGE"];
const READS: [&str; 5] = ["UID FETCH", "LIST", "EXAMINE", "LOGIN", "UID SEARCH"];
const LIES: [(&str, &str); 16] = [
    ("APPEND", "NO [INUSE] mailbox is busy"),
    ("APPEND", "NO [SERVERBUG] internal error"),
    ("APPEND", "NO [UNAVAILABLE] Temporary System Problem (Failure)"),
    ("APPEND", "BAD Request is throttled. Suggested Backoff Time: 200 milliseconds"),
    ("APPEND", "NO [TRYCREATE] no such folder"),
    ("APPEND", "NO"),
    ("APPEND", "BAD"),
    ("UID FETCH", "NO [SERVERBUG] try again"),
    ("UID FETCH", "BAD Request is throttled. Suggested Backoff Time: 300 milliseconds"),
    ("UID FETCH", "OK"),
    ("LIST", "NO [UNAVAILABLE] later"),
    ("EXAMINE", "NO [INUSE] locked"),
    ("SELECT", "NO [INUSE] locked"),
    ("UID STORE", "NO [SERVERBUG] oops"),
    ("UID MOVE", "NO [SERVERBUG] oops"),
    ("LOGIN", "NO [UNAVAILABLE] Temporary authentication failure"),
];
const CHATTER: [&str; 7] = [
    "* OK [ALERT] maintenance tonight\r\n",
    "* OK Still here\r\n",
    "Server Unavailable. 15\r\n",
    "* 1 FETCH (FLAGS (\\Seen))\r\n",
    "* FLAGS (\\Seen $Whatever)\r\n",
    "\0\0\0",
    "* CAPABILITY IMAP4rev1 XANYTHING\r\n* NO [X-UNHEARD-OF (a (b))] said in passing\r\n",
];

fn one_of<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.below(all.len())]
}

impl Fault {
    /// One of those that can be.
    pub(crate) fn random(rng: &mut Rng, memory: Memory, wire: Wire) -> Self {
        let side = one_of(rng, &[Side::Source, Side::Destination]);
        let direction = one_of(rng, &[Direction::ToServer, Direction::ToClient]);
        if memory == Memory::Lost && rng.chance(50) {
            return match rng.below(5) {
                0 | 1 => Self::LedgerCut,
                2 => Self::LedgerFlip,
                3 => Self::LedgerOld,
                _ => Self::LedgerLost,
            };
        }
        if wire == Wire::Tls && rng.chance(30) {
            return Self::Flip(side, direction);
        }
        let can_follow = wire == Wire::Plain;
        match rng.below(20) {
            0 => Self::Nothing,
            1..4 => Self::Kill,
            4 => Self::KillBetweenDefinitions,
            5 => Self::KillServer(side),
            6 => Self::RestartServer(side),
            7 | 8 => Self::CutByte(side, direction),
            9 => Self::Stall(side, direction),
            10 => Self::Crawl(side, direction),
            11 => Self::Renew(side),
            _ if !can_follow => Self::Kill,
            12 | 13 => {
                let point = [
                    Point::AfterLine,
                    Point::InLiteral,
                    Point::Sent,
                    Point::Answered,
                    Point::Flushing,
                    Point::Before,
                ];
                Self::KillAt(one_of(rng, &point), one_of(rng, &WRITES))
            }
            14 => {
                let points = [Point::Before, Point::InLiteral, Point::Sent, Point::Answered];
                let verbs: &[&'static str] = if side == Side::Source { &READS } else { &WRITES };
                Self::CutCommand(side, one_of(rng, &points), one_of(rng, verbs))
            }
            15 => Self::Late,
            16 => Self::DeniedAppend,
            17 | 18 => {
                let (verb, text) = one_of(rng, &LIES);
                let writes = WRITES.contains(&verb) || verb == "SELECT";
                let side = if writes { Side::Destination } else { side };
                Self::Lie(side, verb, text)
            }
            _ => Self::Chatter(side, one_of(rng, &CHATTER)),
        }
    }

    /// What it is called in the summary.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Kill => "killed",
            Self::KillAt(point, _) => match point {
                Point::Before => "killed before a command",
                Point::AfterLine => "killed after the intent",
                Point::InLiteral => "killed in the bytes",
                Point::Sent => "killed after the bytes",
                Point::Answered => "killed after the OK",
                Point::Flushing => "killed in the flush",
            },
            Self::KillBetweenDefinitions => "killed between definitions",
            Self::KillServer(_) => "server killed",
            Self::RestartServer(_) => "server restarted",
            Self::CutByte(..) => "cut at a byte",
            Self::CutCommand(..) => "cut at a command",
            Self::Late => "landed late",
            Self::Stall(..) => "stalled",
            Self::Crawl(..) => "slow or split",
            Self::Flip(..) => "byte flipped in TLS",
            Self::Lie(..) => "refused",
            Self::DeniedAppend => "done and denied",
            Self::Chatter(..) => "unasked answers",
            Self::Renew(Side::Source) => "source ids renewed",
            Self::Renew(Side::Destination) => "destination ids renewed",
            Self::LedgerCut => "ledger cut",
            Self::LedgerFlip => "ledger bytes flipped",
            Self::LedgerOld => "older ledger",
            Self::LedgerLost => "ledger lost",
        }
    }
}

fn proxy(field: &Field, side: Side) -> Proxy {
    match side {
        Side::Source => field.before_source.clone(),
        Side::Destination => field.before_destination.clone(),
    }
}

fn moment(verb: &str, point: Point) -> When {
    let when = When::verb(verb);
    match point {
        Point::Before => when.before(),
        Point::AfterLine => when.after_line(),
        // Not every command has a literal; then nothing happens, which is a round in peace.
        Point::InLiteral if verb == "APPEND" => when.in_literal(),
        Point::InLiteral => when.sent(),
        Point::Sent => when.sent(),
        Point::Answered | Point::Flushing => when.answered(),
    }
}

/// Does it, and undoes what does not undo itself.
pub(crate) fn strike(field: &mut Field, fault: &Fault) {
    match fault {
        Fault::Nothing => field.work(),
        Fault::Kill => {
            field.pause(900);
            field.kill();
        }
        Fault::KillAt(point, verb) => kill_at(field, *point, verb),
        Fault::KillBetweenDefinitions => between_definitions(field),
        Fault::KillServer(side) => {
            field.pause(400);
            field.tally.kills += 1;
            match side {
                Side::Source => field.source.kill(),
                Side::Destination => field.destination.kill(),
            }
            field.pause(200);
            restart(field, *side);
        }
        Fault::RestartServer(side) => {
            field.pause(400);
            restart(field, *side);
        }
        Fault::CutByte(side, direction) => {
            let proxy = proxy(field, *side);
            let at = proxy.bytes(*direction) + field.soon(*side, *direction);
            wire(field, &proxy, When::byte(*direction, at), What::Cut);
        }
        Fault::CutCommand(side, point, verb) => {
            let proxy = proxy(field, *side);
            wire(field, &proxy, moment(verb, *point), What::Cut);
        }
        Fault::Late => {
            let proxy = proxy(field, Side::Destination);
            let late = Duration::from_millis(50 + field.rng.below(250) as u64);
            wire(field, &proxy, When::verb("APPEND").in_literal(), What::Late(late));
        }
        Fault::Stall(side, direction) => {
            let proxy = proxy(field, *side);
            let at = proxy.bytes(*direction) + field.soon(*side, *direction);
            wire(field, &proxy, When::byte(*direction, at), What::Stall);
        }
        Fault::Crawl(side, direction) => {
            let proxy = proxy(field, *side);
            let what = match field.rng.below(2) {
                0 => What::Delay(Duration::from_millis(200)),
                _ => What::Split(3),
            };
            let at = proxy.bytes(*direction) + field.soon(*side, *direction);
            wire(field, &proxy, When::byte(*direction, at), what);
        }
        Fault::Flip(side, direction) => {
            let proxy = proxy(field, *side);
            let at = proxy.bytes(*direction) + field.soon(*side, *direction);
            wire(field, &proxy, When::byte(*direction, at), What::Flip);
        }
        Fault::Lie(side, verb, text) => {
            let proxy = proxy(field, *side);
            let times = field.rng.below(4) as u64 + 1;
            proxy.times(times, When::verb(verb), What::answer(text));
            lied(field, &proxy);
        }
        Fault::DeniedAppend => {
            let proxy = proxy(field, Side::Destination);
            proxy.set(
                When::verb("APPEND").answered(),
                What::rewrite("NO [SERVERBUG] it took too long"),
            );
            lied(field, &proxy);
        }
        Fault::Chatter(side, text) => {
            let proxy = proxy(field, *side);
            let nth = field.rng.below(6) as u64 + 1;
            proxy.times(3, When::any().nth(nth).answered(), What::inject(text));
            lied(field, &proxy);
        }
        Fault::Renew(side) => {
            field.kill();
            match side {
                Side::Source => field.herd.renew_source_folder(&field.source),
                Side::Destination => field.herd.renew_destination_folder(&field.destination),
            }
        }
        Fault::LedgerCut | Fault::LedgerFlip | Fault::LedgerOld | Fault::LedgerLost => {
            field.work();
            field.kill();
            field.tally.ledgers += 1;
            let state = field.drover.path("state");
            spoil(field, &state, fault);
        }
    }
}

/// Sets a fault of the wire and lets drover run into it.
fn wire(field: &mut Field, proxy: &Proxy, when: When, what: What) {
    let before = proxy.fired();
    proxy.set(when, what);
    field.work();
    field.tally.cuts += proxy.fired() - before;
}

/// Lets drover run into lies that were set.
fn lied(field: &mut Field, proxy: &Proxy) {
    let before = proxy.fired();
    field.work();
    field.tally.lies += proxy.fired() - before;
}

fn kill_at(field: &mut Field, point: Point, verb: &str) {
    let proxy = proxy(field, Side::Destination);
    let pid = field.drover.pid();
    let flush = Duration::from_micros(field.rng.below(4000) as u64);
    let nth = if verb == "APPEND" { field.rng.below(4) as u64 + 1 } else { 1 };
    let before = proxy.fired();
    proxy.set(
        moment(verb, point).nth(nth),
        What::call(move || {
            if let Point::Flushing = point {
                // The answer goes through, and a moment later the end comes.
                std::thread::spawn(move || {
                    std::thread::sleep(flush);
                    kill_process(pid);
                });
                return Then::GoOn;
            }
            kill_process(pid);
            Then::Cut
        }),
    );
    field.work();
    if proxy.fired() > before {
        field.kill();
    }
}

/// Definitions change as a version control system changes them: piece by piece, and drover dies
/// in the middle of it.
fn between_definitions(field: &mut Field) {
    let path = field.drover.path("definitions/herd.toml");
    let whole = std::fs::read(&path).expect("read the definition");
    std::fs::write(&path, &whole[..field.rng.below(whole.len())]).expect("write the definition");
    field.pause(120);
    if field.rng.chance(50) {
        std::fs::remove_file(&path).expect("remove the definition");
        field.pause(120);
    }
    if field.rng.chance(50) {
        field.kill();
        field.drover.start();
        field.pause(300);
    }
    std::fs::write(&path, &whole).expect("write the definition");
    field.pause(200);
    field.kill();
}

fn restart(field: &mut Field, side: Side) {
    match side {
        Side::Source => field.source.restart(),
        Side::Destination => field.destination.restart(),
    }
}

fn spoil(field: &mut Field, state: &Path, fault: &Fault) {
    let copy = field.drover.path("copy");
    match fault {
        Fault::LedgerOld if copy.exists() => {
            std::fs::remove_dir_all(state).expect("remove the ledger");
            copy_directory(&copy, state);
            return;
        }
        Fault::LedgerOld => return copy_directory(state, &copy),
        Fault::LedgerLost => return std::fs::remove_dir_all(state).expect("remove the ledger"),
        _ => {}
    }
    let mut files = Vec::new();
    list(&state.join("sled"), &mut files);
    files.sort();
    let Some(file) = files.get(field.rng.below(files.len().max(1))) else { return };
    let mut bytes = std::fs::read(file).expect("read a file of the ledger");
    if bytes.is_empty() {
        return;
    }
    match fault {
        Fault::LedgerCut => bytes.truncate(field.rng.below(bytes.len())),
        _ => {
            for _ in 0..=field.rng.below(8) {
                let at = field.rng.below(bytes.len());
                bytes[at] ^= 1 << field.rng.below(8);
            }
        }
    }
    std::fs::write(file, bytes).expect("write a file of the ledger");
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}
