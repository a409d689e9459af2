//! From what was read to a plan about the workers; what is about to be ended is looked at more closely first.

use crate::context::Context;
use crate::master::{NoActiveMaster, Page};
use crate::memory::Remembered;
use crate::pool::{Found, Place};
use crate::signals::Signals;
use crate::{hook, judge, ranking};
use jiff::Timestamp;
use logwise_api::LogwiseCluster;
use logwise_aws::group::Depth;
use logwise_plan::Known;
use logwise_plan::workers::{self, Cluster, Observed, OpenIntent, Past, Plan, Policy};
use logwise_runtime::intent::Intent;
use std::sync::Arc;

/// What a decision about the workers starts from.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub cluster: &'a LogwiseCluster,
    pub context: &'a Context,
    pub policy: &'a Policy,
    pub place: &'a Place,
    pub page: &'a Result<Arc<Page>, NoActiveMaster>,
    pub signals: &'a Signals,
}

impl Ground<'_> {
    fn uid(&self) -> &str {
        self.cluster.metadata.uid.as_deref().unwrap_or_default()
    }
}

/// Plans at `now`. `found` becomes what the last look at the pool shows.
pub(crate) async fn decide(ground: Ground<'_>, found: &mut Found, now: Timestamp) -> (Observed, Plan) {
    let page = ground.page.as_ref().map_err(NoActiveMaster::to_string);
    let cluster = page.map(|page| ranking::cluster_of(ground.cluster, page)).into();
    let observed = facts(ground, found, cluster, now);
    let plan = workers::plan(ground.policy, &observed, now);
    let is_held_back = observed.pool.known().is_some_and(|pool| pool.hook.is_some());
    // Whether instances are being replaced, so that more are in service for a while, only a full look tells.
    let is_above = observed.pool.known().is_some_and(|pool| pool.in_service() > pool.desired);
    let is_doubted = plan.raise.is_some() && is_above;
    if plan.removal.is_none() && !is_held_back && !is_doubted {
        return (observed, plan);
    }
    let page = ground.page.as_deref().ok();
    if page.is_none() && !is_doubted {
        return (observed, plan);
    }
    closer(ground, found).await;
    let cluster = match (page, found.pool.known()) {
        (Some(page), Some(pool)) => {
            let victim = plan.removal.as_ref().map(|removal| removal.id.as_str());
            Known::Known(ranking::busy(ground.cluster, &ground.context.masters, (page, pool), victim).await)
        }
        _ => observed.cluster,
    };
    let observed = facts(ground, found, cluster, now);
    ground.context.memory.with(ground.uid(), |of| of.scaling.look_closely());
    let plan = workers::plan(ground.policy, &observed, now);
    (observed, plan)
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
    if let Some(hook) = hook::waiting(ground.cluster, found, &judge::ended(last, now))
        && let Known::Known(pool) = &mut found.pool
    {
        pool.hook = Some(hook);
    }
    let (history, open) = ground.context.memory.with(uid, |of| remember(of, found, (&cluster, last, uid), now));
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
    now: Timestamp,
) -> (Past, OpenIntent) {
    let scaling = &mut of.scaling;
    scaling.is_about(found.resource.as_deref());
    if let Known::Known(pool) = &mut found.pool {
        scaling.saw(pool, found.depth, now);
        judge::begin(scaling, judge::capacity(pool, cluster.known()), last, now);
    }
    // What only a full look asks for stands until the next one.
    if found.depth == Depth::Full || found.denied.is_some() {
        scaling.denied.clone_from(&found.denied);
    }
    (scaling.past(now), judge::open(last, uid, scaling.going.as_ref()))
}
