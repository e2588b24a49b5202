//! What the integration tests stand on: real servers, a raw IMAP client, varied mail and an exact
//! comparison. Nothing here uses drover's own IMAP code, so that a mistake there cannot hide
//! itself.
//!
//! Use it with `mod support;` at the top of a file in `tests/`.

// Every test binary compiles all of this and uses a part.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub mod browser;
pub mod compare;
pub mod dovecot;
pub mod drover;
pub mod imap;
pub mod mail;
pub mod node;
pub mod oidc;
pub mod pair;
pub mod platform;
pub mod process;
pub mod proxy;
pub mod pymap;
pub mod settings;
pub mod standin;
pub mod tapped;
pub mod tls;
mod utf7;
pub mod world;

pub use self::drover::{Drover, definition};
pub use compare::{Options, assert_same, snapshot};
pub use dovecot::Dovecot;
pub use imap::Imap;
pub use oidc::Oidc;
pub use pair::Pair;
pub use platform::{account, endpoint, inbox};
pub use proxy::Proxy;
pub use settings::{is_full, seed, setting};
pub use standin::Standin;
pub use tapped::Tapped;
pub use world::{World, note, subjects};

/// Standard base64.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, &b| n << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let index = (n >> (18 - 6 * at)) & 63;
            out.push(if at <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    out
}
