//! Law 2 under SIGKILL: the daemon dies at random moments during seeds and deltas, and in the end
//! every message is there once, with its flags.

mod support;

use std::time::Duration;

use support::mail::{self, FOLDERS, Rng};
use support::{Dovecot, Drover, Options, assert_same, definition, note, snapshot};

/// `DROVER_SEED=n` repeats a run; `DROVER_ROUNDS=n` makes it longer.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn law_2_a_daemon_killed_at_random_moments_loses_and_doubles_nothing() {
    let seed = setting("DROVER_SEED", u64::from(std::process::id()));
    let rounds = setting("DROVER_ROUNDS", 8);
    println!("DROVER_SEED={seed}");
    let mut rng = Rng::new(seed);
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let folders = &FOLDERS[..7];
    mail::fill(&mut source.connect("anna"), 700, folders, seed);
    let mut drover = Drover::new();
    let often = "[sync]\nevery = \"1s\"";
    drover.define("one", &definition(&source, &destination, "anna", often));
    // What was sent may land a moment after the sender died.
    drover.write(
        "config.toml",
        "definitions = \"definitions\"\nstate = \"state\"\nsocket = \"drover.sock\"\n\
         [limits]\nsettle = \"500ms\"\n",
    );
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
    let since = chrono::Utc::now().to_rfc3339();
    drover.start();
    drover.until("a good pass since", |d| {
        let pass = &d.mailbox("one")["last_pass"];
        pass["error"].is_null() && pass["began"].as_str().is_some_and(|began| began > &since[..])
    });
    let (ours, theirs) = (&mut source.connect("anna"), &mut destination.connect("anna"));
    assert_same(&snapshot(ours), &snapshot(theirs), &Options::default());
}
