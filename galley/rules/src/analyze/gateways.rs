//! Gateways against pods, services, secrets and each other.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_api::crd::GatewaySpec;
use mesh_api::crd::gateway::ServerTlsSettings;
use mesh_api::selector::{Labels, is_subset};

use super::lookup;
use super::messages::{
    CONFLICTING_GATEWAYS, DUPLICATE_CERTIFICATE, INVALID_GATEWAY_CREDENTIAL, PORT_NOT_ON_SERVICE,
    REFERENCED_RESOURCE_NOT_FOUND,
};
use super::world::{Resource, World};
use crate::report::Report;

/// Keys of certificates in secrets, by the kinds of secret there are.
const CERTIFICATES: [[&str; 2]; 2] = [["tls.crt", "tls.key"], ["cert", "key"]];

fn words(selector: &Labels) -> String {
    let pairs: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// Servers on ports that no service in front of the gateway's pods has.
pub(super) fn ports(world: &World, report: &mut Report) {
    let pods = lookup::pods(world);
    let services = world.read::<Service>("", "Service");
    for (object, spec) in world.specs::<GatewaySpec>() {
        let chosen = || pods.iter().filter(|(_, labels, _)| is_subset(&spec.selector, labels));
        if chosen().next().is_none() {
            selects_nothing(object, &spec.selector, report);
            continue;
        }
        let mut open = BTreeSet::new();
        for (pod, labels, _) in chosen() {
            for (service, body) in &services {
                let Some(spec) = &body.spec else { continue };
                let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty());
                let here = service.origin.namespace == pod.origin.namespace;
                if !(here && selector.is_some_and(|selector| is_subset(selector, labels))) {
                    continue;
                }
                for port in spec.ports.iter().flatten() {
                    if port.protocol.as_deref().unwrap_or("TCP") != "TCP" {
                        continue;
                    }
                    open.insert(port.port);
                    if let Some(IntOrString::Int(target)) = port.target_port {
                        open.insert(target);
                    }
                }
            }
        }
        for (index, server) in spec.servers.iter().enumerate() {
            let number = i32::try_from(server.port.number).unwrap_or_default();
            if !open.contains(&number) {
                let text = format!(
                    "The gateway is listening on a target port (port {number}) that is not defined \
                     in the Service associated with its workload instances (Pod selector {})",
                    words(&spec.selector)
                );
                report.add(
                    PORT_NOT_ON_SERVICE
                        .about(&object.origin, text)
                        .at(format!("spec.servers[{index}].port.number")),
                );
            }
        }
    }
}

fn selects_nothing(object: &Resource, selector: &Labels, report: &mut Report) {
    let text = format!("Referenced selector not found: {:?}", words(selector));
    report.add(REFERENCED_RESOURCE_NOT_FOUND.about(&object.origin, text).at("spec.selector"));
}

