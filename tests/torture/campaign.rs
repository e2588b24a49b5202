//! One campaign: two servers, one mailbox, drover between them, and a dozen rounds in each of
//! which users work and something breaks. Then peace, and judgement.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::support::drover::QUICK;
use crate::support::mail::Rng;
use crate::support::proxy::{Direction, Proxy};
use crate::support::{Dovecot, Drover};

use super::fault::{self, Fault, Side};
use super::herd::{Herd, Memory, USER};
use super::tally::Tally;

/// Peace must come to an end long before.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stands between drover and the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Plain text, which the faults can read.
    Plain,
    /// TLS: bytes.
    Tls,
}

/// Everything a fault can be done to.
pub(crate) struct Field {
    pub(crate) source: Dovecot,
    pub(crate) destination: Dovecot,
    pub(crate) before_source: Proxy,
    pub(crate) before_destination: Proxy,
    pub(crate) drover: Drover,
    pub(crate) herd: Herd,
    pub(crate) rng: Rng,
    pub(crate) tally: Tally,
    memory: Memory,
    wire: Wire,
    connections: (usize, usize),
}

/// Runs the campaign of this number.
pub(crate) fn run(seed: u64) -> Tally {
    let mut rng = Rng::new(seed);
    let memory = if rng.chance(30) { Memory::Lost } else { Memory::Kept };
    let wire = if rng.chance(15) { Wire::Tls } else { Wire::Plain };
    let (source, destination) = (server(&mut rng, wire), server(&mut rng, wire));
    let before = |server: &Dovecot| match wire {
        Wire::Plain => Proxy::before(server.port()),
        Wire::Tls => Proxy::raw(server.tls_port()),
    };
    let (before_source, before_destination) = (before(&source), before(&destination));
    let drover = Drover::new();
    drover.write("config.toml", QUICK);
    let connections = (rng.below(4) + 1, rng.below(4) + 1);
    let mut herd = Herd::new(seed, memory);
    herd.arrive(&source, 60 + rng.below(300));
    let tally = Tally { campaigns: 1, ..Tally::default() };
    let mut field = Field {
        source,
        destination,
        before_source,
        before_destination,
        drover,
        herd,
        rng,
        tally,
        memory,
        wire,
        connections,
    };
    field.drover.define("herd", &field.definition(""));
    for _ in 0..6 + field.rng.below(10) {
        field.round();
    }
    field.peace();
    if field.rng.chance(30) {
        field.cut_over();
    }
    let verdict = field.herd.judge(&field.destination);
    field.tally.judge(seed, &verdict);
    if !verdict.is_clean() {
        let (story, log) = (field.herd.story(&verdict), field.drover.log());
        eprintln!("SEED={seed}: {verdict:#?}\n{story}\n{log}");
        let Field { connections, memory, wire, .. } = &field;
        eprintln!("connections {connections:?}, ledger {memory:?}, {wire:?}");
        for (name, proxy) in
            [("source", &field.before_source), ("destination", &field.before_destination)]
        {
            eprintln!("the {name} heard:\n{}", proxy.heard().join("\n"));
        }
    }
    field.tally
}

/// A server of one of the kinds there are.
fn server(rng: &mut Rng, wire: Wire) -> Dovecot {
    let mut builder = Dovecot::builder();
    if rng.chance(30) {
        builder = builder.no_multiappend();
    }
    builder = match rng.below(4) {
        0 => builder.hide(&["QRESYNC"]),
        1 => builder.hide(&["QRESYNC", "CONDSTORE"]),
        _ => builder,
    };
    if rng.chance(25) {
        builder = builder.hide(&["LIST-STATUS", "ESEARCH", "MOVE"]);
    }
    if rng.chance(25) {
        builder = builder.hide(&["X"]).literal_minus();
    }
    if wire == Wire::Tls {
        builder = builder.tls();
    }
    builder.start()
}

