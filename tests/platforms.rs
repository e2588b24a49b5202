//! What drover knows of platforms without being told by their servers: presets, how a definition
//! overrules them, and what comes of them over whole passes. Where no server of a platform can be
//! had, a Dovecot stands in for it, behind a proxy that does what that platform is known for.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use drover::definition::{Diagnostic, Loaded, Mailbox, Tls, load_text, schema};
use drover::model::{PassKind, SystemFlag};
use support::mail::Mail;
use support::proxy::{Proxy, Then, What, When};
use support::standin::Standin;
use support::{Dovecot, Drover, Options, World, definition, note, subjects};

/// A definition between these platforms, with these lines in `[source]`, in `[destination]` and
/// in `[select]`.
fn text(platforms: [&str; 2], source: &str, destination: &str, select: &str) -> String {
    let [from, to] = platforms;
    format!(
        "[source]\nplatform = \"{from}\"\n{source}\n[destination]\nplatform = \"{to}\"\n\
         {destination}\n[select]\n{select}\n[[mailboxes]]\nsource = \"a\"\ndestination = \"b\"\n"
    )
}

const AUTH: &str = "auth = { password = { env = \"PATH\" } }";

fn load(text: &str) -> Loaded {
    load_text("acme", text, Path::new("/herd")).unwrap_or_else(|rejected| {
        panic!("{text}\n{}", drover::definition::render_all(&rejected.diagnostics, false))
    })
}

/// The mailbox of a definition between these platforms, anywhere.
fn between(platforms: [&str; 2], source: &str, destination: &str, select: &str) -> Arc<Mailbox> {
    let end = |more: &str| format!("host = \"mail.example\"\n{AUTH}\n{more}");
    let loaded = load(&text(platforms, &end(source), &end(destination), select));
    Arc::clone(&loaded.migration.mailboxes[0])
}

/// Lets a world's servers count as what the definition says.
fn as_defined(world: &mut World, defined: &Mailbox) {
    let mailbox = &mut world.mailbox;
    mailbox.select = defined.select.clone();
    mailbox.folders = defined.folders.clone();
    for (side, as_defined) in
        [(&mut mailbox.source, &defined.source), (&mut mailbox.destination, &defined.destination)]
    {
        Arc::make_mut(&mut side.endpoint).traits = as_defined.endpoint.traits.clone();
    }
}

async fn world(platforms: [&str; 2]) -> World {
    let mut world = World::new().await;
    as_defined(&mut world, &between(platforms, "", "", ""));
    world
}

fn folders(world: &World) -> Vec<String> {
    let mut paths: Vec<_> = world.at_destination().list().into_iter().map(|f| f.path).collect();
    paths.sort();
    paths
}

// What a definition says, and what it need not.

#[test]
fn a_platforms_name_is_enough_to_reach_it() {
    let loaded = load(&text(["yahoo", "proton-bridge"], AUTH, AUTH, ""));
    let mailbox = &loaded.migration.mailboxes[0];
    let reached = [&mailbox.source.endpoint, &mailbox.destination.endpoint]
        .map(|end| (end.host.as_str(), end.port, end.tls, end.connections));
    assert_eq!(
        reached,
        [("imap.mail.yahoo.com", 993, Tls::Implicit, 3), ("127.0.0.1", 1143, Tls::Starttls, 2)]
    );
}

#[test]
fn what_a_definition_says_of_a_platform_is_stronger_than_the_preset() {
    let mailbox = between(
        ["icloud", "microsoft365"],
        "port = 1993\ntls = \"starttls\"\nconnections = 7\nveto = [\"IDLE\"]\nleft_out = []\n\
         id = { contact = \"it@acme.example\" }",
        "max_message = \"1MiB\"\ndrop_keywords = []\nlate_flags = []\nreserved_names = [\"Q\"]\n\
         illegal_characters = \"%\"",
        "",
    );
    let (source, destination) = (&mailbox.source.endpoint, &mailbox.destination.endpoint);
    assert_eq!(source.host, "mail.example");
    assert_eq!((source.port, source.tls, source.connections), (1993, Tls::Starttls, 7));
    assert_eq!(source.traits.veto, ["IDLE"]);
    assert_eq!(source.traits.id["contact"], "it@acme.example");
    assert!(mailbox.select.left_out.is_empty());
    assert_eq!(destination.traits.max_message, Some(1 << 20));
    assert!(destination.traits.drop_keywords.is_empty());
    assert!(destination.traits.late_flags.is_empty());
    assert_eq!(mailbox.folders.names.reserved, ["Q"]);
    assert_eq!(mailbox.folders.names.illegal, "%");
}

