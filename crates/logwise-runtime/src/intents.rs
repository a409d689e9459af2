//! Intents in Kubernetes: one ConfigMap per external resource in the operator's own namespace, where tenants cannot
//! write. Every write replaces the version that was read.

pub use crate::calls::{Prepared, Sent};
use crate::fresh::{Newer, NotFresh};
use crate::intent::{Ended, Intent, Owner, Refused, Request, SHARED, Wish, advance};
use crate::kubernetes::{KubernetesError, Seat, within};
use crate::record::{Record, document};
use crate::term::{NotLeading, Term};
use crate::words::shortened;
use crate::{ErrorClass, chain, crash};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

/// Records listed at once, each with a pre-image of some kilobytes at most.
const PAGE: u32 = 200;

/// Records of Kafka clusters that objects of one namespace make: brokers state their ids themselves.
const MOST_NAMES: usize = 100;

/// How long a change waits for one of another object.
const TURN: Duration = Duration::from_secs(5);

/// Characters of targets in a line of the log: those of a bucket may be long.
const LONGEST_TARGETS: usize = 500;

/// With shards, how old the records of others may be.
const SEE_OTHERS: Duration = Duration::from_secs(10);

/// Nothing was sent, because the intent could not be written down or somebody else's stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// The record forbids it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The term is over.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// The object is not the one that was looked at, or that could not be read.
    #[error(transparent)]
    NotFresh(#[from] NotFresh),
    /// The API server did not take it.
    #[error("the intent was not written")]
    Kubernetes(#[from] KubernetesError),
    /// Names of resources that others state, such as the id of a Kafka cluster, must not fill the API server.
    #[error(
        "namespace {namespace} has {MOST_NAMES} records of Kafka clusters: delete the ConfigMaps of those that are gone in the operator's namespace"
    )]
    TooMany {
        /// The namespace of the object.
        namespace: String,
    },
    /// A change on behalf of another object is being made.
    #[error("another change of the same resource is under way")]
    Busy,
    /// Another object was first.
    #[error("it was claimed for {owner} meanwhile")]
    Claimed {
        /// Namespace and name.
        owner: String,
    },
    /// A later version wrote the record, or a person did: it cannot be read.
    #[error(
        "ConfigMap {name} in the operator's namespace cannot be read ({why}). If a later version of the operator wrote it, run that version again; else look at what it was about, then delete it"
    )]
    Unreadable {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
}

impl IntentError {
    /// Class of the failure.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Refused(_)
            | Self::NotLeading(_)
            | Self::Claimed { .. }
            | Self::Busy
            | Self::NotFresh(NotFresh::Outdated { .. }) => ErrorClass::Conflict,
            Self::Kubernetes(_) | Self::NotFresh(NotFresh::Unread(_)) => ErrorClass::Transient,
            Self::Unreadable { .. } | Self::TooMany { .. } => ErrorClass::Invalid,
        }
    }
}

/// The intents of this installation during one term.
pub struct Intents {
    seat: Seat,
    term: Arc<Term>,
    records: Mutex<HashMap<String, Record>>,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    listed: tokio::sync::Mutex<Instant>,
    newer: Newer,
}

/// The greatest epoch that any intent bears.
pub(crate) async fn greatest_epoch(seat: &Seat) -> Result<i64, KubernetesError> {
    let records = list(seat).await?;
    Ok(records.values().filter_map(Record::epoch).max().unwrap_or(0))
}

async fn list(seat: &Seat) -> Result<HashMap<String, Record>, KubernetesError> {
    let api: Api<ConfigMap> = Api::namespaced(seat.client.clone(), &seat.namespace);
    let mut params = ListParams::default().labels(&seat.selector("intent")).limit(PAGE);
    let mut records = HashMap::new();
    loop {
        let page = within("listing the intents", api.list(&params)).await?;
        records.extend(page.items.into_iter().map(|object| (object.name_any(), Record::read(object))));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(records),
        }
    }
}

impl Intents {
    /// Reads all intents, before anything else is done in a term.
    ///
    /// # Errors
    /// [`KubernetesError`] when they could not be listed.
    pub async fn load(seat: Seat, term: Arc<Term>) -> Result<Self, KubernetesError> {
        let records = Mutex::new(list(&seat).await?);
        let listed = tokio::sync::Mutex::new(Instant::now());
        Ok(Self { seat, term, records, turns: Mutex::default(), listed, newer: Newer::default() })
    }

    /// The term.
    pub fn term(&self) -> &Arc<Term> {
        &self.term
    }

