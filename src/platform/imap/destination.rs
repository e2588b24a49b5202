//! The account that is written to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;

use super::append::{self, Batch, Shelf, Writer, ascend, expanded};
use super::command::Command;
use super::look::tolerate_expunged;
use super::reply::Reply;
use super::saying::{Saying, Status};
use super::sayings::{Class, During};
use super::session::{Selected, Session};
use super::{Imap, Mode, connect};
use crate::definition;
use crate::model::{Epoch, Flags, FolderName, IdSet, ItemId, Role, SystemFlag};
use crate::platform::{
    Account, Append, Appended, Destination, Error, FlagChange, Naming, Opened, Refusal, Result,
    Turn,
};

/// STORE commands sent ahead; their answers fit any socket's buffer.
const WINDOW: usize = 20;

/// Folders whose creation is sent ahead; the answers fit any socket's buffer, and so do the commands
/// but for the longest names.
const CREATE_WINDOW: usize = 100;

/// After so many refusals a connection is given up for a new one. Exchange closes it after ten
/// (imapsync FAQ.Exchange).
const REFUSALS: u32 = 8;

/// What becomes of the origin of a message that is put into another folder too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Leaves,
    Stays,
}

impl Mode for Writer {
    fn account(&self) -> &definition::Account {
        &self.account
    }
}

#[async_trait]
impl Destination for Imap<Writer> {
    fn late_flags(&self) -> Flags {
        self.mode.traits().late_flags.clone()
    }

    async fn naming(&mut self) -> Result<Naming> {
        self.session.settle_naming().await?;
        Ok(self.session.naming.clone())
    }

