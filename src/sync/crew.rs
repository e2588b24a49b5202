//! The lanes of a pass: they make the destination's folders and work its jobs off, the largest first.
//! Further lanes come as they can be had, and go when they are wanted back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::definition::Mailbox;
use crate::ledger::{Change, FollowedFolder, MailboxLedger, Place, PlaceNo};
use crate::model::Role;
use crate::platform;

use super::bench::Bench;
use super::copy::{HELPERS, SURELY_WORTH_HELP, bundle};
use super::job::{Ended, Job};
use super::lane::{Lane, Promised, at_destination};
use super::queue::{Load, Queue, Upcoming};
use super::{Context, Error};

/// A job of this weight is worth connections that only help: some thousand typical messages.
const HEAVY: u64 = 8 << 20;

/// So many slight jobs are worth a connection.
const FEW: usize = 4;

/// After a further lane could not be had, it is not tried again before this.
const AGAIN: Duration = Duration::from_secs(60);

/// So long a further lane is kept while all jobs wait for others. Then it is given back: servers
/// close what is idle, and others may want it.
const IDLE: Duration = Duration::from_secs(5);

/// So often the first lane, which is kept, is heard from then.
const ALIVE: Duration = Duration::from_secs(60);

/// Whoever works a pass's jobs off.
pub(super) struct Crew<'a> {
    pub(super) context: &'a Context,
    pub(super) mailbox: &'a Arc<Mailbox>,
    pub(super) ledger: &'a MailboxLedger,
    /// The pass is to end.
    pub(super) stop: &'a CancellationToken,
}

/// How many lanes the definition allows.
pub(super) fn allowed(mailbox: &Mailbox) -> usize {
    let Mailbox { source, destination, .. } = mailbox;
    source.endpoint.connections.min(destination.endpoint.connections)
}

