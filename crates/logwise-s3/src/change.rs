//! Lifecycle writes under an intent: written down with the configuration as it was, closed when the effect was read.

use crate::apply::{apply, not_sent, shortfall};
use crate::bucket::Bucket;
use crate::document::RawDocument;
use crate::drift::{Changed, targets};
use crate::{Look, Written};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use logwise_api::LogwiseCluster;
use logwise_aws::AwsError;
use logwise_plan::Known;
use logwise_plan::retention::WriteRules;
use logwise_runtime::intent::{Ending, Intent, Wish};
use logwise_runtime::{ErrorClass, IntentError, Intents, ObjectKey, chain};
use serde_json::Value;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time the write takes: one attempt, and a moment more.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// The intent's name of a bucket. Bucket names are unique in the world.
pub(crate) fn resource(bucket: &str) -> String {
    format!("bucket/{bucket}")
}

/// Judges an intent that an earlier look or an earlier leader left open, by a look that began at `looked`.
///
/// # Errors
/// Why nothing may be sent.
pub(crate) async fn clear_the_way(intents: &Intents, bucket: &str, look: &Look, looked: Instant) -> Result<(), String> {
    let judge = async |intent: &Intent| {
        let ending = ending(intent, &look.raw).ok_or("the lifecycle configuration could not be read")?;
        Ok((ending, looked))
    };
    intents.clear(&resource(bucket), judge).await?;
    Ok(())
}

/// What became of the write that `intent` names; nothing is said of a bucket that could not be read.
fn ending(intent: &Intent, raw: &Known<RawDocument>) -> Option<Ending> {
    let document = match raw {
        Known::Known(document) => Some(document),
        Known::Absent => None,
        Known::Unknown(_) => return None,
    };
    let Ok(write) = serde_json::from_value::<WriteRules>(intent.wish.targets.clone()) else {
        return Some(Ending::Superseded);
    };
    Some(if shortfall(document, &write).is_none() {
        Ending::Done
    } else if document.map(RawDocument::version) == write.assumes.as_deref() {
        Ending::Abandoned
    } else {
        Ending::Superseded
    })
}

/// Carries out `write` under one intent; `cleared` is the answer of [`clear_the_way`].
pub(crate) async fn carry_out(
    intents: &Arc<Intents>,
    cluster: &LogwiseCluster,
    bucket: &Bucket,
    (write, look, drifted): (&WriteRules, &Look, &[Changed]),
    cleared: Result<(), String>,
) -> Result<Written, AwsError> {
    let refused = |why: String| not_sent(bucket, ErrorClass::Conflict, format!("nothing was sent: {why}"));
    cleared.map_err(refused)?;
    let failed = |error: IntentError| not_sent(bucket, error.class(), format!("nothing was sent: {}", chain(&error)));
    let wish = wish(cluster, targets(write, drifted), &look.raw);
    let prepared = intents.prepare(&resource(&bucket.name), cluster, wish).await.map_err(failed)?;
    let (mut waiting, mut sent) = (Some(prepared), None);
    let written = apply(bucket, write, async || {
        let prepared = waiting.take().ok_or("the intent was sent already")?;
        let now_sent = sent.insert(prepared.send(CALL_TIMEOUT).await.map_err(|error| chain(&error))?);
        let permit = now_sent.permit();
        Ok(move || permit.check().map_err(|error| chain(&error)))
    })
    .await;
    match (waiting, sent) {
        (Some(prepared), _) => {
            let there = matches!(written, Ok(Written::AlreadySo));
            prepared.abandon(if there { Ending::Done } else { Ending::Abandoned }).await;
        }
        // What S3 does not show yet, or has not answered, is judged by the next look.
        (None, Some(sent)) => match &written {
            Ok(Written::Done) => _ = sent.close(Ending::Done).await,
            Err(error) if error.class() != ErrorClass::Transient => {
                _ = sent.close(Ending::Abandoned).await;
            }
            _ => drop(sent),
        },
        (None, None) => {}
    }
    written
}

fn wish(cluster: &LogwiseCluster, targets: Value, before: &Known<RawDocument>) -> Wish {
    Wish {
        owner: ObjectKey::of(cluster).into(),
        targets,
        pre_image: before.known().and_then(pre_image),
        amount: 0,
        parts: Vec::new(),
    }
}

/// The configuration before the write, as gzip in base64: a ConfigMap holds text, and at most 1 MiB of it.
pub(crate) fn pre_image(before: &RawDocument) -> Option<String> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(before.bytes()).ok()?;
    packed.finish().ok().map(|bytes| STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn a_pre_image_gives_back_every_byte() {
        let text = b"<LifecycleConfiguration><Rule><ID>a</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
        let document = RawDocument::parse(text, None).unwrap();
        let packed = STANDARD.decode(pre_image(&document).unwrap()).unwrap();
        let mut back = Vec::new();
        GzDecoder::new(packed.as_slice()).read_to_end(&mut back).unwrap();
        assert_eq!(back, text);
    }
}
