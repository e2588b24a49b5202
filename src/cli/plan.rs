//! `drover plan`: what the next passes would do.

use super::backend::Backend;
use super::exit::{self, Exit};
use super::human::{count, counted, size, tame};
use super::output::{self, Format, right};
use super::waiting::Waiting;
use crate::control::Request;
use crate::daemon::MailboxPlan;
use crate::sync::plan::{FolderSummary, Summary};

/// Plans and shows.
pub(super) async fn plan(
    backend: &Backend,
    names: Vec<String>,
    format: Format,
) -> anyhow::Result<Exit> {
    let waiting = Waiting::new("looking at both sides");
    let plans: Vec<MailboxPlan> =
        backend.ask(Request::Plan { names }, |told| waiting.tell(&told)).await?;
    drop(waiting);
    match format {
        Format::Json => output::print_json(&plans)?,
        Format::Table if plans.is_empty() => {}
        Format::Table => output::print(&render(&plans))?,
    }
    if plans.is_empty() {
        return Err(exit::no_mailbox());
    }
    Ok(if plans.iter().any(|plan| plan.error.is_some()) {
        exit::ERROR
    } else if plans.iter().any(|plan| plan.plan.as_ref().is_some_and(|p| !p.nothing_to_do)) {
        exit::DIFFERENT
    } else {
        exit::OK
    })
}

fn render(plans: &[MailboxPlan]) -> String {
    let mut text = String::new();
    let mut total = FolderSummary::default();
    let mut n_quiet = 0;
    for MailboxPlan { mailbox, kind, plan, error } in plans {
        if let Some(failed) = error {
            text += &format!("{mailbox}: {}: {}\n", failed.reason, tame(&failed.message));
            if !failed.remedy.is_empty() {
                text += &format!("  do: {}\n", failed.remedy);
            }
            text.push('\n');
        }
        let Some(plan) = plan else { continue };
        for folder in &plan.folders {
            add(&mut total, folder);
        }
        if plan.nothing_to_do {
            n_quiet += 1;
        } else {
            text += &format!("{mailbox}: {kind} pass\n{}\n", folders(plan));
        }
        for note in &plan.notes {
            text += &format!("  note: {}\n", tame(note));
        }
    }
    if n_quiet > 0 {
        text += &format!("{}: nothing to do\n", counted(n_quiet, "mailbox"));
    }
    if (n_quiet as usize) < plans.len() {
        text += &format!("all together: {}\n", in_words(&total));
    }
    text
}

/// One line for each folder that something happens to.
fn folders(plan: &Summary) -> String {
    let heads =
        ["  SOURCE", "DESTINATION", "COPY", "SIZE", "ADOPT", "MOVE", "FLAGS", "REMOVE", "FILTERED"];
    let mut table = output::table(&heads);
    let or_blank = |n: u64| right(if n == 0 { String::new() } else { count(n) });
    let mut n_still = 0_u64;
    for folder in &plan.folders {
        let acts = folder.copy + folder.adopt + folder.moves + folder.flags + folder.removes;
        if acts == 0 && !folder.create && folder.renamed_from.is_none() {
            n_still += 1;
            continue;
        }
        let mut destination = tame(&folder.destination);
        if folder.create {
            destination += " (new)";
        }
        if let Some(from) = &folder.renamed_from {
            destination += &format!(" (now {})", tame(from));
        }
        let bytes = if folder.copy > 0 { size(folder.copy_bytes) } else { String::new() };
        table.add_row([
            format!("  {}", tame(&folder.source)).into(),
            destination.into(),
            or_blank(folder.copy),
            right(bytes),
            or_blank(folder.adopt),
            or_blank(folder.moves),
            or_blank(folder.flags),
            or_blank(folder.removes),
            or_blank(folder.filtered),
        ]);
    }
    let mut text = output::text(&mut table);
    if n_still > 0 {
        text += &format!("  and {} with nothing to do\n", counted(n_still, "folder"));
    }
    text
}

fn add(total: &mut FolderSummary, folder: &FolderSummary) {
    total.copy += folder.copy;
    total.copy_bytes += folder.copy_bytes;
    total.adopt += folder.adopt;
    total.moves += folder.moves;
    total.flags += folder.flags;
    total.removes += folder.removes;
}

fn in_words(total: &FolderSummary) -> String {
    let parts = [
        (
            total.copy,
            format!("{} to copy ({})", counted(total.copy, "message"), size(total.copy_bytes)),
        ),
        (total.adopt, format!("{} to adopt", count(total.adopt))),
        (total.moves, format!("{} to move", count(total.moves))),
        (total.flags, format!("{} with other flags", count(total.flags))),
        (total.removes, format!("{} to remove", count(total.removes))),
    ];
    let parts: Vec<String> =
        parts.into_iter().filter(|(n, _)| *n > 0).map(|(_, text)| text).collect();
    if parts.is_empty() { "folders and records only".into() } else { parts.join(", ") }
}
