//! A mailbox's first lane, opened before its pass: a command without a daemon signs in while it
//! opens its ledger, which takes as long.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::definition::{Login, Mailbox};
use crate::flow::Connections;
use crate::ledger::MailboxKey;
use crate::platform::Options;

use super::lane::Promised;

/// One that nobody took for so long is given up: the server may have hung up.
const LASTS: Duration = Duration::from_secs(10);

/// One lane at most, until the pass that it is for takes it. Clones share it.
#[derive(Clone, Default)]
pub struct Early(Arc<Mutex<Option<Begun>>>);

struct Begun {
    mailbox: MailboxKey,
    since: Instant,
    lane: Promised,
}

impl Early {
    /// Begins to sign in to both sides. Where that takes a token nothing is begun: the ledger keeps
    /// what tokens are asked for with.
    pub fn open(connections: &Connections, options: &Options, mailbox: &Arc<Mailbox>) -> Self {
        let needs_token = |login: &Login| match login {
            Login::Token(_) => true,
            Login::Password(_) | Login::MasterUser { .. } => false,
        };
        if [&mailbox.source, &mailbox.destination].iter().any(|side| needs_token(&side.login)) {
            return Self::default();
        }
        let lane = Promised::first(connections, options, mailbox);
        let begun = Begun { mailbox: MailboxKey::of(mailbox), since: Instant::now(), lane };
        Self(Arc::new(Mutex::new(Some(begun))))
    }

    /// The lane, if it is this mailbox's; what came of it is what comes of the pass's first lane.
    pub(crate) fn take(&self, mailbox: &Mailbox) -> Option<Promised> {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = begun.take_if(|begun| begun.mailbox == MailboxKey::of(mailbox))?;
        (begun.since.elapsed() < LASTS).then_some(begun.lane)
    }
}
