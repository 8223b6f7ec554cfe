//! Writes `src/protobuf/table.txt`: joins the field numbers of the k8s-pb crate's source with the
//! JSON names of k8s-openapi's schemas. Run it when a kind is added:
//! `cargo run -p local-model --example protobuf_table -- K8S_PB_SRC_DIR src/protobuf/table.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Struct-embedded messages: their fields are the outer object's fields in JSON.
const INLINED: &[&str] = &[
    "ephemeral_container_common",
    "handler",
    "ingress_rule_value",
    "local_object_reference",
    "rule",
    "volume_source",
];

/// Fields that are pointers in Go (or always written): their zero value says something.
const KEEP_ZERO: &[&str] = &[
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "backoffLimit",
    "backoffLimitPerIndex",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "enableServiceLinks",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "leaseDurationSeconds",
    "leaseTransitions",
    "maxFailedIndexes",
    "maxSurge",
    "maxUnavailable",
    "minAvailable",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "privileged",
    "progressDeadlineSeconds",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "startingDeadlineSeconds",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminating",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
    "value",
];

/// Messages with a JSON form of their own; the decoder knows them.
const WELL_KNOWN: &[(&str, &str)] = &[
    ("meta.v1.Time", "Time"),
    ("meta.v1.MicroTime", "MicroTime"),
    ("meta.v1.FieldsV1", "Raw"),
    ("runtime.RawExtension", "Raw"),
    ("resource.Quantity", "Quantity"),
    ("intstr.IntOrString", "IntOrString"),
    ("authentication.v1.ExtraValue", "Strings"),
    ("authorization.v1.ExtraValue", "Strings"),
];

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(source), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: protobuf_table K8S_PB_SRC_DIR TABLE".into());
    };
    let mut generator =
        Generator { source, files: BTreeMap::new(), rows: BTreeMap::new(), skipped: Vec::new() };
    let (roots, definitions) = roots();
    for (module, kind) in &roots {
        generator.message(&format!("{module}.{kind}"), &definitions, None)?;
    }
    let mut text = String::from(
        "# Protobuf field numbers and JSON names of what clients send; made by examples/protobuf_table.rs.\n\
         # MESSAGE NUMBER=NAME:TYPE…; \"=\" marks kinds. Types: s string, i integer, b bool, y bytes,\n\
         # @message; \"*\" repeated, \"%\" map, \"^\" inlined, \"!\" keeps zero.\n",
    );
    for (name, fields) in &generator.rows {
        let root = roots.iter().any(|(module, kind)| *name == format!("{module}.{kind}"));
        text.push_str(if root { "=" } else { "" });
        text.push_str(name);
        text.push_str(fields);
        text.push('\n');
    }
    std::fs::write(target, text)?;
    let mut report = std::io::stdout().lock();
    for field in &generator.skipped {
        writeln!(report, "skipped {field}")?;
    }
    Ok(())
}

/// The kinds wanted, and the definitions their closure has.
fn roots() -> (BTreeSet<(String, String)>, BTreeMap<String, Value>) {
    let mut g = SchemaGenerator::default();
    let mut roots = BTreeSet::new();
    macro_rules! roots {
        ($($module:ident :: $version:ident :: $($kind:ident),+;)+) => {$($(
            let _ = g.subschema_for::<api::$module::$version::$kind>();
            let module = concat!(stringify!($module), ".", stringify!($version));
            roots.insert((module.to_owned(), stringify!($kind).to_owned()));
        )+)+};
    }
    roots! {
        admissionregistration::v1::MutatingWebhookConfiguration, ValidatingWebhookConfiguration;
        apps::v1::DaemonSet, Deployment, ReplicaSet, StatefulSet;
        authentication::v1::SelfSubjectReview, TokenRequest, TokenReview;
        authorization::v1::LocalSubjectAccessReview, SelfSubjectAccessReview,
            SelfSubjectRulesReview, SubjectAccessReview;
        autoscaling::v1::Scale;
        batch::v1::CronJob, Job;
        coordination::v1::Lease;
        core::v1::Binding, ConfigMap, Endpoints, Event, Namespace, Pod, ResourceQuota, Secret,
            Service, ServiceAccount;
        discovery::v1::EndpointSlice;
        events::v1::Event;
        networking::v1::Ingress, IngressClass, NetworkPolicy;
        policy::v1::Eviction, PodDisruptionBudget;
        rbac::v1::ClusterRole, ClusterRoleBinding, Role, RoleBinding;
        scheduling::v1::PriorityClass;
    }
    add::<meta::DeleteOptions>(&mut g);
    roots.insert(("meta.v1".to_owned(), "DeleteOptions".to_owned()));
    let named = g.definitions().iter().map(|(name, v)| (short(name).to_lowercase(), v.clone()));
    (roots, named.collect())
}

fn add<T: JsonSchema>(g: &mut SchemaGenerator) {
    let _ = g.subschema_for::<T>();
}

/// `io.k8s.api.core.v1.Pod` → `core.v1.Pod`.
fn short(name: &str) -> &str {
    let cuts = ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s.apimachinery.pkg."];
    cuts.iter().find_map(|cut| name.strip_prefix(cut)).unwrap_or(name)
}

struct Generator {
    source: PathBuf,
    files: BTreeMap<PathBuf, String>,
    rows: BTreeMap<String, String>,
    /// Fields that the schemas do not have: newer than them, or embedded structs to list above.
    skipped: Vec<String>,
}

