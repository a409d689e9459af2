//! A small S3 client of the bed's own, for every server that speaks S3: it signs, and sends bodies as they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::HeaderMap;
use sha2::{Digest, Sha256};

use crate::{aws, http};

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// One request.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// Bucket, and key after a slash.
    pub path: String,
    /// Sub-resource or parameters; a sub-resource has an empty value.
    pub query: &'a [(&'a str, &'a str)],
    /// Further headers, lower-case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: String,
}

impl Answer {
    /// The code of an S3 error; none for success.
    pub fn code(&self) -> Option<&str> {
        let (_, rest) = self.body.split_once("<Code>").filter(|_| self.status >= 300)?;
        rest.split_once("</Code>").map(|(code, _)| code)
    }

    /// Errors unless the request succeeded.
    pub fn good(self, what: &str) -> Result<Answer> {
        if self.status < 300 { Ok(self) } else { bail!("{what}: S3 answers {}: {}", self.status, self.body) }
    }
}

/// A client with the bed's credentials and region.
#[derive(Debug, Clone)]
pub struct S3 {
    endpoint: String,
}

impl S3 {
    /// For the server at `http://host:port`.
    pub fn new(endpoint: &str) -> S3 {
        S3 { endpoint: endpoint.to_owned() }
    }

    /// Creates a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        // In this region AWS wants to be told so.
        let body = format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
            aws::REGION
        );
        let request = Request { path: name.to_owned(), body: body.as_bytes(), ..Request::default() };
        self.send(Method::PUT, &request).await?.good("creating a bucket").map(drop)
    }

    /// Puts an object.
    pub async fn put_object(&self, bucket: &str, key: &str, body: &[u8]) -> Result<()> {
        let request = Request { path: format!("{bucket}/{key}"), body, ..Request::default() };
        self.send(Method::PUT, &request).await?.good("putting an object").map(drop)
    }

    /// The keys that begin with `prefix`, as XML has them, each with the tag that follows its object's content. More than
    /// one page of 1,000 is an error.
    pub async fn objects(&self, bucket: &str, prefix: &str) -> Result<BTreeMap<String, String>> {
        let query = [("list-type", "2"), ("prefix", prefix)];
        let request = Request { path: bucket.to_owned(), query: &query, ..Request::default() };
        listed(&self.get(&request).await?.good("listing objects")?.body)
    }

    /// The lifecycle configuration, as the server prints it; none when there is none.
    pub async fn lifecycle(&self, bucket: &str) -> Result<Option<String>> {
        let request = Request { path: bucket.to_owned(), query: &[("lifecycle", "")], ..Request::default() };
        let answer = self.send(Method::GET, &request).await?;
        if answer.code() == Some("NoSuchLifecycleConfiguration") {
            return Ok(None);
        }
        Ok(Some(answer.good("reading a lifecycle configuration")?.body))
    }

    /// Replaces the lifecycle configuration by this document and tells what the server answers, refusals too.
    pub async fn put_lifecycle(&self, bucket: &str, document: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let body = document.as_bytes();
        let digest = STANDARD.encode(Sha256::digest(body));
        let headers: Vec<(&str, &str)> =
            headers.iter().copied().chain([("x-amz-checksum-sha256", digest.as_str())]).collect();
        let request = Request { path: bucket.to_owned(), query: &[("lifecycle", "")], headers: &headers, body };
        self.send(Method::PUT, &request).await
    }

    /// Sends a GET and returns the answer, whatever it is.
    pub async fn get(&self, request: &Request<'_>) -> Result<Answer> {
        self.send(Method::GET, request).await
    }

    /// Sends a PUT and returns the answer, whatever it is.
    pub async fn put(&self, request: &Request<'_>) -> Result<Answer> {
        self.send(Method::PUT, request).await
    }

    /// Removes an object.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<()> {
        let request = Request { path: format!("{bucket}/{key}"), ..Request::default() };
        self.send(Method::DELETE, &request).await?.good("removing an object").map(drop)
    }

    /// Sends a request and returns the answer, whatever it is.
    pub async fn send(&self, method: Method, request: &Request<'_>) -> Result<Answer> {
        let host = self.endpoint.strip_prefix("http://").context("the endpoint is not plain HTTP")?;
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let signed = signed(&method, request, host, &time);
        let url = format!("{}/{}?{}", self.endpoint, encoded(&request.path, true), query(request.query));
        let mut call = http::client()?.request(method.clone(), url).body(request.body.to_vec());
        for (name, value) in signed {
            call = call.header(name, value);
        }
        let answer = call.send().await.with_context(|| format!("asking S3: {method} {}", request.path))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.text().await.context("reading the answer of S3")?;
        Ok(Answer { status, headers, body })
    }
}

