use super::super::reply::{Reply, read};
use super::super::wire::Part;
use super::*;

fn said(line: &str) -> Saying {
    match read(vec![Part::Text(line.as_bytes().to_vec().into())]) {
        Reply::Tagged(_, saying) | Reply::Status(saying) => saying,
        other => panic!("{line}: {other:?}"),
    }
}

/// As it comes on the wire: a BYE has no tag.
fn on_the_wire(example: &str) -> String {
    let mark = if example.starts_with("BYE") { "*" } else { "a1" };
    format!("{mark} {example}")
}

const ALL: [During; 6] =
    [During::SignIn, During::Append, During::Copy, During::Create, During::Fetch, During::Other];

#[test]
fn every_row_is_found_by_its_own_example() {
    for row in table::rows() {
        let saying = said(&on_the_wire(&row.example));
        let when = if row.during.is_empty() { &ALL[..] } else { &row.during };
        let verdict = row.verdict(&saying.text.to_ascii_lowercase());
        let found = when.iter().any(|&during| Sayings::default().read(&saying, during) == verdict);
        assert!(found, "a row above hides this one: {}", row.example);
    }
}

#[test]
fn what_is_looked_for_can_be_found() {
    for row in table::rows() {
        assert_eq!(row.text, row.text.to_ascii_lowercase(), "texts are compared in lower case");
        assert_eq!(row.code, row.code.to_ascii_uppercase(), "codes are compared in upper case");
        assert!(!(row.code.is_empty() && row.text.is_empty()), "{}", row.example);
    }
}

