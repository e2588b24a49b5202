//! The IMAP platform against a real server: Dovecot, where it is installed.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use drover::definition::{Account, Endpoint, Login, MasterForm, SecretRef, Tls};
use drover::flow::Memory;
use drover::model::{
    Cursor, Flags, FolderName, FolderPath, IdSet, ItemId, Keyword, Role, SystemFlag,
};
use drover::platform::{
    self, Append, Appended, Changes, Destination, Error, FlagChange, Gone, KeywordRule, Landed,
    Message, Options, Source,
};
use support::dovecot::free_port;
use support::{endpoint, inbox};
use tokio::sync::mpsc;

/// A private Dovecot. Gone, with all its mail, when dropped.
struct Dovecot {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
    tls_port: u16,
}

impl Dovecot {
    /// `None`, said aloud, where there is no Dovecot or no right to start one.
    fn start(extra: &str) -> Option<Self> {
        Self::start_with("separator = /", extra)
    }

    /// With these lines in its only namespace.
    fn start_with(namespace: &str, extra: &str) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("drover-").tempdir_in("/dev/shm").ok()?;
        let path = dir.path();
        let (port, tls_port) = (free_port(), free_port());
        write_certificates(path);
        std::fs::write(path.join("password"), "pw\n").unwrap();
        std::fs::write(path.join("masters"), "master:{PLAIN}masterpw\n").unwrap();
        let p = path.display();
        let config = format!(
            "base_dir = {p}/run\nstate_dir = {p}/state\nlog_path = {p}/log\nprotocols = imap\n\
             listen = 127.0.0.1\nssl = yes\nssl_cert = <{p}/cert.pem\nssl_key = <{p}/key.pem\n\
             disable_plaintext_auth = no\nauth_mechanisms = plain login\n\
             mail_uid = mail\nmail_gid = mail\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n\
             mail_location = maildir:{p}/mail/%u\nmail_max_userip_connections = 200\n\
             auth_failure_delay = 0\nauth_master_user_separator = *\n\
             passdb {{\n driver = passwd-file\n args = {p}/masters\n master = yes\n result_success = continue\n}}\n\
             passdb {{\n driver = static\n args = password=pw\n}}\n\
             userdb {{\n driver = static\n args = uid=mail gid=mail home={p}/mail/%u\n}}\n\
             namespace inbox {{\n inbox = yes\n {namespace}\n\
             mailbox Sent {{\n special_use = \\Sent\n auto = create\n }}\n}}\n\
             service imap-login {{\n inet_listener imap {{\n port = {port}\n }}\n\
             inet_listener imaps {{\n port = {tls_port}\n ssl = yes\n }}\n}}\n\
             service anvil {{\n chroot =\n}}\n{extra}\n"
        );
        std::fs::write(path.join("dovecot.conf"), config).unwrap();
        std::fs::create_dir(path.join("mail")).unwrap();
        let opened = Command::new("chmod").args(["755"]).arg(path).status().ok()?.success()
            && Command::new("chown").arg("mail").arg(path.join("mail")).status().ok()?.success();
        let child = Command::new("dovecot")
            .args(["-F", "-c"])
            .arg(path.join("dovecot.conf"))
            .stderr(Stdio::null())
            .spawn();
        let (true, Ok(child)) = (opened, child) else {
            eprintln!("SKIPPED: this test needs Dovecot and root");
            return None;
        };
        let server = Self { child, dir, port, tls_port };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("dovecot does not listen");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn account(&self, user: &str, tls: Tls) -> Account {
        let port = if tls == Tls::Implicit { self.tls_port } else { self.port };
        Account {
            user: user.into(),
            endpoint: Arc::new(Endpoint {
                tls,
                ca_file: (tls != Tls::None).then(|| self.file("ca.pem")),
                connections: 4,
                ..endpoint(port)
            }),
            login: Login::Password(SecretRef::File(self.file("password"))),
        }
    }

    async fn source(&self, user: &str, veto: &[&str]) -> Box<dyn Source> {
        platform::source(&self.account(user, Tls::None), &vetoing(veto)).await.unwrap()
    }

