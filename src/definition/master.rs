//! The names under which a master user enters another's account: apart, or put together to one.

use super::document::{Wrong, wrong};
use super::{Account, Login};

/// How a master user's name and the account's are given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum MasterForm {
    /// Apart, by SASL PLAIN: the account as the authorisation identity (RFC 4616).
    #[default]
    Authzid,
    /// As one name, by SASL PLAIN or LOGIN: a pattern with `{user}` for the master and `{mailbox}` or
    /// `{alias}` for the account.
    Name(String),
}

/// With what names an account is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Who signs in.
    pub who: String,
    /// For whom, if that is said apart.
    pub for_whom: Option<String>,
}

impl MasterForm {
    /// Reads `form`.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let has = |name: &str| text.contains(name);
        match text {
            "authzid" => Ok(Self::Authzid),
            _ if has("{user}") && has("{mailbox}") != has("{alias}") => Ok(Self::Name(text.into())),
            _ => Err(wrong(
                format!("`{text}` is no form of a master user's login"),
                "write \"authzid\", or the name that the server wants, made of {user}, the master, \
                 and {mailbox} or {alias}, the account: '{user}\\{alias}' (Exchange), \
                 \"{mailbox}*{user}\" (Dovecot)",
            )),
        }
    }
}

impl Account {
    /// The names it is entered with. An `{alias}` that the roster does not give is what stands
    /// before the `@`.
    pub fn names(&self) -> Names {
        let Login::MasterUser { user: master, form, alias, .. } = &self.login else {
            return Names { who: self.user.clone(), for_whom: None };
        };
        let (own, named) = (self.user.as_str(), alias.as_deref());
        match form {
            MasterForm::Authzid => {
                let for_whom = Some(named.unwrap_or(own).to_owned());
                Names { who: master.clone(), for_whom }
            }
            MasterForm::Name(pattern) => {
                let local = own.split('@').next().unwrap_or(own);
                // The account's name may hold braces of its own, so that each part is put in once.
                let mailbox = pattern.contains("{mailbox}");
                let (hole, whom) = match mailbox {
                    true => ("{mailbox}", named.unwrap_or(own)),
                    false => ("{alias}", named.unwrap_or(local)),
                };
                let parts = pattern.split(hole).map(|part| part.replace("{user}", master));
                Names { who: parts.collect::<Vec<_>>().join(whom), for_whom: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::definition::{Migration, load_text};

    fn who(side: &str, auth: &str, own: &str) -> Names {
        let text = format!(
            "[source]\nhost = \"a.example\"\n{side}\n[source.auth]\nmethod = \"master-user\"\n\
             password = {{ env = \"A\" }}\n{auth}\n[destination]\nhost = \"b.example\"\n\
             auth = {{ password = {{ env = \"B\" }} }}\n[[mailboxes]]\n\
             source = \"anna@old.example\"\ndestination = \"anna\"\n{own}\n"
        );
        let loaded = load_text("acme", &text, std::path::Path::new("/"));
        let migration: Migration = loaded.unwrap_or_else(|e| panic!("{e:?}")).migration;
        Arc::clone(&migration.mailboxes[0]).source.names()
    }

    fn name(who: &str) -> Names {
        Names { who: who.into(), for_whom: None }
    }

    #[test]
    fn exchange_wants_the_admin_and_the_alias_in_one_name() {
        let exchange = "platform = \"exchange\"";
        let admin = "user = 'ACME\\admin'";
        assert_eq!(who(exchange, admin, ""), name("ACME\\admin\\anna"));
        let own = "source_alias = \"annas\"";
        assert_eq!(who(exchange, admin, own), name("ACME\\admin\\annas"));
        let admin = "user = \"admin@acme.example\"";
        assert_eq!(who(exchange, admin, ""), name("admin@acme.example\\anna"));
    }

    #[test]
    fn elsewhere_the_names_are_given_apart_unless_the_definition_says_how() {
        let apart = |whom: &str| Names { who: "admin".into(), for_whom: Some(whom.into()) };
        let user = "user = \"admin\"";
        assert_eq!(who("", user, ""), apart("anna@old.example"));
        assert_eq!(who("", user, "source_alias = \"annas\""), apart("annas"));
        let exchange = "platform = \"exchange\"";
        let written = format!("{user}\nform = \"authzid\"");
        assert_eq!(who(exchange, &written, "source_alias = \"annas\""), apart("annas"));
        let written = format!("{user}\nform = \"{{mailbox}}*{{user}}\"");
        assert_eq!(who("", &written, ""), name("anna@old.example*admin"));
    }

    #[test]
    fn a_pattern_without_both_names_is_none() {
        for text in ["", "exchange", "{user}", "{mailbox}", "{user}{mailbox}{alias}"] {
            assert!(MasterForm::parse(text).is_err(), "{text}");
        }
    }
}
