//! Every AWS operation that the operator calls, and the IAM permission it takes. Nothing else leaves the process.

/// One IAM permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// IAM action, such as `s3:ListBucket`.
    pub action: &'static str,
    /// Name of the service in the SDK.
    pub service: &'static str,
    /// Operations that take this permission.
    pub operations: &'static [&'static str],
    /// What the permission is given on.
    pub on: Resource,
    /// Whether one of the operations changes something.
    pub changes: bool,
    /// When the operator calls it, for people.
    pub when: &'static str,
}

/// Form of the resource in an IAM policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The bucket of `spec.storage.bucketName`.
    Bucket,
    /// The objects of the streaming query's checkpoint in that bucket.
    Objects,
    /// The group of `spec.spark.workers.autoScalingGroup.name`.
    Group,
    /// The role of `spec.aws.roleARN`.
    Role,
    /// `*`: AWS knows no narrower form for this action.
    Any,
}

impl Resource {
    /// The ARN with `name` in it; for a role, `name` is the ARN, for objects it is the bucket and the beginning of their
    /// keys, with a slash between the two.
    pub fn arn(self, place: &Place<'_>, name: &str) -> String {
        let Place { partition, region, account } = place;
        match self {
            Self::Bucket => format!("arn:{partition}:s3:::{name}"),
            Self::Objects => format!("arn:{partition}:s3:::{name}*"),
            // The id between the two colons is made by AWS and changes when the group is made anew.
            Self::Group => {
                format!("arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{name}")
            }
            Self::Role => name.to_owned(),
            Self::Any => "*".to_owned(),
        }
    }
}

/// Where resources lie.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: &'a str,
    /// Region of the pipeline.
    pub region: &'a str,
    /// Account id, or `*`.
    pub account: &'a str,
}

/// Taking on the pipeline's role.
pub const ASSUME_ROLE: Permission = Permission {
    action: "sts:AssumeRole",
    service: "STS",
    operations: &["AssumeRole"],
    on: Resource::Role,
    changes: false,
    when: "when `spec.aws.roleARN` is set, about once an hour",
};

/// Asking who the operator is.
pub const CALLER_IDENTITY: Permission = Permission {
    action: "sts:GetCallerIdentity",
    service: "STS",
    operations: &["GetCallerIdentity"],
    on: Resource::Any,
    changes: false,
    when: "in the preflight, every 10 minutes; AWS always allows it",
};

/// Reading Auto Scaling Groups.
pub const DESCRIBE_GROUPS: Permission = Permission {
    action: "autoscaling:DescribeAutoScalingGroups",
    service: "Auto Scaling",
    operations: &["DescribeAutoScalingGroups"],
    on: Resource::Any,
    changes: false,
    when: "each look, and in the preflight",
};

/// Raising a group.
pub const SET_DESIRED_CAPACITY: Permission = Permission {
    action: "autoscaling:SetDesiredCapacity",
    service: "Auto Scaling",
    operations: &["SetDesiredCapacity"],
    on: Resource::Group,
    changes: true,
    when: "to raise the group",
};

/// Reading what a group has launched and ended, and what failed.
pub const DESCRIBE_ACTIVITIES: Permission = Permission {
    action: "autoscaling:DescribeScalingActivities",
    service: "Auto Scaling",
    operations: &["DescribeScalingActivities"],
    on: Resource::Any,
    changes: false,
    when: "every fifth look, while instances are missing, before a worker is removed, and in the preflight",
};

/// Reading whether a group's instances are being replaced.
pub const DESCRIBE_REFRESHES: Permission = Permission {
    action: "autoscaling:DescribeInstanceRefreshes",
    service: "Auto Scaling",
    operations: &["DescribeInstanceRefreshes"],
    on: Resource::Any,
    changes: false,
    when: "as often as scaling activities are read",
};

/// Reading which hooks hold an instance back that is to end.
pub const DESCRIBE_HOOKS: Permission = Permission {
    action: "autoscaling:DescribeLifecycleHooks",
    service: "Auto Scaling",
    operations: &["DescribeLifecycleHooks"],
    on: Resource::Any,
    changes: false,
    when: "while an instance of the group is in `Terminating:Wait`, and in the preflight",
};

/// Reading the private addresses of a group's instances.
pub const DESCRIBE_INSTANCES: Permission = Permission {
    action: "ec2:DescribeInstances",
    service: "EC2",
    operations: &["DescribeInstances"],
    on: Resource::Any,
    changes: false,
    when: "each look, by the ids of the group's instances alone, and in the preflight as a dry run",
};

/// Ending one worker.
pub const TERMINATE_INSTANCE: Permission = Permission {
    action: "autoscaling:TerminateInstanceInAutoScalingGroup",
    service: "Auto Scaling",
    operations: &["TerminateInstanceInAutoScalingGroup"],
    on: Resource::Group,
    changes: true,
    when: "to remove a worker, by its id",
};

