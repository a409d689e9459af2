//! The removal of one worker: written down, cordoned, looked at again, ended. It may take several looks, and goes on
//! under the next leader.

use crate::apply::{Around, CALL_TIMEOUT, asked, set_costs};
use crate::judge::{self, RemovalTargets, kind, targets};
use crate::master::{Cordon, Page};
use crate::memory::Going;
use crate::pool::{Found, Place};
use crate::raise::Scale;
use crate::report::holds;
use crate::told::{Failed, Outcome, Told, What};
use crate::{deployment, ranking};
use jiff::Timestamp;
use logwise_aws::group::{self, Depth};
use logwise_plan::Known;
use logwise_plan::workers::{self, Hold, MemberState, Plan, Removal, Seen, Step, Worker, WorkerState};
use logwise_runtime::ErrorClass;
use logwise_runtime::intent::Ending;
use logwise_runtime::intents::{Prepared, Sent};
use logwise_runtime::term::Permit;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Within which time a cordon, or a deletion cost, is sent under a removal that is only prepared.
const SEND_WITHIN: Duration = Duration::from_secs(2);

/// Looks at the master after a cordon until it shows the worker as cordoned, and the pause between two of them: it
/// takes the order first and carries it out a moment later.
const LOOKS: (u32, Duration) = (3, Duration::from_millis(400));

/// How long after its record says that it is made the call starts at most. The last look lies in between: one from
/// before the record may be older than it seems, after a pause of the process.
const WINDOW: Duration = Duration::from_secs(10);

/// Goes on with the removal that the plan names, as far as it may go now.
pub(crate) async fn remove(around: Around<'_>, plan: &Plan, removal: &Removal) -> Vec<Told> {
    let tell = |what, outcome| vec![Told { what, outcome }];
    let of = |outcome| tell(What::Remove(removal.clone()), outcome);
    let drains = plan.holds.iter().find(|hold| matches!(hold, Hold::Draining { .. }));
    if let Some(hold) = drains.filter(|_| plan.costs.is_empty()) {
        return of(Ok(noted(hold)));
    }
    let Some(page) = around.page else { return of(Ok(superseded("no master answers"))) };
    let prepared = match prepare(around, plan, removal).await {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return of(Ok(superseded("another change has taken its place"))),
        Err(error) => return of(Err(error)),
    };
    let mut told = Vec::new();
    told.extend(costs(around, plan).await);
    if told.iter().any(|told| told.outcome.is_err()) {
        return told;
    }
    if let Some(hold) = drains {
        told.extend(of(Ok(noted(hold))));
        return told;
    }
    let known = going(around, &prepared).filter(|_| removal.step != Step::Cordon);
    let going = match known.or_else(|| shown(page, removal, &prepared)) {
        Some(going) => going,
        None => match cordon(around, (page, removal), &prepared).await {
            Ok(going) => {
                told.push(Told { what: What::Cordon(removal.clone()), outcome: Ok(Outcome::Done) });
                going
            }
            Err(outcome) => {
                let is_over = matches!(outcome, Ok(Outcome::Refused { .. } | Outcome::Superseded { .. }));
                if is_over {
                    close(around, prepared).await;
                }
                told.push(Told { what: What::Cordon(removal.clone()), outcome });
                return told;
            }
        },
    };
    let outcome = finish(around, removal, going, prepared).await;
    told.push(Told { what: What::Remove(removal.clone()), outcome });
    told
}

/// Writes the removal down, or takes up the one that was written down.
async fn prepare(around: Around<'_>, plan: &Plan, removal: &Removal) -> Result<Option<Prepared>, Failed> {
    let Around { cluster, context, resource, .. } = around;
    let intents = &context.shell.intents;
    let last = intents.last(resource)?.filter(|last| judge::waits(last, around.uid()));
    let written = last.and_then(|last| Some((last.id()?, judge::removal(&last.wish)?.removal)));
    match written {
        Some((id, written)) if written.id == removal.id => return Ok(intents.resume(resource, cluster, &id).await?),
        // It came since the plan was made.
        Some(_) => return Ok(None),
        None => {}
    }
    let chosen = plan.ranking.iter().find(|ranked| ranked.id == removal.id);
    let why = chosen.map(|ranked| holds::rank(ranked.reason)).unwrap_or_default();
    let targets = targets(kind::REMOVE, &RemovalTargets { removal: removal.clone(), why });
    let wish = around.wish(targets, 1, vec![removal.id.clone()]);
    Ok(Some(intents.prepare(resource, cluster, wish).await?))
}

