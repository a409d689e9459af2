//! What a group was asked for, and whether that adds up.

use super::Pipeline;
use anyhow::{Context, Result, bail, ensure};
use logwise_testbed::fake_master::Kind;
use logwise_testbed::oracles::invariants::{Bounds, of_group};
use logwise_testbed::oracles::workers::{Machines, of_ends};
use logwise_testbed::stand_in::Call;

/// The operation that ends an instance.
pub(super) const END: &str = "TerminateInstanceInAutoScalingGroup";

/// One change that a group was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// New instances are to be protected from scale-in.
    Newcomers,
    /// So many instances are to be protected from scale-in.
    Protect(usize),
    /// There are to be so many instances.
    Raise(i64),
    /// This instance is to end, and none is to take its place.
    End(String),
    /// This hook is to wait longer.
    Heartbeat(String),
    /// This hook is to let its instance go.
    Complete(String),
}

/// The changes that these calls ask for. Errors for a call that no operator makes.
pub(super) fn changes(calls: &[Call]) -> Result<Vec<Change>> {
    calls.iter().map(change).collect()
}

fn change(call: &Call) -> Result<Change> {
    let named = |name: &str| call.params[name].as_str().unwrap_or_default();
    Ok(match call.action.as_str() {
        "UpdateAutoScalingGroup" if named("NewInstancesProtectedFromScaleIn") == "true" => Change::Newcomers,
        "SetInstanceProtection" if named("ProtectedFromScaleIn") == "true" => Change::Protect(ids(call)),
        "SetDesiredCapacity" => Change::Raise(named("DesiredCapacity").parse().context("a desired capacity")?),
        END if named("ShouldDecrementDesiredCapacity") == "true" => Change::End(named("InstanceId").to_owned()),
        "RecordLifecycleActionHeartbeat" => Change::Heartbeat(named("LifecycleHookName").to_owned()),
        "CompleteLifecycleAction" => Change::Complete(named("LifecycleHookName").to_owned()),
        other => bail!("no operator asks for {other} with {}", call.params),
    })
}

/// Instances that a call names in a list.
fn ids(call: &Call) -> usize {
    let names = call.params.as_object().into_iter().flat_map(serde_json::Map::keys);
    names.filter(|name| name.starts_with("InstanceIds.member.")).count()
}

/// The instances that are ended by these changes.
pub(super) fn ended(changes: &[Change]) -> Vec<&str> {
    let id = changes.iter().filter_map(|change| match change {
        Change::End(id) => Some(id.as_str()),
        _ => None,
    });
    id.collect()
}

/// The sizes that these changes ask for.
pub(super) fn raised(changes: &[Change]) -> Vec<i64> {
    let to = |change: &Change| match change {
        Change::Raise(to) => Some(*to),
        _ => None,
    };
    changes.iter().filter_map(to).collect()
}

/// Milliseconds between the calls of one operation, one after the other.
pub(super) fn gaps(calls: &[Call], action: &str) -> Vec<i64> {
    let times: Vec<i64> = calls.iter().filter(|call| call.action == action).map(|call| call.time).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

impl Pipeline<'_> {
    /// The changes that the group was asked for so far.
    pub(super) async fn changes(&self) -> Result<Vec<Change>> {
        changes(&self.calls().await?)
    }

    /// The same. Errors unless every call was taken, they lead from `start` instances to those that are there now, and
    /// no rule was broken on the way: no driver lost its worker, and every worker that went was cordoned and then
    /// looked at again.
    pub(super) async fn adds_up(&self, start: i64) -> Result<Vec<Change>> {
        let (calls, group) = futures::try_join!(self.calls(), self.group())?;
        let changes = changes(&calls)?;
        let mut findings = of_group(&calls, &Bounds { desired: start, max: group.max, ..Bounds::default() });
        findings.extend(of_ends(&calls, &Machines::of(&self.master), &self.master.stays()));
        findings.extend(self.uncordoned(&calls));
        let refused = calls.iter().filter(|call| call.outcome.status != Some(200));
        findings
            .extend(refused.map(|call| format!("call {} {} was refused: {:?}", call.seq, call.action, call.outcome)));
        let mut desired = start;
        for change in &changes {
            match change {
                Change::Raise(to) if *to <= desired => findings.push(format!("{to} are wanted after {desired}")),
                Change::Raise(to) => desired = *to,
                Change::End(_) => desired -= 1,
                _ => {}
            }
        }
        let there = i64::try_from(group.instances.len())?;
        if desired != group.desired || desired != there {
            findings.push(format!("{start} become {desired}, the group wants {} and has {there}", group.desired));
        }
        ensure!(findings.is_empty(), "{} does not add up: {}; {changes:?}", self.name, findings.join("; "));
        Ok(changes)
    }

    /// Ends of instances whose worker was not cordoned before, or was not looked at after that.
    fn uncordoned(&self, calls: &[Call]) -> Vec<String> {
        let (machines, events, pages) =
            (self.master.machines(), self.master.events(), self.master.calls_of(Kind::Page));
        let mut findings = Vec::new();
        for call in calls.iter().filter(|call| call.action == END) {
            let id = call.params["InstanceId"].as_str().unwrap_or_default();
            let host = machines.get(id).map(String::as_str);
            let mut before = events.iter().filter(|event| event.action == "Decommission" && event.time <= call.time);
            let Some(cordon) = before.rfind(|event| event.params["host"].as_str() == host) else {
                findings.push(format!("call {} ends {id}, which was not cordoned", call.seq));
                continue;
            };
            if !pages.iter().any(|page| (cordon.time..=call.time).contains(&page.time)) {
                findings.push(format!("call {} ends {id}, which was not looked at after its cordon", call.seq));
            }
        }
        findings
    }
}
