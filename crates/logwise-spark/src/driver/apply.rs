//! Submissions and ends of drivers under an intent: written down before the master is asked, and planned once more by a
//! page that is asked for after that. Two leaders could else make the same call, one after the other: a record that is
//! closed refuses nobody. The id of a submission is written down before anything else is believed; a call whose answer
//! was lost stays open, and the next look judges it.

use super::memory::Memory;
use super::observe::{self, Found, Obstacle, environment};
use super::targets::{self, Past, Targets};
use super::{Around, submission};
use crate::master::{NoActiveMaster, Page, SparkError};
use jiff::Timestamp;
use logwise_api::validate::{self, MasterAddress};
use logwise_plan::driver::{Cause, Hold, Kill, KillWhy, Plan, Policy, State, Submit, plan};
use logwise_runtime::intent::{Ending, Wish};
use logwise_runtime::intents::{Prepared, Sent};
use logwise_runtime::{ErrorClass, IntentError, ObjectKey, Refused, chain};
use serde_json::json;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time the call takes: one attempt, and a moment more.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// How long after its record says that it is made a call starts at most: the master's page is read in between.
const WINDOW: Duration = Duration::from_secs(6);

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
    /// The record belongs to another LogwiseCluster, which may need it.
    #[error("nothing was sent: {0}")]
    Claimed(String),
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
            Self::Claimed(_) | Self::NotSent(_) => ErrorClass::Conflict,
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
pub(crate) async fn carry_out(around: Around<'_>, policy: &Policy, found: &Found, plan: &Plan) -> Vec<Told> {
    let mut told = Vec::new();
    if let Some(kill) = &plan.kill {
        told.push(Told { outcome: end(around, (policy, found), kill).await, what: What::Kill(kill.clone()) });
    }
    if let Some(submit) = &plan.submit {
        told.push(Told { outcome: begin(around, (policy, found), submit).await, what: What::Submit(submit.clone()) });
    }
    if plan.is_idle() {
        adopt(around, (policy, found), plan).await;
    }
    told
}

/// Writes down which driver of the present class is ours where no change of ours has, under the present name, and what
/// it follows: an earlier spec's is known by its record alone. One of an earlier class says nothing about this name.
async fn adopt(around: Around<'_>, (policy, found): (&Policy, &Found), plan: &Plan) {
    let (id, runs) = match &plan.state {
        State::Running { id } | State::Stalled { id, .. } => (id, true),
        State::Pending { id } | State::Relaunching { id } => (id, false),
        _ => return,
    };
    let facts = &found.facts;
    if facts.recorded.as_ref() != Some(id) || facts.earlier.contains(id) || !facts.open.is_none() {
        return;
    }
    let (Ok(page), Ok(resource)) = (&found.page, &found.cleared) else { return };
    let last = around.context.shell.intents.last(resource).ok().flatten();
    let is_asked = plan.holds.iter().any(|hold| matches!(hold, Hold::ApprovalRequired { why: Cause::Elsewhere, .. }));
    let mut outlives = found.earlier.followed(page, (id, policy.main_class.as_str()), (runs, !is_asked));
    outlives.extend(last.iter().flat_map(|last| targets::outlived_late(last, id)));
    if Past::after(last.as_ref()).recorded.as_ref() == Some(id) && outlives.is_empty() {
        return;
    }
    let adopt = Targets::Adopt { id: id.clone(), outlives, past: past(around, found) };
    // Else the next look tries again.
    if let Ok(prepared) = prepare(around, found, adopt).await {
        prepared.abandon(Ending::Done).await;
    }
}

async fn begin(around: Around<'_>, (policy, found): (&Policy, &Found), submit: &Submit) -> Result<Outcome, Failed> {
    match &found.obstacle {
        Some(Obstacle::Rest(error)) => return Err(Failed::Rest(error.clone())),
        Some(Obstacle::Secret(refused)) => return Err(Failed::Refused(refused.clone())),
        None => {}
    }
    let spec = validate::submission(around.cluster).ok_or_else(|| Failed::NotSent("the spec names none".to_owned()))?;
    let secrets = environment(around).await.map_err(Failed::Refused)?;
    let body = submission::body(&spec, &secrets, &submission::master_url(around.masters));
    let Submit { why, known } = submit.clone();
    let (outlives, past) = (found.earlier.all.clone(), past(around, found));
    let prepared = prepare(around, found, Targets::Submit { why, known, outlives, past }).await?;
    let (sent, page) = match send(around, (policy, found), prepared, &What::Submit(submit.clone())).await {
        Ok(sent) => sent,
        Err(outcome) => return outcome,
    };
    let permit = sent.permit();
    let allowed = move || permit.check().map_err(|error| chain(&error));
    let answer = around.context.masters.submit(&page, &body, allowed).await;
    around.context.drivers.with(&around.uid(), |memory| memory.called(Instant::now()));
    match answer {
        Ok(id) => {
            if sent.close(targets::became(vec![id.clone()])).await {
                around.context.drivers.with(&around.uid(), |memory| memory.adopt(&id));
            }
            Ok(Outcome::Submitted { id })
        }
        Err(error) => {
            let error = error.without(secrets.values().map(|value| value.as_str()));
            if is_refusal(&error) {
                let (now, why) = (Timestamp::now(), error.to_string());
                around.context.drivers.with(&around.uid(), |memory| memory.in_vain(now, why));
            }
            unanswered(sent, error).await
        }
    }
}

