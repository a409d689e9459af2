//! Lifecycle and discovery against the test bed's strict AWS stand-in.

#[path = "../../logwise-aws/tests/stand_in/mod.rs"]
mod stand_in;
#[path = "server/written.rs"]
mod written;

use jiff::Timestamp;
use logwise_aws::{AwsClients, AwsError, Base, Identity, Pipeline};
use logwise_plan::Known;
use logwise_plan::retention::{
    self, Approval, Policy, PolicyEntry, Rule, Settings, Transition, WriteRules, rule_id, service_prefix,
};
use logwise_runtime::ErrorClass;
use logwise_s3::{Bucket, Discovery, RawDocument, Written, discovery, observe, read};
use serde_json::{Value, json};
use stand_in::{REGION, StandIn, unique};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const PUT: &str = "PutBucketLifecycleConfiguration";
const GET: &str = "GetBucketLifecycleConfiguration";
const DELETE: &str = "DeleteBucketLifecycle";
const LIST: &str = "ListObjectsV2";
const SHOWN: Written = Written::Shown { others: None };
const LOGS: &str = "logs/";
const GRACE: Duration = Duration::from_secs(86_400);

/// Two rules of others in forms that we never write, one of them with an element that nobody knows yet.
const FOREIGN: [&str; 2] = [
    "<Rule>\n  <ID>legal &amp; hold</ID><Prefix>archive/</Prefix><Status>Enabled</Status><Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>",
    "<Rule><Status>Disabled</Status><Filter><And><Prefix>t'mp/</Prefix><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan></And></Filter><ID><![CDATA[<tmp>]]></ID><Expiration><Days>3</Days></Expiration><FutureField><A b='1'>1</A></FutureField></Rule>",
];

/// The S3 client of a pipeline without a Secret and a role, which no account is known of.
fn own(clients: &AwsClients) -> aws_sdk_s3::Client {
    let pipeline = Pipeline { installation: "bed", namespace: "tests", name: "own" };
    clients.for_identity(&Identity::new(pipeline, Base::Ambient, None), REGION).s3(None)
}

struct World {
    bed: StandIn,
    bucket: Bucket,
}

impl World {
    async fn new(test: &str) -> Self {
        let bed = StandIn::attach();
        let name = unique(test);
        bed.control("POST", "/_buckets", json!({"name": name})).await;
        let client = own(&bed.clients());
        Self { bed, bucket: Bucket { client, name, owner: Some("123456789012".to_owned()) } }
    }

    /// A bucket that holds the foreign rules and a setting for small objects that is not the default.
    async fn shared(test: &str) -> Self {
        let world = Self::new(test).await;
        world.foreign_writer(&foreign_document(), Some("varies_by_storage_class")).await;
        world
    }

    async fn foreign_writer(&self, document: &str, setting: Option<&str>) {
        let wish = json!({"bucket": self.bucket.name, "document": document, "minimum_object_size": setting});
        self.bed.control("PUT", "/_lifecycle", wish).await;
    }

    /// What the bucket holds, without the code under test.
    async fn stored(&self) -> (Option<String>, Option<String>) {
        let stored = self.bed.control("GET", &format!("/_lifecycle?bucket={}", self.bucket.name), Value::Null).await;
        let text = |key: &str| stored[key].as_str().map(str::to_owned);
        (text("document"), text("minimum_object_size"))
    }

    async fn document(&self) -> Known<RawDocument> {
        read(&self.bucket).await.expect("a readable configuration")
    }

    async fn write(&self, add: &[Rule], remove: &[&Rule]) -> WriteRules {
        WriteRules {
            assumes: self.document().await.known().map(|document| document.version().to_owned()),
            remove: remove.iter().map(|rule| rule.id.clone()).collect(),
            add: add.to_vec(),
        }
    }

    async fn fault(&self, action: &str, rule: Value) {
        self.bed.fault(&self.bucket.name, action, rule).await;
    }

