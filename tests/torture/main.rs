//! The first law under every fault at once: random campaigns of kills, cuts, lies and lost
//! ledgers against the real program between real servers, with users at work on both sides. In
//! the end nothing is lost, nothing is doubled, nothing is wrong.
//!
//! `make torture` runs it for minutes and shows each campaign. `SEED=n` begins with the campaign
//! of that number, `CAMPAIGNS=n` and `MINUTES=n` bound it. What a campaign does is decided by its
//! number; when exactly things meet is up to the machine.

#[path = "../support/mod.rs"]
mod support;

mod campaign;
mod fault;
mod herd;
mod tally;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::setting;
use tally::Tally;

/// Campaigns at once: one waits for servers to start while the other works.
const ABREAST: usize = 2;

#[test]
fn nothing_is_lost_or_doubled_or_wrong_whatever_breaks() {
    let first = setting("SEED").unwrap_or_else(|| u64::from(std::process::id()) * 1000);
    let minutes = setting("MINUTES");
    let campaigns = setting("CAMPAIGNS").unwrap_or(if minutes.is_some() { u64::MAX } else { 4 });
    let began = Instant::now();
    let over = |n: u64| {
        let late = minutes.is_some_and(|m| began.elapsed() > Duration::from_secs(60 * m));
        n >= campaigns || (late && n > 0)
    };
    println!("first campaign: SEED={first}");
    let (next, total) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if over(n) {
                        return;
                    }
                    let tally = campaign::run(first.wrapping_add(n));
                    println!("SEED={} {tally}", first.wrapping_add(n));
                    total.lock().expect("no campaign panicked").add(&tally);
                }
            });
        }
    });
    let total = total.into_inner().expect("no campaign panicked");
    println!("\n{} in {} s", total.summary(), began.elapsed().as_secs());
    assert!(total.campaigns > 0, "no campaign was run");
    assert!(!total.is_spoilt(), "{:#?}", total.complaints);
}
