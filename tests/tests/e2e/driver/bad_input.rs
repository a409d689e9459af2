//! What is wrong with masters, jars and classes gets its own reason and a next step; nothing is sent before it is
//! mended.

use super::{CLASS, Ground, driver, looked, master, operator, pipeline, quiet, runs, says, submitted, untouched};
use crate::replicas::intents;
use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::fake_master::{End, FakeMaster, Fate, Mood, Setup};
use logwise_testbed::profile::Part;
use logwise_testbed::proxy::rules::{Action, Rule};
use logwise_testbed::spark_cluster::{self, SparkCluster};
use logwise_testbed::stream::IDLE_CLASS;
use logwise_testbed::world::World;
use logwise_tests::replay::replayed;
use logwise_tests::{PATIENCE, apply, turn_of_spark, wait_condition};
use serde_json::{Value, json};

/// How a master is not to be used, and what is said of that.
const MOODS: [(&str, Mood, &str); 4] = [
    ("standby", Mood::Standby, "is STANDBY"),
    ("recovering", Mood::Recovering, "is RECOVERING"),
    ("html", Mood::Html, "answered HTML instead of JSON"),
    ("cut", Mood::Cut, "cannot be reached"),
];

/// Each object has a master of its own; one operator serves them all.
#[tokio::test]
async fn a_master_that_is_not_the_active_one_or_none_at_all_is_named_and_nothing_is_sent() -> Result<()> {
    let world = World::new(&Bed::attach()?, "driver-masters").await?;
    let operator = operator(&world).await?;
    let mut cases: Vec<(&str, FakeMaster, &str)> = Vec::new();
    for (name, mood, words) in MOODS {
        let master = master(&world.bed, Setup::default()).await?;
        master.set_mood(mood);
        cases.push((name, master, words));
    }
    let stranger = master(&world.bed, Setup::default()).await?;
    stranger.tell(r#"{"status": "ALIVE", "workers": "many"}"#);
    cases.push(("stranger", stranger, "answered JSON of another shape"));
    let mut objects: Vec<Value> =
        cases.iter().map(|(name, master, _)| pipeline(name, &master.masters(), &driver(&json!({})))).collect();
    objects.push(pipeline("nowhere", &json!([{"host": "127.255.255.254", "uiPort": 9}]), &driver(&json!({}))));
    apply(&world, &objects.iter().collect::<Vec<_>>()).await?;
    for (name, master, words) in &cases {
        let address = master.address().ui();
        says(&world, name, "MasterUnreachable", &[&address, words, "`spark.masters`"]).await?;
    }
    says(&world, "nowhere", "MasterUnreachable", &["127.255.255.254:9 cannot be reached"]).await?;
    for (_, master, _) in &cases {
        untouched(master)?;
        master.heal();
    }
    for (name, ..) in &cases {
        runs(&world, name, &[]).await?;
    }
    looked(&world, &operator, 15).await?;
    for (name, master, _) in &cases {
        ensure!(submitted(master) == 1, "{name}: {:?}", master.events());
    }
    replayed(&world).await
}

/// While the master could not be asked nobody counts how long the driver was missing: it was not.
#[tokio::test]
async fn a_driver_that_runs_behind_a_master_in_trouble_is_left_alone() -> Result<()> {
    let ground = Ground::new("driver-trouble").await?;
    ground.apply(&driver(&json!({}))).await?;
    let id = ground.runs(&[]).await?;
    for mood in [Mood::Recovering, Mood::Cut] {
        ground.master.set_mood(mood);
        says(&ground.world, "demo", "MasterUnreachable", &[]).await?;
        ground.master.heal();
        ensure!(ground.runs(&[]).await? == id, "another one");
    }
    ground.ends_with(1, 0).await
}

#[tokio::test]
async fn a_rest_server_that_is_off_or_elsewhere_is_named_with_the_settings() -> Result<()> {
    let world = World::new(&Bed::attach()?, "driver-rest").await?;
    let operator = operator(&world).await?;
    let off = master(&world.bed, Setup { rest: false, ..Setup::default() }).await?;
    let elsewhere = master(&world.bed, Setup::default()).await?;
    let mut misled = elsewhere.masters();
    misled[0]["restPort"] = json!(elsewhere.address().ui_port);
    let ours = driver(&json!({}));
    apply(&world, &[&pipeline("off", &off.masters(), &ours), &pipeline("elsewhere", &misled, &ours)]).await?;
    for name in ["off", "elsewhere"] {
        let words = ["`spark.master.rest.enabled` set to true", "`spark.masters[].restPort`"];
        says(&world, name, "RestUnavailable", &words).await?;
        wait_condition(&world, ("lwc", name), ("Stalled", "True", "RestUnavailable")).await?;
    }
    looked(&world, &operator, 3).await?;
    untouched(&off)?;
    untouched(&elsewhere)?;
    let records = intents(&world).await?;
    ensure!(records.is_empty(), "something was written down: {records:?}");
    apply(&world, &[&pipeline("elsewhere", &elsewhere.masters(), &ours)]).await?;
    runs(&world, "elsewhere", &[]).await?;
    looked(&world, &operator, 4).await?;
    ensure!(submitted(&elsewhere) == 1, "{:?}", elsewhere.events());
    replayed(&world).await
}

/// What the worker reports of a jar that is missing. Of a class that is missing it reports nothing: the program has
/// ended.
const JAR: &str = "java.nio.file.NoSuchFileException: /no/such.jar";

#[tokio::test]
async fn drivers_that_end_again_and_again_are_submitted_more_and_more_seldom_and_say_why() -> Result<()> {
    let world = World::new(&Bed::attach()?, "driver-fails").await?;
    let operator = operator(&world).await?;
    let (jar, class) = (master(&world.bed, Setup::default()).await?, master(&world.bed, Setup::default()).await?);
    jar.set_fate(Some(Fate { times: 99, end: End::Error, exception: Some(JAR.to_owned()) }));
    class.set_fate(Some(Fate { times: 99, end: End::Failed, exception: None }));
    let wrong = [
        pipeline("jar", &jar.masters(), &driver(&json!({"supervise": true}))),
        pipeline("class", &class.masters(), &driver(&json!({"supervise": false, "mainClass": "com.example.Wrong"}))),
    ];
    apply(&world, &[&wrong[0], &wrong[1]]).await?;
    let jar_said = format!("the last one: ERROR: {JAR}. The next one is submitted after ");
    let told = says(&world, "jar", "DriverNotRunning", &["end again and again", &jar_said]).await?;
    ensure!(told.contains(CLASS) && told.contains("`spark.driver`"), "no next step: {told}");
    let class_said = "the last one: FAILED. The next one is submitted after ";
    says(&world, "class", "DriverNotRunning", &["com.example.Wrong", class_said]).await?;
    looked(&world, &operator, 8).await?;
    for master in [&jar, &class] {
        ensure!(submitted(master) == 2, "two failures, and a pause: {:?}", master.events());
        master.set_fate(None);
    }
    // A corrected spec waits for no pause.
    let right = json!({"appResource": "s3a://acme-jars/right.jar"});
    let right = [
        pipeline("jar", &jar.masters(), &driver(&right)),
        pipeline("class", &class.masters(), &driver(&json!({"supervise": false}))),
    ];
    apply(&world, &[&right[0], &right[1]]).await?;
    for name in ["jar", "class"] {
        runs(&world, name, &[]).await?;
    }
    looked(&world, &operator, 6).await?;
    for master in [&jar, &class] {
        ensure!(submitted(master) == 3, "{:?}", master.events());
    }
    let body = jar.submissions().pop().context("no submission")?;
    ensure!(body["appResource"] == "s3a://acme-jars/right.jar", "{body}");
    replayed(&world).await
}

/// On a real master with a real worker: what that reports of a jar that is not there, and how a class ends that is not
/// in the jar.
#[tokio::test]
async fn a_real_worker_names_the_jar_that_is_missing_and_a_wrong_class_ends_with_a_failure() -> Result<()> {
    const WRONG: &str = "io.logwise.testbed.Wrong";
    let _turn = turn_of_spark().await;
    let bed = Bed::attach_with(&[Part::Kube, Part::Kafka, Part::Aws, Part::Sql, Part::Spark])?;
    let world = World::new(&bed, "driver-jar").await?;
    let cluster = SparkCluster::start(&world.bed, "jar", spark_cluster::Setup::default()).await?;
    world.create_group_at(&cluster, (1, 1, 1)).await?;
    world.wait_workers(&cluster, 1, PATIENCE).await?;
    let mut right = world.driver(&world.job(&cluster))?;
    for (name, value) in [("mainClass", json!(IDLE_CLASS)), ("memory", json!("128m")), ("supervise", json!(false))] {
        right[name] = value;
    }
    let (mut jar, mut class) = (right.clone(), right.clone());
    jar["appResource"] = json!("file:///no/such.jar");
    class["mainClass"] = json!(WRONG);
    let _operator = operator(&world).await?;
    let masters = cluster.masters();
    apply(&world, &[&pipeline("jar", &masters, &jar), &pipeline("class", &masters, &class)]).await?;
    let jar_said = format!("the last one: ERROR: {JAR}. ");
    says(&world, "jar", "DriverNotRunning", &["end again and again", &jar_said, "`spark.driver`"]).await?;
    // The program has ended, and its worker does not know why: that stands in the driver's own log.
    let words = [WRONG, "end again and again", "the last one: FAILED. ", "Look at its log", "`spark.driver`"];
    says(&world, "class", "DriverNotRunning", &words).await?;
    apply(&world, &[&pipeline("jar", &masters, &right)]).await?;
    runs(&world, "jar", &[]).await?;
    replayed(&world).await
}

/// Such an answer comes with status 200.
#[tokio::test]
async fn a_submission_that_the_master_refuses_is_not_repeated_at_each_look() -> Result<()> {
    const REFUSAL: &str = r#"{"action": "CreateSubmissionResponse", "message": "Application jar is missing.",
        "serverSparkVersion": "3.5.7", "success": false}"#;
    let world = World::new(&Bed::attach()?, "driver-refused").await?;
    let master = master(&world.bed, Setup::default()).await?;
    let proxy = world.master_proxy(master.address()).await?;
    let rule = proxy.http.add(Rule::new("^/v1/submissions/create", Action::Reply(REFUSAL.to_owned()))?.times(0));
    let operator = operator(&world).await?;
    apply(&world, &[&pipeline("demo", &proxy.masters(), &driver(&json!({})))]).await?;
    let words = ["Application jar is missing.", "Correct `spark.driver`", "The next one is submitted after "];
    says(&world, "demo", "SubmissionRefused", &words).await?;
    wait_condition(&world, ("lwc", "demo"), ("Stalled", "True", "SubmissionRefused")).await?;
    looked(&world, &operator, 4).await?;
    ensure!(proxy.http.hits(rule) == 2, "{:?}", proxy.http.requests());
    untouched(&master)?;
    proxy.http.clear();
    let right = driver(&json!({"appResource": "s3a://acme-jars/right.jar"}));
    apply(&world, &[&pipeline("demo", &proxy.masters(), &right)]).await?;
    runs(&world, "demo", &[]).await?;
    quiet(&world, &operator, &master).await?;
    ensure!(submitted(&master) == 1, "{:?}", master.events());
    replayed(&world).await
}
