//! Addresses that the operator may be configured to call instead of AWS's own.

use http::Uri;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A base URL from the operator's configuration, checked: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: &'static str,
    /// Lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
}

/// The URL may not be used as endpoint. The text names the fact and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoint: {0}")]
pub struct EndpointRefused(String);

impl Endpoint {
    /// Reads `https://<host>[:<port>][/]`. `insecure` also allows `http://` and loopback addresses.
    ///
    /// # Errors
    /// Anything else: user-info, path, query, an IP address that is not written in its usual form, or one that
    /// [`forbidden_ip`] names.
    pub fn parse(url: &str, insecure: bool) -> Result<Self, EndpointRefused> {
        let refused = |why: &str| EndpointRefused(why.to_owned());
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains(['#', '\\', '%']) {
            return Err(refused("must be ASCII without white space, '#', '\\' and '%'"));
        }
        let uri: Uri = url.parse().map_err(|_| refused("must be a URL such as https://s3.example.com"))?;
        let scheme = match uri.scheme_str() {
            Some("https") => "https",
            Some("http") if insecure => "http",
            Some("http") => return Err(refused("must be https; plain HTTP needs --allow-insecure-endpoints")),
            _ => return Err(refused("must begin with https://")),
        };
        let authority = uri.authority().ok_or_else(|| refused("must name a host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("must not contain a user or a password"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refused("must end after host and port, without path and query"));
        }
        let port = match authority.port() {
            Some(port) if port.as_u16() > 0 && port.as_str() == port.as_u16().to_string() => port.as_u16(),
            Some(_) => return Err(refused("must have a port from 1 to 65535")),
            None if authority.as_str().ends_with(':') => return Err(refused("must have a port after the colon")),
            None => default_port(scheme),
        };
        let host = authority.host().to_ascii_lowercase();
        match literal(&host).map_err(refused)? {
            Some(ip) => allowed(ip, insecure).map_err(|kind| EndpointRefused(format!("must not be {kind}")))?,
            None if is_name(&host) => {}
            None => return Err(refused("must name a host in letters, digits, '-' and '.', without a final dot")),
        }
        Ok(Self { scheme, host, port })
    }

    /// The URL.
    pub fn url(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.port)
    }

    /// Whether `uri` leads to this endpoint and nowhere else.
    pub(crate) fn is_target(&self, uri: &Uri) -> bool {
        let port = uri.port_u16().unwrap_or_else(|| default_port(uri.scheme_str().unwrap_or_default()));
        uri.scheme_str() == Some(self.scheme)
            && uri.host().is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
            && port == self.port
    }
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "http" { 80 } else { 443 }
}

/// The address that the host is, if it is one; a host that some resolvers read as an address and others do not is an
/// error (octal, hexadecimal and short forms).
fn literal(host: &str) -> Result<Option<IpAddr>, &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let ip: Ipv6Addr = inner.parse().map_err(|_| "must have an IPv6 address between the brackets, without zone")?;
        return if ip.to_string() == inner {
            Ok(Some(ip.into()))
        } else {
            Err("must have the IPv6 address in its shortest form")
        };
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    let looks_numeric = last.starts_with("0x") || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
    match host.parse::<Ipv4Addr>() {
        Ok(ip) => Ok(Some(ip.into())),
        Err(_) if looks_numeric => Err("must have an IPv4 address as four decimal numbers"),
        Err(_) => Ok(None),
    }
}

fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// Whether a connection to that address is allowed; loopback only when `insecure`.
pub(crate) fn allowed(ip: IpAddr, insecure: bool) -> Result<(), &'static str> {
    match forbidden_ip(ip) {
        Some(kind) if !(insecure && ip.is_loopback()) => Err(kind),
        _ => Ok(()),
    }
}

/// What kind of address it is, if no endpoint may have it.
pub fn forbidden_ip(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => forbidden_v4(ip),
        IpAddr::V6(ip) => forbidden_v6(ip),
    }
}

fn forbidden_v4(ip: Ipv4Addr) -> Option<&'static str> {
    // Where clouds answer with credentials to whoever asks, outside the link-local range.
    let metadata = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
    match ip.octets() {
        [0, ..] => Some("an unspecified address"),
        [127, ..] => Some("a loopback address"),
        [169, 254, ..] => Some("a link-local address"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ if metadata.contains(&ip) => Some("a metadata address"),
        _ => None,
    }
}

