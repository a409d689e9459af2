//! What one term remembers of the workers of each object: sizes that were recommended, launches that failed, a removal
//! that is under way.

use crate::signals::Measured;
use crate::told::Failed;
use jiff::{SignedDuration, Timestamp};
use logwise_aws::group::Depth;
use logwise_plan::Known;
use logwise_plan::behavior::{Changed, History, Recommended};
use logwise_plan::workers::{FailedLaunch, Past, Pool, Refused, Step, Waiting};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Every so many looks everything is asked about the workers' group.
const FULL_EVERY: u32 = 5;

/// The first and the longest pause after a launch that failed. Each further failure doubles it.
const PAUSE_MINUTES: (i64, i64) = (5, 30);

/// Time without a recommendation after which windows have nothing to look back at; looks may be further apart.
const SILENCE: SignedDuration = SignedDuration::from_mins(5);

/// How long no cordon is asked for after the master has refused one, or what runs the workers to end one.
const REFUSED: SignedDuration = SignedDuration::from_mins(10);

/// For how long after a start of the operator, or a change of the spec, it is no news that something was not read yet.
/// The first offsets of topics are read every ten minutes, and a rate takes five looks at Kafka.
const BEGINS: Duration = Duration::from_secs(15 * 60);

/// What is remembered of the workers of all objects.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<String, Remembered>>);

impl Memory {
    /// Works on what is remembered of the object with this uid.
    pub(crate) fn with<T>(&self, uid: &str, work: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(all.entry(uid.to_owned()).or_default())
    }

    /// Forgets an object.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// What is remembered of the workers of one object.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// The load.
    pub load: Measured,
    /// What runs the workers.
    pub scaling: Scaling,
    /// When the last look ended that has changed something: what is older does not show it.
    pub acted: Option<Instant>,
    /// The generation of the object, and when it was first looked at.
    began: Option<(Option<i64>, Instant)>,
}

impl Remembered {
    /// Whether this generation of the object is looked at only for a short time.
    pub fn begins(&mut self, generation: Option<i64>, now: Instant) -> bool {
        let same = self.began.filter(|(of, _)| *of == generation);
        let (_, began) = *self.began.insert(same.unwrap_or((generation, now)));
        now.saturating_duration_since(began) < BEGINS
    }
}

/// What is remembered of what runs the workers.
#[derive(Debug, Default)]
pub(crate) struct Scaling {
    /// Its name in intents: another group or Deployment has another past.
    resource: Option<String>,
    looks: u32,
    /// Whether members came or went, or one was to go, at the last look.
    is_busy: bool,
    /// Whether the last look has looked closer at what was about to be ended, and nothing full has shown since that this
    /// is of no use.
    is_close: bool,
    history: Option<History>,
    launches: Launches,
    refused: Option<Refused>,
    end_refused: Option<Refused>,
    /// The removal that is under way.
    pub going: Option<Going>,
    /// Instances, each with the hook that has let it go. Another hook may hold them back still, and nobody says which.
    let_go: BTreeSet<(String, String)>,
    /// A call beside the one for the group that AWS has refused.
    pub denied: Option<Failed>,
}

/// A removal that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Going {
    /// Id of its intent.
    pub intent: Option<String>,
    /// What comes next.
    pub step: Step,
    /// The page of the master that took the cordon, as `host:uiPort`.
    pub master: String,
    /// When the master had taken it.
    pub cordoned: Instant,
}

impl Scaling {
    /// How much to ask at the look that begins.
    pub fn depth(&mut self) -> Depth {
        let full = self.is_busy || self.is_close || self.looks.is_multiple_of(FULL_EVERY);
        self.looks = self.looks.wrapping_add(1);
        if full { Depth::Full } else { Depth::Quick }
    }

    /// The look is about this group or Deployment; what was remembered of another one does not count for it.
    pub fn is_about(&mut self, resource: Option<&str>) {
        if resource.is_some() && self.resource.as_deref() != resource {
            let (looks, resource) = (self.looks, resource.map(str::to_owned));
            *self = Self { resource, looks, ..Self::default() };
        }
    }

