//! The table of permissions against the source and against the documentation made from it.

use logwise_aws::permissions::{ALL, Permission, Place, Resource};
use logwise_aws::{Check, Outcome, statement, trust_statement};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// First words of AWS's operation names.
const VERBS: [&str; 40] = [
    "abort",
    "assume",
    "attach",
    "batch",
    "cancel",
    "complete",
    "copy",
    "create",
    "decode",
    "delete",
    "describe",
    "detach",
    "disable",
    "enable",
    "enter",
    "execute",
    "exit",
    "get",
    "head",
    "launch",
    "list",
    "modify",
    "put",
    "reboot",
    "record",
    "register",
    "restore",
    "resume",
    "rollback",
    "run",
    "select",
    "set",
    "start",
    "stop",
    "suspend",
    "tag",
    "terminate",
    "untag",
    "update",
    "upload",
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the crates").to_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Source, without tests, of the crates that use an AWS SDK.
fn sources() -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(crates()).expect("a folder") {
        let folder = entry.expect("an entry").path();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        if !manifest.contains("aws-sdk-") {
            continue;
        }
        let mut files = Vec::new();
        rust_files(&folder.join("src"), &mut files);
        for file in files {
            let source = std::fs::read_to_string(file).expect("a source");
            text.push_str(source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default());
        }
    }
    text
}

/// Operations called in a source, in snake case: `.verb_words()` without arguments is how every call of the SDK begins.
fn called(source: &str) -> BTreeSet<String> {
    let name = |rest: &str| {
        let name = rest.split_once("()")?.0;
        let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let verb = name.split_once('_')?.0;
        (is_name && VERBS.contains(&verb)).then(|| name.to_owned())
    };
    source.split('.').filter_map(name).collect()
}

fn snake(operation: &str) -> String {
    let mut name = String::new();
    for letter in operation.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[test]
fn the_table_holds_what_the_source_calls_and_nothing_else() {
    let table: BTreeSet<_> = ALL.iter().flat_map(|permission| permission.operations).map(|name| snake(name)).collect();
    let source = sources();
    assert!(source.contains("put_bucket_lifecycle_configuration"), "the source of the S3 part is among the sources");
    assert_eq!(called(&source), table);
    // The comparison can fail.
    assert!(called("client\n.delete_object()\n.bucket(b)").contains("delete_object"));
}

#[test]
fn actions_are_named_once_and_only_describe_calls_have_no_resource() {
    let actions: BTreeSet<_> = ALL.iter().map(|permission| permission.action).collect();
    assert_eq!(actions.len(), ALL.len());
    for permission in ALL {
        let narrow = permission.on != Resource::Any;
        let asks = ["Describe", "GetCallerIdentity"].iter().any(|word| permission.action.contains(word));
        assert!(narrow || (asks && !permission.changes), "{permission:?}");
    }
}

#[test]
fn a_policy_names_exact_actions_and_resources() {
    let check = |permission: &Permission, resource: &str, result| Check {
        permission: permission.action,
        resource: resource.to_owned(),
        result,
    };
    let checks: Vec<_> = ALL.iter().map(|p| check(p, &p.on.arn(&PLACE, "name"), Outcome::NotTested)).collect();
    let policy: serde_json::Value = serde_json::from_str(&statement(&checks)).unwrap();
    let expected = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    "autoscaling:DescribeAutoScalingGroups",
                    "autoscaling:DescribeInstanceRefreshes",
                    "autoscaling:DescribeLifecycleHooks",
                    "autoscaling:DescribeScalingActivities",
                    "ec2:DescribeInstances",
                ],
                "Resource": "*",
            },
            {
                "Effect": "Allow",
                "Action": [
                    "autoscaling:CompleteLifecycleAction",
                    "autoscaling:RecordLifecycleActionHeartbeat",
                    "autoscaling:SetDesiredCapacity",
                    "autoscaling:SetInstanceProtection",
                    "autoscaling:TerminateInstanceInAutoScalingGroup",
                    "autoscaling:UpdateAutoScalingGroup",
                ],
                "Resource": "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:*:autoScalingGroupName/name",
            },
            {
                "Effect": "Allow",
                "Action": [
                    "s3:GetBucketObjectLockConfiguration",
                    "s3:GetBucketVersioning",
                    "s3:GetLifecycleConfiguration",
                    "s3:GetReplicationConfiguration",
                    "s3:ListBucket",
                    "s3:PutLifecycleConfiguration",
                ],
                "Resource": "arn:aws:s3:::name",
            },
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::name*"},
        ],
    });
    assert_eq!(policy, expected);
    let twice = [checks.clone(), checks].concat();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&statement(&twice)).unwrap(), expected);
}

const PLACE: Place<'_> = Place { partition: "aws", region: "eu-west-1", account: "123456789012" };

fn document() -> String {
    let mut text = String::from(HEAD);
    for permission in ALL {
        let on = match permission.on {
            Resource::Bucket => "the bucket",
            Resource::Objects => "the query's checkpoint in the bucket",
            Resource::Group => "the group",
            Resource::Role => "the role",
            Resource::Any => "`*` (AWS knows no narrower form)",
        };
        let kind = if permission.changes { "write" } else { "read" };
        let (calls, action, when) = (permission.operations.join(", "), permission.action, permission.when);
        writeln!(text, "| {calls} | `{action}` | {on} | {kind} | {when} |").expect("text takes text");
    }
    let names = [
        (Resource::Bucket, "my-logs"),
        (Resource::Objects, "my-logs/checkpoint/application/"),
        (Resource::Group, "my-workers"),
        (Resource::Any, ""),
    ];
    let checks: Vec<_> = ALL
        .iter()
        .filter_map(|permission| {
            let (on, name) = names.iter().find(|(on, _)| *on == permission.on)?;
            let resource = on.arn(&PLACE, name);
            Some(Check { permission: permission.action, resource, result: Outcome::NotTested })
        })
        .collect();
    let trust = trust_statement("arn:aws:iam::210987654321:role/logwise-operator", "prod/shop/orders");
    text + &TAIL.replace("POLICY", &statement(&checks)).replace("TRUST", &trust)
}

