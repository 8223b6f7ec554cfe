//! `meshctl proxy-config route`.

use serde_json::Value;

use super::dump::{entries, istio_object, text, texts};
use super::filter_chain::route_match;
use super::table::Table;

/// Domains of a virtual host that are shown before the rest is counted.
const SHOWN_DOMAINS: usize = 2;

/// The table of routes; without `verbose`, of route configurations.
pub fn table(configs: &[&Value], verbose: bool) -> Table {
    let mut sorted: Vec<&Value> = configs.to_vec();
    sorted.sort_by_key(|config| {
        let name = text(config, &["name"]);
        // Ports are names too, and are sorted as numbers, before the others.
        (name.parse::<u16>().map_or(u32::MAX, u32::from), name.to_owned())
    });
    if !verbose {
        let mut table = Table::new(["NAME", "VIRTUAL HOSTS"]);
        for config in sorted {
            let hosts = entries(config, &["virtual_hosts"]).len();
            table.row([text(config, &["name"]).to_owned(), hosts.to_string()]);
        }
        return table;
    }
    let mut table = Table::new(["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"]);
    for config in sorted {
        for host in entries(config, &["virtual_hosts"]) {
            rows_of(host, text(config, &["name"]), &mut table);
        }
    }
    table
}

fn rows_of(host: &Value, config: &str, table: &mut Table) {
    let domains = domains(&texts(host, &["domains"]));
    let mut row = |what: String, service: String| {
        let name = text(host, &["name"]).to_owned();
        table.row([config.to_owned(), name, domains.clone(), what, service]);
    };
    let routes = entries(host, &["routes"]);
    if routes.is_empty() {
        return row("/*".to_owned(), "404".to_owned());
    }
    for route in routes {
        row(route_match(route), made_from(route));
    }
}

/// The VirtualService a route was made from, or what is answered without asking anybody.
fn made_from(route: &Value) -> String {
    if let Some((_, name)) = istio_object(route).filter(|(kind, _)| *kind == "virtual-service") {
        return name;
    }
    match route.get("direct_response").and_then(|reply| reply.get("status")) {
        Some(status) => status.to_string(),
        None if route.get("redirect").is_some() => "redirect".to_owned(),
        None => String::new(),
    }
}

/// The first domains and the number of the rest. A domain with a port is its neighbour again.
fn domains(all: &[&str]) -> String {
    let with_port = |domain: &str| {
        domain
            .rsplit_once(':')
            .is_some_and(|(bare, port)| port.parse::<u16>().is_ok() && all.contains(&bare))
    };
    let distinct: Vec<&str> = all.iter().copied().filter(|domain| !with_port(domain)).collect();
    let shown = distinct.iter().take(SHOWN_DOMAINS).copied().collect::<Vec<_>>().join(", ");
    match distinct.len().saturating_sub(SHOWN_DOMAINS) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn routes_with_their_virtual_services() {
        let service = "/apis/networking.istio.io/v1/namespaces/default/virtual-service/bookinfo";
        let config = json!({"name": "http.8080", "virtual_hosts": [
            {"name": "*:8080", "domains": ["*"], "routes": [
                {"match": {"path": "/productpage"},
                 "metadata": {"filter_metadata": {"istio": {"config": service}}}},
                {"match": {"prefix": "/static"}, "direct_response": {"status": 410}}]},
            {"name": "blackhole:80", "domains": ["a.example"]}]});
        let text = table(&[&config], true).text();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "NAME VHOST NAME DOMAINS MATCH VIRTUAL SERVICE",
                "http.8080 *:8080 * /productpage bookinfo.default",
                "http.8080 *:8080 * /static* 410",
                "http.8080 blackhole:80 a.example /* 404",
            ]
        );
    }

    #[test]
    fn domains_are_counted_without_their_ports() {
        let all =
            ["reviews", "reviews:9080", "reviews.default", "reviews.default:9080", "10.0.0.1"];
        assert_eq!(domains(&all), "reviews, reviews.default + 1 more...");
        assert_eq!(domains(&["*"]), "*");
        assert_eq!(domains(&["a:80"]), "a:80", "nothing else names it");
    }
}
