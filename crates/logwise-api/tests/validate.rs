//! From resources to policies.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use logwise_api::validate::{self, Invalid, MasterAddress};
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_plan::Known;
use logwise_plan::selector::TopicSelector;
use logwise_plan::{change, grants, partitions, retention};
use proptest::prelude::*;
use serde_json::{Value, json};

fn cluster(spec: Value) -> LogwiseCluster {
    let object = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
        "metadata": {"name": "prod", "namespace": "logs"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn policy(metadata: Value, spec: Value) -> RetentionPolicy {
    let mut object = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "RetentionPolicy",
        "metadata": {"name": "payments", "namespace": "logs", "uid": "1a2b3c4d-0000-0000-0000-000000000000"},
        "spec": {"clusterRef": {"name": "prod"}, "serviceSelector": {}}});
    merge(&mut object["metadata"], metadata);
    merge(&mut object["spec"], spec);
    serde_json::from_value(object).unwrap()
}

fn merge(whole: &mut Value, part: Value) {
    if let (Value::Object(whole), Value::Object(part)) = (whole, part) {
        whole.extend(part);
    }
}

fn entry(policy: &RetentionPolicy) -> retention::PolicyEntry {
    validate::retention_entry(policy, "main", &cluster(json!({}))).unwrap()
}

fn kafka(topics: Value) -> LogwiseCluster {
    cluster(json!({"kafka": {"bootstrapServers": ["k:9092"], "topics": topics}}))
}

#[test]
fn a_section_that_is_absent_is_not_managed() {
    let nothing = cluster(json!({}));
    assert!(validate::kafka_topics(&nothing, 60).is_none());
    assert!(validate::workers(&nothing, 60).is_none());
    assert!(validate::spark_masters(&nothing).is_none());
    assert!(validate::driver(&nothing, 60).is_none() && validate::submission(&nothing).is_none());
    assert!(validate::checkpoint(&nothing).is_none());
    assert!(validate::retention(&nothing, Vec::new(), Default::default(), 60).is_none());
    let watched = cluster(json!({
        "kafka": {"bootstrapServers": ["k:9092"]},
        "spark": {"masters": [{"host": "s"}]},
    }));
    assert!(validate::kafka_topics(&watched, 60).is_none());
    assert!(validate::workers(&watched, 60).is_none() && validate::driver(&watched, 60).is_none());
    assert!(validate::spark_masters(&watched).is_some());
}

#[test]
fn topics_become_a_policy() {
    let given = kafka(json!({"namePrefix": "logs.", "defaultPartitions": 3}));
    let expected = partitions::Policy {
        topics: TopicSelector::NamePrefix("logs.".into()),
        default_partitions: Some(3),
        max_partitions: 96,
        mode: partitions::ScalingMode::Recommend,
        scaling: partitions::Scaling { target_rate: Some(2_000), ..partitions::Scaling::default() },
        change: change::ChangePolicy::default(),
        look_period_seconds: 60,
    };
    assert_eq!(validate::kafka_topics(&given, 60), Some(Ok(expected)));
}

#[test]
fn every_scaling_mode_is_kept() {
    for (word, mode) in [
        ("Automatic", partitions::ScalingMode::Automatic),
        ("Recommend", partitions::ScalingMode::Recommend),
        ("Disabled", partitions::ScalingMode::Disabled),
    ] {
        let given = cluster(json!({"kafka": {"bootstrapServers": ["k:9092"], "topics": {"namePrefix": "x"},
            "partitionScaling": {"mode": word}}}));
        assert_eq!(validate::kafka_topics(&given, 60).unwrap().unwrap().mode, mode);
    }
}

#[test]
fn a_pattern_that_does_not_compile_is_named() {
    let Invalid { field, problem } =
        validate::kafka_topics(&kafka(json!({"pattern": "logs[.("})), 60).unwrap().unwrap_err();
    assert_eq!(field, "spec.kafka.topics.pattern");
    assert!(problem.starts_with("must be a regular expression: ") && problem.contains("unclosed"), "{problem}");
}

