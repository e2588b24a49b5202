//! The words everything else is said in: ids, sets, flags, folders, states, conditions.
//!
//! A leaf: no I/O, no clock, no knowledge of any platform. Whatever a mail system calls its
//! things, above `platform/` they are these types.

mod condition;
pub mod fingerprint;
mod flags;
mod folder;
mod item;
mod normalisation;
mod parts;
mod phase;
pub mod text;

pub use condition::{Condition, ConditionType, Truth};
pub use flags::{Flags, Keyword, SystemFlag};
pub(crate) use folder::escape;
pub use folder::{Folder, FolderName, FolderPath, Role};
pub use item::{Cursor, Epoch, Fingerprint, IdSet, Identity, Item, ItemId, Meta};
pub use normalisation::{Hasher, Normalisation};
pub use phase::{Accounts, PassKind, Phase};
