//! Random histories of both sides, with passes in between, against what must come of them.
//!
//! A history is at most fifteen steps: what the source's user does, what the destination's user
//! does, passes, passes cut short, a crash, a restart, a ledger put back from a copy. Every history comes from one number: a
//! failure prints it, together with the shortest history that still fails. `DROVER_SEED=n` runs
//! that one alone, `DROVER_CASES=n` runs more of them than the default few.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use drover::definition::MaxDelete;
use drover::model::PassKind;
use drover::sync::{self, Error, Progress, Report};
use support::compare::{Snapshot, differences};
use support::imap::{Msg, quote};
use support::mail::{self, Mail, Rng};
use support::{Dovecot, Imap, Options, World};
use tokio_util::sync::CancellationToken;

/// Histories of each kind in an ordinary run.
const CASES: u64 = 4;
/// Steps of a history.
const STEPS: usize = 15;
/// Messages that are there to begin with.
const BEGINNING: usize = 36;
/// Where the destination's user puts what they move; the source has no such folder.
const MINE: &str = "Mine";
const NAMES: [&str; 7] =
    ["Alpha", "Alpha/Sub", "Alpha/Sub/Deep", "Beta", "Entwürfe & Co", "Gamma", "Sent"];
const FLAGS: [&str; 4] = ["\\Seen", "\\Flagged", "$Label1", "customer-7"];

/// One step. Numbers choose among what is there when the step is taken.
#[derive(Debug, Clone)]
enum Step {
    Append {
        folder: usize,
        kinds: Vec<u8>,
    },
    Flag {
        folder: usize,
        message: usize,
        flag: usize,
        set: bool,
    },
    Move {
        folder: usize,
        message: usize,
        n: usize,
        to: usize,
    },
    Copy {
        folder: usize,
        message: usize,
        to: usize,
    },
    Expunge {
        folder: usize,
        message: usize,
        n: usize,
    },
    Create {
        name: usize,
    },
    Rename {
        folder: usize,
        name: usize,
    },
    DeleteFolder {
        folder: usize,
    },
    /// The folder is made anew with the same messages: other ids.
    Renew {
        folder: usize,
    },
    Pass,
    /// A pass that is told to stop after so many milliseconds.
    Cut(u64),
    /// A pass that is dropped after so many milliseconds, as if the machine had lost power.
    Crash(u64),
    Reopen,
    /// A copy of the ledger is kept …
    Backup,
    /// … and put back in its place.
    Restore,
    TheyDelete {
        folder: usize,
        message: usize,
    },
    TheyFlag {
        folder: usize,
        message: usize,
        flag: usize,
        set: bool,
    },
    TheyMove {
        folder: usize,
        message: usize,
    },
    TheyAdd {
        folder: usize,
    },
}

/// Which steps a history may have, and what must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Deletes are carried and nobody touches the destination: both sides end up the same.
    Mirror,
    /// Deletes are not carried: all that a pass ever saw is there, once.
    Keep,
    /// Deletes are carried and the destination is in use.
    Shared,
}

fn history(seed: u64, kind: Kind) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    let n = 5 + rng.below(STEPS - 4);
    (0..n).map(|_| step(&mut rng, kind)).collect()
}

fn step(rng: &mut Rng, kind: Kind) -> Step {
    let (folder, message, to) = (rng.below(64), rng.below(64), rng.below(64));
    let (flag, set, name) = (rng.below(FLAGS.len()), rng.chance(60), rng.below(NAMES.len()));
    if kind == Kind::Shared && rng.chance(35) {
        return match rng.below(5) {
            0 | 1 => Step::TheyDelete { folder, message },
            2 => Step::TheyFlag { folder, message, flag, set },
            3 => Step::TheyMove { folder, message },
            _ => Step::TheyAdd { folder },
        };
    }
    if kind == Kind::Keep && rng.chance(12) {
        return if rng.chance(50) { Step::Backup } else { Step::Restore };
    }
    match rng.below(100) {
        0..14 => {
            let kinds = (0..=rng.below(4)).map(|_| rng.below(10) as u8).collect();
            Step::Append { folder, kinds }
        }
        14..24 => Step::Flag { folder, message, flag, set },
        24..38 => Step::Move { folder, message, n: 1 + rng.below(4), to },
        38..44 => Step::Copy { folder, message, to },
        44..54 => Step::Expunge { folder, message, n: 1 + rng.below(3) },
        54..57 => Step::Create { name },
        57..63 => Step::Rename { folder, name },
        63..66 => Step::DeleteFolder { folder },
        66..71 => Step::Renew { folder },
        71..85 => Step::Pass,
        85..91 => Step::Cut(rng.below(80) as u64),
        91..97 => Step::Crash(rng.below(120) as u64),
        _ => Step::Reopen,
    }
}

