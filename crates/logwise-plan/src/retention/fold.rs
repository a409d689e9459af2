//! Rules that several services share: made only where a bucket has no room for one rule each.
//!
//! A folded rule acts on every name with one beginning, also on names that nobody has used yet. S3 lets the shortest of
//! overlapping rules win. So a folded rule does nothing but end objects, and for each of these names the policy that
//! decides about it ends them no later.

use super::beginnings::Beginnings;
use super::compile::{Composed, MAX_RULES, after, foreign, is_nameable, rule_id, service_hash, touches_protected};
use super::ours::{Ours, OwnRule, Standing};
use super::resolve::{Basis, Question, Verdict, Verdicts};
use super::winners::Winners;
use super::{Decision, Folding, Plan, PolicyEntry, Rule, Settings};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What is folded stays folded as long as the bucket would hold more rules than this without it. So a service that comes
/// and goes at the limit does not change the rules of all others each time.
const ROOMY: usize = 900;

/// A folded rule to be written.
pub(super) struct Fold<'a> {
    pub owner: &'a str,
    /// The beginning of the names on which it acts.
    pub beginning: &'a str,
    /// Services that get it instead of a rule of their own.
    pub members: Vec<&'a str>,
    pub rule: Rule,
}

/// The beginning of names on which a rule over this prefix acts. Not every name: a key such as `service_name=/x` is of
/// nobody.
pub(super) fn beginning_of<'a>(logs_prefix: &str, prefix: &'a str) -> Option<&'a str> {
    let beginning = prefix.strip_prefix(logs_prefix)?.strip_prefix("service_name=")?;
    is_nameable(beginning).then_some(beginning)
}

/// The prefix of all keys of services with this beginning.
pub fn fold_prefix(logs_prefix: &str, beginning: &str) -> String {
    format!("{logs_prefix}service_name={beginning}")
}

/// The id of the folded rule of one owner and beginning. No service has it: names have no slash.
pub fn fold_id(owner: &str, uid8: &str, beginning: &str) -> String {
    rule_id(owner, uid8, &fold_key(beginning))
}

/// The last part of the id of a folded rule.
pub(super) fn fold_hash(beginning: &str) -> String {
    service_hash(&fold_key(beginning))
}

/// What stands for all services with this beginning where else the name of one stands.
pub fn fold_key(beginning: &str) -> String {
    format!("{beginning}/*")
}

/// After how many days these settings end objects, if they do nothing else.
fn shared_days(settings: &Settings) -> Option<i32> {
    let Settings { expiration_days, transitions, abort_multipart_days, noncurrent_days } = settings;
    let more = !transitions.is_empty() || abort_multipart_days.is_some() || noncurrent_days.is_some();
    expiration_days.filter(|_| !more)
}

/// Whether these settings end objects, and no later than after so many days.
fn ends_within(settings: &Settings, days: i32) -> bool {
    settings.expiration_days.is_some_and(|own| own <= days)
}

/// Whether nobody knows what a policy wants: it only holds what is in force.
fn is_mute(entry: &PolicyEntry) -> bool {
    entry.observe_only && entry.settings == Settings::default()
}

/// Whether a rule over all names with this beginning that ends objects after so many days ends none earlier than the
/// policies say, and none that no policy covers.
fn is_never_too_early(winners: &Winners<'_>, beginning: &str, days: i32) -> bool {
    let is_late_enough = |place: usize| {
        let entry = winners.at(place);
        ends_within(&entry.settings, days) || is_mute(entry)
    };
    winners.deciding(beginning).is_some_and(|mut places| places.all(is_late_enough))
}

fn is_sound(basis: &Basis<'_>, beginning: &str, days: i32) -> bool {
    let prefix = fold_prefix(&basis.policy.logs_prefix, beginning);
    is_never_too_early(&basis.winners, beginning, days) && !touches_protected(basis.policy, &prefix)
}

/// Folded rules that are in force as their policies want them, and stay.
#[derive(Default)]
pub(super) struct Kept<'a> {
    ids: BTreeSet<&'a str>,
    /// The owners.
    by_beginning: Beginnings<'a, &'a str>,
}

impl Kept<'_> {
    /// Whether the rule with this id is one of them.
    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Whether one of `owner` acts on `service`.
    pub fn serves(&self, service: &str, owner: &str) -> bool {
        self.by_beginning.of(service).any(|of| *of == owner)
    }
}

