//! The closer look: at all topics every ten minutes, and at those that are about to grow right before.

use crate::full;
use crate::sampling;
use crate::{KafkaClient, Look};
use jiff::Timestamp;
use logwise_plan::Known;
use logwise_plan::partitions::{Hold, NOT_SAMPLED, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Topics described in one look beside those that are about to grow; the next look goes on with the others.
const MOST: usize = 1_000;

/// Topics whose records are looked at in one look.
const MOST_SAMPLED: usize = 64;

/// How long reading records may take.
const SAMPLING: Duration = Duration::from_secs(10);

/// Looks closer at what `plan` is about to grow, and at topics that nobody has looked at so for ten minutes. Tells whether
/// anything was learned that the plan depends on. A topic that is about to grow and does not tell its id is left alone
/// this time: it may be another one than was measured.
pub(crate) async fn look_closer(client: &Arc<KafkaClient>, look: &mut Look, plan: &Plan) -> bool {
    let growing: BTreeSet<&str> = plan.actions.iter().map(|grow| grow.topic.as_str()).collect();
    let wanting = plan.holds.iter().filter_map(|(name, hold)| wants_sampling(name, hold));
    let unsampled = client.memory().longest_unsampled(wanting, MOST_SAMPLED);
    let due = client.memory().to_describe(look, Instant::now(), MOST);
    let about = growing.iter().copied().chain(unsampled.iter().copied()).chain(due.iter().map(String::as_str));
    let about: BTreeSet<&str> = about.collect();
    if about.is_empty() {
        return false;
    }
    describe(client, look, &about).await;
    if !unsampled.is_empty() {
        sample(client, look, &unsampled).await;
    }
    leave_unidentified(client, look, &growing);
    !growing.is_empty() || !unsampled.is_empty()
}

fn leave_unidentified(client: &KafkaClient, look: &mut Look, growing: &BTreeSet<&str>) {
    let (memory, Known::Known(topics)) = (client.memory(), &mut look.facts.topics) else { return };
    for name in growing {
        let why = match memory.description(name).map(|description| &description.id) {
            Some(Known::Known(_)) => continue,
            Some(Known::Unknown(why)) => why.as_str(),
            Some(Known::Absent) | None => "no answer",
        };
        if let Some(topic) = topics.get_mut(*name) {
            topic.end_offsets = Known::Unknown(format!("its id could not be read: {why}"));
        }
    }
}

fn wants_sampling<'a>(name: &'a str, hold: &Hold) -> Option<&'a str> {
    matches!(hold, Hold::KeysUnknown { why, .. } if why == NOT_SAMPLED).then_some(name)
}

async fn describe(client: &Arc<KafkaClient>, look: &Look, about: &BTreeSet<&str>) {
    let Known::Known(ends) = &look.ends else { return };
    let led = |name: &&str| {
        let partitions = ends.get(*name)?.known()?;
        Some(((*name).to_owned(), partitions.keys().copied().collect::<Vec<i32>>()))
    };
    let described = full::describe(client, &about.iter().filter_map(led).collect()).await;
    let (now, at) = (Instant::now(), Timestamp::now());
    let mut memory = client.memory();
    for (name, description) in described.topics {
        if let Known::Known(id) = &description.id {
            memory.identify(&name, id, at);
        }
        memory.described(&name, description, now);
    }
}

async fn sample(client: &Arc<KafkaClient>, look: &Look, topics: &[&str]) {
    let Known::Known(ends) = &look.ends else { return };
    let ends: BTreeMap<String, BTreeMap<i32, i64>> =
        topics.iter().filter_map(|name| Some(((*name).to_owned(), ends.get(*name)?.known()?.clone()))).collect();
    let sampled = sampling::sample_keys(client, &ends, SAMPLING).await;
    let (now, mut memory) = (Instant::now(), client.memory());
    for (name, keys) in sampled {
        memory.sampled(&name, keys, now);
    }
}
