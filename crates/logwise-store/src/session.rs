//! One open connection. Dropping it closes it, whatever it is waiting for.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow, SqliteSynchronous};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, FromRow, MySql, MySqlConnection, Sqlite, SqliteConnection,
};

use crate::error::{ErrorClass, StoreError, class_of};
use crate::statements::{Dialect, Statement, Value};
use crate::url::{DatabaseUrl, Place, Server};

// Shorter than the deadline of a call, so that a lock is reported as a lock.
const LOCK_WAIT: Duration = Duration::from_secs(2);

// The server's own settings may be lenient (sql_mode, autocommit) or wait for hours (lock_wait_timeout).
const MYSQL_SETTINGS: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
                              innodb_lock_wait_timeout = 2, lock_wait_timeout = 10, autocommit = 1";

pub(crate) struct Session {
    wire: Wire,
    in_transaction: bool,
}

enum Wire {
    Sqlite { connection: SqliteConnection, path: PathBuf, file: Option<(u64, u64)> },
    MySql(Box<MySqlConnection>),
}

impl Session {
    /// Opens a connection with its settings. The schema is not looked at.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let wire = match &url.0 {
            Place::Sqlite(path) => {
                check_folder(path).await?;
                open_sqlite(path).await
            }
            Place::MySql(server) => open_mysql(server).await,
        };
        Self::over(url, wire)
    }

    /// Opens a connection to what is there and makes nothing. `None`: the SQLite file does not exist yet.
    pub(crate) async fn open_existing(url: &DatabaseUrl) -> Result<Option<Self>, StoreError> {
        let wire = match &url.0 {
            Place::Sqlite(path) => {
                check_folder(path).await?;
                if !tokio::fs::try_exists(path).await.unwrap_or(true) {
                    return Ok(None);
                }
                open_existing_sqlite(path).await
            }
            Place::MySql(server) => open_mysql(server).await,
        };
        Self::over(url, wire).map(Some)
    }

    fn over(url: &DatabaseUrl, wire: Result<Wire, sqlx::Error>) -> Result<Self, StoreError> {
        let wire = wire.map_err(|source| StoreError::Connect { url: url.to_string(), source })?;
        Ok(Self { wire, in_transaction: false })
    }

    /// Closes the connection so that the server does not count it as aborted.
    pub(crate) async fn close(self) {
        // Closed it is in any case.
        let _ = match self.wire {
            Wire::Sqlite { connection, .. } => connection.close().await,
            Wire::MySql(connection) => (*connection).close().await,
        };
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match self.wire {
            Wire::Sqlite { .. } => Dialect::Sqlite,
            Wire::MySql(_) => Dialect::MySql,
        }
    }

    /// A transaction was begun and neither committed nor rolled back.
    pub(crate) const fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let begun = match self.dialect() {
            // A deferred transaction that reads first cannot wait for the write lock.
            Dialect::Sqlite => self.command("BEGIN IMMEDIATE").await,
            Dialect::MySql => self.command("START TRANSACTION").await,
        };
        // Only a refusal is certain to have begun nothing.
        self.in_transaction = !matches!(begun, Err(sqlx::Error::Database(_)));
        begun
    }

    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.command("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Ends an open transaction without effect. A failure shows in [`Self::in_transaction`].
    pub(crate) async fn roll_back(&mut self) {
        if self.in_transaction && self.command("ROLLBACK").await.is_ok() {
            self.in_transaction = false;
        }
    }

    /// Runs a fixed text without parameters.
    pub(crate) async fn command(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        match &mut self.wire {
            Wire::Sqlite { connection, .. } => sqlx::raw_sql(sql).execute(connection).await.map(drop),
            Wire::MySql(connection) => sqlx::raw_sql(sql).execute(&mut **connection).await.map(drop),
        }
    }

    /// Runs a statement; the answer is the number of rows the server counts as changed.
    pub(crate) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, sqlx::Error> {
        // The text follows the number of rows, so keeping it prepared would fill the cache for nothing.
        let sql = AssertSqlSafe(statement.sql);
        match &mut self.wire {
            Wire::Sqlite { connection, .. } => {
                let query =
                    statement.values.into_iter().fold(sqlx::query::<Sqlite>(sql).persistent(false), |query, value| {
                        match value {
                            Value::Text(text) => query.bind(text),
                            Value::Bytes(bytes) => query.bind(bytes),
                            Value::Int(number) => query.bind(number),
                        }
                    });
                Ok(query.execute(connection).await?.rows_affected())
            }
            Wire::MySql(connection) => {
                let query =
                    statement.values.into_iter().fold(sqlx::query::<MySql>(sql).persistent(false), |query, value| {
                        match value {
                            Value::Text(text) => query.bind(text),
                            Value::Bytes(bytes) => query.bind(bytes),
                            Value::Int(number) => query.bind(number),
                        }
                    });
                Ok(query.execute(&mut **connection).await?.rows_affected())
            }
        }
    }

    /// Runs a query.
    pub(crate) async fn rows<T>(&mut self, statement: Statement<'_>) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + Send + Unpin,
    {
        let sql = AssertSqlSafe(statement.sql);
        match &mut self.wire {
            Wire::Sqlite { connection, .. } => {
                let query = statement.values.into_iter().fold(
                    sqlx::query_as::<Sqlite, T>(sql).persistent(false),
                    |query, value| match value {
                        Value::Text(text) => query.bind(text),
                        Value::Bytes(bytes) => query.bind(bytes),
                        Value::Int(number) => query.bind(number),
                    },
                );
                query.fetch_all(connection).await
            }
            Wire::MySql(connection) => {
                let query = statement.values.into_iter().fold(
                    sqlx::query_as::<MySql, T>(sql).persistent(false),
                    |query, value| match value {
                        Value::Text(text) => query.bind(text),
                        Value::Bytes(bytes) => query.bind(bytes),
                        Value::Int(number) => query.bind(number),
                    },
                );
                query.fetch_all(&mut **connection).await
            }
        }
    }

    /// Asks the other side for a sign of life.
    pub(crate) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match &mut self.wire {
            Wire::Sqlite { connection, .. } => connection.ping().await,
            Wire::MySql(connection) => connection.ping().await,
        }
    }

    /// False when the SQLite file was removed or replaced: writes would go to a file that nobody can open any more.
    pub(crate) async fn is_in_place(&self) -> bool {
        match &self.wire {
            Wire::Sqlite { path, file, .. } => file.is_some() && identity(path).await == *file,
            Wire::MySql(_) => true,
        }
    }
}

