//! Just enough of Kafka's framing to count requests, to spoil a few kinds of them, and to let answers name the proxies
//! instead of the brokers.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Mutex;

use super::lock;
use super::tcp::{Direction, KafkaFault, Shared};

const LENGTH: usize = 4;
/// Where a request has its kind, its version and its correlation id, which the answer repeats right behind its length.
const KIND: usize = 4;
const VERSION: usize = 6;
const CORRELATION: usize = 8;

/// The kind of Kafka requests that ask for records.
const FETCH: i16 = 1;
/// The kind of Kafka requests that ask for offsets of partitions.
pub const LIST_OFFSETS: i16 = 2;
/// The kind of Kafka requests that ask for brokers and topics.
pub const METADATA: i16 = 3;
/// The kind of Kafka requests for more partitions, validations too.
pub const CREATE_PARTITIONS: i16 = 37;
/// From this version of CreatePartitions on, a byte for tags ends the request and begins the answer.
const TAGGED: i16 = 2;

/// What a proxy understands of the bytes that pass.
pub(super) enum Wire {
    /// Nothing.
    Plain,
    /// Kafka without encryption; all brokers of the cluster.
    Kafka(Vec<Advertised>),
}

/// How a broker names itself in answers, and what is put there.
#[derive(Clone)]
pub(super) struct Advertised {
    host: Vec<u8>,
    port: [u8; LENGTH],
    ours: [u8; LENGTH],
}

impl Advertised {
    pub fn new(broker: SocketAddr, port: u16) -> Advertised {
        let number = |port: u16| u32::from(port).to_be_bytes();
        Advertised { host: broker.ip().to_string().into_bytes(), port: number(broker.port()), ours: number(port) }
    }

    /// Kafka writes a port in four bytes right behind its host.
    fn replace(&self, frame: &mut [u8]) {
        let named = [&self.host[..], &self.port].concat();
        let mut from = 0;
        while let Some(at) = frame[from..].windows(named.len()).position(|window| window == named) {
            let port = from + at + self.host.len();
            frame[port..port + LENGTH].copy_from_slice(&self.ours);
            from = port + LENGTH;
        }
    }
}

/// What was asked on one connection and is not answered yet, by correlation id.
pub(super) type Pending = Mutex<HashMap<[u8; LENGTH], Asked>>;

/// A request whose answer matters.
pub(super) enum Asked {
    /// Records.
    Records,
    /// Metadata: the request without its correlation id.
    Metadata(Vec<u8>),
    /// More partitions.
    Partitions {
        /// Whether they are asked for, and not only whether they would be possible.
        growth: bool,
        /// Where the answer says for how long the client is to wait, in milliseconds.
        throttle: usize,
    },
}

/// What a proxy has seen of Kafka.
#[derive(Default)]
pub(super) struct Seen {
    /// Requests by their kind.
    pub requests: BTreeMap<i16, u64>,
    /// Requests for more partitions that are not only to be validated.
    pub growths: u64,
    /// For how long answers to requests for partitions told clients to wait.
    pub throttled_ms: u64,
    /// The first answer to each Metadata request.
    metadata: HashMap<Vec<u8>, Vec<u8>>,
}

impl Seen {
    fn asked(&mut self, frame: &mut [u8], fault: Option<KafkaFault>, pending: &Pending) {
        let number = |place| bytes_at(frame, place).map(i16::from_be_bytes);
        let (Some(kind), Some(version)) = (number(KIND), number(VERSION)) else { return };
        let Some(id) = bytes_at::<LENGTH>(frame, CORRELATION) else { return };
        *self.requests.entry(kind).or_default() += 1;
        let asked = match kind {
            FETCH => Asked::Records,
            METADATA => {
                let mut request = frame.to_vec();
                request[CORRELATION..CORRELATION + LENGTH].fill(0);
                Asked::Metadata(request)
            }
            CREATE_PARTITIONS => {
                let tags = usize::from(version >= TAGGED);
                // Whether it is only to be validated is said last.
                let Some(validate) = frame.iter_mut().rev().nth(tags) else { return };
                let growth = *validate == 0;
                if fault == Some(KafkaFault::ValidationCarriedOut) {
                    *validate = 0;
                }
                self.growths += u64::from(growth);
                Asked::Partitions { growth, throttle: LENGTH + LENGTH + tags }
            }
            _ => return,
        };
        lock(pending).insert(id, asked);
    }

    /// Whether the answer goes on to the client.
    fn answered(&mut self, frame: &mut Vec<u8>, fault: Option<KafkaFault>, pending: &Pending) -> bool {
        let Some(id) = bytes_at::<LENGTH>(frame, LENGTH) else { return true };
        let asked = lock(pending).remove(&id);
        match asked {
            None => true,
            Some(Asked::Records) => fault != Some(KafkaFault::RecordsUnanswered),
            Some(Asked::Metadata(request)) => {
                let first = self.metadata.entry(request).or_insert_with(|| frame.clone());
                if fault == Some(KafkaFault::OldMetadata) {
                    frame.clone_from(first);
                    frame[LENGTH..LENGTH + LENGTH].copy_from_slice(&id);
                }
                true
            }
            Some(Asked::Partitions { growth, throttle }) => {
                let told = bytes_at(frame, throttle).map(i32::from_be_bytes).unwrap_or_default();
                self.throttled_ms += u64::try_from(told).unwrap_or_default();
                !(growth && fault == Some(KafkaFault::GrowthUnanswered))
            }
        }
    }
}

fn bytes_at<const N: usize>(frame: &[u8], from: usize) -> Option<[u8; N]> {
    frame.get(from..)?.first_chunk().copied()
}

