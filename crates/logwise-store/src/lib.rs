//! The Orchestrator DB: a projection of the custom resources and of every decision, for those who read SQL.
//!
//! The Kubernetes objects are the truth. Nothing here is read back but samples, from which a restarted operator knows
//! how fast Kafka grew ([`read_samples`]). Of another database, the old Orchestrator's, one table can be read
//! ([`read_old_services`]). A database that is down, slow or refusing never delays the sender:
//! [`OutboxHandle`] takes rows without waiting, one task writes them when it can, and [`MirrorHealth`] says how that
//! goes.
//!
//! | Table | Row | Key |
//! |---|---|---|
//! | `logwise_objects` | the last known state of one object; kept with `deleted = 1` after its end | `uid` |
//! | `logwise_conditions` | one condition of an object that exists | `uid`, `type` |
//! | `logwise_decisions` | one decision: inputs, actions, holds, outcome | `id` |
//! | `logwise_samples` | what one look at a Kafka cluster saw, compressed; the slots are a ring | `cluster`, `slot` |
//!
//! Times are UTC. The user of the database needs SELECT, INSERT, UPDATE and DELETE on these tables and, until the
//! schema is up to date, CREATE. A schema belongs to one installation of the operator.
#![forbid(unsafe_code)]

mod database;
mod error;
mod migrations;
mod old;
mod outbox;
mod queue;
mod read;
mod record;
mod rows;
mod samples;
mod session;
mod statements;
mod url;
mod write;

pub use database::Database;
pub use error::{ErrorClass, StoreError};
pub use old::{OldService, OldTableError, read_old_services};
pub use outbox::{MirrorHealth, Outbox, OutboxHandle, OutboxOptions, Unflushed};
pub use read::read_samples;
pub use rows::{ConditionRow, DecisionRow, DecisionsKept, Limits, LiveList, ObjectRow, SampleRow};
pub use url::{DatabaseUrl, UrlError};
pub use write::CommitHooks;
