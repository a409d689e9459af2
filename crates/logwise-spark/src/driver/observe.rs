//! What one look finds out about the driver. An earlier call that was left open is judged here, before anything is
//! planned.

use super::Around;
use super::earlier::{self, Earlier};
use super::memory::{Counted, Shown, active};
use super::targets::{self, Past};
use crate::master::{DriverRow, NoActiveMaster, Page, SparkError};
use jiff::Timestamp;
use kube::ResourceExt;
use logwise_api::validate;
use logwise_plan::Known;
use logwise_plan::driver::{Active, Attempt, Elsewhere, Ended, Mode, Observed, Open, Policy, Restarted, Stand};
use logwise_plan::workers::RECORDS_PER_SECOND_PER_CORE;
use logwise_runtime::Refused;
use logwise_runtime::intent::Intent;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Field that names the Secret with environment variables.
const SECRET: &str = "spec.spark.driver.environmentSecretRef.name";

/// Id that no driver has: asked for to see whether somebody answers.
const NOBODY: &str = "driver-none";

/// States of drivers of which a worker may have more to say.
const FAILED: [&str; 2] = ["ERROR", "FAILED"];

/// What one look at the driver found.
pub(crate) struct Found {
    /// The facts the plan decides on.
    pub facts: Observed,
    /// What the active master says.
    pub(super) page: Result<Arc<Page>, NoActiveMaster>,
    /// Name under which the next intent may be written, or why nothing may be sent.
    pub(super) cleared: Result<String, String>,
    /// Why nothing may be written in place of what stands under that name: another LogwiseCluster may need it.
    pub(super) claimed: Option<String>,
    /// What was done before.
    pub(super) past: Past,
    /// What the pipeline had under an earlier spec.
    pub(super) earlier: Earlier,
    /// Ids that submissions on record have become of late.
    pub(super) submitted: BTreeSet<String>,
    /// Why no driver can be submitted, if one may have to be.
    pub(super) obstacle: Option<Obstacle>,
    /// Drivers that an unanswered submission was found to have become.
    pub(super) turned_up: Vec<String>,
}

/// Why no driver can be submitted.
#[derive(Clone, Debug)]
pub(super) enum Obstacle {
    /// The REST server of the active master gives no usable answer.
    Rest(SparkError),
    /// The Secret with its environment variables cannot be used.
    Secret(Refused),
}

/// Drivers of a page, ours apart.
struct Rows<'a> {
    class: &'a str,
    active: Vec<&'a DriverRow>,
    ours: Vec<&'a DriverRow>,
    done: Vec<&'a DriverRow>,
}

impl<'a> Rows<'a> {
    /// Ours are those of this class, and those that the pipeline had before.
    fn of(page: &'a Page, class: &'a str, earlier: &Earlier) -> Self {
        let lives: BTreeSet<&str> = page.cluster.drivers.iter().map(|driver| driver.id.as_str()).collect();
        let before = earlier.classes(page);
        let is_ours = |row: &&DriverRow| {
            let of = row.main_class.as_str();
            !of.is_empty() && (of == class || before.contains(of))
        };
        let (active, over): (Vec<_>, Vec<_>) = page.all_drivers.iter().partition(|row| lives.contains(row.id.as_str()));
        let ours = active.iter().copied().filter(is_ours).collect();
        let done = page.completed.iter().chain(over).filter(is_ours).collect();
        Self { class, active, ours, done }
    }

    /// Ids of ours whose class is one that the pipeline had before.
    fn earlier(&self) -> BTreeSet<String> {
        self.ours.iter().filter(|row| row.main_class != self.class).map(|row| row.id.clone()).collect()
    }

    /// Every active driver, whatever its class.
    fn facts(&self) -> Vec<Active> {
        let ours: BTreeSet<&str> = self.ours.iter().map(|row| row.id.as_str()).collect();
        self.active.iter().map(|row| active(row, ours.contains(row.id.as_str()))).collect()
    }

    /// Those of ours that are history; of one it is known what its worker says.
    fn history(&self, said: Option<&(String, String)>) -> Vec<Ended> {
        let text = |row: &DriverRow| said.filter(|(id, _)| *id == row.id).map(|(_, text)| text.clone());
        let ended = |row: &&DriverRow| Ended { id: row.id.clone(), state: row.state.clone(), text: text(row) };
        self.done.iter().map(ended).collect()
    }
}

