//! The HTTP client of the bed's own questions.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};

const DEADLINE: Duration = Duration::from_secs(20);

/// A client that asks directly, whatever proxy the machine names, and waits at most 20 s.
pub fn client() -> Result<reqwest::Client> {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(DEADLINE)
        .pool_max_idle_per_host(0)
        .build()
        .context("building an HTTP client")?;
    Ok(CLIENT.get_or_init(|| client).clone())
}
