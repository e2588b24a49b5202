//! Death at every step: each scenario runs once undisturbed, then again and again, and each time
//! everything dies at another step: at a commit to the ledger, before the server gets a command,
//! or after it has executed it and before drover hears of that. Every other time the recovery
//! dies as well. What follows must come to the same end at the destination and in the ledger,
//! with nothing lost and nothing doubled, and then rest (laws 2, 3, 6 and 7).
//!
//! Every few steps by default, another few on each run; `SEED=` repeats one. With
//! `DROVER_TORTURE=full` every step.

mod support;

use std::time::Duration;

use drover::definition::{Mailbox, MaxDelete};
use drover::model::PassKind;
use support::compare::{Snapshot, differences};
use support::dovecot::Builder;
use support::mail::{self, Rng};
use support::proxy::{Counter, Proxy, Then, What, When};
use support::{Dovecot, Imap, Options, Pair, World, is_full, note, seed, snapshot};

/// What happens to a mailbox, up to the passes that are to be interrupted.
struct Scenario {
    /// Fills the source.
    fill: fn(&mut Imap),
    /// The definition's own.
    define: fn(&mut Mailbox),
    /// What the users of both sides do after an undisturbed first pass; none: the first pass is
    /// the one to be interrupted.
    change: Option<fn(&mut Imap, &mut Imap)>,
    /// The passes that are interrupted; also what their end is made of.
    passes: &'static [PassKind],
    /// What users do after the interrupted passes, before those that follow.
    between: Option<fn(&mut Imap, &mut Imap)>,
    /// Connections to each side.
    connections: usize,
    /// Passes until one finds nothing to do. More than one where a message is refused.
    rest: u32,
    /// What may be otherwise than undisturbed.
    options: Options,
    /// Does the destination say which ids messages got?
    has_ids: bool,
    /// In the short form, every so many steps.
    stride: u64,
}

/// Where everything dies, counted from 1 from the start of the interrupted passes.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// This commit and all later ones fail; drover has to stop by itself.
    Commit(u64),
    /// The server never gets this command.
    Before(u64),
    /// The server executes this command, and nobody hears.
    After(u64),
    /// The same, and the server gets the command so late that the next pass has begun.
    Late(u64),
}

/// How late a command lands, and how long drover allows for that.
const LATE: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_millis(800);

/// The end of a run.
struct End {
    there: Snapshot,
    /// What the ledger knows: a line for each message.
    ledger: Vec<String>,
    /// Did death come?
    died: bool,
}

/// One pair of servers for all runs of a scenario, a user for each.
struct Stage {
    servers: Pair,
}

impl Stage {
    fn new() -> Self {
        // Refuses what is larger, for good.
        Self::to(Dovecot::builder().max_size("20k"))
    }

    /// Moves are copies that are removed.
    fn without_move() -> Self {
        Self::to(Dovecot::builder().hide(&["MOVE"]))
    }

    /// Literals over 4 KiB have to be allowed first, and each message is a command.
    fn without_extensions() -> Self {
        Self::to(Dovecot::builder().max_size("20k").literal_minus().no_multiappend())
    }

    fn to(destination: Builder) -> Self {
        Self { servers: Pair::of(Dovecot::start(), destination.start()) }
    }

    /// Runs the scenario, with death at each of its steps, or at every few.
    async fn torture(&self, scenario: Scenario) {
        let expected = Box::pin(self.live(&scenario, &[])).await;
        let seed = seed("SEED");
        let stride = if is_full() { 1 } else { scenario.stride };
        println!("every {stride} steps");
        let mut rng = Rng::new(seed);
        let mut n_deaths = 0;
        for death in [Death::Commit, Death::Before, Death::After, Death::Late] {
            // Lateness takes its time.
            let is_late = matches!(death(0), Death::Late(_));
            let stride = if is_late { stride * 3 } else { stride };
            let mut step = 1 + rng.next() % stride;
            let mut n = 0;
            loop {
                let mut deaths = vec![death(step)];
                if rng.chance(50) {
                    let another = [Death::Commit, Death::Before, Death::After][rng.below(3)];
                    deaths.push(another(1 + rng.next() % 25));
                }
                let end = Box::pin(self.live(&scenario, &deaths)).await;
                let mut found = differences(&expected.there, &end.there, &scenario.options);
                let only = |a: &[String], b: &[String]| -> Vec<String> {
                    a.iter().filter(|line| !b.contains(line)).cloned().collect()
                };
                if end.ledger != expected.ledger {
                    let (less, more) =
                        (only(&expected.ledger, &end.ledger), only(&end.ledger, &expected.ledger));
                    found.push(format!("ledger: {less:#?}\nbecame {more:#?}"));
                }
                assert!(found.is_empty(), "{deaths:?}, SEED={seed}:\n{}", found.join("\n"));
                if !end.died {
                    break;
                }
                n += 1;
                step += stride;
            }
            println!("{:?} was never reached; {n} deaths before it", death(step));
            n_deaths += n;
        }
        assert!(n_deaths > 2, "hardly anything was tried");
    }

