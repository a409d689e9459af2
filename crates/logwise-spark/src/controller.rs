//! Validate, observe, plan, apply, report.

use crate::apply::{self, Around};
use crate::context::Context;
use crate::decide::{Decision, Ground, decide};
use crate::master::{NoActiveMaster, Page};
use crate::pool::{Found, Place};
use crate::signals::Signals;
use crate::told::{Failed, Told};
use crate::{driver, judge, owner, ranking, report, signals};
use futures::Stream;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use logwise_api::LogwiseCluster;
use logwise_api::validate::{self, Invalid, MasterAddress};
use logwise_aws::{Clients, Pipeline, Whom};
use logwise_plan::workers::{self, Plan};
use logwise_runtime::facts::{Cores, Driver, Fact};
use logwise_runtime::intent::Intent;
use logwise_runtime::{ErrorClass, Part, Refused, Report, secrets, streams};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looks at every LogwiseCluster until `shutdown`.
pub async fn run(
    clusters: impl Stream<Item = Arc<LogwiseCluster>> + Send + 'static,
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    // Bounded by the shell, where namespaces take turns.
    let controller = Controller::for_shared_stream(streams::spec_changes(clusters), context.clusters.clone());
    streams::drive(controller, shutdown, context, reconcile).await;
}

async fn reconcile(cluster: Arc<LogwiseCluster>, context: Arc<Context>) -> Action {
    let look = async { secrets::sooner(&validate::secrets(&cluster), look(&cluster, &context).await) };
    let action = context.shell.reconcile(Part::Spark, cluster.as_ref(), look).await;
    context.forget_gone(&cluster);
    action
}

/// What the spec says, valid.
struct Valid {
    masters: Vec<MasterAddress>,
    /// None: nothing that runs workers is named, or AWS cannot be called for it.
    workers: Option<(workers::Policy, Place)>,
    driver: Option<logwise_plan::driver::Policy>,
}

/// What was read of the outside.
struct Observed {
    page: Result<Arc<Page>, NoActiveMaster>,
    found: Option<Found>,
    signals: Signals,
    /// When it was begun.
    looked: Instant,
}

async fn look(cluster: &LogwiseCluster, context: &Context) -> Report {
    if cluster.spec.spark.is_none() {
        context.forget(&cluster.uid().unwrap_or_default());
        return Report::default();
    }
    let (clients, accounts) = match reach(cluster, context).await {
        Ok(reached) => reached,
        Err(refused) => return report::refused(cluster, refused),
    };
    if let Some(conflict) = owner::by_spec(cluster, context).await {
        return report::conflicted(cluster, &conflict);
    }
    let valid = match validated(cluster, context, clients.as_ref()) {
        Ok(valid) => valid,
        Err(invalid) => return report::invalid(cluster, &invalid),
    };
    work(cluster, context, &valid, &accounts).await
}

/// Observe, plan, apply, report. `accounts` are those that the group may be of; none: any.
async fn work(cluster: &LogwiseCluster, context: &Context, valid: &Valid, accounts: &[String]) -> Report {
    let mut observed = observe(cluster, context, valid).await;
    tell(cluster, context, &observed);
    let arn = observed.found.as_ref().and_then(Found::arn);
    if let Some(refused) = owner::foreign(cluster, arn, accounts) {
        return report::refused(cluster, refused);
    }
    if let Some(conflict) = owner::by_record(cluster, arn, context).await {
        return report::conflicted(cluster, &conflict);
    }
    if let Some(conflict) = owner::by_page(cluster, observed.page.as_deref().ok(), context).await {
        return report::conflicted(cluster, &conflict);
    }
    let found = observed.found.take();
    let backlog = observed.signals.backlog;
    let around = driver::Around { cluster, context, masters: &valid.masters, page: &observed.page, backlog };
    let of_driver: Option<(_, driver::Found)> = match &valid.driver {
        Some(policy) => Some((policy, driver::observe(policy, around).await)),
        None => None,
    };
    // Both plans are about the same moment.
    let now = Timestamp::now();
    let decided = match (&valid.workers, found) {
        (Some(workers), Some(found)) => {
            Some(decided((cluster, context), (&valid.masters, workers), (found, &observed), now).await)
        }
        _ => None,
    };
    let planned = of_driver.as_ref().map(|(policy, found)| logwise_plan::driver::plan(policy, &found.facts, now));
    let told = match &decided {
        Some(decided) => carry_out((cluster, context), valid, decided).await,
        None => Vec::new(),
    };
    let done: Vec<driver::Told> = match (&of_driver, &planned) {
        (Some((policy, found)), Some(plan)) if validate::may_change(cluster) => {
            driver::carry_out(around, policy, found, plan).await
        }
        _ => Vec::new(),
    };
    let driver = of_driver.as_ref().zip(planned.as_ref()).map(|((policy, found), plan)| driver::Look {
        around,
        policy,
        found,
        plan,
        told: &done,
        now,
    });
    if !told.is_empty() || !done.is_empty() {
        context.memory.with(&cluster.uid().unwrap_or_default(), |of| of.acted = Some(Instant::now()));
    }
    conclude((cluster, context), (valid, &observed), (decided.as_ref(), &told), driver)
}

