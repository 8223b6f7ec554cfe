//! The kinds that are watched, and how an object of each is read.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};
use mesh_api::crd::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Gateway, PeerAuthentication, ProxyConfig,
    RequestAuthentication, ServiceEntry, Sidecar, Telemetry, VirtualService, WasmPlugin,
    WorkloadEntry,
};
use pilot_model::key::{Kind, ResourceKey};
use pilot_model::store::{Object, mesh_key};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Said of objects whose kind is not acted on, so that nobody takes silence for consent.
const NO_EFFECT: &str = "has no effect: this version does not act on objects of its kind";

/// The key of the mesh's settings within their ConfigMap.
const MESH: &str = "mesh";

type Read = Box<dyn Fn(Value) -> Result<Object, String> + Send + Sync>;

/// A kind that is watched.
pub struct Watched {
    /// What its objects are in the store.
    pub kind: Kind,
    resource: ApiResource,
    /// One object of one namespace; all of all namespaces otherwise.
    only: Option<(String, String)>,
    read: Read,
}

impl Watched {
    fn of<K>(kind: Kind, object: fn(Box<K>) -> Object) -> Self
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + 'static,
    {
        let read: Read = Box::new(move |document| {
            let read: Result<K, _> = serde_json::from_value(document);
            read.map(|k| object(Box::new(k))).map_err(|error| error.to_string())
        });
        Self { kind, resource: ApiResource::erase::<K>(&()), only: None, read }
    }

    /// A kind whose objects are told of, and set aside.
    fn without_effect<K: Resource<DynamicType = ()>>(kind: Kind) -> Self {
        let read: Read = Box::new(|_| Err(NO_EFFECT.to_owned()));
        Self { kind, resource: ApiResource::erase::<K>(&()), only: None, read }
    }

    /// The mesh's settings: key `mesh` of that ConfigMap.
    fn mesh(namespace: &str, name: &str) -> Self {
        let absent = format!("ConfigMap {namespace}/{name} has no key {MESH}");
        let read: Read = Box::new(move |document| {
            let text = document.pointer("/data/mesh").and_then(Value::as_str);
            text.map(|text| Object::MeshConfig(text.to_owned())).ok_or_else(|| absent.clone())
        });
        Self {
            kind: Kind::MeshConfig,
            resource: ApiResource::erase::<core::ConfigMap>(&()),
            only: Some((namespace.to_owned(), name.to_owned())),
            read,
        }
    }

    /// What is watched, in Kubernetes' words: `virtualservices.networking.istio.io`.
    #[must_use]
    pub fn resource_name(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.resource.plural.clone(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }

    /// Its objects by that client.
    #[must_use]
    pub fn api(&self, client: Client) -> Api<DynamicObject> {
        match &self.only {
            Some((namespace, _)) => Api::namespaced_with(client, namespace, &self.resource),
            None => Api::all_with(client, &self.resource),
        }
    }

    /// The name of the one object that is wanted.
    #[must_use]
    pub fn only_name(&self) -> Option<&str> {
        self.only.as_ref().map(|(_, name)| name.as_str())
    }

    /// What the object is called in the store.
    #[must_use]
    pub fn key(&self, object: &DynamicObject) -> ResourceKey {
        if self.kind == Kind::MeshConfig {
            return mesh_key();
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        ResourceKey {
            kind: self.kind,
            namespace: text(&object.metadata.namespace),
            name: text(&object.metadata.name),
        }
    }

    /// The object as the store takes it.
    ///
    /// # Errors
    /// Why it is no object of its kind.
    pub fn read(&self, mut object: DynamicObject) -> Result<Object, String> {
        // Large, and nobody's concern here.
        object.metadata.managed_fields = None;
        let document = serde_json::to_value(object).map_err(|error| error.to_string())?;
        (self.read)(document)
    }
}

/// All kinds, with the mesh's settings in that ConfigMap.
#[must_use]
pub fn table(namespace: &str, config_map: &str) -> Vec<Watched> {
    vec![
        Watched::mesh(namespace, config_map),
        Watched::of::<core::Namespace>(Kind::Namespace, Object::Namespace),
        Watched::of::<core::Node>(Kind::Node, Object::Node),
        Watched::of::<core::Service>(Kind::Service, Object::Service),
        Watched::of::<core::Pod>(Kind::Pod, Object::Pod),
        Watched::of::<EndpointSlice>(Kind::EndpointSlice, Object::EndpointSlice),
        Watched::of::<VirtualService>(Kind::VirtualService, Object::VirtualService),
        Watched::of::<DestinationRule>(Kind::DestinationRule, Object::DestinationRule),
        Watched::of::<Gateway>(Kind::Gateway, Object::Gateway),
        Watched::of::<PeerAuthentication>(Kind::PeerAuthentication, Object::PeerAuthentication),
        Watched::of::<ServiceEntry>(Kind::ServiceEntry, Object::ServiceEntry),
        Watched::of::<WorkloadEntry>(Kind::WorkloadEntry, Object::WorkloadEntry),
        Watched::of::<Sidecar>(Kind::Sidecar, Object::Sidecar),
        Watched::without_effect::<AuthorizationPolicy>(Kind::AuthorizationPolicy),
        Watched::without_effect::<RequestAuthentication>(Kind::RequestAuthentication),
        Watched::without_effect::<EnvoyFilter>(Kind::EnvoyFilter),
        Watched::without_effect::<ProxyConfig>(Kind::ProxyConfig),
        Watched::without_effect::<Telemetry>(Kind::Telemetry),
        Watched::without_effect::<WasmPlugin>(Kind::WasmPlugin),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_read_or_named() {
        let table = table("istio-system", "istio");
        let of = |kind: Kind| table.iter().find(|watched| watched.kind == kind).unwrap();
        let parse = |object: Value| serde_json::from_value::<DynamicObject>(object).unwrap();
        let service = of(Kind::Service);
        let good = parse(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "a", "namespace": "b", "managedFields": []},
            "spec": {"ports": [{"port": 80}]},
        }));
        assert_eq!(service.key(&good).to_string(), "Service/b/a");
        assert_eq!(service.read(good).unwrap().key().to_string(), "Service/b/a");
        let bad = parse(json!({"metadata": {"name": "a"}, "spec": {"ports": 7}}));
        assert!(service.read(bad).is_err());
        let policy = parse(json!({"metadata": {"name": "deny", "namespace": "b"}}));
        let told = of(Kind::AuthorizationPolicy).read(policy).unwrap_err();
        assert!(told.starts_with("has no effect"), "{told}");
        let virtual_service = of(Kind::VirtualService);
        assert_eq!(virtual_service.resource_name(), "virtualservices.networking.istio.io");
        assert_eq!(of(Kind::Pod).resource_name(), "pods");
        let mesh = of(Kind::MeshConfig);
        let map = parse(json!({"metadata": {"name": "istio"}, "data": {"mesh": "x: 1"}}));
        assert_eq!(mesh.key(&map), mesh_key());
        assert!(matches!(mesh.read(map), Ok(Object::MeshConfig(text)) if text == "x: 1"));
        let empty = parse(json!({"metadata": {"name": "istio"}}));
        assert!(mesh.read(empty).unwrap_err().contains("istio-system/istio"));
    }
}
