//! How far the streaming query has read, on every S3 server.

use super::*;
use jiff::{SignedDuration, Timestamp};
use logwise_runtime::facts::CheckpointPosition;
use logwise_s3::position::Positions;
use std::collections::BTreeMap;
use std::time::Duration;

/// Beginning of keys with signs that are written in another way in a URL or in XML.
const FOLDER: &str = "check point+1/a&b=größe/application/";

async fn put(world: &World, name: &str, body: &str) {
    world.s3.put_object(&world.bucket.name, &format!("{FOLDER}{name}"), body.as_bytes()).await.expect("an object");
}

async fn commit(world: &World, batches: impl IntoIterator<Item = i64>) {
    for batch in batches {
        let (began, next) = (Timestamp::now().as_millisecond(), (batch + 1) * 100);
        let offsets =
            format!("v1\n{{\"batchWatermarkMs\":0,\"batchTimestampMs\":{began}}}\n{{\"logs.api\":{{\"0\":{next}}}}}");
        put(world, &format!("offsets/{batch}"), &offsets).await;
        put(world, &format!("commits/{batch}"), "v1\n{\"nextBatchWatermarkMs\":0}").await;
    }
}

#[tokio::test]
async fn the_newest_batch_is_found_and_followed() {
    for world in World::each("position").await {
        let (server, positions) = (world.server, Positions::new(Duration::from_secs(3_600)));
        let none = Known::Unknown("not read".to_owned());
        let read = async || positions.read("uid", (&world.bucket, FOLDER), &none).await;
        let newest = |found: Known<CheckpointPosition>| found.known().map(|position| position.batch);
        assert_eq!(read().await, Known::Absent, "{server:?}");
        put(&world, "metadata", "{\"id\":\"q\"}").await;
        put(&world, "commits/.11.5f1c.tmp", "").await;
        commit(&world, 0..=11).await;
        let found = read().await;
        let position = found.known().expect("a position");
        assert_eq!((position.batch, position.query.as_deref()), (11, Some("q")), "{server:?}");
        assert_eq!(position.offsets["logs.api"], BTreeMap::from([(0, 1_200)]), "{server:?}");
        let ago = Timestamp::now().duration_since(position.committed).abs();
        assert!(ago < SignedDuration::from_secs(120), "{server:?}: {}", position.committed);
        let told: Vec<(i64, i64)> = position.batches.iter().map(|fact| (fact.id, fact.records)).collect();
        assert_eq!(told, (3..=11).map(|batch| (batch, 100)).collect::<Vec<_>>(), "{server:?}");
        assert_eq!(newest(read().await), Some(11), "{server:?}: nothing new");
        commit(&world, 12..=15).await;
        assert_eq!(newest(read().await), Some(15), "{server:?}");
        assert_eq!(newest(read().await), Some(15), "{server:?}");
        for batch in 0..=15 {
            let key = format!("{FOLDER}commits/{batch}");
            world.s3.delete_object(&world.bucket.name, &key).await.expect("an object less");
        }
        for _ in 0..2 {
            assert!(read().await.is_unknown(), "{server:?}");
        }
    }
}
