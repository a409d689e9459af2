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
use logwise_runtime::ownership::{other_owner, owner_on_record};
use logwise_runtime::{chain, words};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longest URL that is told, in characters.
const LONGEST: usize = 100;

/// The LogwiseCluster that owns the driver, if it is not this one: the one on record, else the older one. One that does
/// not manage its driver, or may not reach the masters, owns none.
pub(crate) async fn rival(cluster: &LogwiseCluster, context: &Context) -> Option<String> {
    let wanted = Wanted::of(cluster)?;
    let contends = |other: &LogwiseCluster| {
        Wanted::of(other).is_some_and(|other| other.meets(&wanted)) && may_reach(other, context)
    };
    let records = context.shell.intents.matching(|intent| wanted.may_be(&intent.resource)).await;
    let recorded = in_order(records, cluster, |owner| context.clusters.get(&reference(owner)));
    other_owner(&context.shell.intents, (cluster, &context.clusters), recorded, contends).await
}

/// The owners of these records, the one first that has the driver. Where the masters have several records, another
/// object that is on one of them may not name the masters of this object's record: it goes on, so this one does not. Of
/// those that know each other's the older one goes on. One that `find` does not know is taken for such that does not
/// know.
fn in_order(
    records: Vec<Intent>,
    cluster: &LogwiseCluster,
    find: impl Fn(&Owner) -> Option<Arc<LogwiseCluster>>,
) -> Vec<Owner> {
    let is_its = |intent: &Intent| is_of(cluster, &intent.wish.owner);
    let (its, others): (Vec<Intent>, Vec<Intent>) = records.into_iter().partition(is_its);
    let knows = |other: &LogwiseCluster| {
        Wanted::of(other).is_some_and(|other| its.iter().any(|intent| other.may_be(&intent.resource)))
    };
    let age = |object: &LogwiseCluster| object.creation_timestamp().map(|time| time.0);
    let mut owners: Vec<_> = others
        .into_iter()
        .map(|intent| match find(&intent.wish.owner) {
            Some(other) if knows(&other) => (true, age(&other), intent.wish.owner),
            _ => (false, None, intent.wish.owner),
        })
        .collect();
    owners.extend(its.first().map(|intent| (true, age(cluster), intent.wish.owner.clone())));
    owners.sort_by_key(|(is_known, age, owner)| (*is_known, *age, owner.namespace.clone(), owner.name.clone()));
    owners.into_iter().map(|(_, _, owner)| owner).collect()
}

fn reference(Owner { namespace, name, .. }: &Owner) -> ObjectRef<LogwiseCluster> {
    ObjectRef::new(name).within(namespace)
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
        let is_there =
            |theirs: &Wanted| other.uid().is_some_and(|uid| context.drivers.stands_at(&uid, &theirs.masters, &place));
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
        is_another && Wanted::of(other).is_some_and(manages) && may_reach(other, around.context)
    };
    around.context.clusters.find(theirs).is_some()
}

/// Whether the record's owner is this object: by its name, since one that was made anew goes on where the other was.
pub(super) fn is_of(cluster: &LogwiseCluster, owner: &Owner) -> bool {
    let meta = &cluster.metadata;
    meta.namespace.as_ref() == Some(&owner.namespace) && meta.name.as_ref() == Some(&owner.name)
}

/// Another LogwiseCluster that has written this record and does not manage its driver any more.
pub(super) struct PastOwner {
    /// Its `namespace/name`.
    pub name: String,
    /// Whether it manages a driver that is not the one on record; else none.
    pub manages_another: bool,
}

