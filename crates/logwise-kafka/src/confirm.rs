//! Whether the brokers agree on what their controller has answered: they learn of a growth later.

use crate::apply::{Growth, Outcome, State, partition_counts};
use crate::client::KafkaClient;
use crate::listing;
use logwise_plan::partitions::Grow;
use rdkafka::Offset;
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

/// How long brokers may take to show a growth.
const AGREEING: Duration = Duration::from_secs(15);

/// Time between two looks that have to agree.
const APART: Duration = Duration::from_secs(1);

/// Takes back that a growth is done until two looks that are a second apart show its count and every new partition tells
/// its end offset. What does not come so far in time is unknown: the next look at the cluster judges it.
pub(crate) fn seen(client: &KafkaClient, batch: &mut [Growth]) {
    let mut open: Vec<&mut Growth> = batch.iter_mut().filter(|growth| is_done(growth)).collect();
    let until = Instant::now() + AGREEING;
    let mut agreed: BTreeSet<String> = BTreeSet::new();
    while !open.is_empty() {
        let shown = shown(client, &open);
        open.retain(|growth| !(shown.contains(&growth.grow.topic) && agreed.contains(&growth.grow.topic)));
        agreed = shown;
        if Instant::now() >= until {
            break;
        }
        if !open.is_empty() {
            thread::sleep(APART);
        }
    }
    for growth in open {
        let why =
            format!("the controller has accepted {} partitions and the brokers do not all show them", growth.grow.to);
        growth.state = State::Settled(Outcome::Unknown { why });
    }
}

fn is_done(growth: &Growth) -> bool {
    matches!(growth.state, State::Settled(Outcome::Done))
}

/// The topics that have their count, or more, and whose new partitions can all be read.
fn shown(client: &KafkaClient, open: &[&mut Growth]) -> BTreeSet<String> {
    let Ok(counts) = partition_counts(client) else { return BTreeSet::new() };
    let counted = |growth: &&&mut Growth| counts.get(&growth.grow.topic).is_some_and(|count| *count >= growth.grow.to);
    let grown: Vec<&&mut Growth> = open.iter().filter(counted).collect();
    let new =
        |grow: &'_ Grow| (grow.from..grow.to).map(|partition| (grow.topic.clone(), partition)).collect::<Vec<_>>();
    let asked: Vec<(String, i32)> = grown.iter().flat_map(|growth| new(&growth.grow)).collect();
    let of_any = asked.iter().map(|(topic, partition)| (-1, topic.as_str(), *partition));
    let Ok(ends) = listing::offsets(client, of_any, Offset::End) else { return BTreeSet::new() };
    let is_read = |grow: &Grow| new(grow).iter().all(|of| matches!(ends.get(of), Some(Ok(_))));
    grown.iter().filter(|growth| is_read(&growth.grow)).map(|growth| growth.grow.topic.clone()).collect()
}
