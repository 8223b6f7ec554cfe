//! `meshctl proxy-config listener`.

use serde_json::Value;

use super::dump::{entries, number, text};
use super::filter_chain::{destination, is_http, is_tcp, matching};
use super::table::Table;

/// Which listeners are shown; what is not set matches all.
#[derive(Debug, Default, clap::Args)]
pub struct Filter {
    /// Only listeners on this address.
    #[arg(long)]
    pub address: Option<String>,
    /// Only listeners on this port.
    #[arg(long)]
    pub port: Option<u16>,
    /// Only listeners for HTTP, or for TCP.
    #[arg(long = "type", value_parser = ["HTTP", "TCP", "HTTP+TCP", "UNKNOWN"], ignore_case = true)]
    pub kind: Option<String>,
}

impl Filter {
    /// Whether a listener is shown.
    pub fn shows(&self, listener: &Value) -> bool {
        let (address, port) = address(listener);
        self.address.as_deref().is_none_or(|wanted| wanted == address)
            && self.port.is_none_or(|wanted| port == Some(u64::from(wanted)))
            && self.kind.as_deref().is_none_or(|wanted| kind(listener).eq_ignore_ascii_case(wanted))
    }
}

/// The table of listeners by port and address; with `verbose`, of their filter chains.
pub fn table(listeners: &[&Value], verbose: bool) -> Table {
    let mut sorted: Vec<&Value> = listeners.to_vec();
    sorted.sort_by_key(|listener| {
        let (address, port) = address(listener);
        (port, address.to_owned())
    });
    let mut table = if verbose {
        Table::new(["ADDRESSES", "PORT", "MATCH", "DESTINATION"])
    } else {
        Table::new(["ADDRESSES", "PORT", "TYPE"])
    };
    for listener in sorted {
        let (address, port) = address(listener);
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        if !verbose {
            table.row([address.to_owned(), port, kind(listener).to_owned()]);
            continue;
        }
        for chain in chains(listener) {
            table.row([address.to_owned(), port.clone(), matching(chain), destination(chain)]);
        }
    }
    table
}

/// All chains, the one for what no other matches last.
fn chains(listener: &Value) -> impl Iterator<Item = &Value> {
    entries(listener, &["filter_chains"]).iter().chain(listener.get("default_filter_chain"))
}

fn address(listener: &Value) -> (&str, Option<u64>) {
    let socket = ["address", "socket_address", "address"];
    let port = number(listener, &["address", "socket_address", "port_value"]);
    match text(listener, &socket) {
        "" => (text(listener, &["address", "pipe", "path"]), port),
        address => (address, port),
    }
}

fn kind(listener: &Value) -> &'static str {
    match (chains(listener).any(is_http), chains(listener).any(is_tcp)) {
        (true, true) => "HTTP+TCP",
        (true, false) => "HTTP",
        (false, true) => "TCP",
        (false, false) => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listener(port: u16) -> Value {
        let proxy = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        json!({
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
            "filter_chains": [{
                "filter_chain_match": {"destination_port": port},
                "filters": [{"typed_config": {"@type": proxy, "cluster": "BlackHoleCluster"}}]
            }],
            "default_filter_chain": {
                "filters": [{"typed_config": {"@type": proxy, "cluster": "PassthroughCluster"}}]
            }
        })
    }

    #[test]
    fn chains_of_listeners_by_port() {
        let (late, early) = (listener(15001), listener(80));
        let text = table(&[&late, &early], true).text();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "ADDRESSES PORT MATCH DESTINATION",
                "0.0.0.0 80 Addr: *:80 BlackHoleCluster",
                "0.0.0.0 80 ALL PassthroughCluster",
                "0.0.0.0 15001 Addr: *:15001 BlackHoleCluster",
                "0.0.0.0 15001 ALL PassthroughCluster",
            ]
        );
        assert!(table(&[&early], false).text().contains("TCP"));
    }

    #[test]
    fn filters_by_address_port_and_type() {
        let listener = listener(80);
        let shows = |filter: Filter| filter.shows(&listener);
        assert!(shows(Filter { port: Some(80), ..Filter::default() }));
        assert!(!shows(Filter { port: Some(81), ..Filter::default() }));
        assert!(!shows(Filter { kind: Some("http".to_owned()), ..Filter::default() }));
        assert!(!shows(Filter { address: Some("::".to_owned()), ..Filter::default() }));
    }
}
