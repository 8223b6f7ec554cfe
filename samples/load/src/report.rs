//! The summary of a run, line by line as fortio prints it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::engine::Outcome;
use crate::flags::Flags;
use crate::histogram::{Counter, Histogram};
use crate::number::general;

/// What is said before a run.
#[must_use]
pub fn opening(flags: &Flags, cores: usize) -> String {
    let rate = if flags.qps > 0.0 { general(flags.qps, 6) } else { "max".to_owned() };
    let length = match flags.count {
        0 => format!("for {}", go_duration(flags.duration)),
        count => {
            let (each, more) = (count / flags.connections as u64, count % flags.connections as u64);
            format!("for exactly {count} calls ({each} per thread + {more})")
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let (threads, url) = (flags.connections, &flags.url);
    format!(
        "Load {version} running at {rate} queries per second, {threads} connections: {url}\n\
         Starting at {rate} qps with {threads} thread(s) [{cores} cores] {length}\n"
    )
}

/// What is said after it.
#[must_use]
pub fn summary(flags: &Flags, outcome: &Outcome, addresses: &[SocketAddr]) -> String {
    let calls = outcome.times.counter.count;
    let seconds = outcome.elapsed.as_secs_f64();
    let qps = if seconds > 0.0 { calls as f64 / seconds } else { 0.0 };
    let elapsed = go_duration(outcome.elapsed);
    let mut text = format!("Ended after {elapsed} : {calls} calls. qps={}\n", general(qps, 5));
    text.push_str(&histogram("Aggregated Function Time", &outcome.times, &flags.percentiles));
    text.push_str(&histogram("Error cases", &outcome.failures, &[]));
    text.push_str("# Socket and IP used for each connection:\n");
    let address = addresses.first().map(ToString::to_string).unwrap_or_default();
    for (index, sockets) in outcome.sockets.iter().enumerate() {
        text.push_str(&format!("[{index}] {sockets:>3} socket used, resolved to {address}\n"));
    }
    text.push_str(&counter("Connection time (s)", &outcome.connect_times));
    let sockets: u64 = outcome.sockets.iter().sum();
    let least = outcome.sockets.len().min(usize::try_from(calls).unwrap_or(usize::MAX));
    text.push_str(&format!("Sockets used: {sockets} (for perfect keepalive, would be {least})\n"));
    for (code, count) in &outcome.codes {
        let share = 100.0 * *count as f64 / calls.max(1) as f64;
        text.push_str(&format!("Code {code:>3} : {count} ({share:.1} %)\n"));
    }
    text.push_str(&counter("Response Header Sizes", &outcome.head_sizes));
    text.push_str(&counter("Response Body/Total Sizes", &outcome.sizes));
    let mean = outcome.times.counter.mean() * 1e3;
    text.push_str(&format!(
        "All done {calls} calls (plus 0 warmup) {mean:.3} ms avg, {qps:.1} qps\n"
    ));
    text
}

fn counter(name: &str, counter: &Counter) -> String {
    let Counter { count, sum, min, max, .. } = *counter;
    format!(
        "{name} : count {count} avg {} +/- {} min {} max {} sum {}\n",
        general(counter.mean(), 8),
        general(counter.deviation(), 4),
        general(min, 8),
        general(max, 8),
        general(sum, 9)
    )
}

fn histogram(name: &str, histogram: &Histogram, percentiles: &[f64]) -> String {
    let mut text = counter(name, &histogram.counter);
    let buckets = histogram.buckets();
    if buckets.is_empty() {
        return text;
    }
    text.push_str("# range, mid point, percentile, count\n");
    for (index, bucket) in buckets.iter().enumerate() {
        let least = if index == 0 { ">=" } else { ">" };
        let middle = general((bucket.from + bucket.to) / 2.0, 6);
        let (from, to) = (general(bucket.from, 6), general(bucket.to, 6));
        let (percent, count) = (bucket.percent, bucket.count);
        text.push_str(&format!("{least} {from} <= {to} , {middle} , {percent:.2}, {count}\n"));
    }
    for percent in percentiles {
        let value = general(histogram.percentile(*percent), 6);
        text.push_str(&format!("# target {}% {value}\n", general(*percent, 6)));
    }
    text
}

/// A duration as Go prints it.
fn go_duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0 => "0s".to_owned(),
        s if s < 1e-3 => format!("{}µs", general(s * 1e6, 9)),
        s if s < 1.0 => format!("{}ms", general(s * 1e3, 9)),
        s if s < 60.0 => format!("{}s", general(s, 9)),
        s if s < 3600.0 => format!("{}m{}s", (s / 60.0).floor(), general(s % 60.0, 9)),
        s => {
            let minutes = ((s % 3600.0) / 60.0).floor();
            format!("{}h{minutes}m{}s", (s / 3600.0).floor(), general(s % 60.0, 9))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_summary_reads_as_fortios() {
        let mut times = Histogram::new(0.001);
        [0.0005, 0.0015, 0.0015, 0.013].iter().for_each(|time| times.record(*time));
        let mut failures = Histogram::new(0.001);
        failures.record(0.0005);
        let mut sizes = Counter::default();
        [100.0, 300.0].iter().for_each(|size| sizes.record(*size));
        let outcome = Outcome {
            elapsed: Duration::from_millis(50),
            times,
            failures,
            codes: BTreeMap::from([(-1, 1), (200, 3)]),
            head_sizes: sizes,
            sizes,
            sockets: vec![1, 2],
            connect_times: Counter::default(),
        };
        let flags = Flags { percentiles: vec![50.0, 99.9], ..Flags::default() };
        let text = summary(&flags, &outcome, &["10.0.0.1:8000".parse().unwrap()]);
        assert_eq!(
            text,
            "Ended after 50ms : 4 calls. qps=80\n\
             Aggregated Function Time : count 4 avg 0.004125 +/- 0.00514 min 0.0005 max 0.013 sum 0.0165\n\
             # range, mid point, percentile, count\n\
             >= 0.0005 <= 0.001 , 0.00075 , 25.00, 1\n\
             > 0.001 <= 0.002 , 0.0015 , 75.00, 2\n\
             > 0.012 <= 0.013 , 0.0125 , 100.00, 1\n\
             # target 50% 0.0015\n\
             # target 99.9% 0.012996\n\
             Error cases : count 1 avg 0.0005 +/- 0 min 0.0005 max 0.0005 sum 0.0005\n\
             # range, mid point, percentile, count\n\
             >= 0.0005 <= 0.0005 , 0.0005 , 100.00, 1\n\
             # Socket and IP used for each connection:\n\
             [0]   1 socket used, resolved to 10.0.0.1:8000\n\
             [1]   2 socket used, resolved to 10.0.0.1:8000\n\
             Connection time (s) : count 0 avg 0 +/- 0 min 0 max 0 sum 0\n\
             Sockets used: 3 (for perfect keepalive, would be 2)\n\
             Code  -1 : 1 (25.0 %)\n\
             Code 200 : 3 (75.0 %)\n\
             Response Header Sizes : count 2 avg 200 +/- 100 min 100 max 300 sum 400\n\
             Response Body/Total Sizes : count 2 avg 200 +/- 100 min 100 max 300 sum 400\n\
             All done 4 calls (plus 0 warmup) 4.125 ms avg, 80.0 qps\n"
        );
    }

    #[test]
    fn durations_as_go_prints_them() {
        for (millis, text) in
            [(0, "0s"), (50, "50ms"), (1500, "1.5s"), (90_000, "1m30s"), (3_661_000, "1h1m1s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
