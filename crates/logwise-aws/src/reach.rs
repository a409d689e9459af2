//! Where requests may go: the endpoint of the configuration or AWS's own names, at addresses that are looked up once
//! and checked before the connection to them is made.

use crate::fence::Refused;
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError, SharedDnsResolver};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use http::Uri;
use logwise_plan::endpoint::{self, Endpoint, Range};
use std::error::Error;
use std::net::IpAddr;

/// Ends of the names of AWS's own endpoints.
const AWS_NAMES: [&str; 5] =
    [".amazonaws.com", ".amazonaws.com.cn", ".api.amazonwebservices.com.cn", ".amazonaws.eu", ".api.aws"];

/// Added to a refusal that the switch would lift.
const SWITCH: &str = ", which only allowInsecureEndpoints admits";

/// Where requests may go.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// AWS itself, over HTTPS, through the proxy that the environment names.
    Aws {
        /// Where it is not, whatever DNS says.
        denied: Vec<Range>,
    },
    /// One endpoint, without proxy.
    Only {
        /// The endpoint.
        endpoint: Endpoint,
        /// Whether it may be a loopback address.
        insecure: bool,
        /// Addresses that it may not lead to.
        denied: Vec<Range>,
    },
    /// Nothing at all: what was to be reached may not be.
    Nowhere,
}

/// The URL may not be used as endpoint. The text says why and what is allowed, and does not repeat the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoint: {0}")]
pub struct EndpointRefused(String);

impl Reach {
    /// The endpoint at `url` and nothing else; `insecure` admits plain HTTP and loopback addresses.
    pub fn only(url: &str, insecure: bool, denied: &[Range]) -> Result<Self, EndpointRefused> {
        let endpoint = endpoint::check_within(url, insecure, denied).map_err(|why| {
            let switch = if !insecure && endpoint::check_within(url, true, denied).is_ok() { SWITCH } else { "" };
            EndpointRefused(why + switch)
        })?;
        Ok(Self::Only { endpoint, insecure, denied: denied.to_vec() })
    }

    fn check_request(&self, uri: &str) -> Result<(), Refused> {
        let uri: Uri = uri.parse().map_err(|_| Refused("the address of the call is no URL".to_owned()))?;
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let on_list = match self {
            Self::Only { endpoint, .. } => is_target(endpoint, &uri),
            Self::Nowhere => false,
            Self::Aws { .. } => {
                let default_port = uri.port_u16().is_none_or(|port| port == 443);
                uri.scheme_str() == Some("https") && default_port && uri.host().is_some_and(is_aws)
            }
        };
        if on_list && !has_user {
            return Ok(());
        }
        Err(Refused(format!(
            "the call would go to {}, which is neither AWS nor the configured endpoint",
            uri.host().unwrap_or_default()
        )))
    }

    fn check_addresses(&self, name: &str, addresses: &[IpAddr]) -> Result<(), Refused> {
        let (insecure, denied) = match self {
            // Requests go to AWS's names only, so any other name is the proxy's.
            Self::Aws { .. } if !is_aws(name) => return Ok(()),
            Self::Only { insecure, denied, .. } => (*insecure, denied.as_slice()),
            Self::Aws { denied } => (false, denied.as_slice()),
            Self::Nowhere => return Err(Refused(format!("{name} may not be called"))),
        };
        let refused = |ip: IpAddr| {
            let kind = endpoint::refused_ip(ip, insecure).map(str::to_owned);
            kind.or_else(|| endpoint::denied_by(ip, denied).map(|range| format!("{range} of `aws.deniedRanges`")))
        };
        // One bad answer spoils all: the connection takes whichever address it likes.
        addresses.iter().try_for_each(|ip| {
            refused(*ip)
                .map_or(Ok(()), |kind| Err(Refused(format!("{name} leads to {kind}, where no connection is made"))))
        })
    }

    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Only { endpoint, .. } => Some(endpoint),
            Self::Aws { .. } | Self::Nowhere => None,
        }
    }

    fn proxy(&self) -> ProxyConfig {
        match self {
            Self::Aws { .. } => ProxyConfig::from_env(),
            Self::Only { .. } | Self::Nowhere => ProxyConfig::disabled(),
        }
    }
}

fn is_target(endpoint: &Endpoint, uri: &Uri) -> bool {
    let (scheme, usual) = if endpoint.secure { ("https", 443) } else { ("http", 80) };
    uri.scheme_str() == Some(scheme)
        && uri.host().is_some_and(|host| host.eq_ignore_ascii_case(&endpoint.host))
        && uri.port_u16().unwrap_or(usual) == endpoint.port
}

fn is_aws(host: &str) -> bool {
    AWS_NAMES.iter().any(|end| host.to_ascii_lowercase().ends_with(end))
}

/// One connection pool and one set of root certificates for all clients that stay within `reach`. Redirects are not
/// followed.
pub(crate) fn http_client(reach: Reach, resolver: impl ResolveDns + 'static) -> SharedHttpClient {
    let resolver = Guarded { inner: SharedDnsResolver::new(resolver), reach: reach.clone() };
    let proxy = reach.proxy();
    let inner = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone()).tls_provider(rustls());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
        connector.build_with_resolver(resolver.clone())
    });
    http_client_fn(move |settings, components| {
        let inner = inner.http_connector(settings, components);
        SharedHttpConnector::new(Fenced { inner, reach: reach.clone() })
    })
}

