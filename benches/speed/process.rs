//! A program run to its end, with what it cost.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// `/proc/PID/stat` counts in these (`getconf CLK_TCK`; 100 on every Linux that runs on PCs).
const TICKS: f64 = 100.0;
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What one run cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// From its start to its end, seconds.
    pub(crate) wall: f64,
    /// User and system time of the process, seconds.
    pub(crate) cpu: f64,
    /// The most memory it had resident, MiB.
    pub(crate) peak: f64,
}

/// Runs it; it must end well.
pub(crate) fn run(mut command: Command) -> Cost {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let pid = Pid::from_child(&child);
    let watch = std::thread::spawn(move || watch(pid));
    // Left as a zombie, so that what it used can still be read.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("wait for it");
    let wall = start.elapsed().as_secs_f64();
    let cpu = cpu(pid);
    let output = child.wait_with_output().expect("wait for it");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    Cost { wall, cpu, peak: watch.join().expect("the watch does not panic") }
}

/// The most memory the process had, until it has none. MiB.
fn watch(pid: Pid) -> f64 {
    let file = format!("/proc/{}/status", pid.as_raw_nonzero());
    let mut peak = 0.0_f64;
    while let Ok(status) = std::fs::read_to_string(&file)
        && let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:"))
    {
        let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or_default() / 1024.0);
        std::thread::sleep(LOOK);
    }
    peak
}

fn cpu(pid: Pid) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let stat = stat.expect("a process that nobody has waited for");
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th after it.
    let fields = stat.rsplit_once(')').expect("a name").1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|n| n.parse::<f64>().expect("a number")).sum::<f64>() / TICKS
}
