//! Sign-ins that are refused: what an administrator is told to do, and how often a server is bothered.

mod support;

use std::time::Duration;

use support::drover::{BY_PASSWORD, QUICK, loopback, mailbox};
use support::standin::{Builder, MailboxBuilder, Standin};
use support::{Dovecot, Drover, note};

/// A source, entered by `auth`, and a destination that is anybody's.
fn between(source: u16, platform: &str, auth: &str, destination: &Dovecot) -> String {
    loopback("source", source)
        + &format!("platform = \"{platform}\"\n[source.auth]\n{auth}\n")
        + &loopback("destination", destination.port())
        + BY_PASSWORD
        + "[sync]\nevery = \"1s\"\n"
}

fn mailboxes(users: &[&str]) -> String {
    users.iter().map(|user| mailbox(user, user)).collect()
}

const PASSWORD: &str = "password = { file = \"../secrets/pw\" }";

fn server(
    builder: Builder,
    prepare: impl FnOnce(MailboxBuilder) -> MailboxBuilder + 'static,
) -> Standin {
    builder.user("anna", |mailbox| prepare(mailbox).notes("INBOX", ["one"])).start()
}

/// What the two commands that people look at print of a source that says this.
fn told(source: &Standin, platform: &str) -> [String; 2] {
    let destination = Dovecot::start();
    let mut drover = Drover::new();
    drover.define(
        "move",
        &(between(source.port(), platform, PASSWORD, &destination) + &mailboxes(&["anna"])),
    );
    let checked = drover.expect(1, &["check", "--connect"]);
    drover.start();
    drover.until_phase("move", "blocked");
    [checked, drover.expect(0, &["status", "move"])]
}

#[test]
fn each_platforms_refusal_is_answered_with_what_to_do_there() {
    let answers: [(Standin, &str, &str); 6] = [
        (
            server(Standin::gmail(), |anna| {
                anna.refuses("NO [ALERT] Your account is not enabled for IMAP use")
            }),
            "gmail",
            "admin.google.com/ac/apps/gmail/enduseraccess",
        ),
        (
            server(Standin::gmail(), |anna| {
                anna.refuses_passwords(
                    "NO [ALERT] Application-specific password required: \
                     https://support.google.com/accounts/answer/185833 (Failure)",
                )
            }),
            "gmail",
            "myaccount.google.com/apppasswords",
        ),
        (
            server(Standin::microsoft365().with_passwords(), MailboxBuilder::not_connected),
            "exchange",
            "Set-CASMailbox anna -ImapEnabled $true",
        ),
        (
            server(Standin::yahoo(), |anna| {
                anna.refuses("NO [AUTHENTICATIONFAILED] AUTHENTICATE Invalid credentials")
            }),
            "yahoo",
            "login.yahoo.com/account/security",
        ),
        (
            server(Standin::plain(), |anna| {
                anna.refuses("NO SELECT Unsafe Login. Please contact kefu@188.com for help")
            }),
            "netease",
            "authorisation code",
        ),
        // In the words of everybody: the platform is all there is to go by.
        (
            server(Standin::plain(), |anna| {
                anna.refuses("NO [AUTHENTICATIONFAILED] Authentication failed")
            }),
            "icloud",
            "account.apple.com",
        ),
    ];
    for (source, platform, wanted) in &answers {
        for said in told(source, platform) {
            // A table breaks lines.
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(wanted), "{platform}: {said}");
        }
    }
}

/// Longer than several passes' time.
const A_WHILE: Duration = Duration::from_secs(4);

#[test]
fn a_dead_password_is_tried_once_for_each_mailbox_and_a_changed_one_at_once() {
    let users = ["anna", "bela", "caro"];
    let fill = |server: Builder, user| server.user(user, |mailbox| mailbox.notes("INBOX", ["one"]));
    let source = users.into_iter().fold(Standin::plain(), fill).start();
    let destination = Dovecot::start();
    let mut drover = Drover::new();
    drover.write("config.toml", QUICK);
    drover.write("secrets/theirs", "wrong\n");
    let auth = "password = { file = \"../secrets/theirs\" }";
    drover
        .define("move", &(between(source.port(), "imap", auth, &destination) + &mailboxes(&users)));
    drover.start();
    drover.until("all blocked", |d| d.migration("move")["counts"]["blocked"] == 3);
    std::thread::sleep(A_WHILE);
    assert_eq!(users.map(|user| source.sign_ins(user)), [1, 1, 1]);
    drover.write("secrets/theirs", "pw\n");
    drover.until("all seeded", |d| d.migration("move")["counts"]["syncing"] == 3);
    for user in users {
        assert_eq!(destination.connect(user).uids("INBOX").len(), 1, "{user}");
    }
}

#[test]
fn a_dead_master_password_is_tried_once_for_all_mailboxes() {
    let source = Dovecot::builder().master_user("admin", "good").raw_conf("auth_verbose = yes");
    let source = source.start();
    let users = ["anna", "bela", "caro", "dora", "emil", "fritz", "gila", "hans"];
    for user in users {
        source.connect(user).append_many("INBOX", &[note("one")]);
    }
    let destination = Dovecot::start();
    let mut drover = Drover::new();
    drover.write("config.toml", QUICK);
    drover.write("secrets/admin", "wrong\n");
    let auth =
        "method = \"master-user\"\nuser = \"admin\"\npassword = { file = \"../secrets/admin\" }";
    drover
        .define("move", &(between(source.port(), "imap", auth, &destination) + &mailboxes(&users)));
    drover.start();
    drover.until("all blocked", |d| d.migration("move")["counts"]["blocked"] == 8);
    std::thread::sleep(A_WHILE);
    let refused = source.log().matches("Password mismatch").count();
    assert_eq!(refused, 1, "{}", source.log());
    drover.write("secrets/admin", "good\n");
    drover.until("all seeded", |d| d.migration("move")["counts"]["syncing"] == 8);
}
