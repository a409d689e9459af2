//! Where a policy's rules are, kept in its own status. Whoever may write that may have forged it, and no rule of the
//! API server stands before it: what it names is read strictly, and has to be granted as if a LogwiseCluster named it.

use super::{Invalid, observe_only};
use crate::{ChangeMode, Home, LogwiseCluster};
use logwise_plan::grants::Reference;

/// What the status of a policy keeps of its pipeline; `None`: that manages no bucket. `account` is the one that the
/// bucket must belong to, if the grants name it.
pub fn home(cluster: &LogwiseCluster, account: Option<&str>) -> Option<Home> {
    let (storage, aws) = (cluster.spec.storage.as_ref()?, cluster.spec.aws.as_ref()?);
    Some(Home {
        bucket_name: storage.bucket_name.clone(),
        logs_prefix: storage.logs_prefix.clone(),
        region: aws.region.clone(),
        role_arn: aws.role_arn.clone(),
        credentials_secret_name: aws.credentials_secret_ref.as_ref().map(|secret| secret.name.clone()),
        account_id: account.map(str::to_owned),
        mode: if observe_only(cluster) { ChangeMode::Observe } else { ChangeMode::Apply },
    })
}

/// Whether a policy's status tells of the place that its pipeline has now: the same bucket, with the same logs prefix.
pub fn is_home(kept: Option<&Home>, cluster: &LogwiseCluster) -> bool {
    let places = kept.zip(cluster.spec.storage.as_ref());
    places.is_some_and(|(home, now)| home.bucket_name == now.bucket_name && home.logs_prefix == now.logs_prefix)
}

/// Everything outside the cluster that is called by way of a policy's status: to be granted before the first call. The
/// error names a field that no LogwiseCluster could have had.
pub fn home_references(home: &Home) -> Result<Vec<(String, Reference)>, Invalid> {
    let field = |name: &str| format!("status.home.{name}");
    let check = |name: &str, good: bool, must: &str| if good { Ok(()) } else { Err(Invalid::new(&field(name), must)) };
    let in_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    let bucket = &home.bucket_name;
    let is_bucket = (3..=63).contains(&bucket.len()) && bucket.chars().all(in_name) && !bucket.contains("..");
    check("bucketName", is_bucket, "must be the name of a bucket")?;
    let logs = &home.logs_prefix;
    let is_prefix = logs.ends_with('/') && !logs.starts_with('/');
    check("logsPrefix", is_prefix, "must end with '/' and must not begin with '/'")?;
    let in_region = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_region = !home.region.is_empty() && home.region.chars().all(in_region);
    check("region", is_region, "must be the code of an AWS region")?;
    // The name becomes part of a path.
    let is_secret = |name: &String| !name.is_empty() && name.chars().all(in_name) && !name.starts_with('.');
    check("credentialsSecretName", home.credentials_secret_name.iter().all(is_secret), "must be the name of a Secret")?;
    let is_account = |id: &String| id.len() == 12 && id.chars().all(|c| c.is_ascii_digit());
    check("accountID", home.account_id.iter().all(is_account), "must be exactly 12 digits")?;
    let role = home.role_arn.clone().map(|arn| (field("roleARN"), Reference::Role(arn)));
    let bucket = Reference::Bucket { name: bucket.clone(), prefixes: vec![logs.clone()] };
    Ok(role.into_iter().chain([(field("bucketName"), bucket)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster() -> LogwiseCluster {
        let role = "arn:aws:iam::123456789012:role/r";
        let spec = json!({
            "aws": {"region": "eu-west-1", "roleARN": role, "credentialsSecretRef": {"name": "aws"}},
            "storage": {"bucketName": "acme-logs"},
        });
        let metadata = json!({"name": "demo"});
        let object =
            json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster", "metadata": metadata, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_status_keeps_what_the_pipeline_says_and_names_it_as_the_pipeline_does() {
        let mut cluster = cluster();
        let kept = home(&cluster, Some("123456789012")).unwrap();
        assert_eq!((kept.logs_prefix.as_str(), kept.mode), ("logs/", ChangeMode::Apply));
        let written = serde_json::to_value(&kept).unwrap();
        assert_eq!((&written["roleARN"], &written["accountID"]), (&json!(kept.role_arn), &json!("123456789012")));
        let bucket = Reference::Bucket { name: "acme-logs".into(), prefixes: vec!["logs/".into()] };
        let role = Reference::Role("arn:aws:iam::123456789012:role/r".into());
        let named = home_references(&kept).unwrap();
        assert_eq!(named, [("status.home.roleARN".to_owned(), role), ("status.home.bucketName".to_owned(), bucket)]);
        cluster.spec.suspend = true;
        assert_eq!(home(&cluster, None).unwrap().mode, ChangeMode::Observe);
        cluster.spec.storage = None;
        assert_eq!(home(&cluster, None), None);
    }

    #[test]
    fn a_place_is_a_bucket_with_a_prefix() {
        let (mut cluster, kept) = (cluster(), home(&cluster(), None).unwrap());
        assert!(is_home(Some(&kept), &cluster) && !is_home(None, &cluster));
        let others = [("acme-logs-2", kept.logs_prefix.as_str()), (kept.bucket_name.as_str(), "logs/2/")];
        for (bucket, prefix) in others {
            let other = Home { bucket_name: bucket.into(), logs_prefix: prefix.into(), ..kept.clone() };
            assert!(!is_home(Some(&other), &cluster), "{other:?}");
        }
        let observed = Home { mode: ChangeMode::Observe, account_id: Some("123456789012".into()), ..kept.clone() };
        assert!(is_home(Some(&observed), &cluster), "the same place, seen in another way");
        cluster.spec.storage = None;
        assert!(!is_home(Some(&kept), &cluster));
    }

    #[test]
    fn what_no_pipeline_could_have_said_is_refused_by_name() {
        let good = home(&cluster(), None).unwrap();
        let table = [
            ("bucketName", Home { bucket_name: "Acme".into(), ..good.clone() }),
            ("bucketName", Home { bucket_name: "a/b".into(), ..good.clone() }),
            ("bucketName", Home { bucket_name: "..".into(), ..good.clone() }),
            ("logsPrefix", Home { logs_prefix: "logs".into(), ..good.clone() }),
            ("logsPrefix", Home { logs_prefix: String::new(), ..good.clone() }),
            ("region", Home { region: "x.example.com/".into(), ..good.clone() }),
            ("region", Home { region: String::new(), ..good.clone() }),
            ("credentialsSecretName", Home { credentials_secret_name: Some("../b/secrets/x".into()), ..good.clone() }),
            ("credentialsSecretName", Home { credentials_secret_name: Some("..".into()), ..good.clone() }),
            ("accountID", Home { account_id: Some("12345678901x".into()), ..good.clone() }),
        ];
        for (field, forged) in table {
            assert_eq!(home_references(&forged).unwrap_err().field, format!("status.home.{field}"), "{forged:?}");
        }
        assert!(home_references(&good).is_ok());
    }
}
