//! Kafka as the Logwise operator sees it: the only user of librdkafka.
//!
//! - [`KafkaClients`] shares one client among all objects that name the same bootstrap servers.
//! - [`observe`] reads topics, their health and end offsets: one metadata request, and one ListOffsets request for each
//!   thousand partitions that a broker leads.
//! - [`describe`] reads what changes seldom: topic ids, retention, earliest offsets.
//! - [`sample_keys`] and [`oldest_unread`] read single records of topics.
//! - [`acl::check`] finds out what the brokers let us do with them.
//! - [`apply`] grows topics: it checks what each growth assumed, lets the broker validate, then sends one batch.
//!
//! Nothing is created, changed or deleted except partitions that a plan names, and no consumer group is used.
#![deny(unsafe_code)]

pub mod acl;
mod apply;
mod client;
mod confirm;
mod controller;
mod error;
mod examine;
mod ffi;
mod full;
mod growth;
mod headroom;
mod holds;
mod identity;
mod keeping;
mod listing;
mod login;
mod memory;
mod observe;
mod report;
mod sampling;
mod surroundings;

pub use apply::{Outcome, apply, counts};
pub use client::{DEFAULT_DEADLINE, KafkaClient, KafkaClients, Login};
pub use controller::{Context, InUse, run};
pub use error::{Cause, KafkaError};
pub use full::{Described, Description, describe};
pub use growth::Judged;
pub use keeping::{SampleRow, SampleStore};
pub use observe::{ClusterFacts, Look, observe};
pub use sampling::{oldest_unread, sample_keys};
