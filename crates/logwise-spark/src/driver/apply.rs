//! Submissions and ends of drivers under an intent: written down before the master is asked. The id of a submission is
//! written down before anything else is believed; a call whose answer was lost stays open, and the next look judges it.

use super::observe::{Found, Obstacle, environment};
use super::targets::{self, Past, Targets};
use super::{Around, submission};
use crate::master::{NoActiveMaster, Page, SparkError};
use jiff::Timestamp;
use logwise_api::validate;
use logwise_plan::Known;
use logwise_plan::driver::{Kill, KillWhy, Plan, Submit};
use logwise_runtime::intent::{Ending, Wish};
use logwise_runtime::intents::{Prepared, Sent};
use logwise_runtime::{ErrorClass, IntentError, ObjectKey, Refused, chain};
use serde_json::json;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time the call takes: one attempt, and a moment more.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// One change and what became of it.
#[derive(Debug)]
pub(crate) struct Told {
    /// The change.
    pub what: What,
    /// What became of it.
    pub outcome: Result<Outcome, Failed>,
}

/// A change of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A driver is submitted.
    Submit(Submit),
    /// One is killed.
    Kill(Kill),
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The master has taken the driver under this id.
    Submitted {
        /// The id.
        id: String,
    },
    /// The master has taken the order to kill it.
    Killed,
    /// It was not active any more.
    AlreadySo,
    /// Things were no longer as the plan assumed; nothing was sent.
    Superseded {
        /// What has changed.
        why: String,
    },
}

/// Why a change was not carried out, or why nobody knows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// No master is active any more.
    #[error(transparent)]
    NoMaster(#[from] NoActiveMaster),
    /// The REST server of the master gives no usable answer; nothing was sent.
    #[error("{0}")]
    Rest(SparkError),
    /// The call itself failed, or its answer was lost.
    #[error("{0}")]
    Call(SparkError),
    /// The intent could not be written down.
    #[error("nothing was sent: {}", chain(.0))]
    Intent(#[from] IntentError),
    /// What the object refers to may not be used.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// Something stands in the way.
    #[error("nothing was sent: {0}")]
    NotSent(String),
}

impl Failed {
    /// What kind of failure it is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::NoMaster(error) => error.class(),
            Self::Rest(error) | Self::Call(error) => error.class(),
            Self::Intent(error) => error.class(),
            Self::Refused(refused) => refused.class,
            Self::NotSent(_) => ErrorClass::Conflict,
        }
    }

    /// Whether something may have been changed all the same.
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Self::Call(error) if error.may_have_happened())
    }
}

impl fmt::Display for Told {
    /// For the record: what begins with one of the words that say so has changed nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(Outcome::Submitted { id }) => write!(f, "Submitted: {id}"),
            Ok(Outcome::Killed) => f.write_str("Killed"),
            Ok(Outcome::AlreadySo) => f.write_str("AlreadySo"),
            Ok(Outcome::Superseded { why }) => write!(f, "Superseded: {why}"),
            Err(Failed::Call(SparkError::Refused { why, .. })) => write!(f, "Refused: {why}"),
            Err(failed) if failed.may_have_happened() => write!(f, "Unknown: {failed}"),
            Err(failed) => write!(f, "NotSent: {failed}"),
        }
    }
}

/// Carries out the plan under an intent.
pub(crate) async fn carry_out(around: Around<'_>, found: &Found, plan: &Plan) -> Vec<Told> {
    let mut told = Vec::new();
    if let Some(kill) = &plan.kill {
        told.push(Told { outcome: end(around, found, kill).await, what: What::Kill(kill.clone()) });
    }
    if let Some(submit) = &plan.submit {
        told.push(Told { outcome: begin(around, found, submit).await, what: What::Submit(submit.clone()) });
    }
    told
}

async fn begin(around: Around<'_>, found: &Found, submit: &Submit) -> Result<Outcome, Failed> {
    match &found.obstacle {
        Some(Obstacle::Rest(error)) => return Err(Failed::Rest(error.clone())),
        Some(Obstacle::Secret(refused)) => return Err(Failed::Refused(refused.clone())),
        None => {}
    }
    let spec = validate::submission(around.cluster).ok_or_else(|| Failed::NotSent("the spec names none".to_owned()))?;
    let secrets = environment(around).await.map_err(Failed::Refused)?;
    let Submit { why, known } = submit.clone();
    let prepared = prepare(around, found, Targets::Submit { why, known, past: past(found) }).await?;
    let page = match same_master(around, found).await {
        Ok(page) => page,
        Err(outcome) => return give_up(prepared, outcome).await,
    };
    if let Some(driver) = ours(&page, &spec.main_class).next() {
        let why = format!("driver {driver} is active");
        return give_up(prepared, Ok(Outcome::Superseded { why })).await;
    }
    let body = submission::body(&spec, &secrets, &submission::master_url(around.masters));
    let sent = prepared.send(CALL_TIMEOUT).await?;
    let permit = sent.permit();
    let allowed = move || permit.check().map_err(|error| chain(&error));
    let answer = around.context.masters.submit(&page, &body, allowed).await;
    let may_come = answer.as_ref().err().is_none_or(SparkError::may_have_happened);
    around.context.drivers.with(&around.uid(), |memory| memory.called(Instant::now(), may_come));
    match answer {
        Ok(id) => {
            if sent.close(targets::became(vec![id.clone()])).await {
                around.context.drivers.with(&around.uid(), |memory| memory.adopt(&id));
            }
            Ok(Outcome::Submitted { id })
        }
        Err(error) => {
            if matches!(error, SparkError::Refused { .. }) {
                let (now, why) = (Timestamp::now(), error.to_string());
                around.context.drivers.with(&around.uid(), |memory| memory.in_vain(now, why));
            }
            unanswered(sent, error).await
        }
    }
}

