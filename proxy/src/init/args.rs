//! Flags of `proxy init`, which are those of Istio's `istio-iptables`.

use super::apply::Backend;

/// Flags of `proxy init`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  proxy init -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020
  proxy init --dry-run
  proxy init --cleanup")]
pub struct Args {
    /// Port captured outbound connections go to.
    #[arg(short = 'p', long, default_value_t = 15001)]
    pub envoy_port: u16,
    /// Port captured inbound connections go to.
    #[arg(short = 'z', long, default_value_t = 15006)]
    pub inbound_capture_port: u16,
    /// Port of tunnelled connections, which arrive as they are.
    #[arg(short = 'e', long, default_value_t = 15008)]
    pub inbound_tunnel_port: u16,
    /// Users whose traffic is not captured, with commas.
    #[arg(short = 'u', long, default_value = "1337")]
    pub proxy_uid: String,
    /// Groups whose traffic is not captured, with commas; those of --proxy-uid when not given.
    #[arg(short = 'g', long)]
    pub proxy_gid: Option<String>,
    /// How inbound connections are captured: REDIRECT, TPROXY or NONE.
    #[arg(short = 'm', long = "istio-inbound-interception-mode", default_value = "REDIRECT")]
    pub mode: String,
    /// Inbound ports to capture, with commas; * for all.
    #[arg(short = 'b', long = "istio-inbound-ports", default_value = "*")]
    pub inbound_ports: String,
    /// Inbound ports to leave alone, with commas, when all are captured.
    #[arg(short = 'd', long = "istio-local-exclude-ports", default_value = "")]
    pub exclude_inbound_ports: String,
    /// Outbound address blocks to capture, with commas; * for all.
    #[arg(short = 'i', long = "istio-service-cidr", default_value = "*")]
    pub outbound_blocks: String,
    /// Outbound address blocks to leave alone, with commas.
    #[arg(short = 'x', long = "istio-service-exclude-cidr", default_value = "")]
    pub exclude_outbound_blocks: String,
    /// Outbound ports to capture whatever the address, with commas.
    #[arg(short = 'q', long = "istio-outbound-ports", default_value = "")]
    pub outbound_ports: String,
    /// Outbound ports to leave alone, with commas.
    #[arg(short = 'o', long = "istio-local-outbound-ports-exclude", default_value = "")]
    pub exclude_outbound_ports: String,
    /// Network interfaces to leave alone, with commas.
    #[arg(short = 'c', long = "istio-exclude-interfaces", default_value = "")]
    pub exclude_interfaces: String,
    /// Interfaces of virtual machines, whose inbound traffic is outbound traffic, with commas.
    #[arg(short = 'k', long = "kube-virt-interfaces", default_value = "")]
    pub reroute_interfaces: String,
    /// Mark of connections captured by TPROXY.
    #[arg(short = 't', long, default_value_t = 1339)]
    pub inbound_tproxy_mark: u32,
    /// Routing table of connections captured by TPROXY.
    #[arg(short = 'r', long, default_value_t = 133)]
    pub inbound_tproxy_route_table: u32,
    /// Send DNS queries to the proxy.
    #[arg(long)]
    pub redirect_dns: bool,
    /// With --redirect-dns: queries to all servers, not only to those of /etc/resolv.conf.
    #[arg(long)]
    pub capture_all_dns: bool,
    /// Drop packets that belong to no connection.
    #[arg(long)]
    pub drop_invalid: bool,
    /// Print the rules and change nothing.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Remove all rules of an earlier run.
    #[arg(long)]
    pub cleanup: bool,
    /// Set no rules; with --run-validation, check those that somebody else has set.
    #[arg(long)]
    pub skip_rule_apply: bool,
    /// Check that a connection is captured.
    #[arg(long)]
    pub run_validation: bool,
    /// Seconds after which the check has failed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub probe_timeout: u64,
    /// Use nft and nothing else.
    #[arg(long)]
    pub native_nftables: bool,
    /// The program that sets the rules; the first that works when not given.
    #[arg(long, value_enum)]
    pub backend: Option<Backend>,
    /// Accepted for Istio's sake: rules are always replaced.
    #[arg(long, hide = true)]
    pub force_apply: bool,
    /// Accepted for Istio's sake: all there is to log is one line.
    #[arg(long = "log_output_level", default_value = "", hide = true)]
    pub log_output_level: String,
    /// Accepted for Istio's sake: all there is to log is one line.
    #[arg(long = "log_as_json", hide = true)]
    pub log_as_json: bool,
}

impl Args {
    /// The one program to use, if one is asked for.
    pub fn backend(&self) -> Option<Backend> {
        self.backend.or(self.native_nftables.then_some(Backend::Nft))
    }
}
