//! `drover verify`: are both sides equal?

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::backend::Backend;
use super::exit::{self, Exit, Failure};
use super::human::{count, counted, moment, tame};
use super::output::{self, Format, right};
use super::waiting::Waiting;
use super::writing::Writing;
use crate::control::Request;
use crate::daemon::Verified;
use crate::sync::verify::sample::{Sample, SampleSize};
use crate::sync::verify::{Comparison, Difference, FolderComparison};

/// How to compare.
#[derive(Debug, Args)]
pub(super) struct How {
    /// Flags may differ: people have read their mail at the destination
    #[arg(long)]
    ignore_flags: bool,
    /// Compare only a random part: `5%` of every folder, or about so many messages
    #[arg(long, value_name = "SIZE")]
    sample: Option<SampleSize>,
    /// Take the same sample again [default: another one each time]
    #[arg(long, value_name = "N", requires = "sample")]
    seed: Option<u64>,
    /// Also write down what the source holds, for `--manifest`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sample", "ignore_flags", "manifest"])]
    write_manifest: Option<PathBuf>,
    /// Compare with this manifest instead of the source, which may be gone
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    manifest: Option<PathBuf>,
}

/// Compares and shows.
pub(super) async fn verify(
    backend: &Backend,
    names: Vec<String>,
    how: How,
    format: Format,
) -> anyhow::Result<Exit> {
    let manifest = how.manifest.as_ref().map(|path| {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        opened.map_err(|error| {
            let path = path.display();
            Failure::new(exit::ERROR, format!("the manifest {path} cannot be read: {error}"))
        })
    });
    let manifest = manifest.transpose()?;
    let mut writing = how.write_manifest.map(Writing::begin).transpose()?;
    let request = Request::Verify {
        names,
        ignore_flags: how.ignore_flags,
        sample: how.sample.map(|size| Sample { size, seed: how.seed.unwrap_or_else(any_seed) }),
        write_manifest: writing.is_some(),
        manifest: manifest.as_ref().map(|(length, _)| *length),
    };
    let waiting = Waiting::new("comparing both sides");
    let told = |told: Value| match (&mut writing, told["manifest"].as_str()) {
        (Some(writing), Some(piece)) => writing.take(piece),
        _ => waiting.tell(&told),
    };
    let upload = manifest.map(|(_, file)| file);
    let verified: Vec<Verified> = backend.ask_with(request, upload, told).await?;
    drop(waiting);
    let is_complete = verified.iter().all(|one| one.error.is_none()) && !verified.is_empty();
    let written = match writing {
        Some(writing) if is_complete => Some(writing.finish()?),
        // Dropped, it leaves nothing behind.
        Some(_) | None => None,
    };
    match format {
        Format::Json => output::print_json(&verified)?,
        Format::Table if verified.is_empty() => {}
        Format::Table => {
            let mut text = render(&verified);
            if let Some(path) = written {
                text += &format!("the manifest is written: {}\n", path.display());
            }
            output::print(&text)?;
        }
    }
    if verified.is_empty() {
        return Err(exit::no_mailbox());
    }
    Ok(if !is_complete {
        exit::ERROR
    } else if verified.iter().all(|one| one.equal) {
        exit::OK
    } else {
        exit::DIFFERENT
    })
}

/// Short enough to be typed again.
fn any_seed() -> u64 {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    random % 1_000_000
}

fn render(verified: &[Verified]) -> String {
    let mut text = String::new();
    for Verified { mailbox, equal, comparison, error } in verified {
        let mailbox = tame(mailbox);
        if let Some(failed) = error {
            text += &format!("{mailbox}: {}: {}\n", failed.reason, tame(&failed.message));
            if !failed.remedy.is_empty() {
                text += &format!("  do: {}\n", tame(&failed.remedy));
            }
        }
        let Some(comparison) = comparison else { continue };
        let what = compared(comparison);
        if *equal {
            let is_part = if comparison.sample.is_some() { "no difference in" } else { "equal:" };
            text += &format!("{mailbox}: {is_part} {what}\n");
        } else {
            let n = counted(comparison.total(), "difference");
            text += &format!("{mailbox}: {n} among {what}\n");
        }
        text += &folders(comparison);
        for folder in comparison.folders.iter().flat_map(|compared| &compared.in_part) {
            let folder = tame(folder);
            text += &format!("  {folder} is shown in part only: what it hides was not compared\n");
        }
    }
    text + &remedies(verified)
}

