//! A pass from its first look to its closed accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chrono::Utc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::definition::{Mailbox, MaxDelete};
use crate::ledger::{
    Change, Filed, FolderNo, MailboxKey, MailboxLedger, Overview, PassRecord, Place, Renaming,
};
use crate::model::{Accounts, PassKind};

use super::allowance::Allowance;
use super::basis::{Basis, rules_digest};
use super::crew::{Crew, allowed};
use super::departures::depart;
use super::job::{Job, Tally};
use super::lane::{Lane, Promised, at_destination};
use super::listing::Listing;
use super::plan::{Arrival, Plan, Summary};
use super::survey::{self, Survey};
use super::{Context, Error, Progress, Report, Side, Stage, mend, renewed};
use crate::platform;

/// Unknown messages that are worth more than one lane.
const WORTH_A_LANE: u64 = 100;

/// Runs one pass over a mailbox and files it in the history. What was done before an error or a
/// stop stands.
///
/// # Errors
/// See [`Error`]; its `retry` says what to do about it.
pub async fn run(
    context: &Context,
    mailbox: &Arc<Mailbox>,
    kind: PassKind,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Report, Error> {
    let began = Utc::now();
    let context = &context.for_mailbox();
    let ledger = context.ledger.mailbox(&MailboxKey::of(mailbox)).await?;
    let pass = Pass { context, mailbox, kind, progress, stop, ledger: &ledger };
    // Boxed: it is large, and held by whoever waits for a pass.
    let outcome = Box::pin(pass.go(began)).await;
    let record = match &outcome {
        Ok(report) => report.record.clone(),
        Err(Error::Stopped) => return outcome,
        Err(error) => {
            let failed = PassRecord::failed(kind, began, Utc::now(), error.to_string());
            PassRecord { bytes: progress.read().bytes, ..failed }
        }
    };
    if let Err(error) = ledger.commit(vec![Change::AddPass(record)]).await {
        tracing::warn!(%error, "the pass could not be added to the history");
    }
    outcome
}

/// What the next pass would do, in numbers. Writes nowhere, not even to the ledger.
///
/// # Errors
/// See [`Error`].
pub async fn plan(
    context: &Context,
    mailbox: &Arc<Mailbox>,
    kind: PassKind,
) -> Result<Summary, Error> {
    let ledger = context.ledger.mailbox(&MailboxKey::of(mailbox)).await?;
    let overview = ledger.overview().await?;
    let progress = Progress::default();
    let (mut lane, listing) = Lane::open_and_list(context, mailbox, &progress).await?;
    let basis = Basis { mailbox, kind, ledger: &ledger, overview: &overview };
    let survey = survey::take(&basis, &mut lane, listing).await?;
    lane.close();
    survey::refuse_empty_source(&basis, &survey)?;
    brake(mailbox, &overview, &survey.plan)?;
    Ok(survey.plan.summary())
}

struct Pass<'a> {
    context: &'a Context,
    mailbox: &'a Arc<Mailbox>,
    kind: PassKind,
    progress: &'a Progress,
    stop: &'a CancellationToken,
    ledger: &'a MailboxLedger,
}

