//! Reading and sending lifecycle configurations as raw XML through the SDK.

use crate::bucket::Bucket;
use crate::document::RawDocument;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata};
use aws_sdk_s3::primitives::SdkBody;
use aws_sdk_s3::types::{ChecksumAlgorithm, TransitionDefaultMinimumObjectSize};
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextMut,
    BeforeTransmitInterceptorContextMut,
};
use http_body_util::{LengthLimitError, Limited};
use logwise_aws::{AwsError, Failure, StillAllowed, s3_once};
use logwise_plan::Known;
use logwise_runtime::{ErrorClass, crash};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

/// Largest lifecycle document that is read or written, in bytes.
pub(crate) const LARGEST: usize = 1024 * 1024;

/// Response header with the setting for small objects.
const MINIMUM_OBJECT_SIZE: &str = "x-amz-transition-default-minimum-object-size";

/// Reads the lifecycle configuration of a bucket as it is; absent when the bucket has none.
///
/// # Errors
/// [`AwsError::ReadLifecycle`], of class `Invalid` when the document is larger than 1 MiB or cannot be understood.
pub async fn read(bucket: &Bucket) -> Result<Known<RawDocument>, AwsError> {
    ask(bucket, false).await
}

/// The same in one attempt: right before a write, which has to leave soon.
pub(crate) async fn read_once(bucket: &Bucket) -> Result<Known<RawDocument>, AwsError> {
    ask(bucket, true).await
}

async fn ask(bucket: &Bucket, once: bool) -> Result<Known<RawDocument>, AwsError> {
    let seen = Seen::default();
    let request = bucket
        .client
        .get_bucket_lifecycle_configuration()
        .bucket(&bucket.name)
        .set_expected_bucket_owner(bucket.owner.clone())
        .customize()
        .interceptor(seen.clone());
    let request = if once { request.config_override(s3_once()) } else { request };
    let answer = request.send().await;
    // The typed answer is not used: it lacks whatever the model does not know, and fails on what it cannot hold.
    if let Some(Answer { body, minimum_object_size }) = seen.take() {
        return RawDocument::parse(&body, minimum_object_size)
            .map(Known::Known)
            .map_err(|error| unreadable(bucket, ErrorClass::Invalid, error.to_string()));
    }
    match answer {
        Ok(_) => Err(unreadable(bucket, ErrorClass::Transient, "the answer has no body".to_owned())),
        Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Ok(Known::Absent),
        Err(error) if is_too_large(&error) => {
            Err(unreadable(bucket, ErrorClass::Invalid, format!("the document is larger than {LARGEST} bytes")))
        }
        Err(error) => Err(AwsError::read_lifecycle(&bucket.name, error)),
    }
}

/// Replaces the lifecycle configuration by `document`, once. `minimum_object_size` is the setting to keep: S3 resets
/// it when it is not sent. `permit` is asked right before the request leaves; a refusal means that nothing is sent.
pub(crate) async fn put(
    bucket: &Bucket,
    document: Vec<u8>,
    minimum_object_size: Option<&str>,
    permit: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<(), AwsError> {
    let request = bucket
        .client
        .put_bucket_lifecycle_configuration()
        .bucket(&bucket.name)
        .set_expected_bucket_owner(bucket.owner.clone())
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .set_transition_default_minimum_object_size(minimum_object_size.map(TransitionDefaultMinimumObjectSize::from))
        .customize()
        .config_override(s3_once())
        .interceptor(Replace(document))
        .interceptor(StillAllowed::by(permit));
    let write = crash::begin(crash::System::S3);
    let answer = request.send().await;
    write.after();
    answer.map(|_| ()).map_err(|error| AwsError::write_lifecycle(&bucket.name, error))
}

/// Deletes the lifecycle configuration, once. `permit` is asked right before the request leaves.
pub(crate) async fn delete(
    bucket: &Bucket,
    permit: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<(), AwsError> {
    let request = bucket
        .client
        .delete_bucket_lifecycle()
        .bucket(&bucket.name)
        .set_expected_bucket_owner(bucket.owner.clone())
        .customize()
        .config_override(s3_once())
        .interceptor(StillAllowed::by(permit));
    let write = crash::begin(crash::System::S3);
    let answer = request.send().await;
    write.after();
    answer.map(|_| ()).map_err(|error| AwsError::write_lifecycle(&bucket.name, error))
}

fn unreadable(bucket: &Bucket, class: ErrorClass, text: String) -> AwsError {
    AwsError::ReadLifecycle { bucket: bucket.name.clone(), failure: Failure::stated(class, text), source: None }
}

fn is_too_large(error: &dyn Error) -> bool {
    std::iter::successors(error.source(), |e| (**e).source()).any(|cause| cause.is::<LengthLimitError>())
}

/// A successful answer, unparsed.
#[derive(Debug)]
struct Answer {
    body: Vec<u8>,
    minimum_object_size: Option<String>,
}

/// Keeps the raw answer of the last attempt and bounds what is read of it.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Option<Answer>>>);

impl Seen {
    fn take(&self) -> Option<Answer> {
        self.set(None)
    }

    fn set(&self, answer: Option<Answer>) -> Option<Answer> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), answer)
    }
}

impl Intercept for Seen {
    fn name(&self) -> &'static str {
        "raw lifecycle answer"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = std::mem::replace(context.response_mut().body_mut(), SdkBody::taken());
        *context.response_mut().body_mut() = SdkBody::from_body_1_x(Limited::new(body, LARGEST));
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        self.set(response.body().bytes().filter(|_| response.status().is_success()).map(|body| Answer {
            body: body.to_vec(),
            minimum_object_size: response.headers().get(MINIMUM_OBJECT_SIZE).map(str::to_owned),
        }));
        Ok(())
    }
}

/// Sends this body instead of the typed one, which is left empty: without the replacement S3 refuses the call. The
/// checksum is computed and the request signed afterwards.
#[derive(Clone, Debug)]
struct Replace(Vec<u8>);

impl Intercept for Replace {
    fn name(&self) -> &'static str {
        "raw lifecycle document"
    }

    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request.headers_mut().insert("content-length", self.0.len().to_string());
        *request.body_mut() = SdkBody::from(self.0.clone());
        Ok(())
    }
}
