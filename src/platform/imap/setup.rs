//! What is asked once, right after signing in, all in one round trip: who we are, what is switched
//! on, how folders are named, and that what follows is to be compressed.

use super::command::{Command, quoted};
use super::names::decode;
use super::reply::{Namespaces, Reply};
use super::session::{Session, Tag};
use crate::platform::{Error, Options, Result};

/// Each folder is compared with each of them.
const MAX_NAMESPACES: usize = 1000;

/// What came of it.
#[derive(Default)]
struct Heard {
    spaces: Option<Namespaces>,
    enabled: bool,
}

impl Heard {
    fn hear(&mut self, reply: Reply) {
        match reply {
            Reply::Namespace(found) => self.spaces = Some(found),
            Reply::Enabled(names) => self.enabled |= names.iter().any(|name| name == "QRESYNC"),
            _ => {}
        }
    }
}

/// Introduces drover, learns how folders are named, and switches QRESYNC on where it is wanted
/// and offered (RFC 5161; RFC 7162, 3.2.3): it is only taken while no folder is open yet.
/// Compression likewise; a server that refuses is gone on with as it is.
pub(super) async fn settle_in(
    session: &mut Session,
    options: &Options,
    wants_qresync: bool,
) -> Result<()> {
    introduce(session, options).await?;
    let has = |name: &str| session.capabilities.has(name);
    let enables = wants_qresync && has("QRESYNC") && has("ENABLE");
    let mut asked: Vec<(&'static str, Tag)> = Vec::new();
    if enables {
        asked.push(("ENABLE", session.send(Command::raw("ENABLE", "ENABLE QRESYNC")).await?));
    }
    if session.capabilities.has("NAMESPACE") {
        asked.push(("NAMESPACE", session.send(Command::new("NAMESPACE")).await?));
    }
    if session.wants_compression && session.capabilities.has("COMPRESS=DEFLATE") {
        // Last: nothing may follow it before it is answered.
        asked.push(("COMPRESS", session.send_compress().await?));
    }
    let mut heard = Heard::default();
    for (verb, tag) in asked {
        tolerant(session.finish(tag, verb, |reply| heard.hear(reply)).await)?;
    }
    session.qresync = enables && heard.enabled;
    find_naming(session, heard.spaces.unwrap_or_default()).await
}

/// Says who we are (RFC 2971); some servers serve only who does. Refusals do no harm.
async fn introduce(session: &mut Session, options: &Options) -> Result<()> {
    if !session.capabilities.has("ID") {
        return Ok(());
    }
    let mut id = b"ID (\"name\" ".to_vec();
    id.extend(quoted(options.name.as_bytes()));
    id.extend(b" \"version\" ");
    id.extend(quoted(options.version.as_bytes()));
    id.extend(b")");
    session.send_unawaited(Command::raw("ID", id)).await
}

/// Learns the separator, and below which prefix folders live (RFC 2342).
async fn find_naming(session: &mut Session, spaces: Namespaces) -> Result<()> {
    if let Some((prefix, separator)) = spaces.personal.into_iter().next() {
        session.naming.prefix = decode(&prefix).into_owned();
        session.naming.separator = separator;
    }
    if spaces.foreign.len() > MAX_NAMESPACES {
        return Err(session.protocol(format!("more than {MAX_NAMESPACES} namespaces")));
    }
    // An empty prefix is no mark of anybody's folders.
    session.foreign =
        spaces.foreign.into_iter().map(|(p, _)| p).filter(|p| !p.is_empty()).collect();
    if session.naming.separator.is_none() {
        let mut separator = None;
        let hear = |reply| {
            if let Reply::List(root) = reply {
                separator = root.separator;
            }
        };
        tolerant(session.exec(Command::raw("LIST", "LIST \"\" \"\""), hear).await)?;
        session.naming.separator = separator;
    }
    Ok(())
}

/// A refusal of something that is merely nice to have.
fn tolerant<T>(outcome: Result<T>) -> Result<()> {
    match outcome {
        Ok(_) | Err(Error::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
