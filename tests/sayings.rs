//! What servers say, over whole passes: each saying has its reaction, and afterwards nothing is
//! lost or doubled. The sayings themselves are tested beside their table; docs/sayings.md.

mod support;

use std::time::Duration;

use drover::model::PassKind;
use drover::platform::{self, Retry, Scope};
use drover::sync::{self, Side};
use support::mail::Mail;
use support::proxy::{Proxy, What, When};
use support::{Dovecot, Drover, Options, World, definition, note, subjects};

const SOURCE: Side = Side::Source;
const DESTINATION: Side = Side::Destination;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Two servers with a little mail at the source, and a proxy before each.
async fn world() -> (World, Proxy, Proxy) {
    let mut world = World::new().await;
    let (source, destination) = (world.tap_source(), world.tap_destination());
    let mut at = world.at_source();
    at.append_many("INBOX", &["one", "two", "three"].map(note));
    at.create("Projects");
    at.append_many("Projects", &["four", "five"].map(note));
    (world, source, destination)
}

fn error_of(result: Result<sync::Report, sync::Error>, case: &str) -> (Side, platform::Error) {
    match result {
        Err(sync::Error::Platform { side, error }) => (side, error),
        other => panic!("{case}: {other:?}"),
    }
}

/// Without the fault, and without what was asked for because of it, all is well.
async fn assert_converges(world: &mut World, case: &str) {
    world.close_ledger().await;
    world.open_ledger().await;
    for _ in 0..3 {
        if world.try_pass(PassKind::Delta).await.is_ok_and(|report| report.quiet) {
            break;
        }
    }
    println!("{case}");
    world.assert_same_but(&Options::any_order());
}

type Is = fn(&platform::Error) -> bool;

fn throttled(error: &platform::Error) -> bool {
    matches!(error, platform::Error::Throttled { .. })
}