#[test]
fn objects_older_than_a_rule_do_no_harm() {
    let problem = |result: Option<Result<partitions::Policy, Invalid>>| result.unwrap().unwrap_err().to_string();
    let both = problem(validate::kafka_topics(&kafka(json!({"namePrefix": "a", "pattern": "b"})), 60));
    assert_eq!(both, "spec.kafka.topics: must specify exactly one of `namePrefix` and `pattern`");
    assert_eq!(problem(validate::kafka_topics(&kafka(json!({})), 60)), both);

    let spark = |workers: Value| cluster(json!({"spark": {"masters": [{"host": "s"}], "workers": workers}}));
    let workers = |workers: Value| validate::workers(&spark(workers), 60).unwrap().unwrap_err().to_string();
    let bounds = json!({"minReplicas": 5, "maxReplicas": 4});
    assert_eq!(
        workers(json!({"type": "AutoScalingGroup", "autoScalingGroup": {"name": "g"}, "autoscaling": bounds})),
        "spec.spark.workers.autoscaling.minReplicas: must be less than or equal to `maxReplicas` (4)"
    );
    assert_eq!(
        workers(json!({"type": "AutoScalingGroup", "autoscaling": bounds})),
        "spec.spark.workers.autoScalingGroup: must be specified"
    );
    let ports = cluster(json!({"spark": {"masters": [{"host": "s"}, {"host": "t", "uiPort": 70000}]}}));
    let error = validate::spark_masters(&ports).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "spec.spark.masters[1].uiPort: must be from 1 to 65535");
}

#[test]
fn spark_masters_get_their_default_ports() {
    let given = json!([{"host": "a"}, {"host": "[::1]", "port": 1, "uiPort": 65535, "restPort": 2}]);
    let masters = validate::spark_masters(&cluster(json!({"spark": {"masters": given}}))).unwrap().unwrap();
    assert_eq!(
        masters,
        [
            MasterAddress { host: "a".into(), port: 7077, ui_port: 8080, rest_port: 6066 },
            MasterAddress { host: "[::1]".into(), port: 1, ui_port: 65535, rest_port: 2 },
        ]
    );
    let addresses = [masters[1].spark(), masters[1].ui(), masters[1].rest()];
    assert_eq!(addresses, ["[::1]:1", "[::1]:65535", "[::1]:2"]);
}

#[test]
fn storage_becomes_a_policy_with_default_prefixes() {
    let given = cluster(json!({"storage": {"bucketName": "b"}}));
    let policy = validate::retention(&given, Vec::new(), Default::default(), 300).unwrap().unwrap();
    assert_eq!((policy.logs_prefix.as_str(), policy.checkpoint_prefix.as_str()), ("logs/", "checkpoint/"));
    assert_eq!((policy.look_period_seconds, policy.fold), (300, retention::Folding::Never));
    let folds = cluster(json!({"storage": {"bucketName": "b", "lifecycle": {"fold": "WhenNeeded"}}}));
    let policy = validate::retention(&folds, Vec::new(), Default::default(), 300).unwrap().unwrap();
    assert_eq!(policy.fold, retention::Folding::WhenNeeded);
}

#[test]
fn a_retention_policy_becomes_an_entry() {
    let given = policy(
        json!({}),
        json!({
            "priority": 100,
            "serviceSelector": {"matchNames": ["checkout"], "matchPrefixes": ["pay-"]},
            "expiration": {"days": 365},
            "transitions": [{"storageClass": "GLACIER", "days": 90}, {"storageClass": "STANDARD_IA", "days": 30}],
            "abortIncompleteMultipartUpload": {"daysAfterInitiation": 2},
            "noncurrentVersionExpiration": {"noncurrentDays": 7},
            "changePolicy": {"approval": "Never", "approvedPlans": ["rp-0123456789ab"]},
        }),
    );
    let entry = entry(&given);
    assert_eq!((entry.owner.as_str(), entry.uid8.as_str(), entry.priority), ("main.logs.payments", "1a2b3c4d", 100));
    assert_eq!(entry.selector.names, ["checkout".to_owned()].into());
    assert_eq!(entry.selector.prefixes, ["pay-".to_owned()].into());
    assert_eq!(entry.approval, retention::Approval::DestructiveOnly, "the cluster's is the stricter");
    assert_eq!(entry.approved_plans, ["rp-0123456789ab".to_owned()].into());
    assert_eq!((entry.observe_only, entry.removal), (false, None));
    let transition = |days, class: &str| retention::Transition { days, storage_class: class.into() };
    assert_eq!(
        entry.settings,
        retention::Settings {
            expiration_days: Some(365),
            transitions: vec![transition(30, "STANDARD_IA"), transition(90, "GLACIER")],
            abort_multipart_days: Some(2),
            noncurrent_days: Some(7),
        }
    );
}

