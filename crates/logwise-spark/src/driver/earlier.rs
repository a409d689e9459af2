//! What the pipeline had before its spec named another class or other masters: that may still run, on the same
//! checkpoint.

use super::memory::ENDED;
use super::targets::{self, Past};
use super::{Around, owner};
use crate::master::Page;
use logwise_api::validate::MasterAddress;
use logwise_plan::driver::{Elsewhere, Open};
use logwise_runtime::Intents;
use logwise_runtime::intent::{Intent, State};
use std::collections::BTreeSet;

/// What the object's records under other names tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Earlier {
    /// Those whose driver no later one has followed.
    formers: Vec<Former>,
    /// Those whose class another LogwiseCluster manages now.
    taken: Vec<Former>,
    /// Ids of all of them.
    pub all: BTreeSet<String>,
}

/// The driver of an earlier spec.
#[derive(Clone, Debug)]
struct Former {
    resource: String,
    /// Id of its record.
    record: Option<String>,
    /// Name of its masters.
    masters: String,
    class: String,
    /// Whether the spec still names one of its masters.
    is_named: bool,
    /// Whether a call about it may still have an effect.
    is_open: bool,
    /// Ids of its drivers, the newest one last.
    ids: Vec<String>,
    past: Past,
}

/// Why nothing may be written in place of the record under the present name: another LogwiseCluster, which does not
/// manage the driver on it any more, would begin its next one beside that, on the same checkpoint, if it no longer knew
/// of it.
pub(super) async fn claimed(around: Around<'_>, last: Option<&Intent>, page: Option<&Page>) -> Result<(), String> {
    let Some(last) = last.filter(|last| !owner::is_of(around.cluster, &last.wish.owner)) else { return Ok(()) };
    let Some(former) = Former::of(last, &BTreeSet::new()) else { return Ok(()) };
    if page.is_some_and(|page| !former.may_run(page)) {
        return Ok(());
    }
    let lives = page.is_some_and(|page| former.ids.last().is_some_and(|id| is_active(page, id)));
    let Some(owner::PastOwner { name, manages_another }) = owner::past_owner(around, last).await? else {
        return Ok(());
    };
    if !lives && (!manages_another || is_outlived(around, last).await) {
        return Ok(());
    }
    let driver = former.ids.last().map_or_else(|| "a driver that it submitted".to_owned(), |id| format!("driver {id}"));
    let fact = format!("LogwiseCluster {name} had this class before, and {driver} of it");
    Err(if lives {
        format!("{fact} runs: end that driver, or delete {name}")
    } else {
        format!(
            "{fact} may still run: answer what {name} asks in its `SparkReady`, or, if it asks nothing, delete {name} \
             or set its `driver.mode` to Disabled"
        )
    })
}

/// Whether its owner knows that what this record is about has gone.
async fn is_outlived(around: Around<'_>, record: &Intent) -> bool {
    let Some(id) = record.id() else { return false };
    let name = |intent: &Intent| (intent.wish.owner.namespace.clone(), intent.wish.owner.name.clone());
    let knows = |intent: &Intent| name(intent) == name(record) && Past::after(Some(intent)).outlived.contains(&id);
    !around.context.shell.intents.matching(knows).await.is_empty()
}

impl Earlier {
    /// Reads the records. `resource` is the name under which the present spec has its own.
    pub async fn of(around: Around<'_>, resource: &str) -> Self {
        let intents = &around.context.shell.intents;
        let is_other = |intent: &Intent| {
            let is_its = owner::is_of(around.cluster, &intent.wish.owner);
            is_its && intent.resource != resource && targets::about(&intent.resource).is_some()
        };
        let others = intents.matching(is_other).await;
        let all: BTreeSet<String> = others.iter().filter_map(Intent::id).collect();
        let last = intents.last(resource).ok().flatten();
        // What one of them has outlived is gone for the next ones, too. An id names one wish: a new one lives.
        let outlived: BTreeSet<String> =
            others.iter().chain(&last).flat_map(|intent| Past::after(Some(intent)).outlived).collect();
        let lives = |intent: &&Intent| intent.id().is_none_or(|id| !outlived.contains(&id));
        let named: BTreeSet<String> = around.masters.iter().map(MasterAddress::spark).collect();
        let formers = others.iter().filter(lives).filter_map(|intent| Former::of(intent, &named));
        // Whoever manages it now has it.
        let is_taken = |former: &Former| owner::is_of_another(around, &former.class, &former.masters());
        let (taken, formers) = formers.partition(is_taken);
        Self { formers, taken, all }
    }

    /// Those whose driver would stand on this page.
    fn here(&self, page: &Page) -> impl Iterator<Item = &Former> {
        self.formers.iter().filter(move |former| former.is_here(page))
    }

    /// Whether the record of this name is about a class that another LogwiseCluster manages now.
    pub fn is_taken(&self, resource: &str) -> bool {
        self.taken.iter().any(|former| former.resource == resource)
    }

    /// Their classes.
    pub fn classes(&self, page: &Page) -> BTreeSet<&str> {
        self.here(page).map(|former| former.class.as_str()).collect()
    }

