//! Which addresses a web hook may be sent to. A tenant names the URL, so it could name a machine of
//! ours: the metadata service of the cloud, a database, ourselves. What counts is the address that
//! is connected to, at the moment it is connected to ([`crate::connect`]): names can resolve to
//! anything, and to something else the next time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use thiserror::Error;

/// Why an endpoint is not sent to.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GuardError {
    /// No URL.
    #[error("{0:?} is no URL of a web hook; write https://HOST/PATH")]
    NoUrl(String),
    /// Not encrypted.
    #[error("web hooks are sent by https only; {0} is http (delivery.allow_http lets it)")]
    Http(String),
    /// A password would be stored and logged.
    #[error("a URL with a user name or password is not taken; check the signature instead")]
    Credentials,
    /// A port nobody runs a web hook at.
    #[error("port {0} is not one of those that may be sent to (delivery.ports)")]
    Port(u16),
    /// An address that is not on the public internet.
    #[error("{0} is {1}: it is not sent to (delivery.allow_hosts lets a host's address be any)")]
    Address(IpAddr, &'static str),
}

/// The rules.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Hosts that may resolve to anything: an intranet's, a test's.
    pub allow_hosts: Vec<String>,
    /// Ports that may be connected to; for hosts that are allowed, any.
    pub ports: Vec<u16>,
    /// Whether plain HTTP is sent.
    pub allow_http: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Self { allow_hosts: Vec::new(), ports: vec![443, 8443], allow_http: false }
    }
}

/// A URL that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host without brackets, in lower case.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl Guard {
    /// Whether the host was named as one that may be anywhere.
    #[must_use]
    pub fn trusts(&self, host: &str) -> bool {
        self.allow_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    /// Looks at a URL: when an endpoint is set up, and again at each attempt.
    ///
    /// # Errors
    /// [`GuardError`], for people.
    pub fn check(&self, url: &str) -> Result<Place, GuardError> {
        let no_url = || GuardError::NoUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| no_url())?;
        let authority = uri.authority().ok_or_else(no_url)?;
        if authority.as_str().contains('@') {
            return Err(GuardError::Credentials);
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if self.allow_http => false,
            Some("http") => return Err(GuardError::Http(url.to_owned())),
            _ => return Err(no_url()),
        };
        if host.is_empty() {
            return Err(no_url());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let trusted = self.trusts(&host);
        // Port 80 where plain HTTP is let through at all.
        if !trusted && !self.ports.contains(&port) && (tls || port != 80) {
            return Err(GuardError::Port(port));
        }
        // A literal address is refused at once; all others when they are connected to.
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.check_address(&host, ip)?;
        }
        Ok(Place { host, port, tls })
    }

    /// Looks at an address that a host resolved to.
    ///
    /// # Errors
    /// [`GuardError::Address`].
    pub fn check_address(&self, host: &str, ip: IpAddr) -> Result<(), GuardError> {
        match not_public(ip) {
            Some(why) if !self.trusts(host) => Err(GuardError::Address(ip, why)),
            _ => Ok(()),
        }
    }
}

/// Why an address is not on the public internet.
#[must_use]
pub fn not_public(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => v6(ip),
    }
}

fn v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = ip.octets();
    Some(match (a, b, c) {
        (0, ..) => "this network",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "a private address",
        (100, 64..=127, _) => "carrier-grade NAT",
        (127, ..) => "this machine",
        (169, 254, _) => "link-local (also the metadata service of clouds)",
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) => "reserved",
        (198, 18..=19, _) => "reserved for benchmarks",
        (224..=239, ..) => "multicast",
        (240..=255, ..) => "reserved or broadcast",
        _ => return None,
    })
}

fn v6(ip: Ipv6Addr) -> Option<&'static str> {
    let segments = ip.segments();
    let [.., g, h] = segments;
    let low = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("no address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("this machine"),
        // Whatever they hold is reached over IPv4; none of them is the way to a public host.
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(v4(low(g, h)).unwrap_or("an IPv4-mapped address")),
        [0, 0, 0, 0, 0xffff, 0, ..] => Some("an IPv4-translated address"),
        [0, 0, 0, 0, 0, 0, ..] => Some("an IPv4-compatible address"),
        [0x64, 0xff9b, ..] => Some(v4(low(g, h)).unwrap_or("a NAT64 address")),
        [0x2002, b, c, ..] => Some(v4(low(b, c)).unwrap_or("a 6to4 address")),
        [0x2001, 0, ..] => Some("a Teredo address"),
        [0x2001, 0xdb8, ..] | [0x3fff, ..] => Some("reserved for documents"),
        [0x100, 0, 0, 0, ..] => Some("reserved"),
        [0xfc00..=0xfdff, ..] => Some("a unique local address"),
        [0xfe80..=0xfeff, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("not a global unicast address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_public_are_known() {
        for ip in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(not_public(ip.parse().unwrap()).is_some(), "{ip} passed");
        }
        for ip in ["8.8.8.8", "1.1.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2606:4700::1"]
        {
            assert_eq!(not_public(ip.parse().unwrap()), None, "{ip}");
        }
    }

    #[test]
    fn urls_are_looked_at_before_they_are_kept() {
        let guard = Guard::default();
        for url in [
            "",
            "hooks",
            "/hooks",
            "ftp://a.example/",
            "http://a.example/",
            "https://",
            "https://u:p@a.example/",
            "https://a.example:22/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest",
            "https://10.0.0.1:8443/",
        ] {
            assert!(guard.check(url).is_err(), "{url:?} passed");
        }
        let place = guard.check("https://Hooks.Example/in?x=1").unwrap();
        assert_eq!(place, Place { host: "hooks.example".into(), port: 443, tls: true });
        let intranet =
            Guard { allow_hosts: vec!["127.0.0.1".into()], allow_http: true, ..Guard::default() };
        assert!(intranet.check("http://127.0.0.1:9/x").is_ok());
        assert!(intranet.check("http://127.0.0.2:9/x").is_err());
        assert!(intranet.check("http://a.example/x").is_ok());
    }
}