/// What was compared with what, and what else there is.
fn compared(comparison: &Comparison) -> String {
    let sum = |n: fn(&FolderComparison) -> u64| comparison.folders.iter().map(n).sum::<u64>();
    let messages = counted(sum(|folder| folder.expected), "message");
    let mut text = match &comparison.sample {
        Some(sample) => format!(
            "a sample of {messages} out of {} (asked for {}, seed {})",
            count(sample.of),
            sample.asked,
            sample.seed
        ),
        None => messages,
    };
    text += &format!(" in {}", counted(comparison.folders.len() as u64, "folder"));
    if let Some(manifest) = &comparison.manifest {
        let source = tame(&manifest.source);
        text += &format!(" of the manifest of {source}, written {}", moment(manifest.written));
    }
    match sum(|folder| folder.accepted) {
        0 => {}
        n => text += &format!("; {} accepted as lost", count(n)),
    }
    match sum(|folder| folder.others) {
        0 => {}
        n => text += &format!("; {} only at the destination, its users' own", count(n)),
    }
    text
}

fn folders(comparison: &Comparison) -> String {
    let mut text = String::new();
    for folder in comparison.folders.iter().filter(|one| !one.is_equal() || one.accepted > 0) {
        let parts = [
            (folder.missing, "missing"),
            (folder.duplicated, "there twice"),
            (folder.flags_differ, "with other flags"),
            (folder.dates_differ, "with another date"),
            (folder.accepted, "accepted as lost"),
        ];
        let parts = parts.into_iter().filter(|(n, _)| *n > 0);
        let parts: Vec<String> = parts.map(|(n, what)| format!("{} {what}", count(n))).collect();
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
                format!("    {}", tame(kind)).into(),
                tame(folder).into(),
                right(uid.map(|uid| uid.to_string()).unwrap_or_default()),
                tame([named.as_str(), detail].join(" ").trim()).into(),
            ]);
        }
        text += &output::text(&mut table);
        let all = folder.total() + folder.accepted;
        let hidden = all.saturating_sub(folder.differences.len() as u64);
        if hidden > 0 {
            text += &format!("    and {} more\n", count(hidden));
        }
    }
    text
}

/// What the differences mean, and what to do about them.
fn remedies(verified: &[Verified]) -> String {
    let all = || verified.iter().filter_map(|one| one.comparison.as_ref());
    let any = |n: fn(&FolderComparison) -> u64| {
        all().flat_map(|comparison| &comparison.folders).any(|folder| n(folder) > 0)
    };
    let from_manifest = all().any(|comparison| comparison.manifest.is_some());
    let mut text = String::new();
    let mut say = |word: &str, means: &str| text += &format!("  {word}: {means}\n");
    if any(|folder| folder.missing) {
        let means = match from_manifest {
            false => {
                "not at the destination, or not with this content: not carried yet (`drover sync`), \
                 not to be carried (`drover failed`), or removed or altered there by its user"
            }
            true => {
                "not at the destination, or not with this content: removed or altered there since \
                 the manifest was written, or missing then already"
            }
        };
        say("missing", means);
    }
    if any(|folder| folder.duplicated) {
        say(
            "duplicated",
            "there more often than at the source: copied by another tool or by its user; drover \
             removes nothing that it did not write",
        );
    }
    if any(|folder| folder.flags_differ) {
        say(
            "flags",
            "changed by the destination's user, whose changes win, or not carried yet; \
             --ignore-flags leaves them aside",
        );
    }
    if any(|folder| folder.dates_differ) {
        say("date", "the message was put there by another tool, with another INTERNALDATE");
    }
    if all().any(|comparison| comparison.sample.is_some()) {
        say(
            "sample",
            "says nothing for certain about what is not in it; the same --seed repeats it",
        );
    }
    match text.is_empty() {
        true => text,
        false => format!("what it means:\n{text}"),
    }
}
