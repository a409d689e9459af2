//! AWS that is slow to take calls, repeats them, forgets to answer, cannot launch, or launches and ends by itself.

use anyhow::{Context, Result, ensure};
use logwise_testbed::bed::Bed;
use logwise_testbed::operator::{Operator, Options};
use logwise_testbed::oracles::quiet::settles;
use logwise_testbed::stand_in::{Call, Fault, Mode, NewObject, Pace, Stale, StandIn, Throttle};
use logwise_testbed::world::World;
use logwise_tests::{
    FOREIGN_LEGACY, FOREIGN_ODD, PATIENCE, apply, cluster, condition, configuration, events, more_looks, policy,
    raises, wait_condition, wait_desired, with_spark,
};
use serde_json::{Value, json};
use std::time::Duration;

const SET: &str = "SetDesiredCapacity";
const DESCRIBE: &str = "DescribeAutoScalingGroups";
const PUT: &str = "PutBucketLifecycleConfiguration";
/// Attempts of a read, the first one included.
const ATTEMPTS: usize = 3;
/// The shortest pause after the third failure in a row: 4 s, spread by a quarter.
const THIRD_PAUSE_MS: i64 = 3_000;
/// Longer than any of these tests.
const NEVER: Duration = Duration::from_secs(3_600);

struct Ground {
    world: World,
    aws: StandIn,
    operator: Operator,
}

impl Ground {
    /// A group of one instance and an operator that wants `min` workers. The preflight is off: it reads the group too.
    async fn new(name: &str, min: i32) -> Result<Ground> {
        let world = World::new(&Bed::attach()?, name).await?;
        world.create_group(0, 9, 1).await?;
        Ground::over(world, min).await
    }

    async fn over(world: World, min: i32) -> Result<Ground> {
        want(&world, min).await?;
        let config = json!({"preflight": {"enabled": false}, "intervals": {"sparkSeconds": 1}});
        let mut operator = Operator::start(&world, Options::config(config)).await?;
        operator.wait_ready().await?;
        Ok(Ground { aws: world.bed.stand_in(), world, operator })
    }

    async fn want(&self, min: i32) -> Result<()> {
        want(&self.world, min).await
    }

    /// The operator's calls of one operation on the group.
    async fn calls(&self, action: &str) -> Result<Vec<Call>> {
        let calls = self.world.calls(&self.world.group, false).await?;
        Ok(calls.into_iter().filter(|call| call.action == action).collect())
    }

    /// Waits until so many calls of an operation are in the ledger.
    async fn wait_calls(&self, action: &str, number: usize) -> Result<Vec<Call>> {
        self.world
            .wait_until(&format!("{number} calls of {action}"), PATIENCE, async || {
                let calls = self.calls(action).await?;
                ensure!(calls.len() >= number, "{} of {number}", calls.len());
                Ok(calls)
            })
            .await
    }

    /// Waits until the status says that so many instances are in service and so many are wanted of the group.
    async fn wait_workers(&self, in_service: i64, desired: i64) -> Result<()> {
        let what = format!("{in_service} of {desired} instances in the status");
        self.world
            .wait_until(&what, PATIENCE, async || {
                let object = self.world.get_json("lwc", "demo").await?;
                let workers = &object["status"]["spark"]["workers"];
                ensure!(workers["replicas"] == in_service && workers["desiredReplicas"] == desired, "{workers}");
                Ok(())
            })
            .await
    }

    /// Waits for a message of SparkReady that holds this text.
    async fn wait_told(&self, text: &str) -> Result<()> {
        self.world
            .wait_until(&format!("SparkReady to say {text:?}"), PATIENCE, async || {
                let object = self.world.get_json("lwc", "demo").await?;
                let ready = condition(&object, "SparkReady").context("no SparkReady")?;
                ensure!(ready["message"].as_str().unwrap_or_default().contains(text), "{ready}");
                Ok(())
            })
            .await
    }

    /// Three more looks without another raise. Other tests' workers come and go at the master, so statuses may change.
    async fn leaves_the_group_alone(&self) -> Result<()> {
        let before = raises(&self.world).await?;
        more_looks(&self.world, &self.operator, "spark", 3).await?;
        let now = raises(&self.world).await?;
        ensure!(now == before, "{now} raises after {before}");
        Ok(())
    }
}

/// At least `min` workers of the world's group; nothing else is managed.
async fn want(world: &World, min: i32) -> Result<()> {
    let mut pipeline = with_spark(world, cluster(world, "demo"), (min, 9))?;
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    apply(world, &[&pipeline]).await
}

