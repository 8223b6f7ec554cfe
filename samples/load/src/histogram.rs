//! A histogram of times: fine at the bottom, coarse at the top, with count, mean and deviation.

/// Upper ends of the buckets, in units of the resolution.
const ENDS: [f64; 54] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 14.0, 16.0, 18.0, 20.0, 25.0,
    30.0, 35.0, 40.0, 45.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 120.0, 140.0, 160.0, 180.0, 200.0,
    250.0, 300.0, 350.0, 400.0, 450.0, 500.0, 600.0, 700.0, 800.0, 900.0, 1000.0, 2000.0, 3000.0,
    4000.0, 5000.0, 7500.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0, 100_000.0,
];

/// Count, sum, mean and deviation of values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counter {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    squares: f64,
}

impl Counter {
    /// Adds a value.
    pub fn record(&mut self, value: f64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    /// The mean; 0 without values.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The standard deviation.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        (self.squares / self.count as f64 - self.mean() * self.mean()).max(0.0).sqrt()
    }
}

/// A part of the values: more than `from`, at most `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The lower end: in the first bucket the smallest value.
    pub from: f64,
    /// The upper end: in the last bucket the largest value.
    pub to: f64,
    /// How many values.
    pub count: u64,
    /// How many of all values are at most `to`, in percent.
    pub percent: f64,
}

/// A histogram.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// What is known of all values.
    pub counter: Counter,
    resolution: f64,
    counts: [u64; ENDS.len() + 1],
}

impl Histogram {
    /// With a first bucket as wide as `resolution`.
    #[must_use]
    pub fn new(resolution: f64) -> Self {
        Self { counter: Counter::default(), resolution, counts: [0; ENDS.len() + 1] }
    }

    /// Adds a value.
    pub fn record(&mut self, value: f64) {
        self.counter.record(value);
        let scaled = value / self.resolution;
        let index = ENDS.partition_point(|end| *end < scaled);
        self.counts[index] += 1;
    }

    /// The buckets that have values.
    #[must_use]
    pub fn buckets(&self) -> Vec<Bucket> {
        let last = self.counts.iter().rposition(|count| *count > 0);
        let mut below = 0;
        let mut buckets: Vec<Bucket> = Vec::new();
        for (index, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            below += count;
            let floor = index.checked_sub(1).map_or(0.0, |index| ENDS[index] * self.resolution);
            let end = ENDS.get(index).map_or(f64::MAX, |end| end * self.resolution);
            buckets.push(Bucket {
                from: if buckets.is_empty() { self.counter.min } else { floor },
                to: if Some(index) == last { self.counter.max } else { end },
                count: *count,
                percent: 100.0 * below as f64 / self.counter.count as f64,
            });
        }
        buckets
    }

    /// The value that `percent` of all values do not exceed, drawn straight within its bucket.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> f64 {
        let mut before = 0.0;
        for bucket in self.buckets() {
            if percent <= bucket.percent {
                let share = (percent - before) / (bucket.percent - before);
                return bucket.from + share * (bucket.to - bucket.from);
            }
            before = bucket.percent;
        }
        self.counter.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_percentiles() {
        let mut histogram = Histogram::new(0.001);
        for value in [0.0005, 0.0015, 0.0015, 0.013] {
            histogram.record(value);
        }
        let found: Vec<(f64, f64, u64, f64)> =
            histogram.buckets().iter().map(|b| (b.from, b.to, b.count, b.percent)).collect();
        assert_eq!(
            found,
            [(0.0005, 0.001, 1, 25.0), (0.001, 0.002, 2, 75.0), (0.012, 0.013, 1, 100.0)]
        );
        for (percent, value) in [(25.0, 0.001), (50.0, 0.0015), (75.0, 0.002), (100.0, 0.013)] {
            let got = histogram.percentile(percent);
            assert!((got - value).abs() < 1e-9, "{percent}: {got}");
        }
        assert!((histogram.counter.mean() - 0.004_125).abs() < 1e-9);
        assert!((Histogram::new(0.001).percentile(50.0)).abs() < f64::EPSILON);
    }

    proptest::proptest! {
        #[test]
        fn percentiles_rise_within_the_values(values in proptest::collection::vec(0.0_f64..200.0, 1..50)) {
            let mut histogram = Histogram::new(0.001);
            values.iter().for_each(|value| histogram.record(*value));
            let counted: u64 = histogram.buckets().iter().map(|bucket| bucket.count).sum();
            proptest::prop_assert_eq!(counted, values.len() as u64);
            let mut last = histogram.counter.min - 1e-9;
            for percent in 1..=100 {
                let value = histogram.percentile(f64::from(percent));
                proptest::prop_assert!(value >= last - 1e-9 && value <= histogram.counter.max + 1e-9);
                last = value;
            }
        }
    }
}
