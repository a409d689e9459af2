//! The last of the five steps: what a reconcile found and did goes to status, events, metrics and the record.

use crate::conditions::{ConditionType, Draft, Reason, Truth};
use crate::facts::{Channel, Fact, FactBoard};
use crate::fair::Fair;
use crate::metrics::Ending;
use crate::{
    Access, Backoff, Broken, Decision, DecisionLog, ErrorClass, EventDraft, Events, Intents, Metrics, NotLeading, Part,
    PartStatus, Secrets, StatusWriter, Term, Transition, Unreadable, chain, crash, guarded,
};
use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::Action;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time one reconcile may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// The same for Kafka: a growth alone may take a minute under a quota, and is looked at before and after.
const KAFKA_DEADLINE: Duration = Duration::from_secs(120);

/// Longest time one look of this part may take.
fn deadline(part: Part) -> Duration {
    if part == Part::Kafka { KAFKA_DEADLINE } else { DEADLINE }
}

/// Longest wait after failures in a row; spread to 56 s, so that a mended Secret or right works within a minute.
const LONGEST_BACKOFF: Duration = Duration::from_secs(45);

/// When an object that cannot be read is looked at again.
const UNREADABLE: Duration = Duration::from_secs(15);

/// Looks of one part at the same time, and how many of them may be of one namespace.
const PLACES: (usize, usize) = (16, 8);

/// Which object, in which generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectKey {
    /// Uid.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Generation.
    pub generation: i64,
}

impl ObjectKey {
    /// The key of `object`.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self {
            uid: object.uid().unwrap_or_default(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            generation: object.meta().generation.unwrap_or_default(),
        }
    }
}

/// What a part wants to say after a look.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The part's share of the status.
    pub status: PartStatus,
    /// What happened.
    pub events: Vec<EventDraft>,
    /// What was decided, in order.
    pub decisions: Vec<Decision>,
    /// The worst failure of this look; sets the next one by back-off.
    pub failure: Option<ErrorClass>,
    /// When to look again if nothing failed; zero: only when the object changes.
    pub next_look: Duration,
    /// Longest wait after a failure, where looking again costs next to nothing; none: the back-off alone decides.
    pub retry_within: Option<Duration>,
}

/// Everything a controller reports to, shared by all of them.
pub struct Shell {
    /// Status writer.
    pub status: StatusWriter,
    events: Events,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Record of decisions.
    pub decisions: DecisionLog,
    /// What is about to be done outside, written down before it is done.
    pub intents: Arc<Intents>,
    /// What namespaces may refer to.
    pub access: Arc<Access>,
    /// Secrets that objects refer to.
    pub secrets: Secrets,
    /// What parts know from each other.
    pub facts: FactBoard,
    places: [Fair; Part::ALL.len()],
    backoff: Backoff,
    /// By kind.
    unreadable: HashMap<Cow<'static, str>, Unreadable>,
}

impl Shell {
    /// A shell over one Kubernetes client, for one term.
    pub fn new(
        client: Client,
        metrics: Arc<Metrics>,
        decisions: DecisionLog,
        intents: Arc<Intents>,
        access: Arc<Access>,
    ) -> Self {
        Self {
            secrets: Secrets::new(client.clone()),
            access,
            status: StatusWriter::new(client.clone()),
            events: Events::new(client),
            metrics,
            decisions,
            intents,
            facts: FactBoard::default(),
            places: Part::ALL.map(|_| Fair::new(PLACES.0, PLACES.1)),
            backoff: Backoff::new(Duration::from_secs(1), LONGEST_BACKOFF),
            unreadable: HashMap::new(),
        }
    }

    /// Objects of a kind that cannot be read: no look is made at them, and nothing is said about them.
    #[must_use]
    pub fn without<K: Resource<DynamicType = ()>>(mut self, unreadable: Unreadable) -> Self {
        self.unreadable.insert(K::kind(&()), unreadable);
        self
    }

    fn is_unreadable<K: Resource<DynamicType = ()>>(&self, key: &ObjectKey) -> bool {
        let list = self.unreadable.get(&K::kind(&()));
        list.is_some_and(|list| list.why(&key.namespace, &key.name).is_some())
    }