/// For the operator's own credentials, which lie where nothing else may be reached: the addresses of container and
/// instance credentials.
pub(crate) fn credentials_http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env()).tls_provider(rustls());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
        connector.build()
    })
}

fn rustls() -> tls::Provider {
    tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc)
}

/// The machine's resolver.
#[derive(Debug)]
pub(crate) struct System;

impl ResolveDns for System {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Answers with addresses that may be connected to, or not at all.
#[derive(Clone, Debug)]
struct Guarded {
    inner: SharedDnsResolver,
    reach: Reach,
}

impl ResolveDns for Guarded {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let addresses = self.inner.resolve_dns(name).await?;
            self.reach.check_addresses(name, &addresses).map_err(ResolveDnsError::new)?;
            Ok(addresses)
        })
    }
}

/// Passes requests on whose address is on the list.
#[derive(Debug)]
struct Fenced {
    inner: SharedHttpConnector,
    reach: Reach,
}

impl HttpConnector for Fenced {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match self.reach.check_request(request.uri()) {
            Ok(()) => {
                let answer = self.inner.call(request);
                HttpConnectorFuture::new(async { answer.await.map_err(final_if_refused) })
            }
            Err(refused) => HttpConnectorFuture::ready(Err(ConnectorError::user(refused.into()))),
        }
    }
}

