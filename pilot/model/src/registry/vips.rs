//! Addresses for services that have none: what the mesh's DNS answers, so that connections to
//! different services can be told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use mesh_api::name::Hostname;

/// Addresses are `240.240.<i>.<j>` with `i` and `j` below this, as Istio's are; that range is
/// nobody's.
const SIDE: u32 = 255;
const COUNT: u32 = SIDE * SIDE;

/// An address for each service, by namespace and name. It follows from the services alone, and a
/// service keeps its address when others come and go, unless two begin at the same one. Services
/// beyond the range get none.
pub fn allocate<'a>(
    services: impl IntoIterator<Item = (&'a str, &'a Hostname)>,
) -> BTreeMap<(&'a str, &'a Hostname), IpAddr> {
    let services: BTreeSet<(&str, &Hostname)> = services.into_iter().collect();
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    let mut all = BTreeMap::new();
    for (namespace, host) in services {
        let begin = fnv(&[namespace, "/", host.as_str()]) % COUNT;
        let places = (0..COUNT).map(|step| (begin + step) % COUNT);
        // The last part of an address is never 0.
        let mut free = places.filter(|place| place % SIDE != 0 && !taken.contains(place));
        let Some(place) = free.next() else { break };
        taken.insert(place);
        let part = |n: u32| u8::try_from(n).unwrap_or(u8::MAX);
        let ip = Ipv4Addr::new(240, 240, part(place / SIDE), part(place % SIDE));
        all.insert((namespace, host), IpAddr::V4(ip));
    }
    all
}

/// FNV-1a of 32 bits.
fn fnv(parts: &[&str]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn an_address_depends_on_its_service_alone() {
        let host = |text: &str| Hostname::parse(text).unwrap();
        let (a, b) = (host("a.example"), host("b.example"));
        let both = allocate([("x", &a), ("x", &b)]);
        assert_eq!(both.len(), 2);
        assert_eq!(allocate([("x", &b)])[&("x", &b)], both[&("x", &b)]);
        assert_ne!(allocate([("y", &b)])[&("y", &b)], both[&("x", &b)]);
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(names in proptest::collection::btree_set("[a-z]{1,8}", 0..300)) {
            let hosts: Vec<Hostname> =
                names.iter().map(|name| Hostname::parse(&format!("{name}.example")).unwrap()).collect();
            let all = allocate(hosts.iter().map(|host| ("x", host)));
            let distinct: BTreeSet<&IpAddr> = all.values().collect();
            prop_assert_eq!(distinct.len(), hosts.len());
            for ip in distinct {
                let IpAddr::V4(ip) = ip else { panic!("{ip}") };
                let [a, b, c, d] = ip.octets();
                prop_assert!((a, b) == (240, 240) && c < 255 && (1..255).contains(&d), "{}", ip);
            }
        }
    }
}
