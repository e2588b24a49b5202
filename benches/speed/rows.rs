//! What is measured.

use std::path::PathBuf;
use std::time::Duration;

use crate::delay::Delay;
use crate::floor::{Floor, Order, Rules};
use crate::herd::{Herd, Mailbox, SMALL, TYPICAL};
use crate::peers::{Drover, Mbsync, Side};
use crate::support::mail::Mail;
use crate::support::{Dovecot, dovecot::Format};
use crate::table::{Goal, Series, against, figure, heading};

const DELTA: &str = "(delta − copying) / nothing";
/// Connections to each side, for everybody who can have several.
const CONNECTIONS: usize = 8;
/// What `docs/performance.md` advises for a long line: the budget bounds what is under way on it.
const LONG_LINE: &str = "[limits]\nmemory = \"64MiB\"\n";
/// Passes that find nothing are short: more of them in a round.
const REPEATS: usize = 5;

type Row = fn(&mut Bench, &str);

/// All rows, by name.
pub(crate) const ROWS: [(&str, Row); 18] = [
    ("seed-tmpfs", |b, n| b.seed(n, Medium::Memory, TYPICAL, 3.0)),
    ("seed-disk", |b, n| b.seed(n, Medium::Disk, TYPICAL, 7.0)),
    ("seed-50000", |b, n| b.seed(n, Medium::Memory, SMALL, 3.0)),
    ("seed-50ms", |b, n| b.far(n, 1_000, 50, 1.2)),
    ("seed-200ms", |b, n| b.far(n, 1_000, 200, 2.0)),
    ("large-50ms", |b, n| b.far(n, 10_000, 50, 1.2)),
    ("large-200ms", |b, n| b.far(n, 10_000, 200, 2.0)),
    ("folders-50ms", |b, n| b.folders(n)),
    ("nothing-5000", |b, n| b.nothing(n, TYPICAL)),
    ("nothing-50000", |b, n| b.nothing(n, SMALL)),
    ("nothing-growth", |b, n| b.growth(n)),
    ("nothing-50ms", |b, n| b.nothing_far(n)),
    ("delta-100000", |b, n| b.delta(n)),
    ("rules-single", |b, n| b.under(n, Rules::Single)),
    ("rules-minus", |b, n| b.under(n, Rules::Minus)),
    ("rules-waiting", |b, n| b.under(n, Rules::Waiting)),
    ("memory-mailboxes", |b, n| b.memory_of_eight(n)),
    ("memory-large", |b, n| b.memory_of_large(n)),
];

/// Where mail and state lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Memory,
    Disk,
}

impl Medium {
    fn directory(self) -> PathBuf {
        match self {
            Self::Memory => PathBuf::from("/dev/shm"),
            Self::Disk => std::env::temp_dir(),
        }
    }
}

/// Counts and names.
pub(crate) struct Bench {
    rounds: usize,
    accounts: usize,
    pub(crate) met: usize,
    pub(crate) missed: usize,
}

/// Two servers, one of which has mail.
struct Pair {
    source: Dovecot,
    destination: Dovecot,
    state: PathBuf,
}

impl Pair {
    fn new(medium: Medium, rules: Rules) -> Self {
        Self::storing(medium, rules, Format::Maildir)
    }

    fn storing(medium: Medium, rules: Rules, format: Format) -> Self {
        let server = || {
            let server = Dovecot::builder().format(format);
            match medium {
                Medium::Memory => server,
                // As Debian ships it.
                Medium::Disk => server.mail_on_disk().raw_conf("mail_fsync = optimized"),
            }
        };
        let destination = match rules {
            Rules::All => server(),
            Rules::Single => server().hide(&["MULTIAPPEND"]),
            Rules::Minus => server().hide(&["MULTIAPPEND"]).literal_minus(),
            Rules::Waiting => server().hide(&["MULTIAPPEND", "LITERAL+"]),
        };
        let (source, destination) = (server().start(), destination.start());
        Self { source, destination, state: medium.directory() }
    }

