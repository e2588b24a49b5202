//! The options of a test server, and the configuration file that they make.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use super::super::tls::Certificate;
use super::Dovecot;

/// How mail is stored. Folder names with a dot in a segment need [`Format::Mdbox`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One file a message.
    Maildir,
    /// Dovecot's own packed format.
    Mdbox,
}

/// Options of a server to start.
#[derive(Debug, Clone)]
pub struct Builder {
    separator: char,
    prefix: String,
    hidden: Vec<String>,
    quota: Option<String>,
    max_size: Option<String>,
    max_connections: u32,
    pub(super) tls: bool,
    pub(super) starttls_only: bool,
    pub(super) certificate: Certificate,
    pub(super) password: String,
    master_user: Option<(String, String)>,
    literal_minus: bool,
    pub(super) on_disk: bool,
    format: Format,
    tokens: Option<Tokens>,
    raw: String,
}

/// What a server must know to validate access tokens (JWT) by itself.
#[derive(Debug, Clone)]
struct Tokens {
    issuer: String,
    /// PEM.
    key: String,
    mechanisms: String,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            separator: '/',
            prefix: String::new(),
            hidden: Vec::new(),
            quota: None,
            max_size: None,
            max_connections: 200,
            tls: false,
            starttls_only: false,
            certificate: Certificate::Good,
            password: "pw".into(),
            master_user: None,
            literal_minus: false,
            on_disk: false,
            format: Format::Maildir,
            tokens: None,
            raw: String::new(),
        }
    }
}

impl Builder {
    /// Starts it, and returns when it answers.
    pub fn start(self) -> Dovecot {
        Dovecot::launch_new(self)
    }

    /// The hierarchy separator.
    pub fn separator(mut self, separator: char) -> Self {
        self.separator = separator;
        self
    }

    /// The namespace prefix, with its separator: `INBOX.`
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Capabilities not to advertise. Dovecot still obeys them.
    pub fn hide(mut self, capabilities: &[&str]) -> Self {
        self.hidden.extend(capabilities.iter().map(|c| c.to_ascii_uppercase()));
        self
    }

    /// Without MULTIAPPEND in its capabilities.
    pub fn no_multiappend(self) -> Self {
        self.hide(&["MULTIAPPEND"])
    }

    /// LITERAL- in place of LITERAL+ (RFC 7888): literals over 4096 bytes must be synchronising.
    pub fn literal_minus(mut self) -> Self {
        self.literal_minus = true;
        self
    }

    /// Bytes a mailbox may hold: `1M`. Refused with `NO [OVERQUOTA]` before the literal is read.
    pub fn quota(mut self, size: &str) -> Self {
        self.quota = Some(size.into());
        self
    }

    /// The largest message taken: `50k`. Refused with `NO [LIMIT]`.
    pub fn max_size(mut self, size: &str) -> Self {
        self.max_size = Some(size.into());
        self
    }

    /// Connections of one user at once; one more is refused with `NO [LIMIT]`.
    pub fn max_connections(mut self, n: u32) -> Self {
        self.max_connections = n;
        self
    }

    /// STARTTLS on [`Dovecot::port`], TLS from the first byte on [`Dovecot::tls_port`].
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// No implicit TLS, and LOGINDISABLED before STARTTLS. Connect to [`Dovecot::host`].
    pub fn starttls_only(mut self) -> Self {
        self.starttls_only = true;
        self
    }

