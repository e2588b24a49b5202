//! Which folders a message is in, by its labels.

use std::collections::BTreeSet;

use ring::digest::SHA256;

use super::mark::Digest;
use crate::definition::Labels;
use crate::model::{Flags, Folder, FolderName, FolderPath, Keyword, Role};
use crate::platform::FolderStatus;

/// System labels that are folders too, as X-GM-LABELS writes them (Gmail IMAP extensions,
/// "Access to Gmail labels"), and the folders' roles. The others (`\Starred`, `\Important`, `\Muted`)
/// are flags or views.
const SYSTEM: [(&str, Role); 3] =
    [("\\Inbox", Role::Inbox), ("\\Sent", Role::Sent), ("\\Draft", Role::Drafts)];

/// Where messages are kept. Every message is in exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stores {
    /// All Mail: every message but those in the other two.
    pub(super) all: FolderName,
    pub(super) junk: Option<FolderName>,
    pub(super) trash: Option<FolderName>,
}

impl Stores {
    pub(super) fn each(&self) -> impl Iterator<Item = &FolderName> {
        [Some(&self.all), self.junk.as_ref(), self.trash.as_ref()].into_iter().flatten()
    }

    /// The store that a folder shows a part of.
    pub(super) fn behind(&self, folder: &FolderName) -> &FolderName {
        let mut others = [&self.junk, &self.trash].into_iter().flatten();
        others.find(|store| *store == folder).unwrap_or(&self.all)
    }
}

/// The account as it is shown: folders that hold each message as often as the policy says.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    policy: Labels,
    pub(super) stores: Stores,
    /// Folders by the labels that fill them, the stronger first.
    by_label: Vec<(Vec<u8>, FolderName)>,
    /// All that are shown.
    pub(super) shown: Vec<Folder>,
}

impl Placement {
    /// From all folders as they are listed. `None` if All Mail is not among them.
    pub(super) fn new(policy: Labels, listed: &[FolderStatus]) -> Option<Self> {
        let selectable = || listed.iter().filter(|s| s.selectable).map(|s| &s.folder);
        let of = |role| selectable().find(|f| f.role == Some(role)).map(|f| f.name.clone());
        let stores = Stores { all: of(Role::All)?, junk: of(Role::Junk), trash: of(Role::Trash) };
        let mut by_label: Vec<(Vec<u8>, FolderName)> = Vec::new();
        if policy != Labels::AllMail {
            for (label, role) in SYSTEM {
                by_label.extend(of(role).map(|name| (label.as_bytes().to_vec(), name)));
            }
        }
        if matches!(policy, Labels::Folders | Labels::First) {
            let is_label = |f: &&Folder| f.role.is_none_or(|role| role == Role::Archive);
            for folder in selectable().filter(is_label) {
                by_label.push((folder.name.0.clone(), folder.name.clone()));
            }
        }
        let is_shown = |f: &&Folder| {
            let stores = [Some(&stores.all), stores.junk.as_ref(), stores.trash.as_ref()];
            stores.contains(&Some(&f.name)) || by_label.iter().any(|(_, name)| *name == f.name)
        };
        let shown = shown(selectable().filter(is_shown).cloned().collect());
        Some(Self { policy, stores, by_label, shown })
    }

    /// The keywords that stand for a message's labels; none unless the policy says so.
    pub(super) fn keywords(&self, labels: &[Vec<u8>]) -> Flags {
        let is_own =
            |label: &&Vec<u8>| self.policy == Labels::Keywords && !label.starts_with(b"\\");
        Flags::from_parts(0, labels.iter().filter(is_own).map(|label| keyword(label)))
    }

    /// How labels become folders: another digest, and what was placed before is placed otherwise.
    pub(super) fn digest(&self) -> Digest {
        let text = format!("{:?}", (self.policy, &self.stores, &self.by_label));
        let mut digest = Digest::default();
        digest.copy_from_slice(ring::digest::digest(&SHA256, text.as_bytes()).as_ref());
        digest
    }

