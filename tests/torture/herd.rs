//! The mailbox under torture, and the exact account of what both of its users did to it: the
//! oracle. Each message carries its number in a header of its own; drover is told nothing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, FixedOffset, TimeZone, Utc};

use crate::support::compare::Snapshot;
use crate::support::imap::Msg;
use crate::support::mail::{Mail, Rng};
use crate::support::{Dovecot, Imap, snapshot};

/// Where the destination's user puts what they take out of its folder.
const KEPT: &str = "Kept by me";
/// The keyword that only the destination's user sets.
const MINE: &str = "$mine";
/// The user on both sides.
pub(crate) const USER: &str = "anna";

/// What the users may do without making the outcome a matter of opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The ledger is never lost: everything is allowed.
    Kept,
    /// The ledger will be lost or set back. What only it knows (deletes by the destination's user,
    /// flags taken back, where a message came from) cannot be asked for.
    Lost,
}

/// What became of a copy by its user's hand.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Left,
    Deleted,
    Taken,
}

struct Message {
    mark: u32,
    mail: Mail,
    /// The source folder it is in; `None` once it is deleted there.
    at: Option<String>,
    flags: BTreeSet<String>,
    /// Genuine twins: so many of it are to be there.
    times: usize,
    /// Left alone at the source, so that what the destination's user does with it stands.
    pinned: bool,
    fate: Fate,
    mine: bool,
    /// When it arrived at the source.
    born: DateTime<Utc>,
}

/// What the destination does not have as it should.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) messages: usize,
    pub(crate) lost: Vec<String>,
    pub(crate) doubled: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        self.complaints().next().is_none()
    }

    /// All of it, in words.
    pub(crate) fn complaints(&self) -> impl Iterator<Item = &String> {
        self.lost.iter().chain(&self.doubled).chain(&self.wrong)
    }
}

/// All messages there ever were, and what is expected of each.
pub(crate) struct Herd {
    rng: Rng,
    memory: Memory,
    messages: Vec<Message>,
    /// Mail that the destination's user put there themselves.
    strays: Vec<(u32, Mail)>,
    folders: Vec<String>,
    next: u32,
    /// drover knows for certain what became of all that came before.
    settled: DateTime<Utc>,
    /// What happened, for whoever reads a failure.
    trace: Vec<String>,
}

impl Herd {
    pub(crate) fn new(seed: u64, memory: Memory) -> Self {
        let folders = ["INBOX", "Sent", "Archive/2021", "Entwürfe & Co", "日本語"];
        let folders = folders.map(str::to_owned).to_vec();
        Self {
            rng: Rng::new(seed),
            memory,
            messages: Vec::new(),
            strays: Vec::new(),
            folders,
            next: 1,
            settled: DateTime::UNIX_EPOCH,
            trace: Vec::new(),
        }
    }

    /// Notes what happens.
    pub(crate) fn note(&mut self, what: &str) {
        let now = chrono::Utc::now().format("%H:%M:%S%.3f");
        self.trace.push(format!("{now} {what}"));
    }

    /// What happened to everything, and to these messages in particular.
    pub(crate) fn story(&self, verdict: &Verdict) -> String {
        let lines = self.trace.iter().filter(|line| match line.split_once(" message ") {
            Some((_, rest)) => {
                let about = format!("message {} ", rest.split(' ').next().unwrap_or_default());
                verdict.complaints().any(|c| format!("{c} ").contains(&about))
            }
            None => true,
        });
        lines.cloned().collect::<Vec<_>>().join("\n")
    }

    /// How many messages the source has.
    pub(crate) fn len(&self) -> usize {
        self.messages.iter().filter(|m| m.at.is_some()).map(|m| m.times).sum()
    }

    /// New mail for random folders.
    pub(crate) fn arrive(&mut self, source: &Dovecot, n: usize) {
        let mut here = source.connect(USER);
        for _ in 0..n.div_ceil(8) {
            let folder = self.folders[self.rng.below(self.folders.len())].clone();
            here.create(&folder);
            let mut mails = Vec::new();
            let n_before = self.messages.len();
            for _ in 0..self.rng.below(16) + 1 {
                let message = self.message(&folder);
                mails.extend(std::iter::repeat_n(message.mail.clone(), message.times));
                self.note(&format!("arrives: message {} in {folder}", message.mark));
                self.messages.push(message);
            }
            here.append_many(&folder, &mails);
            for message in &mut self.messages[n_before..] {
                message.born = Utc::now();
            }
        }
    }

