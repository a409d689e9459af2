//! What one look does about the rules of its bucket: waits until S3 shows the last write, takes back what the server did
//! not keep of it, or sends the next one.

use crate::apply::{Written, not_sent};
use crate::bucket::Bucket;
use crate::change::{Behalf, carry_out, resource};
use crate::controller::{Context, hold_policies};
use crate::drift::{Changed, left_alone, put_right};
use crate::harm::{self, Harmed};
use crate::lessened::Lessened;
use crate::observe::Look;
use crate::record::Targets;
use crate::replaced::{replaced, replaces};
use crate::standing::Standing;
use crate::undo::unkept;
use crate::unkept::{Undo, Unkept};
use jiff::Timestamp;
use logwise_api::validate;
use logwise_api::{LogwiseCluster, RetentionPolicy};
use logwise_aws::AwsError;
use logwise_plan::retention::{Plan, WriteRules, is_owned_by};
use logwise_runtime::ErrorClass;
use logwise_runtime::conditions::Reason;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When S3 is read again that has shown a write once, or what it made of it: policies then report what it holds.
const SHOWN_ONCE: Duration = Duration::from_secs(1);

/// When S3 is read again that does not show a write yet.
pub(crate) const UNSEEN: Duration = Duration::from_secs(5);

/// What a look did about the rules of its bucket.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// The write that the outcome is about: the plan's, without what the server does not keep, or the last one, which is
    /// not wholly read yet.
    pub write: Option<WriteRules>,
    /// What became of it; none if nothing was sent and nothing is open.
    pub outcome: Option<Result<Written, AwsError>>,
    /// Whether this look has sent it.
    pub sent: bool,
    /// Ids of wanted rules that the server does not keep as they are wanted.
    pub refused: BTreeSet<String>,
    /// What it does not keep of them.
    pub unkept: Option<Unkept>,
    /// Whether a rule of ours acts on more than it was written for, or did a short time ago.
    pub wide: bool,
    /// What it has made less of that is not ours.
    pub lessened: Lessened,
    /// Rules of others that writes of ours have harmed a short time ago.
    pub harmed: Vec<Harmed>,
}

/// Does what is to be done. `ours` knows the ids of our rules.
pub(crate) async fn attempt(
    context: &Context,
    (cluster, policies): (&LogwiseCluster, &[Arc<RetentionPolicy>]),
    bucket: &Bucket,
    (plan, observed, drift): (&Plan, &Look, &[Changed]),
    (standing, ours): (Standing, impl Fn(&str) -> bool),
) -> Attempt {
    let last = context.shell.intents.last(&resource(&bucket.name)).ok().flatten();
    let (at, may) = (Timestamp::now(), validate::may_change(cluster));
    let unkept = unkept(last.as_ref(), &observed.raw, &ours, at);
    let unkept = if may { unkept } else { unkept.map(Unkept::without_writing) };
    let is_duty = unkept.as_ref().is_some_and(Unkept::is_duty);
    let (wanted, refused) = match (&plan.write, &unkept) {
        (Some(write), Some(unkept)) => unkept.ignored.spare(write, observed.raw.known()),
        (write, _) => (write.clone(), BTreeSet::new()),
    };
    let wide = unkept.as_ref().is_some_and(|unkept| unkept.is_alarming(at));
    let lessened = Lessened::of(last.as_ref(), &observed.raw);
    let attempt = Attempt { refused, unkept, wide, lessened, ..Attempt::default() };
    let place = Place { context, cluster, policies, bucket, observed };
    let attempt = match standing {
        // Whatever the mode is by now, and whatever this look says of the last write.
        Standing::Free | Standing::Lost { .. } if is_duty => place.act(attempt, (None, drift), &ours).await,
        Standing::Open { write, seen, .. } => Attempt { write: Some(write), outcome: Some(Ok(seen)), ..attempt },
        Standing::Lost { write, why } => {
            Attempt { write: Some(write), outcome: Some(Ok(Written::NotVerified { why })), ..attempt }
        }
        Standing::Unclear(why) if may && wanted.is_some() => {
            let refused = not_sent(bucket, ErrorClass::Conflict, format!("nothing was sent: {why}"));
            Attempt { write: wanted, outcome: Some(Err(refused)), ..attempt }
        }
        Standing::Free if may => place.act(attempt, (wanted, drift), &ours).await,
        Standing::Unclear(_) | Standing::Free => Attempt { write: wanted, ..attempt },
    };
    let harmed = context.memory.witness.harmed(&bucket.name, Instant::now());
    Attempt { harmed, ..attempt }
}

