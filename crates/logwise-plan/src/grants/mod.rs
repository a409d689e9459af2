//! Which namespaces may refer to what outside the cluster. Decided before the first call, from the operator's own
//! configuration: a namespaced object cannot widen it.

mod endpoints;
mod validate;

use crate::{Known, address};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

pub use endpoints::{Endpoints, NoEndpoint, endpoints};
pub use validate::METADATA_NAME;

/// All grants. None at all: everything is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants {
    /// The grants, in the order of the configuration; the order means nothing.
    pub entries: Vec<Grant>,
}

/// What some namespaces may refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Grant {
    /// Names of namespaces; `*` is every namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces by their labels, besides those that are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// S3 buckets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<BucketGrant>,
    /// EC2 Auto Scaling groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auto_scaling_groups: Vec<GroupGrant>,
    /// ARNs of IAM roles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Kafka brokers as `host:port`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kafka: Vec<String>,
    /// Spark masters as `host:port`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spark: Vec<String>,
    /// Where AWS is called for these namespaces.
    #[serde(skip_serializing_if = "Endpoints::is_empty")]
    pub endpoints: Endpoints,
}

/// Namespaces that have all of these labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// Keys and values.
    pub match_labels: BTreeMap<String, String>,
}

/// A bucket, or the part of it under one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BucketGrant {
    /// Its name.
    pub name: String,
    /// Beginning of the keys, ends in `/`; absent: all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The account that owns it, 12 digits: sent along as the expected owner.
    #[serde(rename = "accountID")]
    pub account_id: String,
}

/// An Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum GroupGrant {
    /// By its ARN.
    Arn(String),
    /// By its name.
    Named(NamedGroup),
}

/// An Auto Scaling group by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedGroup {
    /// Region of the group; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Its name.
    pub name: String,
}

impl<'de> Deserialize<'de> for GroupGrant {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EitherForm)
    }
}

/// Reads a group from a text or from a map, with the mistakes of a map named.
struct EitherForm;

impl<'de> serde::de::Visitor<'de> for EitherForm {
    type Value = GroupGrant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ARN of an Auto Scaling group, or its `name` with or without `region`")
    }

    fn visit_str<E: serde::de::Error>(self, arn: &str) -> Result<GroupGrant, E> {
        Ok(GroupGrant::Arn(arn.to_owned()))
    }

    fn visit_map<M: serde::de::MapAccess<'de>>(self, map: M) -> Result<GroupGrant, M::Error> {
        NamedGroup::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(GroupGrant::Named)
    }
}

/// The namespace of the object that refers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels; only grants by label need them, and unknown labels never grant.
    pub labels: Known<BTreeMap<String, String>>,
}

/// What an object refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Reference {
    /// A bucket and the beginnings of the keys in it that matter.
    Bucket {
        /// Its name.
        name: String,
        /// Beginnings of keys; none: all of the bucket.
        prefixes: Vec<String>,
    },
    /// An Auto Scaling group.
    Group {
        /// Its region.
        region: String,
        /// Its name.
        name: String,
    },
    /// The ARN of an IAM role.
    Role(String),
    /// A Kafka broker, `host:port`.
    Kafka(String),
    /// A Spark master, `host:port`.
    Spark(String),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket { name, .. } => write!(f, "bucket {name}"),
            Self::Group { region, name } => write!(f, "Auto Scaling group {name} in region {region}"),
            Self::Role(arn) => write!(f, "role {arn}"),
            Self::Kafka(address) => write!(f, "Kafka broker {address}"),
            Self::Spark(address) => write!(f, "Spark master {address}"),
        }
    }
}

