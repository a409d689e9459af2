//! Whether topics are still those that were measured: one that was deleted and made again has the same name.

use crate::apply::{Growth, Outcome, State};
use crate::client::KafkaClient;
use crate::full;
use std::collections::HashMap;

/// Lets go of growths whose topic has another id than when it was measured, or does not tell its id. Asked right before
/// the growth: brokers take the name only.
pub(crate) fn check(client: &KafkaClient, batch: &mut [Growth]) {
    let open = || batch.iter().filter(|growth| growth.is_open() && growth.grow.topic_id.is_some());
    let names: Vec<&str> = open().map(|growth| growth.grow.topic.as_str()).collect();
    if !names.is_empty() {
        let ids = full::ids_now(client, &names);
        judge(batch, &ids);
    }
}

fn judge(batch: &mut [Growth], ids: &HashMap<String, Result<String, String>>) {
    for growth in batch.iter_mut().filter(|growth| growth.is_open()) {
        let Some(measured) = &growth.grow.topic_id else { continue };
        let why = match ids.get(&growth.grow.topic) {
            Some(Ok(id)) if id == measured => continue,
            Some(Ok(_)) => "it was deleted and made again since it was measured".to_owned(),
            Some(Err(why)) => format!("its id could not be read: {why}"),
            None => "the brokers said nothing about its id".to_owned(),
        };
        growth.state = State::Settled(Outcome::NotSent { why });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logwise_plan::partitions::Grow;

    #[test]
    fn a_topic_of_the_same_name_does_not_grow_in_place_of_the_one_that_was_measured() {
        let growth = |topic: &str, id: Option<&str>| Growth {
            grow: Grow { topic: topic.to_owned(), from: 1, to: 2, topic_id: id.map(str::to_owned) },
            state: State::Open,
        };
        let mut batch = [
            growth("same", Some("s")),
            growth("other", Some("o")),
            growth("denied", Some("d")),
            growth("gone", Some("g")),
            growth("never-told", None),
        ];
        let ids = HashMap::from([
            ("same".to_owned(), Ok("s".to_owned())),
            ("other".to_owned(), Ok("another".to_owned())),
            ("denied".to_owned(), Err("not authorized".to_owned())),
        ]);
        judge(&mut batch, &ids);
        assert_eq!(batch.each_ref().map(Growth::is_open), [true, false, false, false, true]);
    }
}