    /// The folders whose labels a message of All Mail bears; All Mail itself is always one.
    pub(super) fn borne<'a>(
        &'a self,
        labels: &'a [Vec<u8>],
    ) -> impl Iterator<Item = &'a FolderName> {
        let borne = self.by_label.iter().filter(|(label, _)| bears(labels, label));
        borne.map(|(_, name)| name).chain([&self.stores.all])
    }

    /// The folders a message of All Mail is in.
    pub(super) fn of<'a>(&'a self, labels: &'a [Vec<u8>]) -> impl Iterator<Item = &'a FolderName> {
        let has = move |wanted: &[u8]| bears(labels, wanted);
        let most = match self.policy {
            Labels::Folders => usize::MAX,
            Labels::First | Labels::AllMail | Labels::Keywords => 1,
        };
        let found = self.by_label.iter().filter(move |(label, _)| has(label));
        let found = found.map(|(_, name)| name).take(most);
        // What has no label that is a folder was archived.
        let none = self.by_label.iter().all(|(label, _)| !has(label));
        found.chain(none.then_some(&self.stores.all))
    }
}

/// Is the label among these? System labels come in any case; others are compared as they are.
fn bears(labels: &[Vec<u8>], wanted: &[u8]) -> bool {
    let is = |label: &Vec<u8>| match wanted.first() {
        Some(b'\\') => label.eq_ignore_ascii_case(wanted),
        _ => label == wanted,
    };
    labels.iter().any(is)
}

/// A label as a keyword may be written (RFC 9051, 9: an atom): as it is on the wire, where characters
/// beyond ASCII are in modified UTF-7, and with `_` for what no atom holds.
fn keyword(label: &[u8]) -> Keyword {
    let plain = |&b: &u8| match b {
        b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']' => '_',
        b'!'..=b'~' => char::from(b),
        _ => '_',
    };
    Keyword(label.iter().map(plain).collect::<String>().into())
}

