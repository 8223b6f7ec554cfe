//! What to capture: the flags, checked. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use super::args::Args;

/// Most items of one list.
const MAX_ITEMS: usize = 1024;

/// A flag that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("flag {flag} has the value {value:?}: {expected}")]
pub struct PlanError {
    flag: &'static str,
    value: String,
    expected: &'static str,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What the machine is like, as far as it changes the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The families its kernel has.
    pub families: Vec<Family>,
    /// First and last of each range of user ids that this user namespace has.
    pub uids: Vec<(u32, u32)>,
    /// The same of groups.
    pub gids: Vec<(u32, u32)>,
    /// Servers of `/etc/resolv.conf`.
    pub nameservers: Vec<IpAddr>,
}

/// How inbound connections are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By changing their destination.
    Redirect,
    /// By diverting them to a transparent socket.
    Tproxy,
}

/// Everything, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which<T> {
    /// Everything.
    All,
    /// Only these.
    These(Vec<T>),
}

/// Whose traffic is the proxy's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exempt {
    /// User ids of the proxy's process.
    pub uids: Vec<u32>,
    /// Group ids of the proxy's process.
    pub gids: Vec<u32>,
}

/// Which DNS queries go to the proxy.
pub type Dns = Option<Which<IpAddr>>;

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the proxy takes outbound connections.
    pub outbound_port: u16,
    /// Where the proxy takes inbound connections.
    pub inbound_port: u16,
    /// Where the proxy takes HBONE tunnels; never captured.
    pub tunnel_port: u16,
    /// Traffic that is not captured, because the proxy sends it.
    pub exempt: Exempt,
    /// Ids that cannot be matched here, as `uid 1337`.
    pub unmapped: Vec<String>,
    /// `None` captures nothing inbound.
    pub mode: Option<Mode>,
    /// Inbound ports to capture.
    pub inbound: Which<u16>,
    /// Inbound ports to leave alone.
    pub exclude_inbound: Vec<u16>,
    /// Destinations to capture.
    pub outbound: Which<IpNet>,
    /// Destinations to leave alone.
    pub exclude_outbound: Vec<IpNet>,
    /// Destination ports to capture whatever the destination.
    pub outbound_ports: Vec<u16>,
    /// Destination ports to leave alone.
    pub exclude_outbound_ports: Vec<u16>,
    /// Interfaces whose traffic is left alone.
    pub exclude_interfaces: Vec<String>,
    /// Interfaces whose arriving traffic is outbound (virtual machines' bridges).
    pub reroute_interfaces: Vec<String>,
    /// The mark that routes a packet to this host's sockets, under TPROXY.
    pub tproxy_mark: u32,
    /// The routing table that mark selects.
    pub tproxy_table: u32,
    /// DNS queries to capture.
    pub dns: Dns,
    /// Drops packets that connection tracking calls invalid.
    pub drop_invalid: bool,
}