async fn end(around: Around<'_>, found: &Found, kill: &Kill) -> Result<Outcome, Failed> {
    let Kill { id, why } = kill.clone();
    let batch = found.facts.progress.known().map(|stand| stand.batch);
    // What follows is in place of this one.
    let recorded = if why == KillWhy::Stalled { Some(id.clone()) } else { found.facts.recorded.clone() };
    let past = Past { recorded, ..past(found) };
    let prepared = prepare(around, found, Targets::Kill { id: id.clone(), why, batch, past }).await?;
    let page = match same_master(around, found).await {
        Ok(page) => page,
        Err(outcome) => return give_up(prepared, outcome).await,
    };
    if !page.cluster.drivers.iter().any(|driver| driver.id == id) {
        return give_up(prepared, Ok(Outcome::AlreadySo)).await;
    }
    if why == KillWhy::Stalled && has_moved(around, batch) {
        let why = "the query has committed a batch".to_owned();
        return give_up(prepared, Ok(Outcome::Superseded { why })).await;
    }
    let sent = prepared.send(CALL_TIMEOUT).await?;
    let permit = sent.permit();
    let allowed = move || permit.check().map_err(|error| chain(&error));
    let answer = around.context.masters.kill(&page, &id, allowed).await;
    around.context.drivers.with(&around.uid(), |memory| memory.called(Instant::now(), false));
    match answer {
        Ok(()) => {
            // It has ended when the master shows that.
            sent.answered();
            Ok(Outcome::Killed)
        }
        Err(error) => unanswered(sent, error).await,
    }
}

/// What was done before, with the driver that has been adopted since.
fn past(found: &Found) -> Past {
    Past { recorded: found.facts.recorded.clone(), ..found.past.clone() }
}

async fn prepare(around: Around<'_>, found: &Found, targets: Targets) -> Result<Prepared, Failed> {
    let resource = found.cleared.as_ref().map_err(|why| Failed::NotSent(why.clone()))?;
    let wish = Wish {
        owner: ObjectKey::of(around.cluster).into(),
        targets: json!(targets),
        pre_image: None,
        amount: 0,
        parts: Vec::new(),
    };
    Ok(around.context.shell.intents.prepare(resource, around.cluster, wish).await?)
}

/// The master's page of this moment, if the master is the one that was looked at; else what becomes of the change.
async fn same_master(around: Around<'_>, found: &Found) -> Result<Arc<Page>, Result<Outcome, Failed>> {
    let page = around.context.masters.page(around.masters, Instant::now()).await.map_err(|error| Err(error.into()))?;
    if found.page.as_ref().is_ok_and(|looked| place(looked) == place(&page)) {
        return Ok(page);
    }
    Err(Ok(Outcome::Superseded { why: format!("the master at {} has become the active one", page.at) }))
}

/// Which master has answered with the page.
fn place(page: &Page) -> (&str, &str) {
    (&page.at, &page.cluster.url)
}

/// Ids of the active drivers of this class.
fn ours<'a>(page: &'a Page, class: &str) -> impl Iterator<Item = &'a str> {
    let lives = move |id: &str| page.cluster.drivers.iter().any(|driver| driver.id == id);
    let rows = page.all_drivers.iter().filter(move |row| row.main_class == class && lives(&row.id));
    rows.map(|row| row.id.as_str())
}

/// Whether another batch is the newest one now.
fn has_moved(around: Around<'_>, batch: Option<i64>) -> bool {
    match around.context.shell.facts.position.read(&around.uid(), Instant::now()) {
        Known::Known(position) => Some(position.batch) != batch,
        Known::Absent | Known::Unknown(_) => false,
    }
}

async fn give_up(prepared: Prepared, outcome: Result<Outcome, Failed>) -> Result<Outcome, Failed> {
    prepared.abandon(Ending::Superseded).await;
    outcome
}

/// A call that failed: closed if it cannot have had an effect; else the next look judges it.
async fn unanswered(sent: Sent, error: SparkError) -> Result<Outcome, Failed> {
    if !error.may_have_happened() {
        sent.close(Ending::Abandoned).await;
    }
    Err(Failed::Call(error))
}
