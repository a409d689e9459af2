//! Who owns the driver of a class at a Spark master: two LogwiseClusters that submit the same class to one master would
//! each take the other's driver for its own.

use super::Around;
use super::targets::{self, Past};
use crate::context::Context;
use crate::master::Page;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use logwise_api::LogwiseCluster;
use logwise_api::validate::{self, MasterAddress};
use logwise_runtime::intent::{Intent, Owner};
use logwise_runtime::ownership::other_owner;
use logwise_runtime::words;
use std::collections::{BTreeMap, BTreeSet};

/// Longest URL that is told, in characters.
const LONGEST: usize = 100;

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

/// The LogwiseCluster that owns the driver at the master of this page, if it is not this one. One master has many
/// names: that two of them mean the same shows by what it says of itself.
pub(crate) async fn rival_at(cluster: &LogwiseCluster, page: &Page, context: &Context) -> Option<String> {
    let uid = cluster.uid()?;
    let Some(wanted) = Wanted::of(cluster) else {
        context.drivers.stands(&uid, None);
        return None;
    };
    let place = Place::of(&wanted, page);
    context.drivers.stands(&uid, Some(place.clone()));
    let mut records = context.shell.intents.matching(|intent| is_about(intent, &place, page)).await;
    records.retain(|intent| is_current(intent, context));
    let contends = |other: &LogwiseCluster| {
        let is_on_record = |theirs: &Wanted| records.iter().any(|intent| theirs.owns(other, intent));
        let is_there = |theirs: &Wanted| {
            let known = other.uid().and_then(|uid| context.drivers.place(&uid));
            known.is_some_and(|known| known.masters == theirs.masters && known.is_as(&place))
        };
        let meets = |theirs: Wanted| theirs.class == wanted.class && (is_on_record(&theirs) || is_there(&theirs));
        other.uid() == cluster.uid() || Wanted::of(other).is_some_and(meets) && may_reach(other, context)
    };
    other_owner(&context.shell.intents, (cluster, &context.clusters), the_one(&records), contends).await
}

/// What is said to the younger one where the master has two names.
pub(crate) fn conflict_words_at(owner: &str, page: &Page) -> String {
    let url = words::cut(&page.cluster.url, LONGEST);
    format!(
        "The driver of this class at master {url} belongs to LogwiseCluster {owner}, which names the same master \
         differently; nothing is done for this one. Use one LogwiseCluster per main class and master"
    )
}

/// Whether another LogwiseCluster manages the driver of this class at one of these masters.
pub(super) fn is_of_another(around: Around<'_>, class: &str, masters: &BTreeSet<String>) -> bool {
    let theirs = |other: &LogwiseCluster| {
        let is_another = other.uid() != around.cluster.uid() && other.metadata.deletion_timestamp.is_none();
        let manages = |other: Wanted| other.class == class && !other.masters.is_disjoint(masters);
        is_another && Wanted::of(other).is_some_and(manages)
    };
    around.context.clusters.find(theirs).is_some()
}

/// Whether the record is about the driver of this class at the master of this page: it names one that stands there.
/// Ids and URLs of two masters may be the same, hardly both at once.
fn is_about(intent: &Intent, place: &Place, page: &Page) -> bool {
    let is_class = targets::about(&intent.resource).is_some_and(|(_, class)| class == place.class);
    if !is_class || targets::url(intent) != Some(place.url.as_str()) {
        return false;
    }
    let stands = |id: String| page.all_drivers.iter().chain(&page.completed).any(|row| row.id == id);
    Past::after(Some(intent)).recorded.is_some_and(stands)
}

/// Whether the owner on record still names that driver, as far as this process knows it.
fn is_current(intent: &Intent, context: &Context) -> bool {
    let Owner { namespace, name, .. } = &intent.wish.owner;
    let owner = context.clusters.get(&ObjectRef::new(name).within(namespace));
    owner.is_none_or(|owner| Wanted::of(&owner).is_some_and(|wanted| wanted.may_be(&intent.resource)))
}

/// The owner of these records, if they have one together.
fn the_one(records: &[Intent]) -> Option<Owner> {
    let owners = records.iter().map(|intent| &intent.wish.owner);
    let owners: BTreeMap<_, _> = owners.map(|owner| ((&owner.namespace, &owner.name), owner)).collect();
    let mut owners = owners.into_values();
    owners.next().filter(|_| owners.next().is_none()).cloned()
}

/// A class at a master, by what that says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    class: String,
    /// How the spec names the masters.
    masters: BTreeSet<String>,
    url: String,
    workers: BTreeSet<String>,
}

impl Place {
    fn of(wanted: &Wanted, page: &Page) -> Self {
        let Wanted { class, masters } = wanted.clone();
        let workers = page.cluster.workers.iter().map(|worker| worker.id.clone()).collect();
        Self { class, masters, url: page.cluster.url.clone(), workers }
    }

    /// Whether both are one. Masters of two clusters may call themselves alike; no worker is registered with both.
    fn is_as(&self, other: &Self) -> bool {
        let is_same = (&self.class, &self.url) == (&other.class, &other.url);
        is_same && !self.workers.is_disjoint(&other.workers)
    }
}

fn may_reach(cluster: &LogwiseCluster, context: &Context) -> bool {
    let namespace = cluster.namespace().unwrap_or_default();
    context.shell.access.decide(&namespace, &validate::references(cluster)).is_ok()
}

/// What a spec says about the driver that it manages.
#[derive(Clone)]
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

    /// Whether the intent is one of this object, whose spec this is.
    fn owns(&self, cluster: &LogwiseCluster, intent: &Intent) -> bool {
        let Owner { namespace, name, .. } = &intent.wish.owner;
        let is_its = cluster.namespace().as_ref() == Some(namespace) && cluster.name_any() == *name;
        is_its && self.may_be(&intent.resource)
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
