//! A command without a daemon signs in while it opens its ledger; once, and never before it is sure
//! that nobody else has the ledger.

mod support;

use std::sync::Arc;
use std::time::Duration;

use drover::config::Config;
use drover::daemon::Engine;
use drover::ledger::Hold;
use drover::model::PassKind;
use drover::sync::Early;
use support::drover::{BY_PASSWORD, loopback, mailbox};
use support::{Dovecot, Drover, Proxy, World, note};

/// A migration of one mailbox between two servers, each behind something that counts.
struct Scene {
    drover: Drover,
    proxies: [Proxy; 2],
    _servers: [Dovecot; 2],
}

impl Scene {
    fn new() -> Self {
        Self::with("")
    }

    /// With more above the mailboxes.
    fn with(more: &str) -> Self {
        let servers = [Dovecot::start(), Dovecot::start()];
        servers[0].connect("anna").append_many("INBOX", &[note("hello")]);
        let proxies = servers.each_ref().map(|server| Proxy::before(server.port()));
        let drover = Drover::new();
        let [source, destination] = proxies.each_ref().map(Proxy::port);
        let sides =
            loopback("source", source) + BY_PASSWORD + &loopback("destination", destination);
        drover.define("acme", &(more.to_owned() + &sides + BY_PASSWORD + &mailbox("anna", "anna")));
        Self { drover, proxies, _servers: servers }
    }

    fn connections(&self) -> [u64; 2] {
        self.proxies.each_ref().map(Proxy::connections)
    }

    fn config(&self) -> Config {
        Config::find(Some(&self.drover.path("config.toml"))).expect("a configuration")
    }

    async fn engine(&self, wanted: Option<&[&str]>) -> Engine {
        let wanted = wanted.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let wanted: Option<Vec<String>> = wanted;
        Engine::start(&self.config(), wanted.as_deref()).await.expect("an engine")
    }
}

/// Waits for connections that are on their way.
async fn until_both_are_signed_in_to(proxies: [&Proxy; 2]) {
    let is_in = |proxy: &Proxy| proxy.heard().iter().any(|line| line.contains("AUTHENTICATE"));
    for _ in 0..500 {
        if proxies.iter().all(|proxy| is_in(proxy)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody signs in");
}

#[tokio::test]
async fn who_wants_a_pass_is_signed_in_before_it_asks_for_it() {
    let scene = Scene::new();
    let engine = scene.engine(Some(&["acme"])).await;
    until_both_are_signed_in_to(scene.proxies.each_ref()).await;
    engine.stop().await;
}

#[tokio::test]
async fn who_wants_no_pass_is_not_signed_in() {
    let scene = Scene::new();
    let engine = scene.engine(None).await;
    // As long as signing in takes, and longer.
    tokio::time::sleep(Duration::from_millis(300)).await;
    engine.stop().await;
    assert_eq!(scene.connections(), [0, 0]);
}

#[test]
fn a_pass_and_a_plan_by_themselves_connect_once_to_each_side() {
    let scene = Scene::new();
    scene.drover.expect(0, &["sync", "acme"]);
    assert_eq!(scene.connections(), [1, 1]);
    scene.drover.expect(0, &["plan", "acme/anna"]);
    assert_eq!(scene.connections(), [2, 2]);
}

#[test]
fn a_password_that_is_refused_is_tried_once() {
    let scene = Scene::new();
    scene.drover.write("secrets/pw", "wrong\n");
    scene.drover.expect(1, &["sync", "acme"]);
    let tried = scene.proxies[0].heard();
    let tried = tried.iter().filter(|line| line.contains("AUTHENTICATE")).count();
    assert_eq!((tried, scene.proxies[0].connections()), (1, 1));
}

#[tokio::test]
async fn nobody_signs_in_while_another_drover_has_the_ledger() {
    let scene = Scene::new();
    let held = Hold::take(&scene.drover.path("state")).await.expect("the right to the ledger");
    scene.drover.expect(4, &["sync", "acme"]);
    assert_eq!(scene.connections(), [0, 0]);
    drop(held);
    scene.drover.expect(0, &["sync", "acme"]);
}

#[test]
fn what_is_suspended_is_not_signed_in_to() {
    let scene = Scene::with("suspend = true\n");
    scene.drover.expect(1, &["sync", "acme"]);
    assert_eq!(scene.connections(), [0, 0]);
}

#[tokio::test]
async fn a_lane_that_was_opened_early_is_the_first_one_of_its_mailbox_and_of_no_other() {
    let [mut anna, mut bert] = [World::new().await, World::new().await];
    let [from, to] = [anna.tap_source(), anna.tap_destination()];
    let elsewhere = bert.tap_source();
    let context = anna.context();
    let mailbox = Arc::new(anna.mailbox.clone());
    let early = Early::open(&context.connections, &context.options, &mailbox);
    until_both_are_signed_in_to([&from, &to]).await;

    bert.context_mut().early = early.clone();
    bert.pass(PassKind::Delta).await;
    assert_eq!((elsewhere.connections(), from.connections()), (1, 1));

    anna.context_mut().early = early;
    anna.pass(PassKind::Delta).await;
    assert_eq!((from.connections(), to.connections()), (1, 1));
    // The next one opens its own.
    anna.pass(PassKind::Delta).await;
    assert_eq!((from.connections(), to.connections()), (2, 2));
}

#[test]
fn definitions_that_vanish_at_once_are_held_by_a_command_too() {
    let scene = Scene::new();
    scene.drover.expect(0, &["status"]);
    std::fs::remove_file(scene.drover.path("definitions/acme.toml")).expect("remove it");
    let status = scene.drover.expect(0, &["status", "-o", "json"]);
    assert!(status.contains("shows no definition any more"), "{status}");
}
