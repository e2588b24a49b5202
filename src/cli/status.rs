//! `drover status`: how everything stands, on one screen.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use comfy_table::Cell;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::backend::Backend;
use super::exit::{self, Exit};
use super::human::{count, duration, moment, since, size, tame, until};
use super::output::{self, Format};
use super::sync::{doing, in_words};
use crate::control::Request;
use crate::controller::EXPIRES_SOON;
use crate::controller::status::{MailboxStatus, MigrationStatus, Status};
use crate::model::text::tame_lines;
use crate::model::{ConditionType, Phase, Truth};

/// Between two looks of `--watch`.
const BEAT: Duration = Duration::from_secs(1);

/// Unless one migration is asked for, only so many mailboxes are all listed; of more, those that
/// are worth a look.
const ALL_LISTED: usize = 25;

/// Of those that are worth a look, and of problems in one file.
const MOST_LISTED: usize = 40;
const MOST_PROBLEMS: usize = 5;

/// Shows it once.
pub(super) async fn once(
    backend: &Backend,
    name: Option<String>,
    format: Format,
) -> anyhow::Result<Exit> {
    let status = ask(backend, &name).await?;
    match format {
        Format::Json => output::print_json(&status)?,
        Format::Table => {
            let mut text = View::new(name.is_some()).render(&status, Utc::now());
            if let Backend::Local(_) = backend {
                text += "\nno daemon is running: passes run only by `drover sync`\n";
            }
            output::print(&text)?;
        }
    }
    Ok(exit::OK)
}

