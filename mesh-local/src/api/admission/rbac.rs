//! Nobody gives out rights they do not hold: roles and bindings may say only what their author
//! may do, unless the author holds `escalate` or `bind`.

use local_model::refusal::Refusal;
use serde_json::Value;

use crate::api::error::Result;
use crate::api::identity::MASTERS;
use crate::api::rbac::{self, Attributes, Rule};
use crate::api::request::Request;
use crate::api::server::Server;

/// Refuses a role or binding that would give more than its author has.
pub(crate) fn check(server: &Server, request: &Request, object: &Value) -> Result<()> {
    let info = &request.resource.info;
    if info.gvk.group != rbac::GROUP || request.user.in_group(MASTERS) {
        return Ok(());
    }
    let namespace = request.path.namespace.as_str();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let binding = info.plural.ends_with("bindings");
    let (wanted, verb, resource, target) = if binding {
        let role = &object["roleRef"];
        let resource = if role["kind"] == "Role" { "roles" } else { "clusterroles" };
        let target = role["name"].as_str().unwrap_or_default();
        (server.authorizer.rules_of_role(role, namespace), "bind", resource, target)
    } else {
        (Rule::read_all(&object["rules"]), "escalate", info.plural.as_str(), name)
    };
    let escalate = Attributes {
        verb,
        group: rbac::GROUP,
        resource,
        namespace,
        name: target,
        ..Attributes::default()
    };
    if server.authorizer.allows(&request.user, &escalate) {
        return Ok(());
    }
    let held = server.authorizer.rules_of(&request.user, namespace);
    rbac::covers(&held, &wanted).map_err(|missing| {
        let missing: Vec<String> = missing.iter().map(|rule| rule.to_json().to_string()).collect();
        let why = format!(
            "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
            request.user.name,
            request.user.groups,
            missing.join("\n")
        );
        Refusal::forbidden(request.resource.subject(name), &why).into()
    })
}
