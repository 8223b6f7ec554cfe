//! The mistakes users make, and the words they read.

use serde_json::{Value, json};

use super::object;
use crate::{defaults, kind::Gvk};

/// The errors of an object after defaulting, as text.
fn errors(api_version: &str, kind: &str, new: Value, old: Option<Value>) -> Vec<String> {
    let gvk = Gvk::from_api_version(api_version, kind);
    let prepare = |mut object: Value| {
        if object["metadata"].is_null() {
            object["metadata"] = json!({"name": "x", "namespace": "default"});
        }
        defaults::apply(&gvk, &mut object);
        object
    };
    let old = old.map(prepare);
    object(&gvk, &prepare(new), old.as_ref()).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn one(api_version: &str, kind: &str, new: Value, want: &str) {
    assert_eq!(errors(api_version, kind, new, None), [want]);
}

#[track_caller]
fn change(api_version: &str, kind: &str, old: Value, new: Value, want: &[&str]) {
    assert_eq!(errors(api_version, kind, new, Some(old)), want);
}

fn with(mut base: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = base.pointer_mut(parent).unwrap();
    parent[key] = value;
    base
}

fn pod() -> Value {
    json!({"spec": {"containers": [{"name": "app", "image": "app:1"}]}})
}

fn deployment() -> Value {
    json!({"spec": {
        "selector": {"matchLabels": {"app": "x"}},
        "template": {
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]}
        }
    }})
}

