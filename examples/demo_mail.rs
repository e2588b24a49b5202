//! The other actors of `make demo`: two mail servers, and the people who use them meanwhile.
//!
//! ```text
//! demo_mail serve DIR    starts both servers, fills the old one, writes DIR/servers and the
//!                        authorities' certificates, and stops when its input ends
//! demo_mail work PORT    a morning's work in the old mailboxes
//! demo_mail late PORT    one more message, after the switch
//! demo_mail follow PHASES SECONDS
//!                        reads `drover status --watch -o json` and writes a line about it a
//!                        second, until all mailboxes are in one of PHASES or time is over
//! ```

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::Value;
use support::{Dovecot, Imap, mail};

const MAILBOXES: [(&str, usize); 3] =
    [("anna@old.example", 1500), ("bruno@old.example", 1000), ("chiyo@old.example", 500)];

const FOLDERS: [&str; 11] = [
    "INBOX",
    "Sent",
    "Drafts",
    "Archive",
    "Archive/2021",
    "Archive/2022/Q1",
    "Projects/Alpha & Beta",
    "Entwürfe",
    "日本語/受信",
    "Lists/rust-users",
    "Trash",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", dir] => serve(Path::new(dir)),
        ["work", port] => work(&mut connect(port, "anna@old.example")),
        ["late", port] => late(&mut connect(port, "bruno@old.example")),
        ["follow", phases, seconds] => {
            return follow(phases, seconds.parse().expect("a number of seconds"));
        }
        _ => {
            eprintln!("usage: demo_mail serve DIR | work PORT | late PORT | follow PHASES SECONDS");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

fn serve(dir: &Path) {
    let old = Dovecot::builder().tls().start();
    let new = Dovecot::builder().separator('.').prefix("INBOX.").tls().start();
    std::thread::scope(|scope| {
        for (seed, (user, count)) in MAILBOXES.iter().enumerate() {
            let old = &old;
            scope.spawn(move || mail::fill(&mut old.connect(user), *count, &FOLDERS, seed as u64));
        }
    });
    for (server, name) in [(&old, "old-ca.pem"), (&new, "new-ca.pem")] {
        std::fs::copy(server.ca_file(), dir.join(name)).expect("copy a certificate");
    }
    let text = format!(
        "old_port={}\nold_tls_port={}\nnew_tls_port={}\n",
        old.port(),
        old.tls_port(),
        new.tls_port()
    );
    // Renamed into place: whoever sees the file sees all of it.
    std::fs::write(dir.join("servers.new"), text).expect("write the ports");
    std::fs::rename(dir.join("servers.new"), dir.join("servers")).expect("write the ports");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn connect(port: &str, user: &str) -> Imap {
    let port = port.parse().expect("a port");
    Imap::try_login("127.0.0.1", port, user, "pw").expect("sign in to the old server")
}

fn work(anna: &mut Imap) {
    for n in 0..3 {
        deliver(anna, 9000 + n);
    }
    let inbox = anna.uids("INBOX");
    let [first, second] = [&inbox[..5], &inbox[5..12]];
    anna.store("INBOX", first, "+FLAGS (\\Flagged $Label1)");
    anna.uid_move("INBOX", second, "Projects/Alpha & Beta");
    let archived = anna.uids("Archive");
    anna.expunge_uids("Archive", &archived[..2]);
    anna.create("Projects/Gamma");
    anna.uid_copy("INBOX", first, "Projects/Gamma");
    println!("anna received 3 messages, flagged 5, moved 7 to “Projects/Alpha & Beta”,");
    println!("deleted 2 from the archive, and copied 5 to the new folder “Projects/Gamma”");
}

fn late(bruno: &mut Imap) {
    deliver(bruno, 9100);
    println!("a sender with an old DNS answer delivered one more message to bruno's old mailbox");
}

/// What an administrator's one-liner makes of drover's JSON.
fn follow(phases: &str, seconds: u64) -> ExitCode {
    let began = Instant::now();
    let mut told = String::new();
    // Messages and bytes, settled and in all: the last word on each mailbox.
    let mut seen: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    let mut before: Option<(Instant, u64)> = None;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(status) = serde_json::from_str::<Value>(&line) else { continue };
        let mailboxes = status["mailboxes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for mailbox in mailboxes {
            *counts.entry(mailbox["phase"].as_str().unwrap_or_default()).or_default() += 1;
            let seen = seen.entry(mailbox["source"].to_string()).or_default();
            let number = |name: &str| mailbox["progress"][name].as_u64();
            *seen = match number("messages") {
                Some(messages) => {
                    let of = |name| number(name).unwrap_or(0);
                    [messages, of("messages_total"), of("bytes"), of("bytes_total")]
                }
                // Its pass has ended.
                None => [seen[1], seen[1], seen[3], seen[3]],
            };
        }
        let sum = |n: usize| seen.values().map(|seen| seen[n]).sum::<u64>();
        let counts: Vec<String> = counts.iter().map(|(phase, n)| format!("{n} {phase}")).collect();
        let mut now = counts.join(", ");
        if sum(3) > 0 && sum(2) < sum(3) {
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            let (bytes, total) = (sum(2) as f64, sum(3) as f64);
            now += &format!("; {} of {} messages", sum(0), sum(1));
            now += &format!(", {:.1} of {:.1} MiB", mib(bytes), mib(total));
            if let Some((at, earlier)) = before
                && sum(2) > earlier
            {
                let rate = (sum(2) - earlier) as f64 / at.elapsed().as_secs_f64();
                let left = (total - bytes) / rate;
                now += &format!(", {:.1} MiB/s, {left:.0} s left", mib(rate));
            }
        }
        before = Some((Instant::now(), sum(2)));
        if now != told {
            println!("{:>4} s  {now}", began.elapsed().as_secs());
            told = now;
        }
        let is_there = |mailbox: &Value| {
            let phase = mailbox["phase"].as_str().unwrap_or_default();
            phases.split('|').any(|wanted| wanted == phase)
        };
        if began.elapsed().as_secs() >= seconds
            || (!mailboxes.is_empty() && mailboxes.iter().all(is_there))
        {
            return ExitCode::SUCCESS;
        }
    }
    eprintln!("drover has ended");
    ExitCode::FAILURE
}

fn deliver(imap: &mut Imap, n: usize) {
    let message = mail::message(n, 0);
    imap.append("INBOX", "", message.date, &message.bytes);
}
