//! Values that the tests of this module share.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::catalog::{Declared, Snapshot};
use crate::definition::{
    Account, Carry, Endpoint, FolderRules, Generation, Login, Mailbox, MaxDelete, Migration,
    MigrationName, Schedule, SecretRef, Selection, SyncRules, Tls,
};
use crate::ledger::PassRecord;
use crate::model::{Accounts, PassKind};
use crate::sync::Report;

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

pub(crate) fn mailbox(user: &str) -> Arc<Mailbox> {
    let account = |host: &str| Account {
        user: format!("{user}@{host}"),
        endpoint: Arc::new(Endpoint {
            platform: "imap".into(),
            host: host.into(),
            port: 993,
            tls: Tls::Implicit,
            ca_file: None,
            connections: 1,
            daily_bytes: None,
            compress: Default::default(),
            traits: Default::default(),
            labels: Default::default(),
        }),
        login: Login::Password(SecretRef::Env(format!("{user}_PASSWORD"))),
    };
    Arc::new(Mailbox {
        migration: MigrationName("acme".into()),
        source: account("old.example"),
        destination: account("new.example"),
        carry: Carry {
            flags: true,
            moves: true,
            deletes: false,
            max_delete: MaxDelete::Percent(5.0),
            rate: None,
        },
        select: Selection::default(),
        folders: FolderRules::default(),
        accept: vec![],
    })
}

pub(crate) fn migration(name: &str, users: &[&str]) -> Migration {
    Migration {
        name: MigrationName(name.into()),
        generation: Generation("g1".into()),
        description: None,
        suspend: false,
        sync: SyncRules {
            schedule: Schedule::Every(Duration::from_secs(900)),
            timezone: Tz::UTC,
            windows: vec![],
            concurrency: 4,
        },
        cutover: None,
        mailboxes: users.iter().map(|user| mailbox(user)).collect(),
    }
}

/// A pass that copied so many messages; quiet if none.
pub(crate) fn report(kind: PassKind, began: DateTime<Utc>, copied: u64) -> Report {
    Report {
        record: PassRecord {
            kind,
            began,
            ended: began + chrono::TimeDelta::seconds(2),
            accounts: Accounts {
                seen: 10 + copied,
                copied,
                already_there: 10,
                ..Accounts::default()
            },
            bytes: copied * 100,
            flag_changes: 0,
            moves: 0,
            removed: 0,
            in_part: 0,
            error: None,
        },
        quiet: copied == 0,
        notes: vec![],
    }
}

/// What a directory with these definitions says.
pub(crate) fn snapshot_of(migrations: &[Migration]) -> Snapshot {
    let declared = |migration: &Migration| Declared {
        migration: Arc::new(migration.clone()),
        file: format!("{}.toml", migration.name.0).into(),
        warnings: vec![],
    };
    Snapshot {
        migrations: migrations.iter().map(|m| (m.name.clone(), declared(m))).collect(),
        known: migrations.iter().map(|m| m.name.clone()).collect(),
        ..Snapshot::default()
    }
}