fn wanted(calls: &[Call]) -> Vec<&str> {
    calls.iter().filter_map(|call| call.params["DesiredCapacity"].as_str()).collect()
}

/// Milliseconds from each call to the next.
fn gaps(calls: &[Call]) -> Vec<i64> {
    calls.windows(2).map(|pair| pair[1].time - pair[0].time).collect()
}

#[tokio::test]
async fn throttled_reads_are_tried_three_times_a_look_and_looks_become_rare() -> Result<()> {
    let ground = Ground::new("throttled", 1).await?;
    let (world, group) = (&ground.world, &ground.world.group);
    ground.wait_workers(1, 1).await?;
    world.fault(&Fault::throttle(group, ".", Throttle::Share(1.0))).await?;
    let before = ground.calls(DESCRIBE).await?.iter().filter(|call| call.outcome.fault.is_none()).count();
    let calls = ground.wait_calls(DESCRIBE, before + 4 * ATTEMPTS).await?;
    wait_condition(world, ("lwc", "demo"), ("SparkReady", "False", "Throttled")).await?;
    let refused: Vec<Call> = calls.into_iter().filter(|call| call.outcome.fault.is_some()).collect();
    // Were there a second layer of repetition, the fourth look would not begin at the tenth call, after a pause.
    let pause = refused[3 * ATTEMPTS].time - refused[3 * ATTEMPTS - 1].time;
    ensure!(pause >= THIRD_PAUSE_MS, "the fourth look came {pause} ms after the third: {:?}", gaps(&refused));
    ensure!(raises(world).await? == 0, "what cannot be read is not changed");
    world.clear_faults(group).await?;
    ground.wait_workers(1, 1).await
}

#[tokio::test]
async fn a_throttled_raise_is_sent_once_a_look() -> Result<()> {
    let ground = Ground::new("throttled-raise", 1).await?;
    let (world, group) = (&ground.world, &ground.world.group);
    ground.wait_workers(1, 1).await?;
    world.fault(&Fault::throttle(group, SET, Throttle::Share(1.0))).await?;
    ground.want(3).await?;
    let refused = ground.wait_calls(SET, 3).await?;
    let gaps = gaps(&refused);
    // 1 s and 2 s, spread by a quarter; a repetition below the look would come within milliseconds.
    ensure!(gaps[0] >= 750 && gaps[1] >= 1_500, "the calls came {gaps:?} ms apart");
    wait_condition(world, ("lwc", "demo"), ("SparkReady", "False", "Throttled")).await?;
    world.clear_faults(group).await?;
    wait_desired(world, 3).await?;
    let done = ground.calls(SET).await?.iter().filter(|call| call.outcome.fault.is_none()).count();
    ensure!(done == 1, "the raise was done {done} times");
    ground.wait_workers(3, 3).await
}

#[tokio::test]
async fn a_raise_gets_through_a_small_quota_because_looks_become_rare() -> Result<()> {
    let ground = Ground::new("quota", 1).await?;
    let (world, group) = (&ground.world, &ground.world.group);
    ground.wait_workers(1, 1).await?;
    // Less than a look each second needs. A look that raises takes up to nine calls: it reads the group, what the group
    // does and its refreshes, and reads the group again before each of protection, which is set twice, and the raise.
    world.fault(&Fault::throttle(group, ".", Throttle::Rate { per_second: 0.4, burst: 10.0 })).await?;
    world
        .wait_until("the quota to be felt", PATIENCE, async || {
            let calls = ground.calls(DESCRIBE).await?;
            ensure!(calls.iter().any(|call| call.outcome.fault.is_some()), "{} calls went through", calls.len());
            Ok(())
        })
        .await?;
    ground.want(4).await?;
    wait_desired(world, 4).await?;
    let done = ground.calls(SET).await?.iter().filter(|call| call.outcome.fault.is_none()).count();
    ensure!(done == 1, "the raise was done {done} times");
    Ok(())
}

#[tokio::test]
async fn a_raise_that_arrives_twice_has_its_effect_once() -> Result<()> {
    let ground = Ground::new("twice", 1).await?;
    let (world, group) = (&ground.world, &ground.world.group);
    ground.wait_workers(1, 1).await?;
    world.fault(&Fault::twice(group, SET, NEVER)).await?;
    ground.want(3).await?;
    ground.wait_workers(3, 3).await?;
    let waiting = ground.aws.deliveries(group).await?;
    ensure!(waiting.len() == 1 && waiting[0].action == SET && waiting[0].fault == "again", "{waiting:?}");
    ensure!(ground.aws.deliver(group).await? == 1, "one request was on its way");
    ground.leaves_the_group_alone().await?;
    let calls = ground.calls(SET).await?;
    ensure!(wanted(&calls) == ["3", "3"] && calls[1].outcome.fault == Some(json!("again")), "{calls:?}");
    ensure!(world.group(group).await?.instances.len() == 3, "more than was wanted");
    Ok(())
}

