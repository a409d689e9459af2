//! The suite on SQLite, and what only SQLite does.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says so by ending")]
#![expect(dead_code, reason = "the suite knows every kind of database, this binary uses one")]

mod suite;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use logwise_store::{Database, DatabaseUrl, ErrorClass, SampleRow, StoreError, read_samples};
use suite::{Bed, Witness, object, settled};

async fn fresh() -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db").join("orchestrator.db");
    let bed = Bed {
        url: DatabaseUrl::parse(&format!("sqlite://{}", path.display())).unwrap(),
        witness: Witness::Sqlite { path, folder },
    };
    bed.witness.create().await;
    bed
}

suite!(fresh);

#[tokio::test]
async fn the_folder_must_exist_and_the_file_is_made_with_a_log_of_its_own() {
    let bed = fresh().await;
    bed.witness.remove().await;
    let error = Database::connect(&bed.url, suite::DEADLINE).await.map(drop).unwrap_err();
    assert!(matches!(&error, StoreError::Folder(path) if path.ends_with("db")), "{error:?}");
    assert_eq!(error.class(), ErrorClass::NotFound);
    bed.witness.create().await;
    bed.database().await;
    assert_eq!(bed.witness.connect().await.rows("journal_mode", "pragma_journal_mode").await, [["wal"]]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_alone() {
    let bed = fresh().await;
    let path = bed.url.sqlite_path().unwrap().to_owned();
    std::fs::write(&path, "not a database, but somebody's text".repeat(100)).unwrap();
    let error = Database::connect(&bed.url, suite::DEADLINE).await.map(drop).unwrap_err();
    let text = error.explain();
    assert!(text.contains(&path.display().to_string()) && text.contains("not a database"), "{text}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("not a database"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_in_the_middle_of_a_transaction_does_not_stop_the_writer() {
    let bed = fresh().await;
    bed.database().await.upsert_objects(&[object("a", 1)]).await.unwrap();
    let mut reader = bed.witness.connect().await;
    reader.run("BEGIN").await;
    assert_eq!(reader.rows("revision", "logwise_objects").await, [["1"]]);
    let outbox = bed.outbox();
    outbox.handle().send_object(object("a", 2));
    let health = settled(&outbox).await;
    assert!(health.last_error.is_none(), "{health:?}");
    assert_eq!(reader.rows("revision", "logwise_objects").await, [["1"]], "the reader keeps its view");
    reader.run("COMMIT").await;
    assert_eq!(reader.rows("revision", "logwise_objects").await, [["2"]]);
    outbox.shutdown(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_samples_are_read_than_the_memory_holds() {
    let bed = fresh().await;
    let now = Timestamp::now();
    let rows: Vec<_> = (0..60_u32)
        .map(|slot| SampleRow {
            cluster: "c".into(),
            slot,
            taken_at: now + SignedDuration::from_secs(slot.into()),
            payload: vec![7; 1 << 20],
        })
        .collect();
    bed.database().await.upsert_samples(&rows).await.unwrap();
    let found = read_samples(&bed.url, "c", Timestamp::UNIX_EPOCH, suite::DEADLINE).await.unwrap();
    let slots: Vec<_> = found.iter().map(|row| row.slot).collect();
    assert_eq!(slots, (10..60).collect::<Vec<_>>(), "two pages of the newest");
}
