//! Gives `LoadBalancer` services their address.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;

use super::address::LOAD_BALANCER_ADDRESS;
use super::table::{ServiceEntry, ServiceTable};

/// How long to wait before a status that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Writes `status.loadBalancer.ingress` of services that lack it, and takes it away from services
/// that are no load balancers any more. Ends when the table's publisher is gone.
pub async fn publish_addresses(client: Client, mut table: watch::Receiver<Arc<ServiceTable>>) {
    loop {
        let current = Arc::clone(&table.borrow_and_update());
        let mut settled = true;
        for ((namespace, name), service) in &current.services {
            let Some(ingress) = correction(service) else { continue };
            let services: Api<Service> = Api::namespaced(client.clone(), namespace);
            let status = json!({"status": {"loadBalancer": {"ingress": ingress}}});
            let written =
                services.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await;
            match written {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(err) => {
                    settled = false;
                    tracing::warn!(namespace, name, error = %err, "service status not written");
                }
            }
        }
        let changed = if settled {
            table.changed().await
        } else {
            tokio::time::timeout(RETRY, table.changed()).await.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}

/// The ingress list the service ought to have, when it has another.
fn correction(service: &ServiceEntry) -> Option<serde_json::Value> {
    let ours = LOAD_BALANCER_ADDRESS.to_string();
    if service.load_balancer {
        let right = service.ingress.as_slice() == [ours.clone()];
        (!right).then(|| json!([{"ip": ours, "ipMode": "VIP"}]))
    } else {
        service.ingress.contains(&ours).then_some(serde_json::Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{service, table};
    use super::*;

    #[test]
    fn only_what_is_wrong_is_corrected() {
        let cases = [
            ("LoadBalancer", json!(null), Some(json!([{"ip": "127.0.0.1", "ipMode": "VIP"}]))),
            ("LoadBalancer", json!([{"ip": "127.0.0.1"}]), None),
            (
                "LoadBalancer",
                json!([{"ip": "192.0.2.1"}]),
                Some(json!([{"ip": "127.0.0.1", "ipMode": "VIP"}])),
            ),
            ("NodePort", json!([{"ip": "127.0.0.1"}]), Some(json!(null))),
            ("ClusterIP", json!([{"ip": "192.0.2.1"}]), None),
            ("ClusterIP", json!(null), None),
        ];
        for (kind, ingress, expected) in cases {
            let mut object = service("s", json!({"type": kind, "clusterIP": "10.96.0.7"}));
            object["status"] = json!({"loadBalancer": {"ingress": ingress}});
            let table = table(&[object], &[]);
            let entry = table.get("default", "s").expect("entry");
            assert_eq!(correction(entry), expected, "{kind} {ingress}");
        }
    }
}