/// The removal that is under way, if it is the one that was prepared.
fn going(around: Around<'_>, prepared: &Prepared) -> Option<Going> {
    let going = around.context.memory.with(around.uid(), |of| of.scaling.going.clone());
    going.filter(|going| going.intent.is_some() && going.intent.as_deref() == prepared.id())
}

/// The removal of a worker that the page shows as cordoned already: nothing new comes to it.
fn shown(page: &Page, removal: &Removal, prepared: &Prepared) -> Option<Going> {
    let is_it = |worker: &&Worker| Some(&worker.id) == removal.worker.as_ref();
    let worker = page.cluster.workers.iter().find(is_it)?;
    (worker.state == WorkerState::Decommissioned).then(|| Going {
        intent: prepared.id().map(str::to_owned),
        step: Step::Cordon,
        master: page.at.clone(),
        cordoned: page.began,
    })
}

/// Lets a call start now that needs no record of its own: what is prepared says what it is for.
fn permit(around: Around<'_>) -> Permit {
    around.context.shell.intents.term().permit(Instant::now() + SEND_WITHIN)
}

/// Sets the deletion costs that the removal needs.
async fn costs(around: Around<'_>, plan: &Plan) -> Option<Told> {
    let Place::Deployment { client, namespace, .. } = around.place else { return None };
    if plan.costs.is_empty() {
        return None;
    }
    let _sending = around.context.shell.term().sending();
    let outcome = set_costs((client, namespace), &plan.costs, permit(around)).await;
    Some(Told { what: What::Costs(plan.costs.clone()), outcome })
}

/// Sets deletion costs under the record of a removal that waits; none: there is none.
pub(crate) async fn costs_meanwhile(around: Around<'_>, plan: &Plan) -> Option<Told> {
    let Around { cluster, context, resource, .. } = around;
    let intents = &context.shell.intents;
    let of = |outcome| Some(Told { what: What::Costs(plan.costs.clone()), outcome });
    let last = match intents.last(resource) {
        Ok(last) => last.filter(|last| judge::waits(last, around.uid()))?,
        Err(error) => return of(Err(error.into())),
    };
    match intents.resume(resource, cluster, &last.id()?).await {
        // Nobody else changes anything here as long as it is held.
        Ok(Some(_prepared)) => costs(around, plan).await,
        Ok(None) => of(Ok(superseded("another change has taken its place"))),
        Err(error) => of(Err(error.into())),
    }
}

/// Has the master cordon the worker. What is not taken is told as the outcome.
async fn cordon(
    around: Around<'_>,
    (page, removal): (&Page, &Removal),
    prepared: &Prepared,
) -> Result<Going, Result<Outcome, Failed>> {
    let Around { context, .. } = around;
    let Some(host) = &removal.host else { return Err(Ok(superseded("the host of its worker is not known"))) };
    let _sending = context.shell.term().sending();
    let answer = context.masters.decommission(page, host, asked(permit(around))).await;
    let remember = |going: Option<Going>| context.memory.with(around.uid(), |of| of.scaling.going = going);
    let unavailable = |why: String| {
        context.memory.with(around.uid(), |of| of.scaling.cordon_refused(why.clone(), Timestamp::now()));
        Err(Ok(Outcome::Refused { why }))
    };
    match answer {
        Ok(Cordon::Taken) => {
            let going = Going {
                intent: prepared.id().map(str::to_owned),
                step: Step::Cordon,
                master: page.at.clone(),
                cordoned: Instant::now(),
            };
            remember(Some(going.clone()));
            context.memory.with(around.uid(), |of| of.scaling.cordon_taken());
            Ok(going)
        }
        Ok(Cordon::Forbidden) => unavailable(format!("the master at {} answered HTTP 405", page.at)),
        Ok(Cordon::NothingThere) => {
            if is_listed(around, (page, removal)).await {
                unavailable(format!("the master at {} answered HTTP 404 and lists the worker", page.at))
            } else {
                Err(Ok(superseded("the master does not know the worker any more")))
            }
        }
        Err(error) => Err(Err(error.into())),
    }
}

