//! Field selectors: `metadata.name=x,status.phase!=Running`, on the fields a kind supports.

use serde_json::Value;

use crate::{kind::Gvk, refusal::Refusal};

const EVENT: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

const NEW_EVENT: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

const POD: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

/// The fields beside name and namespace that a builtin kind can be selected by; `None` for a
/// kind that has no conversion of its own.
fn supported(gvk: &Gvk) -> Option<&'static [&'static str]> {
    Some(match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Pod") => POD,
        ("", "Event") => EVENT,
        ("events.k8s.io", "Event") => NEW_EVENT,
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("apps", "ReplicaSet") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        _ => return None,
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

/// A conjunction of field requirements that the kind at hand supports.
///
/// ```
/// use local_model::{kind::Gvk, selector::Fields};
/// use serde_json::json;
/// let pod = Gvk::new("", "v1", "Pod");
/// let fields = Fields::parse(&pod, &[], "spec.nodeName=,status.phase!=Failed").unwrap();
/// assert!(fields.matches(&json!({"status": {"phase": "Pending"}})));
/// let refusal = Fields::parse(&pod, &[], "spec.colour=red").unwrap_err();
/// assert_eq!(refusal.message, "field label not supported: spec.colour");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<Term>);

impl Fields {
    /// Parses the `fieldSelector` query parameter for one kind. `selectable` lists the paths
    /// (`spec.colour`) that a custom resource's version declares selectable.
    ///
    /// # Errors
    /// 400 for malformed text or an unsupported field.
    pub fn parse(gvk: &Gvk, selectable: &[String], text: &str) -> Result<Self, Refusal> {
        let mut all = Vec::new();
        for part in split(text) {
            let malformed = || {
                Refusal::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                ))
            };
            let (field, value, equal) = operator(part).ok_or_else(malformed)?;
            let value = unescape(value).ok_or_else(malformed)?;
            check(gvk, selectable, field)?;
            all.push(Term { field: field.to_owned(), value, equal });
        }
        Ok(Self(all))
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one name that can match, when the selector fixes it.
    pub fn name(&self) -> Option<&str> {
        self.exact("metadata.name")
    }

    /// The one namespace that can match, when the selector fixes it.
    pub fn namespace(&self) -> Option<&str> {
        self.exact("metadata.namespace")
    }

    /// Whether an object matches.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|term| (read(object, &term.field) == term.value) == term.equal)
    }

    fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }
}

fn check(gvk: &Gvk, selectable: &[String], field: &str) -> Result<(), Refusal> {
    if matches!(field, "metadata.name" | "metadata.namespace") {
        return Ok(());
    }
    let known = supported(gvk);
    let allowed = known.is_some_and(|fields| fields.contains(&field))
        || selectable.iter().any(|path| path.trim_start_matches('.') == field);
    if allowed {
        return Ok(());
    }
    // Custom resources and kinds with a conversion of their own use the short message.
    let builtin =
        gvk.group.is_empty() || gvk.group.ends_with(".k8s.io") || !gvk.group.contains('.');
    Err(Refusal::bad_request(if known.is_some() || !builtin {
        format!("field label not supported: {field}")
    } else {
        format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )
    }))
}

/// The text of a field; an absent field is the empty string, as the API compares it.
fn read(object: &Value, field: &str) -> String {
    let value = match field {
        "source" => &object["source"]["component"],
        "reportingController" | "reportingComponent" => {
            let value = &object["reportingController"];
            if value.is_null() { &object["reportingComponent"] } else { value }
        }
        "status.successful" => &object["status"]["succeeded"],
        _ => field.split('.').fold(object, |value, key| &value[key]),
    };
    match (value, field) {
        (Value::String(text), _) => text.clone(),
        (Value::Null, "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        (Value::Null, "status.replicas" | "status.successful") => "0".to_owned(),
        (Value::Null, _) => String::new(),
        (other, _) => other.to_string(),
    }
}

/// Splits at commas that no backslash escapes; empty parts vanish.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

fn operator(part: &str) -> Option<(&str, &str, bool)> {
    let at = part.find(['=', '!'])?;
    let (field, rest) = part.split_at(at);
    [("!=", false), ("==", true), ("=", true)]
        .into_iter()
        .find_map(|(sign, equal)| rest.strip_prefix(sign).map(|value| (field, value, equal)))
}

fn unescape(value: &str) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => text.push(c),
                _ => return None,
            },
            ',' | '=' => return None,
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(kind: &str, text: &str, object: &Value) -> bool {
        Fields::parse(&Gvk::new("", "v1", kind), &[], text).unwrap().matches(object)
    }

    #[test]
    fn fields_match() {
        let pod = json!({
            "metadata": {"name": "a", "namespace": "n"},
            "spec": {"nodeName": "local"}, "status": {"phase": "Running"}
        });
        for (text, want) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==b", false),
            ("metadata.namespace!=n", false),
            ("spec.nodeName=local,status.phase=Running", true),
            ("status.podIP=", true),
            ("spec.hostNetwork=false", true),
        ] {
            assert_eq!(matches("Pod", text, &pod), want, "{text}");
        }
        let event = json!({"involvedObject": {"uid": "u"}, "type": "Normal"});
        assert!(matches("Event", "involvedObject.uid=u,type!=Warning", &event));
        assert!(matches("Secret", "type=a\\,b\\=c\\\\", &json!({"type": "a,b=c\\"})));
    }

    #[test]
    fn a_fixed_name_is_found() {
        let pod = Gvk::new("", "v1", "Pod");
        let fields = Fields::parse(&pod, &[], "metadata.name=x,metadata.namespace!=y").unwrap();
        assert_eq!((fields.name(), fields.namespace()), (Some("x"), None));
    }

    #[test]
    fn unsupported_and_malformed_fields_are_refused() {
        let refuse = |group: &str, kind: &str, text: &str| {
            let gvk = Gvk::new(group, "v1", kind);
            Fields::parse(&gvk, &["spec.ok".to_owned()], text).unwrap_err().message
        };
        assert_eq!(refuse("", "Pod", "x=1"), "field label not supported: x");
        assert_eq!(refuse("example.com", "Foo", "x=1"), "field label not supported: x");
        assert_eq!(
            refuse("", "ConfigMap", "x=1"),
            "\"x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert_eq!(
            refuse("", "Pod", "metadata.name"),
            "invalid selector: 'metadata.name'; can't understand 'metadata.name'"
        );
        assert!(refuse("", "Pod", "metadata.name=a=b").starts_with("invalid selector"));
        let crd = Gvk::new("example.com", "v1", "Foo");
        let fields = Fields::parse(&crd, &[".spec.ok".to_owned()], "spec.ok=1").unwrap();
        assert!(fields.matches(&json!({"spec": {"ok": 1}})));
    }
}