/// A refused address counts as a mistake of the caller, which is not tried again, and not as a lost connection.
fn final_if_refused(error: ConnectorError) -> ConnectorError {
    let mut chain = std::iter::successors(error.source(), |cause| (**cause).source());
    if chain.any(<dyn Error>::is::<Refused>) { ConnectorError::user(error.into()) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AwsClients, AwsError, AwsSettings, Base, Identity, Pipeline, StaticKeys, group};
    use logwise_runtime::ErrorClass;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// Answers each question with the next list of addresses, the last one for ever.
    #[derive(Clone, Debug, Default)]
    struct Scripted {
        answers: Arc<Mutex<Vec<Vec<IpAddr>>>>,
        asked: Arc<AtomicUsize>,
    }

    impl Scripted {
        fn new(answers: &[&[&str]]) -> Self {
            let list = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
            Self { answers: Arc::new(Mutex::new(answers.iter().map(list).collect())), asked: Arc::default() }
        }
    }

    impl ResolveDns for Scripted {
        fn resolve_dns<'a>(&'a self, _: &'a str) -> DnsFuture<'a> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let mut answers = self.answers.lock().unwrap();
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            DnsFuture::ready(Ok(answer))
        }
    }

    /// A listener on all loopback addresses that counts connections and answers each with HTTP 403.
    fn counting() -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 65536]);
                let _ = stream.write_all(b"HTTP/1.1 403 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            }
        });
        (port, count)
    }

    async fn look(reach: Reach, resolver: Scripted, region: &str) -> AwsError {
        let settings = AwsSettings { connect_timeout: Duration::from_millis(300), ..AwsSettings::default() };
        look_with(&AwsClients::within(reach, settings, resolver), region).await
    }

    async fn look_with(aws: &AwsClients, region: &str) -> AwsError {
        let keys = StaticKeys::new("AKIA".into(), "secret".into(), None).unwrap();
        let of = Pipeline { installation: "i", namespace: "n", name: "a" };
        let clients = aws.for_identity(&Identity::new(of, Base::Static(keys), None), region);
        group::describe(&clients.autoscaling(), "workers").await.unwrap_err()
    }

    fn only(scheme: &str, port: u16, insecure: bool) -> Reach {
        Reach::only(&format!("{scheme}://aws.example.com:{port}"), insecure, &[]).unwrap()
    }

    fn aws(denied: &[&str]) -> Reach {
        Reach::Aws { denied: denied.iter().map(|range| range.parse().unwrap()).collect() }
    }

    #[tokio::test]
    async fn no_name_leads_into_a_denied_range() {
        let (port, count) = counting();
        let denied = ["127.3.0.0/16".parse().unwrap()];
        let url = format!("http://aws.example.com:{port}");
        let reach = Reach::only(&url, true, &denied).unwrap();
        for bad in [["127.3.0.1", "127.0.0.1"], ["127.0.0.1", "::ffff:127.3.255.255"]] {
            let error = look(reach.clone(), Scripted::new(&[&bad]), "eu-west-1").await;
            assert_eq!(error.class(), ErrorClass::Invalid, "{error}");
            assert!(error.to_string().contains("127.3.0.0/16 of `aws.deniedRanges`"), "{error}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
        let error = look(reach, Scripted::new(&[&["127.4.0.1"]]), "eu-west-1").await;
        assert_eq!((error.class(), count.load(Ordering::SeqCst)), (ErrorClass::Denied, 1), "the listener's 403");
        let error = look(aws(&["10.96.0.0/12"]), Scripted::new(&[&["10.100.0.1"]]), "eu-west-1").await;
        assert!(error.to_string().contains("10.96.0.0/12"), "AWS's own names, too: {error}");
        let literal = Reach::only("https://10.96.0.1:9000", false, &["10.96.0.0/12".parse().unwrap()]).unwrap_err();
        assert!(literal.to_string().contains("leads into 10.96.0.0/12"), "{literal}");
    }

    #[tokio::test]
    async fn a_name_with_one_forbidden_address_is_not_connected_to() {
        let (port, count) = counting();
        for bad in ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::1", "169.254.169.254", "224.0.0.1", "fd00:ec2::254"]
        {
            for answer in [[bad, "203.0.113.1"], ["203.0.113.1", bad]] {
                let error = look(only("https", port, false), Scripted::new(&[&answer]), "eu-west-1").await;
                assert_eq!(error.class(), ErrorClass::Invalid, "{error}");
                assert!(error.to_string().contains("aws.example.com leads to "), "{error}");
                assert!(error.to_string().ends_with(", where no connection is made"), "{error}");
            }
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_second_answer_of_the_resolver_leads_nowhere() {
        let (port, count) = counting();
        // The bed's switch allows the first answer; whatever the name has later is checked again.
        for second in ["0.0.0.0", "169.254.169.254", "::"] {
            let resolver = Scripted::new(&[&["127.0.0.1"], &[second]]);
            let before = count.load(Ordering::SeqCst);
            let settings = AwsSettings::default();
            let clients = AwsClients::within(only("http", port, true), settings, resolver.clone());
            assert_eq!(look_with(&clients, "eu-west-1").await.class(), ErrorClass::Denied, "the listener's 403");
            assert_eq!((count.load(Ordering::SeqCst), resolver.asked.load(Ordering::SeqCst)), (before + 1, 1));
            let error = look_with(&clients, "eu-west-1").await;
            assert_eq!(error.class(), ErrorClass::Invalid, "{error}");
            assert!(resolver.asked.load(Ordering::SeqCst) > 1);
            assert_eq!(count.load(Ordering::SeqCst), before + 1, "{second}");
        }
    }

    #[tokio::test]
    async fn a_region_that_is_an_address_in_disguise_leads_nowhere() {
        let (port, count) = counting();
        let tricks = [
            format!("x.example.com:{port}/?"),
            format!("x.example.com:{port}#"),
            "example.com/".to_owned(),
            format!("@127.0.0.1:{port}/"),
            format!("x@localhost:{port}/"),
            "../..".to_owned(),
            "eu-west-1.".to_owned(),
            String::new(),
        ];
        let resolver = Scripted::new(&[&["127.0.0.1"]]);
        for region in &tricks {
            let error = look(aws(&[]), resolver.clone(), region).await;
            assert!(matches!(error.class(), ErrorClass::Invalid | ErrorClass::Transient), "{region}: {error}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn aws_itself_is_not_sought_at_forbidden_addresses() {
        let resolver = Scripted::new(&[&["169.254.169.254"]]);
        let error = look(aws(&[]), resolver, "eu-west-1").await;
        assert!(error.to_string().contains("autoscaling.eu-west-1.amazonaws.com leads to the metadata"), "{error}");
    }

    #[test]
    fn only_aws_over_https_is_aws() {
        let good = |url: &str| aws(&[]).check_request(url).is_ok();
        for url in [
            "https://sts.eu-west-1.amazonaws.com/",
            "https://bucket.s3.cn-north-1.amazonaws.com.cn/x?y",
            "https://bucket.s3.dualstack.eu-west-1.amazonaws.com:443/",
            "https://S3.EU-WEST-1.AMAZONAWS.COM/",
        ] {
            assert!(good(url), "{url}");
        }
        for url in [
            "http://s3.eu-west-1.amazonaws.com/",
            "https://s3.eu-west-1.amazonaws.com:8443/",
            "https://user@s3.eu-west-1.amazonaws.com/",
            "https://amazonaws.com.evil.test/",
            "https://evilamazonaws.com/",
            "https://s3.eu-west-1.amazonaws.com./",
            "https://evil.test/?.amazonaws.com",
            "https://evil.test#.amazonaws.com",
            "https://169.254.169.254/",
            "/x",
        ] {
            assert!(!good(url), "{url}");
        }
    }
    #[test]
    fn only_the_endpoint_itself_is_its_target() {
        let reach = Reach::only("https://s3.example.com", false, &[]).unwrap();
        let good = |url: &str| reach.check_request(url).is_ok();
        assert!(good("https://s3.example.com/bucket?x") && good("https://S3.EXAMPLE.COM:443/"));
        for url in [
            "http://s3.example.com/",
            "http://s3.example.com:443/",
            "https://s3.example.com:444/",
            "https://user@s3.example.com/",
            "https://bucket.s3.example.com/",
            "https://s3.example.com.evil.test/",
            "https://sts.eu-west-1.amazonaws.com/",
            "/bucket",
        ] {
            assert!(!good(url), "{url}");
        }
    }
}