    /// Tells the other parts what was found about a resource, known or not.
    pub fn tell<T: Clone>(&self, channel: &Channel<T>, resource: &str, fact: Fact<T>) {
        self.metrics.told(channel.name(), !fact.value.is_unknown());
        channel.publish(resource, fact);
    }

    /// Runs one look of `part` at `object` under guard and publishes its report, whatever the end.
    pub async fn reconcile<K>(&self, part: Part, object: &K, look: impl Future<Output = Report>) -> Action
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        if self.term().check().is_err() {
            return Action::await_change();
        }
        let key = ObjectKey::of(object);
        if self.intents.outdated(object) {
            return self.next_look(part, &key, Some(ErrorClass::Conflict), Duration::ZERO);
        }
        if self.is_unreadable::<K>(&key) {
            // It may be mended without a change of its spec, which would wake nobody.
            return Action::requeue(UNREADABLE);
        }
        let queued = Instant::now();
        let _place = self.places[part as usize].enter(&key.namespace).await;
        self.metrics.waited(part, queued.elapsed());
        if self.term().check().is_err() {
            return Action::await_change();
        }
        let started = Instant::now();
        let look = async {
            crash::object(part.label(), &key.namespace, &key.name).await;
            look.await
        };
        let look = tokio::select! {
            looked = guarded(deadline(part), look) => looked,
            // Nothing that it finds could be acted on or said any more. What it has sent is recorded.
            () = self.term().idle() => return Action::await_change(),
        };
        let (report, ending) = match look {
            Ok(report) if report.failure.is_some() => (report, Ending::Error),
            Ok(report) => (report, Ending::Success),
            Err(broken) => (broken_report(part, object, &broken), Ending::Broken),
        };
        self.metrics.reconciled(part, ending, started.elapsed());
        self.safely(part, &key, self.publish(part, object, report)).await
    }

    /// The term in which things may be changed.
    pub fn term(&self) -> &Term {
        self.intents.term()
    }

    /// Runs `work` under guard: a panic or a hang of one object is logged and tried again, and nobody else notices.
    pub async fn safely(&self, part: Part, key: &ObjectKey, work: impl Future<Output = Action>) -> Action {
        match guarded(DEADLINE, work).await {
            Ok(action) => action,
            Err(broken) => {
                let (namespace, name) = (&key.namespace, &key.name);
                tracing::error!(part = part.label(), %namespace, %name, error = chain(&broken), "not reported");
                self.next_look(part, key, Some(ErrorClass::Transient), Duration::ZERO)
            }
        }
    }

    /// Writes a report and says when to look again.
    pub async fn publish<K>(&self, part: Part, object: &K, report: Report) -> Action
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let key = ObjectKey::of(object);
        if self.term().check() == Err(NotLeading::Over) {
            // Somebody else speaks for the object now.
            return Action::await_change();
        }
        // What was done is on record whatever became of the object meanwhile.
        let (done, planned): (Vec<_>, Vec<_>) = report.decisions.into_iter().partition(Decision::has_acted);
        done.into_iter().for_each(|decision| self.decisions.record(&key, part, decision, Timestamp::now()));
        if self.is_unreadable::<K>(&key) {
            return Action::requeue(UNREADABLE);
        }
        if self.intents.outdated(object) {
            // What was seen is past: nothing is said about it, and the watch brings what is there now.
            return self.next_look(part, &key, Some(ErrorClass::Conflict), Duration::ZERO);
        }
        for decision in planned {
            self.decisions.record(&key, part, decision, Timestamp::now());
        }
        let mut failure = report.failure;
        match self.status.write(part, object, &report.status).await {
            Ok(transitions) => self.announce(object, &key, &transitions).await,
            // It is looked at again unless the watch says so too: whatever answers 404 in between may be wrong.
            Err(error) if error.is_gone() => {
                return self.next_look(part, &key, Some(ErrorClass::NotFound), Duration::ZERO);
            }
            Err(error) => {
                tracing::warn!(part = part.label(), error = chain(&error), "status not written");
                failure = failure.or(Some(error.class()));
            }
        }
        for event in &report.events {
            self.happened(object, &key, event).await;
        }
        match (failure, report.retry_within) {
            (Some(class), Some(most)) => Action::requeue(self.failed(part, &key, class).min(most)),
            _ => self.next_look(part, &key, failure, report.next_look),
        }
    }

    /// Counts a failure and tells how long to wait.
    fn failed(&self, part: Part, key: &ObjectKey, class: ErrorClass) -> Duration {
        self.metrics.failed(part, class);
        self.backoff.failed(&format!("{}/{}", part.label(), key.uid), key.generation)
    }

    fn next_look(&self, part: Part, key: &ObjectKey, failure: Option<ErrorClass>, next_look: Duration) -> Action {
        if let Some(class) = failure {
            return Action::requeue(self.failed(part, key, class));
        }
        self.backoff.succeeded(&format!("{}/{}", part.label(), key.uid));
        if next_look.is_zero() { Action::await_change() } else { Action::requeue(next_look) }
    }

    /// One log line and, where people want to hear of it, one event per condition that changed.
    async fn announce<K: Resource<DynamicType = ()>>(&self, object: &K, key: &ObjectKey, transitions: &[Transition]) {
        for Transition { now, had_before, was_abnormal } in transitions {
            self.metrics.transition(now);
            let (namespace, name) = (&key.namespace, &key.name);
            tracing::info!(
                kind = %K::kind(&()), %namespace, %name, generation = key.generation,
                condition = now.kind.name(), status = now.truth.name(), reason = now.reason.name(), "{}", now.message
            );
            let worth_it = now.is_abnormal() && !is_on_the_way(now.reason) || *had_before && *was_abnormal;
            if worth_it && !is_derived(now.kind) {
                let event = EventDraft {
                    warning: now.is_abnormal(),
                    reason: now.reason.name(),
                    action: if now.kind == ConditionType::Validated { "Preflight" } else { "Observe" },
                    note: format!("{} is {}: {}", now.kind.name(), now.truth.name(), now.message),
                };
                self.event(object, &event).await;
            }
        }
    }

    /// Writes an event, unless the term is over: somebody else speaks for the object then.
    pub async fn event<K: Resource<DynamicType = ()>>(&self, object: &K, event: &EventDraft) {
        if self.term().check() != Err(NotLeading::Over) {
            self.events.publish(object, event).await;
        }
    }

    async fn happened<K: Resource<DynamicType = ()>>(&self, object: &K, key: &ObjectKey, event: &EventDraft) {
        let (namespace, name) = (&key.namespace, &key.name);
        tracing::info!(kind = %K::kind(&()), %namespace, %name, generation = key.generation, reason = event.reason, "{}", event.note);
        self.event(object, event).await;
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &str) {
        self.status.forget(uid);
        self.intents.forget(uid);
        self.decisions.forget(uid);
        for part in Part::ALL {
            self.backoff.succeeded(&format!("{}/{uid}", part.label()));
        }
    }
}

