//! What an operator sees as the facts of the shipped planner, and its answers.

use super::world::{Id, NAMES, Wish};
use crate::cache::Cache;
use jiff::{SignedDuration, Timestamp};
use logwise_plan::Known;
use logwise_plan::change::ChangePolicy;
use logwise_plan::driver::{
    Active, Answer, Ended, KillWhy, Mode, Observed, Open, Policy, Restarted, Stand, Submit, Why, answer_of, plan,
};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// What the master's page says of each driver.
pub type Page = [Listed; NAMES];

/// What the master's page says of one driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listed {
    No,
    Waiting,
    Running,
    Killed,
    Finished,
}

impl Listed {
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// What the planner is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// None: no master answered.
    pub page: Option<Page>,
    /// Ticks without a batch; none: that is not known.
    pub still_for: Option<u8>,
    pub recorded: Option<Id>,
    pub absent: Option<u8>,
    pub running_for: Option<u8>,
    pub restarted: Option<u8>,
    pub open: Option<Wish>,
}

static PLANS: LazyLock<Cache<Question, Option<Wish>>> = LazyLock::new(Cache::new);

/// `driver::plan`: the change that it wants, if any.
pub fn planned(question: Question) -> Option<Wish> {
    PLANS.answer(question, plan_once)
}

/// Different questions that the planner was asked.
pub fn questions() -> usize {
    PLANS.questions()
}

fn plan_once(question: Question) -> Option<Wish> {
    let Question { page, still_for, recorded, absent, running_for, restarted, open } = question;
    let silence = || Known::Unknown("no master answered".to_owned());
    let unread = || Known::Unknown("nobody asked".to_owned());
    let stand = |ticks: u8| Stand { batch: BATCH, unmoved_seconds: 30 + seconds(ticks), backlog: 1_000 };
    let observed = Observed {
        master: "master:7077".to_owned(),
        drivers: page.map_or_else(silence, |page| Known::Known(active(&page))),
        earlier: BTreeSet::new(),
        taken: BTreeSet::new(),
        elsewhere: Vec::new(),
        done: page.map(|page| done(&page)).unwrap_or_default(),
        recorded: recorded.map(name),
        absent_for: absent.map(|ticks| u32::from(ticks) * TICK_SECONDS),
        running_for: running_for.map(|ticks| u32::from(ticks) * TICK_SECONDS),
        progress: still_for.map_or_else(unread, |ticks| Known::Known(stand(ticks))),
        needed_seconds: 0,
        batch_age_seconds: 0,
        attempts: Vec::new(),
        open: match open {
            None => Open::None,
            Some(Wish::Submit { known }) => Open::Submission { known: names(known), since: now() },
            Some(Wish::Kill { id, .. }) => Open::Kill { id: name(id) },
        },
        restarted: restarted.map(|ticks| Restarted { at: ago(seconds(ticks)), batch: BATCH }),
    };
    let plan = plan(&policy(), &observed, now());
    match (plan.submit, plan.kill) {
        (Some(submit), None) => Some(Wish::Submit { known: bits(&submit.known) }),
        (None, Some(kill)) => Some(Wish::Kill { id: id(&kill.id), extra: kill.why == KillWhy::Extra }),
        (None, None) => None,
        (Some(submit), Some(kill)) => unreachable!("{submit:?} and {kill:?}"),
    }
}

/// `driver::answer_of`: whether the submission became anything, and which driver if that is certain.
pub fn answer(known: u8, page: &Page) -> (bool, Option<Id>) {
    let submit = Submit { why: Why::Missing, known: names(known) };
    match answer_of(&submit, &active(page), &done(page)) {
        Answer::Is(name) => (true, Some(id(&name))),
        Answer::Several(_) => (true, None),
        Answer::Never => (false, None),
    }
}

/// The newest batch: a restart is noted only as long as none has come since.
const BATCH: i64 = 7;

const TICK_SECONDS: u32 = 60;

fn seconds(ticks: u8) -> i64 {
    i64::from(ticks) * i64::from(TICK_SECONDS)
}

fn policy() -> Policy {
    Policy {
        mode: Mode::Managed,
        main_class: CLASS.to_owned(),
        supervise: true,
        absent_seconds: 90,
        stalled_seconds: 90,
        change: ChangePolicy::default(),
        look_period_seconds: 30,
    }
}

const CLASS: &str = "com.example.Stream";

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).expect("it is in range")
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn name(id: Id) -> String {
    format!("driver-{id}")
}

fn id(name: &str) -> Id {
    name.strip_prefix("driver-").and_then(|number| number.parse().ok()).expect("it was named here")
}

fn names(known: u8) -> BTreeSet<String> {
    (0..8).filter(|id| known & (1 << id) != 0).map(name).collect()
}

fn bits(known: &BTreeSet<String>) -> u8 {
    known.iter().fold(0, |bits, name| bits | (1 << id(name)))
}

fn each(page: &Page) -> impl Iterator<Item = (Id, Listed)> {
    (0..).zip(*page)
}

/// Ours, and one of another class.
fn active(page: &Page) -> Vec<Active> {
    let ours = each(page).filter(|(_, listed)| listed.is_active()).map(|(id, listed)| {
        let runs = listed == Listed::Running;
        Active {
            id: name(id),
            state: if runs { "RUNNING" } else { "SUBMITTED" }.to_owned(),
            ours: true,
            has_worker: runs,
            started: Some(ago(3_600 - i64::from(id))),
        }
    });
    let other = Active {
        id: "driver-other".to_owned(),
        state: "RUNNING".to_owned(),
        ours: false,
        has_worker: true,
        started: None,
    };
    ours.chain([other]).collect()
}

fn done(page: &Page) -> Vec<Ended> {
    let state = |listed: Listed| match listed {
        Listed::Killed => Some("KILLED"),
        Listed::Finished => Some("FINISHED"),
        Listed::No | Listed::Waiting | Listed::Running => None,
    };
    let ended = each(page)
        .filter_map(|(id, listed)| Some(Ended { id: name(id), state: state(listed)?.to_owned(), text: None }));
    ended.collect()
}
