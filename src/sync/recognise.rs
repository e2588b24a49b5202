//! Finds out which of the messages that are new in a source folder are not new at all: moved or
//! returned there (then their copy moves along), or at the destination already (then they are
//! adopted). What the naming headers leave in doubt, the content decides.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::ledger::{
    Change, Filed, FolderNo, Intent, IntentItem, Origin, Place, PlaceNo, Stranger,
};
use crate::model::{Fingerprint, Flags, IdSet, Item, ItemId};
use crate::platform::{ContentDigest, FolderStatus, Sighting};

use super::Error;
use super::basis::{Basis, Work};
use super::diff::item_flags;
use super::folding::Closed;
use super::lane::{Lane, at_destination};
use super::pairing::{Sizes, Trait, by_digest, pair};
use super::plan::{Arrival, Departed};
use looks::{Names, New, digest_copies, digest_news, names_now, scout, sight};

mod looks;

pub(crate) use looks::stranger;

/// Where a departed message is kept until somebody claims it.
#[derive(Clone, Copy)]
enum Held {
    Gone(usize, usize),
    Closed(usize, usize),
    Retired,
    /// At the destination, perhaps by an intent that is not settled.
    Claimed,
}

/// Decides about all new messages of all folders; answers their arrivals, folder by folder. What
/// nobody claimed of `diff.gone` and `closed` stays there.
pub(crate) async fn all(
    basis: &Basis<'_>,
    lane: &mut Lane,
    works: &mut [Work],
    closed: &mut [Closed],
    there: &[FolderStatus],
    places: &mut BTreeMap<PlaceNo, Place>,
    learned: &mut Vec<Change>,
) -> Result<Vec<Vec<Arrival>>, Error> {
    let mut news: Vec<Vec<Item>> = Vec::new();
    for work in works.iter_mut() {
        let mut items = std::mem::take(&mut work.diff.news);
        items.append(&mut work.diff.retries);
        items.sort_by_key(|item| item.id);
        news.push(items);
    }
    let names = names_now(basis, places, there);
    let strangers = scout(lane, works, &news, there, places, &names, basis, learned).await?;
    let sightings = sight(basis, lane, works, closed, &news, &strangers).await?;
    // Of what is tried again the survey told nothing: it did not change.
    for (&(w, n), sighting) in &sightings {
        news[w][n].flags.get_or_insert_with(|| sighting.flags.clone());
    }

    let mut arrivals: HashMap<New, Arrival> = HashMap::new();
    let unsettled = unsettled(basis, &strangers).await?;
    moved(basis, lane, works, closed, &news, &sightings, unsettled, &names, &mut arrivals).await?;
    let mut strangers = strangers;
    catch_up(lane, works, &news, &names, &mut strangers, &mut arrivals).await?;
    adopted(basis, lane, works, &news, &sightings, strangers, &names, &mut arrivals).await?;

    let decide = |(w, items): (usize, Vec<Item>)| {
        let one =
            |(n, item): (usize, Item)| arrivals.remove(&(w, n)).unwrap_or(Arrival::Copy(item));
        items.into_iter().enumerate().map(one).collect()
    };
    Ok(news.into_iter().enumerate().map(decide).collect())
}

fn trait_of(item: &Item, seen: &Sighting) -> Trait {
    Trait {
        fingerprint: seen.fingerprint,
        size: seen.size,
        date: item.meta.and_then(|m| m.date).map(|d| d.timestamp()),
        named: seen.message_id.is_some(),
        identity: seen.identity,
    }
}