    /// One to three things that the source's user does.
    pub(crate) fn source_acts(&mut self, source: &Dovecot) {
        for _ in 0..=self.rng.below(3) {
            match (self.rng.below(10), self.memory) {
                (0..4, _) => {
                    let n = self.rng.below(20) + 1;
                    self.arrive(source, n);
                }
                (4..7, _) => self.flag(source),
                (7 | 8, Memory::Kept) => self.shift(source),
                (_, Memory::Kept) if self.rng.chance(50) => self.rename(source),
                (_, Memory::Kept) => self.delete(source),
                (_, Memory::Lost) => {}
            }
        }
    }

    /// One or two things that the destination's user does, with copies that drover knows of for
    /// certain: what came before this moment. A copy that landed, was never answered for and is
    /// removed before drover can look is taken for one that never landed.
    pub(crate) fn destination_acts(&mut self, destination: &Dovecot, settled: DateTime<Utc>) {
        self.settled = settled;
        for _ in 0..=self.rng.below(2) {
            match (self.rng.below(6), self.memory) {
                (0 | 1, _) => self.stray(&mut destination.connect(USER)),
                (2 | 3, Memory::Kept) => self.mark_mine(destination),
                (4, Memory::Kept) => self.remove_copy(destination),
                (_, Memory::Kept) => self.take_copy(destination),
                (_, Memory::Lost) => {}
            }
        }
    }

    /// The source's folder is deleted and made anew with the same messages: all of its ids are
    /// over. Not while drover looks, or it would rightly see the messages go.
    pub(crate) fn renew_source_folder(&mut self, source: &Dovecot) {
        let Some(folder) = self.some_folder(&mut source.connect(USER)) else { return };
        renew(source, &folder);
        self.note(&format!("source renewed {folder}"));
    }

    /// The same at the destination, as after a restored backup there.
    pub(crate) fn renew_destination_folder(&mut self, destination: &Dovecot) {
        let Some(folder) = self.some_folder(&mut destination.connect(USER)) else { return };
        renew(destination, &folder);
        self.note(&format!("destination renewed {folder}"));
    }

    /// A folder that can be deleted, is there, and has none below it.
    fn some_folder(&mut self, imap: &mut Imap) -> Option<String> {
        let listed: Vec<String> = imap.list().into_iter().map(|f| f.path).collect();
        let leaf = |f: &&String| {
            let below = format!("{f}/");
            f.as_str() != "INBOX"
                && listed.contains(f)
                && !listed.iter().any(|l| l.starts_with(&below))
        };
        let leaves: Vec<&String> = self.folders.iter().filter(leaf).collect();
        (!leaves.is_empty()).then(|| leaves[self.rng.below(leaves.len())].clone())
    }

    fn message(&mut self, folder: &str) -> Message {
        let mark = self.next;
        self.next += 1;
        let (mail, flags) = letter(&mut self.rng, mark);
        Message {
            mark,
            mail,
            at: Some(folder.to_owned()),
            flags,
            times: if self.rng.chance(4) { 2 } else { 1 },
            pinned: self.rng.chance(35),
            fate: Fate::Left,
            mine: false,
            born: Utc::now(),
        }
    }

    /// A message of the source that its user may do something with.
    fn some(&mut self) -> Option<usize> {
        let free: Vec<usize> = (0..self.messages.len())
            .filter(|&n| self.messages[n].at.is_some() && !self.messages[n].pinned)
            .collect();
        (!free.is_empty()).then(|| free[self.rng.below(free.len())])
    }

    fn flag(&mut self, source: &Dovecot) {
        let mut here = source.connect(USER);
        for _ in 0..=self.rng.below(5) {
            let Some(n) = self.some() else { return };
            let flag = ["\\seen", "\\flagged", "\\answered", "$work", "$later"][self.rng.below(5)];
            let message = &mut self.messages[n];
            let Some(folder) = message.at.clone() else { continue };
            let uids = find(&mut here, &folder, message.mark);
            let sign = match message.flags.contains(flag) {
                true if self.memory == Memory::Lost => continue,
                true => '-',
                false => '+',
            };
            here.store(&folder, &uids, &format!("{sign}FLAGS ({flag})"));
            let line = format!("{sign}{flag}: message {} in {folder} at {uids:?}", message.mark);
            if !message.flags.remove(flag) {
                message.flags.insert(flag.to_owned());
            }
            self.note(&line);
        }
    }

