use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{ErrorClass, StoreError};
use crate::migrations;
use crate::record::{Decision, Object, Sample};
use crate::rows::{DecisionRow, DecisionsKept, LiveList, ObjectRow, SampleRow};
use crate::session::Session;
use crate::statements;
use crate::url::DatabaseUrl;
use crate::write::{self, Batch, CommitHooks, PRUNED_AT_ONCE, Written};

// A schema change may copy a table.
const MIGRATION_DEADLINE: Duration = Duration::from_secs(120);
// Servers, proxies and firewalls forget connections that nobody uses.
const IDLE: Duration = Duration::from_secs(30);
const PING_DEADLINE: Duration = Duration::from_secs(1);

/// The Orchestrator DB over one connection, which is opened when it is needed and replaced after a failure.
///
/// Every call ends within the deadline (opening a connection has one of its own, and a schema change 120 s). After an
/// error nothing is half written; repeating the call is always safe.
pub struct Database {
    url: DatabaseUrl,
    deadline: Duration,
    session: Option<(Session, Instant)>,
    sessions: u64,
    repair: bool,
}

impl Database {
    /// A database that nobody has talked to yet; the first call connects and brings the schema up to date.
    pub const fn lazy(url: DatabaseUrl, deadline: Duration) -> Self {
        Self { url, deadline, session: None, sessions: 0, repair: false }
    }

    /// Connects and brings the schema up to date. Safe for several replicas at once.
    ///
    /// # Errors
    /// [`StoreError::Folder`], [`StoreError::Connect`], [`StoreError::Migrate`] or [`StoreError::Deadline`].
    pub async fn connect(url: &DatabaseUrl, deadline: Duration) -> Result<Self, StoreError> {
        let mut database = Self::lazy(url.clone(), deadline);
        let session = database.session().await?;
        database.session = Some((session, Instant::now()));
        Ok(database)
    }

    /// How many connections were opened so far. When it grows, rows written before may be gone.
    pub const fn sessions(&self) -> u64 {
        self.sessions
    }

    /// Writes objects and their conditions in one transaction. Rows that are newer in the DB stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Write`] and those of [`Database::connect`].
    pub async fn upsert_objects(&mut self, rows: &[ObjectRow]) -> Result<(), StoreError> {
        let objects = rows.iter().cloned().map(|row| Arc::new(Object::encode(row))).collect();
        self.write(&Batch { objects, ..Batch::default() }, CommitHooks::default()).await.map(drop)
    }

    /// Writes decisions in one transaction. Those whose id is already there stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Write`] and those of [`Database::connect`].
    pub async fn insert_decisions(&mut self, rows: &[DecisionRow]) -> Result<(), StoreError> {
        let decisions = rows.iter().cloned().map(|row| Arc::new(Decision::encode(row))).collect();
        self.write(&Batch { decisions, ..Batch::default() }, CommitHooks::default()).await.map(drop)
    }

    /// Writes samples in one transaction. Those that are newer in the DB stay as they are; what is too large is left
    /// out.
    ///
    /// # Errors
    /// [`StoreError::Write`] and those of [`Database::connect`].
    pub async fn upsert_samples(&mut self, rows: &[SampleRow]) -> Result<(), StoreError> {
        let samples = rows.iter().cloned().filter_map(Sample::encode).map(Arc::new).collect();
        self.write(&Batch { samples, ..Batch::default() }, CommitHooks::default()).await.map(drop)
    }

    /// Marks the live rows that the list does not hold as deleted and returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Write`] and those of [`Database::connect`].
    pub async fn mark_absent(&mut self, list: &LiveList) -> Result<u64, StoreError> {
        let lists = vec![Arc::new(list.clone())];
        Ok(self.write(&Batch { lists, ..Batch::default() }, CommitHooks::default()).await?.marked_deleted)
    }

    /// Removes decisions beyond `kept` and returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Write`] and those of [`Database::connect`].
    pub async fn prune_decisions(&mut self, kept: DecisionsKept) -> Result<usize, StoreError> {
        let mut all = 0;
        loop {
            let pruned =
                self.write(&Batch { prune: Some(kept), ..Batch::default() }, CommitHooks::default()).await?.pruned;
            all += pruned;
            if pruned < PRUNED_AT_ONCE {
                return Ok(all);
            }
        }
    }

