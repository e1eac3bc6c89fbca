//! The client's address behind proxies, believing only those that were named.
//!
//! A forwarded-for header is text that anybody can send. Each proxy appends the
//! address that it saw, so the right end of the header is the most trustworthy.
//! The walk therefore starts at the peer of the connection and goes from the
//! right to the left: what a hop says is believed only while that hop itself is
//! a proxy that the operator named. The first address that is not a named proxy
//! is the client's, and nothing to its left matters.
//!
//! One header is read, not two: a proxy that writes `X-Forwarded-For` passes a
//! client's own `Forwarded` through untouched, and the other way round.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The proxies whose word about the client's address is believed, and the header
/// in which they give it. By default there is none, and the peer is the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: ForwardedHeader,
}

/// The header in which the proxies give the client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: client, proxy, proxy`, as most proxies write it.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239).
    Forwarded,
}

impl ForwardedHeader {
    /// The header's name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

impl TrustedProxies {
    /// No proxy: nothing that a request says about its origin is believed.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The proxies in these networks: addresses (`10.0.0.7`, `2001:db8::1`) or
    /// CIDR blocks (`10.0.0.0/8`, `fd00::/8`).
    ///
    /// # Errors
    /// [`ErrorKind::Usage`], naming every entry that is neither.
    pub fn new<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut read = Vec::new();
        let mut faults = Vec::new();
        for text in networks {
            match text.trim().parse() {
                Ok(network) => read.push(network),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            return Ok(Self { networks: read, header: ForwardedHeader::default() });
        }
        Err(Error::new(ErrorKind::Usage, "read the trusted proxies", faults.join("; "))
            .hint("name each as an address or a network, such as 10.0.0.7 or 10.0.0.0/8"))
    }

    /// Reads another header than `X-Forwarded-For`.
    #[must_use]
    pub fn header(mut self, header: ForwardedHeader) -> Self {
        self.header = header;
        self
    }

    /// The name of the header to read, in lower case.
    #[must_use]
    pub fn header_name(&self) -> &'static str {
        self.header.name()
    }

    /// Whether this address is one of the proxies.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The client's address, given the peer of the connection and the lines of
    /// [`Self::header_name`] in the order in which they came. An entry that is no
    /// address (`unknown`, a hidden name, nonsense) ends the walk: the answer is
    /// then the last hop that is known.
    #[must_use]
    pub fn client<'a, L>(&self, peer: IpAddr, lines: L) -> IpAddr
    where
        L: IntoIterator<Item = &'a [u8]>,
        L::IntoIter: DoubleEndedIterator,
    {
        let mut client = peer.to_canonical();
        for line in lines.into_iter().rev() {
            // A line that is not text leaves nothing to walk along.
            let mut rest = std::str::from_utf8(line).ok();
            if rest.is_none() {
                return client;
            }
            while let Some(left) = rest {
                if !self.trusts(client) {
                    return client;
                }
                let (before, entry) = last_entry(left);
                match self.address(entry.trim()) {
                    Some(address) => client = address.to_canonical(),
                    None => return client,
                }
                rest = before;
            }
        }
        client
    }

    fn address(&self, entry: &str) -> Option<IpAddr> {
        match self.header {
            ForwardedHeader::XForwardedFor => node(entry),
            ForwardedHeader::Forwarded => node(&forwarded_for(entry)?),
        }
    }
}

impl FromStr for TrustedProxies {
    type Err = Error;

    /// Reads a list with commas between; an empty text is [`Self::none`].
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text.split(',').filter(|entry| !entry.trim().is_empty()))
    }
}

/// Splits off what stands behind the last comma outside quotes. Reading from the
/// right keeps a quote that the client left open from swallowing what a proxy
/// appended behind it.
fn last_entry(line: &str) -> (Option<&str>, &str) {
    let bytes = line.as_bytes();
    let mut quoted = false;
    for at in (0..bytes.len()).rev() {
        match bytes[at] {
            b'"' => {
                let slashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                quoted ^= slashes % 2 == 0;
            }
            b',' if !quoted => return (Some(&line[..at]), &line[at + 1..]),
            _ => {}
        }
    }
    (None, line)
}

/// The value of `for` in one element of a `Forwarded` header (RFC 7239, section
/// 4); `None` if there is not exactly one, or the element is malformed.
fn forwarded_for(element: &str) -> Option<String> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (name, value) = rest.split_once('=')?;
        let (value, behind) = value_of(value)?;
        if name.trim().eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
        match behind.trim_start().strip_prefix(';') {
            Some(more) => rest = more,
            None if behind.trim().is_empty() => return found,
            None => return None,
        }
    }
}