impl Reference {
    /// The key of a grant that lists such things.
    fn key(&self) -> &'static str {
        match self {
            Self::Bucket { .. } => "buckets",
            Self::Group { .. } => "autoScalingGroups",
            Self::Role(_) => "roles",
            Self::Kafka(_) => "kafka",
            Self::Spark(_) => "spark",
        }
    }

    /// What is wrong with its form, if anything: no grant can name it then.
    fn malformed(&self) -> Option<String> {
        match self {
            Self::Bucket { name, .. } if !address::is_bucket_name(name) => {
                Some("it is not the name of a bucket".to_owned())
            }
            Self::Bucket { prefixes, .. } => {
                let bad = prefixes.iter().find(|prefix| !address::is_key_prefix(prefix))?;
                Some(format!("prefix {bad:?} does not consist of whole segments that end with '/'"))
            }
            Self::Group { region, .. } if !address::is_region(region) => {
                Some("its region has no code of AWS".to_owned())
            }
            Self::Group { name, .. } => {
                (!address::is_group_name(name)).then(|| "it is not the name of a group".to_owned())
            }
            Self::Role(arn) => address::role(arn).err().map(|problem| format!("it {problem}")),
            Self::Kafka(text) | Self::Spark(text) => Endpoint::parse(text).err().map(|problem| format!("it {problem}")),
        }
    }
}

/// Host and port in their one meaning.
#[derive(PartialEq, Eq)]
struct Endpoint(address::Host, u16);

impl Endpoint {
    fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = address::host_and_port(text)?;
        Ok(Self(address::host(host)?, port))
    }
}

/// The reference is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// The accounts of which one must own the thing; none: the grants do not say.
    pub accounts: Vec<String>,
}

/// The reference is refused. Display names the thing, the namespace and what to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGranted {
    /// Namespace of the object.
    pub namespace: String,
    /// What it refers to.
    pub reference: Reference,
    /// Why it is refused.
    pub why: Refusal,
}

/// Why a reference is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No grant lists it for the namespace.
    Unlisted,
    /// The bucket is granted, one of the prefixes is not.
    Prefix(String),
    /// Its form is such that no grant can name it; the text says what is wrong.
    Malformed(String),
    /// A grant by label may list it, and the namespace's labels could not be read; the text says why.
    LabelsUnread(String),
}

impl fmt::Display for NotGranted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, reference, why } = self;
        let key = reference.key();
        match why {
            Refusal::Unlisted => write!(
                f,
                "{reference} is not granted to namespace {namespace}. Add it to `{key}` of a grant for this namespace in \
                 the operator's configuration, or refer to one that is granted"
            ),
            Refusal::Prefix(prefix) => write!(
                f,
                "Prefix {prefix} of {reference} is not granted to namespace {namespace}. Add it to `{key}` of a grant for \
                 this namespace in the operator's configuration, or use a prefix that is granted"
            ),
            Refusal::Malformed(problem) => write!(
                f,
                "{reference} is not granted to namespace {namespace}: {problem}, so no grant can name it. Write it in its \
                 plain form and add that to `{key}` of a grant for this namespace in the operator's configuration"
            ),
            Refusal::LabelsUnread(why) => write!(
                f,
                "{reference} is not granted to namespace {namespace} by name, and the labels of the namespace could not be \
                 read: {why}. Let the operator list and watch namespaces, or name the namespace in the grant"
            ),
        }
    }
}

impl std::error::Error for NotGranted {}

/// Whether an object in `namespace` may refer to `reference`.
pub fn decide(grants: &Grants, namespace: &Namespace, reference: &Reference) -> Result<Granted, NotGranted> {
    if grants.entries.is_empty() {
        return Ok(Granted::default());
    }
    let refused = |why| NotGranted { namespace: namespace.name.clone(), reference: reference.clone(), why };
    if let Some(problem) = reference.malformed() {
        return Err(refused(Refusal::Malformed(problem)));
    }
    let with = |standing: Standing| -> Vec<&Grant> {
        grants.entries.iter().filter(|grant| standing_of(grant, namespace) >= standing).collect()
    };
    let why = match listed(&with(Standing::Covers), reference) {
        Ok(granted) => return Ok(granted),
        Err(why) => why,
    };
    match &namespace.labels {
        Known::Unknown(unread) if listed(&with(Standing::MayCover), reference).is_ok() => {
            Err(refused(Refusal::LabelsUnread(unread.clone())))
        }
        _ => Err(refused(why)),
    }
}

