//! Who owns what a LogwiseCluster names and others may name too: the Auto Scaling group or the Deployment of its
//! workers, and the driver. A name and a region are one group only within one AWS account.

use crate::context::Context;
use crate::controller::group_name;
use crate::master::Page;
use crate::{deployment, driver};
use kube::ResourceExt;
use logwise_api::LogwiseCluster;
use logwise_api::validate;
use logwise_runtime::conditions::Reason;
use logwise_runtime::ownership::other_owner;
use logwise_runtime::{ErrorClass, Refused};

/// Another LogwiseCluster owns something that this one names: nothing is done for this one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// What belongs to whom, and the next step.
    pub words: String,
}

impl Conflict {
    fn of_group(cluster: &LogwiseCluster, owner: &str) -> Self {
        let group = group_name(cluster).unwrap_or_default();
        Self::over(&format!("Auto Scaling group {group}"), owner, "group")
    }

    fn of_deployment(cluster: &LogwiseCluster, owner: &str) -> Self {
        let deployment = deployment_name(cluster).unwrap_or_default();
        Self::over(&format!("Deployment {deployment}"), owner, "Deployment")
    }

    fn over(what: &str, owner: &str, kind: &str) -> Self {
        let fact = format!("{what} belongs to LogwiseCluster {owner}; nothing is done for this one");
        Self { words: format!("{fact}. Use one LogwiseCluster per {kind}") }
    }
}

/// Whether another LogwiseCluster owns the group, the Deployment or the driver, as far as can be told without a call.
pub(crate) async fn by_spec(cluster: &LogwiseCluster, context: &Context) -> Option<Conflict> {
    if let Some(owner) = of_group(cluster, context).await {
        return Some(Conflict::of_group(cluster, &owner));
    }
    if let Some(owner) = deployment::rival(cluster, context).await {
        return Some(Conflict::of_deployment(cluster, &owner));
    }
    let owner = driver::rival(cluster, context).await?;
    Some(Conflict { words: driver::conflict_words(&owner) })
}

/// Whether another LogwiseCluster owns the driver, by what the master says of itself on its page: one master has many
/// names. While no master answers it is as it was.
pub(crate) async fn by_page(cluster: &LogwiseCluster, page: Option<&Page>, context: &Context) -> Option<Conflict> {
    let (uid, generation) = (cluster.uid()?, cluster.metadata.generation);
    let words = match page {
        Some(page) => {
            let owner = driver::rival_at(cluster, page, context).await;
            let words = owner.map(|owner| driver::conflict_words_at(&owner, page));
            context.drivers.owned(&uid, generation, words.clone());
            words
        }
        None => context.drivers.said_of_owner(&uid, generation),
    };
    words.map(|words| Conflict { words })
}

/// The Deployment that the spec names.
fn deployment_name(cluster: &LogwiseCluster) -> Option<&str> {
    let workers = cluster.spec.spark.as_ref()?.workers.as_ref()?;
    workers.deployment.as_ref().map(|deployment| deployment.name.as_str())
}

/// The LogwiseCluster that owns the group, if it is not this one. One that may not use it does not own it.
async fn of_group(cluster: &LogwiseCluster, context: &Context) -> Option<String> {
    let wanted = Wanted::of(cluster)?;
    let contends =
        |other: &LogwiseCluster| Wanted::of(other).is_some_and(|other| other.is_as(&wanted)) && may_use(other, context);
    let recorded = context.shell.intents.owners_where(|resource| wanted.may_be(resource)).await;
    other_owner(&context.shell.intents, (cluster, &context.clusters), recorded, contends).await
}

/// The LogwiseCluster that the record of the group with this ARN names, if it is not this one and still names the group:
/// of two that reach it in different ways only AWS can tell that it is the same.
pub(crate) async fn by_record(cluster: &LogwiseCluster, arn: Option<&str>, context: &Context) -> Option<Conflict> {
    let owner = recorded(cluster, arn, context).await?;
    Some(Conflict::of_group(cluster, &owner))
}

