//! Surveys of many folders at once: they tell what a survey of each alone tells, whatever the
//! server can do, whatever happens meanwhile and whatever it answers; and they wait for no folder
//! before they ask about the next. The same of looks at headers. And messages that are asked for
//! before anybody waits for them.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drover::definition::{Account, Login, SecretRef};
use drover::flow::Memory;
use drover::model::{Cursor, Epoch, Flags, FolderName, IdSet, ItemId, SystemFlag};
use drover::platform::{self, Changes, Error, FolderStatus, Options, Sighting, Source, Wanted};
use support::mail::{Mail, Rng};
use support::proxy::{Proxy, Then, What, When};
use support::{Dovecot, Imap, endpoint, note};

/// Ways to survey: what the server offers and drover shall not use.
const MODES: [&[&str]; 4] =
    [&[], &["QRESYNC"], &["QRESYNC", "CONDSTORE"], &["QRESYNC", "CONDSTORE", "ESEARCH"]];

/// A server with a proxy before it.
struct Stand {
    server: Dovecot,
    proxy: Proxy,
    password: tempfile::NamedTempFile,
}

impl Stand {
    fn new() -> Self {
        let server = Dovecot::start();
        let proxy = Proxy::before(server.port());
        let password = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(password.path(), "pw\n").expect("write the password");
        Self { server, proxy, password }
    }

    /// With these folders of `anna`'s, of three messages each; a cursor of all folders.
    async fn with(folders: &[&str]) -> (Self, Imap, Cursors) {
        let stand = Self::new();
        let mut anna = stand.server.connect("anna");
        for folder in folders {
            anna.create(folder);
            anna.append_many(folder, &["one", "two", "three"].map(note));
        }
        let mut source = stand.source(&[]).await;
        let mut cursors = HashMap::new();
        for status in folders_of(&mut *source).await {
            let name = status.folder.name.clone();
            let changes = source.changes(&name, None).await.expect("a survey");
            cursors.insert(name, changes.cursor);
        }
        (stand, anna, cursors)
    }

    /// A connection through the proxy.
    async fn source(&self, veto: &[&str]) -> Box<dyn Source> {
        let veto = veto.iter().map(|&v| v.into()).collect();
        self.source_with(Options { veto, ..Options::default() }).await
    }

    async fn source_with(&self, options: Options) -> Box<dyn Source> {
        let account = Account {
            user: "anna".into(),
            endpoint: Arc::new(endpoint(self.proxy.port())),
            login: Login::Password(SecretRef::File(self.password.path().into())),
        };
        let options = Options { idle: Duration::from_secs(20), ..options };
        platform::source(&account, &options).await.expect("sign in")
    }

    /// How many commands with this text drover sent since `before`.
    fn sent(&self, before: usize, text: &str) -> usize {
        self.proxy.heard()[before..].iter().filter(|line| line.contains(text)).count()
    }
}

type Cursors = HashMap<FolderName, Cursor>;

async fn folders_of(source: &mut dyn Source) -> Vec<FolderStatus> {
    let statuses = source.folders().await.expect("the folders");
    statuses.into_iter().filter(|status| status.selectable).collect()
}

fn name(folder: &str) -> FolderName {
    FolderName(folder.as_bytes().to_vec())
}

fn wanted<'a>(statuses: &'a [FolderStatus], cursors: &'a Cursors) -> Vec<Wanted<'a>> {
    let then = |status: &FolderStatus| cursors.get(&status.folder.name);
    statuses.iter().map(|status| Wanted { status, then: then(status) }).collect()
}