fn forbidden_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let embedded = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        forbidden_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        // Mapped, compatible and translated: they are IPv4 addresses in disguise.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => {
            Some("an IPv4 address in IPv6 form")
        }
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [0xfd00, 0xec2, ..] => Some("a metadata address"),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some("a link-local address"),
        [first, ..] if first & 0xff00 == 0xff00 => Some("a multicast address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_endpoints_are_taken() {
        let table = [
            ("https://s3.example.com", "https://s3.example.com:443"),
            ("https://S3.Example.com/", "https://s3.example.com:443"),
            ("https://minio:9000", "https://minio:9000"),
            ("https://10.1.2.3", "https://10.1.2.3:443"),
            ("https://192.168.0.1:8443/", "https://192.168.0.1:8443"),
            ("https://[2001:db8::1]:9000", "https://[2001:db8::1]:9000"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example:443"),
            ("https://3com.example", "https://3com.example:443"),
        ];
        for (url, normal) in table {
            assert_eq!(Endpoint::parse(url, false).map(|e| e.url()).as_deref(), Ok(normal), "{url}");
        }
        for url in ["http://127.0.0.1:4566", "http://localhost:4566", "https://[::1]:4566", "http://10.0.0.1"] {
            assert!(Endpoint::parse(url, true).is_ok(), "{url}");
        }
    }

    /// Tricks with the address that no switch allows.
    const NEVER: [&str; 44] = [
        "",
        "s3.example.com",
        "//s3.example.com",
        "/",
        "https://",
        "https:///x",
        "ftp://s3.example.com",
        "file:///etc/passwd",
        "https://user@s3.example.com",
        "https://user:password@s3.example.com",
        "https://s3.example.com@169.254.169.254",
        "https://s3.example.com:443@169.254.169.254/",
        "https://s3.example.com/path",
        "https://s3.example.com?x=1",
        "https://s3.example.com/?x=1",
        "https://s3.example.com#x",
        "https://s3.example.com\\@169.254.169.254",
        "https://s3.example.com%2f@x",
        "https://s3%2eexample.com",
        "https://s3.example.com.",
        "https://.example.com",
        "https://s3..example.com",
        "https://-s3.example.com",
        "https://s3_x.example.com",
        "https://s3.example.com:0",
        "https://s3.example.com:",
        "https://s3.example.com:65536",
        "https://s3.example.com:0443",
        "https://s3.example.com ",
        " https://s3.example.com",
        "https://s3.example.com\r\nx: y",
        "https://b\u{fc}cher.example",
        "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "https://169.254.169.254",
        "https://2852039166",
        "https://0xa9fea9fe",
        "https://0251.0376.0251.0376",
        "https://169.254.43518",
        "https://[fe80::1%25eth0]",
        "https://[::ffff:169.254.169.254]",
        "https://[::ffff:a9fe:a9fe]",
        "https://[64:ff9b::a9fe:a9fe]",
        "https://[fd00:ec2::254]",
        "https://0.0.0.0",
    ];

    /// What only the insecure switch allows.
    const INSECURE_ONLY: [&str; 5] = [
        "http://s3.example.com",
        "https://127.0.0.1",
        "https://127.9.9.9:4566",
        "https://[::1]",
        "http://127.0.0.1:4566",
    ];

    #[test]
    fn tricks_are_refused() {
        for url in NEVER {
            for insecure in [false, true] {
                assert!(Endpoint::parse(url, insecure).is_err(), "{url}");
            }
        }
        for url in INSECURE_ONLY {
            assert!(Endpoint::parse(url, false).is_err() && Endpoint::parse(url, true).is_ok(), "{url}");
        }
        for url in
            ["https://0177.0.0.1", "https://127.1", "https://0x7f.1", "https://[::127.0.0.1]", "https://[0:0::1]"]
        {
            assert!(Endpoint::parse(url, true).is_err(), "{url}");
        }
    }

    #[test]
    fn every_kind_of_forbidden_address_is_named() {
        let table = [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("127.0.0.1", "loopback"),
            ("169.254.170.2", "link-local"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("100.100.100.200", "metadata"),
            ("168.63.129.16", "metadata"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::ffff:10.0.0.1", "IPv6 form"),
            ("::10.0.0.1", "IPv6 form"),
            ("::ffff:0:10.0.0.1", "IPv6 form"),
            ("64:ff9b::127.0.0.1", "loopback"),
            ("2002:a9fe:a9fe::1", "link-local"),
            ("fd00:ec2::23", "metadata"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("ff02::1", "multicast"),
        ];
        for (ip, kind) in table {
            assert!(forbidden_ip(ip.parse().unwrap()).is_some_and(|text| text.contains(kind)), "{ip}");
        }
        for ip in ["10.0.0.1", "172.16.0.1", "52.95.1.1", "2600:1f00::1", "64:ff9b::8.8.8.8", "fd12:3456::1"] {
            assert_eq!(forbidden_ip(ip.parse().unwrap()), None, "{ip}");
        }
    }

    #[test]
    fn only_the_endpoint_itself_is_its_target() {
        let endpoint = Endpoint::parse("https://s3.example.com", false).unwrap();
        let is = |url: &str| endpoint.is_target(&url.parse().unwrap());
        assert!(is("https://s3.example.com/bucket?x") && is("https://S3.EXAMPLE.COM:443/"));
        for url in [
            "http://s3.example.com/",
            "https://s3.example.com:444/",
            "https://bucket.s3.example.com/",
            "https://s3.example.com.evil.test/",
            "/bucket",
        ] {
            assert!(!is(url), "{url}");
        }
    }
}
