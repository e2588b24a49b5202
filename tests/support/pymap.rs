//! pymap (PyPI), an IMAP server in memory: it has OBJECTID and keeps no keywords.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use drover::definition::{Account, Login, SecretRef};

use super::Imap;
use super::dovecot::free_port;

/// Its demonstration's user.
const USER: &str = "demouser";
const PASSWORD: &str = "demopass";
/// Hundredths of a second until it listens.
const PATIENCE: u32 = 3000;

/// A running server. Ends with the value.
pub struct Pymap {
    child: Child,
    port: u16,
}

impl Pymap {
    /// One with the demonstration's few messages.
    pub fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = root.join("target/imap-clients/python/bin/pymap");
        let port = free_port();
        let mut command = Command::new(&program);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "dict", "--demo-data"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|e| {
            panic!("{}: {e}: run scripts/need-imap-clients.sh, or `make test`", program.display())
        });
        let this = Self { child, port };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        for _ in 0..PATIENCE {
            if listens() {
                return this;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("pymap does not listen on port {port}");
    }

    /// Makes an account of a definition its user's. The password goes into a file in `dir`.
    pub fn take(&self, account: &mut Account, dir: &Path) {
        let password = dir.join("pymap");
        std::fs::write(&password, PASSWORD).expect("write a secret");
        account.user = USER.into();
        account.login = Login::Password(SecretRef::File(password));
        let endpoint = Arc::make_mut(&mut account.endpoint);
        (endpoint.host, endpoint.port) = ("127.0.0.1".into(), self.port);
    }

    /// A client.
    pub fn connect(&self) -> Imap {
        Imap::try_login("127.0.0.1", self.port, USER, PASSWORD).expect("sign in")
    }
}

impl Drop for Pymap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
