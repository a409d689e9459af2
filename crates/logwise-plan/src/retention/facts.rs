//! What S3, and the keys of a log pipeline, demand of a lifecycle rule: looked at before S3 sees the rule.
//!
//! S3 takes or refuses a configuration as a whole, so that one bad rule would keep every other rule of the bucket from
//! being written. Some facts of S3 need no check, since rules of ours cannot say what these are about: dates, tags,
//! sizes, the removal of delete markers alone, and numbers of noncurrent versions to keep.

use super::compile::{MAX_RULES, id_parts, service_hash};
use super::fold::fold_hash;
use super::{Rule, Settings, Transition, WriteRules};
use std::collections::BTreeSet;
use std::fmt;

/// Most days that a RetentionPolicy may name.
const MAX_DAYS: i32 = 36_500;

/// Days after which S3 moves objects to infrequent access at the earliest, and from there to an archive.
const MONTH: i32 = 30;

/// Most characters of a rule's id.
const MAX_ID: usize = 255;

/// Most bytes of an object's key.
const MAX_KEY: usize = 1_024;

/// Storage classes in the order in which S3 moves objects.
const WATERFALL: [&str; 6] =
    ["STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"];

const INFREQUENT: [&str; 2] = ["STANDARD_IA", "ONEZONE_IA"];
const ARCHIVES: [&str; 3] = ["GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"];

/// A fact that a rule does not respect, each under its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// S3 takes no rule that does nothing.
    NoAction,
    /// Objects expire after one day at the earliest.
    ExpirationBeforeOneDay {
        /// Days asked for.
        days: i32,
    },
    /// Noncurrent versions are removed after one day at the earliest.
    NoncurrentBeforeOneDay {
        /// Days asked for.
        days: i32,
    },
    /// Incomplete uploads are aborted after one day at the earliest.
    AbortBeforeOneDay {
        /// Days asked for.
        days: i32,
    },
    /// Objects move on the day of their creation at the earliest.
    TransitionBeforeCreation {
        /// Where they would move.
        storage_class: String,
        /// Days asked for.
        days: i32,
    },
    /// More days than a policy may name.
    TooManyDays {
        /// The field that names them.
        field: &'static str,
        /// Days asked for.
        days: i32,
    },
    /// S3 moves no objects to this class.
    UnknownStorageClass {
        /// The class asked for.
        storage_class: String,
    },
    /// S3 takes each class once in a rule.
    StorageClassTwice {
        /// The class.
        storage_class: String,
    },
    /// Objects move to infrequent access after 30 days at the earliest.
    InfrequentAccessTooSoon {
        /// Which of both classes.
        storage_class: String,
        /// Days asked for.
        days: i32,
    },
    /// Objects move once on a day.
    TransitionsOnOneDay {
        /// Where they move.
        first: String,
        /// Where they would move too.
        then: String,
        /// The day.
        days: i32,
    },
    /// Objects move in one order only.
    AgainstTheWaterfall {
        /// The class that comes first in that order.
        first: String,
        /// The class that comes later and would be reached sooner.
        then: String,
    },
    /// There is no move from ONEZONE_IA to GLACIER_IR, nor back.
    NoWayOnward,
    /// Objects stay in infrequent access for 30 days before they move to an archive.
    ArchiveTooSoon {
        /// The class for infrequent access.
        first: String,
        /// The archive.
        then: String,
        /// Days between both.
        days: i32,
    },
    /// Objects expire after they have moved.
    ExpirationNotAfterTransition {
        /// Days until they expire.
        days: i32,
        /// Where they move.
        storage_class: String,
        /// Days until they move there.
        moves: i32,
    },
    /// A rule under another id would be nobody's afterwards.
    IdNotOurs,
    /// An id has at most 255 characters.
    IdTooLong {
        /// Its characters.
        length: usize,
    },
    /// S3 takes each id once.
    IdTwice,
    /// The id names another service than the prefix.
    IdOfAnotherPrefix,
    /// A rule without a prefix acts on the whole bucket.
    PrefixEmpty,
    /// A prefix that does not lead to services reaches the log of the sink, or the checkpoints.
    PrefixNotOfServices,
    /// Without the slash at its end the prefix of a service matches other services too.
    PrefixWithoutSlash,
    /// No key is that long.
    PrefixTooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// XML cannot carry some control characters, not even as references.
    NotExpressible,
    /// A bucket has at most 1,000 rules.
    TooManyRules {
        /// Rules with this write, those of others included.
        rules: usize,
    },
}