/// A token or a quoted string, and what stands behind it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (token, behind) = text.split_at(end);
        return (!token.contains('"')).then(|| (token.to_owned(), behind));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// An address, with or without a port: `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = u32::from(32 - self.prefix);
                let cut = |address: Ipv4Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                cut(network) == cut(address)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = u32::from(128 - self.prefix);
                let cut = |address: Ipv6Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                cut(network) == cut(address)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{text:?}: {address:?} is neither an IPv4 nor an IPv6 address"))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => {
                prefix.parse::<u8>().ok().filter(|prefix| *prefix <= bits).ok_or_else(|| {
                    format!("{text:?}: the prefix must be a number from 0 to {bits}")
                })?
            }
        };
        // An IPv4 network may be written as the IPv6 one that it is mapped to.
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) if bits == 128 => {
                let prefix = prefix.checked_sub(96).ok_or_else(|| {
                    format!("{text:?}: the prefix of a mapped IPv4 network is 96 or more")
                })?;
                Ok(Self { address: v4, prefix })
            }
            address => Ok(Self { address, prefix }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for TrustedProxies {
    /// The networks, with commas between: what [`FromStr`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.networks.iter().enumerate() {
            write!(f, "{}{network}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &TrustedProxies, peer: &str, lines: &[&str]) -> String {
        let lines = lines.iter().map(|line| line.as_bytes());
        proxies.client(peer.parse().unwrap(), lines).to_string()
    }

    #[test]
    fn nothing_is_believed_from_a_stranger() {
        let none = TrustedProxies::none();
        assert_eq!(client(&none, "198.51.100.4", &["203.0.113.9"]), "198.51.100.4");
        let ours: TrustedProxies = "10.0.0.0/8".parse().unwrap();
        assert_eq!(client(&ours, "198.51.100.4", &["203.0.113.9"]), "198.51.100.4");
    }

    #[test]
    fn the_walk_goes_from_the_right_and_ends_at_the_first_stranger() {
        let ours: TrustedProxies = "10.0.0.0/8, fd00::/8".parse().unwrap();
        for (lines, expected) in [
            (vec!["203.0.113.9"], "203.0.113.9"),
            // The client wrote 1.2.3.4 itself; the proxy appended what it saw.
            (vec!["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            (vec!["1.2.3.4, 203.0.113.9, 10.1.1.1"], "203.0.113.9"),
            // Even the address of a proxy, when a stranger says it.
            (vec!["1.2.3.4, 10.9.9.9, 203.0.113.9, fd00::7"], "203.0.113.9"),
            // Several lines are one list.
            (vec!["1.2.3.4", "203.0.113.9, 10.1.1.1"], "203.0.113.9"),
            // All hops are ours: the request began within.
            (vec!["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
            (vec!["203.0.113.9:4711"], "203.0.113.9"),
            (vec!["[2001:db8::1]:4711"], "2001:db8::1"),
            (vec!["::ffff:203.0.113.9"], "203.0.113.9"),
            // What is no address ends the walk at the last hop that is known.
            (vec!["203.0.113.9, unknown"], "10.0.0.1"),
            (vec!["203.0.113.9, , 10.1.1.1"], "10.1.1.1"),
            (vec![""], "10.0.0.1"),
            (vec![], "10.0.0.1"),
        ] {
            assert_eq!(client(&ours, "10.0.0.1", &lines), expected, "{lines:?}");
            assert_eq!(client(&ours, "::ffff:10.0.0.1", &lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn reads_rfc_7239_and_is_not_fooled_by_open_quotes() {
        let ours = TrustedProxies::new(["10.0.0.0/8"]).unwrap().header(ForwardedHeader::Forwarded);
        for (line, expected) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=\"[2001:db8:cafe::17]:4711\";proto=https", "2001:db8:cafe::17"),
            ("for=1.2.3.4, by=10.0.0.1; for=203.0.113.9;host=\"a,b\\\"c\"", "203.0.113.9"),
            // The client sent `for="` and the proxy appended behind it.
            ("for=\"1.2.3.4, for=203.0.113.9", "203.0.113.9"),
            ("for=1.2.3.4;ext=\", for=\"203.0.113.9\"", "203.0.113.9"),
            ("for=_hidden", "10.0.0.1"),
            ("for=203.0.113.9;for=1.2.3.4", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
            ("203.0.113.9", "10.0.0.1"),
            ("for=\"203.0.113.9\" 1.2.3.4", "10.0.0.1"),
        ] {
            assert_eq!(client(&ours, "10.0.0.1", &[line]), expected, "{line}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_end_the_walk() {
        let ours: TrustedProxies = "10.0.0.1".parse().unwrap();
        let lines: [&[u8]; 2] = [b"203.0.113.9", b"\xff"];
        assert_eq!(ours.client("10.0.0.1".parse().unwrap(), lines).to_string(), "10.0.0.1");
    }

    #[test]
    fn networks_end_at_their_prefix() {
        let some: TrustedProxies =
            "192.0.2.128/25,2001:db8::/33,::ffff:198.51.100.0/120".parse().unwrap();
        for (address, inside) in [
            ("192.0.2.128", true),
            ("192.0.2.127", false),
            ("2001:db8:7fff::1", true),
            ("2001:db8:8000::1", false),
            ("198.51.100.255", true),
            ("198.51.101.0", false),
        ] {
            assert_eq!(some.trusts(address.parse().unwrap()), inside, "{address}");
        }
        assert!(TrustedProxies::new(["0.0.0.0/0"]).unwrap().trusts("8.8.8.8".parse().unwrap()));
        assert_eq!(some.to_string().parse::<TrustedProxies>().unwrap(), some);
    }

    #[test]
    fn faults_are_named_all_at_once() {
        let error =
            TrustedProxies::new(["10.0.0.0/33", "proxy.local", "::1/129", "::1"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "read the trusted proxies: \"10.0.0.0/33\": the prefix must be a number from 0 to 32; \
             \"proxy.local\": \"proxy.local\" is neither an IPv4 nor an IPv6 address; \
             \"::1/129\": the prefix must be a number from 0 to 128 \
             (name each as an address or a network, such as 10.0.0.7 or 10.0.0.0/8)"
        );
    }
}
