//! A pass begins, and ends: what follows from it.

use super::super::book::Entry as Keep;
use super::super::*;

impl Controller {
    pub(super) fn start(&mut self, key: &MailboxKey) {
        let now = (self.settings.now)();
        let Some(entry) = self.herd.get_mut(key) else { return self.queue.release(key) };
        entry.lined_up = false;
        let (Some(declared), Some(memory)) =
            (self.snapshot.migrations.get(&entry.migration), &mut entry.memory)
        else {
            return self.queue.release(key);
        };
        let migration = &declared.migration;
        let kind = phase::kind(&memory.state, migration, now);
        memory.state.last_began = Some(now);
        let state = memory.state.clone();
        self.n_passes += 1;
        let run = herd::Run {
            number: self.n_passes,
            migration: entry.migration.clone(),
            generation: migration.generation.clone(),
            kind,
            began: now,
            connected: None,
            carrying: None,
            progress: Progress::default(),
            stop: CancellationToken::new(),
            under: seal::under(migration, &entry.mailbox, &self.snapshot.seals),
            asked: std::mem::take(&mut entry.asked),
        };
        info!(mailbox = entry.name(), %kind, "pass begins");
        for asked in &run.asked {
            let (mailbox, progress) = (entry.name(), run.progress.clone());
            let _ = asked.send(Update::Started { mailbox, kind, progress });
        }
        // An operator who asked does not care for windows, nor does a cutover.
        let closes = if run.asked.is_empty() && phase::windows_hold(&state, migration, now) {
            schedule::window_closes(&migration.sync, now)
        } else {
            None
        };
        let job = PassJob {
            key: key.clone(),
            mailbox: Arc::clone(&entry.mailbox),
            kind,
            progress: run.progress.clone(),
            stop: run.stop.clone(),
        };
        *self.running.entry(run.migration.clone()).or_default() += 1;
        let (number, stop, events) = (run.number, run.stop.clone(), self.events.clone());
        entry.run = Some(run);
        entry.next = Some(phase::next(&state, migration, &key.0, entry.pace, now));
        let open = closes.map(|closes| (closes - now).to_std().unwrap_or_default());
        let pass = (self.settings.runner)(job);
        let finished = key.clone();
        tokio::spawn(async move {
            // In a task of its own, so that a panic is an outcome.
            let mut pass = tokio::spawn(pass);
            let ended = match open {
                None => pass.await,
                Some(open) => tokio::select! {
                    ended = &mut pass => ended,
                    () = tokio::time::sleep(open) => {
                        stop.cancel();
                        pass.await
                    }
                },
            };
            let outcome = ended.map_or(Outcome::Panicked, Outcome::Returned);
            let _ = events.send(Event::Finished(finished, number, outcome)).await;
        });
        self.keep(Keep::State(key.clone(), state));
    }

    /// A pass has ended: what follows from it, in this one place.
    pub(in crate::controller) fn finished(
        &mut self,
        key: &MailboxKey,
        number: u64,
        outcome: Outcome,
    ) {
        let now = (self.settings.now)();
        let Some(entry) = self.herd.get_mut(key) else { return };
        let Some(run) = entry.run.take_if(|run| run.number == number) else { return };
        if let Some(n) = self.running.get_mut(&run.migration) {
            *n -= 1;
            if *n == 0 {
                self.running.remove(&run.migration);
            }
        }
        self.turns.charge(&run.migration, (now - run.began).to_std().unwrap_or_default());
        self.dirty.insert(entry.migration.clone());
        let mailbox = entry.name();
        let Some(memory) = &mut entry.memory else { return };
        let result = match outcome {
            Outcome::Returned(Ok(report)) => {
                info!(mailbox, kind = %run.kind, copied = report.record.accounts.copied,
                    bytes = report.record.bytes, quiet = report.quiet, "pass ends");
                if let Some(declared) = self.snapshot.migrations.get(&entry.migration) {
                    memory.state =
                        phase::after_success(&memory.state, &declared.migration, run.kind, &report);
                }
                let noisy_final = run.kind == PassKind::Final && !report.quiet;
                let finals = if noisy_final { entry.pace.finals + 1 } else { 0 };
                entry.pace = phase::Pace { finals, ..phase::Pace::default() };
                entry.trouble = None;
                entry.observed = Some(run.generation.clone());
                memory.remember(report.record.clone());
                Ok(Box::new((report.record, report.notes)))
            }
            Outcome::Returned(Err(sync::Error::Stopped)) => {
                info!(mailbox, kind = %run.kind, "pass stopped");
                entry.pace.unfinished = true;
                Err(Failed {
                    reason: "Stopped".into(),
                    message: "the pass was stopped; what it carried is recorded".into(),
                    remedy: String::new(),
                })
            }
            Outcome::Returned(Err(error)) => Err(self.failed(key, &run, &error, now)),
            Outcome::Panicked => {
                let failed = Failed {
                    reason: "Panicked".into(),
                    message: "the pass ended by a defect of drover".into(),
                    remedy: "please report it, with the log; drover tries again".into(),
                };
                self.delay_after_failure(key, &run, &failed, now);
                Err(failed)
            }
        };
        self.conclude(key, run, result);
    }

    /// Tells who asked, gives the mailbox back to the queue, and looks when it is due next.
    fn conclude(
        &mut self,
        key: &MailboxKey,
        run: herd::Run,
        result: Result<Box<(PassRecord, Vec<String>)>, Failed>,
    ) {
        let Some(entry) = self.herd.get_mut(key) else { return };
        let was_stopped = matches!(&result, Err(failed) if failed.reason == "Stopped");
        let suspended = self
            .snapshot
            .migrations
            .get(&entry.migration)
            .is_none_or(|declared| declared.migration.suspend);
        if was_stopped && !self.stopping && !entry.gone && !suspended {
            // Stopped for a changed definition: who asked gets the pass that follows.
            entry.asked.extend(run.asked);
        } else {
            let mailbox = entry.name();
            for asked in run.asked {
                let _ =
                    asked.send(Update::Ended { mailbox: mailbox.clone(), result: result.clone() });
            }
        }
        if let Some(state) = entry.state().cloned() {
            self.keep(Keep::State(key.clone(), state));
        }
        if self.herd.get(key).is_some_and(|entry| entry.gone) {
            self.herd.remove(key);
            self.queue.cancel(key);
            return self.queue.release(key);
        }
        self.queue.release(key);
        self.reschedule(key);
    }
}
