//! Opening folders: EXAMINE and SELECT.

use std::ops::RangeInclusive;

use super::command::{Command, during};
use super::look::MAX_MESSAGES;
use super::mark::Mark;
use super::peer;
use super::reply::{Counted, Reply};
use super::saying::Saying;
use super::sayings::Class;
use super::session::{Selected, Session, Tag};
use crate::model::{Epoch, Flags, FolderName, Keyword};
use crate::platform::{Error, KeywordRule, Result};

/// UIDs have 32 bits (RFC 9051, 2.3.1.1).
const MAX_NEXT: u64 = 1 << 32;
/// What STATUS is asked for (RFC 9051, 6.3.11).
pub(super) const STATUS_ITEMS: &str = "MESSAGES UIDNEXT UIDVALIDITY";

/// What the opening of a folder tells, reply by reply.
#[derive(Debug, Default)]
pub(super) struct Opening {
    epoch: Option<u64>,
    next: Option<u64>,
    messages: Option<u64>,
    modseq: Option<u64>,
    keywords: Option<KeywordRule>,
    /// Flags of messages that were spoken of; where QRESYNC is on, all that changed since.
    pub(super) told: Vec<(u64, Flags)>,
    /// Ids that are gone since, where QRESYNC is on.
    pub(super) vanished: Vec<RangeInclusive<u64>>,
}

impl Opening {
    /// Takes a reply that came before the command's end.
    pub(super) fn hear(&mut self, reply: Reply) {
        match reply {
            Reply::Exists(n) => self.messages = Some(n),
            Reply::Vanished(true, ids) => self.vanished.extend(ids.ranges()),
            Reply::Fetch(fetched) => self.told.extend(fetched.known_flags()),
            Reply::Status(saying) => {
                self.epoch = saying.code_number("UIDVALIDITY").or(self.epoch);
                self.next = saying.code_number("UIDNEXT").or(self.next);
                self.modseq = saying.code_number("HIGHESTMODSEQ").or(self.modseq);
                if let Some(flags) = saying.code("PERMANENTFLAGS") {
                    self.keywords = Some(keyword_rule(flags));
                }
                // What came until now was about the folder that was open before (RFC 7162,
                // 3.2.11).
                if saying.code("CLOSED").is_some() {
                    self.told.clear();
                    self.vanished.clear();
                }
            }
            _ => {}
        }
    }

    /// UIDVALIDITY and UIDNEXT, if nothing is missing that would have to be asked for.
    pub(super) fn complete(&self) -> Option<(Epoch, u64)> {
        self.messages?;
        Some((Epoch(self.epoch?), self.next?))
    }
}

impl Session {
    /// Opens a folder for reading only, anew: what it answers is how the folder stands now.
    pub(super) async fn examine(&mut self, name: &FolderName) -> Result<Selected> {
        Ok(self.examine_since(name, None).await?.0)
    }

    /// The same, with what changed since `then`, where QRESYNC is on (RFC 7162, 3.2.5).
    pub(super) async fn examine_since(
        &mut self,
        name: &FolderName,
        then: Option<&Mark>,
    ) -> Result<(Selected, Opening)> {
        if then.is_some() {
            // Whether QRESYNC is on.
            self.settle().await?;
        }
        self.open_folder(name, self.examining(name, then), false).await
    }

    /// The command that opens a folder for reading only.
    pub(super) fn examining(&self, name: &FolderName, then: Option<&Mark>) -> Command {
        let command = Command::new("EXAMINE").folder(name);
        match then {
            Some(Mark { epoch, modseq: Some(modseq), doubted, .. }) if self.qresync => {
                let modseq = doubted.unwrap_or(*modseq);
                command.text(format!(" (QRESYNC ({} {modseq}))", epoch.0))
            }
            _ if self.capabilities.has("CONDSTORE") => command.text(" (CONDSTORE)"),
            _ => command,
        }
    }

    /// Opens a folder for writing, anew.
    pub(super) async fn select(&mut self, name: &FolderName) -> Result<Selected> {
        let command = Command::new("SELECT").folder(name);
        Ok(self.open_folder(name, command, true).await?.0)
    }