    async fn count(&self, action: &str) -> usize {
        self.bed.count(&self.bucket.name, action).await
    }

    async fn put_objects(&self, keys: impl Iterator<Item = String>) {
        let objects: Vec<Value> = keys.map(|key| json!({"key": key, "size": 1})).collect();
        self.bed.control("POST", "/_objects", json!({"bucket": self.bucket.name, "objects": objects})).await;
    }
}

fn foreign_document() -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}\n{}</LifecycleConfiguration>",
        FOREIGN[0], FOREIGN[1]
    )
}

fn rule(service: &str, days: i32) -> Rule {
    let settings = Settings {
        expiration_days: Some(days),
        transitions: vec![Transition { days: 30, storage_class: "STANDARD_IA".to_owned() }],
        abort_multipart_days: Some(3),
        noncurrent_days: Some(5),
    };
    Rule { id: rule_id("demo.team-a.keep", "0a1b2c3d", service), prefix: service_prefix(LOGS, service), settings }
}

/// A write that nobody stands in the way of.
async fn apply(bucket: &Bucket, write: &WriteRules) -> Result<Written, AwsError> {
    logwise_s3::apply(bucket, write, async || Ok(|| Ok(()))).await
}

#[tokio::test]
async fn a_bucket_without_rules_gets_its_first_ones_and_loses_its_last_ones() {
    let world = World::new("first").await;
    assert_eq!(world.document().await, Known::Absent);
    let rules = [rule("api", 90), rule("web", 60)];
    let write = world.write(&rules, &[]).await;
    assert_eq!(apply(&world.bucket, &write).await.unwrap(), SHOWN);
    assert_eq!(world.document().await.known().unwrap().rules().count(), 2);
    assert_eq!(apply(&world.bucket, &write).await.unwrap(), Written::AlreadySo);
    assert_eq!(world.count(PUT).await, 1);

    let undo = world.write(&[], &[&rules[0], &rules[1]]).await;
    assert_eq!(apply(&world.bucket, &undo).await.unwrap(), SHOWN);
    assert_eq!(world.stored().await.0, None);
    assert_eq!(apply(&world.bucket, &undo).await.unwrap(), Written::AlreadySo);
    assert_eq!((world.count(PUT).await, world.count(DELETE).await), (1, 1));
}

#[tokio::test]
async fn a_write_that_came_too_late_is_not_sent() {
    let world = World::new("late").await;
    let late = async || Ok(|| Err("the term is over".to_owned()));
    let rules = [rule("api", 90)];
    let write = world.write(&rules, &[]).await;
    let error = logwise_s3::apply(&world.bucket, &write, late).await.unwrap_err();
    assert_eq!((error.class(), world.count(PUT).await), (ErrorClass::Conflict, 0));
    assert!(error.to_string().ends_with("nothing was sent: the term is over"), "{error}");
    assert_eq!(apply(&world.bucket, &write).await.unwrap(), SHOWN);
    let undo = world.write(&[], &[&rules[0]]).await;
    let error = logwise_s3::apply(&world.bucket, &undo, late).await.unwrap_err();
    assert_eq!((error.class(), world.count(DELETE).await), (ErrorClass::Conflict, 0));
    assert_eq!(world.document().await.known().unwrap().rules().count(), 1);
}

#[tokio::test]
async fn rules_of_others_and_the_setting_for_small_objects_survive_every_write() {
    let world = World::shared("shared").await;
    let steps: [(Vec<Rule>, Vec<Rule>); 4] = [
        (vec![rule("api", 90), rule("a&b<c>\"'", 60)], vec![]),
        (vec![rule("api", 120)], vec![rule("api", 90)]),
        (vec![], vec![rule("a&b<c>\"'", 60)]),
        (vec![], vec![rule("api", 120)]),
    ];
    for (add, remove) in &steps {
        let write = world.write(add, &remove.iter().collect::<Vec<_>>()).await;
        assert_eq!(apply(&world.bucket, &write).await.unwrap(), SHOWN);
        let (document, setting) = world.stored().await;
        let document = document.unwrap();
        for foreign in FOREIGN {
            assert_eq!(document.matches(foreign).count(), 1, "{document}");
        }
        assert!(document.find(FOREIGN[0]) < document.find(FOREIGN[1]));
        assert_eq!(setting.as_deref(), Some("varies_by_storage_class"));
    }
    assert_eq!(world.stored().await.0.unwrap(), foreign_document());
    assert_eq!((world.count(PUT).await, world.count(DELETE).await), (4, 0));
    let calls = world.bed.calls(&world.bucket.name).await;
    assert!(calls.iter().all(|call| call.to_string().contains("123456789012")), "every call names the expected owner");
}