/// Protecting instances from scale-in.
pub const SET_PROTECTION: Permission = Permission {
    action: "autoscaling:SetInstanceProtection",
    service: "Auto Scaling",
    operations: &["SetInstanceProtection"],
    on: Resource::Group,
    changes: true,
    when: "to protect instances from scale-in, with `scaleInProtection: Manage`; protection is never taken away",
};

/// Setting that new instances are protected from scale-in.
pub const UPDATE_GROUP: Permission = Permission {
    action: "autoscaling:UpdateAutoScalingGroup",
    service: "Auto Scaling",
    operations: &["UpdateAutoScalingGroup"],
    on: Resource::Group,
    changes: true,
    when: "to have new instances protected from scale-in, with `scaleInProtection: Manage`; it sets nothing else",
};

/// Keeping an instance waiting while its tasks drain.
pub const RECORD_HEARTBEAT: Permission = Permission {
    action: "autoscaling:RecordLifecycleActionHeartbeat",
    service: "Auto Scaling",
    operations: &["RecordLifecycleActionHeartbeat"],
    on: Resource::Group,
    changes: true,
    when: "while tasks drain on a removed worker that `terminationHookName` holds back",
};

/// Letting an instance go that has drained.
pub const COMPLETE_ACTION: Permission = Permission {
    action: "autoscaling:CompleteLifecycleAction",
    service: "Auto Scaling",
    operations: &["CompleteLifecycleAction"],
    on: Resource::Group,
    changes: true,
    when: "when a removed worker that `terminationHookName` holds back has drained",
};

/// Listing the services in a bucket.
pub const LIST_BUCKET: Permission = Permission {
    action: "s3:ListBucket",
    service: "S3",
    operations: &["ListObjectsV2"],
    on: Resource::Bucket,
    changes: false,
    when: "to list services and the objects that a plan concerns, and in the preflight",
};

/// Reading how far the streaming query has read.
pub const GET_OBJECT: Permission = Permission {
    action: "s3:GetObject",
    service: "S3",
    operations: &["GetObject"],
    on: Resource::Objects,
    changes: false,
    when: "to read the checkpoint of the streaming query, after each look at Kafka, and in the preflight",
};

/// Reading lifecycle rules.
pub const GET_LIFECYCLE: Permission = Permission {
    action: "s3:GetLifecycleConfiguration",
    service: "S3",
    operations: &["GetBucketLifecycleConfiguration"],
    on: Resource::Bucket,
    changes: false,
    when: "each look, and in the preflight",
};

/// Writing lifecycle rules.
pub const PUT_LIFECYCLE: Permission = Permission {
    action: "s3:PutLifecycleConfiguration",
    service: "S3",
    operations: &["PutBucketLifecycleConfiguration", "DeleteBucketLifecycle"],
    on: Resource::Bucket,
    changes: true,
    when: "to write rules; the last rule goes with the configuration",
};

/// Reading whether a bucket keeps old versions.
pub const GET_VERSIONING: Permission = Permission {
    action: "s3:GetBucketVersioning",
    service: "S3",
    operations: &["GetBucketVersioning"],
    on: Resource::Bucket,
    changes: false,
    when: "as often as services are listed, and in the preflight",
};

/// Reading whether objects of a bucket may be locked.
pub const GET_OBJECT_LOCK: Permission = Permission {
    action: "s3:GetBucketObjectLockConfiguration",
    service: "S3",
    operations: &["GetObjectLockConfiguration"],
    on: Resource::Bucket,
    changes: false,
    when: "as often as services are listed, and in the preflight",
};

/// Reading whether a bucket is replicated.
pub const GET_REPLICATION: Permission = Permission {
    action: "s3:GetReplicationConfiguration",
    service: "S3",
    operations: &["GetBucketReplication"],
    on: Resource::Bucket,
    changes: false,
    when: "as often as services are listed, and in the preflight",
};

/// All of them.
pub const ALL: [Permission; 20] = [
    ASSUME_ROLE,
    CALLER_IDENTITY,
    DESCRIBE_GROUPS,
    DESCRIBE_ACTIVITIES,
    DESCRIBE_REFRESHES,
    DESCRIBE_HOOKS,
    DESCRIBE_INSTANCES,
    SET_DESIRED_CAPACITY,
    TERMINATE_INSTANCE,
    SET_PROTECTION,
    UPDATE_GROUP,
    RECORD_HEARTBEAT,
    COMPLETE_ACTION,
    LIST_BUCKET,
    GET_OBJECT,
    GET_LIFECYCLE,
    PUT_LIFECYCLE,
    GET_VERSIONING,
    GET_OBJECT_LOCK,
    GET_REPLICATION,
];

/// Whether the operator calls that operation.
pub(crate) fn is_listed(service: &str, operation: &str) -> bool {
    ALL.iter().any(|permission| permission.service == service && permission.operations.contains(&operation))
}
