//! Ending one worker by its id, and the group's desired capacity with it.

use crate::client::autoscaling_once;
use crate::error::AwsError;
use crate::fence::StillAllowed;
use crate::permissions::TERMINATE_INSTANCE;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::Activity;
use logwise_runtime::crash;

/// What became of the wish to end an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is ending, and the group wants one instance fewer.
    Begun {
        /// Id of the scaling activity; empty when AWS names none.
        activity: String,
    },
    /// No group has that instance any more.
    AlreadySo,
}

/// Ends the instance and lowers the desired capacity by one, in one call that is sent once. `permit` is asked right
/// before the request leaves; a refusal means that nothing is sent. AWS refuses when the group would go below its
/// minimum. The hooks of the group run.
///
/// # Errors
/// [`AwsError::GroupCall`] when AWS or `permit` (class `Conflict`) refused, or no answer came; in the last case (class
/// `Transient`) the instance may be ending or not, and the next look decides. Class `Conflict` also when the instance
/// is already on its way in or out.
pub async fn terminate(
    client: &Client,
    instance: &str,
    permit: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<Ended, AwsError> {
    let write = crash::begin(crash::System::AutoScaling);
    let answer = client
        .terminate_instance_in_auto_scaling_group()
        .instance_id(instance)
        .should_decrement_desired_capacity(true)
        .customize()
        .config_override(autoscaling_once())
        .interceptor(StillAllowed::by(permit))
        .send()
        .await;
    write.after();
    match answer {
        Ok(answer) => {
            let activity = answer.activity().and_then(Activity::activity_id).unwrap_or_default().to_owned();
            Ok(Ended::Begun { activity })
        }
        Err(error) => {
            let error = AwsError::group_call(&TERMINATE_INSTANCE, format!("instance {instance}"), error);
            if is_gone(&error) { Ok(Ended::AlreadySo) } else { Err(error) }
        }
    }
}

/// Whether AWS says that the instance is in no group. The code alone is that of any wrong request.
fn is_gone(error: &AwsError) -> bool {
    let text = error.failure().text.to_ascii_lowercase();
    error.code() == Some("ValidationError")
        && ["no managed instance found", "instance id not found"].iter().any(|words| text.contains(words))
}
