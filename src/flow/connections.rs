//! Who may hold connections to which servers: as many as a server bears, fairly shared by
//! mailboxes.
//!
//! - A mailbox's first lane (a connection to each side) goes before every further lane of others,
//!   in the order asked for.
//! - A further lane goes to the mailbox that has the fewest: so all come to an equal share, and
//!   what one does not need others get (max-min fairness; Bertsekas and Gallager, Data
//!   Networks, 6.5).
//! - A mailbox that has more than its share while others wait is asked for a lane back, and so is
//!   the largest when a server bears fewer than are in use ([`ConnectionPermit::recalled`]).
//! - All connections of a lane are given at once, so that nobody holds one while waiting for another.
//!
//! What a server bears is found by its own limit, and what it bears of one account by another
//! ([`super::limit`]): many servers count connections for each user. They live as long as the daemon.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Party;
use super::limit::Limit;
use super::load::{Advice, Load};

/// How often who waits looks whether a limit has grown.
const LOOK: Duration = Duration::from_secs(5);

/// What a message costs beside its bytes, in bytes; see [`Gauge::answered`].
const MESSAGE: u64 = 2_000;

/// Limits connections, on behalf of one mailbox. Clones stand for the same one.
#[derive(Debug, Clone)]
pub struct Connections {
    table: Arc<Table>,
    party: Party,
}

/// One end of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// `host:port`.
    pub server: String,
    /// The account on it.
    pub account: String,
    /// Connections to the account that its definition allows.
    pub most: usize,
}

/// The right to hold a lane's connections, given back on drop.
#[derive(Debug)]
pub struct ConnectionPermit {
    table: Arc<Table>,
    no: u64,
    recalled: CancellationToken,
}

/// What a connection tells of its server. The default one tells nobody.
#[derive(Clone, Default)]
pub struct Gauge {
    of: Option<(Arc<Table>, End)>,
    lane: u64,
}

impl Connections {
    /// At most this many to each server.
    pub fn new(per_server: usize) -> Self {
        let state = State {
            per_server: per_server.max(1),
            gates: HashMap::new(),
            lanes: BTreeMap::new(),
            waiting: Vec::new(),
            last: 0,
        };
        Self { table: Arc::new(Table(Mutex::new(state))), party: Party::new() }
    }

    /// The same connections on behalf of another mailbox.
    #[must_use]
    pub fn for_mailbox(&self) -> Self {
        Self { table: Arc::clone(&self.table), party: Party::new() }
    }

    /// Waits for the right to one connection to each of these ends, before which a mailbox can do
    /// nothing. It is never asked back. Ends may be on one and the same server.
    pub async fn first(&self, ends: &[End]) -> ConnectionPermit {
        self.wait(ends, false).await
    }

    /// Waits for the right to one more connection to each of these ends, which only makes a pass
    /// faster. May be asked back.
    pub async fn further(&self, ends: &[End]) -> ConnectionPermit {
        self.wait(ends, true).await
    }

    /// How many connections a server bears now, as far as is known.
    pub fn limit(&self, server: &str) -> usize {
        let state = self.table.lock();
        state.gates.get(&Key::Server(server.into())).map_or(state.per_server, |g| g.limit.now())
    }

    async fn wait(&self, ends: &[End], is_further: bool) -> ConnectionPermit {
        let (sender, mut receiver) = oneshot::channel();
        let no = {
            let mut state = self.table.lock();
            let needs = state.needs(ends);
            state.last += 1;
            let no = state.last;
            state.waiting.push(Waiting { no, party: self.party, needs, is_further, sender });
            no
        };
        let _place = Place { table: &self.table, no };
        loop {
            self.table.serve();
            // Limits grow by themselves. Nobody who waits is forgotten.
            if let Ok(Ok(permit)) = tokio::time::timeout(LOOK, &mut receiver).await {
                return permit;
            }
        }
    }
}

impl ConnectionPermit {
    /// Cancelled when the lane is wanted back: by others who have less, or because a server bears
    /// fewer.
    pub const fn recalled(&self) -> &CancellationToken {
        &self.recalled
    }

    /// What the connection to this end tells by.
    pub fn gauge(&self, end: &End) -> Gauge {
        Gauge { of: Some((Arc::clone(&self.table), end.clone())), lane: self.no }
    }

    /// The connections stand. Until then they are the first to be done without.
    pub fn opened(&self) {
        if let Some(lane) = self.table.lock().lanes.get_mut(&self.no) {
            lane.stands = true;
        }
    }
}

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauge").finish_non_exhaustive()
    }
}

impl Gauge {
    /// The server wants fewer connections, or took one too few.
    pub fn crowded(&self) {
        let Some((table, end)) = &self.of else { return };
        let alone = {
            let mut state = table.lock();
            state.refuse(self.lane);
            state.in_use(&Key::account(end)) < 2
        };
        // Who has but one connection cannot have too many of its own.
        self.halve(if alone { Key::Server(end.server.clone()) } else { Key::account(end) });
    }

