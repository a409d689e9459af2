//! Lifecycle hooks that hold back an instance which is to end: who waits, keeping it waiting, letting it go.

use super::named;
use crate::client::autoscaling_once;
use crate::error::AwsError;
use crate::fence::StillAllowed;
use crate::permissions::{COMPLETE_ACTION, DESCRIBE_HOOKS, RECORD_HEARTBEAT};
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleState};
use logwise_plan::workers::Waiting;
use logwise_runtime::crash;

/// The transition of hooks that hold back instances which are to end.
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// What became of a call about a hook that holds an instance back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooked {
    /// AWS took it.
    Done,
    /// That hook does not hold the instance back, or no more.
    NothingWaits,
}

/// Instances of the group in `Terminating:Wait`, in a stable order.
fn held_back(group: &AutoScalingGroup) -> Vec<&str> {
    let held = group.instances().iter().filter(|i| i.lifecycle_state() == Some(&LifecycleState::TerminatingWait));
    let mut held: Vec<&str> = held.filter_map(|instance| instance.instance_id()).collect();
    held.sort_unstable();
    held
}

/// Which hooks may hold back which instances: each that is in `Terminating:Wait`, under each hook for that. AWS tells
/// neither which of them still waits nor the token, which it sends to the hook's target alone; instances are named
/// instead.
pub(super) async fn waiting(client: &Client, name: &str, group: &AutoScalingGroup) -> Result<Vec<Waiting>, AwsError> {
    let held = held_back(group);
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let answer = client
        .describe_lifecycle_hooks()
        .auto_scaling_group_name(name)
        .send()
        .await
        .map_err(|error| AwsError::group_call(&DESCRIBE_HOOKS, named(name), error))?;
    let hooks = answer.lifecycle_hooks().iter().filter(|hook| hook.lifecycle_transition() == Some(TERMINATING));
    let mut hooks: Vec<&str> = hooks.filter_map(|hook| hook.lifecycle_hook_name()).collect();
    hooks.sort_unstable();
    let under = |instance: &str| {
        let waits =
            |hook: &&str| Waiting { instance: instance.to_owned(), hook: (*hook).to_owned(), token: String::new() };
        hooks.iter().map(waits).collect::<Vec<_>>()
    };
    Ok(held.into_iter().flat_map(under).collect())
}

/// The token, if one is known.
fn token(waiting: &Waiting) -> Option<String> {
    Some(waiting.token.clone()).filter(|token| !token.is_empty())
}

/// Keeps the instance waiting: the hook's time-out begins anew. Sent once; `permit` is asked right before the request
/// leaves.
///
/// # Errors
/// [`AwsError::GroupCall`] when AWS or `permit` (class `Conflict`) refused, or no answer came (class `Transient`).
pub async fn heartbeat(
    client: &Client,
    group: &str,
    waiting: &Waiting,
    permit: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<Hooked, AwsError> {
    let write = crash::begin(crash::System::AutoScaling);
    let answer = client
        .record_lifecycle_action_heartbeat()
        .auto_scaling_group_name(group)
        .lifecycle_hook_name(&waiting.hook)
        .instance_id(&waiting.instance)
        .set_lifecycle_action_token(token(waiting))
        .customize()
        .config_override(autoscaling_once())
        .interceptor(StillAllowed::by(permit))
        .send()
        .await;
    write.after();
    hooked(answer.map(drop).map_err(|error| AwsError::group_call(&RECORD_HEARTBEAT, on(waiting), error)))
}

/// Lets the instance go: the hook is completed with `CONTINUE`, and others of the group go on holding it. Sent once;
/// `permit` is asked right before the request leaves.
///
/// # Errors
/// [`AwsError::GroupCall`] when AWS or `permit` (class `Conflict`) refused, or no answer came (class `Transient`).
pub async fn complete(
    client: &Client,
    group: &str,
    waiting: &Waiting,
    permit: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<Hooked, AwsError> {
    let write = crash::begin(crash::System::AutoScaling);
    let answer = client
        .complete_lifecycle_action()
        .auto_scaling_group_name(group)
        .lifecycle_hook_name(&waiting.hook)
        .instance_id(&waiting.instance)
        .set_lifecycle_action_token(token(waiting))
        .lifecycle_action_result("CONTINUE")
        .customize()
        .config_override(autoscaling_once())
        .interceptor(StillAllowed::by(permit))
        .send()
        .await;
    write.after();
    hooked(answer.map(drop).map_err(|error| AwsError::group_call(&COMPLETE_ACTION, on(waiting), error)))
}

fn on(waiting: &Waiting) -> String {
    format!("instance {} under hook {}", waiting.instance, waiting.hook)
}

fn hooked(answer: Result<(), AwsError>) -> Result<Hooked, AwsError> {
    match answer {
        Ok(()) => Ok(Hooked::Done),
        Err(error) if is_over(&error) => Ok(Hooked::NothingWaits),
        Err(error) => Err(error),
    }
}

/// Whether AWS says that nothing waits there. The code alone is that of any wrong request.
fn is_over(error: &AwsError) -> bool {
    let text = error.failure().text.to_ascii_lowercase();
    error.code() == Some("ValidationError") && text.contains("no active lifecycle action found")
}
