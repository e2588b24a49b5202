//! The programs that are measured, each with everything new: settings, state, a place for both.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::process::{Cost, run};

/// Where one side is.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) port: u16,
    pub(crate) user: String,
}

/// One installation of drover for one or more mailboxes.
pub(crate) struct Drover {
    dir: TempDir,
}

impl Drover {
    /// In a directory below `parent`, for pairs of accounts. `more` goes into `config.toml`.
    pub(crate) fn new(
        parent: &Path,
        pairs: &[(Side, Side)],
        connections: usize,
        more: &str,
    ) -> Self {
        let dir = TempDir::new_in(parent).expect("make a directory");
        let write = |name: &str, text: String| {
            std::fs::write(dir.path().join(name), text).expect("write a file");
        };
        std::fs::create_dir(dir.path().join("definitions")).expect("make a directory");
        write("pw", "pw\n".into());
        write(
            "config.toml",
            format!(
                "definitions = \"definitions\"\nstate = \"state\"\nsocket = \"socket\"\n{more}"
            ),
        );
        let secret = dir.path().join("pw").display().to_string();
        for (n, (source, destination)) in pairs.iter().enumerate() {
            let endpoint = |name: &str, side: &Side| {
                format!(
                    "[{name}]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\
                     connections = {connections}\nauth = {{ password = {{ file = \"{secret}\" }} }}\n",
                    side.port
                )
            };
            let (from, to) = (endpoint("source", source), endpoint("destination", destination));
            let mailbox = format!(
                "[[mailboxes]]\nsource = \"{}\"\ndestination = \"{}\"\n",
                source.user, destination.user
            );
            let sync = "[sync]\ndeletes = \"carry\"\nmax_delete = \"100%\"\n";
            write(&format!("definitions/m{n}.toml"), format!("{from}{to}{mailbox}{sync}"));
        }
        Self { dir }
    }

    /// One pass over these migrations (`m0`, `m1` …).
    pub(crate) fn pass(&self, names: &[&str]) -> Cost {
        let mut command = self.command();
        command.arg("sync").args(names);
        run(command)
    }

    /// Seconds that a pass takes the daemon, as its history tells: what a scheduled one costs.
    pub(crate) fn pass_of_daemon(&self, name: &str) -> f64 {
        let mut command = self.command();
        let told = command.args(["-o", "json", "sync", name]).output().expect("run drover");
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
        let moment = |what: &str| {
            let text = told[0]["pass"][what].as_str().expect("a moment");
            chrono::DateTime::parse_from_rfc3339(text).expect("a moment")
        };
        (moment("ended") - moment("began")).as_seconds_f64()
    }

    /// The daemon, once it answers.
    pub(crate) fn daemon(&self) -> Daemon {
        let mut command = self.command();
        command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Daemon(command.spawn().expect("start the daemon"));
        while !self.dir.path().join("socket").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Whatever it does at its start is done when it has answered this.
        self.pass(&["m0"]);
        daemon
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
        command.current_dir(self.dir.path()).args(["--config", "config.toml"]);
        command
    }
}

/// drover at work in the background, as long as this lives.
pub(crate) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// mbsync, pulling one account into another.
pub(crate) struct Mbsync {
    dir: TempDir,
}

impl Mbsync {
    /// In a directory below `parent`.
    pub(crate) fn new(parent: &Path, source: &Side, destination: &Side) -> Self {
        let dir = TempDir::new_in(parent).expect("make a directory");
        let store = |name: &str, side: &Side| {
            format!(
                "IMAPStore {name}\nHost 127.0.0.1\nPort {}\nUser {}\nPass pw\nSSLType None\n\
                 AuthMechs LOGIN\nPipelineDepth 50\n\n",
                side.port, side.user
            )
        };
        let text = format!(
            "{}{}Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nSync Pull\n\
             CopyArrivalDate yes\nSyncState {}/state/\n",
            store("far", source),
            store("near", destination),
            dir.path().display()
        );
        std::fs::create_dir(dir.path().join("state")).expect("make a directory");
        std::fs::write(dir.path().join("mbsyncrc"), text).expect("write a file");
        Self { dir }
    }

    /// One run.
    pub(crate) fn pass(&self) -> Cost {
        let mut command = Command::new("mbsync");
        command.arg("-c").arg(self.config()).args(["-q", "-a"]);
        run(command)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("mbsyncrc")
    }
}
