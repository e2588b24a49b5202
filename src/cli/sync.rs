//! `drover sync`: passes now, with a bar for each mailbox on a terminal and lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backend::Backend;
use super::exit::{self, Exit};
use super::human::{count, counted, size, tame, took};
use super::output::{self, Format};
use crate::control::Request;
use crate::controller::Failed;
use crate::ledger::PassRecord;
use crate::model::PassKind;
use crate::sync::{ProgressReading, Stage};
use crate::telemetry::BARS;

/// What came of one pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Synced {
    /// `migration/source account`.
    pub(super) mailbox: String,
    /// The pass, if it ran to its end.
    #[serde(default)]
    pub(super) pass: Option<PassRecord>,
    /// What an operator should know.
    #[serde(default)]
    pub(super) notes: Vec<String>,
    /// Why it did not.
    #[serde(default)]
    pub(super) error: Option<Failed>,
}

/// What is told while a pass runs.
#[derive(Debug, Deserialize)]
struct Told {
    mailbox: String,
    kind: PassKind,
    progress: ProgressReading,
}

/// Runs passes and shows how far they are.
pub(super) async fn sync(
    backend: &Backend,
    names: Vec<String>,
    format: Format,
) -> anyhow::Result<Exit> {
    let mut bars = std::io::stderr().is_terminal().then(Bars::default);
    let mut stages = HashMap::new();
    let told = |told: Value| {
        let Ok(told) = serde_json::from_value::<Told>(told) else { return };
        match &mut bars {
            Some(bars) => bars.show(&told),
            // One line for each stage: enough for a log.
            None => {
                let before = stages.insert(told.mailbox.clone(), told.progress.stage);
                if before != Some(told.progress.stage) {
                    eprintln!("{}: {}: {}", tame(&told.mailbox), told.kind, doing(&told.progress));
                }
            }
        }
    };
    let synced: Vec<Synced> = backend.ask(Request::Sync { names }, told).await?;
    drop(bars);
    match format {
        Format::Json => output::print_json(&synced)?,
        Format::Table if synced.is_empty() => {}
        Format::Table => output::print(&render(&synced))?,
    }
    if synced.is_empty() {
        return Err(exit::no_mailbox());
    }
    let n_failed = synced.iter().filter(|one| !is_fine(one)).count();
    Ok(match n_failed {
        0 => exit::OK,
        n if n == synced.len() && synced.iter().all(|one| one.error.is_some()) => exit::ERROR,
        _ => exit::SOME_FAILED,
    })
}

/// Did the pass bring everything?
fn is_fine(synced: &Synced) -> bool {
    synced.pass.as_ref().is_some_and(|pass| pass.accounts.lost() == 0)
}

fn render(synced: &[Synced]) -> String {
    let mut text = String::new();
    for Synced { mailbox, pass, notes, error } in synced {
        if let Some(pass) = pass {
            text += &format!("{mailbox}: {} pass: {}\n", pass.kind, in_words(pass));
            let left = pass.accounts.lost();
            if left > 0 {
                let left = counted(left, "message");
                text += &format!("  {left} not brought over: drover failed {mailbox}\n");
            }
        }
        for note in notes {
            text += &format!("  note: {}\n", tame(note));
        }
        if let Some(failed) = error {
            text += &format!("{mailbox}: {}: {}\n", failed.reason, tame(&failed.message));
            if !failed.remedy.is_empty() {
                text += &format!("  do: {}\n", failed.remedy);
            }
        }
    }
    text
}

/// What a pass did: `12 messages copied (1.2 MiB), 3 adopted, 4,000 already there in 1.2 s`.
pub(super) fn in_words(pass: &PassRecord) -> String {
    let accounts = &pass.accounts;
    let more = [
        (accounts.adopted, "adopted"),
        (pass.moves, "moved"),
        (pass.flag_changes, "with other flags"),
        (pass.removed, "removed"),
        (accounts.already_there, "already there"),
        (accounts.filtered, "filtered"),
        (accounts.deferred, "left for the next pass"),
        (accounts.accepted, "accepted as lost"),
    ];
    let copied = counted(accounts.copied, "message");
    let mut parts = vec![match accounts.copied {
        0 => "nothing new".to_owned(),
        _ => format!("{copied} copied ({})", size(pass.bytes)),
    }];
    parts.extend(
        more.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(n))),
    );
    let time = (pass.ended - pass.began).to_std().unwrap_or_default();
    format!("{} in {}", parts.join(", "), took(time))
}

/// What a pass is doing, in words.
pub(super) fn doing(now: &ProgressReading) -> String {
    match now.stage {
        Stage::Waiting => "waiting for a connection".into(),
        Stage::Surveying => "looking at both sides".into(),
        Stage::Transferring if now.messages_total == 0 => "carrying changes".into(),
        Stage::Transferring => {
            let (done, total) = (count(now.messages), count(now.messages_total));
            format!("{done} of {total}, {} of {}", size(now.bytes), size(now.bytes_total))
        }
        Stage::Finishing => "closing the accounts".into(),
    }
}

/// A bar for each mailbox.
#[derive(Default)]
struct Bars {
    by_mailbox: HashMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, told: &Told) {
        let bar = self.by_mailbox.entry(told.mailbox.clone()).or_insert_with(|| {
            let bar = BARS.add(ProgressBar::new(0).with_prefix(tame(&told.mailbox)));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = &told.progress;
        let template = match now.stage {
            Stage::Transferring if now.bytes_total > 0 => {
                "{prefix:32!} {bar:20} {msg} {binary_bytes_per_sec} {eta} left"
            }
            _ => "{prefix:32!} {spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━ "));
        }
        bar.set_length(now.bytes_total);
        bar.set_position(now.bytes);
        bar.set_message(doing(now));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.by_mailbox.values() {
            bar.finish_and_clear();
        }
    }
}
