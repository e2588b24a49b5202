//! What an account tells of its size and its limits before anything is copied: plain data.

use crate::model::{Folder, FolderName};

/// Says which folders are asked about.
pub type Takes<'a> = &'a (dyn Fn(&Folder) -> bool + Sync);

/// What a look at an account tells, without reading a message. A few round trips; nothing is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// The folders that hold the messages that were asked about, each message in one of them.
    pub folders: Vec<Weighed>,
    /// Messages in them, as far as the platform tells.
    pub messages: u64,
    /// Their size; `None` if it could not be found out cheaply.
    pub size: Option<Size>,
    /// Room in the account.
    pub quota: Option<Quota>,
    /// The largest message it takes, bytes.
    pub max_message: Option<u64>,
    /// What of the account is not shown.
    pub unseen: Vec<Unseen>,
}

/// A folder and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighed {
    /// Which.
    pub name: FolderName,
    /// How many messages.
    pub messages: u64,
    /// All of them together, bytes, if the platform told.
    pub bytes: Option<u64>,
}

/// The size of many messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes.
    pub bytes: u64,
    /// False if only some were looked at and the others taken to be like them.
    pub exact: bool,
}

/// The room of an account (RFC 9208, STORAGE), bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// What is taken.
    pub used: u64,
    /// What there is.
    pub limit: u64,
}

/// A part of an account that a client is not shown, so that it would not be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unseen {
    /// Labels that messages bear and that are not listed (Gmail, "Show in IMAP").
    Labels(Vec<String>),
    /// Gmail keeps spam or trash, and does not list the folder.
    Folder(&'static str),
    /// The folder shows exactly as many messages as a limit of its owner allows (Gmail, "Folder size
    /// limits"); `whole` if it is the one in which everything is.
    Cut {
        /// Which.
        folder: String,
        /// How many it shows.
        shown: u64,
        /// Nothing is seen but through this folder.
        whole: bool,
    },
    /// The folder shows exactly as many messages as the platform's window is wide (Yahoo).
    Window {
        /// Which.
        folder: String,
        /// How many it shows.
        shown: u64,
    },
}

/// Messages above a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oversized {
    /// How many were found.
    pub messages: u64,
    /// Folders that could hold more and were not looked into.
    pub unseen_folders: u64,
}