    /// The server slows us down.
    pub fn slowed(&self) {
        let Some((_, end)) = &self.of else { return };
        self.halve(Key::Server(end.server.clone()));
    }

    /// The server slows this account down.
    pub fn throttled(&self) {
        let Some((_, end)) = &self.of else { return };
        self.halve(Key::account(end));
    }

    /// The server has taken so many messages of so many bytes, for which it took so long.
    pub fn answered(&self, messages: u64, bytes: u64, took: Duration) {
        let Some((table, end)) = &self.of else { return };
        let work = bytes.saturating_add(messages.saturating_mul(MESSAGE));
        let changed = table.lock().answered(&Key::Server(end.server.clone()), work, took);
        if changed {
            table.serve();
        }
    }

    fn halve(&self, key: Key) {
        let Some((table, _)) = &self.of else { return };
        let to = table.lock().halve(&key);
        if let Some(to) = to {
            tracing::info!(at = %key, connections = to, "fewer connections from now on; one more each minute without trouble");
            table.serve();
        }
    }
}

#[derive(Debug)]
struct Table(Mutex<State>);

#[derive(Debug)]
struct State {
    per_server: usize,
    gates: HashMap<Key, Gate>,
    lanes: BTreeMap<u64, Lane>,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    last: u64,
}

/// What connections are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Server(String),
    Account(String),
}

#[derive(Debug)]
struct Gate {
    limit: Limit,
    in_use: usize,
    load: Load,
}

#[derive(Debug)]
struct Lane {
    party: Party,
    needs: Needs,
    is_further: bool,
    stands: bool,
    recalled: CancellationToken,
}

#[derive(Debug)]
struct Waiting {
    no: u64,
    party: Party,
    needs: Needs,
    is_further: bool,
    sender: oneshot::Sender<ConnectionPermit>,
}

/// How many connections by what.
type Needs = Vec<(Key, usize)>;

/// A place in the line, left on drop.
struct Place<'a> {
    table: &'a Arc<Table>,
    no: u64,
}

