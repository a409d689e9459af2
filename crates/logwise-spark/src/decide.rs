//! From what was read to a plan about the workers; what is about to be ended is looked at more closely first.

use crate::context::Context;
use crate::master::{NoActiveMaster, Page};
use crate::memory::Remembered;
use crate::pool::{Found, Place};
use crate::signals::Signals;
use crate::{hook, judge, ranking};
use jiff::Timestamp;
use logwise_api::LogwiseCluster;
use logwise_api::validate::{self, MasterAddress};
use logwise_aws::group::Depth;
use logwise_plan::Known;
use logwise_plan::workers::{self, Cluster, Observed, OpenIntent, Past, Plan, Policy, Waiting};
use logwise_runtime::intent::Intent;
use std::sync::Arc;
use std::time::Instant;

/// What a decision about the workers starts from.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub cluster: &'a LogwiseCluster,
    pub context: &'a Context,
    pub policy: &'a Policy,
    pub place: &'a Place,
    pub masters: &'a [MasterAddress],
    pub page: &'a Result<Arc<Page>, NoActiveMaster>,
    pub signals: &'a Signals,
}

impl Ground<'_> {
    fn uid(&self) -> &str {
        self.cluster.metadata.uid.as_deref().unwrap_or_default()
    }
}

/// What was decided about the workers, and by what.
pub(crate) struct Decision {
    pub facts: Observed,
    pub plan: Plan,
    /// The master's page that it was decided by.
    pub page: Option<Arc<Page>>,
}

/// Plans at `now`. `found` becomes what the last look at the pool shows.
pub(crate) async fn decide(ground: Ground<'_>, found: &mut Found, now: Timestamp) -> Decision {
    let page = ground.page.clone();
    let cluster = page.as_ref().map(|page| ranking::cluster_of(ground.cluster, page));
    let observed = facts(ground, found, cluster.map_err(NoActiveMaster::to_string).into(), now);
    let plan = workers::plan(ground.policy, &observed, now);
    let is_held_back = observed.pool.known().is_some_and(|pool| pool.hook.is_some());
    // Whether instances are being replaced, so that more are in service for a while, only a full look tells.
    let is_above = observed.pool.known().is_some_and(|pool| pool.in_service() > pool.desired);
    let is_doubted = plan.raise.is_some() && is_above;
    if !is_doubted && (page.is_err() || plan.removal.is_none() && !is_held_back) {
        return Decision { facts: observed, plan, page: page.ok() };
    }
    let victim = plan.removal.as_ref().map(|removal| removal.id.as_str());
    let (page, ()) = futures::join!(newer(ground, victim.is_some()), closer(ground, found));
    let cluster = match (page.as_deref(), found.pool.known()) {
        (Ok(page), Some(pool)) => {
            Known::Known(ranking::busy(ground.cluster, &ground.context.masters, (page, pool), victim).await)
        }
        (Ok(page), None) => Known::Known(ranking::cluster_of(ground.cluster, page)),
        (Err(error), _) => Known::Unknown(error.to_string()),
    };
    let observed = facts(ground, found, cluster, now);
    let plan = workers::plan(ground.policy, &observed, now);
    ground.context.memory.with(ground.uid(), |of| of.scaling.look_closely());
    Decision { facts: observed, plan, page: page.ok() }
}

/// The page of this moment, where a worker is about to be cordoned by it: one that objects share may be half a period
/// old, and a cordon is not taken back from the worker that a driver has come to since.
async fn newer(ground: Ground<'_>, is_removal: bool) -> Result<Arc<Page>, NoActiveMaster> {
    if is_removal && validate::may_change(ground.cluster) {
        ground.context.masters.page(ground.masters, Instant::now()).await
    } else {
        ground.page.clone()
    }
}

/// Asks everything about the pool, unless that was done just now.
async fn closer(ground: Ground<'_>, found: &mut Found) {
    if found.depth == Depth::Full {
        return;
    }
    let again = ground.place.read(Depth::Full).await;
    let is_same = again.resource == found.resource;
    *found = again;
    if !is_same && found.error.is_none() {
        found.pool = Known::Unknown("another one has its name now".to_owned());
    }
}

/// All that decides about the workers. What the pool shows is remembered.
fn facts(ground: Ground<'_>, found: &mut Found, cluster: Known<Cluster>, now: Timestamp) -> Observed {
    let (uid, intents) = (ground.uid(), &ground.context.shell.intents);
    let last = found.resource.as_ref().map(|resource| intents.last(resource));
    let (last, is_unreadable) = match last {
        None => (None, false),
        Some(Ok(last)) => (last, false),
        Some(Err(_)) => (None, true),
    };
    let last = last.as_ref();
    let has_let_go = |waiting: &Waiting| ground.context.memory.with(uid, |of| of.scaling.has_let_go(waiting));
    if let Some(hook) = hook::waiting(ground.cluster, found, &judge::ended(last, now), has_let_go)
        && let Known::Known(pool) = &mut found.pool
    {
        pool.hook = Some(hook);
    }
    let at = (ground.policy.look_period_seconds, now);
    let (history, open) = ground.context.memory.with(uid, |of| remember(of, found, (&cluster, last, uid), at));
    let (launched_last_hour, removed_last_hour) = judge::spent(last, now);
    Observed {
        pool: found.pool.clone(),
        cluster,
        load: ground.signals.load.clone(),
        risk: ground.signals.risk.clone(),
        history: Past { launched_last_hour, removed_last_hour, ..history },
        intent: if is_unreadable { OpenIntent::Other } else { open },
    }
}

fn remember(
    of: &mut Remembered,
    found: &mut Found,
    (cluster, last, uid): (&Known<Cluster>, Option<&Intent>, &str),
    (period_seconds, now): (u32, Timestamp),
) -> (Past, OpenIntent) {
    let scaling = &mut of.scaling;
    scaling.is_about(found.resource.as_deref());
    if let Known::Known(pool) = &mut found.pool {
        scaling.saw(pool, (found.depth, &found.failed_launch), now);
        let capacity = judge::capacity(pool, cluster.known());
        judge::begin(scaling, (pool.desired, capacity), last, now);
        scaling.bridge(capacity, (period_seconds, now));
    }
    // What only a full look asks for stands until the next one.
    if found.depth == Depth::Full || found.denied.is_some() {
        scaling.denied.clone_from(&found.denied);
    }
    (scaling.past(now), judge::open(last, uid, scaling.going.as_ref()))
}