#[test]
fn the_stricter_of_both_change_policies_holds() {
    let observe = json!({"changePolicy": {"mode": "Observe"}});
    let apply = json!({});
    for (cluster_spec, policy_spec, observe_only) in [
        (apply.clone(), apply.clone(), false),
        (observe.clone(), apply.clone(), true),
        (apply.clone(), observe.clone(), true),
        (json!({"suspend": true}), apply.clone(), true),
    ] {
        let cluster = cluster(cluster_spec);
        let entry = validate::retention_entry(&policy(json!({}), policy_spec), "main", &cluster).unwrap();
        assert_eq!(entry.observe_only, observe_only, "{:?}", cluster.spec);
    }
    for (of_cluster, of_policy, approval) in [
        ("Never", "Never", retention::Approval::Never),
        ("Never", "DestructiveOnly", retention::Approval::DestructiveOnly),
        ("DestructiveOnly", "Never", retention::Approval::DestructiveOnly),
        ("Never", "Always", retention::Approval::Always),
        ("Always", "Never", retention::Approval::Always),
    ] {
        let wish = |approval: &str| json!({"changePolicy": {"approval": approval}});
        let policy = policy(json!({}), wish(of_policy));
        let entry = validate::retention_entry(&policy, "main", &cluster(wish(of_cluster))).unwrap();
        assert_eq!(entry.approval, approval, "{of_cluster} and {of_policy}");
    }
    assert!(!validate::observe_only(&cluster(apply)));
    assert!(validate::observe_only(&cluster(observe)));
    assert!(validate::observe_only(&cluster(json!({"suspend": true}))));
}

#[test]
fn a_policy_that_is_being_deleted_is_an_entry_with_its_removal() {
    let deleted = json!({"deletionTimestamp": "2026-08-20T10:02:11Z"});
    assert_eq!(entry(&policy(deleted.clone(), json!({}))).removal, Some(retention::Removal::RemoveRules));
    let orphan = json!({"deletionPolicy": "Orphan"});
    assert_eq!(entry(&policy(deleted, orphan.clone())).removal, Some(retention::Removal::Orphan));
    assert_eq!(entry(&policy(json!({}), orphan)).removal, None);
}

