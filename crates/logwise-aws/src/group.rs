//! The Auto Scaling Group of the Spark workers: read it, raise its desired capacity.

use crate::client::autoscaling_once;
use crate::error::AwsError;
use crate::failure::Failure;
use crate::fence::StillAllowed;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleState};
use logwise_plan::Known;
use logwise_plan::workers::{Group, RaiseDesired};
use logwise_runtime::{ErrorClass, crash};

/// What became of a raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// AWS accepted the new desired capacity.
    Done,
    /// The group already wants that many instances, or more.
    AlreadySo,
    /// The group is no longer as the plan assumed; nothing was sent.
    Superseded {
        /// Desired capacity found.
        desired: i32,
        /// Largest size the group allows now.
        max_size: i32,
    },
}

/// A group and the name that AWS gives it for life: one that is deleted and made again has another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Bounds, desired capacity, instances in service; absent when no group has that name.
    pub group: Known<Group>,
    /// Its ARN.
    pub arn: Option<String>,
}

/// Reads the group of that name: bounds, desired capacity and instances in service.
///
/// # Errors
/// [`AwsError::DescribeGroup`]
pub async fn describe(client: &Client, name: &str) -> Result<Described, AwsError> {
    let answer = client
        .describe_auto_scaling_groups()
        .auto_scaling_group_names(name)
        .send()
        .await
        .map_err(|error| AwsError::describe_group(name, error))?;
    let group = answer.auto_scaling_groups().iter().find(|group| group.auto_scaling_group_name() == Some(name));
    let arn = group.and_then(AutoScalingGroup::auto_scaling_group_arn).map(str::to_owned);
    Ok(Described { group: group.map_or(Known::Absent, observed), arn })
}

fn observed(group: &AutoScalingGroup) -> Known<Group> {
    let (Some(min_size), Some(max_size), Some(desired)) =
        (group.min_size(), group.max_size(), group.desired_capacity())
    else {
        return Known::Unknown("the answer of AWS names no minimum, maximum or desired capacity".to_owned());
    };
    let in_service =
        group.instances().iter().filter(|i| i.lifecycle_state() == Some(&LifecycleState::InService)).count();
    Known::Known(Group { min_size, max_size, desired, in_service: i32::try_from(in_service).unwrap_or(i32::MAX) })
}

/// Reads the group again and says whether the raise may be sent; `None`: it may. Anything else is what became of it. A
/// group that has another ARN than `arn` was made anew under the name and is not the one that was planned for.
///
/// # Errors
/// [`AwsError::DescribeGroup`] when the group could not be read, [`AwsError::SetDesiredCapacity`] when it is gone.
pub async fn check(client: &Client, action: &RaiseDesired, arn: &str) -> Result<Option<Outcome>, AwsError> {
    let failed = |class, text: String| AwsError::SetDesiredCapacity {
        group: action.group.clone(),
        failure: Failure::stated(class, text),
        source: None,
    };
    let Described { group, arn: now } = describe(client, &action.group).await?;
    let Group { desired, max_size, .. } = match group {
        Known::Known(group) => group,
        Known::Absent => return Err(failed(ErrorClass::NotFound, "no group has that name".to_owned())),
        Known::Unknown(why) => return Err(failed(ErrorClass::Transient, why)),
    };
    if now.as_deref() != Some(arn) {
        return Ok(Some(Outcome::Superseded { desired, max_size }));
    }
    // Checked first: whatever was assumed, a raise never lowers.
    if desired >= action.to {
        return Ok(Some(Outcome::AlreadySo));
    }
    let superseded = desired != action.from || action.to > max_size;
    Ok(superseded.then_some(Outcome::Superseded { desired, max_size }))
}

/// Sets the desired capacity, once. `permit` is asked right before the request leaves; a refusal means that nothing is
/// sent.
///
/// # Errors
/// [`AwsError::SetDesiredCapacity`] when AWS or `permit` (class `Conflict`) refused, or no answer came; in the last case
/// (class `Transient`) the capacity may be set or not, and the next look decides.
pub async fn send(
    client: &Client,
    action: &RaiseDesired,
    permit: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<(), AwsError> {
    let write = crash::begin(crash::System::AutoScaling);
    let answer = client
        .set_desired_capacity()
        .auto_scaling_group_name(&action.group)
        .desired_capacity(action.to)
        .honor_cooldown(false)
        .customize()
        .config_override(autoscaling_once())
        .interceptor(StillAllowed::by(permit))
        .send()
        .await;
    write.after();
    answer.map(drop).map_err(|error| AwsError::set_desired_capacity(&action.group, error))
}
