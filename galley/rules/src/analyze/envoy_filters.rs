//! Patches whose effect depends on what else patches the same place.

use std::collections::BTreeSet;

use mesh_api::crd::EnvoyFilterSpec;
use mesh_api::crd::envoy_filter::{ApplyTo, EnvoyConfigObjectPatch, PatchOperation};

use super::messages::{
    ADD_OPERATION, Message, RELATIVE_OPERATION, RELATIVE_WITH_VERSION, REMOVE_OPERATION,
    REPLACE_OPERATION,
};
use super::world::World;
use crate::report::Report;

/// Operations that cannot work where they stand, and operations relative to other filters.
pub(super) fn patches(world: &World, report: &mut Report) {
    for (object, spec) in world.specs::<EnvoyFilterSpec>() {
        let first = spec.priority.unwrap_or_default() == 0;
        let mut with_version = BTreeSet::new();
        for patch in &spec.config_patches {
            let filter = filter_name(patch).to_owned();
            let (message, text) = match judge(patch) {
                Judgement::Fine => continue,
                Judgement::Wrong(message, text) => (message, text),
                Judgement::Relative if !first => continue,
                Judgement::Relative if with_version.contains(&filter) => (
                    RELATIVE_WITH_VERSION,
                    "This EnvoyFilter does not have a priority and has a relative patch operation \
                     (INSERT_BEFORE/AFTER, REPLACE, MERGE, DELETE) and proxyVersion set which can \
                     cause the EnvoyFilter not to be applied. Using the INSERT_FIRST or ADD option \
                     or setting the priority may help in ensuring the EnvoyFilter is applied \
                     correctly.",
                ),
                Judgement::Relative => (
                    RELATIVE_OPERATION,
                    "This EnvoyFilter does not have a priority and has a relative patch operation \
                     set which can cause the EnvoyFilter not to be applied. Using the INSERT_FIRST \
                     or ADD option or setting the priority may help in ensuring the EnvoyFilter is \
                     applied correctly.",
                ),
            };
            report.add(message.about(&object.origin, text));
            let condition = patch.match_.as_ref().and_then(|m| m.proxy.as_ref());
            if condition.is_some_and(|proxy| proxy.proxy_version.is_some()) {
                with_version.insert(filter);
            }
        }
    }
}

enum Judgement {
    Fine,
    Wrong(Message, &'static str),
    Relative,
}

fn judge(patch: &EnvoyConfigObjectPatch) -> Judgement {
    let apply_to = patch.apply_to.unwrap_or_default();
    let of_routes = matches!(apply_to, ApplyTo::RouteConfiguration | ApplyTo::HttpRoute);
    match patch.patch.as_ref().and_then(|patch| patch.operation).unwrap_or_default() {
        PatchOperation::Add if of_routes => Judgement::Wrong(
            ADD_OPERATION,
            "The ADD operation will be ignored when applied to ROUTE_CONFIGURATION or HTTP_ROUTE.",
        ),
        PatchOperation::Remove if of_routes => Judgement::Wrong(
            REMOVE_OPERATION,
            "The REMOVE operation will be ignored when applied to ROUTE_CONFIGURATION or \
             HTTP_ROUTE.",
        ),
        PatchOperation::Replace
            if !matches!(
                apply_to,
                ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::VirtualHost
            ) =>
        {
            Judgement::Wrong(
                REPLACE_OPERATION,
                "The REPLACE operation is only valid for HTTP_FILTER and NETWORK_FILTER.",
            )
        }
        PatchOperation::Remove
        | PatchOperation::Replace
        | PatchOperation::InsertBefore
        | PatchOperation::InsertAfter => Judgement::Relative,
        _ => Judgement::Fine,
    }
}

/// The name of the filter a patch brings, or else of the one it looks for.
fn filter_name(patch: &EnvoyConfigObjectPatch) -> &str {
    let brought = patch.patch.as_ref().and_then(|patch| patch.value.get("name")?.as_str());
    let sought = || {
        let listener = patch.match_.as_ref()?.listener.as_ref()?;
        listener.filter_chain.as_ref()?.filter.as_ref()?.name.as_deref()
    };
    brought.or_else(sought).unwrap_or_default()
}
