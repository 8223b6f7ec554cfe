//! What was measured: rounds, their medians, ratios; as a table and as JSON.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::load::Load;
use super::usage::Usage;
use crate::run::Error;

/// One round of one proxy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    /// CPU time of the proxies for a request, in microseconds.
    pub cpu_us_per_request: f64,
    /// Requests answered in a second.
    pub requests_per_second: f64,
    /// Median latency, in microseconds.
    pub p50_us: f64,
    /// Latency that 99 of 100 requests stay below, in microseconds.
    pub p99_us: f64,
    /// Resident memory after the round, in bytes.
    pub rss_bytes: f64,
    /// The part of it that is no file's, in bytes.
    pub anonymous_bytes: f64,
}

impl Round {
    /// A round from what was used before and after it.
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn new(before: &Usage, after: &Usage, load: &Load) -> Self {
        let cpu = after.cpu.saturating_sub(before.cpu);
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        Self {
            cpu_us_per_request: us(cpu) / load.requests as f64,
            requests_per_second: load.per_second,
            p50_us: us(load.p50),
            p99_us: us(load.p99),
            rss_bytes: after.rss as f64,
            anonymous_bytes: after.anonymous as f64,
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} us CPU/request, {:.0} requests/s, p50 {:.0} us, p99 {:.0} us",
            self.cpu_us_per_request, self.requests_per_second, self.p50_us, self.p99_us
        )
    }
}

/// All rounds of one case.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    case: &'static str,
    connections: u32,
    seconds: u64,
    proxies: Vec<Rounds>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rounds {
    name: &'static str,
    rounds: Vec<Round>,
}

/// Rows of the table: name, figure, its unit's size.
type Row = (&'static str, fn(&Round) -> f64, f64);

const ROWS: [Row; 6] = [
    ("CPU us/request", |round| round.cpu_us_per_request, 1.0),
    ("requests/s", |round| round.requests_per_second, 1.0),
    ("p50 us", |round| round.p50_us, 1.0),
    ("p99 us", |round| round.p99_us, 1.0),
    ("RSS MB", |round| round.rss_bytes, 1e6),
    ("anonymous MB", |round| round.anonymous_bytes, 1e6),
];

impl Report {
    /// A case without rounds so far.
    pub fn new(case: &'static str, connections: u32, seconds: u64) -> Self {
        Self { case, connections, seconds, proxies: Vec::new() }
    }

    /// Adds a proxy's round.
    pub fn add(&mut self, name: &'static str, round: Round) {
        match self.proxies.iter_mut().find(|proxy| proxy.name == name) {
            Some(proxy) => proxy.rounds.push(round),
            None => self.proxies.push(Rounds { name, rounds: vec![round] }),
        }
    }

    fn table(&self) -> String {
        let rounds = self.proxies.first().map_or(0, |proxy| proxy.rounds.len());
        let mut out = format!(
            "{}: {} connections, rounds of {} s: {rounds}, medians (lowest to highest)\n",
            self.case, self.connections, self.seconds
        );
        for (row, figure, unit) in ROWS {
            out.push_str(&format!("  {row:<15}"));
            let all: Vec<_> =
                self.proxies.iter().map(|proxy| spread(&proxy.rounds, figure)).collect();
            for (proxy, [low, middle, high]) in self.proxies.iter().zip(&all) {
                let [low, middle, high] = [low / unit, middle / unit, high / unit];
                let range = format!("({low:.1} to {high:.1})");
                out.push_str(&format!("  {} {middle:>9.1} {range:<22}", proxy.name));
            }
            if let [[_, ours, _], [_, peers, _]] = all[..] {
                out.push_str(&format!("  ratio {:.2}", ours / peers));
            }
            out.push('\n');
        }
        out
    }
}

/// Lowest, median and highest of a figure.
fn spread(rounds: &[Round], figure: fn(&Round) -> f64) -> [f64; 3] {
    let mut all: Vec<f64> = rounds.iter().map(figure).collect();
    all.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (all.first(), all.last()) else { return [f64::NAN; 3] };
    let half = all.len() / 2;
    let middle = if all.len() % 2 == 1 { all[half] } else { (all[half - 1] + all[half]) / 2.0 };
    [*low, middle, *high]
}

/// Prints the reports of all cases.
pub fn print(reports: &[Report], json: bool) -> Result<(), Error> {
    let text = if json {
        serde_json::to_string_pretty(reports).map_err(|error| Error::new(error.to_string()))?
    } else {
        reports.iter().map(Report::table).collect::<Vec<_>>().join("\n")
    };
    writeln!(std::io::stdout(), "{}", text.trim_end())
        .map_err(|error| Error::new(format!("cannot write to standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(cpu: u64) -> Round {
        let load = Load {
            requests: 1000,
            per_second: 500.0,
            p50: Duration::from_micros(10),
            p99: Duration::from_micros(90),
        };
        let before = Usage::default();
        let after = Usage { cpu: Duration::from_millis(cpu), rss: 3_000_000, anonymous: 1_000_000 };
        Round::new(&before, &after, &load)
    }

    #[test]
    fn the_table_has_medians_and_ratios() {
        let mut report = Report::new("plain", 64, 10);
        for (ours, envoys) in [(10, 30), (12, 32), (50, 28)] {
            report.add("lateen", round(ours));
            report.add("envoy", round(envoys));
        }
        let table = report.table();
        let cpu = table.lines().find(|line| line.contains("CPU")).unwrap();
        assert!(cpu.contains("lateen      12.0 (10.0 to 50.0)"), "{table}");
        assert!(cpu.contains("envoy      30.0") && cpu.ends_with("ratio 0.40"), "{table}");
        assert!(table.contains("RSS MB") && table.contains("rounds of 10 s: 3"), "{table}");
    }

    #[test]
    fn an_even_number_of_rounds_has_a_median_too() {
        let figure: fn(&Round) -> f64 = |round| round.cpu_us_per_request;
        assert_eq!(spread(&[round(10), round(20)], figure), [10.0, 15.0, 20.0]);
    }
}
