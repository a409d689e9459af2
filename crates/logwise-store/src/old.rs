//! The table `service_details` of the old Orchestrator: read as it is, never written.
//!
//! It has had several shapes: with `serviceName`, `retentionDays`, `tenant` and `lastCheckedAt`, before that with the
//! environment and the component as well. The first three columns are in all of them, and no others are read.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::StoreError;
use crate::session::Session;
use crate::statements::{self, Dialect};
use crate::url::DatabaseUrl;

const WHAT: &str = "the table service_details";

/// A row as it lies there. Whatever a column holds is text; `None` is NULL.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OldService {
    /// `serviceName`.
    pub name: Option<String>,
    /// `retentionDays`.
    pub days: Option<String>,
    /// `tenant`.
    pub tenant: Option<String>,
}

/// Why the old table could not be read. Display and sources hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum OldTableError {
    /// The SQLite file does not exist.
    #[error("the file {} does not exist", .0.display())]
    NoFile(PathBuf),
    /// The database has no such table.
    #[error(
        "{url} has no table service_details; name the database of the old Orchestrator, which calls it log_central"
    )]
    NoTable {
        /// The database, without its password.
        url: String,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Every row of `service_details`, sorted. The database is asked for one list, in a session that may not write.
///
/// # Errors
/// [`OldTableError`]; [`StoreError::Deadline`] in it when all of it took longer than `deadline`.
pub async fn read_old_services(url: &DatabaseUrl, deadline: Duration) -> Result<Vec<OldService>, OldTableError> {
    let late = || StoreError::Deadline { what: format!("reading {WHAT} from {url}"), after: deadline };
    tokio::time::timeout(deadline, read(url)).await.map_err(|_| late())?
}

async fn read(url: &DatabaseUrl) -> Result<Vec<OldService>, OldTableError> {
    let Some(mut session) = Session::open_existing(url).await? else {
        return Err(OldTableError::NoFile(url.sqlite_path().map(PathBuf::from).unwrap_or_default()));
    };
    let found = rows(&mut session).await;
    session.close().await;
    match found.map_err(|source| StoreError::Read { what: WHAT, source }) {
        Ok(mut services) => {
            services.sort();
            Ok(services)
        }
        Err(error) if error.misses_table() => Err(OldTableError::NoTable { url: url.to_string() }),
        Err(error) => Err(error.into()),
    }
}

async fn rows(session: &mut Session) -> Result<Vec<OldService>, sqlx::Error> {
    // Closing the connection ends both.
    session
        .command(match session.dialect() {
            Dialect::Sqlite => "PRAGMA query_only = ON",
            Dialect::MySql => "START TRANSACTION READ ONLY",
        })
        .await?;
    let rows: Vec<(Option<String>, Option<String>, Option<String>)> = session.rows(statements::old_services()).await?;
    Ok(rows.into_iter().map(|(name, days, tenant)| OldService { name, days, tenant }).collect())
}