/// Claims departed messages for new ones.
#[expect(clippy::too_many_arguments, reason = "one step of `all`, split off to be read alone")]
async fn moved(
    basis: &Basis<'_>,
    lane: &mut Lane,
    works: &mut [Work],
    closed: &mut [Closed],
    news: &[Vec<Item>],
    sightings: &HashMap<New, Sighting>,
    unsettled: Vec<Departed>,
    names: &Names,
    arrivals: &mut HashMap<New, Arrival>,
) -> Result<(), Error> {
    let moves = basis.mailbox.carry.moves;
    let mut departed: Vec<(Held, Departed)> = Vec::new();
    for (w, work) in works.iter().enumerate() {
        let of = work.diff.gone.iter().enumerate();
        departed.extend(of.map(|(n, r)| (Held::Gone(w, n), Departed::from_record(work.no, r))));
    }
    for (c, folder) in closed.iter().enumerate() {
        let of = folder.gone.iter().enumerate();
        let no = folder.before.no;
        departed.extend(of.map(|(n, r)| (Held::Closed(c, n), Departed::from_record(no, r))));
    }
    if basis.overview.retired > 0 {
        let wanted: HashSet<_> = sightings.values().map(|s| s.fingerprint).collect();
        let rows = basis.ledger.retired(&wanted).await?;
        departed.extend(rows.iter().map(|row| (Held::Retired, Departed::from_retired(row))));
    }
    departed.extend(unsettled.into_iter().map(|of| (Held::Claimed, of)));
    if departed.is_empty() {
        return Ok(());
    }
    let mut claimed: HashSet<usize> = HashSet::new();
    // What was in the same folder before its ids were renewed has the first claim.
    let renewed = (0..closed.len()).filter(|&c| closed[c].renewed).map(Some);
    // Without `moves` a message that went elsewhere is another one there; but one that came back
    // to where its copy is would be doubled.
    let apart: BTreeSet<PlaceNo> = works.iter().map(|work| work.place).collect();
    let apart: Vec<Option<PlaceNo>> =
        if moves { vec![None] } else { apart.into_iter().map(Some).collect() };
    let mut rounds: Vec<(Option<usize>, Option<PlaceNo>, bool)> = renewed
        .chain([None])
        .flat_map(|only| apart.iter().map(move |&at| (only, at, false)))
        .collect();
    // What an unsettled intent left comes last, and only to messages that have moved on: where
    // they have not, it is known which of them the intent meant; see `adopted`.
    rounds.extend(apart.iter().map(|&at| (None, at, true)));
    let claims = claims(&basis.overview.intents);
    let meant = |at: &New| {
        let (work, id) = (&works[at.0], news[at.0][at.1].id);
        claims.get(&(work.no, id)).is_some_and(|(intent, _)| intent.place == work.place)
    };
    // What a server tells before it puts a message together is an estimate.
    let rewrites = basis.mailbox.source.endpoint.traits.rewrites;
    let sizes = if rewrites { Sizes::TwoServers } else { Sizes::OneServer };
    for (only, place, claimed_by_intents) in rounds {
        let folder = only.map(|c| &closed[c].before.name);
        let mut left: Vec<New> = sightings
            .keys()
            .copied()
            .filter(|at| !arrivals.contains_key(at))
            .filter(|at| folder.is_none_or(|name| works[at.0].folder.name == *name))
            .filter(|at| place.is_none_or(|place| works[at.0].place == place))
            .collect();
        // What an intent meant comes first, and what it left is handed to others only in excess.
        left.sort_unstable_by_key(|at| (claimed_by_intents && !meant(at), *at));
        let right: Vec<usize> = (0..departed.len())
            .filter(|at| !claimed.contains(at))
            .filter(|&at| matches!(departed[at].0, Held::Claimed) == claimed_by_intents)
            .filter(|&at| place.is_none_or(|place| departed[at].1.place == place))
            .filter(|&at| {
                only.is_none_or(|c| matches!(departed[at].0, Held::Closed(of, _) if of == c))
            })
            .collect();
        let ours: Vec<Trait> =
            left.iter().map(|at| trait_of(&news[at.0][at.1], &sightings[at])).collect();
        let theirs: Vec<Trait> = right
            .iter()
            .map(|&at| {
                let d = &departed[at].1;
                let named = !matches!(departed[at].0, Held::Claimed);
                let Departed { fingerprint, size, date, identity, .. } = *d;
                Trait { fingerprint, size, date, named, identity }
            })
            .collect();
        let mut paired = pair(&ours, &theirs, sizes);
        for (mine, yours) in std::mem::take(&mut paired.doubtful) {
            let ids = mine.iter().map(|&m| left[m]).collect::<Vec<_>>();
            let ours_by = digest_news(lane, works, news, &ids).await?;
            let mut copies: HashMap<PlaceNo, IdSet> = HashMap::new();
            for d in yours.iter().map(|&y| &departed[right[y]].1) {
                if let Some(at) = d.at {
                    copies.entry(d.place).or_default().insert(at);
                }
            }
            let theirs_by = digest_copies(lane, names, &copies).await?;
            let my = mine.iter().filter_map(|&m| Some((m, *ours_by.get(&left[m])?)));
            let your = yours.iter().filter_map(|&y| {
                let d = &departed[right[y]].1;
                Some((y, *theirs_by.get(&(d.place, d.at?))?))
            });
            let (my, mut your): (Vec<_>, Vec<_>) = (my.collect(), your.collect());
            if claimed_by_intents {
                // Where the message still is where the intent meant it, its copy stays for it.
                for (m, digest) in my.iter().filter(|(m, _)| meant(&left[*m])) {
                    let place = works[left[*m].0].place;
                    let its = |(y, other): &(usize, ContentDigest)| {
                        other == digest && departed[right[*y]].1.place == place
                    };
                    if let Some(at) = your.iter().position(its) {
                        your.remove(at);
                    }
                }
            }
            let my: Vec<_> =
                my.into_iter().filter(|(m, _)| !claimed_by_intents || !meant(&left[*m])).collect();
            let mut found = by_digest(&my, &your);
            // A copy that its user removed cannot be compared any more. Headers, size and date
            // agree: better to leave it removed than to bring it back (law 4).
            let is_lost =
                |d: &Departed| d.at.is_none_or(|at| !theirs_by.contains_key(&(d.place, at)));
            let mut lost: HashMap<Option<i64>, VecDeque<usize>> = HashMap::new();
            for &y in yours.iter().filter(|&&y| is_lost(&departed[right[y]].1)) {
                lost.entry(theirs[y].date).or_default().push_back(y);
            }
            let paired_by_content: HashSet<usize> = found.iter().map(|(m, _)| *m).collect();
            let mine = mine.into_iter().filter(|&m| !claimed_by_intents || !meant(&left[m]));
            for m in mine.filter(|m| !paired_by_content.contains(m)) {
                if let Some(y) = lost.get_mut(&ours[m].date).and_then(VecDeque::pop_front) {
                    found.push((m, y));
                }
            }
            paired.sure.extend(found);
        }
        for (m, y) in paired.sure {
            let (at, d) = (left[m], right[y]);
            claimed.insert(d);
            let item = news[at.0][at.1].clone();
            let of = departed[d].1.clone();
            let work = &works[at.0];
            let stays = of.at.is_none() || of.place == work.place || !basis.kind.mirrors();
            let arrival =
                if stays { Arrival::Refile { item, of } } else { Arrival::Move { item, of } };
            arrivals.insert(at, arrival);
        }
    }
    drop_claimed(works, closed, &departed, &claimed);
    Ok(())
}

