//! Mailboxes to measure with: the same for the same numbers, sizes as in real ones.

use crate::support::Imap;
use crate::support::mail::{FOLDERS, Mail, Rng, message};

/// How a mailbox is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Herd {
    pub(crate) messages: usize,
    pub(crate) folders: usize,
    /// The median of the messages' sizes, bytes.
    pub(crate) median: f64,
    /// The spread of their logarithms; with 1.3 the mean is 2.3 times the median.
    pub(crate) spread: f64,
}

/// The mailbox: 5,000 of these are about 70 MB.
pub(crate) const TYPICAL: Herd =
    Herd { messages: 5_000, folders: 12, median: 6_000.0, spread: 1.3 };
/// Small mail: 50,000 of these are about 56 MB.
pub(crate) const SMALL: Herd = Herd { messages: 50_000, folders: 12, median: 800.0, spread: 0.5 };

/// A mailbox's mail, by folder, with what it weighs.
pub(crate) struct Mailbox {
    pub(crate) folders: Vec<(String, Vec<Mail>)>,
    pub(crate) bytes: usize,
}

impl Herd {
    /// The same with another number of messages.
    pub(crate) const fn of(self, messages: usize) -> Self {
        Self { messages, ..self }
    }

    /// Makes it. A third is in the inbox, the rest anywhere.
    pub(crate) fn make(&self) -> Mailbox {
        let mut rng = Rng::new(4711);
        // mbsync cannot take a folder with a quote in its name.
        let names = FOLDERS.iter().filter(|name| !name.contains('"')).take(self.folders);
        let mut folders: Vec<(String, Vec<Mail>)> =
            names.map(|name| ((*name).to_owned(), Vec::new())).collect();
        let mut bytes = 0;
        for n in 0..self.messages {
            let at = if rng.chance(33) { 0 } else { rng.below(self.folders) };
            let size = self.median * (self.spread * rng.normal()).exp();
            let mail = resized(message(n, 4711), size.min(8e6) as usize, &mut rng);
            bytes += mail.bytes.len();
            folders[at].1.push(mail);
        }
        Mailbox { folders, bytes }
    }
}

/// The message with its flags and naming headers, and a body that makes it this large.
fn resized(mut mail: Mail, size: usize, rng: &mut Rng) -> Mail {
    let head = mail.bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    mail.bytes.truncate(head.map_or(mail.bytes.len(), |at| at + 4));
    if head.is_none() {
        mail.bytes.extend_from_slice(b"\r\n\r\n");
    }
    while mail.bytes.len() < size {
        let line = rng.next().to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
        mail.bytes.extend_from_slice(line.repeat(4).as_bytes());
        mail.bytes.extend_from_slice(b"\r\n");
    }
    mail
}

impl Mailbox {
    /// Puts it into an account.
    pub(crate) fn fill(&self, imap: &mut Imap) {
        for (name, mail) in &self.folders {
            if name != "INBOX" {
                imap.create(name);
            }
            imap.append_many(name, mail);
        }
    }
}
