//! Applying manifests without kubectl: create what is missing, merge into what is there.

mod merge;

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, ApiCapabilities, ApiResource, Scope};
use kube::{Client, ResourceExt};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// Who the server records as the writer.
const FIELD_MANAGER: &str = "meshctl";
/// Where the manifest is kept that was applied last; kubectl reads and writes the same.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The digest of a manifest that is too long to be kept.
const LAST_DIGEST: &str = "install.operator.istio.io/last-applied-digest";
/// How the names of the validator's webhooks end.
const VALIDATOR: &str = "validation.istio.io";
/// All annotations of an object together may be this long; longer manifests are not kept.
const MAX_LAST_APPLIED: usize = 128 << 10;
/// How often an object is read again after somebody else wrote it meanwhile.
const ATTEMPTS: usize = 5;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was not there.
    Created,
    /// It was there and differed.
    Configured,
    /// It was there as wanted.
    Unchanged,
}

impl Applied {
    /// As kubectl says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Parses the objects of a YAML stream; empty documents are passed over.
pub fn parse(name: &str, yaml: &str) -> Result<Vec<DynamicObject>, Error> {
    let documents = local_model::yaml::documents(yaml)
        .map_err(|error| Error::Manifest(format!("{name} is not YAML: {error}")))?;
    documents
        .into_iter()
        .enumerate()
        .map(|(index, document)| {
            let object: DynamicObject = serde_json::from_value(document).map_err(|error| {
                Error::Manifest(format!("{name}: document {}: {error}", index + 1))
            })?;
            if object.types.is_none() || object.metadata.name.is_none() {
                return Err(Error::Manifest(format!(
                    "{name}: document {}: apiVersion, kind and metadata.name are required",
                    index + 1
                )));
            }
            Ok(object)
        })
        .collect()
}

/// `kind/name`, as kubectl names objects.
pub fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    format!("{}/{}", kind.to_lowercase(), object.name_any())
}

/// Applies objects in order, and tells of each.
pub async fn apply(
    client: &Client,
    default_namespace: &str,
    objects: &[DynamicObject],
    mut tell: impl FnMut(&str, Applied),
) -> Result<(), Error> {
    let mut applier = Applier::new(client.clone(), default_namespace, false);
    for object in objects {
        let applied = applier.apply(object).await?;
        tell(&title(object), applied);
    }
    Ok(())
}

/// Applies objects, and remembers where their kinds are served.
pub struct Applier {
    client: Client,
    default_namespace: String,
    /// Nothing is written; what would become of objects is told all the same.
    dry_run: bool,
    kinds: HashMap<GroupVersionKind, (ApiResource, ApiCapabilities)>,
}

impl Applier {
    /// Objects that name no namespace go to `default_namespace`.
    pub fn new(client: Client, default_namespace: &str, dry_run: bool) -> Self {
        let default_namespace = default_namespace.to_owned();
        Self { client, default_namespace, dry_run, kinds: HashMap::new() }
    }

    /// The cluster objects are applied to.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether nothing is written.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Applies one object.
    pub async fn apply(&mut self, object: &DynamicObject) -> Result<Applied, Error> {
        let title = title(object);
        let api = self.api(object).await?;
        self.apply_to(&api, object).await.map_err(|error| Error::api(&title, error))
    }

    async fn api(&mut self, object: &DynamicObject) -> Result<Api<DynamicObject>, Error> {
        let types = object.types.clone().unwrap_or_default();
        let gvk = GroupVersionKind::try_from(&types)
            .map_err(|error| Error::Manifest(format!("{}: {error}", title(object))))?;
        if !self.kinds.contains_key(&gvk) {
            let found = discovery::pinned_kind(&self.client, &gvk).await.map_err(|error| {
                Error::api(format!("look up {} {}", gvk.version, gvk.kind), error)
            })?;
            self.kinds.insert(gvk.clone(), found);
        }
        let (resource, capabilities) = &self.kinds[&gvk];
        if capabilities.scope == Scope::Cluster {
            return Ok(Api::all_with(self.client.clone(), resource));
        }
        let namespace = object.namespace();
        let namespace = namespace.as_deref().unwrap_or(&self.default_namespace);
        Ok(Api::namespaced_with(self.client.clone(), namespace, resource))
    }

    async fn apply_to(
        &self,
        api: &Api<DynamicObject>,
        object: &DynamicObject,
    ) -> kube::Result<Applied> {
        let name = object.name_any();
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), dry_run: false };
        let wanted = with_record(object)?;
        let mut attempt = 1;
        loop {
            let written = match api.get_opt(&name).await? {
                None if self.dry_run => return Ok(Applied::Created),
                None => api.create(&params, &wanted).await.map(|_| Applied::Created),
                Some(live) => {
                    let Some(merged) = merged(&live, object, &wanted)? else {
                        return Ok(Applied::Unchanged);
                    };
                    if self.dry_run {
                        return Ok(Applied::Configured);
                    }
                    // The merged object holds the version it was made from.
                    api.replace(&name, &params, &merged).await.map(|_| Applied::Configured)
                }
            };
            match written {
                // Somebody else was faster: look again.
                Err(kube::Error::Api(status)) if status.code == 409 && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                written => return written,
            }
        }
    }
}

/// The object with a record of itself: the whole manifest where it is short enough.
fn with_record(object: &DynamicObject) -> kube::Result<DynamicObject> {
    let record = serde_json::to_string(object).map_err(kube::Error::SerdeError)?;
    let mut object = object.clone();
    let annotations = object.annotations_mut();
    if record.len() <= MAX_LAST_APPLIED {
        annotations.insert(LAST_APPLIED.to_owned(), record + "\n");
    } else {
        let digest = Sha256::digest(record.as_bytes());
        annotations.insert(LAST_DIGEST.to_owned(), STANDARD.encode(digest));
    }
    Ok(object)
}

