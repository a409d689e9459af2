//! The S3 half of retention: lifecycle configurations kept byte for byte, and discovery of services.
//!
//! A lifecycle configuration is replaced as a whole, so every rule of others travels through this crate: it is never
//! parsed into a model and printed again, but cut out of the document that S3 sent and put back as it was.
#![forbid(unsafe_code)]

mod apply;
mod bucket;
mod change;
mod compose;
mod controller;
pub mod discovery;
mod document;
mod drift;
mod finalizer;
mod lifecycle;
mod observe;
mod orphan;
mod pending;
mod policy_report;
mod report;
mod rule;
mod scan;
mod tried;

pub use apply::{Written, apply};
pub use bucket::Bucket;
pub use compose::compose;
pub use controller::{Context, run};
pub use discovery::Discovery;
pub use document::{DocumentError, RawDocument};
pub use lifecycle::read;
pub use observe::{Look, observe};
pub use orphan::run_orphans;
pub use tried::Tried;