    /// One life of a mailbox of its own; the destination as it is at its end.
    async fn live(&self, scenario: &Scenario, deaths: &[Death]) -> End {
        let mut world = self.servers.world().await;
        let counter = Counter::default();
        let proxies = self.servers.both().map(|server| Proxy::counting(server.port(), &counter));
        world.connect_through(&proxies[0], &proxies[1], scenario.connections);
        if !scenario.has_ids {
            proxies[1].hide_ids();
        }
        (scenario.define)(&mut world.mailbox);
        // Below, nothing sent can still be under way when the next pass starts.
        world.context_mut().settle_grace = Duration::ZERO;
        (scenario.fill)(&mut world.at_source());
        if let Some(change) = scenario.change {
            world.seed().await;
            change(&mut world.at_source(), &mut world.at_destination());
        }

        let mut left = scenario.passes;
        let mut died = false;
        for (n, death) in deaths.iter().enumerate() {
            let has_come = self.run_until(death, &mut left, &mut world, &proxies, &counter).await;
            died |= n == 0 && has_come;
        }
        if let Some(between) = scenario.between {
            between(&mut world.at_source(), &mut world.at_destination());
        }
        for kind in left {
            let pass = world.try_pass(*kind).await;
            pass.unwrap_or_else(|error| panic!("after {deaths:?}: {error}"));
        }
        let last = *scenario.passes.last().expect("a pass");
        let kind = if last == PassKind::Seed { PassKind::Delta } else { last };
        // The users' changes take a pass.
        let mut passes = 0..scenario.rest + u32::from(scenario.between.is_some());
        while !world.pass(kind).await.quiet {
            assert!(passes.next().is_some(), "after {deaths:?} drover finds no rest");
        }
        let there = snapshot(&mut world.at_destination());
        End { there, ledger: knowledge(&world).await, died }
    }

    /// Runs passes until death comes, and revives everything. Tells whether it came.
    async fn run_until(
        &self,
        death: &Death,
        left: &mut &'static [PassKind],
        world: &mut World,
        proxies: &[Proxy; 2],
        counter: &Counter,
    ) -> bool {
        let command = |n: u64| When::command(counter.read() + n);
        let fired = || proxies.iter().map(Proxy::fired).sum::<u64>();
        let before = fired();
        match death {
            Death::Commit(n) => world.context().ledger.fail_after(n - 1),
            Death::Before(n) => self.kill(world, proxies, command(*n).before()),
            Death::After(n) => self.kill(world, proxies, command(*n).answered()),
            Death::Late(n) => {
                let ledger = world.context().ledger.clone();
                let die = What::call(move || {
                    ledger.fail_after(0);
                    Then::GoOn
                });
                for proxy in proxies {
                    proxy.set(command(*n), die.clone());
                    proxy.set(command(*n), What::Late(LATE));
                }
            }
        }
        let mut has_come = false;
        while let Some(kind) = left.first() {
            let pass = tokio::time::timeout(Duration::from_secs(30), world.try_pass(*kind));
            let pass = pass.await.unwrap_or_else(|_| panic!("{death:?}: the pass hangs"));
            has_come |= fired() > before;
            match pass {
                Ok(_) => *left = &left[1..],
                Err(error) => {
                    let is_expected = has_come || matches!(death, Death::Commit(_));
                    assert!(is_expected, "{death:?}: {error}");
                    has_come = true;
                    break;
                }
            }
        }
        // Death itself must be over before anything lives again.
        let is_late = matches!(death, Death::Late(_));
        proxies.iter().for_each(Proxy::clear);
        if !is_late {
            proxies.iter().for_each(Proxy::sever);
            proxies.iter().for_each(Proxy::drained);
            proxies.iter().for_each(Proxy::heal);
        }
        world.close_ledger().await;
        world.open_ledger().await;
        world.context_mut().settle_grace = if is_late { GRACE } else { Duration::ZERO };
        has_come
    }

    /// Everything dies at this moment, at once.
    fn kill(&self, world: &World, proxies: &[Proxy; 2], when: When) {
        let (ledger, both) = (world.context().ledger.clone(), proxies.clone());
        let die = What::call(move || {
            ledger.fail_after(0);
            both.iter().for_each(Proxy::sever);
            Then::Cut
        });
        proxies.iter().for_each(|proxy| proxy.set(when.clone(), die.clone()));
    }
}

