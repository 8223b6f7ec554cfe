//! Which pod has which address of the node's pod range.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The addresses of a pod range and their owners (pod UIDs).
///
/// A free address is looked for from where the last search ended, so that an address which has
/// just been given back is not taken by somebody else at once.
///
/// ```
/// use mesh_local::net::AddressPool;
///
/// let mut pool = AddressPool::new("10.244.0.0/24".parse().unwrap());
/// let first = pool.allocate("pod-a", None).unwrap();
/// assert_eq!(first.to_string(), "10.244.0.2");
/// assert_eq!(pool.allocate("pod-a", None), Some(first));
/// assert_eq!(pool.release("pod-a"), Some(first));
/// assert_ne!(pool.allocate("pod-b", None), Some(first));
/// ```
#[derive(Clone, Debug)]
pub struct AddressPool {
    range: Ipv4Net,
    next: u32,
    by_owner: BTreeMap<String, Ipv4Addr>,
    by_address: BTreeMap<Ipv4Addr, String>,
}

impl AddressPool {
    /// A pool in which nothing is taken. The network address, the first host address (the
    /// node's) and the broadcast address are never given out.
    pub fn new(range: Ipv4Net) -> Self {
        Self { range, next: 0, by_owner: BTreeMap::new(), by_address: BTreeMap::new() }
    }

    /// The range given out.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// The owner's address: the one it has, else `preferred` when that is free, else the next
    /// free one; `None` when all are taken.
    pub fn allocate(&mut self, owner: &str, preferred: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        if let Some(address) = self.by_owner.get(owner) {
            return Some(*address);
        }
        let address = preferred.filter(|a| self.is_free(*a)).or_else(|| self.next_free())?;
        self.by_owner.insert(owner.to_owned(), address);
        self.by_address.insert(address, owner.to_owned());
        Some(address)
    }

    /// Gives the owner's address back.
    pub fn release(&mut self, owner: &str) -> Option<Ipv4Addr> {
        let address = self.by_owner.remove(owner)?;
        self.by_address.remove(&address);
        Some(address)
    }

    /// How many addresses can be given out at once.
    fn size(&self) -> u32 {
        let bits = 32 - u32::from(self.range.prefix_len());
        (1u64 << bits).saturating_sub(3).try_into().unwrap_or(u32::MAX)
    }

    fn first(&self) -> u32 {
        u32::from(self.range.network()).saturating_add(2)
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).checked_sub(self.first());
        offset.is_some_and(|o| o < self.size()) && !self.by_address.contains_key(&address)
    }

    fn next_free(&mut self) -> Option<Ipv4Addr> {
        let size = self.size();
        if self.by_address.len() as u64 >= u64::from(size) {
            return None;
        }
        for step in 0..size {
            let offset = (u64::from(self.next) + u64::from(step)) % u64::from(size);
            let offset = u32::try_from(offset).ok()?;
            let address = Ipv4Addr::from(self.first() + offset);
            if self.is_free(address) {
                self.next = (offset + 1) % size;
                return Some(address);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn pool(range: &str) -> AddressPool {
        AddressPool::new(range.parse().expect("a range"))
    }

    #[test]
    fn a_small_range_is_used_up_and_reused() {
        let mut pool = pool("10.0.0.0/29");
        let all: Vec<String> = (0..5)
            .map(|i| pool.allocate(&format!("p{i}"), None).expect("free").to_string())
            .collect();
        assert_eq!(all, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert_eq!(pool.allocate("p5", None), None);
        pool.release("p3");
        assert_eq!(pool.allocate("p5", None).map(|a| a.to_string()), Some("10.0.0.5".into()));
    }

    #[test]
    fn a_preferred_address_is_kept_when_free() {
        let mut pool = pool("10.244.0.0/24");
        let wanted = "10.244.0.40".parse().ok();
        assert_eq!(pool.allocate("a", wanted), wanted);
        assert_ne!(pool.allocate("b", wanted), wanted);
        for outside in ["10.244.0.0", "10.244.0.1", "10.244.0.255", "10.245.0.9"] {
            let got = pool.allocate(outside, outside.parse().ok()).expect("another");
            assert_ne!(got.to_string(), outside);
        }
    }

    #[test]
    fn ranges_without_room_give_nothing() {
        for range in ["10.0.0.0/32", "10.0.0.0/31"] {
            assert_eq!(pool(range).allocate("a", None), None, "{range}");
        }
    }

    proptest! {
        #[test]
        fn nobody_shares_an_address(
            steps in prop::collection::vec((0u8..12, prop::bool::ANY), 0..200)
                .prop_map(|v| v.into_iter().collect::<Vec<_>>()),
        ) {
            let mut pool = pool("10.0.0.0/28");
            let mut held = BTreeMap::new();
            for (owner, take) in steps {
                let name = format!("p{owner}");
                if take {
                    if let Some(address) = pool.allocate(&name, None) {
                        held.insert(name, address);
                    }
                } else {
                    prop_assert_eq!(pool.release(&name), held.remove(&name));
                }
                let distinct: BTreeSet<_> = held.values().collect();
                prop_assert_eq!(distinct.len(), held.len());
                prop_assert!(held.values().all(|a| pool.range().contains(a)));
            }
        }
    }
}
