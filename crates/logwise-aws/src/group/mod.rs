//! The Auto Scaling Group of the Spark workers: read it, raise its desired capacity, protect its instances and end them
//! one by one.

mod activities;
mod hooks;
mod machines;
mod members;
mod protect;
mod template;
mod terminate;

pub use hooks::{Hooked, complete, heartbeat};
pub use members::{Depth, Members, members};
pub use protect::{MOST_PROTECTED, protect, protect_newcomers};
pub use terminate::{Ended, terminate};

use crate::client::autoscaling_once;
use crate::error::AwsError;
use crate::failure::Failure;
use crate::fence::StillAllowed;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleState};
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::workers::Raise;
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

/// The numbers of an Auto Scaling Group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Smallest size the group allows.
    pub min_size: i32,
    /// Largest size the group allows.
    pub max_size: i32,
    /// Desired capacity.
    pub desired: i32,
    /// Instances in service.
    pub in_service: i32,
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
    let group = read(client, name).await?;
    let arn = group.as_ref().and_then(AutoScalingGroup::auto_scaling_group_arn).map(str::to_owned);
    Ok(Described { group: group.as_ref().map_or(Known::Absent, numbers), arn })
}

/// The group of that name; none: no group has it.
async fn read(client: &Client, name: &str) -> Result<Option<AutoScalingGroup>, AwsError> {
    let answer = client
        .describe_auto_scaling_groups()
        .auto_scaling_group_names(name)
        .send()
        .await
        .map_err(|error| AwsError::describe_group(name, error))?;
    let groups = answer.auto_scaling_groups.unwrap_or_default();
    Ok(groups.into_iter().find(|group| group.auto_scaling_group_name() == Some(name)))
}

fn numbers(group: &AutoScalingGroup) -> Known<Group> {
    let (Some(min_size), Some(max_size), Some(desired)) =
        (group.min_size(), group.max_size(), group.desired_capacity())
    else {
        return Known::Unknown("the answer of AWS names no minimum, maximum or desired capacity".to_owned());
    };
    let in_service =
        group.instances().iter().filter(|i| i.lifecycle_state() == Some(&LifecycleState::InService)).count();
    Known::Known(Group { min_size, max_size, desired, in_service: i32::try_from(in_service).unwrap_or(i32::MAX) })
}

/// A time as AWS says it; none when it says none that can be.
fn time(time: Option<&DateTime>) -> Option<Timestamp> {
    Timestamp::from_millisecond(time?.to_millis().ok()?).ok()
}

/// How a group is named in errors.
fn named(group: &str) -> String {
    format!("Auto Scaling group {group}")
}

/// Reads the group again and says whether the raise may be sent; `None`: it may. Anything else is what became of it. A
/// group that has another ARN than `arn` was made anew under the name and is not the one that was planned for.
///
/// # Errors
/// [`AwsError::DescribeGroup`] when the group could not be read, [`AwsError::SetDesiredCapacity`] when it is gone.
pub async fn check(client: &Client, action: &Raise, arn: &str) -> Result<Option<Outcome>, AwsError> {
    let failed = |class, text: String| AwsError::SetDesiredCapacity {
        group: action.pool.clone(),
        failure: Failure::stated(class, text),
        source: None,
    };
    let Described { group, arn: now } = describe(client, &action.pool).await?;
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
    action: &Raise,
    permit: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<(), AwsError> {
    let write = crash::begin(crash::System::AutoScaling);
    let answer = client
        .set_desired_capacity()
        .auto_scaling_group_name(&action.pool)
        .desired_capacity(action.to)
        .honor_cooldown(false)
        .customize()
        .config_override(autoscaling_once())
        .interceptor(StillAllowed::by(permit))
        .send()
        .await;
    write.after();
    answer.map(drop).map_err(|error| AwsError::set_desired_capacity(&action.pool, error))
}
