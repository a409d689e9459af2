//! A later version, played: with `LOGWISE_LATER=1`, in builds with debug assertions, this operator writes what only a
//! version to come would write, so that tests can show what the present one makes of it.

use crate::intent::Intent;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use std::sync::OnceLock;

/// A state that only the later version knows; it stands for `Done` of a group.
const STATE: &str = "Verified";

/// A field and a key that only the later version knows.
const FIELD: &str = "laterField";

fn plays() -> bool {
    static PLAYS: OnceLock<bool> = OnceLock::new();
    cfg!(debug_assertions) && *PLAYS.get_or_init(|| std::env::var_os("LOGWISE_LATER").is_some())
}

/// Adds a key to an object of the operator's own.
pub(crate) fn mark(object: &mut ConfigMap) {
    if plays() {
        object.data.get_or_insert_default().insert(FIELD.to_owned(), "1".to_owned());
    }
}

/// Adds a field to a record, and another state.
pub(crate) fn write(record: &mut Value) {
    if plays() {
        record[FIELD] = json!({"of": "the resource"});
        record["wish"][FIELD] = json!({"of": "the change"});
        if record["state"] == "Done" && record["resource"].as_str().is_some_and(|name| name.starts_with("group/")) {
            record["state"] = json!(STATE);
        }
    }
}

/// Reads a record as a version does that knows the state.
pub(crate) fn read(mut record: Value) -> Result<Intent, serde_json::Error> {
    if plays() && record["state"] == STATE {
        record["state"] = json!("Done");
    }
    serde_json::from_value(record)
}
