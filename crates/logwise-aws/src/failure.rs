//! What AWS, or the way to it, answered instead of a result: one class, one code, one text for people.

use crate::fence::{Refused, TooLate};
use crate::role::RoleRefused;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use hyper_util::client::legacy::Error as HttpError;
use logwise_runtime::{ErrorClass, words};
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The error underneath.
pub type BoxError = Arc<dyn Error + Send + Sync + 'static>;

/// Longest text taken from an answer, in characters.
const LONGEST: usize = 400;

/// Codes whose message or body repeats the signed request, session token included: only the code is kept.
const SIGNATURE_CODES: [&str; 4] =
    ["SignatureDoesNotMatch", "IncompleteSignature", "InvalidSignatureException", "IncompleteSignatureException"];

/// Permission that reading an object takes which is encrypted with a key in AWS KMS.
pub const DECRYPT: &str = "kms:Decrypt";

/// Codes by which S3 says that a bucket lies in another region than the one that was asked.
const OTHER_REGION: [&str; 4] =
    ["AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "TemporaryRedirect"];

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// The code that the AWS API answered with.
    pub code: Option<String>,
    /// The fact for people, without credentials and without anything that differs between equal failures.
    pub text: String,
    /// Whether the last attempt surely never left: it was stopped on this side, had nothing to be signed with, or found no
    /// connection.
    pub unsent: bool,
}

impl Failure {
    /// A failure found on this side: the answer, or the wish, cannot be used.
    pub fn stated(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, code: None, text: text.into(), unsent: false }
    }

    /// The same of a call that surely never left.
    fn unsent(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { unsent: true, ..Self::stated(class, text) }
    }

    /// Whether S3 says that the bucket lies in another region than the one that was asked.
    pub(crate) fn is_other_region(&self) -> bool {
        self.code.as_deref().is_some_and(|code| OTHER_REGION.contains(&code))
    }

    /// Whether S3 says that the key of an object that AWS KMS has encrypted may not be used: then another permission is
    /// missing than that of the call.
    pub fn is_of_key(&self) -> bool {
        self.class == ErrorClass::Denied && self.text.contains(DECRYPT)
    }

    /// Whether AWS let the caller in and refused the call itself. The text of a role that could not be assumed has the
    /// same code and does not begin with it.
    pub(crate) fn is_refused(&self) -> bool {
        let code = self.code.as_deref().filter(|code| matches!(*code, "AccessDenied" | "AccessDeniedException"));
        code.is_some_and(|code| self.text.starts_with(code))
    }

    /// Takes apart what a call ended with; the second part is the error underneath, if it is safe to keep.
    pub(crate) fn of<E>(error: SdkError<E, HttpResponse>) -> (Self, Option<BoxError>)
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let failure = Self::seen(&error);
        let safe = !failure.code.as_deref().is_some_and(|code| SIGNATURE_CODES.contains(&code));
        // The raw response stays behind: its body may repeat the signed request.
        let source = error.into_source().ok().filter(|_| safe).map(BoxError::from);
        (failure, source)
    }

    /// What a call ended with, in words.
    pub(crate) fn seen<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => Self::answered(answer.err(), answer.raw()),
            SdkError::TimeoutError(_) => Self::stated(ErrorClass::Transient, "no answer in time"),
            SdkError::ResponseError(_) => {
                Self::stated(ErrorClass::Transient, "the answer broke off or was not readable")
            }
            SdkError::DispatchFailure(_) => Self::unanswered(error),
            SdkError::ConstructionFailure(_) => Self { unsent: true, ..Self::unanswered(error) },
            _ => Self::stated(ErrorClass::Transient, "no answer"),
        }
    }

    fn answered(error: &impl ProvideErrorMetadata, raw: &HttpResponse) -> Self {
        let status = raw.status().as_u16();
        let code = error.code().map(str::to_owned);
        let message = error.message().unwrap_or_default();
        let class = class_of(code.as_deref().unwrap_or_default(), message, status);
        let mut text = match &code {
            Some(code) if SIGNATURE_CODES.contains(&code.as_str()) => {
                format!("{code}: the signature was refused; check the secret access key and this machine's clock")
            }
            Some(code) if message.is_empty() || message == code => code.clone(),
            Some(code) => format!("{code}: {}", plain(message)),
            None if raw.status().is_success() => "the answer was not readable".to_owned(),
            None => format!("HTTP status {status}"),
        };
        if let Some(region) = raw.headers().get("x-amz-bucket-region").filter(|_| status == 301) {
            text = format!("{}; the bucket lies in region {region}", text.trim_end_matches('.'));
        }
        Self { class, code, text, unsent: false }
    }

    fn unanswered(error: &dyn Error) -> Self {
        let chain = || std::iter::successors(error.source(), |e| (**e).source());
        for cause in chain() {
            if let Some(RoleRefused(failure)) = cause.downcast_ref() {
                return Self { unsent: true, ..failure.clone() };
            }
            if let Some(refused) = cause.downcast_ref::<Refused>() {
                return Self::unsent(ErrorClass::Invalid, refused.to_string());
            }
            if let Some(late) = cause.downcast_ref::<TooLate>() {
                return Self::unsent(ErrorClass::Conflict, late.to_string());
            }
        }
        for cause in chain() {
            match cause.downcast_ref::<CredentialsError>() {
                Some(CredentialsError::CredentialsNotLoaded(_)) => {
                    return Self::unsent(ErrorClass::Denied, "no AWS credentials were found for the operator");
                }
                Some(CredentialsError::InvalidConfiguration(_)) => {
                    return Self::unsent(ErrorClass::Denied, "the operator's AWS credentials are not well-formed");
                }
                Some(_) => {
                    return Self::unsent(ErrorClass::Transient, "the operator's AWS credentials could not be loaded");
                }
                None => {}
            }
        }
        let unsent = chain().filter_map(|cause| cause.downcast_ref::<HttpError>()).any(HttpError::is_connect);
        let io = chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).last();
        let text = io.map_or_else(|| "no connection".to_owned(), |io| format!("no connection: {}", cause_of(io)));
        Self { unsent, ..Self::stated(ErrorClass::Transient, text) }
    }
}

