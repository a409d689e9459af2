//! Just enough of Kafka's framing to count requests and to let answers name the proxy instead of the broker.

use std::net::SocketAddr;

use super::lock;
use super::tcp::{Direction, Shared};

const LENGTH: usize = 4;

/// What a proxy understands of the bytes that pass.
pub(super) enum Wire {
    /// Nothing.
    Plain,
    /// Kafka without encryption.
    Kafka(Advertised),
}

/// How the broker names itself in its answers, and what is put there.
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

impl Shared {
    /// Takes from `bytes` what may be forwarded: everything, or complete frames.
    pub fn take(&self, bytes: &mut Vec<u8>, direction: Direction) -> Vec<u8> {
        let Wire::Kafka(advertised) = &self.wire else { return std::mem::take(bytes) };
        let mut ready = Vec::new();
        while let Some(mut frame) = frame(bytes) {
            if direction == Direction::ToClient {
                advertised.replace(&mut frame);
            } else if let [_, _, _, _, high, low, ..] = frame[..] {
                *lock(&self.requests).entry(i16::from_be_bytes([high, low])).or_default() += 1;
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
}