    /// Whether the past is not known yet: [`Self::begin`] has to be called.
    pub const fn is_new(&self) -> bool {
        self.history.is_none()
    }

    /// Begins with the present number of workers, so that a start removes nothing for one window, and with the changes
    /// that are on record, the oldest first.
    pub fn begin(&mut self, capacity: i32, changes: Vec<Changed>, now: Timestamp) {
        let mut history = History::default();
        changes.into_iter().for_each(|changed| history.changed(changed));
        history.note(Recommended { at: now, replicas: capacity });
        self.history = Some(history);
    }

    /// Where nothing was recommended for so long that nobody knows what was wanted meanwhile, the present number of workers
    /// counts as recommended, as at a start: so nothing is removed for one window when signals come back.
    pub fn bridge(&mut self, capacity: i32, (period_seconds, now): (u32, Timestamp)) {
        let Some(history) = &mut self.history else { return };
        let longest = SignedDuration::from_secs(i64::from(period_seconds).saturating_mul(3)).max(SILENCE);
        let last = history.recommended.last().map(|one| one.at);
        if last.is_none_or(|last| now.duration_since(last) > longest) {
            history.note(Recommended { at: now, replicas: capacity });
        }
    }

    /// Notes what a look at the pool shows, and adds to it the launch that failed. Where that was not asked or not
    /// answered, it is the one that was known last.
    pub fn saw(&mut self, pool: &mut Pool, (depth, launch): (Depth, &Known<FailedLaunch>), now: Timestamp) {
        if !launch.is_unknown() {
            // A group has an activity of each launch; a Deployment shows that they fail as long as they do.
            let lasts = pool.newcomers_protected == Known::Absent;
            self.launches.saw(launch.known(), lasts, now);
        }
        pool.failed_launch.clone_from(&self.launches.failed);
        if depth == Depth::Full {
            // What stands in the way of a removal only a full look shows: it would be read twice each time.
            self.is_close &= !pool.obstacles.is_empty();
        }
        self.is_busy = pool.desired != pool.in_service();
        self.let_go.retain(|(instance, _)| pool.members.iter().any(|member| member.id == *instance));
    }

    /// The next look is to ask everything.
    pub const fn look_closely(&mut self) {
        self.is_close = true;
    }

    /// What the plan has to know of the past; how many were added and removed stands in the intent.
    pub fn past(&self, now: Timestamp) -> Past {
        Past {
            behavior: self.history.clone().unwrap_or_default(),
            backoff_until: self.launches.until(now),
            cordon_refused: self.refused.clone().filter(|refused| refused.until <= after(now, REFUSED)),
            end_refused: self.end_refused.clone().filter(|refused| refused.until <= after(now, REFUSED)),
            ..Past::default()
        }
    }

    /// Notes the recommendation of a plan.
    pub fn recommended(&mut self, replicas: i32, now: Timestamp) {
        if let Some(history) = &mut self.history {
            history.note(Recommended { at: now, replicas });
        }
    }

    /// Notes that the number of workers was changed.
    pub fn changed(&mut self, (from, to): (i32, i32), now: Timestamp) {
        if let Some(history) = &mut self.history {
            history.changed(Changed { at: now, from, to });
        }
    }

    /// Notes that the master has refused to cordon a worker.
    pub fn cordon_refused(&mut self, why: String, now: Timestamp) {
        self.refused = Some(Refused { why, until: after(now, REFUSED) });
    }

    /// Notes that AWS or Kubernetes has refused to end a member.
    pub fn end_refused(&mut self, why: String, now: Timestamp) {
        self.end_refused = Some(Refused { why, until: after(now, REFUSED) });
    }

    /// Notes that it has taken a cordon.
    pub fn cordon_taken(&mut self) {
        self.refused = None;
    }

    /// Notes that a hook has let its instance go.
    pub fn let_go(&mut self, waiting: &Waiting) {
        self.let_go.insert((waiting.instance.clone(), waiting.hook.clone()));
    }

    /// Whether the hook has let the instance go: there is nothing left to answer.
    pub fn has_let_go(&self, waiting: &Waiting) -> bool {
        self.let_go.iter().any(|(instance, hook)| *instance == waiting.instance && *hook == waiting.hook)
    }
}

