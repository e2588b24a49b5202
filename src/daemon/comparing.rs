//! Are both sides equal?

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::work::{Work, name, split};
use crate::control::{Compare, ProgressSender};
use crate::controller::{Failed, Handle, Selected};
use crate::sync::Progress;
use crate::sync::verify::manifest::{Section, Writer};
use crate::sync::verify::{self, Comparison};

/// How often progress is told.
const TOLD: Duration = Duration::from_millis(500);

/// What a comparison of both sides of a mailbox found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// `migration/source account`.
    pub mailbox: String,
    /// True if nothing differs in what was compared: all of it, unless `comparison.sample` says
    /// how much.
    pub equal: bool,
    /// What was found; absent if a side could not be read.
    pub comparison: Option<Comparison>,
    /// Why not.
    pub error: Option<Failed>,
}

/// Why nothing was compared: what happened, and what to do.
pub type Refused = (String, String);

impl Work {
    /// Compares both sides of each, and tells the controller.
    ///
    /// # Errors
    /// A manifest that cannot be used.
    pub async fn verify(
        &self,
        mailboxes: Vec<Selected>,
        mut how: Compare,
        handle: &Handle,
        done: &ProgressSender,
    ) -> Result<Vec<Verified>, Refused> {
        let manifest = match how.manifest.take() {
            Some(file) => Some(Manifest::open(file, &mailboxes).await?),
            None => None,
        };
        let running = Running::default();
        let one_by_one = how.write_manifest;
        let comparing = Arc::new(Comparing {
            handle: handle.clone(),
            how,
            manifest,
            running: running.clone(),
            done: done.clone(),
        });
        let verify = |work: Self, selected: Selected| {
            let comparing = Arc::clone(&comparing);
            async move { comparing.one(&work, selected).await }
        };
        let all = async {
            if !one_by_one {
                return self.each(mailboxes, done, verify).await;
            }
            // Sections of a manifest must not mix.
            let mut verified = Vec::new();
            for selected in mailboxes {
                verified.extend(self.each(vec![selected], done, verify).await);
            }
            verified
        };
        tokio::select! {
            verified = all => Ok(verified),
            never = running.tell(done) => match never {},
        }
    }
}

/// What the comparisons of one request share.
struct Comparing {
    handle: Handle,
    how: Compare,
    manifest: Option<Manifest>,
    running: Running,
    done: ProgressSender,
}

impl Comparing {
    async fn one(&self, work: &Work, selected: Selected) -> Verified {
        let began = Utc::now();
        let progress = self.running.enter();
        let options = verify::Options {
            scratch: work.scratch.clone(),
            ignore_flags: self.how.ignore_flags,
            sample: self.how.sample,
        };
        let (context, mailbox) = (&work.context, &selected.mailbox);
        let found = match &self.manifest {
            Some(manifest) => match manifest.section(&selected) {
                Ok(section) => {
                    let file = &manifest.file;
                    verify::recheck(context, mailbox, &options, file, section, &progress).await
                }
                Err(failed) => {
                    let (comparison, error) = (None, Some(failed));
                    return Verified { mailbox: name(&selected), equal: false, comparison, error };
                }
            },
            None => {
                let writer = self.how.write_manifest.then(|| self.writer());
                verify::verify(context, mailbox, &options, writer, &progress).await
            }
        };
        if let Ok(comparison) = &found {
            // A part that is equal proves nothing about the rest, nor does a manifest about
            // what the source holds now.
            let is_proof =
                self.manifest.is_none() && (self.how.sample.is_none() || !comparison.is_equal());
            if is_proof {
                self.handle.verified(selected.key.clone(), began, comparison.total()).await;
            }
        }
        let equal = found.as_ref().is_ok_and(Comparison::is_equal);
        let (comparison, error) = split(found);
        Verified { mailbox: name(&selected), equal, comparison, error }
    }

    /// Sends a manifest to who asked for it. Waits for a slow reader; ends with one that left.
    fn writer(&self) -> Writer {
        let done = self.done.clone();
        Writer::new(Box::new(move |piece| {
            let sent = done.blocking_send(json!({ "manifest": piece }));
            sent.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
        }))
    }
}

/// A manifest that is as it was written.
struct Manifest {
    file: Arc<File>,
    sections: Vec<Section>,
}

impl Manifest {
    /// Checks all of it, and that it is about some of these mailboxes.
    async fn open(file: File, mailboxes: &[Selected]) -> Result<Self, Refused> {
        let file = Arc::new(file);
        let reading = Arc::clone(&file);
        let checked = tokio::task::spawn_blocking(move || verify::sections(&reading)).await;
        let sections = match checked {
            Ok(Ok(sections)) => sections,
            Ok(Err(wrong)) => {
                let remedy = "take an unaltered copy: nothing was compared";
                return Err((format!("the manifest cannot be used: {wrong}"), remedy.into()));
            }
            Err(error) => return Err((error.to_string(), String::new())),
        };
        let manifest = Self { file, sections };
        let is_ours = mailboxes.iter().any(|selected| manifest.section(selected).is_ok());
        if !is_ours && !mailboxes.is_empty() {
            let of = &manifest.sections[0];
            let what = format!(
                "the manifest is about other accounts: line {}: {}",
                of.line, of.header.destination
            );
            return Err((what, "check the names and the manifest's file".into()));
        }
        Ok(manifest)
    }

    /// The section of a mailbox, by its destination.
    fn section(&self, selected: &Selected) -> Result<&Section, Failed> {
        let wanted = selected.mailbox.destination.same_as_key();
        let of = |section: &&Section| section.header.destination.to_lowercase() == wanted;
        let mut found = self.sections.iter().filter(of);
        match (found.next(), found.next()) {
            (Some(section), None) => Ok(section),
            (Some(first), Some(second)) => Err(Failed {
                reason: "ManifestAmbiguous".into(),
                message: format!(
                    "the manifest has this mailbox twice: lines {} and {}",
                    first.line, second.line
                ),
                remedy: "check with one manifest at a time".into(),
            }),
            (None, _) => Err(Failed {
                reason: "NotInManifest".into(),
                message: format!("the manifest says nothing about {wanted}"),
                remedy: "name only mailboxes that it has, or write one for this mailbox".into(),
            }),
        }
    }
}

/// How far all comparisons of a request are.
#[derive(Clone, Default)]
struct Running {
    all: Arc<Mutex<Vec<Progress>>>,
}

impl Running {
    fn enter(&self) -> Progress {
        let progress = Progress::default();
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(progress.clone());
        progress
    }

    /// Tells now and then; a slow reader misses some.
    async fn tell(&self, done: &ProgressSender) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(TOLD);
        loop {
            tick.tick().await;
            let (mut messages, mut total) = (0, 0);
            for progress in self.all.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let now = progress.read();
                messages += now.messages;
                total += now.messages_total;
            }
            let _ = done.try_send(json!({ "messages": messages, "messages_total": total }));
        }
    }
}