/// Shows it again and again: redrawn on a terminal, as lines about what changed elsewhere, as one
/// JSON value a line.
pub(super) async fn watch(
    backend: &Backend,
    name: Option<String>,
    format: Format,
) -> anyhow::Result<Exit> {
    // Without a daemon nothing would ever change, and one that is started could not get at the
    // ledger.
    if let Backend::Local(_) = backend {
        return once(backend, name, format).await;
    }
    let mut view = View::new(name.is_some());
    let screen = screen();
    let mut told = HashMap::new();
    loop {
        let status = ask(backend, &name).await?;
        let now = Utc::now();
        view.measure(&status);
        if format == Format::Json {
            output::print_json_line(&status)?;
        } else if output::is_terminal() {
            screen.set_message(tame_lines(&view.render(&status, now)));
        } else {
            for mailbox in &status.mailboxes {
                // Time goes by; that alone is no news.
                let ended = mailbox.last_pass.as_ref().map(|pass| pass.ended);
                let news = (mailbox.phase, mailbox.reason.clone(), mailbox.progress, ended);
                if told.insert(name_of(mailbox), news.clone()) != Some(news) {
                    let (name, what) = (name_of(mailbox), view.now(mailbox, now));
                    let time = now.format("%H:%M:%S");
                    output::print(&format!("{time} {name}: {}: {what}", mailbox.phase))?;
                }
            }
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Where a terminal is drawn anew; keeps to its height.
fn screen() -> ProgressBar {
    let screen = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    match ProgressStyle::with_template("{msg}") {
        Ok(style) => screen.with_style(style),
        Err(_) => screen,
    }
}

async fn ask(backend: &Backend, name: &Option<String>) -> anyhow::Result<Status> {
    backend.ask(Request::Status { name: name.clone() }, |_| {}).await
}

fn name_of(mailbox: &MailboxStatus) -> String {
    format!("{}/{}", mailbox.migration.0, mailbox.source)
}

/// How a status is shown; remembers the last one, for rates.
struct View {
    /// One migration or mailbox was asked for by name: show all of it.
    is_named: bool,
    seen: HashMap<String, (Instant, u64)>,
    /// Bytes a second, by mailbox.
    rates: HashMap<String, f64>,
}

impl View {
    fn new(is_named: bool) -> Self {
        Self { is_named, seen: HashMap::new(), rates: HashMap::new() }
    }

    /// Learns how fast passes are.
    fn measure(&mut self, status: &Status) {
        let mut seen = HashMap::new();
        let mut rates = HashMap::new();
        for mailbox in &status.mailboxes {
            let Some(progress) = mailbox.progress else { continue };
            let (name, now) = (name_of(mailbox), Instant::now());
            if let Some((at, bytes)) = self.seen.get(&name)
                && progress.bytes >= *bytes
            {
                let lately = (progress.bytes - bytes) as f64 / (now - *at).as_secs_f64().max(0.001);
                let before = self.rates.get(&name).copied().unwrap_or(lately);
                rates.insert(name.clone(), before * 0.7 + lately * 0.3);
            }
            seen.insert(name, (now, progress.bytes));
        }
        (self.seen, self.rates) = (seen, rates);
    }

    fn render(&self, status: &Status, now: DateTime<Utc>) -> String {
        let mut text = String::new();
        let daemon = &status.daemon;
        for trouble in [&daemon.held, &daemon.ledger_error].into_iter().flatten() {
            text += &format!("! {}\n\n", tame(trouble));
        }
        if status.migrations.is_empty() {
            return text + "there is no definition\n";
        }
        text += &migrations(&status.migrations, now);
        let all = self.is_named || status.mailboxes.len() <= ALL_LISTED;
        for migration in &status.migrations {
            let of = status.mailboxes.iter().filter(|mailbox| mailbox.migration == migration.name);
            let of: Vec<&MailboxStatus> = of.collect();
            let worth = |m: &&&MailboxStatus| m.reason.is_some() || m.running.is_some();
            let mut shown: Vec<&MailboxStatus> = match all {
                true => of.clone(),
                false => of.iter().filter(worth).copied().collect(),
            };
            if !self.is_named {
                shown.truncate(MOST_LISTED);
            }
            text += &problems(migration);
            text += &expiring(migration);
            if self.is_named {
                text += &conditions(migration, now);
            }
            if !shown.is_empty() {
                text += &format!("\n{}\n", migration.name.0);
                text += &self.mailboxes(&shown, now);
            }
            let n_hidden = of.len() - shown.len();
            if n_hidden > 0 {
                let name = &migration.name.0;
                text += &format!("  and {} more: drover status {name}\n", count(n_hidden as u64));
            }
        }
        text
    }

    fn mailboxes(&self, shown: &[&MailboxStatus], now: DateTime<Utc>) -> String {
        let mut table = output::table(&["  MAILBOX", "PHASE", "LAG", "NOW"]);
        for mailbox in shown {
            let lag = mailbox.lag_seconds.map(|seconds| duration(Duration::from_secs(seconds)));
            table.add_row([
                Cell::new(format!("  {}", tame(&mailbox.source))),
                Cell::new(mailbox.phase),
                Cell::new(lag.unwrap_or_else(|| "–".into())),
                Cell::new(self.now(mailbox, now)),
            ]);
        }
        output::text(&mut table)
    }

    /// What happens, what drover will do, and what the operator should do.
    fn now(&self, mailbox: &MailboxStatus, now: DateTime<Utc>) -> String {
        if let (Some(kind), Some(progress)) = (mailbox.running, &mailbox.progress) {
            let left = self.rates.get(&name_of(mailbox)).filter(|rate| **rate >= 1.0);
            let left = left.map_or_else(String::new, |rate| {
                let bytes = progress.bytes_total.saturating_sub(progress.bytes);
                let left = Duration::from_secs_f64((bytes as f64 / rate).min(1e9));
                format!(", {}/s, {} left", size(*rate as u64), duration(left))
            });
            return format!("{kind} pass: {}{left}", doing(progress));
        }
        let next = mailbox.next_run.map(|at| format!("next pass {}", until(at, now)));
        if let Some(reason) = &mailbox.reason {
            let parts = [mailbox.message.clone(), mailbox.remedy.clone(), next];
            let parts: Vec<String> = parts.into_iter().flatten().map(|part| tame(&part)).collect();
            return format!("{reason}: {}", parts.join("; "));
        }
        let last = mailbox.last_pass.as_ref().map(|pass| match &pass.error {
            Some(error) => format!("{}: failed: {}", since(pass.ended, now), tame(error)),
            None => format!("{}: {}", since(pass.ended, now), in_words(pass)),
        });
        let parts: Vec<String> = match mailbox.phase {
            Phase::Complete => last.into_iter().collect(),
            _ => last.into_iter().chain(next).collect(),
        };
        if parts.is_empty() { "–".into() } else { parts.join("; ") }
    }
}

fn migrations(all: &[MigrationStatus], now: DateTime<Utc>) -> String {
    let mut table = output::table(&["MIGRATION", "STATE", "MAILBOXES", "NEXT", "CUTOVER"]);
    for migration in all {
        let counts: Vec<String> =
            migration.counts.iter().map(|(phase, n)| format!("{} {phase}", count(*n))).collect();
        let next = migration.next_run.map(|at| until(at, now));
        table.add_row([
            Cell::new(&migration.name.0),
            Cell::new(format!("{:?}", migration.summary)),
            Cell::new(counts.join(" · ")),
            Cell::new(next.unwrap_or_else(|| "–".into())),
            Cell::new(migration.cutover_at.map_or_else(|| "–".into(), moment)),
        ]);
    }
    output::text(&mut table)
}

fn problems(migration: &MigrationStatus) -> String {
    let mut text = String::new();
    for problem in migration.problems.iter().take(MOST_PROBLEMS) {
        let at = match (problem.line, problem.column) {
            (0, _) => String::new(),
            (line, column) => format!(":{line}:{column}"),
        };
        text += &format!("  {}{at}: {}\n", problem.file.display(), tame(&problem.message));
    }
    let n_hidden = migration.problems.len().saturating_sub(MOST_PROBLEMS);
    if n_hidden > 0 {
        text += &format!("  and {} more: drover check\n", count(n_hidden as u64));
    }
    if !text.is_empty() {
        text = format!("\n{}: the definition\n{text}", migration.name.0);
    }
    text
}

/// What is still well and will not be for long.
fn expiring(migration: &MigrationStatus) -> String {
    let soon = migration.conditions.iter().find(|condition| condition.reason == EXPIRES_SOON);
    soon.map_or_else(String::new, |condition| {
        format!("\n! {}: {}\n", migration.name.0, tame(&condition.message))
    })
}

fn conditions(migration: &MigrationStatus, now: DateTime<Utc>) -> String {
    let mut table = output::table(&["  CONDITION", "", "SINCE", "WHY"]);
    for condition in &migration.conditions {
        // Whether one is throttled is of interest only then.
        if condition.kind == ConditionType::Throttled && condition.status == Truth::False {
            continue;
        }
        let truth = match condition.status {
            Truth::True => "yes",
            Truth::False => "no",
            Truth::Unknown => "?",
        };
        let why = match condition.message.is_empty() {
            true => condition.reason.clone(),
            false => format!("{}: {}", condition.reason, tame(&condition.message)),
        };
        table.add_row([
            format!("  {:?}", condition.kind),
            truth.into(),
            since(condition.since, now),
            why,
        ]);
    }
    format!("\n{}", output::text(&mut table))
}
