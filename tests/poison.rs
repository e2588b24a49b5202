//! A message that the destination refuses, or the source does not give, costs only itself.

mod support;

use drover::ledger::{Failure, Verdict};
use drover::model::PassKind;
use support::mail::Mail;
use support::proxy::{Proxy, What, When};
use support::{Dovecot, Imap, World, note, subjects};

const PLAIN: [&str; 2] = ["MULTIAPPEND", "LITERAL+"];

/// Between a Dovecot and one that takes no message larger than 3000 bytes.
async fn to_a_small_server(hide: &[&str]) -> World {
    let destination = Dovecot::builder().max_size("3000").hide(hide).start();
    World::between(Dovecot::start(), destination).await
}

/// A message that `to_a_small_server` refuses.
fn large(text: &str) -> Mail {
    let mut mail = note(text);
    mail.bytes.extend("more and more of it\r\n".repeat(200).into_bytes());
    mail
}

fn fill(imap: &mut Imap, n: usize, poisons: &[usize]) -> Vec<String> {
    let mail = |n: usize| {
        let text = format!("message {n}");
        if poisons.contains(&n) { large(&text) } else { note(&text) }
    };
    imap.append_many("INBOX", &(0..n).map(mail).collect::<Vec<_>>());
    (0..n).filter(|n| !poisons.contains(n)).map(|n| format!("message {n}")).collect()
}

async fn failures(world: &World) -> Vec<Failure> {
    let all = world.context().ledger.failures(&world.key()).await.expect("read the ledger");
    all.into_iter().map(|(_, failure)| failure).collect()
}

fn arrived(world: &World) -> Vec<String> {
    subjects(&mut world.at_destination(), "INBOX")
}

#[tokio::test]
async fn a_refused_message_costs_no_other_in_a_batch_of_one_command() {
    for poisons in [&[0][..], &[39], &[17], &[0, 7, 8, 20, 39]] {
        let world = to_a_small_server(&[]).await;
        let mut rest = fill(&mut world.at_source(), 40, poisons);
        let report = world.seed().await;
        assert_eq!(report.record.accounts.copied, rest.len() as u64, "{poisons:?}");
        assert_eq!(report.record.accounts.failed, poisons.len() as u64);
        // What was under way behind a refused batch may overtake what is left of it.
        let mut there = arrived(&world);
        there.sort();
        rest.sort();
        assert_eq!(there, rest, "{poisons:?}");
        let failures = failures(&world).await;
        assert_eq!(failures.len(), poisons.len());
        assert!(failures.iter().all(|f| f.reason.contains("Mail size is larger")), "{failures:?}");
        assert!(failures.iter().all(|f| f.verdict == Verdict::Failed));
    }
}

#[tokio::test]
async fn a_refused_message_costs_no_other_where_each_has_its_command_and_order_is_kept() {
    let single: [&[&str]; 2] = [&["MULTIAPPEND"], &PLAIN];
    for hide in single {
        let world = to_a_small_server(hide).await;
        let rest = fill(&mut world.at_source(), 40, &[0, 7, 8, 39]);
        let report = world.seed().await;
        assert_eq!(report.record.accounts.failed, 4);
        assert_eq!(arrived(&world), rest, "without {hide:?}");
    }
}

#[tokio::test]
async fn a_message_of_no_bytes_is_recorded_in_the_servers_words() {
    let mut world = World::new().await;
    let mut at = world.at_source();
    at.append_many("INBOX", &[note("one"), note("two")]);
    at.create("Odd");
    at.append_many("Odd", &[note("void")]);
    let proxy = world.tap_source();
    let nothing = "* 1 FETCH (UID 1 FLAGS () BODY[] \"\")\r\nOK done";
    let fetch = When::verb("UID FETCH").containing("UID FETCH 1 (UID FLAGS INTERNALDATE BODY");
    proxy.always(fetch, What::answer(nothing));
    let report = world.seed().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.failed), (2, 1));
    assert_eq!(arrived(&world), ["one", "two"]);
    let found = failures(&world).await;
    assert!(found[0].reason.contains("Can't save a zero byte message"), "{found:?}");
}

#[tokio::test]
async fn a_message_the_source_cannot_read_costs_no_other() {
    let mut world = World::new().await;
    world.at_source().append_many("INBOX", &["a", "b", "c", "d", "e"].map(note));
    let proxy = world.tap_source();
    // The command that asks for the third message with others, and the one for it alone.
    for set in ["1:5", "3:5", "3"] {
        let body = format!("UID FETCH {set} (UID FLAGS INTERNALDATE BODY.PEEK[])");
        let fetch = When::verb("UID FETCH").containing(&body);
        proxy.always(fetch, What::answer("NO [SERVERBUG] the message is damaged"));
    }
    let report = world.seed().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.failed), (4, 1));
    assert_eq!(arrived(&world), ["a", "b", "d", "e"]);
    let found = failures(&world).await;
    assert!(found[0].reason.contains("[SERVERBUG] the message is damaged"), "{found:?}");
    proxy.clear();
    world.delta().await;
    let mut there = arrived(&world);
    there.sort();
    assert_eq!(there, ["a", "b", "c", "d", "e"]);
    assert!(failures(&world).await.is_empty());
}

