//! O3 for workers: which instances were ended, and what ran there.

use std::collections::BTreeMap;

use anyhow::Result;

use super::effects::took_effect;
use super::verdict;
use crate::fake_master::FakeMaster;
use crate::stand_in::Call;
use crate::stays::Stay;
use crate::world::World;

const TERMINATE: &str = "TerminateInstanceInAutoScalingGroup";

/// The address of every instance that a group was seen with, by its id. One that is ended has none any more: whoever
/// asks about its end has to have looked before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machines(BTreeMap<String, String>);

impl Machines {
    /// Looks at the world's group.
    pub async fn look(&mut self, world: &World) -> Result<()> {
        for instance in world.group(&world.group).await?.instances {
            if !instance.private_ip.is_empty() {
                self.0.insert(instance.id, instance.private_ip);
            }
        }
        Ok(())
    }

    /// Those that a fake master has seen.
    pub fn of(master: &FakeMaster) -> Machines {
        Machines(master.machines())
    }
}

/// Errors when an instance was ended on which a driver ran at that time, or one that was no worker; the text names
/// each.
pub async fn spared(world: &World, machines: &Machines, stays: &[Stay]) -> Result<()> {
    let calls = world.calls(&world.group, true).await?;
    verdict("workers were ended that must not be", &of_ends(&calls, machines, stays))
}

/// The forbidden ends among these calls, as far as they were carried out.
pub fn of_ends(calls: &[Call], machines: &Machines, stays: &[Stay]) -> Vec<String> {
    let mut findings = Vec::new();
    for call in calls.iter().filter(|call| call.action == TERMINATE && took_effect(call)) {
        let instance = call.params["InstanceId"].as_str().unwrap_or_default();
        let Some(host) = machines.0.get(instance) else {
            findings.push(format!("call {} ends {instance}, which was no worker", call.seq));
            continue;
        };
        let there = stays.iter().filter(|stay| stay.host == *host && stay.covers(call.time));
        findings.extend(there.map(|stay| format!("call {} ends {instance}, which runs {}", call.seq, stay.driver)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn end(seq: u64, time: i64, instance: &str, status: u16) -> Call {
        let params = json!({"InstanceId": instance, "ShouldDecrementDesiredCapacity": "true"});
        let outcome = json!({"status": status, "code": null, "fault": null});
        let text = json!({"seq": seq, "time": time, "service": "autoscaling", "action": TERMINATE, "resource": "g",
            "params": params, "mutating": true, "outcome": outcome});
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn the_end_of_a_drivers_worker_is_found_and_that_of_its_neighbour_is_none() {
        let pairs = [("i-1", "127.0.9.4"), ("i-2", "127.0.9.5")];
        let machines = Machines(pairs.map(|(id, host)| (id.to_owned(), host.to_owned())).into());
        let stay = |driver: &str, host: &str, from: i64, to: Option<i64>| Stay {
            driver: driver.into(),
            host: host.into(),
            from,
            to,
        };
        let stays = [stay("d-1", "127.0.9.4", 100, Some(200)), stay("d-2", "127.0.9.5", 150, None)];
        let of = |call: Call| of_ends(&[call], &machines, &stays);
        assert_eq!(of(end(7, 150, "i-1", 200)), ["call 7 ends i-1, which runs d-1"]);
        assert_eq!(of(end(8, 900, "i-2", 200)), ["call 8 ends i-2, which runs d-2"]);
        assert_eq!(of(end(9, 150, "i-3", 200)), ["call 9 ends i-3, which was no worker"]);
        assert!(of(end(10, 99, "i-1", 200)).is_empty() && of(end(11, 201, "i-1", 200)).is_empty());
        assert!(of(end(12, 150, "i-1", 400)).is_empty(), "it was refused");
    }
}
