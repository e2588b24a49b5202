//! IMAP (RFC 3501, RFC 9051) as servers really speak it.
//!
//! In reading order:
//!
//! 1. `wire` cuts bytes into responses by the rules of `frame`, as long as its `patience` lasts;
//!    `compress` may lie beneath; `parse` reads them into values,
//!    `saying` and `reply` into meaning. None of them fails on what it does not know.
//! 2. `sayings` is the table of refusals and what they mean, `peer` what comes of them; `command` and `names` write what is sent.
//! 3. `tls`, `guard`, `sasl`, `connect`, `setup` get from a host name to a signed-in `session`, with async-imap
//!    driving the dialogue behind the guard; `distance` is measured on the way.
//! 4. `session` runs commands: success is the tagged OK of that command and nothing else.
//! 5. `folder`, `folders`, `look`, `sights` open, list and look; `changes` and `survey` tell what changed
//!    since the cursor of `mark`, in one folder and in many; `source` fetches, `ahead` of being waited for; `destination` and
//!    `append` write.
//! 6. `inspect` looks at an account before anything is copied.
//! 7. `pages` reads folders of which a server shows so much at once and no more.
//! 8. `gmail` shows an account whose folders are labels as folders.

use async_trait::async_trait;
use std::collections::HashMap;
use std::time::Duration;

use self::append::Writer;
use self::gmail::Gmail;
use self::session::Session;
use self::source::Reader;
use super::{
    Account, ContentDigest, Destination, FolderStatus, Inspection, Options, Page, Result, Sighting,
    Source, Takes,
};
use crate::definition;
use crate::model::{FolderName, IdSet, ItemId};

mod ahead;
mod append;
mod changes;
mod command;
mod compress;
mod connect;
mod destination;
mod distance;
mod folder;
mod folders;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gmail;
mod guard;
#[doc(hidden)]
pub mod inner;
mod inspect;
mod look;
mod mark;
mod names;
mod pages;
mod parse;
mod patience;
mod peer;
mod reply;
mod sasl;
mod saying;
mod sayings;
mod session;
mod setup;
mod sights;
mod source;
mod survey;
mod tls;
mod wire;

/// So long a server's farewell is waited for.
const LOGOUT_TIME: Duration = Duration::from_secs(5);

/// Signs in to an account that is only read.
///
/// # Errors
/// Whatever keeps drover from signing in.
pub async fn connect_source(
    account: &definition::Account,
    options: &Options,
) -> Result<Box<dyn Source>> {
    let mode = Reader::new(account, &known(account, options));
    let session = mode.connect().await?;
    let has_labels = session.capabilities.has("X-GM-EXT-1");
    let imap = Imap { session, mode };
    Ok(match account.endpoint.labels {
        labels if has_labels => Box::new(Gmail::new(imap, labels)),
        _ => Box::new(imap),
    })
}

/// Signs in to an account that is written to.
///
/// # Errors
/// Whatever keeps drover from signing in.
pub async fn connect_destination(
    account: &definition::Account,
    options: &Options,
) -> Result<Box<dyn Destination>> {
    let options = known(account, options);
    let session = connect::sign_in(account, &options, false).await?;
    Ok(Box::new(Imap { session, mode: Writer::new(account, &options) }))
}

/// How drover behaves towards this server, as far as more is known of it than it tells.
fn known(account: &definition::Account, options: &Options) -> Options {
    let traits = &account.endpoint.traits;
    let mut options = options.clone();
    options.veto.extend(traits.veto.iter().cloned());
    options.id.extend(traits.id.clone());
    if traits.windows.is_some() {
        options.windows.clone_from(&traits.windows);
    }
    options
}

/// A signed-in connection. `Source` is implemented for one mode and `Destination` for the
/// other, so that what only reads has no method that writes.
#[derive(Debug)]
struct Imap<M> {
    session: Session,
    mode: M,
}

/// What a connection is for.
trait Mode: Send {
    /// Whose it is.
    fn account(&self) -> &definition::Account;
}

#[async_trait]
impl<M: Mode> Account for Imap<M> {
    async fn folders(&mut self) -> Result<Vec<FolderStatus>> {
        self.session.folders().await
    }

    async fn sight(&mut self, folder: &FolderName, ids: &IdSet) -> Result<Vec<Sighting>> {
        self.session.sight(folder, ids).await
    }

    async fn sights(&mut self, wanted: &[(FolderName, IdSet)]) -> Result<Vec<Vec<Sighting>>> {
        self.session.sights(wanted).await
    }

    async fn digest(
        &mut self,
        folder: &FolderName,
        ids: &IdSet,
    ) -> Result<HashMap<ItemId, ContentDigest>> {
        self.session.digest(folder, ids).await
    }

    async fn list_page(&mut self, folder: &FolderName, from: ItemId) -> Result<Page> {
        self.session.list_page(folder, from).await
    }

    async fn inspect(&mut self, takes: Option<Takes<'_>>) -> Result<Inspection> {
        let max_message = self.mode.account().endpoint.traits.max_message;
        self.session.inspect(takes, max_message).await
    }

    fn is_partial(&self, folder: &FolderName) -> bool {
        self.session.partial.contains(folder)
    }

    async fn ping(&mut self) -> Result<()> {
        self.session.exec(command::Command::new("NOOP"), |_| ()).await.map(drop)
    }

    async fn logout(&mut self) {
        if !self.session.ahead.is_empty() {
            // Messages are on their way that nobody waits for.
            return;
        }
        // The server's BYE and end of stream come whatever it thinks of it; if they do not come,
        // nothing is lost.
        let bye = self.session.exec(command::Command::new("LOGOUT"), |_| ());
        let _ = tokio::time::timeout(LOGOUT_TIME, bye).await;
    }
}
