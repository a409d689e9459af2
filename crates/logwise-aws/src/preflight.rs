//! What the operator may do for one pipeline, found out by reads that change nothing.

use crate::client::{Clients, autoscaling_once, ec2_once, s3_once, sts_once};
use crate::failure::{DECRYPT, Failure};
use crate::owner::Owner;
use crate::permissions::{
    ALL, ASSUME_ROLE, CALLER_IDENTITY, COMPLETE_ACTION, DESCRIBE_ACTIVITIES, DESCRIBE_GROUPS, DESCRIBE_HOOKS,
    DESCRIBE_INSTANCES, DESCRIBE_REFRESHES, GET_LIFECYCLE, GET_OBJECT, GET_OBJECT_LOCK, GET_REPLICATION,
    GET_VERSIONING, LIST_BUCKET, PUT_LIFECYCLE, Permission, Place, RECORD_HEARTBEAT, Resource, SET_DESIRED_CAPACITY,
    SET_PROTECTION, TERMINATE_INSTANCE, UPDATE_GROUP,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use logwise_runtime::ErrorClass;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;

/// Codes by which S3 answers a permitted question about a setting that the bucket does not have.
pub const NOT_SET: [&str; 2] = ["ObjectLockConfigurationNotFoundError", "ReplicationConfigurationNotFoundError"];

/// Code by which EC2 permits what it was asked not to do.
const DRY_RUN: &str = "DryRunOperation";

/// Codes of stores that do not know a question.
const UNKNOWN_QUESTION: [&str; 2] = ["NotImplemented", "MethodNotAllowed"];

/// What a pipeline needs of AWS.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Name of the bucket whose lifecycle is managed.
    pub bucket: Option<String>,
    /// Prefix of the logs in it.
    pub logs_prefix: String,
    /// Beginning of the keys of the streaming query's checkpoint in it, ends in `/`; `None`: no query is followed.
    pub checkpoint: Option<String>,
    /// Name of the workers' Auto Scaling Group.
    pub group: Option<String>,
    /// Account that the bucket must belong to, if it is known.
    pub owner: Option<Owner>,
}

/// One permission, and whether the operator has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// IAM action.
    pub permission: &'static str,
    /// ARN in the form that a policy takes, or `*`.
    pub resource: String,
    /// What was found.
    pub result: Outcome,
}

/// What was found about a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// AWS let the call through.
    Ok,
    /// AWS refused the caller; the words of AWS.
    Denied(String),
    /// The call came through, but the thing is not there, or not as the spec names it.
    Wrong(String),
    /// The bucket lies in another region than the pipeline.
    OtherRegion(String),
    /// It could not be found out; why.
    Unknown(String),
    /// A call that changes something: whether it is allowed shows when it is first made.
    NotTested,
}

impl Outcome {
    fn of(failure: Failure) -> Self {
        match failure.class {
            _ if failure.is_other_region() => Self::OtherRegion(failure.text),
            ErrorClass::Denied => Self::Denied(failure.text),
            ErrorClass::NotFound | ErrorClass::Invalid => Self::Wrong(failure.text),
            ErrorClass::Throttled | ErrorClass::Conflict | ErrorClass::Transient => Self::Unknown(failure.text),
        }
    }

    fn answered<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        answer.map_or_else(|error| Self::of(Failure::seen(&error)), |_| Self::Ok)
    }

    /// The answer to a question about a group. That it is not there is told by the call that describes it.
    fn of_group<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match answer {
            Err(error) if Failure::seen(&error).class == ErrorClass::NotFound => Self::Ok,
            answer => Self::answered(answer),
        }
    }

    /// The answer to a question about a setting that a bucket need not have, and that other stores need not know.
    fn setting<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let answered = |code: &str| NOT_SET.contains(&code) || UNKNOWN_QUESTION.contains(&code);
        match answer {
            Err(error) if error.code().is_some_and(answered) => Self::Ok,
            answer => Self::answered(answer),
        }
    }
}

