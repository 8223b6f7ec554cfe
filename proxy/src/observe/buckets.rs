//! Histograms over the bounds Istio uses for durations and sizes, counted with atomics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets; milliseconds or bytes. A last bucket has none.
pub const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// A sum is kept in thousandths: a duration below a millisecond counts.
const SUM_SCALE: f64 = 1000.0;

/// Observations by bucket, their number and their sum.
#[derive(Debug, Default)]
pub struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum: AtomicU64,
}

/// What a histogram holds at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketValues {
    /// Sum of all observations.
    pub sum: f64,
    /// Number of observations.
    pub count: u64,
    /// Upper bound and number of observations in each bucket, not cumulative.
    pub buckets: Vec<(f64, u64)>,
}

impl Buckets {
    /// Counts one observation. Negative and undefined values count as zero.
    pub fn observe(&self, value: f64) {
        let value = if value > 0.0 { value } else { 0.0 };
        let bucket = BOUNDS.partition_point(|bound| value > *bound);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * SUM_SCALE).round() as u64, Ordering::Relaxed);
    }

    /// The values now. Observations made meanwhile may be in some of them.
    pub fn values(&self) -> BucketValues {
        let bounds = BOUNDS.into_iter().chain([f64::MAX]);
        let buckets: Vec<_> =
            bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed))).collect();
        BucketValues {
            sum: self.sum.load(Ordering::Relaxed) as f64 / SUM_SCALE,
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let buckets = Buckets::default();
        for value in [0.5, 0.500_1, 1.0, 3_600_000.0, 3_600_001.0, -1.0, f64::NAN] {
            buckets.observe(value);
        }
        let values = buckets.values();
        assert_eq!(values.buckets[0], (0.5, 3));
        assert_eq!(values.buckets[1], (1.0, 2));
        assert_eq!(values.buckets[18], (3_600_000.0, 1));
        assert_eq!(values.buckets[19], (f64::MAX, 1));
        assert_eq!(values.count, 7);
    }

    #[test]
    fn sums_keep_thousandths() {
        let buckets = Buckets::default();
        buckets.observe(0.25);
        buckets.observe(2.0);
        assert_eq!(buckets.values().sum, 2.25);
    }
}