impl Shared {
    /// Takes from `bytes` what may be forwarded: everything, or complete frames.
    pub fn take(&self, bytes: &mut Vec<u8>, direction: Direction, pending: &Pending) -> Vec<u8> {
        let Wire::Kafka(brokers) = &self.wire else { return std::mem::take(bytes) };
        let fault = self.conduct.borrow().fault;
        let mut ready = Vec::new();
        while let Some(mut frame) = frame(bytes) {
            let mut seen = lock(&self.seen);
            if direction == Direction::ToClient {
                brokers.iter().for_each(|broker| broker.replace(&mut frame));
                if !seen.answered(&mut frame, fault, pending) {
                    continue;
                }
            } else {
                seen.asked(&mut frame, fault, pending);
            }
            ready.append(&mut frame);
        }
        ready
    }
}

/// The first frame with its length, when it is complete.
fn frame(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?);
    let end = LENGTH.checked_add(usize::try_from(length).ok()?)?;
    if bytes.len() < end {
        return None;
    }
    let rest = bytes.split_off(end);
    Some(std::mem::replace(bytes, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_and_in_order() {
        let mut bytes = vec![0, 0, 0, 2, 7, 8, 0, 0, 0, 1];
        assert_eq!(frame(&mut bytes), Some(vec![0, 0, 0, 2, 7, 8]));
        assert_eq!(frame(&mut bytes), None);
        bytes.push(9);
        assert_eq!(frame(&mut bytes), Some(vec![0, 0, 0, 1, 9]));
        assert_eq!(frame(&mut bytes), None);
    }

    #[test]
    fn only_host_and_port_together_are_replaced() {
        let advertised = Advertised::new("127.0.3.1:9092".parse().unwrap(), 40_000);
        let broker = [b"127.0.3.1".as_slice(), &9092_u32.to_be_bytes()].concat();
        let proxy = [b"127.0.3.1".as_slice(), &40_000_u32.to_be_bytes()].concat();
        let other = [b"127.0.3.1".as_slice(), &9093_u32.to_be_bytes()].concat();
        let mut frame = [&broker[..], &other, b"x", &broker].concat();
        advertised.replace(&mut frame);
        assert_eq!(frame, [&proxy[..], &other, b"x", &proxy].concat());
    }

    fn framed(content: &[u8]) -> Vec<u8> {
        [&u32::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
    }

    fn request((kind, version): (i16, i16), id: u8, body: &[u8]) -> Vec<u8> {
        framed(&[&kind.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, id], body].concat())
    }

    fn answer(id: u8, body: &[u8]) -> Vec<u8> {
        framed(&[&[0, 0, 0, id][..], body].concat())
    }

    #[test]
    fn a_validation_is_told_from_a_growth_and_can_be_made_one() {
        let (mut seen, pending) = (Seen::default(), Pending::default());
        let mut ask = |version, body: &[u8], fault| {
            let mut frame = request((CREATE_PARTITIONS, version), 1, body);
            seen.asked(&mut frame, fault, &pending);
            (frame[LENGTH + CORRELATION..].to_vec(), seen.growths)
        };
        assert_eq!(ask(0, &[9, 1], None), (vec![9, 1], 0));
        assert_eq!(ask(0, &[9, 0], None), (vec![9, 0], 1));
        let fault = Some(KafkaFault::ValidationCarriedOut);
        assert_eq!(ask(0, &[9, 1], fault), (vec![9, 0], 1), "what was asked counts");
        assert_eq!(ask(3, &[9, 1, 7], fault), (vec![9, 0, 7], 1));
        assert_eq!(seen.requests[&CREATE_PARTITIONS], 4);
    }

    #[test]
    fn the_answer_to_a_growth_gets_lost_and_that_to_a_validation_does_not() {
        let (mut seen, pending) = (Seen::default(), Pending::default());
        let mut passes = |version, validate, throttle: &[u8], fault| {
            seen.asked(&mut request((CREATE_PARTITIONS, version), 5, &[validate, 0][..]), None, &pending);
            seen.answered(&mut answer(5, throttle), fault, &pending)
        };
        let fault = Some(KafkaFault::GrowthUnanswered);
        assert!(passes(3, 0, &[0, 0, 0, 0, 40], None));
        assert!(!passes(3, 0, &[0, 0, 0, 1, 0], fault));
        assert!(passes(3, 1, &[0, 0, 0, 0, 2], fault));
        assert!(seen.answered(&mut answer(6, &[]), fault, &pending), "nobody asked");
        assert_eq!((seen.growths, seen.throttled_ms), (2, 298));
    }

    #[test]
    fn old_metadata_is_the_first_answer_to_the_same_request() {
        let (mut seen, pending) = (Seen::default(), Pending::default());
        let mut ask = |id, topic: u8, now: u8, fault| {
            seen.asked(&mut request((METADATA, 12), id, &[topic]), fault, &pending);
            let mut frame = answer(id, &[now]);
            assert!(seen.answered(&mut frame, fault, &pending));
            (frame[LENGTH + 3], frame[LENGTH + LENGTH])
        };
        let old = Some(KafkaFault::OldMetadata);
        assert_eq!(ask(1, 7, 3, None), (1, 3));
        assert_eq!(ask(2, 7, 6, None), (2, 6));
        assert_eq!(ask(3, 7, 6, old), (3, 3));
        assert_eq!(ask(4, 8, 6, old), (4, 6), "the first of its kind");
        assert_eq!(ask(5, 7, 6, None), (5, 6));
    }
}