/// The folded rules that stay, whatever waits for approval or for a window: those of the policies that would make them now,
/// so that there is one at most for a beginning.
pub(super) fn kept<'a>(basis: &Basis<'a>, ours: &Ours<'a>) -> Kept<'a> {
    if ours.folds().next().is_none() || !is_needed(basis, ours) {
        return Kept::default();
    }
    let asking = basis.policy.policies.iter().filter(|entry| entry.removal.is_none());
    let entries: BTreeMap<&str, &PolicyEntry> = asking.map(|entry| (entry.owner.as_str(), entry)).collect();
    let stays = |beginning: &str, rule: &OwnRule<'a>| {
        let (Some(entry), Some(meaning)) = (entries.get(rule.owner), rule.meaning) else { return false };
        let is_wanted = meaning.settings == entry.settings && rule.id == fold_id(&entry.owner, &entry.uid8, beginning);
        let first = basis.winners.throughout(beginning).map(|place| basis.winners.at(place));
        let is_own = first.is_some_and(|first| first.owner == entry.owner) && has_member(basis, ours, beginning, entry);
        let days = shared_days(&meaning.settings).filter(|_| is_wanted && is_own);
        days.is_some_and(|days| is_sound(basis, beginning, days))
    };
    let kept: Vec<_> = ours.folds().filter(|(beginning, rule)| stays(beginning, rule)).collect();
    Kept {
        ids: kept.iter().map(|(_, rule)| rule.id).collect(),
        by_beginning: Beginnings::new(kept.iter().map(|(beginning, rule)| (*beginning, rule.owner))),
    }
}

/// Whether there is too little room to take folded rules apart; nobody can tell while the services are unknown.
fn is_needed(basis: &Basis<'_>, ours: &Ours<'_>) -> bool {
    let wants = |(service, entry): &(&&str, &&PolicyEntry)| {
        let does_something = entry.settings != Settings::default();
        does_something && !ours.is_gone(service)
    };
    let most = match basis.policy.fold {
        Folding::WhenNeeded => ROOMY,
        Folding::Never => MAX_RULES,
    };
    let rules = foreign(basis.observed, ours) + basis.winning.iter().filter(wants).count();
    rules > most || basis.observed.services.known().is_none()
}

/// Whether `entry` decides about a known service with this beginning. If none is known, one that was missed a moment ago
/// counts like a rule of its own would: until it is gone for good.
fn has_member(basis: &Basis<'_>, ours: &Ours<'_>, beginning: &str, entry: &PolicyEntry) -> bool {
    let mut winners = with_beginning(&basis.winning, beginning).peekable();
    let is_missed = winners.peek().is_none() && !ours.is_gone(&fold_key(beginning));
    is_missed || basis.observed.services.known().is_none() || winners.any(|winner| winner.owner == entry.owner)
}

/// What a map by service holds about services with this beginning.
fn with_beginning<'m, V>(map: &'m BTreeMap<&str, V>, beginning: &str) -> impl Iterator<Item = &'m V> {
    let from = (Bound::Included(beginning), Bound::Unbounded);
    map.range::<str, _>(from).take_while(move |(service, _)| service.starts_with(beginning)).map(|(_, value)| value)
}

/// Whether a folded rule that its policy no longer wants as it is stays for now: changes of services under it wait, no
/// policy says that these should live longer, and no other rule over the same names decides.
pub(super) fn is_waited_for(basis: &Basis<'_>, ours: &Ours<'_>, rule: &OwnRule<'_>, verdicts: &Verdicts<'_>) -> bool {
    let days = |rule: &OwnRule| rule.meaning.and_then(|meaning| meaning.settings.expiration_days);
    let (Some(beginning), Some(own)) = (rule.beginning, days(rule)) else { return false };
    let waits = |verdict: &Verdict| matches!(verdict, Verdict::Waits | Verdict::Observed | Verdict::Held);
    let decides = |(_, other): (&str, &OwnRule)| match other.standing {
        Standing::Active if basis.kept.has(other.id) => true,
        Standing::Active => {
            days(other).is_some_and(|days| (days, other.id) < (own, rule.id) && is_sound(basis, beginning, days))
        }
        Standing::Observer => !is_taken_over(basis, ours, other, verdicts),
        Standing::Held | Standing::Leaving => false,
    };
    with_beginning(verdicts, beginning).any(waits)
        && is_sound(basis, beginning, own)
        && !ours.folds().filter(|(other, _)| *other == beginning).any(decides)
}

