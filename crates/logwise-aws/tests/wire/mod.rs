//! A listener that keeps what it is asked and answers as it is told: for what the stand-in cannot show.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing panics while it holds the lock.
const WHOLE: &str = "a list that is whole";

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method, path and query.
    pub line: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

impl Request {
    /// Access key id that signed it.
    pub fn key_id(&self) -> &str {
        let credential = self.headers.get("authorization").and_then(|text| text.split("Credential=").nth(1));
        credential.and_then(|text| text.split('/').next()).unwrap_or_default()
    }

    /// Whether it is a call to STS.
    pub fn is_sts(&self) -> bool {
        self.body.starts_with("Action=") && self.headers["authorization"].contains("/sts/aws4_request")
    }

    /// A parameter of a form, decoded as far as the tests need it.
    pub fn form(&self, name: &str) -> Option<String> {
        let value = self.body.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")))?;
        Some(value.replace("%2F", "/").replace("%3A", ":"))
    }
}

/// Status, further header lines, body.
pub type Answer = (u16, String, String);

/// The listener; it ends with the test's runtime.
pub struct Wire {
    url: String,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Wire {
    /// Listens on loopback.
    pub async fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port of loopback");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let wire = Self { url, connections: Arc::default(), seen: Arc::default() };
        let (connections, seen) = (wire.connections.clone(), wire.seen.clone());
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, seen.clone(), answer.clone()));
            }
        });
        wire
    }

    /// Its address as a URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().expect(WHOLE).clone()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Request>>>, answer: Arc<impl Fn(&Request) -> Answer>) {
    let mut bytes = Vec::new();
    let request = loop {
        if let Some(request) = whole(&bytes) {
            break request;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
            return;
        }
    };
    let (status, headers, body) = answer(&request);
    seen.lock().expect(WHOLE).push(request);
    let length = body.len();
    let text = format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    // The client may have gone.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn whole(bytes: &[u8]) -> Option<Request> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length in digits"));
    (body.len() >= length).then(|| Request { line, headers, body: body.to_owned() })
}

/// What STS answers when a role is assumed, with credentials that end at `ends` (RFC 3339).
pub fn assumed(key_id: &str, secret: &str, ends: &str) -> Answer {
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <AssumedRoleUser><AssumedRoleId>A:s</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{secret}-token</SessionToken><Expiration>{ends}</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    );
    (200, "content-type: text/xml\r\n".to_owned(), body)
}

/// What an API of the query protocol answers when it refuses.
pub fn refused(status: u16, code: &str, message: &str) -> Answer {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>r</RequestId></ErrorResponse>"
    );
    (status, "content-type: text/xml\r\n".to_owned(), body)
}

/// What Auto Scaling answers when no group has the name.
pub fn no_groups() -> Answer {
    let body = "<DescribeAutoScalingGroupsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
                <DescribeAutoScalingGroupsResult><AutoScalingGroups/></DescribeAutoScalingGroupsResult>\
                </DescribeAutoScalingGroupsResponse>";
    (200, "content-type: text/xml\r\n".to_owned(), body.to_owned())
}

/// What STS answers when it is asked who calls.
pub fn caller(arn: &str) -> Answer {
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>{arn}</Arn><UserId>u</UserId><Account>123456789012</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    );
    (200, "content-type: text/xml\r\n".to_owned(), body)
}
