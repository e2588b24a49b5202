//! One account: its folders, its messages, and which of these is seen where.
//!
//! A message carries labels. On most servers it carries one, its folder; at Gmail any number, and
//! folders are views of one store. [`Account::settle`] makes the folders show what the labels say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, FixedOffset};

/// Which folder, whatever it is called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderId(u32);

/// Which message, as drover's tests and the server know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId(u32);

/// What a folder is for (RFC 6154, RFC 8457).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What comes in.
    Inbox,
    /// All but junk and trash.
    All,
    /// What was put away.
    Archive,
    /// What is not sent yet.
    Drafts,
    /// What bears `\Flagged`.
    Flagged,
    /// What the server takes for important.
    Important,
    /// What the server takes for junk.
    Junk,
    /// What was sent.
    Sent,
    /// What was thrown away.
    Trash,
    /// Any other.
    None,
}

impl Role {
    /// The attribute in LIST.
    pub(super) fn attribute(self) -> Option<&'static str> {
        Some(match self {
            Self::Inbox | Self::None => return None,
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Important => "\\Important",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        })
    }
}

/// A folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// Decoded, with `/` between levels.
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) is_selectable: bool,
    pub(super) is_subscribed: bool,
    /// Its owner does not show it over IMAP.
    pub(super) is_hidden: bool,
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) entries: BTreeMap<u32, Entry>,
    pub(super) modseq: u64,
}

/// A message as one folder shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) message: MessageId,
    /// `\Deleted` belongs to the place, not to the message.
    pub(super) is_deleted: bool,
    pub(super) modseq: u64,
}

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) bytes: Arc<[u8]>,
    pub(super) date: DateTime<FixedOffset>,
    /// Without `\Deleted`.
    pub(super) flags: BTreeSet<String>,
    pub(super) labels: BTreeSet<FolderId>,
    /// X-GM-MSGID or EMAILID: stays when the message is copied.
    pub(super) object: u64,
    /// X-GM-THRID or THREADID.
    pub(super) thread: u64,
    pub(super) modseq: u64,
    /// Its UID in each folder that shows it.
    pub(super) uids: BTreeMap<FolderId, u32>,
}

/// How an account's server counts and shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ways {
    /// Folders are views of one store.
    pub(super) has_labels: bool,
    pub(super) first_uid: u32,
    pub(super) uid_step: u32,
    /// A label that comes or goes is no change of the message, only of the label's folder.
    pub(super) labels_change_unseen: bool,
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) folders: BTreeMap<FolderId, Folder>,
    pub(super) messages: BTreeMap<MessageId, Message>,
    /// The last change's number.
    pub(super) modseq: u64,
    pub(super) ways: Ways,
    n_folders: u32,
    n_messages: u32,
    by_message_id: BTreeMap<String, MessageId>,
}

impl Account {
    pub(super) fn new(ways: Ways) -> Self {
        Self {
            folders: BTreeMap::new(),
            messages: BTreeMap::new(),
            modseq: 1,
            ways,
            n_folders: 0,
            n_messages: 0,
            by_message_id: BTreeMap::new(),
        }
    }

    pub(super) fn create(&mut self, name: &str, role: Role) -> FolderId {
        self.n_folders += 1;
        let id = FolderId(self.n_folders);
        let folder = Folder {
            name: name.to_owned(),
            role,
            is_selectable: true,
            is_subscribed: true,
            is_hidden: false,
            uid_validity: 1_700_000_000 + self.n_folders,
            uid_next: self.ways.first_uid,
            entries: BTreeMap::new(),
            modseq: self.modseq,
        };
        self.folders.insert(id, folder);
        id
    }

    /// INBOX in any case, everything else as it is written (RFC 3501, 5.1).
    pub(super) fn find(&self, name: &str) -> Option<FolderId> {
        let is_it = |folder: &&FolderId| {
            let known = &self.folders[*folder].name;
            known == name || (known == "INBOX" && name.eq_ignore_ascii_case("INBOX"))
        };
        self.folders.keys().find(is_it).copied()
    }

    pub(super) fn with_role(&self, role: Role) -> Option<FolderId> {
        self.folders.iter().find(|(_, folder)| folder.role == role).map(|(id, _)| *id)
    }

    /// Stores a message in a folder and returns its UID there.
    pub(super) fn add(
        &mut self,
        folder: FolderId,
        bytes: Arc<[u8]>,
        flags: BTreeSet<String>,
        date: DateTime<FixedOffset>,
    ) -> (MessageId, u32) {
        self.n_messages += 1;
        let id = MessageId(self.n_messages);
        let object = 1_278_455_344_230_334_865 + u64::from(self.n_messages) * 65_537;
        let parent = references(&bytes).into_iter().find_map(|name| self.message_named(&name));
        let thread = parent.map_or(object, |parent| self.messages[&parent].thread);
        if let Some(name) = message_id(&bytes) {
            self.by_message_id.entry(name).or_insert(id);
        }
        let message = Message {
            bytes,
            date,
            flags,
            labels: [folder].into(),
            object,
            thread,
            modseq: 0,
            uids: BTreeMap::new(),
        };
        self.messages.insert(id, message);
        self.settle(id);
        (id, self.messages[&id].uids.get(&folder).copied().unwrap_or_default())
    }

    /// A second message with the same content, in another folder; its UID there.
    pub(super) fn copy(&mut self, id: MessageId, to: FolderId) -> u32 {
        self.n_messages += 1;
        let copy = MessageId(self.n_messages);
        let message = Message { labels: [to].into(), uids: BTreeMap::new(), ..self[id].clone() };
        self.messages.insert(copy, message);
        self.settle(copy);
        self[copy].uids[&to]
    }