#[test]
fn what_s3_would_refuse_is_named_with_its_field() {
    let moves = |days: i32, class: &str| json!({"transitions": [{"days": days, "storageClass": class}]});
    let two = json!({"transitions": [{"days": 200, "storageClass": "GLACIER"}, {"days": 90, "storageClass": "DEEP_ARCHIVE"}]});
    let late = json!({"expiration": {"days": 30}, "transitions": [{"days": 30, "storageClass": "GLACIER"}]});
    let cases = [
        (json!({"expiration": {"days": 0}}), "spec.expiration.days", "1, not 0"),
        (json!({"expiration": {"days": 36501}}), "spec.expiration.days", "36500, not 36501"),
        (moves(29, "STANDARD_IA"), "spec.transitions", "at least 30 `days` for STANDARD_IA"),
        (moves(-1, "GLACIER"), "spec.transitions", "0 or more `days` for GLACIER"),
        (two, "spec.transitions", "DEEP_ARCHIVE more `days` than GLACIER"),
        (late, "spec.expiration.days", "greater than 30"),
        (
            json!({"noncurrentVersionExpiration": {"noncurrentDays": 0}}),
            "spec.noncurrentVersionExpiration.noncurrentDays",
            "1, not 0",
        ),
        (
            json!({"abortIncompleteMultipartUpload": {"daysAfterInitiation": 0}}),
            "spec.abortIncompleteMultipartUpload.daysAfterInitiation",
            "1, not 0",
        ),
    ];
    let cluster = cluster(json!({}));
    for (spec, field, problem) in cases {
        let bad = policy(json!({}), spec.clone());
        let invalid = validate::retention_entry(&bad, "main", &cluster).unwrap_err();
        assert!(invalid.field == field && invalid.problem.contains(problem), "{invalid}");
        // Its services stay with it, as they are.
        let holder = validate::retention_holder(&bad, "main").unwrap();
        assert_eq!((holder.observe_only, holder.settings), (true, retention::Settings::default()));
        // Its rules can go.
        let deleted = policy(json!({"deletionTimestamp": "2026-08-20T10:02:11Z"}), spec);
        assert!(validate::retention_entry(&deleted, "main", &cluster).is_ok());
        assert_eq!(validate::retention_holder(&deleted, "main"), None);
    }
    assert_eq!(validate::retention_holder(&policy(json!({}), json!({"expiration": {"days": 9}})), "main"), None);
}

#[test]
fn a_bad_policy_keeps_its_services_and_the_others_go_on() {
    let good = entry(&policy(
        json!({"name": "all"}),
        json!({"expiration": {"days": 30},
        "changePolicy": {"approval": "Never"}}),
    ));
    let good = retention::PolicyEntry { approval: retention::Approval::Never, ..good };
    let bad = policy(
        json!({"name": "bad", "uid": "2b3c4d5e-0000-0000-0000-000000000000"}),
        json!({"expiration": {"days": 0}, "serviceSelector": {"matchNames": ["api", "new"]}}),
    );
    let holder = validate::retention_holder(&bad, "main").unwrap();
    let rule = retention::ObservedRule {
        id: Some(retention::rule_id(&holder.owner, &holder.uid8, "api")),
        meaning: Some(retention::Meaning {
            prefix: "logs/service_name=api/".to_owned(),
            settings: retention::Settings { expiration_days: Some(900), ..Default::default() },
        }),
        reach: None,
    };
    let document = retention::Document { version: "v1".to_owned(), rules: vec![rule], not_preservable: None };
    let services = ["api", "new", "web"].map(str::to_owned).into();
    let observed = retention::Observed::new(Known::Known(services), Known::Known(document));
    let given = cluster(json!({"storage": {"bucketName": "b"}}));
    let wish = validate::retention(&given, vec![good, holder], Default::default(), 300).unwrap().unwrap();
    let write = retention::plan(&wish, &observed, "2026-08-20T10:02:11Z".parse().unwrap()).write.unwrap();
    assert!(write.remove.is_empty(), "{write:?}");
    assert_eq!(write.add.iter().map(|rule| rule.prefix.as_str()).collect::<Vec<_>>(), ["logs/service_name=web/"]);
}

#[test]
fn a_policy_is_programmed_only_as_it_is_now() {
    let at = "2026-08-20T10:02:11Z";
    let cluster = cluster(json!({"storage": {"bucketName": "acme-logs"}}));
    let programmed = |generation: i64, status: Value| {
        let mut policy = policy(json!({"generation": generation}), json!({}));
        policy.status = serde_json::from_value(status).unwrap();
        let entry = validate::retention_entry(&policy, "main", &cluster).unwrap();
        entry.programmed.map(|time| time.to_string())
    };
    let home = json!({"bucketName": "acme-logs", "logsPrefix": "logs/", "region": "eu-west-1", "mode": "Apply"});
    let status = |part: Value| {
        let mut status = json!({"home": home.clone()});
        merge(&mut status, part);
        status
    };
    let both = json!({"programmedGeneration": 3, "programmedTime": at});
    assert_eq!(programmed(3, status(both.clone())).as_deref(), Some(at));
    assert_eq!(programmed(4, status(both)), None, "another generation was");
    assert_eq!(programmed(3, status(json!({"programmedGeneration": 3}))), None);
    assert_eq!(programmed(3, status(json!({"programmedTime": at}))), None);
    assert_eq!(programmed(3, Value::Null), None);
}