fn service() -> Value {
    json!({"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}})
}

#[test]
fn good_objects_pass() {
    for (version, kind, object) in [
        ("v1", "Pod", pod()),
        ("v1", "Service", service()),
        ("v1", "Service", json!({"spec": {"clusterIP": "None", "selector": {"a": "b"}}})),
        ("v1", "Service", json!({"spec": {"type": "ExternalName", "externalName": "a.example."}})),
        ("apps/v1", "Deployment", deployment()),
        ("v1", "ConfigMap", json!({"data": {"a.b": "c"}})),
        ("v1", "Secret", json!({"data": {"a": "YQ=="}})),
        ("v1", "Namespace", json!({"metadata": {"name": "default"}})),
        ("networking.istio.io/v1", "VirtualService", json!({"metadata": {"name": "a.b"}})),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", json!({"metadata": {"name": "system:x"}})),
    ] {
        assert_eq!(errors(version, kind, object, None), Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn metadata_is_checked() {
    let meta = |meta: Value| json!({"metadata": meta});
    one(
        "v1",
        "ConfigMap",
        meta(json!({"namespace": "default"})),
        "metadata.name: Required value: name or generateName is required",
    );
    let found = errors("v1", "Namespace", meta(json!({"name": "a.b"})), None);
    assert!(
        found[0].starts_with("metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label")
    );
    let found = errors("v1", "ConfigMap", meta(json!({"name": "x", "labels": {"a": "b c"}})), None);
    assert!(found[0].starts_with("metadata.labels: Invalid value: \"b c\": a valid label must be"));
    one(
        "v1",
        "ConfigMap",
        meta(json!({"name": "x", "annotations": {"a": "x".repeat(262_144)}})),
        "metadata.annotations: Too long: may not be more than 262144 bytes",
    );
    one(
        "v1",
        "ConfigMap",
        meta(
            json!({"name": "x", "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "b"}]}),
        ),
        "metadata.ownerReferences.uid: Invalid value: \"\": uid must not be empty",
    );
    change(
        "v1",
        "ConfigMap",
        meta(json!({"name": "x", "uid": "1"})),
        meta(json!({"name": "y", "uid": "1"})),
        &["metadata.name: Invalid value: \"y\": field is immutable"],
    );
    change(
        "v1",
        "ConfigMap",
        meta(json!({"name": "x", "deletionTimestamp": "t", "finalizers": ["a/b"]})),
        meta(json!({"name": "x", "deletionTimestamp": "t", "finalizers": ["a/b", "c/d"]})),
        &["metadata.finalizers: Forbidden: no new finalizers can be added if the object is being \
           deleted, found new finalizers [\"c/d\"]"],
    );
}

#[test]
fn pods_are_checked() {
    let container = |extra: Value| {
        let mut base = json!({"name": "app", "image": "app:1"});
        for (key, value) in extra.as_object().unwrap() {
            base[key] = value.clone();
        }
        json!({"spec": {"containers": [base]}})
    };
    let at = |rest: &str| format!("spec.containers[0]{rest}");
    for (extra, want) in [
        (json!({"image": ""}), ".image: Required value"),
        (json!({"name": ""}), ".name: Required value"),
        (
            json!({"ports": [{"containerPort": 70000}]}),
            ".ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/x"}]}),
            ".volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            json!({"livenessProbe": {}}),
            ".livenessProbe: Required value: must specify a handler type",
        ),
        (
            json!({"readinessProbe": {"tcpSocket": {"port": 1}, "exec": {"command": ["x"]}}}),
            ".readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            json!({"env": [{"name": "A=B", "value": "x"}]}),
            ".env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist \
             only of printable ASCII characters other than '='",
        ),
        (
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            ".resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            json!({"imagePullPolicy": "Sometimes"}),
            ".imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
             \"IfNotPresent\", \"Never\"",
        ),
    ] {
        one("v1", "Pod", container(extra), &at(want));
    }
    one("v1", "Pod", json!({"spec": {"containers": []}}), "spec.containers: Required value");
    one(
        "v1",
        "Pod",
        json!({"spec": {"containers": [{"name": "a", "image": "a"}], "initContainers": [{"name": "a", "image": "a"}]}}),
        "spec.initContainers[0].name: Duplicate value: \"a\"",
    );
    one(
        "v1",
        "Pod",
        with(pod(), "/spec/restartPolicy", json!("Often")),
        "spec.restartPolicy: Unsupported value: \"Often\": supported values: \"Always\", \"Never\", \
         \"OnFailure\"",
    );
    one(
        "v1",
        "Pod",
        with(pod(), "/spec/volumes", json!([{"name": "v", "secret": {}}])),
        "spec.volumes[0].secret.secretName: Required value",
    );
}

#[test]
fn of_a_pod_only_images_change() {
    change("v1", "Pod", pod(), with(pod(), "/spec/containers/0/image", json!("app:2")), &[]);
    let moved = errors("v1", "Pod", with(pod(), "/spec/nodeName", json!("n")), Some(pod()));
    assert!(moved[0].starts_with("spec: Forbidden: pod updates may not change fields other than"));
    change(
        "v1",
        "Pod",
        pod(),
        json!({"spec": {"containers": [{"name": "app", "image": "app:1"}, {"name": "b", "image": "b"}]}}),
        &["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
}

#[test]
fn deployments_are_checked() {
    one(
        "apps/v1",
        "Deployment",
        with(deployment(), "/spec/template/metadata/labels", json!({"app": "y"})),
        "spec.template.metadata.labels: Invalid value: {\"app\":\"y\"}: `selector` does not match \
         template `labels`",
    );
    one(
        "apps/v1",
        "Deployment",
        with(deployment(), "/spec/template/spec/restartPolicy", json!("Never")),
        "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
    );
    one(
        "apps/v1",
        "Deployment",
        with(deployment(), "/spec/replicas", json!(-1)),
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    );
    let rolling = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}});
    one(
        "apps/v1",
        "Deployment",
        with(deployment(), "/spec/strategy", rolling),
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when \
         `maxSurge` is 0",
    );
    let mut changed = with(deployment(), "/spec/selector", json!({"matchLabels": {"app": "z"}}));
    changed["spec"]["template"]["metadata"]["labels"] = json!({"app": "z"});
    change(
        "apps/v1",
        "Deployment",
        deployment(),
        changed,
        &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"z\"}}: field is immutable"],
    );
}

#[test]
fn services_are_checked() {
    let ports = |ports: Value| with(service(), "/spec/ports", ports);
    for (object, want) in [
        (ports(json!([])), "spec.ports: Required value"),
        (
            ports(json!([{"name": "a", "port": 80}, {"name": "a", "port": 81}])),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (
            ports(json!([{"name": "a", "port": 80}, {"name": "b", "port": 80}])),
            "spec.ports[1]: Duplicate value: {\"protocol\":\"TCP\",\"port\":80}",
        ),
        (
            ports(json!([{"port": 0}])),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            ports(json!([{"port": 80, "nodePort": 30000}])),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            with(ports(json!([{"port": 80, "nodePort": 80}])), "/spec/type", json!("NodePort")),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. \
             The range of valid ports is 30000-32767",
        ),
    ] {
        let found: Vec<_> = errors("v1", "Service", object, None)
            .into_iter()
            .filter(|e| !e.contains("targetPort"))
            .collect();
        assert_eq!(found, [want]);
    }
    let at = |ip: &str| with(service(), "/spec/clusterIP", json!(ip));
    change(
        "v1",
        "Service",
        at("10.96.0.1"),
        at("10.96.0.2"),
        &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.2\"]: may not change once set"],
    );
    change("v1", "Service", service(), at("10.96.0.2"), &[]);
}

#[test]
fn config_and_secrets_are_checked() {
    let found = errors("v1", "ConfigMap", json!({"data": {"a/b": ""}}), None);
    assert!(found[0].starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key"));
    let found = errors("v1", "Secret", json!({"data": {"a": "!secret!"}}), None);
    assert!(found[0].starts_with("data[a]: Invalid value: illegal base64 data"), "{found:?}");
    assert!(!found[0].contains("!secret!"), "a secret is not repeated");
    one(
        "v1",
        "Secret",
        json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
        "data[tls.key]: Required value",
    );
    change(
        "v1",
        "Secret",
        json!({"type": "a"}),
        json!({"type": "b"}),
        &["type: Invalid value: \"b\": field is immutable"],
    );
    change(
        "v1",
        "ConfigMap",
        json!({"immutable": true, "data": {"a": "1"}}),
        json!({"immutable": true, "data": {"a": "2"}}),
        &["data: Forbidden: field is immutable when `immutable` is set"],
    );
}

#[test]
fn webhooks_are_checked() {
    let hook = |extra: Value| {
        let mut base = json!({
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "s", "namespace": "n"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]
        });
        for (key, value) in extra.as_object().unwrap() {
            base[key] = value.clone();
        }
        json!({"webhooks": [base]})
    };
    let kind = "MutatingWebhookConfiguration";
    let version = "admissionregistration.k8s.io/v1";
    assert_eq!(errors(version, kind, hook(json!({})), None), Vec::<String>::new());
    for (extra, want) in [
        (
            json!({"sideEffects": null}),
            "sideEffects: Required value: must specify one of None, NoneOnDryRun",
        ),
        (
            json!({"admissionReviewVersions": []}),
            "admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ),
        (
            json!({"timeoutSeconds": 31}),
            "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        (
            json!({"name": "a"}),
            "name: Invalid value: \"a\": should be a domain with at least three segments separated by dots",
        ),
        (
            json!({"clientConfig": {}}),
            "clientConfig: Required value: exactly one of url or service is required",
        ),
        (
            json!({"clientConfig": {"url": "http://x"}}),
            "clientConfig.url: Invalid value: \"http://x\": 'https' is the only allowed URL scheme",
        ),
        (
            json!({"failurePolicy": "Maybe"}),
            "failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
        ),
    ] {
        one(version, kind, hook(extra), &format!("webhooks[0].{want}"));
    }
}

#[test]
fn roles_and_jobs_are_checked() {
    let rbac = "rbac.authorization.k8s.io/v1";
    let role = json!({"rules": [{"verbs": ["get"], "apiGroups": [""]}]});
    one(
        rbac,
        "Role",
        role,
        "rules[0].resources: Required value: resource rules must supply at least one resource",
    );
    let binding = |name: &str| {
        json!({
            "roleRef": {"kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "n"}]
        })
    };
    assert_eq!(errors(rbac, "RoleBinding", binding("a"), None), Vec::<String>::new());
    change(
        rbac,
        "RoleBinding",
        binding("a"),
        binding("b"),
        &["roleRef: Invalid value: {\"kind\":\"Role\",\"name\":\"b\",\"apiGroup\":\
           \"rbac.authorization.k8s.io\"}: cannot change roleRef"],
    );
    let job = |policy: &str| {
        let mut job = json!({
            "metadata": {"name": "j", "uid": "u"},
            "spec": {"template": {"spec": {"restartPolicy": policy, "containers": [{"name": "a", "image": "a"}]}}}
        });
        defaults::on_create(&Gvk::new("batch", "v1", "Job"), &mut job);
        job
    };
    assert_eq!(errors("batch/v1", "Job", job("Never"), None), Vec::<String>::new());
    one(
        "batch/v1",
        "Job",
        job("Always"),
        "spec.template.spec.restartPolicy: Unsupported value: \"Always\": supported values: \
         \"Never\", \"OnFailure\"",
    );
    let changed = with(job("Never"), "/spec/template/spec/containers/0/image", json!("b"));
    let found = errors("batch/v1", "Job", changed, Some(job("Never")));
    assert!(found[0].starts_with("spec.template: Invalid value:"), "{found:?}");
}

#[test]
fn objects_of_any_shape_are_survived() {
    for kind in ["Pod", "Service", "Secret", "ConfigMap", "Namespace"] {
        for shape in [Value::Null, json!(3), json!({"spec": [], "metadata": 1, "data": ["a"]})] {
            object(&Gvk::new("", "v1", kind), &shape, Some(&shape));
        }
    }
    for kind in ["Deployment", "StatefulSet"] {
        object(&Gvk::new("apps", "v1", kind), &json!({"spec": {"template": 1}}), None);
    }
}
