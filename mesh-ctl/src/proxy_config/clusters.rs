//! `meshctl proxy-config cluster`.

use mesh_api::name::ClusterName;
use serde_json::Value;

use super::dump::{istio_object, text};
use super::table::Table;

/// Which clusters are shown; what is not set matches all.
#[derive(Debug, Default, clap::Args)]
pub struct Filter {
    /// Only clusters of this host (or part of its name).
    #[arg(long)]
    pub fqdn: Option<String>,
    /// Only this direction.
    #[arg(long, value_parser = ["inbound", "outbound"])]
    pub direction: Option<String>,
    /// Only this subset of DestinationRules.
    #[arg(long)]
    pub subset: Option<String>,
    /// Only this port.
    #[arg(long)]
    pub port: Option<u16>,
}

/// What a cluster's name says.
struct Named<'a> {
    direction: &'static str,
    port: Option<u16>,
    subset: String,
    host: String,
    full: &'a str,
}

impl<'a> Named<'a> {
    fn of(cluster: &'a Value) -> Self {
        let full = text(cluster, &["name"]);
        let unnamed = |direction| Self {
            direction,
            port: None,
            subset: String::new(),
            host: String::new(),
            full,
        };
        match full.parse::<ClusterName>() {
            Ok(ClusterName::Outbound { port, subset, host }) => Self {
                direction: "outbound",
                port: Some(port.get()),
                subset: subset.map(|subset| subset.to_string()).unwrap_or_default(),
                host: host.to_string(),
                full,
            },
            Ok(ClusterName::Inbound { port }) => {
                Self { port: Some(port.get()), ..unnamed("inbound") }
            }
            _ => Self { host: full.to_owned(), ..unnamed("") },
        }
    }
}

impl Filter {
    /// Whether a cluster is shown.
    pub fn shows(&self, cluster: &Value) -> bool {
        let named = Named::of(cluster);
        self.fqdn.as_deref().is_none_or(|fqdn| named.host.contains(fqdn))
            && self.direction.as_deref().is_none_or(|direction| named.direction == direction)
            && self.subset.as_deref().is_none_or(|subset| named.subset == subset)
            && self.port.is_none_or(|port| named.port == Some(port))
    }
}

/// The table of clusters, by host, port and subset.
pub fn table(clusters: &[&Value]) -> Table {
    let mut rows: Vec<_> = clusters.iter().map(|cluster| (Named::of(cluster), *cluster)).collect();
    rows.sort_by(|(a, _), (b, _)| {
        let key = |n: &Named<'_>| (n.host.clone(), n.port, n.subset.clone(), n.full.to_owned());
        key(a).cmp(&key(b))
    });
    let mut table =
        Table::new(["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"]);
    for (named, cluster) in rows {
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let rule = istio_object(cluster).filter(|(kind, _)| *kind == "destination-rule");
        table.row([
            named.host.clone(),
            named.port.map_or_else(|| "-".to_owned(), |port| port.to_string()),
            dash(&named.subset),
            dash(named.direction),
            discovery_type(cluster),
            rule.map(|(_, name)| name).unwrap_or_default(),
        ]);
    }
    table
}

/// `EDS`, `STATIC`, …; Envoy leaves the default, `STATIC`, out of its JSON.
fn discovery_type(cluster: &Value) -> String {
    let custom = text(cluster, &["cluster_type", "name"]);
    match text(cluster, &["type"]) {
        "" if custom.is_empty() => "STATIC".to_owned(),
        "" => custom.to_owned(),
        named => named.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn clusters_are_listed_as_istioctl_lists_them() {
        let rule = "/apis/networking.istio.io/v1alpha3/namespaces/default/destination-rule/reviews";
        let clusters = [
            json!({
                "name": "outbound|9080|v1|reviews.default.svc.cluster.local", "type": "EDS",
                "metadata": {"filter_metadata": {"istio": {"config": rule}}}
            }),
            json!({"name": "outbound|9080||reviews.default.svc.cluster.local", "type": "EDS"}),
            json!({"name": "inbound|9080||", "type": "ORIGINAL_DST"}),
            json!({"name": "BlackHoleCluster"}),
        ];
        let clusters: Vec<&Value> = clusters.iter().collect();
        let text = table(&clusters).text();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("     ").map(str::trim).collect()).collect();
        let cells =
            |line: usize| lines[line].iter().copied().filter(|c| !c.is_empty()).collect::<Vec<_>>();
        assert_eq!(
            cells(0),
            ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"]
        );
        assert_eq!(cells(1), ["9080", "-", "inbound", "ORIGINAL_DST"]);
        assert_eq!(cells(2), ["BlackHoleCluster", "-", "-", "-", "STATIC"]);
        assert_eq!(cells(3), ["reviews.default.svc.cluster.local", "9080", "-", "outbound", "EDS"]);
        assert_eq!(
            cells(4),
            [
                "reviews.default.svc.cluster.local",
                "9080",
                "v1",
                "outbound",
                "EDS",
                "reviews.default"
            ]
        );
    }

    #[test]
    fn filters_leave_out_what_was_not_asked_for() {
        let cluster = json!({"name": "outbound|9080|v1|reviews.default.svc.cluster.local"});
        let shown = |filter: Filter| filter.shows(&cluster);
        assert!(shown(Filter::default()));
        assert!(shown(Filter { fqdn: Some("reviews".to_owned()), ..Filter::default() }));
        assert!(!shown(Filter { fqdn: Some("ratings".to_owned()), ..Filter::default() }));
        assert!(!shown(Filter { port: Some(80), ..Filter::default() }));
        assert!(!shown(Filter { subset: Some("v2".to_owned()), ..Filter::default() }));
        assert!(!shown(Filter { direction: Some("inbound".to_owned()), ..Filter::default() }));
    }
}
