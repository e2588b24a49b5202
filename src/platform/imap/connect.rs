//! From nothing to a signed-in [`Session`]: TCP, TLS, greeting, SASL, what the server can do, and `setup`.

use std::future::Future;
use std::time::Duration;

use async_imap::Client;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::distance::Distance;
use super::guard::{Guard, Heard};
use super::names::base64;
use super::peer::Peer;
use super::reply::code_words;
use super::sasl::{Credential, Dialogue, Mechanism};
use super::saying::{Saying, Status};
use super::sayings::During;
use super::session::{Capabilities, Session};
use super::wire::{Stream, Wire};
use super::{setup, tls};
use crate::definition::{Account, Compress, Endpoint, Login, MasterForm, Tls};
use crate::platform::{Error, Options, Result};

/// Connects and signs in, unless the server asked to be left alone.
///
/// A secret that has run out is read anew, and what it is now is tried once: tokens are renewed
/// behind our back. The same one is not offered twice. A token that is refused is asked for anew,
/// once.
///
/// QRESYNC is switched on where `wants_qresync` and the server has it.
pub(super) async fn sign_in(
    account: &Account,
    options: &Options,
    wants_qresync: bool,
) -> Result<Session> {
    let peer = Peer::new(account, options);
    if let Some(parked) = peer.is_parked() {
        return Err(parked);
    }
    // Before the connection: servers do not wait for a password manager.
    let credential = Credential::of(account, options).await?;
    // Boxed: it is large, and held twice.
    let mut outcome = Box::pin(sign_in_with(account, options, &peer, &credential)).await;
    if let Err(error) = &outcome
        && let Some(fresh) = credential.renewed(account, options, error).await?
    {
        outcome = Box::pin(sign_in_with(account, options, &peer, &fresh)).await;
    }
    match outcome {
        Err(Error::Expired { host, user, text }) => {
            Err(Error::Credentials { host, user, text, remedy: String::new() })
        }
        Err(error) => Err(error),
        Ok(mut session) => {
            Box::pin(setup::begin(&mut session, options, wants_qresync)).await?;
            Ok(session)
        }
    }
}

async fn sign_in_with(
    account: &Account,
    options: &Options,
    peer: &Peer,
    credential: &Credential,
) -> Result<Session> {
    let (stream, distance) = reach(account, options).await?;
    let mut door = Door {
        guard: Guard::new(Wire::new(stream, &account.endpoint.host, options)),
        account,
        options,
        secrets: Vec::new(),
        peer,
        capabilities: None,
        distance,
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
        door.authenticate(credential).await?;
    }
    let capabilities = door.capabilities().await?;
    let mut session = Session::new(door.guard.into_wire(), peer.clone(), capabilities);
    session.distance = door.distance;
    session.wants_compression = match account.endpoint.compress {
        Compress::Auto => session.distance.is_far(),
        Compress::Always => true,
        Compress::Never => false,
    };
    Ok(session)
}

async fn reach(account: &Account, options: &Options) -> Result<(Box<dyn Stream>, Distance)> {
    let endpoint = &account.endpoint;
    let address = (endpoint.host.as_str(), endpoint.port);
    let unreachable =
        |cause| Error::Unreachable { host: endpoint.host.clone(), port: endpoint.port, cause };
    let mut distance = Distance::default();
    let asked = Instant::now();
    let stream = match timeout(options.idle, TcpStream::connect(address)).await {
        Ok(stream) => stream.map_err(unreachable)?,
        Err(_) => return Err(unreachable(std::io::ErrorKind::TimedOut.into())),
    };
    if !stream.peer_addr().is_ok_and(|address| address.ip().is_loopback()) {
        // A tunnel's near end accepts at once, however far the other one is.
        distance.answered_in(asked.elapsed());
    }
    // Commands are written whole; waiting for more to send only costs round trips.
    stream.set_nodelay(true).map_err(unreachable)?;
    let stream: Box<dyn Stream> = Box::new(stream);
    match endpoint.tls {
        Tls::Implicit => {
            let asked = Instant::now();
            let stream = tls::wrap(stream, endpoint, options).await?;
            distance.answered_in(asked.elapsed());
            Ok((stream, distance))
        }
        Tls::Starttls | Tls::None => Ok((stream, distance)),
    }
}