/// The policy, with the time for which a driver has to be missing that `LOGWISE_DRIVER_ABSENT_SECONDS` names, in builds
/// with debug assertions: tests do not wait for a minute and a half.
pub(crate) fn sooner(policy: Policy) -> Policy {
    static CHOSEN: OnceLock<Option<u32>> = OnceLock::new();
    let named = || std::env::var("LOGWISE_DRIVER_ABSENT_SECONDS").ok()?.parse().ok();
    let chosen = CHOSEN.get_or_init(|| named().filter(|_| cfg!(debug_assertions)));
    Policy { absent_seconds: chosen.unwrap_or(policy.absent_seconds), ..policy }
}

/// Looks at the driver.
pub(crate) async fn observe(policy: &Policy, around: Around<'_>) -> Found {
    let (now, about) = (Timestamp::now(), name(around, policy));
    around.context.drivers.with(&around.uid(), |memory| {
        memory.begin(about.as_deref(), around.cluster.metadata.generation, now);
    });
    let (page, resource) = (newest(around).await, resource(around, policy));
    let earlier = match &resource {
        Ok(resource) => Earlier::of(around, resource).await,
        Err(_) => Earlier::default(),
    };
    let rows = page.as_ref().ok().map(|page| Rows::of(page, &policy.main_class, &earlier));
    let (said, obstacle) = match &rows {
        Some(rows) if policy.mode == Mode::Managed && rows.ours.is_empty() => {
            before_a_submission(around, &page, rows).await
        }
        _ => (None, None),
    };
    let (cleared, closed) = clear_all(around, (&resource, policy), &page, &earlier).await;
    // What was judged, here or by another one meanwhile, has told more of its drivers.
    let earlier = match &resource {
        Ok(resource) if !earlier.open(page.as_deref().ok()).is_empty() => Earlier::of(around, resource).await,
        _ => earlier,
    };
    let (intents, seen) = (&around.context.shell.intents, page.as_deref().ok());
    let last = resource.as_ref().ok().and_then(|resource| intents.last(resource).ok().flatten());
    let claimed = earlier::claimed(around, last.as_ref(), seen).await.err();
    let past = if last.is_some() { Past::after(last.as_ref()) } else { earlier.past(seen) };
    let open = match targets::open(last.as_ref()) {
        Open::None => earlier.unseen(seen, intents),
        open => open,
    };
    if resource.is_ok() {
        let id = last.as_ref().and_then(Intent::id);
        around.context.drivers.with(&around.uid(), |memory| memory.recorded(id));
    }
    let base = Base {
        master: validate::master_name(around.cluster).unwrap_or_default(),
        elsewhere: seen.map(|page| earlier.elsewhere(page)).unwrap_or_default(),
        // The record is as old as the last change; what is active has been adopted since.
        recorded: past.recorded.clone(),
        open,
        restarted: past.restarted,
    };
    let facts = facts((around, policy), (&page, rows.as_ref()), (&earlier, said.as_ref()), base);
    let turned_up = closed.filter(targets::was_found).map(|intent| targets::ids(&intent).to_vec()).unwrap_or_default();
    let submitted = last.map(|last| last.changed_at(now).into_keys().collect()).unwrap_or_default();
    drop(rows);
    Found { facts, page, cleared, claimed, past, earlier, submitted, obstacle, turned_up }
}

/// The facts by a page of this moment, for the call that is about to be made. What others say, and what is on record,
/// is as it was found.
pub(super) fn again(around: Around<'_>, policy: &Policy, found: &Found, page: &Arc<Page>) -> Observed {
    let rows = Rows::of(page, &policy.main_class, &found.earlier);
    let said = found.facts.done.iter().find_map(|ended| Some((ended.id.clone(), ended.text.clone()?)));
    let base = Base {
        master: found.facts.master.clone(),
        elsewhere: found.facts.elsewhere.clone(),
        recorded: found.past.recorded.clone(),
        // The record of this very call.
        open: Open::None,
        restarted: found.facts.restarted,
    };
    facts((around, policy), (&Ok(page.clone()), Some(&rows)), (&found.earlier, said.as_ref()), base)
}