    /// TLS with a certificate that a client must refuse.
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = certificate;
        self
    }

    /// Everybody's password, instead of `pw`.
    pub fn password(mut self, password: &str) -> Self {
        self.password = password.into();
        self
    }

    /// A user who may enter every mailbox: SASL PLAIN with an authorisation identity, or
    /// `LOGIN anna*admin secret`.
    pub fn master_user(mut self, user: &str, password: &str) -> Self {
        self.master_user = Some((user.into(), password.into()));
        self
    }

    /// Sign-in by these mechanisms with tokens of this issuer, signed with the key (PEM): the
    /// user is the token's `email`.
    pub fn tokens(mut self, issuer: &str, key: &str, mechanisms: &str) -> Self {
        let (issuer, key, mechanisms) = (issuer.into(), key.into(), mechanisms.into());
        self.tokens = Some(Tokens { issuer, key, mechanisms });
        self
    }

    /// Mail on disk instead of in memory.
    pub fn mail_on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// Stores mail as mdbox.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Lines added at the end of the configuration file.
    pub fn raw_conf(mut self, lines: &str) -> Self {
        self.raw.push_str(lines);
        self.raw.push('\n');
        self
    }

    pub(super) fn has_tls(&self) -> bool {
        self.tls || self.starttls_only
    }

    /// The whole configuration file. Makes the directories that it names.
    pub(super) fn render(&self, dir: &Path, port: u16, tls_port: u16) -> String {
        let who = Identity::of_mail(dir);
        let mail = dir.join("mail");
        if !mail.exists() {
            std::fs::create_dir(&mail).expect("make the mail directory");
            std::os::unix::fs::chown(&mail, Some(who.uid), Some(who.gid))
                .expect("hand over the mail directory");
        }
        let mut out = String::new();
        let d = dir.display();
        let format = match self.format {
            Format::Maildir => "maildir",
            Format::Mdbox => "mdbox",
        };
        let listen = if self.starttls_only { "127.0.0.1, 127.0.0.2" } else { "127.0.0.1" };
        let plaintext_refused = if self.starttls_only { "yes" } else { "no" };
        let ssl = if self.has_tls() {
            format!("ssl = yes\nssl_cert = <{d}/server.pem\nssl_key = <{d}/server.key\n")
        } else {
            "ssl = no\n".into()
        };
        let tls_port = if self.tls { tls_port } else { 0 };
        let Self { separator, prefix, password, max_connections, raw, .. } = self;
        let (unprivileged, ids) = (&who.unprivileged, format!("uid={} gid={}", who.uid, who.gid));
        let plugins = self.plugins();
        let master = self.master(dir);
        let (tokens, mechanisms) = self.token_passdb(dir);
        let literals = if self.literal_minus { "imap_literal_minus = yes\n" } else { "" };
        let _ = write!(
            out,
            r#"base_dir = {d}/run
state_dir = {d}/state
log_path = {d}/log
{unprivileged}
protocols = imap
listen = {listen}
{ssl}disable_plaintext_auth = {plaintext_refused}
auth_mechanisms = plain login {mechanisms}
auth_failure_delay = 0
first_valid_uid = 1
mail_location = {format}:{d}/mail/%u
mail_max_userip_connections = {max_connections}
mail_fsync = never
maildir_stat_dirs = yes
{literals}{capability}{plugins}{master}{tokens}
passdb {{
  driver = static
  mechanisms = plain login
  args = password={password}
}}
userdb {{
  driver = static
  args = {ids} home={d}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
  mailbox Drafts {{
    special_use = \Drafts
  }}
  mailbox Sent {{
    special_use = \Sent
  }}
  mailbox Trash {{
    special_use = \Trash
  }}
  mailbox Junk {{
    special_use = \Junk
  }}
}}
service imap-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 512
}}
service anvil {{
  chroot =
  # Else failed logins from one address are answered ever more slowly.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
{raw}"#,
            capability = self.capability(),
        );
        out
    }

    fn capability(&self) -> String {
        /// What Dovecot 2.3.19 says after sign-in; the setting can add to it, but not take away.
        const ALL: &str = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY \
            THREAD=REFERENCES THREAD=REFS THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE \
            UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH \
            ESORT SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE SNIPPET=FUZZY \
            PREVIEW=FUZZY PREVIEW STATUS=SIZE SAVEDATE LITERAL+ NOTIFY SPECIAL-USE";
        if self.hidden.is_empty() {
            return String::new();
        }
        let shown = |name: &&str| !self.hidden.iter().any(|h| h == name);
        let literal = if self.literal_minus { "LITERAL-" } else { "LITERAL+" };
        let names = ALL.split_whitespace().map(|n| if n == "LITERAL+" { literal } else { n });
        format!("imap_capability = {}\n", names.filter(shown).collect::<Vec<_>>().join(" "))
    }

    fn plugins(&self) -> String {
        if self.quota.is_none() && self.max_size.is_none() {
            return String::new();
        }
        let quota = self.quota.as_deref().unwrap_or("0");
        let max_size = self.max_size.as_deref().unwrap_or("0");
        format!(
            "mail_plugins = quota\nprotocol imap {{\n  mail_plugins = quota imap_quota\n}}\n\
             plugin {{\n  quota = count:User quota\n  quota_vsizes = yes\n  \
             quota_rule = *:storage={quota}\n  quota_grace = 0\n  \
             quota_max_mail_size = {max_size}\n}}\n"
        )
    }

    /// The database that validates tokens, and the mechanisms they come by.
    fn token_passdb(&self, dir: &Path) -> (String, &str) {
        let Some(Tokens { issuer, key, mechanisms }) = &self.tokens else {
            return (String::new(), "");
        };
        let keys = dir.join("keys/default/RS256");
        std::fs::create_dir_all(&keys).expect("make the directory of keys");
        std::fs::write(keys.join("default"), key).expect("write a key");
        let settings = dir.join("oauth2.conf.ext");
        let text = format!(
            "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={}/keys/\n\
             username_attribute = email\nusername_format = %u\nissuers = {issuer}\n",
            dir.display()
        );
        std::fs::write(&settings, text).expect("write oauth2.conf.ext");
        let passdb = format!(
            "passdb {{\n  driver = oauth2\n  mechanisms = {mechanisms}\n  args = {}\n}}\n",
            settings.display()
        );
        (passdb, mechanisms)
    }

    fn master(&self, dir: &Path) -> String {
        let Some((user, password)) = &self.master_user else { return String::new() };
        let file = dir.join("masters");
        std::fs::write(&file, format!("{user}:{{PLAIN}}{password}\n")).expect("write masters");
        format!(
            "auth_master_user_separator = *\npassdb {{\n  driver = passwd-file\n  master = yes\n  \
             result_success = continue\n  args = {}\n}}\n",
            file.display()
        )
    }
}

/// Who the server's processes are.
struct Identity {
    uid: u32,
    gid: u32,
    /// Settings that keep an unprivileged server from switching users.
    unprivileged: String,
}

impl Identity {
    /// As root: a user that every system has, since Dovecot refuses mail for root. Else ourselves.
    fn of_mail(dir: &Path) -> Self {
        let own = std::os::unix::fs::MetadataExt::uid(&dir.metadata().expect("our own directory"));
        if own == 0 {
            return Self { uid: 65534, gid: 65534, unprivileged: String::new() };
        }
        let name = |option| {
            let out = Command::new("id").arg(option).output().expect("run id");
            String::from_utf8_lossy(&out.stdout).trim().to_owned()
        };
        let (user, group) = (name("-un"), name("-gn"));
        Self {
            uid: own,
            gid: name("-g").parse().expect("a group id"),
            unprivileged: format!(
                "default_internal_user = {user}\ndefault_internal_group = {group}\n\
                 default_login_user = {user}"
            ),
        }
    }
}