#[test]
fn what_servers_say_is_understood() {
    use During::{Append, Copy, Create, Fetch, Other, SignIn};
    use Scope::{Account, Connection, Folder, Mailbox, Message, Server};
    let minute = Duration::from_secs(60);
    let hour = 60 * minute;
    let none = Duration::ZERO;
    let ms = Duration::from_millis;
    for (line, during, class, delay, parks) in [
        // Waiting.
        (
            "a BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds",
            Other,
            Class::Throttled,
            ms(92415),
            Account,
        ),
        (
            "a NO Request is throttled. Suggested Backoff Time: 300000 milliseconds",
            Append,
            Class::Throttled,
            ms(300_000),
            Account,
        ),
        (
            "a BAD Request is throttled. Suggested Backoff Time: 999999999999999999999999 ms",
            Other,
            Class::Throttled,
            24 * hour,
            Account,
        ),
        (
            "a BAD Request is throttled. Suggested Backoff Time: 999999999999 ms",
            Other,
            Class::Throttled,
            24 * hour,
            Account,
        ),
        (
            "a BAD Request is throttled. Suggested Backoff Time: soon",
            Other,
            Class::Throttled,
            minute,
            Account,
        ),
        (
            "a NO [OVERQUOTA] Account exceeded command or bandwidth limits",
            Fetch,
            Class::Throttled,
            hour,
            Account,
        ),
        (
            "a NO [OVERQUOTA] Account exceeded command or bandwidth limits",
            Append,
            Class::Throttled,
            hour,
            Account,
        ),
        (
            "a NO [ALERT] Account exceeded command or bandwidth limits. (Failure)",
            SignIn,
            Class::Throttled,
            hour,
            Account,
        ),
        (
            "* BYE [OVERQUOTA] Account exceeded command or bandwidth limits",
            SignIn,
            Class::Throttled,
            hour,
            Account,
        ),
        ("a NO [THROTTLED] no", Other, Class::Throttled, minute, Account),
        ("a OK Success [THROTTLED]", Append, Class::Slowed, 15 * minute, Server),
        ("a OK [THROTTLED] Success", Fetch, Class::Slowed, 15 * minute, Server),
        ("a NO [LIMIT] IMAP command sent too fast", Other, Class::Throttled, minute, Account),
        // Space.
        (
            "a NO [OVERQUOTA] Quota exceeded (mailbox for user is full)",
            Append,
            Class::Quota,
            none,
            Mailbox,
        ),
        (
            "a NO [OVERQUOTA] Quota exceeded (mailbox for user is full)",
            Copy,
            Class::Quota,
            none,
            Mailbox,
        ),
        ("a NO Mailbox is full", Append, Class::Quota, none, Mailbox),
        // Connections.
        (
            "a NO [ALERT] Too many simultaneous connections. (Failure)",
            SignIn,
            Class::Crowded,
            minute,
            Server,
        ),
        (
            "* BYE [ALERT] Too many simultaneous connections. (Failure)",
            Other,
            Class::Crowded,
            minute,
            Server,
        ),
        (
            "a NO [LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=3)",
            SignIn,
            Class::Crowded,
            minute,
            Server,
        ),
        // LIMIT in its three meanings, and in a fourth.
        ("a NO [LIMIT] no more", SignIn, Class::Crowded, minute, Server),
        (
            "a NO [LIMIT] Mail size is larger than the maximum size allowed by server configuration",
            Append,
            Class::Permanent,
            none,
            Message,
        ),
        ("a NO [LIMIT] no", Other, Class::Throttled, minute, Account),
        ("a NO [LIMIT] Too many folders", Create, Class::Permanent, none, Folder),
        // Credentials.
        (
            "a NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
            SignIn,
            Class::Credentials,
            none,
            Mailbox,
        ),
        (
            "a NO [AUTHENTICATIONFAILED] (#AUTH005) Too many bad auth attempts.",
            SignIn,
            Class::Credentials,
            none,
            Mailbox,
        ),
        ("a NO AUTHENTICATE failed.", SignIn, Class::Credentials, none, Mailbox),
        ("a NO", SignIn, Class::Credentials, none, Mailbox),
        (
            "a NO [ALERT] Your account is not enabled for IMAP use",
            SignIn,
            Class::Forbidden,
            none,
            Mailbox,
        ),
        (
            "a NO [ALERT] Application-specific password required: https://x (Failure)",
            SignIn,
            Class::Credentials,
            none,
            Mailbox,
        ),
        ("a BAD User is authenticated but not connected.", Other, Class::Forbidden, none, Mailbox),
        ("a NO [CONTACTADMIN] locked", SignIn, Class::Forbidden, none, Mailbox),
        ("a NO [NOPERM] no", Create, Class::Permanent, none, Folder),
        ("* BYE Session invalidated - AccessTokenExpired", Other, Class::Expired, none, Connection),
        ("a NO Session invalidated - AccessTokenExpired", Fetch, Class::Expired, none, Connection),
        ("* BYE Session expired, please login again.", Append, Class::Expired, none, Connection),
        // One message.
        ("a BAD Command Argument Error. 11", Append, Class::Permanent, none, Message),
        (
            "a NO Maximum size of appendable message has been exceeded",
            Append,
            Class::TooBig,
            none,
            Message,
        ),
        ("a NO [TOOBIG] Message too large.", Append, Class::TooBig, none, Message),
        ("a NO [CORRUPTION] bad", Fetch, Class::Permanent, none, Message),
        ("a NO [CORRUPTION] bad", Other, Class::Transient, none, Folder),
        ("a NO [PARSE] bad", Fetch, Class::Permanent, none, Message),
        (
            "a BAD [CLIENTBUG] FETCH Bad sequence in the command",
            Fetch,
            Class::Permanent,
            none,
            Message,
        ),
        ("a NO", Append, Class::Permanent, none, Message),
        // One folder.
        ("a NO [TRYCREATE] no", Append, Class::FolderGone, none, Folder),
        (
            "a NO [NONEXISTENT] Unknown Mailbox: [Gmail] (now in authenticated state) (Failure)",
            Other,
            Class::FolderGone,
            none,
            Folder,
        ),
        ("a NO [ALREADYEXISTS] x", Create, Class::Exists, none, Folder),
        ("a NO Folder name is reserved", Create, Class::NameTaken, none, Folder),
        (
            "a NO [CANNOT] Folder contains excess whitespace (Failure)",
            Create,
            Class::NameTaken,
            none,
            Folder,
        ),
        // It will pass.
        (
            "a NO [UNAVAILABLE] Temporary System Problem (Failure)",
            SignIn,
            Class::Transient,
            none,
            Connection,
        ),
        ("* BYE [UNAVAILABLE] System Error", Other, Class::Transient, none, Connection),
        ("a NO [SERVERBUG] MOVE Server error", Copy, Class::Transient, none, Connection),
        ("a NO [INUSE] x", Other, Class::Transient, none, Folder),
        ("a NO [EXPUNGEISSUED] x", Fetch, Class::Transient, none, Folder),
        ("a NO Server Unavailable. 15", SignIn, Class::Transient, none, Connection),
        ("a BAD Command received in Invalid state", Other, Class::Transient, none, Connection),
        ("* BYE Connection closed. 14", Append, Class::Transient, none, Connection),
        ("* BYE", Other, Class::Transient, none, Connection),
        // Nothing at all.
        ("a OK", Append, Class::Nothing, none, Message),
        ("a OK [ALERT] Too many connections, quota exceeded", Other, Class::Nothing, none, Message),
    ] {
        let verdict = Sayings::default().read(&said(line), during);
        let found = (verdict.class, verdict.delay, verdict.parks);
        assert_eq!(found, (class, delay, parks), "{line} {during:?}");
    }
}

