//! The Spark side of a pipeline: where its masters listen, how many workers are wanted, where its query keeps what it has
//! read.

use super::{Invalid, change_policy, unsigned};
use crate::{
    LogwiseCluster, ScaleInProtection, ScalingBehavior, ScalingPolicy, ScalingPolicyType, SelectPolicy, SparkDriver,
    WorkerAutoscaling, WorkerScalingMode, Workers, WorkersType,
};
use logwise_plan::behavior::{self, Behavior};
use logwise_plan::workers::{self, Autoscaling, PoolRef, Protection, ScalingMode, Sizing};
use std::str::FromStr;

/// Port of a Spark master if none is given.
const PORT: u16 = 7077;

/// Port of a Spark master's web interface if none is given.
const UI_PORT: u16 = 8080;

/// Port of a Spark master's REST server if none is given.
const REST_PORT: u16 = 6066;

/// `objectives.endToEndDelaySeconds` if it is not given.
const END_TO_END_DELAY: i32 = 300;

/// Most cores of an application's executors together.
const CORES_MAX: &str = "spark.cores.max";

/// How many batches of a file sink lie between two compactions of its log, and how many if nothing says so.
const COMPACT_INTERVAL: (&str, i64) = ("spark.sql.streaming.fileSink.log.compactInterval", 10);

/// Where a Spark master listens, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterAddress {
    /// Host name or IP address; IPv6 in square brackets.
    pub host: String,
    /// Port for workers and drivers.
    pub port: u16,
    /// Port of the web interface, which serves the state as JSON.
    pub ui_port: u16,
    /// Port of the REST server, which takes submissions.
    pub rest_port: u16,
}

impl MasterAddress {
    /// `host:port`, as workers and drivers name it.
    pub fn spark(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// `host:uiPort`, as status shows it.
    pub fn ui(&self) -> String {
        format!("{}:{}", self.host, self.ui_port)
    }

    /// `host:restPort`.
    pub fn rest(&self) -> String {
        format!("{}:{}", self.host, self.rest_port)
    }
}

/// Where the Spark masters listen; `None` while Spark is not managed.
pub fn spark_masters(cluster: &LogwiseCluster) -> Option<Result<Vec<MasterAddress>, Invalid>> {
    let masters = &cluster.spec.spark.as_ref()?.masters;
    Some(
        masters
            .iter()
            .enumerate()
            .map(|(i, master)| {
                let field = format!("spec.spark.masters[{i}]");
                Ok(MasterAddress {
                    // Names of hosts mean the same in capitals, and records are about what they mean.
                    host: master.host.to_ascii_lowercase(),
                    port: port(&format!("{field}.port"), master.port.unwrap_or(PORT.into()))?,
                    ui_port: port(&format!("{field}.uiPort"), master.ui_port.unwrap_or(UI_PORT.into()))?,
                    rest_port: port(&format!("{field}.restPort"), master.rest_port.unwrap_or(REST_PORT.into()))?,
                })
            })
            .collect(),
    )
}

/// The name by which the masters are known, whichever of them is active: the first of their `host:port` in the order of
/// texts. `None` while Spark is not managed.
pub fn master_name(cluster: &LogwiseCluster) -> Option<String> {
    let masters = spark_masters(cluster)?.ok()?;
    masters.iter().map(MasterAddress::spark).min()
}

pub(super) fn port(field: &str, given: i32) -> Result<u16, Invalid> {
    u16::try_from(given).ok().filter(|port| *port > 0).ok_or_else(|| Invalid::new(field, "must be from 1 to 65535"))
}

/// Where the streaming query keeps how far it has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The bucket.
    pub bucket: String,
    /// Beginning of its keys, ends in `/`.
    pub folder: String,
}

/// Where the streaming query keeps how far it has read; `None` while no storage or no Spark cluster is given.
pub fn checkpoint(cluster: &LogwiseCluster) -> Option<Checkpoint> {
    let (spark, storage) = (cluster.spec.spark.as_ref()?, cluster.spec.storage.as_ref()?);
    let folder = format!("{}{}/", storage.checkpoint_prefix, spark.query_name);
    Some(Checkpoint { bucket: storage.bucket_name.clone(), folder })
}

