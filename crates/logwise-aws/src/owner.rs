use crate::fence::Refused;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use std::fmt;
use std::str::FromStr;

/// Header by which S3 compares the bucket's account with the expected one and refuses when they differ.
const HEADER: &str = "x-amz-expected-bucket-owner";

/// Account id of an AWS account: twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(String);

impl Owner {
    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no account id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an AWS account id must be exactly 12 digits")]
pub struct NotAnAccount;

impl FromStr for Owner {
    type Err = NotAnAccount;

    fn from_str(text: &str) -> Result<Self, NotAnAccount> {
        let good = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| Self(text.to_owned())).ok_or(NotAnAccount)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lets no S3 call out that does not name this owner of the bucket.
#[derive(Debug)]
pub(crate) struct OwnerNamed(pub Owner);

impl Intercept for OwnerNamed {
    fn name(&self) -> &'static str {
        "expected bucket owner"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match context.request().headers().get(HEADER) {
            Some(named) if named == self.0.as_str() => Ok(()),
            Some(_) => Err(Refused("the call names another bucket owner than the granted one".to_owned()).into()),
            None => Err(Refused("the call does not name the bucket's owner".to_owned()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_exactly_twelve_ascii_digits() {
        assert_eq!("012345678901".parse::<Owner>().unwrap().as_str(), "012345678901");
        for bad in ["", "12345678901", "1234567890123", "12345678901a", " 12345678901", "12345678901\n", "１２３４"]
        {
            assert_eq!(bad.parse::<Owner>(), Err(NotAnAccount), "{bad:?}");
        }
    }
}