    /// Clears the way to `resource`: an intent that an earlier look or an earlier leader left open is closed by its
    /// effect. `judge` says how it ended and when the look at the resource began that shows it; it is asked only if there
    /// is such an intent. Returns the intent that this has closed.
    ///
    /// # Errors
    /// Why nothing may be sent about this resource yet.
    pub async fn clear<E: Into<Ended>>(
        &self,
        resource: &str,
        judge: impl AsyncFnOnce(&Intent) -> Result<(E, Instant), String>,
    ) -> Result<Option<Intent>, String> {
        let text = |error: IntentError| chain(&error);
        let Some(intent) = self.open(resource).await.map_err(text)? else { return Ok(None) };
        let (ended, looked) = judge(&intent).await?;
        self.settle(resource, intent, (ended.into(), looked)).await.map_err(text)
    }

    /// The intent of `resource` that is not closed, if there is one: its effect has to be judged before anything else.
    async fn open(&self, resource: &str) -> Result<Option<Intent>, IntentError> {
        if matches!(self.current(resource), Err(IntentError::Unreadable { .. })) {
            // Perhaps it was mended meanwhile.
            self.refresh(&self.name(resource)).await?;
        }
        Ok(self.current(resource)?.filter(|intent| !intent.state.is_closed()))
    }

    /// The operator's client.
    pub(crate) fn client(&self) -> kube::Client {
        self.seat.client.clone()
    }

    /// Reads the records again that other shards write, if that was not done a short time ago. Without shards nobody else
    /// writes any.
    pub async fn see_others(&self) {
        if self.seat.shard.is_empty() {
            return;
        }
        let mut listed = self.listed.lock().await;
        if listed.elapsed() < SEE_OTHERS {
            return;
        }
        *listed = Instant::now();
        match list(&self.seat).await {
            Ok(found) => {
                let mut records = self.lock();
                for (name, record) in found {
                    // The same version keeps the time at which it was first seen.
                    if records.get(&name).map(Record::version) != Some(record.version()) {
                        records.insert(name, record);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "what other shards own is as last seen");
            }
        }
    }

    /// The objects that own resources whose names `is` accepts, by the records: that of the newest record first. What
    /// another shard has written meanwhile is known after 10 s.
    pub async fn owners_where(&self, is: impl Fn(&str) -> bool) -> Vec<Owner> {
        self.see_others().await;
        let records = self.lock();
        let intents = records.values().filter_map(|record| record.intent.as_ref().ok());
        let mut intents: Vec<&Intent> = intents.filter(|intent| is(&intent.resource)).collect();
        intents.sort_by(|one, other| (other.written, &one.resource).cmp(&(one.written, &other.resource)));
        intents.into_iter().map(|intent| intent.wish.owner.clone()).collect()
    }

    /// The object that the record of `resource` names as its owner, known as in [`Self::owners_where`].
    pub async fn owner(&self, resource: &str) -> Option<Owner> {
        self.see_others().await;
        let records = self.lock();
        records.get(&self.name(resource))?.intent.as_ref().ok().map(|intent| intent.wish.owner.clone())
    }

    /// The records that `is` accepts, by the names of their resources; known as in [`Self::owners_where`].
    pub async fn matching(&self, is: impl Fn(&Intent) -> bool) -> Vec<Intent> {
        self.see_others().await;
        let one = |record: &Record| record.intent.as_ref().ok().filter(|intent| is(intent)).cloned();
        let mut found: Vec<Intent> = self.lock().values().filter_map(one).collect();
        found.sort_unstable_by_key(|intent| intent.resource.clone());
        found
    }

    /// The record of `resource` as this process last saw it, if there is one.
    ///
    /// # Errors
    /// [`IntentError::Unreadable`]
    pub fn last(&self, resource: &str) -> Result<Option<Intent>, IntentError> {
        self.current(resource)
    }

    /// Closes the open intent of `resource` as it was judged, by a look at the resource that began at the given time.
    async fn settle(
        &self,
        resource: &str,
        judged: Intent,
        (ended, looked): (Ended, Instant),
    ) -> Result<Option<Intent>, IntentError> {
        // A call of this process that is under way ends by itself: nobody waits for it here.
        let Ok(_turn) = self.place(resource).try_lock_owned() else { return Err(IntentError::Busy) };
        if self.current(resource)?.is_none_or(|intent| intent.state.is_closed()) {
            return Ok(None);
        }
        let (judged, ending) = (Box::new(judged), ended.ending);
        let written = self.write(resource, |record| {
            let looked = self.as_seen(record, looked);
            Request::Settle { judged: judged.clone(), ended: ended.clone(), looked }
        });
        let intent = match written.await {
            // It was written, and the answer was lost.
            Err(error) => {
                self.closed_as(resource, judged.id()).filter(|closed| closed.state == ending.into()).ok_or(error)?
            }
            Ok(intent) => intent,
        };
        let targets = shortened(&intent.wish.targets.to_string(), LONGEST_TARGETS);
        tracing::info!(%resource, ?ending, %targets, "an open intent was judged by its effect");
        Ok(Some(intent))
    }

    /// The call of `resource` was answered: looks that begin from now on may judge it.
    pub(crate) fn answered(&self, resource: &str) {
        if let Some(record) = self.lock().get_mut(&self.name(resource)) {
            record.answered = Some(Instant::now());
        }
    }

    /// The record of `resource`, if it is closed and the intent with this id.
    pub(crate) fn closed_as(&self, resource: &str, id: Option<String>) -> Option<Intent> {
        let current = self.current(resource).ok()??;
        (id.is_some() && current.state.is_closed() && current.id() == id).then_some(current)
    }

    /// Whether the API server is known to have a newer state of this object than it shows here: a look at it would be
    /// one at the past.
    pub fn outdated<K: Resource>(&self, object: &K) -> bool {
        self.newer.outdates(object)
    }

    /// Asks the API server whether these objects of one namespace are still as they are here.
    ///
    /// # Errors
    /// [`NotFresh`]: nothing may be changed outside on their behalf.
    pub async fn still<K>(&self, namespace: &str, objects: &[&K]) -> Result<(), NotFresh>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.newer.ask_all(self.client(), namespace, objects).await
    }

