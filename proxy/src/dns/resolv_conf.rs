//! `/etc/resolv.conf`: servers and search domains, as the C library reads them.

use std::net::{IpAddr, SocketAddr};

/// More servers are not used, as in the C library.
const SERVERS: usize = 3;
/// More search domains are not used.
const SEARCH: usize = 32;
/// More dots are not asked for, as in the C library.
const MAX_DOTS: usize = 15;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// Servers, in order.
    pub servers: Vec<SocketAddr>,
    /// Search domains in lower case, without the last dot.
    pub search: Vec<String>,
    /// A name with so many dots is asked for as it is before search domains are tried.
    pub ndots: usize,
}

impl Default for ResolvConf {
    fn default() -> Self {
        Self { servers: Vec::new(), search: Vec::new(), ndots: 1 }
    }
}

impl ResolvConf {
    /// Reads the file's text; what it cannot read it leaves out.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < SERVERS => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    conf.servers.extend(address.map(|ip| SocketAddr::new(ip, 53)));
                }
                // The last line counts.
                Some("search" | "domain") => {
                    let domains = words.take(SEARCH).map(|word| word.trim_end_matches('.'));
                    let domains = domains.filter(|word| !word.is_empty());
                    conf.search = domains.map(str::to_ascii_lowercase).collect();
                }
                Some("options") => {
                    let mut given =
                        words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    conf.ndots =
                        given.next_back().map_or(conf.ndots, |dots: usize| dots.min(MAX_DOTS));
                }
                _ => {}
            }
        }
        conf
    }

    /// The servers without `own`, which would ask this server again.
    pub fn without(mut self, own: SocketAddr) -> Self {
        self.servers.retain(|server| *server != own);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_search_domains_are_read() {
        let text = "# made by the kubelet\nnameserver 10.96.0.10\nnameserver fd00::1\nnameserver x\n\
                    search default.svc.cluster.local SVC.cluster.local. .\noptions ndots:5\n";
        let conf = ResolvConf::parse(text);
        assert_eq!(conf.servers, ["10.96.0.10:53", "[fd00::1]:53"].map(|a| a.parse().unwrap()));
        assert_eq!(conf.search, ["default.svc.cluster.local", "svc.cluster.local"]);
        assert_eq!((conf.ndots, ResolvConf::parse("").ndots), (5, 1));
        let own = "10.96.0.10:53".parse().unwrap();
        assert_eq!(conf.without(own).servers.len(), 1);
    }
}