/// The line with which the source begins to give the message of this number.
fn giving(n: usize) -> When {
    When::line(&[&format!("* {n} FETCH"), "BODY[] {"])
}

#[tokio::test]
async fn a_message_at_which_the_source_hangs_up_each_time_costs_neither_the_rest_nor_its_order() {
    let mut world = World::new().await;
    let rest = fill(&mut world.at_source(), 40, &[]);
    let proxy = world.tap_source();
    proxy.always(giving(17), What::Cut);
    let report = world.seed().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.failed), (39, 1));
    let without: Vec<_> = rest.iter().filter(|text| *text != "message 16").cloned().collect();
    assert_eq!(arrived(&world), without);
    let found = failures(&world).await;
    assert_eq!((found.len(), found[0].id.0, found[0].verdict), (1, 17, Verdict::Failed));
    assert!(found[0].reason.contains("the source hung up at it, twice"), "{found:?}");
    assert!(found[0].size > 0);
    world.delta().await;
    world.delta().await;
    assert_eq!(failures(&world).await[0].verdict, Verdict::Skipped);
}

#[tokio::test]
async fn a_source_that_hangs_up_here_and_there_is_read_on_in_the_same_pass() {
    let mut world = World::new().await;
    let rest = fill(&mut world.at_source(), 40, &[]);
    let proxy = world.tap_source();
    for n in [1, 9, 10, 40] {
        proxy.set(giving(n), What::Cut);
    }
    let report = world.seed().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.failed), (40, 0));
    assert_eq!(arrived(&world), rest);
}

#[tokio::test]
async fn a_source_that_hangs_up_at_every_message_is_not_taken_for_one_with_bad_messages() {
    let mut world = World::new().await;
    fill(&mut world.at_source(), 40, &[]);
    let proxy = world.tap_source();
    proxy.always(When::line(&["BODY[] {"]), What::Cut);
    let error = world.try_pass(PassKind::Seed).await.expect_err("nothing can be read");
    assert!(error.to_string().contains("broke"), "{error}");
    assert!(failures(&world).await.is_empty());
    assert!(proxy.connections() < 30, "{} connections", proxy.connections());
}

/// A destination with one command a message, and a proxy before it.
async fn one_by_one() -> (World, Proxy) {
    let destination = Dovecot::builder().hide(&PLAIN).start();
    let mut world = World::between(Dovecot::start(), destination).await;
    let proxy = world.tap_destination();
    (world, proxy)
}

#[tokio::test]
async fn a_message_without_its_last_line_end_is_given_one_and_that_is_recorded() {
    let (world, proxy) = one_by_one().await;
    let bytes = b"Subject: odd\r\nMessage-ID: <odd@x>\r\n\r\nno end".to_vec();
    let size = bytes.len();
    let odd = Mail { bytes, ..note("odd") };
    world.at_source().append_many("INBOX", &[note("one"), odd, note("two")]);
    let says = "Additional arguments found after last expected argument";
    let refused = When::verb("APPEND").containing(&format!("{{{size}}}"));
    proxy.always(refused, What::answer(&format!("BAD [CLIENTBUG] {says}")));
    let report = world.seed().await;
    assert_eq!(report.record.accounts.copied, 3);
    let found = failures(&world).await;
    assert_eq!((found.len(), found[0].verdict), (1, Verdict::Repaired));
    for words in ["a line end was added", says] {
        assert!(found[0].reason.contains(words), "{found:?}");
    }
    assert_eq!(world.verify().await.total(), 0, "the content is the same");
    proxy.clear();
    assert!(world.delta().await.quiet);
    assert_eq!(failures(&world).await, found, "it is told for good");
}

