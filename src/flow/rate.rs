//! Bytes a second, by token bucket.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A rate that clones share. Without a limit it never waits.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    bucket: Option<Arc<Mutex<Bucket>>>,
}

/// The rates of all migrations: what runs under one name shares one. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    by_name: Arc<std::sync::Mutex<HashMap<String, (u64, Rate)>>>,
}

impl Rates {
    /// The rate of `name`. Another number than before makes another rate; what still runs under
    /// the old one keeps it.
    pub fn of(&self, name: &str, bytes_per_second: Option<u64>) -> Rate {
        let Some(bytes) = bytes_per_second else { return Rate::default() };
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        match by_name.get(name) {
            Some((known, rate)) if *known == bytes => rate.clone(),
            _ => {
                let rate = Rate::new(bytes_per_second);
                by_name.insert(name.to_owned(), (bytes, rate.clone()));
                rate
            }
        }
    }
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// Bytes that may pass at once; negative: a debt that later bytes wait for.
    tokens: f64,
    filled: Instant,
}

impl Rate {
    /// This many bytes a second with a burst of one second; `None`: unlimited.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        let bucket = bytes_per_second.map(|rate| {
            let per_second = rate.max(1) as f64;
            Arc::new(Mutex::new(Bucket { per_second, tokens: per_second, filled: Instant::now() }))
        });
        Self { bucket }
    }

    /// Waits until `bytes` more may pass. Something larger than the bucket passes on credit, and
    /// the next one waits for it.
    pub async fn pass(&self, bytes: u64) {
        let Some(bucket) = &self.bucket else { return };
        // Held while waiting: those who come later pass later.
        let mut bucket = bucket.lock().await;
        let now = Instant::now();
        let earned = (now - bucket.filled).as_secs_f64() * bucket.per_second;
        bucket.tokens = (bucket.tokens + earned).min(bucket.per_second);
        bucket.filled = now;
        if bucket.tokens < 0.0 {
            let wait = Duration::from_secs_f64(-bucket.tokens / bucket.per_second);
            tokio::time::sleep(wait).await;
            bucket.tokens = 0.0;
            bucket.filled = Instant::now();
        }
        bucket.tokens -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_runs_under_one_name_shares_its_rate() {
        let rates = Rates::default();
        let began = Instant::now();
        let mut passed = Vec::new();
        for _ in 0..3 {
            let rate = rates.of("acme", Some(1000));
            passed.push(tokio::spawn(async move {
                for _ in 0..4 {
                    rate.pass(1000).await;
                }
            }));
        }
        for task in passed {
            task.await.expect("no task panics");
        }
        // Twelve thousand bytes, the first thousand of them at once, the last on credit.
        let took = began.elapsed().as_secs_f64();
        assert!((10.0..12.5).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_edited_rate_holds_at_once() {
        let rates = Rates::default();
        rates.of("acme", Some(1)).pass(1_000_000).await;
        let began = Instant::now();
        rates.of("acme", Some(1 << 20)).pass(1000).await;
        rates.of("acme", None).pass(u64::MAX).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