impl Crew<'_> {
    /// Works the jobs off, the largest first, over as many lanes as are allowed and there are.
    /// Gives one lane back for what comes after.
    pub(super) async fn work(
        &self,
        lane: Lane,
        promised: Vec<Promised>,
        jobs: Vec<Job>,
    ) -> Result<(Vec<Job>, Lane), Error> {
        let bundles = lane.destination.tells_places() && lane.destination.late_flags().is_empty();
        let allowed = allowed(self.mailbox);
        let takes_turns = lane.destination.takes_turns().is_some();
        let helped = if takes_turns { share(&jobs, allowed) } else { 0 };
        let worth = worth(&jobs, bundles, promised.len());
        let workers = worth.min(allowed.saturating_sub(helped)).max(1);
        let mut promised = promised.into_iter();
        let to_make = to_make(&jobs);
        let is_heavy = jobs.iter().any(|job| job.weight() >= HEAVY);
        let queue = Queue::new(jobs, if bundles { workers } else { 0 });
        // The largest job is the first lane's, which helps nobody. Its source begins while the
        // destination makes the folders.
        let mut lane = lane;
        lane.upcoming = Upcoming::of(queue.clone());
        lane.upcoming.begin(lane.source.as_mut()).await;
        // The first error stops the others after what they have in flight.
        let halt = self.stop.child_token();
        let mut set = JoinSet::new();
        for _ in 1..workers {
            let further = Further {
                context: self.context.clone(),
                mailbox: Arc::clone(self.mailbox),
                queue: queue.clone(),
                halt: halt.clone(),
            };
            set.spawn(further.work(promised.next()));
        }
        // Given up when there is nothing left to do.
        let mut helping = JoinSet::new();
        if is_heavy && takes_turns {
            for _ in workers..allowed.min(workers + HELPERS) {
                let (context, mailbox) = (self.context.clone(), Arc::clone(self.mailbox));
                helping.spawn(help(context, mailbox, queue.bench.clone(), promised.next()));
            }
        }
        match make(self.ledger, &mut lane, to_make).await {
            Ok(made) => queue.open(made),
            Err(error) => {
                halt.cancel();
                return Err(error);
            }
        }
        let (mut done, mut lane, mut error) = worker(lane, &queue, &halt, Rank::First).await;
        while let Some(joined) = set.join_next().await {
            match joined {
                Ok((more, failed)) => {
                    done.extend(more);
                    error = match (error, failed) {
                        // The cause, not its consequence.
                        (None | Some(Error::Stopped), Some(failed)) => Some(failed),
                        (error, _) => error,
                    };
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
            if error.is_none() && !queue.is_empty() {
                // Left by a lane that was wanted back.
                let (more, same, failed) = worker(lane, &queue, &halt, Rank::First).await;
                done.extend(more);
                (lane, error) = (same, failed);
            }
        }
        match error {
            Some(error) => Err(error),
            None if self.stop.is_cancelled() => Err(Error::Stopped),
            None => Ok((done, lane)),
        }
    }
}

/// How many lanes the jobs are worth: one each, a few together where they are slight or nothing is
/// copied, unless there are more anyway. A job that says nothing to the servers is not worth a connection.
fn worth(jobs: &[Job], bundles: bool, promised: usize) -> usize {
    let heavy = jobs.iter().filter(|job| job.weight() > 0);
    let (slight, others): (Vec<_>, Vec<_>) =
        heavy.partition(|job| (bundles && job.is_slight()) || job.is_deeds_alone());
    let wanted = others.len() + slight.len().div_ceil(FEW);
    wanted.max(promised + 1).min(others.len() + slight.len())
}

/// How many lanes help the largest job from the beginning: with its own it has its share of them. Alone
/// on one it would be left when all else is done, and what helps then waits for its turns with nothing
/// else to do. All else takes no longer than the whole on all lanes would.
fn share(jobs: &[Job], allowed: usize) -> usize {
    let all: u64 = jobs.iter().map(Job::weight).sum();
    let worth_it = |job: &&Job| job.weight() >= HEAVY && job.copies() >= SURELY_WORTH_HELP;
    let Some(largest) = jobs.first().filter(worth_it) else { return 0 };
    let share = largest.weight() as f64 / all as f64 * allowed as f64;
    (share as usize).saturating_sub(1).min(HELPERS)
}

/// A destination folder that is to be made.
struct ToMake {
    place: Place,
    role: Option<Role>,
    /// Who goes there.
    followed: Vec<FollowedFolder>,
}

/// What has to be made for these jobs, parents first.
fn to_make(jobs: &[Job]) -> Vec<ToMake> {
    let wanted = jobs.iter().filter(|job| job.folders.iter().any(|f| f.create));
    let mut to_make: Vec<ToMake> = wanted
        .map(|job| ToMake {
            place: job.place.clone(),
            role: job.folders[0].target.role,
            followed: job.followed.clone(),
        })
        .collect();
    to_make.sort_by(|a, b| a.place.path.cmp(&b.place.path));
    to_make
}

/// Makes folders, all of them in a round trip or two. What is refused is left to its job, which
/// knows other names for it.
async fn make(
    ledger: &MailboxLedger,
    lane: &mut Lane,
    to_make: Vec<ToMake>,
) -> Result<HashSet<PlaceNo>, Error> {
    if to_make.is_empty() {
        return Ok(HashSet::new());
    }
    let names: Vec<_> =
        to_make.iter().map(|wanted| (wanted.place.name.clone(), wanted.role)).collect();
    let created = lane.destination.create_folders(&names).await.map_err(at_destination)?;
    let mut changes = Vec::new();
    let mut made = HashSet::new();
    for (wanted, _) in to_make.into_iter().zip(created).filter(|(_, is_there)| *is_there) {
        made.insert(wanted.place.no);
        changes.push(Change::PutPlace(Place { created: true, ..wanted.place }));
        changes.extend(wanted.followed.into_iter().map(Change::PutFolder));
    }
    if !changes.is_empty() {
        ledger.commit(changes).await?;
    }
    Ok(made)
}

/// Opens a lane for whoever fills a large folder. Without one the folder is filled all the same.
async fn help(context: Context, mailbox: Arc<Mailbox>, bench: Bench, promised: Option<Promised>) {
    let helped = async {
        let kept = match promised {
            Some(promised) => until_wanted(&bench, promised.take().await?).await,
            None => None,
        };
        bench.wanting().await;
        let lane = match kept {
            Some(lane) => lane,
            None => Promised::open(&context, &mailbox).take().await?,
        };
        if let Some(lane) = bench.offer(lane) {
            lane.close();
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = helped.await {
        tracing::debug!(%error, "no further connection to help");
    }
}

/// Keeps a lane until help is wanted, unless others want it before.
async fn until_wanted(bench: &Bench, lane: Lane) -> Option<Lane> {
    let recalled = lane.recalled.clone();
    tokio::select! {
        biased;
        () = recalled.cancelled() => {
            lane.close();
            None
        }
        () = bench.wanting() => Some(lane),
    }
}

/// Works with lanes beyond the first, one after the other, as long as there is something to do.
struct Further {
    context: Context,
    mailbox: Arc<Mailbox>,
    queue: Queue,
    halt: CancellationToken,
}

impl Further {
    async fn work(self, promised: Option<Promised>) -> (Vec<Job>, Option<Error>) {
        // Others wait for its jobs: a panic must not let them wait for ever.
        let guard = self.halt.clone().drop_guard();
        let done = self.work_off(promised).await;
        guard.disarm();
        done
    }

    async fn work_off(self, mut promised: Option<Promised>) -> (Vec<Job>, Option<Error>) {
        let mut done = Vec::new();
        while !self.halt.is_cancelled() {
            let open = || Promised::open(&self.context, &self.mailbox);
            let promise = promised.take().unwrap_or_else(open);
            let Some(opened) = self.unless_over(promise.take()).await else { break };
            let mut lane = match opened {
                Ok(lane) => lane,
                Err(error) => {
                    // One lane is enough to go on; what is wrong will show there.
                    tracing::debug!(%error, "no further connection");
                    if error.retry() == platform::Retry::Never {
                        break;
                    }
                    if self.unless_over(tokio::time::sleep(AGAIN)).await.is_none() {
                        break;
                    }
                    continue;
                }
            };
            lane.upcoming = Upcoming::of(self.queue.clone());
            let recalled = lane.recalled.clone();
            let (more, lane, error) = worker(lane, &self.queue, &self.halt, Rank::Further).await;
            done.extend(more);
            let is_over = !recalled.is_cancelled() && self.queue.is_empty();
            let of_use = is_over && error.is_none();
            let left = if of_use { self.queue.bench.offer(lane) } else { Some(lane) };
            if let Some(lane) = left {
                lane.close();
            }
            if error.is_some() {
                return (done, error);
            }
            if is_over || self.unless_over(self.queue.ready()).await.is_none() {
                break;
            }
        }
        (done, None)
    }

    /// Waits for something, but not beyond the last job's beginning.
    async fn unless_over<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.halt.cancelled() => None,
            done = what => Some(done),
            () = self.queue.drained() => None,
        }
    }
}

/// Which lane of a pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// The one that it cannot do without.
    First,
    Further,
}

