//! The Spark master: its page, which says what it manages, and the calls that change something there.

mod ask;
mod error;
mod page;
mod rest;
#[cfg(test)]
pub(crate) mod server;
mod share;
mod tasks;

pub use error::{NoActiveMaster, SparkError};
pub use page::{App, DriverRow, Page, WorkerMemory};
pub use rest::{Cordon, SubmissionState};
pub use share::Masters;

use std::time::Duration;

/// Longest time one request may take, its answer included.
const DEADLINE: Duration = Duration::from_secs(5);

/// A client that follows no redirects and uses no proxy from the environment.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(3))
        .timeout(DEADLINE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_idle_timeout(Duration::from_secs(90))
        .build()
}
