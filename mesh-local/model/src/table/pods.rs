//! Pods: READY, STATUS and RESTARTS as kubectl derives them from container statuses.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Columns, age, human_duration, list, name, number, or_none};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    match kind {
        "Pod" => {
            let names = [
                "Name",
                "Ready",
                "Status",
                "Restarts",
                "Age",
                "IP*",
                "Node*",
                "Nominated Node*",
                "Readiness Gates*",
            ];
            let columns = Columns::builtin(&names, cells);
            Some(Columns { conditions, ..columns })
        }
        "PodTemplate" => {
            Some(Columns::builtin(&["Name", "Containers", "Images", "Pod Labels"], |object, _| {
                let template = &object["template"];
                vec![
                    name(object),
                    super::workloads::containers(template),
                    super::workloads::images(template),
                    super::pairs(&template["metadata"]["labels"]),
                ]
            }))
        }
        _ => None,
    }
}

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let seen = summary(pod);
    let restarts = match (seen.restarts, seen.last_restart) {
        (0, _) | (_, None) => seen.restarts.to_string(),
        (n, Some(at)) => {
            format!("{n} ({} ago)", human_duration(age::whole_seconds(at, now)))
        }
    };
    vec![
        name(pod),
        json!(format!("{}/{}", seen.ready, seen.total)),
        json!(seen.status),
        json!(restarts),
        super::age(pod, now),
        or_none(&pod["status"]["podIPs"][0]["ip"]),
        or_none(&pod["spec"]["nodeName"]),
        or_none(&pod["status"]["nominatedNodeName"]),
        readiness_gates(pod),
    ]
}

/// What the container statuses add up to.
struct Summary {
    status: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts += number(&container["restartCount"]);
        let finished = container["lastState"]["terminated"]["finishedAt"].as_str();
        let finished = finished.and_then(|t| t.parse().ok());
        self.last_restart = self.last_restart.max(finished);
    }
}

fn summary(pod: &Value) -> Summary {
    let status = &pod["status"];
    let phase = status["phase"].as_str().unwrap_or_default();
    let own_reason = status["reason"].as_str().filter(|r| !r.is_empty());
    let mut seen = Summary {
        status: own_reason.unwrap_or(phase).to_owned(),
        ready: 0,
        total: list(&pod["spec"]["containers"]).len()
            + list(&pod["spec"]["initContainers"]).iter().filter(|c| is_sidecar(c)).count(),
        restarts: 0,
        last_restart: None,
    };
    if condition(pod, "PodScheduled").is_some_and(|c| c["reason"] == "SchedulingGated") {
        seen.status = "SchedulingGated".to_owned();
    }
    let initializing = init_status(pod, &mut seen);
    if !initializing || is_true(condition(pod, "Initialized")) {
        main_status(pod, &mut seen);
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        if own_reason == Some("NodeLost") {
            seen.status = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            seen.status = "Terminating".to_owned();
        }
    }
    seen
}

/// Reads the init containers; true while they are still at work.
fn init_status(pod: &Value, seen: &mut Summary) -> bool {
    let declared = list(&pod["spec"]["initContainers"]);
    for (index, container) in list(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
        seen.count_restarts(container);
        let state = &container["state"];
        let terminated = &state["terminated"];
        if terminated.is_object() && number(&terminated["exitCode"]) == 0 {
            continue;
        }
        let sidecar = declared.iter().any(|c| c["name"] == container["name"] && is_sidecar(c));
        if sidecar && container["started"] == true {
            seen.ready += usize::from(container["ready"] == true);
            continue;
        }
        let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
        seen.status = if terminated.is_object() {
            format!("Init:{}", exit_reason(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", declared.len())
        };
        return true;
    }
    false
}

fn main_status(pod: &Value, seen: &mut Summary) {
    seen.restarts = 0;
    seen.last_restart = None;
    let declared = list(&pod["spec"]["initContainers"]);
    for container in list(&pod["status"]["initContainerStatuses"]) {
        if declared.iter().any(|c| c["name"] == container["name"] && is_sidecar(c)) {
            seen.count_restarts(container);
        }
    }
    let mut running = false;
    for container in list(&pod["status"]["containerStatuses"]).iter().rev() {
        seen.count_restarts(container);
        let state = &container["state"];
        let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
        if !waiting.is_empty() {
            seen.status = waiting.to_owned();
        } else if state["terminated"].is_object() {
            seen.status = exit_reason(&state["terminated"]);
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
            seen.ready += 1;
        }
    }
    if seen.status == "Completed" && running {
        let ready = is_true(condition(pod, "Ready"));
        seen.status = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn exit_reason(terminated: &Value) -> String {
    let reason = terminated["reason"].as_str().unwrap_or_default();
    match (reason, number(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", number(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = list(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return json!("<none>");
    }
    let open = gates
        .iter()
        .filter(|gate| is_true(condition(pod, gate["conditionType"].as_str().unwrap_or_default())));
    json!(format!("{}/{}", open.count(), gates.len()))
}

/// The row conditions by which kubectl hides finished pods where it does.
fn conditions(pod: &Value) -> Value {
    let (reason, message) = match pod["status"]["phase"].as_str() {
        Some("Succeeded") => ("Succeeded", "The pod has completed successfully."),
        Some("Failed") => ("Failed", "The pod failed."),
        _ => return Value::Null,
    };
    json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}])
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    list(&pod["status"]["conditions"]).iter().find(|c| c["type"] == kind)
}

fn is_true(condition: Option<&Value>) -> bool {
    condition.is_some_and(|c| c["status"] == "True")
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}
