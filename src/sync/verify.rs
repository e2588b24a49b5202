//! Compares both sides message by message, without the ledger: what the users will find.
//!
//! Per destination folder, as multisets of content digests (line ends unified, trailing line
//! ends cut: see [`crate::model::fingerprint`]). Every selected source message must be there once,
//! with its flags and its INTERNALDATE. What else stands at the destination is its users' own
//! and no difference; a second copy of a source message is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::definition::Mailbox;
use crate::model::{Flags, Folder, FolderName, IdSet, Item, ItemId};
use crate::platform::{Account, ContentDigest};

use super::diff::carried;
use super::lane::{Lane, at_destination, at_source};
use super::naming::Namer;
use super::{Context, Error, Progress, Stage};

/// How much of each kind of difference is listed by name; all of it is counted.
const LISTED: usize = 100;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// By destination folder.
    pub folders: Vec<FolderComparison>,
}

/// What a comparison found in one destination folder, in messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FolderComparison {
    /// The source folders that go there.
    pub sources: Vec<String>,
    /// The destination folder.
    pub destination: String,
    /// Selected messages at the source.
    pub expected: u64,
    /// Those found at the destination with the same content.
    pub found: u64,
    /// Those not found.
    pub missing: u64,
    /// Copies of source messages beyond their number at the source.
    pub duplicated: u64,
    /// Found ones whose flags differ.
    pub flags_differ: u64,
    /// Found ones whose INTERNALDATE differs.
    pub dates_differ: u64,
    /// Messages only the destination has.
    pub others: u64,
    /// The first differences, by name.
    pub differences: Vec<Difference>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// `missing`, `duplicated`, `flags` or `date`.
    pub kind: String,
    /// The source folder, or the destination's for a duplicate.
    pub folder: String,
    /// Its id there.
    pub uid: u64,
    /// Its Message-ID, if it has one.
    pub message_id: Option<String>,
    /// For flags and dates: source and destination.
    pub detail: Option<String>,
}

impl FolderComparison {
    /// True if nothing differs.
    pub const fn is_equal(&self) -> bool {
        self.missing + self.duplicated + self.flags_differ + self.dates_differ == 0
    }

    /// Differences of all kinds.
    pub const fn total(&self) -> u64 {
        self.missing + self.duplicated + self.flags_differ + self.dates_differ
    }
}

impl Comparison {
    /// True if nothing differs anywhere.
    pub fn is_equal(&self) -> bool {
        self.folders.iter().all(FolderComparison::is_equal)
    }

    /// Differences of all kinds, everywhere.
    pub fn total(&self) -> u64 {
        self.folders.iter().map(FolderComparison::total).sum()
    }
}

/// A message with all that is compared.
struct Whole {
    folder: usize,
    item: Item,
    digest: ContentDigest,
}

/// Compares a mailbox.
///
/// # Errors
/// A side that cannot be read.
pub async fn verify(
    context: &Context,
    mailbox: &Arc<Mailbox>,
    progress: &Progress,
) -> Result<Comparison, Error> {
    let mut lane = Lane::open(context, mailbox).await?;
    progress.enter(Stage::Surveying);
    let ours = lane.source.folders().await.map_err(at_source)?;
    let theirs = lane.destination.folders().await.map_err(at_destination)?;
    let naming = lane.destination.naming().clone();
    let namer = Namer::new(&mailbox.folders, &naming, &ours, &theirs);
    let takes =
        |f: &&crate::platform::FolderStatus| f.selectable && mailbox.select.takes_folder(&f.folder);
    let mut groups: BTreeMap<FolderName, (String, Vec<Folder>)> = BTreeMap::new();
    for status in ours.iter().filter(takes) {
        progress.expect(status.messages.unwrap_or_default(), 0);
        let target = namer.target(&status.folder);
        let group = groups.entry(target.name).or_insert((target.path.to_string(), Vec::new()));
        group.1.push(status.folder.clone());
    }
    progress.enter(Stage::Transferring);
    let mut comparison = Comparison::default();
    for (name, (path, sources)) in groups {
        let there = theirs.iter().any(|s| s.folder.name == name);
        let one = folder(&mut lane, mailbox, &name, &path, &sources, there, progress).await?;
        comparison.folders.push(one);
    }
    lane.close().await;
    Ok(comparison)
}

