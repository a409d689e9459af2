//! Clients per region over one HTTP client and one credentials provider.

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Attempts of a read, the first one included.
const READ_ATTEMPTS: u32 = 3;

/// How AWS is reached.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// Base URL of every AWS API instead of AWS's own; bucket names then stand in the path. `None`: AWS.
    pub endpoint_url: Option<String>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for one attempt, credentials and body included.
    pub attempt_timeout: Duration,
    /// Longest wait for a call with all its attempts.
    pub operation_timeout: Duration,
}

impl Default for AwsSettings {
    fn default() -> Self {
        Self {
            endpoint_url: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
        }
    }
}

/// AWS clients, built on first use and kept per region. They share connections and credentials; building one sends
/// no request.
#[derive(Debug)]
pub struct AwsClients {
    shared: SdkConfig,
    first_region: Arc<OnceLock<Region>>,
    s3: Mutex<HashMap<String, aws_sdk_s3::Client>>,
    autoscaling: Mutex<HashMap<String, aws_sdk_autoscaling::Client>>,
}

impl AwsClients {
    /// Credentials come from the environment, profile, web identity, container or instance, asked for by the first
    /// call that needs them.
    pub fn new(settings: AwsSettings) -> Self {
        let http = http_client();
        let first_region = Arc::new(OnceLock::new());
        let credentials = LazyChain { http: http.clone(), region: Arc::clone(&first_region), chain: OnceCell::new() };
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.connect_timeout)
            .operation_attempt_timeout(settings.attempt_timeout)
            .operation_timeout(settings.operation_timeout)
            .build();
        // The operation's deadline ends with the headers of a streamed body; this one watches over the body.
        let streams = StalledStreamProtectionConfig::enabled().grace_period(settings.attempt_timeout).build();
        let mut shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .app_name(AppName::new("logwise-operator").expect("letters and a hyphen make an application name"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .identity_cache(IdentityCache::lazy().build())
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS))
            .stalled_stream_protection(streams);
        shared.set_endpoint_url(settings.endpoint_url);
        Self { shared: shared.build(), first_region, s3: Mutex::default(), autoscaling: Mutex::default() }
    }

    /// The S3 client of `region`.
    pub fn s3(&self, region: &str) -> aws_sdk_s3::Client {
        cached(&self.s3, region, || {
            let config = aws_sdk_s3::config::Builder::from(&self.in_region(region))
                .force_path_style(self.shared.endpoint_url().is_some())
                .build();
            aws_sdk_s3::Client::from_conf(config)
        })
    }

    /// The Auto Scaling client of `region`.
    pub fn autoscaling(&self, region: &str) -> aws_sdk_autoscaling::Client {
        cached(&self.autoscaling, region, || aws_sdk_autoscaling::Client::new(&self.in_region(region)))
    }

    fn in_region(&self, region: &str) -> SdkConfig {
        let region = Region::new(region.to_owned());
        self.first_region.get_or_init(|| region.clone());
        self.shared.to_builder().region(region).build()
    }
}

/// Settings for an S3 call that changes something: sent once, never repeated.
pub fn s3_once() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().retry_config(RetryConfig::disabled())
}

/// Settings for an Auto Scaling call that changes something: sent once, never repeated.
pub fn autoscaling_once() -> aws_sdk_autoscaling::config::Builder {
    aws_sdk_autoscaling::Config::builder().retry_config(RetryConfig::disabled())
}

fn cached<C: Clone>(clients: &Mutex<HashMap<String, C>>, region: &str, build: impl FnOnce() -> C) -> C {
    // A client that panicked while being built was not inserted, so a poisoned map is still a good one.
    let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
    clients.entry(region.to_owned()).or_insert_with(build).clone()
}

/// One connection pool and one set of root certificates for all clients; a proxy named in the environment is used.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
        connector.build()
    })
}

/// The default credentials chain, built when the first call needs it.
#[derive(Debug)]
struct LazyChain {
    http: SharedHttpClient,
    /// Region of the first client: whom to ask for a role when the environment names no region.
    region: Arc<OnceLock<Region>>,
    chain: OnceCell<DefaultCredentialsChain>,
}

impl LazyChain {
    async fn chain(&self) -> &DefaultCredentialsChain {
        self.chain
            .get_or_init(|| {
                let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                    .or_else(self.region.get().cloned());
                let config = ProviderConfig::without_region().with_http_client(self.http.clone());
                DefaultCredentialsChain::builder().region(region).configure(config).build()
            })
            .await
    }
}

impl ProvideCredentials for LazyChain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move { self.chain().await.provide_credentials().await })
    }
}