#[tokio::test]
async fn an_old_raise_that_arrives_after_a_newer_one_is_put_right() -> Result<()> {
    let ground = Ground::new("overtaken", 1).await?;
    let (world, group) = (&ground.world, &ground.world.group);
    ground.wait_workers(1, 1).await?;
    world.fault(&Fault::twice(group, SET, NEVER)).await?;
    ground.want(3).await?;
    ground.wait_workers(3, 3).await?;
    ground.want(5).await?;
    ground.wait_workers(5, 5).await?;
    let ids = async || -> Result<Vec<String>> {
        let mut ids: Vec<_> = world.group(group).await?.instances.into_iter().map(|one| one.id).collect();
        ids.sort_unstable();
        Ok(ids)
    };
    let before = ids().await?;
    // AWS has no condition on this call: it obeys, and the operator raises again.
    ensure!(ground.aws.deliver(group).await? == 1, "one request was on its way");
    wait_desired(world, 5).await?;
    ground.wait_workers(5, 5).await?;
    ground.leaves_the_group_alone().await?;
    ensure!(wanted(&ground.calls(SET).await?) == ["3", "5", "3", "5"], "{:?}", ground.calls(SET).await?);
    // All are protected: less is wanted for a moment, and nobody goes.
    ensure!(ids().await? == before, "{:?} were there before", before);
    Ok(())
}

#[tokio::test]
async fn a_late_raise_is_read_for_before_another_is_sent_and_never_exceeds_what_was_wanted() -> Result<()> {
    let ground = Ground::new("late", 1).await?;
    let (world, group) = (&ground.world, &ground.world.group);
    ground.wait_workers(1, 1).await?;
    world.fault(&Fault::late(group, SET, NEVER)).await?;
    ground.want(3).await?;
    let on_its_way = async || {
        let waiting = ground.aws.deliveries(group).await?;
        ensure!(waiting.len() == 1 && waiting[0].fault == "late" && waiting[0].left_ms > 0, "{waiting:?}");
        Ok(())
    };
    world.wait_until("the first raise to be on its way", PATIENCE, on_its_way).await?;
    // Nothing happened as long as the first call may still arrive: then it is sent once more.
    ground.wait_workers(3, 3).await?;
    ensure!(ground.aws.deliver(group).await? == 1, "the first one is still on its way");
    ground.leaves_the_group_alone().await?;
    let calls = ground.calls(SET).await?;
    ensure!(wanted(&calls) == ["3", "3"] && calls[1].outcome.fault == Some(json!("late")), "{calls:?}");
    ensure!(world.group(group).await?.desired == 3, "the late one changed the group");
    Ok(())
}

#[tokio::test]
async fn a_launch_that_fails_is_not_answered_with_another_raise() -> Result<()> {
    let ground = Ground::new("no-capacity", 1).await?;
    let (world, group) = (&ground.world, &ground.world.group);
    ground.wait_workers(1, 1).await?;
    ground.aws.fail_launches(group, 0, Some("We have no such machines left")).await?;
    ground.want(3).await?;
    ground.wait_workers(1, 3).await?;
    let life = ground.aws.life(group).await?;
    ensure!(life.failures.is_some_and(|failures| failures.times == 0), "launches do not fail");
    ground.wait_told("1 instances are in service").await?;
    wait_condition(world, ("lwc", "demo"), ("SparkReady", "False", "WorkersNotReady")).await?;
    ground.leaves_the_group_alone().await?;
    ground.aws.mend_launches(group).await?;
    ground.wait_workers(3, 3).await?;
    ensure!(raises(world).await? == 1, "{} raises", raises(world).await?);
    Ok(())
}

#[tokio::test]
async fn a_suspended_process_leaves_the_raise_as_it_is() -> Result<()> {
    let ground = Ground::new("suspended-asg", 1).await?;
    let group = &ground.world.group;
    ground.wait_workers(1, 1).await?;
    let launch = [("ScalingProcesses.member.1", "Launch")];
    ground.aws.administer(group, "SuspendProcesses", &launch).await?;
    ground.want(3).await?;
    ground.wait_workers(1, 3).await?;
    ground.wait_told("1 instances are in service").await?;
    ground.leaves_the_group_alone().await?;
    ground.aws.administer(group, "ResumeProcesses", &launch).await?;
    ground.wait_workers(3, 3).await?;
    ensure!(raises(&ground.world).await? == 1, "{} raises", raises(&ground.world).await?);
    Ok(())
}