/// Where a write goes, and for whom.
struct Place<'a> {
    context: &'a Context,
    cluster: &'a LogwiseCluster,
    policies: &'a [Arc<RetentionPolicy>],
    bucket: &'a Bucket,
    observed: &'a Look,
}

impl Place<'_> {
    /// Takes back what the server did not keep, or else writes what is wanted.
    async fn act(
        &self,
        attempt: Attempt,
        (wanted, drift): (Option<WriteRules>, &[Changed]),
        ours: impl Fn(&str) -> bool,
    ) -> Attempt {
        if let Some(Unkept { undo: Undo::Due(targets), .. }) = &attempt.unkept {
            let mut targets = Targets::clone(targets);
            targets.left.extend(left_alone(&targets.write, drift));
            // At once: until then a rule may act on more than it was written for.
            let outcome = self.write(&targets, false, ours).await;
            return Attempt { outcome: Some(outcome), ..attempt };
        }
        let Some(write) = wanted else { return attempt };
        let is_known = |unkept: &&Unkept| unkept.ignored.wider || !attempt.refused.is_empty();
        let ignored = attempt.unkept.as_ref().filter(is_known);
        let last = self.context.shell.intents.last(&resource(&self.bucket.name)).ok().flatten();
        let targets = Targets {
            left: left_alone(&write, drift),
            repairs: put_right(&write, drift),
            replaced: replaced(last.as_ref()),
            replaces: replaces(&write, self.observed.raw.known()),
            minimum_object_size: self.observed.minimum_object_size(),
            ignored: ignored.map(|unkept| unkept.ignored.clone()),
            lessened: attempt.lessened.clone(),
            undoes: false,
            write,
            ..Targets::default()
        };
        let outcome = self.write(&targets, true, ours).await;
        let sent = Attempt { write: Some(targets.write), outcome: Some(outcome), ..attempt };
        Attempt { sent: sent.is_open(), ..sent }
    }

    /// Sends a write, unless it was in vain a short while ago or, with `held`, a policy is not ready for it. What takes away
    /// a rule that acts on more than it was written for waits for nothing.
    async fn write(&self, targets: &Targets, held: bool, ours: impl Fn(&str) -> bool) -> Result<Written, AwsError> {
        let (memory, bucket) = (&self.context.memory, self.bucket);
        let known = memory.tried.outcome(&bucket.name, &targets.write, Instant::now());
        if let Some(known) = known.filter(|_| !targets.is_duty()) {
            return known;
        }
        if held && let Some(postponed) = hold_policies(self.context, self.policies).await {
            return Ok(postponed);
        }
        let by = (&self.context.shell.intents, memory);
        let behalf = Behalf::Pipeline(self.cluster);
        let outcome = carry_out(by, &behalf, bucket, (targets, self.observed), ours).await;
        memory.tried.noted(&bucket.name, &targets.write, outcome, Instant::now())
    }
}

impl Attempt {
    /// Whether the last write is not wholly read yet.
    pub(crate) fn is_open(&self) -> bool {
        self.next_look().is_some()
    }

