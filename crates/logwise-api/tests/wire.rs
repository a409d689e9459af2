//! Resources as YAML and JSON: nothing that was given is lost, nothing that was not is added.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use logwise_api::{
    Condition, ConditionStatus, LogwiseCluster, LogwiseClusterStatus, RetentionPolicy, RetentionPolicyStatus,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every object of ours in the YAML files below a folder.
fn objects(folder: &Path, found: &mut Vec<(PathBuf, Value)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            objects(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            for document in text.split("\n---\n") {
                let object: Value = serde_yaml::from_str(document).unwrap();
                if object["apiVersion"] == "logwise.io/v1alpha1" {
                    found.push((path.clone(), object));
                }
            }
        }
    }
}

/// Whether `whole` holds everything that `part` holds.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        _ => whole == part,
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().any(has_null),
        Value::Array(items) => items.is_empty() || items.iter().any(has_null),
        _ => false,
    }
}

/// The object read into its type and written again.
fn through_types(object: &Value) -> Value {
    if object["kind"] == "LogwiseCluster" {
        serde_json::to_value(serde_json::from_value::<LogwiseCluster>(object.clone()).unwrap()).unwrap()
    } else {
        serde_json::to_value(serde_json::from_value::<RetentionPolicy>(object.clone()).unwrap()).unwrap()
    }
}

#[test]
fn examples_and_good_objects_survive_a_round_trip() {
    let mut found = Vec::new();
    objects(&root().join("examples"), &mut found);
    objects(&root().join("tests/objects/good"), &mut found);
    assert!(found.len() >= 20, "only {} objects", found.len());
    for (path, object) in found {
        let written = through_types(&object);
        assert!(holds(&written, &object), "{}: {object} became {written}", path.display());
        assert!(!has_null(&written), "{}: {written}", path.display());
        assert_eq!(through_types(&written), written);
    }
}

#[test]
fn defaults_of_the_types_are_those_of_the_schema() {
    let read = |kind: &str, spec: Value| {
        through_types(
            &json!({"apiVersion": "logwise.io/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}),
        )
    };
    let workers = json!({"type": "AutoScalingGroup", "autoScalingGroup": {"name": "g"},
        "autoscaling": {"minReplicas": 1, "maxReplicas": 2}});
    let given = json!({"storage": {"bucketName": "b"}, "kafka": {"bootstrapServers": ["k:1"], "topics": {}},
        "spark": {"masters": [{"host": "s"}], "driver": {}, "workers": workers}, "objectives": {}});
    let cluster = read("LogwiseCluster", given);
    let policy = read("RetentionPolicy", json!({"clusterRef": {"name": "c"}, "serviceSelector": {}}));
    for (object, (_, crd)) in [cluster, policy].iter().zip(logwise_api::crd::definitions()) {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert_defaults(".spec", schema, &object["spec"]);
    }
}

fn assert_defaults(path: &str, schema: &Value, value: &Value) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if let Some(default) = field.get("default") {
            assert_eq!(&value[name], default, "{path}");
        }
        if value[name].is_object() {
            assert_defaults(&path, field, &value[name]);
        }
    }
}

#[test]
fn an_empty_status_is_an_empty_object() {
    assert_eq!(serde_json::to_value(LogwiseClusterStatus::default()).unwrap(), json!({}));
    assert_eq!(serde_json::to_value(RetentionPolicyStatus::default()).unwrap(), json!({}));
}

#[test]
fn a_condition_is_on_the_wire_as_kubernetes_writes_it() {
    let time = meta::Time("2026-08-20T10:02:11.9Z".parse().unwrap());
    for status in [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown] {
        let ours = Condition {
            type_: "Ready".into(),
            status,
            reason: "Running".into(),
            message: String::new(),
            last_transition_time: time.clone(),
            observed_generation: Some(7),
        };
        let theirs = meta::Condition {
            type_: "Ready".into(),
            status: status.as_str().into(),
            reason: "Running".into(),
            message: String::new(),
            last_transition_time: time.clone(),
            observed_generation: Some(7),
        };
        let written = serde_json::to_value(&ours).unwrap();
        assert_eq!(written, serde_json::to_value(&theirs).unwrap());
        assert_eq!(written["lastTransitionTime"], "2026-08-20T10:02:11Z");
    }
}