/// The id of the group's first instance in service.
async fn an_instance(world: &World) -> Result<String> {
    let group = world.group(&world.group).await?;
    let one = group.instances.iter().find(|one| one.lifecycle_state == "InService").context("nothing is in service")?;
    Ok(one.id.clone())
}

#[tokio::test]
async fn what_aws_replaces_by_itself_is_watched_and_left_to_aws() -> Result<()> {
    let ground = Ground::new("replaced", 2).await?;
    let (world, group) = (&ground.world, &ground.world.group);
    ground.wait_workers(2, 2).await?;
    let slow = Pace { pending: Some(NEVER), ..Pace::default() };
    let life = ground.aws.set_pace(group, &slow).await?;
    ensure!(Duration::from_millis(life.pending_ms) == NEVER, "{life:?}");
    ground.aws.reclaim(&an_instance(world).await?).await?;
    ground.wait_workers(1, 2).await?;
    ground.wait_told("1 instances are in service").await?;
    ground.leaves_the_group_alone().await?;
    ground.aws.advance_clock(group, NEVER).await?;
    ground.wait_workers(2, 2).await?;
    // A machine that runs and fails its checks goes the same way.
    let ailing = an_instance(world).await?;
    ground.aws.impair(&ailing).await?;
    ground.wait_workers(1, 2).await?;
    ground.leaves_the_group_alone().await?;
    let life = ground.aws.advance_clock(group, NEVER).await?;
    ensure!(Duration::from_millis(life.ahead_ms) == 2 * NEVER, "{life:?}");
    ground.wait_workers(2, 2).await?;
    let now = world.group(group).await?;
    ensure!(now.instances.iter().all(|one| one.id != ailing), "{now:?}");
    ensure!(raises(world).await? == 1, "only the first raise, from one to two: {}", raises(world).await?);
    Ok(())
}

#[tokio::test]
async fn a_group_that_balances_its_zones_is_left_alone() -> Result<()> {
    let world = World::new(&Bed::attach()?, "zones").await?;
    let (aws, group) = (world.bed.stand_in(), world.group.clone());
    aws.create_group_in(&group, (0, 9, 4), &["a", "b"]).await?;
    for one in world.group(&group).await?.instances.iter().filter(|one| one.zone.ends_with('b')) {
        let end = [("InstanceId", one.id.as_str()), ("ShouldDecrementDesiredCapacity", "true")];
        aws.administer(&group, "TerminateInstanceInAutoScalingGroup", &end).await?;
    }
    let ground = Ground::over(world, 2).await?;
    // AWS moves no instance that is protected.
    let observe = json!({"spec": {"spark": {"workers": {"autoScalingGroup": {"scaleInProtection": "Observe"}}}}});
    ground.world.kubectl(&["patch", "lwc", "demo", "--type", "merge", "-p", &observe.to_string()]).await?;
    ground.wait_workers(2, 2).await?;
    for instance in &ground.world.group(&group).await?.instances {
        let bare = [("InstanceIds.member.1", instance.id.as_str()), ("ProtectedFromScaleIn", "false")];
        ground.aws.administer(&group, "SetInstanceProtection", &bare).await?;
    }
    ground.aws.set_pace(&group, &Pace { pending: Some(NEVER), ..Pace::default() }).await?;
    let launched = ground.aws.rebalance(&group).await?;
    ensure!(launched.len() == 1, "{launched:?}");
    ground.leaves_the_group_alone().await?;
    ground.aws.advance_clock(&group, NEVER).await?;
    let now = ground.world.group(&group).await?;
    ensure!(now.desired == 2 && now.instances.iter().any(|one| one.id == launched[0]), "{now:?}");
    ground.wait_workers(2, 2).await?;
    ensure!(raises(&ground.world).await? == 0, "the balance was answered with a raise");
    Ok(())
}

/// A bucket with rules of others and one service, and an operator that gives S3 as long as `patience` seconds to show a
/// write.
async fn bucket(name: &str, patience: u32) -> Result<(World, Operator)> {
    let world = World::new(&Bed::attach()?, name).await?;
    world.put_objects(&[NewObject::sized("logs/service_name=api/year=2026/part-0.parquet", 10)]).await?;
    world.put_lifecycle(&world.bucket, &configuration(&[FOREIGN_ODD, FOREIGN_LEGACY])).await?;
    let options = Options::default().env("LOGWISE_OLD_ANSWERS_SECONDS", &patience.to_string());
    let mut operator = Operator::start(&world, options).await?;
    operator.wait_ready().await?;
    Ok((world, operator))
}

