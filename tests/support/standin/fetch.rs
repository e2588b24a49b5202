//! FETCH: what a message is made of, item by item.

use std::sync::Arc;

use super::account::{Entry, FolderId, header_lines};
use super::dialect::Kind;
use super::parse::Arg;
use super::server::User;
use super::session::{Done, Session, Stop};
use super::set::Set;
use super::{gmail, microsoft365, yahoo};

/// One thing to fetch.
enum Item {
    Flags,
    Uid,
    Date,
    Size,
    ModSeq,
    GmailMessage,
    GmailThread,
    GmailLabels,
    EmailId,
    ThreadId,
    /// A section under the name it is answered with; `peeks` if `\Seen` stays as it is.
    Section {
        name: String,
        what: Section,
        peeks: bool,
        part: Option<(usize, usize)>,
    },
}

enum Section {
    Whole,
    Header,
    Text,
    Fields(Vec<String>),
    AllFieldsBut(Vec<String>),
}

impl Session {
    pub(super) fn fetch(&mut self, user: &mut User, args: &[Arg], by_uid: bool) -> Done {
        let server = Arc::clone(&self.server);
        let dialect = &server.dialect;
        let (set, items, modifiers) = match args {
            [set, items] => (set, items, &[][..]),
            [set, items, Arg::List(modifiers)] => (set, items, modifiers.as_slice()),
            _ => return Err(Stop::Arguments),
        };
        let items = match items {
            Arg::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut parsed = Vec::new();
        for item in items {
            self.parse_item(item.atom().ok_or(Stop::Arguments)?, &mut parsed)?;
        }
        if by_uid && !parsed.iter().any(|item| matches!(item, Item::Uid)) && !self.uid_only {
            parsed.push(Item::Uid);
        }
        let (mut since, mut partial) = (None, None);
        match modifiers {
            [] => {}
            [word, n]
                if word.word().as_deref() == Some("CHANGEDSINCE") && dialect.has("CONDSTORE") =>
            {
                let n = n.atom().and_then(|n| n.parse::<u64>().ok()).ok_or(Stop::Arguments)?;
                since = Some(n);
                if !parsed.iter().any(|item| matches!(item, Item::ModSeq)) {
                    parsed.push(Item::ModSeq);
                }
            }
            [word, range]
                if word.word().as_deref() == Some("PARTIAL") && dialect.has("PARTIAL") =>
            {
                partial = Some(range.atom().and_then(yahoo::page).ok_or(Stop::Arguments)?);
            }
            _ => return Err(Stop::Arguments),
        }
        let mut chosen = self.chosen(user, set, by_uid)?;
        if let Some(page) = partial {
            chosen = page.of(&chosen).to_vec();
        }
        let limited = self.limit(&mut chosen);
        let sees = parsed.iter().any(|item| matches!(item, Item::Section { peeks: false, .. }));
        for (n, uid) in chosen {
            let Some((_, entry)) = self.open_entry(user, uid) else { continue };
            if since.is_some_and(|since| user.account.modseq_of(entry) <= since) {
                continue;
            }
            let is_writable = self.selected.as_ref().is_some_and(|s| !s.is_read_only);
            if sees && is_writable {
                // FETCH need not carry FLAGS: they are told after it.
                see(user, entry);
            } else {
                self.told.insert(uid);
            }
            let told = match self.uid_only {
                true => format!("* {uid} UIDFETCH ("),
                false => format!("* {n} FETCH ("),
            };
            let mut line = told.into_bytes();
            for (at, item) in parsed.iter().enumerate() {
                if at > 0 {
                    line.push(b' ');
                }
                self.write_item(user, uid, entry, item, &mut line);
            }
            line.extend_from_slice(b")\r\n");
            let is_over = !user.spend(0, line.len());
            if is_over && dialect.kind == Kind::Gmail {
                return Err(Stop::Says(gmail::OVER_BANDWIDTH.into()));
            }
            self.wire.bytes(&line);
        }
        Ok(limited.unwrap_or_default())
    }

    /// Sequence number and UID of each message of a set, ascending.
    pub(super) fn chosen(
        &self,
        user: &User,
        set: &Arg,
        by_uid: bool,
    ) -> Result<Vec<(usize, u32)>, Stop> {
        let set = set.atom().and_then(Set::parse).ok_or(Stop::Arguments)?;
        let selected = self.selected.as_ref().ok_or(Stop::Arguments)?;
        let shown = match self.uid_only {
            true => self.visible(user, selected.folder),
            false => selected.uids.clone(),
        };
        let n_shown = u32::try_from(shown.len()).unwrap_or(u32::MAX);
        if !by_uid && (set.largest() > n_shown || n_shown == 0) {
            let yahoo = "[CLIENTBUG] FETCH Bad sequence in the command";
            return Err(match self.server.dialect.kind {
                Kind::Yahoo => Stop::Bad(yahoo.into()),
                _ => Stop::Arguments,
            });
        }
        let largest = if by_uid { shown.last().copied().unwrap_or_default() } else { n_shown };
        let numbered = shown.into_iter().enumerate().map(|(n, uid)| (n + 1, uid));
        Ok(numbered
            .filter(|(n, uid)| {
                let n = if by_uid { *uid } else { u32::try_from(*n).unwrap_or(u32::MAX) };
                set.contains(n, largest)
            })
            .collect())
    }

    pub(super) fn open_entry(&self, user: &User, uid: u32) -> Option<(FolderId, Entry)> {
        let folder = self.selected.as_ref()?.folder;
        Some((folder, user.account.entry(folder, uid)?))
    }

    /// The flags of a message where this entry stands.
    pub(super) fn flags_of(&self, user: &User, entry: Entry) -> String {
        let mut flags: Vec<&str> =
            user.account[entry.message].flags.iter().map(String::as_str).collect();
        if entry.is_deleted {
            flags.push("\\Deleted");
        }
        flags.join(" ")
    }

    fn parse_item(&self, text: &str, items: &mut Vec<Item>) -> Result<(), Stop> {
        let dialect = &self.server.dialect;
        let (gm, objects) = (dialect.has("X-GM-EXT-1"), dialect.has("OBJECTID"));
        let section =
            |name: &str, what, peeks| Item::Section { name: name.into(), what, peeks, part: None };
        let item = match text.to_ascii_uppercase().as_str() {
            "FAST" => {
                items.extend([Item::Flags, Item::Date]);
                Item::Size
            }
            "FLAGS" => Item::Flags,
            "UID" => Item::Uid,
            "INTERNALDATE" => Item::Date,
            "RFC822.SIZE" => Item::Size,
            "MODSEQ" if dialect.has("CONDSTORE") => Item::ModSeq,
            "X-GM-MSGID" if gm => Item::GmailMessage,
            "X-GM-THRID" if gm => Item::GmailThread,
            "X-GM-LABELS" if gm => Item::GmailLabels,
            "EMAILID" if objects => Item::EmailId,
            "THREADID" if objects => Item::ThreadId,
            "RFC822" => section("RFC822", Section::Whole, false),
            "RFC822.HEADER" => section("RFC822.HEADER", Section::Header, true),
            "RFC822.TEXT" => section("RFC822.TEXT", Section::Text, false),
            upper => parse_section(upper).ok_or(Stop::Arguments)?,
        };
        items.push(item);
        Ok(())
    }

    fn write_item(&self, user: &User, uid: u32, entry: Entry, item: &Item, out: &mut Vec<u8>) {
        let (dialect, message) = (&self.server.dialect, &user.account[entry.message]);
        let text = match item {
            Item::Flags => format!("FLAGS ({})", self.flags_of(user, entry)),
            Item::Uid => format!("UID {uid}"),
            Item::Date => {
                format!(
                    "INTERNALDATE \"{}\"",
                    message.date.to_utc().format("%d-%b-%Y %H:%M:%S +0000")
                )
            }
            Item::Size if dialect.kind == Kind::Microsoft365 && !user.is_exact => {
                format!("RFC822.SIZE {}", microsoft365::estimate(message.bytes.len()))
            }
            Item::Size => format!("RFC822.SIZE {}", message.bytes.len()),
            Item::ModSeq => format!("MODSEQ ({})", user.account.modseq_of(entry)),
            Item::GmailMessage => format!("X-GM-MSGID {}", message.object),
            Item::GmailThread => format!("X-GM-THRID {}", message.thread),
            Item::GmailLabels => {
                let selected = self.selected.as_ref().map(|s| s.folder);
                let labels = selected
                    .map(|folder| gmail::labels(&user.account, entry.message, folder, self.utf8));
                format!("X-GM-LABELS ({})", labels.unwrap_or_default())
            }
            Item::EmailId => format!("EMAILID (M{})", message.object),
            Item::ThreadId => format!("THREADID (T{})", message.thread),
            Item::Section { name, what, part, .. } => {
                let mut bytes = section_bytes(&message.bytes, what);
                if dialect.kind == Kind::Yahoo && matches!(what, Section::Fields(_)) {
                    bytes = header_but(&bytes, |name| !yahoo::is_unindexed(name));
                }
                let bytes = match part {
                    Some((from, n)) => {
                        let from = (*from).min(bytes.len());
                        &bytes[from..(from + n).min(bytes.len())]
                    }
                    None => &bytes[..],
                };
                let origin = part.map(|(from, _)| format!("<{from}>")).unwrap_or_default();
                out.extend_from_slice(format!("{name}{origin} ").as_bytes());
                if dialect.kind == Kind::Yahoo && yahoo::is_quotable(bytes) {
                    out.push(b'"');
                    out.extend_from_slice(bytes);
                    out.push(b'"');
                } else {
                    out.extend_from_slice(format!("{{{}}}\r\n", bytes.len()).as_bytes());
                    out.extend_from_slice(bytes);
                }
                return;
            }
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// `BODY[…]` and `BODY.PEEK[…]`, in capitals, with the part they may ask for.
fn parse_section(text: &str) -> Option<Item> {
    let (rest, peeks) = match text.strip_prefix("BODY.PEEK[") {
        Some(rest) => (rest, true),
        None => (text.strip_prefix("BODY[")?, false),
    };
    let (inner, after) = rest.split_once(']')?;
    let part = match after {
        "" => None,
        _ => {
            let (from, n) = after.strip_prefix('<')?.strip_suffix('>')?.split_once('.')?;
            Some((from.parse().ok()?, n.parse().ok().filter(|n| *n > 0)?))
        }
    };
    let fields = |list: &str| {
        let names = list.strip_prefix(" (")?.strip_suffix(')')?;
        Some(names.split(' ').map(|name| name.trim_matches('"').to_owned()).collect::<Vec<_>>())
    };
    let what = match inner {
        "" => Section::Whole,
        "HEADER" => Section::Header,
        "TEXT" => Section::Text,
        _ => match inner.strip_prefix("HEADER.FIELDS.NOT") {
            Some(list) => Section::AllFieldsBut(fields(list)?),
            None => Section::Fields(fields(inner.strip_prefix("HEADER.FIELDS")?)?),
        },
    };
    Some(Item::Section { name: format!("BODY[{inner}]"), what, peeks, part })
}

fn section_bytes(bytes: &[u8], what: &Section) -> Vec<u8> {
    let n_header: usize = header_lines(bytes).map(<[u8]>::len).sum();
    // The empty line belongs to the header.
    let blank = bytes[n_header..]
        .iter()
        .position(|b| *b == b'\n')
        .map_or(bytes.len(), |at| n_header + at + 1);
    match what {
        Section::Whole => bytes.to_vec(),
        Section::Header => bytes[..blank].to_vec(),
        Section::Text => bytes[blank..].to_vec(),
        Section::Fields(names) => {
            header_but(bytes, |name| names.iter().any(|n| n.eq_ignore_ascii_case(name)))
        }
        Section::AllFieldsBut(names) => {
            header_but(bytes, |name| !names.iter().any(|n| n.eq_ignore_ascii_case(name)))
        }
    }
}

/// The fields whose names are wanted, as they stand, and the empty line.
fn header_but(bytes: &[u8], is_wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    let (mut out, mut within) = (Vec::new(), false);
    for line in header_lines(bytes) {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let name = line.split(|b| *b == b':').next().unwrap_or_default();
            within = is_wanted(&String::from_utf8_lossy(name));
        }
        if within {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn see(user: &mut User, entry: Entry) {
    let message = user.account.messages.get_mut(&entry.message);
    if message.is_some_and(|message| message.flags.insert("\\Seen".into())) {
        user.account.settle(entry.message);
    }
}
