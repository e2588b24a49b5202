//! Looking at an account before anything is copied: its size, its room, and what it hides.
//!
//! Sizes come from STATUS=SIZE (RFC 8438) where the server has it; elsewhere some messages of the
//! largest folders are asked for theirs. Room comes from QUOTA (RFC 9208).

use std::collections::{BTreeSet, HashMap};

use super::command::Command;
use super::names::decode;
use super::reply::{Counted, Fetched, Reply};
use super::session::Session;
use crate::model::{FolderName, Role};
use crate::platform::{
    Error, FolderStatus, Inspection, Oversized, Quota, Result, Size, Takes, Unseen, Weighed,
};

/// Folders that are opened for a look, the largest first: each costs two round trips.
const OPENED: usize = 12;
/// Messages of a folder that are asked for their size are taken from so many places …
const PLACES: u64 = 5;
/// … so many in a row.
const IN_A_ROW: u64 = 100;
/// Hidden labels that are named.
const NAMED: usize = 20;

/// What was asked of single messages.
#[derive(Default)]
struct Sample {
    asked: u64,
    bytes: u64,
    labels: BTreeSet<Vec<u8>>,
}

impl Session {
    /// See [`crate::platform::Account::inspect`]. `max_message`: what is known of the largest message
    /// besides what the server says.
    pub(super) async fn inspect(
        &mut self,
        takes: Option<Takes<'_>>,
        max_message: Option<u64>,
    ) -> Result<Inspection> {
        let statuses = self.folders().await?;
        let has_labels = self.capabilities.has("X-GM-EXT-1");
        let is_counted = |status: &&FolderStatus| {
            // Labels are views of All Mail.
            let is_store = match status.folder.role {
                Some(Role::All) => return status.selectable && has_labels && takes.is_some(),
                Some(Role::Junk | Role::Trash) => true,
                _ => !has_labels,
            };
            status.selectable && is_store && takes.is_some_and(|takes| takes(&status.folder))
        };
        let counted: Vec<&FolderStatus> = statuses.iter().filter(is_counted).collect();
        let mut folders: Vec<Weighed> = counted
            .iter()
            .map(|status| Weighed {
                name: status.folder.name.clone(),
                messages: status.messages.unwrap_or_default(),
                bytes: None,
            })
            .collect();
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.messages));
        self.weigh(&mut folders).await?;
        let messages = folders.iter().map(|folder| folder.messages).sum();
        let known: Option<u64> = folders.iter().map(|folder| folder.bytes).sum();
        let mut labels = BTreeSet::new();
        let size = match known {
            Some(bytes) if !has_labels => Some(Size { bytes, exact: true }),
            _ => {
                let sample = self.sample(&folders, has_labels).await?;
                let size = estimate(&sample, messages);
                labels = sample.labels;
                size
            }
        };
        let mut unseen = Vec::new();
        if has_labels && !folders.is_empty() {
            unseen.extend(hidden_at_gmail(&statuses, &labels));
            unseen.extend(self.cut_at_gmail(&statuses));
        }
        for status in counted.into_iter().filter(|_| !has_labels) {
            let shown = status.messages.unwrap_or_default();
            if self.is_window(shown) {
                unseen.push(Unseen::Window { folder: status.folder.path.to_string(), shown });
            }
        }
        Ok(Inspection {
            folders,
            messages,
            size,
            quota: self.quota().await?,
            max_message: self.capabilities.append_limit().or(max_message),
            unseen,
        })
    }

    /// Folders that a Gmail account's owner seems to have limited.
    fn cut_at_gmail(&self, statuses: &[FolderStatus]) -> Vec<Unseen> {
        let is_all = |status: &FolderStatus| status.folder.role == Some(Role::All);
        let all = statuses.iter().find(|s| is_all(s)).and_then(|all| all.messages).unwrap_or(0);
        let cut = |status: &FolderStatus| {
            let shown = status.messages.filter(|&shown| self.is_window(shown))?;
            let (folder, whole) = (status.folder.path.to_string(), is_all(status));
            (whole || all > shown).then_some(Unseen::Cut { folder, shown, whole })
        };
        statuses.iter().filter(|status| status.selectable).filter_map(cut).collect()
    }

    /// Asks for the size of each folder, where the server can tell it at once.
    async fn weigh(&mut self, folders: &mut [Weighed]) -> Result<()> {
        if !self.capabilities.has("STATUS=SIZE") && !self.capabilities.has("IMAP4REV2") {
            return Ok(());
        }
        let names = folders.iter().map(|folder| folder.name.clone()).collect();
        let mut told: HashMap<FolderName, Counted> = HashMap::new();
        self.count_each(names, "MESSAGES SIZE", &mut told).await?;
        for folder in folders {
            folder.bytes = told.get(&folder.name).and_then(|counted| counted.size);
        }
        Ok(())
    }

    /// Asks some messages of the largest folders for their size, and for their labels.
    async fn sample(&mut self, folders: &[Weighed], has_labels: bool) -> Result<Sample> {
        let mut sample = Sample::default();
        let items = if has_labels { "(UID RFC822.SIZE X-GM-LABELS)" } else { "(UID RFC822.SIZE)" };
        for folder in folders.iter().filter(|folder| folder.messages > 0).take(OPENED) {
            let selected = match self.examine(&folder.name).await {
                Ok(selected) => selected,
                Err(Error::Refused { .. } | Error::FolderGone(_)) => continue,
                Err(error) => return Err(error),
            };
            if selected.messages == 0 {
                continue;
            }
            let mut hear = |fetched: Fetched| {
                if let Some(size) = fetched.size {
                    sample.asked += 1;
                    sample.bytes = sample.bytes.saturating_add(size);
                }
                sample.labels.extend(fetched.labels.unwrap_or_default());
            };
            if self.is_paged() {
                // Messages have no numbers there but their ids.
                self.page(1, items).await?.into_values().for_each(hear);
                continue;
            }
            let fetch = format!("FETCH {} {items}", spread(selected.messages));
            let hear = |reply| {
                if let Reply::Fetch(fetched) = reply {
                    hear(fetched);
                }
            };
            match self.exec(Command::raw("FETCH", fetch), hear).await {
                Ok(_) | Err(Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sample)
    }

    /// The room of the account. A server that offers to tell and then does not is tolerated.
    async fn quota(&mut self) -> Result<Option<Quota>> {
        if !self.capabilities.has("QUOTA") {
            return Ok(None);
        }
        let mut quota = None;
        let hear = |reply| {
            if let Reply::Quota(Some(found)) = reply {
                // Of several roots the fullest counts.
                let room = |quota: &Quota| quota.limit.saturating_sub(quota.used);
                let fuller = |before: &Quota| room(&found) < room(before);
                quota = Some(quota.filter(|before| !fuller(before)).unwrap_or(found));
            }
        };
        match self.exec(Command::raw("GETQUOTAROOT", "GETQUOTAROOT INBOX"), hear).await {
            Ok(_) | Err(Error::Refused { .. } | Error::Throttled { .. }) => Ok(quota),
            Err(error) => Err(error),
        }
    }

    /// See [`crate::platform::Source::oversized`].
    pub(super) async fn oversized(&mut self, among: &[Weighed], limit: u64) -> Result<Oversized> {
        let may_hold =
            |folder: &&Weighed| folder.messages > 0 && folder.bytes.is_none_or(|b| b > limit);
        let (mut found, mut opened) = (Oversized::default(), 0);
        for folder in among.iter().filter(may_hold) {
            opened += 1;
            if opened > OPENED {
                found.unseen_folders += 1;
                continue;
            }
            let looked = match self.examine(&folder.name).await {
                Ok(_) => self.larger_than(limit).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(n) => found.messages += n,
                Err(Error::Refused { .. } | Error::FolderGone(_)) => found.unseen_folders += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn larger_than(&mut self, limit: u64) -> Result<u64> {
        let returns = if self.capabilities.has("ESEARCH") { " RETURN (ALL)" } else { "" };
        let search = format!("UID SEARCH{returns} LARGER {limit}");
        let mut n = 0;
        let hear = |reply| {
            if let Reply::Found(ids) = reply {
                n += ids.len();
            }
        };
        self.exec(Command::raw("SEARCH", search), hear).await?;
        Ok(n)
    }
}

/// Sequence numbers from all over a folder of so many messages.
fn spread(messages: u64) -> String {
    if messages <= PLACES * IN_A_ROW {
        return format!("1:{messages}");
    }
    let place = |n: u64| {
        let from = 1 + n * (messages - IN_A_ROW) / (PLACES - 1);
        format!("{from}:{}", from + IN_A_ROW - 1)
    };
    (0..PLACES).map(place).collect::<Vec<_>>().join(",")
}

fn estimate(sample: &Sample, messages: u64) -> Option<Size> {
    if messages == 0 {
        return Some(Size { bytes: 0, exact: true });
    }
    if sample.asked == 0 {
        return None;
    }
    let bytes = u128::from(sample.bytes) * u128::from(messages) / u128::from(sample.asked);
    let exact = sample.asked >= messages;
    Some(Size { bytes: u64::try_from(bytes).unwrap_or(u64::MAX), exact })
}

/// What a Gmail account does not show.
fn hidden_at_gmail(statuses: &[FolderStatus], borne: &BTreeSet<Vec<u8>>) -> Vec<Unseen> {
    let mut unseen = Vec::new();
    let with = |role| statuses.iter().find(|s| s.folder.role == Some(role));
    for (role, name) in [(Role::Junk, "Spam"), (Role::Trash, "Trash")] {
        if with(role).is_none() {
            unseen.push(Unseen::Folder(name));
        }
    }
    let is_listed = |label: &Vec<u8>| statuses.iter().any(|s| s.folder.name.0 == *label);
    // System labels that are folders have roles; the others are flags and views.
    let hidden = borne.iter().filter(|label| !label.starts_with(b"\\") && !is_listed(label));
    let hidden: Vec<String> = hidden.take(NAMED).map(|label| decode(label).into_owned()).collect();
    if !hidden.is_empty() {
        unseen.push(Unseen::Labels(hidden));
    }
    unseen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_taken_from_all_over_a_folder_and_never_from_beyond_it() {
        assert_eq!(spread(1), "1:1");
        assert_eq!(spread(500), "1:500");
        assert_eq!(spread(501), "1:100,101:200,201:300,301:400,402:501");
        assert!(spread(1_000_000).ends_with(",999901:1000000"));
    }

    #[test]
    fn what_was_not_asked_about_is_taken_to_be_like_what_was() {
        let sample = |asked, bytes| Sample { asked, bytes, ..Sample::default() };
        let size = |bytes, exact| Some(Size { bytes, exact });
        assert_eq!(estimate(&sample(500, 5000), 100_000), size(1_000_000, false));
        assert_eq!(estimate(&sample(7, 70), 7), size(70, true));
        assert_eq!(estimate(&sample(0, 0), 7), None);
        assert_eq!(estimate(&sample(0, 0), 0), size(0, true));
        assert_eq!(estimate(&sample(1, u64::MAX), u64::MAX), size(u64::MAX, false));
    }
}
