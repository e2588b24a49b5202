//! `[source]` and `[destination]`: where a side lives and how its accounts are entered.

use std::path::Path;
use std::sync::Arc;

use super::document::{Wrong, wrong};
use super::section::Section;
use super::{Compress, Endpoint, SecretRef};
use crate::preset::{self, Tls};

/// An endpoint and how its accounts are entered.
pub(super) struct Side {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) auth: Auth,
}

/// How the accounts of a side are entered.
pub(super) enum Auth {
    /// Each with its own password, or with this one.
    Password(Option<SecretRef>),
    /// As a master user.
    MasterUser { user: String, password: SecretRef },
    /// Not as written; that is reported, and nothing more shall be said of passwords.
    Broken,
}

/// A file or secret that a definition names, relative to its own place.
pub(super) fn secret_from(secret: SecretRef, base: &Path) -> SecretRef {
    match secret {
        SecretRef::File(path) => SecretRef::File(base.join(path)),
        other => other,
    }
}

/// Reads `[source]` or `[destination]`. `None` if it is not complete, which is reported.
pub(super) fn side(mut section: Section<'_>, base: &Path) -> Option<Side> {
    let platform_at = section.at_key("platform");
    let platform = section.parsed("platform", |name| {
        preset::find(name).ok_or_else(|| {
            let known = preset::names().collect::<Vec<_>>().join(", ");
            wrong(
                format!("`{name}` is not supported by this version"),
                format!("known are: {known}"),
            )
        })
    });
    // Which keys a platform needs is not known of an unknown one.
    let known = platform.is_some() || platform_at.is_none();
    let preset = platform.map(|p| p.value).or_else(|| preset::find("imap"))?;
    section.parsed("access", |access| match access {
        "imap" => Ok(()),
        _ => Err(wrong(
            format!("`{access}` access is not supported by this version"),
            "known are: imap",
        )),
    });
    let host_at = section.at_key("host");
    let host = section.text("host").and_then(|text| {
        if text.value.contains('@') {
            // An address with a password in it, perhaps.
            text.at.mask();
        }
        text.at.clone().checked(host(&text.value))
    });
    let host = host.map(|host| host.value).or_else(|| preset.host.clone());
    if host.is_none() && host_at.is_none() && known {
        let help = "write host = \"mail.example.org\"";
        section.at().error(format!("`host` is missing in {}", section.name()), help);
    }
    let tls_at = section.at_key("tls");
    let tls =
        section.choice("tls", &[Tls::Implicit, Tls::Starttls, Tls::None]).unwrap_or(preset.tls);
    if let (Tls::None, Some(at)) = (tls, tls_at) {
        let help = "whoever can read the network can read every message and password";
        at.warning("the connection is not protected", help);
    }
    let port = section.count("port").and_then(|port| u16::try_from(port).ok());
    let ca_file = section.text("ca_file").map(|file| {
        let path = base.join(&file.value);
        if let Err(error) = std::fs::metadata(&path) {
            file.at.warning(format!("`ca_file` cannot be read now: {error}"), "");
        }
        path
    });
    let connections = section.count("connections").and_then(|n| usize::try_from(n).ok());
    let compress = [Compress::Auto, Compress::Always, Compress::Never];
    let compress = section.choice("compress", &compress).unwrap_or_default();
    let auth = match (section.at_key("auth"), section.section("auth")) {
        (_, Some(section)) => auth(section, base),
        (None, None) => Auth::Password(None),
        (Some(_), None) => Auth::Broken,
    };
    let endpoint = Endpoint {
        platform: preset.name.clone(),
        host: host?,
        port: port.or(preset.port).unwrap_or(tls.imap_port()),
        tls,
        ca_file,
        connections: connections.unwrap_or(preset.connections),
        compress,
    };
    Some(Side { endpoint: Arc::new(endpoint), auth })
}

fn host(text: &str) -> Result<String, Wrong> {
    let help = "write only the host's name or address: mail.example.org";
    let host = text.trim();
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(host.to_owned());
    }
    if !host.contains(['/', '@'])
        && let Some((name, port)) = host.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        let help = format!("write host = \"{name}\" and port = {port}");
        return Err(wrong(format!("`{text}` is no host"), help));
    }
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.contains('@') {
        return Err(wrong("this is no host", help));
    }
    if host.is_empty() || !host.chars().all(legal) {
        return Err(wrong(format!("`{text}` is no host"), help));
    }
    Ok(host.to_owned())
}

fn auth(mut section: Section<'_>, base: &Path) -> Auth {
    const METHODS: [&str; 2] = ["password", "master-user"];
    let method_written = section.at_key("method").is_some();
    let method = section.parsed("method", |method| {
        METHODS.into_iter().find(|known| *known == method).ok_or_else(|| {
            let message = format!("`{method}` is not supported by this version");
            wrong(message, format!("known are: {}", METHODS.join(", ")))
        })
    });
    let user_at = section.at_key("user");
    let user = section.text("user");
    let password_written = section.at_key("password").is_some();
    let password = section.secret("password").map(|secret| secret_from(secret.value, base));
    match method.map(|method| method.value) {
        Some("master-user") => {
            if user_at.is_none() {
                section.at().error("`user` is missing", "write the master user's name");
            }
            if !password_written {
                let help = super::schema::SECRET_FORMS;
                section.at().error("the master user's `password` is missing", help);
            }
            match (user, password) {
                (Some(user), Some(_)) if user.value.trim().is_empty() => {
                    user.at.error("this is no user name", "write the master user's name");
                    Auth::Broken
                }
                (Some(user), Some(password)) => Auth::MasterUser { user: user.value, password },
                _ => Auth::Broken,
            }
        }
        // Absent: password.
        None if method_written => Auth::Broken,
        _ => {
            if let Some(at) = user_at {
                at.error("`user` has no meaning here", "it needs method = \"master-user\"");
            }
            match password {
                None if password_written => Auth::Broken,
                password => Auth::Password(password),
            }
        }
    }
}