/// What is expected of messages of which there is only one, and of the destination's user's own.
#[derive(Default)]
struct Model {
    /// How often a content was brought into being at the source.
    made: HashMap<Vec<u8>, usize>,
    /// The most that a pass that ran to its end saw of a content at once.
    seen: HashMap<Vec<u8>, usize>,
    /// Flags at the source at the end of the last pass.
    base: HashMap<Vec<u8>, BTreeSet<String>>,
    /// Flags the copy must have.
    flags: HashMap<Vec<u8>, BTreeSet<String>>,
    removed: BTreeSet<Vec<u8>>,
    moved: BTreeSet<Vec<u8>>,
    own: BTreeMap<Vec<u8>, BTreeSet<String>>,
    /// A pass broke off since the last that ran to its end.
    unsettled: bool,
    /// Ids were renewed, or a pass broke off: the order may have suffered.
    shuffled: bool,
    /// An older ledger was put back: a flag that was set and taken away since is taken for the
    /// other user's doing.
    restored: bool,
}

struct Player<'a> {
    world: &'a mut World,
    kind: Kind,
    user: String,
    model: Model,
    n: usize,
    seed: u64,
    backed_up: bool,
}

impl Player<'_> {
    fn here(&self) -> Imap {
        self.world.source.connect(&self.user)
    }

    fn there(&self) -> Imap {
        self.world.destination.connect(&self.user)
    }

    async fn play(&mut self, steps: &[Step]) -> Result<(), String> {
        let mut here = self.here();
        for n in 0..BEGINNING {
            let folder = ["INBOX", "INBOX", NAMES[0], NAMES[1], NAMES[3], NAMES[4]][n % 6];
            if n < 6 {
                here.create(folder);
            }
            let mail = self.mail(if n == 0 { 9 } else { n as u8 % 10 }, None);
            here.append_many(folder, &[mail]);
        }
        for step in steps {
            self.take(step).await.map_err(|e| format!("{step:?}: {e}"))?;
        }
        for round in 0..4 {
            if self.pass().await?.quiet {
                break;
            }
            if round == 3 {
                return Err("passes do not come to rest".into());
            }
        }
        self.check()
    }

    /// The next message; some are twins of an earlier one.
    fn mail(&mut self, kind: u8, twin: Option<Mail>) -> Mail {
        self.n += 1;
        let n = match kind {
            0 => 50 * self.n + 7,
            1 => 50 * self.n + 8,
            2 => 50 * self.n + 13,
            _ => 50 * self.n + 20,
        };
        let mail = twin.unwrap_or_else(|| mail::message(n, self.seed));
        *self.model.made.entry(mail.bytes.clone()).or_default() += 1;
        mail
    }

    /// A folder of the account.
    fn folder(&self, imap: &mut Imap, choice: usize) -> String {
        let mut folders: Vec<String> = names(imap);
        folders.retain(|f| f != MINE);
        folders.swap_remove(choice % folders.len())
    }

    /// Messages of a source folder, never the one that keeps the source from being empty.
    fn chosen(&self, imap: &mut Imap, folder: &str, message: usize, n: usize) -> Vec<u32> {
        let mut uids = imap.uids(folder);
        if folder == "INBOX" && !uids.is_empty() {
            uids.remove(0);
        }
        if uids.is_empty() {
            return uids;
        }
        let first = message % uids.len();
        uids[first..(first + n).min(uids.len())].to_vec()
    }

    async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Pass => self.pass().await.map(drop),
            Step::Cut(after) => self.cut(*after).await,
            Step::Crash(after) => self.crash(*after).await,
            Step::Reopen => {
                self.reopen().await;
                Ok(())
            }
            Step::Backup => {
                self.world.close_ledger().await;
                self.world.copy_ledger();
                self.world.open_ledger().await;
                self.backed_up = true;
                Ok(())
            }
            Step::Restore if self.backed_up => {
                self.world.restore_ledger().await;
                self.model.restored = true;
                Ok(())
            }
            Step::Restore => Ok(()),
            Step::TheyDelete { .. }
            | Step::TheyFlag { .. }
            | Step::TheyMove { .. }
            | Step::TheyAdd { .. } => {
                // What a broken-off pass has done so far is not known to this model.
                if self.model.unsettled {
                    self.pass().await?;
                }
                self.they(step);
                Ok(())
            }
            _ => {
                self.we(step);
                Ok(())
            }
        }
    }

    /// A step of the source's user.
    fn we(&mut self, step: &Step) {
        let mut here = self.here();
        match step {
            Step::Append { folder, kinds } => {
                let folder = self.folder(&mut here, *folder);
                let earlier = here.messages(&folder);
                for kind in kinds {
                    let twin = earlier.last().filter(|_| *kind == 3).map(|m| Mail {
                        bytes: m.body.clone(),
                        flags: String::new(),
                        date: m.date.into(),
                    });
                    let mail = self.mail(*kind, twin);
                    here.append_many(&folder, &[mail]);
                }
            }
            Step::Flag { folder, message, flag, set } => {
                let folder = self.folder(&mut here, *folder);
                let uids = self.chosen(&mut here, &folder, *message, 2);
                store(&mut here, &folder, &uids, *flag, *set);
            }
            Step::Move { folder, message, n, to } => {
                let (folder, to) = (self.folder(&mut here, *folder), self.folder(&mut here, *to));
                let uids = self.chosen(&mut here, &folder, *message, *n);
                if !uids.is_empty() && folder != to {
                    here.uid_move(&folder, &uids, &to);
                }
            }
            Step::Copy { folder, message, to } => {
                let (folder, to) = (self.folder(&mut here, *folder), self.folder(&mut here, *to));
                let uids = self.chosen(&mut here, &folder, *message, 1);
                if let Some(uid) = uids.first() {
                    let whole = here.messages(&folder);
                    let copied = whole.into_iter().find(|m| m.uid == *uid).expect("it is there");
                    *self.model.made.entry(copied.body).or_default() += 1;
                    here.uid_copy(&folder, &uids, &to);
                }
            }
            Step::Expunge { folder, message, n } => {
                let folder = self.folder(&mut here, *folder);
                let uids = self.chosen(&mut here, &folder, *message, *n);
                if !uids.is_empty() {
                    here.expunge_uids(&folder, &uids);
                }
            }
            Step::Create { name } => here.create(NAMES[*name]),
            Step::Rename { folder, name } => {
                let folder = self.folder(&mut here, *folder);
                if folder != "INBOX" {
                    let quoted = |f: &str| quote(&here.wire(f));
                    let (from, to) = (quoted(&folder), quoted(NAMES[*name]));
                    // A name that is taken, or below itself, is refused.
                    let _ = here.try_command(&format!("RENAME {from} {to}"));
                }
            }
            Step::DeleteFolder { folder } => {
                let folder = self.folder(&mut here, *folder);
                if folder != "INBOX" {
                    here.delete_folder(&folder);
                }
            }
            Step::Renew { folder } => {
                let folder = self.folder(&mut here, *folder);
                if folder == "INBOX" {
                    return;
                }
                let messages = here.messages(&folder);
                here.delete_folder(&folder);
                here = self.here();
                here.create(&folder);
                for m in &messages {
                    let flags: Vec<&str> = m.flags.iter().map(String::as_str).collect();
                    here.append(&folder, &flags.join(" "), m.date.into(), &m.body);
                }
                self.model.shuffled = true;
            }
            _ => unreachable!("not a step of the source"),
        }
    }

    /// A step of the destination's user.
    fn they(&mut self, step: &Step) {
        let mut there = self.there();
        match step {
            Step::TheyAdd { folder } => {
                let folder = self.folder(&mut there, *folder);
                self.n += 1;
                let mut mail = support::note(&format!("own mail {} {}", self.n, self.seed));
                mail.flags = "\\Seen $Own".into();
                there.append_many(&folder, &[mail.clone()]);
                let flags = ["\\seen", "$own"].map(str::to_owned).into();
                self.model.own.insert(mail.bytes, flags);
            }
            Step::TheyDelete { folder, message } => {
                if let Some((folder, uid, body)) = self.theirs(&mut there, *folder, *message) {
                    there.expunge_uids(&folder, &[uid]);
                    self.model.removed.insert(body);
                }
            }
            Step::TheyMove { folder, message } => {
                if let Some((folder, uid, body)) = self.theirs(&mut there, *folder, *message) {
                    there.create(MINE);
                    there.uid_move(&folder, &[uid], MINE);
                    self.model.moved.insert(body);
                }
            }
            Step::TheyFlag { folder, message, flag, set } => {
                if let Some((folder, uid, body)) = self.theirs(&mut there, *folder, *message) {
                    store(&mut there, &folder, &[uid], *flag, *set);
                    let flags = self.model.flags.entry(body).or_default();
                    let flag = FLAGS[*flag].to_ascii_lowercase();
                    if *set {
                        flags.insert(flag)
                    } else {
                        flags.remove(&flag)
                    };
                }
            }
            _ => unreachable!("not a step of the destination"),
        }
    }

    /// One of the copies that there is only one of.
    fn theirs(
        &self,
        there: &mut Imap,
        folder: usize,
        message: usize,
    ) -> Option<(String, u32, Vec<u8>)> {
        let folder = self.folder(there, folder);
        let mut messages = there.messages(&folder);
        messages.retain(|m| self.is_single(&m.body) && !m.flags.contains("\\deleted"));
        if messages.is_empty() {
            return None;
        }
        let chosen = messages.swap_remove(message % messages.len());
        Some((folder, chosen.uid, chosen.body))
    }

    fn is_single(&self, body: &[u8]) -> bool {
        self.model.made.get(body) == Some(&1)
    }

    async fn run(&self, stop: &CancellationToken) -> Result<Report, Error> {
        let mut mailbox = self.world.mailbox.clone();
        mailbox.source.user.clone_from(&self.user);
        mailbox.destination.user.clone_from(&self.user);
        mailbox.carry.deletes = self.kind != Kind::Keep;
        mailbox.carry.max_delete = MaxDelete::Percent(100.0);
        let (mailbox, progress) = (Arc::new(mailbox), Progress::default());
        sync::run(self.world.context(), &mailbox, PassKind::Delta, &progress, stop).await
    }

    /// A pass that runs to its end.
    async fn pass(&mut self) -> Result<Report, String> {
        let report = self.run(&CancellationToken::new()).await.map_err(|e| e.to_string())?;
        self.learn();
        Ok(report)
    }

    async fn cut(&mut self, after: u64) -> Result<(), String> {
        let stop = CancellationToken::new();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(after)).await;
            stop.cancel();
        };
        let (result, ()) = tokio::join!(self.run(&stop), cancel);
        match result {
            Ok(_) => self.learn(),
            Err(Error::Stopped) => (self.model.unsettled, self.model.shuffled) = (true, true),
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    async fn reopen(&mut self) {
        self.world.close_ledger().await;
        self.world.open_ledger().await;
    }

    async fn crash(&mut self, after: u64) -> Result<(), String> {
        let stop = CancellationToken::new();
        let run = tokio::time::timeout(Duration::from_millis(after), self.run(&stop)).await;
        match run {
            Ok(Ok(_)) => self.learn(),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => (self.model.unsettled, self.model.shuffled) = (true, true),
        }
        self.reopen().await;
        Ok(())
    }

    /// A pass ran to its end: this is what it saw.
    fn learn(&mut self) {
        self.model.unsettled = false;
        let mut counts: HashMap<Vec<u8>, usize> = HashMap::new();
        for message in whole(&mut self.here()).into_values().flatten() {
            *counts.entry(message.body.clone()).or_default() += 1;
            let flags = self.model.flags.entry(message.body.clone()).or_default();
            match self.model.base.insert(message.body, message.flags.clone()) {
                None => *flags = message.flags,
                Some(base) => {
                    flags.extend(message.flags.difference(&base).cloned());
                    flags.retain(|f| !base.contains(f) || message.flags.contains(f));
                }
            }
        }
        for (body, n) in counts {
            let most = self.model.seen.entry(body).or_default();
            *most = n.max(*most);
        }
    }

    fn check(&self) -> Result<(), String> {
        let (here, there) = (whole(&mut self.here()), whole(&mut self.there()));
        let wrong = match self.kind {
            Kind::Mirror => {
                let options = Options {
                    ignore_empty: true,
                    ignore_order: self.model.shuffled,
                    ..Options::default()
                };
                differences(&here, &there, &options)
            }
            Kind::Keep => self.kept(&here, &there),
            Kind::Shared => self.shared(&here, &there),
        };
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    fn kept(&self, here: &Snapshot, there: &Snapshot) -> Vec<String> {
        let mut wrong = Vec::new();
        for (folder, messages) in here {
            let (ours, theirs) =
                (counts(messages.iter()), counts(there.get(folder).into_iter().flatten()));
            for (body, n) in ours {
                let m = theirs.get(body).copied().unwrap_or_default();
                if m < n {
                    wrong.push(format!("{folder}: {n} of these here, {m} there: {}", head(body)));
                }
            }
            for m in messages.iter().filter(|m| self.is_single(&m.body)) {
                let copies = there.get(folder).into_iter().flatten();
                let differ = |c: &&Msg| c.body == m.body && c.flags != m.flags;
                if !self.model.restored && copies.clone().any(|c| differ(&c)) {
                    wrong.push(format!("{folder}: other flags: {}", head(&m.body)));
                }
            }
        }
        let all = counts(there.values().flatten());
        for (body, &most) in &self.model.seen {
            let (m, made) =
                (all.get(body.as_slice()).copied().unwrap_or_default(), self.model.made[body]);
            if !(most..=made).contains(&m) {
                wrong.push(format!("{m} there instead of {most} to {made}: {}", head(body)));
            }
        }
        wrong
    }

    fn shared(&self, here: &Snapshot, there: &Snapshot) -> Vec<String> {
        let mut wrong = Vec::new();
        let all = counts(there.values().flatten());
        let n = |body: &Vec<u8>| all.get(body.as_slice()).copied().unwrap_or_default();
        for body in self.model.removed.iter().filter(|b| self.is_single(b)) {
            if n(body) > 0 {
                wrong.push(format!("brought back: {}", head(body)));
            }
        }
        for body in self.model.moved.iter().filter(|b| self.is_single(b)) {
            let mine = there.get(MINE).into_iter().flatten().any(|m| m.body == *body);
            if !mine || n(body) != 1 {
                wrong.push(format!("{} there of what they moved: {}", n(body), head(body)));
            }
        }
        for (body, flags) in &self.model.own {
            let own: Vec<_> = there.values().flatten().filter(|m| m.body == *body).collect();
            if own.len() != 1 || own[0].flags != *flags {
                wrong.push(format!("their own mail: {own:?}"));
            }
        }
        let touched = |b: &Vec<u8>| self.model.removed.contains(b) || self.model.moved.contains(b);
        for (folder, messages) in here {
            for m in messages.iter().filter(|m| self.is_single(&m.body) && !touched(&m.body)) {
                let copies: Vec<_> =
                    there.get(folder).into_iter().flatten().filter(|c| c.body == m.body).collect();
                if copies.len() != 1 || n(&m.body) != 1 {
                    wrong.push(format!("{folder}: {} there: {}", n(&m.body), head(&m.body)));
                } else if copies[0].flags != self.model.flags[&m.body] {
                    let (is, wanted) = (&copies[0].flags, &self.model.flags[&m.body]);
                    wrong.push(format!("{folder}: {is:?}, not {wanted:?}: {}", head(&m.body)));
                }
            }
        }
        let left: BTreeSet<&[u8]> = here.values().flatten().map(|m| m.body.as_slice()).collect();
        for m in there.values().flatten().filter(|m| self.is_single(&m.body)) {
            if !left.contains(m.body.as_slice()) && !self.model.moved.contains(&m.body) {
                wrong.push(format!("deleted at the source, left there: {}", head(&m.body)));
            }
        }
        wrong
    }
}

fn counts<'a>(messages: impl Iterator<Item = &'a Msg>) -> HashMap<&'a [u8], usize> {
    let mut counts = HashMap::new();
    for message in messages {
        *counts.entry(message.body.as_slice()).or_default() += 1;
    }
    counts
}

