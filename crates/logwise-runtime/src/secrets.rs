//! Secrets that objects refer to: read by name, in the object's own namespace, kept for a moment only.

use crate::ErrorClass;
use crate::access::Refused;
use crate::conditions::Reason;
use crate::kubernetes::{KubernetesError, within};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long a Secret that was read is used: parts that look at the same time share one read, and a change is seen by
/// the next look.
const FRESH: Duration = Duration::from_secs(5);

/// Secrets kept at most; beyond that all are forgotten, which costs one read each.
const MOST: usize = 1_000;

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

    fn refused(&self, message: String) -> Refused {
        Refused { reason: Reason::SecretNotFound, message, class: ErrorClass::NotFound }
    }
}

/// Reads Secrets.
pub struct Secrets {
    client: Client,
    known: Mutex<Known>,
}

/// What was read, and when, by namespace and name.
type Known = HashMap<(String, String), (Instant, Arc<SecretText>)>;

impl Secrets {
    /// Reads with this client.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// The Secret of that name. `field` is the path of the field that names it.
    ///
    /// # Errors
    /// [`Refused`]: it does not exist, or the operator may not read it; then with what to apply.
    pub async fn read(&self, namespace: &str, field: &str, name: &str) -> Result<Arc<SecretText>, Refused> {
        let key = (namespace.to_owned(), name.to_owned());
        let known = self.lock().get(&key).filter(|(read, _)| read.elapsed() < FRESH).map(|(_, text)| text.clone());
        if let Some(text) = known {
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
        let mut known = self.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, (asked, text.clone()));
        Ok(text)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unread(namespace: &str, field: &str, name: &str, error: &KubernetesError) -> Refused {
    if error.is_forbidden() {
        let message = format!(
            "{field}: the operator may not read Secret {name}. Apply deploy/components/tenant, or: kubectl -n {namespace} create role \
             logwise-secrets --verb=get --resource=secrets --resource-name={name} && kubectl -n {namespace} create \
             rolebinding logwise-secrets --role=logwise-secrets --serviceaccount=logwise-system:logwise-operator"
        );
        return Refused { reason: Reason::SecretForbidden, message, class: ErrorClass::Denied };
    }
    let message = format!("{field}: Secret {name} could not be read: {error}. It is tried again");
    Refused { reason: Reason::RetryingAfterError, message, class: ErrorClass::Transient }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(!format!("{secret:?}").contains("canary"));
    }
}