    /// The first message that has this Message-ID and is still there.
    pub(super) fn message_named(&self, message_id: &str) -> Option<MessageId> {
        self.by_message_id.get(message_id).copied().filter(|id| self.messages.contains_key(id))
    }

    /// Makes every folder show the message or not, as its labels say, and counts a change.
    pub(super) fn settle(&mut self, id: MessageId) {
        self.show(id, true);
    }

    fn show(&mut self, id: MessageId, is_change: bool) {
        let wanted = self.views(id);
        self.modseq += 1;
        let (Some(message), modseq) = (self.messages.get_mut(&id), self.modseq) else { return };
        if is_change {
            message.modseq = modseq;
        }
        for (folder_id, folder) in &mut self.folders {
            match (message.uids.get(folder_id).copied(), wanted.contains(folder_id)) {
                (Some(uid), false) => {
                    folder.entries.remove(&uid);
                    message.uids.remove(folder_id);
                    folder.modseq = modseq;
                }
                (None, true) => {
                    let uid = folder.uid_next;
                    folder.uid_next += self.ways.uid_step;
                    folder.entries.insert(uid, Entry { message: id, is_deleted: false, modseq });
                    message.uids.insert(*folder_id, uid);
                    folder.modseq = modseq;
                }
                (Some(_), true) if is_change => folder.modseq = modseq,
                (Some(_), true) | (None, false) => {}
            }
        }
        if wanted.is_empty() {
            self.messages.remove(&id);
        }
    }

    /// Gives a message exactly these labels; without any it is gone, unless folders are views.
    pub(super) fn relabel(&mut self, id: MessageId, labels: BTreeSet<FolderId>) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.labels = labels;
        }
        self.show(id, !self.ways.labels_change_unseen);
    }

    /// Uses up a UID of a folder.
    pub(super) fn skip_uid(&mut self, folder: FolderId) -> u32 {
        let Some(folder) = self.folders.get_mut(&folder) else { return 0 };
        let uid = folder.uid_next;
        folder.uid_next += self.ways.uid_step;
        uid
    }

    /// Removes a message for good, wherever it is seen.
    pub(super) fn destroy(&mut self, id: MessageId) {
        self.modseq += 1;
        let Some(message) = self.messages.remove(&id) else { return };
        for (folder, uid) in message.uids {
            if let Some(folder) = self.folders.get_mut(&folder) {
                folder.entries.remove(&uid);
                folder.modseq = self.modseq;
            }
        }
    }

    /// Where a message is to be seen.
    fn views(&self, id: MessageId) -> BTreeSet<FolderId> {
        let labels = self.messages.get(&id).map(|message| message.labels.clone());
        let mut labels = labels.unwrap_or_default();
        if !self.ways.has_labels {
            return labels;
        }
        for role in [Role::Trash, Role::Junk] {
            if let Some(place) = self.with_role(role).filter(|place| labels.contains(place)) {
                return [place].into();
            }
        }
        labels.extend(self.with_role(Role::All));
        labels
    }

    /// An entry of a folder, if it is there.
    pub(super) fn entry(&self, folder: FolderId, uid: u32) -> Option<Entry> {
        self.folders.get(&folder)?.entries.get(&uid).copied()
    }

    /// The number of the last change of a message as a folder shows it.
    pub(super) fn modseq_of(&self, entry: Entry) -> u64 {
        entry.modseq.max(self[entry.message].modseq)
    }

    /// Is `\Deleted` set in this folder?
    pub(super) fn set_deleted(&mut self, folder: FolderId, uid: u32, is_deleted: bool) {
        let modseq = self.modseq + 1;
        let Some(folder) = self.folders.get_mut(&folder) else { return };
        let Some(entry) = folder.entries.get_mut(&uid) else { return };
        if entry.is_deleted != is_deleted {
            (entry.is_deleted, entry.modseq) = (is_deleted, modseq);
            (folder.modseq, self.modseq) = (modseq, modseq);
        }
    }
}

impl std::ops::Index<MessageId> for Account {
    type Output = Message;

    fn index(&self, id: MessageId) -> &Message {
        &self.messages[&id]
    }
}

impl std::ops::Index<FolderId> for Account {
    type Output = Folder;

    fn index(&self, id: FolderId) -> &Folder {
        &self.folders[&id]
    }
}

/// The header field's value, unfolded; the first if there are several.
pub(super) fn header(bytes: &[u8], name: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for line in header_lines(bytes) {
        let text = String::from_utf8_lossy(line);
        match &mut found {
            Some(value) if text.starts_with([' ', '\t']) => value.push_str(text.trim_end()),
            Some(_) => break,
            None => {
                let field = text.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name));
                found = field.map(|(_, value)| value.trim().to_owned());
            }
        }
    }
    found
}

/// The lines of the header with their ends, without the empty one after them.
pub(super) fn header_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|b| *b == b'\n').take_while(|line| !line.trim_ascii_end().is_empty())
}

pub(super) fn message_id(bytes: &[u8]) -> Option<String> {
    header(bytes, "Message-ID")
}

fn references(bytes: &[u8]) -> Vec<String> {
    let fields = ["In-Reply-To", "References"].map(|name| header(bytes, name).unwrap_or_default());
    fields.iter().flat_map(|field| field.split_whitespace()).map(str::to_owned).collect()
}
