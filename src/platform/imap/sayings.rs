//! What servers say, and what it means: response codes (RFC 5530 and others) and the texts of
//! servers that have no codes. Data; read top-down, the first that fits decides.

use std::time::Duration;

use super::saying::Saying;

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// User name, password, or token.
    Credentials,
    /// The account may not be used like this.
    Forbidden,
    /// Come back later.
    Throttled(Duration),
    /// The account's space is used up.
    Quota,
    /// The folder does not exist.
    FolderGone,
    /// It exists already.
    Exists,
    /// Trying the same again may help.
    Transient,
    /// Trying the same again will not help.
    Permanent,
}

/// While doing what?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum During {
    /// Signing in, the greeting included.
    SignIn,
    /// Putting something into the account: APPEND, COPY, MOVE, CREATE.
    Storing,
    /// Anything else.
    Other,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Texts, lower case, that are found anywhere in code or text.
const TEXTS: &[(&str, Class)] = &[
    // Gmail: the day's bandwidth, never the space.
    ("command or bandwidth limits", Class::Throttled(HOUR)),
    ("too many simultaneous connections", Class::Throttled(MINUTE)),
    ("maximum number of connections", Class::Throttled(MINUTE)),
    ("too many connections", Class::Throttled(MINUTE)),
    ("request is throttled", Class::Throttled(MINUTE)),
    ("sent too fast", Class::Throttled(MINUTE)),
    ("too many bad auth attempts", Class::Credentials),
    ("not enabled for imap", Class::Forbidden),
    ("imap access is disabled", Class::Forbidden),
    // Microsoft: the mailbox is being moved, or its licence is gone.
    ("authenticated but not connected", Class::Transient),
    ("server unavailable", Class::Transient),
    ("temporary system problem", Class::Transient),
    ("overquota", Class::Quota),
    ("quota exceeded", Class::Quota),
    ("over quota", Class::Quota),
    ("mailbox is full", Class::Quota),
];

/// Classifies a NO, BAD or BYE.
pub(super) fn classify(saying: &Saying, during: During) -> Class {
    let code = saying.code.as_ref().map_or("", |(name, _)| name.as_str());
    let text = saying.text.to_ascii_lowercase();
    if let Some(delay) = suggested_delay(&text) {
        return Class::Throttled(delay);
    }
    match code {
        // Gmail says OVERQUOTA for bandwidth too; its text below tells them apart.
        "OVERQUOTA" if during == During::Storing && !text.contains("bandwidth") => Class::Quota,
        "OVERQUOTA" => Class::Throttled(HOUR),
        "THROTTLED" => Class::Throttled(MINUTE),
        "LIMIT" if during == During::SignIn => Class::Throttled(MINUTE),
        "LIMIT" if during == During::Storing => Class::Permanent,
        "AUTHENTICATIONFAILED" | "EXPIRED" => Class::Credentials,
        "AUTHORIZATIONFAILED" | "NOPERM" | "PRIVACYREQUIRED" => Class::Forbidden,
        "TRYCREATE" | "NONEXISTENT" => Class::FolderGone,
        "ALREADYEXISTS" => Class::Exists,
        "INUSE" | "SERVERBUG" | "CONTACTADMIN" | "EXPUNGEISSUED" | "CORRUPTION" => Class::Transient,
        "UNAVAILABLE" => Class::Transient,
        "TOOBIG" | "CANNOT" | "CLIENTBUG" | "BADCHARSET" | "PARSE" => Class::Permanent,
        _ => by_text(&text, during),
    }
}

fn by_text(text: &str, during: During) -> Class {
    if let Some(&(_, class)) = TEXTS.iter().find(|(pattern, _)| text.contains(pattern)) {
        // Without writing, "quota" can only mean traffic.
        return if class == Class::Quota && during != During::Storing {
            Class::Throttled(HOUR)
        } else {
            class
        };
    }
    match during {
        During::SignIn => Class::Credentials,
        During::Storing | During::Other => Class::Permanent,
    }
}

/// Exchange: `Suggested Backoff Time: 92415 milliseconds`.
fn suggested_delay(text: &str) -> Option<Duration> {
    let (_, after) = text.split_once("suggested backoff time:")?;
    let digits = after.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::super::reply::{Reply, read};
    use super::super::wire::Part;
    use super::*;

    fn class(line: &'static str, during: During) -> Class {
        match read(vec![Part::Text(line.as_bytes().into())]) {
            Reply::Tagged(_, saying) | Reply::Status(saying) => classify(&saying, during),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_servers_say_is_understood() {
        use During::{Other, SignIn, Storing};
        let ms = Duration::from_millis;
        for (line, during, expected) in [
            (
                "a BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds",
                Other,
                Class::Throttled(ms(92415)),
            ),
            (
                "a NO [OVERQUOTA] Account exceeded command or bandwidth limits",
                Other,
                Class::Throttled(HOUR),
            ),
            (
                "a NO [OVERQUOTA] Account exceeded command or bandwidth limits",
                Storing,
                Class::Throttled(HOUR),
            ),
            (
                "* BYE [OVERQUOTA] Account exceeded command or bandwidth limits",
                SignIn,
                Class::Throttled(HOUR),
            ),
            ("a NO [OVERQUOTA] Quota exceeded (mailbox for user is full)", Storing, Class::Quota),
            ("a NO Mailbox is full", Storing, Class::Quota),
            (
                "a NO [ALERT] Too many simultaneous connections. (Failure)",
                SignIn,
                Class::Throttled(MINUTE),
            ),
            ("a NO [LIMIT] Maximum number of connections", SignIn, Class::Throttled(MINUTE)),
            ("a NO [LIMIT] Mail size is larger", Storing, Class::Permanent),
            ("a NO [AUTHENTICATIONFAILED] Invalid credentials", SignIn, Class::Credentials),
            ("a NO LOGIN failed.", SignIn, Class::Credentials),
            ("a NO [UNAVAILABLE] Temporary System Problem (Failure)", SignIn, Class::Transient),
            ("a BAD User is authenticated but not connected.", Other, Class::Transient),
            ("a NO [TRYCREATE] no", Storing, Class::FolderGone),
            ("a BAD Command Argument Error. 11", Storing, Class::Permanent),
            ("a NO [ALERT] Your account is not enabled for IMAP use", SignIn, Class::Forbidden),
        ] {
            assert_eq!(class(line, during), expected, "{line}");
        }
    }
}