/// What unsettled intents may have brought to the destination: the strangers that look like one of
/// their messages. Only their content can tell, and the message may be elsewhere at the source by
/// now.
async fn unsettled(
    basis: &Basis<'_>,
    scouted: &HashMap<PlaceNo, Vec<Stranger>>,
) -> Result<Vec<Departed>, Error> {
    let mut found = BTreeMap::new();
    for intent in &basis.overview.intents {
        let mut sizes: HashMap<Fingerprint, Vec<&IntentItem>> = HashMap::new();
        for item in intent.copies() {
            sizes.entry(item.fingerprint).or_default().push(item);
        }
        if sizes.is_empty() {
            continue;
        }
        let place = basis.overview.places.get(&intent.place);
        // Then its ids say nothing.
        let renewed = place.is_none_or(|place| place.epoch != Some(intent.epoch));
        let strangers = match scouted.get(&intent.place) {
            Some(strangers) => strangers.clone(),
            None => basis.ledger.strangers(intent.place).await?,
        };
        for stranger in strangers {
            let Some(items) = sizes.get(&stranger.fingerprint) else { continue };
            let item = items.iter().find(|i| i.size == stranger.size).unwrap_or(&items[0]);
            if renewed || stranger.id >= intent.next {
                found.insert(
                    (intent.place, stranger.id),
                    Departed {
                        filed: Filed::Stranger(intent.place, stranger.id),
                        place: intent.place,
                        at: Some(stranger.id),
                        origin: Origin::Copied,
                        flags: item.flags.clone(),
                        fingerprint: item.fingerprint,
                        size: item.size,
                        date: None,
                        identity: None,
                    },
                );
            }
        }
    }
    Ok(found.into_values().collect())
}

