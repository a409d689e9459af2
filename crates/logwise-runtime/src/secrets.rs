//! Secrets that objects refer to: read by name, in the object's own namespace, kept for a moment only.

use crate::ErrorClass;
use crate::access::Refused;
use crate::chain;
use crate::conditions::Reason;
use crate::kubernetes::{KubernetesError, within};
use crate::report::Report;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long a Secret that was read is used: parts that look at the same time share one read, and a change is seen by
/// the next look.
const FRESH: Duration = Duration::from_secs(5);

/// Longest name of a Role that people are told to make.
const LONGEST_ROLE: usize = 63;

/// The contents of one Secret. Never shown.
pub struct SecretText {
    namespace: String,
    name: String,
    keys: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}/{}", self.namespace, self.name)
    }
}

impl SecretText {
    /// The text under `key`.
    ///
    /// # Errors
    /// [`Refused`] when there is none, or when it is no UTF-8 text.
    pub fn text(&self, key: &str) -> Result<Zeroizing<String>, Refused> {
        match self.optional(key)? {
            Some(text) => Ok(text),
            None => Err(self.refused(format!("Secret {} has no key `{key}`. Add it", self.name))),
        }
    }

    /// The text under `key`, if the Secret has that key.
    ///
    /// # Errors
    /// [`Refused`] when it is no UTF-8 text.
    pub fn optional(&self, key: &str) -> Result<Option<Zeroizing<String>>, Refused> {
        let Some(bytes) = self.keys.get(key) else { return Ok(None) };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(self.refused(format!("Key `{key}` of Secret {} is no UTF-8 text. Correct it", self.name))),
        }
    }

    /// Every key with its text.
    ///
    /// # Errors
    /// [`Refused`] when one is no UTF-8 text.
    pub fn texts(&self) -> Result<BTreeMap<String, Zeroizing<String>>, Refused> {
        self.keys.keys().map(|key| Ok((key.clone(), self.text(key)?))).collect()
    }

    fn refused(&self, message: String) -> Refused {
        Refused { reason: Reason::SecretNotFound, message, class: ErrorClass::NotFound }
    }
}

/// Looks at an object that names a Secret are no further apart: with the time for which one is remembered a changed Secret
/// works within a minute.
const LONGEST_LOOK: Duration = Duration::from_secs(50);

/// The report of a look at an object that names these Secrets; the next look is soon enough for a changed one.
pub fn sooner<T>(secrets: &[T], report: Report) -> Report {
    if secrets.is_empty() { report } else { Report { next_look: report.next_look.min(LONGEST_LOOK), ..report } }
}

/// Reads Secrets.
pub struct Secrets {
    client: Client,
    known: Arc<Known>,
}

/// Namespace and name.
type Key = (String, String);

/// What was read, and when.
#[derive(Default)]
struct Known(Mutex<HashMap<Key, (Instant, Arc<SecretText>)>>);

impl Known {
    fn get(&self, key: &Key, now: Instant) -> Option<Arc<SecretText>> {
        let known = self.lock();
        let (_, text) = known.get(key).filter(|(read, _)| is_fresh(*read, now))?;
        Some(text.clone())
    }

    fn put(&self, key: Key, read: Instant, text: Arc<SecretText>) {
        self.lock().insert(key, (read, text));
    }