#[test]
fn what_may_help_a_refused_message_is_known() {
    for (line, remedy) in [
        (
            "a BAD [CLIENTBUG] Additional arguments found after last expected argument",
            Some(Remedy::FinalLineEnd),
        ),
        ("a NO Message contains bare newlines", Some(Remedy::LineEnds)),
        ("a NO Keyword not allowed", Some(Remedy::Keywords)),
        ("a BAD Invalid system flag \\Flagged", Some(Remedy::Flags)),
        ("a NO Message contains NUL characters", None),
    ] {
        let verdict = Sayings::default().read(&said(line), During::Append);
        assert_eq!(verdict.remedy, remedy, "{line}");
    }
}

#[test]
fn every_advice_is_found_by_its_own_example() {
    for row in advice::ROWS {
        assert_eq!(row.text, row.text.to_ascii_lowercase(), "texts are compared in lower case");
        let saying = said(&on_the_wire(row.example));
        let ways = if row.entered.is_empty() { &WAYS[..] } else { row.entered };
        for &entered in ways {
            let found = advice::find(&saying, entered).map(|found| found.advice);
            assert_eq!(found, Some(row.advice), "{entered:?}: {}", row.example);
        }
    }
}

const WAYS: [Entered; 5] = [
    Entered::Password,
    Entered::Master,
    Entered::Application,
    Entered::Delegation,
    Entered::Consent,
];

/// Else it would be tried again and again, and nobody would read the advice.
#[test]
fn what_there_is_advice_about_keeps_drover_out() {
    for row in advice::ROWS {
        let class = Sayings::default().read(&said(&on_the_wire(row.example)), During::SignIn).class;
        assert!(matches!(class, Class::Credentials | Class::Forbidden), "{}", row.example);
    }
}

#[test]
fn advice_names_the_account_and_goes_by_how_it_was_entered() {
    let failed = said("a NO AUTHENTICATE failed.");
    let by = |entered| Sayings::advice(&failed, entered, "anna@acme.example").unwrap_or_default();
    let application = by(Entered::Application);
    assert!(application.contains("New-ServicePrincipal"), "{application}");
    assert!(application.contains("Set-CASMailbox anna@acme.example -ImapEnabled"), "{application}");
    let consent = by(Entered::Consent);
    assert!(consent.contains("IMAP.AccessAsUser.All"), "{consent}");
    assert!(by(Entered::Master).contains("FullAccess"));
    // No other server of Google's kind says so.
    assert_eq!(by(Entered::Delegation), "");
}

#[test]
fn rows_of_a_preset_go_before_the_common_ones() {
    let own = Row {
        code: "OVERQUOTA".into(),
        text: "".into(),
        during: [].as_slice().into(),
        class: Class::Transient,
        wait: Wait::Backoff,
        parks: Scope::Folder,
        remedy: None,
        example: "".into(),
    };
    let saying = said("a NO [OVERQUOTA] Quota exceeded");
    let read = |sayings: Sayings| sayings.read(&saying, During::Append).class;
    assert_eq!(read(Sayings::with(vec![own])), Class::Transient);
    assert_eq!(read(Sayings::default()), Class::Quota);
}

/// Operators read docs/sayings.md; it is written from the table. `UPDATE_DOCS=1` writes it anew.
#[test]
fn the_documentation_is_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sayings.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "run this test with UPDATE_DOCS=1");
}

fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    for row in table::rows() {
        let what = match (&*row.code, &*row.text) {
            ("", text) => format!("“{text}”"),
            (code, "") => format!("`[{code}]`"),
            (code, text) => format!("`[{code}]` “{text}”"),
        };
        let when: Vec<&str> = row.during.iter().map(|&during| doing(during)).collect();
        let when = if when.is_empty() { "at any time".to_owned() } else { when.join(", ") };
        let (does, wait, parks) = (reaction(row), wait(row.wait), stands(row));
        page += &format!("| {what} | {when} | {does} | {wait} | {parks} | `{}` |\n", row.example);
    }
    page += ADVICE;
    for row in advice::ROWS {
        let ways: Vec<&str> = row.entered.iter().map(|&entered| entering(entered)).collect();
        let ways = if ways.is_empty() { "any way".to_owned() } else { ways.join(", ") };
        let advice = row.advice.replace("{user}", "*account*").replace('<', "\\<");
        page += &format!("| `{}` | {ways} | {advice} |\n", row.example);
    }
    page
}

