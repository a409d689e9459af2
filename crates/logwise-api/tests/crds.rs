//! The generated definitions: fresh, bounded, described, typed.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use serde_json::Value;
use std::path::PathBuf;

const MAX_BYTES: usize = 100_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../crds")
}

fn schemas() -> Vec<(&'static str, Value)> {
    logwise_api::crd::definitions()
        .into_iter()
        .map(|(file, crd)| (file, crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()))
        .collect()
}

/// Calls `visit` with the path and the schema of every value, `below_list` telling whether it lies in a list.
fn walk(path: &str, schema: &Value, below_list: bool, visit: &mut impl FnMut(&str, &Value, bool)) {
    visit(path, schema, below_list);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), field, below_list, visit);
    }
    for inner in ["items", "additionalProperties"].iter().filter_map(|key| schema.get(key)) {
        walk(&format!("{path}[]"), inner, true, visit);
    }
}

/// Collects what `problem` says about any value of any definition.
fn problems(mut problem: impl FnMut(&str, &Value, bool) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (file, schema) in schemas() {
        walk("", &schema, false, &mut |path, value, below_list| {
            found.extend(problem(path, value, below_list).map(|p| format!("{file} {path}: {p}")));
        });
    }
    found
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_files_in_crds_are_fresh() {
    let mut stale = Vec::new();
    for (file, wanted) in logwise_api::crd_files() {
        let path = folder().join(file);
        if std::env::var_os("LOGWISE_BLESS").is_some() {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&path, &wanted).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != wanted {
            stale.push(file);
        }
    }
    assert!(stale.is_empty(), "crds/ is stale ({}): run `make generate` and commit the result", stale.join(", "));
}

#[test]
fn there_are_no_other_files_in_crds() {
    let known: Vec<_> = logwise_api::crd_files().into_iter().map(|(file, _)| file.to_owned()).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name) || !name.starts_with("logwise.io_"), "{name} is not generated any more");
    }
}

#[test]
fn each_definition_stays_under_the_limit_of_client_side_apply() {
    for (file, text) in logwise_api::crd_files() {
        assert!(text.len() < MAX_BYTES, "{file} has {} bytes", text.len());
        let json = serde_json::to_string(&serde_yaml::from_str::<Value>(&text).unwrap()).unwrap();
        assert!(json.len() < MAX_BYTES, "{file} has {} bytes as JSON", json.len());
    }
}

#[test]
fn the_stream_holds_the_same_documents_as_the_files() {
    let stream: Vec<Value> =
        logwise_api::crds().split("---\n").map(|document| serde_yaml::from_str(document).unwrap()).collect();
    let files: Vec<Value> =
        logwise_api::crd_files().iter().map(|(_, text)| serde_yaml::from_str(text).unwrap()).collect();
    assert_eq!(stream, files);
    assert_eq!(logwise_api::crds(), logwise_api::crds());
}