/// Whether active policies take a folded rule of an observer over: they decide about every name under it, and what they want
/// for those that are known is done now.
pub(super) fn is_taken_over(basis: &Basis<'_>, ours: &Ours<'_>, rule: &OwnRule<'_>, verdicts: &Verdicts<'_>) -> bool {
    let Some(beginning) = rule.beginning else { return false };
    let is_active = |place: usize| !basis.winners.at(place).observe_only;
    let is_decided = basis.winners.deciding(beginning).is_some_and(|mut places| places.all(is_active));
    let is_held = with_beginning(&basis.winning, beginning).any(|winner| ours.is_held(&winner.owner));
    let mut known = with_beginning(verdicts, beginning).peekable();
    let is_done = |verdict: &Verdict| matches!(verdict, Verdict::Exactly(_) | Verdict::Folded);
    is_decided && !is_held && known.peek().is_some() && known.all(is_done)
}

/// A service as it will be after the write.
struct Service<'a> {
    name: &'a str,
    /// The place of the policy that decides about it.
    place: usize,
    /// Days until a rule of its own, or a folded one that stays, ends its objects.
    days: Option<i32>,
    /// Whether its rule may be exchanged for a folded one now.
    may_fold: bool,
}

/// Lets services share rules until the write fits into the bucket, or nothing more can be shared: first those of the policy
/// with the most rules, and the largest groups first.
pub(super) fn fold<'a>(
    question: &Question<'_, 'a>,
    verdicts: &Verdicts<'a>,
    composed: &mut Composed<'a>,
    plan: &mut Plan,
) {
    let (basis, ours) = (question.basis, question.ours);
    let rules = foreign(basis.observed, ours) + after(ours, &composed.write);
    let mut excess = rules.saturating_sub(MAX_RULES);
    let knows_all = basis.observed.services.known().is_some();
    if excess == 0 || basis.policy.fold == Folding::Never || !knows_all {
        return;
    }
    let services = services(question, verdicts, composed);
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for service in services.iter().filter(|service| service.may_fold) {
        *sizes.entry(service.place).or_default() += 1;
    }
    let mut places: Vec<_> = sizes.into_iter().map(|(place, size)| (Reverse(size), place)).collect();
    places.sort_unstable();
    for (_, place) in places {
        if excess == 0 {
            break;
        }
        let mut groups = groups(basis, &services, place);
        groups.sort_by_key(|members| Reverse(members.len()));
        for members in groups {
            let fold = if excess == 0 { None } else { shared(question, place, members, composed) };
            excess = excess.saturating_sub(fold.as_ref().map_or(0, |fold| fold.members.len() - 1));
            composed.folds.extend(fold);
        }
    }
    carry_out(ours, composed, plan);
}

/// Every service that a policy decides about.
fn services<'a>(question: &Question<'_, 'a>, verdicts: &Verdicts<'a>, composed: &Composed<'a>) -> Vec<Service<'a>> {
    let service = |(name, verdict): (&&'a str, &Verdict)| {
        let name = *name;
        let entry = question.basis.winning.get(name)?;
        let wanted = match verdict {
            Verdict::Exactly(Some(rule)) => Some(&rule.settings),
            _ => None,
        };
        let staying = || {
            let stays = |rule: &&OwnRule| rule.acts && !composed.write.remove.contains(rule.id);
            let own = question.ours.of(name).iter().filter(stays);
            own.filter_map(|rule| rule.meaning?.settings.expiration_days).min()
        };
        let days = match verdict {
            Verdict::Exactly(_) => wanted.and_then(|settings| settings.expiration_days),
            Verdict::Folded => entry.settings.expiration_days,
            _ => staying(),
        };
        let may_fold = wanted.and_then(shared_days).is_some() && question.may_replace(entry, name);
        Some(Service { name, place: question.basis.winners.place(name)?, days, may_fold })
    };
    verdicts.iter().filter_map(service).collect()
}