async fn end(around: Around<'_>, (policy, found): (&Policy, &Found), kill: &Kill) -> Result<Outcome, Failed> {
    let Kill { id, why } = kill.clone();
    let batch = found.facts.progress.known().map(|stand| stand.batch);
    // What follows is in place of this one.
    let recorded = if why == KillWhy::Stalled { Some(id.clone()) } else { found.facts.recorded.clone() };
    let past = Past { recorded, ..past(around, found) };
    let prepared = prepare(around, found, Targets::Kill { id: id.clone(), why, batch, past }).await?;
    let (sent, page) = match send(around, (policy, found), prepared, &What::Kill(kill.clone())).await {
        Ok(sent) => sent,
        Err(outcome) => return outcome,
    };
    let permit = sent.permit();
    let allowed = move || permit.check().map_err(|error| chain(&error));
    let answer = around.context.masters.kill(&page, &id, allowed).await;
    around.context.drivers.with(&around.uid(), |memory| memory.called(Instant::now()));
    match answer {
        Ok(()) => {
            // It has ended when the master shows that.
            sent.answered();
            Ok(Outcome::Killed)
        }
        Err(error) => unanswered(sent, error).await,
    }
}

/// What was done before, with the driver that has been adopted since, and where that is.
fn past(around: Around<'_>, found: &Found) -> Past {
    Past {
        recorded: found.facts.recorded.clone(),
        masters: around.masters.iter().map(MasterAddress::spark).collect(),
        url: found.page.as_ref().ok().map(|page| page.cluster.url.clone()),
        ..found.past.clone()
    }
}

async fn prepare(around: Around<'_>, found: &Found, targets: Targets) -> Result<Prepared, Failed> {
    let resource = found.cleared.as_ref().map_err(|why| Failed::NotSent(why.clone()))?;
    if let Some(why) = &found.claimed {
        return Err(Failed::Claimed(why.clone()));
    }
    let wish = Wish {
        owner: ObjectKey::of(around.cluster).into(),
        targets: json!(targets),
        pre_image: None,
        amount: 0,
        parts: Vec::new(),
    };
    let intents = &around.context.shell.intents;
    let prepared = intents.prepare(resource, around.cluster, wish).await?;
    // What a leader before this one has submitted may have come to light by the write alone.
    let submitted = intents.last(resource).ok().flatten().map(|ours| ours.changed).unwrap_or_default();
    let is_known = submitted.keys().all(|id| found.submitted.contains(id));
    around.context.drivers.with(&around.uid(), |memory| memory.wrote(prepared.id(), is_known));
    Ok(prepared)
}

/// Says that the call is made now, and plans once more by a page that is asked for after that. Unless that gives the
/// same change nothing is sent, and this tells what becomes of it.
async fn send(
    around: Around<'_>,
    (policy, found): (&Policy, &Found),
    prepared: Prepared,
    change: &What,
) -> Result<(Sent, Arc<Page>), Result<Outcome, Failed>> {
    let sent = match prepared.send_within(WINDOW, CALL_TIMEOUT).await {
        Ok(sent) => sent,
        Err(error) => return Err(Err(error.into())),
    };
    let outcome = match around.context.masters.page(around.masters, Instant::now()).await {
        Ok(page) => match differs(around, (policy, found), &page, change) {
            None => {
                around.context.drivers.with(&around.uid(), Memory::calls);
                return Ok((sent, page));
            }
            Some(outcome) => Ok(outcome),
        },
        Err(error) => Err(error.into()),
    };
    sent.close(Ending::Abandoned).await;
    Err(outcome)
}

/// What becomes of the change if the page calls for another one, or none; else nothing.
fn differs(around: Around<'_>, (policy, found): (&Policy, &Found), page: &Arc<Page>, change: &What) -> Option<Outcome> {
    let superseded = |why: String| Some(Outcome::Superseded { why });
    if !found.page.as_ref().is_ok_and(|looked| place(looked) == place(page)) {
        return superseded(format!("the master at {} has become the active one", page.at));
    }
    let facts = observe::again(around, policy, found, page);
    let now = plan(policy, &facts, Timestamp::now());
    match change {
        What::Submit(submit) if now.submit.as_ref() == Some(submit) => None,
        What::Submit(_) => {
            let ours = facts.drivers.known().into_iter().flatten().find(|driver| driver.ours);
            superseded(ours.map_or_else(
                || "what is there now calls for no driver, or not yet".to_owned(),
                |driver| format!("driver {} is active", driver.id),
            ))
        }
        What::Kill(kill) if now.kill.as_ref() == Some(kill) => None,
        What::Kill(kill) if page.cluster.drivers.iter().all(|driver| driver.id != kill.id) => Some(Outcome::AlreadySo),
        What::Kill(_) => superseded("what is there now does not call for its end".to_owned()),
    }
}

/// Which master has answered with the page.
fn place(page: &Page) -> (&str, &str) {
    (&page.at, &page.cluster.url)
}

/// Whether a driver was not taken, so that the next one waits: also where something before the master says so.
pub(super) const fn is_refusal(error: &SparkError) -> bool {
    matches!(error, SparkError::Refused { .. } | SparkError::Answer { status: 300..=499, .. })
}

/// A call that failed: closed if it cannot have had an effect; else the next look judges it.
async fn unanswered(sent: Sent, error: SparkError) -> Result<Outcome, Failed> {
    if !error.may_have_happened() {
        sent.close(Ending::Abandoned).await;
    }
    Err(Failed::Call(error))
}
