//! Samples that outlive the process: one compressed row per look, in a ring as long as the window.

use crate::controller::Context;
use crate::memory::StoredLook;
use crate::{KafkaClient, Look, growth};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use logwise_plan::partitions::Policy;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

/// Largest unpacked row that is read: 10,000 topics with long names.
const LARGEST: u64 = 8 * 1024 * 1024;

/// One look of one pipeline at its Kafka cluster, packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRow {
    /// Which looks belong together: hexadecimal digits.
    pub ring: String,
    /// Place in the ring.
    pub slot: u32,
    /// When the look began.
    pub taken_at: Timestamp,
    /// Packed samples.
    pub payload: Vec<u8>,
}

/// Where samples outlive the process. Nothing here is needed: without it, rates are known some looks later.
pub trait SampleStore: Send + Sync {
    /// Hands a row over, without waiting.
    fn send(&self, row: SampleRow);

    /// The rows of a ring since a time, oldest first; none if they cannot be read.
    fn read(&self, ring: String, since: Timestamp) -> BoxFuture<'static, Vec<SampleRow>>;
}

/// Remembers the samples of a look, and those from before this process began, once the database has told them: no look
/// waits for it. Puts what is remembered beside what was seen.
pub(crate) fn remember(
    client: &Arc<KafkaClient>,
    (look, began): (&mut Look, Timestamp),
    policy: &Policy,
    context: &Context,
) {
    let window = policy.scaling.window_seconds;
    let ring = ring(client, look, policy);
    if let Some(ring) = &ring
        && client.memory().is_to_be_restored(ring)
    {
        let since = began.saturating_sub(SignedDuration::from_secs(window.into())).unwrap_or(Timestamp::MIN);
        let (rows, client) = (context.samples.read(ring.clone(), since), client.clone());
        tokio::spawn(async move {
            let looks: Vec<StoredLook> = rows.await.iter().filter_map(|row| unpack(&row.payload)).collect();
            client.memory().restore(&looks, window, Timestamp::now());
        });
    }
    let record = growth::resource(look).and_then(|name| context.shell.intents.last(&name).ok()?);
    if let Some(record) = record {
        client.memory().take_over(record.written, || record.changed_at(began));
    }
    let row = {
        let mut memory = client.memory();
        memory.watch_clock(Instant::now(), began);
        memory.note(look, began, window);
        memory.fill(&mut look.facts, Instant::now());
        ring.and_then(|ring| Some((memory.row_of(&ring, look, began)?, ring)))
    };
    if let Some((stored, ring)) = row
        && let Some(payload) = pack(&stored)
    {
        let slot = slot(began, context.period_seconds, window);
        context.samples.send(SampleRow { ring, slot, taken_at: began, payload });
    }
}

/// Looks belong together that show the same topics of the same cluster.
fn ring(client: &KafkaClient, look: &Look, policy: &Policy) -> Option<String> {
    let id = look.facts.cluster_id.known()?;
    let mut digest = Sha256::new();
    for part in [client.at(), id, &serde_json::to_string(&policy.topics).ok()?] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    Some(digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Looks come as often as the period says, or somewhat more often: the ring has room for twice as many.
fn slot(at: Timestamp, period_seconds: u32, window_seconds: u32) -> u32 {
    let half = i64::from(period_seconds.max(2)) * 500;
    let places = i64::from(window_seconds) * 1_000 / half + 2;
    u32::try_from((at.as_millisecond() / half).rem_euclid(places)).unwrap_or(0)
}

fn pack(look: &StoredLook) -> Option<Vec<u8>> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(&serde_json::to_vec(look).ok()?).ok()?;
    packer.finish().ok()
}

/// A row that another version wrote in another way is none.
fn unpack(payload: &[u8]) -> Option<StoredLook> {
    let mut text = Vec::new();
    ZlibDecoder::new(payload).take(LARGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As little alike as marks of ids are.
    fn mark_of(number: i64) -> u32 {
        u32::try_from(number).unwrap().wrapping_mul(2_654_435_761)
    }

    #[test]
    fn a_look_is_the_same_after_packing_and_small() {
        let topics = (0..1_000)
            .map(|number| (format!("logs.service-{number:04}"), (12, 1_000_000 + number, mark_of(number))))
            .collect();
        let look = StoredLook { at: Timestamp::UNIX_EPOCH, topics };
        let packed = pack(&look).unwrap();
        assert!(packed.len() < 20_000, "{}", packed.len());
        assert_eq!(unpack(&packed), Some(look));
        assert_eq!(unpack(b"something else"), None);
    }

    #[test]
    fn a_ring_holds_a_window_of_looks_and_no_more() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let slots: std::collections::BTreeSet<u32> = (0..10_000).map(|step| slot(at(step * 30), 30, 600)).collect();
        assert!((20..=42).contains(&slots.len()), "{}", slots.len());
        let window: Vec<u32> = (0..20).map(|step| slot(at(step * 30), 30, 600)).collect();
        assert_eq!(
            window.iter().collect::<std::collections::BTreeSet<_>>().len(),
            20,
            "no place is used twice in a window"
        );
        assert!(slot(at(0), 0, 10) < 100);
    }
}