/// Credentials that do not exist where the gateway's pods are, or hold no certificate.
pub(super) fn secrets(world: &World, report: &mut Report) {
    let pods = lookup::pods(world);
    let secrets = world.read::<Secret>("", "Secret");
    for (object, spec) in world.specs::<GatewaySpec>() {
        let chosen = pods.iter().find(|(_, labels, _)| is_subset(&spec.selector, labels));
        let Some((pod, ..)) = chosen else {
            selects_nothing(object, &spec.selector, report);
            continue;
        };
        for (index, server) in spec.servers.iter().enumerate() {
            let Some(tls) = &server.tls else { continue };
            for name in credentials(tls) {
                let namespace = &pod.origin.namespace;
                let path = format!("spec.servers[{index}].tls.credentialName");
                let secret = secrets.iter().find(|(secret, _)| {
                    secret.origin.name == name && secret.origin.namespace == *namespace
                });
                match secret {
                    None => {
                        let text = format!("Referenced credentialName not found: {name:?}");
                        let message = REFERENCED_RESOURCE_NOT_FOUND.about(&object.origin, text);
                        report.add(message.at(path));
                    }
                    Some((secret, body)) if !holds_certificate(body) => {
                        let text = format!(
                            "The credential referenced by the Gateway {} in namespace {} is \
                             invalid, which can cause the traffic not to work as expected.",
                            object.origin.name, object.origin.namespace
                        );
                        report.add(INVALID_GATEWAY_CREDENTIAL.about(&secret.origin, text));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

fn credentials(tls: &ServerTlsSettings) -> Vec<&str> {
    let one = tls.credential_name.as_deref().into_iter();
    one.chain(tls.credential_names.iter().map(String::as_str))
        .filter(|name| !name.is_empty())
        .collect()
}

fn holds_certificate(secret: &Secret) -> bool {
    let Some(data) = &secret.data else { return false };
    let pem = |key: &str, what: &[u8]| {
        data.get(key).is_some_and(|value| value.0.windows(what.len()).any(|part| part == what))
    };
    CERTIFICATES
        .iter()
        .any(|[certificate, key]| pem(certificate, b"CERTIFICATE-----") && pem(key, b"KEY-----"))
}

/// Gateways that share workloads and certificates, which breaks connection reuse of browsers.
pub(super) fn certificates(world: &World, report: &mut Report) {
    let all = world.specs::<GatewaySpec>();
    for (object, spec) in &all {
        let mine: BTreeSet<String> = certificates_of(spec);
        for (other, theirs) in all.iter().filter(|(other, _)| other.origin != object.origin) {
            let shares = !mine.is_disjoint(&certificates_of(theirs));
            if shares && is_subset(&spec.selector, &theirs.selector) {
                let text = format!(
                    "Duplicate certificate in multiple gateways {}/{}, {}/{} may cause 404s if \
                     clients re-use HTTP2 connections.",
                    object.origin.namespace,
                    object.origin.name,
                    other.origin.namespace,
                    other.origin.name
                );
                report.add(DUPLICATE_CERTIFICATE.about(&object.origin, text));
            }
        }
    }
}

fn certificates_of(spec: &GatewaySpec) -> BTreeSet<String> {
    let settings = spec.servers.iter().filter_map(|server| server.tls.as_ref());
    let files = |tls: &ServerTlsSettings| {
        Some(format!("{}+{}", tls.server_certificate.as_ref()?, tls.private_key.as_ref()?))
    };
    settings
        .flat_map(|tls| {
            let named = credentials(tls).into_iter().map(str::to_owned);
            named.chain(files(tls)).collect::<Vec<_>>()
        })
        .collect()
}

/// Gateways on the same workloads with the same port and host.
pub(super) fn conflicts(world: &World, report: &mut Report) {
    let all = world.specs::<GatewaySpec>();
    let pods = lookup::pods(world);
    for (object, spec) in &all {
        for server in spec.servers.iter().filter(|server| server.port.number != 0) {
            let mut others = Vec::new();
            for (other, theirs) in all.iter().filter(|(other, _)| other.origin != object.origin) {
                let same_port = |one: &&mesh_api::crd::gateway::Server| {
                    one.port.number == server.port.number
                        && one.bind.as_deref().unwrap_or_default()
                            == server.bind.as_deref().unwrap_or_default()
                };
                let clash = theirs
                    .servers
                    .iter()
                    .filter(same_port)
                    .any(|one| share_host(&server.hosts, &one.hosts));
                if clash && share_pods(&spec.selector, &theirs.selector, &pods) {
                    others.push(format!("{}/{}", other.origin.namespace, other.origin.name));
                }
            }
            if !others.is_empty() {
                let text = format!(
                    "Conflict with gateways {} (workload selector {}, port {}, hosts {}).",
                    others.join(","),
                    words(&spec.selector),
                    server.port.number,
                    server.hosts.join(",")
                );
                report.add(CONFLICTING_GATEWAYS.about(&object.origin, text));
            }
        }
    }
}

type Pods<'a> = [(&'a Resource, Labels, k8s_openapi::api::core::v1::Pod)];

fn share_pods(a: &Labels, b: &Labels, pods: &Pods<'_>) -> bool {
    if a == b {
        return true;
    }
    let nested = is_subset(a, b) || is_subset(b, a);
    nested && pods.iter().any(|(_, labels, _)| is_subset(a, labels) && is_subset(b, labels))
}

fn share_host(a: &[String], b: &[String]) -> bool {
    let split = |host: &str| match host.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => ("*".to_owned(), host.to_owned()),
    };
    a.iter().any(|mine| {
        let (namespace, name) = split(mine);
        b.iter().any(|theirs| {
            let (other, host) = split(theirs);
            let same = namespace == "*" || other == "*" || namespace == other;
            same && name == host
        })
    })
}
