//! From the roster's entries to validated mailboxes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::accept::{self, Accepted};
use super::document::{At, Placed};
use super::endpoint::{Auth, Side, secret_from};
use super::roster::Entry;
use super::schema::SECRET_FORMS;
use super::validate::Rules;
use super::{Account, Login, Mailbox, MigrationName, SecretRef};

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
            account(&entry.source, entry.source_password, rules.source.as_ref(), "source", base);
        let destination = account(
            &entry.destination,
            entry.destination_password,
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
    own: Option<Placed<'_, SecretRef>>,
    side: Option<&Side>,
    name: &'static str,
    base: &Path,
) -> Option<Account> {
    let side = side?;
    let login = match (&side.auth, own) {
        (Auth::Broken, _) => return None,
        (Auth::Password(_), Some(own)) => Login::Password(secret_from(own.value, base)),
        (Auth::Password(Some(shared)), None) => Login::Password(shared.clone()),
        (Auth::Password(None), None) => {
            let message = format!("there is no password for the {name} `{}`", user.value);
            let help = format!(
                "give the mailbox a `{name}_password`, or all of them one in [{name}] auth; \
                 {SECRET_FORMS}"
            );
            user.at.error(message, help);
            return None;
        }
        (Auth::MasterUser { .. }, Some(own)) => {
            let message = format!("`{}` is entered by the master user", user.value);
            own.at.error(message, format!("remove its own {name} password"));
            return None;
        }
        (Auth::MasterUser { user, password }, None) => {
            Login::MasterUser { user: user.clone(), password: password.clone() }
        }
    };
    Some(Account { user: user.value.clone(), endpoint: Arc::clone(&side.endpoint), login })
}