/// Reasons that come by themselves and go, or that somebody chose: no news.
const fn is_on_the_way(reason: Reason) -> bool {
    matches!(reason, Reason::Pending | Reason::Progressing | Reason::PreflightPending | Reason::PreflightDisabled)
}

/// Conditions that only repeat what others say; of `Drifted` the RetentionPolicy has an event.
const fn is_derived(kind: ConditionType) -> bool {
    matches!(
        kind,
        ConditionType::Ready
            | ConditionType::Reconciling
            | ConditionType::Stalled
            | ConditionType::ChangesPending
            | ConditionType::Drifted
    )
}

/// What is said when a look panicked or hung: the part's own readiness is unknown, the rest stays as last reported.
fn broken_report<K: serde::Serialize>(part: Part, object: &K, broken: &Broken) -> Report {
    let kind = match part {
        Part::Kafka => ConditionType::KafkaReady,
        Part::Spark => ConditionType::SparkReady,
        Part::Storage => ConditionType::StorageReady,
        Part::Retention | Part::Summary => ConditionType::Ready,
        Part::Mirror => ConditionType::MirrorInSync,
    };
    let message =
        format!("The last look did not end: {broken}. It is tried again; please report this with the operator's log");
    let mut status = PartStatus::as_reported(part, object);
    status.conditions.retain(|draft| draft.kind != kind);
    status.conditions.push(Draft::new(kind, Truth::Unknown, Reason::InternalError, message));
    Report { status, failure: Some(ErrorClass::Transient), ..Report::default() }
}
