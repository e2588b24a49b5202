//! What changed in a folder: by QRESYNC, by CONDSTORE and counting, or by looking at everything.
//! All three give the same.
//!
//! [`Findings::conclude`] decides, from what was found so far, either what changed or what is to be
//! asked next. Who asks, and when, is not its matter: [`Session::changes`] asks one question after
//! the other, [`Session::survey`] sends ahead what [`listings`] foretells.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use super::command::{Command, set_parts};
use super::folder::Opening;
use super::look::{FLAGS, FULL, MAX_MESSAGES, note};
use super::mark::Mark;
use super::reply::{Fetched, Reply};
use super::session::{Selected, Session};
use super::wire::Bodies;
use crate::model::{Flags, FolderName, IdSet, Item, ItemId, Meta};
use crate::platform::{Changes, Gone, Result};

/// So many messages a listing may leave out and still be taken for one.
const MAX_HIDDEN: u64 = 100_000;

/// What the open folder is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// All about the messages from this id on.
    New(u64),
    /// The flags of all messages below this id.
    Known(u64),
    /// All about the messages that are new or changed after this modification sequence: one
    /// question, so that a new message in the answer vouches for the flags in it.
    Changed(u64),
    /// The same once more. A server that answers OK and shows nothing may have nothing to show;
    /// some say so when they are in trouble.
    ChangedAgain(u64),
    /// Which ids there are.
    Ids,
    /// All about these messages, which are there and were not shown.
    Hidden(IdSet),
}

impl Question {
    /// The sets to FETCH and what of them; messages from `end` on are not asked about, if that
    /// is known. Nothing for what no FETCH tells.
    fn fetch(&self, end: Option<u64>) -> (Vec<String>, String) {
        let last = end.map_or("*".into(), |end| (end - 1).to_string());
        match self {
            Self::New(from) => (vec![format!("{from}:{last}")], FULL.into()),
            Self::Known(below) => (vec![format!("1:{}", below - 1)], FLAGS.into()),
            Self::Changed(since) | Self::ChangedAgain(since) => {
                (vec![format!("1:{last}")], format!("{FULL} (CHANGEDSINCE {since})"))
            }
            Self::Ids => (Vec::new(), String::new()),
            Self::Hidden(ids) => (set_parts(ids), FULL.into()),
        }
    }
}

/// What `then` is worth, now that the folder stands so: nothing, if the ids are others. One that
/// went back was restored from a backup.
fn comparable<'a>(then: Option<&'a Mark>, now: &Mark) -> Option<&'a Mark> {
    then.filter(|then| then.epoch == now.epoch && then.next <= now.next)
}

/// The modification sequence after which changes are told; again, one that went back proves
/// nothing.
fn since(then: Option<&Mark>, now: &Mark) -> Option<u64> {
    let then = then?;
    let at = then.modseq.filter(|then| now.modseq.is_some_and(|now| now >= *then))?;
    Some(then.doubted.map_or(at, |doubted| doubted.min(at)))
}

/// Tells the counting alone that every known message is still there, and every new one? Then
/// there are as many more messages as ids were given. Otherwise a new message that is not shown
/// may stand in for one that is gone.
fn all_stayed(then: &Mark, now: &Mark) -> bool {
    then.messages.saturating_add(now.next - then.next) == now.messages
}

/// What a folder that stands so has to be asked, besides what its opening tells.
pub(super) fn listings(then: Option<&Mark>, now: &Mark, qresync: bool) -> Vec<Question> {
    let mut questions = Vec::new();
    let then = comparable(then, now);
    let from = then.map_or(1, |then| then.next);
    let since = since(then, now);
    // Some servers answer BAD to a FETCH in an empty folder.
    if now.messages > 0 {
        match since.filter(|_| !qresync && from > 1) {
            Some(since) => {
                questions.push(Question::Changed(since));
                // Nothing is new that could vouch for the answer.
                if from == now.next && now.modseq > Some(since) {
                    questions.push(Question::ChangedAgain(since));
                }
            }
            None => {
                if from > 1 && since.is_none() {
                    questions.push(Question::Known(from));
                }
                if from < now.next {
                    questions.push(Question::New(from));
                }
            }
        }
    }
    if !qresync && since.is_some() && then.is_some_and(|then| !all_stayed(then, now)) {
        questions.push(Question::Ids);
    }
    questions
}

/// A folder's survey under way.
#[derive(Debug)]
pub(super) struct Findings {
    then: Option<Mark>,
    /// As it stood before the listing: what happens meanwhile is found next time.
    now: Mark,
    qresync: bool,
    vanished: IdSet,
    pub(super) items: BTreeMap<u64, Item>,
    /// Those there are, as far as was asked.
    ids: Vec<RangeInclusive<u64>>,
    answered: Vec<Question>,
}

