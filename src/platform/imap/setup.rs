//! What is asked once, right after signing in: who we are, what is switched on, how folders are
//! named, and that what follows is to be compressed. Nobody waits for it until it matters, except
//! for the last: the first real command is already on its way.

use super::command::{Command, quoted};
use super::names::decode;
use super::reply::{Namespaces, Reply};
use super::session::Session;
use crate::platform::{Error, Options, Result};

/// Each folder is compared with each of them.
const MAX_NAMESPACES: usize = 1000;

/// Introduces drover, asks how folders are named, and switches QRESYNC on where it is wanted and
/// offered (RFC 5161; RFC 7162, 3.2.3): it is only taken while no folder is open yet. UIDONLY (RFC
/// 9586) wherever folders can be read by pages: without it some servers hide what is old.
/// [`Session::settle`] waits for the answers.
pub(super) async fn begin(
    session: &mut Session,
    options: &Options,
    wants_qresync: bool,
) -> Result<()> {
    introduce(session, options).await?;
    let has = |name: &str| session.capabilities.has(name);
    let enables = wants_qresync && has("QRESYNC") && has("ENABLE");
    if enables {
        let enable = session.send(Command::raw("ENABLE", "ENABLE QRESYNC")).await?;
        session.setup.push(enable);
    }
    session.windows.clone_from(&options.windows);
    if session.wants_uid_only() {
        let enable = session.send(Command::raw("ENABLE", "ENABLE UIDONLY")).await?;
        session.setup.push(enable);
    }
    if session.capabilities.has("NAMESPACE") {
        let namespace = session.send(Command::new("NAMESPACE")).await?;
        session.setup.push(namespace);
    }
    if session.wants_compression && session.capabilities.has("COMPRESS=DEFLATE") {
        // Last: nothing may follow it before it is answered. A server that refuses is gone on
        // with as it is.
        let compress = session.send_compress().await?;
        session.setup.push(compress);
        return session.settle().await;
    }
    session.flush().await
}

/// Says who we are (RFC 2971); some servers serve only who does, even if they do not offer to be
/// told. Refusals do no harm.
async fn introduce(session: &mut Session, options: &Options) -> Result<()> {
    if !session.capabilities.has("ID") && options.id.is_empty() {
        return Ok(());
    }
    let mut id = b"ID (\"name\" ".to_vec();
    id.extend(quoted(options.name.as_bytes()));
    id.extend(b" \"version\" ");
    id.extend(quoted(options.version.as_bytes()));
    for (name, value) in &options.id {
        id.push(b' ');
        id.extend(quoted(name.as_bytes()));
        id.push(b' ');
        id.extend(quoted(value.as_bytes()));
    }
    id.extend(b")");
    session.send_unawaited(Command::raw("ID", id)).await
}

impl Session {
    /// Takes what tells of the server itself; gives back what does not.
    pub(super) fn note_setup(&mut self, reply: Reply) -> Result<Option<Reply>> {
        // Unasked, it would change what folders are called.
        if self.setup.is_empty() {
            return Ok(Some(reply));
        }
        match reply {
            Reply::Namespace(spaces) => self.note_naming(spaces)?,
            Reply::Enabled(names) => {
                self.qresync |= names.iter().any(|name| name == "QRESYNC");
                self.uid_only |= names.iter().any(|name| name == "UIDONLY");
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    /// The separator, and below which prefix folders live (RFC 2342).
    fn note_naming(&mut self, spaces: Namespaces) -> Result<()> {
        if let Some((prefix, separator)) = spaces.personal.into_iter().next() {
            self.naming.prefix = decode(&prefix).into_owned();
            self.naming.separator = separator;
        }
        if spaces.foreign.len() > MAX_NAMESPACES {
            return Err(self.protocol(format!("more than {MAX_NAMESPACES} namespaces")));
        }
        // An empty prefix is no mark of anybody's folders.
        self.foreign =
            spaces.foreign.into_iter().map(|(p, _)| p).filter(|p| !p.is_empty()).collect();
        Ok(())
    }

    /// Waits until what was asked of the server itself is answered. A refusal does no harm, unless
    /// it is one of everything.
    pub(super) async fn settle(&mut self) -> Result<()> {
        while let Some(&tag) = self.setup.first() {
            let end = self.end_of(tag, |_| ()).await?;
            if self.peer.is_closed_by(&end) {
                return Err(self.error("NAMESPACE", &end));
            }
            self.setup.remove(0);
        }
        Ok(())
    }

    /// Makes sure that it is known how folders are named.
    pub(super) async fn settle_naming(&mut self) -> Result<()> {
        self.settle().await?;
        if !self.is_named && self.naming.separator.is_none() {
            let mut separator = None;
            let hear = |reply| {
                if let Reply::List(root) = reply {
                    separator = root.separator;
                }
            };
            tolerant(self.exec(Command::raw("LIST", "LIST \"\" \"\""), hear).await)?;
            self.naming.separator = separator;
        }
        self.is_named = true;
        Ok(())
    }
}

/// A refusal of something that is merely nice to have.
fn tolerant<T>(outcome: Result<T>) -> Result<()> {
    match outcome {
        Ok(_) | Err(Error::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