/// What each folder tells alone.
async fn one_by_one(source: &mut dyn Source, wanted: &[Wanted<'_>]) -> Vec<Option<Changes>> {
    let mut told = Vec::new();
    for Wanted { status, then } in wanted {
        told.push(match source.changes(&status.folder.name, *then).await {
            Ok(changes) => Some(changes),
            Err(Error::FolderGone(_)) => None,
            Err(error) => panic!("{error}"),
        });
    }
    told
}

/// Something happens in a folder, or to it.
fn happen(anna: &mut Imap, folder: &str, rng: &mut Rng) {
    let uids = anna.uids(folder);
    let mut some: Vec<u32> = uids.into_iter().filter(|_| rng.chance(30)).collect();
    // There is no set of no messages; this one is of none that is there.
    some.push(1_000_000);
    match rng.below(10) {
        0..=2 => drop(anna.append_many(folder, &[note("new"), note("newer")])),
        3 | 4 => anna.store(folder, &some, "+FLAGS (\\Flagged)"),
        5 => anna.store(folder, &some, "-FLAGS (\\Flagged)"),
        6 => anna.expunge_uids(folder, &some),
        7 => {
            // One that comes and goes between two looks.
            some.extend(anna.append_many(folder, &[note("short-lived")]));
            anna.append_many(folder, &[note("and one that stays")]);
            anna.expunge_uids(folder, &some);
        }
        8 if folder != "INBOX" && rng.chance(30) => {
            // Dovecot hangs up on whoever has it open.
            anna.select("INBOX");
            anna.delete_folder(folder);
            anna.create(folder);
            anna.append_many(folder, &[note("another epoch")]);
        }
        _ => {}
    }
}

#[tokio::test]
async fn many_folders_at_once_tell_what_each_tells_alone() {
    let stand = Stand::new();
    let mut anna = stand.server.connect("anna");
    let folders = ["INBOX", "A", "B", "C", "D", "E"];
    folders[1..].iter().for_each(|folder| anna.create(folder));
    let mut rng = Rng::new(7);
    let mut sources = Vec::new();
    for veto in MODES {
        sources.push((stand.source(veto).await, Cursors::new(), veto));
    }
    for round in 0..30 {
        for folder in folders {
            happen(&mut anna, folder, &mut rng);
        }
        let mut statuses = Vec::new();
        for (source, _, _) in &mut sources {
            statuses.push(folders_of(&mut **source).await);
        }
        // What the folders are asked is foretold by how they stood then.
        let is_stale = rng.chance(40);
        if is_stale {
            for folder in folders {
                happen(&mut anna, folder, &mut rng);
            }
        }
        for ((source, cursors, veto), statuses) in sources.iter_mut().zip(&statuses) {
            // Cursors may be a few rounds old.
            let wanted = wanted(statuses, cursors);
            let before = stand.proxy.heard().len();
            let surveyed = source.survey(&wanted).await.expect("a survey");
            let mut after = surveyed.after;
            after.retain(|status| status.selectable);
            assert_eq!(after, folders_of(&mut **source).await, "round {round} without {veto:?}");
            let told = surveyed.changes;
            let examined = stand.sent(before, " EXAMINE ");
            let alone = one_by_one(&mut **source, &wanted).await;
            assert_eq!(told, alone, "round {round} without {veto:?}");
            if !is_stale {
                assert_eq!(examined, wanted.len(), "round {round} without {veto:?}: asked again");
            }
            let known = wanted.iter().map(|w| w.status.folder.name.clone()).zip(told);
            let known: Vec<_> = known.collect();
            for (name, changes) in known {
                match changes {
                    Some(changes) if rng.chance(60) => drop(cursors.insert(name, changes.cursor)),
                    Some(_) => {}
                    None => drop(cursors.remove(&name)),
                }
            }
            // Leaves no folder open, lest it be hung up on.
            folders_of(&mut **source).await;
        }
    }
}

#[tokio::test]
async fn no_folder_is_waited_for_before_the_next_is_asked_about() {
    let folders: Vec<String> = (0..40).map(|n| format!("F{n}")).collect();
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    let (stand, _anna, cursors) = Stand::with(&folders).await;
    for (cursors, commands_each) in [(&Cursors::new(), 2), (&cursors, 1)] {
        let mut source = stand.source(&[]).await;
        let statuses = folders_of(&mut *source).await;
        let full: Vec<_> =
            statuses.into_iter().filter(|status| status.messages != Some(0)).collect();
        let before = stand.proxy.heard().len();
        let sent_ahead = Arc::new(AtomicUsize::new(0));
        let (proxy, noted) = (stand.proxy.clone(), Arc::clone(&sent_ahead));
        stand.proxy.set(
            When::verb("EXAMINE").answered(),
            What::call(move || {
                // Its first answer is held until drover says no more.
                let mut n_before = 0;
                loop {
                    std::thread::sleep(Duration::from_millis(300));
                    let n = proxy.heard().len() - before;
                    if n == n_before {
                        noted.store(n, Ordering::SeqCst);
                        return Then::GoOn;
                    }
                    n_before = n;
                }
            }),
        );
        let told = source.survey(&wanted(&full, cursors)).await.expect("a survey").changes;
        assert_eq!(told.iter().flatten().map(|changes| changes.messages).sum::<u64>(), 120);
        let n = stand.sent(before, "");
        // And UNSELECT and LIST behind all of that.
        assert_eq!(n, 40 * commands_each + 2, "no folder was asked twice");
        // As many as the window holds, and no more: they must fit a socket's buffer.
        assert_eq!(sent_ahead.load(Ordering::SeqCst), 32);
    }
}

#[tokio::test]
async fn a_folder_that_is_gone_takes_no_other_with_it() {
    let (stand, mut anna, cursors) = Stand::with(&["A", "B", "C"]).await;
    for cursors in [&Cursors::new(), &cursors] {
        for veto in MODES {
            let mut source = stand.source(veto).await;
            let statuses = folders_of(&mut *source).await;
            anna.delete_folder("B");
            let wanted = wanted(&statuses, cursors);
            let told = source.survey(&wanted).await.expect("a survey").changes;
            assert_eq!(told, one_by_one(&mut *source, &wanted).await, "{veto:?}");
            let is_gone = |w: &Wanted<'_>| w.status.folder.name == name("B");
            let at = wanted.iter().position(is_gone).expect("it was listed");
            assert!(told[at].is_none() && told.iter().flatten().count() == told.len() - 1);
            anna.create("B");
            anna.append_many("B", &["one", "two"].map(note));
        }
    }
}

#[tokio::test]
async fn answers_about_the_folder_before_are_not_believed() {
    let answers = [
        ("NO [NONEXISTENT] no such folder", true),
        ("NO [SERVERBUG] not now", false),
        // Not even a refusal: an OK that opens nothing.
        ("OK [READ-ONLY] as you say", false),
    ];
    for (n, (refusal, is_gone)) in answers.iter().cycle().take(6).enumerate() {
        let (stand, mut anna, cursors) = Stand::with(&["A", "B", "C"]).await;
        // Nothing is known of B, or all.
        let cursors = if n < 3 { Cursors::new() } else { cursors };
        anna.append_many("A", &[note("so that A differs from B")]);
        let mut source = stand.source(&[]).await;
        let statuses = folders_of(&mut *source).await;
        let wanted = wanted(&statuses, &cursors);
        let alone = one_by_one(&mut *source, &wanted).await;
        // The server hears nothing of it and answers the FETCH behind it out of the open folder.
        stand.proxy.set(When::verb("EXAMINE").containing("\"B\""), What::answer(refusal));
        let before = stand.proxy.heard().len();
        let told = source.survey(&wanted).await.map(|surveyed| surveyed.changes);
        assert_eq!(stand.proxy.fired(), 1);
        for (at, w) in wanted.iter().enumerate() {
            match &told {
                Ok(told) if *is_gone && w.status.folder.name == name("B") => {
                    assert_eq!(told[at], None, "{refusal}");
                }
                Ok(told) => assert_eq!(told[at], alone[at], "{refusal}"),
                Err(Error::Refused { command: "EXAMINE", .. }) if refusal.contains("BUG") => {}
                Err(error) => panic!("{refusal}: {error}"),
            }
        }
        if told.is_err() {
            assert_eq!(stand.sent(before, "\"B\""), 1, "refused is refused");
        }
        // Whatever came of it, nothing of it is left on the connection.
        assert_eq!(one_by_one(&mut *source, &wanted).await, alone, "{refusal}");
    }
}

/// New ids, how many messages there are, and whether the second is gone.
type News = (Vec<ItemId>, u64, bool);

/// What is new, by folder, and how many are there: what an answer that is lost may not change.
fn messages(told: &[Option<Changes>]) -> Vec<Option<News>> {
    let of = |changes: &Changes| {
        let new = changes.items.iter().filter(|item| item.meta.is_some());
        let second_is_gone = changes.gone.holds(ItemId(2));
        (new.map(|item| item.id).collect(), changes.messages, second_is_gone)
    };
    told.iter().map(|changes| changes.as_ref().map(of)).collect()
}

#[tokio::test]
async fn an_answer_that_shows_nothing_is_not_an_empty_folder() {
    for veto in MODES {
        let (stand, mut anna, cursors) = Stand::with(&["A", "B", "C"]).await;
        // As many as before: counting alone does not tell.
        for folder in ["A", "B", "C"] {
            anna.append_many(folder, &[note("new")]);
            anna.expunge_uids(folder, &[2]);
            anna.store(folder, &[1], "+FLAGS (\\Flagged)");
        }
        let mut cases = Vec::new();
        for answer in ["OK done", "NO not now", "BAD no mailbox selected"] {
            for cursors in [Cursors::new(), cursors.clone()] {
                cases.extend([1, 2, 3].map(|nth| (answer, cursors.clone(), nth)));
            }
        }
        for (answer, cursors, nth) in cases {
            let case = format!("{answer} to FETCH {nth} without {veto:?}");
            let mut source = stand.source(veto).await;
            let statuses = folders_of(&mut *source).await;
            let wanted = wanted(&statuses, &cursors);
            let alone = one_by_one(&mut *source, &wanted).await;
            let fault = || stand.proxy.set(When::verb("UID FETCH").nth(nth), What::answer(answer));
            fault();
            let told = source.survey(&wanted).await.expect("a survey").changes;
            stand.proxy.clear();
            if answer.starts_with("OK") {
                // Flags may be left out; messages may not, neither here nor there.
                assert_eq!(messages(&told), messages(&alone), "{case}");
                fault();
                let alone_too = one_by_one(&mut *source, &wanted).await;
                assert_eq!(messages(&alone_too), messages(&alone), "{case}");
                stand.proxy.clear();
            } else {
                assert_eq!(told, alone, "{case}");
            }
        }
        assert_eq!(stand.proxy.fired(), 6 * 3 + 2 * 3);
    }
}

/// The flags told of each known message.
fn flags(changes: &Changes) -> HashMap<ItemId, Option<Flags>> {
    let known = changes.items.iter().filter(|item| item.meta.is_none());
    known.map(|item| (item.id, item.flags.clone())).collect()
}

#[tokio::test]
async fn a_server_that_says_ok_and_shows_nothing_hides_no_flag() {
    let happened: [fn(&mut Imap); 4] = [
        |_| (),
        |anna| drop(anna.append_many("A", &[note("new")])),
        |anna| anna.expunge_uids("A", &[2]),
        |anna| {
            let [uid] = anna.append_many("A", &[note("short-lived")])[..] else { panic!("a uid") };
            anna.expunge_uids("A", &[uid]);
        },
    ];
    let mut fired = 0;
    for (at, happen) in happened.into_iter().enumerate() {
        let (stand, mut anna, cursors) = Stand::with(&["A"]).await;
        anna.store("A", &[1], "+FLAGS (\\Answered)");
        happen(&mut anna);
        for nth in 1..=3 {
            for at_once in [true, false] {
                let case = format!("case {at}, FETCH {nth}, at once: {at_once}");
                let mut source = stand.source(&["QRESYNC"]).await;
                let mut statuses = folders_of(&mut *source).await;
                statuses.retain(|status| status.folder.name == name("A"));
                let wanted = wanted(&statuses, &cursors);
                let before = stand.proxy.fired();
                stand.proxy.set(When::verb("UID FETCH").nth(nth), What::answer("OK done"));
                let told = if at_once {
                    source.survey(&wanted).await.expect("a survey").changes
                } else {
                    one_by_one(&mut *source, &wanted).await
                };
                stand.proxy.clear();
                fired += stand.proxy.fired() - before;
                let [Some(changes)] = &told[..] else { panic!("{case}: {told:?}") };
                let answered = Some(Flags::default().with(SystemFlag::Answered));
                assert_eq!(flags(changes).get(&ItemId(1)), Some(&answered), "{case}");
            }
        }
    }
    assert!(fired >= 8, "only {fired} lies were told");
}

#[tokio::test]
async fn what_an_expunge_would_explain_is_asked_for_once_more_the_next_time() {
    for hides_flag in [true, false] {
        let (stand, mut anna, cursors) = Stand::with(&["A"]).await;
        if hides_flag {
            anna.store("A", &[1], "+FLAGS (\\Answered)");
        }
        anna.expunge_uids("A", &[2]);
        let mut source = stand.source(&["QRESYNC"]).await;
        let folder = name("A");
        let lie = When::verb("UID FETCH").containing("CHANGEDSINCE");
        stand.proxy.always(lie, What::answer("OK done"));
        let first = source.changes(&folder, cursors.get(&folder)).await.expect("a survey");
        assert_eq!((flags(&first), stand.proxy.fired()), (HashMap::new(), 2));
        stand.proxy.clear();
        let status = |statuses: Vec<FolderStatus>| {
            statuses.into_iter().find(|status| status.folder.name == name("A")).expect("A")
        };
        let now = status(folders_of(&mut *source).await);
        assert!(!source.unchanged(&first.cursor, &now));
        let second = source.changes(&folder, Some(&first.cursor)).await.expect("a survey");
        let answered = Flags::default().with(SystemFlag::Answered);
        let told = flags(&second).remove(&ItemId(1)).flatten();
        assert_eq!(told, hides_flag.then_some(answered));
        // Once is enough.
        assert!(source.unchanged(&second.cursor, &now));
    }
}

#[tokio::test]
async fn flags_that_were_asked_for_and_not_shown_are_asked_for_again() {
    let (stand, mut anna, _) = Stand::with(&["A"]).await;
    let folder = name("A");
    // The server learns to count changes between two surveys, so the second lists all flags.
    let mut source = stand.source(&["QRESYNC", "CONDSTORE"]).await;
    let first = source.changes(&folder, None).await.expect("a survey").cursor;
    anna.store("A", &[1], "+FLAGS (\\Answered)");
    let mut source = stand.source(&["QRESYNC"]).await;
    stand.proxy.set(When::verb("UID FETCH"), What::answer("OK done"));
    let second = source.changes(&folder, Some(&first)).await.expect("a survey");
    assert_eq!((flags(&second), stand.proxy.fired()), (HashMap::new(), 1));
    stand.proxy.clear();

    let statuses = folders_of(&mut *source).await;
    let status = statuses.iter().find(|status| status.folder.name == folder).expect("A");
    assert!(!source.unchanged(&second.cursor, status));
    let third = source.changes(&folder, Some(&second.cursor)).await.expect("a survey");
    let answered = Some(Flags::default().with(SystemFlag::Answered));
    assert_eq!(flags(&third).get(&ItemId(1)), Some(&answered));
}

#[tokio::test]
async fn what_nobody_asked_for_disturbs_nothing() {
    let stray = "* 9 EXISTS\r\n* 3 EXPUNGE\r\n* 0 RECENT\r\n* 2 FETCH (FLAGS (\\Deleted))\r\n\
                 * 2 FETCH (UID 4000 FLAGS (\\Deleted))\r\n* VANISHED 1:2\r\n* OK still here\r\n";
    for veto in MODES {
        let (stand, mut anna, cursors) = Stand::with(&["A", "B", "C"]).await;
        for folder in ["A", "B", "C"] {
            anna.append_many(folder, &[note("new")]);
        }
        let mut source = stand.source(veto).await;
        let statuses = folders_of(&mut *source).await;
        for cursors in [&Cursors::new(), &cursors] {
            let wanted = wanted(&statuses, cursors);
            let alone = one_by_one(&mut *source, &wanted).await;
            stand.proxy.always(When::verb("UID FETCH").answered(), What::inject(stray));
            // In an opening, a count may be the folder's own: then it is asked again.
            stand.proxy.times(1, When::verb("EXAMINE").answered(), What::inject(stray));
            let told = source.survey(&wanted).await.expect("a survey").changes;
            stand.proxy.clear();
            assert_eq!(told, alone, "{veto:?}");
        }
        assert!(stand.proxy.fired() > 3);
    }
}

#[tokio::test]
async fn a_folder_that_was_made_anew_or_was_empty_is_seen_as_it_is_now() {
    for veto in MODES {
        let (stand, mut anna, cursors) = Stand::with(&["A", "B", "C"]).await;
        anna.create("Empty");
        let mut source = stand.source(veto).await;
        let statuses = folders_of(&mut *source).await;
        anna.append_many("Empty", &["no", "longer"].map(note));
        anna.delete_folder("B");
        // UIDVALIDITY is a time, in seconds.
        std::thread::sleep(Duration::from_millis(1100));
        anna.create("B");
        anna.append_many("B", &["another"].map(note));
        let wanted = wanted(&statuses, &cursors);
        let told = source.survey(&wanted).await.expect("a survey").changes;
        assert_eq!(told, one_by_one(&mut *source, &wanted).await, "{veto:?}");
        for (folder, n) in [("B", 1), ("Empty", 2)] {
            let is_it = |w: &Wanted<'_>| w.status.folder.name == name(folder);
            let changes = told[wanted.iter().position(is_it).expect("listed")].as_ref();
            let changes = changes.expect("there");
            assert_eq!((changes.items.len(), changes.messages), (n, n as u64), "{folder}");
            assert!(changes.items.iter().all(|item| item.meta.is_some()), "{folder}");
        }
    }
}

type Is = fn(&Error) -> bool;

#[tokio::test]
async fn a_throttled_server_is_asked_nothing_more_and_a_broken_wire_is_an_error() {
    let folders: Vec<String> = (0..40).map(|n| format!("F{n:02}")).collect();
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    let (stand, _anna, _) = Stand::with(&folders).await;
    let cursors = Cursors::new();
    let throttled = |e: &Error| matches!(e, Error::Throttled { .. });
    let broken = |e: &Error| matches!(e, Error::Broken { .. });
    let cases: [(When, What, Is); 5] = [
        (When::verb("EXAMINE").nth(3), What::answer("NO [THROTTLED] slow down"), throttled),
        (When::verb("UID FETCH").nth(3), What::answer("NO [THROTTLED] slow down"), throttled),
        (When::verb("UID FETCH").nth(3).answered(), What::Cut, broken),
        (When::verb("EXAMINE").nth(3).answered(), What::Cut, broken),
        (When::verb("EXAMINE").nth(3), What::LastWords("* BYE going down".into()), broken),
    ];
    for (when, what, is_expected) in cases {
        let mut source = stand.source(&[]).await;
        let statuses = folders_of(&mut *source).await;
        let before = stand.proxy.heard().len();
        stand.proxy.set(when.clone(), what.clone());
        let error = source.survey(&wanted(&statuses, &cursors)).await.expect_err("an error");
        assert!(is_expected(&error), "{when:?} {what:?}: {error}");
        let n = stand.sent(before, "");
        assert!(n < 45, "{n} commands: it goes on after {error}");
        stand.proxy.clear();
    }
}

#[tokio::test]
async fn absurd_numbers_and_endless_talk_end_a_survey() {
    let absurd: [(_, fn(&Stand)); 2] = [
        ("30000000 messages in A", |stand| stand.proxy.replace("* 3 EXISTS", "* 30000000 EXISTS")),
        ("it talks without end", |stand| {
            let talk = "* OK still here\r\n* 1 FETCH (UID 1 FLAGS ())\r\n".repeat(20_000);
            stand.proxy.set(When::verb("UID FETCH").answered(), What::inject(talk));
        }),
    ];
    for (expected, lie) in absurd {
        let (stand, _anna, _) = Stand::with(&["A"]).await;
        let mut source = stand.source_with(Options { talk: 1 << 19, ..Options::default() }).await;
        let statuses = folders_of(&mut *source).await;
        lie(&stand);
        let cursors = Cursors::new();
        let error = source.survey(&wanted(&statuses, &cursors)).await.expect_err("a lie");
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Reads these messages of a folder; their ids, in the order they came.
async fn read(source: &mut dyn Source, folder: &str, ids: &IdSet) -> Result<Vec<u64>, Error> {
    let status = folders_of(source).await.into_iter().find(|s| s.folder.path.to_string() == folder);
    let epoch = status.and_then(|s| s.epoch).expect("a folder with ids");
    let name = FolderName(folder.into());
    source.announce(&name, ids).await?;
    fetched(source, &name, epoch, ids).await
}

async fn fetched(
    source: &mut dyn Source,
    name: &FolderName,
    epoch: Epoch,
    ids: &IdSet,
) -> Result<Vec<u64>, Error> {
    let (send, mut receive) = tokio::sync::mpsc::channel(100);
    let memory = Memory::new(1 << 20);
    let fetch = async {
        let send = send;
        source.fetch(name, epoch, ids, &memory, &send).await
    };
    fetch.await?;
    let mut came = Vec::new();
    while let Some(message) = receive.recv().await {
        came.push(message.id.0);
    }
    Ok(came)
}

fn n_heard(proxy: &Proxy, verb: &str) -> usize {
    proxy.heard().iter().filter(|line| line.contains(verb)).count()
}

#[tokio::test]
async fn what_was_announced_is_read_without_another_question() {
    let (stand, _anna, _) = Stand::with(&["Box"]).await;
    let mut source = stand.source(&[]).await;
    let before = n_heard(&stand.proxy, "BODY.PEEK[]");
    let all = IdSet::range(ItemId(1), ItemId(3));
    assert_eq!(read(&mut *source, "Box", &all).await.expect("read"), [1, 2, 3]);
    assert_eq!(n_heard(&stand.proxy, "BODY.PEEK[]"), before + 1);
    // The folder is open now: nothing is announced, everything is read.
    let last = IdSet::range(ItemId(3), ItemId(3));
    assert_eq!(read(&mut *source, "Box", &last).await.expect("read"), [3]);
}

#[tokio::test]
async fn what_was_announced_in_vain_is_taken_for_nothing_else() {
    let (stand, _anna, _) = Stand::with(&["Box", "Other"]).await;
    let mut source = stand.source(&[]).await;
    let statuses = folders_of(&mut *source).await;
    let epoch = |name: &str| {
        let status = statuses.iter().find(|s| s.folder.path.to_string() == name);
        status.and_then(|s| s.epoch).expect("a folder with ids")
    };
    let (box_, other) = (FolderName(b"Box".to_vec()), FolderName(b"Other".to_vec()));
    let two = IdSet::range(ItemId(2), ItemId(3));
    // Other messages, another folder, another question.
    source.announce(&box_, &IdSet::range(ItemId(1), ItemId(1))).await.expect("announce");
    assert_eq!(fetched(&mut *source, &box_, epoch("Box"), &two).await.expect("read"), [2, 3]);
    source.announce(&other, &two).await.expect("announce");
    assert_eq!(fetched(&mut *source, &box_, epoch("Box"), &two).await.expect("read"), [2, 3]);
    source.announce(&other, &two).await.expect("announce");
    assert_eq!(source.sight(&box_, &two).await.expect("look").len(), 2);
    assert_eq!(fetched(&mut *source, &other, epoch("Other"), &two).await.expect("read"), [2, 3]);
    // What cannot be asked ahead does not make forget what was.
    source.announce(&box_, &two).await.expect("announce");
    source.announce(&other, &IdSet::new()).await.expect("announce nothing");
    assert_eq!(fetched(&mut *source, &box_, epoch("Box"), &two).await.expect("read"), [2, 3]);
    assert_eq!(n_heard(&stand.proxy, "BODY.PEEK[]"), 7, "it was read as it was asked ahead");
}

#[tokio::test]
async fn an_announced_folder_that_is_gone_or_new_is_told_as_ever() {
    let (stand, mut anna, _) = Stand::with(&["Box", "Other"]).await;
    let mut source = stand.source(&[]).await;
    let all = IdSet::range(ItemId(1), ItemId(3));
    let epoch = folders_of(&mut *source)
        .await
        .iter()
        .find(|s| s.folder.path.to_string() == "Box")
        .and_then(|s| s.epoch)
        .expect("a folder with ids");
    let name = FolderName(b"Box".to_vec());
    anna.delete_folder("Box");
    source.announce(&name, &all).await.expect("announce");
    let error = fetched(&mut *source, &name, epoch, &all).await.expect_err("it is gone");
    assert!(matches!(error, Error::FolderGone(_)), "{error}");
    assert_eq!(read(&mut *source, "Other", &all).await.expect("read on"), [1, 2, 3]);
    anna.create("Box");
    anna.append_many("Box", &["four", "five"].map(note));
    source.announce(&name, &all).await.expect("announce");
    let error = fetched(&mut *source, &name, epoch, &all).await.expect_err("other ids");
    assert!(matches!(error, Error::EpochChanged(_)), "{error}");
}

/// What a look at each folder alone tells.
async fn sighted_alone(
    source: &mut dyn Source,
    wanted: &[(FolderName, IdSet)],
) -> Vec<Vec<Sighting>> {
    let mut sights = Vec::new();
    for (folder, ids) in wanted {
        sights.push(source.sight(folder, ids).await.expect("a look"));
    }
    sights
}

fn all_of(folders: &[&str], last: u64) -> Vec<(FolderName, IdSet)> {
    let ids = IdSet::range(ItemId(1), ItemId(last));
    folders.iter().map(|folder| (name(folder), ids.clone())).collect()
}

#[tokio::test]
async fn headers_in_many_folders_are_what_each_tells_alone() {
    let folders = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "Large", "M\u{fc}ll"];
    let (stand, mut anna, _) = Stand::with(&folders).await;
    let many: Vec<Mail> = (0..300).map(|n| note(&format!("note {n}"))).collect();
    anna.append_many("Large", &many);
    anna.expunge_uids("C", &[2]);
    let mut source = stand.source(&[]).await;
    for last in [2, 3, 303] {
        let mut wanted = all_of(&folders, last);
        wanted[4].1 = IdSet::new();
        wanted[10].0 = name("M&APw-ll");
        let alone = sighted_alone(&mut *source, &wanted).await;
        assert_eq!(source.sights(&wanted).await.expect("a look"), alone, "up to {last}");
        assert_eq!((alone[0].len(), alone[4].len()), (2.max(last.min(3)) as usize, 0));
    }
}

#[tokio::test]
async fn no_folder_is_waited_for_before_the_next_one_is_looked_into() {
    let folders = ["A", "B", "C", "D", "E"];
    let (stand, _anna, _) = Stand::with(&folders).await;
    let mut source = stand.source(&[]).await;
    folders_of(&mut *source).await;
    let sent_ahead = Arc::new(AtomicUsize::new(0));
    let (proxy, noted) = (stand.proxy.clone(), Arc::clone(&sent_ahead));
    let before = proxy.heard().len();
    let hold = What::call(move || {
        let count = || proxy.heard()[before..].len();
        for _ in 0..500 {
            if count() == 10 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        noted.store(count(), Ordering::SeqCst);
        Then::GoOn
    });
    stand.proxy.set(When::verb("EXAMINE").answered(), hold);
    source.sights(&all_of(&folders, 3)).await.expect("a look");
    assert_eq!(sent_ahead.load(Ordering::SeqCst), 10, "an EXAMINE and a FETCH for each");
    assert_eq!(stand.sent(before, ""), 10, "no folder was asked twice");
}

#[tokio::test]
async fn headers_out_of_the_folder_before_are_not_believed() {
    for refusal in ["NO [NONEXISTENT] gone", "NO [SERVERBUG] no", "OK [READ-ONLY] as you say"] {
        let (stand, mut anna, _) = Stand::with(&["A", "B", "C"]).await;
        anna.store("A", &[1, 2, 3], "+FLAGS (\\Flagged)");
        let mut source = stand.source(&[]).await;
        let wanted = all_of(&["A", "B", "C"], 3);
        let alone = sighted_alone(&mut *source, &wanted).await;
        // The server hears nothing of it and answers the FETCH behind it out of the open folder.
        stand.proxy.set(When::verb("EXAMINE").containing("\"B\""), What::answer(refusal));
        let sights = source.sights(&wanted).await;
        assert_eq!(stand.proxy.fired(), 1);
        // Asked again alone, it tells.
        assert_eq!(sights.expect("a look"), alone, "{refusal}");
    }
}

#[tokio::test]
async fn a_folder_that_vanishes_under_a_look_is_told_as_ever() {
    let (stand, mut anna, _) = Stand::with(&["A", "B", "C"]).await;
    let mut source = stand.source(&[]).await;
    let wanted = all_of(&["A", "B", "C"], 3);
    anna.delete_folder("B");
    let error = source.sights(&wanted).await.expect_err("it is gone");
    assert!(matches!(error, Error::FolderGone(_)), "{error}");
    let rest = all_of(&["A", "C"], 3);
    let sights = source.sights(&rest).await.expect("the connection is sound");
    assert_eq!(sights, sighted_alone(&mut *source, &rest).await);
}