/// A connection on the way to being signed in.
struct Door<'a> {
    guard: Guard,
    account: &'a Account,
    options: &'a Options,
    /// The forms in which secrets were sent: a server may repeat them in its refusal.
    secrets: Vec<SecretString>,
    peer: &'a Peer,
    /// What the server offers in its present state, once it said so.
    capabilities: Option<Capabilities>,
    /// As measured so far.
    distance: Distance,
}

impl Door<'_> {
    async fn greet(&mut self) -> Result<Saying> {
        let mut client = Client::new(&mut self.guard);
        let waited = waited(self.options.idle, client.read_response()).await;
        drop(client);
        let greeting = self.ended(waited)?;
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
        let distance = self.distance;
        // What came after the OK came unprotected, from whoever wants it taken for the server's.
        let injected = self.tls_error("the server sent something between STARTTLS and TLS");
        let Some(stream) = self.guard.into_wire().into_stream() else { return Err(injected) };
        let stream = tls::wrap(stream, &account.endpoint, options).await?;
        let wire = Wire::new(stream, &account.endpoint.host, options);
        // What was offered before TLS counts for nothing.
        let guard = Guard::secured(wire);
        let (secrets, capabilities) = (Vec::new(), None);
        Ok(Self { guard, account, options, secrets, peer, capabilities, distance })
    }

    async fn authenticate(&mut self, credential: &Credential) -> Result<()> {
        let offered = self.capabilities().await?;
        let mechanism = match credential {
            Credential::Token(_) => Mechanism::for_token(&offered),
            Credential::Password(_) => Some(Mechanism::Plain).filter(|_| offered.has("AUTH=PLAIN")),
        };
        // Kept for the state before signing in only.
        self.capabilities = None;
        let turn = match &self.account.login {
            Login::MasterUser { user, .. } => {
                let Endpoint { host, port, .. } = &*self.account.endpoint;
                let (server, whom) = (format!("{host}:{port}"), self.peer.user());
                let masters = &self.options.masters;
                Some(masters.turn(&server, user, credential.expose(), whom).await?)
            }
            Login::Password(_) | Login::Token(_) => None,
        };
        let outcome = match mechanism {
            Some(mechanism) => self.converse(mechanism, credential, &offered).await,
            None => self.login(credential, &offered).await,
        };
        if let Some(turn) = turn {
            turn.ended(&outcome);
        }
        outcome
    }

    async fn converse(
        &mut self,
        mechanism: Mechanism,
        credential: &Credential,
        offered: &Capabilities,
    ) -> Result<()> {
        let first = mechanism.first(self.account, credential.expose());
        self.secrets = vec![credential.expose().into(), base64(first.as_bytes()).into()];
        let mut failure = None;
        let (argument, dialogue) = Dialogue::begin(mechanism, first, offered, &mut failure);
        let client = Client::new(&mut self.guard);
        let waited = waited(self.options.idle, client.authenticate(argument, dialogue)).await;
        let outcome = self.finish("AUTHENTICATE", waited);
        // The server's NO says less than the challenge before it.
        match (outcome, failure) {
            (Err(Error::Credentials { host, user, text, remedy }), Some(why)) => {
                let text = format!("{text} ({})", self.without_secrets(&why));
                Err(Error::Credentials { host, user, text, remedy })
            }
            (outcome, _) => outcome.map(drop),
        }
    }

    async fn login(&mut self, credential: &Credential, offered: &Capabilities) -> Result<()> {
        match self.account.login {
            Login::Token(_) => {
                let text =
                    "a token needs AUTH=XOAUTH2 or AUTH=OAUTHBEARER, which it does not offer";
                return Err(
                    self.forbidden(text, "check `host` and `port`, or use another `method`")
                );
            }
            Login::MasterUser { form: MasterForm::Authzid, .. } => {
                let text = "a master user needs AUTH=PLAIN, which it does not offer";
                let remedy = "switch PLAIN on at the server, or write `form` in `auth`";
                return Err(self.forbidden(text, remedy));
            }
            Login::MasterUser { .. } | Login::Password(_) => {}
        }
        if offered.has("LOGINDISABLED") {
            let text = "it offers neither LOGIN nor AUTH=PLAIN";
            return Err(self.forbidden(text, "use another `method`, or TLS if `tls` is \"none\""));
        }
        let (user, password) = (self.account.names().who, credential.expose());
        let plain = Mechanism::Plain.first(self.account, password);
        self.secrets = vec![password.into(), base64(plain.as_bytes()).into()];
        let client = Client::new(&mut self.guard);
        let waited = waited(self.options.idle, client.login(&user, password)).await;
        self.finish("LOGIN", waited).map(drop)
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
        let waited = waited(self.options.idle, client.run_command_and_check_ok(verb, None)).await;
        drop(client);
        self.finish(verb, waited)
    }

    /// The end of a command: the server's word decides, not async-imap's.
    fn finish(&mut self, verb: &'static str, waited: Waited) -> Result<Saying> {
        let saying = self.ended(waited)?;
        if saying.status == Status::Ok {
            return Ok(saying);
        }
        Err(self.peer.error(verb, &saying, super::command::during(verb)))
    }

    /// Takes what was heard since the last command.
    fn ended(&mut self, waited: Waited) -> Result<Saying> {
        self.distance.answered_in(waited.time);
        let Heard { end, last_words, capabilities, fault, .. } = self.guard.heard();
        if let Some(fault) = fault {
            return Err(fault);
        }
        let in_code = end.as_ref().and_then(|saying| saying.code("CAPABILITY")).map(code_words);
        if let Some(offered) = in_code.or(capabilities) {
            self.capabilities = Some(Capabilities::new(offered, &self.options.veto));
        }
        let (end, last_words) =
            (end.map(|s| self.redacted(s)), last_words.map(|s| self.redacted(s)));
        match (end, last_words) {
            (Some(end), _) => Ok(end),
            (None, Some(bye)) => Err(self.closed(&bye)),
            (None, None) if waited.in_vain => Err(self.guard.wire().silent()),
            (None, None) => Err(self.guard.wire().broken("the server closed it".into())),
        }
    }

    /// Without what was sent in confidence: these words are shown to people.
    fn redacted(&self, mut saying: Saying) -> Saying {
        let arguments = saying.code.iter_mut().map(|(_, arguments)| arguments);
        for text in arguments.chain([&mut saying.text]) {
            *text = self.without_secrets(text);
        }
        saying
    }

    fn without_secrets(&self, text: &str) -> String {
        let secrets = self.secrets.iter().map(ExposeSecret::expose_secret);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "[secret]"))
    }

    /// A BYE.
    fn closed(&self, bye: &Saying) -> Error {
        self.peer.farewell(bye, During::SignIn)
    }

    fn tls_error(&self, cause: &str) -> Error {
        Error::Tls { host: self.account.endpoint.host.clone(), cause: cause.into() }
    }

    fn forbidden(&self, text: &str, remedy: &str) -> Error {
        let (host, user) = (self.account.endpoint.host.clone(), self.account.user.clone());
        Error::Forbidden { host, user, text: text.into(), remedy: remedy.into() }
    }
}

/// How the server was waited for.
struct Waited {
    in_vain: bool,
    time: Duration,
}

/// Runs a step of async-imap. Its own verdict is of no use: the guard has heard the server's.
async fn waited(idle: Duration, step: impl Future) -> Waited {
    let asked = Instant::now();
    let in_vain = timeout(idle, step).await.is_err();
    Waited { in_vain, time: asked.elapsed() }
}
