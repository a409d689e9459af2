//! Brings the schema up to date. The rules for the files are in `migrations/README.md`.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::record::utc;
use crate::session::Session;
use crate::statements::{Dialect, Statement, Value};

struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

macro_rules! migrations {
    ($folder:literal: $($version:literal $name:literal),* $(,)?) => {
        &[$(Migration { version: $version, name: $name, sql: include_str!(concat!("../migrations/", $folder, "/", $name, ".sql")) }),*]
    };
}

const SQLITE: &[Migration] = migrations!("sqlite":
    1 "0001_objects",
    2 "0002_objects_by_name",
    3 "0003_conditions",
    4 "0004_conditions_by_name",
    5 "0005_decisions",
    6 "0006_decisions_by_part",
    7 "0007_decisions_by_time",
    8 "0008_decisions_by_name",
    9 "0009_samples",
    10 "0010_samples_by_time",
);

const MYSQL: &[Migration] = migrations!("mysql":
    1 "0001_objects",
    2 "0002_conditions",
    3 "0003_decisions",
    4 "0004_samples",
);

const RECORD_SQLITE: &str = "CREATE TABLE IF NOT EXISTS logwise_migrations (version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL)";
const RECORD_MYSQL: &str = "CREATE TABLE IF NOT EXISTS logwise_migrations (version BIGINT NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL, \
                            applied_at DATETIME(6) NOT NULL) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// What was being done when it failed.
pub(crate) type Failed = (&'static str, sqlx::Error);

/// Runs what is missing; `all` runs every file again, for a schema that lost a table. Replicas wait for each other.
pub(crate) async fn run(session: &mut Session, all: bool) -> Result<(), Failed> {
    let migrations = match session.dialect() {
        Dialect::Sqlite => SQLITE,
        Dialect::MySql => MYSQL,
    };
    // Most starts end here: without the lock, and without the right to create tables.
    let applied = applied(session).await.map_err(at("reading what is there"))?;
    if !all && migrations.iter().all(|migration| applied.contains(&migration.version)) {
        return Ok(());
    }
    lock(session).await.map_err(at("waiting for another replica"))?;
    let done = run_locked(session, migrations, all).await;
    match &done {
        Ok(()) => unlock(session).await.map_err(at("letting other replicas go on"))?,
        Err(_) => session.roll_back().await,
    }
    done
}

const fn at(step: &'static str) -> impl FnOnce(sqlx::Error) -> Failed {
    move |error| (step, error)
}

async fn run_locked(session: &mut Session, migrations: &[Migration], all: bool) -> Result<(), Failed> {
    let (record, keep) = match session.dialect() {
        Dialect::Sqlite => (RECORD_SQLITE, "ON CONFLICT(version) DO NOTHING"),
        Dialect::MySql => (RECORD_MYSQL, "ON DUPLICATE KEY UPDATE version = logwise_migrations.version"),
    };
    session.command(record).await.map_err(at("0000_migrations"))?;
    let applied = applied(session).await.map_err(at("reading what is there"))?;
    for migration in migrations.iter().filter(|migration| all || !applied.contains(&migration.version)) {
        session.command(migration.sql).await.map_err(at(migration.name))?;
        let now = utc(Timestamp::now());
        let sql = format!("INSERT INTO logwise_migrations (version, name, applied_at) VALUES (?, ?, ?) {keep}");
        let values = vec![Value::Int(migration.version), Value::Text(migration.name), Value::Text(&now)];
        session.execute(Statement { sql, values }).await.map_err(at(migration.name))?;
    }
    Ok(())
}

async fn applied(session: &mut Session) -> Result<HashSet<i64>, sqlx::Error> {
    let exists = match session.dialect() {
        Dialect::Sqlite => "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'logwise_migrations'",
        Dialect::MySql => {
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'logwise_migrations'"
        }
    };
    if read(session, exists).await?.iter().all(|(count,)| *count == 0) {
        return Ok(HashSet::new());
    }
    Ok(read(session, "SELECT version FROM logwise_migrations").await?.into_iter().map(|(version,)| version).collect())
}

async fn read(session: &mut Session, sql: &str) -> Result<Vec<(i64,)>, sqlx::Error> {
    session.rows(Statement { sql: sql.to_owned(), values: Vec::new() }).await
}

async fn lock(session: &mut Session) -> Result<(), sqlx::Error> {
    match session.dialect() {
        Dialect::Sqlite => session.begin().await,
        Dialect::MySql => {
            // MySQL allows 64 characters in the name of a lock.
            let got =
                read(session, "SELECT COALESCE(GET_LOCK(CONCAT('logwise.', LEFT(DATABASE(), 50)), 10), 0)").await?;
            match got.as_slice() {
                [(1,)] => Ok(()),
                _ => Err(sqlx::Error::Protocol("another replica has held the migration lock for 10 s".to_owned())),
            }
        }
    }
}

async fn unlock(session: &mut Session) -> Result<(), sqlx::Error> {
    match session.dialect() {
        Dialect::Sqlite => session.commit().await,
        Dialect::MySql => {
            read(session, "SELECT COALESCE(RELEASE_LOCK(CONCAT('logwise.', LEFT(DATABASE(), 50))), 0)").await.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_once_in_order_and_is_one_repeatable_statement() {
        for (folder, migrations) in [("sqlite", SQLITE), ("mysql", MYSQL)] {
            let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let mut files: Vec<_> = std::fs::read_dir(path)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap().replace(".sql", ""))
                .collect();
            files.sort();
            assert_eq!(files, migrations.iter().map(|migration| migration.name).collect::<Vec<_>>(), "{folder}");
            for (place, migration) in migrations.iter().enumerate() {
                assert_eq!(migration.version, i64::try_from(place).unwrap() + 1);
                assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
                assert!(migration.sql.contains("IF NOT EXISTS") && !migration.sql.contains(';'), "{}", migration.name);
                assert!(!migration.sql.to_uppercase().contains("DROP"), "{}", migration.name);
            }
        }
    }
}