async fn folder(
    lane: &mut Lane,
    mailbox: &Mailbox,
    name: &FolderName,
    path: &str,
    sources: &[Folder],
    there: bool,
    progress: &Progress,
) -> Result<FolderComparison, Error> {
    let (source, destination) = (&mut lane.source, &mut lane.destination);
    let ours = async {
        let mut ours = Vec::new();
        for (n, folder) in sources.iter().enumerate() {
            let select = |item: &Item| item.meta.is_none_or(|m| mailbox.select.takes(&m));
            ours.extend(read(source.as_mut(), &folder.name, n, select).await.map_err(at_source)?);
        }
        Ok::<_, Error>(ours)
    };
    let theirs = async {
        if !there {
            return Ok(Vec::new());
        }
        read(destination.as_mut(), name, 0, |_| true).await.map_err(at_destination)
    };
    let (ours, theirs) = tokio::try_join!(ours, theirs)?;
    progress.advance(ours.len() as u64, 0);

    let mut result = FolderComparison {
        sources: sources.iter().map(|f| f.path.to_string()).collect(),
        destination: path.to_owned(),
        expected: ours.len() as u64,
        ..FolderComparison::default()
    };
    let mut supply: HashMap<ContentDigest, Vec<&Whole>> = HashMap::new();
    for whole in &theirs {
        supply.entry(whole.digest).or_default().push(whole);
    }
    let mut missing = Vec::new();
    let deletes = mailbox.carry.deletes;
    let alike = |a: &Whole, b: &Whole| {
        let flags = carried(&a.item.flags, deletes) == carried(&b.item.flags, deletes);
        (flags, date(&a.item) == date(&b.item))
    };
    for mine in &ours {
        let candidates = supply.get_mut(&mine.digest).filter(|c| !c.is_empty());
        let Some(candidates) = candidates else {
            missing.push((mine.folder, mine.item.id));
            continue;
        };
        // Among twins the one that agrees most.
        let best = (0..candidates.len()).max_by_key(|&at| alike(mine, candidates[at]));
        let yours = candidates.swap_remove(best.unwrap_or_default());
        result.found += 1;
        let (flags, dates) = alike(mine, yours);
        let from = sources[mine.folder].path.to_string();
        if !flags {
            result.flags_differ += 1;
            let show = |flags: &Flags| format!("({flags})");
            let detail = format!("{} ≠ {}", show(&mine.item.flags), show(&yours.item.flags));
            result.list("flags", &from, mine.item.id, Some(detail));
        }
        if !dates {
            result.dates_differ += 1;
            let show = |item: &Item| item.meta.and_then(|m| m.date).map(|d| d.to_rfc3339());
            let detail = format!("{:?} ≠ {:?}", show(&mine.item), show(&yours.item));
            result.list("date", &from, mine.item.id, Some(detail));
        }
    }
    result.missing = missing.len() as u64;
    let known: std::collections::HashSet<ContentDigest> = ours.iter().map(|w| w.digest).collect();
    for left in supply.into_values().flatten() {
        if known.contains(&left.digest) {
            result.duplicated += 1;
            result.list("duplicated", path, left.item.id, None);
        } else {
            result.others += 1;
        }
    }
    name_missing(lane, sources, missing, &mut result).await?;
    Ok(result)
}

/// Lists missing messages with their Message-IDs.
async fn name_missing(
    lane: &mut Lane,
    sources: &[Folder],
    missing: Vec<(usize, ItemId)>,
    result: &mut FolderComparison,
) -> Result<(), Error> {
    for (n, folder) in sources.iter().enumerate() {
        let of = missing.iter().filter(|(at, _)| *at == n).take(LISTED);
        let ids: IdSet = of.map(|(_, id)| *id).collect();
        if ids.is_empty() {
            continue;
        }
        let seen = lane.source.sight(&folder.name, &ids).await.map_err(at_source)?;
        for one in seen {
            result.list("missing", &folder.path.to_string(), one.id, None);
            if let Some(last) = result.differences.last_mut() {
                last.message_id = one.message_id;
            }
        }
    }
    Ok(())
}

impl FolderComparison {
    fn list(&mut self, kind: &str, folder: &str, uid: ItemId, detail: Option<String>) {
        if self.differences.len() < LISTED {
            self.differences.push(Difference {
                kind: kind.to_owned(),
                folder: folder.to_owned(),
                uid: uid.0,
                message_id: None,
                detail,
            });
        }
    }
}

fn date(item: &Item) -> Option<i64> {
    item.meta.and_then(|m| m.date).map(|d| d.timestamp())
}

async fn read<A: Account + ?Sized>(
    account: &mut A,
    name: &FolderName,
    folder: usize,
    select: impl Fn(&Item) -> bool,
) -> crate::platform::Result<Vec<Whole>> {
    let (_, items) = account.list(name).await?;
    let items: Vec<Item> = items.into_iter().filter(select).collect();
    let ids: IdSet = items.iter().map(|item| item.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let digests = account.digest(name, &ids).await?;
    let whole = |item: Item| Some(Whole { folder, digest: *digests.get(&item.id)?, item });
    Ok(items.into_iter().filter_map(whole).collect())
}
