//! What is found out about single objects, by tasks of their own: a look never waits for long listings.

use crate::bucket::Bucket;
use crate::effect::{BELIEVED, Count, Effect};
use crate::listing::{Budget, Limits};
use jiff::Timestamp;
use logwise_aws::AwsError;
use logwise_plan::Known;
use logwise_plan::retention::{
    self, Approval, ApprovalRequest, Observed, Policy, PolicyEntry, Settings, newcomers_since, service_prefix,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A count that failed, and the time of the oldest object, are found out anew after this much time. All times here begin
/// when the work has ended: however long it waited for its turn, its result is looked at.
const AGAIN: Duration = Duration::from_secs(300);

/// A service with more objects than are listed will not have fewer soon.
const AGAIN_LARGE: Duration = Duration::from_secs(3_600);

/// A service that has an old object is no newcomer as long as that object is there.
const AGAIN_OLD: Duration = Duration::from_secs(24 * 3_600);

/// How long the time of the oldest object is told beyond that while it is found out anew: objects that come are younger.
const AGAIN_LATEST: Duration = Duration::from_secs(600);

/// How long a look waits for the oldest objects of services: most services that have just come have few objects.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tasks about the objects of buckets, and what they ended with.
#[derive(Debug, Default)]
pub struct Objects {
    limits: Limits,
    buckets: Mutex<HashMap<String, OfBucket>>,
}

/// Everything about one bucket; dropped, its tasks end.
#[derive(Debug)]
struct OfBucket {
    budget: Arc<Budget>,
    /// By plan id.
    plans: HashMap<String, Counted>,
    /// By service.
    oldest: HashMap<String, Listed>,
}

/// The count of one plan.
#[derive(Debug)]
struct Counted {
    task: Task<Result<Effect, AwsError>>,
    /// What the last one came to, until this one has ended.
    before: Option<Effect>,
}

impl Counted {
    /// What is known of the effect, and whether it is to be counted anew.
    fn effect(&self) -> (Option<Effect>, bool) {
        match self.task.result() {
            Some(Ended { at, value: Ok(effect) }) => (Some(effect), at.elapsed() >= BELIEVED),
            Some(Ended { at, value: Err(_) }) => (self.before.clone(), at.elapsed() >= AGAIN),
            None => (self.before.clone(), self.task.is_broken() && self.task.started.elapsed() >= AGAIN),
        }
    }
}

/// When the oldest object of a service was last modified, and for how long that is believed.
#[derive(Clone, Debug)]
struct Oldest {
    time: Known<Timestamp>,
    /// Whether no object may be older: not so if the listing has ended with the first one that is too old.
    is_whole: bool,
    fresh_for: Duration,
}

impl Oldest {
    /// Nothing is known, for as long as it is believed.
    fn unknown(why: String, fresh_for: Duration) -> Self {
        Self { time: Known::Unknown(why), is_whole: true, fresh_for }
    }

    /// Whether this tells if every object is younger than `since`.
    fn tells(&self, since: Timestamp) -> bool {
        self.is_whole || !self.time.known().is_some_and(|time| is_younger(*time, since))
    }
}

/// The listing of one service.
#[derive(Debug)]
struct Listed {
    task: Task<Oldest>,
    /// What the one before came to: told until this one has ended, or nothing would be known for that long.
    before: Option<Ended<Oldest>>,
}

impl Listed {
    /// Whether no other one is needed.
    fn is_fresh(&self, since: Timestamp, now: Instant) -> bool {
        let is_good = |it: &Ended<Oldest>| now.duration_since(it.at) < it.value.fresh_for && it.value.tells(since);
        !self.task.is_broken() && self.task.result().as_ref().is_none_or(is_good)
    }

    /// What it leaves to the next one: something that is known, for some time more than it is fresh.
    fn left(&self, since: Timestamp, now: Instant) -> Option<Ended<Oldest>> {
        let ended = self.task.result().or_else(|| self.before.clone())?;
        (!ended.value.time.is_unknown() && ended.is_believed(since, now)).then_some(ended)
    }

    /// What is told until it has ended.
    fn meanwhile(&self, since: Timestamp, now: Instant) -> Option<Oldest> {
        let before = self.before.as_ref().filter(|before| before.is_believed(since, now))?;
        self.task.result().is_none().then(|| before.value.clone())
    }
}

impl Ended<Oldest> {
    /// Whether this is told while it is found out anew.
    fn is_believed(&self, since: Timestamp, now: Instant) -> bool {
        now.duration_since(self.at) < self.value.fresh_for + AGAIN_LATEST && self.value.tells(since)
    }
}

/// A listing that is asked about.
struct Asked {
    result: watch::Receiver<Option<Ended<Oldest>>>,
    /// What is told instead, and nothing is waited for.
    meanwhile: Option<Oldest>,
}

/// S3 gives whole seconds.
fn is_younger(time: Timestamp, since: Timestamp) -> bool {
    time.as_second() > since.as_second()
}

/// What work came to, and when.
#[derive(Clone, Debug)]
struct Ended<T> {
    at: Instant,
    value: T,
}

/// Work that goes on by itself; dropped, it ends.
#[derive(Debug)]
struct Task<T> {
    result: watch::Receiver<Option<Ended<T>>>,
    started: Instant,
    handle: JoinHandle<()>,
}

impl<T: Clone + Send + Sync + 'static> Task<T> {
    fn start(work: impl Future<Output = T> + Send + 'static) -> Self {
        let (tell, result) = watch::channel(None);
        let handle = tokio::spawn(async move {
            let value = work.await;
            tell.send_replace(Some(Ended { at: Instant::now(), value }));
        });
        Self { result, started: Instant::now(), handle }
    }

    fn result(&self) -> Option<Ended<T>> {
        self.result.borrow().clone()
    }

    /// Whether it ended without a result, which only a panic does.
    fn is_broken(&self) -> bool {
        self.handle.is_finished() && self.result.borrow().is_none()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Objects {
    /// With other limits than the usual ones.
    pub fn new(limits: Limits) -> Self {
        Self { limits, buckets: Mutex::default() }
    }

    /// The effect of a plan, if it has been counted; if not, or a day ago, it is being counted from now on. `small` is the
    /// bucket's setting for small objects.
    pub fn effect(
        &self,
        bucket: &Bucket,
        logs_prefix: &str,
        request: &ApprovalRequest,
        small: Option<&str>,
    ) -> Option<Effect> {
        let mut buckets = self.lock();
        let of_bucket = self.of(&mut buckets, &bucket.name);
        let (known, is_due) = of_bucket.plans.get(&request.plan_id).map_or((None, true), Counted::effect);
        if is_due && let Some(count) = Count::of(request, logs_prefix, small) {
            let task = Task::start(count.run(bucket.clone(), of_bucket.budget.clone()));
            of_bucket.plans.insert(request.plan_id.clone(), Counted { task, before: known.clone() });
        }
        known
    }

    /// When the oldest object of each of these services was last modified; absent: it has none. It is enough to know of one
    /// that is not younger than the time beside the service: then that one's time is told. What is found out anew stays as it
    /// was known until then; what takes longer than a look may wait is unknown this time. Nobody else is asked about any more.
    pub async fn oldest(
        &self,
        bucket: &Bucket,
        logs_prefix: &str,
        services: &BTreeMap<String, Timestamp>,
    ) -> BTreeMap<String, Known<Timestamp>> {
        let waiting = self.asked(bucket, logs_prefix, services);
        let deadline = Instant::now() + PATIENCE;
        let mut found = BTreeMap::new();
        for ((service, since), Asked { mut result, meanwhile }) in services.iter().zip(waiting) {
            let oldest = match meanwhile {
                Some(before) => Some(before),
                None => {
                    let ended = tokio::time::timeout_at(deadline, result.wait_for(Option::is_some)).await;
                    ended.ok().and_then(|it| it.ok().and_then(|ended| ended.clone())).map(|ended| ended.value)
                }
            };
            let unknown = || Known::Unknown("the objects of the service are being listed".to_owned());
            let time = oldest.filter(|oldest| oldest.tells(*since)).map_or_else(unknown, |oldest| oldest.time);
            found.insert(service.clone(), time);
        }
        found
    }

    /// The tasks of these services in their order, started where there is none, and no others.
    fn asked(&self, bucket: &Bucket, logs_prefix: &str, services: &BTreeMap<String, Timestamp>) -> Vec<Asked> {
        let mut buckets = self.lock();
        if services.is_empty() && !buckets.contains_key(&bucket.name) {
            return Vec::new();
        }
        let of_bucket = self.of(&mut buckets, &bucket.name);
        let mut known = std::mem::take(&mut of_bucket.oldest);
        let (mut asked, now) = (Vec::new(), Instant::now());
        for (service, since) in services {
            let listed = match known.remove(service) {
                Some(listed) if listed.is_fresh(*since, now) => listed,
                other => {
                    let place = (bucket.clone(), service_prefix(logs_prefix, service));
                    let task = Task::start(oldest(place, *since, of_bucket.budget.clone()));
                    Listed { task, before: other.and_then(|listed| listed.left(*since, now)) }
                }
            };
            asked.push(Asked { result: listed.task.result.clone(), meanwhile: listed.meanwhile(*since, now) });
            of_bucket.oldest.insert(service.clone(), listed);
        }
        asked
    }

    /// Fills in when the oldest objects were modified of services that need no approval if all of their objects are new.
    pub(crate) async fn learn(&self, bucket: &Bucket, policy: &Policy, facts: &mut Observed) {
        facts.oldest = self.oldest(bucket, &policy.logs_prefix, &doubtful(policy, facts)).await;
    }

    /// Drops the counts of plans that nobody is asked about any more.
    pub(crate) fn keep(&self, bucket: &str, plans: &BTreeSet<&str>) {
        if let Some(of_bucket) = self.lock().get_mut(bucket) {
            of_bucket.plans.retain(|id, _| plans.contains(id.as_str()));
        }
    }

    /// Drops what is known of a bucket, and ends what is going on there.
    pub fn forget(&self, bucket: &str) {
        self.lock().remove(bucket);
    }

    fn of<'a>(&self, buckets: &'a mut HashMap<String, OfBucket>, bucket: &str) -> &'a mut OfBucket {
        buckets.entry(bucket.to_owned()).or_insert_with(|| OfBucket {
            budget: Arc::new(Budget::new(self.limits)),
            plans: HashMap::new(),
            oldest: HashMap::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, OfBucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Services without a rule whose first one waits for approval, unless all their objects are younger than the time beside.
fn doubtful(policy: &Policy, facts: &Observed) -> BTreeMap<String, Timestamp> {
    let may_spare = |entry: &&PolicyEntry| entry.programmed.is_some() && entry.approval == Approval::DestructiveOnly;
    let sparing: Vec<&PolicyEntry> = policy.policies.iter().filter(may_spare).collect();
    if sparing.is_empty() || facts.services.is_unknown() || facts.document.is_unknown() {
        return BTreeMap::new();
    }
    let plan = retention::plan(policy, facts, Timestamp::now());
    let mut doubtful = BTreeMap::new();
    for entry in sparing {
        let asked = plan.policies.get(&entry.owner).and_then(|part| part.approval.as_ref());
        let entries = asked.filter(|request| !request.approved).into_iter().flat_map(|request| &request.entries);
        for change in entries.filter(|change| change.from == Settings::default()) {
            let since = newcomers_since(policy, entry, &change.service);
            doubtful.extend(since.map(|since| (change.service.clone(), since)));
        }
    }
    doubtful
}

/// Lists a service until an object is found that is not younger than `since`, or the whole of it: a part says nothing about
/// the rest.
async fn oldest((bucket, prefix): (Bucket, String), since: Timestamp, budget: Arc<Budget>) -> Oldest {
    let mut from = None;
    let mut oldest: Option<Timestamp> = None;
    for _ in 0..budget.limits().per_service {
        let page = match budget.page(&bucket, &prefix, from).await {
            Ok(page) => page,
            Err(error) => return Oldest::unknown(error.to_string(), AGAIN),
        };
        let times: Option<Vec<Timestamp>> = page.objects.iter().map(|object| object.modified).collect();
        let Some(times) = times else {
            return Oldest::unknown("S3 does not say when an object was last modified".to_owned(), AGAIN);
        };
        oldest = oldest.into_iter().chain(times).min();
        from = page.next;
        if let Some(time) = oldest.filter(|time| !is_younger(*time, since)) {
            return Oldest { time: Known::Known(time), is_whole: from.is_none(), fresh_for: AGAIN_OLD };
        }
        if from.is_none() {
            return Oldest { time: oldest.map_or(Known::Absent, Known::Known), is_whole: true, fresh_for: AGAIN };
        }
    }
    let why = format!("the service has more than {} pages of objects", budget.limits().per_service);
    Oldest::unknown(why, AGAIN_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_is_as_old_as_the_end_of_its_work() {
        let work = Duration::from_millis(60);
        let task = Task::start(async move { tokio::time::sleep(work).await });
        assert!(task.result().is_none() && !task.is_broken());
        let mut result = task.result.clone();
        let ended = result.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert!(ended.at >= task.started + work, "its age would begin while it waits for its turn");
        let broken = Task::start(async { assert!(std::hint::black_box(false), "broken on purpose") });
        while !broken.handle.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(broken.is_broken() && broken.result().is_none());
    }

    /// A listing that has just ended with this.
    async fn listed(value: Oldest) -> Listed {
        let task = Task::start(async move { value });
        task.result.clone().wait_for(Option::is_some).await.unwrap();
        Listed { task, before: None }
    }

    #[tokio::test]
    async fn what_is_found_out_anew_stays_known_until_then_and_for_a_while() {
        let (since, second) = (Timestamp::from_second(5).unwrap(), Duration::from_secs(1));
        // The one after it, which does not end.
        let next = |last: &Listed, now| Listed {
            task: Task::start(std::future::pending::<Oldest>()),
            before: last.left(since, now),
        };
        let young = || Oldest { time: Known::Absent, is_whole: true, fresh_for: AGAIN };
        let first = listed(young()).await;
        let end = first.task.result().unwrap().at;
        assert!(first.is_fresh(since, end + AGAIN - second) && !first.is_fresh(since, end + AGAIN));
        let following = next(&first, end + AGAIN);
        let third = next(&following, end + AGAIN + second);
        let last = end + AGAIN + AGAIN_LATEST;
        for new in [&following, &third] {
            assert!(new.is_fresh(since, last) && new.meanwhile(since, last).is_none(), "not for ever");
            assert!(new.meanwhile(since, last - second).is_some_and(|it| it.time == Known::Absent));
        }
        assert!(next(&third, last).before.is_none());
        let unknown = || Oldest::unknown("denied".to_owned(), AGAIN);
        let early = Oldest { time: Known::Known(Timestamp::from_second(6).unwrap()), is_whole: false, ..young() };
        for value in [unknown(), early] {
            let one = listed(value).await;
            assert!(next(&one, Instant::now()).before.is_none(), "it does not tell: the next one is waited for");
        }
        let failed = Listed { before: first.left(since, end + AGAIN), ..listed(unknown()).await };
        assert!(failed.before.is_some() && failed.meanwhile(since, end + AGAIN).is_none(), "what has ended counts");
    }

    #[test]
    fn a_listing_that_ended_early_tells_only_that_a_service_is_old() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let oldest = |is_whole| Oldest { time: Known::Known(at(10)), is_whole, fresh_for: AGAIN };
        for (since, tells) in [(9, false), (10, true), (11, true)] {
            assert_eq!(oldest(false).tells(at(since)), tells, "{since}");
            assert!(oldest(true).tells(at(since)));
        }
        assert!(Oldest::unknown("denied".to_owned(), AGAIN).tells(at(0)));
    }
}
