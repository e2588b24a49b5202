//! One budget for all message bytes in flight, shared by mailboxes.
//!
//! What a message holds comes back only when its destination has taken it, so a mailbox that held
//! everything would make all others wait for its uploads. The rule is the dynamic threshold of
//! shared-memory switches (Choudhury and Hahne 1998): nobody may hold more than [`TIMES`] as much as
//! is free. One mailbox alone comes to four fifths of the budget, eight come to an eighth of
//! nearly all, and for one that comes anew something is always left.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Party;

/// See the module.
const TIMES: u64 = 4;

/// What a message costs at least, and a multiple of which it costs: it is not only its bytes.
const BLOCK: u64 = 1024;

/// The budget, on behalf of one mailbox. Clones stand for the same one.
#[derive(Debug, Clone)]
pub struct Memory {
    budget: Arc<Budget>,
    party: Party,
}

/// A message's share of the budget, given back on drop.
#[derive(Default)]
pub struct Room {
    held: Option<(Arc<Budget>, Party, u64)>,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").field(&self.held.as_ref().map_or(0, |(.., bytes)| *bytes)).finish()
    }
}

impl Memory {
    /// A budget of this many bytes; at least one block.
    pub fn new(bytes: u64) -> Self {
        let total = bytes.max(1).next_multiple_of(BLOCK);
        let state = State { total, used: 0, held: HashMap::new(), waiting: Vec::new(), last: 0 };
        Self { budget: Arc::new(Budget(Mutex::new(state))), party: Party::new() }
    }

    /// The same budget on behalf of another mailbox.
    #[must_use]
    pub fn for_mailbox(&self) -> Self {
        Self { budget: Arc::clone(&self.budget), party: Party::new() }
    }

    /// Waits until `bytes` fit, after what the same mailbox asked for before. A message larger
    /// than the whole budget waits until it is alone: it must pass too, so it takes all there is.
    pub async fn room(&self, bytes: u64) -> Room {
        let (no, receiver) = {
            let mut state = self.budget.lock();
            let size = bytes.max(1).next_multiple_of(BLOCK).min(state.total);
            if state.waiting.is_empty() && state.fits(self.party, size) {
                return self.budget.take(&mut state, self.party, size);
            }
            let (sender, receiver) = oneshot::channel();
            state.last += 1;
            let no = state.last;
            state.waiting.push(Waiting { no, party: self.party, size, sender });
            (no, receiver)
        };
        let _place = Place { budget: &self.budget, no };
        self.budget.serve();
        // Whoever waits is answered or has left.
        receiver.await.unwrap_or_default()
    }
}

#[derive(Debug)]
struct Budget(Mutex<State>);

#[derive(Debug)]
struct State {
    total: u64,
    used: u64,
    held: HashMap<Party, u64>,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    no: u64,
    party: Party,
    size: u64,
    sender: oneshot::Sender<Room>,
}

/// A place in the line, left on drop.
struct Place<'a> {
    budget: &'a Arc<Budget>,
    no: u64,
}

impl State {
    fn held(&self, party: Party) -> u64 {
        self.held.get(&party).copied().unwrap_or_default()
    }

    fn fits(&self, party: Party, size: u64) -> bool {
        let (free, held) = (self.total - self.used, self.held(party));
        // Who holds nothing gets something, however large it is.
        size <= free && (held == 0 || held + size <= free.saturating_mul(TIMES))
    }

    /// Who is served next. Of each mailbox, the one that came first; among mailboxes, too.
    fn next(&self) -> Option<usize> {
        let mut passed: Vec<Party> = Vec::new();
        for (at, waiting) in self.waiting.iter().enumerate() {
            if passed.contains(&waiting.party) {
                continue;
            }
            if self.fits(waiting.party, waiting.size) {
                return Some(at);
            }
            if self.held(waiting.party) == 0 {
                // What is given back is kept for it: else a large message would wait for ever
                // beside many small ones.
                return None;
            }
            passed.push(waiting.party);
        }
        None
    }
}