#[test]
fn a_policy_that_was_in_force_elsewhere_is_not_programmed() {
    let home = |bucket: &str, prefix: &str| json!({"bucketName": bucket, "logsPrefix": prefix, "region": "eu-west-1", "mode": "Apply"});
    let at = |storage: Value, home: Value| {
        let mut policy = policy(json!({"generation": 3}), json!({}));
        let status = json!({"programmedGeneration": 3, "programmedTime": "2026-08-20T10:02:11Z", "home": home});
        policy.status = serde_json::from_value(status).unwrap();
        let cluster = cluster(json!({"storage": storage}));
        validate::retention_entry(&policy, "main", &cluster).unwrap().programmed.is_some()
    };
    let dev = json!({"bucketName": "dev-logs"});
    assert!(at(dev.clone(), home("dev-logs", "logs/")));
    assert!(!at(json!({"bucketName": "prod-logs"}), home("dev-logs", "logs/")), "made anew with another bucket");
    assert!(!at(json!({"bucketName": "dev-logs", "logsPrefix": "all/"}), home("dev-logs", "logs/")), "another prefix");
    assert!(!at(dev.clone(), Value::Null), "nobody knows where");
    // An account, a role or a mode are not another place.
    let mut other = home("dev-logs", "logs/");
    merge(&mut other, json!({"accountID": "123456789012", "mode": "Observe"}));
    assert!(at(dev, other));
}

#[test]
fn an_entry_needs_a_namespace_and_a_uid() {
    let cluster = cluster(json!({}));
    let problem = |metadata| validate::retention_entry(&policy(metadata, json!({})), "main", &cluster).unwrap_err();
    assert_eq!(problem(json!({"namespace": null})).field, "metadata.namespace");
    assert_eq!(problem(json!({"uid": "1a2b"})).field, "metadata.uid");
    assert_eq!(problem(json!({"uid": "aäääää"})).field, "metadata.uid", "cut within a letter");
}

fn window(name: &str, schedule: &str, zone: &str) -> Value {
    json!({"name": name, "schedule": schedule, "durationMinutes": 60, "timeZone": zone})
}

#[test]
fn a_change_policy_is_read_with_its_windows() {
    let given = cluster(json!({"suspend": true, "changePolicy": {"mode": "Observe", "approval": "Always",
        "approvedPlans": ["kp-0123abcd"], "windows": [window("nights", "0 1 * * 1-5", "Asia/Kolkata")]}}));
    let policy = validate::change_policy(&given).unwrap();
    assert_eq!((policy.mode, policy.approval), (change::Mode::Observe, change::Approval::Always));
    assert_eq!((policy.suspended, policy.approved_plans.len()), (true, 1));
    assert_eq!(policy.windows, [[change::Window::new("nights", "0 1 * * 1-5", 60, "Asia/Kolkata").unwrap()]]);
    assert_eq!(validate::change_policy(&cluster(json!({}))).unwrap(), change::ChangePolicy::default());
}

#[test]
fn a_policy_has_its_own_windows_and_those_of_its_cluster() {
    let cluster = cluster(json!({"changePolicy": {"windows": [window("nights", "0 1 * * *", "UTC")]}}));
    let own = json!({"changePolicy": {"windows": [window("sundays", "0 0 * * 0", "UTC")]}});
    let entry = validate::retention_entry(&policy(json!({}), own), "main", &cluster).unwrap();
    let names: Vec<Vec<&str>> = entry.windows.iter().map(|list| list.iter().map(|w| w.name()).collect()).collect();
    assert_eq!(names, [["nights"], ["sundays"]]);
    // A deleted one has none: nothing that is being deleted waits for a night.
    let deleted = policy(json!({"deletionTimestamp": "2026-08-20T10:02:11Z"}), json!({}));
    assert_eq!(validate::retention_entry(&deleted, "main", &cluster).unwrap().windows, Vec::<Vec<_>>::new());
}

