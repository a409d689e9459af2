//! Lifecycle writes under an intent: written down with the configuration as it was, open until later looks have read the
//! effect, and closed then.

use crate::apply::{Applied, Written, not_sent, send, shortfall};
use crate::bared;
use crate::bucket::Bucket;
use crate::document::RawDocument;
use crate::lessened::noted;
use crate::memory::Memory;
use crate::observe::Look;
use crate::old::{Old, beside, void, written_down};
use crate::record::{Targets, found, pre_image};
use crate::standing::{REPLACED, Standing};
use crate::undo::acts_on_more;
use crate::verify::{Less, Reading, dropped, reading};
use crate::watch::{Verdict, stale};
use jiff::Timestamp;
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_aws::AwsError;
use logwise_plan::Known;
use logwise_plan::retention::{WriteRules, bares};
use logwise_runtime::intent::{Effect, Ended, Ending, Intent, Owner, State, Wish};
use logwise_runtime::intents::Prepared;
use logwise_runtime::{ErrorClass, IntentError, Intents, ObjectKey, chain};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time the write takes: one attempt, and a moment more.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// How long after its record says that it is sent the write starts at most: the configuration is read in between, in one
/// attempt.
const SEND_WITHIN: Duration = Duration::from_secs(6);

/// Rules of ours that a record names because the server has not kept what a write adds to them.
const MOST_NAMED: usize = 50;

/// Why a record stays open.
const READ_AGAIN: &str = "S3 is read again until it shows the last write twice";

/// What is said of a write that S3 has accepted and never shown.
const VANISHED: &str = "S3 accepted the write, and minutes later it still answers with the configuration from before";

/// The intent's name of a bucket. Bucket names are unique in the world.
pub(crate) fn resource(bucket: &str) -> String {
    format!("bucket/{bucket}")
}

/// On whose behalf rules are written.
pub(crate) enum Behalf<'a> {
    /// The pipeline that owns the bucket.
    Pipeline(&'a LogwiseCluster),
    /// Policies of one namespace that are being deleted and whose pipeline is gone. The record stays that of its owner.
    Leaving(Vec<&'a RetentionPolicy>, Owner),
}

impl Behalf<'_> {
    fn owner(&self) -> Owner {
        match self {
            Self::Pipeline(cluster) => ObjectKey::of(*cluster).into(),
            Self::Leaving(_, owner) => owner.clone(),
        }
    }

    async fn prepare(&self, intents: &Arc<Intents>, resource: &str, wish: Wish) -> Result<Prepared, IntentError> {
        match self {
            Self::Pipeline(cluster) => intents.prepare(resource, *cluster, wish).await,
            Self::Leaving(policies, _) => intents.prepare_listed(resource, policies, wish).await,
        }
    }
}

/// Judges the record of a write that is open, by a look that began at `looked`. `ours` knows the ids of our rules.
pub(crate) async fn clear_the_way(
    (intents, memory): (&Intents, &Memory),
    bucket: &str,
    (look, looked): (&Look, Instant),
    ours: impl Fn(&str) -> bool,
) -> Standing {
    let last = intents.last(&resource(bucket)).ok().flatten();
    // Of a write that was sent `judge` tells first what it was over: nothing is new that was read before that.
    let is_sent = last.as_ref().is_some_and(|last| last.state == State::Sent);
    // An old answer does not tell what others have done since.
    if !is_sent && !look.raw.is_unknown() && !is_old((memory, bucket), last.as_ref(), look.raw.known()) {
        memory.witness.read(bucket, look.raw.known(), &ours, looked);
    }
    let mut judged = None;
    let ask = async |intent: &Intent| {
        let of_look = judge((memory, bucket), intent, look, &ours);
        let (ending, effect) = (of_look.ending.clone(), of_look.effect.clone());
        judged = Some(of_look);
        Ok((Ended { ending: ending?, effect: effect.or_else(|| noted(intent, &look.raw)) }, looked))
    };
    let cleared = intents.clear(&resource(bucket), ask).await;
    match (cleared, judged) {
        (Ok(closed), judged) => {
            let last = intents.last(&resource(bucket)).ok().flatten();
            let at_rest = || Standing::at_rest(last.as_ref(), look, Timestamp::now());
            let standing = judged.map_or_else(at_rest, |judged| judged.standing);
            ended(memory, bucket, closed.map(|intent| intent.state), &standing);
            standing
        }
        // Its call may still be under way, or the record could not be replaced: S3 is read again.
        (Err(why), Some(Judged { write: Some(write), ending: Ok(_), .. })) => {
            Standing::Open { write, seen: Written::Unseen { why }, left: None }
        }
        (Err(_), Some(Judged { standing: open @ Standing::Open { .. }, .. })) => open,
        (Err(why), _) => Standing::Unclear(why),
    }
}

