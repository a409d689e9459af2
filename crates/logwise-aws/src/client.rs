//! Clients per pipeline and region, over HTTP clients that stay within the configured reach: one for all, and one for
//! each endpoint of a grant.

use crate::cache::{Cache, Key};
use crate::fence::Listed;
use crate::identity::{Base, Identity, Salt};
use crate::owner::{Owner, OwnerNamed};
use crate::reach::{self, EndpointRefused, Reach};
use crate::role::AssumedRole;
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
use aws_smithy_runtime_api::client::dns::{ResolveDns, SharedDnsResolver};
use logwise_plan::endpoint::Range;
use logwise_plan::grants::Endpoints;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// Attempts of a read, the first one included.
const READ_ATTEMPTS: u32 = 3;

/// Clients that were not asked for during this time are dropped, with their credentials.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// Credentials are fetched anew this long before they end, so that none ends during a call.
const BEFORE_END: Duration = Duration::from_secs(60);

/// How AWS is reached.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// Base URL of every AWS API instead of AWS's own; bucket names then stand in the path. `None`: AWS.
    pub endpoint_url: Option<String>,
    /// Whether endpoints may be plain HTTP, and loopback addresses.
    pub allow_insecure_endpoints: bool,
    /// Addresses that no endpoint may lead to, AWS's own included.
    pub denied_ranges: Vec<Range>,
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
            allow_insecure_endpoints: false,
            denied_ranges: Vec::new(),
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
        }
    }
}

/// AWS clients, built on first use and kept per identity and region. They share connections; building one sends no
/// request.
#[derive(Debug)]
pub struct AwsClients {
    settings: AwsSettings,
    http: SharedHttpClient,
    resolver: SharedDnsResolver,
    /// For the endpoints of identities, by URL.
    sites: Mutex<HashMap<String, SharedHttpClient>>,
    /// The operator's own credentials.
    ambient: SharedCredentialsProvider,
    first_region: Arc<OnceLock<Region>>,
    salt: Salt,
    kept: Mutex<Cache<Clients>>,
}

impl AwsClients {
    /// Clients that reach AWS, or the endpoint of `settings` and nothing else.
    ///
    /// # Errors
    /// The endpoint may not be used.
    pub fn open(settings: AwsSettings) -> Result<Self, EndpointRefused> {
        let reach = match &settings.endpoint_url {
            Some(url) => Reach::only(url, settings.allow_insecure_endpoints, &settings.denied_ranges)?,
            None => Reach::Aws { denied: settings.denied_ranges.clone() },
        };
        Ok(Self::within(reach, settings, reach::System))
    }

    pub(crate) fn within(reach: Reach, settings: AwsSettings, resolver: impl ResolveDns + 'static) -> Self {
        let first_region = Arc::new(OnceLock::new());
        let chain = LazyChain { region: Arc::clone(&first_region), chain: OnceCell::new() };
        let endpoint_url = reach.endpoint().map(ToString::to_string);
        let resolver = SharedDnsResolver::new(resolver);
        Self {
            settings: AwsSettings { endpoint_url, ..settings },
            http: reach::http_client(reach, resolver.clone()),
            resolver,
            sites: Mutex::default(),
            ambient: SharedCredentialsProvider::new(chain),
            first_region,
            salt: Salt::draw(),
            kept: Mutex::new(Cache::new(IDLE)),
        }
    }

    /// Clients that call as `identity` in `region`. Equal identities get the same clients; those of a pipeline's
    /// former identity are dropped.
    pub fn for_identity(&self, identity: &Identity, region: &str) -> Clients {
        let key = Key {
            fingerprint: self.salt.fingerprint(identity),
            region,
            pipeline: (!identity.is_plain()).then(|| identity.external_id()),
        };
        // Clients that panicked while being built were not inserted, so a poisoned map is still a good one.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key, Instant::now(), || self.build(identity, region))
    }

    /// Drops the clients and the credentials of a pipeline that is gone, by its external id.
    pub fn forget(&self, external_id: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).forget(external_id);
    }

    /// How many pairs of identity and region have clients.
    pub fn count(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn build(&self, identity: &Identity, region: &str) -> Clients {
        let region = Region::new(region.to_owned());
        self.first_region.get_or_init(|| region.clone());
        let base = match identity.base() {
            Base::Ambient => self.ambient.clone(),
            Base::Static(keys) => SharedCredentialsProvider::new(keys.credentials()),
        };
        let from_base = self.config(region, base);
        let Endpoints { s3, auto_scaling, ec2, sts: of_sts } = identity.endpoints();
        let [s3_site, autoscaling_site, ec2_site, sts_site] =
            [s3, auto_scaling, ec2, of_sts].map(|url| self.site(url.as_deref()));
        let config = match identity.role_arn() {
            None => from_base,
            Some(role_arn) => {
                let role = AssumedRole {
                    client: sts(&from_base, sts_site.as_ref()),
                    role_arn: role_arn.to_owned(),
                    external_id: identity.external_id().to_owned(),
                    session: identity.session().to_owned(),
                    // Before the attempt that waits for them ends, so that the reason is told.
                    deadline: self.settings.attempt_timeout * 4 / 5,
                };
                from_base
                    .to_builder()
                    .credentials_provider(SharedCredentialsProvider::new(role))
                    .identity_cache(self.identity_cache())
                    .build()
            }
        };
        let role_arn = identity.role_arn().map(str::to_owned);
        let shared = Shared {
            config,
            role_arn,
            s3: Mutex::default(),
            s3_site,
            autoscaling: OnceLock::new(),
            autoscaling_site,
            ec2: OnceLock::new(),
            ec2_site,
            sts_site,
        };
        Clients { shared: Arc::new(shared) }
    }

    /// What calls the endpoint at `url` and nothing else; one that may not be called leads nowhere. `None`: no URL.
    fn site(&self, url: Option<&str>) -> Option<Site> {
        let url = url?;
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let http = sites.entry(url.to_owned()).or_insert_with(|| {
            let AwsSettings { allow_insecure_endpoints, denied_ranges, .. } = &self.settings;
            let reach = Reach::only(url, *allow_insecure_endpoints, denied_ranges).unwrap_or(Reach::Nowhere);
            reach::http_client(reach, self.resolver.clone())
        });
        Some(Site { url: url.to_owned(), http: http.clone() })
    }

    fn config(&self, region: Region, credentials: SharedCredentialsProvider) -> SdkConfig {
        let settings = &self.settings;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.connect_timeout)
            .operation_attempt_timeout(settings.attempt_timeout)
            .operation_timeout(settings.operation_timeout)
            .build();
        // The operation's deadline ends with the headers of a streamed body; this one watches over the body.
        let streams = StalledStreamProtectionConfig::enabled().grace_period(settings.attempt_timeout).build();
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .app_name(AppName::new("logwise-operator").expect("letters and a hyphen make an application name"))
            .region(region)
            .credentials_provider(credentials)
            .identity_cache(self.identity_cache())
            .http_client(self.http.clone())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS))
            .stalled_stream_protection(streams);
        config.set_endpoint_url(settings.endpoint_url.clone());
        config.build()
    }

    fn identity_cache(&self) -> aws_sdk_s3::config::SharedIdentityCache {
        IdentityCache::lazy().load_timeout(self.settings.attempt_timeout).buffer_time(BEFORE_END).build()
    }
}

