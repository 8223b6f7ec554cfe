//! WorkloadEntries, and the endpoints that ServiceEntries list, as workloads behind services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::crd::WorkloadEntry;
use mesh_api::crd::workload_entry::WorkloadEntrySpec;
use mesh_api::name::Hostname;
use mesh_api::port::PortNumber;

use super::{Address, Instance, Locality, Misfit, Workload};

/// Begins the address of a Unix socket.
const UNIX: &str = "unix://";
/// The longest path of a Unix socket.
const MAX_PATH: usize = 107;

/// A WorkloadEntry of that cluster.
///
/// # Errors
/// The field that cannot be used.
pub fn instance(object: &WorkloadEntry, cluster: &str) -> Result<Instance, Misfit> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (name, namespace) = (text(&object.metadata.name), text(&object.metadata.namespace));
    let mut labels = object.metadata.labels.clone().unwrap_or_default();
    labels.extend(object.spec.labels.clone());
    let mut instance = read(&object.spec, "spec")?;
    let own = labels.get(mesh_api::labels::SERVICE_WORKLOAD_NAME).cloned();
    instance.workload = Some(Arc::new(Workload {
        name: own.unwrap_or_else(|| name.clone()),
        pod: name,
        namespace,
        labels,
        service_account: text(&object.spec.service_account),
        addresses: instance.address.ip().into_iter().collect(),
        ports: instance.ports.clone(),
        cluster: cluster.to_owned(),
        network: text(&object.spec.network),
        ready: true,
        is_entry: true,
        ..Workload::default()
    }));
    Ok(instance)
}

/// An endpoint that a ServiceEntry of that namespace lists at that path.
///
/// # Errors
/// The field that cannot be used.
pub fn listed(spec: &WorkloadEntrySpec, namespace: &str, path: &str) -> Result<Instance, Misfit> {
    let mut instance = read(spec, path)?;
    let service_account = spec.service_account.clone().unwrap_or_default();
    if !spec.labels.is_empty() || !service_account.is_empty() {
        let own = spec.labels.get(mesh_api::labels::SERVICE_WORKLOAD_NAME).cloned();
        instance.workload = Some(Arc::new(Workload {
            namespace: namespace.to_owned(),
            name: own.unwrap_or_default(),
            labels: spec.labels.clone(),
            service_account,
            ready: true,
            is_entry: true,
            ..Workload::default()
        }));
    }
    Ok(instance)
}

fn read(spec: &WorkloadEntrySpec, path: &str) -> Result<Instance, Misfit> {
    let address = address(spec.address.as_deref().unwrap_or_default(), path)?;
    let mut ports = BTreeMap::new();
    for (name, number) in &spec.ports {
        let port = u16::try_from(*number).ok().and_then(PortNumber::new);
        let port = port.ok_or_else(|| {
            Misfit::new(format!("{path}.ports[{name}]"), format!("{number} is no port"))
        })?;
        ports.insert(name.clone(), port);
    }
    Ok(Instance {
        address,
        ports,
        weight: spec.weight.unwrap_or(1).max(1),
        locality: Locality::parse(spec.locality.as_deref().unwrap_or_default()),
        workload: None,
    })
}

fn address(text: &str, path: &str) -> Result<Address, Misfit> {
    let refused = |reason: String| Misfit::new(format!("{path}.address"), reason);
    if text.is_empty() {
        let reason = "is empty: what is in another network is not reached through its gateway";
        return Err(refused(reason.to_owned()));
    }
    if let Some(socket) = text.strip_prefix(UNIX) {
        let is_abstract = socket.starts_with('@');
        if !(socket.starts_with('/') || is_abstract) || socket.len() > MAX_PATH {
            return Err(refused(format!("{text:?} is no absolute path of a socket")));
        }
        return Ok(Address::Unix(socket.to_owned()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Address::Ip(ip));
    }
    match Hostname::parse(text) {
        Ok(name) if !name.is_wildcard() => Ok(Address::Name(name)),
        Ok(_) => Err(refused(format!("{text:?} is no single host"))),
        Err(error) => Err(refused(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(spec: serde_json::Value) -> Result<Instance, String> {
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": { "name": "vm", "namespace": "a", "labels": { "app": "x" } },
            "spec": spec,
        });
        let object: WorkloadEntry = serde_json::from_value(object).unwrap();
        instance(&object, "c").map_err(|e| e.to_string())
    }

    #[test]
    fn addresses_of_every_kind() {
        let of = |address: &str| entry(json!({ "address": address })).map(|i| i.address);
        assert_eq!(of("10.0.0.1"), Ok(Address::Ip("10.0.0.1".parse().unwrap())));
        assert_eq!(of("fd00::1"), Ok(Address::Ip("fd00::1".parse().unwrap())));
        assert_eq!(of("unix:///run/x"), Ok(Address::Unix("/run/x".to_owned())));
        assert_eq!(of("a.example"), Ok(Address::Name(Hostname::parse("a.example").unwrap())));
        for (bad, why) in [
            ("", "spec.address: is empty"),
            ("unix://x", "no absolute path"),
            ("*.example", "no single host"),
            ("a b", "spec.address: "),
        ] {
            let told = of(bad).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        let told = entry(json!({ "address": "10.0.0.1", "ports": { "http": 70000 } }));
        assert_eq!(told.unwrap_err(), "spec.ports[http]: 70000 is no port");
    }

    #[test]
    fn what_is_known_of_the_workload() {
        let spec = json!({
            "address": "10.0.0.1", "labels": { "version": "v1" }, "serviceAccount": "x",
            "locality": "us/east", "weight": 7, "ports": { "http": 8080 },
        });
        let instance = entry(spec).unwrap();
        let workload = instance.workload.as_deref().unwrap();
        assert_eq!((workload.pod.as_str(), workload.name.as_str()), ("vm", "vm"));
        assert_eq!(
            (workload.labels["app"].as_str(), workload.labels["version"].as_str()),
            ("x", "v1")
        );
        // A service account means that there is a proxy, unless a label says otherwise.
        assert!(workload.has_proxy());
        let mut without = workload.clone();
        let key = mesh_api::labels::SECURITY_TLS_MODE.to_owned();
        without.labels.insert(key, "disabled".to_owned());
        assert!(!without.has_proxy());
        assert_eq!(
            (instance.locality.region.as_str(), instance.locality.zone.as_str()),
            ("us", "east")
        );
        assert_eq!(instance.weight, 7);
    }
}
