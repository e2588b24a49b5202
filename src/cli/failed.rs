//! `drover failed`: what could not be brought over, and why.

use super::backend::Backend;
use super::exit::{self, Exit};
use super::human::{counted, size, tame};
use super::output::{self, Format, right};
use crate::control::Request;
use crate::daemon::FailedMessage;
use crate::ledger::Verdict;

/// Lists, and with `retry` lets the next pass try all of them again.
pub(super) async fn failed(
    backend: &Backend,
    name: String,
    retry: bool,
    format: Format,
) -> anyhow::Result<Exit> {
    let request = Request::Failed { name, retry };
    let messages: Vec<FailedMessage> = backend.ask(request, |_| {}).await?;
    match format {
        Format::Json => output::print_json(&messages)?,
        Format::Table => output::print(&render(&messages, retry))?,
    }
    Ok(exit::OK)
}

fn render(messages: &[FailedMessage], retry: bool) -> String {
    if messages.is_empty() {
        return "every message was brought over".into();
    }
    let heads = ["MAILBOX", "FOLDER", "UID", "SIZE", "TRIED", "THEN", "MESSAGE-ID", "REASON"];
    let mut table = output::table(&heads);
    for message in messages {
        let then = match message.verdict {
            Verdict::Failed => "tried again",
            Verdict::Skipped => "skipped",
            Verdict::Repaired => "brought over with a change",
        };
        let id = message.message_id.as_deref().map(|id| format!("<{}>", tame(id)));
        table.add_row([
            message.mailbox.as_str().into(),
            tame(&message.folder).into(),
            right(message.uid),
            right(size(message.size)),
            right(format!("{}×", message.attempts)),
            then.into(),
            id.unwrap_or_default().into(),
            tame(&message.reason).into(),
        ]);
    }
    let n = counted(messages.len() as u64, "message");
    let then = if retry { "the next pass tries all of them again" } else { "" };
    let n_skipped = messages.iter().filter(|one| one.verdict == Verdict::Skipped).count();
    let hint = match n_skipped {
        0 => "",
        _ => "skipped ones are tried again with --retry",
    };
    let end = [then, hint].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    let separator = if end.is_empty() { "" } else { ": " };
    format!("{}{n}{separator}{end}", output::text(&mut table))
}
