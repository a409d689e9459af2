//! What S3 enforces for the objects of a service, whoever wrote the rules: the shortest of all that act on them.

use super::{Expires, ObservedRule, Reach, Share};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// A rule that ends objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enforced {
    /// When it does.
    pub expires: Expires,
    /// Its id; S3 allows rules without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What happens to the current objects under one prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// Days until every object expires, with the rule that says so; `None`: no number of days holds for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<i32>,
    /// Id of the rule that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The earliest date on which every object expires, whatever its age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Enforced>,
    /// The soonest end of some of the objects, if it comes before that of all: of those with certain tags, of certain
    /// sizes or under a longer prefix. First by days, then by date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partly: Vec<Enforced>,
    /// Rules that were not understood and may do more.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub unclear: usize,
}

/// The rules of a configuration, ready to be asked about many prefixes.
pub struct Enforcement<'a> {
    rules: Vec<(Option<&'a str>, Reach)>,
    unclear: usize,
}

impl<'a> Enforcement<'a> {
    /// Takes the rules that end objects, and counts those that are not understood.
    pub fn new(rules: impl IntoIterator<Item = &'a ObservedRule>) -> Self {
        let mut all = Self { rules: Vec::new(), unclear: 0 };
        for rule in rules {
            match rule.known_reach() {
                Some(reach) if reach.enabled && reach.expires.is_some() => all.rules.push((rule.id.as_deref(), reach)),
                Some(_) => {}
                None => all.unclear += 1,
            }
        }
        all
    }

    /// What happens to the objects under `prefix`.
    pub fn of(&self, prefix: &str) -> Effective {
        let (days, date) = (self.soonest(prefix, Share::Whole, in_days), self.soonest(prefix, Share::Whole, on_date));
        let (some_days, some_date) =
            (self.soonest(prefix, Share::Part, in_days), self.soonest(prefix, Share::Part, on_date));
        let some_days = some_days.filter(|some| days.is_none_or(|all| some.0 < all.0));
        let some_date = some_date.filter(|some| date.is_none_or(|all| some.0 < all.0));
        let by_days = |(days, by): (i32, Option<&str>)| enforced(Expires::Days(days), by);
        let by_date = |(date, by): (Timestamp, Option<&str>)| enforced(Expires::Date(date), by);
        Effective {
            days: days.map(|(days, _)| days),
            by: days.and_then(|(_, by)| by).map(str::to_owned),
            date: date.map(by_date),
            partly: some_days.map(by_days).into_iter().chain(some_date.map(by_date)).collect(),
            unclear: self.unclear,
        }
    }

    /// The soonest of the rules that act on that share of the objects, with its id; of equal ones the one with the
    /// longest prefix.
    fn soonest<T: Copy + Ord>(
        &self,
        prefix: &str,
        share: Share,
        end: impl Fn(Expires) -> Option<T>,
    ) -> Option<(T, Option<&'a str>)> {
        let acting = self.rules.iter().filter(|(_, reach)| reach.share_of(prefix) == share);
        let ends = acting.filter_map(|(id, reach)| Some((end(reach.expires?)?, Reverse(reach.prefix.len()), *id)));
        ends.min_by_key(|(end, longest, _)| (*end, *longest)).map(|(end, _, id)| (end, id))
    }
}

/// What happens to the current objects under `prefix` with these rules.
pub fn effective(prefix: &str, rules: &[ObservedRule]) -> Effective {
    Enforcement::new(rules).of(prefix)
}

impl Effective {
    /// What ends objects sooner than a policy wants, such as "wanted 365, capped at 90 by rule X"; `None`: nothing that
    /// is known does.
    pub fn cap(&self, wanted: Option<i32>) -> Option<String> {
        let is_sooner = |days: i32| wanted.is_none_or(|wanted| days < wanted);
        let mut caps = Vec::new();
        if let Some(days) = self.days.filter(|days| is_sooner(*days)) {
            caps.push(format!("capped at {days} by {}", named(self.by.as_deref())));
        }
        let all = self.date.iter().map(|end| ("everything", end));
        for (what, end) in all.chain(self.partly.iter().map(|end| ("some of it", end))) {
            let by = named(end.by.as_deref());
            match end.expires {
                Expires::Days(days) if is_sooner(days) => caps.push(format!("{what} capped at {days} by {by}")),
                Expires::Days(_) => {}
                Expires::Date(date) => caps.push(format!("{what} ends on {} by {by}", date.strftime("%Y-%m-%d"))),
            }
        }
        let wanted = wanted.map_or_else(|| "no end".to_owned(), |days| days.to_string());
        (!caps.is_empty()).then(|| format!("wanted {wanted}, {}", caps.join(", ")))
    }
}

fn in_days(expires: Expires) -> Option<i32> {
    match expires {
        Expires::Days(days) => Some(days),
        Expires::Date(_) => None,
    }
}

fn on_date(expires: Expires) -> Option<Timestamp> {
    match expires {
        Expires::Days(_) => None,
        Expires::Date(date) => Some(date),
    }
}

fn enforced(expires: Expires, by: Option<&str>) -> Enforced {
    Enforced { expires, by: by.map(str::to_owned) }
}

fn named(id: Option<&str>) -> String {
    let id = id.filter(|id| !id.is_empty());
    id.map_or_else(|| "a rule without an id".to_owned(), |id| format!("rule {id}"))
}
