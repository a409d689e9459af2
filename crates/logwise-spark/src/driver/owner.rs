//! Who owns the driver of a class at a Spark master: two LogwiseClusters that submit the same class to one master would
//! each take the other's driver for its own.

use super::targets;
use crate::context::Context;
use kube::ResourceExt;
use logwise_api::LogwiseCluster;
use logwise_api::validate::{self, MasterAddress};
use logwise_runtime::intent::Owner;
use logwise_runtime::ownership::other_owner;
use std::collections::BTreeSet;

/// The LogwiseCluster that owns the driver, if it is not this one: the one on record, else the older one. One that does
/// not manage its driver, or may not reach the masters, owns none.
pub(crate) async fn rival(cluster: &LogwiseCluster, context: &Context) -> Option<String> {
    let wanted = Wanted::of(cluster)?;
    let contends = |other: &LogwiseCluster| {
        Wanted::of(other).is_some_and(|other| other.meets(&wanted)) && may_reach(other, context)
    };
    let mut recorded = context.shell.intents.owners_where(|resource| wanted.may_be(resource)).await;
    others_first(&mut recorded, cluster);
    other_owner(&context.shell.intents, (cluster, &context.clusters), recorded, contends).await
}

/// Where the masters have several records, another object that is on one of them may not know of the one of this object:
/// it goes on, so this one does not.
fn others_first(recorded: &mut [Owner], cluster: &LogwiseCluster) {
    let name = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    recorded.sort_by_key(|owner| (&owner.namespace, &owner.name) == (&name.0, &name.1));
}

/// What is said to the younger one.
pub(crate) fn conflict_words(owner: &str) -> String {
    format!(
        "The driver of this class at these masters belongs to LogwiseCluster {owner}; nothing is done \
         for this one. Use one LogwiseCluster per main class and master"
    )
}

fn may_reach(cluster: &LogwiseCluster, context: &Context) -> bool {
    let namespace = cluster.namespace().unwrap_or_default();
    context.shell.access.decide(&namespace, &validate::references(cluster)).is_ok()
}

/// What a spec says about the driver that it manages.
struct Wanted {
    class: String,
    /// Where the masters listen, as drivers name them.
    masters: BTreeSet<String>,
}

impl Wanted {
    fn of(cluster: &LogwiseCluster) -> Option<Self> {
        let class = validate::submission(cluster)?.main_class;
        let masters = validate::spark_masters(cluster)?.ok()?;
        Some(Self { class, masters: masters.iter().map(MasterAddress::spark).collect() })
    }

    /// Whether both are about the same class at a master that both name.
    fn meets(&self, other: &Self) -> bool {
        self.class == other.class && !self.masters.is_disjoint(&other.masters)
    }

    /// Whether the intent about this resource may be about the driver: masters have one name together.
    fn may_be(&self, resource: &str) -> bool {
        self.masters.iter().any(|master| resource == targets::resource(master, &self.class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wanted(mode: &str, class: &str, masters: &[&str]) -> Option<Wanted> {
        let masters: Vec<_> = masters.iter().map(|host| json!({"host": host})).collect();
        let driver = json!({"mode": mode, "mainClass": class, "appResource": "file:///a.jar"});
        let object = json!({
            "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster", "metadata": {"name": "demo"},
            "spec": {"spark": {"masters": masters, "driver": driver}},
        });
        Wanted::of(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn pipelines_meet_where_they_name_one_class_and_one_master() {
        let first = wanted("Managed", "a.Main", &["m1", "m2"]).unwrap();
        let table = [
            ("a.Main", &["m1", "m2"][..], true),
            ("a.Main", &["m2", "m3"], true),
            ("a.Main", &["m3"], false),
            ("a.Other", &["m1", "m2"], false),
        ];
        for (class, masters, meets) in table {
            let other = wanted("Managed", class, masters).unwrap();
            assert_eq!((first.meets(&other), other.meets(&first)), (meets, meets), "{class} {masters:?}");
        }
        assert!(wanted("Disabled", "a.Main", &["m1"]).is_none(), "who only watches owns none");
    }

    #[test]
    fn who_names_masters_of_another_ones_record_too_comes_after_that() {
        let owner = |name: &str| Owner { namespace: "n".into(), name: name.into(), uid: name.into(), generation: 1 };
        let cluster = |name: &str| {
            let metadata = json!({"namespace": "n", "name": name});
            let object = json!({"apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
                "metadata": metadata, "spec": {}});
            serde_json::from_value::<LogwiseCluster>(object).unwrap()
        };
        for (of, expected) in [("a", ["b", "c", "a"]), ("b", ["a", "c", "b"])] {
            let mut recorded = ["a", "b", "c"].map(owner);
            others_first(&mut recorded, &cluster(of));
            assert_eq!(recorded.map(|owner| owner.name), expected, "{of}");
        }
    }

    #[test]
    fn a_record_is_about_the_driver_under_any_name_of_its_masters() {
        let wanted = wanted("Managed", "a.Main", &["m1", "m2"]).unwrap();
        for (resource, is) in [
            ("driver/m1:7077/a.Main", true),
            ("driver/m2:7077/a.Main", true),
            ("driver/m3:7077/a.Main", false),
            ("driver/m1:7077/a.Mainly", false),
            ("group/m1:7077/a.Main", false),
        ] {
            assert_eq!(wanted.may_be(resource), is, "{resource}");
        }
    }
}