async fn worker(
    mut lane: Lane,
    queue: &Queue,
    halt: &CancellationToken,
    rank: Rank,
) -> (Vec<Job>, Lane, Option<Error>) {
    let mut done = Vec::new();
    if !queue.is_open() {
        lane.upcoming.begin(lane.source.as_mut()).await;
    }
    let made = tokio::select! {
        biased;
        () = halt.cancelled() => Arc::default(),
        () = lane.recalled.cancelled() => Arc::default(),
        made = queue.opened() => made,
    };
    while !halt.is_cancelled() && !lane.recalled.is_cancelled() {
        let next = match lane.upcoming.take() {
            Some(claimed) => Ok(Some(claimed)),
            None => next(&mut lane, queue, halt, rank).await,
        };
        let ended = match next {
            Ok(Some(load)) => work_off(&mut lane, queue, halt, &made, load).await,
            Ok(None) => break,
            Err(error) => Err(error),
        };
        match ended {
            Ok(jobs) => done.extend(jobs),
            Err(error) => {
                halt.cancel();
                return (done, lane, Some(error));
            }
        }
    }
    // What was claimed nobody else would do.
    if let Some(load) = lane.upcoming.take() {
        queue.give_back(load);
    }
    (done, lane, None)
}

/// Does a load, as far as it is done when the lane is wanted back. Gives the jobs that are done.
async fn work_off(
    lane: &mut Lane,
    queue: &Queue,
    halt: &CancellationToken,
    made: &HashSet<PlaceNo>,
    mut load: Load,
) -> Result<Vec<Job>, Error> {
    for job in &mut load {
        job.stop = halt.clone();
        job.note_made(made);
    }
    if load.len() > 1 {
        bundle::carry(lane, &mut load).await?;
    }
    // Those where nothing else happens are booked together.
    let (mut done, rest): (Vec<Job>, Vec<Job>) = load.into_iter().partition(Job::is_quiet);
    if let Some(ledger) = done.first().map(|job| job.ledger.clone()) {
        ledger.commit(done.iter_mut().flat_map(Job::book).collect()).await?;
    }
    let mut rest = rest.into_iter();
    while let Some(mut job) = rest.next() {
        match job.run(lane).await? {
            Ended::Done => done.push(job),
            Ended::Recalled => {
                queue.give_back(std::iter::once(job).chain(rest).collect());
                break;
            }
        }
    }
    done.iter().for_each(|job| queue.done(job.place.no));
    Ok(done)
}

/// The next load; `None` if the lane is not to wait for one any longer.
async fn next(
    lane: &mut Lane,
    queue: &Queue,
    halt: &CancellationToken,
    rank: Rank,
) -> Result<Option<Load>, Error> {
    let patience = if rank == Rank::First { ALIVE } else { IDLE };
    loop {
        tokio::select! {
            biased;
            () = halt.cancelled() => return Ok(None),
            () = lane.recalled.cancelled() => return Ok(None),
            load = queue.next() => return Ok(load),
            () = tokio::time::sleep(patience) => {}
        }
        if rank == Rank::Further {
            return Ok(None);
        }
        lane.stay_alive().await?;
    }
}
