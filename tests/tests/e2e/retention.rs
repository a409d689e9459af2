//! Lifecycle rules beside those of others: approved, co-owned, taken along or left behind.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::stand_in::NewObject;
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, approve, cluster, configuration, plan_id, policy, wait_condition,
};
use serde_json::{Value, json};

async fn world(name: &str, services: &[&str]) -> Result<(World, Operator)> {
    let world = World::new(&Bed::attach()?, name).await?;
    let keys =
        services.iter().map(|s| NewObject::sized(&format!("logs/service_name={s}/year=2026/part-0.parquet"), 10));
    let mut objects: Vec<NewObject> = keys.collect();
    objects.push(NewObject::sized("logs/_spark_metadata/0", 10));
    objects.push(NewObject::sized("checkpoint/application/metadata", 10));
    world.put_objects(&objects).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    Ok((world, operator))
}

/// Only the bucket is managed; its policies decide what waits for approval, since the stricter of both holds.
fn bucket_only(world: &World) -> Result<Value> {
    let mut pipeline = cluster(world, "demo");
    pipeline["spec"]["changePolicy"] = json!({"approval": "Never"});
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    Ok(pipeline)
}

/// A policy that approves everything it does.
fn unattended(mut policy: Value) -> Value {
    policy["spec"]["changePolicy"] = json!({"approval": "Never"});
    policy
}

async fn document(world: &World) -> Result<String> {
    Ok(world.lifecycle(&world.bucket).await?.document.unwrap_or_default())
}

async fn wait_document(world: &World, what: &str, good: impl Fn(&str) -> bool) -> Result<String> {
    world
        .wait_until(what, PATIENCE, async || {
            let document = document(world).await?;
            ensure!(good(&document), "{document}");
            Ok(document)
        })
        .await
}

fn rule_of(document: &str, service: &str) -> Option<String> {
    let prefix = format!("<Prefix>logs/service_name={service}/</Prefix>");
    document.split("<Rule>").find(|rule| rule.contains(&prefix)).map(str::to_owned)
}

