//! How far the streaming query has read, by its checkpoint.

use crate::{ACCOUNT, LIST, World};
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_runtime::facts::{BatchFact, CheckpointPosition};
use logwise_s3::position::Positions;
use logwise_testbed::s3::S3;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const GET: &str = "GetObject";
const FOLDER: &str = "checkpoint/application/";
const HOUR: Duration = Duration::from_secs(3_600);

/// When batch 0 began, in milliseconds; each further one begins ten seconds later and takes four.
const BEGIN: i64 = 1_700_000_000_000;

/// Key, content, and when it was written, in milliseconds.
type Written = (String, String, i64);

fn key(kind: &str, batch: i64) -> String {
    format!("{FOLDER}{kind}/{batch}")
}

fn commit(batch: i64) -> Written {
    (key("commits", batch), "v1\n{\"nextBatchWatermarkMs\":0}".to_owned(), BEGIN + batch * 10_000 + 4_000)
}

/// A batch reads 100 records of one partition and 10 of another.
fn offsets(batch: i64) -> Written {
    let (began, one, other) = (BEGIN + batch * 10_000, (batch + 1) * 100, (batch + 1) * 10);
    let text = format!(
        "v1\n{{\"batchWatermarkMs\":0,\"batchTimestampMs\":{began},\"conf\":{{}}}}\n\
         {{\"logs.api\":{{\"1\":{other},\"0\":{one}}}}}"
    );
    (key("offsets", batch), text, began)
}

fn metadata(query: &str) -> Written {
    (format!("{FOLDER}metadata"), json!({"id": query}).to_string(), BEGIN)
}

fn batches(numbers: impl IntoIterator<Item = i64>) -> Vec<Written> {
    numbers.into_iter().flat_map(|batch| [offsets(batch), commit(batch)]).collect()
}

async fn put(world: &World, objects: impl IntoIterator<Item = Written>) {
    let object = |(key, text, modified): Written| json!({"key": key, "text": text, "modified": modified});
    let objects: Vec<Value> = objects.into_iter().map(object).collect();
    for some in objects.chunks(2_500) {
        world.bed.control("POST", "/_objects", json!({"bucket": world.bucket.name, "objects": some})).await;
    }
}

/// A checkpoint with these batches.
async fn checkpoint(test: &str, numbers: impl IntoIterator<Item = i64>) -> World {
    let world = World::new(test, json!({})).await;
    put(&world, batches(numbers)).await;
    put(&world, [metadata("q")]).await;
    world
}

/// A client that may do everything, for bytes that are no text, and for removing.
fn everybody() -> S3 {
    S3::new(&std::env::var("AWS_ENDPOINT_URL").expect("the stand-in's address"))
}

async fn write(world: &World, key: &str, body: &[u8]) {
    everybody().put_object(&world.bucket.name, key, body).await.expect("an object");
}

async fn remove(world: &World, keys: impl IntoIterator<Item = String>) {
    for key in keys {
        everybody().delete_object(&world.bucket.name, &key).await.expect("an object less");
    }
}

async fn read(world: &World, positions: &Positions) -> Known<CheckpointPosition> {
    positions.read("uid", (&world.bucket, FOLDER), &Known::Unknown("not read".to_owned())).await
}

fn batch(found: &Known<CheckpointPosition>) -> Option<i64> {
    found.known().map(|position| position.batch)
}

/// Why it is unknown.
fn why(found: Known<CheckpointPosition>) -> String {
    match found {
        Known::Unknown(why) => why,
        known => format!("not unknown: {known:?}"),
    }
}

async fn asked(world: &World) -> usize {
    world.count(GET).await + world.count(LIST).await
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).expect("a time")
}

