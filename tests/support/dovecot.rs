//! Real IMAP servers on loopback: Debian's Dovecot 2.3, one process tree and one temporary
//! directory each, gone when the value is dropped or the test process dies.
//!
//! Every user exists and has the password `pw`.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Imap;
use super::tls;

mod conf;
pub use conf::{Builder, Format};

/// How long a server may take to greet; only a machine in trouble needs more than a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub struct Dovecot {
    child: Option<Child>,
    settings: Builder,
    dir: Arc<TempDir>,
    port: u16,
    tls_port: u16,
}

impl Dovecot {
    /// A server with separator `/`, no prefix, no TLS and everything else as Debian ships it.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server with options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn launch_new(settings: Builder) -> Self {
        require_dovecot();
        let dir = Arc::new(directory(settings.on_disk));
        if settings.has_tls() {
            tls::write(dir.path(), settings.certificate);
        }
        let mut server = Self { child: None, settings, dir, port: 0, tls_port: 0 };
        // Someone else may take a port between our look and Dovecot's bind.
        for _ in 0..20 {
            (server.port, server.tls_port) = (free_port(), free_port());
            if server.launch() {
                return server;
            }
        }
        panic!("Dovecot did not start:\n{}", server.log());
    }

    /// Another handle of the same server, for [`super::World::of`]. It stops nothing when it is
    /// dropped; the server ends with the first one.
    pub fn handle(&self) -> Self {
        let (settings, dir) = (self.settings.clone(), Arc::clone(&self.dir));
        Self { child: None, settings, dir, port: self.port, tls_port: self.tls_port }
    }

    /// The address that clients under test are to use.
    ///
    /// Always 127.0.0.1, but 127.0.0.2 with [`Builder::starttls_only`]: Dovecot takes a client
    /// whose address is its own for as good as encrypted, and would let it sign in in the clear.
    pub fn host(&self) -> &'static str {
        if self.settings.starttls_only { "127.0.0.2" } else { "127.0.0.1" }
    }

    /// The port of plain IMAP, with STARTTLS if the server has TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of implicit TLS. Only with [`Builder::tls`].
    pub fn tls_port(&self) -> u16 {
        assert!(self.settings.tls, "this server was started without tls()");
        self.tls_port
    }

    /// The authority to trust, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Signs in as `user`, without TLS whatever the server asks of others.
    #[track_caller]
    pub fn connect(&self, user: &str) -> Imap {
        Imap::try_login("127.0.0.1", self.port, user, &self.settings.password)
            .unwrap_or_else(|e| panic!("cannot sign in as {user}: {e}\n{}", self.log()))
    }

    /// Where the mail of `user` lies.
    pub fn mail_dir(&self, user: &str) -> PathBuf {
        self.dir.path().join("mail").join(user)
    }

    /// The server's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Stops the server in good order; its mail stays. [`Self::restart`] starts it again.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // To all of them: a master that is told alone takes a second to tell its children.
            signal_group(child.id(), "TERM");
            let deadline = Instant::now() + PATIENCE;
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    signal_group(child.id(), "KILL");
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            self.wait_until_closed();
        }
    }

    /// Stops the server, if it runs, and starts it on the same ports with the same mail.
    pub fn restart(&mut self) {
        self.stop();
        let deadline = Instant::now() + PATIENCE;
        while !self.launch() {
            assert!(Instant::now() < deadline, "Dovecot did not come back:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills every process of the server at once, as a power cut would. All connections break.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal_group(child.id(), "KILL");
            let _ = child.wait();
            self.wait_until_closed();
        }
    }

    /// Restarts with other settings, on the same ports and with the same mail:
    /// `server.reconfigure(|b| b.quota("10M"))`.
    pub fn reconfigure(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.settings = change(self.settings.clone());
        if self.settings.has_tls() && !self.ca_file().exists() {
            tls::write(self.dir.path(), self.settings.certificate);
        }
        self.restart();
    }

    /// The master is gone; its children go at the same time, but in their own time.
    fn wait_until_closed(&self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts the process and waits for its greeting; false if it died.
    fn launch(&mut self) -> bool {
        // A killed server leaves its sockets and master.pid.
        let _ = std::fs::remove_dir_all(self.dir.path().join("run"));
        let conf = self.dir.path().join("dovecot.conf");
        let text = self.settings.render(self.dir.path(), self.port, self.tls_port);
        std::fs::write(&conf, text).expect("write dovecot.conf");
        // The watcher holds the other end of a pipe to us: if this process dies, however it dies,
        // the read returns and Dovecot is stopped. Its own process group keeps kill() exact.
        let script = "exec 3<&0 </dev/null; { read -r _ <&3; kill -TERM $$; } & \
                      exec 3<&-; exec dovecot -F -c \"$0\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&conf).env("PATH", search_path()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("start sh");
        let deadline = Instant::now() + PATIENCE;
        while !greets(self.port) {
            let is_dead = child.try_wait().expect("ask about a child").is_some();
            if is_dead || Instant::now() > deadline {
                signal_group(child.id(), "KILL");
                let _ = child.wait();
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Another test's server may answer on a port that ours failed to bind.
        std::thread::sleep(Duration::from_millis(5));
        if child.try_wait().expect("ask about a child").is_some() {
            return false;
        }
        self.child = Some(child);
        true
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        let has_died = self.child.as_mut().is_some_and(|c| !matches!(c.try_wait(), Ok(None)));
        if has_died || std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(30).collect::<Vec<_>>();
            let state = if has_died { "died" } else { "ran" };
            eprintln!("Dovecot on port {} {state}; the end of its log:", self.port);
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        self.stop();
    }
}

/// In memory if possible: servers that fsync to disk would dominate every test.
pub(super) fn directory(on_disk: bool) -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("drover-dovecot-");
    // The mail user of a server started by root must get in.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    let made =
        if memory.is_dir() && !on_disk { builder.tempdir_in(memory) } else { builder.tempdir() };
    made.expect("make a temporary directory")
}

/// A port nobody listens on. Below the range that the kernel hands out to clients, so that no
/// outgoing connection takes it while a server is restarted.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const N: u32 = 12_000;
    loop {
        let start = std::process::id().wrapping_mul(97);
        let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % N;
        let port = u16::try_from(FIRST + n).expect("below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("* OK")
}

fn signal_group(leader: u32, signal: &str) {
    // The shell's own kill: /bin/kill is not everywhere.
    let script = format!("kill -s {signal} -- -{leader}");
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
}

/// Dovecot lies in /usr/sbin, which is not in the PATH of ordinary users on Debian.
fn search_path() -> String {
    format!("{}:/usr/sbin:/usr/local/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn require_dovecot() {
    let version = Command::new("dovecot").arg("--version").env("PATH", search_path()).output();
    let version = version.ok().map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    match version {
        Some(v) if v.starts_with("2.3.") => {}
        Some(v) => panic!("these tests need Dovecot 2.3 (Debian 12: dovecot-imapd), found {v}"),
        None => panic!(
            "these tests need Dovecot 2.3: `apt-get install dovecot-imapd`, or `make test`, \
             which installs it"
        ),
    }
}