/// Whether a reading shows what was there before writes of ours, by the record of the last one.
fn is_old((memory, bucket): (&Memory, &str), last: Option<&Intent>, now: Option<&RawDocument>) -> bool {
    let id = last.and_then(Intent::id);
    let is_closed = last.is_some_and(|last| last.state.is_closed());
    let sure = is_closed || memory.watches.was_accepted(bucket, id.as_deref());
    Old::of(last, Timestamp::now()).shows(now, sure)
}

/// No record is open any more; `closed` is how this look has closed one.
fn ended(memory: &Memory, bucket: &str, closed: Option<State>, standing: &Standing) {
    let now = Instant::now();
    memory.watches.end(bucket);
    match (closed, standing) {
        (Some(State::Done), _) => {
            memory.tried.succeeded(bucket);
            memory.witness.settled(bucket, now);
        }
        (Some(State::Abandoned), Standing::Lost { write, why }) => memory.tried.vanished(bucket, write, why, now),
        (Some(_), Standing::Lost { why, .. }) => _ = memory.tried.overtaken(bucket, why, now),
        _ => {}
    }
}

/// What a look says of an open record.
struct Judged {
    /// Its write, if it can be told.
    write: Option<WriteRules>,
    /// How that stands.
    standing: Standing,
    /// How the record ends, or why it stays open.
    ending: Result<Ending, String>,
    /// What the record then names, beside what is not ours.
    effect: Option<Effect>,
}

impl Judged {
    fn ends(write: Option<WriteRules>, ending: Ending) -> Self {
        Self { write, standing: Standing::Free, ending: Ok(ending), effect: None }
    }

    fn waits(write: WriteRules, seen: Written) -> Self {
        let standing = Standing::Open { write, seen, left: None };
        Self { write: None, standing, ending: Err(READ_AGAIN.to_owned()), effect: None }
    }
}

