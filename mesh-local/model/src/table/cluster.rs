//! Namespaces, nodes, leases, webhooks, role bindings and priority classes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Columns, age, join, list, name, or_none, text};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    Some(match kind {
        "Namespace" => Columns::builtin(&["Name", "Status", "Age"], |object, now| {
            vec![name(object), text(&object["status"]["phase"]), age(object, now)]
        }),
        "Node" => Columns::builtin(
            &[
                "Name",
                "Status",
                "Roles",
                "Age",
                "Version",
                "Internal-IP*",
                "External-IP*",
                "OS-Image*",
                "Kernel-Version*",
                "Container-Runtime*",
            ],
            node,
        ),
        "Lease" => Columns::builtin(&["Name", "Holder", "Age"], |object, now| {
            vec![name(object), text(&object["spec"]["holderIdentity"]), age(object, now)]
        }),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            Columns::builtin(&["Name", "Webhooks", "Age"], |object, now| {
                vec![name(object), json!(list(&object["webhooks"]).len()), age(object, now)]
            })
        }
        "RoleBinding" | "ClusterRoleBinding" => Columns::builtin(
            &["Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*"],
            binding,
        ),
        "PriorityClass" => Columns::builtin(
            &["Name", "Value", "Global-Default", "Age", "PreemptionPolicy"],
            |object, now| {
                vec![
                    name(object),
                    object["value"].clone(),
                    json!(object["globalDefault"] == true),
                    age(object, now),
                    text(&object["preemptionPolicy"]),
                ]
            },
        ),
        _ => return None,
    })
}

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let info = &status["nodeInfo"];
    let address = |kind: &str| {
        let mut all = list(&status["addresses"]).iter();
        or_none(&all.find(|a| a["type"] == kind).unwrap_or(&Value::Null)["address"])
    };
    let or_unknown = |value: &Value| match value.as_str() {
        Some(text) if !text.is_empty() => json!(text),
        _ => json!("<unknown>"),
    };
    vec![
        name(object),
        json!(node_status(object)),
        json!(node_roles(object)),
        age(object, now),
        text(&info["kubeletVersion"]),
        address("InternalIP"),
        address("ExternalIP"),
        or_unknown(&info["osImage"]),
        or_unknown(&info["kernelVersion"]),
        or_unknown(&info["containerRuntimeVersion"]),
    ]
}

fn node_status(object: &Value) -> String {
    let ready = list(&object["status"]["conditions"]).iter().find(|c| c["type"] == "Ready");
    let mut words = match ready.and_then(|c| c["status"].as_str()) {
        Some("True") => vec!["Ready"],
        Some(_) => vec!["NotReady"],
        None => vec!["Unknown"],
    };
    if object["spec"]["unschedulable"] == true {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

fn node_roles(object: &Value) -> String {
    let labels = object["metadata"]["labels"].as_object();
    let mut roles: Vec<_> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role),
            _ if key == "kubernetes.io/role" => value.as_str().filter(|v| !v.is_empty()),
            _ => None,
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = &object["roleRef"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let subjects = |kind: &str| {
        let of_kind = list(&object["subjects"]).iter().filter(|s| s["kind"] == kind);
        join(of_kind.filter_map(|s| s["name"].as_str()))
    };
    let accounts: Vec<_> = list(&object["subjects"])
        .iter()
        .filter(|s| s["kind"] == "ServiceAccount")
        .map(|s| format!("{}/{}", word(&s["namespace"]), word(&s["name"])))
        .collect();
    vec![
        name(object),
        json!(format!("{}/{}", word(&role["kind"]), word(&role["name"]))),
        age(object, now),
        json!(subjects("User")),
        json!(subjects("Group")),
        json!(accounts.join(", ")),
    ]
}
