//! CPU time and memory of a process, from `/proc`.

use std::time::Duration;

use crate::run::Error;

/// What a process has used so far, or several together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time in user mode and in the kernel.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub rss: u64,
    /// Resident memory that is no file's, in bytes.
    pub anonymous: u64,
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            rss: self.rss + other.rss,
            anonymous: self.anonymous + other.anonymous,
        }
    }
}

/// What a process has used so far.
pub fn of(id: u32) -> Result<Usage, Error> {
    let read = |file: &str| {
        let path = format!("/proc/{id}/{file}");
        std::fs::read_to_string(&path).map_err(|error| Error::new(format!("{path}: {error}")))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    let cpu = cpu(&stat).ok_or_else(|| Error::new(format!("/proc/{id}/stat has no times")))?;
    let field = |name| kilobytes(&status, name).unwrap_or_default() * 1024;
    Ok(Usage { cpu, rss: field("VmRSS:"), anonymous: field("RssAnon:") })
}

/// Ticks per second of `/proc`, which Linux fixes for its user interface.
const TICKS: u64 = 100;

/// User and kernel time: fields 14 and 15, counted after the name, which may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + kernel) * 1000 / TICKS))
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_whatever_name_a_process_has() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 10 0 0 0 250 50 3 4 20 0 3 0 99 1000 20";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu("7 (a"), None);
    }

    #[test]
    fn memory_is_in_kilobytes() {
        let status = "Name:\ta\nVmRSS:\t    1234 kB\nRssAnon:\t      12 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(1234));
        assert_eq!(kilobytes(status, "RssAnon:"), Some(12));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = of(std::process::id()).unwrap();
        assert!(usage.rss > usage.anonymous && usage.anonymous > 0);
    }
}
