//! The load: wrk over HTTP/1.1 with keep-alive, and what it says of it.

use std::path::Path;
use std::time::Duration;

use super::process::{Cpu, on};
use crate::run::Error;
use crate::tools::Tool;

/// Makes the load.
pub const WRK: Tool = Tool {
    program: "wrk",
    purpose: "the load of the benchmarks",
    install: "sudo apt-get install wrk",
};

/// What one round of load came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests that were answered.
    pub requests: u64,
    /// The same, per second.
    pub per_second: f64,
    /// Half of the responses came within this.
    pub p50: Duration,
    /// 99 of 100 responses came within this.
    pub p99: Duration,
}

/// Loads a port of this machine for a time, as fast as it answers.
pub fn run(port: u16, connections: u32, time: Duration) -> Result<Load, Error> {
    let mut command = on(Cpu::Rest, Path::new(WRK.program));
    command.args(["--threads", "1", "--latency", "--header", "Host: server.bench"]);
    command.args(["--connections", &connections.to_string()]);
    command.args(["--duration", &format!("{}s", time.as_secs())]);
    command.arg(format!("http://127.0.0.1:{port}/"));
    let output =
        command.output().map_err(|error| Error::new(format!("cannot run wrk: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(Error::new(format!("wrk ended with {}: {text}", output.status)));
    }
    parse(&text).map_err(|why| Error::new(format!("{why}:\n{text}")))
}

fn parse(text: &str) -> Result<Load, String> {
    let line = |name: &str| text.lines().map(str::trim).find_map(|line| line.strip_prefix(name));
    for wrong in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        if let Some(count) = line(wrong) {
            return Err(format!("the load found errors: {wrong}{count}"));
        }
    }
    let missing = |name: &str| format!("wrk said nothing of {name}");
    let time = |name: &str| line(name).and_then(duration).ok_or_else(|| missing(name));
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    let requests = requests.and_then(|(count, _)| count.parse().ok());
    let rate = line("Requests/sec:").and_then(|rate| rate.trim().parse().ok());
    Ok(Load {
        requests: requests.filter(|count| *count > 0).ok_or_else(|| missing("requests"))?,
        per_second: rate.ok_or_else(|| missing("Requests/sec:"))?,
        p50: time("50%")?,
        p99: time("99%")?,
    })
}

/// `635.00us`, `1.02ms`, `1.50s`, `1.20m`.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.05ms  236.61us   4.35ms   79.13%
    Req/Sec    60.95k     6.02k   69.50k    65.00%
  Latency Distribution
     50%  635.00us
     75%    1.14ms
     90%    1.30ms
     99%    1.50s
  121296 requests in 2.00s, 141.91MB read
Requests/sec:  60523.71
Transfer/sec:     70.81MB
";

    #[test]
    fn what_wrk_says_is_read() {
        let load = parse(SAID).unwrap();
        assert_eq!((load.requests, load.per_second), (121_296, 60_523.71));
        assert_eq!((load.p50, load.p99), (Duration::from_micros(635), Duration::from_millis(1500)));
    }

    #[test]
    fn a_round_with_errors_is_none() {
        for wrong in [
            "  Socket errors: connect 0, read 3, write 0, timeout 0",
            "  Non-2xx or 3xx responses: 7",
        ] {
            let said = SAID.replace("Requests/sec", &format!("{wrong}\nRequests/sec"));
            assert!(parse(&said).unwrap_err().contains("the load found errors"), "{wrong}");
        }
        assert!(parse("").unwrap_err().contains("requests"));
    }
}