/// What the object is to become, or nothing if it is that already.
fn merged(
    live: &DynamicObject,
    object: &DynamicObject,
    wanted: &DynamicObject,
) -> kube::Result<Option<DynamicObject>> {
    let json = |object| serde_json::to_value(object).map_err(kube::Error::SerdeError);
    let same_record = [LAST_APPLIED, LAST_DIGEST]
        .into_iter()
        .all(|key| live.annotations().get(key) == wanted.annotations().get(key));
    let last = live.annotations().get(LAST_APPLIED);
    let last: Option<Value> = last.and_then(|record| serde_json::from_str(record).ok());
    let before = json(live)?;
    let mut after = merge::three_way(&before, last.as_ref(), &json(object)?);
    keep_insistence(&before, &mut after);
    if after == before && same_record {
        return Ok(None);
    }
    if let (false, Some(spec)) =
        (wanted.annotations().contains_key(LAST_APPLIED), object.data.get("spec"))
    {
        // Without a record, what is said no more could not be told: the whole is replaced.
        after["spec"] = spec.clone();
    }
    let mut after: DynamicObject =
        serde_json::from_value(after).map_err(kube::Error::SerdeError)?;
    for key in [LAST_APPLIED, LAST_DIGEST] {
        after.annotations_mut().remove(key);
        if let Some(record) = wanted.annotations().get(key) {
            after.annotations_mut().insert(key.to_owned(), record.clone());
        }
    }
    Ok(Some(after))
}

/// Manifests let objects pass unvalidated, which is right until the validator is up. Where it has
/// come up and insists on being asked, that stays.
fn keep_insistence(live: &Value, after: &mut Value) {
    if live["kind"] != "ValidatingWebhookConfiguration" {
        return;
    }
    for webhook in after["webhooks"].as_array_mut().into_iter().flatten() {
        let name = webhook["name"].as_str().unwrap_or_default();
        let insists = |one: &&Value| one["name"] == name && one["failurePolicy"] == "Fail";
        let mut before = live["webhooks"].as_array().into_iter().flatten();
        if name.ends_with(VALIDATOR) && before.find(insists).is_some() {
            webhook["failurePolicy"] = "Fail".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_documents_are_passed_over() {
        let yaml = "---\n# only a comment\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  \
            name: a\n---\n";
        let objects = parse("ns.yaml", yaml).unwrap();
        assert_eq!(objects.len(), 1);
        assert_eq!(title(&objects[0]), "namespace/a");
    }

    #[test]
    fn what_is_no_object_is_named() {
        let error = parse("x.yaml", "kind: Pod\n").unwrap_err().to_string();
        assert!(error.contains("x.yaml: document 1"), "{error}");
        let error = parse("x.yaml", "a: [").unwrap_err().to_string();
        assert!(error.contains("x.yaml is not YAML"), "{error}");
    }

    fn config_map(data: &str) -> DynamicObject {
        let yaml =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {data}\n");
        parse("a.yaml", &yaml).unwrap().remove(0)
    }

    #[test]
    fn an_object_as_it_was_applied_is_left_alone() {
        let first = config_map("{a: x, b: y}");
        let mut live = with_record(&first).unwrap();
        live.metadata.resource_version = Some("7".into());
        assert!(merged(&live, &first, &with_record(&first).unwrap()).unwrap().is_none());
        let second = config_map("{a: z}");
        let after = merged(&live, &second, &with_record(&second).unwrap()).unwrap().unwrap();
        assert_eq!(after.data["data"], serde_json::json!({"a": "z"}));
        assert_eq!(after.metadata.resource_version.as_deref(), Some("7"));
        assert!(merged(&after, &second, &with_record(&second).unwrap()).unwrap().is_none());
    }

    #[test]
    fn a_validator_that_insists_goes_on_insisting() {
        let configuration = |name: &str, policy: &str| {
            let yaml = format!(
                "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
                 metadata: {{name: a}}\nwebhooks:\n- {{name: {name}, failurePolicy: {policy}}}\n"
            );
            parse("a.yaml", &yaml).unwrap().remove(0)
        };
        for (name, unchanged) in [("rev.validation.istio.io", true), ("other.example.org", false)] {
            let manifest = configuration(name, "Ignore");
            let wanted = with_record(&manifest).unwrap();
            let mut live = configuration(name, "Fail");
            live.metadata.annotations.clone_from(&wanted.metadata.annotations);
            let after = merged(&live, &manifest, &wanted).unwrap();
            assert_eq!(after.is_none(), unchanged, "{name}: {after:?}");
        }
    }

    #[test]
    fn of_an_object_too_long_to_record_nothing_old_stays() {
        let long = |extra: &str| {
            let text = "x".repeat(MAX_LAST_APPLIED);
            let yaml = format!(
                "apiVersion: v1\nkind: C\nmetadata: {{name: a}}\nspec: {{t: {text}{extra}}}"
            );
            parse("a.yaml", &yaml).unwrap().remove(0)
        };
        let (first, second) = (long(", old: 1"), long(""));
        let live = with_record(&first).unwrap();
        assert!(merged(&live, &first, &with_record(&first).unwrap()).unwrap().is_none());
        let wanted = with_record(&second).unwrap();
        let after = merged(&live, &second, &wanted).unwrap().unwrap();
        assert!(after.data["spec"].get("old").is_none());
        assert!(merged(&after, &second, &wanted).unwrap().is_none());
    }
}