    /// With such a mailbox at the source, as `anna`'s.
    fn filled(medium: Medium, rules: Rules, herd: Herd) -> (Self, Mailbox) {
        let (pair, mailbox) = (Self::new(medium, rules), herd.make());
        mailbox.fill(&mut pair.source.connect("anna"));
        (pair, mailbox)
    }

    fn source(&self, user: &str) -> Side {
        Side { port: self.source.port(), user: user.into() }
    }

    fn destination(&self, user: &str) -> Side {
        Side { port: self.destination.port(), user: user.into() }
    }

    fn drover(&self, source: Side, destination: Side) -> Drover {
        Drover::new(&self.state, &[(source, destination)], CONNECTIONS, "")
    }

    /// Everything arrived; what is not exact is nothing to time.
    fn assert_there(&self, mailbox: &Mailbox, user: &str) {
        let mut there = self.destination.connect(user);
        for (name, mail) in &mailbox.folders {
            assert_eq!(there.uids(name).len(), mail.len(), "{name} of {user}");
        }
    }
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn describe(name: &str, mailbox: &Mailbox, how: &str) {
    let n: usize = mailbox.folders.iter().map(|(_, mail)| mail.len()).sum();
    let (folders, mb) = (mailbox.folders.len(), mailbox.bytes as f64 / 1e6);
    heading(&format!("{name}: {n} messages, {mb:.1} MB, {folders} folders, {how}"));
}

impl Bench {
    pub(crate) fn new(rounds: usize) -> Self {
        Self { rounds, accounts: 0, met: 0, missed: 0 }
    }

    fn goal(&mut self, what: &str, value: f64, unit: &str, goal: Goal) {
        match against(what, value, unit, goal) {
            true => self.met += 1,
            false => self.missed += 1,
        }
    }

    /// A user nobody has been before.
    fn account(&mut self) -> String {
        self.accounts += 1;
        format!("user{}", self.accounts)
    }

    fn seed(&mut self, name: &str, medium: Medium, herd: Herd, over_mbsync: f64) {
        let (pair, mailbox) = Pair::filled(medium, Rules::All, herd);
        describe(name, &mailbox, &format!("{medium:?}"));
        let floor = Floor::of(&mailbox, &pair.destination.connect("anna"), CONNECTIONS);
        let mut series: [Series; 6] = Default::default();
        for _ in 0..self.rounds {
            let at = (pair.source.port(), "anna");
            for (order, n) in [(Order::Any, 0), (Order::Kept, 5)] {
                let to = (pair.destination.port(), &*self.account());
                series[n].0.push(floor.measure(at, to, Rules::All, order));
            }
            let to = self.account();
            let drover = pair.drover(pair.source("anna"), pair.destination(&to)).pass(&["m0"]);
            pair.assert_there(&mailbox, &to);
            series[1].0.push(drover.wall);
            series[2].0.push(drover.cpu);
            let to = self.account();
            let mbsync =
                Mbsync::new(&pair.state, &pair.source("anna"), &pair.destination(&to)).pass();
            pair.assert_there(&mailbox, &to);
            series[3].0.push(mbsync.wall);
            series[4].0.push(mbsync.cpu);
            figure("drover's memory", drover.peak, "MiB");
        }
        let [floor, drover, cpu, mbsync, mbsync_cpu, in_order] = &series;
        figure("floor", floor.median(), "s");
        figure("floor, each folder in order", in_order.median(), "s");
        figure("drover", drover.median(), "s");
        figure("mbsync", mbsync.median(), "s");
        figure("drover's CPU", cpu.median(), "s");
        self.goal("drover / floor", drover.over(floor), "", Goal::AtMost(1.25));
        figure("drover / floor, each folder in order", drover.over(in_order), "");
        // Nobody who feeds the same servers the same way can be faster than that.
        figure("mbsync / floor", mbsync.over(floor), "");
        self.goal("mbsync / drover", mbsync.over(drover), "", Goal::AtLeast(over_mbsync));
        self.goal("CPU: drover / mbsync", cpu.over(mbsync_cpu), "", Goal::AtMost(2.0));
    }

