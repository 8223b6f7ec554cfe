//! Which resolvers know the names outside the cluster.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// More are not used, as in the C library.
const SERVERS: usize = 3;
/// A larger file is not a resolv.conf.
const FILE: usize = 64 * 1024;

/// Where names outside the cluster are asked for.
#[derive(Clone, Debug)]
pub enum Upstreams {
    /// These servers; none means that such names are refused.
    Fixed(Vec<SocketAddr>),
    /// The servers of a resolv.conf, read at each use, since a laptop changes networks.
    File(PathBuf),
}

impl Upstreams {
    /// The host's own resolvers.
    pub fn host() -> Self {
        Self::File(PathBuf::from("/etc/resolv.conf"))
    }

    /// The servers to ask now; none when there are none.
    pub(super) async fn servers(&self) -> Vec<SocketAddr> {
        match self {
            Self::Fixed(servers) => servers.clone(),
            Self::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(text) if text.len() <= FILE => name_servers(&text),
                _ => Vec::new(),
            },
        }
    }
}

/// The first three `nameserver` lines of a resolv.conf(5).
///
/// ```
/// use mesh_local::dns::name_servers;
///
/// let servers = name_servers("# mine\nnameserver 192.0.2.1\nsearch example.org\n");
/// assert_eq!(servers, ["192.0.2.1:53".parse().unwrap()]);
/// ```
pub fn name_servers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let keyword = words.next()?;
            let address: IpAddr = words.next()?.parse().ok()?;
            (keyword == "nameserver").then_some(SocketAddr::new(address, 53))
        })
        .take(SERVERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_servers_count() {
        let cases = [
            ("", vec![]),
            ("nameserver\nnameserver x\n nameservers 1.1.1.1\n", vec![]),
            ("options ndots:5\nnameserver ::1\n", vec!["[::1]:53"]),
            (
                "nameserver 10.0.0.1\nnameserver 10.0.0.2 # two\nnameserver 10.0.0.3\nnameserver 10.0.0.4",
                vec!["10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53"],
            ),
        ];
        for (text, expected) in cases {
            let shown: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
            assert_eq!(shown, expected, "{text:?}");
        }
    }
}