#[test]
fn nothing_is_empty_null_or_nullable() {
    fn visit(path: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Null => found.push(format!("{path} is null")),
            Value::Array(items) => {
                if items.is_empty() {
                    found.push(format!("{path} is an empty list"));
                }
                items.iter().enumerate().for_each(|(i, item)| visit(&format!("{path}[{i}]"), item, found));
            }
            Value::Object(fields) => {
                if fields.contains_key("nullable") {
                    found.push(format!("{path} is nullable"));
                }
                fields.iter().for_each(|(key, field)| visit(&format!("{path}.{key}"), field, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (file, crd) in logwise_api::crd::definitions() {
        visit(file, &crd, &mut found);
    }
    assert_none(&found);
}

#[test]
fn every_field_is_described() {
    assert_none(&problems(|path, schema, _| {
        let text = schema["description"].as_str().unwrap_or_default();
        let scalar_item = path.ends_with("[]") && schema["type"] != "object";
        let missing = text.trim().is_empty() && !scalar_item;
        let foreign = text.contains("Auto-generated") || text.contains("[`") || text.contains("Time is a wrapper");
        (missing || foreign).then(|| format!("description is {text:?}"))
    }));
}

#[test]
fn every_optional_field_of_a_spec_names_its_default() {
    assert_none(&problems(|path, schema, _| {
        let is_spec_field = path.starts_with(".spec.") && !path.ends_with("[]");
        let text = schema["description"].as_str().unwrap_or_default();
        let named = text.contains("Default: ") || text.contains("No default.") || text.contains("Absent: ");
        (is_spec_field && !named).then(|| format!("no default in {text:?}"))
    }));
}

#[test]
fn a_described_default_is_the_stored_default() {
    assert_none(&problems(|_, schema, _| {
        let text = schema["description"].as_str().unwrap_or_default();
        let default = schema.get("default")?;
        let shown = match default {
            // What has fields of its own is described there.
            Value::Object(fields) => {
                let parts = fields.iter().filter(|(_, v)| !v.is_object()).map(|(k, v)| format!("{k} {}", plain(v)));
                parts.collect::<Vec<_>>()
            }
            other => vec![format!("Default: {}.", plain(other))],
        };
        // An object's default is described by its parts; -1 of the status by its field.
        let told = shown.iter().all(|part| text.contains(part.as_str())) || default["observedGeneration"] == -1;
        (!told).then(|| format!("{text:?} does not tell {shown:?}"))
    }));
}

/// The value as people write it in YAML, in one line.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

#[test]
fn every_string_number_list_and_map_is_bounded() {
    assert_none(&problems(|path, schema, _| {
        let has = |key: &str| schema.get(key).is_some();
        let wrong = match schema["type"].as_str() {
            Some("string") => !has("enum") && !has("maxLength") && schema["format"] != "date-time",
            // Numbers that only the operator writes grow with the outside world.
            Some("integer") => !has("minimum") || (path.starts_with(".spec") && !has("maximum")),
            Some("array") => !has("maxItems"),
            Some("object") => {
                let is_free = has("additionalProperties") && !has("maxProperties");
                is_free || has("x-kubernetes-preserve-unknown-fields")
            }
            Some("boolean") => false,
            other => return Some(format!("type is {other:?}")),
        };
        wrong.then(|| format!("unbounded {}", schema["type"]))
    }));
}

#[test]
fn numbers_are_signed_integers() {
    assert_none(&problems(|_, schema, _| {
        let format = schema.get("format")?.as_str()?.to_owned();
        (!["int32", "int64", "date-time"].contains(&format.as_str())).then(|| format!("format {format}"))
    }));
}

#[test]
fn every_list_has_a_type_and_no_default_lies_below_one() {
    assert_none(&problems(|_, schema, below_list| {
        if below_list && schema.get("default").is_some() {
            return Some("a default below a list is eternal drift for Argo CD".into());
        }
        if schema["type"] != "array" {
            return None;
        }
        let item = &schema["items"];
        match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => (item["type"] == "object").then(|| "set of objects".into()),
            Some("atomic") => None,
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
                let required = item["required"].as_array()?;
                (!keys.iter().all(|key| required.contains(key))).then(|| "a map key is not required".into())
            }
            other => Some(format!("list type {other:?}")),
        }
    }));
}

#[test]
fn every_rule_says_what_must_be_in_one_line() {
    let mut rules = 0;
    assert_none(&problems(|_, schema, _| {
        let all = schema.get("x-kubernetes-validations")?.as_array()?;
        rules += all.len();
        all.iter().find_map(|rule| {
            let message = rule["message"].as_str().unwrap_or_default();
            let good = (message.starts_with("must ") || message.starts_with("is immutable")) && !message.contains('\n');
            (!good).then(|| format!("message {message:?}"))
        })
    }));
    assert!(rules > 25, "only {rules} rules were found");
}

#[test]
fn rules_guard_parts_that_may_be_absent() {
    assert_none(&problems(|_, schema, _| {
        let all = schema.get("x-kubernetes-validations")?.as_array()?;
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let optional = schema["properties"]
            .as_object()?
            .iter()
            .filter(|(name, field)| !required.contains(&Value::from(name.as_str())) && field.get("default").is_none());
        let optional: Vec<_> = optional.map(|(name, _)| format!("self.{name}")).collect();
        all.iter().find_map(|rule| {
            let rule = rule["rule"].as_str().unwrap_or_default();
            let unguarded =
                optional.iter().find(|field| rule.contains(*field) && !rule.contains(&format!("has({field}")));
            unguarded.map(|field| format!("{field} is not guarded in {rule}"))
        })
    }));
}

#[test]
fn names_columns_and_selectable_fields_are_as_documented() {
    let definitions = logwise_api::crd::definitions();
    let summary: Vec<String> = definitions.iter().map(|(_, crd)| summary(crd)).collect();
    assert_eq!(
        summary,
        [
            "logwiseclusters.logwise.io LogwiseCluster lwc logwise Namespaced v1alpha1 .spec.storage.bucketName: \
             Ready Reason Workers Desired Pending Age | Mode Topics Partitions Bucket Region Suspended Message",
            "retentionpolicies.logwise.io RetentionPolicy lrp logwise Namespaced v1alpha1 .spec.clusterRef.name: \
             Cluster Ready Reason Days Services Pending Age | Priority Rules Mode Plan Message",
        ]
    );
}

fn summary(crd: &Value) -> String {
    let version = &crd["spec"]["versions"][0];
    let names = &crd["spec"]["names"];
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    let shown = |wide: bool| {
        let columns = columns.iter().filter(|c| (c["priority"] == 1) == wide);
        columns.map(|c| plain(&c["name"])).collect::<Vec<_>>().join(" ")
    };
    format!(
        "{} {} {} {} {} {} {}: {} | {}",
        plain(&crd["metadata"]["name"]),
        plain(&names["kind"]),
        plain(&names["shortNames"][0]),
        plain(&names["categories"][0]),
        plain(&crd["spec"]["scope"]),
        plain(&version["name"]),
        plain(&version["selectableFields"][0]["jsonPath"]),
        shown(false),
        shown(true)
    )
}

#[test]
fn kubectl_scale_sets_the_fixed_number_of_workers() {
    let found: Vec<Value> = logwise_api::crd::definitions()
        .into_iter()
        .map(|(_, crd)| crd["spec"]["versions"][0]["subresources"]["scale"].clone())
        .collect();
    let scale = serde_json::json!({
        "specReplicasPath": ".spec.spark.workers.replicas",
        "statusReplicasPath": ".status.spark.workers.replicas",
        "labelSelectorPath": ".status.spark.workers.selector",
    });
    assert_eq!(found, [scale, Value::Null]);
    for (_, schema) in schemas().into_iter().take(1) {
        for path in ["spec/properties/spark/properties/workers", "status/properties/spark/properties/workers"] {
            let workers = schema.pointer(&format!("/properties/{path}/properties")).unwrap();
            assert_eq!(workers["replicas"]["type"], "integer", "{path}");
        }
    }
}

#[test]
fn a_new_object_has_a_status_that_says_not_seen_yet() {
    for (file, schema) in schemas() {
        let default = &schema["properties"]["status"]["default"];
        assert_eq!(default, &serde_json::json!({"observedGeneration": -1}), "{file}");
    }
}

#[test]
fn no_reference_leads_out_of_its_namespace() {
    let mut references = 0;
    assert_none(&problems(|path, schema, _| {
        let name = path.rsplit('.').next().unwrap_or_default();
        if name.to_ascii_lowercase().contains("namespace") {
            return Some("names a namespace".into());
        }
        if !name.ends_with("Ref") || !path.starts_with(".spec.") {
            return None;
        }
        references += 1;
        let fields: Vec<&str> = schema["properties"].as_object()?.keys().map(String::as_str).collect();
        let foreign = fields.iter().find(|field| !["name", "key"].contains(*field));
        foreign.map(|field| format!("has the field {field}"))
    }));
    assert!(references >= 5, "only {references} references were found");
}