/// The cause without numbers and times, which differ from one failure to the next.
fn cause_of(io: &std::io::Error) -> String {
    if io.raw_os_error().is_some() {
        return io.kind().to_string();
    }
    let text = plain(&io.to_string());
    text.split(": ").take(2).collect::<Vec<_>>().join(": ")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One line of bounded length; a text that seems to repeat a signed request is left out.
pub(crate) fn plain(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    if ["security-token", "signature=", "credential=", "secret"].iter().any(|mark| lower.contains(mark)) {
        return "(the message of AWS is left out: it repeats parts of the signed request)".to_owned();
    }
    let line: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    words::shortened(&line, LONGEST)
}

/// The class of an answer with this code, message and HTTP status.
fn class_of(code: &str, message: &str, status: u16) -> ErrorClass {
    match code {
        "InvalidInstanceID.NotFound" | "NoSuchBucket" => ErrorClass::NotFound,
        "ValidationError" if message.to_ascii_lowercase().contains("name not found") => ErrorClass::NotFound,
        "AccessDenied"
        | "AccessDeniedException"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSecurity"
        | "InvalidToken"
        | "MissingAuthenticationToken"
        | "NotSignedUp"
        | "OptInRequired"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "TokenRefreshRequired"
        | "UnauthorizedAccess"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException" => ErrorClass::Denied,
        code if SIGNATURE_CODES.contains(&code) => ErrorClass::Denied,
        "BandwidthLimitExceeded"
        | "EC2ThrottledException"
        | "LimitExceededException"
        | "PriorRequestNotComplete"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "TooManyRequestsException" => ErrorClass::Throttled,
        code if code.starts_with("Throttl") => ErrorClass::Throttled,
        "ConditionalRequestConflict"
        | "OperationAborted"
        | "ResourceContention"
        | "ResourceContentionFault"
        | "ResourceInUse"
        | "ResourceInUseFault"
        | "ScalingActivityInProgress"
        | "ScalingActivityInProgressFault" => ErrorClass::Conflict,
        // A damaged or late body: sending it again may succeed.
        "BadDigest"
        | "IncompleteBody"
        | "InternalError"
        | "InternalFailure"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ServiceUnavailable" => ErrorClass::Transient,
        _ => class_of_status(status),
    }
}

fn class_of_status(status: u16) -> ErrorClass {
    match status {
        401 | 403 => ErrorClass::Denied,
        404 => ErrorClass::NotFound,
        408 => ErrorClass::Transient,
        409 | 412 => ErrorClass::Conflict,
        429 => ErrorClass::Throttled,
        // The call is not known there: the same answer comes for ever.
        501 => ErrorClass::Invalid,
        300..=499 => ErrorClass::Invalid,
        _ => ErrorClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::operation::get_bucket_lifecycle_configuration::GetBucketLifecycleConfigurationError as ReadError;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    fn answer(status: u16, code: &str, message: &str) -> (Failure, Option<BoxError>) {
        let meta = ErrorMetadata::builder().code(code).message(message).build();
        let raw = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        Failure::of(SdkError::service_error(ReadError::generic(meta), raw))
    }

    #[test]
    fn every_code_has_its_class() {
        use ErrorClass::{Conflict, Denied, Invalid, NotFound, Throttled, Transient};
        let table = [
            (403, "AccessDenied", "Access Denied", Denied),
            (400, "ExpiredToken", "The provided token has expired.", Denied),
            (403, "InvalidClientTokenId", "The security token included in the request is invalid", Denied),
            (403, "SignatureDoesNotMatch", "The request signature we calculated does not match", Denied),
            (
                403,
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
                Denied,
            ),
            (403, "SomethingNew", "no", Denied),
            (404, "NoSuchBucket", "The specified bucket does not exist", NotFound),
            (400, "ValidationError", "AutoScalingGroup name not found - AutoScalingGroup 'a' not found", NotFound),
            (400, "InvalidInstanceID.NotFound", "The instance ID 'i-1' does not exist", NotFound),
            (403, "UnauthorizedOperation", "You are not authorized to perform this operation.", Denied),
            (400, "ValidationError", "New SetDesiredCapacity value 9 is above max value 4", Invalid),
            (400, "Throttling", "Rate exceeded", Throttled),
            (400, "ThrottlingException", "Rate exceeded", Throttled),
            (503, "RequestLimitExceeded", "Request limit exceeded.", Throttled),
            (503, "SlowDown", "Please reduce your request rate.", Throttled),
            (409, "OperationAborted", "A conflicting conditional operation is in progress", Conflict),
            (400, "ScalingActivityInProgress", "Scaling activity 1 is in progress", Conflict),
            (409, "SomethingNew", "no", Conflict),
            (400, "MalformedXML", "The XML you provided was not well-formed", Invalid),
            (400, "InvalidArgument", "'Days' must be positive", Invalid),
            (301, "PermanentRedirect", "The bucket must be addressed using the specified endpoint.", Invalid),
            (501, "NotImplemented", "no", Invalid),
            (400, "RequestTimeout", "Your socket connection was not read from in time", Transient),
            (500, "InternalError", "We encountered an internal error.", Transient),
            (503, "ServiceUnavailable", "Reduce your request rate.", Transient),
        ];
        for (status, code, message, class) in table {
            let (failure, _) = answer(status, code, message);
            assert_eq!((failure.class, failure.code.as_deref()), (class, Some(code)), "{message}");
            assert!(failure.text.starts_with(code), "{}", failure.text);
        }
    }

    #[test]
    fn a_refused_signature_repeats_nothing_of_the_request() {
        let message = "The Canonical String for this request should have been 'POST x-amz-security-token:TOPSECRET'";
        for code in SIGNATURE_CODES {
            let (failure, source) = answer(403, code, message);
            assert!(source.is_none(), "the source's debug text holds the message");
            assert!(!format!("{failure:?} {failure}").contains("TOPSECRET"));
        }
        let (failure, _) = answer(400, "Strange", message);
        assert!(!failure.text.contains("TOPSECRET"), "{}", failure.text);
    }

    #[test]
    fn what_never_left_is_told_from_what_broke_off() {
        let failed = |error: aws_smithy_runtime_api::box_error::BoxError| {
            let error = ConnectorError::other(error, None);
            Failure::of(SdkError::<ReadError, HttpResponse>::dispatch_failure(error)).0
        };
        let credentials = failed(CredentialsError::provider_error("nobody answers").into());
        assert!(credentials.unsent && credentials.class == ErrorClass::Transient, "{credentials:?}");
        assert!(failed(TooLate("the term is over".into()).into()).unsent);
        let role = RoleRefused(Failure::stated(ErrorClass::Throttled, "slow down"));
        let role = failed(CredentialsError::provider_error(role).into());
        assert!(role.unsent && role.class == ErrorClass::Throttled, "{role:?}");
        let broken = failed(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
        assert!(!broken.unsent && broken.class == ErrorClass::Transient, "{broken:?}");
        assert!(!answer(503, "SlowDown", "no").0.unsent);
    }

    #[test]
    fn long_and_ragged_messages_become_one_bounded_line() {
        let (failure, _) = answer(400, "InvalidArgument", &"long \n\t text\u{1F600} ".repeat(200));
        assert!(failure.text.chars().count() < LONGEST + 30);
        assert!(!failure.text.contains('\n'));
    }

    #[test]
    fn a_bucket_of_another_region_is_named_with_its_region() {
        let meta = ErrorMetadata::builder().code("PermanentRedirect").message("Use the endpoint.").build();
        let mut raw = HttpResponse::new(StatusCode::try_from(301).unwrap(), SdkBody::empty());
        raw.headers_mut().insert("x-amz-bucket-region", "eu-west-1");
        let (failure, _) = Failure::of(SdkError::service_error(ReadError::generic(meta), raw));
        assert_eq!(failure.text, "PermanentRedirect: Use the endpoint; the bucket lies in region eu-west-1");
    }

    #[test]
    fn a_refused_call_is_told_from_a_refused_role_and_from_another_region() {
        let (refused, _) = answer(403, "AccessDenied", "User: x is not authorized to perform: s3:ListBucket");
        assert!(refused.is_refused() && !refused.is_other_region());
        let role = Failure { text: format!("role r could not be assumed: {}", refused.text), ..refused };
        assert!(!role.is_refused());
        let (unknown, _) = answer(403, "InvalidAccessKeyId", "The key does not exist");
        assert!(!unknown.is_refused());
        let (elsewhere, _) = answer(400, "AuthorizationHeaderMalformed", "expecting 'eu-west-1'");
        assert!(elsewhere.is_other_region() && !elsewhere.is_refused());
    }

    #[test]
    fn an_answer_without_code_is_named_by_its_status() {
        let raw = HttpResponse::new(StatusCode::try_from(502).unwrap(), SdkBody::empty());
        let (failure, _) =
            Failure::of(SdkError::service_error(ReadError::generic(ErrorMetadata::builder().build()), raw));
        assert_eq!((failure.class, failure.text.as_str()), (ErrorClass::Transient, "HTTP status 502"));
    }
}
