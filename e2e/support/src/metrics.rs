//! Prometheus' text format, read as far as the tests need it.

use std::collections::BTreeMap;

/// One series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// Whether all of `labels` are as given.
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|own| own == value))
    }
}

/// Reads an exposition.
///
/// # Panics
/// On a line that is not of the format.
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample).collect()
}

/// The sum of a metric's series that have `labels`.
pub fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    samples.iter().filter(|one| one.name == name && one.has(labels)).map(|one| one.value).sum()
}

fn sample(line: &str) -> Sample {
    let (series, value) = match line.split_once('}') {
        Some((series, rest)) => (series, rest),
        None => line.split_once(' ').unwrap_or_else(|| panic!("no value in {line:?}")),
    };
    let value = value.split_whitespace().next().and_then(|value| value.parse().ok());
    let value = value.unwrap_or_else(|| panic!("no number in {line:?}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    // A comma or an escaped quote within a value does not occur in the labels looked at.
    let labels = labels
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    Sample { name: name.to_owned(), labels, value }
}

#[test]
fn series_are_read_with_their_labels() {
    let text = "# HELP a b\na{x=\"1\",y=\"z=w\"} 2.5\nb 7 1700000000000\nc{x=\"\"} +Inf\n";
    let read = parse(text);
    assert_eq!(sum(&read, "a", &[("x", "1"), ("y", "z=w")]), 2.5);
    assert_eq!(sum(&read, "b", &[]), 7.0);
    assert!(sum(&read, "c", &[("x", "")]).is_infinite());
    assert_eq!(sum(&read, "a", &[("x", "2")]), 0.0);
}