const HEAD: &str = "# AWS permissions

The operator makes these calls and no others: a call that is not in this table is stopped before it is sent. Of objects only
those of the streaming query's [checkpoint](position.md) are read; none is written or deleted.

| Call | Permission | On | | When |
|---|---|---|---|---|
";

const TAIL: &str = "
## The policy of a pipeline

For a pipeline with bucket `my-logs`, group `my-workers` and a query `application` below the default `checkpointPrefix`, for the
role in `spec.aws.roleARN` or, without a role, for the operator's own:

```json
POLICY
```

## The preflight

Once after each change of a spec, and every 10 minutes, the operator finds out what it may do for a LogwiseCluster: it asks
who it is, describes the group, its activities, instance refreshes and hooks, asks EC2 for an instance in a dry run, reads the
lifecycle rules, the settings for versions, object lock and replication, lists one key, and reads `metadata` of the query's
checkpoint, which need not be there. The condition `Validated` says how many of these permissions it has. The first that it lacks
stands there, with the statement that gives all that it lacks, and it is asked again within a minute. Calls that change something
are not made for this: the message names them as not tested. `Validated` holds up nothing, and `Ready` does not follow it.
`preflight.enabled: false` ([configuration.md](configuration.md)) switches it off.

Without `s3:GetBucketVersioning`, `s3:GetBucketObjectLockConfiguration` or `s3:GetReplicationConfiguration` rules are written all
the same: `status.storage` and the policies then say nothing of versions, locks or replication, and a service whose objects are
all new waits for approval like any other if its policy removes old versions.

Without `s3:GetObject` it is not known how far the query has read: catch-up of topics is left out, and workers are neither added nor
removed for load. Whether it is given does not show while `s3:ListBucket` is missing: then S3 refuses what is not there too.

Where the bucket is encrypted with a key in AWS KMS (SSE-KMS), reading the checkpoint takes `kms:Decrypt` on that key too, by a
policy of the same identity and, if the key belongs to another account, by the key's own. S3 answers with AccessDenied and names
`kms:Decrypt`; then `Validated` names it with the key, and the statement for it. No other call of the operator takes the key.

Without `ec2:DescribeInstances`, `autoscaling:DescribeScalingActivities` or `autoscaling:DescribeInstanceRefreshes` the group is
raised all the same, and no worker is removed. `autoscaling:SetInstanceProtection` and `autoscaling:UpdateAutoScalingGroup` are not
needed with `scaleInProtection: Observe`, nor `autoscaling:RecordLifecycleActionHeartbeat` and
`autoscaling:CompleteLifecycleAction` without `terminationHookName`.

| Message begins with | Add the statement to |
|---|---|
| `sts:AssumeRole on <role> is denied` | the trust policy of that role; the operator's own identity needs `sts:AssumeRole` on it |
| `<action> on <resource> is denied`, another action | a policy of the role `spec.aws.roleARN`; without one, of the user whose keys the Secret holds; without a Secret, of the operator's own role. S3 says the same when the bucket belongs to another account |
| `AWS does not accept the caller` | nothing: the keys are wrong or there are none, see [Credentials](#credentials) |

An S3-compatible store that does not know GetCallerIdentity is asked the rest all the same.

## The trust policy of a role

The operator assumes `spec.aws.roleARN` with the external id `<installation>/<namespace>/<name>` of the LogwiseCluster; the
id cannot be chosen. The role lets in that pipeline alone if its trust policy asks for it:

```json
TRUST
```

The operator's own identity needs `sts:AssumeRole` on the role. The session in CloudTrail is named
`<installation>.<name>`, cut to 64 characters. STS is called in the region of the pipeline.

## Credentials

Without `spec.aws.credentialsSecretRef` they are those that the AWS SDK finds: environment, profile, web identity, container
or instance. With it, they are the keys `accessKeyId`, `secretAccessKey` and, if there is one, `sessionToken` of the Secret; a
role is then assumed with these. A changed Secret gives new clients, and the old key is dropped.

## Buckets of other accounts

When the account of a bucket is known, every call names it as expected owner, and S3 refuses if the bucket belongs to another
account. A call that does not name it is stopped before it is sent.

## Where calls go

- To AWS: over HTTPS, to names under `amazonaws.com`, `amazonaws.com.cn`, `api.amazonwebservices.com.cn`, `amazonaws.eu`
  and `api.aws`. A proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`) is used.
- To `aws.endpointURL`, if it is set: to that host and port alone, without proxy. It is an `https` URL of a host, without
  user, path and query.
- To the `endpoints` of the namespace's grants instead, for the services that they name, under the same rules.
- Redirects are not followed.
- A name is looked up once for each connection, and the connection goes to the address that was checked. Addresses that are
  loopback, link-local, multicast, reserved, unspecified or of a cloud's metadata service, also in IPv6 form, are refused, and
  those in `aws.deniedRanges`.
- `allowInsecureEndpoints` allows plain HTTP and loopback addresses for these endpoints, for tests.
- The operator's own credentials come from where the SDK finds them, also from the metadata service; these rules are not
  for those calls.
";

#[test]
fn the_documentation_is_fresh() {
    let path = crates().parent().unwrap().join("docs/aws-permissions.md");
    let text = document();
    if std::env::var_os("LOGWISE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, text, "docs/aws-permissions.md is stale: run this test with LOGWISE_BLESS=1");
}
