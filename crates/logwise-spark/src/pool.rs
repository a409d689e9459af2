//! What runs the workers: an Auto Scaling Group or a Deployment, read in the same words.

use crate::context::Context;
use crate::deployment;
use crate::told::Failed;
use kube::ResourceExt;
use logwise_api::LogwiseCluster;
use logwise_aws::group::{self, Depth};
use logwise_aws::{AwsError, Clients};
use logwise_plan::Known;
use logwise_plan::workers::{FailedLaunch, Pool, PoolRef, Waiting};
use logwise_runtime::ErrorClass;

/// What the intent's name of a group begins with; its ARN follows.
pub(crate) const GROUP: &str = "group/";

/// Characters that a label's value may have at most.
const LONGEST_LABEL: usize = 63;

/// Where what runs the workers is found.
#[derive(Clone)]
pub(crate) enum Place {
    /// A group, with the clients that may call AWS for it.
    Group { clients: Clients, name: String },
    /// A Deployment in the object's own namespace.
    Deployment { client: kube::Client, namespace: String, name: String },
}

/// What runs the workers, as one look has found it.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its numbers and members; absent when nothing has that name.
    pub pool: Known<Pool>,
    /// The newest launch that failed, as far as this look shows it; unknown if that was not asked or not answered.
    pub failed_launch: Known<FailedLaunch>,
    /// Its name in intents. Not the name in the spec: what is made again under the same name is another one.
    pub resource: Option<String>,
    /// Uid of the Deployment.
    pub uid: Option<String>,
    /// Label selector of the pods.
    pub selector: Option<String>,
    /// Instances that hooks may hold back.
    pub waiting: Vec<Waiting>,
    /// How much was asked.
    pub depth: Depth,
    /// Why it could not be read.
    pub error: Option<Failed>,
    /// A call beside it that AWS has refused.
    pub denied: Option<Failed>,
}

impl Place {
    /// Where the spec says that it is; none while the spec does not say how to reach it.
    pub fn of(cluster: &LogwiseCluster, context: &Context, pool: &PoolRef, clients: Option<&Clients>) -> Option<Self> {
        Some(match pool {
            PoolRef::AutoScalingGroup(name) => Self::Group { clients: clients?.clone(), name: name.clone() },
            PoolRef::Deployment(name) => Self::Deployment {
                client: context.client.clone(),
                namespace: cluster.namespace().unwrap_or_default(),
                name: name.clone(),
            },
        })
    }

    /// Reads it.
    pub async fn read(&self, depth: Depth) -> Found {
        match self {
            Self::Group { clients, name } => {
                let members = group::members(&clients.autoscaling(), &clients.ec2(), name, depth).await;
                Found::of_group(members, depth)
            }
            Self::Deployment { client, namespace, name } => {
                Found::of_deployment(deployment::observe(client, namespace, name).await, (namespace, name))
            }
        }
    }

    /// What it is, in words, with its name.
    pub fn words(&self) -> String {
        match self {
            Self::Group { name, .. } => format!("Auto Scaling Group {name}"),
            Self::Deployment { name, .. } => format!("Deployment {name}"),
        }
    }
}

impl Found {
    fn of_deployment(found: deployment::Found, (namespace, name): (&str, &str)) -> Self {
        Self {
            resource: found.resource(namespace, name),
            failed_launch: launch_of(&found.pool),
            pool: found.pool,
            uid: found.uid,
            selector: found.selector,
            waiting: Vec::new(),
            // A quick look hides nothing of a Deployment.
            depth: Depth::Full,
            error: found.error.map(Failed::from),
            denied: None,
        }
    }

    fn of_group(members: Result<group::Members, AwsError>, depth: Depth) -> Self {
        let error = |error: AwsError| Self {
            pool: Known::Unknown(error.to_string()),
            failed_launch: Known::Unknown(error.to_string()),
            resource: None,
            uid: None,
            selector: None,
            waiting: Vec::new(),
            depth,
            error: Some(error.into()),
            denied: None,
        };
        let group::Members { pool, failed_launch, arn, waiting, unread, .. } = match members {
            Ok(members) => members,
            Err(why) => return error(why),
        };
        let denied = unread.into_iter().find(|error| error.class() == ErrorClass::Denied);
        Self {
            pool,
            failed_launch,
            resource: arn.map(|arn| format!("{GROUP}{arn}")),
            uid: None,
            selector: None,
            waiting,
            depth,
            error: None,
            denied: denied.map(Failed::from),
        }
    }

    /// The group's ARN.
    pub fn arn(&self) -> Option<&str> {
        self.resource.as_deref()?.strip_prefix(GROUP)
    }
}

/// The failed launch of a pool that was read together with it.
fn launch_of(pool: &Known<Pool>) -> Known<FailedLaunch> {
    match pool {
        Known::Known(pool) => pool.failed_launch.clone().map_or(Known::Absent, Known::Known),
        Known::Absent => Known::Absent,
        Known::Unknown(why) => Known::Unknown(why.clone()),
    }
}

/// The selector of the scale subresource for the workers of a group: they are no pods, so it matches nothing.
pub(crate) fn selector_of_group(cluster: &LogwiseCluster) -> Option<String> {
    let name = cluster.name_any();
    (name.len() <= LONGEST_LABEL).then(|| format!("logwise.io/cluster={name},logwise.io/component=spark-worker"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_aws::Failure;
    use logwise_aws::group::Members;

    fn failed(class: ErrorClass) -> AwsError {
        let failure = Failure::stated(class, "w");
        AwsError::DescribeGroup { group: "g".into(), failure, source: None }
    }

    #[test]
    fn a_group_that_could_not_be_read_is_unknown_and_has_no_name_in_intents() {
        let found = Found::of_group(Err(failed(ErrorClass::Transient)), Depth::Quick);
        assert!(found.pool.is_unknown() && found.error.is_some());
        assert_eq!((found.arn(), found.resource.as_deref()), (None, None));
    }

    #[test]
    fn of_the_calls_beside_it_a_refused_one_is_kept() {
        let members = |unread| Members {
            pool: Known::Absent,
            failed_launch: Known::Absent,
            arn: Some("arn:x".into()),
            newcomers_protected: false,
            waiting: Vec::new(),
            unread,
        };
        let classes = [ErrorClass::Transient, ErrorClass::Denied];
        let found = Found::of_group(Ok(members(classes.map(failed).to_vec())), Depth::Full);
        assert_eq!(found.denied.map(|error| error.class()), Some(ErrorClass::Denied));
        assert_eq!(found.resource.as_deref(), Some("group/arn:x"));
        let found = Found::of_group(Ok(members(vec![failed(ErrorClass::Transient)])), Depth::Full);
        assert!(found.denied.is_none() && found.error.is_none());
    }
}
