//! When enough was read after a write. S3 may answer with an old configuration for a while, now and then even after it has
//! answered with the new one.

use crate::verify::Reading;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long S3 may answer with the configuration from before a write.
const STALE: Duration = Duration::from_secs(180);

/// How far apart two readings of something else are at least that tell of another writer: one may be an old answer that
/// nobody remembers.
const APART: Duration = Duration::from_secs(1);

/// What follows from all readings after a write so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is read again.
    Wait,
    /// S3 holds the rules.
    Done,
    /// S3 holds what was sent with less in it.
    Less,
    /// It has never shown the rules.
    Unseen,
    /// It has shown the rules, and then the configuration from before for as long as no old answer lasts.
    PutBack,
    /// Another writer has replaced them.
    Overwritten,
}

/// What was read since the last write of each bucket, as long as its record is open.
#[derive(Debug)]
pub(crate) struct Watches {
    stale: Duration,
    buckets: Mutex<HashMap<String, Watch>>,
}

impl Default for Watches {
    fn default() -> Self {
        Self { stale: stale(), buckets: Mutex::default() }
    }
}

/// How long S3 may answer with the configuration from before a write. `LOGWISE_OLD_ANSWERS_SECONDS` makes it shorter, in
/// builds with debug assertions: tests of crashes do not wait so long.
pub(crate) fn stale() -> Duration {
    static CHOSEN: OnceLock<Option<u64>> = OnceLock::new();
    let named = || std::env::var("LOGWISE_OLD_ANSWERS_SECONDS").ok()?.parse().ok();
    let chosen = CHOSEN.get_or_init(|| named().filter(|_| cfg!(debug_assertions)));
    chosen.map_or(STALE, Duration::from_secs)
}

#[derive(Debug)]
struct Watch {
    intent: Option<String>,
    since: Instant,
    /// Whether S3 has said that it accepted the write.
    accepted: bool,
    /// Whether a reading has shown the rules.
    shown: bool,
    /// The last reading.
    last: Option<Seen>,
}

/// One reading.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    reading: Reading,
    /// Since when all readings were of this version.
    since: Instant,
}

impl Watch {
    fn new(intent: Option<String>, accepted: bool, since: Instant) -> Self {
        Self { intent, since, accepted, shown: false, last: None }
    }
}

impl Watches {
    /// The write of this intent was sent.
    pub(crate) fn begin(&self, bucket: &str, intent: Option<String>, accepted: bool, now: Instant) {
        self.lock().insert(bucket.to_owned(), Watch::new(intent, accepted, now));
    }

    /// One more reading after the write of this intent, with the version of what was read. `begun` is when the write was
    /// written down: it counts where another process has sent it.
    pub(crate) fn judge(
        &self,
        (bucket, intent, begun): (&str, Option<String>, Instant),
        (version, reading): (Option<&str>, &Reading),
        now: Instant,
    ) -> Verdict {
        let mut buckets = self.lock();
        let watch = buckets.entry(bucket.to_owned()).or_insert_with(|| Watch::new(intent.clone(), false, begun));
        if watch.intent != intent {
            // That of an earlier leader, or of another shard.
            *watch = Watch::new(intent, false, begun);
        }
        let late = now.duration_since(watch.since) >= self.stale;
        let version = version.map(str::to_owned);
        let before = watch.last.take();
        let twice = before.as_ref().is_some_and(|before| match (&before.reading, reading) {
            // Where both hold our rules, those of others may differ: their owners go on writing.
            (Reading::Ours { .. }, Reading::Ours { .. }) => true,
            (Reading::Less(_), Reading::Less(_)) => before.version == version,
            (Reading::Other { .. }, Reading::Other { .. }) => {
                before.version == version && now.duration_since(before.since) >= APART
            }
            _ => false,
        });
        let since = before.filter(|before| before.version == version).map_or(now, |before| before.since);
        watch.last = Some(Seen { version, reading: reading.clone(), since });
        watch.shown |= matches!(reading, Reading::Ours { .. });
        match reading {
            Reading::Ours { .. } if twice || late => Verdict::Done,
            Reading::Less(_) if twice || late => Verdict::Less,
            Reading::Other { .. } if twice || late => Verdict::Overwritten,
            Reading::Old if late && watch.shown => Verdict::PutBack,
            Reading::Old if late => Verdict::Unseen,
            Reading::Ours { .. } | Reading::Less(_) | Reading::Other { .. } | Reading::Old => Verdict::Wait,
        }
    }

    /// Whether S3 has said that it accepted the write of this intent, as far as this process knows.
    pub(crate) fn was_accepted(&self, bucket: &str, intent: Option<&str>) -> bool {
        self.lock().get(bucket).is_some_and(|watch| watch.accepted && watch.intent.as_deref() == intent)
    }

    /// Whether S3 has shown the rules of this intent's write, as far as this process knows.
    pub(crate) fn was_shown(&self, bucket: &str, intent: Option<&str>) -> bool {
        self.lock().get(bucket).is_some_and(|watch| watch.shown && watch.intent.as_deref() == intent)
    }

