//! What is not on the operator's list is not sent: operations here, addresses in [`crate::reach`].

use crate::permissions;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeSerializationInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

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
