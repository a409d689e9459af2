//! URL tricks, and addresses that no name may lead to.

use logwise_plan::endpoint::{Range, check, check_within, denied_by, forbidden_ip, refused_ip};
use proptest::prelude::*;
use std::net::IpAddr;

#[test]
fn plain_urls_are_read() {
    for (url, shown) in [
        ("https://s3.example.com", "https://s3.example.com"),
        ("https://s3.example.com/", "https://s3.example.com"),
        ("https://S3.Example.COM:443", "https://s3.example.com"),
        ("https://s3.example.com:9000", "https://s3.example.com:9000"),
        ("https://minio", "https://minio"),
        ("https://10.0.0.5:9000", "https://10.0.0.5:9000"),
        ("https://[fd00::5]:9000", "https://[fd00::5]:9000"),
        ("https://[fd00::5]", "https://[fd00::5]"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://svc.example.com", "https://svc.example.com"),
        ("https://kubernetes.example.com", "https://kubernetes.example.com"),
        ("https://cluster.local.example.com", "https://cluster.local.example.com"),
        ("https://s3.example.internal", "https://s3.example.internal"),
        ("https://vpce-1.s3.ap-south-1.vpce.amazonaws.com", "https://vpce-1.s3.ap-south-1.vpce.amazonaws.com"),
    ] {
        assert_eq!(check(url, false).map(|endpoint| endpoint.to_string()), Ok(shown.to_owned()), "{url}");
    }
    for url in ["http://127.0.0.1:4566", "http://localhost:4566", "http://[::1]:4566", "http://minio.example.com"] {
        assert!(check(url, false).is_err(), "{url}");
        assert_eq!(check(url, true).map(|endpoint| endpoint.to_string()), Ok(url.to_owned()));
    }
}

/// URLs and what is said about them; none is accepted, whether insecure endpoints are allowed or not.
const TRICKS: [(&str, &str); 95] = [
    ("", "another scheme"),
    ("s3.example.com", "another scheme"),
    ("//s3.example.com", "another scheme"),
    ("https:/s3.example.com", "another scheme"),
    ("https:s3.example.com", "another scheme"),
    ("HTTPS://s3.example.com", "another scheme"),
    ("ftp://s3.example.com", "another scheme"),
    ("file:///etc/passwd", "another scheme"),
    ("gopher://169.254.169.254", "another scheme"),
    ("unix:///var/run/docker.sock", "another scheme"),
    ("javascript:alert(1)", "another scheme"),
    ("https+unix://s3.example.com", "another scheme"),
    (" https://s3.example.com", "a blank"),
    ("https://s3.example.com ", "a blank"),
    ("https://s3.example.com\n", "a blank"),
    ("https://s3.example.com\r\nHost: x", "a blank"),
    ("https://s3.example.com\t", "a blank"),
    ("https://s3.example.com\0", "a blank"),
    ("https:\\\\s3.example.com", "a backslash"),
    ("https://s3.example.com\\@169.254.169.254", "a backslash"),
    ("https://user@s3.example.com", "a user"),
    ("https://user:hunter2@s3.example.com", "a user"),
    ("https://s3.example.com@169.254.169.254", "a user"),
    ("https://s3.example.com:443@169.254.169.254", "a user"),
    ("https://@s3.example.com", "a user"),
    ("https://s3.example.com#@169.254.169.254", "a query or a fragment"),
    ("https://s3.example.com?@169.254.169.254", "a query or a fragment"),
    ("https://s3.example.com?x=y", "a query or a fragment"),
    ("https://s3.example.com/?x", "a path"),
    ("https://s3.example.com#", "a query or a fragment"),
    ("https://s3.example.com/bucket", "a path"),
    ("https://s3.example.com/../x", "a path"),
    ("https://s3.example.com//", "a path"),
    ("https://s3%2eexample%2ecom", "an escaped character"),
    ("https://169%2e254.169.254", "an escaped character"),
    ("https://", "no host"),
    ("https:///", "no host"),
    ("https://:443", "no host"),
    ("https://s3.example.com.", "ends with a dot"),
    ("https://127.0.0.1.", "ends with a dot"),
    ("https://.s3.example.com", "neither a DNS name"),
    ("https://s3..example.com", "neither a DNS name"),
    ("https://-s3.example.com", "neither a DNS name"),
    ("https://*.example.com", "neither a DNS name"),
    ("https://s3.example.com,evil.example", "neither a DNS name"),
    ("https://s3.example.com;evil.example", "neither a DNS name"),
    ("https://s3.exаmple.com", "other than ASCII"),
    ("https://bücher.example", "other than ASCII"),
    ("https://①②⑦.0.0.1", "other than ASCII"),
    ("https://１２７.0.0.1", "other than ASCII"),
    ("https://s3。example。com", "other than ASCII"),
    ("https://s3.example.com:", "no port"),
    ("https://s3.example.com:0", "no port"),
    ("https://s3.example.com:65536", "no port"),
    ("https://s3.example.com:0443", "no port"),
    ("https://s3.example.com:+443", "no port"),
    ("https://s3.example.com:443:443", "no port"),
    ("https://s3.example.com:https", "no port"),
    ("https://0177.0.0.1", "disguised IPv4"),
    ("https://0x7f.0.0.1", "disguised IPv4"),
    ("https://0x7f000001", "disguised IPv4"),
    ("https://0X7F000001", "disguised IPv4"),
    ("https://2130706433", "disguised IPv4"),
    ("https://017700000001", "disguised IPv4"),
    ("https://127.1", "disguised IPv4"),
    ("https://127.0.1", "disguised IPv4"),
    ("https://169.254.43518", "disguised IPv4"),
    ("https://256.256.256.256", "disguised IPv4"),
    ("https://127.0.0.01", "disguised IPv4"),
    ("https://127.0.0.0x1", "disguised IPv4"),
    ("https://example.com.0x7f", "disguised IPv4"),
    ("https://[::ffff:127.0.0.1]", "IPv4 address in IPv6 form"),
    ("https://[::ffff:a9fe:a9fe]", "IPv4 address in IPv6 form"),
    ("https://[0:0:0:0:0:0:0:1]", "canonical form"),
    ("https://[::1%25lo]", "an escaped character"),
    ("https://[::1", "a bracket that is not closed"),
    ("https://::1", "no port"),
    ("https://[127.0.0.1]", "no IPv6 address"),
    ("https://169.254.169.254", "leads to the metadata"),
    ("https://[fd00:ec2::254]", "leads to the metadata"),
    ("https://metadata.google.internal", "leads to the metadata"),
    ("https://kubernetes", "leads to a service or a pod of the cluster"),
    ("https://Kubernetes.Default", "leads to a service or a pod of the cluster"),
    ("https://kubernetes.default.svc", "leads to a service or a pod of the cluster"),
    ("https://kubernetes.default.svc.cluster.local:6443", "leads to a service or a pod of the cluster"),
    ("https://kubernetes.default.example.com", "leads to a service or a pod of the cluster"),
    ("https://minio.store.svc", "leads to a service or a pod of the cluster"),
    ("https://minio.store.svc.k8s.example.com", "leads to a service or a pod of the cluster"),
    ("https://10-0-0-7.store.pod.cluster.local", "leads to a service or a pod of the cluster"),
    ("https://cluster.local", "leads to a service or a pod of the cluster"),
    ("https://ip-10-0-0-7.ec2.internal", "leads to a machine of a cloud"),
    ("https://ip-10-0-0-7.eu-west-1.compute.internal", "leads to a machine of a cloud"),
    ("https://node-1.x.internal.cloudapp.net", "leads to a machine of a cloud"),
    ("https://instance-data.ec2.internal", "leads to the metadata"),
    ("https://0.0.0.0", "leads to an unspecified address"),
];

#[test]
fn every_trick_is_refused_and_named_without_repeating_it() {
    for (url, told) in TRICKS {
        for allow_insecure in [false, true] {
            let problem = check(url, allow_insecure).expect_err(url);
            assert!(problem.contains(told), "{url}: {problem}");
            assert!(problem.starts_with("must be https://"), "{problem}");
            assert!(!problem.contains("hunter2") && !problem.contains("evil"), "{problem}");
        }
    }
}

#[test]
fn the_machine_itself_is_called_only_when_allowed() {
    for url in ["https://127.0.0.1", "https://127.8.9.1", "https://localhost", "https://s3.localhost", "https://[::1]"]
    {
        let problem = check(url, false).expect_err(url);
        assert!(problem.contains("leads to a loopback address"), "{url}: {problem}");
        assert!(check(url, true).is_ok(), "{url}");
    }
    assert!(check("http://s3.example.com", false).unwrap_err().contains("is not encrypted"));
}

fn range(text: &str) -> Range {
    text.parse().unwrap()
}

#[test]
fn a_range_holds_what_begins_like_it_in_whatever_form() {
    for (text, address, inside) in [
        ("10.0.0.0/8", "10.255.255.255", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("10.0.0.0/8", "64:ff9b::a01:203", true),
        ("10.0.0.0/8", "fd00::a01:203", false),
        ("10.96.0.0/12", "10.111.255.255", true),
        ("10.96.0.0/12", "10.112.0.0", false),
        ("10.0.0.7/32", "10.0.0.7", true),
        ("10.0.0.7/32", "10.0.0.6", false),
        ("0.0.0.0/0", "203.0.113.1", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "2001:db8::1", true),
        ("fd00::/8", "fdff::1", true),
        ("fd00::/8", "fe00::1", false),
        ("fd00::7/128", "fd00::7", true),
    ] {
        assert_eq!(range(text).contains(address.parse().unwrap()), inside, "{text} {address}");
        assert_eq!(range(text).to_string(), text);
    }
    let all = [range("10.0.0.0/8"), range("192.168.0.0/16")];
    assert_eq!(denied_by("192.168.3.4".parse().unwrap(), &all), Some(all[1]));
    assert_eq!(denied_by("172.16.0.1".parse().unwrap(), &all), None);
}

#[test]
fn ranges_that_cannot_be_meant_are_refused() {
    for text in
        ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/+8", "fd00::/129", "x/8", "010.0.0.0/8"]
    {
        assert!(text.parse::<Range>().unwrap_err().contains("such as 10.0.0.0/8"), "{text}");
    }
    assert!("10.0.0.1/8".parse::<Range>().unwrap_err().contains("no bits set"));
    assert!("fd00::1/8".parse::<Range>().unwrap_err().contains("no bits set"));
}

#[test]
fn an_address_in_a_denied_range_is_no_endpoint() {
    let denied = [range("10.96.0.0/12"), range("fd00:96::/32")];
    for url in ["https://10.96.0.1", "https://10.111.0.1:9000/", "https://[fd00:96::1]:9000"] {
        let problem = check_within(url, false, &denied).expect_err(url);
        assert!(problem.contains("aws.deniedRanges") && problem.contains("leads into"), "{problem}");
        assert!(check_within(url, false, &[]).is_ok(), "{url}");
    }
    for url in ["https://10.0.0.1", "https://[fd00:97::1]", "https://s3.example.com"] {
        assert!(check_within(url, false, &denied).is_ok(), "{url}");
    }
}

#[test]
fn forbidden_addresses_are_named() {
    for (address, told) in [
        ("127.0.0.1", "a loopback address"),
        ("127.255.255.254", "a loopback address"),
        ("::1", "a loopback address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("64:ff9b::7f00:1", "a loopback address"),
        ("2002:7f00:1::1", "a loopback address"),
        ("169.254.169.254", "the metadata of a machine"),
        ("::ffff:169.254.169.254", "the metadata of a machine"),
        ("::169.254.169.254", "the metadata of a machine"),
        ("::ffff:0:169.254.169.254", "the metadata of a machine"),
        ("64:ff9b::a9fe:a9fe", "the metadata of a machine"),
        ("64:ff9b:1::a9fe:a9fe", "the metadata of a machine"),
        ("2002:a9fe:a9fe::", "the metadata of a machine"),
        ("fd00:ec2::254", "the metadata of a machine"),
        ("fd00:ec2::23", "the metadata of a machine"),
        ("100.100.100.200", "the metadata of a machine"),
        ("168.63.129.16", "the metadata of a machine"),
        ("192.0.0.192", "the metadata of a machine"),
        ("169.254.170.2", "a link-local address"),
        ("169.254.0.1", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("febf::1", "a link-local address"),
        ("fec0::1", "a link-local address"),
        ("::ffff:169.254.1.1", "a link-local address"),
        ("0.0.0.0", "an unspecified address"),
        ("0.1.2.3", "an unspecified address"),
        ("::", "an unspecified address"),
        ("::ffff:0.0.0.0", "an unspecified address"),
        ("224.0.0.1", "a multicast address"),
        ("239.255.255.250", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("240.0.0.1", "a reserved address"),
        ("255.255.255.255", "a reserved address"),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(forbidden_ip(address), Some(told), "{address}");
        assert_eq!(refused_ip(address, false), Some(told), "{address}");
        assert_eq!(refused_ip(address, true), Some(told).filter(|told| *told != "a loopback address"), "{address}");
    }
    for address in ["10.0.0.5", "52.219.1.1", "192.168.1.1", "100.64.0.1", "fd00::5", "2600:1f18::1", "64:ff9b::a00:5"]
    {
        assert_eq!(forbidden_ip(address.parse().unwrap()), None, "{address}");
    }
}

proptest! {
    /// The resolver of the machine must not find an address where this saw a name.
    #[test]
    fn no_accepted_name_is_an_address(host in "[0-9a-fx]{1,4}([.][0-9a-fx]{1,4}){0,3}") {
        if let Ok(endpoint) = check(&format!("https://{host}"), false) {
            let last = endpoint.host.rsplit('.').next().unwrap_or_default();
            let is_address = endpoint.host.parse::<IpAddr>().is_ok();
            let hexadecimal = last.starts_with("0x") && last[2..].chars().all(|c| c.is_ascii_hexdigit());
            let number = last.chars().all(|c| c.is_ascii_digit()) || hexadecimal;
            prop_assert!(is_address || !number, "{}", endpoint.host);
        }
    }

    #[test]
    fn what_is_accepted_is_accepted_again_as_it_is_shown(host in "[a-zA-Z0-9.-]{1,12}", port in prop::option::of(1..=u16::MAX)) {
        let url = port.map_or_else(|| format!("https://{host}"), |port| format!("https://{host}:{port}"));
        if let Ok(endpoint) = check(&url, false) {
            prop_assert_eq!(check(&endpoint.to_string(), false), Ok(endpoint));
        }
    }

    #[test]
    fn a_mapped_address_is_forbidden_where_the_plain_one_is(bits in any::<u32>()) {
        let plain = std::net::Ipv4Addr::from(bits);
        prop_assert_eq!(forbidden_ip(plain.to_ipv6_mapped().into()), forbidden_ip(plain.into()));
    }
}
