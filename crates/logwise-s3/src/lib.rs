//! The S3 half of retention: lifecycle configurations kept byte for byte, and discovery of services. And how far the
//! streaming query has read, from its checkpoint.
//!
//! A lifecycle configuration is replaced as a whole, so every rule of others travels through this crate: it is never
//! parsed into a model and printed again, but cut out of the document that S3 sent and put back as it was.
#![forbid(unsafe_code)]

mod apply;
mod attempt;
mod bared;
mod bucket;
mod change;
mod compose;
mod controller;
pub mod discovery;
mod document;
mod drift;
mod effect;
mod fields;
mod finalizer;
mod foreign;
mod harm;
mod home;
mod leaving;
mod lessened;
mod lifecycle;
mod listing;
mod memory;
mod objects;
mod observe;
mod old;
mod orphan;
mod own_rules;
mod pending;
mod policy_report;
mod policy_status;
pub mod position;
mod record;
mod replaced;
mod report;
mod rule;
mod scan;
mod seen;
mod sighted;
mod standing;
mod surroundings;
mod tried;
mod undo;
mod unkept;
mod verify;
mod watch;
mod witness;

pub use apply::{Written, apply};
pub use bucket::Bucket;
pub use compose::compose;
pub use controller::{Context, run};
pub use discovery::Discovery;
pub use document::{DocumentError, RawDocument};
pub use effect::{Effect, Expirable};
pub use harm::{Harm, Harmed};
pub use leaving::Leaving;
pub use lifecycle::read;
pub use listing::Limits;
pub use memory::Memory;
pub use objects::Objects;
pub use observe::{Look, observe};
pub use orphan::run_orphans;
pub use surroundings::{Surroundings, Versioning};
pub use verify::{Less, Lesser, Reading, reading};
pub use witness::Witness;