async fn recorded(cluster: &LogwiseCluster, arn: Option<&str>, context: &Context) -> Option<String> {
    let wanted = Wanted::of(cluster)?;
    let recorded = context.shell.intents.owner(&format!("group/{}", arn?)).await?;
    if Some(&recorded.uid) == cluster.metadata.uid.as_ref() {
        return None;
    }
    let uid = recorded.uid.clone();
    let contends = |other: &LogwiseCluster| {
        let same = Wanted::of(other).is_some_and(|o| (o.region, o.name) == (wanted.region, wanted.name));
        other.metadata.uid.as_ref() == Some(&uid) && same && may_use(other, context)
    };
    other_owner(&context.shell.intents, (cluster, &context.clusters), Some(recorded), contends).await
}

fn may_use(cluster: &LogwiseCluster, context: &Context) -> bool {
    let namespace = cluster.namespace().unwrap_or_default();
    context.shell.access.decide(&namespace, &validate::references(cluster)).is_ok()
}

/// What a spec says about its group.
struct Wanted<'a> {
    region: &'a str,
    name: &'a str,
    whose: Whose<'a>,
}

/// In whose account it is looked for.
#[derive(PartialEq, Eq)]
enum Whose<'a> {
    /// Of the account that the role is in.
    Role(&'a str),
    /// Of the keys in a Secret: namespace and name.
    Secret(Option<&'a str>, &'a str),
    /// Of the operator's own identity.
    Operator,
}

impl<'a> Wanted<'a> {
    fn of(cluster: &'a LogwiseCluster) -> Option<Self> {
        let aws = cluster.spec.aws.as_ref()?;
        let secret = aws.credentials_secret_ref.as_ref();
        let whose = match (aws.role_arn.as_deref().and_then(account), secret) {
            (Some(account), _) => Whose::Role(account),
            (None, Some(secret)) => Whose::Secret(cluster.metadata.namespace.as_deref(), &secret.name),
            (None, None) => Whose::Operator,
        };
        Some(Self { region: &aws.region, name: group_name(cluster)?, whose })
    }

    fn is_as(&self, other: &Self) -> bool {
        (self.region, self.name) == (other.region, other.name) && self.whose == other.whose
    }

    /// Whether the intent about this resource may be about the group.
    fn may_be(&self, resource: &str) -> bool {
        let Some(arn) = resource.strip_prefix("group/") else { return false };
        let in_account = match self.whose {
            Whose::Role(wanted) => account(arn) == Some(wanted),
            Whose::Secret(..) | Whose::Operator => true,
        };
        arn.split(':').nth(3) == Some(self.region)
            && arn.ends_with(&format!(":autoScalingGroupName/{}", self.name))
            && in_account
    }
}

/// The account in an ARN.
fn account(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}