impl Pass<'_> {
    /// Runs the pass, and once more where that is all it takes: with a new sign-in in place of one
    /// that ran out, with a folder made anew that vanished under way. What the first run did, the
    /// second finds done and counts as already there.
    async fn go(&self, began: chrono::DateTime<Utc>) -> Result<Report, Error> {
        let (mut signed_in_anew, mut made_anew) = (false, false);
        loop {
            let outcome = self.run(began).await;
            let Err(Error::Platform { side, error }) = outcome else { return outcome };
            match (side, error) {
                (side, platform::Error::Expired { host, user, text }) => {
                    // Long passes outlive many tokens; one that is over at once is no good.
                    if signed_in_anew && self.progress.read().messages == 0 {
                        let remedy = String::new();
                        let error = platform::Error::Credentials { host, user, text, remedy };
                        return Err(Error::Platform { side, error });
                    }
                    signed_in_anew = true;
                    tracing::info!(%side, says = %text, "the sign-in ran out; signing in anew");
                }
                (Side::Destination, platform::Error::FolderGone(name)) if !made_anew => {
                    made_anew = true;
                    tracing::info!(folder = %name, "the folder vanished at the destination; looking again");
                }
                (side, error) => return Err(Error::Platform { side, error }),
            }
            self.progress.restart();
        }
    }

    async fn run(&self, began: chrono::DateTime<Utc>) -> Result<Report, Error> {
        let (stop, progress) = (self.stop, self.progress);
        // Whoever wrote before has died or given up, perhaps this moment, and long after it noted
        // what it was about to send.
        let quiet = Instant::now() + self.context.settle_grace;
        let opened = stop.run_until_cancelled(self.open()).await;
        let (mut lane, mut known) = opened.ok_or(Error::Stopped)??;
        progress.enter(Stage::Surveying);
        // Nothing is written to either server while surveying: it may be dropped anywhere.
        let mut promised = Vec::new();
        let (survey, overview) = loop {
            let surveyed = self.survey(&mut lane, &mut promised, quiet, known.take());
            let surveyed = stop.run_until_cancelled(surveyed).await;
            let (survey, overview) = surveyed.ok_or(Error::Stopped)??;
            if self.rename(&mut lane, &survey, &overview).await? {
                break (survey, overview);
            }
        };
        let quiet = survey.plan.is_quiet() && overview.intents.is_empty();
        let (mut accounts, mut notes) = (accounts(&survey.plan), survey.plan.notes.clone());
        let in_part = survey.plan.in_part;
        progress.enter(Stage::Transferring);
        let (tally, more_notes) = self.carry_out(lane, promised, survey, overview).await?;
        progress.enter(Stage::Finishing);
        notes.extend(more_notes);

        accounts += tally.accounts;
        if !accounts.close() {
            let (seen, accounted) = (accounts.seen, accounts.accounted());
            return Err(Error::Accounts { seen, accounted });
        }
        if accounts.lost() > 0 && !self.mailbox.accept.is_empty() {
            let failures = self.context.ledger.failures(self.ledger.key()).await?;
            let accepted = failures.iter().filter(|(folder, failure)| {
                let id = failure.message_id.as_deref();
                self.mailbox.accepted(folder, failure.id, id).is_some()
            });
            accounts.accepted = accepted.count() as u64;
        }
        let record = PassRecord {
            kind: self.kind,
            began,
            ended: Utc::now(),
            accounts,
            bytes: tally.bytes,
            flag_changes: tally.flag_changes,
            moves: tally.moves,
            removed: tally.removed,
            in_part,
            error: None,
        };
        Ok(Report { record, quiet, notes })
    }

    /// Opens the first lane. What the ledger knows is read before; if nothing is to be settled, the
    /// folders are listed at once.
    async fn open(&self) -> Result<(Lane, Option<(Overview, Listing)>), Error> {
        let Self { context, mailbox, progress, .. } = *self;
        let overview = self.ledger.overview().await?;
        if !mend::is_settled(&overview) {
            return Ok((Lane::open(context, mailbox).await?, None));
        }
        let (lane, listing) = Lane::open_and_list(context, mailbox, progress).await?;
        Ok((lane, Some((overview, listing))))
    }

    /// Settles what an earlier pass left, then looks and plans.
    /// Where much is to be copied, further lanes are opened meanwhile.
    async fn survey(
        &self,
        lane: &mut Lane,
        promised: &mut Vec<Promised>,
        quiet: Instant,
        known: Option<(Overview, Listing)>,
    ) -> Result<(Survey, Overview), Error> {
        let ledger = self.ledger;
        let (mut overview, listing) = match known {
            Some((overview, listing)) => (overview, Some(listing)),
            None => (ledger.overview().await?, None),
        };
        if mend::renames(ledger, &overview, lane, quiet).await? {
            overview = ledger.overview().await?;
        }
        let unsettled = !overview.intents.is_empty();
        mend::intents(ledger, &overview, lane, quiet).await?;
        let listing = match listing {
            Some(listing) => listing,
            None => lane.list().await?,
        };
        if renewed::places(ledger, &overview, lane, &listing.destination).await? || unsettled {
            overview = ledger.overview().await?;
        }
        if promised.is_empty() {
            let (folders, messages) = listing.unknown(&overview);
            let n = if messages < WORTH_A_LANE { 0 } else { allowed(self.mailbox).min(folders) };
            promised.extend((1..n).map(|_| Promised::open(self.context, self.mailbox)));
        }
        let basis = Basis { mailbox: self.mailbox, kind: self.kind, ledger, overview: &overview };
        let mut survey = survey::take(&basis, lane, listing).await?;
        survey::refuse_empty_source(&basis, &survey)?;
        survey::refuse_partial_view(&basis, &survey)?;
        brake(self.mailbox, &overview, &survey.plan)?;
        let learned = std::mem::take(&mut survey.learned);
        if !learned.is_empty() {
            ledger.commit(learned).await?;
        }
        Ok((survey, overview))
    }

    async fn carry_out(
        &self,
        lane: Lane,
        promised: Vec<Promised>,
        survey: Survey,
        overview: Overview,
    ) -> Result<(Tally, Vec<String>), Error> {
        let Survey { plan, places, followed, .. } = survey;
        let settled: Vec<u64> = overview.intents.iter().map(|i| i.no).collect();
        let next_intent = settled.iter().max().map_or(1, |no| no + 1);
        let entangled = entangled(&plan);

        let mut jobs: BTreeMap<_, Job> = BTreeMap::new();
        let overview = Arc::new(overview);
        let places = Arc::new(places);
        let entangled = Arc::new(entangled);
        let intents = Arc::new(AtomicU64::new(next_intent));
        let migration = &self.mailbox.migration.0;
        let rate = self.context.rates.of(migration, self.mailbox.carry.rate);
        let allowance = Allowance::of(self.context, self.mailbox).await?;
        for folder in plan.folders {
            let Some(place) = places.get(&folder.place) else { continue };
            let Some(followed) = followed.get(&folder.no) else { continue };
            let (messages, bytes) = (folder.arrivals.len() + folder.flags.len(), folder.copies().1);
            self.progress.expect(messages as u64, bytes);
            let job = jobs.entry(folder.place).or_insert_with(|| Job {
                context: self.context.clone(),
                ledger: self.ledger.clone(),
                overview: Arc::clone(&overview),
                places: Arc::clone(&places),
                place: place.clone(),
                folders: Vec::new(),
                after: BTreeSet::new(),
                followed: Vec::new(),
                entangled: Arc::clone(&entangled),
                rules: rules_digest(self.mailbox),
                normalisation: self.mailbox.normalisation(),
                deletes: self.mailbox.carry.deletes && self.kind.mirrors(),
                flags: self.mailbox.carry.flags,
                rate: rate.clone(),
                allowance: allowance.clone(),
                progress: self.progress.clone(),
                stop: self.stop.clone(),
                intents: Arc::clone(&intents),
                tally: Tally::default(),
                lost_keywords: BTreeSet::new(),
                notes: Vec::new(),
                announced: false,
                later: Vec::new(),
            });
            job.after.extend(folder.after.iter().copied());
            job.folders.push(folder);
            job.followed.push(followed.clone());
        }
        // Those where nothing happens are booked together.
        let (mut quiet, mut jobs): (Vec<Job>, Vec<Job>) =
            jobs.into_values().partition(Job::is_quiet);
        let booked: Vec<Change> = quiet.iter_mut().flat_map(Job::book).collect();
        if !booked.is_empty() {
            self.ledger.commit(booked).await?;
        }
        jobs.sort_by_key(|job| std::cmp::Reverse(job.weight()));
        let Self { context, mailbox, ledger, stop, .. } = *self;
        let crew = Crew { context, mailbox, ledger, stop };
        let worked = crew.work(lane, promised, jobs).await;
        allowance.keep(context, true).await?;
        let (mut done, lane) = worked?;
        done.extend(quiet);

        let mut tally = Tally::default();
        let mut notes = Vec::new();
        let mut changes = Vec::new();
        let mut lost: BTreeSet<String> = BTreeSet::new();
        for job in done {
            tally.add(&job.tally);
            notes.extend(job.notes);
            changes.extend(job.later);
            lost.extend(job.lost_keywords);
        }
        let mut lane = lane;
        for folder in plan.closed {
            let no = folder.no;
            tally.removed +=
                depart(self.ledger, &mut lane, &places, &intents, no, folder.departures, &[])
                    .await?;
            changes.push(Change::DropFolder(no));
        }
        changes.extend(settled.into_iter().map(Change::DropIntent));
        if !changes.is_empty() {
            self.ledger.commit(changes).await?;
        }
        lane.close();
        if !lost.is_empty() {
            let names: Vec<String> = lost.into_iter().collect();
            notes
                .push(format!("the destination does not keep these keywords: {}", names.join(" ")));
        }
        Ok((tally, notes))
    }

    /// Renames folders, parents first. False if the destination refuses one: then its messages
    /// are to be moved instead, which takes another plan.
    async fn rename(
        &self,
        lane: &mut Lane,
        survey: &Survey,
        before: &Overview,
    ) -> Result<bool, Error> {
        // One rename takes all folders below along: the ledger knows of all before the first.
        let begin = survey.plan.renames.iter().filter_map(|rename| {
            let place = before.places.get(&rename.place)?.clone();
            let (name, path) = rename.to.clone();
            let renaming = Some(Renaming { name, path });
            Some(Change::PutPlace(Place { renaming, ..place }))
        });
        let begin: Vec<Change> = begin.collect();
        if !begin.is_empty() {
            self.ledger.commit(begin).await?;
        }
        for rename in &survey.plan.renames {
            if !rename.done {
                tracing::info!(from = %rename.from.1, to = %rename.to.1, "a folder was renamed at the source");
                let (from, to) = (&rename.from.0, &rename.to.0);
                match lane.destination.rename_folder(from, to).await {
                    Ok(()) => {}
                    Err(platform::Error::Refused { refusal, .. }) => {
                        tracing::info!(folder = %rename.from.1, says = %refusal.text, "the destination refuses to rename the folder; moving its messages");
                        let Some(place) = before.places.get(&rename.place) else { return Ok(true) };
                        // As one that drover did not make, it is not renamed again.
                        let place = Place { created: false, renaming: None, ..place.clone() };
                        self.ledger.commit(vec![Change::PutPlace(place)]).await?;
                        return Ok(false);
                    }
                    Err(error) => return Err(at_destination(error)),
                }
            }
            if let Some(place) = survey.places.get(&rename.place) {
                self.ledger.commit(vec![Change::PutPlace(place.clone())]).await?;
            }
        }
        Ok(true)
    }
}