/// What is wanted of the Spark workers; `None` while no machines are named that run them.
pub fn workers(cluster: &LogwiseCluster, look_period_seconds: u32) -> Option<Result<workers::Policy, Invalid>> {
    let workers = cluster.spec.spark.as_ref()?.workers.as_ref()?;
    Some(policy(cluster, workers, look_period_seconds))
}

fn policy(cluster: &LogwiseCluster, workers: &Workers, look_period_seconds: u32) -> Result<workers::Policy, Invalid> {
    let (pool, protection) = pool(workers)?;
    Ok(workers::Policy {
        pool,
        size: sizing(cluster, workers)?,
        change: change_policy(cluster)?,
        protection,
        drain_seconds: unsigned(workers.drain_seconds),
        look_period_seconds,
    })
}

/// What runs the workers, and who protects them. Pods of a Deployment are protected by their deletion cost, which is the
/// operator's.
fn pool(workers: &Workers) -> Result<(PoolRef, Protection), Invalid> {
    match (workers.type_, &workers.auto_scaling_group, &workers.deployment) {
        (WorkersType::AutoScalingGroup, Some(group), _) => {
            let protection = match group.scale_in_protection {
                ScaleInProtection::Manage => Protection::Manage,
                ScaleInProtection::Observe => Protection::Observe,
            };
            Ok((PoolRef::AutoScalingGroup(group.name.clone()), protection))
        }
        (WorkersType::Deployment, _, Some(deployment)) => {
            Ok((PoolRef::Deployment(deployment.name.clone()), Protection::Manage))
        }
        (WorkersType::AutoScalingGroup, None, _) => {
            Err(Invalid::new("spec.spark.workers.autoScalingGroup", "must be specified"))
        }
        (WorkersType::Deployment, _, None) => Err(Invalid::new("spec.spark.workers.deployment", "must be specified")),
    }
}

fn sizing(cluster: &LogwiseCluster, workers: &Workers) -> Result<Sizing, Invalid> {
    match (&workers.autoscaling, workers.replicas) {
        (None, None) => Ok(Sizing::Unmanaged),
        // Without a worker no driver runs.
        (None, Some(replicas)) => Ok(Sizing::Fixed(replicas.max(1))),
        (Some(scaling), Some(replicas)) if scaling.mode == WorkerScalingMode::Disabled => {
            Ok(Sizing::Fixed(replicas.max(1)))
        }
        (Some(scaling), None) => autoscaling(cluster, scaling).map(Box::new).map(Sizing::Load),
        (Some(_), Some(_)) => {
            let problem = "must not be specified when `autoscaling` is specified, unless its `mode` is Disabled";
            Err(Invalid::new("spec.spark.workers.replicas", problem))
        }
    }
}

