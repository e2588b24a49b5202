//! Signing in: LOGIN, SASL PLAIN (RFC 4616), XOAUTH2 and OAUTHBEARER (RFC 7628).

use std::io;
use std::sync::Arc;

use super::dialect::{Kind, has};
use super::gmail;
use super::parse::Arg;
use super::session::{Done, Session, Stop};
use crate::support::base64;

/// What a client proved who it is with.
enum Proof<'a> {
    Password(&'a str),
    Token(&'a str),
}

impl Session {
    pub(super) fn login(&mut self, args: &[Arg]) -> Done {
        if has(&self.server.dialect.before, "LOGINDISABLED") {
            return Err(Stop::Says(self.server.dialect.says.unknown.into()));
        }
        let [user, password] = args else { return Err(Stop::Arguments) };
        let text = |arg: &Arg| Some(String::from_utf8_lossy(arg.astring()?).into_owned());
        let (user, password) = (text(user).ok_or(Stop::Arguments)?, text(password));
        let password = password.ok_or(Stop::Arguments)?;
        self.sign_in(&user, &Proof::Password(&password))
    }

    pub(super) fn authenticate(&mut self, args: &[Arg]) -> io::Result<Done> {
        let Some(mechanism) = args.first().and_then(Arg::word) else {
            return Ok(Err(Stop::Arguments));
        };
        let offered = &self.server.dialect.before;
        if !offered.split(' ').any(|c| c == format!("AUTH={mechanism}")) {
            return Ok(Err(Stop::Says(self.server.dialect.says.unknown.into())));
        }
        let first = match args.get(1) {
            // RFC 4959: `=` is an empty response.
            Some(Arg::Atom(text)) if text == "=" => String::new(),
            Some(Arg::Atom(text)) => text.clone(),
            Some(_) => return Ok(Err(Stop::Arguments)),
            None => match self.challenge("")? {
                Some(text) => text,
                None => return Ok(Err(Stop::Bad("Cancelled".into()))),
            },
        };
        let Some(response) = from_base64(&first).and_then(|bytes| String::from_utf8(bytes).ok())
        else {
            return Ok(Err(Stop::Bad("Not base64".into())));
        };
        let outcome = match mechanism.as_str() {
            "PLAIN" => match response.split('\0').collect::<Vec<_>>()[..] {
                [authzid, user, password] if authzid.is_empty() || authzid == user => {
                    self.sign_in(user, &Proof::Password(password))
                }
                [mailbox, user, password] => match self.server.dialect.admin {
                    Some((admin, _)) if admin == user => {
                        self.sign_in(&format!("{admin}\\{mailbox}"), &Proof::Password(password))
                    }
                    // Whom to act as; nobody but oneself, otherwise.
                    _ => Err(Stop::Arguments),
                },
                _ => Err(Stop::Arguments),
            },
            _ => match bearer(&mechanism, &response) {
                Some((user, token)) => self.sign_in(&user, &Proof::Token(&token)),
                None => Err(Stop::Arguments),
            },
        };
        let says = self.server.dialect.says.token_challenge.filter(|_| mechanism != "PLAIN");
        let refused = Err(Stop::Says(self.server.dialect.says.refused.into()));
        let Some(challenge) = says.filter(|_| outcome == refused) else { return Ok(outcome) };
        // The error comes as a challenge, which the client answers before it hears NO: by a
        // single 0x01 in OAUTHBEARER, by nothing in XOAUTH2.
        let answer = self.challenge(&base64(challenge.as_bytes()))?;
        let is_answered = matches!(
            (mechanism.as_str(), answer.as_deref()),
            ("OAUTHBEARER", Some("AQ==")) | ("XOAUTH2", Some("")) | (_, None)
        );
        Ok(if is_answered { outcome } else { Err(Stop::Bad("Expected no such answer".into())) })
    }

    /// Sends a challenge; the answer, or nothing if the client gives up with `*`.
    fn challenge(&mut self, text: &str) -> io::Result<Option<String>> {
        self.wire.line(&format!("+ {text}"));
        self.wire.flush()?;
        let line = self.wire.read_line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let answer = String::from_utf8_lossy(&line).into_owned();
        Ok(Some(answer).filter(|answer| answer != "*"))
    }

    fn sign_in(&mut self, name: &str, proof: &Proof<'_>) -> Done {
        let server = Arc::clone(&self.server);
        let says = &server.dialect.says;
        let refused = || Stop::Says(says.refused.into());
        let mut users = server.users();
        let admin = server.dialect.admin;
        let entered = admin.and_then(|(admin, _)| name.strip_prefix(admin)?.strip_prefix('\\'));
        let name = entered.unwrap_or(name);
        let user = users.get_mut(name).ok_or_else(refused)?;
        user.n_sign_ins += 1;
        if let Some(words) = user.refuses_all {
            return Err(Stop::Says(words.into()));
        }
        match proof {
            Proof::Password(password) => {
                if let Some(words) = user.refuses_passwords {
                    return Err(Stop::Says(words.into()));
                }
                let theirs = match (entered, admin) {
                    (Some(_), Some((_, password))) => password,
                    _ => &user.password,
                };
                // An app password may be written in groups.
                if password.replace(' ', "") != theirs.replace(' ', "") {
                    return Err(refused());
                }
            }
            Proof::Token(token) => {
                let is_listed = user.tokens.contains(*token) && !user.expired.contains(*token);
                let is_admin = user.admin_tokens.contains(*token);
                if !is_listed && !is_admin && !server.checks_token(name, token) {
                    return Err(refused());
                }
                self.is_admin = is_admin;
                self.token = Some((*token).to_owned());
            }
        }
        if user.n_connections >= server.dialect.connections {
            return Err(Stop::Says(says.too_many.into()));
        }
        if server.dialect.kind == Kind::Gmail && user.has_used_up(0) {
            return Err(Stop::Says(gmail::OVER_BANDWIDTH.into()));
        }
        user.n_connections += 1;
        self.user = Some(name.to_owned());
        self.n_ends = user.n_ends;
        if server.dialect.tells_capabilities {
            self.wire.line(&format!("* CAPABILITY {}", server.dialect.after));
        }
        Ok((says.signed_in)(name))
    }
}

/// User and token of an initial response.
fn bearer(mechanism: &str, response: &str) -> Option<(String, String)> {
    let mut parts = response.split('\u{1}');
    let first = parts.next()?;
    let user = match mechanism {
        "XOAUTH2" => first.strip_prefix("user=")?,
        // RFC 5801: `n,a=user,`
        _ => first.strip_prefix("n,a=")?.strip_suffix(',')?,
    };
    let token = parts.find_map(|part| part.strip_prefix("auth=Bearer "))?;
    response.ends_with("\u{1}\u{1}").then(|| (user.to_owned(), token.to_owned()))
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0u32;
        for &byte in chunk {
            bits = bits << 6 | u32::from(value(byte)?);
        }
        bits <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}
