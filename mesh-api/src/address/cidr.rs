//! `Cidr`: a block of addresses.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::text::{NameError, text_serde};

/// A block of addresses. A bare address is a block of one; host bits are cleared.
///
/// ```
/// use mesh_api::address::Cidr;
///
/// let block: Cidr = "10.1.2.3/16".parse()?;
/// assert_eq!(block.to_string(), "10.1.0.0/16");
/// assert!(block.contains("10.1.200.1".parse().expect("ip")));
/// assert!(block.contains("::ffff:10.1.0.1".parse().expect("ip")));
/// assert_eq!("fd00::1".parse::<Cidr>()?.to_string(), "fd00::1/128");
/// assert!("10.0.0.0/33".parse::<Cidr>().is_err());
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNet);

impl Cidr {
    /// Parses `<ip>/<length>` or `<ip>`.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let net = match text.parse::<IpAddr>() {
            Ok(ip) => IpNet::from(ip),
            Err(_) => text.parse().map_err(|_| {
                NameError::new("address block", text, "is neither <ip>/<length> nor <ip>")
            })?,
        };
        Ok(Self(net.trunc()))
    }

    /// The first address.
    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    /// How many leading bits are fixed.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether the address is in the block. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical()) || self.0.contains(&ip)
    }

    /// Whether all of `other` is in the block.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

impl From<IpAddr> for Cidr {
    fn from(ip: IpAddr) -> Self {
        Self(ip.into())
    }
}

impl From<IpNet> for Cidr {
    fn from(net: IpNet) -> Self {
        Self(net.trunc())
    }
}

impl From<Cidr> for IpNet {
    fn from(block: Cidr) -> Self {
        block.0
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_serde!(Cidr);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn what_is_not_a_block() {
        for text in ["", "a", "10.0.0.0/", "10.0.0/8", "10.0.0.0/-1", "fd00::/129", "1.2.3.4/8/8"] {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(ip in any::<IpAddr>(), bits in 0u8..=128) {
            let max = if ip.is_ipv4() { 32 } else { 128 };
            let block = Cidr::parse(&format!("{ip}/{}", bits.min(max))).unwrap();
            prop_assert!(block.contains(ip));
            prop_assert!(block.contains(block.network()));
            prop_assert_eq!(Cidr::parse(&block.to_string()).unwrap(), block);
        }
    }
}