/// As people shall find them at the destination: without the `[Gmail]` above them, and All Mail,
/// which is no view any more but holds what is nowhere else, as the archive.
fn shown(mut folders: Vec<Folder>) -> Vec<Folder> {
    let taken: BTreeSet<FolderPath> = folders.iter().map(|folder| folder.path.clone()).collect();
    for folder in &mut folders {
        let Some(role) = folder.role else { continue };
        if role == Role::All {
            folder.role = Some(Role::Archive);
        }
        let short = FolderPath::new(folder.path.segments().last().cloned());
        // Somebody may have a label of that name.
        if role != Role::Inbox && !taken.contains(&short) {
            folder.path = short;
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Vec<FolderStatus> {
        let of = |name: &str, role: Option<Role>| FolderStatus {
            folder: Folder { name: FolderName(name.into()), path: FolderPath::parse(name), role },
            role_guessed: false,
            selectable: name != "[Gmail]",
            messages: None,
            epoch: None,
            next: None,
            cursor: None,
            store: None,
        };
        vec![
            of("INBOX", Some(Role::Inbox)),
            of("Arbeit", None),
            of("Arbeit/Kunden", None),
            of("[Gmail]", None),
            of("[Gmail]/Alle Nachrichten", Some(Role::All)),
            of("[Gmail]/Entwürfe", Some(Role::Drafts)),
            of("[Gmail]/Gesendet", Some(Role::Sent)),
            of("[Gmail]/Markiert", Some(Role::Flagged)),
            of("[Gmail]/Papierkorb", Some(Role::Trash)),
            of("[Gmail]/Spam", Some(Role::Junk)),
            of("[Gmail]/Wichtig", Some(Role::Important)),
        ]
    }

    fn placed(policy: Labels, labels: &[&str]) -> Vec<String> {
        let placement = Placement::new(policy, &listed()).expect("All Mail is there");
        let labels: Vec<Vec<u8>> = labels.iter().map(|l| l.as_bytes().to_vec()).collect();
        let names = placement.of(&labels);
        names.map(|name| String::from_utf8_lossy(&name.0).into_owned()).collect()
    }

    #[test]
    fn a_message_is_in_the_folder_of_each_of_its_labels() {
        let labels = ["Arbeit", "\\Inbox", "Arbeit/Kunden", "\\Important"];
        assert_eq!(placed(Labels::Folders, &labels), ["INBOX", "Arbeit", "Arbeit/Kunden"]);
    }

    #[test]
    fn or_in_the_first_of_them_only() {
        assert_eq!(placed(Labels::First, &["Arbeit/Kunden", "\\Sent"]), ["[Gmail]/Gesendet"]);
        assert_eq!(placed(Labels::First, &["Arbeit/Kunden", "Arbeit"]), ["Arbeit"]);
    }

    #[test]
    fn or_where_all_are() {
        let labels = ["Arbeit", "\\Inbox"];
        assert_eq!(placed(Labels::AllMail, &labels), ["[Gmail]/Alle Nachrichten"]);
    }

    #[test]
    fn or_are_keywords_of_a_message_that_is_in_one_folder() {
        let labels = ["\\Sent", "Muy Importante", "Gr&APYA3w-e", "a(b)", "\\Important"];
        assert_eq!(placed(Labels::Keywords, &labels), ["[Gmail]/Gesendet"]);
        assert_eq!(placed(Labels::Keywords, &["Arbeit"]), ["[Gmail]/Alle Nachrichten"]);
        let labels = labels.map(|label| label.as_bytes().to_vec());
        let keywords = |policy| {
            let placement = Placement::new(policy, &listed()).expect("All Mail is there");
            placement.keywords(&labels).to_string()
        };
        assert_eq!(keywords(Labels::Keywords), "a_b_ Gr&APYA3w-e Muy_Importante");
        assert_eq!(keywords(Labels::Folders), "");
    }

    #[test]
    fn what_has_no_label_is_in_the_archive_and_nowhere_else() {
        for labels in [&[][..], &["\\Starred", "\\Important"], &["hidden from IMAP"]] {
            for policy in [Labels::Folders, Labels::First] {
                assert_eq!(placed(policy, labels), ["[Gmail]/Alle Nachrichten"]);
            }
        }
    }

    #[test]
    fn system_labels_come_in_any_case_and_others_do_not() {
        assert_eq!(placed(Labels::Folders, &["\\INBOX", "arbeit"]), ["INBOX"]);
    }

    #[test]
    fn folders_are_shown_as_people_shall_find_them() {
        let placement = Placement::new(Labels::Folders, &listed()).expect("All Mail is there");
        let shown = placement.shown.iter().map(|f| (f.path.to_string(), f.role));
        let shown: Vec<_> = shown.collect();
        assert_eq!(
            shown,
            [
                ("INBOX".into(), Some(Role::Inbox)),
                ("Arbeit".into(), None),
                ("Arbeit/Kunden".into(), None),
                ("Alle Nachrichten".into(), Some(Role::Archive)),
                ("Entwürfe".into(), Some(Role::Drafts)),
                ("Gesendet".into(), Some(Role::Sent)),
                ("Papierkorb".into(), Some(Role::Trash)),
                ("Spam".into(), Some(Role::Junk)),
            ]
        );
    }

    #[test]
    fn a_label_that_is_called_like_a_system_folder_keeps_its_name() {
        let mut listed = listed();
        listed[1].folder.path = FolderPath::parse("Spam");
        let placement = Placement::new(Labels::Folders, &listed).expect("All Mail is there");
        let junk = placement.shown.iter().find(|f| f.role == Some(Role::Junk));
        assert_eq!(junk.map(|f| f.path.to_string()), Some("[Gmail]/Spam".into()));
    }

    #[test]
    fn without_all_mail_there_is_nothing_to_go_by() {
        let mut listed = listed();
        listed.retain(|s| s.folder.role != Some(Role::All));
        assert!(Placement::new(Labels::Folders, &listed).is_none());
    }
}
