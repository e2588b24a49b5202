//! What all connections of a proxy share: the faults that are set, and the counters.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::fault::{Counter, Direction, Moment, Since, Stage, What, When, Which};

#[derive(Default)]
pub(super) struct Shared {
    faults: Mutex<Vec<Arc<Fault>>>,
    /// Grows when the faults are cleared: who stalls since an earlier one may stop.
    era: AtomicU64,
    connections: Mutex<Vec<Weak<Connection>>>,
    pub(super) replacements: Mutex<Vec<(String, String)>>,
    pub(super) heard: Mutex<Vec<String>>,
    pub(super) commands: Counter,
    pub(super) n_connections: AtomicU64,
    pub(super) bytes: [AtomicU64; 2],
    pub(super) fired: AtomicU64,
    pub(super) severed: AtomicBool,
    pub(super) over: AtomicBool,
}

/// A fault as it was set.
#[derive(Debug)]
pub(super) struct Fault {
    when: Moment,
    pub(super) what: What,
    times: u64,
    /// How many commands it was meant for so far; for a byte since the start, how often it came.
    met: AtomicU64,
}

impl Fault {
    pub(super) fn is_at(&self, at: Stage) -> bool {
        matches!(self.when, Moment::Command { stage, .. } if stage == at)
    }

    fn meets(&self, number: u64, verb: &str, line: &str) -> bool {
        let Moment::Command { which, containing, nth, .. } = &self.when else { return false };
        let is_meant = match which {
            Which::Number(first) => number >= *first,
            Which::Verb(wanted) => wanted == verb,
            Which::Any => true,
        } && containing.as_ref().is_none_or(|text| line.contains(text));
        if !is_meant {
            return false;
        }
        let met = self.met.fetch_add(1, Ordering::SeqCst) + 1;
        met >= *nth && met - nth < self.times
    }
}

impl Shared {
    pub(super) fn new(commands: Counter) -> Self {
        Self { commands, ..Self::default() }
    }

    pub(super) fn set(&self, times: u64, when: When, what: What) {
        let fault = Fault { when: when.0, what, times, met: AtomicU64::new(0) };
        self.faults.lock().expect("not poisoned").push(Arc::new(fault));
    }

    pub(super) fn clear(&self) {
        self.faults.lock().expect("not poisoned").clear();
        self.era.fetch_add(1, Ordering::SeqCst);
    }

    /// Those that are to happen to this command.
    pub(super) fn meant_for(&self, number: u64, verb: &str, line: &str) -> Vec<Arc<Fault>> {
        let faults = self.faults.lock().expect("not poisoned");
        faults.iter().filter(|fault| fault.meets(number, verb, line)).cloned().collect()
    }

    /// Those that are to happen at this line from the server.
    pub(super) fn at_line(&self, line: &[u8]) -> Vec<Arc<Fault>> {
        let has = |text: &String| line.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        let meets = |fault: &&Arc<Fault>| {
            matches!(&fault.when, Moment::Line(texts) if texts.iter().all(has))
                && fault.met.fetch_add(1, Ordering::SeqCst) < fault.times
        };
        self.faults.lock().expect("not poisoned").iter().filter(meets).cloned().collect()
    }

    /// The first fault at one of the next `n` bytes, and how many of them come before it. `past`:
    /// what this connection has passed on.
    pub(super) fn within(
        &self,
        direction: Direction,
        connection: u64,
        past: u64,
        n: usize,
    ) -> Option<(usize, Arc<Fault>)> {
        let all = self.bytes[direction as usize].load(Ordering::SeqCst);
        let faults = self.faults.lock().expect("not poisoned");
        let ahead = faults.iter().filter_map(|fault| {
            let Moment::Byte { direction: wanted, at, since } = fault.when else { return None };
            let from = match since {
                Since::Start if fault.met.load(Ordering::SeqCst) == 0 => all,
                Since::Connection(number) if number == connection => past,
                Since::EachConnection => past,
                _ => return None,
            };
            let ahead = usize::try_from(at.checked_sub(from)?).ok()?;
            (wanted == direction && ahead < n).then(|| (ahead, Arc::clone(fault)))
        });
        let (ahead, fault) = ahead.min_by_key(|(ahead, _)| *ahead)?;
        Some((ahead, fault))
    }

    /// A fault at a byte happens: it will not again.
    pub(super) fn spend(&self, fault: &Arc<Fault>) {
        fault.met.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn add(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections.lock().expect("not poisoned");
        connections.retain(|other| other.strong_count() > 0);
        connections.push(Arc::downgrade(connection));
        drop(connections);
        // One that was on its way in when the plug was pulled.
        if self.severed.load(Ordering::SeqCst) {
            connection.cut();
        }
    }

    pub(super) fn cut_all(&self) {
        for connection in self.alive() {
            connection.cut();
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.alive().is_empty()
    }

    fn alive(&self) -> Vec<Arc<Connection>> {
        let connections = self.connections.lock().expect("not poisoned");
        connections.iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits this long, or for ever; false if the connection is to break then.
    pub(super) fn wait(&self, time: Option<Duration>, is_over: impl Fn() -> bool) -> bool {
        let (era, start) = (self.era.load(Ordering::SeqCst), Instant::now());
        loop {
            if time.is_some_and(|time| start.elapsed() >= time) {
                return true;
            }
            let is_cleared = time.is_none() && self.era.load(Ordering::SeqCst) > era;
            if is_cleared || self.over.load(Ordering::SeqCst) || is_over() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Ends a stream for both sides.
pub(super) fn close(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}
