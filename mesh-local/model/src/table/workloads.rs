//! Deployments, ReplicaSets, DaemonSets, StatefulSets, Jobs, autoscalers, disruption budgets.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Columns, age as ages, age, human_duration, join, list, name, number, or_none, pairs, selector,
};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    const PODS: [&str; 3] = ["Containers*", "Images*", "Selector*"];
    let with = |names: &[&'static str], cells| Columns::builtin(&[names, &PODS].concat(), cells);
    Some(match kind {
        "Deployment" => with(&["Name", "Ready", "Up-to-date", "Available", "Age"], deployment),
        "ReplicaSet" => with(&["Name", "Desired", "Current", "Ready", "Age"], replica_set),
        "DaemonSet" => with(
            &[
                "Name",
                "Desired",
                "Current",
                "Ready",
                "Up-to-date",
                "Available",
                "Node Selector",
                "Age",
            ],
            daemon_set,
        ),
        "Job" => with(&["Name", "Status", "Completions", "Duration", "Age"], job),
        "StatefulSet" => {
            Columns::builtin(&["Name", "Ready", "Age", "Containers*", "Images*"], stateful_set)
        }
        "Scale" => Columns::builtin(&["Name", "Desired", "Available", "Age"], |scale, now| {
            vec![
                name(scale),
                json!(number(&scale["spec"]["replicas"])),
                json!(number(&scale["status"]["replicas"])),
                age(scale, now),
            ]
        }),
        "HorizontalPodAutoscaler" => Columns::builtin(
            &["Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"],
            autoscaler,
        ),
        "PodDisruptionBudget" => Columns::builtin(
            &["Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"],
            |budget, now| {
                vec![
                    name(budget),
                    int_or_string(&budget["spec"]["minAvailable"]),
                    int_or_string(&budget["spec"]["maxUnavailable"]),
                    json!(number(&budget["status"]["disruptionsAllowed"])),
                    age(budget, now),
                ]
            },
        ),
        _ => return None,
    })
}

/// The names of a pod template's containers.
pub(super) fn containers(template: &Value) -> Value {
    each_container(template, "name")
}

/// The images of a pod template's containers.
pub(super) fn images(template: &Value) -> Value {
    each_container(template, "image")
}

fn each_container(template: &Value, field: &str) -> Value {
    let all = list(&template["spec"]["containers"]).iter();
    json!(join(all.map(|c| c[field].as_str().unwrap_or_default())))
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    vec![
        name(object),
        json!(format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]))),
        json!(number(&status["updatedReplicas"])),
        json!(number(&status["availableReplicas"])),
        age(object, now),
        containers(&spec["template"]),
        images(&spec["template"]),
        selector(&spec["selector"]),
    ]
}

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    vec![
        name(object),
        json!(number(&spec["replicas"])),
        json!(number(&status["replicas"])),
        json!(number(&status["readyReplicas"])),
        age(object, now),
        containers(&spec["template"]),
        images(&spec["template"]),
        selector(&spec["selector"]),
    ]
}

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    vec![
        name(object),
        json!(number(&status["desiredNumberScheduled"])),
        json!(number(&status["currentNumberScheduled"])),
        json!(number(&status["numberReady"])),
        json!(number(&status["updatedNumberScheduled"])),
        json!(number(&status["numberAvailable"])),
        pairs(&spec["template"]["spec"]["nodeSelector"]),
        age(object, now),
        containers(&spec["template"]),
        images(&spec["template"]),
        selector(&spec["selector"]),
    ]
}

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    vec![
        name(object),
        json!(format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]))),
        age(object, now),
        containers(&spec["template"]),
        images(&spec["template"]),
    ]
}

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let succeeded = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), number(&spec["parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    vec![
        name(object),
        json!(job_status(object)),
        json!(completions),
        json!(job_duration(status, now)),
        age(object, now),
        containers(&spec["template"]),
        images(&spec["template"]),
        selector(&spec["selector"]),
    ]
}

fn job_status(job: &Value) -> &'static str {
    let has = |kind: &str| {
        let mut all = list(&job["status"]["conditions"]).iter();
        all.any(|c| c["type"] == kind && c["status"] == "True")
    };
    match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if !job["metadata"]["deletionTimestamp"].is_null() => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn job_duration(status: &Value, now: Timestamp) -> String {
    let time = |key: &str| status[key].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    match (time("startTime"), time("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => human_duration(ages::whole_seconds(start, end.unwrap_or(now))),
    }
}

fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    vec![
        name(object),
        json!(format!("{}/{}", word(&target["kind"]), word(&target["name"]))),
        json!(targets(spec, status)),
        spec["minReplicas"].as_i64().map_or_else(|| json!("<unset>"), |n| json!(n.to_string())),
        json!(number(&spec["maxReplicas"])),
        json!(number(&status["currentReplicas"])),
        age(object, now),
    ]
}

fn targets(spec: &Value, status: &Value) -> String {
    let metrics = list(&spec["metrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<_> = metrics
        .iter()
        .enumerate()
        .map(|(index, metric)| {
            let resource = &metric["resource"];
            let wanted = &resource["target"]["averageUtilization"];
            let seen =
                &status["currentMetrics"][index]["resource"]["current"]["averageUtilization"];
            let seen = seen.as_i64().map_or_else(|| "<unknown>".to_owned(), |n| format!("{n}%"));
            match (resource["name"].as_str(), wanted.as_i64()) {
                (Some(what), Some(wanted)) => format!("{what}: {seen}/{wanted}%"),
                (Some(what), None) => format!("{what}: {seen}/<auto>"),
                _ => "<unknown type>".to_owned(),
            }
        })
        .collect();
    match shown.len() {
        0..=2 => shown.join(", "),
        more => format!("{} + {} more...", shown[..2].join(", "), more - 2),
    }
}

fn int_or_string(value: &Value) -> Value {
    match value {
        Value::Number(n) => json!(n.to_string()),
        Value::Null => json!("N/A"),
        other => or_none(other),
    }
}