    /// The same mailbox near and far, on disk.
    fn far(&mut self, name: &str, messages: usize, round_trip: u64, most: f64) {
        let (pair, mailbox) = Pair::filled(Medium::Disk, Rules::All, TYPICAL.of(messages));
        let how = format!("Disk, {round_trip} ms round trip, a budget of 64 MiB");
        describe(name, &mailbox, &how);
        let drover = |source, destination| {
            Drover::new(&pair.state, &[(source, destination)], CONNECTIONS, LONG_LINE)
        };
        let delay = |server: &Dovecot, time| Delay::before(server.port(), time);
        let line = |time| (delay(&pair.source, time), delay(&pair.destination, time));
        let ((from, to), short) = (line(millis(round_trip)), line(Duration::ZERO));
        let floor = Floor::of(&mailbox, &pair.destination.connect("anna"), CONNECTIONS);
        let mut series: [Series; 5] = Default::default();
        for _ in 0..self.rounds {
            let user = self.account();
            let source = Side { port: short.0.port(), user: "anna".into() };
            let destination = Side { port: short.1.port(), user };
            series[3].0.push(drover(source, destination).pass(&["m0"]).wall);
            let user = self.account();
            let near = drover(pair.source("anna"), pair.destination(&user)).pass(&["m0"]);
            series[0].0.push(near.wall);
            let user = self.account();
            let source = Side { port: from.port(), user: "anna".into() };
            let destination = Side { port: to.port(), user: user.clone() };
            series[1].0.push(drover(source, destination).pass(&["m0"]).wall);
            pair.assert_there(&mailbox, &user);
            let servers = [(pair.source.port(), pair.destination.port()), (from.port(), to.port())];
            for ((from, to), n) in servers.into_iter().zip([4, 2]) {
                let user = self.account();
                let (from, to) = ((from, "anna"), (to, user.as_str()));
                series[n].0.push(floor.measure(from, to, Rules::All, Order::Any));
            }
        }
        let [near, far, floor, short, floor_near] = &series;
        figure("drover, near", near.median(), "s");
        // What the proxy itself takes of the two cores.
        figure("drover, near, over a proxy that delays nothing", short.median(), "s");
        figure("drover, far", far.median(), "s");
        figure("floor, near", floor_near.median(), "s");
        figure("floor, far", floor.median(), "s");
        figure("drover / floor, far", far.over(floor), "");
        let trips = (far.median() - near.median()) / millis(round_trip).as_secs_f64();
        figure("round trips in all", trips, "");
        figure("floor, far / drover, near", floor.over(near), "");
        // What the line costs whoever asks for nothing and decides nothing.
        figure("floor: far / near", floor.over(floor_near), "");
        self.goal("drover: far / near", far.over(near), "", Goal::AtMost(most));
    }

    /// Many folders with a few messages each: how many round trips a seed waits for, and deltas with
    /// something new in each, other flags, less, something from another.
    fn folders(&mut self, name: &str) {
        heading(&format!("{name}: 25 and 200 folders of 5 messages, 50 ms round trip"));
        let [few, many] = [25, 200].map(|n| self.round_trips(n));
        for (n, what) in ["seed", "news", "flags", "removals", "moves"].into_iter().enumerate() {
            figure(&format!("{what}: round trips, 25 folders"), few[n], "");
            figure(&format!("{what}: round trips, 200 folders"), many[n], "");
            let (ratio, value) = (format!("{what}: many / few"), many[n] / few[n]);
            match what {
                "seed" | "news" => self.goal(&ratio, value, "", Goal::AtMost(2.0)),
                // What changes messages waits until it is known which folder is open.
                _ => figure(&ratio, value, ""),
            }
        }
    }

