//! `AddressSet`: the IPv4 and IPv6 addresses of one thing, and the sets of families.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// The family of an address; an IPv4-mapped IPv6 address is IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The address that stands for all of the family: `0.0.0.0` or `::`.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// `127.0.0.1` or `::1`.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// The source address by which the proxy's own inbound connections are told from captured
    /// ones: `127.0.0.6` or `::6`.
    pub fn inbound_source(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(127, 0, 0, 6).into(),
            Self::V6 => Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(),
        }
    }
}

/// Which families something has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FamilySet {
    /// IPv4 is among them.
    pub v4: bool,
    /// IPv6 is among them.
    pub v6: bool,
}

impl FamilySet {
    /// Only IPv4.
    pub const V4: Self = Self { v4: true, v6: false };
    /// Only IPv6.
    pub const V6: Self = Self { v4: false, v6: true };
    /// Both.
    pub const DUAL: Self = Self { v4: true, v6: true };

    /// Whether `family` is among them.
    pub fn contains(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Whether both are.
    pub fn is_dual(self) -> bool {
        self.v4 && self.v6
    }
}

impl FromIterator<IpAddr> for FamilySet {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut set = Self::default();
        for ip in addresses {
            match Family::of(ip) {
                Family::V4 => set.v4 = true,
                Family::V6 => set.v6 = true,
            }
        }
        set
    }
}

/// The addresses of one thing, by family, each in the order given and without duplicates.
/// IPv4-mapped IPv6 addresses are IPv4 addresses.
///
/// ```
/// use mesh_api::address::{AddressSet, Family};
///
/// let set: AddressSet = ["fd00::1", "10.0.0.1"].iter().map(|a| a.parse().expect("ip")).collect();
/// assert_eq!(set.primary_family(), Some(Family::V6));
/// assert_eq!(set.v4(), ["10.0.0.1".parse::<std::net::Ipv4Addr>().expect("ip")]);
/// assert_eq!(set.to_string(), "fd00::1,10.0.0.1");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<IpAddr>", into = "Vec<IpAddr>")]
pub struct AddressSet {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    v6_first: bool,
}

impl AddressSet {
    /// The set of nothing.
    pub const fn new() -> Self {
        Self { v4: Vec::new(), v6: Vec::new(), v6_first: false }
    }

    /// Adds an address; the first one ever added decides the primary family.
    pub fn insert(&mut self, ip: IpAddr) {
        let first = self.is_empty();
        match ip.to_canonical() {
            IpAddr::V4(ip) if !self.v4.contains(&ip) => self.v4.push(ip),
            IpAddr::V6(ip) if !self.v6.contains(&ip) => {
                self.v6.push(ip);
                self.v6_first |= first;
            }
            _ => {}
        }
    }

    /// The IPv4 addresses.
    pub fn v4(&self) -> &[Ipv4Addr] {
        &self.v4
    }

    /// The IPv6 addresses.
    pub fn v6(&self) -> &[Ipv6Addr] {
        &self.v6
    }

    /// Every address, the primary family's first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let (first, second) = match self.v6_first {
            true => (Family::V6, Family::V4),
            false => (Family::V4, Family::V6),
        };
        self.of(first).chain(self.of(second))
    }

    /// The addresses of one family.
    pub fn of(&self, family: Family) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.v4.iter().copied().map(IpAddr::V4).filter(move |_| family == Family::V4);
        let v6 = self.v6.iter().copied().map(IpAddr::V6).filter(move |_| family == Family::V6);
        v4.chain(v6)
    }

    /// The first address.
    pub fn primary(&self) -> Option<IpAddr> {
        self.iter().next()
    }

    /// The family of the first address.
    pub fn primary_family(&self) -> Option<Family> {
        self.primary().map(Family::of)
    }

    /// Which families there are addresses of.
    pub fn families(&self) -> FamilySet {
        FamilySet { v4: !self.v4.is_empty(), v6: !self.v6.is_empty() }
    }

    /// Whether the address is one of these.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.contains(&ip),
            IpAddr::V6(ip) => self.v6.contains(&ip),
        }
    }

    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<IpAddr> for AddressSet {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut set = Self::new();
        set.extend(addresses);
        set
    }
}

impl Extend<IpAddr> for AddressSet {
    fn extend<I: IntoIterator<Item = IpAddr>>(&mut self, addresses: I) {
        for ip in addresses {
            self.insert(ip);
        }
    }
}

impl From<Vec<IpAddr>> for AddressSet {
    fn from(addresses: Vec<IpAddr>) -> Self {
        addresses.into_iter().collect()
    }
}

impl From<AddressSet> for Vec<IpAddr> {
    fn from(set: AddressSet) -> Self {
        set.iter().collect()
    }
}

impl From<IpAddr> for AddressSet {
    fn from(ip: IpAddr) -> Self {
        std::iter::once(ip).collect()
    }
}

impl fmt::Display for AddressSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ip) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{ip}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn mapped_addresses_and_duplicates_are_one() {
        let set: AddressSet = ["10.0.0.1", "::ffff:10.0.0.1", "fd00::1", "10.0.0.2"]
            .iter()
            .map(|text| text.parse::<IpAddr>().unwrap())
            .collect();
        assert_eq!(set.to_string(), "10.0.0.1,10.0.0.2,fd00::1");
        assert!(set.families().is_dual());
        assert_eq!(set.primary_family(), Some(Family::V4));
        assert!(set.contains("::ffff:10.0.0.2".parse().unwrap()));
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"["10.0.0.1","10.0.0.2","fd00::1"]"#);
    }

    proptest! {
        #[test]
        fn listing_and_collecting_is_identity(ips in proptest::collection::vec(any::<IpAddr>(), 0..8)) {
            let set: AddressSet = ips.iter().copied().collect();
            prop_assert!(ips.iter().all(|ip| set.contains(*ip)));
            prop_assert_eq!(set.iter().collect::<AddressSet>(), set.clone());
            prop_assert_eq!(set.primary(), ips.first().map(IpAddr::to_canonical));
            prop_assert_eq!(ips.into_iter().collect::<FamilySet>(), set.families());
        }
    }
}