/// How a grant stands to a namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Other,
    MayCover,
    Covers,
}

fn standing_of(grant: &Grant, namespace: &Namespace) -> Standing {
    if grant.namespaces.iter().any(|name| name == "*" || *name == namespace.name) {
        return Standing::Covers;
    }
    let Some(selector) = grant.namespace_selector.as_ref().filter(|s| !s.match_labels.is_empty()) else {
        return Standing::Other;
    };
    let standing = |(key, value): (&String, &String)| match &namespace.labels {
        // The API server sets this label to the name; so it need not be read, and nobody can forge it.
        _ if key == METADATA_NAME && *value == namespace.name => Standing::Covers,
        _ if key == METADATA_NAME => Standing::Other,
        Known::Known(labels) if labels.get(key) == Some(value) => Standing::Covers,
        Known::Unknown(_) => Standing::MayCover,
        Known::Known(_) | Known::Absent => Standing::Other,
    };
    selector.match_labels.iter().map(standing).min().unwrap_or(Standing::Other)
}

/// Whether the grants together list the reference, whose form is sound.
fn listed(grants: &[&Grant], reference: &Reference) -> Result<Granted, Refusal> {
    let some = |found: bool| if found { Ok(Granted::default()) } else { Err(Refusal::Unlisted) };
    match reference {
        Reference::Bucket { name, prefixes } => bucket(grants, name, prefixes),
        Reference::Group { region, name } => {
            let all = grants.iter().flat_map(|grant| &grant.auto_scaling_groups);
            group_granted(all.filter_map(|group| account_of(group, region, name)).collect())
        }
        Reference::Role(arn) => some(grants.iter().any(|grant| grant.roles.contains(arn))),
        Reference::Kafka(text) => some(grants.iter().any(|grant| has_address(&grant.kafka, text))),
        Reference::Spark(text) => some(grants.iter().any(|grant| has_address(&grant.spark, text))),
    }
}

fn has_address(list: &[String], text: &str) -> bool {
    let Ok(wanted) = Endpoint::parse(text) else { return false };
    list.iter().any(|granted| Endpoint::parse(granted).is_ok_and(|granted| granted == wanted))
}

/// The account in which this grants the group, if it does; the inner `None`: any.
fn account_of(group: &GroupGrant, region: &str, name: &str) -> Option<Option<String>> {
    match group {
        GroupGrant::Arn(arn) => {
            let (in_region, account, named) = address::group(arn).ok()?;
            (in_region == region && named == name).then(|| Some(account.to_owned()))
        }
        GroupGrant::Named(named) => {
            let fits = named.region.as_ref().is_none_or(|granted| granted == region) && named.name == name;
            fits.then_some(None)
        }
    }
}

fn group_granted(accounts: Vec<Option<String>>) -> Result<Granted, Refusal> {
    if accounts.is_empty() {
        return Err(Refusal::Unlisted);
    }
    // Grants add up: one that names no account admits all.
    Ok(Granted { accounts: accounts.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default() })
}

fn bucket(grants: &[&Grant], name: &str, prefixes: &[String]) -> Result<Granted, Refusal> {
    let buckets: Vec<&BucketGrant> =
        grants.iter().flat_map(|grant| &grant.buckets).filter(|bucket| bucket.name == name).collect();
    let first = buckets.first().ok_or(Refusal::Unlisted)?;
    let whole = buckets.iter().any(|bucket| bucket.prefix.is_none());
    let covers = |granted: &str, prefix: &str| address::is_key_prefix(granted) && prefix.starts_with(granted);
    let covered =
        |prefix: &String| whole || buckets.iter().any(|b| b.prefix.as_ref().is_some_and(|p| covers(p, prefix)));
    if let Some(prefix) = prefixes.iter().find(|prefix| !covered(prefix)) {
        return Err(Refusal::Prefix(prefix.clone()));
    }
    if prefixes.is_empty() && !whole {
        return Err(Refusal::Unlisted);
    }
    Ok(Granted { accounts: vec![first.account_id.clone()] })
}
