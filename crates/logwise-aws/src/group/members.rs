//! A group with its instances, their machines, and what keeps the group busy.

use super::activities::{Doing, doing, refreshes};
use super::hooks::waiting;
use super::machines::{Machines, addresses, is_unknown_instance, machines};
use super::template::Current;
use super::{Group, numbers, read};
use crate::error::AwsError;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance, LifecycleState};
use logwise_plan::Known;
use logwise_plan::workers::{FailedLaunch, Member, MemberState, Obstacle, Pool, Waiting};
use std::collections::{BTreeMap, BTreeSet};

/// Processes of a group without which its size cannot be changed as planned. Others, such as `AZRebalance`, people
/// suspend for good reasons.
const NEEDED: [&str; 2] = ["Launch", "Terminate"];

/// How often EC2 is asked once more in one look, each time without the instances that it has said not to know.
const MOST_ANSWERS: u32 = 12;

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The group and its machines. Whether launches fail, zones are balanced or instances are replaced is not asked, so
    /// nothing may be removed on the strength of it.
    Quick,
    /// Activities and instance refreshes as well.
    Full,
}

/// A group as AWS shows it.
#[derive(Clone, Debug)]
pub struct Members {
    /// Its numbers, instances and obstacles; absent when no group has that name. Its `hook` is none: which of `waiting`
    /// is to be answered for, the spec and the open removal say. Its `failed_launch` is none too: what is not known now
    /// may be known of an earlier reading.
    pub pool: Known<Pool>,
    /// The newest launch that failed; absent if none has failed or one has succeeded since, unknown if activities were
    /// not asked for or not answered.
    pub failed_launch: Known<FailedLaunch>,
    /// The name that AWS gives it for life.
    pub arn: Option<String>,
    /// Whether its new instances are protected from scale-in.
    pub newcomers_protected: bool,
    /// Instances that hooks may hold back, each under every hook for that.
    pub waiting: Vec<Waiting>,
    /// Calls beside the one for the group that failed. What they would have shown is taken for the worse: an address is
    /// unknown, and that a call failed which would have shown what the group does is an obstacle.
    pub unread: Vec<AwsError>,
}

impl Members {
    /// The instance under this hook, if it may be held back by it.
    pub fn waits(&self, instance: &str, hook: &str) -> Option<&Waiting> {
        self.waiting.iter().find(|waiting| waiting.instance == instance && waiting.hook == hook)
    }
}

/// What is found out beside the group and its machines.
struct Beside {
    obstacles: BTreeSet<Obstacle>,
    failed_launch: Known<FailedLaunch>,
    waiting: Vec<Waiting>,
    unread: Vec<AwsError>,
}

/// Reads the group of that name with its instances and, by their ids, the machines behind them.
///
/// # Errors
/// [`AwsError::DescribeGroup`]. What else cannot be read is in [`Members::unread`].
pub async fn members(
    client: &Client,
    ec2: &aws_sdk_ec2::Client,
    name: &str,
    depth: Depth,
) -> Result<Members, AwsError> {
    let Some(mut group) = read(client, name).await? else { return Ok(absent()) };
    let first = ids(&group);
    let (mut located, beside) = tokio::join!(machines(ec2, name, &first), beside(client, name, &group, depth));
    if let Some(unknown) = unknown_instances(&located) {
        // An instance has ended between the two calls, or EC2 does not know a new one yet.
        let Some(again) = read(client, name).await? else { return Ok(absent()) };
        group = again;
        located = without(ec2, name, (ids(&group), unknown)).await;
    }
    Ok(put_together(&group, located, beside))
}

/// What EC2 says when it does not know some of the instances.
fn unknown_instances(located: &Machines) -> Option<String> {
    let error = located.as_ref().err().filter(|error| is_unknown_instance(error))?;
    Some(error.failure().text.clone())
}

/// The machines that EC2 knows. It names those that it does not, but no text is kept that names them all where they are
/// many: the rest is named by the next answer.
async fn without(ec2: &aws_sdk_ec2::Client, name: &str, (mut ids, mut unknown): (Vec<String>, String)) -> Machines {
    let mut left = MOST_ANSWERS;
    loop {
        ids.retain(|id| !unknown.contains(id.as_str()));
        let located = machines(ec2, name, &ids).await;
        left -= 1;
        match unknown_instances(&located) {
            Some(others) if left > 0 && ids.iter().any(|id| others.contains(id.as_str())) => unknown = others,
            _ => return located,
        }
    }
}

fn absent() -> Members {
    Members {
        pool: Known::Absent,
        failed_launch: Known::Absent,
        arn: None,
        newcomers_protected: false,
        waiting: Vec::new(),
        unread: Vec::new(),
    }
}

/// Ids of the group's instances, in a stable order.
fn ids(group: &AutoScalingGroup) -> Vec<String> {
    let mut ids: Vec<String> = group.instances().iter().filter_map(Instance::instance_id).map(str::to_owned).collect();
    ids.sort_unstable();
    ids
}

async fn beside(client: &Client, name: &str, group: &AutoScalingGroup, depth: Depth) -> Beside {
    let mut found = Beside::of(group);
    let held = waiting(client, name, group);
    let (held, busy) = match depth {
        Depth::Quick => (held.await, None),
        Depth::Full => {
            let (held, doing, refreshed) = tokio::join!(held, doing(client, name), refreshes(client, name));
            (held, Some((doing, refreshed)))
        }
    };
    match held {
        Ok(waiting) => found.waiting = waiting,
        Err(error) => found.unread.push(error),
    }
    let Some((doing, refreshed)) = busy else { return found };
    match doing {
        Ok(Doing { failed_launch, balances }) => {
            found.failed_launch = failed_launch.map_or(Known::Absent, Known::Known);
            found.obstacles.extend(balances.then_some(Obstacle::Rebalance));
        }
        Err(error) => {
            found.failed_launch = Known::Unknown(error.to_string());
            found.missed(error);
        }
    }
    match refreshed {
        Ok(runs) => found.obstacles.extend(runs.then_some(Obstacle::Refresh)),
        Err(error) => found.missed(error),
    }
    found
}