/// The one that has written this record, which is not this one, if it has another driver now, or none.
pub(super) async fn past_owner(around: Around<'_>, intent: &Intent) -> Result<Option<PastOwner>, String> {
    let Context { clusters, shell, .. } = around.context;
    let owner = &intent.wish.owner;
    let name = format!("{}/{}", owner.namespace, owner.name);
    let other = owner_on_record(&shell.intents, clusters, owner).await;
    let other = other.map_err(|error| format!("LogwiseCluster {name} had this class before: {}", chain(&error)))?;
    let Some(other) = other.filter(|other| other.metadata.deletion_timestamp.is_none()) else { return Ok(None) };
    let wanted = Wanted::of(&other);
    if wanted.as_ref().is_some_and(|wanted| wanted.may_be(&intent.resource)) {
        return Ok(None);
    }
    Ok(Some(PastOwner { name, manages_another: wanted.is_some() }))
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
    let owner = context.clusters.get(&reference(&intent.wish.owner));
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

    /// Whether the spec named the masters so when this was seen.
    pub(super) fn names(&self, masters: &BTreeSet<String>) -> bool {
        self.masters == *masters
    }

    /// Whether both are one. Masters of two clusters may call themselves alike; no worker is registered with both.
    pub(super) fn is_as(&self, other: &Self) -> bool {
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
        is_of(cluster, &intent.wish.owner) && self.may_be(&intent.resource)
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

    /// A LogwiseCluster at these masters, made on this day, and its record at one of them.
    fn at(name: &str, day: u8, masters: &[&str], record: &str) -> (Arc<LogwiseCluster>, Intent) {
        let masters: Vec<_> = masters.iter().map(|host| json!({"host": host})).collect();
        let driver = json!({"mode": "Managed", "mainClass": "a.Main", "appResource": "file:///a.jar"});
        let created = format!("2026-01-{day:02}T00:00:00Z");
        let object = json!({
            "apiVersion": "logwise.io/v1alpha1", "kind": "LogwiseCluster",
            "metadata": {"namespace": "n", "name": name, "uid": name, "creationTimestamp": created},
            "spec": {"spark": {"masters": masters, "driver": driver}},
        });
        let owner = json!({"namespace": "n", "name": name, "uid": name, "generation": 1});
        let intent = json!({
            "resource": targets::resource(&format!("{record}:7077"), "a.Main"),
            "wish": {"owner": owner, "targets": {}},
            "writer": {"epoch": 1, "shard": "", "identity": "p"},
            "state": "Done", "written": "2026-02-01T00:00:00Z",
        });
        (Arc::new(serde_json::from_value(object).unwrap()), serde_json::from_value(intent).unwrap())
    }

    /// Who is first by these records, as each of them sees it.
    fn firsts(all: &[(Arc<LogwiseCluster>, Intent)]) -> Vec<String> {
        let find = |owner: &Owner| all.iter().map(|(object, _)| object).find(|o| o.name_any() == owner.name).cloned();
        let first = |(object, _): &(Arc<LogwiseCluster>, Intent)| {
            let wanted = Wanted::of(object).unwrap();
            let records = all.iter().map(|(_, intent)| intent).filter(|intent| wanted.may_be(&intent.resource));
            in_order(records.cloned().collect(), object, find)[0].name.clone()
        };
        all.iter().map(first).collect()
    }

    #[test]
    fn who_names_masters_of_another_ones_record_too_comes_after_that() {
        let all = [at("a", 1, &["m1", "m2"], "m1"), at("b", 2, &["m2", "m3"], "m2")];
        assert_eq!(firsts(&all), ["b", "b"], "the younger one does not know of the record of the other");
    }

    /// Two masters were made one pair, and both specs name both.
    #[test]
    fn of_two_that_know_each_others_record_the_older_one_comes_first_for_both() {
        let both = ["m1", "m2"];
        assert_eq!(firsts(&[at("a", 1, &both, "m1"), at("b", 2, &both, "m2")]), ["a", "a"]);
        assert_eq!(firsts(&[at("a", 2, &both, "m1"), at("b", 1, &both, "m2")]), ["b", "b"]);
        assert_eq!(firsts(&[at("a", 1, &both, "m1"), at("b", 1, &both, "m2")]), ["a", "a"]);
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
