//! The rules of a plan, in no program's language. Pure.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::PROXY_MARK;
use super::plan::{Family, Mode, Plan, Which};

/// Where DNS queries go.
const DNS_PORT: u16 = 53;
const DNS_PROXY_PORT: u16 = 15053;

/// Zones of connection tracking that keep the application's queries apart from the proxy's own.
const PROXY_ZONE: u16 = 1;
const APPLICATION_ZONE: u16 = 2;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Before connection tracking.
    Raw,
    /// Where packets are marked.
    Mangle,
    /// Where destinations are rewritten.
    Nat,
}

/// A chain: one the kernel enters by itself, or one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Packets that arrive.
    Prerouting,
    /// Packets that leave.
    Output,
    /// A chain of ours.
    Own(&'static str),
}

/// Chains of ours.
pub const INBOUND: &str = "ISTIO_INBOUND";
/// Sends inbound connections to the proxy.
pub const IN_REDIRECT: &str = "ISTIO_IN_REDIRECT";
/// Decides on outbound connections.
pub const OUTPUT: &str = "ISTIO_OUTPUT";
/// Decides on DNS queries.
pub const OUTPUT_DNS: &str = "ISTIO_OUTPUT_DNS";
/// Sends outbound connections to the proxy.
pub const REDIRECT: &str = "ISTIO_REDIRECT";
/// Packets of connections that the proxy holds already.
pub const DIVERT: &str = "ISTIO_DIVERT";
/// Hands inbound connections to the proxy under TPROXY.
pub const TPROXY: &str = "ISTIO_TPROXY";
/// Drops what connection tracking calls invalid.
pub const DROP: &str = "ISTIO_DROP";
/// Separates the answers to DNS queries.
pub const PREROUTING_RAW: &str = "ISTIO_PREROUTING";

/// The chains of ours in a table, in the order in which they are declared.
pub const fn chains(table: Table) -> &'static [&'static str] {
    match table {
        Table::Nat => &[INBOUND, IN_REDIRECT, OUTPUT, OUTPUT_DNS, REDIRECT],
        Table::Mangle => &[INBOUND, DIVERT, TPROXY, DROP, OUTPUT],
        Table::Raw => &[PREROUTING_RAW, OUTPUT_DNS],
    }
}

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What a packet must be. `bool` says whether it must not be that instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Of this transport.
    Transport(Transport),
    /// Follows [`Match::Transport`].
    DestinationPort(u16, bool),
    /// Follows [`Match::Transport`].
    SourcePort(u16),
    /// To an address of this network.
    Destination(IpNet, bool),
    /// From an address of this network.
    Source(IpNet),
    /// Arrived by this interface.
    In(String),
    /// Leaves by this interface.
    Out(String),
    /// Sent by this user.
    Uid(u32, bool),
    /// Sent by this group.
    Gid(u32, bool),
    /// Carries this mark.
    Mark(u32, bool),
    /// Of a connection with this mark.
    ConnectionMark(u32),
    /// Of a connection seen in both directions.
    Established,
    /// Of no connection that tracking knows.
    Invalid,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Back to the chain that jumped here.
    Return,
    /// Goes on, in this table.
    Accept,
    /// Is dropped.
    Drop,
    /// Goes through a chain of ours.
    Jump(&'static str),
    /// Goes to this port of this host.
    RedirectTo(u16),
    /// Goes to a socket that listens on `port`, with its destination kept.
    TproxyTo {
        /// The socket's port.
        port: u16,
        /// The mark that routes it to this host.
        mark: u32,
    },
    /// Gets this mark.
    SetMark(u32),
    /// Its mark becomes its connection's.
    SaveMark,
    /// Its connection's mark becomes its own.
    RestoreMark,
    /// Is tracked in this zone.
    Zone(u16),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The table it is in.
    pub table: Table,
    /// The chain it is in.
    pub chain: Chain,
    /// All must hold.
    pub matches: Vec<Match>,
    /// What then happens.
    pub verdict: Verdict,
}