#[tokio::test]
async fn shortening_waits_for_exactly_its_approval_and_lengthening_does_not() -> Result<()> {
    let (world, _operator) = world("approval", &["api", "web"]).await?;
    apply(&world, &[&bucket_only(&world)?, &unattended(policy("default", "demo", 30))]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    // `apply` would keep changePolicy if it were merely left out.
    let mut shorter = policy("default", "demo", 7);
    shorter["spec"]["changePolicy"] = json!({"approval": "DestructiveOnly"});
    apply(&world, &[&shorter]).await?;
    let id = plan_id(&world, "default").await?;
    approve(&world, "default", "rp-000000000000").await?;
    wait_condition(&world, ("lrp", "default"), ("Stalled", "True", "ApprovalRequired")).await?;
    let before = document(&world).await?;
    assert!(rule_of(&before, "api").context("no rule")?.contains("<Days>30</Days>"), "{before}");
    approve(&world, "default", &id).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    let after = document(&world).await?;
    assert!(rule_of(&after, "api").context("no rule")?.contains("<Days>7</Days>"), "{after}");
    assert!(after.contains(FOREIGN_ODD) && after.contains(FOREIGN_LEGACY), "{after}");
    let mut longer = policy("default", "demo", 90);
    longer["spec"]["changePolicy"] = json!({"approval": "DestructiveOnly", "approvedPlans": [id]});
    apply(&world, &[&longer]).await?;
    wait_document(&world, "the longer rule without another approval", |d| {
        rule_of(d, "api").is_some_and(|rule| rule.contains("<Days>90</Days>"))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn no_rule_reaches_checkpoints_the_sink_log_or_a_service_of_like_name() -> Result<()> {
    let (world, _operator) = world("prefixes", &["api", "api-gateway"]).await?;
    let mut only_api = unattended(policy("default", "demo", 5));
    only_api["spec"]["serviceSelector"] = json!({"matchNames": ["api"]});
    apply(&world, &[&bucket_only(&world)?, &only_api]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    let document = document(&world).await?;
    assert_eq!(document.matches("<Rule>").count(), 3, "{document}");
    assert!(rule_of(&document, "api").is_some() && rule_of(&document, "api-gateway").is_none(), "{document}");
    Ok(())
}

#[tokio::test]
async fn a_deleted_policy_takes_its_rules_along_and_nothing_else() -> Result<()> {
    let (world, _operator) = world("delete", &["api"]).await?;
    apply(&world, &[&bucket_only(&world)?, &unattended(policy("default", "demo", 30))]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    world.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    assert_eq!(document(&world).await?, configuration(&[FOREIGN_ODD, FOREIGN_LEGACY]));
    assert_eq!(world.objects("logs/service_name=api/").await?.len(), 1, "data stays");
    Ok(())
}

#[tokio::test]
async fn the_last_rule_goes_with_the_configuration() -> Result<()> {
    let world = World::new(&Bed::attach()?, "last").await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    let mut operator = Operator::start(&world, Options::default()).await?;
    operator.wait_ready().await?;
    apply(&world, &[&bucket_only(&world)?, &unattended(policy("default", "demo", 30))]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    world.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    assert_eq!(world.lifecycle(&world.bucket).await?.document, None);
    Ok(())
}

#[tokio::test]
async fn an_orphaning_policy_leaves_its_rules_and_its_successor_adopts_them() -> Result<()> {
    let (world, _operator) = world("orphan", &["api"]).await?;
    let mut orphaning = unattended(policy("default", "demo", 30));
    orphaning["spec"]["deletionPolicy"] = json!("Orphan");
    apply(&world, &[&bucket_only(&world)?, &orphaning]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    let with_rule = document(&world).await?;
    world.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    assert_eq!(document(&world).await?, with_rule);
    apply(&world, &[&unattended(policy("default", "demo", 60))]).await?;
    let adopted = wait_document(&world, "the successor's rule", |d| {
        rule_of(d, "api").is_some_and(|rule| rule.contains("<Days>60</Days>"))
    })
    .await?;
    assert_eq!(adopted.matches("<Rule>").count(), 3, "{adopted}");
    Ok(())
}

#[tokio::test]
async fn the_higher_priority_wins_and_the_loser_says_so() -> Result<()> {
    let (world, _operator) = world("priority", &["api", "web"]).await?;
    let mut high = unattended(policy("payments", "demo", 365));
    high["spec"]["priority"] = json!(100);
    high["spec"]["serviceSelector"] = json!({"matchNames": ["api"]});
    let mut covered = unattended(policy("covered", "demo", 10));
    covered["spec"]["serviceSelector"] = json!({"matchNames": ["api"]});
    apply(&world, &[&bucket_only(&world)?, &unattended(policy("default", "demo", 30)), &high, &covered]).await?;
    wait_condition(&world, ("lrp", "payments"), ("Ready", "True", "Programmed")).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    let loser = wait_condition(&world, ("lrp", "covered"), ("Accepted", "False", "Conflicted")).await?;
    assert!(loser["status"].to_string().contains("payments"), "{}", loser["status"]);
    let document = document(&world).await?;
    assert!(rule_of(&document, "api").context("no rule")?.contains("<Days>365</Days>"), "{document}");
    assert!(rule_of(&document, "web").context("no rule")?.contains("<Days>30</Days>"), "{document}");
    Ok(())
}

#[tokio::test]
async fn a_second_pipeline_on_a_bucket_is_refused_without_a_call() -> Result<()> {
    let (world, _operator) = world("two-owners", &["api"]).await?;
    apply(&world, &[&bucket_only(&world)?]).await?;
    wait_condition(&world, ("lwc", "demo"), ("Ready", "True", "Running")).await?;
    let mut younger = bucket_only(&world)?;
    // Creation times have whole seconds; equal ones are decided by name.
    younger["metadata"]["name"] = json!("zz-younger");
    apply(&world, &[&younger, &unattended(policy("default", "zz-younger", 30))]).await?;
    wait_condition(&world, ("lwc", "zz-younger"), ("StorageReady", "False", "Conflicted")).await?;
    wait_condition(&world, ("lrp", "default"), ("Accepted", "False", "Conflicted")).await?;
    let writes = world.calls(&world.bucket, true).await?;
    assert!(writes.iter().all(|call| !call.action.contains("Lifecycle")), "{writes:?}");
    Ok(())
}

#[tokio::test]
async fn a_policy_without_its_pipeline_says_so_and_can_be_deleted() -> Result<()> {
    let (world, _operator) = world("no-cluster", &["api"]).await?;
    apply(&world, &[&policy("default", "nobody", 30)]).await?;
    wait_condition(&world, ("lrp", "default"), ("Stalled", "True", "ClusterNotFound")).await?;
    world.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    assert_eq!(document(&world).await?, configuration(&[FOREIGN_ODD, FOREIGN_LEGACY]));
    Ok(())
}

#[tokio::test]
async fn a_finalizer_that_somebody_else_wrote_is_no_trap() -> Result<()> {
    let (world, _operator) = world("restored", &["api"]).await?;
    let mut restored = unattended(policy("default", "demo", 30));
    restored["metadata"]["finalizers"] = json!(["logwise.io/lifecycle-rules"]);
    apply(&world, &[&bucket_only(&world)?, &restored]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    world.kubectl(&["delete", "lrp", "default", "--timeout=60s"]).await?;
    assert_eq!(document(&world).await?, configuration(&[FOREIGN_ODD, FOREIGN_LEGACY]));
    Ok(())
}

#[tokio::test]
async fn a_policy_whose_rules_could_not_be_removed_is_not_ready() -> Result<()> {
    use logwise_testbed::stand_in::Fault;
    let (world, _operator) = world("narrowed", &["api", "web"]).await?;
    apply(&world, &[&bucket_only(&world)?, &unattended(policy("default", "demo", 30))]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    world.fault(&Fault::error(&world.bucket, "PutBucketLifecycleConfiguration", 403, "AccessDenied").times(0)).await?;
    let mut narrowed = unattended(policy("default", "demo", 30));
    narrowed["spec"]["serviceSelector"] = json!({"matchNames": ["api"]});
    apply(&world, &[&narrowed]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "False", "PermissionDenied")).await?;
    assert!(rule_of(&document(&world).await?, "web").is_some());
    world.clear_faults(&world.bucket).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    assert!(rule_of(&document(&world).await?, "web").is_none());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_keeps_its_last_known_numbers() -> Result<()> {
    use logwise_testbed::stand_in::Fault;
    let (world, _operator) = world("unread", &["api", "web"]).await?;
    apply(&world, &[&bucket_only(&world)?, &unattended(policy("default", "demo", 30))]).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    world.fault(&Fault::error(&world.bucket, "GetBucketLifecycleConfiguration", 403, "AccessDenied").times(0)).await?;
    let object = wait_condition(&world, ("lrp", "default"), ("Programmed", "False", "PermissionDenied")).await?;
    let status = &object["status"];
    assert_eq!((status["matchedServices"].as_i64(), status["rules"].as_i64()), (Some(2), Some(2)), "{status}");
    let accepted = logwise_tests::condition(&object, "Accepted").context("Accepted")?;
    assert_eq!(accepted["reason"], "Accepted");
    Ok(())
}

#[tokio::test]
async fn a_policy_that_only_observes_is_ready_and_writes_nothing() -> Result<()> {
    let (world, _operator) = world("observe", &["api"]).await?;
    let mut observing = policy("default", "demo", 30);
    observing["spec"]["changePolicy"] = json!({"mode": "Observe"});
    apply(&world, &[&bucket_only(&world)?, &observing]).await?;
    wait_condition(&world, ("lrp", "default"), ("ChangesPending", "True", "ObserveOnly")).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "ObserveOnly")).await?;
    assert_eq!(document(&world).await?, configuration(&[FOREIGN_ODD, FOREIGN_LEGACY]));
    Ok(())
}
