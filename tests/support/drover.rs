//! The `drover` program as its users run it: a directory with configuration, definitions and
//! secrets, the daemon as a child process, and its commands.

use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::Dovecot;

/// Whatever is waited for should be there long before.
const PATIENCE: Duration = Duration::from_secs(60);
/// A command that takes longer is stuck. Longer than any that gives up by itself.
const COMMAND: Duration = Duration::from_secs(180);

/// One installation of drover. The daemon is killed when this is dropped.
pub struct Drover {
    dir: TempDir,
    daemon: Option<Child>,
}

impl Drover {
    /// With an empty directory of definitions and the secret `pw` in `secrets/pw`.
    pub fn new() -> Self {
        let dir = TempDir::new().expect("make a temporary directory");
        let this = Self { dir, daemon: None };
        std::fs::create_dir(this.path("definitions")).expect("make a directory");
        std::fs::create_dir(this.path("secrets")).expect("make a directory");
        this.write("secrets/pw", "pw\n");
        this.write(
            "config.toml",
            "definitions = \"definitions\"\nstate = \"state\"\nsocket = \"drover.sock\"\n",
        );
        this
    }

    /// A path below the installation.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap_or_else(|e| panic!("write {name}: {e}"));
    }

    /// Writes `definitions/NAME.toml`.
    pub fn define(&self, name: &str, text: &str) {
        self.write(&format!("definitions/{name}.toml"), text);
    }

    /// A command of this installation, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.dir.path()).arg("--config").arg(self.path("config.toml"));
        command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG").env("NO_COLOR", "1");
        command
    }

    /// Runs a command to its end, or kills it when it is stuck.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = assert_cmd::Command::from_std(self.command(arguments));
        let output = command.timeout(COMMAND).output().expect("run drover");
        let is_stuck = output.status.signal() == Some(9);
        assert!(!is_stuck, "drover {} is stuck:\n{}", arguments.join(" "), self.log());
        output
    }

    /// Runs a command that must exit with `code`, and returns what it printed.
    #[track_caller]
    pub fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "drover {}: {}{}\n{}",
            arguments.join(" "),
            text(&output.stdout),
            text(&output.stderr),
            self.log()
        );
        text(&output.stdout)
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with more in its environment.
    pub fn start_with(&mut self, environment: &[(&str, &Path)]) {
        let mut command = self.command(&["run"]);
        command.envs(environment.iter().copied());
        self.start_as(command);
    }

    /// The same by another command, that ends up as the daemon.
    pub fn start_as(&mut self, mut command: Command) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log"));
        command.stdout(Stdio::null()).stderr(log.expect("open the log"));
        self.daemon = Some(command.spawn().expect("start drover"));
        let deadline = Instant::now() + PATIENCE;
        // Not by a command: without a daemon that would take the ledger's lock.
        while UnixStream::connect(self.path("drover.sock")).is_err() {
            let died = self.daemon.as_mut().is_some_and(|d| !matches!(d.try_wait(), Ok(None)));
            assert!(!died, "drover died:\n{}", self.log());
            assert!(Instant::now() < deadline, "drover does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, name: &str) {
        let pid = self.pid();
        let status = Command::new("sh").args(["-c", &format!("kill -s {name} {pid}")]).status();
        assert!(status.is_ok_and(|s| s.success()), "cannot signal drover");
    }

    /// Waits until the daemon is gone and returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while self.is_running() {
            assert!(Instant::now() < deadline, "drover does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.wait().expect("wait for drover").code()
    }

    /// Stops the daemon in good order and returns how long that took.
    pub fn stop(&mut self) -> Duration {
        let began = Instant::now();
        self.signal("TERM");
        assert_eq!(self.wait(), Some(0), "{}", self.log());
        began.elapsed()
    }

    /// Kills the daemon as the kernel would.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// True while the daemon lives.
    pub fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| matches!(daemon.try_wait(), Ok(None)))
    }

    /// What the daemon wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `drover status -o json`.
    pub fn status(&self) -> Value {
        let output = self.run(&["status", "-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
            panic!("status is no JSON: {e}\n{}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// The status of one migration.
    pub fn migration(&self, name: &str) -> Value {
        let status = self.status();
        let all = status["migrations"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|m| m["name"] == name).unwrap_or(Value::Null)
    }

    /// The status of the first mailbox of a migration.
    pub fn mailbox(&self, migration: &str) -> Value {
        let status = self.status();
        let all = status["mailboxes"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|m| m["migration"] == migration).unwrap_or(Value::Null)
    }

    /// Waits until something holds and returns how long that took.
    #[track_caller]
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !holds(self) {
            assert!(
                began.elapsed() < PATIENCE,
                "never seen: {what}\n{:#}\n{}",
                self.status(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
        began.elapsed()
    }

    /// Waits until the mailbox of a migration is in a phase.
    #[track_caller]
    pub fn until_phase(&self, migration: &str, phase: &str) -> Duration {
        let what = format!("{migration} {phase}");
        self.until(&what, |d| d.mailbox(migration)["phase"] == phase)
    }
}

impl Drop for Drover {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the end of drover's log:\n{}", tail(&self.log()));
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// A configuration that waits less than usual for what may land late.
pub const QUICK: &str = "definitions = \"definitions\"\nstate = \"state\"\n\
                         socket = \"drover.sock\"\n[limits]\nsettle = \"500ms\"\n";

/// Kills a process as the kernel would; from any thread, and fine if it is gone.
pub fn kill_process(pid: u32) {
    // The shell's own kill: /bin/kill is not everywhere.
    let script = format!("kill -s KILL {pid}");
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
}

/// How an endpoint of a definition is signed in to: with the password in `secrets/pw`.
pub const BY_PASSWORD: &str = "auth = { password = { file = \"../secrets/pw\" } }\n";

/// The head of an endpoint of a definition, a server on loopback without TLS.
pub fn loopback(name: &str, port: u16) -> String {
    format!("[{name}]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n")
}

/// A mailbox of a definition.
pub fn mailbox(source: &str, destination: &str) -> String {
    format!("[[mailboxes]]\nsource = \"{source}\"\ndestination = \"{destination}\"\n")
}

/// A definition that moves `user` of one server to `user` of the other. `more` is put between
/// the endpoints and the mailboxes.
pub fn definition(source: &Dovecot, destination: &Dovecot, user: &str, more: &str) -> String {
    let endpoint = |name: &str, server: &Dovecot| {
        format!(
            "[{name}]\nhost = \"{}\"\nport = {}\ntls = \"none\"\n\
             auth = {{ password = {{ command = [\"echo\", \"pw\"] }} }}\n",
            server.host(),
            server.port()
        )
    };
    endpoint("source", source)
        + &endpoint("destination", destination)
        + more
        + "\n"
        + &mailbox(user, user)
}

/// The program under test. Only integration tests are told where it is; the demonstration, which
/// shares this module, does not start one.
fn program() -> &'static str {
    let program = option_env!("CARGO_BIN_EXE_drover");
    program.expect("this is an integration test")
}