    /// Opens folders for writing, one after the other, and waits for none before the next. `None` for
    /// one that is not there, or whose answer leaves anything open.
    pub(super) async fn select_each(
        &mut self,
        names: &[FolderName],
    ) -> Result<Vec<Option<Selected>>> {
        let mut sent = Vec::with_capacity(names.len());
        for name in names {
            let select = Command::new("SELECT").folder(name);
            // A literal would wait for the server, and meet the other folders' replies meanwhile.
            sent.push(match select.plain_length() {
                Some(_) => Some(self.send(select).await?),
                None => None,
            });
        }
        let mut opened = Vec::with_capacity(names.len());
        for (name, tag) in names.iter().zip(sent) {
            self.selected = None;
            opened.push(match tag {
                Some(tag) => self.selected_each(name, tag).await?,
                None => None,
            });
            self.selected.clone_from(opened.last().unwrap_or(&None));
        }
        Ok(opened)
    }

    async fn selected_each(&mut self, name: &FolderName, tag: Tag) -> Result<Option<Selected>> {
        let mut opening = Opening::default();
        let end = self.end_of(tag, |reply| opening.hear(reply)).await?;
        let is_read_only = end.code("READ-ONLY").is_some();
        match self.folder_settled("SELECT", name, end) {
            Ok(_) => {}
            Err(Error::FolderGone(_) | Error::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let Some((epoch, next)) = opening.complete().filter(|_| !is_read_only) else {
            return Ok(None);
        };
        let selected = self.opened(name, &opening, epoch, next)?;
        Ok(Some(Selected { writable: true, ..selected }))
    }

    /// Makes sure that the folder is open, in whatever mode, and shows what has come since.
    pub(super) async fn look_into(&mut self, name: &FolderName) -> Result<Selected> {
        match self.selected.clone() {
            // A server shows new messages in a folder that stays open only when spoken to.
            Some(selected) if selected.name == *name => {
                self.send_unawaited(Command::new("NOOP")).await?;
                Ok(selected)
            }
            _ => self.examine(name).await,
        }
    }

    /// Makes sure that the folder is open for writing and its ids are still those of `epoch`.
    pub(super) async fn write_into(&mut self, name: &FolderName, epoch: Epoch) -> Result<()> {
        let at_hand = self.selected.as_ref().filter(|s| s.name == *name && s.writable);
        let found = match at_hand {
            Some(selected) => selected.epoch,
            None => self.select(name).await?.epoch,
        };
        self.check_epoch(name, epoch, found)
    }

    /// `EpochChanged` unless both are the same.
    pub(super) fn check_epoch(&self, name: &FolderName, known: Epoch, found: Epoch) -> Result<()> {
        if known == found { Ok(()) } else { Err(Error::EpochChanged(self.shown(name))) }
    }

    /// A folder's name for people.
    pub(super) fn shown(&self, name: &FolderName) -> String {
        self.naming.path(&name.0, None).to_string()
    }

    async fn open_folder(
        &mut self,
        name: &FolderName,
        command: Command,
        writable: bool,
    ) -> Result<(Selected, Opening)> {
        let verb = command.verb;
        let mut opening = Opening::default();
        // Whatever comes of it, the old folder is not open any more (RFC 9051, 6.3.2).
        self.selected = None;
        let ahead = if writable { self.selected_ahead(name) } else { None };
        let tag = match ahead {
            Some(tag) => tag,
            None => self.send(command.clone()).await?,
        };
        let mut end = self.end_of(tag, |reply| opening.hear(reply)).await?;
        if !self.ahead.is_empty() && opening.complete().is_none() {
            // The server has gone on to the next one: what is missing could not be asked for.
            opening = Opening::default();
            let tag = self.send(command).await?;
            end = self.end_of(tag, |reply| opening.hear(reply)).await?;
        }
        let end = self.folder_settled(verb, name, end)?;
        if writable && end.code("READ-ONLY").is_some() {
            let text = format!("{} is read-only", self.shown(name));
            let refusal = peer::of_folder("READ-ONLY", text);
            return Err(Error::Refused { command: verb, refusal });
        }
        if opening.epoch.is_none() || opening.next.is_none() {
            // Courier tells UIDNEXT only in STATUS.
            let counted = self.count(name).await?;
            opening.epoch = opening.epoch.or(counted.uid_validity);
            opening.next = opening.next.or(counted.uid_next);
        }
        let Some(epoch) = opening.epoch.map(Epoch) else {
            return Err(self.protocol(format!("no UIDVALIDITY for folder {}", self.shown(name))));
        };
        let next = match opening.next {
            Some(next) => next,
            // What comes after the last is at least one more.
            None if opening.messages.is_some_and(|n| n > 0) => {
                self.all_ids().await?.last().map_or(1, |last| last.0 + 1)
            }
            None => 1,
        };
        let selected = Selected { writable, ..self.opened(name, &opening, epoch, next)? };
        self.selected = Some(selected.clone()).filter(|_| self.ahead.is_empty());
        Ok((selected, opening))
    }

    /// A folder that was opened for reading, if its numbers can be true.
    pub(super) fn opened(
        &mut self,
        name: &FolderName,
        opening: &Opening,
        epoch: Epoch,
        next: u64,
    ) -> Result<Selected> {
        let messages = opening.messages.unwrap_or(0);
        // Absurd numbers would be walked, page by page.
        if messages > MAX_MESSAGES as u64 || next > MAX_NEXT {
            let detail = format!("{messages} messages in {}, UIDNEXT {next}", self.shown(name));
            return Err(self.protocol(detail));
        }
        // Dovecot tells it whether or not it is asked to, and it is of use only where it can be
        // asked about.
        let has_modseq = self.qresync || self.capabilities.has("CONDSTORE");
        self.epochs.insert(name.clone(), epoch);
        if self.is_window(messages) {
            self.partial.insert(name.clone());
        } else {
            self.partial.remove(name);
        }
        Ok(Selected {
            name: name.clone(),
            epoch,
            writable: false,
            messages,
            next,
            modseq: opening.modseq.filter(|&n| n > 0 && has_modseq),
            keywords: opening.keywords.clone().unwrap_or(KeywordRule::Any),
        })
    }

    /// What the answer to an EXAMINE comes to that was sent ahead; `None` if it does not tell all
    /// that has to be known of an open folder.
    pub(super) fn examined(
        &mut self,
        name: &FolderName,
        opening: Opening,
        end: Saying,
    ) -> Result<Option<(Selected, Opening)>> {
        self.folder_settled("EXAMINE", name, end)?;
        let Some((epoch, next)) = opening.complete() else { return Ok(None) };
        let selected = self.opened(name, &opening, epoch, next)?;
        Ok(Some((selected, opening)))
    }

    /// Asks for a folder's numbers without opening it.
    async fn count(&mut self, name: &FolderName) -> Result<Counted> {
        let command = Command::new("STATUS").folder(name).text(format!(" ({STATUS_ITEMS})"));
        let mut counted = Counted::default();
        let hear = |reply| {
            if let Reply::FolderStatus(found) = reply {
                counted = found;
            }
        };
        let end = self.ask(command, hear).await?;
        self.folder_settled("STATUS", name, end)?;
        Ok(counted)
    }

    /// The end of a command on a folder, which may be gone.
    pub(super) fn folder_settled(
        &self,
        verb: &'static str,
        name: &FolderName,
        end: Saying,
    ) -> Result<Saying> {
        match self.settled(verb, end.clone()) {
            Err(Error::Refused { .. }) if self.is_gone(verb, &end) => {
                Err(Error::FolderGone(self.shown(name)))
            }
            other => other,
        }
    }

    /// Does a refusal say that the folder does not exist? Servers without codes say so in words.
    fn is_gone(&self, verb: &str, saying: &Saying) -> bool {
        if self.peer.sayings.read(saying, during(verb)).class == Class::FolderGone {
            return true;
        }
        let text = saying.text.to_ascii_lowercase();
        let words = [
            "doesn't exist",
            "does not exist",
            "nonexistent",
            "non-existent",
            "no such mailbox",
            "unknown mailbox",
            "mailbox not found",
        ];
        saying.code.is_none() && words.iter().any(|words| text.contains(words))
    }
}

/// Reads `(\Answered $Label \*)`.
fn keyword_rule(flags: &str) -> KeywordRule {
    let flags = flags.trim_matches(['(', ')', ' ']);
    if flags.split_whitespace().any(|flag| flag == "\\*") {
        return KeywordRule::Any;
    }
    let keywords = flags.split_whitespace().filter(|flag| !flag.starts_with('\\'));
    KeywordRule::Only(keywords.map(|k| Keyword(k.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permanent_flags_say_which_keywords_are_kept() {
        assert_eq!(keyword_rule("(\\Seen \\*)"), KeywordRule::Any);
        let only = KeywordRule::Only(vec![Keyword("$MDNSent".into())]);
        assert_eq!(keyword_rule("(\\Seen $MDNSent)"), only);
        assert_eq!(keyword_rule("()"), KeywordRule::Only(vec![]));
    }
}