/// Why the group that AWS has found may not be used: it is of another account than the grants name.
pub(crate) fn foreign(cluster: &LogwiseCluster, arn: Option<&str>, accounts: &[String]) -> Option<Refused> {
    let found = account(arn?)?;
    if accounts.is_empty() || accounts.iter().any(|granted| granted == found) {
        return None;
    }
    let (name, namespace) = (group_name(cluster).unwrap_or_default(), cluster.namespace().unwrap_or_default());
    let message = format!(
        "spec.spark.workers.autoScalingGroup.name: AWS has found Auto Scaling group {name} in account {found}, and it is \
         granted to namespace {namespace} in account {}. Name a role or keys of that account, or add the group's ARN to \
         `autoScalingGroups` of a grant for this namespace in the operator's configuration",
        accounts.join(" or ")
    );
    Some(Refused { reason: Reason::NotGranted, message, class: ErrorClass::Denied })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cluster(namespace: &str, aws: Value) -> LogwiseCluster {
        let mut spec_aws = json!({"region": "eu-west-1"});
        spec_aws.as_object_mut().unwrap().extend(aws.as_object().unwrap().clone());
        let workers = json!({"type": "AutoScalingGroup", "autoScalingGroup": {"name": "workers"}});
        serde_json::from_value(json!({
            "apiVersion": "logwise.io/v1alpha1",
            "kind": "LogwiseCluster",
            "metadata": {"namespace": namespace, "name": "demo"},
            "spec": {"aws": spec_aws, "spark": {"masters": [{"host": "m"}], "workers": workers}},
        }))
        .unwrap()
    }

    fn role(account: &str) -> Value {
        json!({"roleARN": format!("arn:aws:iam::{account}:role/logwise")})
    }

    #[test]
    fn a_conflict_says_what_belongs_to_whom_and_what_to_do() {
        let group = Conflict::of_group(&cluster("a", json!({})), "b/other").words;
        let said = "Auto Scaling group workers belongs to LogwiseCluster b/other; nothing is done for this one. Use one \
                    LogwiseCluster per group";
        assert_eq!(group, said);
    }

    fn record(account: &str) -> String {
        let id = "01234567-89ab-cdef-0123-456789abcdef";
        format!("group/arn:aws:autoscaling:eu-west-1:{account}:autoScalingGroup:{id}:autoScalingGroupName/workers")
    }

    #[test]
    fn only_pipelines_of_one_account_contend_for_a_group() {
        let secret = json!({"credentialsSecretRef": {"name": "aws"}});
        let table = [
            (("a", role("111111111111")), ("b", role("111111111111")), true),
            (("a", role("111111111111")), ("b", role("222222222222")), false),
            (("a", role("111111111111")), ("b", json!({})), false),
            (("a", json!({})), ("b", json!({})), true),
            (("a", secret.clone()), ("a", secret.clone()), true),
            (("a", secret.clone()), ("b", secret.clone()), false),
            (("a", secret.clone()), ("a", json!({})), false),
        ];
        for ((a, one), (b, other), expected) in table {
            let (first, second) = (cluster(a, one.clone()), cluster(b, other.clone()));
            let (first, second) = (Wanted::of(&first).unwrap(), Wanted::of(&second).unwrap());
            assert_eq!(first.is_as(&second), expected, "{one} and {other}");
        }
    }

    #[test]
    fn a_record_of_another_account_is_not_about_the_group() {
        let with_role = cluster("a", role("111111111111"));
        let wanted = Wanted::of(&with_role).unwrap();
        assert!(wanted.may_be(&record("111111111111")) && !wanted.may_be(&record("222222222222")));
        assert!(!wanted.may_be(&record("111111111111").replace("workers", "x-workers").replace("Name/x-", "Name/x")));
        assert!(!wanted.may_be(&record("111111111111").replace("eu-west-1", "eu-west-2")));
        assert!(!wanted.may_be(&record("111111111111").replace("group/", "bucket/")));
        let plain = cluster("a", json!({}));
        assert!(
            Wanted::of(&plain).unwrap().may_be(&record("222222222222")),
            "which account is not known before a call"
        );
    }

    #[test]
    fn a_group_that_is_found_in_another_account_than_the_granted_is_refused() {
        let (of, arn) = (cluster("team-a", json!({})), record("222222222222"));
        let found = |accounts: &[&str]| {
            foreign(&of, arn.strip_prefix("group/"), &accounts.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!((found(&[]), found(&["111111111111", "222222222222"])), (None, None));
        let refused = found(&["111111111111"]).unwrap();
        assert_eq!(refused.reason, Reason::NotGranted);
        for part in ["111111111111", "222222222222", "group workers", "namespace team-a"] {
            assert!(refused.message.contains(part), "{part}: {}", refused.message);
        }
        assert_eq!(foreign(&of, None, &["111111111111".to_owned()]), None, "no group was found");
    }
}