/// What the ledger says of each message, without the ids that a run gives by chance.
async fn knowledge(world: &World) -> Vec<String> {
    let ledger = world.context().ledger.mailbox(&world.key()).await.expect("the lease");
    let overview = ledger.overview().await.expect("an overview");
    assert!(overview.intents.is_empty(), "{:?}", overview.intents);
    let mut lines = vec![format!("{} retired", overview.retired)];
    for folder in overview.folders.values() {
        for failure in ledger.failures(folder.no).await.expect("failures") {
            lines.push(format!("{} {} {:?}", folder.path, failure.id.0, failure.verdict));
        }
        let mut walk = ledger.walk(folder.no);
        while let Some(page) = walk.next().await.expect("a page") {
            for r in page {
                let (id, is_there) = (r.id.0, r.at.is_some());
                let at = overview.places.get(&r.place).map(|place| place.path.to_string());
                let what = (r.origin, &r.flags, r.fingerprint, r.size);
                let (from, id) = (&folder.path, id);
                lines.push(format!("{from} {id} in {at:?}, there: {is_there}, {what:?}"));
            }
        }
    }
    lines.sort();
    lines
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            fill: two_folders,
            define: |_| {},
            change: None,
            passes: &[PassKind::Delta],
            rest: 0,
            options: Options::default(),
            between: None,
            connections: 1,
            has_ids: true,
            stride: 8,
        }
    }
}

/// Twins, nameless messages, flags, and one message that is not small.
fn two_folders(here: &mut Imap) {
    let mut mails: Vec<_> = (0..4).map(|n| note(&format!("note {n}"))).collect();
    mails[1].flags = "\\Seen \\Flagged $Label1".into();
    mails.push(mails[1].clone());
    mails[4].flags = "\\Answered".into();
    let nameless = |n: usize| mail::message(n * 50 + 7, 5);
    for n in 0..2 {
        let mut mail = nameless(n);
        mail.bytes.truncate(600);
        mails.push(mail.clone());
        mails.push(mail);
    }
    let mut large = note("large");
    large.bytes.extend(b"0123456789 abcdefghij\r\n".repeat(300));
    mails.push(large);
    here.append_many("INBOX", &mails);
    here.create("Archive");
    mails.truncate(6);
    mails.reverse();
    here.append_many("Archive", &mails);
}

