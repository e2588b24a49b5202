//! How fast drover is, held against what the two servers need at least and against mbsync, in the
//! same run on the same machine: `make bench`. `docs/performance.md` tells what the rows mean.
//!
//! Usage: `cargo bench --bench speed -- [ROW…]`, each a part of a row's name; `ROUNDS=n` (default 3).
//! Every round measures all contenders of a row, one after the other, into accounts that are new.

mod delay;
mod floor;
mod herd;
mod peers;
mod process;
mod rows;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;

use rows::{Bench, ROWS};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to know that it runs.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut bench = Bench::new(rounds);
    for (name, row) in ROWS {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            row(&mut bench, name);
        }
    }
    println!("\n{} goals met, {} missed", bench.met, bench.missed);
}