/// Keys and tags of a listing.
fn listed(answer: &str) -> Result<BTreeMap<String, String>> {
    ensure!(!answer.contains("<IsTruncated>true<"), "there are more than 1,000 objects");
    let text = |object: &str, name: &str| {
        let (_, rest) = object.split_once(&format!("<{name}>")).with_context(|| format!("an object without {name}"))?;
        Ok::<_, anyhow::Error>(rest.split('<').next().unwrap_or_default().to_owned())
    };
    answer.split("<Contents>").skip(1).map(|object| Ok((text(object, "Key")?, text(object, "ETag")?))).collect()
}

/// The headers of the request, signature included, without `host`.
fn signed(method: &Method, request: &Request<'_>, host: &str, time: &str) -> Vec<(String, String)> {
    let payload = hex(&Sha256::digest(request.body));
    let mut headers: Vec<(String, String)> =
        request.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    headers.push(("host".to_owned(), host.to_owned()));
    headers.push(("x-amz-content-sha256".to_owned(), payload.clone()));
    headers.push(("x-amz-date".to_owned(), time.to_owned()));
    headers.sort();
    let lines = headers.iter().fold(String::new(), |lines, (name, value)| format!("{lines}{name}:{value}\n"));
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let path = encoded(&request.path, true);
    let canonical = format!("{method}\n/{path}\n{}\n{lines}\n{names}\n{payload}", query(request.query));
    let day = &time[..8];
    let scope = format!("{day}/{}/s3/aws4_request", aws::REGION);
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let secret = format!("AWS4{}", aws::SECRET_KEY);
    let key = [day, aws::REGION, "s3", "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| hmac(&key, part.as_bytes()).to_vec());
    let signature = hex(&hmac(&key, to_sign.as_bytes()));
    let who = format!("Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", aws::ACCESS_KEY);
    headers.retain(|(name, _)| name != "host");
    headers.push(("authorization".to_owned(), format!("AWS4-HMAC-SHA256 {who}")));
    headers
}

fn query(parameters: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", encoded(name, false), encoded(value, false))).collect();
    pairs.sort();
    pairs.join("&")
}

fn encoded(text: &str, slashes: bool) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (slashes && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// HMAC with SHA-256, RFC 2104.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_made_as_the_standard_says() {
        let known = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&known), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn keys_are_encoded_and_parameters_sorted() {
        assert_eq!(encoded("logs/a b%2F", true), "logs/a%20b%252F");
        assert_eq!(query(&[("prefix", "a/b"), ("lifecycle", "")]), "lifecycle=&prefix=a%2Fb");
    }

    #[test]
    fn a_listing_is_read_whole_or_not_at_all() {
        let one = |key: &str| format!("<Contents><Key>{key}</Key><ETag>&quot;{key}1&quot;</ETag></Contents>");
        let page = |rest: &str| format!("<ListBucketResult>{rest}{}{}</ListBucketResult>", one("a"), one("b c"));
        let wanted = [("a", "&quot;a1&quot;"), ("b c", "&quot;b c1&quot;")].map(|(k, t)| (k.to_owned(), t.to_owned()));
        assert_eq!(listed(&page("<IsTruncated>false</IsTruncated>")).unwrap(), BTreeMap::from(wanted));
        assert!(listed(&page("<IsTruncated>true</IsTruncated>")).is_err());
        assert!(listed("<Contents><Key>a</Key></Contents>").is_err());
    }

    #[test]
    fn the_code_of_an_error_is_found() {
        let answer = |status, body: &str| Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
        assert_eq!(answer(404, "<Error><Code>NoSuchBucket</Code></Error>").code(), Some("NoSuchBucket"));
        assert_eq!(answer(200, "<Rule><Code>x</Code></Rule>").code(), None);
        assert!(answer(403, "").good("x").is_err());
    }
}
