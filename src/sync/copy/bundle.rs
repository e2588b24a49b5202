//! Small folders, carried together: no round trip for each.
//!
//! All of them are opened at the destination at once, the source gives their messages one folder after
//! the other, and what has come for any of them goes under one commit of the ledger. An APPEND names
//! its folder, so batches for several can be under way; where each message landed is what the server
//! says.
//!
//! Whatever does not go smoothly is settled folder by folder, as for a folder that is copied alone.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::Error;
use super::super::arrive::announce;
use super::super::job::Job;
use super::super::lane::{Lane, at_destination, at_source};
use super::super::plan::Arrival;
use super::reading::Reading;
use super::{
    BATCH_BYTES, BATCH_MESSAGES, Batch, Copy, IN_FLIGHT, IN_FLIGHT_FAR, LINGER, Parcel, READ_AHEAD,
    amount_to,
};
use crate::ledger::Change;
use crate::model::{IdSet, Item};
use crate::platform::{self, Destination, Message, Opened, Source};

/// One of the folders.
struct Part<'a> {
    copy: Copy<'a>,
    items: Vec<Item>,
    missing: IdSet,
    inbox: mpsc::Receiver<Message>,
    growing: Vec<Parcel>,
}

/// The source's half of one of them. Without an outlet once it has begun, or never will.
struct Half {
    reading: Reading,
    out: Option<mpsc::Sender<Message>>,
}

/// Copies what is to be copied into the folders of these jobs, as far as they can be opened. What else
/// there is to do in them is left to do.
pub(crate) async fn carry(lane: &mut Lane, jobs: &mut [Job]) -> Result<(), Error> {
    if jobs.iter().any(|job| !job.announced) {
        announce(lane.source.as_mut(), jobs).await.map_err(at_source)?;
    }
    let names: Vec<_> = jobs.iter().map(|job| job.place.name.clone()).collect();
    let opened = lane.destination.open_each(&names).await.map_err(at_destination)?;
    let (mut parts, mut halves) = (Vec::new(), Vec::new());
    for (job, opened) in jobs.iter_mut().zip(&opened) {
        if let Some(opened) = opened
            && !job.folders[0].create
            && job.place.epoch.is_none_or(|known| known == opened.epoch)
        {
            let (part, half) = part(job, opened);
            parts.push(part);
            halves.push(half);
        }
    }
    let Some(stop) = parts.first().map(|part| part.copy.job.stop.clone()) else { return Ok(()) };
    let Lane { source, destination, upcoming, .. } = lane;
    let read = async {
        let read = read_each(source.as_mut(), &mut halves).await;
        // However that ended, nothing more comes.
        halves.iter_mut().for_each(|half| half.out = None);
        if read.is_ok() && !stop.is_cancelled() {
            upcoming.begin(source.as_mut()).await;
        }
        read
    };
    let write = Writing::new(&mut parts).run(destination.as_mut());
    // Both are run to their end: what was read is settled even if reading broke off.
    let (read, written) = tokio::join!(read, write);
    written?;
    if stop.is_cancelled() {
        return Err(Error::Stopped);
    }
    read.map_err(at_source)?;
    for (part, half) in parts.iter_mut().zip(&halves) {
        let (missing, ungiven) = (std::mem::take(&mut part.missing), &half.reading.ungiven);
        part.copy.settle_missing(lane, &part.items, missing, ungiven).await?;
    }
    Ok(())
}

/// Reads them one after the other.
async fn read_each(source: &mut dyn Source, halves: &mut [Half]) -> platform::Result<()> {
    for Half { reading, out } in halves {
        // Closed, if nobody listens any more.
        if let Some(out) = out.take().filter(|out| !out.is_closed()) {
            reading.run(source, out).await?;
        }
    }
    Ok(())
}

fn part<'a>(job: &'a mut Job, opened: &'a Opened) -> (Part<'a>, Half) {
    job.place.epoch = Some(opened.epoch);
    let copied = |arrival| match arrival {
        Arrival::Copy(item) => Some(item),
        _ => None,
    };
    let items: Vec<Item> =
        std::mem::take(&mut job.folders[0].arrivals).into_iter().filter_map(copied).collect();
    let ids: IdSet = items.iter().map(|item| item.id).collect();
    let (send, inbox) = mpsc::channel(READ_AHEAD);
    // They are few: who wants the lane back has it soon.
    let reading = Reading::new(job, 0, ids.clone(), CancellationToken::new());
    let copy = Copy::new(job, 0, opened, HashMap::new());
    let part = Part { copy, items, missing: ids, inbox, growing: Vec::new() };
    (part, Half { reading, out: Some(send) })
}