    /// Forgets an object that was deleted.
    pub(crate) fn forget(&self, uid: &str) {
        self.newer.forget(uid);
    }

    /// Writes down what is wanted of `resource` for `object`, if the API server still has it as it is here.
    ///
    /// # Errors
    /// [`IntentError`]: nothing may be sent.
    pub async fn prepare<K>(self: &Arc<Self>, resource: &str, object: &K, wish: Wish) -> Result<Prepared, IntentError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.prepare_if(resource, self.newer.ask(self.client(), object), wish).await
    }

    /// The same for objects of one namespace, of a kind that the operator may list and not get.
    ///
    /// # Errors
    /// [`IntentError`]: nothing may be sent.
    pub async fn prepare_listed<K>(
        self: &Arc<Self>,
        resource: &str,
        objects: &[&K],
        wish: Wish,
    ) -> Result<Prepared, IntentError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let namespace = objects.first().and_then(|object| object.namespace()).unwrap_or_default();
        self.prepare_if(resource, self.newer.ask_all(self.client(), &namespace, objects), wish).await
    }

    /// `fresh` is asked once it is this change's turn.
    async fn prepare_if(
        self: &Arc<Self>,
        resource: &str,
        fresh: impl Future<Output = Result<(), NotFresh>>,
        wish: Wish,
    ) -> Result<Prepared, IntentError> {
        let turn = self.turn(resource).await?;
        fresh.await?;
        self.few_names(resource, &wish.owner.namespace)?;
        let prepare = |_: Option<&Record>| Request::Prepare { resource: resource.to_owned(), wish: wish.clone() };
        let intent = self.write(resource, prepare).await?;
        Ok(Prepared::new(self.clone(), resource, turn, &intent))
    }

    /// Whether objects of this namespace may make one more record, if it would be one.
    fn few_names(&self, resource: &str, namespace: &str) -> Result<(), IntentError> {
        let records = self.lock();
        if !resource.starts_with(SHARED) || records.contains_key(&self.name(resource)) {
            return Ok(());
        }
        let intents = records.values().filter_map(|record| record.intent.as_ref().ok());
        let of = intents.filter(|one| one.is_shared() && one.wish.owner.namespace == namespace);
        if of.count() < MOST_NAMES { Ok(()) } else { Err(IntentError::TooMany { namespace: namespace.to_owned() }) }
    }

    /// Waits for the turn of `resource`: a growth under a quota may take a minute, and whoever waits takes a place from
    /// others.
    pub(crate) async fn turn(&self, resource: &str) -> Result<OwnedMutexGuard<()>, IntentError> {
        timeout(TURN, self.place(resource).lock_owned()).await.map_err(|_| IntentError::Busy)
    }

    /// What is known of objects that the watch has not shown yet.
    pub(crate) const fn newer(&self) -> &Newer {
        &self.newer
    }

    /// Objects that share a resource take turns within this process; between processes the record decides.
    fn place(&self, resource: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits for a turn that nobody else holds.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(resource.to_owned()).or_default().clone()
    }

    fn current(&self, resource: &str) -> Result<Option<Intent>, IntentError> {
        let name = self.name(resource);
        match self.lock().get(&name).map(|record| record.intent.clone()) {
            None => Ok(None),
            Some(Ok(intent)) => Ok(Some(intent)),
            Some(Err(why)) => Err(IntentError::Unreadable { name, why }),
        }
    }

    /// One step of the record, on the condition that nobody else has replaced it. A copy that turns out to be old is
    /// read again and the step is judged anew, once.
    pub(crate) async fn write(
        &self,
        resource: &str,
        request: impl Fn(Option<&Record>) -> Request,
    ) -> Result<Intent, IntentError> {
        let name = self.name(resource);
        for last in [false, true] {
            let record = self.lock().get(&name).cloned();
            let request = request(record.as_ref());
            match request {
                Request::Close(_) | Request::Answer => self.term.check_close()?,
                _ => self.term.check()?,
            }
            let current = match record.as_ref().map(|record| &record.intent) {
                Some(Err(why)) => return Err(IntentError::Unreadable { name, why: why.clone() }),
                Some(Ok(intent)) => Some(intent),
                None => None,
            };
            let next = match advance(current, request, self.term.writer(), Timestamp::now()) {
                Ok(next) => next,
                Err(refused) if last => return Err(self.refused(refused)),
                // Judged by an old copy, perhaps.
                Err(refused) => {
                    if !self.refresh(&name).await? {
                        return Err(self.refused(refused));
                    }
                    continue;
                }
            };
            match self.store(&name, record.as_ref(), &next).await {
                Ok(()) => return Ok(next),
                Err(error) if !last && (error.is_conflict() || error.is_absent()) => {
                    self.refresh(&name).await?;
                    self.not_claimed(&name, record.as_ref(), &next)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::NotOurs.into())
    }

    /// Whose a resource is was judged by the record as it was `before`. Whoever was faster owns it, unless it is one that
    /// objects share.
    fn not_claimed(&self, name: &str, before: Option<&Record>, wanted: &Intent) -> Result<(), IntentError> {
        let owner = |record: &Record| record.intent.as_ref().ok().map(|intent| intent.wish.owner.clone());
        let named = |owner: &Owner| format!("{}/{}", owner.namespace, owner.name);
        let Some(now) = self.lock().get(name).and_then(owner).as_ref().map(named) else { return Ok(()) };
        let judged = before.and_then(owner).as_ref().map(named);
        if wanted.is_shared() || judged.as_ref() == Some(&now) || named(&wanted.wish.owner) == now {
            return Ok(());
        }
        Err(IntentError::Claimed { owner: now })
    }

    /// A term that a later one has fenced off can do nothing any more: it ends, and the next has a greater number.
    fn refused(&self, refused: Refused) -> IntentError {
        if matches!(refused, Refused::Fenced { .. }) {
            self.term.end(NotLeading::Over);
        }
        refused.into()
    }

    async fn store(&self, name: &str, before: Option<&Record>, intent: &Intent) -> Result<(), KubernetesError> {
        let api: Api<ConfigMap> = Api::namespaced(self.seat.client.clone(), &self.seat.namespace);
        let mut wanted = document(before, intent);
        wanted.metadata.name = Some(name.to_owned());
        wanted.metadata.labels.get_or_insert_default().extend(self.seat.labels("intent"));
        let params = PostParams::default();
        let write = crash::begin(crash::System::Kubernetes);
        let written = match before {
            Some(_) => within("replacing the intent", api.replace(name, &params, &wanted)).await,
            None => within("creating the intent", api.create(&params, &wanted)).await,
        };
        write.after();
        self.lock().insert(name.to_owned(), Record::read(written?));
        Ok(())
    }

    /// Reads a record again; says whether it is another one than was known.
    async fn refresh(&self, name: &str) -> Result<bool, KubernetesError> {
        let api: Api<ConfigMap> = Api::namespaced(self.seat.client.clone(), &self.seat.namespace);
        let found = within("reading the intent", api.get_opt(name)).await?.map(Record::read);
        let mut records = self.lock();
        if records.get(name).map(Record::version) == found.as_ref().map(Record::version) {
            return Ok(false);
        }
        match found {
            Some(record) => records.insert(name.to_owned(), record),
            None => records.remove(name),
        };
        Ok(true)
    }

    /// `looked` in the time of the record's writer.
    fn as_seen(&self, record: Option<&Record>, looked: Instant) -> Timestamp {
        let Some((over, over_at)) = record.and_then(Record::over) else { return Timestamp::now() };
        let early = SignedDuration::try_from(over.saturating_duration_since(looked)).unwrap_or(SignedDuration::MAX);
        over_at.saturating_sub(early).unwrap_or(Timestamp::MIN)
    }

    /// Name of the ConfigMap: a hash, because names of resources are longer and freer than names of ConfigMaps.
    fn name(&self, resource: &str) -> String {
        let digest = Sha256::digest(format!("{}\n{resource}", self.seat.installation));
        let mut name = "logwise-intent-".to_owned();
        for byte in &digest[..10] {
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