impl Findings {
    /// What the opening of the folder tells.
    pub(super) fn new(
        then: Option<Mark>,
        selected: &Selected,
        opening: Opening,
        qresync: bool,
    ) -> Self {
        let now = Mark {
            epoch: selected.epoch,
            next: selected.next,
            messages: selected.messages,
            modseq: selected.modseq,
            doubted: None,
        };
        let then = comparable(then.as_ref(), &now).copied();
        let mut findings = Self {
            then,
            now,
            qresync,
            vanished: IdSet::of_ranges(opening.vanished),
            items: BTreeMap::new(),
            ids: Vec::new(),
            answered: Vec::new(),
        };
        if qresync && since(then.as_ref(), &now).is_some() {
            for (uid, flags) in opening.told {
                findings.note_flags(uid, flags);
            }
        }
        findings
    }

    /// What the folder has to be asked, as it was found to stand.
    pub(super) fn listings(&self) -> Vec<Question> {
        listings(self.then.as_ref(), &self.now, self.qresync)
    }

    /// The lowest id that was not known before.
    fn from(&self) -> u64 {
        self.then.map_or(1, |then| then.next)
    }

    /// Messages that are new and were there when the survey began.
    fn new_ids(&self) -> Range<u64> {
        self.from()..self.now.next
    }

    /// Takes a part of the answers to what is `asked`: servers may work at several questions at
    /// once. True if it is of a message that was asked for and had not come before.
    pub(super) fn take(&mut self, asked: &[Question], reply: Reply) -> bool {
        match reply {
            Reply::Fetch(fetched) => self.take_message(asked, fetched),
            Reply::Found(ids) => {
                self.ids.extend(ids.ranges());
                false
            }
            _ => false,
        }
    }

    fn take_message(&mut self, asked: &[Question], fetched: Fetched) -> bool {
        let (Some(uid), new_ids) = (fetched.uid, self.new_ids()) else { return false };
        let is_new = new_ids.contains(&uid);
        let covers = |question: &&Question| match question {
            Question::New(_) | Question::Hidden(_) => is_new,
            Question::Known(below) => uid < *below,
            Question::Changed(_) | Question::ChangedAgain(_) => is_new || uid < new_ids.start,
            Question::Ids => false,
        };
        match asked.iter().find(covers) {
            Some(Question::Changed(_) | Question::ChangedAgain(_)) if !is_new => {
                fetched.flags.is_some_and(|flags| {
                    let n_before = self.items.len();
                    n_before <= MAX_MESSAGES && {
                        self.note_flags(uid, flags);
                        self.items.len() > n_before
                    }
                })
            }
            Some(Question::Known(below)) => note(&mut self.items, &(1..*below), false, fetched),
            Some(_) => note(&mut self.items, &new_ids, true, fetched),
            None => false,
        }
    }

    /// The whole answer has come.
    pub(super) fn answered(&mut self, question: Question) {
        self.answered.push(question);
    }

    /// Notes flags of a message known before.
    fn note_flags(&mut self, uid: u64, flags: Flags) {
        if uid < self.from() {
            self.items.insert(uid, Item { id: ItemId(uid), flags: Some(flags), meta: None });
        }
    }

    /// What changed; or, as an error, what has to be asked to tell.
    pub(super) fn conclude(&mut self) -> Result<Changes, Question> {
        if let Some(question) = self.listings().into_iter().find(|q| !self.answered.contains(q)) {
            return Err(question);
        }
        if let Some(question) = self.doubt() {
            return Err(question);
        }
        let gone = match self.then.filter(|then| since(Some(then), &self.now).is_some()) {
            Some(then) => self.gone_since(&then)?,
            None => self.gone_but_listed()?,
        };
        let mut now = self.now;
        if let Some(since) = self.shows_nothing()
            && self.then.is_some_and(|then| then.doubted.is_none())
        {
            // The next survey is to ask once more.
            now.doubted = Some(since);
        }
        if self.hides_flags() {
            // The next survey is to ask for them.
            now.modseq = None;
        }
        Ok(Changes {
            epoch: now.epoch,
            cursor: now.to_cursor(),
            messages: now.messages,
            items: std::mem::take(&mut self.items).into_values().collect(),
            gone,
        })
    }

    /// Is there a message whose flags were asked for and not told?
    fn hides_flags(&self) -> bool {
        let from = self.from();
        let n_new = self.items.range(from..).count() as u64;
        let n_known = self.items.range(..from).count() as u64;
        let all_asked = self.answered.contains(&Question::Known(from));
        self.items.values().any(|item| item.flags.is_none())
            || (all_asked && n_known < self.now.messages.saturating_sub(n_new))
    }

    /// What to ask when HIGHESTMODSEQ grew and nothing was shown for it. Once more the same; and
    /// if no message left the folder either, which would explain it, all flags.
    fn doubt(&self) -> Option<Question> {
        let (then, since) = (self.then?, self.shows_nothing()?);
        let has_grown = self.now.modseq > then.modseq;
        let doubts = [
            Some(Question::ChangedAgain(since)),
            (has_grown && all_stayed(&then, &self.now)).then_some(Question::Known(then.next)),
        ];
        doubts.into_iter().flatten().find(|doubt| !self.answered.contains(doubt))
    }

