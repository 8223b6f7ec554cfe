//! The proxy's containers as the user wrote them: what they say wins over the templates.

use serde_json::{Value, json};

use super::OWN_CONTAINERS;
use super::overlay::{list, name, object, overlay};

/// The image that stands for the injector's choice.
const IMAGE_AUTO: &str = "auto";

/// Containers of the user's with names of the injector's.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    containers: Vec<Value>,
    init_containers: Vec<Value>,
}

impl Overrides {
    /// The text of the annotation `proxy.istio.io/overrides`; `None` when there is none.
    pub(super) fn to_json(&self) -> Option<String> {
        let mut all = json!({});
        for (field, containers) in
            [("containers", &self.containers), ("initContainers", &self.init_containers)]
        {
            if !containers.is_empty() {
                all[field] = json!(containers);
            }
        }
        (all != json!({})).then(|| all.to_string())
    }
}

/// Takes the user's containers of these names out of the pod.
pub(super) fn take(pod: &mut Value) -> Overrides {
    let spec = object(pod, "spec");
    let mut from = |field: &str| {
        let Some(Value::Array(all)) = spec.get_mut(field) else { return Vec::new() };
        all.extract_if(.., |container| OWN_CONTAINERS.contains(&name(container))).collect()
    };
    Overrides { containers: from("containers"), init_containers: from("initContainers") }
}

/// Lays them over what the templates made, in whichever list that is.
pub(super) fn put_back(pod: &mut Value, overrides: &Overrides) {
    let spec = object(pod, "spec");
    for (field, containers) in
        [("containers", &overrides.containers), ("initContainers", &overrides.init_containers)]
    {
        for container in containers {
            let Value::Object(mut own) = container.clone() else { continue };
            if own.get("image").and_then(Value::as_str) == Some(IMAGE_AUTO) {
                own.remove("image");
            }
            let made = ["containers", "initContainers"].into_iter().find(|place| {
                let all = spec.get(*place).and_then(Value::as_array);
                all.is_some_and(|all| all.iter().any(|other| name(other) == name(container)))
            });
            let place = list(spec, made.unwrap_or(field));
            match place.iter_mut().find(|other| name(other) == name(container)) {
                Some(Value::Object(made)) => overlay(made, own),
                _ => place.push(container.clone()),
            }
        }
    }
}