    /// Of a seed, and of deltas.
    fn round_trips(&mut self, folders: usize) -> [f64; 5] {
        let pair = Pair::new(Medium::Memory, Rules::All);
        let far = [&pair.source, &pair.destination].map(|s| Delay::before(s.port(), millis(50)));
        let names: Vec<String> = (0..folders).map(|n| format!("Folder {n:03}")).collect();
        let mail = SMALL.of(6 * folders).make().folders.into_iter().flat_map(|(_, mail)| mail);
        let mail: Vec<Mail> = mail.collect();
        let mail = || names.iter().zip(mail.chunks(6));
        let mut series: [[Series; 2]; 5] = Default::default();
        for _ in 0..self.rounds {
            let from = self.account();
            let mut at = pair.source.connect(&from);
            for (name, mail) in mail() {
                at.create(name);
                at.append_many(name, &mail[..5]);
            }
            let side = |port, user: &str| Side { port, user: user.into() };
            let passes = [
                (pair.source(&from), pair.destination(&self.account())),
                (side(far[0].port(), &from), side(far[1].port(), &self.account())),
            ];
            let passes = passes.map(|(source, destination)| pair.drover(source, destination));
            for (n, series) in series.iter_mut().enumerate() {
                for ((name, mail), next) in mail().zip(names.iter().cycle().skip(1)) {
                    match n {
                        0 => {}
                        1 => drop(at.append_many(name, &mail[5..])),
                        2 => at.store(name, &[1, 2], "+FLAGS (\\Flagged)"),
                        3 => at.expunge_uids(name, &[2, 4]),
                        _ => at.uid_move(name, &[3], next),
                    }
                }
                for (series, drover) in series.iter_mut().zip(&passes) {
                    series.0.push(drover.pass(&["m0"]).wall);
                }
            }
        }
        series.map(|[near, far]| (far.median() - near.median()) / 0.05)
    }

    fn nothing(&mut self, name: &str, herd: Herd) {
        let (pair, mailbox) = Pair::filled(Medium::Memory, Rules::All, herd);
        describe(name, &mailbox, "Memory, a pass that finds nothing");
        let drover = pair.drover(pair.source("anna"), pair.destination("drover"));
        let mbsync = Mbsync::new(&pair.state, &pair.source("anna"), &pair.destination("mbsync"));
        drover.pass(&["m0"]);
        mbsync.pass();
        let mut series: [Series; 5] = Default::default();
        for _ in 0..self.rounds * REPEATS {
            series[0].0.push(drover.pass(&["m0"]).wall);
            series[1].0.push(mbsync.pass().wall);
        }
        // As it is used: the daemon has its ledger open, and is asked for a pass.
        let daemon = drover.daemon();
        for _ in 0..self.rounds * REPEATS {
            series[2].0.push(drover.pass(&["m0"]).wall);
            series[3].0.push(mbsync.pass().wall);
            series[4].0.push(drover.pass_of_daemon("m0"));
        }
        drop(daemon);
        let [alone, mbsync, daemon, again, scheduled] = &series;
        figure("drover by itself", alone.median(), "s");
        figure("drover, the daemon asked", daemon.median(), "s");
        figure("the daemon's pass, without the command", scheduled.median(), "s");
        figure("mbsync", mbsync.median(), "s");
        self.goal("drover by itself / mbsync", alone.over(mbsync), "", Goal::AtMost(0.5));
        self.goal("drover, the daemon asked / mbsync", daemon.over(again), "", Goal::AtMost(0.5));
        self.goal("the daemon's pass / mbsync", scheduled.over(again), "", Goal::AtMost(0.5));
    }

    /// In Dovecot's packed format: with a directory a folder, its own answer to LIST-STATUS takes
    /// ten times as long for so many messages, which is measured too.
    fn growth(&mut self, name: &str) {
        heading(&format!("{name}: a pass that finds nothing, 1,000 and 100,000 messages"));
        for (format, has_goal) in [(Format::Mdbox, true), (Format::Maildir, false)] {
            let [few, many, few_daemon, many_daemon] = self.grown(format);
            println!("  {format:?}");
            for (how, few, many) in
                [("by itself", &few, &many), ("the daemon's pass", &few_daemon, &many_daemon)]
            {
                figure(&format!("1,000 messages, {how}"), few.median(), "s");
                figure(&format!("100,000 messages, {how}"), many.median(), "s");
                let ratio = format!("many / few, {how}");
                match has_goal {
                    true => self.goal(&ratio, many.over(few), "", Goal::AtMost(1.2)),
                    false => figure(&ratio, many.over(few), ""),
                }
            }
        }
    }

