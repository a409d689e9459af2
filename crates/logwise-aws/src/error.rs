use crate::failure::{BoxError, Failure};
use crate::permissions::{
    DESCRIBE_GROUPS, GET_LIFECYCLE, LIST_BUCKET, PUT_LIFECYCLE, Permission, SET_DESIRED_CAPACITY,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use logwise_runtime::ErrorClass;
use std::error::Error;

/// A call to AWS that did not succeed. The text names what was attempted, AWS's code and its message.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AwsError {
    /// Reading an Auto Scaling Group.
    #[error("Auto Scaling group {group} could not be read: {failure}")]
    DescribeGroup {
        /// Name of the group.
        group: String,
        /// Why.
        failure: Failure,
        /// The error underneath.
        source: Option<BoxError>,
    },
    /// Setting the desired capacity of an Auto Scaling Group. Without an answer the capacity may be set or not.
    #[error("desired capacity of Auto Scaling group {group} could not be set: {failure}")]
    SetDesiredCapacity {
        /// Name of the group.
        group: String,
        /// Why.
        failure: Failure,
        /// The error underneath.
        source: Option<BoxError>,
    },
    /// Any other call about an Auto Scaling Group or its instances. Without an answer, one that changes something may
    /// have done so or not.
    #[error("{} for {on} failed: {failure}", .permission.action)]
    GroupCall {
        /// What the call takes.
        permission: &'static Permission,
        /// The group or the instance that it is about.
        on: String,
        /// Why.
        failure: Failure,
        /// The error underneath.
        source: Option<BoxError>,
    },
    /// Reading the lifecycle configuration of a bucket.
    #[error("lifecycle rules of bucket {bucket} could not be read: {failure}")]
    ReadLifecycle {
        /// Name of the bucket.
        bucket: String,
        /// Why.
        failure: Failure,
        /// The error underneath.
        source: Option<BoxError>,
    },
    /// Replacing or deleting the lifecycle configuration of a bucket. Without an answer it may be replaced or not.
    #[error("lifecycle rules of bucket {bucket} could not be written: {failure}")]
    WriteLifecycle {
        /// Name of the bucket.
        bucket: String,
        /// Why.
        failure: Failure,
        /// The error underneath.
        source: Option<BoxError>,
    },
    /// Listing the services under the logs prefix of a bucket.
    #[error("services in bucket {bucket} could not be listed: {failure}")]
    ListServices {
        /// Name of the bucket.
        bucket: String,
        /// Why.
        failure: Failure,
        /// The error underneath.
        source: Option<BoxError>,
    },
    /// Listing the objects of one service.
    #[error("objects of a service in bucket {bucket} could not be listed: {failure}")]
    ListObjects {
        /// Name of the bucket.
        bucket: String,
        /// Why.
        failure: Failure,
        /// The error underneath.
        source: Option<BoxError>,
    },
    /// Reading a setting of a bucket beside its lifecycle: versions, object lock, replication.
    #[error("bucket {bucket} could not be asked for {}: {failure}", .permission.action)]
    ReadSetting {
        /// Name of the bucket.
        bucket: String,
        /// What the call takes.
        permission: &'static Permission,
        /// Why.
        failure: Failure,
        /// The error underneath.
        source: Option<BoxError>,
    },
}

/// What every AWS SDK call ends with when it fails.
type Ended<E> = SdkError<E, HttpResponse>;

impl AwsError {
    /// A failed DescribeAutoScalingGroups.
    pub fn describe_group<E>(group: &str, error: Ended<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (failure, source) = Failure::of(error);
        Self::DescribeGroup { group: group.to_owned(), failure, source }
    }

    /// A failed SetDesiredCapacity.
    pub fn set_desired_capacity<E>(group: &str, error: Ended<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (failure, source) = Failure::of(error);
        Self::SetDesiredCapacity { group: group.to_owned(), failure, source }
    }

    /// A failed call that takes this permission and is about a group or an instance.
    pub fn group_call<E>(permission: &'static Permission, on: String, error: Ended<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (failure, source) = Failure::of(error);
        Self::GroupCall { permission, on, failure, source }
    }

    /// A failed GetBucketLifecycleConfiguration.
    pub fn read_lifecycle<E>(bucket: &str, error: Ended<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (failure, source) = Failure::of(error);
        Self::ReadLifecycle { bucket: bucket.to_owned(), failure, source }
    }

    /// A failed PutBucketLifecycleConfiguration or DeleteBucketLifecycle.
    pub fn write_lifecycle<E>(bucket: &str, error: Ended<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (failure, source) = Failure::of(error);
        Self::WriteLifecycle { bucket: bucket.to_owned(), failure, source }
    }

    /// A failed ListObjectsV2 over services.
    pub fn list_services<E>(bucket: &str, error: Ended<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (failure, source) = Failure::of(error);
        Self::ListServices { bucket: bucket.to_owned(), failure, source }
    }

    /// A failed ListObjectsV2 over the objects of one service.
    pub fn list_objects<E>(bucket: &str, error: Ended<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (failure, source) = Failure::of(error);
        Self::ListObjects { bucket: bucket.to_owned(), failure, source }
    }

    /// A failed call that takes this permission and reads a setting of a bucket.
    pub fn read_setting<E>(permission: &'static Permission, bucket: &str, error: Ended<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (failure, source) = Failure::of(error);
        Self::ReadSetting { bucket: bucket.to_owned(), permission, failure, source }
    }

    /// The permission that the call takes.
    pub const fn permission(&self) -> Permission {
        match self {
            Self::DescribeGroup { .. } => DESCRIBE_GROUPS,
            Self::SetDesiredCapacity { .. } => SET_DESIRED_CAPACITY,
            Self::ReadLifecycle { .. } => GET_LIFECYCLE,
            Self::WriteLifecycle { .. } => PUT_LIFECYCLE,
            Self::ListServices { .. } | Self::ListObjects { .. } => LIST_BUCKET,
            Self::GroupCall { permission, .. } | Self::ReadSetting { permission, .. } => **permission,
        }
    }

    /// Whether S3 says that the bucket lies in another region than the one that was asked.
    pub fn is_other_region(&self) -> bool {
        self.failure().is_other_region()
    }

    /// Whether the caller was let in and lacks the permission for this call; S3 gives the same answer to those who expect
    /// another owner.
    pub fn is_refused(&self) -> bool {
        self.failure().is_refused()
    }

    /// Whether the call surely never left, so that it changed nothing.
    pub fn is_unsent(&self) -> bool {
        self.failure().unsent
    }

    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        self.failure().class
    }

    /// The code that AWS answered with, if it answered.
    pub fn code(&self) -> Option<&str> {
        self.failure().code.as_deref()
    }

    /// The failure itself, without what was attempted.
    pub fn failure(&self) -> &Failure {
        match self {
            Self::DescribeGroup { failure, .. }
            | Self::SetDesiredCapacity { failure, .. }
            | Self::GroupCall { failure, .. }
            | Self::ReadLifecycle { failure, .. }
            | Self::WriteLifecycle { failure, .. }
            | Self::ListServices { failure, .. }
            | Self::ListObjects { failure, .. }
            | Self::ReadSetting { failure, .. } => failure,
        }
    }
}
