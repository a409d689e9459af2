//! Protection from scale-in. It is only ever switched on: whoever takes it away lets AWS choose whom to end.

use super::named;
use crate::client::autoscaling_once;
use crate::error::AwsError;
use crate::failure::Failure;
use crate::fence::StillAllowed;
use crate::permissions::{SET_PROTECTION, UPDATE_GROUP};
use aws_sdk_autoscaling::Client;
use logwise_runtime::{ErrorClass, crash};

/// Most instances that one call may name.
pub const MOST_PROTECTED: usize = 50;

/// Protects these instances of the group from scale-in, at most [`MOST_PROTECTED`] of them, in one call that is sent
/// once. AWS takes instances in service only. `permit` is asked right before the request leaves; a refusal means that
/// nothing is sent, as it is not for an empty list.
///
/// # Errors
/// [`AwsError::GroupCall`] when AWS or `permit` (class `Conflict`) refused, there are too many instances (class
/// `Invalid`, nothing was sent), or no answer came (class `Transient`); sending it again does no harm.
pub async fn protect(
    client: &Client,
    group: &str,
    instances: &[String],
    permit: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<(), AwsError> {
    if instances.is_empty() {
        return Ok(());
    }
    if instances.len() > MOST_PROTECTED {
        let text = format!("nothing was sent: {} instances in one call, at most {MOST_PROTECTED}", instances.len());
        let failure = Failure::stated(ErrorClass::Invalid, text);
        return Err(AwsError::GroupCall { permission: &SET_PROTECTION, on: named(group), failure, source: None });
    }
    let write = crash::begin(crash::System::AutoScaling);
    let answer = client
        .set_instance_protection()
        .auto_scaling_group_name(group)
        .set_instance_ids(Some(instances.to_vec()))
        .protected_from_scale_in(true)
        .customize()
        .config_override(autoscaling_once())
        .interceptor(StillAllowed::by(permit))
        .send()
        .await;
    write.after();
    answer.map(drop).map_err(|error| AwsError::group_call(&SET_PROTECTION, named(group), error))
}

/// Has instances that the group launches from now on protected from scale-in, which AWS does when they come into
/// service. Sets nothing else of the group. Sent once; `permit` is asked right before the request leaves.
///
/// # Errors
/// [`AwsError::GroupCall`] when AWS or `permit` (class `Conflict`) refused, or no answer came (class `Transient`);
/// sending it again does no harm.
pub async fn protect_newcomers(
    client: &Client,
    group: &str,
    permit: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<(), AwsError> {
    let write = crash::begin(crash::System::AutoScaling);
    let answer = client
        .update_auto_scaling_group()
        .auto_scaling_group_name(group)
        .new_instances_protected_from_scale_in(true)
        .customize()
        .config_override(autoscaling_once())
        .interceptor(StillAllowed::by(permit))
        .send()
        .await;
    write.after();
    answer.map(drop).map_err(|error| AwsError::group_call(&UPDATE_GROUP, named(group), error))
}
