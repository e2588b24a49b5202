//! From nothing to a signed-in [`Session`]: TCP, TLS, greeting, SASL, what the server can do.

use std::future::Future;

use async_imap::Client;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::command::{Command, quoted};
use super::guard::{Guard, Heard};
use super::names::{base64, decode};
use super::peer::Peer;
use super::reply::{Reply, code_words};
use super::saying::{Saying, Status};
use super::sayings::During;
use super::session::{Capabilities, Session};
use super::tls;
use super::wire::{Stream, Wire};
use crate::auth;
use crate::definition::{Account, Login, Tls};
use crate::platform::{Error, Options, Result};

/// Connects and signs in, unless the server asked to be left alone.
///
/// A secret that has run out is read anew, and what it is now is tried once: tokens are renewed
/// behind our back. The same one is not offered twice.
pub(super) async fn sign_in(account: &Account, options: &Options) -> Result<Session> {
    let peer = Peer::new(account, options);
    if let Some(parked) = peer.is_parked() {
        return Err(parked);
    }
    let secret = match &account.login {
        Login::Password(secret) | Login::MasterUser { password: secret, .. } => secret,
    };
    // Before the connection: servers do not wait for a password manager.
    let password = auth::resolve(secret).await?;
    // Boxed: it is large, and held twice.
    let mut outcome = Box::pin(sign_in_with(account, options, &peer, &password)).await;
    if let Err(Error::Expired { .. }) = &outcome {
        let fresh = auth::resolve(secret).await?;
        if fresh.expose_secret() != password.expose_secret() {
            outcome = Box::pin(sign_in_with(account, options, &peer, &fresh)).await;
        }
    }
    match outcome {
        Err(Error::Expired { host, user, text }) => Err(Error::Credentials { host, user, text }),
        outcome => outcome,
    }
}

async fn sign_in_with(
    account: &Account,
    options: &Options,
    peer: &Peer,
    password: &SecretString,
) -> Result<Session> {
    let stream = reach(account, options).await?;
    let mut door = Door {
        guard: Guard::new(Wire::new(stream, &account.endpoint.host, options.idle)),
        account,
        options,
        peer,
        capabilities: None,
    };
    let greeting = door.greet().await?;
    if account.endpoint.tls == Tls::Starttls {
        // A server that signed us in already takes no STARTTLS any more (RFC 9051, 7.1.4).
        if greeting.status == Status::Preauth {
            return Err(door.tls_error("the server greets with PREAUTH before STARTTLS"));
        }
        door = door.start_tls().await?;
    }
    if greeting.status != Status::Preauth {
        door.authenticate(password.expose_secret()).await?;
    }
    let capabilities = door.capabilities().await?;
    let mut session = Session::new(door.guard.into_wire(), peer.clone(), capabilities);
    introduce(&mut session, options).await?;
    find_naming(&mut session).await?;
    Ok(session)
}

async fn reach(account: &Account, options: &Options) -> Result<Box<dyn Stream>> {
    let endpoint = &account.endpoint;
    let address = (endpoint.host.as_str(), endpoint.port);
    let unreachable =
        |cause| Error::Unreachable { host: endpoint.host.clone(), port: endpoint.port, cause };
    let stream = match timeout(options.idle, TcpStream::connect(address)).await {
        Ok(stream) => stream.map_err(unreachable)?,
        Err(_) => return Err(unreachable(std::io::ErrorKind::TimedOut.into())),
    };
    // Commands are written whole; waiting for more to send only costs round trips.
    stream.set_nodelay(true).map_err(unreachable)?;
    let stream: Box<dyn Stream> = Box::new(stream);
    match endpoint.tls {
        Tls::Implicit => tls::wrap(stream, endpoint, options).await,
        Tls::Starttls | Tls::None => Ok(stream),
    }
}

/// A connection on the way to being signed in.
struct Door<'a> {
    guard: Guard,
    account: &'a Account,
    options: &'a Options,
    peer: &'a Peer,
    /// What the server offers in its present state, once it said so.
    capabilities: Option<Capabilities>,
}

