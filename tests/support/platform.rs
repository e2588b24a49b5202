//! What a definition would tell drover's platform, where a test has none.

use std::sync::Arc;

use drover::definition::{Account, Endpoint, Login, SecretRef, Tls};
use drover::model::FolderName;

/// IMAP on loopback, in the clear, over one connection.
pub fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        platform: "imap".into(),
        host: "127.0.0.1".into(),
        port,
        tls: Tls::None,
        ca_file: None,
        connections: 1,
        daily_bytes: None,
        compress: Default::default(),
        traits: Default::default(),
        labels: Default::default(),
    }
}

/// An account at a server that takes any password.
pub fn account(endpoint: Endpoint) -> Account {
    Account {
        user: "alice".into(),
        endpoint: Arc::new(endpoint),
        // Any variable that is surely set.
        login: Login::Password(SecretRef::Env("PATH".into())),
    }
}

/// The folder that every account has.
pub fn inbox() -> FolderName {
    FolderName(b"INBOX".to_vec())
}