#[test]
fn what_a_definition_leaves_out_is_the_presets() {
    let mailbox = between(["icloud", "microsoft365"], "", "", "");
    assert_eq!(mailbox.source.endpoint.traits.veto, ["QRESYNC"]);
    let traits = &mailbox.destination.endpoint.traits;
    assert!(traits.late_flags.contains(SystemFlag::Flagged));
    assert_eq!(traits.drop_keywords.len(), 1);
    assert_eq!(traits.max_message, Some(150 << 20));
    assert!(mailbox.folders.names.reserved.contains(&"Calendar".into()));
}

#[test]
fn a_key_of_the_other_side_is_refused() {
    for (source, destination, key) in
        [("max_message = \"1MB\"", "", "max_message"), ("", "left_out = []", "left_out")]
    {
        let end = |more: &str| format!("host = \"mail.example\"\n{AUTH}\n{more}");
        let text = text(["imap", "imap"], &end(source), &end(destination), "");
        let rejected = load_text("acme", &text, Path::new("/herd")).expect_err("it means nothing");
        let messages: Vec<_> = rejected.diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(messages, [format!("unknown key `{key}`")]);
    }
}

#[test]
fn the_schema_knows_the_platforms() {
    let schema = schema();
    for side in ["source", "destination"] {
        let platforms = &schema["properties"][side]["properties"]["platform"]["enum"];
        let names: BTreeSet<_> =
            platforms.as_array().expect("a list").iter().filter_map(|name| name.as_str()).collect();
        assert_eq!(names.len(), 21);
        assert!(names.contains("vaultastic") && names.contains("imap"), "{names:?}");
    }
}

// How accounts are entered.

fn only(mut diagnostics: Vec<Diagnostic>) -> (bool, String, String) {
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    let one = diagnostics.remove(0);
    (one.is_error(), one.message, one.help.unwrap_or_default())
}

#[test]
fn check_warns_of_a_method_that_the_platform_does_not_take() {
    let text = text(["imap", "microsoft365"], &format!("host = \"old.example\"\n{AUTH}"), AUTH, "");
    let drover = Drover::new();
    drover.define("acme", &text);
    let said = drover.run(&["check"]);
    let said = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("Microsoft 365 is not known to take method = \"password\""), "{said}");
    assert!(said.contains("Exchange Online takes no passwords by IMAP any more"), "{said}");
    assert!(said.contains("method = \"client-credentials\" or \"refresh-token\""), "{said}");
    let (is_error, ..) = only(load(&text).warnings);
    assert!(!is_error, "what is written may be tried");
}

#[test]
fn a_password_that_nobody_asked_for_is_not_tried_where_none_is_taken() {
    let source = format!("host = \"old.example\"\n{AUTH}");
    let mut text = text(["imap", "microsoft365"], &source, "", "");
    text.push_str("destination_password = { env = \"PATH\" }\n");
    let rejected = load_text("acme", &text, Path::new("/herd")).expect_err("it cannot work");
    let (is_error, message, help) = only(rejected.diagnostics);
    assert!(is_error);
    assert_eq!(message, "`auth` is missing in [destination], and Microsoft 365 takes no passwords");
    assert!(help.contains("refresh-token"), "{help}");
}

#[test]
fn a_method_that_the_platform_takes_is_nothing_to_talk_about() {
    assert!(load(&text(["yahoo", "gmail"], AUTH, AUTH, "")).warnings.is_empty());
}

// Folders that hold no mail.