/// Checks what `wanted` takes, by at most one call per read permission, each sent once. Who the caller is comes first:
/// without an answer to that, nothing else is asked. A store that does not know this question is asked the rest.
pub async fn preflight(clients: &Clients, wanted: &Wanted) -> Vec<Check> {
    let answer = clients.sts().get_caller_identity().customize().config_override(sts_once()).send().await;
    let (caller, outcome) = match answer {
        Ok(answer) => (answer.arn, Outcome::Ok),
        Err(error) => (None, Outcome::of(Failure::seen(&error))),
    };
    let who = match clients.role_arn() {
        Some(role) => Check { permission: ASSUME_ROLE.action, resource: role.to_owned(), result: outcome },
        None => Check { permission: CALLER_IDENTITY.action, resource: "*".to_owned(), result: outcome },
    };
    let place = place(caller.as_deref(), clients);
    // Only AWS itself knows callers; an S3-compatible store says that the request makes no sense.
    let unknown_question = matches!(who.result, Outcome::Wrong(_)) && clients.role_arn().is_none();
    let ask = who.result == Outcome::Ok || unknown_question;
    let (bucket, group) = tokio::join!(bucket(clients, wanted, ask, place), group(clients, wanted, ask, place));
    let who = if unknown_question { Vec::new() } else { vec![who] };
    [who, group, bucket].concat()
}

/// Where the resources lie, from the caller's ARN or else from what is configured.
fn place<'a>(caller: Option<&'a str>, clients: &'a Clients) -> Place<'a> {
    let region = clients.region();
    let mut parts = caller.or(clients.role_arn()).unwrap_or_default().split(':').skip(1);
    let partition = parts.next().filter(|part| !part.is_empty()).unwrap_or_else(|| partition_of(region));
    Place { partition, region, account: parts.nth(2).filter(|part| !part.is_empty()).unwrap_or("*") }
}

/// The partition that a region belongs to.
fn partition_of(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// The ARN of a bucket in this region.
pub fn bucket_arn(region: &str, bucket: &str) -> String {
    Resource::Bucket.arn(&Place { partition: partition_of(region), region, account: "*" }, bucket)
}

/// The statement, in one line, that permits everything that the operator does with this bucket.
pub fn bucket_statement(region: &str, bucket: &str) -> String {
    let of_bucket = ALL.iter().filter(|permission| permission.on == Resource::Bucket);
    let check = |permission: &Permission| Check {
        permission: permission.action,
        resource: bucket_arn(region, bucket),
        result: Outcome::NotTested,
    };
    statement_line(&of_bucket.map(check).collect::<Vec<_>>())
}

async fn bucket(clients: &Clients, wanted: &Wanted, ask: bool, place: Place<'_>) -> Vec<Check> {
    let Some(name) = &wanted.bucket else { return Vec::new() };
    let s3 = clients.s3(wanted.owner.as_ref());
    let owner = wanted.owner.as_ref().map(Owner::to_string);
    let lifecycle = async {
        let request = s3.get_bucket_lifecycle_configuration().bucket(name).set_expected_bucket_owner(owner.clone());
        match request.customize().config_override(s3_once()).send().await {
            Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Outcome::Ok,
            // An answer that the SDK's model cannot hold is an answer.
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().is_success()) => Outcome::Ok,
            answer => Outcome::answered(answer),
        }
    };
    let listing = async {
        let request = s3.list_objects_v2().bucket(name).prefix(&wanted.logs_prefix).max_keys(1);
        let request = request.set_expected_bucket_owner(owner.clone());
        Outcome::answered(request.customize().config_override(s3_once()).send().await)
    };
    let settings = settings(&s3, name, owner.as_deref());
    let object = async {
        let folder = wanted.checkpoint.as_deref()?;
        Some(object(&s3, (name, folder), owner.as_deref()).await)
    };
    let (lifecycle, listing, [versioning, lock, replication], object) = if ask {
        tokio::join!(lifecycle, listing, settings, object)
    } else {
        (not_asked(), not_asked(), [(); 3].map(|()| not_asked()), wanted.checkpoint.as_ref().map(|_| not_asked()))
    };
    let check = |permission: Permission, result| Check {
        permission: permission.action,
        resource: permission.on.arn(&place, name),
        result,
    };
    let object = object.map(|found| match (found, &listing) {
        // Whoever may not list is told of an object that is missing what is told of one that may not be read.
        (Outcome::Denied(_), Outcome::Denied(_)) => {
            Outcome::Unknown("it shows only once the bucket may be listed".to_owned())
        }
        (found, _) => found,
    });
    let object = object.zip(wanted.checkpoint.as_ref()).map(|(result, folder)| {
        let resource = GET_OBJECT.on.arn(&place, &format!("{name}/{folder}"));
        of_object(result, resource)
    });
    let mut checks = vec![
        check(GET_LIFECYCLE, lifecycle),
        check(LIST_BUCKET, listing),
        check(PUT_LIFECYCLE, Outcome::NotTested),
        check(GET_VERSIONING, versioning),
        check(GET_OBJECT_LOCK, lock),
        check(GET_REPLICATION, replication),
    ];
    checks.extend(object.into_iter().flatten());
    checks
}