#[test]
fn a_window_that_cannot_be_used_is_named_with_its_field() {
    let bad = |schedule: &str, zone: &str| {
        let windows = json!([window("fine", "0 0 * * *", "UTC"), window("bad", schedule, zone)]);
        cluster(json!({"changePolicy": {"windows": windows}, "kafka": {"bootstrapServers": ["k:9092"],
            "topics": {"namePrefix": "x"}}}))
    };
    let never = validate::change_policy(&bad("0 0 30 2 *", "UTC")).unwrap_err();
    assert_eq!(never.field, "spec.changePolicy.windows[1].schedule");
    assert!(never.problem.contains("never comes"), "{never}");
    let zone = validate::change_policy(&bad("0 0 * * *", "Asia/Bombai")).unwrap_err();
    assert_eq!(zone.field, "spec.changePolicy.windows[1].timeZone");
    assert!(zone.problem.contains("IANA") && zone.problem.contains("Asia/Bombai"), "{zone}");
    let of_topics = validate::kafka_topics(&bad("61 0 * * *", "UTC"), 60).unwrap().unwrap_err();
    assert_eq!(of_topics.field, "spec.changePolicy.windows[1].schedule");
    let of_policy = validate::retention_entry(&policy(json!({}), json!({})), "main", &bad("0 0 31 4 *", "UTC"));
    assert_eq!(of_policy.unwrap_err().field, "LogwiseCluster prod: spec.changePolicy.windows[1].schedule");
}

#[test]
fn every_reference_is_listed_with_its_field() {
    use grants::Reference;
    let given = cluster(json!({
        "aws": {"region": "ap-south-1", "roleARN": "arn:aws:iam::123456789012:role/a",
                "credentialsSecretRef": {"name": "keys"}},
        "storage": {"bucketName": "b", "logsPrefix": "l/"},
        "kafka": {"bootstrapServers": ["k-1:9092", "k-2:9093"], "tls": {"caSecretRef": {"name": "ca"},
            "clientSecretRef": {"name": "client"}},
            "authentication": {"type": "SCRAM-SHA-512", "secretRef": {"name": "login"}}},
        "spark": {"masters": [{"host": "s"}, {"host": "t", "uiPort": 81}],
            "workers": {"type": "AutoScalingGroup", "autoScalingGroup": {"name": "g"}}},
    }));
    let bucket = Reference::Bucket { name: "b".into(), prefixes: vec!["l/".into(), "checkpoint/".into()] };
    let expected = [
        ("spec.aws.roleARN", Reference::Role("arn:aws:iam::123456789012:role/a".into())),
        ("spec.storage.bucketName", bucket),
        ("spec.kafka.bootstrapServers[0]", Reference::Kafka("k-1:9092".into())),
        ("spec.kafka.bootstrapServers[1]", Reference::Kafka("k-2:9093".into())),
        ("spec.spark.masters[0]", Reference::Spark("s:8080".into())),
        ("spec.spark.masters[1]", Reference::Spark("t:81".into())),
        (
            "spec.spark.workers.autoScalingGroup.name",
            Reference::Group { region: "ap-south-1".into(), name: "g".into() },
        ),
    ];
    let expected = expected.map(|(field, reference)| (field.to_owned(), reference));
    assert_eq!(validate::references(&given), expected);
    let secrets = [
        ("spec.aws.credentialsSecretRef.name", "keys"),
        ("spec.kafka.tls.caSecretRef.name", "ca"),
        ("spec.kafka.tls.clientSecretRef.name", "client"),
        ("spec.kafka.authentication.secretRef.name", "login"),
    ];
    let secrets = secrets.map(|(field, name)| (field.to_owned(), name.to_owned()));
    assert_eq!(validate::secrets(&given), secrets);
    assert!(validate::references(&cluster(json!({}))).is_empty() && validate::secrets(&cluster(json!({}))).is_empty());
}