#[tokio::test]
async fn ten_thousand_batches_are_listed_once_and_a_look_takes_three_requests_at_most() {
    let world = World::new("ten-thousand", json!({})).await;
    put(&world, (0..10_000).map(commit)).await;
    put(&world, (9_980..10_000).map(offsets)).await;
    put(&world, [metadata("q")]).await;
    let positions = Positions::new(HOUR);
    let found = read(&world, &positions).await;
    let position = found.known().unwrap();
    assert_eq!((position.batch, position.query.as_deref()), (9_999, Some("q")));
    assert_eq!(position.offsets["logs.api"], BTreeMap::from([(0, 1_000_000), (1, 100_000)]));
    assert_eq!(position.committed, time(BEGIN + 99_994_000));
    let last =
        BatchFact { id: 9_999, records: 110, started: time(BEGIN + 99_990_000), committed: time(BEGIN + 99_994_000) };
    assert_eq!((position.batches.len(), position.batches.last()), (9, Some(&last)));
    assert_eq!((world.count(LIST).await, world.count(GET).await), (10, 12), "a page for each thousand");

    let (mut newest, mut most) = (9_999, 0);
    for new in [0, 1, 0, 1, 1, 50, 3, 0, 7, 2, 0, 0, 1] {
        put(&world, batches(newest + 1..=newest + new)).await;
        newest += new;
        let before = asked(&world).await;
        assert_eq!(batch(&read(&world, &positions).await), Some(newest), "after {new} more");
        most = most.max(asked(&world).await - before);
    }
    assert!(most <= 3, "{most} requests in one look");
    let position = read(&world, &positions).await;
    let told: Vec<i64> = position.known().unwrap().batches.iter().map(|fact| fact.id).collect();
    assert_eq!(told.last(), Some(&newest));
    assert!(told.len() <= 20 && told.is_sorted(), "{told:?}");
    assert!(position.known().unwrap().batches.iter().all(|fact| fact.records == 110), "{position:?}");
    let calls = world.bed.calls(&world.bucket.name).await;
    assert!(calls.iter().all(|call| call["expected_owner"] == ACCOUNT && call["mutating"] == false));
}

#[tokio::test]
async fn numbers_are_not_sorted_as_texts() {
    let world = checkpoint("digits", 0..=98).await;
    let positions = Positions::new(HOUR);
    assert_eq!(batch(&read(&world, &positions).await), Some(98));
    put(&world, batches(99..=103)).await;
    let before = asked(&world).await;
    // As texts these come before 99, so that one look may not see them.
    read(&world, &positions).await;
    assert_eq!(batch(&read(&world, &positions).await), Some(103));
    assert!(asked(&world).await - before <= 6);
    assert_eq!(batch(&read(&world, &Positions::new(HOUR)).await), Some(103));
}

/// What may stand in place of a file of batch 5, and what is said of it.
fn broken() -> [(&'static [u8], &'static str); 9] {
    [
        (b"", "was not written to its end"),
        (b"v1", "was not written to its end"),
        (b"v1\n{\"batchWater", "was not written to its end"),
        (b"v2\n{}\n{\"logs.api\":{\"0\":1}}", "has version 2"),
        (&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "is compressed (gzip)"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 4, 0], "is compressed (zstd)"),
        (b"v1\n[]\n{\"logOffset\":5}", "is not what Spark 3.5 writes there"),
        (b"\x00\x01\x02\xff", "is not what Spark 3.5 writes there"),
        (b"PAR1", "is not what Spark 3.5 writes there"),
    ]
}

#[tokio::test]
async fn what_cannot_be_read_is_unknown_by_its_key_and_never_an_older_batch() {
    let world = checkpoint("broken", 0..=4).await;
    for (body, said) in broken() {
        for (bad, good) in [(key("offsets", 5), key("commits", 5)), (key("commits", 5), key("offsets", 5))] {
            remove(&world, [bad.clone(), good.clone(), key("commits", 6)]).await;
            let positions = Positions::new(HOUR);
            assert_eq!(batch(&read(&world, &positions).await), Some(4), "{body:?}");
            put(&world, batches([5])).await;
            write(&world, &bad, body).await;
            for positions in [&positions, &positions, &Positions::new(HOUR)] {
                let why = why(read(&world, positions).await);
                assert!(why.starts_with(&bad) && why.contains(said), "{body:?}: {why}");
            }
            put(&world, batches([6])).await;
            assert_eq!(batch(&read(&world, &positions).await), Some(6), "a later batch is committed: {body:?}");
        }
    }
}