    /// Forgets what is not used any more.
    fn sweep(&self, now: Instant) {
        self.lock().retain(|_, (read, _)| is_fresh(*read, now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (Instant, Arc<SecretText>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(read: Instant, now: Instant) -> bool {
    now.saturating_duration_since(read) < FRESH
}

impl Secrets {
    /// Reads with this client.
    pub fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    /// The Secret of that name. `field` is the path of the field that names it.
    ///
    /// # Errors
    /// [`Refused`]: it does not exist, or the operator may not read it; then with what to apply.
    pub async fn read(&self, namespace: &str, field: &str, name: &str) -> Result<Arc<SecretText>, Refused> {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(text) = self.known.get(&key, Instant::now()) {
            return Ok(text);
        }
        let asked = Instant::now();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = within("reading a Secret", api.get_opt(name)).await;
        let secret = match found {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                let message = format!("{field}: Secret {name} does not exist in this namespace. Create it");
                return Err(Refused { reason: Reason::SecretNotFound, message, class: ErrorClass::NotFound });
            }
            Err(error) => return Err(unread(namespace, field, name, &error)),
        };
        let data = secret.data.unwrap_or_default();
        let keys = data.into_iter().map(|(key, bytes)| (key, Zeroizing::new(bytes.0))).collect();
        let text = Arc::new(SecretText { namespace: namespace.to_owned(), name: name.to_owned(), keys });
        self.known.put(key, asked, text.clone());
        let known = self.known.clone();
        // Also when nobody asks for any Secret again.
        tokio::spawn(async move {
            tokio::time::sleep(FRESH).await;
            known.sweep(Instant::now());
        });
        Ok(text)
    }
}

fn unread(namespace: &str, field: &str, name: &str, error: &KubernetesError) -> Refused {
    if error.is_forbidden() {
        let (role, who) = (role(name), subject(&chain(error)));
        let message = format!(
            "{field}: the operator may not read Secret {name}. Apply deploy/components/tenant, or: kubectl -n {namespace} create role \
             {role} --verb=get --resource=secrets --resource-name={name} && kubectl -n {namespace} create \
             rolebinding {role} --role={role} {who}"
        );
        return Refused { reason: Reason::SecretForbidden, message, class: ErrorClass::Denied };
    }
    let message = format!("{field}: Secret {name} could not be read: {}. It is tried again", chain(error));
    Refused { reason: Reason::RetryingAfterError, message, class: ErrorClass::Transient }
}

/// Name of the Role that opens one Secret: one Role per Secret, so that each command works beside the others.
fn role(secret: &str) -> String {
    let name = format!("logwise-secret-{secret}");
    if name.len() <= LONGEST_ROLE {
        return name;
    }
    let hash: String = Sha256::digest(secret.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    // Names of Secrets are ASCII.
    let kept: String = name.chars().take(LONGEST_ROLE - 1 - hash.len()).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

/// Whom to bind the Role to, as kubectl takes it: the one that the API server names in its refusal.
fn subject(refusal: &str) -> String {
    let user = refusal.split("User \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._@:".contains(c));
    match user.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':')) {
        Some((namespace, name)) if plain(namespace) && plain(name) => format!("--serviceaccount={namespace}:{name}"),
        _ if plain(user) => format!("--user={user}"),
        _ => "--serviceaccount=logwise-system:logwise-operator".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_has_a_role_of_its_own_with_a_name_of_at_most_63_characters() {
        assert_eq!(role("kafka"), "logwise-secret-kafka");
        let long = |end: char| format!("{}{end}", "a".repeat(252));
        let (one, other) = (role(&long('b')), role(&long('c')));
        assert!(one.len() <= 63 && one.starts_with("logwise-secret-aaa"), "{one}");
        assert_ne!(one, other);
        let edge = "k".repeat(63 - "logwise-secret-".len());
        assert_eq!(role(&edge), format!("logwise-secret-{edge}"));
        assert!(role(&format!("{edge}k")).len() <= 63);
    }

    #[test]
    fn the_role_is_for_whom_the_api_server_refused() {
        let refusal =
            |user: &str| format!("secrets \"aws\" is forbidden: User \"{user}\" cannot get resource \"secrets\"");
        for (user, told) in [
            ("system:serviceaccount:logs:shard-b", "--serviceaccount=logs:shard-b"),
            ("ops@example.com", "--user=ops@example.com"),
            ("x; rm -rf", "--serviceaccount=logwise-system:logwise-operator"),
        ] {
            assert_eq!(subject(&refusal(user)), told);
        }
        assert_eq!(subject("forbidden"), "--serviceaccount=logwise-system:logwise-operator");
    }

    #[test]
    fn nothing_is_kept_longer_than_it_is_used() {
        let (known, start) = (Known::default(), Instant::now());
        let key = |name: &str| ("n".to_owned(), name.to_owned());
        let text = Arc::new(secret(&[("a", b"canary")]));
        known.put(key("a"), start, text.clone());
        assert!(known.get(&key("a"), start + FRESH - Duration::from_millis(1)).is_some());
        assert!(known.get(&key("a"), start + FRESH).is_none());
        known.put(key("b"), start + FRESH, text.clone());
        known.sweep(start + FRESH);
        assert_eq!((known.lock().len(), Arc::strong_count(&text)), (1, 2), "a is gone, with what it held");
    }

    fn secret(keys: &[(&str, &[u8])]) -> SecretText {
        let keys = keys.iter().map(|(key, bytes)| ((*key).to_owned(), Zeroizing::new(bytes.to_vec()))).collect();
        SecretText { namespace: "n".into(), name: "aws".into(), keys }
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_there_is_never_shown() {
        let secret = secret(&[("accessKeyId", b"canary"), ("broken", &[0xff])]);
        assert_eq!(secret.text("accessKeyId").unwrap().as_str(), "canary");
        assert_eq!(secret.optional("sessionToken").unwrap(), None);
        let missing = secret.text("secretAccessKey").unwrap_err();
        assert_eq!(missing.reason, Reason::SecretNotFound);
        assert!(missing.message.contains("secretAccessKey") && missing.message.contains("aws"), "{}", missing.message);
        assert!(secret.text("broken").unwrap_err().message.contains("UTF-8"));
        assert!(secret.texts().unwrap_err().message.contains("`broken`"));
        assert!(!format!("{secret:?}").contains("canary"));
    }
}