fn judge((memory, bucket): (&Memory, &str), intent: &Intent, look: &Look, ours: impl Fn(&str) -> bool) -> Judged {
    let now = match &look.raw {
        Known::Known(document) => Some(document),
        Known::Absent => None,
        Known::Unknown(_) => {
            let why = "the lifecycle configuration could not be read".to_owned();
            return Judged { write: None, standing: Standing::Free, ending: Err(why), effect: None };
        }
    };
    let known = Targets::of(intent).and_then(|targets| Some((targets.before(intent)?, targets.write)));
    let Some((before, write)) = known else { return Judged::ends(None, Ending::Superseded) };
    let is_old = is_old((memory, bucket), Some(intent), now);
    if intent.state == State::Prepared {
        if is_old {
            return Judged::waits(write, Written::Unseen { why: REPLACED.to_owned() });
        }
        // Nothing was sent, whatever is there.
        let effect = shortfall(now, &write).is_none().then(found);
        return Judged { effect, ..Judged::ends(None, Ending::Abandoned) };
    }
    let (id, at) = (intent.id(), Instant::now());
    let is_past = at.duration_since(begun(intent, at)) >= stale();
    memory.witness.found((bucket, id.clone()), (before.as_ref(), &write), (&ours, is_past), at);
    if !is_old {
        memory.witness.read(bucket, now, &ours, at);
    }
    let seen = if is_old { Reading::Old } else { reading((before.as_ref(), &write), now) };
    let accepted = memory.watches.was_accepted(bucket, id.as_deref());
    let by = (bucket, id.clone(), begun(intent, at));
    let verdict = memory.watches.judge(by, (now.map(RawDocument::version), &seen), at);
    // What has replaced a write that S3 has shown whole is not the server's work.
    let whole = memory.watches.was_shown(bucket, id.as_deref()).then(Effect::default);
    // Nothing is waited for while a rule of ours acts on more than it was written for.
    if seen != Reading::Old && acts_on_more((before.as_ref(), &write), now, &ours) {
        return Judged::ends(Some(write), Ending::Superseded);
    }
    // No old answer lasts so long, and the server has said that it took it.
    // That a rule acts on more says nothing here: it did so before the write.
    let is_the_servers = |less: &Less| accepted && verdict == Verdict::Unseen && !less.is_wider();
    if let Some(less) = dropped(&write, now).filter(is_the_servers) {
        return Judged { effect: Some(named(&less)), ..Judged::ends(Some(write), Ending::Superseded) };
    }
    let (why, ending) = match verdict {
        Verdict::Wait => return Judged::waits(write, seen.as_written()),
        Verdict::Done => return Judged::ends(Some(write), Ending::Done),
        Verdict::Less => return Judged::ends(Some(write), lessened(&seen)),
        // What S3 has not accepted was perhaps never there: it is planned anew.
        Verdict::Unseen if !accepted => return Judged::ends(Some(write), Ending::Abandoned),
        Verdict::Overwritten if !accepted => {
            return Judged { effect: whole, ..Judged::ends(Some(write), Ending::Superseded) };
        }
        Verdict::Unseen => (VANISHED.to_owned(), Ending::Abandoned),
        Verdict::PutBack | Verdict::Overwritten => (replaced(&seen), Ending::Superseded),
    };
    Judged { write: Some(write.clone()), standing: Standing::Lost { write, why }, ending: Ok(ending), effect: whole }
}

/// What the record of a write names of which the server has kept nothing new: nobody else has put back what was before.
fn named(less: &Less) -> Effect {
    Effect { amount: 0, parts: less.ours.keys().take(MOST_NAMED).cloned().collect() }
}

/// When the write of this record was written down, on this process's clock, as far as that matters.
fn begun(intent: &Intent, now: Instant) -> Instant {
    let age = Duration::try_from(Timestamp::now().duration_since(written_down(intent))).unwrap_or_default();
    now.checked_sub(age.min(stale())).unwrap_or(now)
}

/// What is said of a write that S3 has accepted and whose rules are not there.
fn replaced(seen: &Reading) -> String {
    match seen {
        Reading::Other { why } => why.clone(),
        _ => "S3 held the rules, and then the configuration from before again".to_owned(),
    }
}

/// Rules of ours that lack something are taken back by what the record then says; where those of others do, ours are there.
fn lessened(seen: &Reading) -> Ending {
    let Reading::Less(less) = seen else { return Ending::Superseded };
    if less.ours.is_empty() { Ending::Done } else { Ending::Superseded }
}

