//! What a class of proxies knows of a snapshot: what is exported to its namespace, and within the
//! class's scope.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::crd::VirtualService;
use mesh_api::name::Hostname;
use mesh_api::port::PortNumber;

use crate::class::Class;
use crate::registry::{Export, Service};
use crate::scope::Scope;
use crate::scope::imports::{Imported, destinations, led_to, narrowed};
use crate::snapshot::Snapshot;

impl Snapshot {
    /// The services that proxies of a class know, one per name.
    pub fn known<'a>(
        &'a self,
        class: &'a Class,
    ) -> Box<dyn Iterator<Item = &'a Arc<Service>> + 'a> {
        match &class.scope {
            Some(scope) => Box::new(self.imported(scope, &class.namespace).services.values()),
            None => Box::new(self.visible(&class.namespace)),
        }
    }

    /// The service of that name, when proxies of a class know it.
    pub fn known_service(&self, class: &Class, host: &Hostname) -> Option<&Arc<Service>> {
        match &class.scope {
            Some(scope) => self.imported(scope, &class.namespace).services.get(host),
            None => self.service(&class.namespace, host),
        }
    }

    /// The services with that port that proxies of a class know, oldest first.
    pub fn known_at_port<'a>(
        &'a self,
        class: &'a Class,
        port: PortNumber,
    ) -> Box<dyn Iterator<Item = &'a Arc<Service>> + 'a> {
        let Some(scope) = &class.scope else {
            return Box::new(self.at_port(&class.namespace, port));
        };
        let imported = &self.imported(scope, &class.namespace).services;
        let all = self.by_port.get(&port).map(Vec::as_slice).unwrap_or_default();
        Box::new(all.iter().filter_map(move |service| {
            let known = imported.get(&service.host)?;
            (known.object == service.object && known.port(port).is_some()).then_some(known)
        }))
    }

    /// The virtual services that apply to what proxies of a class send.
    pub(crate) fn rules_of<'a>(
        &'a self,
        class: &'a Class,
    ) -> impl Iterator<Item = &'a Arc<VirtualService>> + 'a {
        let namespace = class.namespace.as_str();
        let imported = class.scope.as_ref().map(|scope| self.imported(scope, namespace));
        let (is_chosen, all) = match imported {
            Some(imported) => (true, &imported.rules),
            None => (false, &self.virtual_services),
        };
        all.iter().filter(move |vs| is_chosen || self.applies(vs, None, namespace))
    }

    /// Whether proxies in that namespace see the virtual service.
    pub(crate) fn exports(&self, vs: &VirtualService, namespace: &str) -> bool {
        let place = vs.metadata.namespace.as_deref().unwrap_or_default();
        let default = &self.mesh.default_virtual_service_export_to;
        Export::of(&vs.spec.export_to, default, place).reaches(namespace)
    }

    fn applies(&self, vs: &VirtualService, scope: Option<&Scope>, namespace: &str) -> bool {
        let gateways = &vs.spec.gateways;
        let is_for_mesh = gateways.is_empty() || gateways.iter().any(|name| name == "mesh");
        let place = vs.metadata.namespace.as_deref().unwrap_or_default();
        let is_within = |scope: &Scope| {
            let mut hosts = vs.spec.hosts.iter().filter_map(|host| self.resolve(host, place));
            hosts.any(|host| scope.imports_rules(&host, place, namespace))
        };
        is_for_mesh && self.exports(vs, namespace) && scope.is_none_or(is_within)
    }

    fn imported(&self, scope: &Scope, namespace: &str) -> &Imported {
        self.imports.get(scope, namespace, || self.import(scope, namespace))
    }

    /// The services within a scope, and those that its rules lead to.
    fn import(&self, scope: &Scope, namespace: &str) -> Imported {
        let rules = self.virtual_services.iter();
        let rules = rules.filter(|vs| self.applies(vs, Some(scope), namespace));
        let rules: Vec<Arc<VirtualService>> = rules.map(Arc::clone).collect();
        let mut all = BTreeMap::new();
        for (host, named) in &self.services {
            let seen = named.iter().filter(|service| self.sees(namespace, service));
            let mut within = seen.filter_map(|service| narrowed(scope, service, namespace));
            let Some(first) = within.next() else { continue };
            let own = match first.namespace == namespace {
                true => None,
                false => within.find(|service| service.namespace == namespace),
            };
            all.insert(host.clone(), own.unwrap_or(first));
        }
        let mut wanted: BTreeMap<Hostname, BTreeSet<Option<u16>>> = BTreeMap::new();
        for vs in &rules {
            let place = vs.metadata.namespace.as_deref().unwrap_or_default();
            for (host, port) in destinations(vs) {
                if let Some(host) = self.resolve(host, place) {
                    wanted.entry(host).or_default().insert(port);
                }
            }
        }
        for (host, ports) in wanted {
            let known = all.get(&host);
            // What is known already has come from the scope's own namespace of choice.
            let whole = match known {
                Some(known) => self
                    .services
                    .get(&host)
                    .and_then(|named| named.iter().find(|service| service.object == known.object)),
                None => self.service(namespace, &host),
            };
            if let Some(service) = whole.and_then(|service| led_to(service, &ports, known)) {
                all.insert(host, service);
            }
        }
        Imported { services: all, rules }
    }
}
