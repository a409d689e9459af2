//! O3: what must not be asked for at any time, whatever the end looks like.

use std::collections::BTreeMap;

use anyhow::Result;

use super::effects::took_effect;
use super::end_state::topics;
use super::verdict;
use crate::stand_in::Call;
use crate::world::World;

/// What a run began with and may not leave.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// The group's wanted number of instances at the start.
    pub desired: i64,
    /// The greatest number of instances that may be wished for: the lower of the group's and the object's.
    pub max: i64,
    /// The lifecycle rules of others, byte for byte, from `<Rule>` to `</Rule>`.
    pub foreign: Vec<String>,
}

/// Errors when the world's ledger holds a forbidden call; the text names each.
pub async fn kept(world: &World, bounds: &Bounds) -> Result<()> {
    let (group, bucket) = futures::try_join!(world.calls(&world.group, true), world.calls(&world.bucket, true))?;
    let mut findings = of_group(&group, bounds);
    findings.extend(of_bucket(&bucket, &bounds.foreign));
    verdict("forbidden calls", &findings)
}

/// Calls that no operator makes of a group. A lower wish, a lower bound or a detached instance would leave it to AWS
/// which instance goes, or leave machines behind.
const NEVER: [&str; 6] = [
    "CreateAutoScalingGroup",
    "DeleteAutoScalingGroup",
    "DetachInstances",
    "EnterStandby",
    "SetInstanceHealth",
    "SuspendProcesses",
];

/// Wishes below an earlier one (ended instances count) or above the bound, in the order of the ledger, ends of
/// instances that would be replaced, protection that is taken away, and calls that nobody makes; a refused call counts
/// too.
pub fn of_group(calls: &[Call], bounds: &Bounds) -> Vec<String> {
    let (mut desired, mut findings) = (bounds.desired, Vec::new());
    for call in calls {
        let named = |name: &str| call.params[name].as_str().and_then(|text| text.parse::<i64>().ok());
        if let Some(wanted) = named("DesiredCapacity") {
            if wanted < desired {
                findings.push(format!("call {} {} wants {wanted} below {desired}", call.seq, call.action));
            }
            if took_effect(call) {
                desired = desired.max(wanted);
            }
        }
        for name in ["DesiredCapacity", "MaxSize"] {
            if let Some(wanted) = named(name).filter(|wanted| *wanted > bounds.max) {
                let max = bounds.max;
                findings.push(format!("call {} {} wants {name} {wanted} above {max}", call.seq, call.action));
            }
        }
        let says = |name: &str, word: &str| call.params[name].as_str() == Some(word);
        let fewer = says("ShouldDecrementDesiredCapacity", "true");
        let action = call.action.as_str();
        if action == "TerminateInstanceInAutoScalingGroup" && !fewer {
            findings.push(format!("call {} ends an instance that will be replaced", call.seq));
        }
        let bared = says("ProtectedFromScaleIn", "false") || says("NewInstancesProtectedFromScaleIn", "false");
        if NEVER.contains(&action) || bared || says("HonorCooldown", "true") {
            findings.push(format!("call {} {action} is never made: {}", call.seq, call.params));
        }
        if fewer && took_effect(call) {
            desired -= 1;
        }
    }
    findings
}

/// Lifecycle documents without a foreign rule, and deletions while there is one; a refused call counts too.
pub fn of_bucket(calls: &[Call], foreign: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    for call in calls {
        let body = call.params["body"].as_str().unwrap_or_default();
        match call.action.as_str() {
            "PutBucketLifecycleConfiguration" => findings.extend(
                foreign
                    .iter()
                    .filter(|rule| !body.contains(*rule))
                    .map(|rule| format!("call {} puts a document without the foreign {rule}", call.seq)),
            ),
            "DeleteBucketLifecycle" if !foreign.is_empty() => {
                findings.push(format!("call {} deletes a document with {} foreign rules", call.seq, foreign.len()));
            }
            _ => {}
        }
    }
    findings
}

/// The most partitions that each topic was ever seen with.
#[derive(Debug, Clone, Default)]
pub struct Partitions(BTreeMap<String, usize>);

impl Partitions {
    /// Looks at the world's topics. Errors when one has fewer partitions than at an earlier look, or is gone.
    pub async fn look(&mut self, world: &World) -> Result<()> {
        let findings = self.compare(topics(world).await?);
        verdict("topics shrank", &findings)
    }