    fn shift(&mut self, source: &Dovecot) {
        for _ in 0..=self.rng.below(4) {
            let Some(n) = self.some() else { return };
            let to = self.folders[self.rng.below(self.folders.len())].clone();
            let Some(from) = self.messages[n].at.clone().filter(|from| *from != to) else {
                continue;
            };
            source.connect(USER).create(&to);
            // Anew: Dovecot ends sessions in a folder that was renamed a moment ago.
            let mut here = source.connect(USER);
            let uids = find(&mut here, &from, self.messages[n].mark);
            here.uid_move(&from, &uids, &to);
            let mark = self.messages[n].mark;
            self.note(&format!("moves: message {mark} from {from} at {uids:?} to {to}"));
            self.messages[n].at = Some(to);
        }
    }

    fn delete(&mut self, source: &Dovecot) {
        let mut here = source.connect(USER);
        for _ in 0..=self.rng.below(3) {
            let Some(n) = self.some() else { return };
            let Some(from) = self.messages[n].at.take() else { continue };
            let uids = find(&mut here, &from, self.messages[n].mark);
            here.expunge_uids(&from, &uids);
            let mark = self.messages[n].mark;
            self.note(&format!("deleted: message {mark} in {from} at {uids:?}"));
        }
    }

    fn rename(&mut self, source: &Dovecot) {
        let mut here = source.connect(USER);
        let Some(from) = self.some_folder(&mut here) else { return };
        let to = format!("Renamed {}", self.next);
        self.next += 1;
        here.rename_folder(&from, &to);
        self.note(&format!("renamed: {from} to {to}"));
        for name in self.folders.iter_mut().filter(|name| **name == from) {
            name.clone_from(&to);
        }
        for message in self.messages.iter_mut().filter(|m| m.at.as_deref() == Some(&from)) {
            message.at = Some(to.clone());
        }
    }

    fn stray(&mut self, there: &mut Imap) {
        let folders = there.list();
        let real = |f: &&crate::support::imap::Folder| {
            !f.attributes.iter().any(|a| a.eq_ignore_ascii_case("\\noselect"))
        };
        let folders: Vec<_> = folders.iter().filter(real).collect();
        let Some(folder) = folders.get(self.rng.below(folders.len().max(1))) else { return };
        let mark = self.next;
        self.next += 1;
        let (mail, _) = letter(&mut self.rng, mark);
        // Drover may be about to rename or empty the folder: then the user tries again another day.
        if there.try_append(&folder.path, "", mail.date, &mail.bytes).is_ok() {
            self.strays.push((mark, mail));
        }
    }