#[tokio::test]
async fn each_saying_has_its_reaction_at_each_command() {
    use platform::Error::{Broken, Credentials, Forbidden, Quota, Refused};
    let bandwidth = "NO [OVERQUOTA] Account exceeded command or bandwidth limits";
    let backoff = "BAD Request is throttled. Suggested Backoff Time: 60000 milliseconds";
    let refused: Is = |e| matches!(e, Refused { refusal, .. } if refusal.transient);
    let broken: Is = |e| matches!(e, Broken { .. });
    let cases: &[(Side, &str, &str, Is, Scope)] = &[
        (SOURCE, "AUTHENTICATE", bandwidth, throttled, Scope::Account),
        (SOURCE, "LIST", bandwidth, throttled, Scope::Account),
        (SOURCE, "EXAMINE", bandwidth, throttled, Scope::Account),
        (SOURCE, "UID FETCH", bandwidth, throttled, Scope::Account),
        (DESTINATION, "APPEND", bandwidth, throttled, Scope::Account),
        (SOURCE, "UID FETCH", backoff, throttled, Scope::Account),
        (DESTINATION, "AUTHENTICATE", backoff, throttled, Scope::Account),
        (DESTINATION, "CREATE", backoff, throttled, Scope::Account),
        (DESTINATION, "APPEND", backoff, throttled, Scope::Account),
        (
            SOURCE,
            "AUTHENTICATE",
            "NO [ALERT] Too many simultaneous connections. (Failure)",
            throttled,
            Scope::Account,
        ),
        (SOURCE, "EXAMINE", "NO [LIMIT] IMAP command sent too fast", throttled, Scope::Account),
        (
            DESTINATION,
            "APPEND",
            "NO [OVERQUOTA] Quota exceeded (mailbox for user is full)",
            |e| matches!(e, Quota(_)),
            Scope::Mailbox,
        ),
        (
            DESTINATION,
            "APPEND",
            "BAD User is authenticated but not connected.",
            |e| matches!(e, Forbidden { .. }),
            Scope::Mailbox,
        ),
        (
            SOURCE,
            "LIST",
            "BAD User is authenticated but not connected.",
            |e| matches!(e, Forbidden { .. }),
            Scope::Mailbox,
        ),
        (
            SOURCE,
            "AUTHENTICATE",
            "NO [ALERT] Your account is not enabled for IMAP use",
            |e| matches!(e, Forbidden { .. }),
            Scope::Mailbox,
        ),
        (
            SOURCE,
            "AUTHENTICATE",
            "NO [AUTHENTICATIONFAILED] (#AUTH005) Too many bad auth attempts.",
            |e| matches!(e, Credentials { .. }),
            Scope::Mailbox,
        ),
        (
            DESTINATION,
            "AUTHENTICATE",
            "NO [EXPIRED] The token is too old",
            |e| matches!(e, Credentials { .. }),
            Scope::Mailbox,
        ),
        (
            SOURCE,
            "AUTHENTICATE",
            "NO [UNAVAILABLE] Temporary System Problem (Failure)",
            refused,
            Scope::Connection,
        ),
        (SOURCE, "EXAMINE", "NO [INUSE] later", refused, Scope::Folder),
        (SOURCE, "EXAMINE", "NO Server Unavailable. 15", refused, Scope::Connection),
        (SOURCE, "UID FETCH", "BAD Command received in Invalid state", refused, Scope::Connection),
        (DESTINATION, "SELECT", "NO [SERVERBUG] no", refused, Scope::Connection),
        (
            DESTINATION,
            "LIST",
            "NO",
            |e| matches!(e, Refused { refusal, .. } if !refusal.transient),
            Scope::Message,
        ),
        (SOURCE, "EXAMINE", "* BYE Connection closed. 14", broken, Scope::Connection),
        (SOURCE, "UID FETCH", "* BYE", broken, Scope::Connection),
        (DESTINATION, "APPEND", "* BYE [UNAVAILABLE] going down", broken, Scope::Connection),
        (
            SOURCE,
            "UID FETCH",
            "* BYE [OVERQUOTA] Account exceeded command or bandwidth limits",
            throttled,
            Scope::Account,
        ),
        (
            SOURCE,
            "LIST",
            "* BYE Session invalidated - AccessTokenExpired",
            |e| matches!(e, Credentials { .. }),
            Scope::Mailbox,
        ),
    ];
    let (mut world, source, destination) = world().await;
    for (n, (side, verb, says, is, scope)) in cases.iter().enumerate() {
        let case = format!("{side} {verb}: {says}");
        // Something new in a new folder, so that every command has its turn.
        let mut at = world.at_source();
        let folder = format!("Folder {n}");
        at.create(&folder);
        at.append_many(&folder, &[note(&format!("new {n}")), note(&format!("also {n}"))]);
        let proxy = if *side == SOURCE { &source } else { &destination };
        let what = match says.starts_with("* BYE") {
            true => What::LastWords((*says).to_owned()),
            false => What::answer(says),
        };
        let fault = When::verb(verb);
        proxy.always(fault, what);
        let (at_side, error) = error_of(world.try_pass(PassKind::Delta).await, &case);
        assert_eq!(at_side, *side, "{case}");
        assert!(is(&error), "{case}: {error:?}");
        assert_eq!(error.scope(), *scope, "{case}");
        proxy.clear();
        assert_converges(&mut world, &case).await;
    }
}

#[tokio::test]
async fn a_suggested_wait_holds_for_every_connection_of_the_account() {
    let (world, source, _destination) = world().await;
    let says = "BAD Request is throttled. Suggested Backoff Time: 1500 milliseconds";
    source.set(When::verb("EXAMINE"), What::answer(says));
    let (_, error) = error_of(world.try_pass(PassKind::Seed).await, says);
    assert_eq!(error.retry(), Retry::After(Duration::from_millis(1500)));
    let before = source.connections();
    let (_, error) = error_of(world.try_pass(PassKind::Seed).await, says);
    let Retry::After(left) = error.retry() else { panic!("{error:?}") };
    assert!(left < Duration::from_millis(1500));
    assert_eq!(source.connections(), before, "not even asked");
    tokio::time::sleep(left).await;
    world.seed().await;
    world.assert_same();
}

#[tokio::test]
async fn an_absurd_wait_is_not_believed() {
    let (world, source, _destination) = world().await;
    let says = "BAD Request is throttled. Suggested Backoff Time: 99999999999999 milliseconds";
    source.set(When::verb("EXAMINE"), What::answer(says));
    let (_, error) = error_of(world.try_pass(PassKind::Seed).await, says);
    assert_eq!(error.retry(), Retry::After(DAY));
}

