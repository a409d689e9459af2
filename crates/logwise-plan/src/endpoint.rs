//! Which URLs the operator may call by its configuration, and which addresses no name may lead to.

use crate::address::{self, Host};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The only addresses that `allow_insecure` lets pass.
const LOOPBACK: &str = "a loopback address";

/// Where machines of the clouds ask about themselves: most of them, Alibaba, Azure, Oracle.
const METADATA: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// A URL of which scheme, host and port are all there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// A name in lower case, or an address in its canonical form; IPv6 in square brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.secure { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Reads the URL of an endpoint. `allow_insecure` admits http and the machine itself, for tests.
///
/// The error names what is wrong and what is allowed, and never repeats the URL, which may hold a password.
pub fn check(url: &str, allow_insecure: bool) -> Result<Endpoint, String> {
    read(url, allow_insecure)
        .map_err(|problem| format!("must be https://<host> or https://<host>:<port>; this URL {problem}"))
}

/// As [`check`]; an address in `denied` is refused, too.
///
/// # Errors
/// As [`check`].
pub fn check_within(url: &str, allow_insecure: bool, denied: &[Range]) -> Result<Endpoint, String> {
    let endpoint = check(url, allow_insecure)?;
    let address = endpoint.host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    match address.and_then(|address| denied_by(address, denied)) {
        Some(range) => Err(format!("must lead to no address in `aws.deniedRanges`; this URL leads into {range}")),
        None => Ok(endpoint),
    }
}

fn read(url: &str, allow_insecure: bool) -> Result<Endpoint, String> {
    if url.chars().any(|c| !c.is_ascii_graphic() || c == '\\') {
        return Err("has a blank, a backslash or a character other than ASCII".to_owned());
    }
    let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) if allow_insecure => (false, rest),
        (None, Some(_)) => return Err("is not encrypted".to_owned()),
        (None, None) => return Err("has another scheme".to_owned()),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(mark) = authority.chars().find(|c| "@?#/%".contains(*c)) {
        return Err(match mark {
            '@' => "has a user or a password".to_owned(),
            '?' | '#' => "has a query or a fragment".to_owned(),
            '%' => "has an escaped character".to_owned(),
            _ => "has a path".to_owned(),
        });
    }
    let (host, port) = host_and_port(authority)?;
    let host = address::host(host)?;
    let forbidden = match &host {
        Host::Name(name) => forbidden_name(name),
        Host::Address(address) => forbidden_ip(*address),
    };
    if let Some(what) = forbidden.filter(|what| !(allow_insecure && *what == LOOPBACK)) {
        return Err(format!("leads to {what}"));
    }
    let usual = if secure { 443 } else { 80 };
    Ok(Endpoint { secure, host: text(&host), port: port.unwrap_or(usual) })
}

/// Parts a host from the port behind it, if there is one; the colons of an IPv6 address stand in brackets.
fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    let begin = if authority.starts_with('[') { authority.find(']').unwrap_or(authority.len()) } else { 0 };
    let Some(colon) = authority[begin..].find(':') else { return Ok((authority, None)) };
    let (host, port) = authority.split_at(begin + colon);
    Ok((host, Some(address::port(&port[1..])?)))
}

fn text(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::Address(IpAddr::V4(address)) => address.to_string(),
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
    }
}

/// What a name stands for without asking anyone, if that must not be called.
fn forbidden_name(name: &str) -> Option<&'static str> {
    let is = |known: &str| name == known || name.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
    if is("localhost") || is("localdomain") || name == "ip6-loopback" || name == "ip6-localhost" {
        return Some(LOOPBACK);
    }
    let metadata = ["metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"];
    if name == "metadata" || metadata.iter().any(|known| is(known)) {
        return Some("the metadata of a machine");
    }
    // Names that DNS gives to machines themselves: EC2's, Azure's.
    if ["ec2.internal", "compute.internal", "internal.cloudapp.net"].iter().any(|known| is(known)) {
        return Some("a machine of a cloud");
    }
    let labels: Vec<&str> = name.split('.').collect();
    let api_server = labels[0] == "kubernetes" && labels.get(1).is_none_or(|label| *label == "default");
    let service = labels[1..].contains(&"svc");
    (api_server || service || is("cluster.local")).then_some("a service or a pod of the cluster")
}

/// Addresses that begin alike, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    bits: u8,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || "must be an address and a number of bits, such as 10.0.0.0/8 or fd00::/8".to_owned();
        let (first, bits) = text.split_once('/').ok_or_else(allowed)?;
        let range = Self { first: first.parse().map_err(|_| allowed())?, bits: bits.parse().map_err(|_| allowed())? };
        let canonical = range.first.to_string() == first.to_ascii_lowercase() && range.bits.to_string() == bits;
        let most = if range.first.is_ipv4() { 32 } else { 128 };
        if !canonical || range.bits > most {
            return Err(allowed());
        }
        if range.begin(range.first) != number(range.first) {
            return Err("must have no bits set behind the number of bits that count".to_owned());
        }
        Ok(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl Range {
    /// Whether packets to `address` end up in this range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let inside =
            |address: IpAddr| self.first.is_ipv4() == address.is_ipv4() && self.begin(address) == number(self.first);
        let behind = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => embedded(address),
        };
        inside(address) || behind.is_some_and(|address| inside(address.into()))
    }

    /// The bits that count, the others zero.
    fn begin(&self, address: IpAddr) -> u128 {
        let width = if self.first.is_ipv4() { 32 } else { 128 };
        let rest = u32::from(width - self.bits);
        // A shift by the whole width is none at all.
        number(address).checked_shr(rest).map_or(0, |begin| begin << rest)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The first of these ranges that `address` is in.
pub fn denied_by(address: IpAddr, ranges: &[Range]) -> Option<Range> {
    ranges.iter().copied().find(|range| range.contains(address))
}

/// What an address is, if no name may lead to it; to be asked of every answer of the resolver, right before connecting.
pub fn forbidden_ip(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

/// As [`forbidden_ip`]; with `allow_insecure` the machine itself may be called.
pub fn refused_ip(address: IpAddr, allow_insecure: bool) -> Option<&'static str> {
    forbidden_ip(address).filter(|what| !(allow_insecure && *what == LOOPBACK))
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [first, second, ..] = address.octets();
    if METADATA.contains(&address) {
        return Some("the metadata of a machine");
    }
    match (first, second) {
        (0, _) => Some("an unspecified address"),
        (127, _) => Some(LOOPBACK),
        (169, 254) => Some("a link-local address"),
        (224..=239, _) => Some("a multicast address"),
        (240..=255, _) => Some("a reserved address"),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let metadata = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    if address.is_unspecified() {
        return Some("an unspecified address");
    }
    if address.is_loopback() {
        return Some(LOOPBACK);
    }
    if metadata.contains(&address) {
        return Some("the metadata of a machine");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    // fe80::/10 and the older fec0::/10.
    if address.segments()[0] & 0xff80 == 0xfe80 {
        return Some("a link-local address");
    }
    embedded(address).and_then(forbidden_v4)
}

/// The IPv4 address that packets to this IPv6 address end up at: mapped, compatible, translated (NAT64) or 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let joined = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(joined(high, low)),
        [0x64, 0xff9b, 0 | 1, .., high, low] => Some(joined(high, low)),
        [0x2002, high, low, ..] => Some(joined(high, low)),
        _ => None,
    }
}