impl Fault {
    /// The field of the policy, or the part of the rule, that has to be another one.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NoAction => "spec",
            Self::ExpirationBeforeOneDay { .. } | Self::ExpirationNotAfterTransition { .. } => EXPIRATION,
            Self::NoncurrentBeforeOneDay { .. } => NONCURRENT,
            Self::AbortBeforeOneDay { .. } => ABORT,
            Self::TooManyDays { field, .. } => field,
            Self::TransitionBeforeCreation { .. }
            | Self::UnknownStorageClass { .. }
            | Self::StorageClassTwice { .. }
            | Self::InfrequentAccessTooSoon { .. }
            | Self::TransitionsOnOneDay { .. }
            | Self::AgainstTheWaterfall { .. }
            | Self::NoWayOnward
            | Self::ArchiveTooSoon { .. } => TRANSITIONS,
            Self::IdNotOurs | Self::IdTooLong { .. } | Self::IdTwice | Self::IdOfAnotherPrefix => "id",
            Self::PrefixEmpty
            | Self::PrefixNotOfServices
            | Self::PrefixWithoutSlash
            | Self::PrefixTooLong { .. }
            | Self::NotExpressible => "prefix",
            Self::TooManyRules { .. } => "rules of the bucket",
        }
    }

    /// What has to be so, and why.
    pub fn problem(&self) -> String {
        match self {
            Self::NoAction => "must name an action: S3 takes no rule that does nothing".to_owned(),
            Self::ExpirationBeforeOneDay { days }
            | Self::NoncurrentBeforeOneDay { days }
            | Self::AbortBeforeOneDay { days } => format!("must be greater than or equal to 1, not {days}"),
            Self::TooManyDays { days, .. } => format!("must be less than or equal to {MAX_DAYS}, not {days}"),
            Self::ExpirationNotAfterTransition { days, storage_class, moves } => format!(
                "must be greater than {moves}, the `days` of the transition to {storage_class}, not {days}: S3 expires \
                 no object before it has moved"
            ),
            Self::IdNotOurs => {
                "must have the form logwise.io/<owner>/<uid>/<hash>: nobody would know the rule for ours".to_owned()
            }
            Self::IdTooLong { length } => format!(
                "must have at most {MAX_ID} characters, not {length}: shorten the name of the installation, \
                 namespace or policy"
            ),
            Self::IdTwice => "must be used once: S3 takes no two rules with one id".to_owned(),
            Self::IdOfAnotherPrefix => "must be the one of the service that the prefix names".to_owned(),
            Self::PrefixEmpty => "must not be empty: the rule would act on the whole bucket".to_owned(),
            Self::PrefixNotOfServices => {
                "must be `<logsPrefix>service_name=<service>/`: the rule would act on more than logs".to_owned()
            }
            Self::PrefixWithoutSlash => {
                "must end with '/': the rule would act on other services whose names begin alike".to_owned()
            }
            Self::PrefixTooLong { bytes } => {
                format!("must have at most {MAX_KEY} bytes, not {bytes}: no key of S3 is longer")
            }
            Self::NotExpressible => "must have no character that XML cannot carry".to_owned(),
            Self::TooManyRules { rules } => {
                format!("must be at most {MAX_RULES}, not {rules}: remove rules, or merge some")
            }
            moves => moves.problem_of_moves(),
        }
    }

    /// The same for what is wrong with transitions.
    fn problem_of_moves(&self) -> String {
        match self {
            Self::TransitionBeforeCreation { storage_class, days } => {
                format!("must have 0 or more `days` for {storage_class}, not {days}")
            }
            Self::UnknownStorageClass { storage_class } => {
                format!("must name one of {}, not {storage_class:?}", WATERFALL.join(", "))
            }
            Self::StorageClassTwice { storage_class } => format!("must name {storage_class} once"),
            Self::InfrequentAccessTooSoon { storage_class, days } => {
                format!("must have at least {MONTH} `days` for {storage_class}, not {days}: S3 moves no younger one")
            }
            Self::TransitionsOnOneDay { first, then, days } => {
                format!("must give {then} more `days` than {first}, not {days} to both: S3 makes one move on a day")
            }
            Self::AgainstTheWaterfall { first, then } => format!(
                "must give {then} more `days` than {first}: S3 moves objects only in the order {}",
                WATERFALL.join(", ")
            ),
            Self::NoWayOnward => {
                "must not hold both ONEZONE_IA and GLACIER_IR: S3 moves no object from the one to the other".to_owned()
            }
            Self::ArchiveTooSoon { first, then, days } => {
                format!("must leave at least {MONTH} `days` between {first} and {then}, not {days}")
            }
            _ => String::new(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field(), self.problem())
    }
}

