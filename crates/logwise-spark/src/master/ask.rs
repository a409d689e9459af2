//! One HTTP request and its answer, bounded in time and size.

use super::error::SparkError;
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Attempts of a read, the first one included.
const ATTEMPTS: usize = 3;

/// Pauses between them.
const PAUSES: [Duration; ATTEMPTS - 1] = [Duration::from_millis(200), Duration::from_millis(400)];

/// Longest time a read may take with all its attempts.
const WHOLE: Duration = Duration::from_secs(8);

/// Largest answer accepted, in bytes.
const MOST_BYTES: usize = 16 << 20;

/// What came back.
#[derive(Debug)]
pub(super) struct Answered {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answered {
    /// The JSON of an answer that says yes.
    pub fn json<T: DeserializeOwned>(&self, address: &str) -> Result<T, SparkError> {
        if !(200..300).contains(&self.status) {
            return Err(SparkError::Answer { address: address.to_owned(), status: self.status });
        }
        understood(address, &self.body)
    }
}

/// JSON of the shape that is expected, or what the body is instead.
pub(super) fn understood<T: DeserializeOwned>(address: &str, body: &[u8]) -> Result<T, SparkError> {
    serde_json::from_slice(body).map_err(|error| {
        let address = address.to_owned();
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<') {
            return SparkError::Html { address };
        }
        SparkError::Shape { address, why: without_place(&error) }
    })
}

/// What is wrong, without the place: that moves with each answer, and messages of conditions do not.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(place.as_str()).unwrap_or(&text).to_owned()
}

/// Reads a path of the page at `address`, again if that may help.
pub(super) async fn get<T>(
    http: &reqwest::Client,
    address: &str,
    path: &str,
    understand: impl Fn(&Answered) -> Result<T, SparkError>,
) -> Result<T, SparkError> {
    let attempts = async {
        let mut pauses = PAUSES.iter();
        loop {
            let answered = once(address, http.get(format!("http://{address}{path}"))).await;
            match answered.and_then(|answered| understand(&answered)) {
                Err(error) if error.is_worth_repeating() => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(error),
                },
                outcome => return outcome,
            }
        }
    };
    let late = |_| SparkError::Deadline { address: address.to_owned(), seconds: WHOLE.as_secs() };
    tokio::time::timeout(WHOLE, attempts).await.map_err(late)?
}

/// Sends the request, once. The client's own deadline holds.
pub(super) async fn once(address: &str, request: RequestBuilder) -> Result<Answered, SparkError> {
    let failed = |error: reqwest::Error| failure(address, &error);
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MOST_BYTES {
            let why = format!("more than {MOST_BYTES} bytes");
            return Err(SparkError::Shape { address: address.to_owned(), why });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answered { status, body })
}

/// What went wrong. The URL is left out: the address stands before.
fn failure(address: &str, error: &reqwest::Error) -> SparkError {
    let address = address.to_owned();
    if error.is_timeout() && !error.is_connect() {
        return SparkError::Deadline { address, seconds: super::DEADLINE.as_secs() };
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    SparkError::Reach { address, why: deepest.to_string(), connected: !error.is_connect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_answer_does_not_move_with_its_length() {
        let why = |body: &str| understood::<Vec<i32>>("m:1", body.as_bytes()).unwrap_err().to_string();
        assert_eq!(why(r#"[1, "a"]"#), why(r#"[1, 22, 333, "a"]"#));
        assert!(why(r#"[1, "a"]"#).contains("invalid type: string"), "{}", why(r#"[1, "a"]"#));
        assert!(!why("[1, ").contains("column"), "{}", why("[1, "));
    }
}
