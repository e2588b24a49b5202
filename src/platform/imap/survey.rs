//! What changed in many folders: as `changes` tells of each, without a round trip for each; and how
//! all folders stand afterwards, which tells whether anything moved meanwhile.
//!
//! What LIST-STATUS told foretells what each folder will have to be asked. That is sent right
//! behind its EXAMINE, and the next folders' behind that, before any of it is answered. A server
//! carries commands out in their order, so what comes after the end of a folder's EXAMINE, and
//! before the end of what was asked, is of that folder. If a folder turns out to stand otherwise,
//! or leaves anything open, nothing of this is believed: it is asked again, alone.

use std::collections::VecDeque;

use super::changes::{Findings, Question, listings};
use super::command::Command;
use super::folder::Opening;
use super::folders::Listing;
use super::look::tolerate_expunged;
use super::mark::Mark;
use super::reply::Reply;
use super::saying::Saying;
use super::session::{Next, Selected, Session, Tag};
use super::wire::Bodies;
use crate::model::FolderName;
use crate::platform::{Changes, Error, Result, Surveyed, Wanted};

/// Commands sent ahead …
const WINDOW: usize = 32;
/// … over a long line …
const WINDOW_FAR: usize = 128;
/// … and their bytes, unless one alone has more: they fit any socket's buffer, even that of a
/// server that takes no more because drover has not read what it says.
const WINDOW_BYTES: usize = 8 * 1024;

/// What is asked about a folder: first as commands, then, once they are sent, as their tags.
struct Inquiry<'a, C> {
    /// Its place among the wanted ones.
    at: usize,
    name: &'a FolderName,
    then: Option<Mark>,
    examine: C,
    questions: Vec<(Question, C)>,
    /// Of its commands.
    bytes: usize,
}

impl<C> Inquiry<'_, C> {
    fn commands(&self) -> usize {
        1 + self.questions.len()
    }
}

impl<'a> Inquiry<'a, Command> {
    /// `None` if what is to be asked cannot be foretold, or not be sent ahead.
    fn new(session: &Session, at: usize, wanted: &Wanted<'a>) -> Option<Self> {
        if session.is_paged() {
            return None;
        }
        let status = wanted.status;
        let now = status.cursor.as_ref().and_then(Mark::from_cursor)?;
        let then = wanted.then.and_then(Mark::from_cursor);
        let name = &status.folder.name;
        let examine = session.examining(name, then.as_ref());
        let questions = listings(then.as_ref(), &now, session.qresync);
        let ahead = |question| {
            let command = session.asking_ahead(&question);
            (question, command)
        };
        let questions: Vec<_> = questions.into_iter().map(ahead).collect();
        let commands = questions.iter().map(|(_, command)| command).chain([&examine]);
        // A literal waits for the server, and would meet the other folders' replies meanwhile.
        let bytes = commands.map(Command::plain_length).sum::<Option<usize>>()?;
        Some(Self { at, name, then, examine, questions, bytes })
    }

    async fn send(self, session: &mut Session) -> Result<Inquiry<'a, Tag>> {
        let Self { at, name, then, examine, questions, bytes } = self;
        let examine = session.send(examine).await?;
        let mut sent = Vec::with_capacity(questions.len());
        for (question, command) in questions {
            sent.push((question, session.send(command).await?));
        }
        Ok(Inquiry { at, name, then, examine, questions: sent, bytes })
    }
}

/// What came of a folder.
enum Outcome {
    Told(Changes),
    Gone,
    /// It has to be asked alone.
    Open,
}

