//! Who is at the other end, and what comes of what they say: a saying becomes an error, and what
//! it asks of other connections is noted where they find it.

use super::saying::Saying;
use super::sayings::{Class, During, Entered, Sayings, Verdict, Wait};
use crate::definition::{Account, Login};
use crate::flow::{Gauge, Patience};
use crate::platform::{Error, Options, Refusal, Scope};
use crate::preset;

/// An account on a server.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    host: String,
    server: String,
    /// Who signs in, and for whom.
    user: String,
    /// The account on its server.
    account: String,
    /// The account alone, and how it was entered.
    mailbox: String,
    entered: Entered,
    platform: String,
    pub(super) sayings: Sayings,
    patience: Patience,
    pub(super) gauge: Gauge,
}

impl Peer {
    pub(super) fn new(account: &Account, options: &Options) -> Self {
        let endpoint = &account.endpoint;
        let server = format!("{}:{}", endpoint.host, endpoint.port);
        Self {
            host: endpoint.host.clone(),
            user: match &account.login {
                Login::Password(_) | Login::Token(_) => account.user.clone(),
                Login::MasterUser { user, .. } => format!("{user} for {}", account.user),
            },
            account: format!("{}@{server}", account.user),
            mailbox: account.user.clone(),
            entered: Entered::by(&account.login),
            platform: endpoint.platform.clone(),
            server,
            sayings: Sayings::default(),
            patience: options.patience.clone(),
            gauge: options.gauge.clone(),
        }
    }

    /// Who signs in, and for whom.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// `Throttled`, while the account is to be left alone.
    pub(super) fn is_parked(&self) -> Option<Error> {
        let (delay, text) = self.patience.parked(&self.account)?;
        Some(Error::Throttled { delay, text })
    }

    /// Are replies to be waited for longer than usual?
    pub(super) fn is_strained(&self) -> bool {
        self.patience.is_strained(&self.server)
    }

    /// Heeds an OK that says the server is slow on purpose; true if it does.
    pub(super) fn heed(&self, saying: &Saying, during: During) -> bool {
        let verdict = self.sayings.read(saying, during);
        let slowed = verdict.class == Class::Slowed;
        if slowed {
            tracing::info!(server = %self.server, says = %words(saying), "the server slows us down; going easy on it");
            self.patience.go_easy(&self.server, verdict.delay);
            self.gauge.slowed();
        }
        slowed
    }

    /// Does this refuse the whole account, whatever was asked for?
    pub(super) fn is_closed_by(&self, saying: &Saying) -> bool {
        let class = self.sayings.read(saying, During::Other).class;
        matches!(class, Class::Credentials | Class::Expired | Class::Forbidden | Class::Throttled)
    }

    /// The error that a refusal is, unless it is only of what was asked for.
    pub(super) fn grave(&self, saying: &Saying, during: During) -> Option<Error> {
        let verdict = self.sayings.read(saying, during);
        let (host, user, text) = (self.host.clone(), self.user.clone(), words(saying));
        Some(match verdict.class {
            Class::Credentials => {
                let remedy = self.advice(saying).or_else(|| self.password_advice());
                Error::Credentials { host, user, text, remedy: remedy.unwrap_or_default() }
            }
            Class::Expired => Error::Expired { host, user, text },
            Class::Forbidden => {
                let remedy = self.advice(saying).unwrap_or_default();
                Error::Forbidden { host, user, text, remedy }
            }
            Class::Throttled => {
                if verdict.parks == Scope::Server {
                    self.gauge.slowed();
                } else {
                    self.gauge.throttled();
                }
                let delay = match verdict.wait {
                    Wait::Doubling(first, most) => {
                        self.patience.park_longer(&self.account, first, most, &text)
                    }
                    _ => self.patience.park(&self.account, verdict.delay, &text),
                };
                Error::Throttled { delay, text }
            }
            Class::Crowded => {
                // Not parked: the connections there are may go on.
                self.gauge.crowded();
                Error::Throttled { delay: verdict.delay, text }
            }
            Class::Quota => Error::Quota(text),
            _ => return None,
        })
    }

    /// What is known to help against this saying.
    fn advice(&self, saying: &Saying) -> Option<String> {
        Sayings::advice(saying, self.entered, &self.mailbox)
    }

    /// Many platforms refuse an account's own password in the words for a wrong one.
    fn password_advice(&self) -> Option<String> {
        let preset = preset::find(&self.platform).filter(|_| self.entered == Entered::Password)?;
        let known: Vec<&str> =
            [&preset.auth_note, &preset.page].into_iter().flatten().map(String::as_str).collect();
        let correct = "correct the secret the definition points to";
        (!known.is_empty()).then(|| format!("{correct}: {}", known.join("; ")))
    }

    /// The error a refusal is.
    pub(super) fn error(&self, verb: &'static str, saying: &Saying, during: During) -> Error {
        self.grave(saying, during).unwrap_or_else(|| Error::Refused {
            command: verb,
            refusal: self.refusal(saying, during),
        })
    }

    /// A refusal in the server's words.
    pub(super) fn refusal(&self, saying: &Saying, during: During) -> Refusal {
        let Verdict { class, parks, remedy, .. } = self.sayings.read(saying, during);
        Refusal {
            code: saying.code.as_ref().map(|(name, _)| name.clone()),
            text: words(saying),
            transient: class == Class::Transient,
            hopeless: class == Class::TooBig,
            remedy,
            scope: parks,
        }
    }

    /// The error that a BYE or a stray line is.
    pub(super) fn farewell(&self, saying: &Saying, during: During) -> Error {
        self.grave(saying, during).unwrap_or_else(|| Error::Broken {
            host: self.host.clone(),
            cause: format!("the server said {:?}", words(saying)),
        })
    }
}

/// The text, or the code if that is all there is.
pub(super) fn words(saying: &Saying) -> String {
    match &saying.code {
        Some((name, _)) if saying.text.is_empty() => format!("[{name}]"),
        _ => saying.text.clone(),
    }
}

/// A refusal of drover's own, of a folder.
pub(super) fn of_folder(code: &str, text: String) -> Refusal {
    let code = Some(code.to_owned());
    let (transient, hopeless, remedy) = (false, false, None);
    Refusal { code, text, transient, hopeless, remedy, scope: Scope::Folder }
}