    async fn destination(&self, user: &str, veto: &[&str]) -> Box<dyn Destination> {
        platform::destination(&self.account(user, Tls::None), &vetoing(veto)).await.unwrap()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn write_certificates(path: &Path) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let cert = leaf.signed_by(&key, &issuer).unwrap();
    std::fs::write(path.join("ca.pem"), ca_cert.pem()).unwrap();
    std::fs::write(path.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(path.join("key.pem"), key.serialize_pem()).unwrap();
}

fn vetoing(veto: &[&str]) -> Options {
    Options { veto: veto.iter().map(|&v| v.into()).collect(), ..Options::default() }
}

fn odd_message(n: usize) -> Bytes {
    let mut body = format!("Message-ID: <{n}@test>\r\nSubject: n {n}\r\n\r\n").into_bytes();
    match n % 8 {
        0 => body.extend(b"\xff\xfe\x80 raw 8-bit"),
        1 => body.extend(b"no final line end"),
        2 => body.extend(b") \r\nA1 OK done\r\n* BYE\r\n{5}\r\n"),
        3 => body.extend(vec![b'x'; 100_000 + n]),
        4 => body = b"x".to_vec(),
        5 => body.extend(b"\r\n".repeat(n)),
        6 => body.extend(b"bare \r return"),
        _ => body.splice(0..0, b"From somebody with no colon\r\n".to_vec()).for_each(drop),
    }
    body.into()
}

fn append(n: usize) -> Append {
    Append {
        flags: Flags::parse(if n.is_multiple_of(2) { vec!["\\Seen", "$Label"] } else { vec![] }),
        date: DateTime::parse_from_rfc3339("2003-07-01T10:52:37+02:00").ok(),
        body: odd_message(n),
    }
}

/// Appends messages and answers where each landed.
async fn fill(to: &mut dyn Destination, folder: &FolderName, batch: Vec<Append>) -> Vec<ItemId> {
    to.open(folder).await.unwrap();
    to.append(folder, batch).await.unwrap();
    match to.appended().await.unwrap() {
        Appended::Each(fates) => fates
            .into_iter()
            .map(|fate| match fate.unwrap() {
                Landed::At(id) => id,
                Landed::Somewhere => panic!("no APPENDUID"),
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

async fn fetch_all(source: &mut dyn Source, folder: &FolderName, ids: &IdSet) -> Vec<Message> {
    let epoch = source.list(folder).await.unwrap().0;
    let memory = Memory::new(64 << 20);
    let (out, mut messages) = mpsc::channel(4);
    let reading = async {
        let mut all = Vec::new();
        while let Some(message) = messages.recv().await {
            all.push(message);
        }
        all
    };
    let fetching = async {
        let out = out;
        source.fetch(folder, epoch, ids, &memory, &out).await
    };
    let (outcome, all) = tokio::join!(fetching, reading);
    outcome.unwrap();
    all
}

#[tokio::test]
async fn messages_arrive_byte_for_byte_whatever_the_server_offers() {
    let Some(server) = Dovecot::start("") else { return };
    copied_byte_for_byte(&server).await;
}

#[tokio::test]
async fn messages_arrive_byte_for_byte_where_only_small_literals_may_be_sent_at_once() {
    let Some(server) = Dovecot::start("imap_literal_minus = yes") else { return };
    copied_byte_for_byte(&server).await;
}

async fn copied_byte_for_byte(server: &Dovecot) {
    for (n, veto) in [
        &[][..],
        &["MULTIAPPEND"],
        &["LITERAL+"],
        &["LITERAL+", "MULTIAPPEND", "SASL-IR", "LIST-STATUS", "AUTH=PLAIN"],
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("exact{n}");
        let mut to = server.destination(&user, veto).await;
        let first = fill(&mut *to, &inbox(), (0..150).map(append).collect()).await;
        // Two batches in flight on one connection.
        to.append(&inbox(), (150..200).map(append).collect()).await.unwrap();
        to.append(&inbox(), (200..300).map(append).collect()).await.unwrap();
        for n in [50, 100] {
            let Appended::Each(fates) = to.appended().await.unwrap() else { panic!() };
            assert_eq!(fates.len(), n);
        }
        assert_eq!(first, (1..=150).map(ItemId).collect::<Vec<_>>(), "{veto:?}");

        let mut source = server.source(&user, veto).await;
        let ids = IdSet::range(ItemId(1), ItemId(400));
        let messages = fetch_all(&mut *source, &inbox(), &ids).await;
        assert_eq!(messages.len(), 300);
        for (n, message) in messages.iter().enumerate() {
            let sent = append(n);
            assert_eq!(message.id, ItemId(n as u64 + 1));
            assert!(message.body == sent.body, "message {n} differs with {veto:?}");
            assert_eq!(message.flags, sent.flags);
            assert_eq!(message.date, sent.date);
        }
        // What was asked for and only that, also in many pieces.
        let some: IdSet = (1..300).step_by(2).map(ItemId).collect();
        assert_eq!(fetch_all(&mut *source, &inbox(), &some).await.len(), 150);

        let digests = source.digest(&inbox(), &ids).await.unwrap();
        let same = to.digest(&inbox(), &ids).await.unwrap();
        assert_eq!((digests.len(), &digests), (300, &same));
        let sightings = source.sight(&inbox(), &ids).await.unwrap();
        assert_eq!(sightings.len(), 300);
        assert_eq!(sightings[0].message_id.as_deref(), Some("0@test"));
        assert_eq!(sightings[3].size, odd_message(3).len() as u64);
        // Having been looked at in every way has changed no message.
        for (n, item) in source.list(&inbox()).await.unwrap().1.iter().enumerate() {
            assert_eq!(item.flags, Some(append(n).flags), "message {n}");
        }
        source.logout().await;
    }
}

/// What a caller knows of a folder, kept up by changes alone.
#[derive(Default)]
struct Known {
    flags: BTreeMap<ItemId, Flags>,
    cursor: Option<Cursor>,
}

impl Known {
    fn take(&mut self, changes: Changes) {
        for item in changes.items {
            let new = self.flags.insert(item.id, item.flags.expect("told")).is_none();
            assert!(!new || item.meta.is_some(), "{} is new and has no meta", item.id);
        }
        self.flags.retain(|id, _| !changes.gone.holds(*id));
        assert_eq!(self.flags.len() as u64, changes.messages);
        self.cursor = Some(changes.cursor);
    }
}

#[tokio::test]
async fn changes_are_the_same_with_qresync_with_condstore_and_with_neither() {
    let Some(server) = Dovecot::start("") else { return };
    let mut to = server.destination("changes", &[]).await;
    let modes: [&[&str]; 4] =
        [&[], &["QRESYNC"], &["QRESYNC", "CONDSTORE"], &["QRESYNC", "CONDSTORE", "ESEARCH"]];
    let mut known: Vec<Known> = modes.iter().map(|_| Known::default()).collect();
    let mut sources = Vec::new();
    for veto in modes {
        sources.push(server.source("changes", veto).await);
    }
    for round in 0..7 {
        let folder = inbox();
        let epoch = to.open(&folder).await.unwrap().epoch;
        let flag = |id, add, remove| FlagChange { id: ItemId(id), add, remove };
        let seen = Flags::NONE.with(SystemFlag::Seen);
        match round {
            1 => drop(fill(&mut *to, &folder, (0..20).map(append).collect()).await),
            2 => to
                .store_flags(
                    &folder,
                    epoch,
                    &[
                        flag(1, Flags::parse(["\\Flagged", "$New"]), Flags::NONE),
                        flag(2, seen.clone(), Flags::NONE),
                        flag(3, seen.clone(), seen.clone()),
                        flag(999, seen, Flags::NONE),
                    ],
                    &[],
                )
                .await
                .unwrap(),
            3 => to.remove(&folder, epoch, &IdSet::range(ItemId(5), ItemId(7)), &[]).await.unwrap(),
            4 => {
                fill(&mut *to, &folder, (0..3).map(append).collect()).await;
                // One that comes and goes between two looks, and one that was known.
                let both = [ItemId(22), ItemId(12)].into_iter().collect();
                to.remove(&folder, epoch, &both, &[]).await.unwrap();
            }
            6 => {
                let all = IdSet::range(ItemId(1), ItemId(100));
                to.remove(&folder, epoch, &all, &[]).await.unwrap();
            }
            _ => {}
        }
        let listed = sources[0].list(&folder).await.unwrap().1;
        let truth: BTreeMap<_, _> =
            listed.into_iter().map(|item| (item.id, item.flags.expect("told"))).collect();
        for ((source, known), veto) in sources.iter_mut().zip(&mut known).zip(modes) {
            let changes = source.changes(&folder, known.cursor.as_ref()).await.unwrap();
            known.take(changes);
            assert_eq!(known.flags, truth, "round {round} with {veto:?}");
            let statuses = source.folders().await.unwrap();
            let status = statuses.iter().find(|s| s.folder.name == folder).unwrap();
            let mut unchanged = source.unchanged(known.cursor.as_ref().unwrap(), status);
            if veto == ["QRESYNC"] && !unchanged {
                // Messages left and no change was shown: it asks once more, and no more than once.
                let changes = source.changes(&folder, known.cursor.as_ref()).await.unwrap();
                known.take(changes);
                assert_eq!(known.flags, truth, "round {round}, asked again");
                unchanged = source.unchanged(known.cursor.as_ref().unwrap(), status);
            }
            assert_eq!(unchanged, !veto.contains(&"CONDSTORE"), "round {round} with {veto:?}");
        }
    }
}

#[tokio::test]
async fn a_change_of_flags_alone_is_noticed_before_a_survey() {
    let Some(server) = Dovecot::start("") else { return };
    let mut to = server.destination("noticed", &[]).await;
    fill(&mut *to, &inbox(), vec![append(0)]).await;
    let mut source = server.source("noticed", &[]).await;
    let changes = source.changes(&inbox(), None).await.unwrap();
    let add = Flags::NONE.with(SystemFlag::Flagged);
    let change = FlagChange { id: ItemId(1), add, remove: Flags::NONE };
    to.store_flags(&inbox(), changes.epoch, &[change], &[]).await.unwrap();
    let statuses = source.folders().await.unwrap();
    let status = statuses.iter().find(|s| s.folder.name == inbox()).unwrap();
    assert!(!source.unchanged(&changes.cursor, status));
    let again = source.changes(&inbox(), Some(&changes.cursor)).await.unwrap();
    assert_eq!(again.items.len(), 1);
    assert!(again.items[0].flags.clone().expect("told").contains(SystemFlag::Flagged));
    assert_eq!(again.gone, Gone::These(IdSet::new()));
}

#[tokio::test]
async fn tls_is_verified_and_starttls_is_not_negotiable() {
    let Some(server) = Dovecot::start("") else { return };
    for tls in [Tls::Implicit, Tls::Starttls] {
        let account = server.account("tls", tls);
        platform::source(&account, &Options::default()).await.unwrap().ping().await.unwrap();

        let mut untrusted = account.clone();
        let endpoint = Arc::make_mut(&mut untrusted.endpoint);
        endpoint.ca_file = None;
        let refused = platform::source(&untrusted, &Options::default()).await.err();
        assert!(matches!(refused, Some(Error::Tls { .. })), "{refused:?}");

        let mut elsewhere = account.clone();
        Arc::make_mut(&mut elsewhere.endpoint).host = "localhost".into();
        let refused = platform::source(&elsewhere, &Options::default()).await.err();
        assert!(matches!(refused, Some(Error::Tls { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_trusted_where_it_is_named() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let files = tempfile::tempdir().unwrap();
    let (cert, key_file) = (files.path().join("cert"), files.path().join("key"));
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let extra = format!("ssl_cert = <{}\nssl_key = <{}\n", cert.display(), key_file.display());
    let Some(server) = Dovecot::start(&extra) else { return };

    let mut account = server.account("self", Tls::Implicit);
    let unnamed = platform::source(&account, &Options::default()).await.err();
    assert!(matches!(unnamed, Some(Error::Tls { .. })), "{unnamed:?}");
    Arc::make_mut(&mut account.endpoint).ca_file = Some(cert);
    platform::source(&account, &Options::default()).await.unwrap();
    Arc::make_mut(&mut account.endpoint).host = "localhost".into();
    let misnamed = platform::source(&account, &Options::default()).await.err();
    assert!(matches!(misnamed, Some(Error::Tls { .. })), "{misnamed:?}");
}

#[tokio::test]
async fn a_master_user_enters_for_another_and_a_wrong_password_does_not() {
    let Some(server) = Dovecot::start("") else { return };
    let mut to = server.destination("owned", &[]).await;
    fill(&mut *to, &inbox(), vec![append(1)]).await;

    std::fs::write(server.file("masterpw"), "masterpw\n").unwrap();
    let mut account = server.account("owned", Tls::None);
    let password = SecretRef::File(server.file("masterpw"));
    let (form, alias) = (MasterForm::Authzid, None);
    account.login = Login::MasterUser { user: "master".into(), password, form, alias };
    for veto in [&[][..], &["SASL-IR"]] {
        let mut source = platform::source(&account, &vetoing(veto)).await.unwrap();
        assert_eq!(source.list(&inbox()).await.unwrap().1.len(), 1);
    }

    account.login = Login::Password(SecretRef::File(server.file("masterpw")));
    let refused = platform::source(&account, &Options::default()).await.err();
    assert!(matches!(refused, Some(Error::Credentials { .. })), "{refused:?}");
    assert!(!format!("{refused:?}").contains("masterpw"));
}

#[tokio::test]
async fn a_full_account_and_a_refused_message_are_told_apart() {
    let quota = "mail_plugins = quota\nplugin {\n quota = maildir:user\n quota_rule = *:storage=200k\n quota_max_mail_size = 60k\n}\n";
    let Some(server) = Dovecot::start(quota) else { return };
    let body = |size: usize| Append {
        flags: Flags::NONE,
        date: None,
        body: [&b"Subject: x\r\n\r\n"[..], &vec![b'x'; size]].concat().into(),
    };
    for (n, veto) in [&[][..], &["MULTIAPPEND"], &["LITERAL+"]].into_iter().enumerate() {
        let mut to = server.destination(&format!("quota{n}"), veto).await;
        to.open(&inbox()).await.unwrap();
        to.append(&inbox(), vec![body(10), body(100_000), body(10)]).await.unwrap();
        match to.appended().await.unwrap() {
            Appended::Refused(refusal) => assert!(!refusal.transient && veto.is_empty()),
            Appended::Cut(_, error) => panic!("{error}"),
            Appended::Each(fates) => {
                assert!(fates[0].is_ok() && fates[2].is_ok(), "{veto:?} {fates:?}");
                let refusal = fates[1].as_ref().unwrap_err();
                assert_eq!((refusal.code.as_deref(), refusal.transient), (Some("LIMIT"), false));
            }
        }
        to.append(&inbox(), (0..5).map(|_| body(50_000)).collect()).await.unwrap();
        let full = match to.appended().await {
            // What was taken before it was full stands.
            Ok(Appended::Cut(fates, error)) if fates.iter().all(Result::is_ok) => Err(error),
            other => other,
        };
        assert!(matches!(full, Err(Error::Quota(_))), "{veto:?} {full:?}");
        // The connection is still good.
        to.list(&inbox()).await.unwrap();
    }
}

#[tokio::test]
async fn folders_have_paths_roles_and_numbers() {
    let Some(server) = Dovecot::start("") else { return };
    for (n, veto) in [&[][..], &["LIST-STATUS"], &["LIST-STATUS", "NAMESPACE", "SPECIAL-USE"]]
        .into_iter()
        .enumerate()
    {
        let mut to = server.destination(&format!("folders{n}"), veto).await;
        assert_eq!(to.naming().await.unwrap().separator, Some('/'));
        let paths = ["Entwürfe & 日本語", "A \"quoted\" \\name", "Parent/Child", "100% *"];
        for path in paths {
            let name = to.naming().await.unwrap().name(&FolderPath::parse(path));
            to.create_folder(&name, None).await.unwrap();
            to.create_folder(&name, None).await.unwrap();
            fill(&mut *to, &name, vec![append(0), append(1)]).await;
        }
        let statuses = to.folders().await.unwrap();
        let find = |path: &str| {
            let path = FolderPath::parse(path);
            statuses.iter().find(|s| s.folder.path == path).unwrap_or_else(|| panic!("{path}"))
        };
        for path in paths {
            assert_eq!(find(path).messages, Some(2), "{path}");
            assert_eq!(find(path).next, Some(ItemId(3)), "{path}");
        }
        assert_eq!(find("INBOX").folder.role, Some(Role::Inbox));
        assert_eq!(find("Sent").folder.role, Some(Role::Sent));
        assert!(find("Parent").cursor.is_none() || find("Parent").selectable);

        let missing = FolderName(b"missing".to_vec());
        assert!(matches!(to.open(&missing).await, Err(Error::FolderGone(_))));
        let mut source = server.source(&format!("folders{n}"), veto).await;
        assert!(matches!(source.changes(&missing, None).await, Err(Error::FolderGone(_))));
        let child = to.naming().await.unwrap().name(&FolderPath::parse("Parent/Child"));
        to.rename_folder(&child, &missing).await.unwrap();
        assert_eq!(source.list(&missing).await.unwrap().1.len(), 2);
        assert!(matches!(source.list(&child).await, Err(Error::FolderGone(_))));
    }
}

#[tokio::test]
async fn messages_are_moved_and_the_new_places_are_told() {
    let Some(server) = Dovecot::start("") else { return };
    for (n, veto) in [&[][..], &["MOVE"]].into_iter().enumerate() {
        let mut to = server.destination(&format!("moves{n}"), veto).await;
        let archive = FolderName(b"Archive".to_vec());
        to.create_folder(&archive, Some(Role::Archive)).await.unwrap();
        let ids = fill(&mut *to, &inbox(), (0..6).map(append).collect()).await;
        let opened = to.open(&inbox()).await.unwrap();
        assert_eq!((opened.messages, opened.next), (6, ItemId(7)));
        assert_eq!(opened.keywords, KeywordRule::Any);
        let before = to.digest(&inbox(), &ids.iter().copied().collect()).await.unwrap();
        let order = [4, 2, 3, 77].map(ItemId);
        let places = to.move_items(&inbox(), opened.epoch, &order, &archive, &[]).await.unwrap();
        assert_eq!(places, [Some(ItemId(1)), Some(ItemId(2)), Some(ItemId(3)), None]);
        let after = to.digest(&archive, &IdSet::range(ItemId(1), ItemId(3))).await.unwrap();
        for (from, at) in order.iter().zip(&places).filter_map(|(f, p)| Some((f, (*p)?))) {
            assert_eq!(before[from], after[&at]);
        }
        assert_eq!(to.list(&inbox()).await.unwrap().1.len(), 3);

        let stale = drover::model::Epoch(opened.epoch.0 + 1);
        let refused = to.remove(&inbox(), stale, &IdSet::range(ItemId(1), ItemId(9)), &[]).await;
        assert!(matches!(refused, Err(Error::EpochChanged(_))));
        assert_eq!(to.list(&inbox()).await.unwrap().1.len(), 3);
    }
}

#[tokio::test]
async fn without_uidplus_a_removal_only_marks() {
    let Some(server) = Dovecot::start("") else { return };
    let mut to = server.destination("marks", &["UIDPLUS"]).await;
    fill(&mut *to, &inbox(), vec![append(0), append(1)]).await;
    let epoch = to.open(&inbox()).await.unwrap().epoch;
    to.remove(&inbox(), epoch, &IdSet::range(ItemId(1), ItemId(1)), &[]).await.unwrap();
    let items = to.list(&inbox()).await.unwrap().1;
    let marked: Vec<bool> = items
        .iter()
        .map(|i| i.flags.clone().expect("told").contains(SystemFlag::Deleted))
        .collect();
    assert_eq!(marked, [true, false]);
    assert!(items[0].flags.clone().expect("told").keywords().eq([&Keyword("$Label".into())]));
}

#[tokio::test]
async fn the_budget_holds_a_fetch_back() {
    let Some(server) = Dovecot::start("") else { return };
    let mut to = server.destination("budget", &[]).await;
    let ids = fill(&mut *to, &inbox(), vec![append(3), append(11), append(19)]).await;
    let epoch = to.open(&inbox()).await.unwrap().epoch;
    let mut source = server.source("budget", &[]).await;
    let memory = Memory::new(150_000);
    let (out, mut messages) = mpsc::channel(8);
    let ids = ids.into_iter().collect();
    let fetching = tokio::spawn(async move {
        source.fetch(&inbox(), epoch, &ids, &memory, &out).await.unwrap();
    });
    let first = messages.recv().await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(300), messages.recv()).await;
    assert!(second.is_err(), "two bodies of 100 kB in a budget of 150 kB");
    drop(first);
    drop(messages.recv().await.unwrap());
    drop(messages.recv().await.unwrap());
    fetching.await.unwrap();
}

#[tokio::test]
async fn below_an_inbox_prefix_folders_are_found_and_made() {
    let lines = "prefix = INBOX.\n separator = .";
    let Some(server) = Dovecot::start_with(lines, "") else { return };
    let mut to = server.destination("prefixed", &[]).await;
    assert_eq!(to.naming().await.unwrap().prefix, "INBOX.");
    let name = to.naming().await.unwrap().name(&FolderPath::parse("Projects/Grün"));
    assert_eq!(name.0, b"INBOX.Projects.Gr&APw-n");
    to.create_folder(&name, None).await.unwrap();
    fill(&mut *to, &name, vec![append(0)]).await;
    let statuses = to.folders().await.unwrap();
    let paths: Vec<String> = statuses.iter().map(|s| s.folder.path.to_string()).collect();
    for path in ["INBOX", "Sent", "Projects/Grün"] {
        assert!(paths.iter().any(|p| p == path), "{paths:?}");
    }
    let node = statuses.iter().find(|s| s.folder.path == FolderPath::parse("Projects"));
    assert!(node.is_none_or(|node| !node.selectable));
}
