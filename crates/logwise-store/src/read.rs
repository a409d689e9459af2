//! Reads samples back, over a connection of its own: who reads waits for nobody who writes.

use std::time::Duration;

use jiff::Timestamp;

use crate::error::StoreError;
use crate::record::{from_utc, utc};
use crate::rows::SampleRow;
use crate::session::Session;
use crate::statements;
use crate::url::DatabaseUrl;

const WHAT: &str = "samples";
const ROWS: i64 = 2_000;
// More is not worth the memory. A page may exceed it.
const BYTES: usize = 32 << 20;
const PAGE: usize = 25;

/// The newest samples of a Kafka cluster that were taken at `since` or later, the oldest first: at most 2,000 and about
/// 32 MiB. It makes nothing: without the table, or without the SQLite file, there are no samples.
///
/// # Errors
/// [`StoreError::Folder`], [`StoreError::Connect`], [`StoreError::Read`], or [`StoreError::Deadline`] when all of it
/// took longer than `deadline`.
pub async fn read_samples(
    url: &DatabaseUrl,
    cluster: &str,
    since: Timestamp,
    deadline: Duration,
) -> Result<Vec<SampleRow>, StoreError> {
    tokio::time::timeout(deadline, read(url, cluster, since))
        .await
        .map_err(|_| StoreError::Deadline { what: format!("reading {WHAT} from {url}"), after: deadline })?
}

async fn read(url: &DatabaseUrl, cluster: &str, since: Timestamp) -> Result<Vec<SampleRow>, StoreError> {
    let Some(mut session) = Session::open_existing(url).await? else { return Ok(Vec::new()) };
    let found = pages(&mut session, cluster, &utc(since)).await;
    session.close().await;
    match found.map_err(|source| StoreError::Read { what: WHAT, source }) {
        Err(error) if error.misses_table() => Ok(Vec::new()),
        found => found,
    }
}

async fn pages(session: &mut Session, cluster: &str, since: &str) -> Result<Vec<SampleRow>, sqlx::Error> {
    let slots: Vec<(i64,)> = session.rows(statements::newest_samples(cluster, since, ROWS)).await?;
    let slots: Vec<i64> = slots.into_iter().map(|(slot,)| slot).collect();
    let (mut samples, mut bytes) = (Vec::new(), 0);
    for page in slots.chunks(PAGE) {
        let rows: Vec<(i64, String, Vec<u8>)> = session.rows(statements::samples(cluster, page)).await?;
        bytes += rows.iter().map(|(_, _, payload)| payload.len()).sum::<usize>();
        samples.extend(rows.into_iter().filter_map(|row| sample(cluster, row)));
        if bytes >= BYTES {
            break;
        }
    }
    samples.sort_unstable_by_key(|sample: &SampleRow| (sample.taken_at, sample.slot));
    Ok(samples)
}

/// `None` for what this operator cannot have written.
fn sample(cluster: &str, (slot, taken_at, payload): (i64, String, Vec<u8>)) -> Option<SampleRow> {
    let (slot, taken_at) = (u32::try_from(slot).ok()?, from_utc(&taken_at)?);
    Some(SampleRow { cluster: cluster.to_owned(), slot, taken_at, payload })
}