async fn exchange_source() -> World {
    let world = world(["exchange", "imap"]).await;
    let mut at = world.at_source();
    for folder in ["INBOX", "calendar", "Sync Issues/Conflicts", "Projects", "Projects/Notes"] {
        at.create(folder);
        at.append_many(folder, &[note(&format!("in {folder}"))]);
    }
    at.create("Tasks");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_hold_no_mail_are_left_out_and_the_first_pass_says_so() {
    let world = exchange_source().await;
    let report = world.seed().await;
    assert_eq!(folders(&world), ["INBOX", "Projects", "Projects/Notes"]);
    let [note] = report.notes.as_slice() else { panic!("{:?}", report.notes) };
    assert!(note.contains(": Sync Issues/Conflicts, calendar;"), "{note}");
    assert!(world.verify().await.is_equal());
    let delta = world.delta().await;
    assert!(delta.quiet && delta.notes.is_empty(), "{:?}", delta.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_out_is_taken_in_by_name() {
    let mut world = exchange_source().await;
    world.seed().await;
    let include = "include = [\"**\", \"calendar\"]";
    world.mailbox.select = between(["exchange", "imap"], "", "", include).select.clone();
    world.delta().await;
    assert_eq!(folders(&world), ["INBOX", "Projects", "Projects/Notes", "calendar"]);
    assert_eq!(subjects(&mut world.at_destination(), "calendar"), ["in calendar"]);
    world.mailbox.select = between(["exchange", "imap"], "left_out = []", "", "").select.clone();
    world.delta().await;
    world.assert_same();
}

// What is told to a server, and what is not believed.

#[tokio::test(flavor = "multi_thread")]
async fn what_is_vetoed_is_not_used() {
    for (platform, expected) in [("imap", true), ("icloud", false)] {
        let mut world = world([platform, "imap"]).await;
        let proxy = world.tap_source();
        world.seed().await;
        let enabled = proxy.heard().iter().any(|line| line.contains("QRESYNC"));
        assert_eq!(enabled, expected, "{platform}: {:?}", proxy.heard());
        world.assert_same();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_serves_only_whom_it_knows_is_told_before_a_folder_is_opened() {
    let mut world = world(["netease", "imap"]).await;
    let proxy = world.tap_source();
    // It does not even say that it wants to be told.
    proxy.replace(" ID ", " XD ");
    world.at_source().append_many("INBOX", &[note("one")]);
    world.seed().await;
    let heard = proxy.heard();
    let first = |what: &str| heard.iter().position(|line| line.contains(what));
    let (told, opened) = (first("ID (\"name\" \"drover\""), first("EXAMINE"));
    assert!(told.is_some() && told < opened, "{heard:?}");
    assert!(heard[told.unwrap_or_default()].contains("\"vendor\" \"drover\""), "{heard:?}");
    world.assert_same();
}

// What a destination takes, and how.

fn large() -> Mail {
    let mut large = note("large");
    large.bytes.extend(std::iter::repeat_n(*b"0123456789abcde\r\n", 4000).flatten());
    large
}

fn appends(proxy: &Proxy) -> usize {
    proxy.heard().iter().filter(|line| line.contains("APPEND")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_known_to_be_too_large_is_not_sent() {
    let mut world = World::new().await;
    as_defined(&mut world, &between(["imap", "imap"], "", "max_message = \"20kB\"", ""));
    let proxy = world.tap_destination();
    world.at_source().append_many("INBOX", &[large()]);
    let report = world.pass(PassKind::Seed).await;
    assert_eq!(report.record.accounts.skipped, 1);
    assert_eq!(appends(&proxy), 0, "{:?}", proxy.heard());
    world.at_source().append_many("INBOX", &[note("small"), large(), note("also small")]);
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.skipped), (2, 2));
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["small", "also small"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_of_its_limit_is_stronger_than_what_is_known_of_it() {
    let mut world = World::new().await;
    as_defined(&mut world, &between(["imap", "imap"], "", "max_message = \"20kB\"", ""));
    let proxy = world.tap_destination();
    proxy.replace(" IDLE ", " APPENDLIMIT=100000 ");
    world.at_source().append_many("INBOX", &[large()]);
    world.seed().await;
    world.assert_same();
    proxy.replace("APPENDLIMIT=100000", "APPENDLIMIT=1000");
    world.at_source().append_many("INBOX", &[large()]);
    assert_eq!(world.delta().await.record.accounts.skipped, 1);
}

#[test]
fn a_message_too_large_is_reported_with_what_to_do() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let drover = Drover::new();
    let every = "[sync]\nevery = \"1h\"\n";
    let text = definition(&source, &destination, "anna", every);
    let limit = text.replace("[destination]\n", "[destination]\nmax_message = \"20kB\"\n");
    drover.define("move", &limit);
    source.connect("anna").append_many("INBOX", &[large()]);
    drover.expect(3, &["sync", "move"]);
    let said = drover.expect(0, &["failed", "move", "-o", "json"]);
    assert!(said.contains("[TOOBIG]") && said.contains("takes 20000"), "{said}");
    assert!(said.contains("`max_message`"), "{said}");
    drover.define("move", &text);
    drover.expect(0, &["failed", "move", "--retry"]);
    assert_eq!(subjects(&mut destination.connect("anna"), "INBOX"), ["large"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyword_that_people_would_see_as_a_category_is_left_out_and_reported() {
    let world = world(["imap", "microsoft365"]).await;
    let mut mail = note("asks for a receipt");
    mail.flags = "\\Seen $MDNSent $Forwarded".into();
    world.at_source().append_many("INBOX", &[mail]);
    let report = world.seed().await;
    let there = world.at_destination().messages("INBOX").remove(0).flags;
    assert_eq!(there, BTreeSet::from(["\\seen".to_owned(), "$forwarded".to_owned()]));
    assert!(report.notes.iter().any(|note| note.contains("$MDNSent")), "{:?}", report.notes);
    assert!(world.delta().await.quiet);
}

// Flags that are lost when they are given with APPEND.

/// From now on the server loses `\Flagged` of what is appended, as Exchange does: before drover
/// hears that a message has landed, it has no flag any more.
fn lose_flagged(world: &mut World) -> Proxy {
    let proxy = world.tap_destination();
    let (host, port) = (world.destination.host(), world.destination.port());
    let lose = move || {
        let mut at = support::Imap::try_login(host, port, "anna", "pw").expect("it listens");
        at.command("SELECT INBOX");
        at.command("UID STORE 1:* -FLAGS.SILENT (\\Flagged)");
        Then::GoOn
    };
    proxy.always(When::verb("APPEND").answered(), What::call(lose));
    proxy
}

/// One connection, so that nothing is appended after something was flagged.
async fn exchange_destination() -> (World, Proxy) {
    let mut world = world(["imap", "exchange"]).await;
    let proxy = lose_flagged(&mut world);
    for account in [&mut world.mailbox.source, &mut world.mailbox.destination] {
        Arc::make_mut(&mut account.endpoint).connections = 1;
    }
    (world, proxy)
}

fn flagged(text: &str) -> Mail {
    Mail { flags: "\\Seen \\Flagged".into(), ..note(text) }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_append_would_lose_are_stored_afterwards() {
    let (world, proxy) = exchange_destination().await;
    let mut at = world.at_source();
    at.append_many("INBOX", &[note("plain"), flagged("one"), flagged("two")]);
    world.seed().await;
    world.assert_same();
    let stores = proxy.heard().iter().filter(|line| line.contains("UID STORE")).count();
    assert_eq!(stores, 1, "{:?}", proxy.heard());
    assert!(proxy.heard().iter().all(|l| !l.contains("APPEND") || !l.contains("\\Flagged")));
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_flags_reach_messages_whose_place_the_server_does_not_tell() {
    let (world, proxy) = exchange_destination().await;
    proxy.hide_ids();
    world.at_source().append_many("INBOX", &[note("plain"), flagged("one")]);
    world.seed().await;
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn late_flags_reach_messages_of_a_pass_that_was_cut_short() {
    for verb in ["APPEND", "UID STORE"] {
        let (world, proxy) = exchange_destination().await;
        proxy.clear();
        proxy.set(When::verb(verb).answered(), What::Cut);
        world.at_source().append_many("INBOX", &[note("plain"), flagged("one")]);
        assert!(world.try_pass(PassKind::Seed).await.is_err(), "{verb}: it was cut");
        world.delta().await;
        println!("{verb}");
        world.assert_same();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_flags_reach_each_folder_of_many() {
    let (world, proxy) = exchange_destination().await;
    proxy.clear();
    let mut at = world.at_source();
    for n in 0..5 {
        let folder = format!("Folder {n}");
        at.create(&folder);
        at.append_many(&folder, &[flagged(&format!("in {n}")), note("plain")]);
    }
    world.seed().await;
    world.assert_same();
    assert!(world.delta().await.quiet);
}

// SkyConnect, Vaultastic: folders below `INBOX.`, a dot between them, names of their own.

fn mithi() -> Dovecot {
    Dovecot::builder().separator('.').prefix("INBOX.").start()
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_below_the_inbox_prefix_go_both_ways() {
    let mut world = World::between(mithi(), mithi()).await;
    as_defined(&mut world, &between(["skyconnect", "vaultastic"], "", "", ""));
    let mut at = world.at_source();
    for folder in ["INBOX", "meetings", "historical_data/2024", "Zürich"] {
        at.create(folder);
        at.append_many(folder, &[note(&format!("in {folder}"))]);
    }
    world.seed().await;
    world.assert_same();
    assert!(world.delta().await.quiet);
    let wire: Vec<_> = world.at_destination().list().into_iter().map(|f| f.wire).collect();
    assert!(wire.contains(&"INBOX.historical_data.2024".to_owned()), "{wire:?}");
    assert!(world.verify().await.is_equal());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_a_server_keeps_for_itself_are_not_made() {
    let mut world = World::between(Dovecot::start(), mithi()).await;
    as_defined(&mut world, &between(["imap", "vaultastic"], "", "", ""));
    world.at_destination().create("Trash");
    let mut at = world.at_source();
    for folder in ["Trash", "quarantine", "Chat/2024", "Work/Archive", "a|b\"c"] {
        at.create(folder);
        at.append_many(folder, &[note(&format!("in {folder}"))]);
    }
    let report = world.seed().await;
    let expected = ["INBOX", "Chat=/2024", "Trash", "Work/Archive", "a=7Cb=22c", "quarantine="];
    let there: BTreeSet<_> = folders(&world).into_iter().collect();
    let missing: Vec<_> = expected.iter().filter(|path| !there.contains(**path)).collect();
    assert!(missing.is_empty(), "{missing:?} of {there:?}");
    assert!(!there.contains("quarantine") && !there.contains("Chat/2024"), "{there:?}");
    assert_eq!(subjects(&mut world.at_destination(), "Trash"), ["in Trash"]);
    assert!(report.notes.iter().any(|n| n.contains("quarantine=")), "{:?}", report.notes);
    // Found again by nothing but their names.
    world.lose_ledger().await;
    assert_eq!(world.delta().await.record.accounts.copied, 0);
    assert!(world.verify().await.is_equal());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_may_name_what_the_server_keeps_for_itself() {
    let mut world = World::between(Dovecot::start(), mithi()).await;
    let mut defined = (*between(["imap", "vaultastic"], "", "", "")).clone();
    let options = Options::default().map("Old", "Quarantine");
    let [from, to] = ["Old", "Quarantine"].map(drover::model::FolderPath::parse);
    defined.folders.map = vec![(from, drover::definition::FolderTarget::Path(to))];
    as_defined(&mut world, &defined);
    let mut at = world.at_source();
    at.create("Old");
    at.append_many("Old", &[note("one")]);
    world.seed().await;
    world.assert_same_but(&options);
}

// Microsoft 365, as far as a stand-in is like it.

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_moves_to_microsoft_365_without_a_word_it_would_refuse() {
    let mut world = world(["imap", "microsoft365"]).await;
    let standin =
        Standin::microsoft365().with_passwords().user("anna", |user| user.password("pw")).start();
    Arc::make_mut(&mut world.mailbox.destination.endpoint).port = standin.port();
    let mut at = world.at_source();
    for folder in ["Calendar", "Files", "Sent", "Projects"] {
        at.create(folder);
        at.append_many(folder, &[note(&format!("in {folder}")), flagged("flagged")]);
    }
    let report = world.seed().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.failed), (8, 0));
    let counts = standin.counts("anna");
    let folders: Vec<_> = counts.keys().map(String::as_str).collect();
    assert_eq!(folders, ["Calendar=", "Files=", "Projects", "Sent Items"]);
    let heard = standin.heard();
    assert!(heard.iter().all(|l| !l.contains("APPEND") || !l.contains("\\Flagged")), "{heard:?}");
    let n_flagged = standin.stored("anna").iter().filter(|m| m.flags.contains("\\Flagged")).count();
    assert_eq!(n_flagged, 4);
}
