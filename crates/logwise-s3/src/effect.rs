//! What a plan that waits for approval would do to the objects that are there: counted, not guessed.

use crate::bucket::Bucket;
use crate::listing::{Budget, Object};
use jiff::Timestamp;
use logwise_api::{NewlyExpirable, NotTransitionable, PlanStatus, Time};
use logwise_aws::AwsError;
use logwise_plan::retention::{ApprovalRequest, Settings, is_destructive, service_prefix};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Smaller objects are not moved, unless the bucket lets the storage class decide.
const SMALL: u64 = 128 * 1024;

/// The value of S3's setting under which the storage class decides.
const BY_CLASS: &str = "varies_by_storage_class";

/// Storage classes that then take small objects too.
const TAKE_SMALL: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A count is believed for a day: objects come meanwhile, and grow old.
pub(crate) const BELIEVED: Duration = Duration::from_secs(86_400);

/// What a plan would do to the objects of its services. Old versions are not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// When it was counted.
    pub counted: Timestamp,
    /// What would expire at once; `None`: no change of the plan makes objects expire earlier.
    pub expirable: Option<Expirable>,
    /// Objects that are too small to be moved; `None`: the plan moves none.
    pub small: Option<u64>,
    /// Whether the count was ended early, so that there may be more of everything.
    pub at_least: bool,
}

/// Objects that expire at the first midnight UTC after the plan was carried out, and would not without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expirable {
    /// Services that have some.
    pub services: u64,
    /// How many they are.
    pub objects: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// When the oldest of them was last modified.
    pub oldest: Option<Timestamp>,
}

/// One destructive change, and what was counted of it.
#[derive(Debug)]
struct Target {
    prefix: String,
    from: Settings,
    to: Settings,
    /// Whether small objects are never moved.
    keeps_small: bool,
    found: Expirable,
    small: u64,
}

impl Target {
    /// `midnight` is the next one, in seconds.
    fn add(&mut self, object: &Object, midnight: i64) {
        if self.keeps_small && object.size < SMALL {
            self.small += 1;
        }
        // An object without a time is taken for as old as can be.
        let modified = object.modified.map_or(0, Timestamp::as_second);
        let goes = |days: Option<i32>| days.is_some_and(|days| modified + i64::from(days) * DAY <= midnight);
        if !goes(self.to.expiration_days) || goes(self.from.expiration_days) {
            return;
        }
        self.found.services = 1;
        self.found.objects += 1;
        self.found.bytes = self.found.bytes.saturating_add(object.size);
        self.found.oldest = self.found.oldest.into_iter().chain(object.modified).min();
    }
}

/// What is to be counted for one plan.
#[derive(Debug)]
pub(crate) struct Count {
    targets: Vec<Target>,
}

impl Count {
    /// `None`: the plan makes nothing go earlier. `small` is the bucket's setting for small objects.
    pub(crate) fn of(request: &ApprovalRequest, logs_prefix: &str, small: Option<&str>) -> Option<Self> {
        let destructive = request.entries.iter().filter(|change| is_destructive(&change.from, &change.to));
        let targets: Vec<Target> = destructive
            .map(|change| Target {
                prefix: service_prefix(logs_prefix, &change.service),
                from: change.from.clone(),
                to: change.to.clone(),
                keeps_small: keeps_small(&change.to, small),
                found: Expirable::default(),
                small: 0,
            })
            .collect();
        (!targets.is_empty()).then_some(Self { targets })
    }

    /// Lists the objects, a page of each service before the next page of any, and counts them.
    ///
    /// # Errors
    /// [`AwsError::ListObjects`]
    pub(crate) async fn run(mut self, bucket: Bucket, budget: Arc<Budget>) -> Result<Effect, AwsError> {
        let (limits, counted) = (budget.limits(), Timestamp::now());
        let midnight = (counted.as_second().div_euclid(DAY) + 1) * DAY;
        let mut open: VecDeque<(usize, Option<String>)> =
            (0..self.targets.len()).map(|target| (target, None)).collect();
        let mut pages = vec![0; self.targets.len()];
        let (mut left, mut at_least) = (limits.per_plan, false);
        while let Some((at, from)) = open.pop_front() {
            let (Some(target), Some(read)) = (self.targets.get_mut(at), pages.get_mut(at)) else { continue };
            if left == 0 || *read == limits.per_service {
                at_least = true;
                continue;
            }
            (left, *read) = (left - 1, *read + 1);
            let page = budget.page(&bucket, &target.prefix, from).await?;
            page.objects.iter().for_each(|object| target.add(object, midnight));
            open.extend(page.next.map(|next| (at, Some(next))));
        }
        Ok(self.result(counted, at_least))
    }

