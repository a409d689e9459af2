//! Where AWS is called for the namespaces of a grant, if not where it is called for everybody.

use super::{Grant, Grants, Namespace, Standing, standing_of};
use crate::Known;
use crate::endpoint::{self, Range};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// URLs of endpoints by what is called there, in the form that [`endpoint::check`] reads; absent: as for everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Endpoints {
    /// S3; bucket names stand in the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<String>,
    /// EC2 Auto Scaling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling: Option<String>,
    /// EC2, where the addresses of a group's instances are looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ec2: Option<String>,
    /// STS, where roles are assumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sts: Option<String>,
}

impl Endpoints {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Keys of a grant's `endpoints` with their URLs.
    fn named(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("s3", self.s3.as_deref()),
            ("autoScaling", self.auto_scaling.as_deref()),
            ("ec2", self.ec2.as_deref()),
            ("sts", self.sts.as_deref()),
        ]
    }
}

/// No endpoint can be chosen for a namespace. Display names the namespace and what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// Two grants for it name different ones for one key of `endpoints`.
    Two {
        /// Its name.
        namespace: String,
        /// The key.
        key: &'static str,
        /// Both, in their canonical form.
        urls: [String; 2],
    },
    /// A grant by label names endpoints, and the labels of the namespace could not be read.
    LabelsUnread {
        /// Its name.
        namespace: String,
        /// Why not.
        why: String,
    },
}

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Two { namespace, key, urls: [one, other] } => write!(
                f,
                "AWS is not granted to namespace {namespace}: two grants for it name different endpoints, {one} and {other}. \
                 Leave one in `endpoints.{key}` of the grants for this namespace in the operator's configuration"
            ),
            Self::LabelsUnread { namespace, why } => write!(
                f,
                "AWS is not granted to namespace {namespace}: a grant by label may name its endpoints, and the labels of the \
                 namespace could not be read: {why}. Let the operator list and watch namespaces, or name the namespace in \
                 the grant"
            ),
        }
    }
}

impl std::error::Error for NoEndpoint {}

/// Where AWS is called for `namespace`.
///
/// # Errors
/// [`NoEndpoint`]: the grants do not say it in one way.
pub fn endpoints(grants: &Grants, namespace: &Namespace) -> Result<Endpoints, NoEndpoint> {
    let mut chosen = Endpoints::default();
    for grant in grants.entries.iter().filter(|grant| !grant.endpoints.is_empty()) {
        match standing_of(grant, namespace) {
            Standing::Other => {}
            Standing::MayCover => {
                let why = match &namespace.labels {
                    Known::Unknown(why) => why.clone(),
                    Known::Known(_) | Known::Absent => "nobody has asked".to_owned(),
                };
                return Err(NoEndpoint::LabelsUnread { namespace: namespace.name.clone(), why });
            }
            Standing::Covers => {
                if let Some((key, urls)) = differing(&chosen, &grant.endpoints) {
                    return Err(NoEndpoint::Two { namespace: namespace.name.clone(), key, urls });
                }
                let Endpoints { s3, auto_scaling, ec2, sts } = grant.endpoints.clone();
                chosen = Endpoints {
                    s3: chosen.s3.or(s3),
                    auto_scaling: chosen.auto_scaling.or(auto_scaling),
                    ec2: chosen.ec2.or(ec2),
                    sts: chosen.sts.or(sts),
                };
            }
        }
    }
    Ok(chosen)
}

/// The first key for which both name an endpoint, and not the same one.
fn differing(one: &Endpoints, other: &Endpoints) -> Option<(&'static str, [String; 2])> {
    one.named().into_iter().zip(other.named()).find_map(|((key, one), (_, other))| {
        let urls = [canonical(one?), canonical(other?)];
        (urls[0] != urls[1]).then_some((key, urls))
    })
}

/// One text for one endpoint. What is none was refused when the configuration was read.
fn canonical(url: &str) -> String {
    endpoint::check(url, true).map_or_else(|_| "one that cannot be used".to_owned(), |endpoint| endpoint.to_string())
}

impl Grants {
    /// Names the first endpoint that may not be called, and why: [`endpoint::check`], and literal addresses in `denied`.
    ///
    /// # Errors
    /// Entry, key and problem. The URL is not repeated.
    pub fn check_endpoints(&self, allow_insecure: bool, denied: &[Range]) -> Result<(), String> {
        for (i, grant) in self.entries.iter().enumerate() {
            for (key, url) in grant.endpoints.named() {
                let checked = url.map_or(Ok(()), |url| endpoint::check_within(url, allow_insecure, denied).map(drop));
                checked.map_err(|problem| format!("grants[{i}].endpoints.{key}: {problem}"))?;
            }
        }
        Ok(())
    }

    /// Names the first two grants that are for one namespace, as far as names tell, and send it to different endpoints.
    pub(super) fn endpoints_agree(&self) -> Result<(), String> {
        for (i, grant) in self.entries.iter().enumerate() {
            for (j, before) in self.entries[..i].iter().enumerate() {
                if let (true, Some((key, [one, other]))) =
                    (share_a_namespace(before, grant), differing(&before.endpoints, &grant.endpoints))
                {
                    return Err(format!(
                        "grants[{i}].endpoints.{key}: must be {one} as in grants[{j}], which is for the same namespace, not {other}"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn share_a_namespace(one: &Grant, other: &Grant) -> bool {
    let (a, b) = (names(one), names(other));
    // Whoever names none has a selector, and `*` is for whatever that selects.
    a.contains("*") || b.contains("*") || a.intersection(&b).next().is_some()
}

/// Names of namespaces that the grant is for, as far as it names them.
fn names(grant: &Grant) -> BTreeSet<&str> {
    let selected = grant.namespace_selector.iter().filter(|selector| selector.match_labels.len() == 1);
    let by_label = selected.filter_map(|selector| selector.match_labels.get(super::METADATA_NAME));
    grant.namespaces.iter().chain(by_label).map(String::as_str).collect()
}