/// Launches that fail.
#[derive(Debug, Default)]
struct Launches {
    failed: Option<FailedLaunch>,
    in_a_row: u32,
    until: Option<Timestamp>,
}

impl Launches {
    /// `lasts`: a failure is shown as long as launches fail, with the time of the first one.
    fn saw(&mut self, failed: Option<&FailedLaunch>, lasts: bool, now: Timestamp) {
        let Some(failed) = failed else {
            *self = Self::default();
            return;
        };
        let goes_on = lasts && self.until(now).is_some_and(|until| until <= now);
        if goes_on || self.failed.as_ref().is_none_or(|known| known.at < failed.at) {
            let (first, longest) = PAUSE_MINUTES;
            let minutes = (first << self.in_a_row.min(8)).min(longest);
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.until = Some(after(now, SignedDuration::from_mins(minutes)));
        }
        self.failed = Some(failed.clone());
    }

    /// Until when no more are asked for. Later than the longest pause from now on it cannot be, unless the clock was
    /// put back.
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.map(|until| until.min(after(now, SignedDuration::from_mins(PAUSE_MINUTES.1))))
    }
}

/// `at` and so long, as far as time goes.
fn after(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.saturating_add(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::behavior::{Behavior, Question, limit};
    use logwise_plan::workers::{Member, MemberState, Obstacle};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn pool(desired: i32) -> Pool {
        Pool::at_rest((0, 9), desired, Vec::new())
    }

    /// The activities show that the newest launch failed then, or that it did not.
    fn launch(failed: Option<i64>) -> Known<FailedLaunch> {
        let failed = failed.map(|second| FailedLaunch { at: at(second), text: "no capacity".into() });
        failed.map_or(Known::Absent, Known::Known)
    }

    /// A quick look asks for no activities.
    fn quick(scaling: &mut Scaling, pool: &mut Pool, second: i64) {
        scaling.saw(pool, (Depth::Quick, &Known::Unknown("not asked".into())), at(second));
    }

    fn full(scaling: &mut Scaling, pool: &mut Pool, failed: Option<i64>, second: i64) {
        scaling.saw(pool, (Depth::Full, &launch(failed)), at(second));
    }

    #[test]
    fn every_fifth_look_asks_everything_and_each_while_something_moves() {
        use Depth::{Full, Quick};
        let mut scaling = Scaling::default();
        let depths: Vec<_> = (0..6).map(|_| scaling.depth()).collect();
        assert_eq!(depths, [Full, Quick, Quick, Quick, Quick, Full]);
        quick(&mut scaling, &mut pool(1), 0);
        assert_eq!(scaling.depth(), Full, "one is on its way");
        full(&mut scaling, &mut pool(0), None, 1);
        assert_eq!(scaling.depth(), Quick);
        scaling.look_closely();
        assert_eq!(scaling.depth(), Full);
    }

    #[test]
    fn while_something_stands_in_the_way_of_a_removal_each_look_asks_everything_at_once() {
        use Depth::{Full, Quick};
        let mut scaling = Scaling { looks: 1, ..Scaling::default() };
        let hindered = || Pool { obstacles: [Obstacle::Refresh].into(), ..pool(0) };
        // A quick look has shown nothing, a full one right after it what stands in the way.
        quick(&mut scaling, &mut pool(0), 0);
        full(&mut scaling, &mut hindered(), None, 1);
        scaling.look_closely();
        for second in 2..4 {
            assert_eq!(scaling.depth(), Full);
            full(&mut scaling, &mut hindered(), None, second);
        }
        assert_eq!(scaling.depth(), Full);
        full(&mut scaling, &mut pool(0), None, 5);
        assert_eq!(scaling.depth(), Quick, "nothing stands in the way, and nothing goes");
    }

    #[test]
    fn each_further_failed_launch_doubles_the_pause_and_a_good_one_ends_it() {
        let mut scaling = Scaling::default();
        let mut until = |failed, second| {
            full(&mut scaling, &mut pool(0), failed, second);
            scaling.past(at(second)).backoff_until
        };
        assert_eq!(until(Some(0), 10), Some(at(310)));
        assert_eq!(until(Some(0), 40), Some(at(310)), "the same failure");
        assert_eq!(until(Some(50), 60), Some(at(660)));
        assert_eq!(until(Some(60), 70), Some(at(70 + 1_200)));
        assert_eq!(until(Some(80), 90), Some(at(90 + 1_800)));
        assert_eq!(until(Some(99), 100), Some(at(100 + 1_800)), "no longer than that");
        assert_eq!(scaling.past(at(-5_000)).backoff_until, Some(at(-5_000 + 1_800)), "the clock was put back");
        let mut not_asked = pool(0);
        quick(&mut scaling, &mut not_asked, 110);
        assert!(not_asked.failed_launch.is_some() && scaling.past(at(110)).backoff_until.is_some());
        let mut silent = pool(0);
        scaling.saw(&mut silent, (Depth::Full, &Known::Unknown("throttled".into())), at(115));
        assert!(silent.failed_launch.is_some() && scaling.past(at(115)).backoff_until.is_some(), "nobody answered");
        full(&mut scaling, &mut pool(0), None, 120);
        assert_eq!(scaling.past(at(120)).backoff_until, None);
    }

    #[test]
    fn a_failed_launch_is_over_as_soon_as_activities_show_it_whatever_other_calls_are_denied() {
        let mut scaling = Scaling::default();
        // Nobody may read instance refreshes.
        let mut until = |failed, second| {
            let obstacles = [Obstacle::Unread("AccessDenied".into())].into();
            let mut found = Pool { obstacles, ..pool(0) };
            full(&mut scaling, &mut found, failed, second);
            (found.failed_launch.map(|failed| failed.at), scaling.past(at(second)).backoff_until)
        };
        assert_eq!(until(Some(0), 10), (Some(at(0)), Some(at(310))));
        assert_eq!(until(None, 40), (None, None), "a launch has succeeded");
        assert_eq!(until(Some(50), 60), (Some(at(50)), Some(at(360))), "the first one of a new row");
    }

    #[test]
    fn a_deployment_whose_pods_cannot_be_made_is_asked_for_no_more_while_that_lasts() {
        let mut scaling = Scaling::default();
        let mut until = |failed, second| {
            let mut pods = Pool { newcomers_protected: Known::Absent, ..pool(0) };
            full(&mut scaling, &mut pods, failed, second);
            scaling.past(at(second)).backoff_until
        };
        assert_eq!((until(Some(0), 0), until(Some(0), 299)), (Some(at(300)), Some(at(300))));
        assert_eq!(until(Some(0), 300), Some(at(300 + 600)), "it still is so");
        assert_eq!(until(Some(0), 900), Some(at(900 + 1_200)));
        assert_eq!(until(None, 930), None);
        assert_eq!(until(Some(960), 960), Some(at(960 + 300)));
    }

    #[test]
    fn a_start_counts_the_present_size_as_recommended() {
        let mut scaling = Scaling::default();
        assert!(scaling.is_new());
        let old = Changed { at: at(-4_000), from: 1, to: 2 };
        scaling.begin(4, vec![old, Changed { at: at(-100), from: 2, to: 4 }], at(0));
        let History { recommended, changes } = scaling.past(at(0)).behavior;
        assert_eq!(recommended, [Recommended { at: at(0), replicas: 4 }]);
        assert_eq!(changes, [Changed { at: at(-100), from: 2, to: 4 }]);
        scaling.recommended(2, at(30));
        scaling.changed((4, 3), at(60));
        let History { recommended, changes } = scaling.past(at(60)).behavior;
        assert_eq!((recommended.len(), changes.len(), scaling.is_new()), (2, 2, false));
    }

    #[test]
    fn after_a_time_without_signals_the_present_size_counts_as_recommended() {
        let mut scaling = Scaling::default();
        scaling.bridge(9, (30, at(0)));
        assert!(scaling.is_new(), "it has not begun");
        scaling.begin(4, Vec::new(), at(0));
        scaling.recommended(2, at(1_000));
        let notes = |scaling: &Scaling| scaling.past(at(0)).behavior.recommended;
        let before = notes(&scaling);
        scaling.bridge(4, (30, at(1_300)));
        assert_eq!(notes(&scaling), before, "looks may fail now and then");
        scaling.bridge(4, (200, at(1_600)));
        assert_eq!(notes(&scaling), before, "whoever looks rarely");
        scaling.bridge(4, (30, at(1_301)));
        assert_eq!(notes(&scaling).last(), Some(&Recommended { at: at(1_301), replicas: 4 }));
        scaling.recommended(2, at(1_310));
        let question = Question { current: 4, recommended: 2, min: 1, max: 9, tolerance_percent: 10 };
        let to = |second| limit(&Behavior::default(), &question, &scaling.past(at(0)).behavior, at(second)).to;
        assert_eq!((to(3_100), to(3_101)), (4, 3), "one window later");
    }

    #[test]
    fn another_group_has_another_past() {
        let mut scaling = Scaling::default();
        scaling.is_about(Some("group/a"));
        scaling.begin(4, Vec::new(), at(0));
        scaling.cordon_refused("405".into(), at(0));
        scaling.is_about(Some("group/a"));
        scaling.is_about(None);
        assert!(!scaling.is_new() && scaling.past(at(0)).cordon_refused.is_some(), "it could not be read");
        scaling.is_about(Some("group/b"));
        assert!(scaling.is_new() && scaling.past(at(0)).cordon_refused.is_none());
    }

    #[test]
    fn a_refused_cordon_or_end_counts_for_ten_minutes() {
        let mut scaling = Scaling::default();
        scaling.cordon_refused("405".into(), at(0));
        assert_eq!(scaling.past(at(0)).cordon_refused.map(|refused| refused.until), Some(at(600)));
        assert_eq!(scaling.past(at(-1)).cordon_refused, None, "the clock was put back: it is asked again");
        scaling.cordon_taken();
        assert_eq!(scaling.past(at(0)).cordon_refused, None);
        scaling.end_refused("403".into(), at(0));
        assert_eq!(scaling.past(at(0)).end_refused.map(|refused| refused.until), Some(at(600)));
        assert_eq!(scaling.past(at(-1)).end_refused, None, "the clock was put back: it is asked again");
    }

    #[test]
    fn an_instance_that_a_hook_has_let_go_is_remembered_until_it_has_gone() {
        let waits = |hook: &str| Waiting { instance: "i-1".into(), hook: hook.into(), token: String::new() };
        let mut scaling = Scaling::default();
        scaling.let_go(&waits("drain"));
        let mut leaving = pool(0);
        let state = MemberState::Leaving;
        leaving.members.push(Member { address: Known::Absent, state, ..Member::in_service("i-1", "") });
        quick(&mut scaling, &mut leaving, 0);
        assert!(scaling.has_let_go(&waits("drain")) && !scaling.has_let_go(&waits("another")));
        let told = Waiting { token: "t".into(), ..waits("drain") };
        assert!(scaling.has_let_go(&told), "with whatever token");
        quick(&mut scaling, &mut pool(0), 1);
        assert!(!scaling.has_let_go(&waits("drain")));
    }

    #[test]
    fn what_was_not_read_yet_is_news_once_the_object_is_looked_at_for_long() {
        let (mut of, start) = (Remembered::default(), Instant::now());
        assert!(of.begins(Some(1), start) && of.begins(Some(1), start + BEGINS - Duration::from_secs(1)));
        assert!(!of.begins(Some(1), start + BEGINS));
        assert!(of.begins(Some(2), start + BEGINS), "the spec was changed");
        assert!(!of.begins(Some(2), start + BEGINS * 2));
    }

    #[test]
    fn what_is_forgotten_begins_anew() {
        let memory = Memory::default();
        memory.with("u", |of| of.scaling.begin(1, Vec::new(), at(0)));
        assert!(!memory.with("u", |of| of.scaling.is_new()));
        memory.forget("u");
        assert!(memory.with("u", |of| of.scaling.is_new()));
    }
}