/// What was decided about the workers.
struct Decided {
    found: Found,
    facts: workers::Observed,
    plan: Plan,
    /// The master's page that it was decided by.
    page: Option<Arc<Page>>,
    /// The name under which changes are written down, or why nothing may be sent.
    cleared: Result<String, String>,
    /// A change of an earlier look that has come to light.
    late: Option<Told>,
    now: Timestamp,
}

/// Judges what is open, and plans.
async fn decided(
    (cluster, context): (&LogwiseCluster, &Context),
    (masters, (policy, place)): (&[MasterAddress], &(workers::Policy, Place)),
    (mut found, observed): (Found, &Observed),
    now: Timestamp,
) -> Decided {
    let (uid, intents) = (cluster.uid().unwrap_or_default(), &context.shell.intents);
    let (cleared, late) = judge::clear_the_way(intents, (&found, observed.looked), &uid).await;
    // What has come to light is a change of the past, unless all of that is about to be read from the record.
    if let Some(sizes) = late.as_ref().and_then(Told::resized) {
        context.memory.with(&uid, |of| of.scaling.changed(sizes, now));
    }
    let (page, signals) = (&observed.page, &observed.signals);
    let ground = Ground { cluster, context, policy, place, masters, page, signals };
    let Decision { facts, plan, page } = decide(ground, &mut found, now).await;
    Decided { found, facts, plan, page, cleared, late, now }
}

/// Carries the plan out, if anything may be changed, and remembers what came of it.
async fn carry_out((cluster, context): (&LogwiseCluster, &Context), valid: &Valid, decided: &Decided) -> Vec<Told> {
    let Some((policy, place)) = &valid.workers else { return Vec::new() };
    let Decided { found, plan, page, cleared, late, now, .. } = decided;
    let done = match cleared {
        _ if !validate::may_change(cluster) || plan.is_idle() && !apply::is_withdrawn(plan) => Vec::new(),
        Err(why) => apply::not_sent(plan, ErrorClass::Conflict, why),
        Ok(resource) => {
            let (masters, page) = (&valid.masters, page.as_deref());
            let around = Around { cluster, context, policy, place, found, resource, masters, page };
            apply::carry_out(around, plan).await
        }
    };
    context.memory.with(&cluster.uid().unwrap_or_default(), |of| {
        if let Some(size) = &plan.size {
            of.scaling.recommended(size.recommended, *now);
        }
        done.iter().filter_map(Told::resized).for_each(|sizes| of.scaling.changed(sizes, *now));
    });
    late.iter().cloned().chain(done).collect()
}

/// Metrics, and the report.
fn conclude(
    (cluster, context): (&LogwiseCluster, &Context),
    (valid, observed): (&Valid, &Observed),
    (decided, told): (Option<&Decided>, &[Told]),
    driver: Option<driver::Look<'_>>,
) -> Report {
    let (denied, begins): (Option<Failed>, bool) = context.memory.with(&cluster.uid().unwrap_or_default(), |of| {
        (of.scaling.denied.clone(), of.begins(cluster.metadata.generation, Instant::now()))
    });
    let resource = decided.and_then(|decided| decided.found.resource.as_ref());
    let last: Option<Intent> = resource.and_then(|resource| context.shell.intents.last(resource).ok().flatten());
    let workers = valid.workers.as_ref().zip(decided).map(|((policy, place), decided)| report::Workers {
        policy,
        place,
        found: &decided.found,
        facts: &decided.facts,
        plan: &decided.plan,
        told,
        now: decided.now,
        denied: denied.as_ref(),
        last: last.as_ref(),
    });
    let look = report::Look { cluster, page: &observed.page, begins, signals: &observed.signals, workers, driver };
    look.measure(&context.shell.metrics);
    look.report(context.period_seconds)
}