#[tokio::test]
async fn a_foreign_write_after_the_look_supersedes_ours() {
    let world = World::shared("raced").await;
    let write = world.write(&[rule("api", 90)], &[]).await;
    let changed = foreign_document().replace("<Days>90</Days>", "<Days>91</Days>");
    world.foreign_writer(&changed, Some("varies_by_storage_class")).await;
    assert_eq!(apply(&world.bucket, &write).await.unwrap(), Written::Superseded);
    // The setting alone is a change too.
    let write = world.write(&[rule("api", 90)], &[]).await;
    world.foreign_writer(&changed, None).await;
    assert_eq!(apply(&world.bucket, &write).await.unwrap(), Written::Superseded);
    let write = world.write(&[rule("api", 90)], &[]).await;
    world.bed.control("PUT", "/_lifecycle", json!({"bucket": world.bucket.name, "document": null})).await;
    assert_eq!(apply(&world.bucket, &write).await.unwrap(), Written::Superseded);
    assert_eq!((world.count(PUT).await, world.count(DELETE).await), (0, 0));
}

/// Writes `add`, and lets another writer store what `theirs` makes of our document before it is read once more.
async fn overtaken(world: &World, add: &[Rule], theirs: impl Fn(String) -> String) -> Written {
    let write = world.write(add, &[]).await;
    let puts = world.count(PUT).await;
    // The look before the write passes; the first read after it waits.
    world.fault(GET, json!({"mode": "delay", "delay_ms": 4_000, "after_calls": 1, "times": 0})).await;
    let bucket = world.bucket.clone();
    let writing = tokio::spawn(async move { apply(&bucket, &write).await });
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.count(PUT).await == puts {
        assert!(Instant::now() < deadline, "nothing was written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ours = world.stored().await.0.expect("a stored document");
    world.foreign_writer(&theirs(ours), Some("varies_by_storage_class")).await;
    world.bed.mend(&world.bucket.name).await;
    writing.await.expect("no panic").expect("an accepted write")
}

#[tokio::test]
async fn a_foreign_write_right_after_ours_is_detected() {
    let world = World::shared("after").await;
    let written = overtaken(&world, &[rule("api", 90)], |_| foreign_document()).await;
    assert!(
        matches!(&written, Written::Unseen { why } if why.contains("before the write")),
        "old, perhaps: {written:?}"
    );
    let written = overtaken(&world, &[rule("api", 90)], |ours| ours.replace(FOREIGN[0], "")).await;
    assert!(
        matches!(&written, Written::Shown { others: Some(told) } if told.contains("another owner is missing")),
        "{written:?}"
    );
    let more = "<Rule><ID>more</ID><Prefix>m/</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></L";
    let written = overtaken(&world, &[rule("web", 90)], |ours| ours.replace("</L", more)).await;
    assert!(
        matches!(&written, Written::Shown { others: Some(told) } if told.contains("another writer added a rule: <Rule><ID>more")),
        "{written:?}"
    );
    let blind = foreign_document().replace("<Days>90</Days>", "<Days>91</Days>");
    let written = overtaken(&world, &[rule("db", 90)], |_| blind.clone()).await;
    let named =
        |why: &str| why.contains("of ours is missing or changed; a rule of another owner is missing or changed");
    assert!(matches!(&written, Written::Unseen { why } if named(why)), "one answer blames nobody: {written:?}");
    assert_eq!(world.count(PUT).await, 4, "theirs is not fought");
}

#[tokio::test]
async fn a_lost_answer_is_transient_and_the_next_look_decides() {
    let world = World::shared("lost").await;
    let write = world.write(&[rule("api", 90)], &[]).await;
    world.fault(PUT, json!({"mode": "lost"})).await;
    let error = apply(&world.bucket, &write).await.unwrap_err();
    assert!(matches!(error, AwsError::WriteLifecycle { .. }), "{error:?}");
    assert_eq!((error.class(), world.count(PUT).await), (ErrorClass::Transient, 1));
    assert!(!error.is_unsent(), "it may have arrived, and has");
    assert_eq!(apply(&world.bucket, &write).await.unwrap(), Written::AlreadySo);
    assert_eq!(world.count(PUT).await, 1);

    let undo = world.write(&[], &[&rule("api", 90)]).await;
    world.fault(PUT, json!({"mode": "drop"})).await;
    assert_eq!(apply(&world.bucket, &undo).await.unwrap_err().class(), ErrorClass::Transient);
    assert_eq!(world.count(PUT).await, 2);
    assert_eq!(apply(&world.bucket, &undo).await.unwrap(), SHOWN);
    assert_eq!((world.stored().await.0.unwrap(), world.count(PUT).await), (foreign_document(), 3));
}

#[tokio::test]
async fn refusals_have_their_class_and_writes_are_sent_once() {
    use ErrorClass::{Conflict, Denied, Invalid, NotFound, Throttled, Transient};
    let world = World::shared("refused").await;
    let write = world.write(&[rule("api", 90)], &[]).await;
    let table = [
        (403, "AccessDenied", Denied),
        (400, "ExpiredToken", Denied),
        (404, "NoSuchBucket", NotFound),
        (503, "SlowDown", Throttled),
        (409, "OperationAborted", Conflict),
        (400, "MalformedXML", Invalid),
        (400, "InvalidArgument", Invalid),
        (500, "InternalError", Transient),
    ];
    for (sent, (status, code, class)) in (1..).zip(table) {
        world.fault(PUT, json!({"mode": "error", "status": status, "code": code, "message": "injected"})).await;
        let error = apply(&world.bucket, &write).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (class, Some(code)), "{error}");
        assert!(error.to_string().ends_with(&format!("could not be written: {code}: injected")), "{error}");
        assert_eq!(world.count(PUT).await, sent, "{code}");
    }
    assert_eq!(world.stored().await.0.unwrap(), foreign_document());
    let gets = world.count(GET).await;
    world.fault(GET, json!({"mode": "error", "status": 503, "code": "SlowDown", "times": 0})).await;
    assert_eq!(read(&world.bucket).await.unwrap_err().class(), Throttled);
    assert_eq!(world.count(GET).await, gets + 3, "a read is tried three times");
}

#[tokio::test]
async fn a_missing_bucket_and_a_bucket_of_somebody_else_are_told_apart() {
    let world = World::shared("owner").await;
    let missing = Bucket { name: unique("missing"), ..world.bucket.clone() };
    let error = read(&missing).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::NotFound, Some("NoSuchBucket")));
    let list = discovery::services(&missing, LOGS).await.unwrap_err();
    assert_eq!(list.class(), ErrorClass::NotFound);
    let theirs = Bucket { owner: Some("999999999999".to_owned()), ..world.bucket.clone() };
    let write = world.write(&[rule("api", 90)], &[]).await;
    for error in [
        read(&theirs).await.unwrap_err(),
        discovery::services(&theirs, LOGS).await.unwrap_err(),
        apply(&theirs, &write).await.unwrap_err(),
    ] {
        assert_eq!((error.class(), error.code()), (ErrorClass::Denied, Some("AccessDenied")), "{error}");
    }
    assert_eq!(world.count(PUT).await, 0);
}