/// What the plan says of messages that need nothing.
fn accounts(plan: &Plan) -> Accounts {
    let mut sum = Accounts::default();
    for folder in &plan.folders {
        sum += folder.accounts;
    }
    sum
}

/// Folders of which another folder's job files something: their cursors wait for it.
fn entangled(plan: &Plan) -> BTreeSet<FolderNo> {
    let filed = |a: &Arrival| match a {
        Arrival::Move { of, .. } | Arrival::Refile { of, .. } => match of.filed {
            Filed::Record(folder, _) => Some(folder),
            Filed::Retired(_) | Filed::Stranger(..) => None,
        },
        Arrival::Copy(_) | Arrival::Again { .. } | Arrival::Adopt { .. } => None,
    };
    plan.folders.iter().flat_map(|f| f.arrivals.iter().filter_map(filed)).collect()
}

/// Law 5: more deletes than the definition allows stop the pass before anything is removed.
fn brake(mailbox: &Mailbox, overview: &Overview, plan: &Plan) -> Result<(), Error> {
    let recorded: u64 = overview.counts.values().map(|c| c.records).sum();
    let allowed = match mailbox.carry.max_delete {
        MaxDelete::Messages(n) => n,
        MaxDelete::Percent(percent) => (recorded as f64 * percent / 100.0).floor() as u64,
    };
    let planned = plan.removes();
    if planned > allowed {
        return Err(Error::TooManyDeletes { planned, allowed });
    }
    Ok(())
}
