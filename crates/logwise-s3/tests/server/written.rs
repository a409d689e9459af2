//! What is read before and after a write: old answers, servers that keep less, and rules of others that came in between.

use crate::{FOREIGN, GET, PUT, SHOWN, World, foreign_document, own, rule, unique};
use logwise_aws::{AwsClients, AwsSettings};
use logwise_plan::retention::WriteRules;
use logwise_runtime::ErrorClass;
use logwise_s3::{Bucket, Harm, Harmed, RawDocument, Reading, Witness, Written, apply, reading};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A rule that somebody writes while we do.
const NEW: &str =
    "<Rule><ID>new</ID><Prefix>n/</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>";

fn with_new(document: &str) -> String {
    document.replace("</L", &format!("{NEW}</L"))
}

fn is_ours(id: &str) -> bool {
    id.starts_with("logwise.io/")
}

impl World {
    async fn old_answers(&self, reads: u32) {
        let wish = json!({"bucket": self.bucket.name, "reads": reads, "after_next_write": true});
        self.bed.control("POST", "/_stale", wish).await;
    }

    async fn drops(&self, fields: &[&str]) {
        self.bed.control("PUT", "/_drops", json!({"bucket": self.bucket.name, "fields": fields})).await;
    }

    /// What the next reading shows of `write` over `before`.
    async fn shows(&self, before: &RawDocument, write: &WriteRules) -> Reading {
        reading((Some(before), write), self.document().await.known())
    }
}

#[tokio::test]
async fn a_write_is_read_once_and_an_old_answer_is_waited_for() {
    let world = World::shared("old").await;
    let (before, write) = (world.document().await, world.write(&[rule("api", 90)], &[]).await);
    let before = before.known().unwrap();
    let reads = world.count(GET).await;
    world.old_answers(3).await;
    let written = apply(&world.bucket, &write, async || Ok(|| Ok(()))).await.unwrap();
    assert!(matches!(written, Written::Unseen { .. }), "{written:?}");
    assert_eq!((world.count(GET).await - reads, world.count(PUT).await), (2, 1), "before and after");
    assert_eq!(world.shows(before, &write).await, Reading::Old);
    assert_eq!(world.shows(before, &write).await, Reading::Old);
    assert_eq!(world.shows(before, &write).await, Reading::Ours { others: None });
    let undo = world.write(&[], &[&rule("api", 90)]).await;
    let reads = world.count(GET).await;
    assert_eq!(apply(&world.bucket, &undo, async || Ok(|| Ok(()))).await.unwrap(), SHOWN);
    assert_eq!((world.count(GET).await - reads, world.count(PUT).await), (2, 2));
}

