//! Cluster IPs and node ports of services: given as asked where free, else picked.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::Ipv4Net;
use local_model::field::{FieldError, FieldPath};
use local_model::refusal::Refusal;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::error::Result;
use super::registry::Resource;
use super::server::Server;
use crate::store::{ResourceKey, Selection};

/// Addresses below this offset are left to services that ask for one.
const STATIC_BAND: u32 = 256;
const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;

/// Hands out addresses. What is taken is read from the stored services; only what is between
/// admission and the store is remembered here.
pub(crate) struct ServiceAddresses {
    range: Ipv4Net,
    reserved: Arc<Mutex<Taken>>,
}

#[derive(Clone, Debug, Default)]
struct Taken {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<u16>,
}

/// Addresses held for an object on its way into the store. Dropped once it is there.
#[derive(Default)]
pub(crate) struct Lease {
    reserved: Option<Arc<Mutex<Taken>>>,
    held: Taken,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(reserved) = &self.reserved {
            let mut reserved = reserved.lock();
            reserved.addresses.retain(|a| !self.held.addresses.contains(a));
            reserved.ports.retain(|p| !self.held.ports.contains(p));
        }
    }
}

impl ServiceAddresses {
    pub(crate) fn new(range: Ipv4Net) -> Self {
        Self { range, reserved: Arc::default() }
    }

    /// Fills the addresses of a service (anything else is left alone) that replaces `old`.
    pub(crate) fn assign(
        &self,
        server: &Server,
        resource: &Resource,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Lease> {
        if !(resource.info.gvk.group.is_empty() && resource.info.gvk.kind == "Service") {
            return Ok(Lease::default());
        }
        let mut reserved = self.reserved.lock();
        let mut taken = reserved.clone();
        let uid = object["metadata"]["uid"].clone();
        let key = ResourceKey::new("", "services");
        for service in server.store.list(&key, &Selection::default()).items {
            if service["metadata"]["uid"] != uid {
                taken.add(&service);
            }
        }
        let mut pick = Pick { range: self.range, taken: &taken, held: Taken::default() };
        pick.fill(object, old).map_err(|error| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            Refusal::invalid(resource.kind_subject(name), vec![error])
        })?;
        let held = pick.held;
        reserved.addresses.extend(&held.addresses);
        reserved.ports.extend(&held.ports);
        Ok(Lease { reserved: Some(Arc::clone(&self.reserved)), held })
    }
}

impl Taken {
    fn add(&mut self, service: &Value) {
        let address: Option<Ipv4Addr> =
            service["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse().ok());
        self.addresses.extend(address);
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            self.ports.extend(node_port(port));
        }
    }
}

fn node_port(port: &Value) -> Option<u16> {
    port["nodePort"].as_u64().and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0)
}

struct Pick<'a> {
    range: Ipv4Net,
    taken: &'a Taken,
    held: Taken,
}