    fn result(&self, counted: Timestamp, at_least: bool) -> Effect {
        let sum = |all: Expirable, one: &Target| Expirable {
            services: all.services + one.found.services,
            objects: all.objects + one.found.objects,
            bytes: all.bytes.saturating_add(one.found.bytes),
            oldest: all.oldest.into_iter().chain(one.found.oldest).min(),
        };
        let expires = self.targets.iter().any(|target| sooner(&target.from, &target.to));
        let moves = self.targets.iter().any(|target| !target.to.transitions.is_empty());
        Effect {
            counted: Timestamp::from_second(counted.as_second()).unwrap_or(counted),
            expirable: expires.then(|| self.targets.iter().fold(Expirable::default(), sum)),
            small: moves.then(|| self.targets.iter().map(|target| target.small).sum()),
            at_least,
        }
    }
}

/// Whether current versions expire earlier.
fn sooner(from: &Settings, to: &Settings) -> bool {
    let days = |settings: &Settings| settings.expiration_days.unwrap_or(i32::MAX);
    days(to) < days(from)
}

/// Whether no transition of `settings` takes an object that is smaller than 128 KiB.
fn keeps_small(settings: &Settings, small: Option<&str>) -> bool {
    let takes = |class: &str| small == Some(BY_CLASS) && TAKE_SMALL.contains(&class);
    !settings.transitions.is_empty() && !settings.transitions.iter().any(|move_| takes(&move_.storage_class))
}

impl Effect {
    /// Puts it into `plan`.
    pub(crate) fn show(&self, plan: &mut PlanStatus) {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        plan.computed_time = Some(Time(self.counted));
        plan.newly_expirable = self.expirable.as_ref().map(|found| NewlyExpirable {
            services: i32::try_from(found.services).unwrap_or(i32::MAX),
            objects: count(found.objects),
            bytes: count(found.bytes),
            oldest_object_time: found.oldest.map(Time),
            at_least: self.at_least,
        });
        plan.not_transitionable =
            self.small.map(|objects| NotTransitionable { objects: count(objects), at_least: self.at_least });
    }