#[tokio::test]
async fn a_document_that_cannot_be_rewritten_safely_is_read_and_left_alone() {
    let world = World::new("unsafe").await;
    let comment = foreign_document().replace("</Rule>\n<Rule>", "</Rule><!-- by hand --><Rule>");
    world.foreign_writer(&comment, None).await;
    let facts = world.document().await.known().unwrap().to_facts();
    assert!(facts.not_preservable.unwrap().contains("comment"));
    let write = world.write(&[rule("api", 90)], &[]).await;
    let error = apply(&world.bucket, &write).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Invalid);
    assert!(error.to_string().contains("the rules of others cannot be kept byte for byte"), "{error}");
    assert_eq!((world.stored().await.0.unwrap(), world.count(PUT).await), (comment, 0));
}

#[tokio::test]
async fn a_document_of_more_than_a_megabyte_is_refused() {
    let world = World::new("large").await;
    let rules: String = (0..1_000)
        .map(|n| format!("<Rule><ID>{n}</ID><Filter><Prefix>{n}{}</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>", "x".repeat(1_000)))
        .collect();
    world.foreign_writer(&format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>"), None).await;
    let error = read(&world.bucket).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Invalid);
    assert!(error.to_string().ends_with("could not be read: the document is larger than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn services_are_listed_whole_with_their_names_as_they_stand_in_the_keys() {
    let world = World::new("services").await;
    let mut names: BTreeSet<String> =
        ["a&b<c>\"'", "größe", "日本\u{1F600}", "a+b c", "a%3Ab", "a%2Fb", "100%", "=", " ", "x=y"]
            .map(str::to_owned)
            .into();
    names.extend((0..2_100).map(|n| format!("service-{n:04}")));
    let inside = names.iter().map(|name| format!("{LOGS}service_name={name}/year=2026/part-0"));
    let beside = [
        "logs/service_name=file",
        "logs/_spark_metadata/0",
        "logs/service_name=/empty",
        "logs/other=x/1",
        "service_name=root/1",
    ];
    world.put_objects(inside.chain(beside.map(str::to_owned))).await;
    assert_eq!(discovery::services(&world.bucket, LOGS).await.unwrap(), names);
    assert_eq!(world.count(LIST).await, 3);
    assert_eq!(discovery::services(&world.bucket, "none/").await.unwrap(), BTreeSet::new());

    // The last page is refused: no smaller set comes out.
    world.fault(LIST, json!({"mode": "error", "status": 403, "code": "AccessDenied", "after_calls": 2})).await;
    assert_eq!(discovery::services(&world.bucket, LOGS).await.unwrap_err().class(), ErrorClass::Denied);
}

#[tokio::test]
async fn a_key_that_no_rule_can_name_does_not_hide_the_other_services() {
    let world = World::new("bell").await;
    world
        .put_objects(["logs/service_name=bell\u{7}/1", "logs/service_name=api/1"].map(str::to_owned).into_iter())
        .await;
    assert_eq!(discovery::services(&world.bucket, LOGS).await.unwrap(), BTreeSet::from(["api".to_owned()]));
}

#[tokio::test]
async fn one_listing_serves_everybody_for_a_period() {
    let world = World::new("cached").await;
    world.put_objects(std::iter::once("logs/service_name=api/1".to_owned())).await;
    let hour = Discovery::new(Duration::from_secs(3_600), GRACE);
    let looks = (0..20).map(|_| hour.services(&world.bucket, LOGS));
    for listing in futures::future::join_all(looks).await {
        assert_eq!(listing.services.unwrap().len(), 1);
    }
    assert_eq!(world.count(LIST).await, 1);
    hour.services(&world.bucket, "other/").await.services.unwrap();
    assert_eq!(world.count(LIST).await, 2, "another prefix is another listing");
    hour.forget(&world.bucket.name);
    hour.services(&world.bucket, LOGS).await.services.unwrap();
    assert_eq!(world.count(LIST).await, 3);

    let never = Discovery::new(Duration::ZERO, GRACE);
    never.services(&world.bucket, LOGS).await.services.unwrap();
    never.services(&world.bucket, LOGS).await.services.unwrap();
    assert_eq!(world.count(LIST).await, 5, "a period that is over is over");

    world.fault(LIST, json!({"mode": "error", "status": 403, "code": "AccessDenied"})).await;
    let failing = Discovery::new(Duration::from_secs(3_600), GRACE);
    for _ in 0..3 {
        assert_eq!(failing.services(&world.bucket, LOGS).await.services.unwrap_err().class(), ErrorClass::Denied);
    }
    assert_eq!(world.count(LIST).await, 6, "a refusal is not asked for again at once");
}

#[tokio::test]
async fn one_unreadable_part_leaves_the_other_one_known() {
    let world = World::shared("partly").await;
    world.put_objects(std::iter::once("logs/service_name=api/1".to_owned())).await;
    world.fault(GET, json!({"mode": "error", "status": 403, "code": "AccessDenied", "message": "Access Denied"})).await;
    let look = observe(&world.bucket, LOGS, &Discovery::new(Duration::ZERO, GRACE)).await;
    assert_eq!(look.facts.services, Known::Known(BTreeSet::from(["api".to_owned()])));
    assert!(matches!(&look.facts.document, Known::Unknown(why) if why.contains("AccessDenied")), "{:?}", look.facts);
    assert!(look.raw.is_unknown());
    assert!(matches!(look.error, Some(AwsError::ReadLifecycle { .. })), "{:?}", look.error);

    world.fault(LIST, json!({"mode": "error", "status": 403, "code": "AccessDenied"})).await;
    let look = observe(&world.bucket, LOGS, &Discovery::new(Duration::ZERO, GRACE)).await;
    assert!(look.facts.services.is_unknown());
    assert_eq!(look.facts.document.known().unwrap().rules.len(), 2);
    assert_eq!(look.raw.known().unwrap().bytes(), foreign_document().as_bytes());
    assert!(matches!(look.error, Some(AwsError::ListServices { .. })), "{:?}", look.error);
    assert!(observe(&world.bucket, LOGS, &Discovery::new(Duration::ZERO, GRACE)).await.error.is_none());
}

/// The whole way: look, plan, write, and the next look finds nothing to do.
#[tokio::test]
async fn what_was_planned_and_written_needs_no_second_write() {
    let world = World::shared("settled").await;
    let names = ["api", "a&b<c>\"'", "größe 日本", "a%3Ab", "a+b c", "tab\tin name"];
    world.put_objects(names.map(|name| format!("{LOGS}service_name={name}/1")).into_iter()).await;
    let policy = Policy {
        logs_prefix: LOGS.to_owned(),
        checkpoint_prefix: "checkpoint/".to_owned(),
        policies: vec![PolicyEntry {
            owner: "demo.team-a.keep".to_owned(),
            uid8: "0a1b2c3d".to_owned(),
            priority: 0,
            selector: Default::default(),
            settings: rule("any", 90).settings,
            approval: Approval::Never,
            windows: Vec::new(),
            approved_plans: BTreeSet::new(),
            programmed: None,
            observe_only: false,
            removal: None,
        }],
        look_period_seconds: 60,
        ..Default::default()
    };
    let discovery = Discovery::new(Duration::ZERO, GRACE);
    let look = observe(&world.bucket, LOGS, &discovery).await;
    let write =
        retention::plan(&policy, &look.facts, Timestamp::UNIX_EPOCH).write.expect("there is something to write");
    assert_eq!(write.add.len(), names.len());
    assert_eq!(apply(&world.bucket, &write).await.unwrap(), SHOWN);
    let look = observe(&world.bucket, LOGS, &discovery).await;
    assert_eq!(retention::plan(&policy, &look.facts, Timestamp::UNIX_EPOCH).write, None);
    assert_eq!(world.count(PUT).await, 1);
}
