//! What recognition asks the two servers: headers of new messages, what stands in the target folders,
//! and the content of what headers do not tell apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::ledger::{Change, Place, PlaceNo, Stranger};
use crate::model::{FolderName, IdSet, Item, ItemId};
use crate::platform::{ContentDigest, FolderStatus, Sighting};

use super::super::Error;
use super::super::basis::{Basis, Work};
use super::super::folding::Closed;
use super::super::lane::{Lane, at_destination, at_source};

/// A new message of one of the folders under work: (index of the folder, index in its news).
pub(super) type New = (usize, usize);

/// The names that places have at the destination now, before any rename of this pass.
pub(super) type Names = BTreeMap<PlaceNo, FolderName>;

pub(super) fn names_now(
    basis: &Basis<'_>,
    places: &BTreeMap<PlaceNo, Place>,
    there: &[FolderStatus],
) -> Names {
    let exists = |name: &FolderName| there.iter().any(|status| status.folder.name == *name);
    let now = |(&no, place): (&PlaceNo, &Place)| {
        let before = basis.overview.places.get(&no).map_or(&place.name, |place| &place.name);
        // It may be renamed already, by a pass that died before it could say so.
        (no, if exists(before) { before.clone() } else { place.name.clone() })
    };
    places.iter().map(now).collect()
}

/// Looks at what stands in the target folders that drover has not seen yet. Only where something
/// new is to go there.
#[expect(clippy::too_many_arguments, reason = "one step of `all`, split off to be read alone")]
pub(super) async fn scout(
    lane: &mut Lane,
    works: &[Work],
    news: &[Vec<Item>],
    there: &[FolderStatus],
    places: &mut BTreeMap<PlaceNo, Place>,
    names: &Names,
    basis: &Basis<'_>,
    learned: &mut Vec<Change>,
) -> Result<HashMap<PlaceNo, Vec<Stranger>>, Error> {
    let mut strangers = HashMap::new();
    let fed = works.iter().zip(news).filter(|(_, news)| !news.is_empty());
    let mut wanted: BTreeSet<PlaceNo> = fed.map(|(work, _)| work.place).collect();
    if !wanted.is_empty() {
        // What an unsettled intent brought may belong to a message that has moved on.
        wanted.extend(basis.overview.intents.iter().map(|intent| intent.place));
    }
    let (mut unknown, mut unseen_there) = (Vec::new(), Vec::new());
    for no in wanted {
        let Some(place) = places.get(&no) else { continue };
        let Some(name) = names.get(&place.no) else { continue };
        let status = there.iter().find(|s| s.folder.name == *name && s.selectable);
        let Some(status) = status else { continue };
        let (epoch, next) = match (status.epoch, status.next) {
            (Some(epoch), Some(next)) => (epoch, next),
            _ => {
                let open = lane.destination.open(name).await.map_err(at_destination)?;
                (open.epoch, open.next)
            }
        };
        if place.epoch.is_some_and(|known| known != epoch) {
            // Rebuilt since it was mended; the next pass mends it again.
            continue;
        }
        let found = if basis.overview.places.contains_key(&no) {
            basis.ledger.strangers(no).await?
        } else {
            Vec::new()
        };
        let all = match next.0 {
            0 | 1 => IdSet::new(),
            next => IdSet::range(ItemId(1), ItemId(next - 1)),
        };
        let unseen = all.difference(&place.known);
        if !unseen.is_empty() {
            unknown.push((no, epoch));
            unseen_there.push((name.clone(), unseen));
        }
        strangers.insert(no, found);
    }
    let seen = lane.destination.sights(&unseen_there).await.map_err(at_destination)?;
    for (((no, epoch), (_, unseen)), seen) in unknown.into_iter().zip(unseen_there).zip(seen) {
        let Some(place) = places.get_mut(&no) else { continue };
        let news: Vec<Stranger> = seen.iter().map(stranger).collect();
        place.epoch = Some(epoch);
        place.known.extend_set(&unseen);
        // Under the name it has until the pass renames it: the pass may die before that.
        let before = basis.overview.places.get(&no);
        let (name, path) = before.map_or((&place.name, &place.path), |b| (&b.name, &b.path));
        let (name, path) = (name.clone(), path.clone());
        learned.push(Change::PutPlace(Place { name, path, ..place.clone() }));
        learned.push(Change::PutStrangers(no, news.clone()));
        strangers.entry(no).or_default().extend(news);
    }
    Ok(strangers)
}