    /// A copy whose fate is the destination user's alone: selects its folder.
    fn some_copy(&mut self, there: &mut Imap) -> Result<(usize, String), String> {
        let settled = self.settled;
        let is_theirs =
            |m: &Message| m.pinned && m.at.is_some() && m.fate == Fate::Left && m.born < settled;
        let theirs: Vec<usize> =
            (0..self.messages.len()).filter(|&n| is_theirs(&self.messages[n])).collect();
        let pick = self.rng.below(theirs.len().max(1));
        let n = *theirs.get(pick).ok_or("there is none")?;
        let message = &self.messages[n];
        let folder = there.wire(message.at.as_deref().unwrap_or_default());
        there.try_command(&format!("SELECT \"{folder}\""))?;
        let uids = search(there, message.mark)?;
        // Only what has come: both of twins, or neither.
        if uids.len() != message.times {
            return Err("it has not come yet".into());
        }
        Ok((n, uids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")))
    }

    /// Drover may be moving the folder just now: then the user meets an error and leaves it.
    fn mark_mine(&mut self, destination: &Dovecot) {
        let mut there = destination.connect(USER);
        let Ok((n, uids)) = self.some_copy(&mut there) else { return };
        let _ = there.try_command(&format!("UID STORE {uids} +FLAGS ({MINE})"));
        let copies = self.whereabouts(destination, n);
        self.messages[n].mine = copies.iter().any(|(_, flags)| flags.contains(MINE));
    }

    fn remove_copy(&mut self, destination: &Dovecot) {
        let mut there = destination.connect(USER);
        let Ok((n, uids)) = self.some_copy(&mut there) else { return };
        let _ = there.try_command(&format!("UID STORE {uids} +FLAGS.SILENT (\\Deleted)"));
        let _ = there.try_command(&format!("UID EXPUNGE {uids}"));
        if self.whereabouts(destination, n).is_empty() {
            self.messages[n].fate = Fate::Deleted;
            let mark = self.messages[n].mark;
            self.note(&format!("user deletes: message {mark} at the destination"));
        }
    }

    fn take_copy(&mut self, destination: &Dovecot) {
        let mut there = destination.connect(USER);
        there.create(KEPT);
        let Ok((n, uids)) = self.some_copy(&mut there) else { return };
        let _ = there.try_command(&format!("UID MOVE {uids} \"{KEPT}\""));
        if self.whereabouts(destination, n).iter().any(|(folder, _)| folder == KEPT) {
            self.messages[n].fate = Fate::Taken;
            let mark = self.messages[n].mark;
            self.note(&format!("user takes: message {mark} at the destination"));
        }
    }

    /// The folders that hold a message, each with its flags there as the server shows them.
    fn whereabouts(&self, destination: &Dovecot, n: usize) -> Vec<(String, String)> {
        loop {
            // Folders may be renamed under us: then once more.
            if let Ok(found) = look_around(destination, self.messages[n].mark) {
                return found;
            }
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    }

    /// Holds the destination against what it should be.
    pub(crate) fn judge(&self, destination: &Dovecot) -> Verdict {
        let there = snapshot(&mut destination.connect(USER));
        let found = by_mark(&there);
        let mut verdict = Verdict { messages: self.len(), ..Verdict::default() };
        for message in &self.messages {
            let copies = found.get(&message.mark).map_or(&[][..], Vec::as_slice);
            message.judge(copies, &mut verdict);
        }
        for (mark, mail) in &self.strays {
            let copies = found.get(mark).map_or(0, Vec::len);
            if copies != 1 {
                let line = format!("the user's own message {mark} is there {copies} times");
                verdict.wrong.push(line);
            } else if found[mark][0].1.body != mail.bytes {
                verdict.wrong.push(format!("the user's own message {mark} was changed"));
            }
        }
        let known: BTreeSet<u32> =
            self.messages.iter().map(|m| m.mark).chain(self.strays.iter().map(|s| s.0)).collect();
        for mark in found.keys().filter(|mark| !known.contains(mark)) {
            verdict.wrong.push(format!("message {mark} is nobody's"));
        }
        verdict
    }
}

impl Message {
    fn judge(&self, copies: &[(&str, &Msg)], verdict: &mut Verdict) {
        let name = format!("message {} ({} bytes)", self.mark, self.mail.bytes.len());
        let places: Vec<&str> = copies.iter().map(|(folder, _)| *folder).collect();
        let home = match (&self.at, &self.fate) {
            (None, _) if copies.is_empty() => return,
            (None, _) => {
                verdict.wrong.push(format!("{name}: deleted at the source, still in {places:?}"));
                return;
            }
            (Some(_), Fate::Deleted) if copies.is_empty() => return,
            (Some(_), Fate::Deleted) => {
                verdict.wrong.push(format!("{name}: its user deleted it, it is in {places:?}"));
                return;
            }
            (Some(_), Fate::Taken) => KEPT,
            (Some(folder), Fate::Left) => folder,
        };
        if copies.len() < self.times {
            let times = self.times;
            verdict.lost.push(format!("{name}: {times} of it belong to {home}, is in {places:?}"));
        } else if copies.len() > self.times {
            let times = self.times;
            verdict.doubled.push(format!("{name}: {times} belong to {home}, is in {places:?}"));
        }
        let mut flags = self.flags.clone();
        if self.mine {
            flags.insert(MINE.into());
        }
        for (folder, copy) in copies {
            if *folder != home {
                verdict.wrong.push(format!("{name}: belongs to {home}, is in {folder}"));
            }
            if copy.body != self.mail.bytes {
                verdict.wrong.push(format!("{name}: other bytes in {folder}"));
            }
            if copy.date != self.mail.date {
                verdict.wrong.push(format!("{name}: date {} ≠ {}", self.mail.date, copy.date));
            }
            if copy.flags != flags {
                verdict.wrong.push(format!("{name}: flags {flags:?} ≠ {:?}", copy.flags));
            }
        }
    }
}

fn by_mark(snapshot: &Snapshot) -> BTreeMap<u32, Vec<(&str, &Msg)>> {
    let mut found: BTreeMap<u32, Vec<(&str, &Msg)>> = BTreeMap::new();
    for (folder, messages) in snapshot {
        for message in messages {
            let mark = mark_of(&message.body).unwrap_or_default();
            found.entry(mark).or_default().push((folder, message));
        }
    }
    found
}

fn mark_of(body: &[u8]) -> Option<u32> {
    let head = String::from_utf8_lossy(&body[..body.len().min(600)]);
    head.lines().find_map(|line| line.strip_prefix("X-Mark: ")).and_then(|n| n.trim().parse().ok())
}

fn find(imap: &mut Imap, folder: &str, mark: u32) -> Vec<u32> {
    imap.select(folder);
    search(imap, mark).unwrap_or_else(|e| panic!("search for {mark} in {folder}: {e}"))
}

/// The UIDs of a message in the selected folder.
fn search(imap: &mut Imap, mark: u32) -> Result<Vec<u32>, String> {
    let reply = imap.try_command(&format!("UID SEARCH HEADER X-Mark {mark:08}"))?;
    let lines = reply.untagged.iter().filter_map(|line| line.text.strip_prefix("SEARCH"));
    Ok(lines.flat_map(str::split_whitespace).filter_map(|uid| uid.parse().ok()).collect())
}

fn look_around(server: &Dovecot, mark: u32) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for folder in server.connect(USER).list() {
        // One connection each: Dovecot ends those whose folder is renamed.
        let mut imap = server.connect(USER);
        if folder.attributes.iter().any(|a| a.eq_ignore_ascii_case("\\noselect")) {
            continue;
        }
        imap.try_command(&format!("EXAMINE \"{}\"", folder.wire))?;
        for uid in search(&mut imap, mark)? {
            let reply = imap.try_command(&format!("UID FETCH {uid} (FLAGS)"))?;
            let shown = reply.untagged.iter().map(|line| line.text.to_ascii_lowercase());
            found.push((folder.path.clone(), shown.collect()));
        }
    }
    Ok(found)
}

/// Deletes a folder and makes it anew with the same messages.
fn renew(server: &Dovecot, folder: &str) {
    let mail = |m: Msg| Mail {
        bytes: m.body,
        flags: m.flags.into_iter().collect::<Vec<_>>().join(" "),
        date: m.date.fixed_offset(),
    };
    let messages = server.connect(USER).messages(folder);
    let mails: Vec<Mail> = messages.into_iter().map(mail).collect();
    // Each on a connection of its own: Dovecot ends those whose folder is deleted.
    server.connect(USER).delete_folder(folder);
    // UIDVALIDITY is made of the second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    server.connect(USER).create(folder);
    server.connect(USER).append_many(folder, &mails);
}

/// A message, mostly plain to recognise, now and then without a name, or named as others are.
fn letter(rng: &mut Rng, mark: u32) -> (Mail, BTreeSet<String>) {
    let zone = FixedOffset::east_opt(3600).expect("a legal offset");
    let seconds = 1_000_000_000 + i64::try_from(rng.below(700_000_000)).expect("small");
    let date: DateTime<FixedOffset> =
        zone.timestamp_opt(seconds, 0).single().expect("a legal instant");
    let named = match rng.below(20) {
        0 => String::new(),
        1 => "Message-ID: <again@and.again.example>\r\n".to_owned(),
        _ => format!("Message-ID: <{mark}.{}@herd.example>\r\n", rng.next()),
    };
    // Those without a name of their own look alike in all the rest too.
    let about = if rng.chance(92) { format!("about {mark}") } else { "about nothing".to_owned() };
    let mut bytes = format!(
        "X-Mark: {mark:08}\r\n{named}From: bo@herd.example\r\nSubject: {about}\r\n\
         Date: Thu, 1 Jan 2026 10:00:00 +0000\r\n\r\n"
    )
    .into_bytes();
    let size = match rng.below(100) {
        0..20 => 0,
        20..75 => rng.below(2_000),
        75..95 => rng.below(20_000),
        95..99 => rng.below(200_000),
        _ => 600_000,
    };
    let end = bytes.len() + size;
    while bytes.len() < end {
        let line = format!("{:016x} {:016x} über die Weide\r\n", rng.next(), rng.next());
        bytes.extend_from_slice(line.as_bytes());
    }
    let all = ["\\seen", "\\answered", "\\flagged", "\\draft", "$work", "$forwarded"];
    let flags: BTreeSet<String> =
        all.iter().filter(|_| rng.chance(25)).map(|&f| f.to_owned()).collect();
    let wire = flags.iter().cloned().collect::<Vec<_>>().join(" ");
    (Mail { bytes, flags: wire, date }, flags)
}
