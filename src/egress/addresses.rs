//! Which addresses belong to the public network, and which to this machine, its neighbours or a cloud's
//! own services.
//!
//! A name of the allow-list may resolve to anything: whoever owns the name decides. So it is the address
//! that is judged, after resolution and before the connection. Source of the ranges: IANA's registries of
//! special-purpose addresses (RFC 6890), read as "not globally reachable".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True for an address that anybody on the internet could have. All others are reached only when an entry
/// names them literally.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let own = address.is_private()
        || address.is_loopback()
        // 169.254.169.254, where clouds hand out credentials, is one of these.
        || address.is_link_local()
        // 100.64.0.0/10, shared by a carrier's customers; overlay networks use it too.
        || (a == 100 && (64..128).contains(&b));
    let none = a == 0
        || a >= 224
        || address.is_documentation()
        || (a, b, c) == (192, 0, 0)
        // 198.18.0.0/15, for measurements.
        || (a == 198 && (b == 18 || b == 19))
        // 192.88.99.0/24, relays into 6to4.
        || (a, b, c) == (192, 88, 99);
    !own && !none
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let [.., high, low] = parts;
    // 64:ff9b::/96 is how a network with IPv6 alone names the machines of the old one.
    if parts[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // 2000::/3 is all that was ever given out.
    let given_out = parts[0] & 0xe000 == 0x2000;
    let special = match parts[0] {
        // 2001::/23 holds Teredo, which carries IPv4 addresses; 2001:db8::/32 is for documents.
        0x2001 => parts[1] < 0x200 || parts[1] == 0xdb8,
        // 6to4 carries IPv4 addresses.
        0x2002 => true,
        0x3fff => parts[1] < 0x1000,
        _ => false,
    };
    given_out && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in [
            "1.1.1.1",
            "140.82.121.3",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::6810:84e5",
            "2a00:1450:4001:80b::200e",
            "64:ff9b::101:101",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn this_machine_its_neighbours_and_metadata_services_are_not() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001:0:7f00:1::",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "3fff::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }
}