    /// When S3 is read again, if that is soon.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        match self.outcome {
            Some(Ok(Written::Shown { .. } | Written::Lessened { .. })) => Some(SHOWN_ONCE),
            Some(Ok(Written::Unseen { .. })) => Some(UNSEEN),
            _ => None,
        }
    }

    /// Whether the write that the outcome is about has to do with this owner's rules.
    pub(crate) fn concerns(&self, owner: &str) -> bool {
        let ids = |write: &WriteRules| {
            let added = write.add.iter().any(|rule| is_owned_by(&rule.id, owner));
            added || write.remove.iter().any(|id| is_owned_by(id, owner))
        };
        self.write.as_ref().is_some_and(ids)
    }

    /// What the server does not keep of this owner's rules, and the next step; none if it keeps all of them.
    pub(crate) fn refusal(&self, owner: &str) -> Option<String> {
        let refused = self.refused.iter().any(|id| is_owned_by(id, owner));
        self.unkept.as_ref().filter(|_| refused).map(|unkept| format!("{}. {}", unkept.words(), unkept.advice()))
    }

    /// What others have changed right after the write, beside its rules.
    pub(crate) fn beside(&self) -> Option<&str> {
        match &self.outcome {
            Some(Ok(Written::Shown { others })) => others.as_deref(),
            _ => None,
        }
    }

    /// That a rule of ours acts on more than it was written for, as long as it is there.
    pub(crate) fn alarm(&self, bucket: &str) -> Option<String> {
        self.unkept.as_ref().filter(|unkept| unkept.is_duty()).map(|unkept| ignores(bucket, unkept))
    }

    /// What stands between the operator and the rules of `bucket` as they are wanted: the reason, the fact, the next step.
    pub(crate) fn trouble(&self, bucket: &str) -> Option<(Reason, String)> {
        if let Some(message) = self.alarm(bucket) {
            return Some((Reason::StoreIgnoresField, message));
        }
        if let Some(Ok(Written::NotVerified { why })) = &self.outcome {
            let message = format!(
                "The configuration of {bucket} is not what was written: {why}. Find the other writer of its lifecycle rules"
            );
            return Some((Reason::ForeignWriterDetected, message));
        }
        if let Some(message) = harm::told(bucket, &self.harmed) {
            return Some((Reason::ForeignWriterDetected, message));
        }
        let unkept = self.told_unkept().map(|unkept| ignores(bucket, unkept));
        let told: Vec<String> = unkept.into_iter().chain(self.lessened.told(bucket)).collect();
        (!told.is_empty()).then(|| (Reason::StoreIgnoresField, told.join(". ")))
    }

    /// What the server does not keep of rules of ours, if that is told: policies ask for it, or a rule acted on more.
    fn told_unkept(&self) -> Option<&Unkept> {
        self.unkept.as_ref().filter(|_| self.wide || !self.refused.is_empty())
    }

    /// How a look that ended so counts, apart from calls that failed.
    pub(crate) fn failure(&self) -> Option<ErrorClass> {
        match self.outcome {
            Some(Ok(Written::Superseded | Written::Postponed | Written::NotVerified { .. })) => {
                Some(ErrorClass::Conflict)
            }
            _ if !self.refused.is_empty() && !self.is_open() => Some(ErrorClass::Invalid),
            _ => None,
        }
    }

    /// What the decision record tells beside the outcome.
    pub(crate) fn words(&self) -> Vec<String> {
        let unkept = self.told_unkept().map(|unkept| format!("Noted: StoreIgnoresField: {}", unkept.words()));
        unkept.into_iter().chain(self.lessened.words()).chain(harm::recorded(&self.harmed)).collect()
    }
}

