//! Which messages a sample takes: random, but the same again for the same seed.

use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::model::{IdSet, ItemId};

/// A sample that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How much.
    pub size: SampleSize,
    /// The same seed takes the same messages of the same mailbox.
    pub seed: u64,
}

/// How large a sample is. At least one message of every folder is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SampleSize {
    /// This part of every folder, more than 0 and at most 100.
    Percent(f64),
    /// About so many messages, spread over the folders by their sizes.
    Messages(u64),
}

impl SampleSize {
    /// How many to take of a folder of `folder` messages, in a mailbox of `all`.
    pub(super) fn of(self, folder: u64, all: u64) -> u64 {
        let part = match self {
            Self::Percent(percent) => folder as f64 * percent / 100.0,
            Self::Messages(n) => n as f64 * (folder as f64 / all.max(1) as f64),
        };
        // Rounding errors must not make 5 % of 100 six.
        ((part - 1e-9).ceil() as u64).max(1).min(folder)
    }
}

/// `5%`, `500`.
impl FromStr for SampleSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no sample; write \"5%\" or a number of messages");
        match text.trim().strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| refuse())?;
                let legal = percent > 0.0 && percent <= 100.0;
                legal.then_some(Self::Percent(percent)).ok_or_else(refuse)
            }
            None => {
                let n: u64 = text.trim().parse().map_err(|_| refuse())?;
                (n > 0).then_some(Self::Messages(n)).ok_or_else(refuse)
            }
        }
    }
}

impl fmt::Display for SampleSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Messages(n) => write!(f, "{n}"),
        }
    }
}

impl Serialize for SampleSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SampleSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Chooses messages of one folder: those whose keyed digests are the lowest.
pub(super) struct Lot {
    key: String,
    most: u64,
    chosen: BinaryHeap<(u64, ItemId)>,
}

impl Lot {
    /// At most so many of the folder `path`.
    pub(super) fn new(seed: u64, path: &str, most: u64) -> Self {
        Self { key: format!("{seed} {path} "), most, chosen: BinaryHeap::new() }
    }

    pub(super) fn draw(&mut self, id: ItemId) {
        let hash = digest::digest(&digest::SHA256, format!("{}{}", self.key, id.0).as_bytes());
        let ticket = hash.as_ref().iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte));
        self.chosen.push((ticket, id));
        if self.chosen.len() as u64 > self.most {
            self.chosen.pop();
        }
    }

    /// The chosen ones, the `n` lowest of them.
    pub(super) fn take(self, n: u64) -> IdSet {
        let chosen = self.chosen.into_sorted_vec();
        chosen.into_iter().take(n as usize).map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(seed: u64, folder: u64, most: u64) -> IdSet {
        let mut lot = Lot::new(seed, "INBOX", most);
        (1..=folder).for_each(|n| lot.draw(ItemId(n)));
        lot.take(most)
    }

    #[test]
    fn a_seed_takes_the_same_messages_again_and_another_seed_others() {
        assert_eq!(chosen(1, 1000, 50), chosen(1, 1000, 50));
        assert_eq!(chosen(1, 1000, 50).len(), 50);
        assert!(chosen(1, 1000, 50).intersection(&chosen(2, 1000, 50)).len() < 20);
    }

    #[test]
    fn every_message_has_the_same_chance() {
        let mut drawn = [0u32; 10];
        for seed in 0..500 {
            chosen(seed, 100, 10).iter().for_each(|id| drawn[(id.0 as usize - 1) / 10] += 1);
        }
        // 500 of 5000 in each tenth; four standard deviations are 85.
        assert!(drawn.iter().all(|n| (415..585).contains(n)), "{drawn:?}");
    }

    #[test]
    fn every_folder_is_represented() {
        let percent: SampleSize = "5%".parse().unwrap();
        assert_eq!([1, 10, 100, 101, 1000].map(|n| percent.of(n, 0)), [1, 1, 5, 6, 50]);
        let messages: SampleSize = "500".parse().unwrap();
        assert_eq!([1, 1000, 9000].map(|n| messages.of(n, 10_001)), [1, 50, 450]);
        assert_eq!(messages.of(100, 100), 100);
    }

    #[test]
    fn a_sample_is_written_as_percent_or_number() {
        for bad in ["0", "0%", "101%", "x", "", "-1", "5 of 100", "NaN%"] {
            assert!(bad.parse::<SampleSize>().is_err(), "{bad}");
        }
        assert_eq!("0.5%".parse::<SampleSize>().unwrap().to_string(), "0.5%");
    }
}