fn validated(cluster: &LogwiseCluster, context: &Context, clients: Option<&Clients>) -> Result<Valid, Invalid> {
    let period = context.period_seconds;
    let policy = validate::workers(cluster, period).transpose()?;
    let place = |policy: &workers::Policy| Place::of(cluster, context, &policy.pool, clients);
    Ok(Valid {
        masters: validate::spark_masters(cluster).transpose()?.unwrap_or_default(),
        workers: policy.and_then(|policy| place(&policy).map(|place| (policy, place))),
        driver: validate::driver(cluster, period).transpose()?.map(driver::sooner),
    })
}

async fn observe(cluster: &LogwiseCluster, context: &Context, valid: &Valid) -> Observed {
    let looked = Instant::now();
    let (depth, acted) = context.memory.with(&cluster.uid().unwrap_or_default(), |of| (of.scaling.depth(), of.acted));
    // One fetch serves all objects of a master that look at about the same time; what this one has done shows in it.
    let half = Duration::from_secs(context.period_seconds.into()) / 2;
    let recent = looked.checked_sub(half).unwrap_or(looked);
    let not_before = acted.map_or(recent, |acted| acted.max(recent));
    let found = async {
        match &valid.workers {
            Some((_, place)) => Some(place.read(depth).await),
            None => None,
        }
    };
    let (page, found) = futures::join!(context.masters.page(&valid.masters, not_before), found);
    let app_cores = page.as_ref().ok().and_then(|page| ranking::cluster_of(cluster, page).app_cores);
    let signals = signals::gather(cluster, context, app_cores, (Instant::now(), Timestamp::now()));
    Observed { page, found, signals, looked }
}

/// Tells the other parts what the masters' cores and drivers are.
fn tell(cluster: &LogwiseCluster, context: &Context, observed: &Observed) {
    let page = observed.page.as_ref().map_err(NoActiveMaster::to_string);
    let (shell, of) = (&context.shell, cluster.uid().unwrap_or_default());
    // A page that serves several objects may be older than this look.
    let taken = observed.page.as_ref().map_or(observed.looked, |page| page.began);
    let period = Duration::from_secs(context.period_seconds.into());
    let cores = page.clone().map(|page| {
        let (total, used) = page.cores();
        Cores { total, used }
    });
    shell.tell(&shell.facts.cores, &of, Fact { value: cores.into(), taken, period });
    let drivers = page.map(|page| drivers(page));
    shell.tell(&shell.facts.drivers, &of, Fact { value: drivers.into(), taken, period });
}

/// Drivers that have not ended.
fn drivers(page: &Page) -> Vec<Driver> {
    let lives = |id: &str| page.cluster.drivers.iter().any(|driver| driver.id == id);
    let rows = page.all_drivers.iter().filter(|row| lives(&row.id));
    let driver = rows.map(|row| Driver {
        id: row.id.clone(),
        main_class: row.main_class.clone(),
        state: row.state.clone(),
        worker: row.worker.as_ref().and_then(|worker| page.host_of(worker)).map(str::to_owned),
    });
    driver.collect()
}

/// Whether the operator may call what this object refers to, and as whom: nothing is called before. No clients: no
/// group is named. With the accounts that the group may be of; none: any.
async fn reach(cluster: &LogwiseCluster, context: &Context) -> Result<(Option<Clients>, Vec<String>), Refused> {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let shell = &context.shell;
    let allowed = shell.access.decide(&namespace, &validate::references(cluster))?;
    let Some(aws) = cluster.spec.aws.as_ref().filter(|_| group_name(cluster).is_some()) else {
        return Ok((None, Vec::new()));
    };
    let whom = Whom {
        pipeline: Pipeline { installation: &context.installation, namespace: &namespace, name: &name },
        region: &aws.region,
        role_arn: aws.role_arn.as_deref(),
        secret: aws.credentials_secret_ref.as_ref().map(|secret| secret.name.as_str()),
        endpoints: &allowed.endpoints,
    };
    let clients = logwise_aws::clients(&context.aws, &shell.secrets, whom).await?;
    Ok((Some(clients), allowed.group_accounts))
}

/// The Auto Scaling Group that the spec names.
pub(crate) fn group_name(cluster: &LogwiseCluster) -> Option<&str> {
    let workers = cluster.spec.spark.as_ref()?.workers.as_ref()?;
    workers.auto_scaling_group.as_ref().map(|group| group.name.as_str())
}

#[cfg(test)]
mod tests;
