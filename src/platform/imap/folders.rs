//! The account's folders, in one round trip where the server has LIST-STATUS (RFC 5819).

use std::collections::{HashMap, HashSet, VecDeque};

use super::command::Command;
use super::folder::STATUS_ITEMS;
use super::mark::Mark;
use super::reply::{Counted, Listed, Reply};
use super::session::{Next, Session, Tag};
use super::wire::Bodies;
use crate::model::{Epoch, Folder, FolderName, FolderPath, ItemId, Role};
use crate::platform::{Error, FolderStatus, Result};
use crate::preset;

/// The most folders of one account. Gmail and Microsoft 365 stop at 10,000.
const MAX_FOLDERS: usize = 100_000;
/// The longest name, bytes: far above every server's own limit (Dovecot 4096, Gmail 225).
const MAX_NAME: usize = 64 * 1024;
/// The deepest a folder may lie. Microsoft 365 stops at 300 levels.
const MAX_LEVELS: usize = 1000;
/// No name that tells a role is longer, in any language, bytes.
const LONGEST_ROLE: usize = 256;
/// A listing of all folders that was asked for.
pub(super) struct Listing {
    tag: Tag,
    /// The command asks for more than every server can tell.
    is_extended: bool,
    /// What STATUS is to tell.
    items: String,
}

/// STATUS commands sent ahead; their answers fit any socket's buffer.
const STATUS_WINDOW: usize = 50;
/// What lists all folders on every server.
const LIST_ALL: &str = "LIST \"\" \"*\"";

impl Session {
    /// See [`crate::platform::Account::folders`]. Other people's folders are left out.
    pub(super) async fn folders(&mut self) -> Result<Vec<FolderStatus>> {
        let listing = self.ask_for_folders(self.selected.is_some()).await?;
        self.hear_of_folders(listing).await
    }

    /// Asks for all folders, when a folder `is_open` or will be by then;
    /// [`Session::hear_of_folders`] waits for the answer.
    pub(super) async fn ask_for_folders(&mut self, is_open: bool) -> Result<Listing> {
        if is_open {
            self.close_for_counting().await?;
        }
        let items = if self.capabilities.has("CONDSTORE") {
            format!("{STATUS_ITEMS} HIGHESTMODSEQ")
        } else {
            STATUS_ITEMS.into()
        };
        let (command, is_extended) = self.listing(&items);
        let tag = self.send(Command::raw("LIST", command)).await?;
        Ok(Listing { tag, is_extended, items })
    }

    pub(super) async fn hear_of_folders(&mut self, listing: Listing) -> Result<Vec<FolderStatus>> {
        let Listing { tag, is_extended, items } = listing;
        let (listed, mut counted) = match self.hear_list(tag).await {
            // Offered and yet refused: what every server has will do.
            Err(Error::Refused { .. }) if is_extended => {
                let tag = self.send(Command::raw("LIST", LIST_ALL)).await?;
                self.hear_list(tag).await?
            }
            other => other?,
        };
        if self.naming.separator.is_none() {
            self.naming.separator = listed.iter().find_map(|line| line.separator);
        }
        self.settle_naming().await?;
        let nodes = merged(listed, &self.foreign);
        let missing: Vec<FolderName> = nodes
            .iter()
            .filter(|node| node.selectable() && !counted.contains_key(&node.name))
            .map(|node| node.name.clone())
            .collect();
        self.count_each(missing, &items, &mut counted).await?;
        let mut statuses: Vec<FolderStatus> = nodes
            .iter()
            .map(|node| {
                let path = self.naming.path(&node.name.0, node.separator);
                status(node, path, counted.get(&node.name))
            })
            .collect();
        assign_roles(&mut statuses);
        for status in &statuses {
            if let Some(epoch) = status.epoch {
                self.epochs.insert(status.folder.name.clone(), epoch);
            }
        }
        Ok(statuses)
    }

    /// STATUS of the open folder tells how it stood when it was opened (RFC 9051, 6.3.11), so
    /// none may be open. Never by CLOSE, which expunges.
    async fn close_for_counting(&mut self) -> Result<()> {
        if self.capabilities.has("UNSELECT") {
            self.selected = None;
            return self.send_unawaited(Command::new("UNSELECT")).await;
        }
        self.send_unawaited(Command::new("NOOP")).await
    }