impl State {
    /// What a lane between these ends takes.
    fn needs(&mut self, ends: &[End]) -> Needs {
        let mut needs: Needs = Vec::new();
        for end in ends {
            let keys =
                [(Key::Server(end.server.clone()), self.per_server), (Key::account(end), end.most)];
            for (key, most) in keys {
                let new = || Gate { limit: Limit::new(most), in_use: 0, load: Load::default() };
                self.gates.entry(key.clone()).or_insert_with(new).limit.set_most(most);
                match needs.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, n)) => *n += 1,
                    None => needs.push((key, 1)),
                }
            }
        }
        needs
    }

    fn in_use(&self, key: &Key) -> usize {
        self.gates.get(key).map_or(0, |gate| gate.in_use)
    }

    fn limit(&self, key: &Key) -> usize {
        self.gates.get(key).map_or(usize::MAX, |gate| gate.limit.now())
    }

    /// Lanes that a mailbox has and was not asked for.
    fn n_lanes(&self, party: Party) -> usize {
        self.lanes.values().filter(|l| l.party == party && !l.recalled.is_cancelled()).count()
    }

    /// Is there room for it, beside what is kept for others?
    fn fits(&self, waiting: &Waiting, kept: &HashMap<Key, usize>) -> bool {
        waiting.needs.iter().all(|(key, n)| {
            // How many lanes one mailbox has is no reason to keep it from the first.
            let counts = waiting.is_further || matches!(key, Key::Server(_));
            let taken = self.in_use(key) + kept.get(key).copied().unwrap_or_default();
            // A pass that meets itself needs two, even of a server that bears one.
            !counts || taken == 0 || taken + n <= self.limit(key)
        })
    }

    /// Gives what there is to those who wait, and asks for more back where they are owed it.
    fn serve(
        &mut self,
        table: &Arc<Table>,
    ) -> Vec<(oneshot::Sender<ConnectionPermit>, ConnectionPermit)> {
        let mut served = Vec::new();
        // Kept for first lanes that wait, so that none is overtaken for ever.
        let mut kept: HashMap<Key, usize> = HashMap::new();
        let mut at = 0;
        while at < self.waiting.len() {
            if self.waiting[at].is_further {
                at += 1;
            } else if self.fits(&self.waiting[at], &kept) {
                served.push(self.give(at, table));
            } else {
                for (key, n) in &self.waiting[at].needs {
                    *kept.entry(key.clone()).or_default() += n;
                }
                at += 1;
            }
        }
        while let Some(at) = self.next_further(&kept) {
            served.push(self.give(at, table));
        }
        self.recall(&kept);
        served
    }

    fn next_further(&self, kept: &HashMap<Key, usize>) -> Option<usize> {
        let waiting = self.waiting.iter().enumerate();
        let fit = waiting.filter(|(_, w)| w.is_further && self.fits(w, kept));
        fit.min_by_key(|(at, w)| (self.n_lanes(w.party), *at)).map(|(at, _)| at)
    }

    fn give(
        &mut self,
        at: usize,
        table: &Arc<Table>,
    ) -> (oneshot::Sender<ConnectionPermit>, ConnectionPermit) {
        let Waiting { no, party, needs, is_further, sender } = self.waiting.remove(at);
        for (key, n) in &needs {
            if let Some(gate) = self.gates.get_mut(key) {
                gate.in_use += n;
            }
        }
        let recalled = CancellationToken::new();
        let lane = Lane { party, needs, is_further, stands: false, recalled: recalled.clone() };
        self.lanes.insert(no, lane);
        (sender, ConnectionPermit { table: Arc::clone(table), no, recalled })
    }

    /// Asks for lanes back.
    fn recall(&self, kept: &HashMap<Key, usize>) {
        for (key, gate) in self.gates.iter().filter(|(_, gate)| gate.in_use > 0) {
            let limit = gate.limit.now();
            let owed = match key {
                Key::Server(_) => kept.get(key).copied().unwrap_or_default(),
                Key::Account(_) => 0,
            };
            let wanted = (gate.in_use + owed).saturating_sub(limit);
            let mut coming = self.coming(key);
            while coming < wanted
                && let Some(lane) = self.spare(key)
            {
                lane.recalled.cancel();
                coming += lane.on(key);
            }
            if coming > 0 || gate.in_use < limit {
                continue;
            }
            // All is well in use, but perhaps not fairly.
            let waits = |w: &&Waiting| w.is_further && w.needs.iter().any(|(k, _)| k == key);
            let least = self.waiting.iter().filter(waits).map(|w| self.n_lanes(w.party)).min();
            if let (Some(least), Some(lane)) = (least, self.spare(key))
                && self.n_lanes(lane.party) >= least + 2
            {
                lane.recalled.cancel();
            }
        }
    }

    /// Connections that were asked for.
    fn coming(&self, key: &Key) -> usize {
        self.lanes.values().filter(|l| l.recalled.is_cancelled()).map(|l| l.on(key)).sum()
    }

    /// A lane that was refused is on its way out, and no other is to be given up for it.
    fn refuse(&mut self, no: u64) {
        if let Some(lane) = self.lanes.get(&no).filter(|lane| lane.is_further && !lane.stands) {
            lane.recalled.cancel();
        }
    }

    /// The lane that is spared best: of whoever has most, one that does not stand yet, or the one
    /// opened last.
    fn spare(&self, key: &Key) -> Option<&Lane> {
        let lanes = self.lanes.iter().filter(|(_, lane)| {
            lane.is_further && !lane.recalled.is_cancelled() && lane.on(key) > 0
        });
        lanes
            .max_by_key(|(no, lane)| (self.n_lanes(lane.party), !lane.stands, **no))
            .map(|(_, lane)| lane)
    }

    fn halve(&mut self, key: &Key) -> Option<usize> {
        let gate = self.gates.get_mut(key)?;
        gate.limit.halve(gate.in_use).then(|| gate.limit.now())
    }

    /// True if that changed the limit.
    fn answered(&mut self, key: &Key, work: u64, took: Duration) -> bool {
        let Some(gate) = self.gates.get_mut(key) else { return false };
        let (in_use, limit) = (gate.in_use, gate.limit.now());
        match gate.load.answered(work, took, in_use, limit) {
            Some(Advice::Try) if gate.limit.halve(in_use) => {
                tracing::info!(at = %key, connections = gate.limit.now(), of = in_use, "the server answers slower than it did; seeing whether fewer connections do as well");
                true
            }
            Some(Advice::Restore(to)) => {
                tracing::info!(at = %key, connections = to, "fewer connections did less; as many as before");
                gate.limit.restore(to);
                true
            }
            Some(Advice::Try) | None => false,
        }
    }
}

impl Lane {
    fn on(&self, key: &Key) -> usize {
        self.needs.iter().find(|(known, _)| known == key).map_or(0, |(_, n)| *n)
    }
}

impl Key {
    fn account(end: &End) -> Self {
        Self::Account(format!("{}@{}", end.account, end.server))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Server(name) | Self::Account(name)) = self;
        f.write_str(name)
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>) {
        let served = self.lock().serve(self);
        for (sender, permit) in served {
            // Who has left gives it back at once; not under the lock.
            let _ = sender.send(permit);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        let before = state.waiting.len();
        state.waiting.retain(|waiting| waiting.no != self.no);
        let left = state.waiting.len() < before;
        drop(state);
        if left {
            self.table.serve();
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        if let Some(lane) = state.lanes.remove(&self.no) {
            for (key, n) in &lane.needs {
                if let Some(gate) = state.gates.get_mut(key) {
                    gate.in_use -= n;
                }
            }
        }
        drop(state);
        self.table.serve();
    }
}
