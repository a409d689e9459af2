//! What a group is doing by itself: launches that fail, zones being balanced, instances being replaced.

use super::{named, time};
use crate::error::AwsError;
use crate::failure::plain;
use crate::permissions::{DESCRIBE_ACTIVITIES, DESCRIBE_REFRESHES};
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{Activity, InstanceRefresh, InstanceRefreshStatus, ScalingActivityStatusCode};
use logwise_plan::workers::FailedLaunch;

/// Activities that are read: one page, with the newest.
const NEWEST: i32 = 50;

/// Refreshes that are read: one at most has not ended, and it is the newest.
const REFRESHES: i32 = 10;

/// What AWS says of a launch that a hook gave up. The rest of the text names a token that is never the same.
const GIVEN_UP: &str = "Instance failed to complete user's Lifecycle Action";

/// What the newest activities of a group show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Doing {
    /// The newest launch that has ended, if it failed.
    pub failed_launch: Option<FailedLaunch>,
    /// Whether zones are being balanced, or spot capacity is.
    pub balances: bool,
}

/// Reads the newest activities of the group.
pub(super) async fn doing(client: &Client, group: &str) -> Result<Doing, AwsError> {
    let answer = client
        .describe_scaling_activities()
        .auto_scaling_group_name(group)
        .max_records(NEWEST)
        .send()
        .await
        .map_err(|error| AwsError::group_call(&DESCRIBE_ACTIVITIES, named(group), error))?;
    Ok(understood(answer.activities()))
}

/// Whether an instance refresh of the group has not ended.
pub(super) async fn refreshes(client: &Client, group: &str) -> Result<bool, AwsError> {
    let answer = client
        .describe_instance_refreshes()
        .auto_scaling_group_name(group)
        .max_records(REFRESHES)
        .send()
        .await
        .map_err(|error| AwsError::group_call(&DESCRIBE_REFRESHES, named(group), error))?;
    Ok(answer.instance_refreshes().iter().any(runs))
}

/// A refresh that has no state, or one that is not known here, may run.
fn runs(refresh: &InstanceRefresh) -> bool {
    let over = [
        InstanceRefreshStatus::Successful,
        InstanceRefreshStatus::Failed,
        InstanceRefreshStatus::Cancelled,
        InstanceRefreshStatus::RollbackSuccessful,
        InstanceRefreshStatus::RollbackFailed,
    ];
    refresh.status().is_none_or(|status| !over.contains(status))
}

fn understood(activities: &[Activity]) -> Doing {
    let launches = activities.iter().filter(|activity| {
        has_ended(activity) && activity.description().is_some_and(|text| text.starts_with("Launching"))
    });
    // AWS lists the newest first: of two that began at one time the first one is newer.
    let newest = launches.rev().max_by_key(|launch| time(launch.start_time.as_ref()));
    let balances = activities.iter().any(|activity| !has_ended(activity) && is_balance(activity));
    Doing { failed_launch: newest.and_then(failed_launch), balances }
}

fn has_ended(activity: &Activity) -> bool {
    use ScalingActivityStatusCode::{Cancelled, Failed, Successful};
    matches!(activity.status_code(), Some(Successful | Failed | Cancelled))
}

fn failed_launch(launch: &Activity) -> Option<FailedLaunch> {
    let said = launch.status_message().or(launch.description()).unwrap_or_default();
    let given_up = said.starts_with(GIVEN_UP);
    let failed = launch.status_code() == Some(&ScalingActivityStatusCode::Failed);
    // Launches that somebody else called off are cancelled too.
    if !failed && !given_up {
        return None;
    }
    let at = time(launch.end_time().or(launch.start_time.as_ref()))?;
    Some(FailedLaunch { at, text: if given_up { GIVEN_UP.to_owned() } else { plain(said) } })
}

/// Whether the activity serves to balance zones or spot capacity, by the words of AWS. A load balancer is neither.
fn is_balance(activity: &Activity) -> bool {
    let cause = activity.cause().unwrap_or_default().to_ascii_lowercase();
    ["rebalanc", "to balance", "to be balanced"].iter().any(|words| cause.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::DateTime;
    use jiff::Timestamp;

    fn launch(at: i64, status: &str, message: Option<&str>) -> Activity {
        Activity::builder()
            .activity_id(format!("a-{at}"))
            .auto_scaling_group_name("g")
            .cause("At 2026-01-01T00:00:00Z an instance was started in response to a difference")
            .description("Launching a new EC2 instance")
            .start_time(DateTime::from_secs(at))
            .end_time(DateTime::from_secs(at + 5))
            .status_code(ScalingActivityStatusCode::from(status))
            .set_status_message(message.map(str::to_owned))
            .build()
    }

    fn failure(activities: &[Activity]) -> Option<FailedLaunch> {
        understood(activities).failed_launch
    }

    #[test]
    fn the_newest_launch_that_has_ended_tells_whether_launches_fail() {
        let failed = launch(20, "Failed", Some("no capacity\n in zone a"));
        let at = Timestamp::from_second(25).unwrap();
        let expected = Some(FailedLaunch { at, text: "no capacity in zone a".to_owned() });
        assert_eq!(failure(&[launch(10, "Successful", None), failed.clone()]), expected);
        assert_eq!(failure(&[failed.clone(), launch(30, "Successful", None)]), None, "it works again");
        assert_eq!(failure(&[launch(30, "PreInService", None), failed.clone()]), expected, "one is on its way");
        let ended =
            Activity::builder().description("Terminating EC2 instance: i-1").start_time(DateTime::from_secs(40));
        let ended = ended.status_code(ScalingActivityStatusCode::Successful).build();
        assert_eq!(failure(&[ended, failed]), expected, "an end is no launch");
        assert_eq!(failure(&[]), None);
    }

    #[test]
    fn a_launch_that_was_called_off_is_no_failure_and_one_that_a_hook_gave_up_is() {
        assert_eq!(failure(&[launch(10, "Cancelled", Some("the capacity is no longer wanted"))]), None);
        let text = format!("{GIVEN_UP}: Lifecycle Action with token 6f1d was abandoned: Heartbeat Timeout");
        let found = failure(&[launch(10, "Cancelled", Some(&text))]).unwrap();
        assert_eq!(found.text, GIVEN_UP, "no token, which differs each time");
    }

    #[test]
    fn balancing_is_told_from_load_balancers_and_from_what_is_over() {
        let activity = |cause: &str, status: &str| {
            let status = ScalingActivityStatusCode::from(status);
            Activity::builder().cause(cause).description("Launching").status_code(status).build()
        };
        let zones = "instances were launched to balance instances in zones [eu-west-1a] with other zones";
        for (cause, status, expected) in [
            (zones, "PreInService", true),
            (zones, "Successful", false),
            ("an instance was launched in response to an EC2 Capacity Rebalance", "InProgress", true),
            ("the group's zones are to be balanced", "InProgress", true),
            ("taken out of service in response to an elastic load balancer health check", "InProgress", false),
        ] {
            assert_eq!(understood(&[activity(cause, status)]).balances, expected, "{cause}: {status}");
        }
    }

    #[test]
    fn a_refresh_in_a_state_that_is_not_known_here_runs() {
        let refresh = |status: &str| InstanceRefresh::builder().status(InstanceRefreshStatus::from(status)).build();
        for over in ["Successful", "Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed"] {
            assert!(!runs(&refresh(over)), "{over}");
        }
        for open in ["Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking", "SomethingNew"] {
            assert!(runs(&refresh(open)), "{open}");
        }
        assert!(runs(&InstanceRefresh::builder().build()));
    }
}