fn drop_claimed(
    works: &mut [Work],
    closed: &mut [Closed],
    departed: &[(Held, Departed)],
    claimed: &HashSet<usize>,
) {
    let mut from_works: HashSet<(usize, usize)> = HashSet::new();
    let mut from_closed: HashSet<(usize, usize)> = HashSet::new();
    for &at in claimed {
        match departed[at].0 {
            Held::Gone(w, n) => from_works.insert((w, n)),
            Held::Closed(c, n) => from_closed.insert((c, n)),
            Held::Retired | Held::Claimed => false,
        };
    }
    for (w, work) in works.iter_mut().enumerate() {
        let mut n = 0..;
        work.diff.gone.retain(|_| n.next().is_some_and(|n| !from_works.contains(&(w, n))));
    }
    for (c, folder) in closed.iter_mut().enumerate() {
        let mut n = 0..;
        folder.gone.retain(|_| n.next().is_some_and(|n| !from_closed.contains(&(c, n))));
    }
}

/// Where a copy is not where the ledger has it, an equal message that nobody has paired may be it:
/// then the ledger is older than the destination (it was put back from a backup), and learns now
/// what a later one knew. Whether drover wrote it is not known any more.
async fn catch_up(
    lane: &mut Lane,
    works: &[Work],
    news: &[Vec<Item>],
    names: &Names,
    strangers: &mut HashMap<PlaceNo, Vec<Stranger>>,
    arrivals: &mut HashMap<New, Arrival>,
) -> Result<(), Error> {
    let claimed = |arrival: &Arrival| match arrival {
        Arrival::Move { of, .. } | Arrival::Refile { of, .. } => Some(of.clone()),
        Arrival::Copy(_) | Arrival::Again { .. } | Arrival::Adopt { .. } => None,
    };
    let taken: HashSet<(PlaceNo, ItemId)> = arrivals
        .values()
        .filter_map(|arrival| match claimed(arrival)?.filed {
            Filed::Stranger(place, id) => Some((place, id)),
            Filed::Record(..) | Filed::Retired(_) => None,
        })
        .collect();
    for (&place, strangers) in strangers.iter_mut() {
        strangers.retain(|s| !taken.contains(&(place, s.id)));
    }
    for (&place, strangers) in strangers {
        let prints: HashSet<Fingerprint> = strangers.iter().map(|s| s.fingerprint).collect();
        let mut suspects: BTreeMap<New, Departed> = BTreeMap::new();
        for (at, arrival) in arrivals.iter().filter(|(at, _)| works[at.0].place == place) {
            let Some(of) = claimed(arrival) else { continue };
            let settled = !matches!(of.filed, Filed::Stranger(..));
            if settled && prints.contains(&of.fingerprint) {
                suspects.insert(*at, of);
            }
        }
        let mut copies: HashMap<PlaceNo, IdSet> = HashMap::new();
        for of in suspects.values() {
            copies.entry(of.place).or_default().extend_set(&of.at.into_iter().collect());
        }
        for (place, ids) in copies {
            let Some(name) = names.get(&place) else { continue };
            let there: HashSet<ItemId> = match lane.destination.sight(name, &ids).await {
                Ok(seen) => seen.iter().map(|s| s.id).collect(),
                Err(crate::platform::Error::FolderGone(_)) => HashSet::new(),
                Err(error) => return Err(at_destination(error)),
            };
            let stands = |of: &Departed| of.at.is_some_and(|at| there.contains(&at));
            suspects.retain(|_, of| of.place != place || !stands(of));
        }
        suspects.retain(|_, of| of.at.is_some());
        if suspects.is_empty() {
            continue;
        }
        let lost: HashSet<Fingerprint> = suspects.values().map(|of| of.fingerprint).collect();
        let candidates: IdSet =
            strangers.iter().filter(|s| lost.contains(&s.fingerprint)).map(|s| s.id).collect();
        let which: Vec<New> = suspects.keys().copied().collect();
        let mut ours: Vec<_> = digest_news(lane, works, news, &which).await?.into_iter().collect();
        ours.sort_unstable();
        let theirs = digest_copies(lane, names, &HashMap::from([(place, candidates)])).await?;
        let mut supply: HashMap<ContentDigest, VecDeque<ItemId>> = HashMap::new();
        for s in strangers.iter() {
            if let Some(digest) = theirs.get(&(place, s.id)) {
                supply.entry(*digest).or_default().push_back(s.id);
            }
        }
        let mut found: HashSet<ItemId> = HashSet::new();
        for (at, digest) in ours {
            let Some(id) = supply.get_mut(&digest).and_then(VecDeque::pop_front) else { continue };
            let Some(of) = suspects.remove(&at) else { continue };
            found.insert(id);
            let item = news[at.0][at.1].clone();
            let of = Departed { place, at: Some(id), origin: Origin::Adopted, ..of };
            arrivals.insert(at, Arrival::Refile { item, of });
        }
        strangers.retain(|s| !found.contains(&s.id));
    }
    Ok(())
}