    /// The record is closed.
    pub(crate) fn end(&self, bucket: &str) {
        self.lock().remove(bucket);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Watch>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Less;

    /// The verdicts after these readings, five seconds apart; `O` old, `N` new, `n` new with another rule of others, `L`
    /// less, `X` and `Y` another writer's.
    fn verdicts(readings: &str) -> Vec<Verdict> {
        let (watches, begin) = (Watches { stale: STALE, ..Watches::default() }, Instant::now());
        watches.begin("b", Some("i".into()), true, begin);
        let one = |(at, shown): (u64, char)| {
            let (version, reading) = match shown {
                'O' => ("old", Reading::Old),
                'N' => ("new", Reading::Ours { others: None }),
                'n' => ("newer", Reading::Ours { others: Some("one".into()) }),
                'L' => ("less", Reading::Less(Less::default())),
                'X' => ("other", Reading::Other { why: "x".into() }),
                _ => ("another", Reading::Other { why: "y".into() }),
            };
            let by = ("b", Some("i".into()), begin);
            watches.judge(by, (Some(version), &reading), begin + Duration::from_secs(5 * at))
        };
        (0..).zip(readings.chars()).map(one).collect()
    }

    #[test]
    fn two_readings_in_a_row_decide_and_old_ones_are_waited_for() {
        use Verdict::{Done, Less, Overwritten, PutBack, Unseen, Wait};
        assert_eq!(verdicts("NN"), [Wait, Done]);
        assert_eq!(verdicts("Nn"), [Wait, Done], "the owners of other rules go on");
        assert_eq!(verdicts("ONONN"), [Wait, Wait, Wait, Wait, Done], "old and new by turns");
        assert_eq!(verdicts("OLOLL"), [Wait, Wait, Wait, Wait, Less]);
        assert_eq!(verdicts("XNN"), [Wait, Wait, Done], "an answer that nobody remembers was old");
        assert_eq!(verdicts("NXX"), [Wait, Wait, Overwritten]);
        assert_eq!(verdicts("XYXNXX"), [Wait, Wait, Wait, Wait, Wait, Overwritten], "the same twice in a row");
        assert_eq!(verdicts(&format!("{}X", "XY".repeat(18)))[36], Overwritten, "180 s");
        let old = verdicts(&"O".repeat(37));
        assert!(old[..36].iter().all(|verdict| *verdict == Wait), "175 s: {old:?}");
        assert_eq!(old[36], Unseen, "180 s");
        let put_back = verdicts(&format!("N{}", "O".repeat(36)));
        assert_eq!((put_back[35], put_back[36]), (Wait, PutBack));
        assert_eq!(verdicts(&format!("{}N", "O".repeat(36)))[36], Done, "late, and there");
    }

    #[test]
    fn two_readings_of_one_moment_are_one() {
        let (watches, begin) = (Watches::default(), Instant::now());
        watches.begin("b", Some("i".into()), true, begin);
        let other = Reading::Other { why: "x".into() };
        let judge = |millis| {
            let at = begin + Duration::from_millis(millis);
            watches.judge(("b", Some("i".into()), begin), (Some("other"), &other), at)
        };
        let verdicts = [0, 400, 999, 1_000].map(judge);
        assert_eq!(verdicts, [Verdict::Wait, Verdict::Wait, Verdict::Wait, Verdict::Overwritten]);
    }

    #[test]
    fn the_time_of_a_write_goes_on_after_a_restart() {
        let (watches, now) = (Watches { stale: STALE, ..Watches::default() }, Instant::now() + STALE);
        let judge =
            |begun, at, reading: &Reading| watches.judge(("b", Some("i".into()), begun), (Some("v"), reading), at);
        let begun = now - Duration::from_secs(175);
        assert_eq!(judge(begun, now, &Reading::Old), Verdict::Wait);
        assert_eq!(judge(now, now + Duration::from_secs(5), &Reading::Old), Verdict::Unseen, "it began once");
        watches.end("b");
        let ours = Reading::Ours { others: None };
        assert_eq!(judge(now - STALE, now, &ours), Verdict::Done, "no old answer is left");
    }

    #[test]
    fn readings_of_one_intent_say_nothing_of_the_next() {
        let (watches, now) = (Watches::default(), Instant::now());
        let ours = Reading::Ours { others: None };
        let judge = |intent: &str| watches.judge(("b", Some(intent.to_owned()), now), (Some("v"), &ours), now);
        watches.begin("b", Some("i".into()), true, now);
        assert!(watches.was_accepted("b", Some("i")) && !watches.was_accepted("b", Some("j")));
        assert!(!watches.was_shown("b", Some("i")), "nothing was read");
        assert_eq!((judge("i"), judge("j"), judge("j")), (Verdict::Wait, Verdict::Wait, Verdict::Done));
        assert!(watches.was_shown("b", Some("j")) && !watches.was_shown("b", Some("i")));
        assert!(!watches.was_accepted("b", Some("j")), "another process has sent it");
        watches.end("b");
        assert_eq!(judge("j"), Verdict::Wait);
    }
}
