use aws_credential_types::Credentials;
use logwise_plan::grants::Endpoints;
use sha2::{Digest, Sha256};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use zeroize::Zeroizing;

/// Longest name of a role session, in characters.
const LONGEST_SESSION: usize = 64;

/// As whom the operator calls AWS for one pipeline.
#[derive(Clone, Debug)]
pub struct Identity {
    base: Base,
    role_arn: Option<String>,
    external_id: String,
    session: String,
    endpoints: Endpoints,
}

/// Credentials that the operator starts from.
#[derive(Clone, Debug)]
pub enum Base {
    /// The operator's own: environment, profile, web identity, container or instance.
    Ambient,
    /// Keys from a Secret.
    Static(StaticKeys),
}

/// The pipeline that calls are made for.
#[derive(Clone, Copy, Debug)]
pub struct Pipeline<'a> {
    /// Name of the operator's installation.
    pub installation: &'a str,
    /// Namespace of the LogwiseCluster.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl Pipeline<'_> {
    /// `<installation>/<namespace>/<name>`: what a role's trust policy has to ask for.
    pub fn external_id(&self) -> String {
        format!("{}/{}/{}", self.installation, self.namespace, self.name)
    }
}

impl Identity {
    /// Calls for `pipeline` with `base`, or in the role that is assumed with `base`. The external id is always
    /// `<installation>/<namespace>/<name>`, so that a role trusts one pipeline and no other.
    pub fn new(pipeline: Pipeline<'_>, base: Base, role_arn: Option<String>) -> Self {
        Self {
            base,
            role_arn,
            external_id: pipeline.external_id(),
            session: session(pipeline.installation, pipeline.name),
            endpoints: Endpoints::default(),
        }
    }

    /// At these endpoints instead of the usual ones.
    pub fn at(self, endpoints: Endpoints) -> Self {
        Self { endpoints, ..self }
    }

    /// Where it calls, if not where everybody does.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Where it starts from.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The role that is assumed, if there is one.
    pub fn role_arn(&self) -> Option<&str> {
        self.role_arn.as_deref()
    }

    /// What the role's trust policy has to ask for.
    pub fn external_id(&self) -> &str {
        &self.external_id
    }

    /// Name of the role session, as CloudTrail shows it.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Whether the calls are made with the operator's own credentials as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.role_arn.is_none() && matches!(self.base, Base::Ambient)
    }
}

/// `<installation>.<name>` in the characters that STS takes, cut.
fn session(installation: &str, name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' };
    format!("{installation}.{name}").chars().map(legal).take(LONGEST_SESSION).collect()
}

/// An access key. It is wiped from memory when dropped, and no text form shows it.
#[derive(Clone)]
pub struct StaticKeys {
    access_key_id: Zeroizing<String>,
    secret_access_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
}

/// A key that cannot be used. The text names which one, never what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} must be letters, digits and signs without white space or line break, and not be empty")]
pub struct MalformedKey(pub &'static str);

impl StaticKeys {
    /// # Errors
    /// [`MalformedKey`] with the key of the Secret: `accessKeyId`, `secretAccessKey` or `sessionToken`.
    pub fn new(
        access_key_id: String,
        secret_access_key: String,
        session_token: Option<String>,
    ) -> Result<Self, MalformedKey> {
        // Wrapped first, so that refused ones are wiped too.
        let keys = Self {
            access_key_id: Zeroizing::new(access_key_id),
            secret_access_key: Zeroizing::new(secret_access_key),
            session_token: session_token.map(Zeroizing::new),
        };
        let good = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !good(&keys.access_key_id) {
            return Err(MalformedKey("accessKeyId"));
        }
        if !good(&keys.secret_access_key) {
            return Err(MalformedKey("secretAccessKey"));
        }
        if keys.session_token.as_ref().is_some_and(|token| !good(token)) {
            return Err(MalformedKey("sessionToken"));
        }
        Ok(keys)
    }

    pub(crate) fn credentials(&self) -> Credentials {
        let token = self.session_token.as_ref().map(|token| token.as_str().to_owned());
        Credentials::new(self.access_key_id.as_str(), self.secret_access_key.as_str(), token, None, "Secret")
    }
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticKeys(redacted)")
    }
}

/// Tells identities apart without holding their keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

/// Drawn once per process: a fingerprint says nothing outside it.
#[derive(Clone, Copy)]
pub(crate) struct Salt([u64; 2]);

impl Salt {
    pub fn draw() -> Self {
        let random = RandomState::new();
        Self([0_u64, 1].map(|part| {
            let mut hasher = random.build_hasher();
            hasher.write_u64(part);
            hasher.finish()
        }))
    }

