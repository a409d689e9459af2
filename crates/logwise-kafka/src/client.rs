use crate::error::{Cause, KafkaError};
use crate::ffi::{self, Event};
use crate::memory::Memory;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as LibraryError, KafkaResult, RDKafkaErrorCode};
use rdkafka_sys::RDKafkaType;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long an answer of Kafka is waited for, unless said otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// Largest answer that is read, in bytes: some 100,000 partitions. Whoever runs the brokers must not fill the memory.
const LARGEST_ANSWER: u32 = 32 * 1024 * 1024;

/// Time-outs in a row after which the connection is made anew.
const MAX_UNANSWERED: u32 = 3;

/// All Kafka clients of the process: one for each distinct set of bootstrap servers, open while somebody uses it.
#[derive(Debug)]
pub struct KafkaClients {
    deadline: Duration,
    settings: BTreeMap<String, String>,
    open: Mutex<HashMap<Key, Weak<KafkaClient>>>,
}

/// Bootstrap servers, in order, and how to log in there.
type Key = (Vec<String>, Fingerprint);

/// Tells logins apart without holding them.
type Fingerprint = [u8; 32];

/// Settings by which one pipeline encrypts and logs in. Wiped from memory when dropped; no text form shows a value.
#[derive(Default)]
pub struct Login(BTreeMap<&'static str, Zeroizing<String>>);

impl Login {
    /// Adds a setting of librdkafka.
    pub fn set(&mut self, key: &'static str, value: Zeroizing<String>) {
        self.0.insert(key, value);
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut digest = Sha256::new();
        for (key, value) in &self.0 {
            for part in [key.as_bytes(), value.as_bytes()] {
                digest.update(part.len().to_be_bytes());
                digest.update(part);
            }
        }
        digest.finalize().into()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Login").field(&self.0.keys()).finish()
    }
}

impl KafkaClients {
    /// Clients that wait at most `deadline` for each answer (at least one second; librdkafka connects no faster).
    pub fn new(deadline: Duration) -> Self {
        Self { deadline: deadline.max(Duration::from_secs(1)), settings: BTreeMap::new(), open: Mutex::default() }
    }

    /// Adds a librdkafka setting to every client that is made from now on, such as `security.protocol`.
    ///
    /// With `debug`, librdkafka's own lines go to this process's log at debug level.
    #[must_use]
    pub fn with_setting(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The client for `bootstrap` (`host:port` each, in any order): the one in use, else a new one.
    ///
    /// Nobody is asked yet. Fails with [`KafkaError::CreateClient`] only.
    pub fn get(&self, bootstrap: &[String]) -> Result<Arc<KafkaClient>, KafkaError> {
        self.get_as(bootstrap, &Login::default())
    }

    /// [`Self::get`], encrypted and logged in as `login` says. Another login is another client: a changed password
    /// takes effect at the next look.
    pub fn get_as(&self, bootstrap: &[String], login: &Login) -> Result<Arc<KafkaClient>, KafkaError> {
        let mut servers = bootstrap.to_vec();
        servers.sort_unstable();
        servers.dedup();
        let mut open = lock(&self.open);
        let key = (servers, login.fingerprint());
        if let Some(client) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(client);
        }
        open.retain(|_, client| client.strong_count() > 0);
        let client = Arc::new(self.create(key.0.join(","), login)?);
        open.insert(key, Arc::downgrade(&client));
        Ok(client)
    }

    fn create(&self, at: String, login: &Login) -> Result<KafkaClient, KafkaError> {
        let failed = |source: Cause| KafkaError::CreateClient { at: at.clone(), source };
        if at.is_empty() {
            return Err(failed(Cause::new(RDKafkaErrorCode::InvalidArgument, "no bootstrap server is named")));
        }
        let config = self.config(&at, login);
        let connection = connect(&config).map_err(|error| failed(Cause::from_library(&error)))?;
        Ok(KafkaClient {
            at,
            deadline: self.deadline,
            config,
            connection: Mutex::new(Some(Arc::new(connection))),
            unanswered: AtomicU32::new(0),
            memory: Mutex::default(),
            cause: Mutex::new(None),
        })
    }

    fn config(&self, at: &str, login: &Login) -> ClientConfig {
        let wait = self.deadline.as_millis().to_string();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", at)
            .set("client.id", "logwise-operator")
            // Looks refresh what they need; a broker is asked nothing in between.
            .set("topic.metadata.refresh.interval.ms", "-1")
            .set("enable.metrics.push", "false")
            // A topic that vanishes between two requests must not come back by our asking for it.
            .set("allow.auto.create.topics", "false")
            .set("receive.message.max.bytes", LARGEST_ANSWER.to_string())
            .set("fetch.max.bytes", (LARGEST_ANSWER / 2).to_string())
            .set("socket.timeout.ms", &wait)
            .set("socket.connection.setup.timeout.ms", &wait)
            .set("socket.keepalive.enable", "true")
            // Shorter than any deadline, so that each look tries to connect at least once.
            .set("reconnect.backoff.max.ms", "500");
        for (key, value) in &self.settings {
            config.set(key, value);
        }
        for (key, value) in &login.0 {
            config.set(*key, value.as_str());
        }
        // At this level librdkafka says why connections fail, and nothing else in good times.
        let level = if self.settings.contains_key("debug") { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info };
        config.set_log_level(level);
        config
    }
}

impl Default for KafkaClients {
    fn default() -> Self {
        Self::new(DEFAULT_DEADLINE)
    }
}

/// A librdkafka client without a consumer group: it can only be asked.
pub(crate) type Connection = Client<DefaultClientContext>;

/// A connection to one Kafka cluster, shared by all who name the same bootstrap servers.
pub struct KafkaClient {
    at: String,
    deadline: Duration,
    config: ClientConfig,
    /// `None`: given up after too many time-outs; the next call makes it anew.
    connection: Mutex<Option<Arc<Connection>>>,
    unanswered: AtomicU32,
    /// What is remembered of the cluster from look to look.
    memory: Mutex<Memory>,
    /// What the network last said, kept because librdkafka tells the same trouble only once in 30 s.
    cause: Mutex<Option<Cause>>,
}

impl KafkaClient {
    /// The bootstrap servers, separated by commas.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// What is remembered of the cluster, as long as somebody uses this client.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    /// How long each answer is waited for.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Makes one blocking call; a failure without an answer carries what the network said about it.
    pub(crate) fn call<T>(&self, ask: impl FnOnce(&Connection) -> Result<T, Cause>) -> Result<T, Cause> {
        let connection = self.connection().map_err(|error| Cause::from_library(&error))?;
        let answer = ask(&connection);
        self.note_events(&connection);
        match answer {
            Ok(answer) => {
                self.unanswered.store(0, Ordering::Relaxed);
                *lock(&self.cause) = None;
                Ok(answer)
            }
            Err(cause) if cause.is_unanswered() => Err(self.not_answered(cause, &connection)),
            Err(cause) => {
                self.unanswered.store(0, Ordering::Relaxed);
                Err(cause)
            }
        }
    }

    /// A second, short-lived client for calls that change something.
    pub(crate) fn admin(&self) -> KafkaResult<AdminClient<DefaultClientContext>> {
        self.config.create()
    }

    /// A short-lived client of its own for reading records, with further settings; to be closed with [`close`].
    pub(crate) fn reader(&self, settings: &[(&str, &str)]) -> KafkaResult<Connection> {
        let mut config = self.config.clone();
        for (key, value) in settings {
            config.set(*key, *value);
        }
        connect(&config)
    }

    /// Remembers why connections fail, as the queue that nobody else reads tells it.
    pub(crate) fn note_events(&self, connection: &Connection) {
        for event in ffi::drain_events(connection) {
            match event {
                // Says less than the failures it sums up.
                Event::Error(RDKafkaErrorCode::AllBrokersDown, _) => {}
                Event::Error(code, text) => *lock(&self.cause) = Some(Cause::from_event(code, &text)),
                Event::Log(facility, text) => {
                    tracing::debug!(target: "librdkafka", facility, "{text}");
                    // A mere disconnection is only logged; an error event, if there is one, knows more.
                    if facility == "FAIL" {
                        let cause = || Cause::from_event(RDKafkaErrorCode::BrokerTransportFailure, &text);
                        lock(&self.cause).get_or_insert_with(cause);
                    }
                }
            }
        }
    }

    /// What the network said about a call without an answer; else what the call itself returned.
    pub(crate) fn explain(&self, cause: Cause) -> Cause {
        lock(&self.cause).clone().unwrap_or(cause)
    }

    fn not_answered(&self, cause: Cause, connection: &Arc<Connection>) -> Cause {
        if self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_UNANSWERED {
            let mut current = lock(&self.connection);
            // A slow call on an earlier connection says nothing about the present one.
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
                *current = None;
                self.unanswered.store(0, Ordering::Relaxed);
            }
        }
        self.explain(cause)
    }

    fn connection(&self) -> KafkaResult<Arc<Connection>> {
        let mut current = lock(&self.connection);
        if let Some(connection) = current.as_ref() {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(connect(&self.config)?);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }
}

impl Drop for KafkaClient {
    fn drop(&mut self) {
        let connection = lock(&self.connection).take();
        close(connection);
    }
}

impl fmt::Debug for KafkaClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaClient").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Runs blocking calls on a thread that may block.
pub(crate) async fn off_the_async_threads<T: Send + 'static>(
    client: &Arc<KafkaClient>,
    calls: impl FnOnce(&KafkaClient) -> T + Send + 'static,
) -> Result<T, Cause> {
    let client = Arc::clone(client);
    tokio::task::spawn_blocking(move || calls(&client))
        .await
        .map_err(|error| Cause::new(RDKafkaErrorCode::Fail, format!("the call was abandoned: {error}")))
}

