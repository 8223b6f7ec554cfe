//! Addresses of hosts for the proxy's own connections, and how long they hold: what the C library
//! finds, which does not tell the latter.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::Query;
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::AsyncReadExt;

use super::forward::Forwarder;
use super::resolv_conf::ResolvConf;

/// Bytes of either file at most; what is beyond is not read.
const MAX_FILE: u64 = 256 * 1024;
/// Addresses of one host at most.
const MAX_ADDRESSES: usize = 256;

/// What a name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// All addresses, in the answer's order.
    pub addresses: Vec<IpAddr>,
    /// How long they hold; `None` when nobody said so.
    pub ttl: Option<Duration>,
}

/// Where hosts are looked up.
#[derive(Clone, Debug)]
pub struct HostLookup {
    /// `/etc/hosts`.
    pub hosts: PathBuf,
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

impl HostLookup {
    /// The addresses of a host: those of the hosts file; else of the pod's servers, under the
    /// names that search domains make of it; else of whatever the C library knows besides.
    ///
    /// # Errors
    /// When nobody knows the host.
    pub async fn resolve(&self, host: &str) -> io::Result<Resolved> {
        if let Ok(ip) = host.parse() {
            return Ok(Resolved { addresses: vec![ip], ttl: None });
        }
        let listed = in_hosts(&read(&self.hosts).await, host);
        if !listed.is_empty() {
            return Ok(Resolved { addresses: listed, ttl: None });
        }
        let conf = ResolvConf::parse(&read(&self.resolv_conf).await);
        let forwarder = Forwarder::new(conf.servers.clone(), false);
        for name in candidates(&conf, host) {
            if let Some(found) = ask(&forwarder, &name).await {
                return Ok(found);
            }
        }
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(Resolved { addresses: found.map(|address| address.ip()).collect(), ttl: None })
    }
}

/// A file that is not there says nothing.
async fn read(path: &PathBuf) -> String {
    let mut text = Vec::new();
    if let Ok(file) = tokio::fs::File::open(path).await {
        let _as_far_as_it_can_be_read = file.take(MAX_FILE).read_to_end(&mut text).await;
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host))
            && found.len() < MAX_ADDRESSES
        {
            found.push(ip);
        }
    }
    found
}

/// The names to ask for, in the C library's order: as it is first where it has dots enough.
fn candidates(conf: &ResolvConf, host: &str) -> Vec<String> {
    if let Some(whole) = host.strip_suffix('.') {
        return vec![whole.to_owned()];
    }
    let mut all: Vec<String> =
        conf.search.iter().map(|domain| format!("{host}.{domain}")).collect();
    let at = if host.matches('.').count() >= conf.ndots { 0 } else { all.len() };
    all.insert(at, host.to_owned());
    all
}

async fn ask(forwarder: &Forwarder, name: &str) -> Option<Resolved> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    let of = |kind| Query::query(name.clone(), kind);
    let (v4, v6) = (of(RecordType::A), of(RecordType::AAAA));
    let (v4, v6) = tokio::join!(forwarder.ask(&v4), forwarder.ask(&v6));
    let mut found = Resolved::default();
    for record in [v4, v6].into_iter().flatten().flat_map(|answer| answer.answers) {
        let ip = match &record.data {
            RData::A(ip) => Some(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
            RData::CNAME(_) => None,
            _ => continue,
        };
        let ttl = Duration::from_secs(u64::from(record.ttl));
        found.ttl = Some(found.ttl.map_or(ttl, |least| least.min(ttl)));
        found.addresses.extend(ip.filter(|_| found.addresses.len() < MAX_ADDRESSES));
    }
    (!found.addresses.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use hickory_proto::op::{Message, MessageType, ResponseCode};
    use hickory_proto::rr::rdata::{A, CNAME};
    use hickory_proto::rr::{RData, Record};
    use tokio::net::UdpSocket;

    use super::*;

    #[test]
    fn hosts_files_are_read() {
        let text = "127.0.0.1 localhost # here\n10.0.0.1\tA.example. a\nx y\n10.0.0.2 a.example\n";
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(in_hosts(text, "a.example"), [ip("10.0.0.1"), ip("10.0.0.2")]);
        assert_eq!(in_hosts(text, "here"), Vec::<IpAddr>::new());
    }

    #[test]
    fn names_are_tried_in_the_c_librarys_order() {
        let text = "search default.svc cluster.local\noptions ndots:2\n";
        let conf = ResolvConf::parse(text);
        assert_eq!(
            candidates(&conf, "a.b.c"),
            ["a.b.c", "a.b.c.default.svc", "a.b.c.cluster.local"]
        );
        assert_eq!(candidates(&conf, "a.b"), ["a.b.default.svc", "a.b.cluster.local", "a.b"]);
        assert_eq!(candidates(&conf, "a.b."), ["a.b"]);
    }

    /// A server that knows `www.example`, which is another name for `host.example`.
    async fn server() -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 1500];
            while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
                let mut reply = Message::from_vec(&buffer[..count]).unwrap();
                reply.metadata.message_type = MessageType::Response;
                let question = reply.queries[0].clone();
                let known = question.name().to_ascii() == "www.example.";
                if !known {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                } else if question.query_type() == RecordType::A {
                    let target = Name::from_ascii("host.example.").unwrap();
                    let alias = RData::CNAME(CNAME(target.clone()));
                    reply.add_answer(Record::from_rdata(question.name().clone(), 300, alias));
                    let data = RData::A(A(Ipv4Addr::new(10, 0, 0, 7)));
                    reply.add_answer(Record::from_rdata(target, 20, data));
                }
                socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test(flavor = "local")]
    async fn the_least_time_to_live_counts() {
        let forwarder = Forwarder::new(vec![server().await], false);
        let found = ask(&forwarder, "www.example").await.unwrap();
        assert_eq!(found.addresses, [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7))]);
        assert_eq!(found.ttl, Some(Duration::from_secs(20)));
        assert_eq!(ask(&forwarder, "other.example").await, None);
    }
}