/// The destination's half.
struct Writing<'p, 'a> {
    parts: &'p mut [Part<'a>],
    /// Whose messages come now.
    at: usize,
    /// Batches under way, by their part, in the order in which they were sent.
    flying: VecDeque<(usize, Batch)>,
    /// How many of them were sent together.
    waves: VecDeque<usize>,
    /// For the next commit.
    changes: Vec<Change>,
    /// What only the destination can tell of.
    unclear: Vec<(usize, Batch)>,
    /// What ended the connection, and whose answer was waited for.
    error: Option<(usize, platform::Error)>,
}

impl<'p, 'a> Writing<'p, 'a> {
    fn new(parts: &'p mut [Part<'a>]) -> Self {
        // Places and folders are known to the ledger before anything is filed under them.
        let changes = parts.iter().flat_map(|part| part.copy.job.news()).collect();
        let (flying, waves, unclear) = (VecDeque::new(), VecDeque::new(), Vec::new());
        Self { parts, at: 0, flying, waves, changes, unclear, error: None }
    }

    async fn run(mut self, destination: &mut dyn Destination) -> Result<(), Error> {
        let done = self.work(destination).await;
        for part in &mut *self.parts {
            // Whoever reads ends, and what was read gives its memory back.
            part.inbox.close();
            while part.inbox.try_recv().is_ok() {}
            part.growing.clear();
        }
        done
    }

    async fn work(&mut self, destination: &mut dyn Destination) -> Result<(), Error> {
        let spent = self.smoothly(destination).await?;
        if !self.is_smooth() {
            self.one_by_one(destination).await?;
        }
        self.commit().await?;
        match spent.filter(|_| self.parts.iter().any(|part| !part.missing.is_empty())) {
            Some(spent) => Err(spent),
            None => Ok(()),
        }
    }

    fn is_smooth(&self) -> bool {
        self.error.is_none() && self.unclear.is_empty() && self.parts.iter().all(Part::is_smooth)
    }

    /// Takes, sends and hears until everything is settled, or something is not smooth; then nothing is
    /// under way any more.
    async fn smoothly(
        &mut self,
        destination: &mut dyn Destination,
    ) -> Result<Option<Error>, Error> {
        let is_far = destination.is_far();
        let window = if is_far { IN_FLIGHT_FAR } else { IN_FLIGHT };
        let (mut open, mut spent) = (true, None);
        loop {
            let job = &*self.parts[0].copy.job;
            if job.stop.is_cancelled() {
                // What is in flight is waited for; the rest is left.
                self.parts.iter_mut().for_each(|part| part.growing.clear());
                open = false;
            } else if let Some(over) = job.allowance.spent() {
                (open, spent) = (false, Some(over));
            }
            let may_send = self.is_smooth() && self.waves.len() < window;
            if open && may_send && !self.is_full() {
                // What has come waits for what is about to: one commit and one answer for all.
                let patience = match () {
                    () if self.flying.is_empty() && !self.is_growing() => Duration::MAX,
                    () if self.flying.is_empty() || is_far => LINGER,
                    () => Duration::ZERO,
                };
                match timeout(patience, self.next()).await {
                    Ok(Some((n, message))) => {
                        self.take(n, message);
                        continue;
                    }
                    Ok(None) => {
                        open = false;
                        continue;
                    }
                    // There is time to look at what was answered.
                    Err(_) => {}
                }
            }
            if may_send && self.is_growing() {
                self.send(destination).await?;
            } else if let Some((n, batch)) = self.flying.pop_front() {
                self.hear(destination, n, batch).await;
            } else if !open || !self.is_smooth() {
                return Ok(spent);
            }
        }
    }

    /// The next message that comes, and which part it is of.
    async fn next(&mut self) -> Option<(usize, Message)> {
        while let Some(part) = self.parts.get_mut(self.at) {
            match part.inbox.recv().await {
                Some(message) => return Some((self.at, message)),
                None => self.at += 1,
            }
        }
        None
    }

    fn take(&mut self, n: usize, message: Message) {
        let Part { copy, missing, growing, .. } = &mut self.parts[n];
        growing.extend(copy.take(message, missing, &mut self.changes));
    }

    fn is_growing(&self) -> bool {
        self.parts.iter().any(|part| !part.growing.is_empty())
    }

    fn is_full(&self) -> bool {
        let parcels = self.parts.iter().flat_map(|part| &part.growing);
        amount_to(parcels, BATCH_MESSAGES, BATCH_BYTES)
    }

    /// Sends what has come for all of them, after one commit of all their intents.
    async fn send(&mut self, destination: &mut dyn Destination) -> Result<(), Error> {
        let mut batches = VecDeque::new();
        for (n, part) in self.parts.iter_mut().enumerate().filter(|(_, p)| !p.growing.is_empty()) {
            let parcels = std::mem::take(&mut part.growing);
            batches.push_back((n, part.copy.depart(parcels, &mut self.changes)));
        }
        self.commit().await?;
        self.waves.push_back(batches.len());
        while let Some((n, batch)) = batches.pop_front() {
            let copy = &mut self.parts[n].copy;
            let appends = copy.appends(&batch);
            let name = copy.job.place.name.clone();
            let sent = destination.append(&name, appends).await;
            self.flying.push_back((n, batch));
            if let Err(error) = sent {
                self.error = Some((n, error));
                // The ledger takes these for sent.
                self.flying.append(&mut batches);
                self.unclear.extend(self.flying.drain(..));
                self.waves.clear();
            }
        }
        Ok(())
    }

    /// Books the answer for the oldest batch.
    async fn hear(&mut self, destination: &mut dyn Destination, n: usize, batch: Batch) {
        if let Some(left) = self.waves.front_mut() {
            *left -= 1;
            if *left == 0 {
                self.waves.pop_front();
            }
        }
        let answer = destination.appended().await;
        let (rest, error) = self.parts[n].copy.arrive(batch, answer, &mut self.changes);
        self.unclear.extend(rest.map(|batch| (n, batch)));
        if let Some(error) = error {
            self.error = Some((n, error));
            self.unclear.extend(self.flying.drain(..));
            self.waves.clear();
        }
    }

    /// Settles folder by folder what is left. Nothing is under way.
    async fn one_by_one(&mut self, destination: &mut dyn Destination) -> Result<(), Error> {
        if let Some((n, error)) = self.error.take() {
            // Whoever closes after so many refusals has counted those of all.
            let refusals = self.parts.iter().map(|part| part.copy.refusals).sum();
            let copy = &mut self.parts[n].copy;
            copy.refusals = refusals;
            copy.recover(destination, error, &mut self.changes).await?;
        }
        let mut unclear = std::mem::take(&mut self.unclear);
        for n in 0..self.parts.len() {
            let (ours, others): (Vec<_>, Vec<_>) = unclear.into_iter().partition(|(m, _)| *m == n);
            unclear = others;
            let part = &mut self.parts[n];
            let name = &part.copy.job.place.name;
            let opened = destination.open(name).await.map_err(at_destination)?;
            if opened.epoch != part.copy.opened.epoch {
                let path = part.copy.job.place.path.to_string();
                return Err(at_destination(platform::Error::EpochChanged(path)));
            }
            let ours = ours.into_iter().map(|(_, batch)| batch).collect();
            part.copy.resolve(destination, ours, None, &mut self.changes).await?;
            part.finish(destination, &mut self.changes).await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        let changes = std::mem::take(&mut self.changes);
        let job = &*self.parts[0].copy.job;
        job.commit(changes).await?;
        job.allowance.keep(&job.context, false).await?;
        Ok(())
    }
}

impl Part<'_> {
    fn is_smooth(&self) -> bool {
        self.copy.refusals == 0 && self.copy.again.is_empty() && self.copy.outage.is_none()
    }

    /// Copies what is left of it, one batch after the other. Its folder is open.
    async fn finish(
        &mut self,
        destination: &mut dyn Destination,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        let Self { copy, missing, inbox, growing, .. } = self;
        loop {
            copy.stop_if_outage(changes).await?;
            if copy.job.stop.is_cancelled() || copy.job.allowance.spent().is_some() {
                return Ok(());
            }
            copy.renew(destination).await?;
            let parcels = match copy.again.pop_front() {
                Some(parcel) => vec![parcel],
                None => {
                    while growing.len() < BATCH_MESSAGES
                        && let Some(message) = inbox.recv().await
                    {
                        growing.extend(copy.take(message, missing, changes));
                    }
                    std::mem::take(growing)
                }
            };
            if parcels.is_empty() {
                return Ok(());
            }
            let unclear = copy.send(destination, parcels, changes).await?;
            copy.look(destination, unclear.into_iter().collect(), changes).await?;
        }
    }
}
