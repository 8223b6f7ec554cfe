//! Analysis of many objects together: what one object says that others contradict.
//!
//! Codes, levels and the names of analyzers are those of `istioctl analyze`.

mod annotations;
mod authorization;
mod claims;
mod conditions;
mod deployments;
mod destination_rules;
mod envoy_filters;
mod gateway_api;
mod gateways;
mod injection;
mod lookup;
mod messages;
mod schema;
mod selectors;
mod service_entries;
mod services;
mod virtual_services;
mod webhooks;
mod world;

#[cfg(test)]
mod tests;

pub use world::{Resource, World};

use crate::report::Report;

/// One analyzer.
pub struct Analyzer {
    /// Its name, as `meshctl analyze --list-analyzers` shows it.
    pub name: &'static str,
    run: fn(&World, &mut Report),
}

impl Analyzer {
    /// Adds what this analyzer finds.
    pub fn run(&self, world: &World, report: &mut Report) {
        (self.run)(world, report);
    }
}

/// Every analyzer there is, by name. All but [`NOT_BY_DEFAULT`] run when none is named.
pub const ALL: &[Analyzer] = &[
    Analyzer { name: "annotations.K8sAnalyzer", run: annotations::known },
    Analyzer { name: "auth.AuthorizationPoliciesAnalyzer", run: authorization::workloads },
    Analyzer { name: "authn.BlockedCIDRsAnalyzer", run: authorization::blocked_cidrs },
    Analyzer { name: "conditions.ConditionAnalyzer", run: conditions::negative },
    Analyzer { name: "deployment.ApplicationUIDAnalyzer", run: deployments::application_uid },
    Analyzer { name: "deployment.ServiceAssociationAnalyzer", run: deployments::services },
    Analyzer { name: "deprecation.DeprecationAnalyzer", run: virtual_services::deprecated },
    Analyzer { name: "destinationrule.CaCertificateAnalyzer", run: destination_rules::ca },
    Analyzer { name: "destinationrule.PodNotSelectedAnalyzer", run: destination_rules::pods },
    Analyzer { name: "envoyfilter.EnvoyPatchAnalyzer", run: envoy_filters::patches },
    Analyzer {
        name: "externalcontrolplane.ExternalControlPlaneAnalyzer",
        run: webhooks::external_control_plane,
    },
    Analyzer { name: "gateway.CertificateAnalyzer", run: gateways::certificates },
    Analyzer { name: "gateway.ConflictingGatewayAnalyzer", run: gateways::conflicts },
    Analyzer { name: "gateway.IngressGatewayPortAnalyzer", run: gateways::ports },
    Analyzer { name: "gateway.SecretAnalyzer", run: gateways::secrets },
    Analyzer { name: "injection.Analyzer", run: injection::namespaces },
    Analyzer { name: "injection.ImageAnalyzer", run: injection::images },
    Analyzer { name: "injection.ImageAutoAnalyzer", run: injection::image_auto },
    Analyzer { name: "k8sgateway.CRDVersionAnalyzer", run: gateway_api::versions },
    Analyzer { name: "k8sgateway.SelectorAnalyzer", run: selectors::kubernetes_gateways },
    Analyzer { name: "maturity.AlphaAnalyzer", run: annotations::alpha },
    Analyzer { name: "multicluster.MeshNetworksAnalyzer", run: services::mesh_networks },
    Analyzer { name: "schema.ValidationAnalyzer", run: schema::validation },
    Analyzer { name: "service.PortNameAnalyzer", run: services::port_names },
    Analyzer {
        name: "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
        run: service_entries::protocols,
    },
    Analyzer { name: "serviceentry.ProtocolAddressesAnalyzer", run: service_entries::addresses },
    Analyzer { name: "sidecar.SelectorAnalyzer", run: selectors::sidecars },
    Analyzer { name: "telemetry.DefaultSelectorAnalyzer", run: selectors::default_telemetry },
    Analyzer { name: "telemetry.LightstepAnalyzer", run: selectors::lightstep },
    Analyzer { name: "telemetry.ProviderAnalyzer", run: selectors::telemetry_providers },
    Analyzer { name: "telemetry.SelectorAnalyzer", run: selectors::telemetry },
    Analyzer {
        name: "virtualservice.ConflictingMeshGatewayHostsAnalyzer",
        run: virtual_services::conflicting_hosts,
    },
    Analyzer {
        name: "virtualservice.DestinationHostAnalyzer",
        run: virtual_services::destination_hosts,
    },
    Analyzer { name: "virtualservice.DestinationRuleAnalyzer", run: virtual_services::subsets },
    Analyzer { name: "virtualservice.GatewayAnalyzer", run: virtual_services::gateways },
    Analyzer { name: "virtualservice.JWTClaimRouteAnalyzer", run: claims::routes },
    Analyzer { name: "webhook.Analyzer", run: webhooks::injectors },
];

/// Analyzers that run only when they are named.
pub const NOT_BY_DEFAULT: &[&str] = &["maturity.AlphaAnalyzer"];

/// Runs the analyzers whose names are given; without any, all that run by default.
pub fn analyze(world: &World, names: &[String]) -> Report {
    let mut report = Report::default();
    let chosen = |analyzer: &&Analyzer| match names {
        [] => !NOT_BY_DEFAULT.contains(&analyzer.name),
        names => names.iter().any(|name| name == analyzer.name),
    };
    for analyzer in ALL.iter().filter(chosen) {
        analyzer.run(world, &mut report);
    }
    report
}