/// What an answer to reading an object says about permissions: where it is encrypted, its key has one too.
fn of_object(result: Outcome, resource: String) -> Vec<Check> {
    let key = match &result {
        Outcome::Denied(text) => key_named(text),
        _ => None,
    };
    let of_object = |result| Check { permission: GET_OBJECT.action, resource, result };
    match key {
        None => vec![of_object(result)],
        Some(key) => {
            let hidden = Outcome::Unknown(format!("it shows only once {DECRYPT} is given"));
            vec![Check { permission: DECRYPT, resource: key, result }, of_object(hidden)]
        }
    }
}

/// The key that may not be used, as a policy names it, if the answer is about one; `*`: it does not say which.
fn key_named(text: &str) -> Option<String> {
    let mut words = text.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ')']));
    let arn = words.find(|word| word.starts_with("arn:") && word.contains(":kms:"));
    text.contains(DECRYPT).then(|| arn.unwrap_or("*").to_owned())
}

/// Whether the checkpoint of a query may be read.
async fn object(s3: &aws_sdk_s3::Client, (bucket, folder): (&str, &str), owner: Option<&str>) -> Outcome {
    let request = s3.get_object().bucket(bucket).key(format!("{folder}metadata"));
    let request = request.set_expected_bucket_owner(owner.map(str::to_owned));
    match request.customize().config_override(s3_once()).send().await {
        // A query that has not begun has none.
        Err(error) if error.code() == Some("NoSuchKey") => Outcome::Ok,
        answer => Outcome::answered(answer),
    }
}

/// Whether versions, object lock and replication of a bucket may be read.
async fn settings(s3: &aws_sdk_s3::Client, name: &str, owner: Option<&str>) -> [Outcome; 3] {
    let owner = owner.map(str::to_owned);
    let versioning = async {
        let request = s3.get_bucket_versioning().bucket(name).set_expected_bucket_owner(owner.clone());
        Outcome::setting(request.customize().config_override(s3_once()).send().await)
    };
    let lock = async {
        let request = s3.get_object_lock_configuration().bucket(name).set_expected_bucket_owner(owner.clone());
        Outcome::setting(request.customize().config_override(s3_once()).send().await)
    };
    let replication = async {
        let request = s3.get_bucket_replication().bucket(name).set_expected_bucket_owner(owner.clone());
        Outcome::setting(request.customize().config_override(s3_once()).send().await)
    };
    tokio::join!(versioning, lock, replication).into()
}

async fn group(clients: &Clients, wanted: &Wanted, ask: bool, place: Place<'_>) -> Vec<Check> {
    let Some(name) = &wanted.group else { return Vec::new() };
    let check = |permission: Permission, result| Check {
        permission: permission.action,
        resource: permission.on.arn(&place, name),
        result,
    };
    let reads = [DESCRIBE_GROUPS, DESCRIBE_ACTIVITIES, DESCRIBE_REFRESHES, DESCRIBE_HOOKS, DESCRIBE_INSTANCES];
    let found = if ask { group_reads(clients, name, place).await } else { [(); 5].map(|()| not_asked()) };
    let changes =
        [SET_DESIRED_CAPACITY, TERMINATE_INSTANCE, SET_PROTECTION, UPDATE_GROUP, RECORD_HEARTBEAT, COMPLETE_ACTION];
    let read = reads.into_iter().zip(found).map(|(permission, result)| check(permission, result));
    read.chain(changes.into_iter().map(|permission| check(permission, Outcome::NotTested))).collect()
}

