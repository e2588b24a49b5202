//! Bytes a second, by token bucket.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A rate that clones share. Without a limit it never waits.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    bucket: Option<Arc<Mutex<Bucket>>>,
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