/// Whether the same master lists the worker as alive now.
async fn is_listed(around: Around<'_>, (page, removal): (&Page, &Removal)) -> bool {
    let now = around.context.masters.page(around.masters, Instant::now()).await;
    let is_it = |worker: &Worker| Some(&worker.id) == removal.worker.as_ref() && worker.state == WorkerState::Alive;
    now.is_ok_and(|now| now.at == page.at && now.cluster.workers.iter().any(is_it))
}

/// Looks again, and ends the member if that says so.
async fn finish(
    around: Around<'_>,
    removal: &Removal,
    mut going: Going,
    prepared: Prepared,
) -> Result<Outcome, Failed> {
    let mut looked = look_again(around, removal, &going).await;
    for _ in 1..LOOKS.0 {
        if !matches!(looked, Err(Hold::CordonPending { .. })) {
            break;
        }
        tokio::time::sleep(LOOKS.1).await;
        looked = look_again(around, removal, &going).await;
    }
    match looked {
        Ok(Step::Terminate) => end(around, removal, &going, prepared).await,
        Ok(step) => {
            going.step = step;
            around.context.memory.with(around.uid(), |of| of.scaling.going = Some(going));
            Ok(Outcome::Noted { why: "tasks run there".to_owned() })
        }
        Err(hold @ Hold::DriverLanded { .. }) => {
            close(around, prepared).await;
            Ok(superseded(&holds::words(&hold)))
        }
        // It stays written down: the next plan decides.
        Err(hold) => {
            if matches!(hold, Hold::CordonLost { .. }) {
                going.step = Step::Cordon;
                around.context.memory.with(around.uid(), |of| of.scaling.going = Some(going));
            }
            Ok(noted(&hold))
        }
    }
}

/// What the master and what runs the workers say now.
async fn look_again(around: Around<'_>, removal: &Removal, going: &Going) -> Result<Step, Hold> {
    let Around { cluster, context, place, .. } = around;
    let (began, now) = (Instant::now(), Timestamp::now());
    let (page, found) = futures::join!(context.masters.page(around.masters, began), place.read(Depth::Full));
    let is_other = found.resource.as_deref().is_some_and(|resource| resource != around.resource);
    let pool = if is_other { Known::Unknown("another one has its name now".to_owned()) } else { found.pool };
    let same_master = page.as_ref().is_ok_and(|page| page.at == going.master);
    let cluster = match (page.as_deref(), pool.known()) {
        (Ok(page), Some(pool)) => {
            Known::Known(ranking::busy(cluster, &context.masters, (page, pool), Some(&removal.id)).await)
        }
        (Ok(page), None) => Known::Known(page.cluster.clone()),
        (Err(error), _) => Known::Unknown(error.to_string()),
    };
    let page_after_cordon = began >= going.cordoned;
    let seen = Seen { pool, cluster, page_after_cordon, same_master, draining_since: Some(now) };
    workers::confirm(around.policy, removal, &seen)
}