pub(crate) fn stranger(seen: &Sighting) -> Stranger {
    Stranger { id: seen.id, fingerprint: seen.fingerprint, size: seen.size }
}

/// Reads the naming headers of the new messages, where anything could be recognised by them.
pub(super) async fn sight(
    basis: &Basis<'_>,
    lane: &mut Lane,
    works: &[Work],
    closed: &[Closed],
    news: &[Vec<Item>],
    strangers: &HashMap<PlaceNo, Vec<Stranger>>,
) -> Result<HashMap<New, Sighting>, Error> {
    let left = works.iter().any(|w| !w.diff.gone.is_empty())
        || closed.iter().any(|c| !c.gone.is_empty())
        || basis.overview.retired > 0
        || !basis.overview.intents.is_empty();
    let mut folders = Vec::new();
    let mut wanted = Vec::new();
    for (w, work) in works.iter().enumerate() {
        let adoptable = strangers.get(&work.place).is_some_and(|s| !s.is_empty());
        let renewed = closed.iter().any(|c| c.renewed && c.before.name == work.folder.name);
        if !news[w].is_empty() && (adoptable || renewed || left) {
            folders.push(w);
            let ids: IdSet = news[w].iter().map(|item| item.id).collect();
            wanted.push((work.folder.name.clone(), ids));
        }
    }
    let seen = lane.source.sights(&wanted).await.map_err(at_source)?;
    let mut sightings = HashMap::new();
    for (w, seen) in folders.into_iter().zip(seen) {
        for sighting in seen {
            if let Ok(n) = news[w].binary_search_by_key(&sighting.id, |item| item.id) {
                sightings.insert((w, n), sighting);
            }
        }
    }
    Ok(sightings)
}

pub(super) async fn digest_news(
    lane: &mut Lane,
    works: &[Work],
    news: &[Vec<Item>],
    which: &[New],
) -> Result<HashMap<New, ContentDigest>, Error> {
    let mut by_folder: BTreeMap<usize, Vec<New>> = BTreeMap::new();
    for at in which {
        by_folder.entry(at.0).or_default().push(*at);
    }
    let mut digests = HashMap::new();
    for (w, which) in by_folder {
        let ids: IdSet = which.iter().map(|at| news[at.0][at.1].id).collect();
        let found = lane.source.digest(&works[w].folder.name, &ids).await.map_err(at_source)?;
        let known = which.into_iter();
        digests.extend(known.filter_map(|at| Some((at, *found.get(&news[at.0][at.1].id)?))));
    }
    Ok(digests)
}

pub(super) async fn digest_copies(
    lane: &mut Lane,
    names: &Names,
    copies: &HashMap<PlaceNo, IdSet>,
) -> Result<HashMap<(PlaceNo, ItemId), ContentDigest>, Error> {
    let mut digests = HashMap::new();
    for (&place, ids) in copies {
        let Some(name) = names.get(&place) else { continue };
        match lane.destination.digest(name, ids).await {
            Ok(found) => digests.extend(found.into_iter().map(|(id, d)| ((place, id), d))),
            // Its user removed the folder; nothing in it can be anybody's copy.
            Err(crate::platform::Error::FolderGone(_)) => {}
            Err(error) => return Err(at_destination(error)),
        }
    }
    Ok(digests)
}
