//! WasmPlugin, TrafficExtension and ProxyConfig: extensions of proxies and their settings.

use mesh_api::crd::wasm_plugin::{
    EnvValueSource, PluginPhase, PluginType, TrafficSelector, VmConfig,
};
use mesh_api::crd::{Object, ProxyConfigSpec, TrafficExtensionSpec, WasmPluginSpec};

use super::check::At;
use super::common::{Target, selector, target, unique};
use super::{Validate, text};

impl Validate for ProxyConfigSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let select = spec.selector.as_ref().map(|selector| &selector.match_labels);
        selector(select, &mut at.field("selector").field("matchLabels"));
        at.field("concurrency")
            .error_if(spec.concurrency.is_some_and(|number| number < 0), "must not be negative");
    }
}

impl Validate for WasmPluginSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let attached = Target {
            selector: spec.selector.as_ref().map(|selector| &selector.match_labels),
            one: spec.target_ref.as_ref(),
            many: &spec.target_refs,
        };
        target(&attached, at);
        module(&spec.url, spec.sha256.as_deref(), at);
        if let Some(settings) = &spec.vm_config {
            environment(settings, &mut at.field("vmConfig").field("env"));
        }
        ports(&spec.match_, &mut at.field("match"));
    }
}

impl Validate for TrafficExtensionSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let attached = Target {
            selector: spec.selector.as_ref().map(|selector| &selector.match_labels),
            one: None,
            many: &spec.target_refs,
        };
        target(&attached, at);
        at.error_if(
            spec.wasm.is_some() == spec.lua.is_some(),
            "exactly one of wasm or lua must be set",
        );
        if let Some(wasm) = &spec.wasm {
            let mut at = at.field("wasm");
            module(&wasm.url, wasm.sha256.as_deref(), &mut at);
            if let Some(settings) = &wasm.vm_config {
                environment(settings, &mut at.field("vmConfig").field("env"));
            }
            let network = wasm.type_ == Some(PluginType::Network);
            at.field("type").error_if(
                network && matches!(spec.phase, Some(PluginPhase::Authn | PluginPhase::Authz)),
                "a NETWORK filter cannot be in the phases AUTHN and AUTHZ",
            );
        }
        if let Some(lua) = &spec.lua {
            let empty = lua.inline_code.trim().is_empty();
            at.field("lua").field("inlineCode").error_if(empty, "must not be empty");
        }
        ports(&spec.match_, &mut at.field("match"));
    }
}

/// Where a module is, and its checksum.
fn module(url: &str, sha256: Option<&str>, at: &mut At<'_>) {
    let mut place = at.field("url");
    place.error_if(url.is_empty(), "url field needs to be set");
    if let Some((scheme, rest)) = url.split_once("://") {
        let known = ["http", "https", "oci", "file"].contains(&scheme);
        place.error_if(!known, "url contains unsupported scheme: use http, https, oci or file");
        place.error_if(rest.is_empty(), "url names nothing after its scheme");
    }
    if let Some(sum) = sha256.filter(|sum| !sum.is_empty()) {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        at.field("sha256").error_if(
            sum.len() != 64 || !sum.bytes().all(lower_hex),
            "sha256 must be 64 characters of lower-case hex",
        );
    }
}

fn environment(settings: &VmConfig, at: &mut At<'_>) {
    unique(settings.env.iter().map(|variable| variable.name.as_str()), "variable", at);
    for (index, variable) in settings.env.iter().enumerate() {
        let mut at = at.index(index);
        at.field("name").error_if(variable.name.is_empty(), "must not be empty");
        let host = variable.value_from == Some(EnvValueSource::Host);
        let value = variable.value.as_deref().unwrap_or_default();
        at.field("value")
            .error_if(host && !value.is_empty(), "value may only be set when valueFrom is INLINE");
    }
}

fn ports(selectors: &[TrafficSelector], at: &mut At<'_>) {
    for (index, select) in selectors.iter().enumerate() {
        for (number, port) in select.ports.iter().enumerate() {
            let mut at = at.index(index);
            at.field("ports").index(number).field("number").require(text::port(port.number));
        }
    }
}