/// Services of one policy that may share a rule: those with the same shortest possible beginning.
fn groups<'a>(basis: &Basis<'a>, services: &[Service<'a>], place: usize) -> Vec<Vec<&'a str>> {
    let entry = basis.winners.at(place);
    let Some(days) = shared_days(&entry.settings) else { return Vec::new() };
    let bars = bars(basis, services, place, days);
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for service in services.iter().filter(|service| service.may_fold && service.place == place) {
        let Some(beginning) = shortest(entry, &bars, service.name) else { continue };
        match groups.last_mut() {
            Some((last, members)) if *last == beginning => members.push(service.name),
            _ => groups.push((beginning, vec![service.name])),
        }
    }
    groups.into_iter().map(|(_, members)| members).filter(|members| members.len() > 1).collect()
}

/// Texts with which no beginning of a folded rule may agree as a whole, in order: names, or beginnings of names, that a
/// stronger policy wants to live longer or only observes; services whose change waits; and protected keys.
fn bars<'a>(basis: &Basis<'a>, services: &[Service<'a>], place: usize, days: i32) -> Vec<&'a str> {
    let bars_all = |entry: &PolicyEntry| entry.observe_only || !ends_within(&entry.settings, days);
    let told = basis.winners.told().filter(|(_, other)| *other < place && bars_all(basis.winners.at(*other)));
    let is_member = |service: &&Service<'a>| service.may_fold && service.place == place;
    let safe = |service: &&Service<'a>| is_member(service) || service.days.is_some_and(|own| own <= days);
    let waiting = services.iter().filter(|service| !safe(service)).map(|service| service.name);
    let checkpoints = basis.policy.checkpoint_prefix.strip_prefix(basis.policy.logs_prefix.as_str());
    let protected = checkpoints.and_then(|rest| rest.strip_prefix("service_name="));
    let mut bars: Vec<&str> = told.map(|(text, _)| text).chain(waiting).chain(protected).collect();
    bars.sort_unstable();
    bars
}

/// The shortest beginning of `name` that the policy covers throughout and that no bar begins with.
fn shortest<'a>(entry: &PolicyEntry, bars: &[&str], name: &'a str) -> Option<&'a str> {
    let selector = &entry.selector;
    let covering = selector.prefixes.iter().filter(|prefix| name.starts_with(prefix.as_str())).map(String::len);
    let least = if selector.names.is_empty() && selector.prefixes.is_empty() { Some(0) } else { covering.min() };
    // Of texts in order, the neighbours have most in common with a name.
    let next = bars.partition_point(|bar| *bar < name);
    let near = next.checked_sub(1).into_iter().chain([next]).filter_map(|place| bars.get(place));
    let shared = near.map(|bar| common(bar, name).len()).max().unwrap_or(0);
    let one_more = shared + name[shared..].chars().next()?.len_utf8();
    Some(&name[..least?.max(one_more)])
}

/// What both texts begin with, as part of the second one.
fn common<'a>(one: &str, other: &'a str) -> &'a str {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    &other[..same.map(|(_, character)| character.len_utf8()).sum::<usize>()]
}

/// The rule that these services may share: over what all their names begin with, which is as few other names as can be.
fn shared<'a>(
    question: &Question<'_, 'a>,
    place: usize,
    members: Vec<&'a str>,
    composed: &Composed<'a>,
) -> Option<Fold<'a>> {
    let basis = question.basis;
    let entry = basis.winners.at(place);
    let beginning = common(members.last()?, members.first()?);
    let days = shared_days(&entry.settings)?;
    let id = fold_id(&entry.owner, &entry.uid8, beginning);
    let is_same = |rule: &OwnRule| {
        let observes = rule.standing == Standing::Observer;
        rule.id == id || (observes && rule.beginning == Some(beginning))
    };
    let is_taken = question.ours.all().any(|(_, rule)| is_same(rule) && !composed.write.remove.contains(rule.id));
    let prefix = fold_prefix(&basis.policy.logs_prefix, beginning);
    let rule = Rule { id, prefix, settings: entry.settings.clone() };
    (is_sound(basis, beginning, days) && !is_taken).then_some(Fold { owner: &entry.owner, beginning, members, rule })
}

/// Puts the folded rules in the place of those of their services.
fn carry_out<'a>(ours: &Ours<'a>, composed: &mut Composed<'a>, plan: &mut Plan) {
    let Composed { write, folds } = composed;
    let members: BTreeSet<&str> = folds.iter().flat_map(|fold| fold.members.iter().copied()).collect();
    write.add.retain(|rule| !ours.service_of(&rule.prefix).is_some_and(|service| members.contains(service)));
    let own = members.iter().flat_map(|service| ours.of(service));
    write.remove.extend(own.map(|rule| rule.id.to_owned()));
    write.add.extend(folds.iter().map(|fold| fold.rule.clone()));
    write.add.sort_by(|a, b| a.id.cmp(&b.id));
    for fold in folds.iter() {
        let Some(part) = plan.policies.get_mut(fold.owner) else { continue };
        part.services.extend(fold.members.iter().map(|service| ((*service).to_owned(), Decision::Write)));
    }
}