/// Whether the group, its activities, its instance refreshes, its hooks and its machines may be read.
async fn group_reads(clients: &Clients, name: &str, place: Place<'_>) -> [Outcome; 5] {
    let client = clients.autoscaling();
    let request = client.describe_auto_scaling_groups().auto_scaling_group_names(name);
    let described = request.customize().config_override(autoscaling_once()).send().await;
    let groups = described.as_ref().map(|answer| answer.auto_scaling_groups()).unwrap_or_default();
    let instance = groups.iter().flat_map(|group| group.instances()).find_map(|instance| instance.instance_id());
    let instance = instance.map(str::to_owned);
    let group = match described {
        Ok(answer) if answer.auto_scaling_groups().is_empty() => {
            Outcome::Wrong(format!("no Auto Scaling group has the name {name} in {}", place.region))
        }
        answer => Outcome::answered(answer),
    };
    let activities = async {
        let request = client.describe_scaling_activities().auto_scaling_group_name(name).max_records(1);
        Outcome::of_group(request.customize().config_override(autoscaling_once()).send().await)
    };
    let refreshes = async {
        let request = client.describe_instance_refreshes().auto_scaling_group_name(name).max_records(1);
        Outcome::of_group(request.customize().config_override(autoscaling_once()).send().await)
    };
    let hooks = async {
        let request = client.describe_lifecycle_hooks().auto_scaling_group_name(name);
        Outcome::of_group(request.customize().config_override(autoscaling_once()).send().await)
    };
    let machines = async {
        // A dry run shows nothing of any instance.
        let request = clients.ec2().describe_instances().dry_run(true).set_instance_ids(instance.map(|id| vec![id]));
        match request.customize().config_override(ec2_once()).send().await {
            Err(error) if error.code() == Some(DRY_RUN) => Outcome::Ok,
            answer => Outcome::of_group(answer),
        }
    };
    let (activities, refreshes, hooks, machines) = tokio::join!(activities, refreshes, hooks, machines);
    [group, activities, refreshes, hooks, machines]
}

fn not_asked() -> Outcome {
    Outcome::Unknown("not asked: AWS did not accept the caller".to_owned())
}

/// The IAM policy, as JSON, that gives everything in `checks`: actions per resource, in a stable order. What belongs
/// into other policies (assuming the role) or needs none (asking who the caller is) is left out.
pub fn statement(checks: &[Check]) -> String {
    let policy = json!({"Version": "2012-10-17", "Statement": statements(checks)});
    serde_json::to_string_pretty(&policy).expect("a JSON value can be written")
}

/// The statements of [`statement`] in one line: one alone, or several in a list, to be added to a policy.
pub fn statement_line(checks: &[Check]) -> String {
    match statements(checks).as_slice() {
        [only] => only.to_string(),
        several => Value::from(several).to_string(),
    }
}

fn statements(checks: &[Check]) -> Vec<Value> {
    let mut actions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for check in checks.iter().filter(|check| !check.permission.starts_with("sts:")) {
        actions.entry(&check.resource).or_default().push(check.permission);
    }
    actions
        .into_iter()
        .map(|(resource, mut actions)| {
            actions.sort_unstable();
            actions.dedup();
            json!({"Effect": "Allow", "Action": actions, "Resource": resource})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_may_not_be_used_is_told_and_not_the_object() {
        let key = "arn:aws:kms:eu-west-1:123456789012:key/4f5b";
        let who = "AccessDenied: User: arn:aws:sts::123456789012:assumed-role/x is not authorized to perform:";
        let told = |text: String| of_object(Outcome::Denied(text), "arn:aws:s3:::b/c/*".to_owned());
        let checks = told(format!("{who} kms:Decrypt on resource: {key} because no policy allows that"));
        assert_eq!((checks[0].permission, checks[0].resource.as_str()), ("kms:Decrypt", key));
        assert!(matches!(checks[0].result, Outcome::Denied(_)) && matches!(checks[1].result, Outcome::Unknown(_)));
        let expected = json!({"Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": key});
        assert_eq!(serde_json::from_str::<Value>(&statement_line(&checks[..1])).unwrap(), expected);
        let checks = told(format!("{who} kms:Decrypt on the resource associated with this ciphertext"));
        assert_eq!(checks[0].resource, "*");
        let checks = told(format!("{who} s3:GetObject on resource: arn:aws:s3:::b/c/metadata"));
        assert_eq!((checks.len(), checks[0].permission), (1, "s3:GetObject"));
    }
}