    /// Removes samples that are older than 2 hours, or as far in the future, and returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Write`] and those of [`Database::connect`].
    pub async fn prune_samples(&mut self) -> Result<usize, StoreError> {
        let mut all = 0;
        loop {
            let batch = Batch { prune_samples: true, ..Batch::default() };
            let pruned = self.write(&batch, CommitHooks::default()).await?.pruned_samples;
            all += pruned;
            if pruned < PRUNED_AT_ONCE {
                return Ok(all);
            }
        }
    }

    /// `metadata.uid` and revision of every mirrored object, deleted ones included.
    ///
    /// # Errors
    /// [`StoreError::Read`] and those of [`Database::connect`].
    pub async fn revisions(&mut self) -> Result<HashMap<String, i64>, StoreError> {
        const WHAT: &str = "the revisions of all objects";
        let mut session = self.session().await?;
        let rows = self.timed(WHAT, session.rows::<(String, i64)>(statements::revisions())).await?;
        let rows = rows.map_err(|source| StoreError::Read { what: WHAT, source });
        self.put_back(session, &rows);
        Ok(rows?.into_iter().collect())
    }

    /// Asks the DB for a sign of life.
    ///
    /// # Errors
    /// [`StoreError::Read`] and those of [`Database::connect`].
    pub async fn ping(&mut self) -> Result<(), StoreError> {
        const WHAT: &str = "a sign of life";
        let mut session = self.session().await?;
        let answer = self.timed(WHAT, session.ping()).await?.map_err(|source| StoreError::Read { what: WHAT, source });
        self.put_back(session, &answer);
        answer
    }

    pub(crate) async fn write(&mut self, batch: &Batch, hooks: CommitHooks) -> Result<Written, StoreError> {
        if batch.is_empty() {
            return Ok(Written::default());
        }
        let mut session = self.session().await?;
        let written = self.timed(&batch.title(), write::write(&mut session, batch, hooks)).await?;
        let written = written.map_err(|source| StoreError::Write { what: batch.title(), source });
        self.put_back(session, &written);
        written
    }

    /// The open session, or a new one. The caller owns it, so that a call that is given up closes it.
    async fn session(&mut self) -> Result<Session, StoreError> {
        if let Some((mut session, used)) = self.session.take()
            && session.is_in_place().await
            && (used.elapsed() < IDLE
                || matches!(tokio::time::timeout(PING_DEADLINE, session.ping()).await, Ok(Ok(()))))
        {
            return Ok(session);
        }
        let mut session = self.timed(&format!("connecting to {}", self.url), Session::open(&self.url)).await??;
        match tokio::time::timeout(MIGRATION_DEADLINE, migrations::run(&mut session, self.repair)).await {
            Ok(done) => {
                done.map_err(|(step, source)| StoreError::Migrate { url: self.url.to_string(), step, source })?
            }
            Err(_) => {
                return Err(StoreError::Deadline {
                    what: format!("bringing the schema of {} up to date", self.url),
                    after: MIGRATION_DEADLINE,
                });
            }
        }
        self.repair = false;
        self.sessions += 1;
        Ok(session)
    }

    async fn timed<T>(&self, what: &str, call: impl Future<Output = T>) -> Result<T, StoreError> {
        tokio::time::timeout(self.deadline, call)
            .await
            .map_err(|_| StoreError::Deadline { what: what.to_owned(), after: self.deadline })
    }

    /// Keeps the session after a success, and after a refusal that left it clean.
    fn put_back<T>(&mut self, session: Session, outcome: &Result<T, StoreError>) {
        let keep = match outcome {
            Ok(_) => true,
            Err(error) => {
                self.repair |= error.misses_table();
                matches!(error.class(), ErrorClass::Invalid | ErrorClass::Conflict) && !session.in_transaction()
            }
        };
        self.session = keep.then(|| (session, Instant::now()));
    }
}