/// Pairs the rest with what stands at the destination and nobody has paired yet.
#[expect(clippy::too_many_arguments, reason = "one step of `all`, split off to be read alone")]
async fn adopted(
    basis: &Basis<'_>,
    lane: &mut Lane,
    works: &[Work],
    news: &[Vec<Item>],
    sightings: &HashMap<New, Sighting>,
    strangers: HashMap<PlaceNo, Vec<Stranger>>,
    names: &Names,
    arrivals: &mut HashMap<New, Arrival>,
) -> Result<(), Error> {
    let claims = claims(&basis.overview.intents);
    for (place, strangers) in strangers {
        let mut left: Vec<New> = sightings
            .keys()
            .copied()
            .filter(|at| works[at.0].place == place && !arrivals.contains_key(at))
            .collect();
        left.sort_unstable();
        let ours: Vec<Trait> = left
            .iter()
            .map(|at| Trait::elsewhere(trait_of(&news[at.0][at.1], &sightings[at])))
            .collect();
        let theirs: Vec<Trait> =
            strangers.iter().map(|s| Trait::at_destination(s.fingerprint, s.size)).collect();
        let mut paired = pair(&ours, &theirs, Sizes::TwoServers);
        for (mine, yours) in std::mem::take(&mut paired.doubtful) {
            let ids = mine.iter().map(|&m| left[m]).collect::<Vec<_>>();
            let ours_by = digest_news(lane, works, news, &ids).await?;
            let copies = yours.iter().map(|&y| strangers[y].id).collect();
            let theirs_by = digest_copies(lane, names, &HashMap::from([(place, copies)])).await?;
            let my = mine.iter().filter_map(|&m| Some((m, *ours_by.get(&left[m])?)));
            let your =
                yours.iter().filter_map(|&y| Some((y, *theirs_by.get(&(place, strangers[y].id))?)));
            paired.sure.extend(by_digest(&my.collect::<Vec<_>>(), &your.collect::<Vec<_>>()));
        }
        if paired.sure.is_empty() {
            continue;
        }
        // A stranger noted earlier may be gone by now.
        let ids: IdSet = paired.sure.iter().map(|(_, y)| strangers[*y].id).collect();
        let Some(name) = names.get(&place) else { continue };
        let still = lane.destination.sight(name, &ids).await.map_err(at_destination)?;
        let flags: HashMap<ItemId, &Flags> = still.iter().map(|s| (s.id, &s.flags)).collect();
        for (m, y) in paired.sure {
            let (at, stranger) = (left[m], strangers[y]);
            let Some(&theirs) = flags.get(&stranger.id) else { continue };
            let item = news[at.0][at.1].clone();
            let deletes = basis.mailbox.carry.deletes && basis.kind.mirrors();
            let claim = claims
                .get(&(works[at.0].no, item.id))
                .filter(|(intent, _)| intent.place == place && stranger.id >= intent.next);
            let had = claim.map_or(theirs, |(_, wrote)| *wrote);
            let now = item_flags(&item, had, deletes);
            let (origin, remove) = match claim {
                Some(_) => (Origin::Copied, had.minus(&now)),
                None => (Origin::Adopted, Flags::NONE),
            };
            let add = now.minus(had);
            let (at_source, fingerprint) = (at, stranger.fingerprint);
            let seen = &sightings[&at_source];
            // The others are known by their names.
            let identity = seen.identity.filter(|_| seen.message_id.is_none());
            let at = stranger.id;
            let arrival = Arrival::Adopt { item, at, origin, add, remove, fingerprint, identity };
            let at = at_source;
            arrivals.insert(at, arrival);
        }
    }
    Ok(())
}

/// What unsettled intents say drover may have written: the flags it wrote, by source message.
fn claims(intents: &[Intent]) -> HashMap<(FolderNo, ItemId), (&Intent, &Flags)> {
    let mut claims = HashMap::new();
    for intent in intents {
        for item in intent.copies() {
            claims.insert((item.folder, item.id), (intent, &item.flags));
        }
    }
    claims
}