async fn identity(path: &Path) -> Option<(u64, u64)> {
    tokio::fs::metadata(path).await.ok().map(|found| (found.dev(), found.ino()))
}

async fn check_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !tokio::fs::metadata(folder).await.is_ok_and(|found| found.is_dir()) {
        return Err(StoreError::Folder(folder.to_owned()));
    }
    Ok(())
}

fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    // NORMAL may lose the last commits in a power failure, never the file: the mirror is filled again after a start.
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(LOCK_WAIT)
        .synchronous(SqliteSynchronous::Normal)
        .disable_statement_logging()
}

async fn open_existing_sqlite(path: &Path) -> Result<Wire, sqlx::Error> {
    let connection = sqlite_options(path).connect().await?;
    let file = identity(path).await;
    Ok(Wire::Sqlite { connection, path: path.to_owned(), file })
}

async fn open_sqlite(path: &Path) -> Result<Wire, sqlx::Error> {
    let mut connection = sqlite_options(path).create_if_missing(true).connect().await?;
    // SQLite does not wait for the lock that this switch needs, and two replicas may start at once.
    while let Err(error) = sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut connection).await {
        if class_of(&error) != ErrorClass::Conflict {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let file = identity(path).await;
    Ok(Wire::Sqlite { connection, path: path.to_owned(), file })
}

async fn open_mysql(server: &Server) -> Result<Wire, sqlx::Error> {
    let mut options = MySqlConnectOptions::new()
        .host(&server.host)
        .port(server.port)
        .username(&server.user)
        .database(&server.schema)
        .ssl_mode(server.tls.mode())
        .disable_statement_logging();
    if let Some(password) = &server.password {
        options = options.password(password);
    }
    if let Some(ca) = &server.ca {
        options = options.ssl_ca(ca);
    }
    let mut connection = options.connect().await?;
    sqlx::raw_sql(MYSQL_SETTINGS).execute(&mut connection).await?;
    Ok(Wire::MySql(Box::new(connection)))
}