/// Carries out a write under one intent, which stays open until later looks have read its effect.
pub(crate) async fn carry_out(
    (intents, memory): (&Arc<Intents>, &Memory),
    behalf: &Behalf<'_>,
    bucket: &Bucket,
    (targets, look): (&Targets, &Look),
    ours: impl Fn(&str) -> bool,
) -> Result<Written, AwsError> {
    let failed = |error: IntentError| not_sent(bucket, error.class(), format!("nothing was sent: {}", chain(&error)));
    let resource = resource(&bucket.name);
    let last = intents.last(&resource).ok().flatten();
    let old = Old::of(last.as_ref(), Timestamp::now());
    let read = memory.witness.recent(&bucket.name, Instant::now());
    let wish = wish(behalf.owner(), targets, look, (last.as_ref(), read));
    let prepared = behalf.prepare(intents, &resource, wish).await.map_err(failed)?;
    let (mut waiting, mut sent) = (Some(prepared), None);
    // What was there before earlier writes is not what another writer has made of it.
    let is_old = |now: Option<&RawDocument>| old.shows(now, true);
    let applied = send(bucket, (&targets.write, is_old), async || {
        let prepared = waiting.take().ok_or("the intent was sent already")?;
        let now_sent =
            sent.insert(prepared.send_within(SEND_WITHIN, CALL_TIMEOUT).await.map_err(|error| chain(&error))?);
        let permit = now_sent.permit();
        Ok(move || permit.check().map_err(|error| chain(&error)))
    })
    .await;
    // One that could not be written down as sent stays as it is until the next.
    let Some(sent) = sent else { return applied.map(|applied| applied.written) };
    match unsent(&applied) {
        Some(ended) => _ = sent.close(ended).await,
        None => {
            let record = intents.last(&resource).ok().flatten();
            remember((memory, &bucket.name), record.as_ref(), (targets, look), &applied, ours);
            // What S3 shows of it is judged by later looks; one that it has answered is over.
            if applied.is_ok() {
                sent.answered();
            }
        }
    }
    applied.map(|applied| applied.written)
}

/// How the record of a write ends of which surely nothing has come about by a request; none if its effect has to be read.
/// One that found all as wanted has replaced nothing: what the look has shown is no old answer, and this may be one.
fn unsent(applied: &Result<Applied, AwsError>) -> Option<Ended> {
    let is_unsent = match applied {
        Ok(Applied { written: Written::AlreadySo, .. }) => return Some(Ended { effect: Some(found()), ..void() }),
        Ok(applied) => matches!(applied.written, Written::Superseded | Written::Postponed),
        // Over what cannot be read nothing is written.
        Err(AwsError::ReadLifecycle { .. }) => true,
        Err(error) => error.is_unsent() || error.class() != ErrorClass::Transient,
    };
    is_unsent.then(void)
}

/// Remembers a write that was sent, whose record this is, and what was read right after it.
fn remember(
    (memory, bucket): (&Memory, &str),
    record: Option<&Intent>,
    (targets, look): (&Targets, &Look),
    applied: &Result<Applied, AwsError>,
    ours: impl Fn(&str) -> bool,
) {
    let (now, accepted, id) = (Instant::now(), applied.is_ok(), record.and_then(Intent::id));
    memory.witness.sent((bucket, id.clone()), (look.raw.known(), &targets.write), (&ours, accepted), now);
    memory.watches.begin(bucket, id.clone(), accepted, now);
    let Ok(Applied { back: Some((document, reading)), .. }) = applied else { return };
    let (document, old) = (document.as_ref(), Reading::Old);
    let is_old = is_old((memory, bucket), record, document);
    if !is_old {
        memory.witness.read(bucket, document, &ours, now);
    }
    let seen = if is_old { &old } else { reading };
    memory.watches.judge((bucket, id, now), (document.map(RawDocument::version), seen), now);
}

/// `read`: what was read within the last minutes.
fn wish(owner: Owner, targets: &Targets, look: &Look, (last, read): (Option<&Intent>, Vec<Option<String>>)) -> Wish {
    let base = targets.write.assumes.as_deref();
    // Told here, where every write passes: one that forgot what services have lost would let others expire them.
    let targets = Targets {
        earlier: Old::of(last, Timestamp::now()).besides(base),
        read: beside(base, read),
        bared: bared::kept(last, targets, look, Timestamp::now()),
        bares: bares(look.facts.document.known(), &targets.write),
        ..targets.clone()
    };
    Wish {
        owner,
        targets: targets.to_value(),
        pre_image: look.raw.known().and_then(pre_image),
        amount: 0,
        parts: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
