//! `drover failed`: what could not be brought over, and why.

use super::backend::Backend;
use super::exit::{self, Exit};
use super::human::{counted, size, tame};
use super::output::{self, Format, right};
use super::waiting::Waiting;
use crate::control::Request;
use crate::daemon::{FailedMessage, Failures, Fate};

/// Lists; with `retry` tries them again first.
pub(super) async fn failed(
    backend: &Backend,
    name: String,
    retry: bool,
    format: Format,
) -> anyhow::Result<Exit> {
    let waiting = retry.then(|| Waiting::new("trying again"));
    let request = Request::Failed { name, retry };
    let failures: Failures = backend.ask(request, |_| {}).await?;
    drop(waiting);
    match format {
        Format::Json => {
            output::print_json(&failures.messages)?;
            eprint!("{}", notes(&failures));
        }
        Format::Table => output::print(&(render(&failures, retry) + &notes(&failures)))?,
    }
    let is_lost = failures.messages.iter().any(|message| message.verdict.is_lost());
    Ok(match retry {
        false => exit::OK,
        true if !failures.errors.is_empty() && all_failed(&failures) => exit::ERROR,
        true if !failures.errors.is_empty() || is_lost => exit::SOME_FAILED,
        true => exit::OK,
    })
}

/// Could no mailbox be tried again?
fn all_failed(failures: &Failures) -> bool {
    let was_tried = |message: &FailedMessage| !failures.errors.contains_key(&message.mailbox);
    !failures.messages.iter().any(was_tried)
}

/// What follows from a message's fate, in a word or two.
fn then(fate: Fate) -> &'static str {
    match fate {
        Fate::Failed => "tried again",
        Fate::Skipped => "skipped",
        Fate::Accepted => "accepted",
        Fate::Repaired => "brought over with a change",
        Fate::Arrived => "arrived",
        Fate::Gone => "gone at the source",
    }
}

fn render(failures: &Failures, retry: bool) -> String {
    let messages = &failures.messages;
    if messages.is_empty() {
        return "every message was brought over\n".into();
    }
    let heads = ["MAILBOX", "FOLDER", "UID", "SIZE", "TRIED", "THEN", "MESSAGE-ID", "REASON"];
    let mut table = output::table(&heads);
    for message in messages {
        let id = message.message_id.as_deref().map(|id| format!("<{}>", tame(id)));
        let reason = match &message.accepted {
            Some(accepted) => format!("{} (accepted: {accepted})", message.reason),
            None => message.reason.clone(),
        };
        table.add_row([
            tame(&message.mailbox).into(),
            tame(&message.folder).into(),
            right(message.uid),
            right(size(message.size)),
            right(format!("{}×", message.attempts)),
            then(message.verdict).into(),
            id.unwrap_or_default().into(),
            tame(&reason).into(),
        ]);
    }
    let n_of = |fate| messages.iter().filter(|one| one.verdict == fate).count() as u64;
    let all = counted(messages.len() as u64, "message");
    let end = match (retry, n_of(Fate::Skipped)) {
        (true, _) => format!("{all}: {} arrived", n_of(Fate::Arrived)),
        (false, 0) => all,
        (false, _) => format!("{all}: skipped ones are tried again with --retry"),
    };
    format!("{}{end}\n", output::text(&mut table))
}

/// What an operator should know besides.
fn notes(failures: &Failures) -> String {
    let mut text = String::new();
    for (mailbox, failed) in &failures.errors {
        text += &format!("{}: {}: {}\n", tame(mailbox), failed.reason, tame(&failed.message));
        if !failed.remedy.is_empty() {
            text += &format!("  do: {}\n", tame(&failed.remedy));
        }
    }
    for one in &failures.unmatched {
        let (of, message) = (tame(&one.of), tame(&one.message));
        text += &format!("note: {of}: `accept` names {message}, which has not failed\n");
    }
    text
}
