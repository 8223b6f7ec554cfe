//! The objects that are analyzed together, and the mesh's own configuration.

use std::collections::BTreeMap;

use mesh_api::crd::Definition;
use mesh_api::selector::Labels;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::report::Origin;

/// Kinds without namespace among those that are analyzed.
const CLUSTER_WIDE: [&str; 6] = [
    "Namespace",
    "Node",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "CustomResourceDefinition",
    "GatewayClass",
];

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Kind, namespace and name.
    pub origin: Origin,
    /// API group; empty for Kubernetes' core.
    pub group: String,
    /// The whole object.
    pub value: Value,
}

impl Resource {
    /// Reads kind and name of an object; `None` when it has none. Objects of namespaced kinds
    /// that name no namespace are in `namespace`.
    pub fn read(value: Value, namespace: &str) -> Option<Self> {
        let kind = value["kind"].as_str()?.to_owned();
        let version = value["apiVersion"].as_str()?;
        let group = version.split_once('/').map_or("", |(group, _)| group).to_owned();
        let metadata = &value["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        let namespace = match CLUSTER_WIDE.contains(&kind.as_str()) {
            true => String::new(),
            false => metadata["namespace"].as_str().unwrap_or(namespace).to_owned(),
        };
        Some(Self { origin: Origin { kind, namespace, name }, group, value })
    }

    /// Its labels.
    pub fn labels(&self) -> Labels {
        texts(&self.value["metadata"]["labels"])
    }

    /// Its annotations.
    pub fn annotations(&self) -> Labels {
        texts(&self.value["metadata"]["annotations"])
    }
}

/// The entries of an object whose values are texts.
pub(super) fn texts(value: &Value) -> Labels {
    let entry = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    value.as_object().into_iter().flatten().filter_map(entry).collect()
}

/// Everything that is analyzed together.
#[derive(Clone, Debug)]
pub struct World {
    objects: BTreeMap<(String, String), Vec<Resource>>,
    /// Namespace of the control plane.
    pub root_namespace: String,
    /// Mesh configuration.
    pub mesh_config: Value,
    /// Networks of the mesh, and the name of the object that holds them.
    pub mesh_networks: Value,
}

impl Default for World {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            root_namespace: "istio-system".to_owned(),
            mesh_config: Value::Null,
            mesh_networks: Value::Null,
        }
    }
}

impl World {
    /// Adds an object, in place of one of the same kind and name. The elements of a `List` are
    /// added one by one. Says whether anything was an object at all.
    pub fn add(&mut self, value: Value, namespace: &str) -> bool {
        let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        if is_list && let Some(items) = value["items"].as_array() {
            let mut any = items.is_empty();
            for item in items {
                any |= self.add(item.clone(), namespace);
            }
            return any;
        }
        let Some(resource) = Resource::read(value, namespace) else { return false };
        let key = (resource.group.clone(), resource.origin.kind.clone());
        let objects = self.objects.entry(key).or_default();
        match objects.iter_mut().find(|other| other.origin == resource.origin) {
            Some(other) => *other = resource,
            None => objects.push(resource),
        }
        true
    }

    /// Every object.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.objects.values().flatten()
    }

    /// The objects of a kind.
    pub fn of(&self, group: &str, kind: &str) -> &[Resource] {
        self.objects.get(&(group.to_owned(), kind.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The objects of a kind whose documents have the shape of `T`; the schema analyzer tells of
    /// the others.
    pub(super) fn read<T: DeserializeOwned>(&self, group: &str, kind: &str) -> Vec<(&Resource, T)> {
        let read = |object: &Resource| T::deserialize(&object.value).ok();
        self.of(group, kind).iter().filter_map(|object| Some((object, read(object)?))).collect()
    }

    /// The specs of objects of one of Istio's kinds.
    pub(super) fn specs<S: Definition>(&self) -> Vec<(&Resource, S)> {
        let read = |object: &Resource| match &object.value["spec"] {
            Value::Null => Some(S::default()),
            spec => S::deserialize(spec).ok(),
        };
        self.of(S::GROUP, S::KIND)
            .iter()
            .filter_map(|object| Some((object, read(object)?)))
            .collect()
    }
}