fn head(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
    let lines = text.lines().filter(|l| l.starts_with("Subject") || l.starts_with("Message-ID"));
    lines.collect::<Vec<_>>().join(", ")
}

/// The folders that can be opened. Dovecot lists some of those that were just deleted.
fn names(imap: &mut Imap) -> Vec<String> {
    let mut names: Vec<String> = imap.list().into_iter().map(|f| f.path).collect();
    names.sort();
    names.retain(|f| {
        let wire = quote(&imap.wire(f));
        imap.try_command(&format!("EXAMINE {wire}")).is_ok()
    });
    names
}

/// Everything in an account. What a server without UIDPLUS could only mark is as good as gone.
fn whole(imap: &mut Imap) -> Snapshot {
    let mut whole = Snapshot::new();
    for folder in names(imap) {
        let mut messages = imap.messages(&folder);
        messages.retain(|m| !m.flags.contains("\\deleted"));
        whole.insert(folder, messages);
    }
    whole
}

fn store(imap: &mut Imap, folder: &str, uids: &[u32], flag: usize, set: bool) {
    if !uids.is_empty() {
        let sign = if set { '+' } else { '-' };
        imap.store(folder, uids, &format!("{sign}FLAGS ({})", FLAGS[flag]));
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Plays histories of a kind between two servers.
async fn play(kind: Kind, source: Dovecot, destination: Dovecot) {
    let mut world = World::between(source, destination).await;
    let seeds: Vec<u64> = match number("DROVER_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("DROVER_CASES").unwrap_or(CASES)).collect(),
    };
    for seed in seeds {
        let mut steps = history(seed, kind);
        let Err(mut wrong) = Box::pin(once(&mut world, kind, seed, &steps)).await else { continue };
        // What the failure does not need is left out, from the end.
        let mut at = steps.len();
        while at > 0 {
            at -= 1;
            let mut fewer = steps.clone();
            fewer.remove(at);
            if let Err(still) = Box::pin(once(&mut world, kind, seed, &fewer)).await {
                (steps, wrong) = (fewer, still);
            }
        }
        panic!("{kind:?}, DROVER_SEED={seed}\n{wrong}\nafter {steps:#?}");
    }
}

/// Plays one history in accounts of its own.
async fn once(world: &mut World, kind: Kind, seed: u64, steps: &[Step]) -> Result<(), String> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static USERS: AtomicU64 = AtomicU64::new(0);
    let user = format!("user{}", USERS.fetch_add(1, Ordering::Relaxed));
    let model = Model::default();
    Player { world, kind, user, model, n: 0, seed, backed_up: false }.play(steps).await
}

fn poor_destination() -> Dovecot {
    Dovecot::builder().hide(&["MULTIAPPEND", "UIDPLUS", "MOVE", "LIST-STATUS"]).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_end_up_the_same_with_qresync() {
    play(Kind::Mirror, Dovecot::start(), Dovecot::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_end_up_the_same_with_condstore_alone() {
    let source = Dovecot::builder().hide(&["QRESYNC"]).start();
    play(Kind::Mirror, source, Dovecot::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_end_up_the_same_between_poor_servers() {
    let source = Dovecot::builder().hide(&["QRESYNC", "CONDSTORE", "LIST-STATUS"]).start();
    play(Kind::Mirror, source, poor_destination()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_pass_saw_stays_there_once() {
    play(Kind::Keep, Dovecot::start(), Dovecot::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_pass_saw_stays_there_once_on_a_poor_server() {
    let source = Dovecot::builder().hide(&["QRESYNC", "CONDSTORE"]).start();
    play(Kind::Keep, source, poor_destination()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_destinations_user_does_stands() {
    play(Kind::Shared, Dovecot::start(), Dovecot::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_destinations_user_does_stands_between_poor_servers() {
    let source = Dovecot::builder().hide(&["QRESYNC", "CONDSTORE"]).start();
    play(Kind::Shared, source, poor_destination()).await;
}