#[tokio::test]
async fn a_newest_batch_that_cannot_be_read_is_not_listed_anew_at_each_look() {
    for kind in ["commits", "offsets"] {
        let bad = key(kind, 5);
        let world = checkpoint(&format!("stuck-{kind}"), 0..=4).await;
        put(&world, batches([5])).await;
        write(&world, &bad, b"v1").await;
        let positions = Positions::new(HOUR);
        for look in 0..4 {
            let before = asked(&world).await;
            let told = why(read(&world, &positions).await);
            assert!(told.starts_with(&bad), "{told}");
            assert!(look == 0 || asked(&world).await - before <= 3, "look {look}");
        }
        assert_eq!(world.count(LIST).await, 1, "{bad}");
        put(&world, batches([5])).await;
        assert_eq!(batch(&read(&world, &positions).await), Some(5), "{bad}");
    }
    // A later batch is all that counts.
    let world = checkpoint("stuck-later", 0..=4).await;
    write(&world, &key("commits", 5), b"v1").await;
    let positions = Positions::new(HOUR);
    assert!(read(&world, &positions).await.is_unknown());
    put(&world, [offsets(5), offsets(6), commit(6)]).await;
    assert_eq!(batch(&read(&world, &positions).await), Some(6));
}

#[tokio::test]
async fn a_batch_is_timed_by_one_clock() {
    let world = checkpoint("clocks", 0..=3).await;
    let shifted = |batch: i64, by: i64| {
        let (key, text, modified) = offsets(batch);
        let began = BEGIN + batch * 10_000;
        (key, text.replace(&began.to_string(), &(began + by).to_string()), modified)
    };
    // The driver's clock is ahead, or behind, or about right.
    put(&world, [shifted(1, 30_000), shifted(2, -30_000), shifted(3, 2_000)]).await;
    let found = read(&world, &Positions::new(HOUR)).await;
    let began: Vec<i64> =
        found.known().unwrap().batches.iter().map(|fact| fact.started.as_millisecond() - BEGIN).collect();
    assert_eq!(began, [10_000, 20_000, 32_000]);
}

#[tokio::test]
async fn a_commit_without_offsets_and_offsets_of_fewer_sources_are_unknown() {
    let world = checkpoint("missing", 0..=4).await;
    let positions = Positions::new(HOUR);
    assert_eq!(batch(&read(&world, &positions).await), Some(4));
    put(&world, [commit(5)]).await;
    let told = why(read(&world, &positions).await);
    assert!(told.starts_with(&key("offsets", 5)) && told.contains("is not there"), "{told}");
    let (key_of_5, text, _) = offsets(5);
    write(&world, &key_of_5, format!("{text}\n-").as_bytes()).await;
    let told = why(read(&world, &positions).await);
    assert!(told.starts_with(&key_of_5) && told.contains("2 sources, and 1 before"), "{told}");
    put(&world, [offsets(5)]).await;
    assert_eq!(batch(&read(&world, &positions).await), Some(5));
}

/// Bytes that went wrong on the way, by a fixed sequence.
fn corrupted(round: u64) -> Vec<u8> {
    let mut state = round;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below.max(1)
    };
    let mut body = offsets(5).1.into_bytes();
    for _ in 0..=next(3) {
        let place = next(body.len());
        match next(4) {
            0 => body.truncate(place),
            1 => body.insert(place, u8::try_from(next(256)).expect("a byte")),
            2 => _ = body.drain(place..(place + next(20)).min(body.len())),
            _ => body.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 0x15),
        }
    }
    body
}

