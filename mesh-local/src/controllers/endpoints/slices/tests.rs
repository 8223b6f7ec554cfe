//! From Services and pods to slices: states, ports, families, sizes, and little churn.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Plan, plan};
use crate::controllers::{
    endpoints::{decide, legacy},
    owners,
};

fn service(extra: Value) -> Service {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "s", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.7",
                 "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]}
    });
    for (key, value) in extra.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    serde_json::from_value(service).unwrap()
}

fn pod(index: usize, ready: bool, extra: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": format!("p{index:03}"), "namespace": "n", "uid": format!("u{index}"),
                     "labels": {"app": "web"}},
        "spec": {"nodeName": "local",
                 "containers": [{"name": "a", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running",
                   "podIPs": [{"ip": format!("10.244.{}.{}", index / 250, index % 250)}],
                   "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
    });
    for (pointer, value) in extra.as_object().unwrap() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn planned(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Plan {
    let owner = owners::controller_reference(service);
    plan(service, &owner, decide::groups(service, pods), existing)
}

/// What exists after a plan was carried out.
fn applied(plan: Plan, existing: &[Arc<EndpointSlice>]) -> Vec<Arc<EndpointSlice>> {
    let gone: Vec<_> = plan.delete.iter().map(|s| s.name_any()).collect();
    let mut all: Vec<_> =
        existing.iter().filter(|s| !gone.contains(&s.name_any())).cloned().collect();
    for slice in plan.update {
        let place = all.iter_mut().find(|s| s.name_any() == slice.name_any()).unwrap();
        *place = Arc::new(slice);
    }
    for (index, mut slice) in plan.create.into_iter().enumerate() {
        slice.metadata.name = Some(format!("web-{}-{index}", all.len()));
        all.push(Arc::new(slice));
    }
    all
}

#[test]
fn endpoints_carry_the_state_of_their_pods() {
    let pods = [
        pod(1, true, json!({})),
        pod(2, false, json!({})),
        pod(3, true, json!({"/metadata/deletionTimestamp": "2025-01-01T00:00:00Z"})),
        pod(4, true, json!({"/status/phase": "Succeeded"})),
        pod(5, true, json!({"/status/podIPs": []})),
        pod(6, true, json!({"/spec/containers": [{"name": "b"}]})),
    ];
    let service = service(json!({}));
    let plan = planned(&service, &pods, &[]);
    insta::assert_json_snapshot!("slices", plan.create);
    insta::assert_json_snapshot!("endpoints", legacy::endpoints(&service, &pods));
}

#[test]
fn unready_addresses_are_published_when_asked() {
    let service = service(json!({"publishNotReadyAddresses": true, "clusterIP": "None"}));
    let leaving = json!({"/metadata/deletionTimestamp": "2025-01-01T00:00:00Z",
                         "/spec/hostname": "h", "/spec/subdomain": "web"});
    let plan = planned(&service, &[pod(1, false, leaving)], &[]);
    let slice = &plan.create[0];
    assert!(slice.labels().contains_key("service.kubernetes.io/headless"));
    let endpoint = &slice.endpoints[0];
    assert_eq!(endpoint.hostname.as_deref(), Some("h"));
    let state = endpoint.conditions.as_ref().unwrap();
    assert_eq!(
        (state.ready, state.serving, state.terminating),
        (Some(true), Some(false), Some(true))
    );
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let service = service(json!({}));
    let existing = applied(planned(&service, &[], &[]), &[]);
    assert_eq!(existing.len(), 1);
    assert!(existing[0].endpoints.is_empty());
    let again = planned(&service, &[], &existing);
    assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
    let filled = planned(&service, &[pod(1, true, json!({}))], &existing);
    assert_eq!((filled.create.len(), filled.update.len(), filled.delete.len()), (0, 1, 0));
    let existing = applied(filled, &existing);
    let emptied = planned(&service, &[], &existing);
    assert_eq!((emptied.create.len(), emptied.update.len(), emptied.delete.len()), (0, 1, 0));
}

#[test]
fn slices_hold_a_hundred_and_one_change_writes_one() {
    let service = service(json!({}));
    let mut pods: Vec<_> = (0..250).map(|i| pod(i, true, json!({}))).collect();
    let existing = applied(planned(&service, &pods, &[]), &[]);
    let sizes: Vec<_> = existing.iter().map(|s| s.endpoints.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert!(planned(&service, &pods, &existing).update.is_empty());

    pods[7] = pod(7, false, json!({}));
    let plan = planned(&service, &pods, &existing);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));

    pods.remove(3);
    pods.push(pod(900, true, json!({})));
    let existing = applied(planned(&service, &pods, &existing), &existing);
    let total: usize = existing.iter().map(|s| s.endpoints.len()).sum();
    assert_eq!((total, existing.len()), (250, 3));
}

#[test]
fn families_and_foreign_slices_stay_apart() {
    let service = service(json!({"ipFamilies": ["IPv4", "IPv6"]}));
    let dual = json!({"/status/podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]});
    let existing = applied(planned(&service, &[pod(1, true, dual)], &[]), &[]);
    let kinds: Vec<_> = existing
        .iter()
        .map(|s| (s.address_type.as_str(), s.endpoints[0].addresses[0].as_str()))
        .collect();
    assert_eq!(kinds, [("IPv4", "10.0.0.1"), ("IPv6", "fd00::1")]);
    let only_four = self::service(json!({}));
    let plan = planned(&only_four, &[pod(1, true, json!({}))], &existing);
    assert_eq!(plan.delete.iter().map(|s| s.address_type.as_str()).collect::<Vec<_>>(), ["IPv6"]);
}
