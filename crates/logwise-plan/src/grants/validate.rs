//! Whether grants can be used: looked at once, when the configuration is read.

use super::{BucketGrant, Endpoint, Grant, Grants, GroupGrant};
use crate::address;
use std::collections::{BTreeMap, BTreeSet};

/// The label by which the API server names a namespace.
pub const METADATA_NAME: &str = "kubernetes.io/metadata.name";

impl Grants {
    /// Names the first entry that cannot be used, and why. `trusted_labels` are keys of labels that tenants cannot set on
    /// their namespaces, besides [`METADATA_NAME`].
    pub fn validate(&self, trusted_labels: &BTreeSet<String>) -> Result<(), String> {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for (i, grant) in self.entries.iter().enumerate() {
            let at = |problem: String| format!("grants[{i}].{problem}");
            namespaces(grant, trusted_labels).map_err(at)?;
            things(grant).map_err(at)?;
            for (j, bucket) in grant.buckets.iter().enumerate() {
                let owner = owners.entry(&bucket.name).or_insert(&bucket.account_id);
                if *owner != bucket.account_id {
                    return Err(at(format!(
                        "buckets[{j}].accountID: must be {owner} as in another grant of bucket {}: a bucket has one owner",
                        bucket.name
                    )));
                }
            }
        }
        // Whether they may be plain HTTP is not known here: flags may say it.
        self.check_endpoints(true, &[])?;
        self.endpoints_agree()
    }
}

fn namespaces(grant: &Grant, trusted: &BTreeSet<String>) -> Result<(), String> {
    for (j, name) in grant.namespaces.iter().enumerate() {
        if name != "*" && !is_namespace(name) {
            return Err(format!("namespaces[{j}]: must be the whole name of a namespace or '*', not {name:?}"));
        }
    }
    let Some(selector) = &grant.namespace_selector else {
        let none = grant.namespaces.is_empty();
        return if none {
            Err("namespaces: must name a namespace, or give `namespaceSelector`".to_owned())
        } else {
            Ok(())
        };
    };
    if selector.match_labels.is_empty() {
        return Err(
            "namespaceSelector.matchLabels: must hold a label; for every namespace use `namespaces: ['*']`".into()
        );
    }
    match selector.match_labels.keys().find(|key| *key != METADATA_NAME && !trusted.contains(*key)) {
        None => Ok(()),
        Some(key) => Err(format!(
            "namespaceSelector.matchLabels: label {key} may be set by whoever may edit a namespace, who would grant \
             himself what he likes. Use {METADATA_NAME}, or list the key under `trustedNamespaceLabels` if an admission \
             policy keeps tenants from setting it"
        )),
    }
}

fn is_namespace(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('-') && !name.ends_with('-')
}

fn things(grant: &Grant) -> Result<(), String> {
    each("buckets", &grant.buckets, bucket)?;
    each("autoScalingGroups", &grant.auto_scaling_groups, group)?;
    each("roles", &grant.roles, |arn| address::role(arn).map(drop).map_err(|problem| format!(": {arn:?} {problem}")))?;
    each("kafka", &grant.kafka, |text| endpoint(text))?;
    each("spark", &grant.spark, |text| endpoint(text))
}

/// Names the first item that `check` finds fault with.
fn each<T>(key: &str, items: &[T], check: impl Fn(&T) -> Result<(), String>) -> Result<(), String> {
    for (j, item) in items.iter().enumerate() {
        check(item).map_err(|problem| format!("{key}[{j}]{problem}"))?;
    }
    Ok(())
}

fn bucket(bucket: &BucketGrant) -> Result<(), String> {
    if !address::is_bucket_name(&bucket.name) {
        return Err(format!(".name: must be the whole name of a bucket, not {:?}", bucket.name));
    }
    if let Some(prefix) = bucket.prefix.as_ref().filter(|prefix| !address::is_key_prefix(prefix)) {
        return Err(format!(
            ".prefix: must end with '/' and hold whole segments without '.', '..' and empty ones, not {prefix:?}"
        ));
    }
    if !address::is_account(&bucket.account_id) {
        return Err(format!(".accountID: must be 12 digits in quotes, not {:?}", bucket.account_id));
    }
    Ok(())
}

fn group(group: &GroupGrant) -> Result<(), String> {
    match group {
        GroupGrant::Arn(arn) => address::group(arn).map(drop).map_err(|problem| format!(": {arn:?} {problem}")),
        GroupGrant::Named(named) if !address::is_group_name(&named.name) => {
            Err(format!(".name: must be the name of a group, not {:?}; an ARN stands without `name`", named.name))
        }
        GroupGrant::Named(named) => match &named.region {
            Some(region) if !address::is_region(region) => {
                Err(format!(".region: must be the code of a region, such as ap-south-1, not {region:?}"))
            }
            _ => Ok(()),
        },
    }
}

fn endpoint(text: &str) -> Result<(), String> {
    Endpoint::parse(text).map(drop).map_err(|problem| format!(": {text:?} {problem}"))
}
