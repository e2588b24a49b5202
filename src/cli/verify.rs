//! `drover verify`: are both sides equal?

use super::backend::Backend;
use super::exit::{self, Exit};
use super::human::{count, counted, tame};
use super::output::{self, Format, right};
use super::waiting::Waiting;
use crate::control::Request;
use crate::daemon::Verified;
use crate::sync::verify::{Comparison, Difference};

/// Compares and shows.
pub(super) async fn verify(
    backend: &Backend,
    names: Vec<String>,
    ignore_flags: bool,
    format: Format,
) -> anyhow::Result<Exit> {
    let waiting = Waiting::new("comparing both sides");
    let request = Request::Verify { names, ignore_flags };
    let verified: Vec<Verified> = backend.ask(request, |told| waiting.tell(&told)).await?;
    drop(waiting);
    match format {
        Format::Json => output::print_json(&verified)?,
        Format::Table if verified.is_empty() => {}
        Format::Table => output::print(&render(&verified))?,
    }
    if verified.is_empty() {
        return Err(exit::no_mailbox());
    }
    Ok(if verified.iter().any(|one| one.error.is_some()) {
        exit::ERROR
    } else if verified.iter().all(|one| one.equal) {
        exit::OK
    } else {
        exit::DIFFERENT
    })
}

fn render(verified: &[Verified]) -> String {
    let mut text = String::new();
    for Verified { mailbox, equal, comparison, error } in verified {
        if let Some(failed) = error {
            text += &format!("{mailbox}: {}: {}\n", failed.reason, tame(&failed.message));
            if !failed.remedy.is_empty() {
                text += &format!("  do: {}\n", failed.remedy);
            }
        }
        let Some(comparison) = comparison else { continue };
        let messages = comparison.folders.iter().map(|folder| folder.expected).sum();
        let others: u64 = comparison.folders.iter().map(|folder| folder.others).sum();
        let own = match others {
            0 => String::new(),
            n => format!("; {} only at the destination, its users' own", count(n)),
        };
        let in_folders = format!(
            "{} in {}",
            counted(messages, "message"),
            counted(comparison.folders.len() as u64, "folder")
        );
        if *equal {
            text += &format!("{mailbox}: equal: {in_folders}{own}\n");
        } else {
            let n = counted(comparison.total(), "difference");
            text += &format!("{mailbox}: {n} among {in_folders}{own}\n");
            text += &differences(comparison);
        }
    }
    text
}

fn differences(comparison: &Comparison) -> String {
    let mut text = String::new();
    for folder in comparison.folders.iter().filter(|folder| !folder.is_equal()) {
        let parts = [
            (folder.missing, "missing"),
            (folder.duplicated, "there twice"),
            (folder.flags_differ, "with other flags"),
            (folder.dates_differ, "with another date"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{} {what}", count(n)))
            .collect();
        let found = (count(folder.found), count(folder.expected));
        text += &format!(
            "  {}: {} of {} found; {}\n",
            tame(&folder.destination),
            found.0,
            found.1,
            parts.join(", ")
        );
        let mut table = output::table(&[]);
        for Difference { kind, folder, uid, message_id, detail } in &folder.differences {
            let named = message_id.as_deref().map_or_else(String::new, |id| format!("<{id}>"));
            let detail = detail.as_deref().unwrap_or_default();
            table.add_row([
                format!("    {kind}").into(),
                tame(folder).into(),
                right(uid),
                tame(&[named.as_str(), detail].join(" ")).into(),
            ]);
        }
        text += &output::text(&mut table);
        let hidden = folder.total().saturating_sub(folder.differences.len() as u64);
        if hidden > 0 {
            text += &format!("    and {} more\n", count(hidden));
        }
    }
    text
}
