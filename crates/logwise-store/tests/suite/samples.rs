//! Samples: what must hold of them on every kind of database.

use jiff::{SignedDuration, Timestamp};
use logwise_store::{ErrorClass, SampleRow, read_samples};

use super::{Bed, DEADLINE, Witness, decision, object, settled, until};

/// A time that every database keeps whole.
fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

fn sample(cluster: &str, slot: u32, taken_at: Timestamp, payload: &[u8]) -> SampleRow {
    SampleRow { cluster: cluster.into(), slot, taken_at, payload: payload.into() }
}

async fn read(bed: &Bed, cluster: &str, since: Timestamp) -> Vec<SampleRow> {
    read_samples(&bed.url, cluster, since, DEADLINE).await.unwrap()
}

/// How many tables with this name there are; a `%` stands for anything.
async fn tables(bed: &Bed, name: &str) -> u64 {
    match &bed.witness {
        Witness::Sqlite { .. } => {
            bed.count(&format!("sqlite_master WHERE type = 'table' AND name LIKE '{name}'")).await
        }
        Witness::MySql { schema, .. } => {
            let all = format!("information_schema.tables WHERE table_schema = '{schema}'");
            bed.count(&format!("{all} AND table_name LIKE '{name}'")).await
        }
    }
}

pub async fn samples_are_read_back_as_written(bed: &Bed) {
    let now = now();
    let every_byte: Vec<u8> = (0..=255).collect();
    let cluster = "a1".repeat(32);
    let rows = [
        sample(&cluster, u32::MAX, now - seconds(60), &every_byte),
        sample(&cluster, 0, now - seconds(40), &[]),
        sample(&cluster, 1, now, &[7; 300_000]),
    ];
    let outbox = bed.outbox();
    let handle = outbox.handle();
    rows.iter().rev().cloned().for_each(|row| handle.send_sample(row));
    handle.send_sample(sample(&cluster, 2, now - seconds(61), b"before"));
    handle.send_sample(sample("'; -- ", 1, now, b"another cluster"));
    settled(&outbox).await;
    assert!(read(bed, &cluster, now - seconds(60)).await == rows, "the oldest first, since and with that time");
    assert_eq!(read(bed, "'; -- ", now).await, [sample("'; -- ", 1, now, b"another cluster")]);
    assert!(read(bed, &cluster.to_uppercase(), Timestamp::UNIX_EPOCH).await.is_empty(), "keys differ in case");
    assert_eq!(
        bed.rows("HEX(payload)", "logwise_samples WHERE slot = 2").await,
        [["6265666F7265"]],
        "the bytes as they were sent"
    );
    let many: Vec<_> =
        (0..2_100_u32).map(|slot| sample("many", slot, now + seconds(slot.into()), &slot.to_be_bytes())).collect();
    bed.database().await.upsert_samples(&many).await.unwrap();
    assert!(read(bed, "many", Timestamp::UNIX_EPOCH).await == many[100..], "the newest 2,000");
}