    /// Equal for equal identities, different when anything that decides about the calls differs.
    pub fn fingerprint(&self, identity: &Identity) -> Fingerprint {
        let mut hash = Sha256::new();
        for part in self.0 {
            hash.update(part.to_le_bytes());
        }
        // A length before each part, so that no two lists of parts look alike.
        let mut take = |part: Option<&str>| {
            hash.update(part.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
            hash.update(part.unwrap_or_default().as_bytes());
        };
        if let Base::Static(keys) = &identity.base {
            take(Some(&keys.access_key_id));
            take(Some(&keys.secret_access_key));
            take(keys.session_token.as_ref().map(|token| token.as_str()));
        }
        // The operator's own credentials are the same for every pipeline.
        if !identity.is_plain() {
            take(identity.role_arn());
            take(Some(identity.external_id()));
            take(Some(identity.session()));
        }
        let Endpoints { s3, auto_scaling, ec2, sts } = &identity.endpoints;
        [s3, auto_scaling, ec2, sts].into_iter().for_each(|url| take(url.as_deref()));
        Fingerprint(hash.finalize().into())
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const PIPELINE: Pipeline<'_> = Pipeline { installation: "prod", namespace: "shop", name: "orders" };

    fn keys(id: &str, secret: &str, token: Option<&str>) -> Base {
        Base::Static(StaticKeys::new(id.into(), secret.into(), token.map(str::to_owned)).unwrap())
    }

    #[test]
    fn the_external_id_names_the_pipeline_and_the_session_is_legal() {
        let identity = Identity::new(PIPELINE, Base::Ambient, Some("arn:aws:iam::123456789012:role/r".into()));
        assert_eq!((identity.external_id(), identity.session()), ("prod/shop/orders", "prod.orders"));
        let long = Pipeline { installation: &"i".repeat(32), namespace: "n", name: &"x".repeat(63) };
        let identity = Identity::new(long, Base::Ambient, None);
        assert_eq!(identity.session().len(), 64);
        assert_eq!(identity.external_id().len(), 32 + 1 + 1 + 1 + 63);
        assert_eq!(session("a b", "ü/:"), "a-b.---");
    }

    #[test]
    fn keys_are_shown_nowhere() {
        let identity = Identity::new(PIPELINE, keys("AKIACANARY", "s3cretCANARY", Some("t0kenCANARY")), None);
        let text = format!("{identity:?} {:?}", Salt::draw().fingerprint(&identity));
        assert!(!text.contains("CANARY") && text.contains("redacted"), "{text}");
    }

    #[test]
    fn keys_that_no_request_can_carry_are_refused_by_name() {
        let table = [
            ("", "secret", None, "accessKeyId"),
            ("AKIA CANARY", "secret", None, "accessKeyId"),
            ("AKIA", "CANARY\n", None, "secretAccessKey"),
            ("AKIA", "", None, "secretAccessKey"),
            ("AKIA", "CANARY\u{fc}", None, "secretAccessKey"),
            ("AKIA", "secret", Some("CANARY\r\nx: y"), "sessionToken"),
            ("AKIA", "secret", Some(""), "sessionToken"),
        ];
        for (id, secret, token, name) in table {
            let error = StaticKeys::new(id.into(), secret.into(), token.map(str::to_owned)).unwrap_err();
            assert_eq!(error, MalformedKey(name));
            assert!(!error.to_string().contains("CANARY"), "{error}");
        }
    }

    #[test]
    fn whatever_decides_about_the_calls_changes_the_fingerprint() {
        let salt = Salt::draw();
        let other = Pipeline { name: "returns", ..PIPELINE };
        let role = |name: &str| Some(format!("arn:aws:iam::123456789012:role/{name}"));
        let url = |name: &str| Some(format!("https://{name}.example.com"));
        let all = [
            Identity::new(PIPELINE, Base::Ambient, None),
            Identity::new(PIPELINE, Base::Ambient, role("a")),
            Identity::new(PIPELINE, Base::Ambient, role("b")),
            Identity::new(other, Base::Ambient, role("a")),
            Identity::new(PIPELINE, keys("AKIA", "secret", None), None),
            Identity::new(PIPELINE, keys("AKIA", "secret2", None), None),
            Identity::new(PIPELINE, keys("AKIAs", "ecret", None), None),
            Identity::new(PIPELINE, keys("AKIA", "secret", Some("t")), None),
            Identity::new(PIPELINE, keys("AKIA", "secret", None), role("a")),
            Identity::new(PIPELINE, Base::Ambient, None).at(Endpoints { s3: url("a"), ..Endpoints::default() }),
            Identity::new(PIPELINE, Base::Ambient, None).at(Endpoints { s3: url("b"), ..Endpoints::default() }),
            Identity::new(PIPELINE, Base::Ambient, None).at(Endpoints { sts: url("a"), ..Endpoints::default() }),
            Identity::new(PIPELINE, Base::Ambient, None).at(Endpoints { ec2: url("a"), ..Endpoints::default() }),
        ];
        let prints: HashSet<_> = all.iter().map(|identity| salt.fingerprint(identity)).collect();
        assert_eq!(prints.len(), all.len());
        for identity in &all {
            assert!(salt.fingerprint(identity) == salt.fingerprint(&identity.clone()));
            assert!(salt.fingerprint(identity) != Salt::draw().fingerprint(identity), "the salt counts");
        }
        let plain = Identity::new(other, Base::Ambient, None);
        assert!(salt.fingerprint(&plain) == salt.fingerprint(&all[0]), "own credentials are shared by all pipelines");
    }
}
