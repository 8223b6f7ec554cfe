//! Custom resource definitions: their status, what they serve, and what goes with them.

use std::sync::Arc;

use serde_json::Value;

use super::registry::Resource;
use super::server::Server;

const GROUP: &str = "apiextensions.k8s.io";

pub(crate) fn is_definition(resource: &Resource) -> bool {
    resource.info.gvk.group == GROUP && resource.info.plural == "customresourcedefinitions"
}

pub(crate) fn prepare_create(_resource: &Resource, _object: &mut Value) {}

pub(crate) fn prepare_update(_resource: &Resource, _old: &Value, _object: &mut Value) {}

pub(crate) fn refresh(_server: &Server) {}

pub(crate) fn clean_up(
    _server: &Server,
    _resource: &Resource,
    _object: &Arc<Value>,
) -> Option<Arc<Value>> {
    None
}

pub(crate) fn instance_removed(_server: &Server, _resource: &Resource) {}
