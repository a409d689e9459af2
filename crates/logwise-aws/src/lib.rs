//! The only builder of AWS clients of the Logwise operator, and the Auto Scaling adapter.
//!
//! Every client has explicit time-outs and one retry layer: reads are tried three times, calls that change something
//! are sent once. Errors of every AWS call are [`AwsError`]: what was attempted, what AWS said, and one class.
#![forbid(unsafe_code)]

mod client;
mod error;
mod failure;
pub mod group;

pub use client::{AwsClients, AwsSettings, autoscaling_once, s3_once};
pub use error::AwsError;
pub use failure::{BoxError, Failure};
