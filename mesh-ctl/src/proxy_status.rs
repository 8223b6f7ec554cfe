//! How far proxies are with what the control plane sent them: from its `/debug/syncz`.

pub mod compare;

use mesh_api::admin::{SyncStatus, TypeSync};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::proxy_config::table::Table;

/// A proxy, and the pod of the control plane it is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// The pod of the control plane.
    pub istiod: String,
    /// How far the proxy is.
    #[serde(flatten)]
    pub status: SyncStatus,
}

/// Reads one pod's answer.
///
/// # Errors
/// When it is not the JSON of `/debug/syncz`.
pub fn read(istiod: &str, answer: &[u8]) -> Result<Vec<Connected>, Error> {
    let all: Option<Vec<SyncStatus>> = serde_json::from_slice(answer).map_err(|error| {
        Error::Failed(format!("the answer of {istiod} is not that of /debug/syncz: {error}"))
    })?;
    let connected = |status| Connected { istiod: istiod.to_owned(), status };
    Ok(all.unwrap_or_default().into_iter().map(connected).collect())
}

/// The table: the types each proxy subscribed to or, if `each`, how far it is with each.
pub fn table(proxies: &[Connected], each: bool) -> Table {
    let mut proxies: Vec<_> = proxies.iter().collect();
    proxies.sort_by(|a, b| (&a.status.proxy, &a.istiod).cmp(&(&b.status.proxy, &b.istiod)));
    let mut table = if each {
        Table::new(["NAME", "CLUSTER", "CDS", "ECDS", "EDS", "LDS", "RDS", "ISTIOD", "VERSION"])
    } else {
        Table::new(["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"])
    };
    for Connected { istiod, status } in proxies {
        let name = [status.proxy.clone(), status.cluster_id.clone()];
        let server = [istiod.clone(), status.istio_version.clone()];
        if each {
            let mut types = types(status);
            types.sort_by_key(|(short, _)| *short);
            let cells = types.map(|(_, sync)| sync.as_str().to_owned());
            table.row(name.into_iter().chain(cells).chain(server));
        } else {
            let subscribed: Vec<_> = types(status)
                .into_iter()
                .filter(|(_, sync)| *sync != TypeSync::NotSent)
                .map(|(short, _)| short)
                .collect();
            let cell = format!("{} ({})", subscribed.len(), subscribed.join(","));
            table.row(name.into_iter().chain(server).chain([cell]));
        }
    }
    table
}

/// The types by their short names, in the order proxies ask for them.
fn types(status: &SyncStatus) -> [(&'static str, TypeSync); 5] {
    [
        ("CDS", TypeSync::of(&status.cluster_sent, &status.cluster_acked)),
        ("LDS", TypeSync::of(&status.listener_sent, &status.listener_acked)),
        ("EDS", TypeSync::of(&status.endpoint_sent, &status.endpoint_acked)),
        ("RDS", TypeSync::of(&status.route_sent, &status.route_acked)),
        ("ECDS", TypeSync::of(&status.extensionconfig_sent, &status.extensionconfig_acked)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"[
        {"cluster_id": "Kubernetes", "proxy": "reviews-v1-b.default", "istio_version": "1.30.0",
         "cluster_sent": "a", "cluster_acked": "a", "listener_sent": "b", "listener_acked": "b",
         "endpoint_sent": "d", "endpoint_acked": "c"},
        {"cluster_id": "Kubernetes", "proxy": "details-v1-a.default", "istio_version": "1.30.0",
         "cluster_sent": "a", "cluster_acked": "a", "route_sent": "e"}]"#;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn proxies_are_listed_with_the_types_they_have() {
        let proxies = read("istiod-1", ANSWER.as_bytes()).unwrap();
        assert_eq!(
            lines(&table(&proxies, false).text()),
            [
                "NAME CLUSTER ISTIOD VERSION SUBSCRIBED TYPES",
                "details-v1-a.default Kubernetes istiod-1 1.30.0 2 (CDS,RDS)",
                "reviews-v1-b.default Kubernetes istiod-1 1.30.0 3 (CDS,LDS,EDS)",
            ]
        );
        assert_eq!(
            lines(&table(&proxies, true).text()),
            [
                "NAME CLUSTER CDS ECDS EDS LDS RDS ISTIOD VERSION",
                "details-v1-a.default Kubernetes SYNCED NOT SENT NOT SENT NOT SENT STALE \
                 istiod-1 1.30.0",
                "reviews-v1-b.default Kubernetes SYNCED NOT SENT STALE SYNCED NOT SENT \
                 istiod-1 1.30.0",
            ]
        );
    }

    #[test]
    fn an_answer_that_is_none_is_refused_with_its_origin() {
        assert_eq!(read("istiod-1", b"null").unwrap(), []);
        let error = read("istiod-1", b"<html>").unwrap_err().to_string();
        assert!(error.starts_with("the answer of istiod-1 is not that of /debug/syncz"), "{error}");
    }
}