const ADVICE: &str = "
## What to do when drover is not let in

`drover status` and `drover check --connect` say it with the account's name. Of other refusals they say
what is known of the platform: where its app passwords are made, and where IMAP is switched on (see
[platforms](platforms.md)). This table is written from `src/platform/imap/sayings/advice.rs`. What the
places say where tokens are asked for is answered the same way; see [sign-in](sign-in.md).

| for example | entered by | what to do |
|---|---|---|
";

const fn entering(entered: Entered) -> &'static str {
    match entered {
        Entered::Password => "`password`",
        Entered::Master => "`master-user`",
        Entered::Application => "`client-credentials`",
        Entered::Delegation => "`service-account`",
        Entered::Consent => "`refresh-token`",
    }
}

const INTRODUCTION: &str = "# What servers say, and what drover does

Read from the top: the first row that fits decides. Words in quotes are found anywhere in the
text, in upper or lower case; `[CODES]` are response codes (RFC 5530 and others). A refusal that
no row knows concerns the one message or folder it was said of; while signing in, the credentials;
a BYE that no row knows, the connection. This page is written from the table in
`src/platform/imap/sayings/table/`, which also says where each row is known from.

| said | while | what drover does | waits | what stands still | for example |
|---|---|---|---|---|---|
";

const fn doing(during: During) -> &'static str {
    match during {
        During::SignIn => "signing in",
        During::Append => "APPEND",
        During::Copy => "COPY, MOVE",
        During::Create => "CREATE, RENAME",
        During::Fetch => "FETCH",
        During::Other => "anything else",
    }
}

fn wait(wait: Wait) -> String {
    let time = |time: Duration| match time.as_secs() {
        secs if secs >= 3600 => format!("{} h", secs / 3600),
        secs => format!("{} min", secs / 60),
    };
    match wait {
        Wait::Backoff => "–".into(),
        Wait::For(delay) => time(delay),
        Wait::Suggested => format!("as it says, {} at most", time(LONGEST)),
        Wait::Doubling(first, most) => {
            format!("{}, then twice as long, up to {}", time(first), time(most))
        }
    }
}

fn reaction(row: &Row) -> &'static str {
    match row.remedy {
        Some(Remedy::FinalLineEnd) => {
            return "adds a line end at the message's end, once, and notes it (`drover failed`)";
        }
        Some(Remedy::LineEnds) => {
            return "makes bare newlines CRLF, once, and notes it (`drover failed`)";
        }
        Some(Remedy::Keywords) => {
            return "leaves the message's keywords out, once, and notes it (`drover failed`)";
        }
        Some(Remedy::Flags) => {
            return "leaves flags but `\\Seen` and `\\Draft` out, once, and notes it (`drover failed`)";
        }
        None => {}
    }
    match row.class {
        Class::Credentials => {
            "blocks until the secret or the definition changes; never tried in a loop"
        }
        Class::Expired => {
            "signs in anew with the secret as it is now, and goes on; if that is no good either, as for refused credentials"
        }
        Class::Forbidden => "blocks until an operator has opened the account",
        Class::Throttled => "waits, on all connections of the account; a state, not a failure",
        Class::Crowded => "waits; half as many connections from then on, and one more each minute",
        Class::Slowed => {
            "goes on with half as many connections, one more each minute, and waits five times as long for replies"
        }
        Class::Quota => {
            "blocks until there is room and `drover sync` or a changed definition says so"
        }
        Class::FolderGone => {
            "makes the folder anew and goes on, once a pass; at the source it has vanished"
        }
        Class::Exists => "takes it for done",
        Class::NameTaken => {
            "spells the folder's name otherwise, at last with `=` at its end, and notes it"
        }
        Class::Transient => "tries again, after the usual backoff",
        Class::TooBig => "skips the message; the rest goes on",
        Class::Permanent if row.parks == Scope::Folder => {
            "fails the pass in the server's words, and tries again"
        }
        Class::Permanent => "notes the message as failed; after three passes it is skipped",
        Class::Nothing => "nothing",
    }
}

fn stands(row: &Row) -> &'static str {
    match row.parks {
        Scope::Message => "the message",
        Scope::Folder => "the folder",
        Scope::Connection => "the connection",
        Scope::Mailbox => "the mailbox",
        Scope::Account => "the account",
        Scope::Server => "other connections to the server",
    }
}