/// Applies the pipeline and a policy for every service that waits for nobody.
async fn retain(world: &World, days: i32) -> Result<()> {
    let mut pipeline = cluster(world, "demo");
    pipeline["spec"]["changePolicy"] = json!({"approval": "Never"});
    pipeline["spec"].as_object_mut().context("a spec")?.remove("kafka");
    let mut policy: Value = policy("default", "demo", days);
    policy["spec"]["changePolicy"] = json!({"approval": "Never"});
    apply(world, &[&pipeline, &policy]).await
}

async fn puts(world: &World) -> Result<usize> {
    Ok(world.calls(&world.bucket, true).await?.iter().filter(|call| call.action == PUT).count())
}

async fn holds_theirs_and(world: &World, days: i32) -> Result<()> {
    let document = world.lifecycle(&world.bucket).await?.document.unwrap_or_default();
    ensure!(document.contains(FOREIGN_ODD) && document.contains(FOREIGN_LEGACY), "a foreign rule is lost: {document}");
    ensure!(
        document.matches("<Rule>").count() == 3 && document.contains(&format!("<Days>{days}</Days>")),
        "{document}"
    );
    Ok(())
}

/// How many reads of the configuration were answered with an old one.
async fn old_answers(world: &World) -> Result<usize> {
    let calls = world.calls(&world.bucket, false).await?;
    Ok(calls.iter().filter(|call| call.outcome.fault == Some(json!("stale"))).count())
}

/// Nobody was blamed for old answers.
async fn nobody_is_blamed(world: &World) -> Result<()> {
    let told = events(world, "demo", "ForeignWriterDetected").await?;
    ensure!(told.is_empty(), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn old_answers_for_half_a_minute_cause_no_second_write_and_blame_nobody() -> Result<()> {
    let (world, operator) = bucket("stale", 120).await?;
    let aws = world.bed.stand_in();
    let old = Stale { within: Some(Duration::from_secs(30)), after_next_write: true, ..Stale::default() };
    ensure!(aws.make_stale(&world.bucket, &old).await?.waiting, "it begins with the write");
    retain(&world, 30).await?;
    let object = wait_condition(&world, ("lrp", "default"), ("Programmed", "False", "Progressing")).await?;
    let told = condition(&object, "Programmed").context("Programmed")?["message"].to_string();
    ensure!(told.contains("still answers with the configuration from before"), "{told}");
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    ensure!(!aws.stale(&world.bucket).await?.open && old_answers(&world).await? >= 4, "the old answers were not seen");
    ensure!(puts(&world).await? == 1, "{} writes", puts(&world).await?);
    nobody_is_blamed(&world).await?;
    holds_theirs_and(&world, 30).await?;
    settles(&world, &operator, &["storage"], 3, PATIENCE).await
}

#[tokio::test]
async fn answers_that_are_old_every_other_time_cause_no_second_write() -> Result<()> {
    let (world, _operator) = bucket("flicker", 120).await?;
    let aws = world.bed.stand_in();
    let old = Stale { alternate: true, after_next_write: true, ..Stale::default() };
    aws.make_stale(&world.bucket, &old).await?;
    retain(&world, 30).await?;
    // Some looks see the old configuration again: it must not be written once more over that.
    world
        .wait_until("some old answers", PATIENCE, async || {
            let old = old_answers(&world).await?;
            ensure!(old >= 5, "{old} old answers");
            Ok(())
        })
        .await?;
    wait_condition(&world, ("lrp", "default"), ("Programmed", "False", "Progressing")).await?;
    aws.end_stale(&world.bucket).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    ensure!(puts(&world).await? == 1, "{} writes", puts(&world).await?);
    nobody_is_blamed(&world).await?;
    holds_theirs_and(&world, 30).await
}

#[tokio::test]
async fn a_lifecycle_write_without_an_answer_is_not_repeated() -> Result<()> {
    let (world, _operator) = bucket("unanswered", 15).await?;
    world.fault(&Fault::new(&world.bucket, PUT, Mode::Lost)).await?;
    retain(&world, 30).await?;
    wait_condition(&world, ("lrp", "default"), ("Ready", "True", "Programmed")).await?;
    ensure!(puts(&world).await? == 1, "{} writes", puts(&world).await?);
    holds_theirs_and(&world, 30).await
}
