//! Values of the configuration that check themselves.

use logwise_plan::endpoint::Range;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::str::FromStr;

/// A DNS label of at most 32 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Installation(String);

/// A Kubernetes namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

/// Name of a shard: a DNS label of at most 24 characters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Shard(String);

/// A label selector as kubectl takes it, such as `team=a,stage!=test`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LabelSelector(String);

/// 3 to 120 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct LeaseSeconds(u32);

/// `<IP address>:<port>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(pub SocketAddr);

/// `http://` or `https://` and a host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint(String);

/// Addresses that begin alike, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DeniedRange(pub Range);

/// 1 to 86,400 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Seconds(u32);

/// 1 to 31,536,000 seconds: at most a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct GraceSeconds(u32);

impl Installation {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Namespace {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Shard {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LabelSelector {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LeaseSeconds {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Endpoint {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Seconds {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl GraceSeconds {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

fn dns_label(text: &str, most: usize) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=most).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

impl TryFrom<String> for Installation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed =
            "must be a DNS label of 1 to 32 characters: lower-case letters, digits and '-', neither first nor last";
        dns_label(&text, 32).then_some(Self(text)).ok_or_else(|| allowed.to_owned())
    }
}

impl TryFrom<String> for Namespace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        dns_label(&text, 63)
            .then_some(Self(text))
            .ok_or_else(|| "must be a namespace name of 1 to 63 characters".to_owned())
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed =
            "must be a DNS label of 1 to 24 characters: lower-case letters, digits and '-', neither first nor last";
        dns_label(&text, 24).then_some(Self(text)).ok_or_else(|| allowed.to_owned())
    }
}

impl TryFrom<String> for LabelSelector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let term = |term: &str| {
            let term = term.trim().trim_start_matches('!');
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./=!".contains(c);
            !term.is_empty() && term.chars().all(allowed)
        };
        let good = text.len() <= 1_024 && text.split(',').all(term);
        good.then_some(Self(text)).ok_or_else(|| "must be a label selector such as team=a,stage!=test".to_owned())
    }
}

impl TryFrom<u32> for LeaseSeconds {
    type Error = String;

    fn try_from(seconds: u32) -> Result<Self, String> {
        (3..=120).contains(&seconds).then_some(Self(seconds)).ok_or_else(|| "must be from 3 to 120".to_owned())
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| "must be <IP address>:<port>, such as 0.0.0.0:8080".to_owned())
    }
}

impl TryFrom<String> for DeniedRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let good =
            host.is_some_and(|host| !host.is_empty() && !host.contains('@') && !host.contains(char::is_whitespace));
        good.then_some(Self(text))
            .ok_or_else(|| "must be an http or https URL of a host, without user or password".to_owned())
    }
}

impl TryFrom<u32> for Seconds {
    type Error = String;

    fn try_from(seconds: u32) -> Result<Self, String> {
        (1..=86_400).contains(&seconds).then_some(Self(seconds)).ok_or_else(|| "must be from 1 to 86400".to_owned())
    }
}

impl TryFrom<u32> for GraceSeconds {
    type Error = String;

    fn try_from(seconds: u32) -> Result<Self, String> {
        let good = (1..=31_536_000).contains(&seconds);
        good.then_some(Self(seconds)).ok_or_else(|| "must be from 1 to 31536000".to_owned())
    }
}

impl From<Installation> for String {
    fn from(installation: Installation) -> Self {
        installation.0
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

macro_rules! from_str_by_try_from {
    ($($name:ty),*) => {$(
        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::try_from(text.to_owned())
            }
        }
    )*};
}
from_str_by_try_from!(Installation, Namespace, Listen, Endpoint, Shard, LabelSelector);

impl FromStr for LeaseSeconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u32>().map_err(|_| "must be from 3 to 120".to_owned()).and_then(Self::try_from)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u32>().map_err(|_| "must be from 1 to 86400".to_owned()).and_then(Self::try_from)
    }
}

impl FromStr for GraceSeconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u32>().map_err(|_| "must be from 1 to 31536000".to_owned()).and_then(Self::try_from)
    }
}
