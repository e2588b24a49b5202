//! Law 2 under SIGKILL: the daemon dies at random moments during seeds and deltas, and in the end
//! every message is there once, with its flags.
//!
//! `DROVER_SEED=n` repeats a run; `DROVER_ROUNDS=n` makes it longer.

mod support;

use std::time::Duration;

use support::drover::{QUICK, kill_process};
use support::mail::{self, FOLDERS, Rng};
use support::proxy::{Proxy, Then, What, When};
use support::{Dovecot, Drover, Options, assert_same, definition, note, seed, setting, snapshot};

#[test]
fn law_2_a_daemon_killed_at_random_moments_loses_and_doubles_nothing() {
    let seed = seed("DROVER_SEED");
    let rounds = setting("DROVER_ROUNDS").unwrap_or(8);
    let mut rng = Rng::new(seed);
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let folders = &FOLDERS[..7];
    mail::fill(&mut source.connect("anna"), 700, folders, seed);
    let mut drover = Drover::new();
    let often = "[sync]\nevery = \"1s\"";
    drover.define("one", &definition(&source, &destination, "anna", often));
    // What was sent may land a moment after the sender died.
    drover.write("config.toml", QUICK);
    for round in 0..rounds {
        drover.start();
        let mut here = source.connect("anna");
        if round > rounds / 3 {
            for n in 0..20 {
                let folder = folders[rng.below(folders.len())];
                here.append_many(folder, &[note(&format!("round {round} mail {n}"))]);
            }
            let (from, to) = (folders[rng.below(folders.len())], folders[rng.below(folders.len())]);
            let uids = here.uids(from);
            if from != to && uids.len() > 5 {
                here.uid_move(from, &uids[2..5], to);
                let uids = here.uids(to);
                here.store(to, &uids[..2.min(uids.len())], "+FLAGS ($Round)");
            }
        }
        std::thread::sleep(Duration::from_millis(rng.below(900) as u64));
        drover.kill();
    }
    finish(&mut drover, &source, &destination);
}

/// A moment in the life of a batch.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// The intent is durable, the server has nothing but the first line.
    Intent,
    /// The server has half of the bytes.
    Bytes,
    /// The server has all of it, and no answer is given.
    Sent,
    /// The server has said OK, and drover has not heard it.
    Answered,
    /// drover has heard it and is making the outcome durable.
    Flush,
}

#[test]
fn law_2_a_daemon_killed_at_each_point_of_a_batch_loses_and_doubles_nothing() {
    let seed = seed("DROVER_SEED");
    let mut rng = Rng::new(seed);
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let before = Proxy::before(destination.port());
    let folders = &FOLDERS[..7];
    mail::fill(&mut source.connect("anna"), 500, folders, seed);
    let mut drover = Drover::new();
    drover.write("config.toml", QUICK);
    let often = "[sync]\nevery = \"1s\"";
    let text = definition(&source, &destination, "anna", often);
    let through = |port: u16| format!("port = {port}\n");
    let text = text.replace(&through(destination.port()), &through(before.port()));
    drover.define("one", &text);
    let points = [Point::Intent, Point::Bytes, Point::Sent, Point::Answered, Point::Flush];
    let mut kills = 0;
    for (round, point) in points.into_iter().cycle().take(3 * points.len()).enumerate() {
        if round >= points.len() {
            for n in 0..30 {
                let folder = folders[rng.below(folders.len())];
                let text = format!("round {round} mail {n}");
                source.connect("anna").append_many(folder, &[note(&text)]);
            }
        }
        drover.start();
        let pid = drover.pid();
        let after = Duration::from_micros(rng.below(3000) as u64);
        let append = When::verb("APPEND").nth(rng.below(2) as u64 + 1);
        let (when, then) = match point {
            Point::Intent => (append.after_line(), Then::Cut),
            Point::Bytes => (append.in_literal(), Then::Cut),
            Point::Sent => (append.sent(), Then::Cut),
            Point::Answered => (append.answered(), Then::Cut),
            Point::Flush => (append.answered(), Then::GoOn),
        };
        before.set(
            when,
            What::call(move || {
                if then == Then::GoOn {
                    std::thread::spawn(move || {
                        std::thread::sleep(after);
                        kill_process(pid);
                    });
                } else {
                    kill_process(pid);
                }
                then
            }),
        );
        // A pass may be over before its second append: then drover lives on.
        for _ in 0..150 {
            if !drover.is_running() {
                kills += 1;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        before.clear();
        drover.kill();
    }
    println!("{kills} kills at their points");
    assert!(kills >= points.len(), "only {kills} kills");
    finish(&mut drover, &source, &destination);
}

#[test]
fn law_8_a_daemon_killed_while_its_definitions_are_replaced_carries_on_with_the_new_ones() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    mail::fill(&mut source.connect("anna"), 200, &FOLDERS[..5], 5);
    let mut drover = Drover::new();
    drover.write("config.toml", QUICK);
    let generation = |n: usize| {
        let more =
            format!("[sync]\nevery = \"1s\"\n[cutover]\nat = 2090-01-{:02}T00:00:00Z\n", n + 1);
        definition(&source, &destination, "anna", &more)
    };
    drover.define("one", &generation(0));
    for n in 1..12 {
        drover.start();
        let text = generation(n);
        // In pieces, as a checkout writes a file; the end comes between two of them.
        drover.define("one", &text[..text.len() * (n % 4) / 4]);
        std::thread::sleep(Duration::from_millis(40 * n as u64));
        if n % 2 == 0 {
            drover.kill();
            drover.define("one", &text);
        } else {
            drover.define("one", &text);
            drover.kill();
        }
    }
    finish(&mut drover, &source, &destination);
    let migration = drover.migration("one");
    assert_eq!(migration["cutover_at"], "2090-01-12T00:00:00Z");
    assert_eq!(migration["generation"], migration["observed_generation"]);
}

/// One more start, one good pass, and both sides are equal.
fn finish(drover: &mut Drover, source: &Dovecot, destination: &Dovecot) {
    let since = chrono::Utc::now().to_rfc3339();
    drover.start();
    drover.until("a good pass since", |d| {
        let pass = &d.mailbox("one")["last_pass"];
        pass["error"].is_null() && pass["began"].as_str().is_some_and(|began| began > &since[..])
    });
    let (ours, theirs) = (&mut source.connect("anna"), &mut destination.connect("anna"));
    assert_same(&snapshot(ours), &snapshot(theirs), &Options::default());
}
