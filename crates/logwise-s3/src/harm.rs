//! Rules of others that writes of ours have harmed, as long as that is told.

use logwise_runtime::words;
use std::time::{Duration, Instant};

/// How long it is told.
const TOLD_FOR: Duration = Duration::from_secs(600);

/// Rules of one bucket that are told at the same time; of more, the last ones.
const MOST: usize = 200;

/// Rules in one decision record; of more, the last ones.
const MOST_RECORDED: usize = 20;

/// What happened to a rule of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// A write of ours took it away.
    Dropped,
    /// It was gone, and a write of ours brought it back.
    Revived,
    /// It was there right before a write of ours and was not when S3 first showed that write: its owner removed it in that
    /// moment, or the server does not keep it.
    Missing,
}

/// A rule of somebody else that a write of ours has harmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harmed {
    /// Its id, or how it begins.
    pub rule: String,
    /// What happened.
    pub harm: Harm,
}

/// What is told of one bucket, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<Telling>);

#[derive(Debug)]
struct Telling {
    harmed: Harmed,
    /// The rule.
    xml: String,
    at: Instant,
}

impl Told {
    /// Tells of a harm, once.
    pub(crate) fn tell(&mut self, harmed: Harmed, xml: String, now: Instant) {
        if self.0.iter().any(|told| told.xml == xml && told.harmed == harmed) {
            return;
        }
        let most = self.0.len().saturating_sub(MOST - 1);
        self.0.drain(..most);
        self.0.push(Telling { harmed, xml, at: now });
    }

    /// Drops what is over, and what is no longer so: a rule that is there again, or that its owner has removed again.
    pub(crate) fn keep(&mut self, is_there: impl Fn(&str) -> bool, now: Instant) {
        self.0.retain(|told| told.is_new(now) && is_there(&told.xml) == (told.harmed.harm == Harm::Revived));
    }

    /// What is told now.
    pub(crate) fn harmed(&self, now: Instant) -> impl Iterator<Item = &Harmed> {
        self.0.iter().filter(move |told| told.is_new(now)).map(|told| &told.harmed)
    }

    /// Whether nothing is told any more.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        !self.0.iter().any(|told| told.is_new(now))
    }
}

impl Telling {
    fn is_new(&self, now: Instant) -> bool {
        now.duration_since(self.at) < TOLD_FOR
    }
}

/// For people: the facts and the next steps. Who did it is said as far as it is known.
pub(crate) fn told(bucket: &str, harmed: &[Harmed]) -> Option<String> {
    let named = |harm: Harm| {
        let rules: Vec<&str> = harmed.iter().filter(|it| it.harm == harm).map(|it| it.rule.as_str()).collect();
        (!rules.is_empty()).then(|| words::first_few(&rules))
    };
    let dropped = named(Harm::Dropped).map(|rules| {
        format!(
            "Somebody else wrote lifecycle rules of {bucket} while the operator did, and its write took them away: {rules}. \
             It does not write them again: let their owner do that, and let the two not write at the same time"
        )
    });
    let revived = named(Harm::Revived).map(|rules| {
        format!(
            "Lifecycle rules of {bucket} were gone before a write of the operator took effect, and it brought them back: \
             {rules}. Somebody else seems to have removed them at that time. The operator removes no rules of others: let \
             their owner do that again, and let the two not write at the same time"
        )
    });
    let missing = named(Harm::Missing).map(|rules| {
        format!(
            "Lifecycle rules of {bucket} were there right before a write of the operator and were not when S3 first showed \
             it: {rules}. Their owner removed them in that moment, or the server does not keep them: nobody can tell. The \
             operator does not write them again: let their owner look"
        )
    });
    let told: Vec<String> = [dropped, revived, missing].into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join(". "))
}

/// What the decision record tells: the last of them, so that it stays small.
pub(crate) fn recorded(harmed: &[Harmed]) -> impl Iterator<Item = String> {
    let (earlier, last) = harmed.split_at(harmed.len().saturating_sub(MOST_RECORDED));
    let words = |it: &Harmed| match it.harm {
        Harm::Dropped => format!("Noted: a write took away rule {} of somebody else", it.rule),
        Harm::Revived => format!("Noted: a write brought back rule {} of somebody else", it.rule),
        Harm::Missing => format!("Noted: rule {} of somebody else was gone right after a write", it.rule),
    };
    let more = (!earlier.is_empty()).then(|| format!("Noted: and {} earlier ones", earlier.len()));
    last.iter().map(words).chain(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harmed(number: usize, harm: Harm) -> Harmed {
        Harmed { rule: format!("r{number:03}"), harm }
    }

    #[test]
    fn each_harm_is_told_in_its_own_words_and_nobody_is_blamed_for_what_nobody_knows() {
        let all = [harmed(1, Harm::Dropped), harmed(2, Harm::Revived), harmed(3, Harm::Missing)];
        let text = told("b", &all).unwrap();
        assert!(text.contains("its write took them away: r001. It does not write them again"), "{text}");
        assert!(text.contains("it brought them back: r002. Somebody else seems to have removed them"), "{text}");
        assert!(
            text.contains("first showed it: r003. Their owner removed them in that moment, or the server"),
            "{text}"
        );
        assert_eq!(told("b", &[]), None);
        let missing = told("b", &all[2..]).unwrap();
        assert!(!missing.contains("another writer") && !missing.contains("Somebody else"), "{missing}");
    }

    #[test]
    fn what_is_told_and_recorded_has_an_end() {
        let (mut told, now) = (Told::default(), Instant::now());
        for number in 0..MOST + 50 {
            told.tell(harmed(number, Harm::Dropped), format!("<{number}>"), now);
            told.tell(harmed(number, Harm::Dropped), format!("<{number}>"), now);
        }
        let all: Vec<Harmed> = told.harmed(now).cloned().collect();
        assert_eq!((all.len(), all[0].rule.as_str()), (MOST, "r050"), "the last ones, once each");
        let words: Vec<String> = recorded(&all).collect();
        assert_eq!(words.len(), MOST_RECORDED + 1);
        assert_eq!(words[0], "Noted: a write took away rule r230 of somebody else");
        assert_eq!(words[MOST_RECORDED], "Noted: and 180 earlier ones");
        assert_eq!(recorded(&all[..2]).count(), 2);
        assert!(!told.is_over(now) && told.is_over(now + TOLD_FOR));
        told.keep(|_| false, now + TOLD_FOR);
        assert!(told.0.is_empty());
    }

    #[test]
    fn a_harm_is_over_when_the_rule_is_as_its_owner_wants_it() {
        let now = Instant::now();
        for (harm, is_there) in [(Harm::Dropped, false), (Harm::Missing, false), (Harm::Revived, true)] {
            let mut told = Told::default();
            told.tell(harmed(1, harm), "<r>".to_owned(), now);
            told.keep(|_| is_there, now);
            assert!(!told.is_over(now), "{harm:?}");
            told.keep(|_| !is_there, now);
            assert!(told.is_over(now), "{harm:?}");
        }
    }
}
