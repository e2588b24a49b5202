//! What is wrong between definitions that are each good alone.

use std::collections::{BTreeMap, HashMap};

use super::{Account, Diagnostic, Mailbox, Migration};

/// How many accounts a message names.
const NAMED: usize = 3;

/// The same source account, or the same destination account, in two migrations: two passes
/// would write over each other. Every pair is reported for both of its files
/// (`<name>.toml`), each naming the other.
pub fn conflicts(migrations: &[&Migration]) -> Vec<Diagnostic> {
    let mut diagnostics = between(migrations, "source", |mailbox| &mailbox.source);
    diagnostics.extend(between(migrations, "destination", |mailbox| &mailbox.destination));
    diagnostics.sort_by(|a, b| a.file.cmp(&b.file));
    diagnostics
}

fn between(
    migrations: &[&Migration],
    side: &str,
    account: impl Fn(&Mailbox) -> &Account,
) -> Vec<Diagnostic> {
    let mut owners: HashMap<String, usize> = HashMap::new();
    // By pair of migrations, so that two equal rosters give two messages, not thousands.
    let mut shared: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    for (n, migration) in migrations.iter().enumerate() {
        for account in migration.mailboxes.iter().map(|mailbox| account(mailbox)) {
            let owner = *owners.entry(account.same_as_key()).or_insert(n);
            if owner != n {
                shared.entry((owner, n)).or_default().push(&account.user);
            }
        }
    }
    let mut diagnostics = Vec::new();
    for ((a, b), users) in shared {
        let mut named = users.iter().take(NAMED).map(|u| format!("`{u}`")).collect::<Vec<_>>();
        if users.len() > NAMED {
            named.push(format!("and {} more", users.len() - NAMED));
        }
        let (a, b) = (file_of(migrations[a]), file_of(migrations[b]));
        for (file, other) in [(&a, &b), (&b, &a)] {
            let message = format!("also a {side} of {other}: {}", named.join(", "));
            let help = "a mailbox belongs to one migration; remove it from the other";
            diagnostics.push(Diagnostic::about_file(file, message, help));
        }
    }
    diagnostics
}

fn file_of(migration: &Migration) -> String {
    format!("{}.toml", migration.name.0)
}