/// The same, and one that the destination does not take.
fn with_refused(here: &mut Imap) {
    two_folders(here);
    let mut refused = note("refused");
    refused.bytes.extend(b"0123456789 abcdefghij\r\n".repeat(1000));
    here.append_many("INBOX", &[refused, note("after the refused one")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_a_seed_changes_nothing() {
    let seed = Scenario { passes: &[PassKind::Seed], ..Scenario::default() };
    Stage::new().torture(seed).await;
}

/// A batch that is refused for one message is sent again in parts, after what was under way.
fn with_a_refused_message() -> Scenario {
    Scenario {
        fill: with_refused,
        passes: &[PassKind::Seed],
        rest: 3,
        options: Options::any_order(),
        ..Scenario::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_a_seed_with_a_refused_message_changes_nothing() {
    Stage::new().torture(with_a_refused_message()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_a_seed_message_by_message_changes_nothing() {
    Stage::without_extensions().torture(with_a_refused_message()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_a_seed_whose_copies_have_to_be_looked_up_changes_nothing() {
    let seed = Scenario { passes: &[PassKind::Seed], has_ids: false, ..Scenario::default() };
    Stage::new().torture(seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_a_delta_changes_nothing() {
    let delta = Scenario {
        change: Some(|here, there| {
            let uids = here.uids("INBOX");
            here.store("INBOX", &uids[..2], "+FLAGS (\\Answered $Label2)");
            here.store("INBOX", &uids[1..2], "-FLAGS (\\Flagged)");
            here.uid_move("INBOX", &uids[2..4], "Archive");
            here.append_many("INBOX", &[note("new"), note("newer")]);
            here.create("Archive/2026");
            here.append_many("Archive/2026", &[note("filed")]);
            // What the destination's user does stays (law 4).
            let uids = there.uids("INBOX");
            there.expunge_uids("INBOX", &uids[..1]);
            there.store("INBOX", &uids[1..2], "+FLAGS ($Mine)");
            there.append_many("INBOX", &[note("sent here only")]);
        }),
        options: Options::any_order(),
        ..Scenario::default()
    };
    Stage::new().torture(delta).await;
}

/// Messages move between two folders and into a new one.
fn moves() -> Scenario {
    Scenario {
        change: Some(|here, _| {
            let uids = here.uids("INBOX");
            here.create("Elsewhere");
            here.uid_move("INBOX", &uids[1..6], "Elsewhere");
            let uids = here.uids("Archive");
            here.uid_move("Archive", &uids[..3], "INBOX");
            here.uid_move("Archive", &uids[3..4], "Elsewhere");
        }),
        options: Options::any_order(),
        ..Scenario::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_moves_changes_nothing() {
    Stage::new().torture(moves()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_moves_where_a_move_is_a_copy_that_is_removed_changes_nothing() {
    Stage::without_move().torture(moves()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_moves_whose_places_have_to_be_looked_up_changes_nothing() {
    Stage::new().torture(Scenario { has_ids: false, ..moves() }).await;
}

/// What landed unheard is found again even if its original has moved on meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_a_seed_while_users_go_on_changes_nothing() {
    let seed = Scenario {
        passes: &[PassKind::Seed],
        define: |mailbox| {
            mailbox.carry.deletes = true;
            mailbox.carry.max_delete = MaxDelete::Percent(100.0);
        },
        between: Some(|here, _| {
            let uids = here.uids("INBOX");
            here.store("INBOX", &uids[..1], "+FLAGS (\\Flagged)");
            here.expunge_uids("INBOX", &uids[2..3]);
            here.uid_move("INBOX", &[uids[0], uids[3]], "Archive");
            here.append_many("INBOX", &[note("meanwhile")]);
        }),
        options: Options::any_order(),
        ..Scenario::default()
    };
    Stage::new().torture(seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_a_seed_over_three_connections_changes_nothing() {
    let seed = Scenario {
        fill: |here| {
            two_folders(here);
            mail::fill(here, 30, &mail::FOLDERS[3..8], 3);
        },
        passes: &[PassKind::Seed],
        connections: 3,
        ..Scenario::default()
    };
    Stage::to(Dovecot::builder()).torture(seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_a_renamed_folder_changes_nothing() {
    let rename = Scenario {
        change: Some(|here, _| {
            here.rename_folder("Archive", "Cellar");
            here.append_many("Cellar", &[note("since")]);
        }),
        ..Scenario::default()
    };
    Stage::new().torture(rename).await;
}

/// Deletes a folder, and makes it again with the same messages and one more.
fn remake(imap: &mut Imap, folder: &str) {
    let mails: Vec<_> = imap
        .messages(folder)
        .into_iter()
        .map(|m| {
            let flags = m.flags.into_iter().collect::<Vec<_>>().join(" ");
            mail::Mail { bytes: m.body, flags, date: m.date.fixed_offset() }
        })
        .collect();
    // Not the one that is to go.
    imap.select("INBOX");
    imap.delete_folder(folder);
    imap.create(folder);
    imap.append_many(folder, &mails);
    imap.append_many(folder, &[note("one more")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_after_the_source_renewed_a_folders_ids_changes_nothing() {
    let renewed = Scenario {
        change: Some(|here, _| remake(here, "Archive")),
        options: Options::any_order(),
        ..Scenario::default()
    };
    Stage::new().torture(renewed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_after_the_destination_renewed_a_folders_ids_changes_nothing() {
    let renewed = Scenario {
        change: Some(|here, there| {
            remake(there, "Archive");
            here.append_many("Archive", &[note("since")]);
            let uids = here.uids("Archive");
            here.store("Archive", &uids[..2], "+FLAGS (\\Answered)");
        }),
        options: Options::any_order(),
        ..Scenario::default()
    };
    Stage::new().torture(renewed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_carried_deletes_changes_nothing() {
    let deletes = Scenario {
        define: |mailbox| {
            mailbox.carry.deletes = true;
            mailbox.carry.max_delete = MaxDelete::Percent(100.0);
        },
        change: Some(|here, there| {
            let uids = here.uids("INBOX");
            here.expunge_uids("INBOX", &[uids[1], uids[5], uids[7]]);
            here.store("INBOX", &uids[2..3], "+FLAGS (\\Deleted)");
            here.delete_folder("Archive");
            there.append_many("Archive", &[note("the user's own")]);
        }),
        options: Options::any_order(),
        ..Scenario::default()
    };
    Stage::new().torture(deletes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_the_cutover_changes_nothing() {
    let cutover = Scenario {
        change: Some(|here, there| {
            let uids = here.uids("INBOX");
            here.append_many("INBOX", &[note("late")]);
            here.uid_move("INBOX", &uids[..2], "Archive");
            here.store("INBOX", &uids[2..3], "+FLAGS (\\Seen)");
            there.append_many("INBOX", &[note("first here")]);
        }),
        passes: &[PassKind::Final, PassKind::Tail],
        options: Options::any_order(),
        ..Scenario::default()
    };
    Stage::new().torture(cutover).await;
}