    /// The modification sequence after which nothing was shown although HIGHESTMODSEQ grew, and
    /// flags were not all listed either.
    fn shows_nothing(&self) -> Option<u64> {
        let then = self.then?;
        let since = since(Some(&then), &self.now).filter(|&since| self.now.modseq > Some(since))?;
        let was_asked = self.answered.contains(&Question::Changed(since));
        let was_listed = self.answered.contains(&Question::Known(then.next));
        (was_asked && !was_listed && self.items.is_empty()).then_some(since)
    }

    /// What left the folder. Counting tells how many of the known messages did; what the server
    /// named is believed only if it is exactly so many. Servers name too few (no QRESYNC) and
    /// too many (RFC 7162, 3.2.10.1; some even name what is still there).
    fn gone_since(&mut self, then: &Mark) -> Result<Gone, Question> {
        let known = IdSet::range(ItemId(1), ItemId(then.next.saturating_sub(1)));
        let vanished = self.vanished.intersection(&known);
        let n_new = self.items.range(then.next..).count() as u64;
        let n_gone = (then.messages + n_new).checked_sub(self.now.messages);
        if n_gone == Some(vanished.len()) && !self.has_ids() {
            return Ok(Gone::These(vanished));
        }
        Ok(Gone::AllBut(self.alive()?))
    }

    /// What left the folder, after a full listing. If that listing was short of messages, the
    /// server is asked in another way: what it would not show is not gone for that.
    fn gone_but_listed(&mut self) -> Result<Gone, Question> {
        let mut alive: IdSet = self.items.keys().map(|&uid| ItemId(uid)).collect();
        if alive.len() < self.now.messages || self.has_ids() {
            alive.extend_set(&self.alive()?);
        }
        Ok(Gone::AllBut(alive))
    }

    /// Do the ids tell what there is, because the listing did not?
    fn has_ids(&self) -> bool {
        self.answered.contains(&Question::Ids)
    }

    /// The ids the folder holds. New messages among them that the listing did not show are listed
    /// by name; one that will not be described even then is made an item all the same, so that it
    /// is missed when it cannot be fetched, and not passed over.
    fn alive(&mut self) -> Result<IdSet, Question> {
        if !self.has_ids() {
            return Err(Question::Ids);
        }
        let alive = IdSet::of_ranges(self.ids.iter().cloned());
        let new_ids = self.new_ids();
        let range = IdSet::range(ItemId(new_ids.start), ItemId(new_ids.end.saturating_sub(1)));
        let listed = self.items.keys().map(|&uid| ItemId(uid)).collect();
        let hidden = alive.intersection(&range).difference(&listed);
        let is_asked = |by: fn(&Question) -> bool| self.answered.iter().any(by);
        if !hidden.is_empty() && !is_asked(|q| matches!(q, Question::Hidden(_))) {
            let all_at_once = is_asked(|q| matches!(q, Question::New(_)));
            let again =
                if all_at_once { Question::Hidden(hidden) } else { Question::New(self.from()) };
            return Err(again);
        }
        for id in hidden.iter() {
            let meta = Some(Meta { date: None, size: 0 });
            self.items.insert(id.0, Item { id, flags: None, meta });
        }
        Ok(alive)
    }
}

impl Session {
    /// See [`crate::platform::Source::changes`].
    pub(super) async fn changes(
        &mut self,
        folder: &FolderName,
        then: Option<Mark>,
    ) -> Result<Changes> {
        self.settle().await?;
        if self.is_paged() {
            return self.changes_by_pages(folder, then).await;
        }
        let (selected, opening) = self.examine_since(folder, then.as_ref()).await?;
        let mut findings = Findings::new(then, &selected, opening, self.qresync);
        loop {
            match findings.conclude() {
                Ok(changes) => return Ok(self.as_shown(folder, changes)),
                Err(question) => self.inquire(question, &mut findings).await?,
            }
        }
    }

    /// What changed in the folder, which may have shown a part of itself only.
    pub(super) fn as_shown(&self, folder: &FolderName, mut changes: Changes) -> Changes {
        if self.partial.contains(folder) {
            changes.gone = Gone::Untold;
        }
        changes
    }

    /// Asks the open folder and waits for the answer.
    async fn inquire(&mut self, question: Question, findings: &mut Findings) -> Result<()> {
        let asked = std::slice::from_ref(&question);
        match &question {
            Question::Ids => {
                let hear = |reply| {
                    findings.take(asked, reply);
                };
                self.exec(self.searching(), hear).await?;
            }
            Question::Hidden(hidden) if hidden.len() > MAX_HIDDEN => {
                return Err(self.protocol("a listing that leaves out most of the folder"));
            }
            _ => {
                let (sets, items) = question.fetch(Some(findings.now.next));
                let each = |_, fetched| findings.take_message(asked, fetched);
                self.fetch_each(sets, &items, Bodies::None, each).await?;
                self.check_count(&findings.items)?;
            }
        }
        findings.answered(question);
        Ok(())
    }

    /// The command that asks ahead, before it is known where the new messages end.
    pub(super) fn asking_ahead(&self, question: &Question) -> Command {
        match question.fetch(None) {
            (sets, items) if !sets.is_empty() => {
                Command::raw("FETCH", format!("UID FETCH {} {items}", sets.join(",")))
            }
            _ => self.searching(),
        }
    }
}