    /// The command that lists all folders, and whether it asks for more than every server can tell.
    fn listing(&self, items: &str) -> (String, bool) {
        let mut wanted = Vec::new();
        if self.capabilities.has("SPECIAL-USE") {
            wanted.push("SPECIAL-USE".to_owned());
        }
        if self.capabilities.has("LIST-STATUS") {
            wanted.push(format!("STATUS ({items})"));
        }
        let extended = (self.capabilities.has("LIST-EXTENDED")
            || self.capabilities.has("LIST-STATUS"))
            && !wanted.is_empty();
        if extended {
            (format!("{LIST_ALL} RETURN ({})", wanted.join(" ")), true)
        } else {
            (LIST_ALL.into(), false)
        }
    }

    async fn hear_list(&mut self, tag: Tag) -> Result<(Vec<Listed>, HashMap<FolderName, Counted>)> {
        let (mut listed, mut counted) = (Vec::new(), HashMap::new());
        let mut names = HashSet::new();
        loop {
            // A server that must count each folder takes its time: every line buys the next.
            match self.next(tag, Bodies::None).await? {
                Next::Data(Reply::List(folder)) => {
                    self.check_name(&folder.name, folder.separator)?;
                    if names.insert(folder.name.clone()) {
                        self.earn();
                    }
                    listed.push(folder);
                }
                Next::Data(Reply::FolderStatus(numbers)) => {
                    self.check_name(&numbers.name, None)?;
                    if counted.insert(key(&numbers.name), numbers).is_none() {
                        self.earn();
                    }
                }
                Next::Data(_) => {}
                Next::Done(saying) => {
                    self.settled("LIST", saying)?;
                    return Ok((listed, counted));
                }
            }
            // A folder may be listed several times, for each of its roles.
            let too_many = names.len() > MAX_FOLDERS || counted.len() > MAX_FOLDERS;
            if too_many || listed.len() > 4 * MAX_FOLDERS {
                return Err(self.protocol(format!("more than {MAX_FOLDERS} folders")));
            }
        }
    }

    fn check_name(&self, name: &[u8], separator: Option<char>) -> Result<()> {
        // Whatever separates, it is one of these.
        let levels = name.iter().filter(|b| b.is_ascii_punctuation()).count();
        if levels > MAX_LEVELS && self.naming.path(name, separator).segments().len() > MAX_LEVELS {
            return Err(self.protocol(format!("a folder more than {MAX_LEVELS} levels deep")));
        }
        if name.len() > MAX_NAME {
            return Err(self.protocol(format!("a folder's name of {} bytes", name.len())));
        }
        Ok(())
    }