/// What no page tells of the driver itself.
struct Base {
    master: String,
    elsewhere: Vec<Elsewhere>,
    recorded: Option<String>,
    open: Open,
    restarted: Option<Restarted>,
}

/// The facts by this page, the rows of which are apart, and by what this process remembers once it has seen it.
fn facts(
    (around, policy): (Around<'_>, &Policy),
    (page, rows): (&Result<Arc<Page>, NoActiveMaster>, Option<&Rows<'_>>),
    (earlier, said): (&Earlier, Option<&(String, String)>),
    base: Base,
) -> Observed {
    let remembered = remembered(around, policy, page, rows);
    let Remembered { recorded, counted, progress, needed_seconds, batch_age_seconds, attempts } = remembered;
    Observed {
        master: base.master,
        drivers: match page {
            Ok(_) => Known::Known(rows.map(Rows::facts).unwrap_or_default()),
            Err(error) => Known::Unknown(error.to_string()),
        },
        earlier: rows.map(Rows::earlier).unwrap_or_default(),
        taken: page.as_ref().map(|page| earlier.taken(page)).unwrap_or_default(),
        elsewhere: base.elsewhere,
        done: rows.map(|rows| rows.history(said)).unwrap_or_default(),
        recorded: recorded.or(base.recorded),
        absent_for: counted.absent_for,
        running_for: counted.running_for,
        progress,
        needed_seconds,
        batch_age_seconds,
        attempts,
        open: base.open,
        restarted: base.restarted,
    }
}

/// The page of this look, or a newer one if that is older than our last call.
async fn newest(around: Around<'_>) -> Result<Arc<Page>, NoActiveMaster> {
    let last_call = around.context.drivers.with(&around.uid(), |memory| memory.last_call());
    match (around.page, last_call) {
        (Ok(known), Some(last_call)) if known.began < last_call => {
            around.context.masters.page(around.masters, last_call).await
        }
        (page, _) => page.clone(),
    }
}

/// The record's name of the driver.
fn resource(around: Around<'_>, policy: &Policy) -> Result<String, String> {
    if policy.mode == Mode::Disabled || policy.main_class.is_empty() {
        return Err("`driver.mode` is Disabled".to_owned());
    }
    name(around, policy).ok_or_else(|| "no master is named".to_owned())
}

/// The name that the driver has in the record, whether or not it is managed.
fn name(around: Around<'_>, policy: &Policy) -> Option<String> {
    validate::master_name(around.cluster).map(|masters| targets::resource(&masters, &policy.main_class))
}

/// What the worker of the newest failed driver says, and whether a submission could be made: asked while none is
/// active, so that what is missing shows before one is due.
async fn before_a_submission(
    around: Around<'_>,
    page: &Result<Arc<Page>, NoActiveMaster>,
    rows: &Rows<'_>,
) -> (Option<(String, String)>, Option<Obstacle>) {
    let Ok(page) = page else { return (None, None) };
    let failed = rows.done.iter().filter(|row| FAILED.contains(&row.state.as_str()));
    // Ids of one master grow with time.
    let newest = failed.map(|row| row.id.as_str()).max().unwrap_or(NOBODY);
    let (state, secret) = futures::join!(around.context.masters.status(page, newest), environment(around));
    let said = state.as_ref().ok().and_then(|state| state.message.clone()).map(|text| (newest.to_owned(), text));
    let obstacle = match (state, secret) {
        (Err(error), _) => Some(Obstacle::Rest(error)),
        (_, Err(refused)) => Some(Obstacle::Secret(refused)),
        (Ok(_), Ok(_)) => None,
    };
    (said, obstacle)
}

/// The environment variables that the Secret holds which the spec names.
pub(super) async fn environment(around: Around<'_>) -> Result<BTreeMap<String, Zeroizing<String>>, Refused> {
    let submission = validate::submission(around.cluster);
    let Some(name) = submission.and_then(|submission| submission.environment_secret) else {
        return Ok(BTreeMap::new());
    };
    let namespace = around.cluster.namespace().unwrap_or_default();
    around.context.shell.secrets.read(&namespace, SECRET, &name).await?.texts()
}

/// Judges what an earlier look or an earlier leader left open, under the present name and under those that the driver
/// had before. Returns the name under which the next one may be written, or why nothing may be sent; and what was
/// closed.
async fn clear_all(
    around: Around<'_>,
    (resource, policy): (&Result<String, String>, &Policy),
    page: &Result<Arc<Page>, NoActiveMaster>,
    earlier: &Earlier,
) -> (Result<String, String>, Option<Intent>) {
    let resource = match resource {
        Ok(resource) => resource,
        Err(why) => return (Err(why.clone()), None),
    };
    let mut all = earlier.open(page.as_deref().ok());
    all.push((resource.as_str(), policy.main_class.as_str()));
    let mut closed = None;
    for about in all {
        match clear(around, about, page).await {
            Ok(intent) => {
                let found = intent.as_ref().filter(|intent| targets::was_found(intent)).map(targets::ids);
                if let Some([id]) = found.filter(|_| !earlier.is_taken(about.0)) {
                    around.context.drivers.with(&around.uid(), |memory| memory.adopt(id));
                }
                closed = intent.or(closed);
            }
            Err(why) => return (Err(why), closed),
        }
    }
    (Ok(resource.clone()), closed)
}

/// Judges the intent of this name, if it was left open, by the drivers of its class. Returns what was closed, or why
/// nothing may be sent.
async fn clear(
    around: Around<'_>,
    (resource, class): (&str, &str),
    page: &Result<Arc<Page>, NoActiveMaster>,
) -> Result<Option<Intent>, String> {
    let judge = async |intent: &Intent| {
        let Ok(page) = page else { return Err("no master is known to be active".to_owned()) };
        let rows = Rows::of(page, class, &Earlier::default());
        let waited = around.context.drivers.with(&around.uid(), |memory| memory.waited(intent.id(), Instant::now()));
        let ended = targets::judge(intent, (&rows.facts(), &rows.history(None)), waited)?;
        if targets::is_in_vain(intent, &ended) {
            around.context.drivers.with(&around.uid(), |memory| memory.given_up(Timestamp::now()));
        }
        Ok((ended, page.began))
    };
    around.context.shell.intents.clear(resource, judge).await
}

/// Records that the query reads in a second at least, before that was measured: those of one core.
fn expected(around: Around<'_>) -> i64 {
    let spark = around.cluster.spec.spark.as_ref();
    let scaling = spark.and_then(|spark| spark.workers.as_ref()?.autoscaling.as_ref());
    scaling.map_or(RECORDS_PER_SECOND_PER_CORE, |scaling| scaling.records_per_second_per_core).into()
}

/// What this process remembers.
struct Remembered {
    recorded: Option<String>,
    counted: Counted,
    progress: Known<Stand>,
    needed_seconds: i64,
    batch_age_seconds: i64,
    attempts: Vec<Attempt>,
}

fn remembered(
    around: Around<'_>,
    policy: &Policy,
    page: &Result<Arc<Page>, NoActiveMaster>,
    rows: Option<&Rows<'_>>,
) -> Remembered {
    let (uid, now) = (around.uid(), Instant::now());
    let position = around.context.shell.facts.position.fact(&uid, now);
    let shown = page.as_ref().ok().zip(rows).map(|(page, rows)| Shown {
        // A master that was started elsewhere has another URL, or is found at another place.
        master: format!("{} {}", page.at, page.cluster.url),
        at: page.began,
        period: Duration::from_secs(policy.look_period_seconds.into()),
        active: rows.ours.clone(),
        done: rows.done.clone(),
    });
    around.context.drivers.with(&uid, |memory| {
        let counted = memory.see(shown.as_ref(), Timestamp::now());
        let done = shown.as_ref().map(|shown| shown.done.as_slice()).unwrap_or_default();
        Remembered {
            recorded: memory.adopted(),
            counted,
            progress: memory.stand(position.as_ref(), around.backlog, now),
            needed_seconds: memory.needed_seconds(position.as_ref(), (around.backlog, expected(around))),
            batch_age_seconds: memory.batch_age_seconds(position.as_ref(), Timestamp::now()),
            attempts: memory.attempts(done),
        }
    })
}