/// Ends the member, and the desired number with it, if the last look says so: one that begins when the record says that
/// the call is made.
async fn end(around: Around<'_>, removal: &Removal, going: &Going, prepared: Prepared) -> Result<Outcome, Failed> {
    let sent = prepared.send_within(WINDOW, CALL_TIMEOUT).await?;
    match look_again(around, removal, going).await {
        Ok(Step::Terminate) => {}
        Ok(_) => return withdraw(around, sent, Ok(superseded("tasks run there again"))).await,
        Err(hold) => return withdraw(around, sent, Ok(superseded(&holds::words(&hold)))).await,
    }
    let outcome = match around.place {
        Place::Group { clients, .. } => {
            let ended = group::terminate(&clients.autoscaling(), &removal.id, asked(sent.permit())).await;
            let outcome = ended.map(|ended| match ended {
                group::Ended::Begun { .. } => Outcome::Done,
                group::Ended::AlreadySo => Outcome::AlreadySo,
            });
            outcome.map_err(Failed::from)
        }
        Place::Deployment { client, namespace, name } => {
            let uid = around.found.uid.as_deref().unwrap_or_default();
            let of = deployment::At { namespace, name, uid };
            let (scale, version) = (Scale { client, of, sizes: (removal.from, removal.to) }, OnceLock::new());
            match scale.check(&version).await {
                Ok(None) => scale.send(&version, asked(sent.permit())).await,
                Ok(Some(outcome)) => return withdraw(around, sent, Ok(outcome)).await,
                Err(error) => return withdraw(around, sent, refused(around, error)).await,
            }
        }
    };
    seen(around, removal, sent, outcome).await
}

/// Closes the record of a call that is not made after all. Its worker stays cordoned, and is the first to be chosen
/// again.
async fn withdraw(around: Around<'_>, sent: Sent, outcome: Result<Outcome, Failed>) -> Result<Outcome, Failed> {
    around.context.memory.with(around.uid(), |of| of.scaling.going = None);
    sent.close(Ending::Abandoned).await;
    outcome
}

/// Closes the record by what is read back.
async fn seen(
    around: Around<'_>,
    removal: &Removal,
    sent: Sent,
    outcome: Result<Outcome, Failed>,
) -> Result<Outcome, Failed> {
    around.context.memory.with(around.uid(), |of| of.scaling.going = None);
    match outcome {
        Ok(Outcome::Done) => {
            for _ in 0..LOOKS.0 {
                if is_gone(&around.place.read(Depth::Quick).await, removal) {
                    sent.close(Ending::Done).await;
                    return Ok(Outcome::Done);
                }
                tokio::time::sleep(LOOKS.1).await;
            }
            sent.taken().await;
            Ok(Outcome::Noted { why: "the call was taken, and is not seen yet".to_owned() })
        }
        Ok(outcome) => {
            sent.close(if outcome == Outcome::AlreadySo { Ending::Done } else { Ending::Superseded }).await;
            Ok(outcome)
        }
        Err(error) => {
            // Without an answer nobody knows: the next look judges.
            if !error.may_have_happened() {
                sent.close(Ending::Abandoned).await;
            }
            refused(around, error)
        }
    }
}

/// What is refused is not asked for again at once: each attempt takes a record, and the first one a cordon. Nothing is
/// wrong with the workers.
fn refused(around: Around<'_>, error: Failed) -> Result<Outcome, Failed> {
    if error.may_have_happened() || !matches!(error.class(), ErrorClass::Denied | ErrorClass::Invalid) {
        return Err(error);
    }
    let why = error.to_string();
    around.context.memory.with(around.uid(), |of| of.scaling.end_refused(why.clone(), Timestamp::now()));
    Ok(Outcome::Refused { why })
}

fn is_gone(found: &Found, removal: &Removal) -> bool {
    found.pool.known().is_some_and(|pool| {
        let member = pool.members.iter().find(|member| member.id == removal.id);
        member.is_none_or(|member| member.state == MemberState::Leaving)
    })
}

/// Closes a record of which nothing is going to be sent.
async fn close(around: Around<'_>, prepared: Prepared) {
    around.context.memory.with(around.uid(), |of| of.scaling.going = None);
    prepared.abandon(Ending::Abandoned).await;
}

fn noted(hold: &Hold) -> Outcome {
    Outcome::Noted { why: holds::words(hold) }
}

fn superseded(why: &str) -> Outcome {
    Outcome::Superseded { why: why.to_owned() }
}
