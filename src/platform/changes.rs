//! What happened in a source folder between two looks.

use std::collections::BTreeMap;

use crate::model::{Cursor, Epoch, IdSet, Item, ItemId};

/// What changed in a source folder since a cursor. Ids ascend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The epoch all ids here belong to. Another one than that of the cursor handed in means
    /// that nothing known of the folder's ids holds any more: `gone` is then `AllBut(items)`.
    pub epoch: Epoch,
    /// Where the next survey may start once everything here is settled.
    pub cursor: Cursor,
    /// Messages the folder holds.
    pub messages: u64,
    /// New messages, and known ones whose flags may have changed (or all: a full listing).
    pub items: Vec<Item>,
    /// What is not there any more.
    pub gone: Gone,
}

/// How a platform tells what left a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// These did (ids never known among them do no harm).
    These(IdSet),
    /// Everything did but these.
    AllBut(IdSet),
    /// It does not: what it does not show may be there all the same. Nothing is gone for that.
    Untold,
}

impl Gone {
    /// Is this message gone?
    pub fn holds(&self, id: ItemId) -> bool {
        match self {
            Self::These(gone) => gone.contains(id),
            Self::AllBut(there) => !there.contains(id),
            Self::Untold => false,
        }
    }
}

impl Changes {
    /// Both as one: what a single look at the time of the `later` one would have told. That one
    /// began where this one ended.
    pub fn followed_by(self, later: Self) -> Self {
        if self.epoch != later.epoch {
            return later;
        }
        let mut items: BTreeMap<ItemId, Item> =
            self.items.into_iter().map(|item| (item.id, item)).collect();
        let new: IdSet = later.items.iter().map(|item| item.id).collect();
        for item in later.items {
            match items.get_mut(&item.id) {
                // What was new stays new; only its flags are told again.
                Some(known) => {
                    known.flags = item.flags.or_else(|| known.flags.take());
                    known.meta = item.meta.or(known.meta);
                }
                None => drop(items.insert(item.id, item)),
            }
        }
        let gone = match (self.gone, later.gone) {
            (Gone::These(mut gone), Gone::These(after)) => {
                gone.extend_set(&after);
                Gone::These(gone)
            }
            (Gone::AllBut(mut there), Gone::These(after)) => {
                there.extend_set(&new);
                Gone::AllBut(there.difference(&after))
            }
            (_, there @ Gone::AllBut(_)) => there,
            (Gone::Untold, _) | (_, Gone::Untold) => Gone::Untold,
        };
        items.retain(|&id, _| !gone.holds(id));
        let Self { epoch, cursor, messages, .. } = later;
        Self { epoch, cursor, messages, items: items.into_values().collect(), gone }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Flags, Meta, SystemFlag};

    /// What a folder holds: each message, and whether it is flagged.
    type Folder = BTreeMap<u64, bool>;

    /// Something that happens in a folder.
    #[derive(Debug, Clone)]
    enum Event {
        Arrives,
        IsFlagged(usize, bool),
        Leaves(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Arrives),
            (0..20usize, any::<bool>()).prop_map(|(at, is)| Event::IsFlagged(at, is)),
            (0..20usize).prop_map(Event::Leaves),
        ]
    }

    fn happen(folder: &mut Folder, next: &mut u64, events: &[Event]) {
        for event in events {
            let nth = |at: usize| folder.keys().nth(at).copied();
            match *event {
                Event::Arrives => {
                    folder.insert(*next, false);
                    *next += 1;
                }
                Event::IsFlagged(at, is_flagged) => {
                    nth(at).and_then(|id| folder.insert(id, is_flagged));
                }
                Event::Leaves(at) => {
                    nth(at).and_then(|id| folder.remove(&id));
                }
            }
        }
    }

    /// What a look tells, `listed` or as changes only.
    fn look(then: &Folder, next: u64, now: &Folder, listed: bool) -> Changes {
        let tells = |(id, flagged): (&u64, &bool)| {
            let is_new = *id >= next;
            (listed || is_new || then.get(id) != Some(flagged)).then(|| Item {
                id: ItemId(*id),
                flags: Some(flags(*flagged)),
                meta: is_new.then_some(Meta { date: None, size: 1 }),
            })
        };
        let ids = |folder: &Folder| folder.keys().map(|&id| ItemId(id)).collect::<IdSet>();
        let gone = if listed {
            Gone::AllBut(ids(now))
        } else {
            Gone::These(ids(then).difference(&ids(now)))
        };
        Changes {
            epoch: Epoch(1),
            cursor: Cursor(vec![1]),
            messages: now.len() as u64,
            items: now.iter().filter_map(tells).collect(),
            gone,
        }
    }

    fn flags(flagged: bool) -> Flags {
        if flagged { Flags::NONE.with(SystemFlag::Flagged) } else { Flags::NONE }
    }

    /// What is known afterwards by whoever knew `then`: each message with its flags; and which
    /// of them were told as new.
    fn known(then: &Folder, changes: &Changes) -> (BTreeMap<u64, Flags>, Vec<u64>) {
        let mut known: BTreeMap<u64, Flags> =
            then.iter().map(|(id, flagged)| (*id, flags(*flagged))).collect();
        for item in &changes.items {
            known.insert(item.id.0, item.flags.clone().expect("flags"));
        }
        known.retain(|&id, _| !changes.gone.holds(ItemId(id)));
        let new = changes.items.iter().filter(|item| item.meta.is_some());
        (known, new.map(|item| item.id.0).collect())
    }

    proptest! {
        #[test]
        fn two_looks_tell_what_one_would_have_told(
            first in 0..8u64,
            early in prop::collection::vec(event(), 0..12),
            late in prop::collection::vec(event(), 0..12),
            listed in any::<(bool, bool)>(),
        ) {
            let begin: Folder = (1..=first).map(|id| (id, false)).collect();
            let mut next = first + 1;
            let (mut folder, began_at) = (begin.clone(), next);
            happen(&mut folder, &mut next, &early);
            let (between, then_at) = (folder.clone(), next);
            happen(&mut folder, &mut next, &late);
            let before = look(&begin, began_at, &between, listed.0);
            let after = look(&between, then_at, &folder, listed.1);
            let both = before.followed_by(after);
            prop_assert_eq!(both.messages, folder.len() as u64);
            let one = look(&begin, began_at, &folder, false);
            prop_assert_eq!(known(&begin, &both), known(&begin, &one));
        }
    }

    #[test]
    fn a_look_at_another_epoch_stands_alone() {
        let folder: Folder = [(1, false)].into();
        let before = look(&Folder::new(), 1, &folder, true);
        let after = Changes { epoch: Epoch(2), ..look(&Folder::new(), 1, &folder, true) };
        assert_eq!(before.followed_by(after.clone()), after);
    }
}
