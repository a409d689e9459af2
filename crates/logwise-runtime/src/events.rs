//! Kubernetes events: one per thing that happened, none for things that go on.

use crate::chain;
use crate::crash;
use crate::kubernetes::pace;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest time one event may take to be written.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// Under which name the API server asks to wait with it.
const WRITE: &str = "writing an event";

/// Longest note kept, in bytes (the API's limit is 1 kB).
const MAX_NOTE: usize = 1_000;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDraft {
    /// Whether people should look at it.
    pub warning: bool,
    /// Why, such as `PartitionsIncreased`.
    pub reason: &'static str,
    /// What was being done, such as `ScalePartitions`.
    pub action: &'static str,
    /// One sentence.
    pub note: String,
}

/// How long an event that is told again in the same words counts as the same.
const SAME: Duration = Duration::from_secs(360);

/// Notes remembered; beyond that all are forgotten, which costs an event more.
const MAX_NOTES: usize = 1_000;

/// Writes events. A lost event is logged, never retried: status holds the truth.
pub struct Events {
    client: Client,
    reporter: Reporter,
    /// By note: a recorder makes one event of all that it is told for the same reason about the same object, in the words
    /// of the first.
    recorders: Mutex<HashMap<u64, (Recorder, Instant)>>,
    hasher: RandomState,
}

impl Events {
    /// Events reported by `logwise.io/operator`.
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "logwise.io/operator".to_owned(), instance: None };
        Self { client, reporter, recorders: Mutex::default(), hasher: RandomState::new() }
    }

    fn recorder(&self, note: &str) -> Recorder {
        let (now, key) = (Instant::now(), self.hasher.hash_one(note));
        let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        if recorders.len() >= MAX_NOTES {
            recorders.clear();
        }
        recorders.retain(|_, (_, last)| now.saturating_duration_since(*last) < SAME);
        let new = || (Recorder::new(self.client.clone(), self.reporter.clone()), now);
        let (recorder, last) = recorders.entry(key).or_insert_with(new);
        *last = now;
        recorder.clone()
    }

    /// Writes one event about `object`.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, draft: &EventDraft) {
        let mut note = draft.note.clone();
        while note.len() > MAX_NOTE {
            note.pop();
        }
        let recorder = self.recorder(&note);
        let event = Event {
            type_: if draft.warning { EventType::Warning } else { EventType::Normal },
            reason: draft.reason.to_owned(),
            note: Some(note),
            action: draft.action.to_owned(),
            secondary: None,
        };
        let reference = object.object_ref(&());
        if let Some(rest) = pace::rest(WRITE) {
            // At most as long as a write may take: what is lost then is a repetition of what status says.
            tokio::time::sleep(rest.min(WRITE_DEADLINE)).await;
        }
        let call = recorder.publish(&event, &reference);
        let write = crash::begin(crash::System::Events);
        let written = tokio::time::timeout(WRITE_DEADLINE, call).await;
        write.after();
        pace::heard(WRITE, &written);
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), reason = draft.reason, "event not written"),
            Err(_) => {
                tracing::warn!(reason = draft.reason, "event not written: the API server did not answer within 5 s")
            }
        }
    }
}
