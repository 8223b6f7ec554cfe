//! Sends the load: connections side by side, each at its share of the rate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep_until};

use crate::flags::Flags;
use crate::histogram::{Counter, Histogram};
use crate::target::{Caller, Target};

/// The code of a request that was not answered.
pub const NO_ANSWER: i32 = -1;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it took.
    pub elapsed: Duration,
    /// Times of all requests, in seconds.
    pub times: Histogram,
    /// Times of those that failed, in seconds.
    pub failures: Histogram,
    /// How often each status came; [`NO_ANSWER`] for none.
    pub codes: BTreeMap<i32, u64>,
    /// Bytes of heads.
    pub head_sizes: Counter,
    /// Bytes of heads and bodies.
    pub sizes: Counter,
    /// Connections that each caller opened.
    pub sockets: Vec<u64>,
    /// How long connecting took, in seconds.
    pub connect_times: Counter,
}

impl Outcome {
    fn new(resolution: f64) -> Self {
        Self {
            elapsed: Duration::ZERO,
            times: Histogram::new(resolution),
            failures: Histogram::new(resolution),
            codes: BTreeMap::new(),
            head_sizes: Counter::default(),
            sizes: Counter::default(),
            sockets: Vec::new(),
            connect_times: Counter::default(),
        }
    }
}

/// One request's record.
struct Call {
    seconds: f64,
    code: i32,
    head_bytes: u64,
    body_bytes: u64,
}

/// Runs the load of `flags` against `addresses`; `warn` hears of every failure.
pub async fn run(
    flags: &Flags,
    target: &Target,
    addresses: &[SocketAddr],
    warn: &(dyn Fn(&str) + Sync),
) -> Outcome {
    let start = Instant::now();
    let workers = (0..flags.connections).map(|index| worker(flags, target, addresses, index, warn));
    let mut outcome = Outcome::new(flags.resolution);
    for (calls, sockets, connect_times) in join_all(workers).await {
        outcome.sockets.push(sockets);
        connect_times.into_iter().for_each(|time| outcome.connect_times.record(time));
        for call in calls {
            outcome.times.record(call.seconds);
            if !(200..300).contains(&call.code) {
                outcome.failures.record(call.seconds);
            }
            *outcome.codes.entry(call.code).or_default() += 1;
            outcome.head_sizes.record(call.head_bytes as f64);
            outcome.sizes.record((call.head_bytes + call.body_bytes) as f64);
        }
    }
    outcome.elapsed = start.elapsed();
    outcome
}

async fn worker(
    flags: &Flags,
    target: &Target,
    addresses: &[SocketAddr],
    index: usize,
    warn: &(dyn Fn(&str) + Sync),
) -> (Vec<Call>, u64, Vec<f64>) {
    let mut caller = Caller::new(target, addresses);
    let mut calls = Vec::new();
    let start = Instant::now();
    let end = start + flags.duration;
    let share = share(flags.count, flags.connections, index);
    let pause = pause(flags.qps, flags.connections);
    for turn in 0_u32.. {
        let due = start + pause * turn;
        let over = match share {
            Some(share) => u64::from(turn) >= share,
            None => due >= end || Instant::now() >= end,
        };
        if over {
            break;
        }
        if !pause.is_zero() {
            sleep_until(due).await;
        }
        let begun = Instant::now();
        let (code, head_bytes, body_bytes) = match caller.call(false).await {
            Ok(answer) => {
                let code = i32::from(answer.head.status);
                if !(200..300).contains(&code) {
                    let version = &answer.head.version;
                    warn(&format!("Non ok http code {code} ({version} {code}) [thread {index}]"));
                }
                (code, answer.head.raw.len() as u64, answer.body_bytes)
            }
            Err(error) => {
                warn(&format!("{error} [thread {index}]"));
                (NO_ANSWER, 0, 0)
            }
        };
        let seconds = begun.elapsed().as_secs_f64();
        calls.push(Call { seconds, code, head_bytes, body_bytes });
    }
    (calls, caller.sockets, caller.connect_times)
}

/// How many of `count` requests a connection sends; `None` is as many as there is time for.
fn share(count: u64, connections: usize, index: usize) -> Option<u64> {
    let connections = connections as u64;
    let more = u64::from((index as u64) < count % connections);
    (count > 0).then(|| count / connections + more)
}

/// The time between a connection's requests.
fn pause(qps: f64, connections: usize) -> Duration {
    if qps > 0.0 {
        Duration::try_from_secs_f64(connections as f64 / qps).unwrap_or(Duration::MAX)
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_shared() {
        for (count, connections) in [(20, 2), (10, 3), (2, 4), (1, 1)] {
            let shares = (0..connections).map(|index| share(count, connections, index).unwrap());
            assert_eq!(shares.sum::<u64>(), count);
        }
        assert_eq!(share(0, 2, 0), None);
        assert_eq!(pause(8.0, 4), Duration::from_millis(500));
        assert_eq!(pause(0.0, 4), Duration::ZERO);
    }
}