struct Field {
    name: String,
    kind: String,
    attribute: String,
}

impl Generator {
    /// Adds the row of one message and of all it reaches. `outer` is the definition that has the
    /// properties of a message that is only ever inlined.
    fn message(
        &mut self,
        name: &str,
        definitions: &BTreeMap<String, Value>,
        outer: Option<&Value>,
    ) -> Result<()> {
        if self.rows.contains_key(name) {
            return Ok(());
        }
        let definition = definitions.get(&name.to_lowercase()).or(outer);
        let definition = definition.ok_or_else(|| format!("{name} has no schema"))?.clone();
        let properties: BTreeMap<String, &str> = definition["properties"]
            .as_object()
            .into_iter()
            .flat_map(|p| p.keys())
            .map(|p| (p.to_lowercase(), p.as_str()))
            .collect();
        self.rows.insert(name.to_owned(), String::new());
        let mut row = String::new();
        let mut skipped = Vec::new();
        for field in self.fields(name)? {
            let json = properties.get(&field.name.replace('_', "")).copied();
            let inlined = json.is_none() && INLINED.contains(&field.name.as_str());
            let Some(json) = json.or(inlined.then_some("-")) else {
                skipped.push(format!("{name}.{}", field.name));
                continue;
            };
            let number = field.attribute.split("tag = \"").nth(1).and_then(|t| t.split('"').next());
            let number = number.ok_or("a field without a tag")?;
            let kind = self.kind(name, &field, definitions, inlined.then_some(&definition))?;
            let keep = if KEEP_ZERO.contains(&json) { "!" } else { "" };
            row.push_str(&format!(" {number}={json}:{kind}{keep}"));
        }
        self.skipped.append(&mut skipped);
        self.rows.insert(name.to_owned(), row);
        Ok(())
    }

    /// The type of a field as the table writes it.
    fn kind(
        &mut self,
        message: &str,
        field: &Field,
        definitions: &BTreeMap<String, Value>,
        outer: Option<&Value>,
    ) -> Result<String> {
        let attribute = &field.attribute;
        let prefix = match (outer, attribute) {
            (Some(_), _) => "^",
            (None, a) if a.contains("repeated") => "*",
            (None, a) if a.contains("btree_map") => "%",
            _ => "",
        };
        let word = attribute.split("btree_map = \"string, ").nth(1).unwrap_or(attribute);
        let word: String = word.chars().take_while(char::is_ascii_alphanumeric).collect();
        Ok(match word.as_str() {
            "string" => format!("{prefix}s"),
            "int32" | "int64" => format!("{prefix}i"),
            "bool" => format!("{prefix}b"),
            "bytes" => format!("{prefix}y"),
            "message" => {
                let target = resolve(message, &field.kind);
                match WELL_KNOWN.iter().find(|(name, _)| *name == target) {
                    Some((_, short)) => format!("{prefix}@{short}"),
                    None => {
                        self.message(&target, definitions, outer)?;
                        format!("{prefix}@{target}")
                    }
                }
            }
            other => return Err(format!("{message}: unexpected type {other:?}").into()),
        })
    }

    /// The fields of a message, from the source of k8s-pb.
    fn fields(&mut self, name: &str) -> Result<Vec<Field>> {
        let (module, kind) = name.rsplit_once('.').ok_or("no module")?;
        let path = self.source.join(directory(module)).join("mod.rs");
        if !self.files.contains_key(&path) {
            self.files.insert(path.clone(), read(&path)?);
        }
        let start = format!("pub struct {kind} {{").to_lowercase();
        let text = &self.files[&path];
        let at = text.to_lowercase().find(&start).ok_or_else(|| format!("no struct {name}"))?;
        let body = text[at + start.len()..].split("\n}").next().unwrap_or_default();
        let mut fields = Vec::new();
        for part in body.split("#[prost(").skip(1) {
            let (attribute, rest) = part.split_once(")]").ok_or("an unfinished attribute")?;
            let rest = rest.trim_start().trim_start_matches("pub ");
            let (name, kind) = rest.split_once(':').ok_or("a field without a type")?;
            let kind: String =
                kind.split("///").next().unwrap_or_default().split_whitespace().collect();
            fields.push(Field {
                name: name.trim_start_matches("r#").to_owned(),
                kind,
                attribute: attribute.to_owned(),
            });
        }
        Ok(fields)
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// Where k8s-pb keeps a module.
fn directory(module: &str) -> String {
    match module.split_once('.') {
        Some(("meta", version)) => format!("apimachinery/pkg/apis/meta/{version}"),
        Some((group, version)) => format!("api/{group}/{version}"),
        None => format!("apimachinery/pkg/{module}"),
    }
}

/// The message a Rust type names: the last path, with its module unless it is the same one.
fn resolve(message: &str, kind: &str) -> String {
    let path = kind.trim_end_matches([',', '>']);
    let path = path.rsplit(['<', ',']).next().unwrap_or(path);
    let parts: Vec<_> = path.split("::").filter(|p| *p != "super" && !p.is_empty()).collect();
    let here = message.rsplit_once('.').map_or("", |(module, _)| module);
    let name = parts.last().copied().unwrap_or_default();
    match parts.as_slice() {
        [_] => format!("{here}.{name}"),
        [.., group, version, _] if version.starts_with('v') => format!("{group}.{version}.{name}"),
        [.., module, _] => format!("{module}.{name}"),
        [] => String::new(),
    }
}