#[tokio::test]
async fn a_corrupted_file_is_never_answered_with_the_batch_before_it() {
    let world = checkpoint("corrupted", 0..=5).await;
    let mut unknown = 0;
    for round in 0..25 {
        write(&world, &key("offsets", 5), &corrupted(round)).await;
        match read(&world, &Positions::new(HOUR)).await {
            Known::Known(position) => assert_eq!(position.batch, 5, "round {round}"),
            Known::Unknown(why) => {
                assert!(why.starts_with(&key("offsets", 5)), "round {round}: {why}");
                unknown += 1;
            }
            Known::Absent => panic!("round {round}"),
        }
    }
    assert!(unknown >= 10, "{unknown}");
}

#[tokio::test]
async fn a_checkpoint_that_begins_anew_does_not_count_at_once() {
    let period = Duration::from_secs(5);
    let world = checkpoint("anew", 0..=7).await;
    let positions = Positions::new(period);
    assert_eq!(batch(&read(&world, &positions).await), Some(7));
    let gone = (0..=7).flat_map(|batch| [key("commits", batch), key("offsets", batch)]);
    remove(&world, gone.chain([format!("{FOLDER}metadata")])).await;
    let told = why(read(&world, &positions).await);
    assert!(told.starts_with(&format!("{} is gone", key("commits", 7))), "{told}");
    let told = why(read(&world, &positions).await);
    assert!(told.contains("begun anew: no batch is committed any more, and 7 was"), "{told}");
    put(&world, batches(0..=1)).await;
    put(&world, [metadata("r")]).await;
    let told = why(read(&world, &positions).await);
    assert!(told.contains("begun anew"), "{told}");
    tokio::time::sleep(period).await;
    let found = read(&world, &positions).await;
    let position = found.known().unwrap();
    assert_eq!((position.batch, position.query.as_deref()), (1, Some("r")));
}

#[tokio::test]
async fn another_query_at_the_same_place_is_told_by_its_id() {
    let period = Duration::from_secs(1);
    let world = checkpoint("other-query", 0..=3).await;
    let positions = Positions::new(period);
    assert_eq!(batch(&read(&world, &positions).await), Some(3));
    put(&world, batches(4..=9)).await;
    put(&world, [metadata("r")]).await;
    tokio::time::sleep(period).await;
    let before = asked(&world).await;
    let told = why(read(&world, &positions).await);
    assert!(told.starts_with("it is of another query"), "{told}");
    assert!(asked(&world).await - before <= 3);
    let told = why(read(&world, &positions).await);
    assert!(told.contains("begun anew: it is of another query"), "{told}");
    tokio::time::sleep(period).await;
    assert_eq!(batch(&read(&world, &positions).await), Some(9));
}

#[tokio::test]
async fn old_batches_that_were_cleaned_up_meanwhile_are_no_new_begin() {
    let world = checkpoint("cleaned", 0..=3).await;
    let positions = Positions::new(HOUR);
    assert_eq!(batch(&read(&world, &positions).await), Some(3));
    put(&world, batches(200..=210)).await;
    remove(&world, (0..=3).map(|batch| key("commits", batch))).await;
    let told = why(read(&world, &positions).await);
    assert!(told.contains("is gone"), "{told}");
    assert_eq!(batch(&read(&world, &positions).await), Some(210));
}

#[tokio::test]
async fn a_checkpoint_without_a_batch_is_absent_until_the_first_one_is_committed() {
    let world = World::new("none-yet", json!({})).await;
    let positions = Positions::new(HOUR);
    for _ in 0..3 {
        assert_eq!(read(&world, &positions).await, Known::Absent);
    }
    assert_eq!((world.count(LIST).await, world.count(GET).await), (1, 2), "one request a look");
    put(&world, [offsets(0), metadata("q")]).await;
    assert_eq!(read(&world, &positions).await, Known::Absent, "it has begun and is not committed");
    put(&world, [commit(0)]).await;
    let found = read(&world, &positions).await;
    let position = found.known().unwrap();
    assert_eq!((position.batch, position.batches.len()), (0, 0), "nobody knows where it began to read");
}