/// The address of a server that answers one request, with no configuration, and is gone then.
async fn answers_once() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        drop(listener);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a whole request"));
        }
        let body = "<Error><Code>NoSuchLifecycleConfiguration</Code><Message>none</Message></Error>";
        let length = body.len();
        let answer = format!("HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.expect("a client that reads");
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_write_that_found_no_connection_was_surely_not_sent() {
    let settings = AwsSettings {
        endpoint_url: Some(answers_once().await),
        allow_insecure_endpoints: true,
        ..AwsSettings::default()
    };
    let clients = AwsClients::open(settings).expect("an endpoint that the switch allows");
    let bucket = Bucket { client: own(&clients), name: unique("gone"), owner: None };
    let write = WriteRules { add: vec![rule("api", 90)], ..WriteRules::default() };
    let error = apply(&bucket, &write, async || Ok(|| Ok(()))).await.unwrap_err();
    assert!(error.to_string().contains("could not be written: no connection"), "{error}");
    assert!(error.class() == ErrorClass::Transient && error.is_unsent(), "{error:?}");
}

#[tokio::test]
async fn what_a_server_drops_is_named_wherever_it_stood() {
    let world = World::shared("lossy").await;
    let (before, write) = (world.document().await, world.write(&[rule("api", 90)], &[]).await);
    world.drops(&["AbortIncompleteMultipartUpload", "TransitionDefaultMinimumObjectSize"]).await;
    let written = apply(&world.bucket, &write, async || Ok(|| Ok(()))).await.unwrap();
    let Written::Lessened { why } = &written else { panic!("{written:?}") };
    let field = "AbortIncompleteMultipartUpload.DaysAfterInitiation (of 1 rules)";
    assert_eq!(
        *why,
        format!("S3 shows less than was written: {field}, TransitionDefaultMinimumObjectSize (of 1 rules)")
    );
    let Reading::Less(less) = world.shows(before.known().unwrap(), &write).await else { panic!("nothing is lacking") };
    assert!(less.alone && less.setting && less.ours.len() == 1 && !less.is_wider(), "{less:?}");

    // A rule of somebody else, which the server has kept so far.
    let world = World::shared("lossy-theirs").await;
    let (before, write) = (world.document().await, world.write(&[rule("api", 90)], &[]).await);
    world.drops(&["ObjectSizeGreaterThan"]).await;
    apply(&world.bucket, &write, async || Ok(|| Ok(()))).await.unwrap();
    let Reading::Less(less) = world.shows(before.known().unwrap(), &write).await else { panic!("nothing is lacking") };
    assert!(less.ours.is_empty() && less.alone && less.others.len() == 1, "{less:?}");
    assert_eq!(less.others[0].rule, "<tmp>");
    assert_eq!(less.others[0].fields, BTreeSet::from(["Filter.ObjectSizeGreaterThan".to_owned()]));
    assert!(FOREIGN[1].contains("ObjectSizeGreaterThan"));
}

#[tokio::test]
async fn a_rule_that_came_between_our_last_reading_and_our_write_is_named_if_any_reading_shows_it() {
    let world = World::shared("between").await;
    let (before, write) = (world.document().await, world.write(&[rule("api", 90)], &[]).await);
    let (witness, name) = (Witness::default(), world.bucket.name.as_str());
    world.old_answers(2).await;
    // Our request takes its time; somebody else's overtakes it.
    world.fault(PUT, json!({"mode": "delay", "delay_ms": 2_000})).await;
    let (bucket, ours) = (world.bucket.clone(), write.clone());
    let writing = tokio::spawn(async move { apply(&bucket, &ours, async || Ok(|| Ok(()))).await });
    let (path, deadline) = (format!("/_faults?resource={name}"), Instant::now() + Duration::from_secs(30));
    while world.bed.control("GET", &path, json!(null)).await[0]["fired"] != 1 {
        assert!(Instant::now() < deadline, "nothing was sent");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.foreign_writer(&with_new(&foreign_document()), Some("varies_by_storage_class")).await;
    let written = writing.await.expect("no panic");
    let unseen = |why: &str| why.contains("rule ") && why.contains(" of ours is missing");
    assert!(matches!(&written, Ok(Written::Unseen { why }) if unseen(why)), "another writer is there: {written:?}");
    let now = Instant::now();
    witness.sent((name, Some("1".to_owned())), (before.known(), &write), (is_ours, true), now);
    let look = async || {
        witness.read(name, world.document().await.known(), is_ours, now);
        witness.harmed(name, now)
    };
    assert!(look().await.is_empty(), "the old answer still has it");
    assert_eq!(look().await, [Harmed { rule: "new".to_owned(), harm: Harm::Dropped }]);
    assert!(!world.stored().await.0.unwrap().contains(NEW), "it is not written again");
    let now_there = with_new(&world.stored().await.0.unwrap());
    world.foreign_writer(&now_there, Some("varies_by_storage_class")).await;
    assert!(look().await.is_empty(), "its owner has put it back");
    world.foreign_writer(&now_there.replace(NEW, ""), Some("varies_by_storage_class")).await;
    assert!(look().await.is_empty(), "its owner has removed it");
}

#[tokio::test]
async fn a_write_that_arrives_late_over_rules_of_others_is_known() {
    let world = World::shared("late-write").await;
    let (witness, name, now) = (Witness::default(), world.bucket.name.as_str(), Instant::now());
    let send = async |intent: &str| {
        let (before, write) = (world.document().await, world.write(&[rule("api", 90)], &[]).await);
        let written = apply(&world.bucket, &write, async || Ok(|| Ok(()))).await;
        let by = (name, Some(intent.to_owned()));
        witness.sent(by, (before.known(), &write), (is_ours, written.is_ok()), now);
        witness.read(name, world.document().await.known(), is_ours, now);
        written
    };
    world.fault(PUT, json!({"mode": "late", "delay_ms": 3_600_000})).await;
    assert_eq!(send("1").await.unwrap_err().class(), ErrorClass::Transient);
    world.foreign_writer(&with_new(&foreign_document()), Some("varies_by_storage_class")).await;
    assert_eq!(send("2").await.unwrap(), SHOWN);
    assert!(witness.harmed(name, now).is_empty());
    let delivered = world.bed.control("POST", "/_deliveries", json!({"resource": name})).await;
    assert_eq!(delivered["delivered"], json!(1), "{delivered}");
    assert!(!world.stored().await.0.unwrap().contains(NEW), "the first write has taken it away");
    witness.read(name, world.document().await.known(), is_ours, now);
    assert_eq!(witness.harmed(name, now), [Harmed { rule: "new".to_owned(), harm: Harm::Dropped }]);
}