    fn compare(&mut self, now: BTreeMap<String, usize>) -> Vec<String> {
        let count = |topic: &String| now.get(topic).copied().unwrap_or_default();
        let shrunk = self.0.iter().filter(|(topic, before)| count(topic) < **before);
        let findings = shrunk.map(|(topic, before)| format!("{topic} has {} after {before}", count(topic))).collect();
        for (topic, partitions) in now {
            let most = self.0.entry(topic).or_default();
            *most = partitions.max(*most);
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn call(seq: u64, action: &str, params: Value, status: u16) -> Call {
        let outcome = json!({"status": status, "code": null, "fault": null});
        let text = json!({"seq": seq, "time": 0, "service": "s", "action": action, "resource": "r", "params": params,
            "mutating": true, "outcome": outcome});
        serde_json::from_value(text).unwrap()
    }

    fn set(seq: u64, to: &str, status: u16) -> Call {
        call(seq, "SetDesiredCapacity", json!({"DesiredCapacity": to}), status)
    }

    fn end(seq: u64, status: u16) -> Call {
        let params = json!({"InstanceId": "i-1", "ShouldDecrementDesiredCapacity": "true"});
        call(seq, "TerminateInstanceInAutoScalingGroup", params, status)
    }

    #[test]
    fn an_old_wish_after_a_newer_one_is_found_and_an_ended_instance_allows_a_lower_one() {
        let bounds = Bounds { desired: 2, max: 5, ..Bounds::default() };
        assert_eq!(
            of_group(&[set(1, "3", 200), set(2, "2", 200)], &bounds),
            ["call 2 SetDesiredCapacity wants 2 below 3"]
        );
        assert_eq!(of_group(&[set(1, "1", 400)], &bounds).len(), 1, "a refused wish is a wish");
        assert!(of_group(&[set(1, "3", 200), end(2, 200), end(3, 200), set(4, "2", 200)], &bounds).is_empty());
        assert_eq!(of_group(&[set(1, "3", 200), end(2, 500), set(3, "2", 200)], &bounds).len(), 1);
        assert!(of_group(&[set(1, "3", 500), set(2, "2", 200)], &bounds).is_empty(), "nothing was raised");
    }

    #[test]
    fn what_leaves_the_choice_to_aws_is_found() {
        let bounds = Bounds { desired: 2, max: 5, ..Bounds::default() };
        let replaced = call(1, "TerminateInstanceInAutoScalingGroup", json!({"InstanceId": "i-1"}), 200);
        assert_eq!(of_group(&[replaced], &bounds), ["call 1 ends an instance that will be replaced"]);
        for (action, params) in [
            ("DetachInstances", json!({"InstanceIds.member.1": "i-1"})),
            ("SetInstanceProtection", json!({"ProtectedFromScaleIn": "false"})),
            ("UpdateAutoScalingGroup", json!({"NewInstancesProtectedFromScaleIn": "false"})),
            ("SetDesiredCapacity", json!({"DesiredCapacity": "3", "HonorCooldown": "true"})),
        ] {
            assert_eq!(of_group(&[call(2, action, params, 400)], &bounds).len(), 1, "{action}");
        }
        let protect = call(3, "SetInstanceProtection", json!({"ProtectedFromScaleIn": "true"}), 200);
        let raise = call(4, "SetDesiredCapacity", json!({"DesiredCapacity": "3", "HonorCooldown": "false"}), 200);
        assert!(of_group(&[protect, raise], &bounds).is_empty());
    }

    #[test]
    fn a_wish_above_the_bound_is_found() {
        let bounds = Bounds { desired: 2, max: 5, ..Bounds::default() };
        assert!(of_group(&[set(1, "5", 200)], &bounds).is_empty());
        assert_eq!(
            of_group(&[set(1, "6", 400)], &bounds),
            ["call 1 SetDesiredCapacity wants DesiredCapacity 6 above 5"]
        );
        let update = call(2, "UpdateAutoScalingGroup", json!({"MaxSize": "9"}), 200);
        assert_eq!(of_group(&[update], &bounds).len(), 1);
    }

    #[test]
    fn foreign_rules_stay_byte_for_byte() {
        let foreign = ["<Rule><ID>theirs</ID> </Rule>".to_owned()];
        let put = |body: &str| call(1, "PutBucketLifecycleConfiguration", json!({"body": body}), 200);
        assert!(of_bucket(&[put("<A><Rule><ID>theirs</ID> </Rule><Rule/></A>")], &foreign).is_empty());
        assert_eq!(of_bucket(&[put("<A><Rule><ID>theirs</ID></Rule></A>")], &foreign).len(), 1);
        let delete = || call(2, "DeleteBucketLifecycle", json!({}), 204);
        assert_eq!(of_bucket(&[delete()], &foreign), ["call 2 deletes a document with 1 foreign rules"]);
        assert!(of_bucket(&[delete()], &[]).is_empty());
    }

    #[test]
    fn a_topic_that_shrinks_or_vanishes_is_found() {
        let topics = |count: usize| BTreeMap::from([("a".to_owned(), count)]);
        let mut seen = Partitions::default();
        assert!(seen.compare(topics(3)).is_empty() && seen.compare(topics(4)).is_empty());
        assert_eq!(seen.compare(topics(3)), ["a has 3 after 4"]);
        assert_eq!(seen.compare(BTreeMap::new()), ["a has 0 after 4"]);
    }
}