fn ignores(bucket: &str, unkept: &Unkept) -> String {
    format!(
        "The server of bucket {bucket} accepts lifecycle rules and does not keep all of them: {}. Rules with these are not \
         written again. {}",
        unkept.words(),
        unkept.advice()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harm::Harm;
    use crate::record::Ignored;
    use crate::verify::Lesser;
    use logwise_plan::retention::{Rule, Settings, rule_id};
    use std::collections::BTreeMap;

    fn attempt(outcome: Written) -> Attempt {
        Attempt { outcome: Some(Ok(outcome)), ..Attempt::default() }
    }

    fn harmed(harm: Harm) -> Attempt {
        Attempt { harmed: vec![Harmed { rule: "theirs".into(), harm }], ..Attempt::default() }
    }

    #[test]
    fn an_old_answer_is_no_trouble_and_another_writer_is() {
        let unseen = attempt(Written::Unseen { why: "old".into() });
        assert_eq!((unseen.trouble("b"), unseen.failure(), unseen.next_look()), (None, None, Some(UNSEEN)));
        let shown = attempt(Written::Shown { others: Some("one more".into()) });
        assert_eq!((shown.trouble("b"), shown.failure(), shown.next_look()), (None, None, Some(SHOWN_ONCE)));
        assert_eq!((shown.beside(), unseen.beside(), shown.is_open()), (Some("one more"), None, true));
        let other = attempt(Written::NotVerified { why: "gone".into() });
        assert_eq!(other.trouble("b").unwrap().0, Reason::ForeignWriterDetected);
        assert_eq!((other.failure(), other.next_look()), (Some(ErrorClass::Conflict), None));
        let raced = attempt(Written::Superseded);
        assert_eq!((raced.trouble("b"), raced.failure()), (None, Some(ErrorClass::Conflict)));
    }

    #[test]
    fn rules_of_others_that_were_harmed_are_named() {
        let (reason, message) = harmed(Harm::Dropped).trouble("b").unwrap();
        assert!(reason == Reason::ForeignWriterDetected && message.contains("took them away: theirs."), "{message}");
        let lesser = Lesser {
            rule: "theirs".into(),
            now: "<Rule/>".into(),
            fields: BTreeSet::from(["Filter.ObjectSizeGreaterThan".into()]),
        };
        let lessened = Lessened { rules: vec![lesser], setting: Some("varies_by_storage_class".into()) };
        let lessened = Attempt { lessened, ..Attempt::default() };
        let (reason, message) = lessened.trouble("b").unwrap();
        let named = message.contains("theirs lacks Filter.ObjectSizeGreaterThan.");
        assert!(reason == Reason::StoreIgnoresField && named, "{message}");
        assert!(message.contains("has not kept TransitionDefaultMinimumObjectSize, which was varies"), "{message}");
        assert_eq!((lessened.words().len(), lessened.failure()), (2, None));
    }

    #[test]
    fn a_rule_that_acts_on_more_is_told_first_and_whatever_the_policies_want() {
        let fields = BTreeMap::from([("Filter.Prefix".to_owned(), 1)]);
        let ignored = Ignored { fields, wider: true, undone: Some(Timestamp::UNIX_EPOCH), ..Ignored::default() };
        let targets = Targets { undoes: true, ignored: Some(ignored.clone()), ..Targets::default() };
        let unkept = Some(Unkept { ignored: ignored.clone(), undo: Undo::Due(Box::new(targets)) });
        let other = Written::NotVerified { why: "gone".into() };
        let there = Attempt { unkept, wide: true, ..attempt(other) };
        let (reason, message) = there.trouble("b").unwrap();
        assert!(reason == Reason::StoreIgnoresField && message.contains("are being taken away, whatever"), "{message}");
        assert!(there.alarm("b").is_some());
        let unkept = Some(Unkept { ignored, undo: Undo::No });
        let gone = Attempt { unkept: unkept.clone(), wide: true, ..Attempt::default() };
        let (reason, message) = gone.trouble("b").unwrap();
        assert!(reason == Reason::StoreIgnoresField && message.contains("were taken away. From"), "{message}");
        assert!(gone.alarm("b").is_none() && gone.words().len() == 1);
        let later = Attempt { unkept, ..Attempt::default() };
        assert_eq!(later.trouble("b"), None, "nobody wants such a rule");
    }

    #[test]
    fn what_the_server_does_not_keep_is_told_to_those_who_want_it() {
        let id = rule_id("lab.shop.keep", "00000001", "a");
        let fields = BTreeMap::from([("AbortIncompleteMultipartUpload.DaysAfterInitiation".to_owned(), 1)]);
        let ignored = Ignored { fields, ..Ignored::default() };
        let unkept = Some(Unkept { ignored, undo: Undo::No });
        let refused = Attempt { unkept, refused: BTreeSet::from([id.clone()]), ..Attempt::default() };
        let (reason, message) = refused.trouble("b").unwrap();
        assert!(reason == Reason::StoreIgnoresField && message.contains("AbortIncomplete"), "{message}");
        assert!(refused.refusal("lab.shop.keep").is_some() && refused.refusal("lab.shop.other").is_none());
        assert_eq!(refused.failure(), Some(ErrorClass::Invalid));
        let rule = Rule { id, prefix: "logs/service_name=a/".into(), settings: Settings::default() };
        let write = Some(WriteRules { add: vec![rule], ..WriteRules::default() });
        let wrote = Attempt { write, refused: BTreeSet::new(), ..refused };
        assert!(wrote.concerns("lab.shop.keep") && !wrote.concerns("lab.shop.other"));
        assert_eq!((wrote.trouble("b"), wrote.failure()), (None, None), "nobody wants it any more");
    }
}