    /// Records of calls that may still have an effect there, each with its class. Also where another one manages that
    /// now: it may not look.
    pub fn open(&self, page: Option<&Page>) -> Vec<(&str, &str)> {
        let all = || self.formers.iter().chain(&self.taken).filter(|former| former.is_open);
        let here = page.into_iter().flat_map(|page| all().filter(|former| former.is_here(page)));
        here.map(|former| (former.resource.as_str(), former.class.as_str())).collect()
    }

    /// The call among these whose effect has not been seen yet, as the records are now.
    pub fn unseen(&self, page: Option<&Page>, intents: &Intents) -> Open {
        let open = |(resource, _): (&str, &str)| targets::open(intents.last(resource).ok().flatten().as_ref());
        self.open(page).into_iter().map(open).find(|open| !open.is_none()).unwrap_or_default()
    }

    /// What was done before, as far as it goes on under the present name.
    pub fn past(&self, page: Option<&Page>) -> Past {
        let newest = page.and_then(|page| self.here(page).max_by_key(|former| former.ids.last()));
        newest.map_or_else(Past::default, |former| {
            let Past { recorded, restarts, .. } = former.past.clone();
            Past { recorded, restarts, ..Past::default() }
        })
    }

    /// What may run and does not show: at masters that the spec does not name any more, and that are not the one of this
    /// page; or, where another LogwiseCluster manages the class, on this page under an id that nobody can tell from its.
    pub fn elsewhere(&self, page: &Page) -> Vec<Elsewhere> {
        let others = self.hidden(page);
        let tell = |former: &Former| Elsewhere { master: former.masters.clone(), id: former.ids.last().cloned() };
        others.map(tell).collect()
    }

    fn hidden(&self, page: &Page) -> impl Iterator<Item = &Former> {
        let of_others = self.taken.iter().filter(|former| former.is_elsewhere(page) || former.has_vanished(page));
        self.formers.iter().filter(|former| former.is_elsewhere(page)).chain(of_others)
    }

    /// Drivers of ours that this page lists as active, though another LogwiseCluster manages their class now.
    pub fn taken(&self, page: &Page) -> BTreeSet<String> {
        self.taken.iter().flat_map(|former| &former.ids).filter(|id| is_active(page, id)).cloned().collect()
    }

    /// Ids of the records that a driver of the present class follows: those about this very driver; once it runs, those
    /// of this master, which lists no other one of ours; and those that do not show where a person has said that none
    /// runs.
    pub fn followed(
        &self,
        page: &Page,
        (id, class): (&String, &str),
        (runs, is_agreed): (bool, bool),
    ) -> BTreeSet<String> {
        let is_followed = |former: &&Former| {
            let is_this = former.class == class && former.ids.contains(id);
            is_this || runs && former.is_here(page)
        };
        let agreed = self.hidden(page).filter(|_| is_agreed);
        self.formers.iter().filter(is_followed).chain(agreed).filter_map(|former| former.record.clone()).collect()
    }
}

impl Former {
    /// `named` are the masters that the spec names.
    fn of(intent: &Intent, named: &BTreeSet<String>) -> Option<Self> {
        let (masters, class) = targets::about(&intent.resource)?;
        let past = Past::after(Some(intent));
        let is_named = named.contains(masters) || !past.masters.is_disjoint(named);
        let ids: BTreeSet<String> = targets::ids(intent).iter().chain(&past.recorded).cloned().collect();
        Some(Self {
            resource: intent.resource.clone(),
            record: intent.id(),
            masters: masters.to_owned(),
            class: class.to_owned(),
            is_named,
            is_open: intent.state == State::Sent,
            // Ids of one master grow with time.
            ids: ids.into_iter().collect(),
            past,
        })
    }

    /// Whether the master of this page is its own: the spec names it so, or the page knows its driver.
    fn is_here(&self, page: &Page) -> bool {
        let mut rows = page.all_drivers.iter().chain(&page.completed);
        self.is_named || rows.any(|row| self.ids.contains(&row.id))
    }

    /// Whether it may run where nobody asks any more.
    fn is_elsewhere(&self, page: &Page) -> bool {
        !self.is_here(page) && (self.is_open || !self.ids.is_empty())
    }

    /// Whether the page neither lists its newest driver as active nor says how it ended. Spark starts a driver whose
    /// worker was lost again under another id, and a master that was started anew may have forgotten it.
    fn has_vanished(&self, page: &Page) -> bool {
        self.may_run(page) && !self.ids.last().is_some_and(|id| is_active(page, id))
    }

    /// Whether the page does not say that its newest driver has ended.
    fn may_run(&self, page: &Page) -> bool {
        let Some(id) = self.ids.last() else { return self.is_open };
        let has_ended = page.completed.iter().any(|row| row.id == *id && ENDED.contains(&row.state.as_str()));
        is_active(page, id) || !has_ended
    }

    /// Every name of its masters.
    fn masters(&self) -> BTreeSet<String> {
        self.past.masters.iter().chain([&self.masters]).cloned().collect()
    }
}

/// Whether the page lists the driver as active.
fn is_active(page: &Page, id: &str) -> bool {
    page.cluster.drivers.iter().any(|driver| driver.id == *id)
}
