//! The Kafka part: what a look, a plan and a growth cost, and what the operator holds in memory.

pub(crate) mod ask;
pub(crate) mod child;
pub(crate) mod growth;
pub(crate) mod look;
pub(crate) mod memory;
pub(crate) mod plan;

use anyhow::{Context, Result};
use logwise_testbed::bed::Bed;
use logwise_testbed::brokers::{Brokers, Setup};
use std::time::Duration;

/// Topics of the small case.
const FEW: usize = 1_000;

/// Topics of the large case.
const MANY: usize = 10_000;

/// What the names of the topics begin with.
const PREFIX: &str = "logs.";

/// One broker with nothing but the topics that are looked at, of one partition each.
pub(crate) struct Topics {
    bed: Bed,
    brokers: Brokers,
    made: usize,
}

impl Topics {
    /// Those in `place`, which are made when it is empty.
    pub(crate) async fn of(place: &mut Option<Topics>) -> Result<&mut Topics> {
        if place.is_none() {
            let bed = Bed::attach()?;
            let brokers = Brokers::start(&bed, "bench-topics", Setup::default()).await?;
            *place = Some(Topics { bed, brokers, made: 0 });
        }
        place.as_mut().context("no topics")
    }

    /// Makes topics until there are so many; some minutes for ten thousand.
    async fn make(&mut self, number: usize) -> Result<()> {
        let new: Vec<(String, i32)> = (self.made..number).map(|number| (topic(number), 1)).collect();
        if !new.is_empty() {
            self.brokers.create_topics(&new, 1).await?;
            self.made = number;
        }
        Ok(())
    }
}

fn topic(number: usize) -> String {
    format!("{PREFIX}service-{number:05}")
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0)
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