pub async fn an_older_sample_never_replaces_a_newer(bed: &Bed) {
    let now = now();
    let (mut new, mut old) = (bed.database().await, bed.database().await);
    new.upsert_samples(&[sample("c", 7, now, b"new")]).await.unwrap();
    let late = [sample("c", 7, now - seconds(1), b"late"), sample("c", 8, now - seconds(1), b"other")];
    old.upsert_samples(&late).await.unwrap();
    let found = read(bed, "c", Timestamp::UNIX_EPOCH).await;
    assert_eq!(found, [late[1].clone(), sample("c", 7, now, b"new")], "the other row of the batch is written");
    // Within one batch the order does not matter either.
    let (first, second) = (sample("d", 0, now, b"first"), sample("d", 0, now + seconds(1), b"second"));
    old.upsert_samples(&[second.clone(), first]).await.unwrap();
    assert_eq!(read(bed, "d", Timestamp::UNIX_EPOCH).await, [second]);
    // The next round of the ring.
    let next = sample("c", 7, now + seconds(600), b"next");
    old.upsert_samples(std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(read(bed, "c", now).await, [next]);
    // Two leaders for a moment, each over an outbox of its own.
    let outboxes = [bed.outbox(), bed.outbox()];
    for slot in 0..60_u32 {
        let [before, after] = [1_i64, 2].map(|second| sample("e", slot, now + seconds(second), &second.to_be_bytes()));
        let turn = usize::from(slot % 2 == 0);
        outboxes[turn].handle().send_sample(before);
        outboxes[1 - turn].handle().send_sample(after);
    }
    for outbox in &outboxes {
        settled(outbox).await;
    }
    let found = read(bed, "e", Timestamp::UNIX_EPOCH).await;
    assert!(found.len() == 60 && found.iter().all(|row| row.payload == 2_i64.to_be_bytes()), "{found:?}");
}

pub async fn a_refused_sample_does_not_stop_the_others(bed: &Bed) {
    bed.database().await;
    bed.run(match bed.witness {
        Witness::Sqlite { .. } => {
            "CREATE TRIGGER refused BEFORE INSERT ON logwise_samples WHEN NEW.slot = 13 BEGIN SELECT RAISE(ABORT, 'refused'); END"
        }
        Witness::MySql { .. } => {
            "CREATE TRIGGER refused BEFORE INSERT ON logwise_samples FOR EACH ROW IF NEW.slot = 13 THEN SIGNAL SQLSTATE '22001'; END IF"
        }
    })
    .await;
    let outbox = bed.outbox();
    let handle = outbox.handle();
    for number in 0..50 {
        handle.send_sample(sample("c", number, now(), b"x"));
        handle.send_object(object(&format!("u{number}"), 1));
        handle.send_decision(decision(&format!("d{number}"), now()));
    }
    handle.send_sample(sample("c", 50, now(), &vec![0; (1 << 20) + 1]));
    handle.send_sample(sample(&"c".repeat(65), 51, now(), b"x"));
    let health = settled(&outbox).await;
    assert_eq!((health.held, health.dropped_objects, health.dropped_decisions), (0, 0, 0));
    assert!(health.last_error.as_ref().unwrap().contains("a sample of Kafka cluster c"), "{health:?}");
    assert_eq!((bed.count("logwise_objects").await, bed.count("logwise_decisions").await), (50, 50));
    assert_eq!(
        (bed.count("logwise_samples").await, bed.rows("slot", "logwise_samples WHERE slot IN (13, 50, 51)").await),
        (49, Vec::<Vec<String>>::new())
    );
}

pub async fn old_samples_are_pruned(bed: &Bed) {
    let now = now();
    let hours = |count: i64| now + SignedDuration::from_hours(count);
    let mut database = bed.database().await;
    let mut rows: Vec<_> = (0..600).map(|slot| sample("gone", slot, hours(-3), b"x")).collect();
    rows.push(sample("kept", 0, hours(-1), b"x"));
    rows.push(sample("kept", 1, hours(3), b"a clock was wrong"));
    database.upsert_samples(&rows).await.unwrap();
    assert_eq!(database.prune_samples().await.unwrap(), 601);
    assert_eq!(bed.rows("cluster slot", "logwise_samples").await, [["kept", "0"]]);
    assert_eq!(database.prune_samples().await.unwrap(), 0);
    // An outbox does so along with its samples, 500 at once.
    database.upsert_samples(&rows).await.unwrap();
    let outbox = bed.outbox();
    for left in [102 + 1, 2] {
        outbox.handle().send_sample(sample("kept", 5, Timestamp::now(), b"x"));
        settled(&outbox).await;
        assert_eq!(bed.count("logwise_samples").await, left);
    }
}

pub async fn reading_samples_makes_nothing(bed: &Bed) {
    assert!(read(bed, "c", Timestamp::UNIX_EPOCH).await.is_empty());
    if let Witness::Sqlite { path, .. } = &bed.witness {
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        std::fs::write(path, "").unwrap();
    }
    assert!(read(bed, "c", Timestamp::UNIX_EPOCH).await.is_empty(), "a database without tables");
    assert_eq!(tables(bed, "%").await, 0);
    // As an older operator left it.
    bed.database().await;
    bed.run("DROP TABLE logwise_samples").await;
    assert!(read(bed, "c", Timestamp::UNIX_EPOCH).await.is_empty());
    assert_eq!((tables(bed, "logwise_samples").await, tables(bed, "logwise_objects").await), (0, 1));
    // Who writes makes it.
    let outbox = bed.outbox();
    let row = sample("c", 0, now(), b"x");
    outbox.handle().send_sample(row.clone());
    settled(&outbox).await;
    assert_eq!(read(bed, "c", Timestamp::UNIX_EPOCH).await, [row]);
    outbox.shutdown(DEADLINE).await.unwrap();
    bed.witness.remove().await;
    let error = read_samples(&bed.url, "c", Timestamp::UNIX_EPOCH, DEADLINE).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound, "{error:?}");
    bed.witness.create().await;
}

pub async fn few_samples_wait(bed: &Bed) {
    bed.witness.remove().await;
    let outbox = bed.outbox();
    let now = now();
    for slot in 0..100 {
        outbox.handle().send_sample(sample("c", slot, now, b"first"));
        outbox.handle().send_sample(sample("c", slot, now + seconds(1), b"second"));
        outbox.handle().send_sample(sample("c", slot, now, b"late"));
    }
    assert_eq!(outbox.handle().pending(), 64, "bounded while the database is away");
    until(&outbox, "failing", |health| health.failing_since.is_some()).await;
    bed.witness.create().await;
    settled(&outbox).await;
    let found = read(bed, "c", Timestamp::UNIX_EPOCH).await;
    assert_eq!(found.iter().map(|row| row.slot).collect::<Vec<_>>(), (36..100).collect::<Vec<_>>());
    assert!(found.iter().all(|row| row.payload == b"second"), "{found:?}");
}
