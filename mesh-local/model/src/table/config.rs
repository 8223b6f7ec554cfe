//! ConfigMaps, Secrets, ServiceAccounts and Events.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Columns, age as ages, age, human_duration, list, name, or_none, text};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    Some(match kind {
        "ConfigMap" => Columns::builtin(&["Name", "Data", "Age"], |object, now| {
            let data = entries(&object["data"]) + entries(&object["binaryData"]);
            vec![name(object), json!(data.to_string()), age(object, now)]
        }),
        "Secret" => Columns::builtin(&["Name", "Type", "Data", "Age"], |object, now| {
            let data = entries(&object["data"]).to_string();
            vec![name(object), text(&object["type"]), json!(data), age(object, now)]
        }),
        "ServiceAccount" => Columns::builtin(&["Name", "Secrets", "Age"], |object, now| {
            vec![name(object), json!(list(&object["secrets"]).len()), age(object, now)]
        }),
        "Event" => Columns::builtin(
            &[
                "Last Seen",
                "Type",
                "Reason",
                "Object",
                "Subobject*",
                "Source*",
                "Message",
                "First Seen*",
                "Count*",
                "Name*",
            ],
            event,
        ),
        _ => return None,
    })
}

fn entries(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let set = |value: &Value| value.as_str().is_some_and(|t| !t.is_empty());
    let first = if set(&object["firstTimestamp"]) {
        &object["firstTimestamp"]
    } else {
        &object["eventTime"]
    };
    let series = &object["series"];
    let last = match () {
        () if set(&series["lastObservedTime"]) => &series["lastObservedTime"],
        () if set(&object["lastTimestamp"]) => &object["lastTimestamp"],
        () => first,
    };
    let count = [&series["count"], &object["count"]].into_iter().find_map(Value::as_i64);
    let involved = &object["involvedObject"];
    let kind = involved["kind"].as_str().unwrap_or_default().to_lowercase();
    let target = match involved["name"].as_str() {
        Some(name) if !name.is_empty() => format!("{kind}/{name}"),
        _ => kind,
    };
    let component = object["source"]["component"]
        .as_str()
        .filter(|c| !c.is_empty())
        .or_else(|| object["reportingComponent"].as_str())
        .unwrap_or_default();
    let source = match object["source"]["host"].as_str() {
        Some(host) if !host.is_empty() => format!("{component}, {host}"),
        _ => component.to_owned(),
    };
    vec![
        json!(since(last, now)),
        text(&object["type"]),
        text(&object["reason"]),
        json!(target),
        text(&involved["fieldPath"]),
        json!(source),
        json!(object["message"].as_str().unwrap_or_default().trim()),
        json!(since(first, now)),
        json!(count.unwrap_or(1).max(1).to_string()),
        or_none(&object["metadata"]["name"]),
    ]
}

fn since(timestamp: &Value, now: Timestamp) -> String {
    match timestamp.as_str().map(str::parse::<Timestamp>) {
        Some(Ok(then)) => human_duration(ages::whole_seconds(then, now).max(0)),
        _ => "<unknown>".to_owned(),
    }
}