#[test]
fn a_managed_driver_needs_the_rest_servers_and_its_secret() {
    use grants::Reference;
    let given = |mode: &str| {
        let driver = json!({"mode": mode, "mainClass": "a.B", "appResource": "file:/b.jar",
            "environmentSecretRef": {"name": "keys"}});
        cluster(json!({"spark": {"masters": [{"host": "s"}, {"host": "t", "restPort": 81}], "driver": driver}}))
    };
    let spark = |address: &str| Reference::Spark(address.into());
    let expected = [
        ("spec.spark.masters[0]", spark("s:8080")),
        ("spec.spark.masters[0].restPort", spark("s:6066")),
        ("spec.spark.masters[1]", spark("t:8080")),
        ("spec.spark.masters[1].restPort", spark("t:81")),
    ];
    let expected = expected.map(|(field, reference)| (field.to_owned(), reference));
    assert_eq!(validate::references(&given("Managed")), expected);
    let secret = ("spec.spark.driver.environmentSecretRef.name".to_owned(), "keys".to_owned());
    assert_eq!(validate::secrets(&given("Managed")), [secret]);
    assert_eq!(validate::references(&given("Disabled")).len(), 2, "nothing is submitted");
    assert!(validate::secrets(&given("Disabled")).is_empty());
}

#[test]
fn growths_that_status_shows_as_pending_are_remembered() {
    let mut given = kafka(json!({"namePrefix": "logs."}));
    let held = json!([
        {"name": "logs.a", "partitions": 3, "wantedPartitions": 12, "plannedPartitions": 6, "planID": "kp-0123abcd",
         "reason": "ApprovalRequired"},
        {"name": "logs.b", "partitions": 3, "wantedPartitions": 12, "reason": "Unhealthy"},
    ]);
    given.status = serde_json::from_value(json!({"kafka": {"heldTopics": held}})).unwrap();
    let pending = validate::pending_growths(&given);
    assert_eq!(pending, [("logs.a".to_owned(), partitions::Pending { from: 3, to: 6 })].into());
}

proptest! {
    /// Whatever prefixes an object holds, those that pass leave checkpoints out of reach of every rule.
    #[test]
    fn accepted_prefixes_keep_rules_off_checkpoints(logs in "[ab/]{0,6}", checkpoints in "[ab/]{0,6}") {
        let given = cluster(json!({"storage":
            {"bucketName": "b", "logsPrefix": logs, "checkpointPrefix": checkpoints}}));
        if let Ok(policy) = validate::retention(&given, Vec::new(), Default::default(), 60).unwrap() {
            let rule = retention::service_prefix(&policy.logs_prefix, "a");
            prop_assert!(!rule.starts_with(&policy.checkpoint_prefix));
            prop_assert!(!policy.checkpoint_prefix.starts_with(&rule));
            prop_assert!(policy.logs_prefix.len() > 1 && policy.checkpoint_prefix.len() > 1);
        }
    }

    /// The order in which a list names transitions changes nothing.
    #[test]
    fn transitions_are_ordered_by_days(gaps in prop::collection::vec(30..9000, 1..5)) {
        let classes = ["STANDARD_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE"];
        let days = gaps.iter().scan(0, |day, gap| {
            *day += gap;
            Some(*day)
        });
        let list: Vec<Value> =
            days.zip(classes).map(|(days, class)| json!({"days": days, "storageClass": class})).collect();
        let reversed: Vec<Value> = list.iter().rev().cloned().collect();
        let settings = |list: &[Value]| entry(&policy(json!({}), json!({"transitions": list}))).settings;
        prop_assert_eq!(settings(&list), settings(&reversed));
        prop_assert!(settings(&list).transitions.is_sorted_by_key(|t| t.days));
        prop_assert_eq!(settings(&list).transitions.len(), list.len());
    }
}
