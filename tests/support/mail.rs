//! Varied mail, the same for the same seed.

use chrono::{DateTime, FixedOffset, TimeZone};

use super::Imap;

/// A message to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// All of it, with CRLF line ends and without NUL.
    pub bytes: Vec<u8>,
    /// Flags and keywords as on the wire: `\Seen $Forwarded`.
    pub flags: String,
    /// What INTERNALDATE is to be.
    pub date: DateTime<FixedOffset>,
}

/// Nested, non-ASCII and awkward folder names, none of which fails on a Maildir++ server.
pub const FOLDERS: [&str; 14] = [
    "INBOX",
    "Sent",
    "Drafts",
    "Archive",
    "Archive/2021",
    "Archive/2022/Q1",
    "Projects/Alpha & Beta",
    "Projects/Alpha & Beta/Minutes (final)",
    "Entwürfe",
    "日本語",
    "日本語/受信 📬",
    "Bills \"quoted\" \\ 100%",
    "Lists/rust-users",
    "Trash",
];

/// Creates `folders` and spreads `count` messages over them, the first getting the most. The same
/// arguments always give the same mailbox.
pub fn fill(imap: &mut Imap, count: usize, folders: &[&str], seed: u64) {
    assert!(!folders.is_empty(), "fill needs a folder");
    let mut by_folder = vec![Vec::new(); folders.len()];
    let mut rng = Rng::new(seed);
    let (mut previous, mut target) = (None, 0);
    for n in 0..count {
        // A genuine twin of the message before, in the same folder: two mails, not one.
        let twin = if n % 60 == 31 { previous.clone() } else { None };
        if twin.is_none() && !rng.chance(30) {
            target = rng.below(folders.len());
        } else if twin.is_none() {
            target = 0;
        }
        let mail = twin.unwrap_or_else(|| message(n, seed));
        by_folder[target].push(mail.clone());
        previous = Some(mail);
    }
    for (folder, mails) in folders.iter().zip(&by_folder) {
        imap.create(folder);
        imap.append_many(folder, mails);
    }
}

/// Message number `n` of a seed: text, multipart with an attachment, and by its number the awkward
/// kinds: no Message-ID, a repeated one, 8-bit headers, an empty body, long lines, no final CRLF.
pub fn message(n: usize, seed: u64) -> Mail {
    let mut rng = Rng::new(seed.wrapping_mul(1_000_003).wrapping_add(n as u64));
    let date = date(&mut rng);
    let mut out = Vec::new();
    let mut line = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    };
    line(format!("Received: from mx.example ([192.0.2.7]); {}", date.to_rfc2822()).as_bytes());
    line(format!("Date: {}", date.to_rfc2822()).as_bytes());
    line(format!("From: {}@sender.example", rng.word()).as_bytes());
    line(b"To: user@example");
    match n % 50 {
        9 => line("Subject: Grüße aus Köln".as_bytes()),
        10 => line(b"Subject: Gr\xfc\xdfe, in Latin-1"),
        11 => line(b"Subject: =?utf-8?B?5pel5pys6Kqe44Gu5Lu25ZCN?="),
        _ => line(format!("Subject: {n} {} {}", rng.word(), rng.word()).as_bytes()),
    }
    match n % 50 {
        7 => {}
        8 => line(b"Message-ID: <same@repeated.example>"),
        _ => line(format!("Message-ID: <{n}.{seed}@drover.example>").as_bytes()),
    }
    line(b"MIME-Version: 1.0");
    match n % 50 {
        13 => line(b""),
        17 => {
            line(b"");
            line(&[b'x'; 20_000]);
        }
        _ => body(&mut out, n, &mut rng),
    }
    if n % 50 == 19 {
        out.truncate(out.trim_ascii_end().len());
    }
    Mail { bytes: out, flags: flags(n, &mut rng), date }
}

fn body(out: &mut Vec<u8>, n: usize, rng: &mut Rng) {
    // Sizes as in real mailboxes: a median of 3 KiB and a long tail.
    let size = (3000.0 * (1.2 * rng.normal()).exp()).min(2_000_000.0) as usize;
    let end = out.len() + size;
    if size < 2000 || rng.chance(50) {
        out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n\r\n");
        while out.len() < end {
            for _ in 0..8 {
                out.extend_from_slice(rng.word().as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice("é\r\n".as_bytes());
        }
    } else {
        out.extend_from_slice(
            format!(
                "Content-Type: multipart/mixed; boundary=\"b{n}\"\r\n\r\n--b{n}\r\n\
                 Content-Type: text/plain\r\n\r\nhello {n}\r\n--b{n}\r\n\
                 Content-Type: application/octet-stream\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n"
            )
            .as_bytes(),
        );
        while out.len() < end {
            let start = rng.below(64);
            out.extend((0..76).map(|i| b64((start + i * (n % 61 + 1)) as u8)));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("--b{n}--\r\n").as_bytes());
    }
}

fn b64(n: u8) -> u8 {
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[usize::from(n) % 64]
}

fn flags(n: usize, rng: &mut Rng) -> String {
    let mut flags = Vec::new();
    for (flag, percent) in [
        ("\\Seen", 75),
        ("\\Answered", 15),
        ("\\Flagged", 8),
        ("\\Draft", 2),
        ("$Forwarded", 6),
        ("$Label1", 5),
        ("NonJunk", 5),
    ] {
        if rng.chance(percent) {
            flags.push(flag.to_owned());
        }
    }
    if n % 40 == 3 {
        flags.push(format!("customer-{}", n % 3));
    }
    flags.join(" ")
}

fn date(rng: &mut Rng) -> DateTime<FixedOffset> {
    let zones = [0, 2 * 60, -7 * 60 - 30, 5 * 60 + 30, 13 * 60];
    let zone = FixedOffset::east_opt(zones[rng.below(zones.len())] * 60).expect("a legal offset");
    // From 2001 to 2026.
    let seconds = 1_000_000_000 + rng.below(790_000_000) as i64;
    zone.timestamp_opt(seconds, 0).single().expect("a legal instant")
}

/// SplitMix64 (Steele, Lea, Flood 2014): eight lines, and the same numbers for ever.
pub struct Rng(u64);

impl Rng {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True this often in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// Normally distributed around 0 with deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let unit = |n: u64| (n >> 11) as f64 / (1u64 << 53) as f64;
        let (a, b) = (unit(self.next()), unit(self.next()));
        (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    fn word(&mut self) -> &'static str {
        const WORDS: [&str; 16] = [
            "pasture", "herd", "drove", "gate", "bell", "river", "hill", "dog", "market", "hay",
            "shepherd", "lane", "stile", "barn", "clover", "dusk",
        ];
        WORDS[self.below(WORDS.len())]
    }
}