#[tokio::test]
async fn a_line_that_is_no_reply_ends_the_command_it_takes_the_place_of() {
    let (mut world, source, _destination) = world().await;
    // Nothing else would come: without this reaction drover would wait for two minutes.
    source.set(When::verb("EXAMINE"), What::inject("Server Unavailable. 15\r\n"));
    let began = std::time::Instant::now();
    let (_, error) = error_of(world.try_pass(PassKind::Seed).await, "stray");
    assert_eq!(error.scope(), Scope::Connection);
    assert!(error.to_string().contains("Server Unavailable. 15"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_converges(&mut world, "stray").await;
}

#[tokio::test]
async fn a_server_that_says_it_slows_us_down_gets_fewer_connections_and_no_error() {
    let (world, source, _destination) = world().await;
    let mut at = world.at_source();
    for n in 0..6 {
        at.create(&format!("F{n}"));
        at.append_many(&format!("F{n}"), &[note(&format!("in {n}"))]);
    }
    source.set(When::verb("LIST").answered(), What::rewrite("OK Success [THROTTLED]"));
    world.seed().await;
    world.assert_same();
    assert_eq!(source.connections(), 1, "one lane is enough");
    let endpoint = &world.mailbox.source.endpoint;
    let server = format!("{}:{}", endpoint.host, endpoint.port);
    assert!(world.context().options.patience.is_strained(&server));
}

#[tokio::test]
async fn a_sign_in_that_runs_out_is_renewed_and_the_pass_goes_on() {
    for (verb, says) in [
        ("EXAMINE", "NO Session invalidated - AccessTokenExpired"),
        ("UID FETCH", "* BYE Session expired, please login again."),
    ] {
        let (world, source, _destination) = world().await;
        let what = match says.starts_with('*') {
            true => What::LastWords(says.into()),
            false => What::answer(says),
        };
        source.set(When::verb(verb), what);
        world.seed().await;
        world.assert_same();
        assert!(source.connections() >= 2, "{says}");
    }
}

#[tokio::test]
async fn an_expired_secret_is_read_anew_and_tried_once() {
    let (world, source, _destination) = world().await;
    source.always(When::verb("AUTHENTICATE"), What::answer("NO [EXPIRED] too old"));
    let (_, error) = error_of(world.try_pass(PassKind::Seed).await, "expired");
    assert!(matches!(error, platform::Error::Credentials { .. }), "{error:?}");
    assert_eq!(source.fired(), 1, "the same secret is not offered twice");
}

#[tokio::test]
async fn a_folder_that_vanishes_under_the_copying_is_made_anew_once() {
    let (world, _source, destination) = world().await;
    destination
        .set(When::verb("APPEND").containing("Projects"), What::answer("NO [TRYCREATE] gone"));
    world.seed().await;
    world.assert_same();
    destination.always(When::verb("APPEND"), What::answer("NO [TRYCREATE] gone"));
    world.at_source().append_many("INBOX", &[note("six")]);
    let (_, error) = error_of(world.try_pass(PassKind::Delta).await, "gone for good");
    assert!(matches!(error, platform::Error::FolderGone(_)), "{error:?}");
    assert_eq!(destination.fired(), 3, "tried twice, not for ever");
}

#[tokio::test]
async fn a_reserved_folder_name_gets_a_mark_and_is_found_again_by_it() {
    let (mut world, _source, destination) = world().await;
    world.at_source().create("Files");
    world.at_source().append_many("Files", &[note("a file")]);
    destination.always(
        When::verb("CREATE").containing("\"Files\""),
        What::answer("NO Folder name is reserved"),
    );
    let report = world.seed().await;
    let told = report.notes.iter().any(|n| n.contains("Files=") && n.contains("reserved"));
    assert!(told, "{:?}", report.notes);
    assert_eq!(subjects(&mut world.at_destination(), "Files="), ["a file"]);
    assert!(world.delta().await.quiet);
    world.lose_ledger().await;
    let report = world.seed().await;
    assert_eq!(report.record.accounts.copied, 0, "found again without a record of it");
}

#[tokio::test]
async fn ids_that_cannot_be_those_of_what_was_appended_are_not_believed() {
    let mut world = World::new().await;
    let destination = world.tap_destination();
    // Three messages of the destination's user; the server names theirs.
    world.at_destination().append_many("INBOX", &["own 1", "own 2", "own 3"].map(note));
    world.at_source().append_many("INBOX", &["one", "two", "three"].map(note));
    let (validity, _) = world.at_destination().uid_state("INBOX");
    for n in 4..=6 {
        for m in n..=6 {
            let (set, lie) = match n == m {
                true => (format!("{n}]"), format!("{}]", n - 3)),
                false => (format!("{n}:{m}]"), format!("{}:{}]", n - 3, m - 3)),
            };
            let code = format!("APPENDUID {validity} ");
            destination.replace(&format!("{code}{set}"), &format!("{code}{lie}"));
        }
    }
    world.seed().await;
    // Were the wrong ids on file, these changes would hit the user's own messages.
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = drover::definition::MaxDelete::Percent(100.0);
    let mut at = world.at_source();
    let uids = at.uids("INBOX");
    at.store("INBOX", &uids[..1], "+FLAGS (\\Flagged)");
    at.expunge_uids("INBOX", &uids[1..2]);
    world.delta().await;
    let there = world.at_destination().messages("INBOX");
    let flagged: Vec<bool> = there.iter().map(|m| m.flags.contains("\\flagged")).collect();
    assert_eq!(
        subjects(&mut world.at_destination(), "INBOX"),
        ["own 1", "own 2", "own 3", "one", "three"]
    );
    assert_eq!(flagged, [false, false, false, true, false]);
}

#[tokio::test]
async fn no_moved_message_is_filed_under_anothers_id() {
    for hide_order in [false, true] {
        let mut world = World::new().await;
        let destination = world.tap_destination();
        let mut at = world.at_source();
        at.create("To");
        at.append_many("INBOX", &["one", "two", "three"].map(note));
        world.seed().await;
        let (validity, _) = world.at_destination().uid_state("To");
        // Yahoo pairs the ids of a move of many wrongly: in another order as written, or in the
        // right order with others in their places.
        let (told, lie) = match hide_order {
            true => (format!("{validity} 1:3 1:3]"), format!("{validity} 1:3 2,1,3]")),
            false => (format!("{validity} 1:3 1:3]"), format!("{validity} 1:3 2:4]")),
        };
        destination.replace(&format!("COPYUID {told}"), &format!("COPYUID {lie}"));
        let uids = at.uids("INBOX");
        at.uid_move("INBOX", &uids, "To");
        let report = world.delta().await;
        assert_eq!(report.record.moves, 3);
        let mut at = world.at_source();
        let uids = at.uids("To");
        at.store("To", &uids[..1], "+FLAGS (\\Flagged)");
        world.delta().await;
        world.assert_same();
    }
}

#[tokio::test]
async fn what_nobody_asked_for_disturbs_nothing() {
    let (world, source, destination) = world().await;
    let noise = "* XYZZY (unbalanced\r\n* 99 EXISTS\r\n* OK [INPROGRESS] still here\r\n\
                 * 1 FETCH (FLAGS (\\Seen))\r\n* NO [ALERT] disk nearly full\r\n";
    for proxy in [&source, &destination] {
        for verb in ["UID FETCH", "APPEND", "UID STORE", "SUBSCRIBE", "NOOP", "CREATE"] {
            proxy.always(When::verb(verb), What::inject(noise));
        }
    }
    world.seed().await;
    world.assert_same();
    let mut at = world.at_source();
    let uids = at.uids("INBOX");
    at.store("INBOX", &uids[..1], "+FLAGS (\\Flagged)");
    world.delta().await;
    world.assert_same();
}

#[tokio::test]
async fn a_listing_with_the_oddities_of_the_wild_is_understood() {
    let (world, source, _destination) = world().await;
    // The same again, INBOX in another spelling, glued attributes, no separator.
    let odd = "* LIST (\\HasNoChildren) \"/\" Inbox\r\n\
               * LIST (\\HasNoChildren) \"/\" Projects\r\n\
               * LIST (\\Sent\\HasNoChildren) NIL Projects\r\n";
    source.always(When::verb("LIST"), What::inject(odd));
    world.seed().await;
    let total = world.verify().await.total();
    assert_eq!(total, 0);
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["one", "two", "three"]);
}

#[tokio::test]
async fn answers_without_a_word_are_answers() {
    let (world, source, destination) = world().await;
    for proxy in [&source, &destination] {
        for verb in ["UID FETCH", "SUBSCRIBE", "NOOP", "CREATE", "LIST"] {
            proxy.always(When::verb(verb).answered(), What::rewrite("OK"));
        }
    }
    destination.always(When::verb("APPEND").answered(), What::rewrite("OK"));
    world.seed().await;
    world.assert_same();
    assert!(world.context().ledger.failures(&world.key()).await.unwrap().is_empty());
}

#[test]
fn throttled_is_a_state_and_the_next_pass_is_not_before_its_end() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    source.connect("anna").append_many("INBOX", &[note("one")]);
    let proxy = Proxy::before(source.port());
    let says = "BAD Request is throttled. Suggested Backoff Time: 600000 milliseconds";
    proxy.set(When::verb("EXAMINE"), What::answer(says));
    let mut drover = Drover::new();
    let text = definition(&source, &destination, "anna", "[sync]\nevery = \"1s\"");
    let (ours, its) = (proxy.port().to_string(), source.port().to_string());
    drover.define("one", &text.replacen(&its, &ours, 1));
    drover.start();
    drover.until("the throttle", |d| d.status().to_string().contains("Suggested Backoff Time"));
    let conditions = drover.migration("one")["conditions"].clone();
    let throttled =
        conditions.as_array().and_then(|all| all.iter().find(|c| c["type"] == "Throttled"));
    assert!(throttled.is_some_and(|c| c["status"] == "true"), "{conditions:#}");
    assert_ne!(drover.mailbox("one")["phase"], "blocked");
    let connections = proxy.connections();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(proxy.connections(), connections, "no pass before its time");
    assert!(destination.connect("anna").uids("INBOX").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ok_that_shows_nothing_is_no_empty_folder() {
    let (mut world, _source, destination) = world().await;
    world.seed().await;
    world.lose_ledger().await;
    destination.set(When::verb("UID FETCH"), What::answer("OK"));
    let report = world.seed().await;
    let accounts = report.record.accounts;
    assert_eq!((accounts.copied, accounts.adopted), (0, 5), "{accounts:?}");

    world.lose_ledger().await;
    destination.always(When::verb("UID FETCH"), What::answer("OK"));
    let (side, error) = error_of(world.try_pass(PassKind::Seed).await, "shows nothing at all");
    assert!(side == DESTINATION && matches!(error, platform::Error::Protocol { .. }), "{error}");
    destination.clear();
    assert_converges(&mut world, "shows nothing at all").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_shows_nothing_takes_no_flag_away() {
    let plain = Dovecot::builder().no_multiappend().start();
    let mut world = World::between(Dovecot::start(), plain).await;
    let (source, destination) = (world.tap_source(), world.tap_destination());
    let mail = |n: usize| Mail { flags: "\\Flagged".into(), ..note(&format!("mail {n}")) };
    world.at_source().append_many("INBOX", &(0..300).map(mail).collect::<Vec<_>>());
    // Cut short, so that the next survey has records and no cursor.
    destination.set(When::verb("APPEND").nth(200).answered(), What::Cut);
    world.try_pass(PassKind::Seed).await.expect_err("no answer came");
    // A flag is set meanwhile, and the listing shows nothing, not even by name.
    let mut at = world.at_source();
    let uids = at.uids("INBOX");
    at.store("INBOX", &uids[..10], "+FLAGS (\\Answered)");
    source.times(2, When::verb("UID FETCH").containing("INTERNALDATE"), What::answer("OK"));
    world.seed().await;
    assert_eq!(source.fired(), 2);
    let there = world.at_destination().messages("INBOX");
    assert_eq!(there.len(), 300);
    assert!(there.iter().all(|mail| mail.flags.contains("\\flagged")));
    // Nor is the change lost that was not shown.
    world.delta().await;
    world.assert_same_but(&Options::any_order());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_took_and_denied_is_looked_for_before_its_user_can_remove_it() {
    let mut world =
        World::between(Dovecot::start(), Dovecot::builder().no_multiappend().start()).await;
    let destination = world.tap_destination();
    world.at_source().append_many("INBOX", &["one", "two", "three"].map(note));
    let denial = What::rewrite("NO [SERVERBUG] it took too long");
    destination.set(When::verb("APPEND").nth(2).answered(), denial);
    let report = world.seed().await;
    assert_eq!(report.record.accounts.copied, 3, "{:?}", report.record.accounts);
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.expunge_uids("INBOX", &uids[1..2]);
    world.delta().await;
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["one", "three"]);
}