    /// For people: one or two sentences without the last full stop.
    pub(crate) fn words(&self) -> String {
        let least = if self.at_least { "at least " } else { "" };
        let expirable = self.expirable.as_ref().map(|found| match found {
            Expirable { objects: 0, .. } => {
                let which = if self.at_least { "that was looked at" } else { "that is there" };
                format!("No object {which} would expire at the next midnight UTC")
            }
            Expirable { services, objects, bytes, oldest } => {
                let oldest = oldest.map_or_else(String::new, |oldest| format!(", the oldest of {}", day(oldest)));
                let size = size(*bytes);
                format!(
                    "At the next midnight UTC {least}{objects} objects of {size} in {services} services would expire{oldest}"
                )
            }
        });
        let small = self.small.filter(|small| *small > 0);
        let small =
            small.map(|small| format!("{least}{small} objects are smaller than 128 KiB and would never be moved"));
        let told: Vec<String> = [expirable, small].into_iter().flatten().collect();
        if told.is_empty() { String::new() } else { format!("{}; counted on {}", told.join("; "), self.counted) }
    }
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// Bytes as people read them: 41.2 TiB.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut unit, mut tenths) = (0, u128::from(bytes) * 10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        (unit, tenths) = (unit + 1, tenths / 1024);
    }
    match UNITS.get(unit) {
        Some(name) if unit > 0 => format!("{}.{} {name}", tenths / 10, tenths % 10),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::retention::{Change, Transition};

    fn expires(days: i32) -> Settings {
        Settings { expiration_days: Some(days), ..Settings::default() }
    }

    fn target(from: Settings, to: Settings, small: Option<&str>) -> Target {
        let entries = vec![Change { service: "api".into(), from, to }];
        let request = ApprovalRequest { plan_id: "rp-1".into(), approved: false, entries };
        Count::of(&request, "logs/", small).unwrap().targets.remove(0)
    }

    fn object(second: i64, size: u64) -> Object {
        Object { modified: Timestamp::from_second(second).ok(), size }
    }

    #[test]
    fn an_object_counts_if_the_plan_alone_lets_it_go_by_the_next_midnight() {
        let midnight = 100 * DAY;
        let mut target = target(expires(30), expires(7), None);
        for (age, counts) in [(7 * DAY - 1, false), (7 * DAY, true), (30 * DAY - 1, true), (30 * DAY, false)] {
            let before = target.found.objects;
            target.add(&object(midnight - age, 5), midnight);
            assert_eq!(target.found.objects - before, u64::from(counts), "{age} s old");
        }
        let oldest = Timestamp::from_second(midnight - 30 * DAY + 1).ok();
        assert_eq!(target.found, Expirable { services: 1, objects: 2, bytes: 10, oldest });
        target.add(&Object { modified: None, size: 1 }, midnight);
        assert_eq!(target.found.objects, 2, "an object without a time is as old as can be: it goes under both rules");
    }

    #[test]
    fn small_objects_are_counted_where_no_transition_takes_them() {
        let moves = |class: &str| {
            let transitions = vec![Transition { days: 30, storage_class: class.into() }];
            Settings { transitions, ..expires(90) }
        };
        for (class, setting, stays) in [
            ("STANDARD_IA", None, true),
            ("GLACIER", Some("all_storage_classes_128K"), true),
            ("GLACIER", Some(BY_CLASS), false),
            ("STANDARD_IA", Some(BY_CLASS), true),
        ] {
            let mut target = target(Settings::default(), moves(class), setting);
            [SMALL - 1, SMALL].into_iter().for_each(|size| target.add(&object(0, size), DAY));
            assert_eq!(target.small, u64::from(stays), "{class} {setting:?}");
        }
        assert!(!target(Settings::default(), expires(5), None).keeps_small);
    }

    #[test]
    fn only_destructive_changes_are_counted() {
        let change = |from, to| Change { service: "api".into(), from, to };
        let request = |entries| ApprovalRequest { plan_id: "rp-1".into(), approved: false, entries };
        assert!(Count::of(&request(vec![change(expires(7), expires(30))]), "logs/", None).is_none());
        assert!(Count::of(&request(vec![change(expires(7), Settings::default())]), "logs/", None).is_none());
        let versions = Settings { noncurrent_days: Some(3), ..Settings::default() };
        let count = Count::of(&request(vec![change(Settings::default(), versions)]), "logs/", None).unwrap();
        let effect = count.result(Timestamp::UNIX_EPOCH, false);
        assert_eq!((effect.expirable.as_ref(), effect.small, effect.words().as_str()), (None, None, ""));
    }

    #[test]
    fn status_and_the_message_show_what_was_counted() {
        let oldest = Some(Timestamp::UNIX_EPOCH);
        let expirable = Some(Expirable { services: 2, objects: 1_184_220, bytes: 45_300_000_000_000, oldest });
        let effect = Effect { counted: Timestamp::UNIX_EPOCH, expirable, small: Some(7), at_least: true };
        let mut plan = PlanStatus::default();
        effect.show(&mut plan);
        let shown = serde_json::to_value(&plan).unwrap();
        let found = serde_json::json!({
            "services": 2, "objects": 1_184_220, "bytes": 45_300_000_000_000_u64, "atLeast": true,
            "oldestObjectTime": "1970-01-01T00:00:00Z",
        });
        assert_eq!(shown["newlyExpirable"], found);
        assert_eq!(shown["notTransitionable"], serde_json::json!({"objects": 7, "atLeast": true}));
        assert_eq!(shown["computedTime"], "1970-01-01T00:00:00Z");
        assert_eq!(
            effect.words(),
            "At the next midnight UTC at least 1184220 objects of 41.2 TiB in 2 services would expire, the oldest of \
             1970-01-01; at least 7 objects are smaller than 128 KiB and would never be moved; counted on \
             1970-01-01T00:00:00Z"
        );
        let none = Effect { expirable: Some(Expirable::default()), small: None, at_least: false, ..effect };
        let words = "No object that is there would expire at the next midnight UTC; counted on 1970-01-01T00:00:00Z";
        assert_eq!(none.words(), words);
    }

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_610_612_736, "1.5 GiB")] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "15.9 EiB");
    }
}
