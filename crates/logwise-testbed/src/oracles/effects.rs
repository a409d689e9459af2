//! O2: how often each resource was really changed, from the ledger of the AWS stand-in and from what a Spark master
//! tells.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::verdict;
use crate::fake_master::FakeMaster;
use crate::spark::Overview;
use crate::stand_in::Call;
use crate::world::World;

/// The resource of what was done to a Spark master.
const MASTER: &str = "master";

/// A change that was carried out, whatever its sender was answered.
#[derive(Debug, Clone, PartialEq)]
struct Effect {
    seq: u64,
    action: String,
    params: Value,
}

/// The changes that were carried out, by resource and in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Effects {
    world: String,
    by_resource: BTreeMap<String, Vec<Effect>>,
}

impl Effects {
    /// Those of the world's group and bucket.
    pub async fn of(world: &World) -> Result<Effects> {
        let (group, bucket) = futures::try_join!(world.calls(&world.group, true), world.calls(&world.bucket, true))?;
        Ok(Effects::in_ledger(&world.id, &[group, bucket].concat()))
    }

    /// Those among these calls, of a world with this name.
    pub fn in_ledger(world: &str, calls: &[Call]) -> Effects {
        let mut by_resource: BTreeMap<String, Vec<Effect>> = BTreeMap::new();
        for call in calls.iter().filter(|call| took_effect(call)) {
            let effect = Effect { seq: call.seq, action: call.action.clone(), params: call.params.clone() };
            by_resource.entry(call.resource.clone().unwrap_or_default()).or_default().push(effect);
        }
        Effects { world: world.to_owned(), by_resource }
    }

    /// These, and what a fake master did and learnt: workers decommissioned, drivers submitted, killed, and ended
    /// otherwise.
    #[must_use]
    pub fn with_master(mut self, master: &FakeMaster) -> Effects {
        let numbered = (0..).zip(master.events());
        let effects =
            numbered.map(|(seq, event)| Effect { seq, action: event.action.to_owned(), params: event.params });
        self.by_resource.entry(MASTER.to_owned()).or_default().extend(effects);
        self
    }

    /// These, and a submission for each driver of this class that a real master knows: those that run, wait or are
    /// over. A supervised one that was begun again on another worker is one more.
    #[must_use]
    pub fn with_drivers(mut self, master: &Overview, main_class: &str) -> Effects {
        let drivers = master.activedrivers.iter().chain(&master.completeddrivers);
        let ours = drivers.filter(|driver| driver.mainclass == main_class);
        let effects = (0..).zip(ours).map(|(seq, driver)| {
            let params = json!({"id": driver.id});
            Effect { seq, action: "SubmitDriver".to_owned(), params }
        });
        self.by_resource.entry(MASTER.to_owned()).or_default().extend(effects);
        self
    }

    /// Number of effects by resource (without the world's name) and operation.
    pub fn counts(&self) -> BTreeMap<(String, String), usize> {
        let mut counts = BTreeMap::new();
        for (resource, effects) in &self.by_resource {
            let name = resource.replace(&self.world, "WORLD");
            for effect in effects {
                *counts.entry((name.clone(), effect.action.clone())).or_default() += 1;
            }
        }
        counts
    }

    /// Effects that repeat what was just done to their resource, one line each.
    pub fn duplicates(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (resource, effects) in &self.by_resource {
            for [one, next] in effects.array_windows() {
                if one.action == next.action && one.params == next.params {
                    found.push(format!(
                        "{resource}: {} of call {} repeats call {}: {}",
                        next.action, next.seq, one.seq, next.params
                    ));
                }
            }
        }
        found
    }