const EXPIRATION: &str = "spec.expiration.days";
const TRANSITIONS: &str = "spec.transitions";
const NONCURRENT: &str = "spec.noncurrentVersionExpiration.noncurrentDays";
const ABORT: &str = "spec.abortIncompleteMultipartUpload.daysAfterInitiation";

/// A number of days, the field it stands in, and what to say if it is less than one.
type LeastDays = (Option<i32>, &'static str, fn(i32) -> Fault);

/// What is wrong with a policy's settings. A policy that does nothing has no rule, which is right.
pub fn of_settings(settings: &Settings) -> Vec<Fault> {
    let Settings { expiration_days, transitions, abort_multipart_days, noncurrent_days } = settings;
    let mut found = Vec::new();
    let days: [LeastDays; 3] = [
        (*expiration_days, EXPIRATION, |days| Fault::ExpirationBeforeOneDay { days }),
        (*noncurrent_days, NONCURRENT, |days| Fault::NoncurrentBeforeOneDay { days }),
        (*abort_multipart_days, ABORT, |days| Fault::AbortBeforeOneDay { days }),
    ];
    for (days, field, too_few) in days {
        match days {
            Some(days) if days < 1 => found.push(too_few(days)),
            Some(days) if days > MAX_DAYS => found.push(Fault::TooManyDays { field, days }),
            _ => {}
        }
    }
    for (place, transition) in transitions.iter().enumerate() {
        found.extend(of_transition(transition));
        found.extend(transitions[..place].iter().filter_map(|earlier| between(earlier, transition)));
        found.extend(expiration_days.and_then(|days| not_after(days, transition)));
    }
    found
}

/// What is wrong with one transition for itself.
fn of_transition(Transition { days, storage_class }: &Transition) -> Option<Fault> {
    let (days, class) = (*days, storage_class.as_str());
    let named = || storage_class.clone();
    if !WATERFALL.contains(&class) {
        Some(Fault::UnknownStorageClass { storage_class: named() })
    } else if days < 0 {
        Some(Fault::TransitionBeforeCreation { storage_class: named(), days })
    } else if days > MAX_DAYS {
        Some(Fault::TooManyDays { field: TRANSITIONS, days })
    } else {
        let soon = INFREQUENT.contains(&class) && days < MONTH;
        soon.then(|| Fault::InfrequentAccessTooSoon { storage_class: named(), days })
    }
}

/// What is wrong with two transitions of one rule.
fn between(a: &Transition, b: &Transition) -> Option<Fault> {
    let rank = |t: &Transition| WATERFALL.iter().position(|class| *class == t.storage_class);
    let (rank_a, rank_b) = (rank(a)?, rank(b)?);
    let (one, other) = if rank_a <= rank_b { (a, b) } else { (b, a) };
    let (first, then) = (one.storage_class.clone(), other.storage_class.clone());
    if rank_a == rank_b {
        return Some(Fault::StorageClassTwice { storage_class: first });
    }
    if (first.as_str(), then.as_str()) == ("ONEZONE_IA", "GLACIER_IR") {
        return Some(Fault::NoWayOnward);
    }
    if other.days == one.days {
        return Some(Fault::TransitionsOnOneDay { first, then, days: one.days });
    }
    if other.days < one.days {
        return Some(Fault::AgainstTheWaterfall { first, then });
    }
    let days = other.days.saturating_sub(one.days);
    let too_soon = INFREQUENT.contains(&first.as_str()) && ARCHIVES.contains(&then.as_str()) && days < MONTH;
    too_soon.then_some(Fault::ArchiveTooSoon { first, then, days })
}

/// What is wrong with an expiration and a transition. Numbers of days that are wrong by themselves are told already.
fn not_after(days: i32, transition: &Transition) -> Option<Fault> {
    let Transition { days: moves, storage_class } = transition;
    let too_soon = days >= 1 && days <= *moves && *moves <= MAX_DAYS;
    let fault = || Fault::ExpirationNotAfterTransition { days, storage_class: storage_class.clone(), moves: *moves };
    too_soon.then(fault)
}

/// What is wrong with a rule by itself.
pub fn of_rule(rule: &Rule) -> Vec<Fault> {
    let mut found = of_settings(&rule.settings);
    if rule.settings == Settings::default() {
        found.push(Fault::NoAction);
    }
    let length = rule.id.chars().count();
    if length > MAX_ID {
        found.push(Fault::IdTooLong { length });
    }
    if id_parts(&rule.id).is_none() {
        found.push(Fault::IdNotOurs);
    }
    if !rule.id.chars().chain(rule.prefix.chars()).all(is_xml_char) {
        found.push(Fault::NotExpressible);
    }
    if rule.prefix.len() > MAX_KEY {
        found.push(Fault::PrefixTooLong { bytes: rule.prefix.len() });
    }
    found.extend(of_prefix(rule));
    found
}

/// What is wrong with the objects that a rule acts on: those of one service, or, without a slash at the end, those of
/// all services whose names begin alike, of which the id knows too.
fn of_prefix(rule: &Rule) -> Option<Fault> {
    if rule.prefix.is_empty() {
        return Some(Fault::PrefixEmpty);
    }
    let (path, closed) = match rule.prefix.strip_suffix('/') {
        Some(path) => (path, true),
        None => (rule.prefix.as_str(), false),
    };
    let last = path.rsplit('/').next().unwrap_or_default();
    let Some(name) = last.strip_prefix("service_name=").filter(|name| !closed || !name.is_empty()) else {
        return Some(Fault::PrefixNotOfServices);
    };
    let (_, hash) = id_parts(&rule.id)?;
    let of_service = hash == service_hash(name);
    if !closed && of_service {
        return Some(Fault::PrefixWithoutSlash);
    }
    let is_its_own = if closed { of_service } else { hash == fold_hash(name) };
    (!is_its_own).then_some(Fault::IdOfAnotherPrefix)
}

/// The characters of XML 1.0.
fn is_xml_char(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// What is wrong with a write to a configuration whose rules have these ids: with one of its rules, by id, or with all
/// of them together. Rules of others are not looked at, since S3 has taken them.
pub fn of_write<'a>(
    write: &'a WriteRules,
    there: impl IntoIterator<Item = Option<&'a str>>,
) -> Vec<(Option<&'a str>, Fault)> {
    let mut found = Vec::new();
    let (mut before, mut after, mut ids) = (0, write.add.len(), BTreeSet::new());
    for id in there {
        before += 1;
        if !id.is_some_and(|id| write.remove.contains(id)) {
            after += 1;
            ids.extend(id);
        }
    }
    for rule in &write.add {
        let id = rule.id.as_str();
        found.extend(of_rule(rule).into_iter().map(|fault| (Some(id), fault)));
        if !ids.insert(id) {
            found.push((Some(id), Fault::IdTwice));
        }
    }
    // A server that takes more keeps them: rules of ours must be removable there too.
    if after > MAX_RULES.max(before) {
        found.push((None, Fault::TooManyRules { rules: after }));
    }
    found
}
