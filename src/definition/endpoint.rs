//! `[source]` and `[destination]`: where a side lives and how its accounts are entered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::auth::{self, Auth};
use super::document::{Wrong, wrong};
use super::section::Section;
use super::{Compress, Endpoint, Labels, NameRules, SecretRef, methods, traits, values};
use crate::model::FolderPath;
use crate::preset::{self, Tls};

/// An endpoint and how its accounts are entered.
pub(super) struct Side {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) auth: Auth,
    /// Of a source: its folders that hold no mail.
    pub(super) left_out: Vec<FolderPath>,
    /// Of a destination: what it does not allow in names.
    pub(super) names: NameRules,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

/// A file or secret that a definition names, relative to its own place.
pub(crate) fn secret_from(secret: SecretRef, base: &Path) -> SecretRef {
    match secret {
        SecretRef::File(path) => SecretRef::File(base.join(path)),
        other => other,
    }
}

/// A file of certificates to trust.
pub(super) fn ca_file(section: &mut Section<'_>, base: &Path) -> Option<PathBuf> {
    let file = section.text("ca_file")?;
    let path = base.join(&file.value);
    if let Err(error) = std::fs::metadata(&path) {
        file.at.warning(format!("`ca_file` cannot be read now: {error}"), "");
    }
    Some(path)
}

/// Reads `[source]` or `[destination]`. `None` if it is not complete, which is reported.
pub(super) fn side(mut section: Section<'_>, base: &Path, end: End) -> Option<Side> {
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
    let ca_file = ca_file(&mut section, base);
    let connections = section.count("connections").and_then(|n| usize::try_from(n).ok());
    let daily_bytes = section.parsed("daily_bytes", values::size).map(|bytes| bytes.value);
    let compress = [Compress::Auto, Compress::Always, Compress::Never];
    let compress = section.choice("compress", &compress).unwrap_or_default();
    let (mut left_out, mut names) = (Vec::new(), NameRules::default());
    let mut labels = Labels::default();
    let (traits, daily) = match end {
        End::Source => {
            let (traits, folders) = traits::of_source(&mut section, preset);
            left_out = folders;
            let policies = [Labels::Folders, Labels::First, Labels::AllMail, Labels::Keywords];
            labels = section.choice("labels", &policies).unwrap_or_default();
            (traits, preset.daily_read)
        }
        End::Destination => {
            let (traits, rules) = traits::of_destination(&mut section, preset);
            names = rules;
            (traits, preset.daily_written)
        }
    };
    methods::check(&section, preset);
    let auth = match (section.at_key("auth"), section.section("auth")) {
        (_, Some(section)) => auth::read(section, base, preset),
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
        daily_bytes: daily_bytes.or(daily),
        compress,
        traits,
        labels,
    };
    Some(Side { endpoint: Arc::new(endpoint), auth, left_out, names })
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
