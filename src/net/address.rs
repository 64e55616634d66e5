//! Which addresses a steered request may reach: public ones only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ranges of IPv4 that are not the public internet, and what each is.
const REFUSED_V4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an unspecified address"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier-grade NAT address"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud metadata address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local or metadata address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a protocol assignment"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "a documentation address"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "an anycast sink"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "an anycast relay"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "an anycast sink"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a benchmarking address"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "a documentation address"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "a documentation address"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved or broadcast address"),
];

/// Ranges of IPv6 that are not the public internet, and what each is. What lies outside `2000::/3` and is not
/// listed is refused too.
const REFUSED_V6: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "an unspecified address"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback address"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "an IPv4 address in IPv6 form"),
    (Ipv6Addr::UNSPECIFIED, 96, "an IPv4 address in IPv6 form"),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "a NAT64 address"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "a NAT64 address"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "a discard address"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "a protocol assignment (Teredo, ORCHID)"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "a documentation address"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a 6to4 address"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "a documentation address"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "a private address"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "a link-local address"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "a site-local address"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "a multicast address"),
];

/// Why `ip` may not be reached, or nothing for a public address.
///
/// IPv4 inside IPv6 (mapped, compatible, NAT64, 6to4, Teredo, ISATAP) is refused whatever it holds: no server
/// on the public internet needs it, and some networks translate it to the address inside.
#[must_use]
pub fn refusal(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => {
            REFUSED_V4.iter().find(|(net, prefix, _)| contains_v4(*net, *prefix, ip)).map(|(_, _, what)| *what)
        }
        IpAddr::V6(ip) => REFUSED_V6
            .iter()
            .find(|(net, prefix, _)| contains_v6(*net, *prefix, ip))
            .map(|(_, _, what)| *what)
            .or_else(|| (ip.segments()[0] & 0xe000 != 0x2000).then_some("not a public address"))
            .or_else(|| is_isatap(ip).then_some("an IPv4 address in IPv6 form")),
    }
}

/// Interface identifiers `0:5efe:a.b.c.d` tunnel to the IPv4 address they end with.
fn is_isatap(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    segments[5] == 0x5efe && segments[4] & 0xfdff == 0
}

fn contains_v4(net: Ipv4Addr, prefix: u32, ip: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    u32::from(ip) & mask == u32::from(net) & mask
}

fn contains_v6(net: Ipv6Addr, prefix: u32, ip: Ipv6Addr) -> bool {
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    u128::from(ip) & mask == u128::from(net) & mask
}

/// A range of addresses, as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cidr {
    net: IpAddr,
    prefix: u32,
}

impl Cidr {
    /// Reads `address/prefix`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (net, prefix) = text.split_once('/')?;
        let net: IpAddr = net.trim_matches(['[', ']']).parse().ok()?;
        let prefix: u32 = prefix.parse().ok()?;
        (prefix <= if net.is_ipv4() { 32 } else { 128 }).then_some(Self { net, prefix })
    }

    /// Whether `ip` lies in it. An IPv4 range does not cover the IPv6 forms of its addresses.
    pub(super) fn contains(self, ip: IpAddr) -> bool {
        match (self.net, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => contains_v4(net, self.prefix, ip),
            (IpAddr::V6(net), IpAddr::V6(ip)) => contains_v6(net, self.prefix, ip),
            _ => false,
        }
    }
}