impl Pick<'_> {
    fn fill(
        &mut self,
        service: &mut Value,
        old: Option<&Value>,
    ) -> std::result::Result<(), FieldError> {
        let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
        if kind == "ExternalName" {
            remove(
                &mut service["spec"],
                &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"],
            );
        } else {
            self.cluster_ip(service, old)?;
        }
        let wants_ports = match kind.as_str() {
            "NodePort" => true,
            "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
            _ => false,
        };
        self.node_ports(service, old, wants_ports)
    }

    fn cluster_ip(
        &mut self,
        service: &mut Value,
        old: Option<&Value>,
    ) -> std::result::Result<(), FieldError> {
        let spec = &mut service["spec"];
        let kept = old.map(|old| &old["spec"]["clusterIP"]).and_then(Value::as_str);
        let wanted = spec["clusterIP"].as_str().filter(|ip| !ip.is_empty());
        let wanted = wanted.or_else(|| spec["clusterIPs"][0].as_str().filter(|ip| !ip.is_empty()));
        let address = match wanted.or(kept.filter(|ip| !ip.is_empty())) {
            Some("None") => "None".to_owned(),
            Some(given) => {
                let given = given.to_owned();
                if Some(given.as_str()) != kept {
                    self.check_address(&given)?;
                }
                given
            }
            None => self.free_address()?.to_string(),
        };
        if let Ok(address) = address.parse() {
            self.held.addresses.insert(address);
        }
        spec["clusterIPs"] = json!([address]);
        spec["clusterIP"] = json!(address);
        if spec["ipFamilies"].is_null() {
            spec["ipFamilies"] = json!(["IPv4"]);
        }
        if spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = json!("SingleStack");
        }
        Ok(())
    }

    fn check_address(&self, given: &str) -> std::result::Result<(), FieldError> {
        let path = FieldPath::new("spec").child("clusterIPs");
        let refuse = |why: String| {
            Err(FieldError::invalid(
                &path,
                json!([given]),
                format!("failed to allocate IP {given}: {why}"),
            ))
        };
        match given.parse::<Ipv4Addr>() {
            Ok(address) if self.range.contains(&address) => {
                if self.taken.addresses.contains(&address) {
                    return refuse("provided IP is already allocated".to_owned());
                }
                Ok(())
            }
            _ => refuse(format!(
                "the provided IP ({given}) is not in the valid range. The range of valid IPs is {}",
                self.range
            )),
        }
    }

    fn free_address(&self) -> std::result::Result<Ipv4Addr, FieldError> {
        let first = u32::from(self.range.network());
        let size = u32::from(self.range.broadcast()) - first;
        let band = STATIC_BAND.min(size / 2).max(1);
        let usable = size.saturating_sub(band).max(1);
        let start = rand::random_range(0..usable);
        (0..usable)
            .map(|step| Ipv4Addr::from(first + band + (start + step) % usable))
            .find(|address| !self.taken.addresses.contains(address))
            .ok_or_else(|| {
                FieldError::new(
                    local_model::field::FieldErrorKind::Internal,
                    &FieldPath::new("spec").child("clusterIPs"),
                    None,
                    format!("failed to allocate a serviceIP: range {} is full", self.range),
                )
            })
    }

    fn node_ports(
        &mut self,
        service: &mut Value,
        old: Option<&Value>,
        wanted: bool,
    ) -> std::result::Result<(), FieldError> {
        let same = |a: &Value, b: &Value| {
            a["port"] == b["port"]
                && a["protocol"].as_str().unwrap_or("TCP")
                    == b["protocol"].as_str().unwrap_or("TCP")
        };
        let before = old.map(|o| &o["spec"]["ports"]).and_then(Value::as_array);
        let Some(ports) = service["spec"]["ports"].as_array_mut() else { return Ok(()) };
        // Explicit ports first, so that a picked one never takes a number asked for below it.
        for (index, port) in ports.iter_mut().enumerate() {
            if !wanted {
                remove(port, &["nodePort"]);
                continue;
            }
            if node_port(port).is_none()
                && let Some(kept) = before
                    .and_then(|before| before.iter().find(|p| same(p, port)))
                    .and_then(node_port)
            {
                port["nodePort"] = json!(kept);
            }
            if let Some(given) = node_port(port) {
                let path = FieldPath::new("spec").child("ports").index(index).child("nodePort");
                if !NODE_PORTS.contains(&given) {
                    let detail = "provided port is not in the valid range. The range of valid ports is 30000-32767";
                    return Err(FieldError::invalid(&path, given, detail));
                }
                if self.taken.ports.contains(&given) {
                    return Err(FieldError::invalid(
                        &path,
                        given,
                        "provided port is already allocated",
                    ));
                }
                self.held.ports.insert(given);
            }
        }
        for port in ports.iter_mut().filter(|_| wanted) {
            if node_port(port).is_none() {
                let free = self.free_port()?;
                self.held.ports.insert(free);
                port["nodePort"] = json!(free);
            }
        }
        Ok(())
    }

    fn free_port(&self) -> std::result::Result<u16, FieldError> {
        let count = u16::try_from(NODE_PORTS.count()).unwrap_or(u16::MAX);
        let start = rand::random_range(0..count);
        (0..count)
            .map(|step| NODE_PORTS.start() + (start + step) % count)
            .find(|p| !self.taken.ports.contains(p) && !self.held.ports.contains(p))
            .ok_or_else(|| {
                FieldError::new(
                    local_model::field::FieldErrorKind::Internal,
                    &FieldPath::new("spec").child("ports"),
                    None,
                    "failed to allocate a nodePort: range is full",
                )
            })
    }
}

fn remove(object: &mut Value, keys: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::{Pick, Taken};
    use serde_json::{Value, json};

    fn fill(taken: &Taken, mut service: Value, old: Option<Value>) -> Result<Value, String> {
        let range = "10.96.0.0/16".parse().unwrap();
        let mut pick = Pick { range, taken, held: Taken::default() };
        pick.fill(&mut service, old.as_ref()).map_err(|e| e.to_string())?;
        Ok(service)
    }

    fn taken() -> Taken {
        let mut taken = Taken::default();
        taken.add(&json!({"spec": {"clusterIP": "10.96.0.10", "ports": [{"nodePort": 30080}]}}));
        taken
    }

    #[test]
    fn picks_and_keeps() {
        let made =
            fill(&taken(), json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}), None);
        let made = made.unwrap();
        let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        assert!((30000..=32767).contains(&port));
        assert!(made["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."));
        assert_eq!(made["spec"]["clusterIPs"][0], made["spec"]["clusterIP"]);
        // A replacement without addresses keeps them; another type gives the port back.
        let bare = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        let again = fill(&taken(), bare, Some(made.clone())).unwrap();
        assert_eq!(again["spec"]["clusterIP"], made["spec"]["clusterIP"]);
        assert_eq!(again["spec"]["ports"][0]["nodePort"].as_u64(), Some(port));
        let inner =
            json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": port}]}});
        assert!(
            fill(&taken(), inner, Some(made)).unwrap()["spec"]["ports"][0]
                .get("nodePort")
                .is_none()
        );
    }

    #[test]
    fn headless_and_external_take_none() {
        let headless = fill(&taken(), json!({"spec": {"clusterIP": "None"}}), None).unwrap();
        assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
        let external = json!({"spec": {"type": "ExternalName", "externalName": "a.example"}});
        assert!(fill(&taken(), external, None).unwrap()["spec"].get("clusterIP").is_none());
    }

    #[test]
    fn refuses_what_is_taken_or_outside() {
        for (service, part) in [
            (json!({"spec": {"clusterIP": "10.96.0.10"}}), "already allocated"),
            (json!({"spec": {"clusterIP": "10.1.0.1"}}), "The range of valid IPs is 10.96.0.0/16"),
            (
                json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}}),
                "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
            ),
            (
                json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}}),
                "not in the valid range",
            ),
        ] {
            let error = fill(&taken(), service, None).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