impl Field {
    fn definition(&self, more: &str) -> String {
        let endpoint = |name: &str, proxy: &Proxy, server: &Dovecot, connections: usize| {
            let tls = match self.wire {
                Wire::Plain => "tls = \"none\"".to_owned(),
                Wire::Tls => format!("ca_file = \"{}\"", server.ca_file().display()),
            };
            format!(
                "[{name}]\nhost = \"127.0.0.1\"\nport = {}\n{tls}\n\
                 connections = {connections}\n\
                 auth = {{ password = {{ file = \"../secrets/pw\" }} }}\n",
                proxy.port()
            )
        };
        // With its ledger gone drover removes nothing it cannot prove to have written.
        let deletes = match self.memory {
            Memory::Kept => "deletes = \"carry\"\nmax_delete = \"100%\"\n",
            Memory::Lost => "",
        };
        format!(
            "{}{}[sync]\nevery = \"1s\"\n{deletes}{more}\
             [[mailboxes]]\nsource = \"{USER}\"\ndestination = \"{USER}\"\n",
            endpoint("source", &self.before_source, &self.source, self.connections.0),
            endpoint(
                "destination",
                &self.before_destination,
                &self.destination,
                self.connections.1
            )
        )
    }

    fn round(&mut self) {
        self.tally.rounds += 1;
        if !self.drover.is_running() {
            self.drover.start();
        }
        let fault = Fault::random(&mut self.rng, self.memory, self.wire);
        *self.tally.faults.entry(fault.name()).or_default() += 1;
        self.herd.note(&format!("{fault:?}"));
        self.users_act();
        fault::strike(self, &fault);
        self.before_source.clear();
        self.before_destination.clear();
    }

    /// Both users at work for a while, with pauses.
    pub(crate) fn users_act(&mut self) {
        if self.rng.chance(70) {
            self.herd.source_acts(&self.source);
        }
        self.pause(150);
        if self.rng.chance(60) {
            let settled = self.settled();
            self.herd.destination_acts(&self.destination, settled);
        }
    }

    /// When the last good pass began.
    fn settled(&mut self) -> DateTime<Utc> {
        let never = DateTime::UNIX_EPOCH;
        if !self.drover.is_running() {
            return never;
        }
        // It may die under the question.
        let status = self.drover.run(&["status", "-o", "json"]).stdout;
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap_or_default();
        let pass = &status["mailboxes"][0]["last_pass"];
        let began = pass["began"].as_str().filter(|_| pass["error"].is_null());
        began.and_then(|text| text.parse().ok()).unwrap_or(never)
    }

    /// Up to so many milliseconds.
    pub(crate) fn pause(&mut self, most: usize) {
        std::thread::sleep(Duration::from_millis(self.rng.below(most) as u64));
    }

    /// drover at work on what its users just did, for a while.
    pub(crate) fn work(&mut self) {
        self.users_act();
        self.pause(1200);
    }

    /// drover dies as the kernel would have it.
    pub(crate) fn kill(&mut self) {
        self.drover.kill();
        self.tally.kills += 1;
        self.herd.note("drover killed");
    }

    /// How many bytes ahead something may happen: as many as a pass brings in that direction.
    pub(crate) fn soon(&mut self, side: Side, direction: Direction) -> u64 {
        let bodies = (side, direction) == (Side::Source, Direction::ToClient)
            || (side, direction) == (Side::Destination, Direction::ToServer);
        self.rng.below(if bodies { 60_000 } else { 4_000 }) as u64
    }

    /// Nothing breaks any more: passes until two in a row are good.
    fn peace(&mut self) {
        // A daemon that waits out a throttle or a refused login starts with a clear head.
        self.drover.kill();
        self.drover.start();
        let began = Instant::now();
        let mut good = 0;
        while good < 2 {
            let output = self.drover.run(&["sync", "herd"]);
            good = if output.status.success() { good + 1 } else { 0 };
            assert!(
                began.elapsed() < PATIENCE,
                "no good pass in peace: {}\n{}",
                String::from_utf8_lossy(&output.stderr),
                self.drover.log()
            );
        }
    }

    /// The definition says that the moment has come; drover finishes by itself.
    fn cut_over(&mut self) {
        let now = chrono::Utc::now().to_rfc3339();
        let more = format!("[cutover]\nat = {now}\ntail = \"1s\"\n");
        self.drover.define("herd", &self.definition(&more));
        self.drover.until_phase("herd", "complete");
        *self.tally.faults.entry("cutover").or_default() += 1;
    }
}
