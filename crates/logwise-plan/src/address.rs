//! Hosts, ports and ARNs, read strictly: what can be written in two ways is accepted in one of them only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host that has exactly one meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A DNS name in lower case.
    Name(String),
    /// An address in its canonical form.
    Address(IpAddr),
}

/// Reads a host name, an IPv4 address, or an IPv6 address in square brackets.
pub(crate) fn host(text: &str) -> Result<Host, String> {
    if let Some(inner) = text.strip_prefix('[') {
        return inner.strip_suffix(']').ok_or_else(|| "has a bracket that is not closed".to_owned()).and_then(v6);
    }
    if text.is_empty() {
        return Err("has no host".to_owned());
    }
    if !text.is_ascii() {
        return Err("has a host with characters other than ASCII; write the name in its xn-- form".to_owned());
    }
    if text.contains(':') {
        return Err("has an IPv6 address without square brackets, or more than one port".to_owned());
    }
    if text.ends_with('.') {
        return Err("has a host that ends with a dot".to_owned());
    }
    let text = text.to_ascii_lowercase();
    if is_number(text.rsplit('.').next().unwrap_or_default()) {
        return v4(&text);
    }
    let good = |label: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        (1..=63).contains(&label.len())
            && label.chars().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > 253 || !text.split('.').all(good) {
        return Err("has a host that is neither a DNS name nor an IP address".to_owned());
    }
    Ok(Host::Name(text))
}

/// Whether programs take a name that ends like this for an IPv4 address, in whichever notation.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
    hexadecimal || (!label.is_empty() && label.chars().all(|c| c.is_ascii_digit()))
}

fn v4(text: &str) -> Result<Host, String> {
    let address = text.parse::<Ipv4Addr>().ok().filter(|address| address.to_string() == text);
    address
        .map(|address| Host::Address(address.into()))
        .ok_or_else(|| "has a disguised IPv4 address; write four decimal numbers without leading zeros".to_owned())
}

fn v6(text: &str) -> Result<Host, String> {
    let address = text.parse::<Ipv6Addr>().map_err(|_| "has no IPv6 address in its brackets".to_owned())?;
    if address.to_ipv4_mapped().is_some() {
        return Err("has an IPv4 address in IPv6 form; write it as IPv4".to_owned());
    }
    if address.to_string() != text.to_ascii_lowercase() {
        return Err(format!("has an IPv6 address in another than its canonical form, which is [{address}]"));
    }
    Ok(Host::Address(address.into()))
}

/// Reads a port: digits without sign and leading zeros.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0 && port.to_string() == text);
    port.ok_or_else(|| "has no port from 1 to 65535 without leading zeros".to_owned())
}

/// Reads `host:port`; the host is left as it is.
pub(crate) fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let (host, digits) = text.rsplit_once(':').ok_or_else(|| "has no port".to_owned())?;
    Ok((host, port(digits)?))
}

/// Parts of an ARN that names one thing in one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub partition: &'a str,
    pub service: &'a str,
    pub region: &'a str,
    pub account: &'a str,
    pub resource: &'a str,
}

/// Reads an ARN with a known partition and an account id.
pub(crate) fn arn(text: &str) -> Result<Arn<'_>, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [head, partition, service, region, account, resource] = parts[..] else {
        return Err("is no ARN: that has six parts between colons".to_owned());
    };
    if head != "arn" || !PARTITIONS.iter().any(|(known, _)| *known == partition) {
        return Err("is no ARN of a known partition, such as aws, aws-cn or aws-us-gov".to_owned());
    }
    if !is_account(account) {
        return Err("has no account id of 12 digits".to_owned());
    }
    Ok(Arn { partition, service, region, account, resource })
}

/// Partitions, with how their regions begin; aws has all the others.
const PARTITIONS: [(&str, &str); 8] = [
    ("aws-cn", "cn-"),
    ("aws-us-gov", "us-gov-"),
    ("aws-iso-b", "us-isob-"),
    ("aws-iso-e", "eu-isoe-"),
    ("aws-iso-f", "us-isof-"),
    ("aws-iso", "us-iso-"),
    ("aws-eusc", "eusc-"),
    ("aws", ""),
];

/// The partition that a region belongs to.
pub(crate) fn partition_of(region: &str) -> &'static str {
    PARTITIONS.iter().find(|(_, begin)| region.starts_with(begin)).map_or("aws", |(partition, _)| partition)
}

/// Whether this is the id of an AWS account.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.chars().all(|c| c.is_ascii_digit())
}

/// Whether this has the form of a region's code, such as `ap-south-1`.
pub(crate) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    let lower = |word: &&str| (2..=12).contains(&word.len()) && word.chars().all(|c| c.is_ascii_lowercase());
    let numbered = (1..=2).contains(&number.len()) && number.chars().all(|c| c.is_ascii_digit());
    numbered && (2..=3).contains(&words.len()) && words.iter().all(lower)
}

/// Reads the ARN of an IAM role.
pub(crate) fn role(text: &str) -> Result<Arn<'_>, String> {
    let arn = arn(text)?;
    let path = arn.resource.strip_prefix("role/").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_/-".contains(c);
    let named = !path.is_empty() && path.len() <= 576 && path.chars().all(allowed);
    let whole = !path.starts_with('/') && !path.ends_with('/') && !path.contains("//");
    if arn.service != "iam" || !arn.region.is_empty() || !named || !whole {
        return Err("is no ARN of an IAM role, such as arn:aws:iam::123456789012:role/logwise".to_owned());
    }
    Ok(arn)
}

/// Reads the ARN of an Auto Scaling group; gives region, account and name.
pub(crate) fn group(text: &str) -> Result<(&str, &str, &str), String> {
    let arn = arn(text)?;
    let inner = arn.resource.strip_prefix("autoScalingGroup:").and_then(|rest| rest.split_once(':'));
    let name = inner.filter(|(uuid, _)| is_uuid(uuid)).and_then(|(_, rest)| rest.strip_prefix("autoScalingGroupName/"));
    let fits = arn.service == "autoscaling" && is_region(arn.region) && arn.partition == partition_of(arn.region);
    name.filter(|name| fits && is_group_name(name)).map(|name| (arn.region, arn.account, name)).ok_or_else(|| {
        "is no ARN of an Auto Scaling group, which ends with autoScalingGroup:<id>:autoScalingGroupName/<name>"
            .to_owned()
    })
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// Whether an Auto Scaling group can have this name.
pub(crate) fn is_group_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic() && c != ':')
}

/// Whether a bucket can have this name.
pub(crate) fn is_bucket_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    (3..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-')
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && !text.contains("..")
        && text.parse::<Ipv4Addr>().is_err()
}

/// Whether this is the beginning of object keys in its one form: whole segments, none of them empty, `.` or `..`.
pub(crate) fn is_key_prefix(text: &str) -> bool {
    let Some(segments) = text.strip_suffix('/') else { return false };
    let good = |segment: &str| {
        !matches!(segment, "" | "." | "..") && segment.chars().all(|c| c.is_ascii_graphic() && c != '\\')
    };
    segments.split('/').all(good)
}