impl Beside {
    /// What the group itself shows.
    fn of(group: &AutoScalingGroup) -> Self {
        let failed_launch = Known::Unknown("not asked".to_owned());
        Self { obstacles: suspended(group), failed_launch, waiting: Vec::new(), unread: Vec::new() }
    }

    /// A call failed that would have shown whether the group is busy.
    fn missed(&mut self, error: AwsError) {
        self.obstacles.insert(Obstacle::Unread(error.to_string()));
        self.unread.push(error);
    }
}

fn suspended(group: &AutoScalingGroup) -> BTreeSet<Obstacle> {
    let names = group.suspended_processes().iter().filter_map(|process| process.process_name());
    names.filter(|name| NEEDED.contains(name)).map(|name| Obstacle::Suspended(name.to_owned())).collect()
}

fn put_together(group: &AutoScalingGroup, located: Machines, beside: Beside) -> Members {
    let Beside { obstacles, failed_launch, waiting, mut unread } = beside;
    let newcomers = group.new_instances_protected_from_scale_in();
    let pool = numbers(group).map(|Group { min_size, max_size, desired, .. }| Pool {
        min_size,
        max_size,
        desired,
        members: instances(group, &located),
        newcomers_protected: newcomers.map_or_else(|| Known::Unknown("AWS does not say it".to_owned()), Known::Known),
        obstacles,
        failed_launch: None,
        hook: None,
    });
    unread.extend(located.err());
    let arn = group.auto_scaling_group_arn().map(str::to_owned);
    Members { pool, failed_launch, arn, newcomers_protected: newcomers.unwrap_or_default(), waiting, unread }
}

/// The group's instances, by id.
fn instances(group: &AutoScalingGroup, located: &Machines) -> Vec<Member> {
    let addresses = addresses(located, &ids(group));
    let since = |id: &str| located.as_ref().ok()?.get(id)?.since;
    let current = Current::of(group, since);
    let member = |instance: &Instance| {
        let id = instance.instance_id()?.to_owned();
        let address = addresses.get(&id).cloned();
        let found = Member {
            address: address.unwrap_or_else(|| Known::Unknown("not asked".to_owned())),
            state: state(instance.lifecycle_state()),
            healthy: instance.health_status().is_some_and(|status| status.eq_ignore_ascii_case("healthy")),
            protected: instance.protected_from_scale_in().unwrap_or_default(),
            zone: instance.availability_zone().map(str::to_owned),
            current_template: current.is_met_by(instance),
            since: since(&id),
            cost: None,
            cost_of_others: false,
            replica_set: None,
            id,
        };
        Some((found.id.clone(), found))
    };
    let members: BTreeMap<String, Member> = group.instances().iter().filter_map(member).collect();
    members.into_values().collect()
}

/// AWS's state in the planner's words: what comes, what serves, what goes; the rest by its name.
fn state(state: Option<&LifecycleState>) -> MemberState {
    match state.map_or("", LifecycleState::as_str) {
        "InService" => MemberState::InService,
        name if name == "Pending" || name.starts_with("Pending:") => MemberState::Pending,
        name if name == "Terminated" || name.starts_with("Terminating") => MemberState::Leaving,
        name => MemberState::Other(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_autoscaling::types::SuspendedProcess;

    #[test]
    fn every_state_of_aws_comes_serves_goes_or_has_a_name() {
        let of = |name: &str| state(Some(&LifecycleState::from(name)));
        for name in ["Pending", "Pending:Wait", "Pending:Proceed"] {
            assert_eq!(of(name), MemberState::Pending, "{name}");
        }
        assert_eq!(of("InService"), MemberState::InService);
        for name in ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminating:Retained", "Terminated"] {
            assert_eq!(of(name), MemberState::Leaving, "{name}");
        }
        for name in ["Standby", "Detaching", "Quarantined", "Warmed:Pending", "SomethingNew"] {
            assert_eq!(of(name), MemberState::Other(name.to_owned()));
        }
        assert_eq!(state(None), MemberState::Other(String::new()));
    }

    #[test]
    fn only_suspended_processes_that_a_change_needs_are_obstacles() {
        let process = |name: &str| SuspendedProcess::builder().process_name(name).build();
        let names = ["AZRebalance", "Terminate", "HealthCheck", "Launch", "AlarmNotification"];
        let group = names.iter().fold(AutoScalingGroup::builder(), |g, name| g.suspended_processes(process(name)));
        let expected = ["Launch", "Terminate"].map(|name| Obstacle::Suspended(name.to_owned()));
        assert_eq!(suspended(&group.build()), BTreeSet::from(expected));
    }

    #[test]
    fn a_group_without_numbers_is_unknown_and_keeps_its_arn() {
        let group = AutoScalingGroup::builder().auto_scaling_group_arn("arn").min_size(1).build();
        let found = put_together(&group, Ok(BTreeMap::new()), Beside::of(&group));
        assert!(found.pool.is_unknown() && found.arn.as_deref() == Some("arn"), "{found:?}");
    }
}