    fn grown(&mut self, format: Format) -> [Series; 4] {
        let pair = Pair::storing(Medium::Memory, Rules::All, format);
        let drovers = [1_000, 100_000].map(|n| {
            let user = self.account();
            SMALL.of(n).make().fill(&mut pair.source.connect(&user));
            let drover = pair.drover(pair.source(&user), pair.destination(&user));
            drover.pass(&["m0"]);
            drover
        });
        let mut series: [Series; 4] = Default::default();
        for _ in 0..self.rounds * REPEATS {
            for (series, drover) in series.iter_mut().zip(&drovers) {
                series.0.push(drover.pass(&["m0"]).wall);
            }
        }
        let daemons = drovers.each_ref().map(Drover::daemon);
        for _ in 0..self.rounds * REPEATS {
            for (series, drover) in series[2..].iter_mut().zip(&drovers) {
                series.0.push(drover.pass_of_daemon("m0"));
            }
        }
        drop(daemons);
        series
    }

    fn nothing_far(&mut self, name: &str) {
        let (pair, mailbox) = Pair::filled(Medium::Memory, Rules::All, TYPICAL.of(1_000));
        describe(name, &mailbox, "50 ms round trip, a pass that finds nothing");
        let delay = |server: &Dovecot| Delay::before(server.port(), millis(50));
        let (from, to) = (delay(&pair.source), delay(&pair.destination));
        let side = |port: u16, user: &str| Side { port, user: user.into() };
        let far = (side(from.port(), "anna"), side(to.port(), "drover"));
        let drover = pair.drover(far.0.clone(), far.1);
        let mbsync = Mbsync::new(&pair.state, &far.0, &side(to.port(), "mbsync"));
        let near = pair.drover(pair.source("anna"), pair.destination("near"));
        drover.pass(&["m0"]);
        mbsync.pass();
        near.pass(&["m0"]);
        let mut series: [Series; 3] = Default::default();
        for _ in 0..self.rounds {
            series[0].0.push(drover.pass(&["m0"]).wall);
            series[1].0.push(mbsync.pass().wall);
            series[2].0.push(near.pass(&["m0"]).wall);
        }
        let [drover, mbsync, near] = &series;
        figure("drover", drover.median(), "s");
        figure("drover, near", near.median(), "s");
        figure("mbsync", mbsync.median(), "s");
        self.goal("drover / mbsync", drover.over(mbsync), "", Goal::AtMost(0.5));
        let trips = (drover.median() - near.median()) / 0.05;
        self.goal("round trips in all", trips, "", Goal::AtMost(6.0));
    }

    /// 100 changes in 100,000 messages. In Dovecot's packed format: in Maildir it takes 20 to 70 ms
    /// each time it opens the larger folders, which is measured too.
    fn delta(&mut self, name: &str) {
        heading(&format!("{name}: 100,000 messages, 100 changes: 40 new, 40 flags, 20 moves"));
        for format in [Format::Mdbox, Format::Maildir] {
            let [nothing, delta, copying] = self.changed(format);
            println!("  {format:?}");
            figure("a pass that finds nothing", nothing.median(), "s");
            figure("the seed of a mailbox of 120", copying.median(), "s");
            figure("the delta", delta.median(), "s");
            let rest = (delta.median() - copying.median()) / nothing.median();
            match format {
                Format::Mdbox => self.goal(DELTA, rest, "", Goal::AtMost(2.0)),
                Format::Maildir => figure(DELTA, rest, ""),
            }
        }
    }