/// How load becomes workers. The ranges are those of the CRD.
fn autoscaling(cluster: &LogwiseCluster, scaling: &WorkerAutoscaling) -> Result<Autoscaling, Invalid> {
    if scaling.min_replicas > scaling.max_replicas {
        let problem = format!("must be less than or equal to `maxReplicas` ({})", scaling.max_replicas);
        return Err(Invalid::new("spec.spark.workers.autoscaling.minReplicas", problem));
    }
    let driver = cluster.spec.spark.as_ref().and_then(|spark| spark.driver.as_ref());
    let delay = cluster.spec.objectives.as_ref().and_then(|objectives| objectives.end_to_end_delay_seconds);
    let (compact_interval, usual) = COMPACT_INTERVAL;
    Ok(Autoscaling {
        mode: match scaling.mode {
            WorkerScalingMode::Automatic => ScalingMode::Automatic,
            WorkerScalingMode::Recommend => ScalingMode::Recommend,
            WorkerScalingMode::Disabled => ScalingMode::Disabled,
        },
        min_replicas: scaling.min_replicas,
        max_replicas: scaling.max_replicas,
        records_per_second_per_core: scaling.records_per_second_per_core.max(1).into(),
        cores_per_worker: scaling.cores_per_worker.map(|cores| cores.max(1)),
        target_utilization_percent: unsigned(scaling.target_utilization_percent).max(1),
        catch_up_seconds: unsigned(scaling.catch_up_seconds).max(1),
        delay_seconds: unsigned(delay.unwrap_or(END_TO_END_DELAY)),
        tolerance_percent: unsigned(scaling.tolerance_percent),
        cooldown_seconds: unsigned(scaling.cooldown_seconds),
        warmup_seconds: unsigned(scaling.warmup_seconds),
        launches_per_hour: scaling.max_launches_per_hour,
        removals_per_hour: scaling.max_removals_per_hour,
        behavior: behavior(&scaling.behavior),
        cores_max: property(driver, CORES_MAX)?,
        // One that somebody else submits takes a core at least.
        driver_cores: driver.map_or(1, |driver| driver.cores.max(1)),
        compact_interval: property(driver, compact_interval)?.unwrap_or(usual),
    })
}

/// A Spark property of the application that is a number of things.
fn property<N: FromStr + PartialOrd + From<u8>>(
    driver: Option<&SparkDriver>,
    name: &str,
) -> Result<Option<N>, Invalid> {
    let Some(text) = driver.and_then(|driver| driver.spark_properties.get(name)) else { return Ok(None) };
    match text.trim().parse::<N>() {
        Ok(number) if number > N::from(0_u8) => Ok(Some(number)),
        _ => {
            let field = format!("spec.spark.driver.sparkProperties[{name}]");
            Err(Invalid::new(&field, format!("must be a whole number from 1 on, not {text:?}")))
        }
    }
}

fn behavior(given: &ScalingBehavior) -> Behavior {
    let (up, down) = (&given.scale_up, &given.scale_down);
    Behavior {
        scale_up: rules(up.stabilization_window_seconds, up.select_policy, &up.policies),
        scale_down: rules(down.stabilization_window_seconds, down.select_policy, &down.policies),
    }
}

