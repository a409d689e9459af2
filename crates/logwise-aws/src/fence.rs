//! What is not on the operator's list is not sent: operations here, addresses in [`crate::reach`]. And what may no longer
//! be sent is stopped where the bytes leave.

use crate::permissions;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use std::fmt;

/// A call that was stopped on this side, and why: nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused by the operator: {0}")]
pub(crate) struct Refused(pub String);

/// Lets no operation out that the table of permissions does not name.
#[derive(Debug)]
pub(crate) struct Listed;

impl Intercept for Listed {
    fn name(&self) -> &'static str {
        "listed operations"
    }

    fn read_before_serialization(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (service, operation) = settings.load::<Metadata>().map_or(("AWS", "?"), |m| (m.service(), m.name()));
        if permissions::is_listed(service, operation) {
            return Ok(());
        }
        Err(Refused(format!("{service} {operation} is not among the operator's AWS permissions")).into())
    }
}

/// A call that came too late to be sent, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing was sent: {0}")]
pub(crate) struct TooLate(pub String);

/// Asks whether the call may still be made, after credentials were fetched and the request was signed.
pub struct StillAllowed<P>(P);

impl<P: Fn() -> Result<(), String>> StillAllowed<P> {
    /// `permit` says why the call must not be made any more.
    pub const fn by(permit: P) -> Self {
        Self(permit)
    }
}

impl<P> fmt::Debug for StillAllowed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StillAllowed")
    }
}

impl<P: Fn() -> Result<(), String> + Send + Sync> Intercept for StillAllowed<P> {
    fn name(&self) -> &'static str {
        "calls that are still allowed"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        (self.0)().map_err(|why| TooLate(why).into())
    }
}