impl Plan {
    /// Checks the flags.
    pub fn new(args: &Args, machine: &Machine) -> Result<Self, PlanError> {
        let uids = list("--proxy-uid", &args.proxy_uid, NUMBER, parse)?;
        let gids = match &args.proxy_gid {
            Some(gids) => list("--proxy-gid", gids, NUMBER, parse)?,
            None => uids.clone(),
        };
        let (uids, mut unmapped) = mapped("uid", uids, &machine.uids);
        let (gids, no_gids) = mapped("gid", gids, &machine.gids);
        unmapped.extend(no_gids);
        let nonzero = |flag, port: u16| match port {
            0 => Err(PlanError { flag, value: "0".to_owned(), expected: PORT }),
            port => Ok(port),
        };
        let dns = args.redirect_dns.then(|| match args.capture_all_dns {
            true => Which::All,
            false => Which::These(machine.nameservers.clone()),
        });
        let tproxy_mark = match args.inbound_tproxy_mark {
            mark @ (0 | super::PROXY_MARK) => Err(PlanError {
                flag: "--inbound-tproxy-mark",
                value: mark.to_string(),
                expected: "use a mark other than 0 and 1337, which is that of the proxy's sockets",
            }),
            mark => Ok(mark),
        }?;
        Ok(Self {
            outbound_port: nonzero("--envoy-port", args.envoy_port)?,
            inbound_port: nonzero("--inbound-capture-port", args.inbound_capture_port)?,
            tunnel_port: args.inbound_tunnel_port,
            exempt: Exempt { uids, gids },
            unmapped,
            mode: mode(&args.mode)?,
            inbound: which("--istio-inbound-ports", &args.inbound_ports, PORT, port)?,
            exclude_inbound: list(
                "--istio-local-exclude-ports",
                &args.exclude_inbound_ports,
                PORT,
                port,
            )?,
            outbound: which("--istio-service-cidr", &args.outbound_blocks, BLOCK, block)?,
            exclude_outbound: list(
                "--istio-service-exclude-cidr",
                &args.exclude_outbound_blocks,
                BLOCK,
                block,
            )?,
            outbound_ports: list("--istio-outbound-ports", &args.outbound_ports, PORT, port)?,
            exclude_outbound_ports: list(
                "--istio-local-outbound-ports-exclude",
                &args.exclude_outbound_ports,
                PORT,
                port,
            )?,
            exclude_interfaces: list(
                "--istio-exclude-interfaces",
                &args.exclude_interfaces,
                INTERFACE,
                interface,
            )?,
            reroute_interfaces: list(
                "--kube-virt-interfaces",
                &args.reroute_interfaces,
                INTERFACE,
                interface,
            )?,
            tproxy_mark,
            tproxy_table: args.inbound_tproxy_route_table,
            dns,
            drop_invalid: args.drop_invalid,
        })
    }
}

const NUMBER: &str = "use numbers with commas between";
const PORT: &str = "use ports, 1 to 65535, with commas between (or * where all can be meant)";
const BLOCK: &str =
    "use address blocks such as 10.0.0.0/8 with commas between (or * where all can be meant)";
const INTERFACE: &str = "use names of network interfaces, at most 15 letters, digits, dots, \
                         dashes and underscores, with commas between";

fn list<T>(
    flag: &'static str,
    text: &str,
    expected: &'static str,
    item: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, PlanError> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let parsed: Option<Vec<T>> = items.take(MAX_ITEMS + 1).map(item).collect();
    parsed.filter(|items| items.len() <= MAX_ITEMS).ok_or_else(|| PlanError {
        flag,
        value: text.to_owned(),
        expected,
    })
}

fn which<T>(
    flag: &'static str,
    text: &str,
    expected: &'static str,
    item: impl Fn(&str) -> Option<T>,
) -> Result<Which<T>, PlanError> {
    if text.trim() == "*" {
        return Ok(Which::All);
    }
    list(flag, text, expected, item).map(Which::These)
}

fn parse(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// A block, its host bits cleared.
fn block(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().map(|block| block.trunc())
}

fn interface(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (text.len() <= 15 && !matches!(text, "." | "..") && text.chars().all(allowed))
        .then(|| text.to_owned())
}

fn mode(text: &str) -> Result<Option<Mode>, PlanError> {
    match text {
        "REDIRECT" => Ok(Some(Mode::Redirect)),
        "TPROXY" => Ok(Some(Mode::Tproxy)),
        "NONE" => Ok(None),
        other => Err(PlanError {
            flag: "--istio-inbound-interception-mode",
            value: other.to_owned(),
            expected: "use REDIRECT, TPROXY or NONE",
        }),
    }
}

/// The ids that this user namespace has, and those it has not.
fn mapped(kind: &str, ids: Vec<u32>, ranges: &[(u32, u32)]) -> (Vec<u32>, Vec<String>) {
    let has = |id: &u32| ranges.iter().any(|(first, last)| (first..=last).contains(&id));
    let (kept, missing): (Vec<u32>, Vec<u32>) = ids.into_iter().partition(has);
    (kept, missing.into_iter().map(|id| format!("{kind} {id}")).collect())
}
