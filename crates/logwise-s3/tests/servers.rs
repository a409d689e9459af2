//! The same on every S3 server of the bed: AWS's stand-in, which keeps every byte, MinIO, and in `make prove` Ceph, which
//! keep what they know. What `docs/s3-servers.md` says of these two is what the tests here find.

#[path = "corpus/accepted.rs"]
mod accepted;
#[path = "servers/ceph.rs"]
mod ceph;
#[path = "servers/facts.rs"]
mod facts;
#[path = "servers/position.rs"]
mod position;

use logwise_aws::{AwsClients, AwsSettings, Base, Identity, Owner, Pipeline};
use logwise_plan::Known;
use logwise_plan::retention::{Rule, Settings, Transition, WriteRules, rule_id, service_prefix};
use logwise_s3::{Bucket, RawDocument, Written, apply, compose, discovery, read};
use logwise_testbed::s3::S3;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const LOGS: &str = "logs/";
const REGION: &str = "ap-south-1";
const SHOWN: Written = Written::Shown { others: None };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    StandIn,
    Minio,
    Ceph,
}

impl Server {
    /// The variable with its URL, and the profile that starts it.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Server::StandIn => ("AWS_ENDPOINT_URL", "aws"),
            Server::Minio => ("MINIO_URL", "minio"),
            Server::Ceph => ("CEPH_URL", "ceph"),
        }
    }
}

/// Whether this is `make prove`, which has a Ceph.
fn is_proving() -> bool {
    std::env::var_os("LOGWISE_PROVE").is_some()
}

struct World {
    server: Server,
    s3: S3,
    bucket: Bucket,
}

impl World {
    async fn new(server: Server, test: &str) -> World {
        let (variable, profile) = server.place();
        let url = std::env::var(variable).unwrap_or_default();
        assert!(
            !url.is_empty(),
            "start the server with `logwise-testbed up --profile {profile}` and set what `logwise-testbed env` prints ({variable})"
        );
        let s3 = S3::new(&url);
        let name = unique(test);
        s3.create_bucket(&name).await.expect("a new bucket");
        let bucket = Bucket { client: client(&url, None), name, owner: None };
        World { server, s3, bucket }
    }

    /// One of each server.
    async fn each(test: &str) -> Vec<World> {
        let mut worlds = vec![World::new(Server::StandIn, test).await, World::new(Server::Minio, test).await];
        if is_proving() {
            worlds.push(World::new(Server::Ceph, test).await);
        }
        worlds
    }

    /// The configuration as the server prints it.
    async fn stored(&self) -> String {
        self.s3.lifecycle(&self.bucket.name).await.expect("a readable configuration").unwrap_or_default()
    }

    async fn put(&self, document: &str) -> Option<String> {
        let answer = self.s3.put_lifecycle(&self.bucket.name, document, &[]).await.expect("an answer");
        (answer.status >= 300).then(|| format!("{} {}", answer.status, answer.code().unwrap_or("without a code")))
    }

    async fn write(&self, add: &[Rule], remove: &[&Rule]) -> WriteRules {
        let document = read(&self.bucket).await.expect("a readable configuration");
        WriteRules {
            assumes: document.known().map(|document| document.version().to_owned()),
            remove: remove.iter().map(|rule| rule.id.clone()).collect(),
            add: add.to_vec(),
        }
    }

    async fn apply(&self, write: &WriteRules) -> Written {
        apply(&self.bucket, write, async || Ok(|| Ok(()))).await.expect("no refusal")
    }
}

fn client(url: &str, owner: Option<&Owner>) -> aws_sdk_s3::Client {
    // None of these tests is about waiting: a machine that stands still for some seconds fails none.
    let patience = Duration::from_secs(60);
    let settings = AwsSettings {
        endpoint_url: Some(url.to_owned()),
        allow_insecure_endpoints: true,
        attempt_timeout: patience,
        operation_timeout: patience,
        ..AwsSettings::default()
    };
    let pipeline = Pipeline { installation: "bed", namespace: "tests", name: "own" };
    let identity = Identity::new(pipeline, Base::Ambient, None);
    let clients = AwsClients::open(settings).expect("an endpoint that the switch allows");
    clients.for_identity(&identity, REGION).s3(owner)
}

fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = jiff::Timestamp::now().as_millisecond();
    format!("{name}-{}-{now:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A rule of ours that every server keeps.
fn rule(service: &str, days: i32) -> Rule {
    let settings = Settings { expiration_days: Some(days), noncurrent_days: Some(5), ..Settings::default() };
    Rule { id: rule_id("demo.team-a.keep", "0a1b2c3d", service), prefix: service_prefix(LOGS, service), settings }
}

fn document(rules: &str) -> String {
    format!(
        "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}</LifecycleConfiguration>"
    )
}

/// Rules of others in forms that every server keeps, in its own way of writing.
const FOREIGN: &str = "<Rule><ID>legal &amp; hold</ID><Prefix>archive/</Prefix><Status>Disabled</Status><Expiration><Days>90</Days></Expiration></Rule>\
     <Rule><ID>a'b\"c</ID><Filter><And><Prefix>t'mp/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule>\
     <Rule><ID>all</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status><NoncurrentVersionExpiration><NoncurrentDays>7</NoncurrentDays><NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>";

fn rules(text: &str) -> Vec<String> {
    let document = RawDocument::parse(text.as_bytes(), None).expect("a readable document");
    document.rules().map(|(_, xml)| xml.to_owned()).collect()
}

#[tokio::test]
async fn a_bucket_without_rules_gets_its_first_ones_and_loses_its_last_ones() {
    for world in World::each("first").await {
        let server = world.server;
        assert_eq!(read(&world.bucket).await.unwrap(), Known::Absent, "{server:?}");
        let ours = [rule("api", 90), rule("a&b<c>\"'", 60), rule("größe 日本", 30)];
        let write = world.write(&ours, &[]).await;
        assert_eq!(world.apply(&write).await, SHOWN, "{server:?}");
        assert_eq!(rules(&world.stored().await).len(), 3, "{server:?}");
        assert_eq!(world.apply(&write).await, Written::AlreadySo, "{server:?}");
        let undo = world.write(&[], &ours.iter().collect::<Vec<_>>()).await;
        assert_eq!(world.apply(&undo).await, SHOWN, "{server:?}");
        assert_eq!(world.stored().await, "", "{server:?}");
        assert_eq!(world.apply(&undo).await, Written::AlreadySo, "{server:?}");
    }
}

#[tokio::test]
async fn rules_of_others_survive_every_write_as_the_server_prints_them() {
    for world in World::each("shared").await {
        let server = world.server;
        assert_eq!(world.put(&document(FOREIGN)).await, None, "{server:?}");
        let foreign = rules(&world.stored().await);
        assert_eq!(foreign.len(), 3, "{server:?}");
        let steps: [(Vec<Rule>, Vec<Rule>); 4] = [
            (vec![rule("api", 90), rule("web", 60)], vec![]),
            (vec![rule("api", 120)], vec![rule("api", 90)]),
            (vec![], vec![rule("web", 60)]),
            (vec![], vec![rule("api", 120)]),
        ];
        for (add, remove) in &steps {
            let write = world.write(add, &remove.iter().collect::<Vec<_>>()).await;
            assert_eq!(world.apply(&write).await, SHOWN, "{server:?}");
            let now: Vec<String> =
                rules(&world.stored().await).into_iter().filter(|rule| !rule.contains("logwise.io/")).collect();
            assert_eq!(now, foreign, "{server:?}");
        }
    }
}

/// Of the stand-in only, which refuses what AWS refuses.
#[tokio::test]
async fn what_aws_accepts_from_others_is_as_it_was_after_a_rule_of_ours_came_and_went() {
    let world = World::new(Server::StandIn, "accepted").await;
    let ours = rule("api", 90);
    for (name, sent, count) in accepted::accepted() {
        assert_eq!(world.put(&sent).await, None, "{name}");
        for write in [
            WriteRules { add: vec![ours.clone()], ..WriteRules::default() },
            WriteRules { remove: [ours.id.clone()].into(), ..WriteRules::default() },
        ] {
            let document = read(&world.bucket).await.expect("a readable configuration");
            let composed = compose(document.known(), &write).expect("a document that can be rewritten");
            let composed = String::from_utf8(composed.expect("rules are left")).expect("text");
            assert_eq!(world.put(&composed).await, None, "{name}: {composed}");
        }
        let stored = world.stored().await;
        assert!(stored == sent, "{name} has become {stored}");
        assert_eq!(rules(&stored).len(), count, "{name}");
    }
}

#[tokio::test]
async fn a_foreign_write_after_the_look_supersedes_ours() {
    for world in World::each("raced").await {
        assert_eq!(world.put(&document(FOREIGN)).await, None);
        let write = world.write(&[rule("api", 90)], &[]).await;
        assert_eq!(world.put(&document(&FOREIGN.replace(">90<", ">91<"))).await, None);
        let before = world.stored().await;
        assert_eq!(world.apply(&write).await, Written::Superseded, "{:?}", world.server);
        assert_eq!(world.stored().await, before, "{:?}", world.server);
    }
}

#[tokio::test]
async fn services_are_listed_whole_with_their_names_as_they_stand_in_the_keys() {
    for world in World::each("services").await {
        let mut names: BTreeSet<String> =
            ["a&b<c>\"'", "größe", "日本\u{1F600}", "a+b c", "a%3Ab", "a%2Fb", "100%", "=", "x=y"]
                .map(str::to_owned)
                .into();
        names.extend((0..30).map(|n| format!("service-{n:02}")));
        for name in &names {
            let key = format!("{LOGS}service_name={name}/year=2026/part-0");
            world.s3.put_object(&world.bucket.name, &key, b"x").await.unwrap();
        }
        world.s3.put_object(&world.bucket.name, "logs/_spark_metadata/0", b"x").await.unwrap();
        assert_eq!(discovery::services(&world.bucket, LOGS).await.unwrap(), names, "{:?}", world.server);
        assert_eq!(discovery::services(&world.bucket, "none/").await.unwrap(), BTreeSet::new());
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named_as_such() {
    for world in World::each("missing").await {
        let missing = Bucket { name: unique("nobody"), ..world.bucket.clone() };
        let error = read(&missing).await.unwrap_err();
        assert_eq!(error.code(), Some("NoSuchBucket"), "{:?}", world.server);
    }
}

/// Another owner than the expected one: AWS and Ceph refuse, MinIO does not know of accounts.
#[tokio::test]
async fn minio_does_not_look_at_the_expected_owner() {
    for world in World::each("owner").await {
        let owner: Owner = "999999999999".parse().unwrap();
        let client = client(&std::env::var(world.server.place().0).unwrap(), Some(&owner));
        let theirs = Bucket { client, owner: Some(owner.to_string()), ..world.bucket.clone() };
        let answer = read(&theirs).await;
        match world.server {
            Server::StandIn | Server::Ceph => assert_eq!(answer.unwrap_err().code(), Some("AccessDenied")),
            Server::Minio => assert_eq!(answer.unwrap(), Known::Absent),
        }
    }
}

/// What the adapter makes of a server that keeps less: it says what is lacking and writes once.
#[tokio::test]
async fn a_part_that_minio_drops_is_named() {
    let world = World::new(Server::Minio, "dropped").await;
    let mut ours = rule("api", 90);
    ours.settings.abort_multipart_days = Some(3);
    let write = world.write(&[ours], &[]).await;
    let written = world.apply(&write).await;
    let named = "S3 shows less than was written: AbortIncompleteMultipartUpload.DaysAfterInitiation (of 1 rules)";
    assert!(matches!(&written, Written::Lessened { why } if why == named), "{written:?}");
    assert!(!world.stored().await.contains("AbortIncomplete"));
    // A storage class that is no tier of this server.
    let mut cold = rule("web", 90);
    cold.settings.transitions = vec![Transition { days: 30, storage_class: "GLACIER".to_owned() }];
    let write = world.write(&[cold], &[]).await;
    let refused = apply(&world.bucket, &write, async || Ok(|| Ok(()))).await.unwrap_err();
    assert_eq!(refused.code(), Some("InvalidStorageClass"), "{refused}");
}

/// What became of a document: the code of a refusal, or the rules as the server prints them now.
async fn fate(world: &World, rules_sent: &str) -> Result<Vec<String>, String> {
    match world.put(&document(rules_sent)).await {
        Some(refusal) => Err(refusal),
        None => Ok(rules(&world.stored().await)),
    }
}

fn with(parts: &str) -> String {
    format!("<Rule><ID>r</ID>{parts}<Status>Enabled</Status></Rule>")
}

const LOGS_FILTER: &str = "<Filter><Prefix>x/</Prefix></Filter>";

const EXPIRE: &str = "<Expiration><Days>9</Days></Expiration>";

/// The rule as sent, what must be in the answer, what must not.
type Fate = (String, Vec<&'static str>, Vec<&'static str>);

/// Each rule is accepted, has these parts then and not those, and is taken for the same again as it was printed.
async fn turn_into(world: &World, fates: &[Fate]) {
    for (sent, there, not_there) in fates {
        let answer = fate(world, sent).await;
        assert!(answer.is_ok(), "{answer:?} to {sent}");
        let found = answer.unwrap_or_default();
        assert_eq!(found.len(), 1, "{sent}");
        assert!(there.iter().all(|part| found[0].contains(part)), "{sent}\nbecame {}", found[0]);
        assert!(!not_there.iter().any(|part| found[0].contains(part)), "{sent}\nbecame {}", found[0]);
        assert_eq!(fate(world, &found[0]).await, Ok(found.clone()), "{sent}");
    }
}

/// Each of these is refused in this way.
async fn are_refused(world: &World, table: &[(String, &str)]) {
    let mut found = Vec::new();
    for (sent, _) in table {
        found.push(fate(world, sent).await.err().unwrap_or_else(|| "kept".to_owned()));
    }
    let wanted: Vec<&str> = table.iter().map(|(_, refusal)| *refusal).collect();
    assert_eq!(found, wanted);
}

/// That many rules.
fn many(count: usize) -> String {
    let good = with(&format!("{LOGS_FILTER}{EXPIRE}"));
    (0..count).map(|n| good.replace(">r<", &format!(">r{n}<"))).collect()
}

/// What MinIO makes of each kind of rule that it accepts.
fn fates() -> Vec<Fate> {
    vec![
        (with(&format!("{LOGS_FILTER}{EXPIRE}")), vec!["<ID>r</ID>", "<Prefix>x/</Prefix>", "<Days>9</Days>"], vec![]),
        (with(&format!("<Prefix>x/</Prefix>{EXPIRE}")), vec!["</Status><Prefix>x/</Prefix>"], vec!["<Filter>"]),
        (with(&format!("<Filter/>{EXPIRE}")), vec!["<Filter></Filter>"], vec![]),
        (
            with(&format!("<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>{EXPIRE}")),
            vec!["<Tag><Key>k</Key><Value>v</Value></Tag>"],
            vec![],
        ),
        (
            with(&format!("<Filter><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan></Filter>{EXPIRE}")),
            vec!["<ObjectSizeGreaterThan>500</ObjectSizeGreaterThan>"],
            vec![],
        ),
        (
            with(&format!(
                "<Filter><And><Prefix>x/</Prefix><ObjectSizeLessThan>900</ObjectSizeLessThan><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>{EXPIRE}"
            )),
            vec!["<And>", "<ObjectSizeLessThan>900</ObjectSizeLessThan>", "<Key>k</Key>"],
            vec![],
        ),
        (
            with(&format!("{LOGS_FILTER}<Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration>")),
            vec!["<Date>2030-01-01T00:00:00Z</Date>"],
            vec![],
        ),
        (
            with(&format!(
                "{LOGS_FILTER}<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
            )),
            vec!["<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>"],
            vec![],
        ),
        (
            with(&format!(
                "{LOGS_FILTER}<NoncurrentVersionExpiration><NoncurrentDays>7</NoncurrentDays><NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
            )),
            vec!["<NoncurrentDays>7</NoncurrentDays><NewerNoncurrentVersions>3</NewerNoncurrentVersions>"],
            vec![],
        ),
        (
            with(&format!(
                "{LOGS_FILTER}{EXPIRE}<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
            )),
            vec!["<Days>9</Days>"],
            vec!["AbortIncomplete"],
        ),
        (
            with(&format!("{LOGS_FILTER}{EXPIRE}<LaterField><A>1</A></LaterField>")),
            vec!["<Days>9</Days>"],
            vec!["Later"],
        ),
        (
            with(&format!("{LOGS_FILTER}{EXPIRE}")).replace("Enabled", "Disabled"),
            vec!["<Status>Disabled</Status>"],
            vec![],
        ),
    ]
}

#[tokio::test]
async fn what_minio_keeps_and_what_it_drops() {
    let world = World::new(Server::Minio, "keeps").await;
    turn_into(&world, &fates()).await;
    let nameless = fate(&world, &with(&format!("{LOGS_FILTER}{EXPIRE}")).replace("<ID>r</ID>", "")).await.unwrap();
    assert!(nameless[0].contains("<ID>") && !nameless[0].contains("<ID></ID>"), "{nameless:?}");
    assert_eq!(fate(&world, &nameless[0]).await.unwrap(), nameless, "an id that it made stays");
}

#[tokio::test]
async fn what_minio_refuses() {
    let world = World::new(Server::Minio, "refuses").await;
    let good = with(&format!("{LOGS_FILTER}{EXPIRE}"));
    let class = |name: &str| {
        with(&format!("{LOGS_FILTER}<Transition><Days>30</Days><StorageClass>{name}</StorageClass></Transition>"))
    };
    let abort =
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
    let table = [
        (class("GLACIER"), "400 InvalidStorageClass"),
        (class("STANDARD_IA"), "400 InvalidStorageClass"),
        (with(&format!("{LOGS_FILTER}{abort}")), "400 InvalidArgument"),
        (format!("{good}{good}"), "400 InvalidArgument"),
        (good.replace(">r<", &format!(">{}<", "r".repeat(256))), "400 InvalidArgument"),
        (good.replace("Enabled", "On"), "400 InvalidArgument"),
        (good.replace("<Days>9", "<Days>0"), "400 InvalidArgument"),
        (
            with(&format!("<Filter><Prefix>x/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></Filter>{EXPIRE}")),
            "400 InvalidArgument",
        ),
        (many(1_001), "400 InvalidArgument"),
        (String::new(), "400 InvalidArgument"),
    ];
    are_refused(&world, &table).await;
    assert_eq!(fate(&world, &many(1_000)).await.unwrap().len(), 1_000);
}

#[tokio::test]
async fn only_aws_has_a_setting_for_small_objects() {
    let header = "x-amz-transition-default-minimum-object-size";
    for world in World::each("small").await {
        let text = document(&with(&format!("{LOGS_FILTER}<Expiration><Days>9</Days></Expiration>")));
        let headers = [(header, "varies_by_storage_class")];
        world.s3.put_lifecycle(&world.bucket.name, &text, &headers).await.unwrap().good("a PUT").unwrap();
        let kept = read(&world.bucket).await.unwrap();
        let kept = kept.known().unwrap().minimum_object_size().map(str::to_owned);
        let wanted = (world.server == Server::StandIn).then(|| "varies_by_storage_class".to_owned());
        assert_eq!(kept, wanted, "{:?}", world.server);
    }
}