    fn changed(&mut self, format: Format) -> [Series; 3] {
        let pair = Pair::storing(Medium::Memory, Rules::All, format);
        SMALL.of(100_000).make().fill(&mut pair.source.connect("anna"));
        let drover = pair.drover(pair.source("anna"), pair.destination("anna"));
        drover.pass(&["m0"]);
        let new: Vec<Mail> = SMALL.of(40 * self.rounds).make().folders.remove(0).1;
        let mut series: [Series; 3] = Default::default();
        let fresh = SMALL.of(120).make();
        for round in 0..self.rounds {
            series[0].0.push(drover.pass(&["m0"]).wall);
            let mut at = pair.source.connect("anna");
            let part = &new[round * new.len() / self.rounds..][..new.len() / self.rounds];
            at.append_many("INBOX", part);
            let uids = at.uids("INBOX");
            at.store("INBOX", &uids[round * 40..][..40], "+FLAGS (\\Flagged $Work)");
            at.uid_move("INBOX", &uids[1_000 + round * 20..][..20], "Archive");
            drop(at);
            series[1].0.push(drover.pass(&["m0"]).wall);
            // What copying so many messages costs by itself: a mailbox that holds nothing else.
            let user = self.account();
            fresh.fill(&mut pair.source.connect(&user));
            let alone = pair.drover(pair.source(&user), pair.destination(&user));
            series[2].0.push(alone.pass(&["m0"]).wall);
        }
        series
    }

    /// A destination that lets its clients do less.
    fn under(&mut self, name: &str, rules: Rules) {
        let (pair, mailbox) = Pair::filled(Medium::Memory, rules, TYPICAL);
        describe(name, &mailbox, &format!("Memory, {rules:?}"));
        let floor = Floor::of(&mailbox, &pair.destination.connect("anna"), CONNECTIONS);
        let mut series: [Series; 2] = Default::default();
        for _ in 0..self.rounds {
            let to = self.account();
            let at = (pair.source.port(), "anna");
            let to = (pair.destination.port(), &*to);
            series[0].0.push(floor.measure(at, to, rules, Order::Any));
            let to = self.account();
            let drover = pair.drover(pair.source("anna"), pair.destination(&to)).pass(&["m0"]);
            pair.assert_there(&mailbox, &to);
            series[1].0.push(drover.wall);
        }
        let [floor, drover] = &series;
        figure("floor", floor.median(), "s");
        figure("drover", drover.median(), "s");
        self.goal("drover / floor", drover.over(floor), "", Goal::AtMost(1.25));
    }

    fn memory_of_eight(&mut self, name: &str) {
        let pair = Pair::new(Medium::Memory, Rules::All);
        heading(&format!("{name}: 8 mailboxes of 2,000 messages at once"));
        let names: Vec<String> = (0..8).map(|n| format!("m{n}")).collect();
        let pairs: Vec<(Side, Side)> = names
            .iter()
            .map(|user| {
                TYPICAL.of(2_000).make().fill(&mut pair.source.connect(user));
                (pair.source(user), pair.destination(user))
            })
            .collect();
        let drover = Drover::new(&pair.state, &pairs, 4, "");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let seed = drover.pass(&names);
        figure("the seed", seed.wall, "s");
        self.goal("resident", seed.peak, "MiB", Goal::AtMost(64.0));
        self.goal("resident, nothing to do", drover.pass(&names).peak, "MiB", Goal::AtMost(64.0));
    }

    fn memory_of_large(&mut self, name: &str) {
        const MESSAGE: usize = 50 << 20;
        let pair = Pair::new(Medium::Memory, Rules::All);
        heading(&format!("{name}: 16 messages of 50 MiB on 8 connections, a budget of 256 MiB"));
        let herd = Herd { messages: 8, folders: 8, median: 100.0, spread: 0.0 };
        let mut at = pair.source.connect("anna");
        for (name, _) in herd.make().folders {
            if name != "INBOX" {
                at.create(&name);
            }
            for n in 0..2 {
                let mut mail = crate::support::note(&format!("{n} in {name}"));
                while mail.bytes.len() < MESSAGE {
                    mail.bytes.extend_from_slice("large ".repeat(12).as_bytes());
                    mail.bytes.extend_from_slice(b"\r\n");
                }
                at.append_many(&name, &[mail]);
            }
        }
        let pairs = [(pair.source("anna"), pair.destination("anna"))];
        let limits = "[limits]\nmemory = \"256MiB\"\n";
        let seed = Drover::new(&pair.state, &pairs, CONNECTIONS, limits).pass(&["m0"]);
        figure("the seed", seed.wall, "s");
        self.goal("resident", seed.peak, "MiB", Goal::AtMost(256.0 + 32.0));
    }
}