fn rules(stabilization_window_seconds: i32, select: SelectPolicy, policies: &[ScalingPolicy]) -> behavior::Rules {
    let step = |policy: &ScalingPolicy| behavior::StepPolicy {
        kind: match policy.type_ {
            ScalingPolicyType::Replicas => behavior::Step::Replicas,
            ScalingPolicyType::Percent => behavior::Step::Percent,
        },
        value: policy.value,
        period_seconds: unsigned(policy.period_seconds),
    };
    behavior::Rules {
        stabilization_window_seconds: unsigned(stabilization_window_seconds),
        select_policy: match select {
            SelectPolicy::Max => behavior::Select::Max,
            SelectPolicy::Min => behavior::Select::Min,
            SelectPolicy::Disabled => behavior::Select::Disabled,
        },
        policies: policies.iter().map(step).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cluster(spark: Value) -> LogwiseCluster {
        let mut all = json!({"masters": [{"host": "s"}]});
        all.as_object_mut().unwrap().extend(spark.as_object().unwrap().clone());
        let spec = json!({"spark": all, "storage": {"bucketName": "acme-logs"}});
        let object = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
            "metadata": {"name": "demo"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    /// A group with these fields of `workers` besides.
    fn group(fields: Value) -> Value {
        let mut workers = json!({"type": "AutoScalingGroup", "autoScalingGroup": {"name": "g"}});
        workers.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        workers
    }

    fn of(workers: Value) -> Result<workers::Policy, Invalid> {
        super::workers(&cluster(json!({"workers": workers})), 30).unwrap()
    }

    fn bounds(min: i32, max: i32) -> Value {
        json!({"minReplicas": min, "maxReplicas": max})
    }

    #[test]
    fn machines_are_a_group_or_a_deployment() {
        let found = of(group(json!({}))).unwrap();
        assert_eq!(found.pool, PoolRef::AutoScalingGroup("g".into()));
        assert_eq!((found.protection, found.drain_seconds, found.look_period_seconds), (Protection::Manage, 600, 30));
        let watched = json!({"name": "g", "scaleInProtection": "Observe"});
        assert_eq!(of(group(json!({"autoScalingGroup": watched}))).unwrap().protection, Protection::Observe);
        let deployment = of(json!({"type": "Deployment", "deployment": {"name": "d"}, "drainSeconds": 0})).unwrap();
        assert_eq!(deployment.pool, PoolRef::Deployment("d".into()));
        assert_eq!(deployment.drain_seconds, 0);
        for (kind, other, field) in [
            ("AutoScalingGroup", json!({"name": "d"}), "spec.spark.workers.autoScalingGroup"),
            ("Deployment", Value::Null, "spec.spark.workers.deployment"),
        ] {
            let group = if kind == "Deployment" { json!({"name": "g"}) } else { Value::Null };
            let given = json!({"type": kind, "autoScalingGroup": group, "deployment": other});
            assert_eq!(of(given).unwrap_err(), Invalid::new(field, "must be specified"));
        }
    }

    #[test]
    fn the_number_is_left_alone_fixed_or_led_by_load() {
        assert_eq!(of(group(json!({}))).unwrap().size, Sizing::Unmanaged);
        assert_eq!(of(group(json!({"replicas": 0}))).unwrap().size, Sizing::Fixed(1), "the driver needs one");
        assert_eq!(of(group(json!({"replicas": 3}))).unwrap().size, Sizing::Fixed(3));
        let load = of(group(json!({"autoscaling": bounds(1, 2)}))).unwrap().size;
        assert!(matches!(load, Sizing::Load(scaling) if (scaling.min_replicas, scaling.max_replicas) == (1, 2)));
        let both = of(group(json!({"replicas": 3, "autoscaling": bounds(1, 2)}))).unwrap_err();
        assert_eq!(both.field, "spec.spark.workers.replicas");
        let mut off = bounds(1, 2);
        off["mode"] = json!("Disabled");
        assert_eq!(of(group(json!({"replicas": 3, "autoscaling": off}))).unwrap().size, Sizing::Fixed(3));
        let reversed = of(group(json!({"autoscaling": bounds(5, 4)}))).unwrap_err();
        assert_eq!(reversed.field, "spec.spark.workers.autoscaling.minReplicas");
    }

    fn load(spark: Value) -> Result<Autoscaling, Invalid> {
        match workers(&cluster(spark), 30).unwrap()?.size {
            Sizing::Load(scaling) => Ok(*scaling),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_said_about_load_has_its_default() {
        let step = |kind, value, period_seconds| behavior::StepPolicy { kind, value, period_seconds };
        let rules = |window, policies| behavior::Rules {
            stabilization_window_seconds: window,
            select_policy: behavior::Select::Max,
            policies,
        };
        let expected = Autoscaling {
            mode: ScalingMode::Automatic,
            min_replicas: 1,
            max_replicas: 9,
            records_per_second_per_core: 8_300,
            cores_per_worker: None,
            target_utilization_percent: 70,
            catch_up_seconds: 1_200,
            delay_seconds: 300,
            tolerance_percent: 10,
            cooldown_seconds: 600,
            warmup_seconds: 180,
            launches_per_hour: 100,
            removals_per_hour: 20,
            behavior: Behavior {
                scale_up: rules(
                    120,
                    vec![step(behavior::Step::Percent, 100, 60), step(behavior::Step::Replicas, 4, 60)],
                ),
                scale_down: rules(1_800, vec![step(behavior::Step::Percent, 25, 600)]),
            },
            cores_max: None,
            driver_cores: 1,
            compact_interval: 10,
        };
        assert_eq!(load(json!({"workers": group(json!({"autoscaling": bounds(1, 9)}))})), Ok(expected));
    }

    #[test]
    fn what_is_said_about_load_is_kept() {
        let mut given = bounds(2, 40);
        let fields = json!({"mode": "Recommend", "recordsPerSecondPerCore": 5000, "coresPerWorker": 4,
            "targetUtilizationPercent": 50, "catchUpSeconds": 60, "tolerancePercent": 0, "cooldownSeconds": 1,
            "warmupSeconds": 2, "maxLaunchesPerHour": 3, "maxRemovalsPerHour": 4,
            "behavior": {"scaleDown": {"selectPolicy": "Disabled"}, "scaleUp": {"stabilizationWindowSeconds": 0,
                "selectPolicy": "Min", "policies": [{"type": "Replicas", "value": 10, "periodSeconds": 30}]}}});
        given.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let properties = json!({"spark.cores.max": "24", "spark.sql.streaming.fileSink.log.compactInterval": "15"});
        let driver = json!({"mode": "Disabled", "cores": 2, "sparkProperties": properties});
        let mut whole = cluster(json!({"driver": driver, "workers": group(json!({"autoscaling": given}))}));
        whole.spec.objectives = Some(crate::Objectives { end_to_end_delay_seconds: Some(60) });
        let Sizing::Load(found) = workers(&whole, 30).unwrap().unwrap().size else { unreachable!() };
        assert_eq!((found.mode, found.records_per_second_per_core), (ScalingMode::Recommend, 5_000));
        assert_eq!((found.cores_per_worker, found.target_utilization_percent), (Some(4), 50));
        assert_eq!((found.catch_up_seconds, found.delay_seconds, found.tolerance_percent), (60, 60, 0));
        assert_eq!((found.cooldown_seconds, found.warmup_seconds), (1, 2));
        assert_eq!((found.launches_per_hour, found.removals_per_hour), (3, 4));
        assert_eq!((found.cores_max, found.driver_cores, found.compact_interval), (Some(24), 2, 15));
        let (up, down) = (&found.behavior.scale_up, &found.behavior.scale_down);
        assert_eq!((up.stabilization_window_seconds, up.select_policy), (0, behavior::Select::Min));
        let step = behavior::StepPolicy { kind: behavior::Step::Replicas, value: 10, period_seconds: 30 };
        assert_eq!(up.policies, [step]);
        assert_eq!((down.stabilization_window_seconds, down.select_policy), (1_800, behavior::Select::Disabled));
    }

    #[test]
    fn a_property_that_is_no_number_is_named() {
        for text in ["0", "-1", "many", "", "1.5"] {
            let driver = json!({"sparkProperties": {"spark.cores.max": text}});
            let invalid = load(json!({"driver": driver, "workers": group(json!({"autoscaling": bounds(1, 9)}))}));
            let invalid = invalid.unwrap_err();
            assert_eq!(invalid.field, "spec.spark.driver.sparkProperties[spark.cores.max]", "{text}");
            assert!(invalid.problem.starts_with("must be a whole number"), "{invalid}");
        }
    }

    #[test]
    fn masters_have_one_name_in_whatever_order_they_stand() {
        let name = |masters: Value| master_name(&cluster(json!({"masters": masters})));
        let (a, b) = (json!({"host": "b"}), json!({"host": "a", "port": 7078}));
        assert_eq!(name(json!([a, b])).as_deref(), Some("a:7078"));
        assert_eq!(name(json!([b, a])).as_deref(), Some("a:7078"));
        assert_eq!(name(json!([{"host": "Spark-A", "port": 7078}])).as_deref(), Some("spark-a:7078"));
        assert_eq!(name(json!([{"host": "a", "port": 0}])), None);
    }

    #[test]
    fn the_checkpoint_is_the_querys_folder() {
        let found = |spark: Value| checkpoint(&cluster(spark)).unwrap();
        let of_default = Checkpoint { bucket: "acme-logs".into(), folder: "checkpoint/application/".into() };
        assert_eq!(found(json!({})), of_default);
        assert_eq!(found(json!({"queryName": "q.1"})).folder, "checkpoint/q.1/");
        let mut without = cluster(json!({}));
        without.spec.storage = None;
        assert_eq!(checkpoint(&without), None);
    }
}