impl Budget {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, state: &mut State, party: Party, size: u64) -> Room {
        state.used += size;
        *state.held.entry(party).or_default() += size;
        Room { held: Some((Arc::clone(self), party, size)) }
    }

    /// Serves all who can be.
    fn serve(self: &Arc<Self>) {
        let mut served = Vec::new();
        {
            let mut state = self.lock();
            while let Some(at) = state.next() {
                let Waiting { party, size, sender, .. } = state.waiting.remove(at);
                served.push((sender, self.take(&mut state, party, size)));
            }
        }
        for (sender, room) in served {
            // Who has left gives it back at once; not under the lock.
            let _ = sender.send(room);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        let before = state.waiting.len();
        state.waiting.retain(|waiting| waiting.no != self.no);
        let left = state.waiting.len() < before;
        drop(state);
        if left {
            self.budget.serve();
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some((budget, party, size)) = self.held.take() else { return };
        let mut state = budget.lock();
        state.used -= size;
        let is_done = state.held.get_mut(&party).is_some_and(|held| {
            *held -= size;
            *held == 0
        });
        if is_done {
            state.held.remove(&party);
        }
        let is_waited_for = !state.waiting.is_empty();
        drop(state);
        if is_waited_for {
            budget.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Room, if there is any without waiting.
    fn at_once(memory: &Memory, bytes: u64) -> Option<Room> {
        match pin!(memory.room(bytes)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        }
    }

    /// As much as there is at once.
    fn take_all(memory: &Memory, bytes: u64) -> Vec<Room> {
        std::iter::from_fn(|| at_once(memory, bytes)).collect()
    }

    #[tokio::test]
    async fn a_mailbox_of_large_messages_leaves_room_for_others() {
        let memory = Memory::new(256 * MIB);
        let (large, small) = (memory.for_mailbox(), memory.for_mailbox());
        let held = take_all(&large, 50 * MIB);
        assert_eq!(held.len(), 4);
        let waits = tokio::spawn(async move { large.room(50 * MIB).await });
        tokio::task::yield_now().await;
        let others = take_all(&small, MIB);
        assert!(others.len() > 40, "{} messages", others.len());
        drop((held, others));
        waits.await.expect("its turn comes");
    }

    #[tokio::test]
    async fn mailboxes_that_all_want_more_than_there_is_come_to_equal_shares() {
        let memory = Memory::new(100 * MIB);
        let parties: Vec<Memory> = (0..4).map(|_| memory.for_mailbox()).collect();
        let mut held: Vec<Vec<Room>> = parties.iter().map(|p| take_all(p, MIB)).collect();
        // Each gives back its oldest and takes again, as uploads end.
        for _ in 0..200 {
            for (party, rooms) in parties.iter().zip(&mut held) {
                if !rooms.is_empty() {
                    rooms.remove(0);
                }
                rooms.extend(take_all(party, MIB));
            }
        }
        let shares: Vec<usize> = held.iter().map(Vec::len).collect();
        assert!(shares.iter().all(|&n| (18..=30).contains(&n)), "{shares:?}");
    }

    #[tokio::test]
    async fn what_is_larger_than_the_budget_passes_alone_and_small_ones_do_not_keep_it_waiting() {
        let memory = Memory::new(10 * MIB);
        let (huge, small) = (memory.for_mailbox(), memory.for_mailbox());
        let held = take_all(&small, MIB);
        let waits = tokio::spawn(async move { huge.room(500 * MIB).await });
        tokio::task::yield_now().await;
        for room in held {
            assert!(!waits.is_finished());
            drop(room);
            assert!(at_once(&small, MIB).is_none(), "overtakes the large one");
        }
        let room = waits.await.expect("it passes");
        assert!(at_once(&small, 1).is_none());
        drop(room);
        assert!(at_once(&small, 1).is_some());
    }

    #[tokio::test]
    async fn a_large_message_does_not_wait_for_ever_beside_small_ones_of_its_own_mailbox() {
        let memory = Memory::new(10 * MIB);
        let mut held = take_all(&memory, MIB);
        let large = memory.clone();
        let waits = tokio::spawn(async move { large.room(9 * MIB).await });
        tokio::task::yield_now().await;
        while held.pop().is_some() {
            assert!(at_once(&memory, MIB).is_none(), "overtakes the large one");
        }
        waits.await.expect("it passes");
    }

    #[tokio::test]
    async fn who_leaves_the_line_holds_up_nobody() {
        let memory = Memory::new(10 * MIB);
        let (one, two) = (memory.for_mailbox(), memory.for_mailbox());
        let held = memory.room(MIB).await;
        let waits = tokio::spawn(async move { one.room(500 * MIB).await });
        tokio::task::yield_now().await;
        let behind = tokio::spawn(async move { two.room(MIB).await });
        tokio::task::yield_now().await;
        assert!(!behind.is_finished());
        waits.abort();
        behind.await.expect("served");
        drop(held);
    }
}
