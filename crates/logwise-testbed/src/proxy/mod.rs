//! Proxies that spoil what passes through them, and listeners that count who comes.
//!
//! [`kubernetes`] stands before the API server and knows requests and watches, [`master`] before a Spark master,
//! [`tcp`] stands before Kafka or MariaDB and knows bytes, [`listener`] stands where nobody should ever connect. They
//! live in the test's own process and end with it.

mod forward;
mod forward_bytes;
mod frames;
pub mod http;
pub mod kubernetes;
pub mod listener;
pub mod master;
pub mod rules;
pub mod tcp;
mod watching;

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bed::Bed;

/// An address of the bed on which no server of it listens.
pub(crate) fn spare_host(bed: &Bed) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, bed.addresses.network, 2)
}

/// A test that failed while it held the lock has its own report; the proxy goes on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