/// An endpoint of some identities, with the HTTP client that reaches it alone.
#[derive(Clone, Debug)]
struct Site {
    url: String,
    http: SharedHttpClient,
}

impl Site {
    /// `config`, for calls to this endpoint if there is one.
    fn over(site: Option<&Self>, config: &SdkConfig) -> SdkConfig {
        match site {
            None => config.clone(),
            Some(Self { url, http }) => config.to_builder().endpoint_url(url).http_client(http.clone()).build(),
        }
    }
}

fn sts(config: &SdkConfig, site: Option<&Site>) -> aws_sdk_sts::Client {
    let config = Site::over(site, config);
    aws_sdk_sts::Client::from_conf(aws_sdk_sts::config::Builder::from(&config).interceptor(Listed).build())
}

/// The clients of one identity in one region.
#[derive(Clone, Debug)]
pub struct Clients {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: SdkConfig,
    role_arn: Option<String>,
    s3: Mutex<HashMap<Option<Owner>, aws_sdk_s3::Client>>,
    s3_site: Option<Site>,
    autoscaling: OnceLock<aws_sdk_autoscaling::Client>,
    autoscaling_site: Option<Site>,
    ec2: OnceLock<aws_sdk_ec2::Client>,
    ec2_site: Option<Site>,
    sts_site: Option<Site>,
}

impl Clients {
    /// The S3 client. With an owner it sends no call that does not name that owner of the bucket.
    pub fn s3(&self, owner: Option<&Owner>) -> aws_sdk_s3::Client {
        let mut clients = self.shared.s3.lock().unwrap_or_else(PoisonError::into_inner);
        clients.entry(owner.cloned()).or_insert_with(|| self.build_s3(owner)).clone()
    }

    fn build_s3(&self, owner: Option<&Owner>) -> aws_sdk_s3::Client {
        let config = Site::over(self.shared.s3_site.as_ref(), &self.shared.config);
        let mut s3 = aws_sdk_s3::config::Builder::from(&config)
            .force_path_style(config.endpoint_url().is_some())
            .interceptor(Listed);
        if let Some(owner) = owner {
            s3 = s3.interceptor(OwnerNamed(owner.clone()));
        }
        aws_sdk_s3::Client::from_conf(s3.build())
    }

    /// The Auto Scaling client.
    pub fn autoscaling(&self) -> aws_sdk_autoscaling::Client {
        let build = || {
            let config = Site::over(self.shared.autoscaling_site.as_ref(), &self.shared.config);
            let config = aws_sdk_autoscaling::config::Builder::from(&config).interceptor(Listed);
            aws_sdk_autoscaling::Client::from_conf(config.build())
        };
        self.shared.autoscaling.get_or_init(build).clone()
    }

    /// The EC2 client.
    pub fn ec2(&self) -> aws_sdk_ec2::Client {
        let build = || {
            let config = Site::over(self.shared.ec2_site.as_ref(), &self.shared.config);
            let config = aws_sdk_ec2::config::Builder::from(&config).interceptor(Listed);
            aws_sdk_ec2::Client::from_conf(config.build())
        };
        self.shared.ec2.get_or_init(build).clone()
    }

    pub(crate) fn sts(&self) -> aws_sdk_sts::Client {
        sts(&self.shared.config, self.shared.sts_site.as_ref())
    }

    /// The region.
    pub fn region(&self) -> &str {
        self.shared.config.region().map_or("", Region::as_ref)
    }

    /// The role that is assumed for the calls, if there is one.
    pub fn role_arn(&self) -> Option<&str> {
        self.shared.role_arn.as_deref()
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

pub(crate) fn ec2_once() -> aws_sdk_ec2::config::Builder {
    aws_sdk_ec2::Config::builder().retry_config(RetryConfig::disabled())
}

pub(crate) fn sts_once() -> aws_sdk_sts::config::Builder {
    aws_sdk_sts::Config::builder().retry_config(RetryConfig::disabled())
}

/// The default credentials chain, built when the first call needs it.
#[derive(Debug)]
struct LazyChain {
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
                let http = reach::credentials_http_client();
                let config = ProviderConfig::without_region().with_http_client(http);
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
