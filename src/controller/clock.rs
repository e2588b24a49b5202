//! The clock on the wall: tokio-cron-scheduler strikes when a migration's cron time has come.
//!
//! It is a clock and no more. What it says is checked against [`super::schedule`], and what it
//! misses costs nothing, for each mailbox also stands in the queue with its own due time. The
//! reasons, as of 0.15: the zone's offset is taken once when a job is made, so that after clocks
//! change it strikes an hour off; with the default channel size activations are dropped when many
//! jobs fall due together; runs overlap; day-of-month and day-of-week are joined by "and", where
//! cron says "or". What it is good for: it looks at the wall clock twice a second, so it strikes
//! on time after the machine was suspended or its clock was set, which timers sleep through.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use chrono_tz::Tz;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tracing::{debug, warn};

use super::Event;
use crate::definition::MigrationName;

/// Far more than migrations that strike in one second; each costs a few words.
const CHANNEL: usize = 16 * 1024;

/// When each migration strikes: a five-field cron expression in a zone.
pub(super) type Strikes = BTreeMap<MigrationName, (String, Tz)>;

/// Starts the clock. It strikes whatever was last sent to it, until the sender is dropped.
pub(super) fn start(strike: mpsc::Sender<Event>) -> mpsc::UnboundedSender<Strikes> {
    let (set, mut wanted) = mpsc::unbounded_channel::<Strikes>();
    tokio::spawn(async move {
        let mut clock = match JobScheduler::new_with_channel_size(CHANNEL).await {
            Ok(clock) => clock,
            Err(error) => return warn!("no cron clock ({error}); the queue alone keeps time"),
        };
        if let Err(error) = clock.start().await {
            return warn!("no cron clock ({error}); the queue alone keeps time");
        }
        let mut set = BTreeMap::new();
        while let Some(strikes) = wanted.recv().await {
            let outdated: Vec<MigrationName> = set
                .iter()
                .filter(|(name, (_, when))| strikes.get(*name) != Some(when))
                .map(|(name, _)| MigrationName::clone(name))
                .collect();
            for (job, _) in outdated.iter().filter_map(|name| set.remove(name)) {
                if let Err(error) = clock.remove(&job).await {
                    debug!("a cron job could not be removed: {error}");
                }
            }
            for (name, when) in strikes {
                let Entry::Vacant(vacant) = set.entry(name) else { continue };
                let added = match job(vacant.key(), &when, strike.clone()) {
                    Ok(job) => clock.add(job).await,
                    Err(error) => Err(error),
                };
                match added {
                    Ok(job) => drop(vacant.insert((job, when))),
                    Err(error) => debug!("no cron job for {}: {error}", vacant.key().0),
                }
            }
        }
        if let Err(error) = clock.shutdown().await {
            debug!("the cron clock did not stop: {error}");
        }
    });
    set
}

fn job(
    name: &MigrationName,
    (expression, zone): &(String, Tz),
    strike: mpsc::Sender<Event>,
) -> Result<Job, JobSchedulerError> {
    let name = name.clone();
    // It wants seconds; five fields have none.
    Job::new_tz(format!("0 {expression}"), *zone, move |_, _| {
        // Full: the controller is busy, and the queue reminds it too.
        let _ = strike.try_send(Event::Tick(name.clone()));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_takes_what_definitions_may_say() {
        let (strike, _struck) = mpsc::channel(1);
        let name = MigrationName("m".into());
        for cron in ["* * * * *", "*/15 8-18 * * mon-fri", "30 2 1,15 * *", "0 0 L * *"] {
            let when = (cron.to_owned(), chrono_tz::Europe::Berlin);
            assert!(job(&name, &when, strike.clone()).is_ok(), "{cron}");
        }
    }
}
