//! The adapter against a real broker: `KAFKA_BOOTSTRAP` names it (`host:port`). A missing broker is a failure.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod allowed;
mod describing;
mod faults;
mod growing;
mod looking;
mod proxy;
mod sampling;
mod world;
