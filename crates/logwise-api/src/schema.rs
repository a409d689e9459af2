//! What the derive macros cannot say about a schema: list types, bounds of maps and CEL rules.

use schemars::Schema;
use serde_json::{Value, json};

/// Key of the CEL rules in a Kubernetes schema.
pub(crate) const VALIDATIONS: &str = "x-kubernetes-validations";

/// A CEL rule on the value itself.
pub(crate) fn check(rule: &'static str, message: &'static str) -> impl FnMut(&mut Schema) {
    append(json!({"rule": rule, "message": message}))
}

/// A CEL rule on an object that reports its failure at the field `path`, such as `.days`.
pub(crate) fn check_at(path: &'static str, rule: &'static str, message: &'static str) -> impl FnMut(&mut Schema) {
    append(json!({"fieldPath": path, "rule": rule, "message": message}))
}

/// As [`check_at`], with a message that CEL computes; `message` stands in if the computation fails.
pub(crate) fn check_with(
    path: &'static str,
    rule: &'static str,
    message: &'static str,
    expression: &'static str,
) -> impl FnMut(&mut Schema) {
    append(json!({"fieldPath": path, "rule": rule, "message": message, "messageExpression": expression}))
}

/// A CEL rule that asks for the field `path` to be present.
pub(crate) fn require(path: &'static str, rule: &'static str, message: &'static str) -> impl FnMut(&mut Schema) {
    append(json!({"fieldPath": path, "reason": "FieldValueRequired", "rule": rule, "message": message}))
}

/// A CEL rule that forbids a change of the field `path`.
pub(crate) fn forbid(path: &'static str, rule: &'static str, message: &'static str) -> impl FnMut(&mut Schema) {
    append(json!({"fieldPath": path, "reason": "FieldValueForbidden", "rule": rule, "message": message}))
}

/// Applies `transform` to the schema of the list's items.
pub(crate) fn each(mut transform: impl FnMut(&mut Schema)) -> impl FnMut(&mut Schema) {
    move |schema| {
        if let Some(items) = schema.get_mut("items").and_then(|items| <&mut Schema>::try_from(items).ok()) {
            transform(items);
        }
    }
}

/// A list of distinct scalars that several field managers may fill together.
pub(crate) fn set(schema: &mut Schema) {
    schema.insert("x-kubernetes-list-type".into(), "set".into());
}

/// A list that one field manager owns as a whole.
pub(crate) fn atomic(schema: &mut Schema) {
    schema.insert("x-kubernetes-list-type".into(), "atomic".into());
}

/// A list of objects told apart by the field `key`.
pub(crate) fn map_by(key: &'static str) -> impl FnMut(&mut Schema) {
    move |schema| {
        schema.insert("x-kubernetes-list-type".into(), "map".into());
        schema.insert("x-kubernetes-list-map-keys".into(), json!([key]));
    }
}

/// A map of at most `most` texts, each of at most `length` characters.
pub(crate) fn texts(most: u32, length: u32) -> impl FnMut(&mut Schema) {
    move |schema| {
        schema.insert("maxProperties".into(), most.into());
        schema.insert("additionalProperties".into(), json!({"type": "string", "maxLength": length}));
    }
}

/// A number as the default of a field: serde asks for a function.
pub(crate) const fn whole<const N: i32>() -> i32 {
    N
}

/// Adds one rule to those the schema already has.
fn append(rule: Value) -> impl FnMut(&mut Schema) {
    move |schema| {
        let rules = schema.ensure_object().entry(VALIDATIONS).or_insert_with(|| json!([]));
        if let Value::Array(rules) = rules {
            rules.push(rule.clone());
        }
    }
}
