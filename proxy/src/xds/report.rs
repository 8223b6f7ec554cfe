//! What the proxy made of its configuration, told to a pilot that takes such reports.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::any;
use mesh_api::envoy::rpc::Status;
use mesh_api::envoy::service::discovery::DeltaDiscoveryRequest;
use mesh_api::lateen::config::{ConfigReport, ResourceReport, resource_report::Grade};
use mesh_api::type_url::TypeUrl;
use prost::Name as _;
use proxy_model::stage::{Applied, Upsert};

/// Resources of which something is told at a time, at most.
const MAX_TOLD: usize = 1000;

/// What was told of resources that are not simply accepted.
#[derive(Default)]
pub(super) struct Reports {
    told: BTreeSet<(String, Arc<str>)>,
}

impl Reports {
    /// A new stream: the server remembers nothing.
    pub(super) fn restart(&mut self) {
        self.told.clear();
    }

    /// What to tell of a response: resources with a warning or a rejection, and those that had one
    /// and are good again.
    pub(super) fn of(
        &mut self,
        type_url: &TypeUrl,
        versions: &[(Arc<str>, Arc<str>)],
        applied: &Applied,
    ) -> Option<DeltaDiscoveryRequest> {
        let version = |name: &str| {
            let found = versions.iter().find(|(held, _)| &**held == name);
            found.map(|(_, version)| version.to_string()).unwrap_or_default()
        };
        let row = |name: &Arc<str>, grade: Grade, path: &str, reason: &str| ResourceReport {
            type_url: type_url.as_str().to_owned(),
            name: name.to_string(),
            version: version(name),
            grade: grade.into(),
            field_path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let mut resources = Vec::new();
        for (name, warnings) in &applied.accepted {
            let key = (type_url.as_str().to_owned(), Arc::clone(name));
            match warnings.first() {
                Some(warning) if self.told.len() < MAX_TOLD => {
                    self.told.insert(key);
                    resources.push(row(name, Grade::Warning, &warning.path, &warning.reason));
                }
                Some(_) => {}
                None if self.told.remove(&key) => {
                    resources.push(row(name, Grade::Accepted, "", ""));
                }
                None => {}
            }
        }
        for rejected in applied.rejected.iter().take(MAX_TOLD) {
            let name = &rejected.resource.name;
            if self.told.len() < MAX_TOLD {
                self.told.insert((type_url.as_str().to_owned(), Arc::clone(name)));
                resources.push(row(name, Grade::Rejected, &rejected.path, &rejected.reason));
            }
        }
        (!resources.is_empty()).then(|| DeltaDiscoveryRequest {
            type_url: ConfigReport::type_url(),
            error_detail: Some(Status {
                code: 0,
                message: String::new(),
                details: vec![any::pack(&ConfigReport { resources })],
            }),
            ..DeltaDiscoveryRequest::default()
        })
    }
}

/// Names and versions of a response's resources.
pub(super) fn versions_of(upserts: &[Upsert]) -> Vec<(Arc<str>, Arc<str>)> {
    upserts.iter().map(|upsert| (Arc::clone(&upsert.name), Arc::clone(&upsert.version))).collect()
}

#[cfg(test)]
mod tests {
    use proxy_model::problem::Warning;

    use super::*;

    #[test]
    fn a_warning_is_told_and_taken_back() {
        let mut reports = Reports::default();
        let warning = Warning { path: "a.b".to_owned(), reason: "no".to_owned() };
        let versions = vec![(Arc::from("l"), Arc::from("7"))];
        let applied =
            |warnings| Applied { accepted: vec![(Arc::from("l"), warnings)], rejected: Vec::new() };
        let rows = |request: DeltaDiscoveryRequest| {
            let status = request.error_detail.unwrap();
            any::unpack::<ConfigReport>(&status.details[0]).unwrap().resources
        };
        let ty = TypeUrl::Listener;
        let told = rows(reports.of(&ty, &versions, &applied(vec![warning])).unwrap());
        assert_eq!((told[0].grade(), told[0].field_path.as_str()), (Grade::Warning, "a.b"));
        assert_eq!(told[0].version, "7");
        let told = rows(reports.of(&ty, &versions, &applied(Vec::new())).unwrap());
        assert_eq!(told[0].grade(), Grade::Accepted);
        assert!(reports.of(&ty, &versions, &applied(Vec::new())).is_none(), "told once");
    }
}
