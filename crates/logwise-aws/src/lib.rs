//! The only builder of AWS clients of the Logwise operator, and the adapter of Auto Scaling groups.
//!
//! Every client has explicit time-outs and one retry layer: reads are tried three times, calls that change something
//! are sent once. Calls go out as one pipeline's [`Identity`], to the configured addresses, for operations in the table
//! of [`permissions`], and to buckets of the expected [`Owner`]; anything else is stopped before it is sent. Errors of
//! every AWS call are [`AwsError`]: what was attempted, what AWS said, and one class.
#![forbid(unsafe_code)]

mod cache;
mod client;
mod error;
mod failure;
mod fence;
pub mod group;
mod identity;
mod owner;
pub mod permissions;
mod preflight;
mod reach;
mod role;
mod whom;

/// The Auto Scaling client.
pub use aws_sdk_autoscaling::Client as AutoScaling;
/// The EC2 client.
pub use aws_sdk_ec2::Client as Ec2;
pub use client::{AwsClients, AwsSettings, Clients, autoscaling_once, s3_once};
pub use error::AwsError;
pub use failure::{BoxError, DECRYPT, Failure};
pub use fence::StillAllowed;
pub use identity::{Base, Identity, MalformedKey, Pipeline, StaticKeys};
pub use owner::{NotAnAccount, Owner};
pub use preflight::{
    Check, NOT_SET, Outcome, Wanted, bucket_arn, bucket_statement, preflight, statement, statement_line,
};
pub use reach::EndpointRefused;
pub use role::trust_statement;
pub use whom::{Whom, clients};