#[tokio::test]
async fn what_else_lies_there_is_no_batch() {
    let world = checkpoint("others", 0..=5).await;
    let others = ["commits/", "commits/.6.5f1c-4a52.tmp", "commits/6.compact", "commits/a", "commits/007", "offsets/6"];
    for other in others.map(|name| format!("{FOLDER}{name}")).into_iter().chain([format!("{FOLDER}commits/x/9")]) {
        write(&world, &other, b"").await;
    }
    let positions = Positions::new(HOUR);
    for _ in 0..2 {
        assert_eq!(batch(&read(&world, &positions).await), Some(5));
    }
    write(&world, &key("commits", 1 << 50), b"v1\n{}").await;
    let told = why(read(&world, &Positions::new(HOUR)).await);
    assert!(told.starts_with(&key("commits", 1 << 50)), "{told}");
}

#[tokio::test]
async fn what_s3_refuses_is_named_with_key_and_permission() {
    let world = checkpoint("refused", 0..=5).await;
    let positions = Positions::new(HOUR);
    assert_eq!(batch(&read(&world, &positions).await), Some(5));
    for (call, permission) in [(GET, "s3:GetObject"), (LIST, "s3:ListBucket")] {
        world.fault(call, json!({"mode": "error", "status": 403, "code": "AccessDenied", "times": 0})).await;
        let told = why(read(&world, &Positions::new(HOUR)).await);
        assert!(told.starts_with(FOLDER) && told.contains(permission) && told.contains("AccessDenied"), "{told}");
        world.bed.mend(&world.bucket.name).await;
    }
    let text = "User: x is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-west-1:1:key/k";
    let refusal = json!({"mode": "error", "status": 403, "code": "AccessDenied", "message": text, "times": 0});
    world.fault(GET, refusal).await;
    let told = why(read(&world, &Positions::new(HOUR)).await);
    assert!(told.contains("could not be read (kms:Decrypt)") && told.contains("key/k"), "{told}");
    world.bed.mend(&world.bucket.name).await;
    world.fault(GET, json!({"mode": "error", "status": 503, "code": "SlowDown", "times": 0})).await;
    let told = why(read(&world, &positions).await);
    assert!(told.starts_with(&key("commits", 6)) && told.contains("SlowDown"), "{told}");
    world.bed.mend(&world.bucket.name).await;
    assert_eq!(batch(&read(&world, &positions).await), Some(5), "nothing was forgotten");
}

#[tokio::test]
async fn an_object_that_is_too_large_is_not_read_to_its_end() {
    let world = checkpoint("large", 0..=4).await;
    world.put([(key("offsets", 5), 5 * 1024 * 1024, None)]).await;
    put(&world, [commit(5)]).await;
    let told = why(read(&world, &Positions::new(HOUR)).await);
    assert!(told.starts_with(&format!("{} is larger than", key("offsets", 5))), "{told}");
}

#[tokio::test]
async fn each_object_follows_for_itself_and_is_forgotten_alone() {
    let world = checkpoint("objects", 0..=4).await;
    let (positions, none) = (Positions::new(HOUR), Known::Unknown("not read".to_owned()));
    let of = async |uid: &str, folder: &str| positions.read(uid, (&world.bucket, folder), &none).await;
    assert_eq!(batch(&of("a", FOLDER).await), Some(4));
    assert_eq!(world.count(LIST).await, 1);
    assert_eq!(batch(&of("b", FOLDER).await), Some(4));
    assert_eq!(world.count(LIST).await, 2, "what one object has read is not another's");
    positions.forget("a");
    assert_eq!((batch(&of("a", FOLDER).await), batch(&of("b", FOLDER).await)), (Some(4), Some(4)));
    assert_eq!(world.count(LIST).await, 3);
    let told = why(of("b", "checkpoint/other/").await);
    assert!(told.contains("begun anew"), "another checkpoint than before: {told}");
}
