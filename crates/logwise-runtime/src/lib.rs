//! What every controller of the Logwise operator leans on: conditions, status, events, metrics, back-off, deadlines.
#![forbid(unsafe_code)]

pub mod access;
mod backoff;
pub mod conditions;
pub mod crash;
mod decisions;
pub mod epoch;
mod error_class;
mod events;
pub mod facts;
pub mod fair;
mod guard;
pub mod intent;
pub mod intents;
pub mod kubernetes;
mod later;
pub mod leadership;
pub mod lease;
pub mod metrics;
pub mod ownership;
mod part;
mod record;
mod report;
pub mod secrets;
mod status;
pub mod streams;
pub mod summary;
pub mod term;
pub mod words;

pub use access::{Access, Refused};
pub use backoff::Backoff;
pub use conditions::ConditionType;
pub use decisions::{Decision, DecisionLog, Recorded};
pub use error_class::ErrorClass;
pub use events::{EventDraft, Events};
pub use guard::{Broken, guarded};
pub use intents::{IntentError, Intents};
pub use kubernetes::Seat;
pub use metrics::Metrics;
pub use part::Part;
pub use report::{ObjectKey, Report, Shell};
pub use secrets::{SecretText, Secrets};
pub use status::{PartStatus, StatusError, StatusWriter, Transition};
pub use term::{NotLeading, Term};