const TCP: Match = Match::Transport(Transport::Tcp);
const UDP: Match = Match::Transport(Transport::Udp);

/// The rules of a plan for one family, in order.
pub fn rules(plan: &Plan, family: Family) -> Vec<Rule> {
    let mut builder = Builder { plan, family, rules: Vec::new() };
    builder.redirects();
    builder.inbound();
    builder.outbound();
    builder.dns();
    builder.drop_invalid();
    builder.rules
}

struct Builder<'a> {
    plan: &'a Plan,
    family: Family,
    rules: Vec<Rule>,
}

impl Builder<'_> {
    fn add(
        &mut self,
        table: Table,
        chain: Chain,
        matches: impl Into<Vec<Match>>,
        verdict: Verdict,
    ) {
        self.rules.push(Rule { table, chain, matches: matches.into(), verdict });
    }

    fn nat(&mut self, chain: &'static str, matches: impl Into<Vec<Match>>, verdict: Verdict) {
        self.add(Table::Nat, Chain::Own(chain), matches, verdict);
    }

    fn redirects(&mut self) {
        let plan = self.plan;
        self.nat(REDIRECT, [TCP], Verdict::RedirectTo(plan.outbound_port));
        self.nat(IN_REDIRECT, [TCP], Verdict::RedirectTo(plan.inbound_port));
    }

    /// The blocks of this family.
    fn of_family<'b>(&self, blocks: &'b [IpNet]) -> impl Iterator<Item = IpNet> + use<'b> {
        let v4 = self.family == Family::V4;
        blocks.iter().copied().filter(move |block| block.addr().is_ipv4() == v4)
    }

    fn loopback(&self) -> IpNet {
        match self.family {
            Family::V4 => IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
            Family::V6 => IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
        }
    }

    /// The source of connections the proxy makes to its own application.
    fn passthrough(&self) -> IpNet {
        match self.family {
            Family::V4 => IpNet::from(IpAddr::from(Ipv4Addr::new(127, 0, 0, 6))),
            Family::V6 => IpNet::from(IpAddr::from(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6))),
        }
    }

    fn inbound(&mut self) {
        let plan = self.plan;
        for interface in &plan.reroute_interfaces {
            let from = Match::In(interface.clone());
            match &plan.outbound {
                Which::All => self.nat(INBOUND, [from.clone()], Verdict::Jump(REDIRECT)),
                Which::These(blocks) => {
                    for block in self.of_family(blocks) {
                        let matches = [from.clone(), Match::Destination(block, false)];
                        self.nat(INBOUND, matches, Verdict::Jump(REDIRECT));
                    }
                }
            }
            self.nat(INBOUND, [from], Verdict::Return);
        }
        let captures = !matches!(&plan.inbound, Which::These(ports) if ports.is_empty());
        let Some(mode) = plan.mode.filter(|_| captures) else {
            if !plan.reroute_interfaces.is_empty() {
                self.add(Table::Nat, Chain::Prerouting, [TCP], Verdict::Jump(INBOUND));
            }
            return;
        };
        let (table, target) = match mode {
            Mode::Redirect => (Table::Nat, IN_REDIRECT),
            Mode::Tproxy => (Table::Mangle, TPROXY),
        };
        if mode == Mode::Tproxy {
            self.tproxy();
            if !plan.reroute_interfaces.is_empty() {
                self.add(Table::Nat, Chain::Prerouting, [TCP], Verdict::Jump(INBOUND));
            }
        }
        self.add(table, Chain::Prerouting, [TCP], Verdict::Jump(INBOUND));
        for interface in &plan.exclude_interfaces {
            let matches = [Match::In(interface.clone())];
            self.add(table, Chain::Own(INBOUND), matches, Verdict::Return);
        }
        let to = |port: u16| [TCP, Match::DestinationPort(port, false)];
        if plan.tunnel_port != 0 {
            self.add(table, Chain::Own(INBOUND), to(plan.tunnel_port), Verdict::Return);
        }
        if mode == Mode::Tproxy {
            let known = [TCP, Match::Established];
            self.add(table, Chain::Own(INBOUND), known, Verdict::Jump(DIVERT));
        }
        match &plan.inbound {
            Which::All => {
                for port in &plan.exclude_inbound {
                    self.add(table, Chain::Own(INBOUND), to(*port), Verdict::Return);
                }
                self.add(table, Chain::Own(INBOUND), [TCP], Verdict::Jump(target));
            }
            Which::These(ports) => {
                for port in ports {
                    self.add(table, Chain::Own(INBOUND), to(*port), Verdict::Jump(target));
                }
            }
        }
    }

    /// Connections keep their destination; marks bring their packets to the proxy's socket.
    fn tproxy(&mut self) {
        let mark = self.plan.tproxy_mark;
        let divert = Chain::Own(DIVERT);
        self.add(Table::Mangle, divert, [], Verdict::SetMark(mark));
        self.add(Table::Mangle, divert, [], Verdict::Accept);
        let target = Verdict::TproxyTo { port: self.plan.inbound_port, mark };
        let foreign = [TCP, Match::Destination(self.loopback(), true)];
        self.add(Table::Mangle, Chain::Own(TPROXY), foreign, target);
        let inbound = Chain::Own(INBOUND);
        let own = [TCP, Match::Source(self.passthrough()), Match::In("lo".to_owned())];
        self.add(Table::Mangle, inbound, own, Verdict::Return);
        let local = [TCP, Match::In("lo".to_owned())];
        self.add(Table::Mangle, inbound, local, Verdict::Return);
        let marked = [TCP, Match::Mark(mark, false)];
        self.add(Table::Mangle, Chain::Prerouting, marked, Verdict::SaveMark);
        self.add(Table::Mangle, Chain::Output, [TCP], Verdict::Jump(OUTPUT));
        let answers = [TCP, Match::ConnectionMark(mark)];
        self.add(Table::Mangle, Chain::Own(OUTPUT), answers, Verdict::RestoreMark);
    }

    /// The proxy's own traffic, one way to tell it each.
    fn own(&self) -> Vec<Match> {
        let exempt = &self.plan.exempt;
        let uids = exempt.uids.iter().map(|uid| Match::Uid(*uid, false));
        let gids = exempt.gids.iter().map(|gid| Match::Gid(*gid, false));
        uids.chain(gids).chain([Match::Mark(PROXY_MARK, false)]).collect()
    }

    /// What is true of everybody else's traffic.
    fn not_own(&self) -> Vec<Match> {
        let exempt = &self.plan.exempt;
        let uids = exempt.uids.iter().map(|uid| Match::Uid(*uid, true));
        let gids = exempt.gids.iter().map(|gid| Match::Gid(*gid, true));
        uids.chain(gids).chain([Match::Mark(PROXY_MARK, true)]).collect()
    }

    fn outbound(&mut self) {
        let plan = self.plan;
        let lo = Match::Out("lo".to_owned());
        let to = |port: u16| [TCP, Match::DestinationPort(port, false)];
        self.add(Table::Nat, Chain::Output, [], Verdict::Jump(OUTPUT));
        for interface in &plan.exclude_interfaces {
            self.nat(OUTPUT, [Match::Out(interface.clone())], Verdict::Return);
        }
        for port in &plan.exclude_outbound_ports {
            self.nat(OUTPUT, to(*port), Verdict::Return);
        }
        let passed_on = [lo.clone(), Match::Source(self.passthrough())];
        self.nat(OUTPUT, passed_on, Verdict::Return);
        // The proxy calls its own pod through a Service: in by the front door.
        if plan.mode == Some(Mode::Redirect) {
            for own in self.own() {
                let mut call = vec![TCP, lo.clone(), Match::Destination(self.loopback(), true)];
                if plan.tunnel_port != 0 {
                    call.insert(1, Match::DestinationPort(plan.tunnel_port, true));
                }
                call.push(own);
                self.nat(OUTPUT, call, Verdict::Jump(IN_REDIRECT));
            }
        }
        if plan.dns.is_none() {
            let mut local = vec![lo];
            local.extend(self.not_own());
            self.nat(OUTPUT, local, Verdict::Return);
        } else {
            // A query to a server on this host is still a query.
            for transport in [TCP, UDP] {
                let other = Match::DestinationPort(DNS_PORT, true);
                let mut local = vec![transport, other, lo.clone()];
                local.extend(self.not_own());
                self.nat(OUTPUT, local, Verdict::Return);
            }
        }
        for own in self.own() {
            self.nat(OUTPUT, [own], Verdict::Return);
        }
        if plan.dns.is_some() {
            self.nat(OUTPUT, [], Verdict::Jump(OUTPUT_DNS));
        }
        let here = [Match::Destination(self.loopback(), false)];
        self.nat(OUTPUT, here, Verdict::Return);
        for port in &plan.outbound_ports {
            self.nat(OUTPUT, to(*port), Verdict::Jump(REDIRECT));
        }
        for block in self.of_family(&plan.exclude_outbound) {
            self.nat(OUTPUT, [Match::Destination(block, false)], Verdict::Return);
        }
        match &plan.outbound {
            Which::All => self.nat(OUTPUT, [], Verdict::Jump(REDIRECT)),
            Which::These(blocks) => {
                for block in self.of_family(blocks) {
                    let matches = [Match::Destination(block, false)];
                    self.nat(OUTPUT, matches, Verdict::Jump(REDIRECT));
                }
            }
        }
    }

    fn dns(&mut self) {
        let Some(which) = &self.plan.dns else { return };
        let servers: Vec<Option<IpNet>> = match which {
            Which::All => vec![None],
            Which::These(servers) => {
                let blocks: Vec<IpNet> = servers.iter().copied().map(IpNet::from).collect();
                self.of_family(&blocks).map(Some).collect()
            }
        };
        let query = Match::DestinationPort(DNS_PORT, false);
        for server in &servers {
            for transport in [TCP, UDP] {
                let mut matches = vec![transport, query.clone()];
                matches.extend(server.map(|server| Match::Destination(server, false)));
                self.nat(OUTPUT_DNS, matches, Verdict::RedirectTo(DNS_PROXY_PORT));
            }
        }
        self.dns_zones(&servers);
    }

    /// Without zones, a query of the application and the proxy's own, made for it from the same
    /// port, would be one connection to the kernel.
    fn dns_zones(&mut self, servers: &[Option<IpNet>]) {
        let (query, answer) =
            (Match::DestinationPort(DNS_PORT, false), Match::SourcePort(DNS_PORT));
        let out = Chain::Own(OUTPUT_DNS);
        self.add(Table::Raw, Chain::Output, [UDP], Verdict::Jump(OUTPUT_DNS));
        let answers = [UDP, Match::SourcePort(DNS_PROXY_PORT)];
        self.add(Table::Raw, out, answers, Verdict::Zone(APPLICATION_ZONE));
        for own in self.own() {
            self.add(Table::Raw, out, [UDP, query.clone(), own.clone()], Verdict::Zone(PROXY_ZONE));
            self.add(Table::Raw, out, [UDP, query.clone(), own], Verdict::Return);
        }
        self.add(Table::Raw, Chain::Prerouting, [UDP], Verdict::Jump(PREROUTING_RAW));
        for server in servers {
            let mut matches = vec![UDP, query.clone()];
            matches.extend(server.map(|server| Match::Destination(server, false)));
            self.add(Table::Raw, out, matches, Verdict::Zone(APPLICATION_ZONE));
            let mut matches = vec![UDP, answer.clone()];
            matches.extend(server.map(Match::Source));
            let incoming = Chain::Own(PREROUTING_RAW);
            self.add(Table::Raw, incoming, matches, Verdict::Zone(PROXY_ZONE));
        }
    }

    fn drop_invalid(&mut self) {
        if self.plan.drop_invalid {
            let invalid = [Match::Invalid];
            self.add(Table::Mangle, Chain::Prerouting, invalid, Verdict::Jump(DROP));
            self.add(Table::Mangle, Chain::Own(DROP), [], Verdict::Drop);
        }
    }
}
