//! Consistent hashing: ring and Maglev.

use std::sync::Arc;

use crate::cluster::LbPolicy;
use crate::endpoint::Endpoint;
use crate::http::hash_policy::fnv;

/// Entries of a ring or table at most, whatever is asked for.
const MAX_ENTRIES: u64 = 1 << 20;

/// Ring or table, kept while the endpoints stay the same.
#[derive(Debug, Default)]
pub(super) struct HashTables {
    made_of: Vec<Arc<Endpoint>>,
    /// Ring: hash and index of an endpoint, sorted by hash. Maglev: only the index counts.
    entries: Vec<(u64, u32)>,
}

impl HashTables {
    /// The index of the endpoint that a hash falls on.
    pub(super) fn pick(
        &mut self,
        policy: &LbPolicy,
        endpoints: &[&Arc<Endpoint>],
        hash: u64,
    ) -> Option<usize> {
        let same = self.made_of.len() == endpoints.len()
            && self.made_of.iter().zip(endpoints).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            self.made_of = endpoints.iter().map(|endpoint| Arc::clone(endpoint)).collect();
            self.entries = match *policy {
                LbPolicy::Maglev { table_size } => maglev(endpoints, table_size),
                LbPolicy::RingHash { minimum_ring_size, maximum_ring_size } => {
                    ring(endpoints, minimum_ring_size, maximum_ring_size)
                }
                _ => Vec::new(),
            };
        }
        let at = match policy {
            LbPolicy::Maglev { .. } => {
                usize::try_from(mix(hash).checked_rem(self.entries.len() as u64)?).ok()?
            }
            _ => self.entries.partition_point(|(point, _)| *point < hash),
        };
        let (_, index) = self.entries.get(at).or_else(|| self.entries.first())?;
        usize::try_from(*index).ok()
    }
}

/// Points on a ring: each endpoint has as many as its weight asks for.
fn ring(endpoints: &[&Arc<Endpoint>], minimum: u64, maximum: u64) -> Vec<(u64, u32)> {
    let total: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
    let most = maximum.clamp(1, MAX_ENTRIES);
    let size = minimum.max(endpoints.len() as u64).min(most);
    let mut entries = Vec::new();
    for (index, endpoint) in (0_u32..).zip(endpoints) {
        let points = (size * u64::from(endpoint.weight)).div_ceil(total.max(1));
        let key = endpoint.address.to_string();
        for point in 0..points {
            entries.push((fnv(format!("{key}_{point}").as_bytes()), index));
        }
    }
    entries.sort_unstable();
    entries
}

/// Maglev's table: endpoints take free entries in turn, each in the order of its own permutation.
fn maglev(endpoints: &[&Arc<Endpoint>], size: u64) -> Vec<(u64, u32)> {
    let size = size.clamp(1, MAX_ENTRIES);
    if endpoints.is_empty() {
        return Vec::new();
    }
    let most = endpoints.iter().map(|endpoint| endpoint.weight).max().unwrap_or(1).max(1);
    let mut builders: Vec<(u64, u64, u64, u64)> = endpoints
        .iter()
        .map(|endpoint| {
            let key = endpoint.address.to_string();
            let offset = fnv(key.as_bytes()) % size;
            let skip = fnv(format!("{key}#").as_bytes()) % (size - 1).max(1) + 1;
            (offset, skip, 0, 0)
        })
        .collect();
    let mut table = vec![u32::MAX; usize::try_from(size).unwrap_or(1)];
    let mut free = table.len();
    while free > 0 {
        for (index, (builder, endpoint)) in (0_u32..).zip(builders.iter_mut().zip(endpoints)) {
            let (offset, skip, next, credit) = builder;
            *credit += u64::from(endpoint.weight.max(1));
            if *credit < u64::from(most) || free == 0 {
                continue;
            }
            *credit -= u64::from(most);
            // With a size that is no prime a permutation may miss entries: it then walks on.
            for tries in 0..2 * size {
                let step = if tries < size { *skip } else { 1 };
                let at = usize::try_from((*offset + *next * step) % size).unwrap_or(0);
                *next += 1;
                if table[at] == u32::MAX {
                    table[at] = index;
                    free -= 1;
                    break;
                }
            }
        }
    }
    table.into_iter().map(|index| (0, index)).collect()
}

/// Spreads a hash over all bits.
pub(super) fn mix(hash: u64) -> u64 {
    fnv(&hash.to_le_bytes())
}
