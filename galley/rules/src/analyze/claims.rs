//! Routes by a token's claims, at gateways where nobody verifies tokens.

use mesh_api::crd::{GatewaySpec, RequestAuthenticationSpec, VirtualServiceSpec};
use mesh_api::selector::{Labels, is_subset};

use super::lookup;
use super::messages::JWT_ROUTING_WITHOUT_AUTHENTICATION;
use super::world::{Resource, World};
use crate::report::Report;

const CLAIMS: &str = "@request.auth.claims";

/// Virtual services that ask for claims, and the pods of their gateways without a
/// RequestAuthentication.
pub(super) fn routes(world: &World, report: &mut Report) {
    let policies: Vec<(&Resource, Labels)> = world
        .specs::<RequestAuthenticationSpec>()
        .into_iter()
        .map(|(policy, spec)| {
            (policy, spec.selector.map(|select| select.match_labels).unwrap_or_default())
        })
        .collect();
    let gateways = world.specs::<GatewaySpec>();
    let pods = lookup::pods(world);
    for (object, spec) in world.specs::<VirtualServiceSpec>() {
        let Some((claim, path)) = claim(&spec) else { continue };
        let own = object.origin.namespace.as_str();
        for name in spec.gateways.iter().filter(|name| *name != "mesh") {
            let (namespace, short) = lookup::gateway_name(name, own);
            let gateway = gateways.iter().find(|(gateway, _)| {
                gateway.origin.namespace == namespace && gateway.origin.name == short
            });
            // One that is missing is another analyzer's to tell.
            let Some((_, gateway)) = gateway else { continue };
            for (pod, labels, _) in
                pods.iter().filter(|(_, labels, _)| is_subset(&gateway.selector, labels))
            {
                let verified = policies.iter().any(|(policy, selector)| {
                    let of = &policy.origin.namespace;
                    (*of == world.root_namespace || *of == pod.origin.namespace)
                        && is_subset(selector, labels)
                });
                if !verified {
                    let text = format!(
                        "The virtual service uses JWT claim based routing (key: {claim}), but no \
                         request authentication applies to pod {} of gateway {namespace}/{short}. \
                         Its rule never matches there.",
                        pod.origin.name
                    );
                    let message = JWT_ROUTING_WITHOUT_AUTHENTICATION.about(&object.origin, text);
                    report.add(message.at(path.clone()));
                }
            }
        }
    }
}

/// The first header of a virtual service's conditions that is a claim, and where it stands.
fn claim(spec: &VirtualServiceSpec) -> Option<(&str, String)> {
    for (i, http) in spec.http.iter().enumerate() {
        for (j, condition) in http.match_.iter().enumerate() {
            let groups =
                [("headers", &condition.headers), ("withoutHeaders", &condition.without_headers)];
            for (field, headers) in groups {
                if let Some(name) = headers.keys().find(|name| is_claim(name)) {
                    let path = format!("spec.http[{i}].match[{j}].{field}[\"{name}\"]");
                    return Some((name, path));
                }
            }
        }
    }
    None
}

/// `@request.auth.claims.a` or `@request.auth.claims[a]`, in any case of its letters.
fn is_claim(name: &str) -> bool {
    name.get(..CLAIMS.len()).is_some_and(|head| head.eq_ignore_ascii_case(CLAIMS))
        && name[CLAIMS.len()..].starts_with(['.', '['])
}
