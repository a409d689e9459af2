//! How the last write of a bucket stands after a look.

use crate::apply::Written;
use crate::document::RawDocument;
use crate::observe::Look;
use crate::old::Old;
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::retention::{Observed, WriteRules};
use logwise_runtime::intent::Intent;

/// What is said while S3 answers with what was there before writes of ours.
pub(crate) const REPLACED: &str = "S3 answers with a configuration that a write of ours has replaced";

/// How the last write of a bucket stands after a look.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Its record is closed, or there is none: the next one may be sent.
    Free,
    /// Its record is open, or this look has shown what was there before it: nothing is sent before S3 was read again.
    Open {
        write: WriteRules,
        /// What this look has shown of it.
        seen: Written,
        /// The configuration as a closed record says that it was left, if this look has shown an older one.
        left: Option<Known<RawDocument>>,
    },
    /// This look has closed its record: the write was accepted, and its rules are not there.
    Lost { write: WriteRules, why: String },
    /// Its record could not be judged or closed: nothing may be sent.
    Unclear(String),
}

impl Standing {
    /// While no record is open; `last` is that of the last write.
    pub(crate) fn at_rest(last: Option<&Intent>, look: &Look, now: Timestamp) -> Self {
        let old = Old::of(last, now);
        let is_old = !look.raw.is_unknown() && old.shows(look.raw.known(), true);
        let Some(write) = old.write().filter(|_| is_old) else { return Self::Free };
        Self::Open { write: write.clone(), seen: Written::Unseen { why: REPLACED.to_owned() }, left: old.left() }
    }

    /// Whether this look has shown what was there before writes of ours while no record is open; `last` is that of the last
    /// one. Such an answer tells nothing of what others have done since.
    pub(crate) fn is_past(&self, last: Option<&Intent>) -> bool {
        matches!(self, Self::Open { .. }) && last.is_some_and(|last| last.state.is_closed())
    }

    /// The look by which is planned and reported: what S3 holds is known better than by an old answer.
    pub(crate) fn corrected(&self, look: Look) -> Look {
        let Self::Open { left: Some(raw), .. } = self else { return look };
        let document = raw.clone().map(|raw| raw.to_facts());
        Look { facts: Observed { document, ..look.facts }, raw: raw.clone(), ..look }
    }
}

/// A look as if it had read no configuration: an old answer beside which nobody knows what writes of ours have left.
pub(crate) fn unread(look: Look) -> Look {
    let document = Known::Unknown(REPLACED.to_owned());
    Look { facts: Observed { document, ..look.facts }, raw: Known::Unknown(REPLACED.to_owned()), ..look }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Targets;
    use crate::record::tests::record;
    use jiff::SignedDuration;
    use logwise_plan::retention::{Rule, Settings};
    use logwise_runtime::intent::State;
    use std::collections::BTreeSet;

    const THEIRS: &str = "<LifecycleConfiguration><Rule><ID>t</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";

    fn parsed(text: &[u8]) -> RawDocument {
        RawDocument::parse(text, None).unwrap()
    }

    fn look(raw: Known<RawDocument>) -> Look {
        Look::of(Known::Known(BTreeSet::new()), raw)
    }

    fn write() -> WriteRules {
        let settings = Settings { expiration_days: Some(9), ..Settings::default() };
        WriteRules {
            assumes: Some(parsed(THEIRS.as_bytes()).version().to_owned()),
            remove: BTreeSet::new(),
            add: vec![Rule { id: "ours".into(), prefix: "logs/service_name=a/".into(), settings }],
        }
    }

    fn last(state: State) -> Intent {
        let targets = Targets { write: write(), ..Targets::default() };
        record(state, &targets, Some(&parsed(THEIRS.as_bytes())))
    }

    /// The standing by a record that was written down at 0 s, after a look at this second.
    fn standing(state: State, look: &Look, second: i64) -> Standing {
        Standing::at_rest(Some(&last(state)), look, Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second))
    }

    #[test]
    fn by_an_old_answer_is_neither_written_nor_planned() {
        let theirs = parsed(THEIRS.as_bytes());
        let ours = parsed(&crate::compose(Some(&theirs), &write()).unwrap().unwrap());
        let (old, new) = (look(Known::Known(theirs)), look(Known::Known(ours)));
        let open = standing(State::Done, &old, 20);
        assert!(matches!(&open, Standing::Open { seen: Written::Unseen { .. }, .. }), "{open:?}");
        let corrected = open.corrected(old.clone());
        assert_eq!((&corrected.raw, &corrected.facts.document), (&new.raw, &new.facts.document));
        assert!(open.is_past(Some(&last(State::Done))) && !open.is_past(Some(&last(State::Sent))));
        let unclear = standing(State::Superseded, &old, 20);
        assert!(unclear.is_past(Some(&last(State::Superseded))));
        assert!(matches!(&unclear, Standing::Open { left: None, .. }), "{unclear:?}");
        assert_eq!(unclear.corrected(old.clone()).raw, old.raw);
        let none = unread(old.clone());
        assert!(none.raw.is_unknown() && none.facts.document.is_unknown() && none.facts.services == old.facts.services);
        let free = [
            standing(State::Done, &old, 180),
            standing(State::Done, &new, 20),
            standing(State::Done, &look(Known::Unknown("denied".into())), 20),
            standing(State::Done, &look(Known::Absent), 20),
            standing(State::Abandoned, &old, 20),
            Standing::at_rest(None, &old, Timestamp::UNIX_EPOCH),
        ];
        for standing in free {
            assert!(matches!(&standing, Standing::Free), "{standing:?}");
            assert!(!standing.is_past(Some(&last(State::Done))) && !standing.is_past(None));
            assert_eq!(standing.corrected(old.clone()).raw, old.raw);
        }
    }
}
