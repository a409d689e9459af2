//! Stale reads: lifecycle GETs that answer what was there before the last writes.

use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{StandIn, milliseconds};

/// Which lifecycle reads of a bucket are stale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stale {
    /// So many of them; none is without end.
    pub reads: Option<u32>,
    /// For so long; none is without end.
    pub within: Option<Duration>,
    /// Every other read tells the present configuration all the same.
    pub alternate: bool,
    /// Not at once, but from the next write on.
    pub after_next_write: bool,
    /// They tell what was there before the last of so many writes; none is one.
    pub writes: Option<u32>,
}

/// What is left of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct StaleState {
    /// Reads are stale now.
    pub open: bool,
    /// They will be, from the next write on.
    pub waiting: bool,
    /// So many more.
    pub reads: Option<u32>,
    /// For so many milliseconds more.
    pub left_ms: Option<u64>,
}

#[derive(Serialize)]
struct Wish<'a> {
    bucket: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    for_ms: Option<u64>,
    alternate: bool,
    after_next_write: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<u32>,
}

impl StandIn {
    /// Makes lifecycle reads of a bucket stale; replaces what was set before.
    pub async fn make_stale(&self, bucket: &str, stale: &Stale) -> Result<StaleState> {
        let Stale { reads, within, alternate, after_next_write, writes } = *stale;
        let wish = Wish { bucket, reads, for_ms: within.map(milliseconds), alternate, after_next_write, writes };
        self.ask(Method::POST, "/_stale", &[], Some(serde_json::to_value(wish)?)).await
    }

    /// What is left of the stale reads of a bucket.
    pub async fn stale(&self, bucket: &str) -> Result<StaleState> {
        self.ask(Method::GET, "/_stale", &[("bucket", bucket)], None).await
    }

    /// Every read of the bucket is fresh again.
    pub async fn end_stale(&self, bucket: &str) -> Result<()> {
        self.tell(Method::DELETE, "/_stale", &[("bucket", bucket)], None).await
    }
}
