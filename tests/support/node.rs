//! Programs for Node.js, and what to do about one that says nothing.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::process;

/// A program says its first line within a second or two, on a busy machine within twenty.
const PATIENCE: Duration = Duration::from_secs(60);
/// In CI one was silent for a minute, twice in a row. Why is not known.
const STARTS: u32 = 4;

/// What is always given. Node.js 18 has WebCrypto, but not by itself; V8's helping threads are known
/// to lock a program up (<https://github.com/nodejs/node/issues/54918>), and gain nothing here.
const OPTIONS: [&str; 3] =
    ["--experimental-global-webcrypto", "--no-warnings", "--single-threaded"];

/// Starts a program in `directory` and hears its first line. One that stays silent is killed and
/// started anew, [`STARTS`] times in all; what its threads waited for is told, for whoever reads why a test failed.
pub fn start(directory: &Path, arguments: &[&str]) -> (Child, String) {
    (0..STARTS)
        .find_map(|_| launch(directory, arguments))
        .expect("node starts and says its first line")
}

fn launch(directory: &Path, arguments: &[&str]) -> Option<(Child, String)> {
    let mut command = Command::new("node");
    command.args(OPTIONS).args(arguments).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start node");
    let (output, errors) = (child.stdout.take().expect("its output"), child.stderr.take());
    let (hear, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(output).read_line(&mut line);
        let _ = hear.send(line);
    });
    // Read to its end, or a program with much to say would wait.
    let complaints = std::thread::spawn(move || std::io::read_to_string(errors?).ok());
    let line = heard.recv_timeout(PATIENCE).unwrap_or_default();
    if !line.is_empty() {
        return Some((child, line));
    }
    let threads = process::threads(child.id());
    let _ = child.kill();
    let end = child.wait();
    let complaints = complaints.join().ok().flatten().unwrap_or_default();
    // Not by a macro, which a test that passes keeps to itself.
    let _ = writeln!(
        std::io::stderr(),
        "node says nothing; its threads:\n{threads}it ended: {end:?}\n{complaints}"
    );
    None
}