impl Session {
    /// See [`crate::platform::Source::survey`].
    pub(super) async fn survey(&mut self, wanted: &[Wanted<'_>]) -> Result<Surveyed> {
        // How folders are to be asked.
        self.settle().await?;
        let (outcomes, listing) = self.survey_ahead(wanted).await?;
        // What is asked alone is asked after that listing.
        let is_open = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Open));
        let after = match listing {
            Some(listing) => Some(self.hear_of_folders(listing).await?).filter(|_| !is_open),
            None => None,
        };
        let mut told = Vec::with_capacity(wanted.len());
        for (wanted, outcome) in wanted.iter().zip(outcomes) {
            told.push(match outcome {
                Outcome::Told(changes) => Some(changes),
                Outcome::Gone => None,
                Outcome::Open => {
                    let then = wanted.then.and_then(Mark::from_cursor);
                    match self.changes(&wanted.status.folder.name, then).await {
                        Ok(changes) => Some(changes),
                        Err(Error::FolderGone(_)) => None,
                        Err(error) => return Err(error),
                    }
                }
            });
        }
        let after = match after {
            Some(after) => after,
            None => self.folders().await?,
        };
        Ok(Surveyed { changes: told, after })
    }

    /// Asks all that can be asked ahead, and behind it for all folders. Of the latter alone the
    /// answer is still on the way then.
    async fn survey_ahead(
        &mut self,
        wanted: &[Wanted<'_>],
    ) -> Result<(Vec<Outcome>, Option<Listing>)> {
        let mut outcomes: Vec<Outcome> = wanted.iter().map(|_| Outcome::Open).collect();
        let (n_wanted, mut n_heard) = (wanted.len(), 0);
        let mut wanted = wanted.iter().enumerate();
        let mut next: Option<Inquiry<'_, Command>> = None;
        let mut sent: VecDeque<Inquiry<'_, Tag>> = VecDeque::new();
        let (mut commands, mut bytes) = (0, 0);
        let window = if self.distance.is_far() { WINDOW_FAR } else { WINDOW };
        let mut open = self.selected.take();
        let (mut failed, mut listing) = (None, None);
        loop {
            if next.is_none() {
                next = wanted.find_map(|(at, wanted)| Inquiry::new(self, at, wanted));
            }
            let fits = |next: &mut Inquiry<'_, Command>| {
                let few = commands + next.commands() <= window;
                let little = bytes + next.bytes <= WINDOW_BYTES;
                // A server that is slow on purpose is not to be crowded.
                let ahead = few && little && !self.peer.is_strained();
                failed.is_none() && (sent.is_empty() || ahead)
            };
            if let Some(inquiry) = next.take_if(fits) {
                match inquiry.send(self).await {
                    Ok(inquiry) => {
                        commands += inquiry.commands();
                        bytes += inquiry.bytes;
                        sent.push_back(inquiry);
                    }
                    Err(error) => failed = Some(error),
                }
                continue;
            }
            let all_are_sent = next.is_none() && sent.len() + n_heard == n_wanted;
            if all_are_sent && listing.is_none() && failed.is_none() && !self.peer.is_strained() {
                match self.ask_for_folders(true).await {
                    Ok(asked) => listing = Some(asked),
                    Err(error) => failed = Some(error),
                }
                continue;
            }
            let Some(inquiry) = sent.pop_front() else { break };
            commands -= inquiry.commands();
            bytes -= inquiry.bytes;
            n_heard += 1;
            let at = inquiry.at;
            match self.hear_out(inquiry, &mut open).await {
                Ok(outcome) => outcomes[at] = outcome,
                // Of what follows, the first is the cause.
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let is_closed = listing.is_some() && self.capabilities.has("UNSELECT");
        self.selected = open.filter(|_| !is_closed);
        Ok((outcomes, listing))
    }

    /// Reads all answers about a folder. `open` is the folder that is open then.
    async fn hear_out(
        &mut self,
        inquiry: Inquiry<'_, Tag>,
        open: &mut Option<Selected>,
    ) -> Result<Outcome> {
        *open = None;
        let mut opening = Opening::default();
        let end = self.end_of(inquiry.examine, |reply| opening.hear(reply)).await?;
        let mut found = match self.examined(inquiry.name, opening, end) {
            Ok(Some((selected, opening))) => {
                let findings = Findings::new(inquiry.then, &selected, opening, self.qresync);
                *open = Some(selected);
                // Nothing, if it was asked the wrong questions.
                let asked = inquiry.questions.iter().map(|(question, _)| question);
                Ok(asked.eq(&findings.listings()).then_some(findings))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let (questions, tags): (Vec<_>, Vec<_>) = inquiry.questions.into_iter().unzip();
        for (question, tag) in questions.iter().zip(tags) {
            // After a refused EXAMINE there is no answer, or one about the folder before. Dovecot
            // works at several commands at once, so a reply may answer any of the questions.
            let hear = |reply| match &mut found {
                Ok(Some(findings)) => findings.take(&questions, reply),
                _ => false,
            };
            let end = self.hear_to_end(tag, hear).await?;
            let Ok(Some(findings)) = &mut found else { continue };
            let settled = match question {
                Question::Ids => self.settled("SEARCH", end).map(drop),
                _ => tolerate_expunged(self.settled("FETCH", end)),
            };
            match settled.and_then(|()| self.check_count(&findings.items)) {
                Ok(()) => findings.answered(question.clone()),
                Err(Error::Refused { .. }) => found = Ok(None),
                Err(error) => found = Err(error),
            }
        }
        match found {
            Ok(found) => Ok(match found.and_then(|mut found| found.conclude().ok()) {
                Some(changes) => Outcome::Told(self.as_shown(inquiry.name, changes)),
                None => Outcome::Open,
            }),
            Err(Error::FolderGone(_)) => Ok(Outcome::Gone),
            Err(error) => Err(error),
        }
    }

    /// Reads to the end of a command; `each` says of a reply whether it brought something.
    pub(super) async fn hear_to_end(
        &mut self,
        tag: Tag,
        mut each: impl FnMut(Reply) -> bool + Send,
    ) -> Result<Saying> {
        loop {
            match self.next(tag, Bodies::None).await? {
                Next::Data(reply) => {
                    if each(reply) {
                        self.earn();
                    }
                }
                Next::Done(saying) => return Ok(saying),
            }
        }
    }
}
