//! From the roster's entries to validated mailboxes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::accept::{self, Accepted};
use super::auth::{self, Own};
use super::document::{At, Placed};
use super::endpoint::Side;
use super::roster::Entry;
use super::validate::Rules;
use super::{Account, Mailbox, MigrationName};

/// Checks the entries against each other and against the endpoints. Only complete mailboxes are
/// in the result; whatever keeps one out of it is reported.
pub(super) fn validate(
    entries: Vec<Entry<'_>>,
    migration: &MigrationName,
    rules: &Rules,
    base: &Path,
    accepted: Vec<Accepted<'_>>,
) -> Vec<Arc<Mailbox>> {
    let sources: Vec<&str> = entries.iter().map(|entry| entry.source.value.as_str()).collect();
    let accepted = accept::validate(accepted, &sources);
    report_twins(entries.iter().map(|entry| &entry.source), "source");
    report_twins(entries.iter().map(|entry| &entry.destination), "destination");
    let mut mailboxes = Vec::with_capacity(entries.len());
    for entry in entries {
        let at = entry.destination.at.clone();
        let source =
            account(&entry.source, entry.source_own, rules.source.as_ref(), "source", base);
        let destination = account(
            &entry.destination,
            entry.destination_own,
            rules.destination.as_ref(),
            "destination",
            base,
        );
        let (Some(source), Some(destination)) = (source, destination) else { continue };
        if source.same_as_key() == destination.same_as_key() {
            let message = format!("`{}` would be copied to itself", source.user);
            at.error(message, "source and destination are the same account on the same server");
            continue;
        }
        mailboxes.push(Arc::new(Mailbox {
            migration: migration.clone(),
            source,
            destination,
            carry: rules.carry.clone(),
            select: rules.select.clone(),
            folders: rules.folders.clone(),
            accept: accept::of(&accepted, &entry.source.value),
        }));
    }
    mailboxes
}

fn report_twins<'e, 'd: 'e>(
    accounts: impl Iterator<Item = &'e Placed<'d, String>>,
    side: &'static str,
) {
    let mut seen: HashMap<String, &At<'_>> = HashMap::new();
    for account in accounts {
        if let Some(first) = seen.get(&account.value.to_lowercase()) {
            let message = format!("the {side} `{}` is in the roster twice", account.value);
            account.at.error(message, format!("it stands at {first} already; remove one"));
        } else {
            seen.insert(account.value.to_lowercase(), &account.at);
        }
    }
}

fn account(
    user: &Placed<'_, String>,
    own: Own<'_>,
    side: Option<&Side>,
    name: &'static str,
    base: &Path,
) -> Option<Account> {
    let side = side?;
    let login = auth::login(&side.auth, own, user, name, base)?;
    Some(Account { user: user.value.clone(), endpoint: Arc::clone(&side.endpoint), login })
}