/// Closing waits for librdkafka's threads, and this may run on a thread of the async runtime, or of a call that ends.
pub(crate) fn close(connection: impl Send + 'static) {
    let _ = thread::Builder::new().name("kafka-close".into()).spawn(move || drop(connection));
}

fn connect(config: &ClientConfig) -> Result<Connection, LibraryError> {
    let native = config.create_native_config()?;
    Client::new(config, native, RDKafkaType::RD_KAFKA_CONSUMER, DefaultClientContext)
}

/// What the mutex guards is replaced as a whole, so a panic elsewhere leaves it usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_same_servers_in_any_order_share_a_client() {
        let clients = KafkaClients::default();
        let one = clients.get(&servers(&["127.0.0.1:1", "127.0.0.1:2"])).unwrap();
        let same = clients.get(&servers(&["127.0.0.1:2", "127.0.0.1:1", "127.0.0.1:2"])).unwrap();
        let other = clients.get(&servers(&["127.0.0.1:1"])).unwrap();
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        assert_eq!(one.at(), "127.0.0.1:1,127.0.0.1:2");
    }

    #[test]
    fn a_client_is_closed_when_nobody_needs_it() {
        let clients = KafkaClients::default();
        let client = clients.get(&servers(&["127.0.0.1:1"])).unwrap();
        let watch = Arc::downgrade(&client);
        drop(client);
        assert!(watch.upgrade().is_none());
        let _again = clients.get(&servers(&["127.0.0.1:2"])).unwrap();
        assert_eq!(lock(&clients.open).len(), 1, "the closed one is forgotten");
    }

    #[test]
    fn settings_that_cannot_be_are_refused_at_once() {
        let none = KafkaClients::default().get(&[]).unwrap_err();
        assert!(none.message().contains("no bootstrap server is named"), "{}", none.message());
        let clients = KafkaClients::default().with_setting("security.protocol", "carrier-pigeon");
        let error = clients.get(&servers(&["127.0.0.1:1"])).unwrap_err();
        assert!(error.message().contains("security.protocol"), "{}", error.message());
        assert_eq!(error.class(), logwise_runtime::ErrorClass::Invalid);
    }

    #[test]
    fn three_calls_in_a_row_without_an_answer_make_a_new_connection() {
        let clients = KafkaClients::default();
        let client = clients.get(&servers(&["127.0.0.1:1"])).unwrap();
        let first = client.connection().unwrap();
        let silent = |_: &Connection| Err::<(), _>(Cause::from_code(RDKafkaErrorCode::OperationTimedOut));
        let refused = |_: &Connection| Err::<(), _>(Cause::from_code(RDKafkaErrorCode::PolicyViolation));
        client.call(silent).unwrap_err();
        client.call(silent).unwrap_err();
        client.call(refused).unwrap_err();
        client.call(silent).unwrap_err();
        client.call(silent).unwrap_err();
        assert!(Arc::ptr_eq(&first, &client.connection().unwrap()), "a reply in between starts the count anew");
        client.call(silent).unwrap_err();
        assert!(!Arc::ptr_eq(&first, &client.connection().unwrap()));
    }
}
