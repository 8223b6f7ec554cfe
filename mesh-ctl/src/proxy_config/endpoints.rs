//! `meshctl proxy-config endpoint`: from `GET /clusters?format=json`.

use mesh_api::admin::{ClusterStatus, Clusters, EnvoyAddress, HostStatus};

use serde_json::Value;

use super::dump::{at, entries, text};
use super::table::Table;

/// Which endpoints are shown; what is not set matches all.
#[derive(Debug, Default, clap::Args)]
pub struct Filter {
    /// Only this address.
    #[arg(long)]
    pub address: Option<String>,
    /// Only this port.
    #[arg(long)]
    pub port: Option<u16>,
    /// Only this cluster.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Only this status: healthy, unhealthy, draining, degraded, timeout.
    #[arg(long)]
    pub status: Option<String>,
}

impl Filter {
    /// Leaves only what is asked for.
    pub fn apply(&self, clusters: &mut Clusters) {
        let wanted = |cluster: &ClusterStatus| {
            self.cluster.as_deref().is_none_or(|name| cluster.name == name)
        };
        clusters.cluster_statuses.retain(wanted);
        for cluster in &mut clusters.cluster_statuses {
            cluster.host_statuses.retain(|host| self.shows(host));
        }
    }

    fn shows(&self, host: &HostStatus) -> bool {
        let socket = host.address.socket_address.as_ref();
        let is = |wanted: &str| status(host).eq_ignore_ascii_case(wanted);
        self.address.as_deref().is_none_or(|wanted| socket.is_some_and(|s| s.address == wanted))
            && self.port.is_none_or(|wanted| socket.is_some_and(|s| s.port_value == wanted))
            && self.status.as_deref().is_none_or(is)
    }
}

/// The table of endpoints, by address and cluster.
pub fn table(clusters: &Clusters) -> Table {
    let mut rows: Vec<(String, &HostStatus, &str)> = Vec::new();
    for cluster in &clusters.cluster_statuses {
        for host in &cluster.host_statuses {
            rows.push((shown(&host.address), host, &cluster.name));
        }
    }
    rows.sort_by(|a, b| (&a.0, a.2).cmp(&(&b.0, b.2)));
    let mut table = Table::new(["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"]);
    for (address, host, cluster) in rows {
        let outlier = if host.health_status.failed_outlier_check { "FAILED" } else { "OK" };
        let cells = [&address, status(host), outlier, cluster];
        table.row(cells.map(str::to_owned));
    }
    table
}

/// The table of endpoints of a dump that was asked for them: what the control plane sent, and not
/// how the endpoints are doing.
pub fn dumped(assignments: &[&Value]) -> Table {
    let mut table = Table::new(["NAME", "STATUS", "LOCALITY", "CLUSTER"]);
    for assignment in assignments {
        for group in entries(assignment, &["endpoints"]) {
            let place = ["region", "zone", "sub_zone"].map(|part| text(group, &["locality", part]));
            let place: Vec<_> = place.into_iter().take_while(|part| !part.is_empty()).collect();
            for one in entries(group, &["lb_endpoints"]) {
                let socket = at(one, &["endpoint", "address"]).cloned().unwrap_or_default();
                let address: EnvoyAddress = serde_json::from_value(socket).unwrap_or_default();
                let status = match text(one, &["health_status"]) {
                    "" | "UNKNOWN" => "HEALTHY",
                    status => status,
                };
                let cluster = text(assignment, &["cluster_name"]);
                let cells = [&shown(&address), status, &place.join("/"), cluster];
                table.row(cells.map(str::to_owned));
            }
        }
    }
    table
}

fn status(host: &HostStatus) -> &str {
    if host.health_status.failed_active_health_check {
        return "UNHEALTHY";
    }
    match host.health_status.eds_health_status.as_deref() {
        None | Some("" | "UNKNOWN") => "HEALTHY",
        Some(status) => status,
    }
}

fn shown(address: &EnvoyAddress) -> String {
    match (&address.socket_address, &address.pipe) {
        (Some(socket), _) if socket.address.contains(':') => {
            format!("[{}]:{}", socket.address, socket.port_value)
        }
        (Some(socket), _) => format!("{}:{}", socket.address, socket.port_value),
        (None, Some(pipe)) => format!("unix://{}", pipe.path),
        (None, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_a_dump_are_listed_with_their_place() {
        let address = |address: &str| serde_json::json!({"socket_address": {"address": address, "port_value": 9080}});
        let assignment = serde_json::json!({"cluster_name": "c", "endpoints": [
            {"locality": {"region": "r", "zone": "z"}, "lb_endpoints": [
                {"endpoint": {"address": address("10.0.0.1")}},
                {"endpoint": {"address": address("fd00::1")}, "health_status": "DRAINING"}]},
            {"lb_endpoints": [{"endpoint_name": "elsewhere"}]}]});
        let text = dumped(&[&assignment]).text();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines[1..],
            ["10.0.0.1:9080 HEALTHY r/z c", "[fd00::1]:9080 DRAINING r/z c", "- HEALTHY c"]
        );
    }

    fn clusters() -> Clusters {
        serde_json::from_str(
            r#"{"cluster_statuses": [{"name": "outbound|9080||reviews", "host_statuses": [
                {"address": {"socket_address": {"address": "10.0.0.2", "port_value": 9080}},
                 "health_status": {"eds_health_status": "HEALTHY"}},
                {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 9080}},
                 "health_status": {"eds_health_status": "DRAINING",
                    "failed_outlier_check": true}},
                {"address": {"pipe": {"path": "/run/app"}},
                 "health_status": {"failed_active_health_check": true}}]}]}"#,
        )
        .expect("Envoy's JSON")
    }

    fn lines(clusters: &Clusters) -> Vec<String> {
        let text = table(clusters).text();
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn endpoints_with_their_health() {
        assert_eq!(
            lines(&clusters()),
            [
                "ENDPOINT STATUS OUTLIER CHECK CLUSTER",
                "10.0.0.1:9080 DRAINING FAILED outbound|9080||reviews",
                "10.0.0.2:9080 HEALTHY OK outbound|9080||reviews",
                "unix:///run/app UNHEALTHY OK outbound|9080||reviews",
            ]
        );
    }

    #[test]
    fn filters_leave_out_what_was_not_asked_for() {
        let left = |filter: Filter| {
            let mut clusters = clusters();
            filter.apply(&mut clusters);
            lines(&clusters).len() - 1
        };
        assert_eq!(left(Filter { status: Some("healthy".to_owned()), ..Filter::default() }), 1);
        assert_eq!(left(Filter { address: Some("10.0.0.1".to_owned()), ..Filter::default() }), 1);
        assert_eq!(left(Filter { port: Some(1), ..Filter::default() }), 0);
        assert_eq!(left(Filter { cluster: Some("other".to_owned()), ..Filter::default() }), 0);
    }
}