#[tokio::test]
async fn a_keyword_or_flag_that_is_refused_is_left_out_and_recorded() {
    for (says, flags, kept, gone) in [
        ("NO Keyword not allowed", "\\Seen $Work", "\\Seen", "$Work"),
        ("BAD Invalid system flag \\Flagged", "\\Flagged \\Seen", "\\Seen", "\\Flagged"),
        // Servers call a keyword a flag, too.
        ("NO Unknown flag", "\\Seen $Work", "\\Seen", "$Work"),
    ] {
        let (world, proxy) = one_by_one().await;
        let odd = Mail { flags: flags.into(), ..note("odd") };
        world.at_source().append_many("INBOX", &[odd, note("two")]);
        proxy.always(When::verb("APPEND").containing(gone), What::answer(says));
        let report = world.seed().await;
        assert_eq!(report.record.accounts.copied, 2, "{says}");
        let there = world.at_destination().messages("INBOX");
        let odd = there.iter().find(|m| String::from_utf8_lossy(&m.body).contains("odd")).unwrap();
        assert_eq!(odd.flags.iter().cloned().collect::<Vec<_>>(), [kept.to_ascii_lowercase()]);
        let found = failures(&world).await;
        assert_eq!(found[0].verdict, Verdict::Repaired);
        assert!(found[0].reason.contains(&format!("{gone} was left out")), "{found:?}");
        assert!(world.delta().await.quiet);
    }
}

#[tokio::test]
async fn a_message_that_no_remedy_helps_is_tried_three_times_and_then_skipped() {
    let (world, proxy) = one_by_one().await;
    world.at_source().append_many("INBOX", &[note("one"), note("an odd one"), note("two")]);
    let size = world.at_source().messages("INBOX")[1].body.len();
    let refused = When::verb("APPEND").containing(&format!("{{{size}}}"));
    proxy.always(refused, What::answer("BAD Command Argument Error. 11"));
    for (attempt, verdict) in
        [Verdict::Failed, Verdict::Failed, Verdict::Skipped].iter().enumerate()
    {
        world.pass(PassKind::Delta).await;
        let found = failures(&world).await;
        assert_eq!((found[0].attempts, found[0].verdict), (attempt as u32 + 1, *verdict));
        assert!(found[0].reason.contains("Command Argument Error. 11"));
    }
    let before = proxy.fired();
    assert!(world.delta().await.quiet);
    assert_eq!(proxy.fired(), before, "it is not offered again");
    assert_eq!(arrived(&world), ["one", "two"]);
}

#[tokio::test]
async fn a_connection_is_given_up_before_its_refusals_are_too_many_for_the_server() {
    let (world, proxy) = one_by_one().await;
    let mail: Vec<Mail> = (0..40)
        .map(|n| if n % 2 == 0 { large(&format!("odd {n}")) } else { note(&format!("m {n}")) })
        .collect();
    world.at_source().append_many("INBOX", &mail);
    let large_size = world.at_source().messages("INBOX")[0].body.len();
    let sizes = [large_size, large_size + 3];
    for size in sizes {
        let refused = When::verb("APPEND").containing(&format!("{{{size}}}"));
        proxy.always(refused, What::answer("BAD Command Argument Error. 11"));
    }
    let report = world.seed().await;
    assert_eq!(report.record.accounts.failed, 20);
    assert_eq!(arrived(&world).len(), 20);
    let most = proxy.connections();
    assert!(most >= 2, "{most} connections for 20 refusals");
}

#[tokio::test]
async fn a_server_that_closes_after_refusals_is_met_again_in_the_same_pass() {
    let (world, proxy) = one_by_one().await;
    world
        .at_source()
        .append_many("INBOX", &(0..12).map(|n| note(&format!("m {n}"))).collect::<Vec<_>>());
    proxy.times(3, When::verb("APPEND").nth(3), What::answer("BAD Command Argument Error. 11"));
    proxy.set(When::verb("APPEND").nth(7), What::LastWords("* BYE Connection closed. 14".into()));
    let report = world.seed().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.failed), (9, 3));
    proxy.clear();
    world.delta().await;
    let mut there = arrived(&world);
    there.sort();
    there.dedup();
    assert_eq!((there.len(), world.at_destination().uids("INBOX").len()), (12, 12));
}

#[tokio::test]
async fn what_the_server_refuses_for_now_is_an_outage_and_no_message_is_skipped_for_it() {
    let (world, proxy) = one_by_one().await;
    let mail: Vec<Mail> = (0..20).map(|n| note(&format!("m {n:02}"))).collect();
    world.at_source().append_many("INBOX", &mail);
    proxy.always(When::verb("APPEND"), What::answer("NO [UNAVAILABLE] the store is down"));
    for _ in 0..4 {
        let error = world.try_pass(PassKind::Delta).await.expect_err("nothing was taken");
        assert!(error.to_string().contains("the store is down"), "{error}");
    }
    assert!(failures(&world).await.iter().all(|f| f.verdict == Verdict::Failed));
    proxy.clear();
    world.delta().await;
    let mut there = arrived(&world);
    there.sort();
    assert_eq!(there, (0..20).map(|n| format!("m {n:02}")).collect::<Vec<_>>());
    assert!(failures(&world).await.is_empty());
}