    /// Errors when an effect is repeated, or when any resource has more or fewer than in the run without faults.
    pub fn same_as(&self, faultless: &Effects) -> Result<()> {
        let (here, there) = (self.counts(), faultless.counts());
        let names = here.keys().chain(there.keys().filter(|name| !here.contains_key(*name)));
        let count = |counts: &BTreeMap<_, usize>, name| counts.get(name).copied().unwrap_or_default();
        let mut findings = self.duplicates();
        findings.extend(names.filter(|name| count(&here, name) != count(&there, name)).map(|name| {
            let (resource, action) = name;
            format!("{resource}: {action} took effect {} times instead of {}", count(&here, name), count(&there, name))
        }));
        verdict("effects are not those of the run without faults", &findings)
    }
}

/// The stand-in files the status of what it did, also when the answer was lost.
pub(super) fn took_effect(call: &Call) -> bool {
    call.mutating && call.outcome.status.is_some_and(|status| (200..300).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(seq: u64, action: &str, params: &Value, outcome: &Value) -> Call {
        let text = json!({"seq": seq, "time": 0, "service": "autoscaling", "action": action, "resource": "w1-workers",
            "params": params, "mutating": true, "outcome": outcome});
        serde_json::from_value(text).unwrap()
    }

    fn raise(seq: u64, to: &str, status: u16, fault: Option<&str>) -> Call {
        let outcome = json!({"status": status, "code": null, "fault": fault});
        call(seq, "SetDesiredCapacity", &json!({"DesiredCapacity": to}), &outcome)
    }

    #[test]
    fn a_lost_answer_is_an_effect_and_a_refused_or_dropped_call_is_none() {
        let calls =
            [raise(1, "2", 200, Some("lost")), raise(2, "3", 500, Some("error")), raise(3, "3", 0, Some("drop"))];
        let name = ("WORLD-workers".to_owned(), "SetDesiredCapacity".to_owned());
        assert_eq!(Effects::in_ledger("w1", &calls).counts(), BTreeMap::from([(name, 1)]));
    }

    #[test]
    fn a_repeated_effect_is_named_and_a_way_there_and_back_is_none() {
        let twice = Effects::in_ledger("w1", &[raise(7, "2", 200, Some("lost")), raise(9, "2", 200, None)]);
        let wanted = "w1-workers: SetDesiredCapacity of call 9 repeats call 7: {\"DesiredCapacity\":\"2\"}";
        assert_eq!(twice.duplicates(), [wanted]);
        let back =
            Effects::in_ledger("w1", &[raise(1, "2", 200, None), raise(2, "3", 200, None), raise(3, "2", 200, None)]);
        assert!(back.duplicates().is_empty());
    }

    #[test]
    fn drivers_of_a_class_count_whether_they_run_or_are_over() {
        let driver =
            |id: &str, class: &str| json!({"id": id, "state": "RUNNING", "worker": "None", "mainclass": class});
        let page = |over: &[Value]| -> Overview {
            let page = json!({"status": "ALIVE", "workers": [], "activeapps": [],
                "activedrivers": [driver("d-2", "M"), driver("d-9", "X")], "completeddrivers": over});
            serde_json::from_value(page).unwrap()
        };
        let of = |over: &[Value]| Effects::in_ledger("w1", &[]).with_drivers(&page(over), "M");
        let (once, twice) = (of(&[]), of(&[driver("d-1", "M")]));
        assert_eq!(once.counts(), BTreeMap::from([(("master".to_owned(), "SubmitDriver".to_owned()), 1)]));
        assert!(twice.duplicates().is_empty());
        let error = twice.same_as(&once).unwrap_err().to_string();
        assert!(error.contains("master: SubmitDriver took effect 2 times instead of 1"), "{error}");
    }

    #[test]
    fn one_more_and_one_less_are_both_named() {
        let (one, two) = ([raise(1, "2", 200, None)], [raise(1, "2", 200, None), raise(2, "3", 200, None)]);
        let (one, two) = (Effects::in_ledger("w1", &one), Effects::in_ledger("w1", &two));
        one.same_as(&one).unwrap();
        assert!(two.same_as(&one).unwrap_err().to_string().contains("2 times instead of 1"));
        let none = Effects::in_ledger("w2", &[]);
        assert!(none.same_as(&one).unwrap_err().to_string().contains("0 times instead of 1"));
    }
}