    /// Asks for the numbers of each folder. One that does not tell stays without.
    pub(super) async fn count_each(
        &mut self,
        names: Vec<FolderName>,
        items: &str,
        counted: &mut HashMap<FolderName, Counted>,
    ) -> Result<()> {
        let mut sent = VecDeque::new();
        let mut names = names.into_iter();
        loop {
            while sent.len() < STATUS_WINDOW
                && let Some(name) = names.next()
            {
                let command = Command::new("STATUS").folder(&name).text(format!(" ({items})"));
                sent.push_back(self.send(command).await?);
            }
            let Some(tag) = sent.pop_front() else { return Ok(()) };
            let hear = |reply| {
                if let Reply::FolderStatus(numbers) = reply {
                    counted.insert(key(&numbers.name), numbers);
                }
            };
            match self.finish(tag, "STATUS", hear).await {
                Ok(_) | Err(Error::Refused { .. } | Error::Forbidden { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A folder as all its LIST lines together tell it.
struct Node {
    name: FolderName,
    separator: Option<char>,
    attributes: Vec<String>,
}

impl Node {
    fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|a| a.eq_ignore_ascii_case(attribute))
    }

    fn selectable(&self) -> bool {
        !self.has("\\Noselect") && !self.has("\\NonExistent")
    }
}

/// The name by which a folder is looked up: the inbox is spelt in many ways.
fn key(name: &[u8]) -> FolderName {
    if name.eq_ignore_ascii_case(b"INBOX") {
        FolderName(b"INBOX".to_vec())
    } else {
        FolderName(name.to_vec())
    }
}

/// Makes one of the lines that name the same folder, and drops what is other people's.
fn merged(listed: Vec<Listed>, foreign: &[Vec<u8>]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut index: HashMap<FolderName, usize> = HashMap::new();
    for line in listed {
        // The prefix of a namespace may be listed without its separator at the end.
        let theirs = |prefix: &Vec<u8>| {
            let root = &prefix[..prefix.len() - usize::from(ends_in(prefix, line.separator))];
            line.name.starts_with(prefix) || line.name == root
        };
        if line.name.is_empty() || foreign.iter().any(theirs) {
            continue;
        }
        let name = key(&line.name);
        match index.get(&name) {
            Some(&at) => nodes[at].attributes.extend(line.attributes),
            None => {
                index.insert(name.clone(), nodes.len());
                let (separator, attributes) = (line.separator, line.attributes);
                nodes.push(Node { name, separator, attributes });
            }
        }
    }
    nodes
}

fn ends_in(prefix: &[u8], separator: Option<char>) -> bool {
    prefix.last().is_some_and(|&b| separator == Some(char::from(b)))
}

fn status(node: &Node, path: FolderPath, counted: Option<&Counted>) -> FolderStatus {
    let role = if node.name.0 == b"INBOX" {
        Some(Role::Inbox)
    } else {
        let roles = node.attributes.iter().filter_map(|a| Role::from_attribute(a));
        roles.filter(|&role| role != Role::Inbox).min()
    };
    let counted = counted.cloned().unwrap_or_default();
    let epoch = counted.uid_validity.map(Epoch);
    let mark = || {
        Some(Mark {
            epoch: epoch?,
            next: counted.uid_next?,
            messages: counted.messages?,
            modseq: counted.highest_modseq.filter(|&n| n > 0),
            doubted: None,
        })
    };
    FolderStatus {
        folder: Folder { name: node.name.clone(), path, role },
        role_guessed: false,
        selectable: node.selectable(),
        messages: counted.messages,
        epoch,
        next: counted.uid_next.map(ItemId),
        cursor: mark().map(Mark::to_cursor),
        store: None,
    }
}

/// Gives each role to one folder at most: by the server's word (of several, the highest up),
/// else by a well-known name at the root, right below the inbox, or below a node such as
/// `[Gmail]`.
fn assign_roles(statuses: &mut [FolderStatus]) {
    for role in Role::ALL {
        let depth = |s: &FolderStatus| s.folder.path.segments().len();
        let holders = (0..statuses.len()).filter(|&at| statuses[at].folder.role == Some(role));
        let holder = holders.min_by_key(|&at| depth(&statuses[at]));
        for (at, status) in statuses.iter_mut().enumerate() {
            if status.folder.role == Some(role) && Some(at) != holder {
                status.folder.role = None;
            }
        }
        if holder.is_some() {
            continue;
        }
        let named = |status: &FolderStatus| {
            let segments = status.folder.path.segments();
            let top = match segments {
                [_] => true,
                [root, _] => root == "INBOX" || root.starts_with('['),
                _ => false,
            };
            status.folder.role.is_none()
                && status.selectable
                && top
                && segments
                    .last()
                    .filter(|leaf| leaf.len() <= LONGEST_ROLE)
                    .and_then(|leaf| preset::role_of_name(leaf))
                    == Some(role)
        };
        let found = (0..statuses.len()).filter(|&at| named(&statuses[at]));
        if let Some(at) = found.min_by_key(|&at| depth(&statuses[at])) {
            statuses[at].folder.role = Some(role);
            statuses[at].role_guessed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(attributes: &[&str], name: &str) -> Listed {
        Listed {
            attributes: attributes.iter().map(|&a| a.into()).collect(),
            separator: Some('/'),
            name: name.into(),
        }
    }

    #[test]
    fn lines_of_the_same_folder_become_one() {
        let lines = vec![
            line(&["\\A"], "Inbox"),
            line(&["\\Sent"], "S"),
            line(&["\\B"], "INBOX"),
            line(&[], "S"),
        ];
        let nodes = merged(lines, &[]);
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].name.0, b"INBOX");
        assert_eq!(nodes[0].attributes, ["\\A", "\\B"]);
    }

    #[test]
    fn other_peoples_folders_are_left_out() {
        let lines = ["Shared", "Shared/x", "Sharedness"].map(|name| line(&[], name)).to_vec();
        let nodes = merged(lines, &[b"Shared/".to_vec()]);
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0].name.0, b"Sharedness");
    }

    #[test]
    fn no_role_is_given_twice() {
        let mut statuses: Vec<FolderStatus> = [("a/b", "\\Sent"), ("c", "\\sent"), ("d", "\\SENT")]
            .into_iter()
            .map(|(name, attribute)| {
                let nodes = merged(vec![line(&[attribute], name)], &[]);
                status(&nodes[0], FolderPath::parse(name), None)
            })
            .collect();
        assign_roles(&mut statuses);
        let roles: Vec<_> = statuses.iter().map(|s| s.folder.role).collect();
        assert_eq!(roles, [None, Some(Role::Sent), None]);
    }
}