    async fn create_folder(&mut self, name: &FolderName, role: Option<Role>) -> Result<()> {
        self.session.create(name, role).await?;
        let command = Command::new("SUBSCRIBE").folder(name);
        match self.session.exec(command, |_| ()).await {
            // A folder that is not shown in some clients is still a folder.
            Ok(_) | Err(Error::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create_folders(&mut self, wanted: &[(FolderName, Option<Role>)]) -> Result<Vec<bool>> {
        let mut created = Vec::with_capacity(wanted.len());
        for part in wanted.chunks(CREATE_WINDOW) {
            let mut sent = Vec::with_capacity(part.len());
            for (name, role) in part {
                sent.push(self.session.send(self.session.creation(name, *role)).await?);
            }
            for (tag, (name, _)) in sent.into_iter().zip(part) {
                let is_there = match self.session.finish(tag, "CREATE", |_| ()).await {
                    Ok(_) => true,
                    Err(Error::Refused { refusal, .. }) => exists(&refusal),
                    Err(error) => return Err(error),
                };
                if is_there {
                    // A folder that is not shown in some clients is still a folder.
                    let subscribe = Command::new("SUBSCRIBE").folder(name);
                    self.session.send_unawaited(subscribe).await?;
                }
                created.push(is_there);
            }
        }
        Ok(created)
    }

    async fn rename_folder(&mut self, from: &FolderName, to: &FolderName) -> Result<()> {
        let command = Command::new("RENAME").folder(from).folder(to);
        // Its name is gone; whether it stays open under another differs between servers.
        self.session.selected = None;
        self.session.exec(command, |_| ()).await.map(drop)
    }

    async fn open(&mut self, folder: &FolderName) -> Result<Opened> {
        let selected = self.session.select(folder).await?;
        self.mode.opened.clear();
        Ok(self.stand(selected))
    }

    async fn open_each(&mut self, folders: &[FolderName]) -> Result<Vec<Option<Opened>>> {
        let selected = self.session.select_each(folders).await?;
        self.mode.opened.clear();
        Ok(selected.into_iter().map(|selected| Some(self.stand(selected?))).collect())
    }

    async fn announce(&mut self, folders: &[FolderName]) -> Result<()> {
        if self.mode.batches.iter().any(Batch::has_late) {
            // The folder is needed open once more.
            return Ok(());
        }
        self.session.select_ahead(folders).await
    }

    async fn append(&mut self, folder: &FolderName, batch: Vec<Append>) -> Result<()> {
        self.send_batch(folder, batch, None).await
    }

    fn is_far(&self) -> bool {
        self.session.distance.is_far()
    }

    fn tells_places(&self) -> bool {
        let has = |name| self.session.capabilities.has(name);
        has("UIDPLUS") && !has("X-GM-EXT-1")
    }

    fn takes_turns(&self) -> Option<Duration> {
        let has = |name| self.session.capabilities.has(name);
        let can = has("MULTIAPPEND") && has("LITERAL+") && self.tells_places();
        can.then(|| self.session.distance.round_trip().unwrap_or_default())
    }

    async fn append_in_turn(
        &mut self,
        folder: &FolderName,
        batch: Vec<Append>,
        turn: Turn<'_>,
    ) -> Result<()> {
        self.send_batch(folder, batch, Some(turn)).await
    }

    async fn appended(&mut self) -> Result<Appended> {
        match self.mode.batches.pop_front() {
            Some(batch) => {
                let work = batch.work;
                let settled = append::settle(&mut self.session, batch).await?;
                self.mode.report(work, &self.session.peer.gauge);
                Ok(settled)
            }
            None => Err(self.session.protocol("no batch is waiting for an answer")),
        }
    }

    async fn renew(&mut self, broken: bool) -> Result<bool> {
        if !broken {
            if self.session.refusals < REFUSALS {
                return Ok(false);
            }
            self.logout().await;
        }
        self.mode.batches.clear();
        let mut session = connect::sign_in(&self.mode.account, &self.mode.options, false).await?;
        if let Some(shelf) = self.mode.opened.last() {
            let found = session.select(&shelf.name).await?.epoch;
            session.check_epoch(&shelf.name, shelf.epoch, found)?;
        }
        self.session = session;
        Ok(true)
    }

    async fn store_flags(
        &mut self,
        folder: &FolderName,
        epoch: Epoch,
        changes: &[FlagChange],
        then: &[FolderName],
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.session.write_into(folder, epoch).await?;
        // Messages with the same change share a command.
        let mut alike: BTreeMap<(char, String), IdSet> = BTreeMap::new();
        for change in changes {
            for (sign, flags) in [('+', &change.add), ('-', &change.remove)] {
                if !flags.is_empty() {
                    alike.entry((sign, flags.to_string())).or_default().insert(change.id);
                }
            }
        }
        let commands = alike.into_iter().flat_map(|((sign, flags), ids)| {
            let stores = self.session.sets(&ids).into_iter();
            stores.map(move |set| Command::store(&set, sign, &flags))
        });
        let commands = commands.collect();
        self.session.change(commands, then).await
    }

    async fn move_items(
        &mut self,
        from: &FolderName,
        epoch: Epoch,
        ids: &[ItemId],
        to: &FolderName,
        then: &[FolderName],
    ) -> Result<Vec<Option<ItemId>>> {
        self.session.transfer(from, epoch, ids, to, Origin::Leaves, then).await
    }

    async fn copy_items(
        &mut self,
        from: &FolderName,
        epoch: Epoch,
        ids: &[ItemId],
        to: &FolderName,
    ) -> Result<Vec<Option<ItemId>>> {
        self.session.transfer(from, epoch, ids, to, Origin::Stays, &[]).await
    }

    async fn remove(
        &mut self,
        folder: &FolderName,
        epoch: Epoch,
        ids: &IdSet,
        then: &[FolderName],
    ) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.session.write_into(folder, epoch).await?;
        let sets = self.session.sets(ids);
        self.session.expunge(&sets, then).await
    }
}

impl Imap<Writer> {
    /// From now on the folder can be appended to.
    fn stand(&mut self, selected: Selected) -> Opened {
        let Selected { name, epoch, next, messages, keywords, .. } = selected;
        self.mode.opened.push(Shelf { name, epoch, next });
        let traits = self.mode.traits();
        Opened {
            epoch,
            next: ItemId(next),
            messages,
            keywords: keywords.but(&traits.drop_keywords),
            max_message: self.session.capabilities.append_limit().or(traits.max_message),
        }
    }

    async fn send_batch(
        &mut self,
        folder: &FolderName,
        batch: Vec<Append>,
        turn: Option<Turn<'_>>,
    ) -> Result<()> {
        let shelf = self.mode.shelf(&self.session, folder)?;
        let late = self.late_flags();
        let batch = append::append(&mut self.session, shelf, batch, &late, turn).await?;
        self.mode.batches.push_back(batch);
        Ok(())
    }
}

impl Session {
    async fn create(&mut self, name: &FolderName, role: Option<Role>) -> Result<()> {
        let mut outcome = self.exec(self.creation(name, role), |_| ()).await;
        if let Err(Error::Refused { refusal, .. }) = &outcome
            && !exists(refusal)
            && self.wish(role).is_some()
        {
            // The role may be taken, or not wanted; the folder is what counts.
            outcome = self.exec(self.creation(name, None), |_| ()).await;
        }
        match outcome {
            Ok(_) => Ok(()),
            Err(Error::Refused { refusal, .. }) if exists(&refusal) => Ok(()),
            // Servers without codes refuse what exists in many words.
            Err(error @ Error::Refused { .. }) => {
                if self.is_listed(name).await? {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The role that a new folder is asked to have, where that can be asked for. The inbox has no
    /// attribute in RFC 6154.
    fn wish(&self, role: Option<Role>) -> Option<Role> {
        let has = self.capabilities.has("CREATE-SPECIAL-USE");
        role.filter(|&role| has && role != Role::Inbox)
    }

    fn creation(&self, name: &FolderName, role: Option<Role>) -> Command {
        let plain = Command::new("CREATE").folder(name);
        match self.wish(role) {
            Some(role) => plain.text(format!(" (USE ({}))", role.attribute())),
            None => plain,
        }
    }

    async fn is_listed(&mut self, name: &FolderName) -> Result<bool> {
        let mut found = false;
        let hear = |reply| {
            if let Reply::List(folder) = reply {
                let there = |a: &String| !a.eq_ignore_ascii_case("\\NonExistent");
                found |= folder.name == name.0 && folder.attributes.iter().all(there);
            }
        };
        // A name that holds a wildcard is found by it too.
        self.exec(Command::new("LIST").text(" \"\"").folder(name), hear).await?;
        Ok(found)
    }

    /// Changes messages of the open folder by several commands, none of which waits for the one
    /// before; behind them `then` are opened. Messages that are gone are no error.
    pub(super) async fn change(
        &mut self,
        commands: Vec<Command>,
        then: &[FolderName],
    ) -> Result<()> {
        let (mut commands, mut then) = (commands.into_iter(), then);
        let mut sent = VecDeque::new();
        let mut refused = Ok(());
        loop {
            while sent.len() < WINDOW
                && let Some(command) = commands.next()
            {
                let verb = command.verb;
                sent.push_back((self.send(command).await?, verb));
            }
            if commands.len() == 0 {
                self.select_ahead(std::mem::take(&mut then)).await?;
            }
            let Some((tag, verb)) = sent.pop_front() else { return refused };
            match tolerate_expunged(self.finish(tag, verb, |_| ()).await) {
                // One refusal keeps nothing else from being done.
                Err(error @ Error::Refused { .. }) => refused = refused.and(Err(error)),
                other => other?,
            }
        }
    }

    /// Moves or copies messages, in order; where each landed, as far as the server says.
    async fn transfer(
        &mut self,
        from: &FolderName,
        epoch: Epoch,
        ids: &[ItemId],
        to: &FolderName,
        origin: Origin,
        then: &[FolderName],
    ) -> Result<Vec<Option<ItemId>>> {
        self.write_into(from, epoch).await?;
        let mut places = HashMap::new();
        // Yahoo names the places of several messages in the wrong order.
        let runs: Vec<IdSet> = match self.capabilities.is_yahoo() {
            true => ids.iter().map(|&id| IdSet::range(id, id)).collect(),
            false => ascending_runs(ids),
        };
        let sets: Vec<String> = runs.iter().flat_map(|run| self.sets(run)).collect();
        let mut sets = sets.iter().peekable();
        while let Some(set) = sets.next() {
            let then = if sets.peek().is_none() { then } else { &[] };
            places.extend(self.transfer_set(set, ids.len(), to, origin, then).await?);
        }
        Ok(ids.iter().map(|id| places.get(id).copied()).collect())
    }

    /// Moves or copies a set out of the open folder. Names no more than the `n` messages that are
    /// meant.
    async fn transfer_set(
        &mut self,
        set: &str,
        n: usize,
        to: &FolderName,
        origin: Origin,
        then: &[FolderName],
    ) -> Result<Vec<(ItemId, ItemId)>> {
        let moves = origin == Origin::Leaves && self.capabilities.has("MOVE");
        let verb = if moves { "UID MOVE" } else { "UID COPY" };
        let mut sayings = Vec::new();
        let hear = |reply| {
            // MOVE tells in an untagged OK (RFC 6851, 4.3), COPY in the tagged one.
            if let Reply::Status(saying) = reply
                && saying.code("COPYUID").is_some()
                && sayings.len() < n
            {
                sayings.push(saying);
            }
        };
        let command = Command::new(verb).text(" ").text(set).folder(to);
        let tag = self.send(command).await?;
        if moves {
            self.select_ahead(then).await?;
        }
        let end = self.end_of(tag, hear).await?;
        let mut copied = Vec::new();
        for saying in sayings {
            let more = self.copied(&saying, n, to)?;
            copied.extend(more.into_iter().take(n - copied.len().min(n)));
        }
        let class = self.peer.sayings.read(&end, During::Copy).class;
        if end.status != Status::Ok && class == Class::FolderGone {
            return Err(Error::FolderGone(self.shown(to)));
        }
        let end = match self.settled(verb, end) {
            Err(error) => {
                tolerate_expunged::<Saying>(Err(error))?;
                // Gone before they could be moved: nothing of the set was.
                return Ok(copied);
            }
            Ok(end) => end,
        };
        copied.extend(self.copied(&end, n, to)?);
        if origin == Origin::Leaves && !moves {
            self.expunge(&[set.to_owned()], then).await?;
        }
        Ok(copied)
    }

    /// Reads COPYUID (RFC 4315, 3). Believed only if both sets are of the same size, name no more
    /// than the `n` messages they can, and ascend: a set has no order of its own, so what is
    /// written out of order pairs nothing.
    fn copied(&self, saying: &Saying, n: usize, to: &FolderName) -> Result<Vec<(ItemId, ItemId)>> {
        let mut fields = saying.code("COPYUID").unwrap_or_default().split_whitespace();
        let (Some(validity), Some(from), Some(at)) = (fields.next(), fields.next(), fields.next())
        else {
            return Ok(Vec::new());
        };
        if let (Some(&known), Ok(found)) = (self.epochs.get(to), validity.parse()) {
            self.check_epoch(to, known, Epoch(found))?;
        }
        let (from, at) = (expanded(from, n), expanded(at, n));
        if from.len() != at.len() || from.len() > n || !ascend(&from) || !ascend(&at) {
            return Ok(Vec::new());
        }
        Ok(from.into_iter().zip(at).collect())
    }

    /// Removes sets from the open folder; without UIDPLUS they are only marked, for a bare EXPUNGE
    /// would take along what others have marked.
    async fn expunge(&mut self, sets: &[String], then: &[FolderName]) -> Result<()> {
        let deleted = Flags::NONE.with(SystemFlag::Deleted).to_string();
        let marks = sets.iter().map(|set| Command::store(set, '+', &deleted)).collect();
        if !self.capabilities.has("UIDPLUS") {
            return self.change(marks, then).await;
        }
        // Not sent behind the STORE: if another connection removes something from the folder that
        // moment, Dovecot (2.3.19) says OK to both, and what was marked stays.
        self.change(marks, &[]).await?;
        let expunge = |set| Command::raw("EXPUNGE", format!("UID EXPUNGE {set}"));
        self.change(sets.iter().map(expunge).collect(), then).await
    }
}

/// Says a refusal that the folder is there already?
fn exists(refusal: &Refusal) -> bool {
    refusal.code.as_deref() == Some("ALREADYEXISTS")
}

/// Cuts a sequence of ids where it does not ascend: a set has no order of its own, servers
/// take it from the lowest id on.
fn ascending_runs(ids: &[ItemId]) -> Vec<IdSet> {
    ids.chunk_by(|a, b| a < b).map(|run| run.iter().copied().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_keep_the_order_asked_for() {
        let runs = ascending_runs(&[5, 7, 8, 3, 9, 9].map(ItemId));
        let shown: Vec<String> = runs.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["5,7:8", "3,9", "9"]);
    }
}