impl Door<'_> {
    async fn greet(&mut self) -> Result<Saying> {
        let mut client = Client::new(&mut self.guard);
        let greeting = timeout(self.options.idle, client.read_response()).await;
        drop(client);
        let silent = greeting.is_err();
        let greeting = self.ended(silent)?;
        match greeting.status {
            Status::Ok | Status::Preauth => Ok(greeting),
            _ => Err(self.closed(&greeting)),
        }
    }

    async fn start_tls(mut self) -> Result<Self> {
        let Self { account, options, peer, .. } = self;
        if !self.capabilities().await?.has("STARTTLS") {
            return Err(self.tls_error("the server does not offer STARTTLS"));
        }
        self.command("STARTTLS").await?;
        // What came after the OK came unprotected, from whoever wants it taken for the server's.
        let injected = self.tls_error("the server sent something between STARTTLS and TLS");
        let Some(stream) = self.guard.into_wire().into_stream() else { return Err(injected) };
        let stream = tls::wrap(stream, &account.endpoint, options).await?;
        let wire = Wire::new(stream, &account.endpoint.host, options.idle);
        // What was offered before TLS counts for nothing.
        Ok(Self { guard: Guard::secured(wire), account, options, peer, capabilities: None })
    }

    async fn authenticate(&mut self, password: &str) -> Result<()> {
        let offered = self.capabilities().await?;
        let user = self.account.user.as_str();
        // SASL PLAIN (RFC 4616): whom to act for, who one is, the password.
        let plain = match &self.account.login {
            Login::Password(_) => format!("\0{user}\0{password}"),
            Login::MasterUser { user: master, .. } => format!("{user}\0{master}\0{password}"),
        };
        // Kept for the state before signing in only.
        self.capabilities = None;
        let idle = self.options.idle;
        if offered.has("AUTH=PLAIN") {
            let mechanism = if offered.has("SASL-IR") {
                format!("PLAIN {}", base64(plain.as_bytes()))
            } else {
                "PLAIN".into()
            };
            let client = Client::new(&mut self.guard);
            let silent = timed_out(idle, client.authenticate(mechanism, Plain(plain))).await;
            return self.finish("AUTHENTICATE", silent).map(drop);
        }
        if matches!(self.account.login, Login::MasterUser { .. }) {
            return Err(self.forbidden("a master user needs AUTH=PLAIN, which it does not offer"));
        }
        if offered.has("LOGINDISABLED") {
            return Err(self.forbidden("it offers neither LOGIN nor AUTH=PLAIN"));
        }
        let client = Client::new(&mut self.guard);
        let silent = timed_out(idle, client.login(user, password)).await;
        self.finish("LOGIN", silent).map(drop)
    }

    /// What the server offers now; asked for unless it said so by itself.
    async fn capabilities(&mut self) -> Result<Capabilities> {
        if self.capabilities.is_none() {
            self.command("CAPABILITY").await?;
        }
        Ok(self.capabilities.clone().unwrap_or_default())
    }

    async fn command(&mut self, verb: &'static str) -> Result<Saying> {
        let mut client = Client::new(&mut self.guard);
        let silent =
            timed_out(self.options.idle, client.run_command_and_check_ok(verb, None)).await;
        drop(client);
        self.finish(verb, silent)
    }

    /// The end of a command: the server's word decides, not async-imap's.
    fn finish(&mut self, verb: &'static str, silent: bool) -> Result<Saying> {
        let saying = self.ended(silent)?;
        if saying.status == Status::Ok {
            return Ok(saying);
        }
        Err(self.peer.error(verb, &saying, super::command::during(verb)))
    }

    /// Takes what was heard since the last command.
    fn ended(&mut self, silent: bool) -> Result<Saying> {
        let Heard { end, last_words, data } = self.guard.heard();
        let in_code = end.as_ref().and_then(|saying| saying.code("CAPABILITY")).map(code_words);
        let in_data = data.into_iter().filter_map(|reply| match reply {
            Reply::Capability(offered) => Some(offered),
            _ => None,
        });
        if let Some(offered) = in_code.or(in_data.last()) {
            self.capabilities = Some(Capabilities::new(offered, &self.options.veto));
        }
        match (end, last_words) {
            (Some(end), _) => Ok(end),
            (None, Some(bye)) => Err(self.closed(&bye)),
            (None, None) if silent => Err(self.guard.wire().silent()),
            (None, None) => Err(self.guard.wire().broken("the server closed it".into())),
        }
    }

    /// A BYE.
    fn closed(&self, bye: &Saying) -> Error {
        self.peer.farewell(bye, During::SignIn)
    }

    fn tls_error(&self, cause: &str) -> Error {
        Error::Tls { host: self.account.endpoint.host.clone(), cause: cause.into() }
    }

    fn forbidden(&self, text: &str) -> Error {
        let host = self.account.endpoint.host.clone();
        Error::Forbidden { host, user: self.account.user.clone(), text: text.into() }
    }
}

/// Runs a step of async-imap. Its own verdict is of no use: the guard has heard the server's.
async fn timed_out(idle: std::time::Duration, step: impl Future) -> bool {
    timeout(idle, step).await.is_err()
}

/// Answers the server's empty challenge; a second one has no better answer.
struct Plain(String);

impl async_imap::Authenticator for Plain {
    type Response = String;

    fn process(&mut self, _: &[u8]) -> String {
        self.0.clone()
    }
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
async fn find_naming(session: &mut Session) -> Result<()> {
    let mut spaces = None;
    if session.capabilities.has("NAMESPACE") {
        let hear = |reply| {
            if let Reply::Namespace(found) = reply {
                spaces = Some(found);
            }
        };
        tolerant(session.exec(Command::new("NAMESPACE"), hear).await)?;
    }
    let spaces = spaces.unwrap_or_default();
    if let Some((prefix, separator)) = spaces.personal.into_iter().next() {
        session.naming.prefix = decode(&prefix).into_owned();
        session.naming.separator = separator;
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
