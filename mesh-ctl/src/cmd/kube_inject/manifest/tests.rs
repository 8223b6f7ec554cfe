//! Manifests in, manifests out.

use serde_json::json;

use super::*;

fn injector() -> Injector {
    Injector {
        config: Config::parse("", r#"{"global": {"hub": "h", "tag": "t"}}"#).unwrap(),
        mesh: MeshConfig::default(),
        namespace: "default".to_owned(),
    }
}

fn objects(text: &str) -> Vec<Value> {
    yaml::documents(text).unwrap()
}

/// Names of init containers of the pod at a place.
fn init(object: &Value, place: &str) -> Vec<String> {
    let all = object.pointer(&format!("{place}/spec/initContainers")).and_then(Value::as_array);
    let name = |container: &Value| container["name"].as_str().map(str::to_owned);
    all.into_iter().flatten().filter_map(name).collect()
}

#[test]
fn every_kind_with_pods_is_injected() {
    for (kind, place) in WORKLOADS {
        let mut object = json!({"spec": {"containers": [{"name": "a", "image": "a"}]},
                                "metadata": {"labels": {"app": "a"}}});
        for field in place.split('/').rev().filter(|field| !field.is_empty()) {
            object = json!({ field: object });
        }
        object["apiVersion"] = if kind == "Pod" { "v1" } else { "apps/v1" }.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = "web".into();
        let injected = injector().inject(&object.to_string()).unwrap();
        let made = objects(&injected.text);
        assert_eq!(init(&made[0], place), ["istio-init", "istio-proxy"], "{kind}");
        let owner = format!("apis/apps/v1/namespaces/default/{}s/web", kind.to_lowercase());
        assert!(kind == "Pod" || injected.text.contains(&owner), "{kind}: {}", injected.text);
    }
}

#[test]
fn other_documents_keep_their_text() {
    let service = "apiVersion: v1\nkind: Service # a comment\nmetadata: {name: a}\n";
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: \
                      {spec: {containers: [{name: a, image: a}]}}}\n";
    let manifest = format!("# first\n---\n{service}---\n{deployment}---\n{service}");
    let injected = injector().inject(&manifest).unwrap();
    assert!(
        injected.text.starts_with(&format!("# first\n---\n{service}---\n")),
        "{}",
        injected.text
    );
    assert!(injected.text.ends_with(&format!("---\n{service}")), "{}", injected.text);
    let kinds: Vec<String> =
        objects(&injected.text).iter().map(|object| object["kind"].to_string()).collect();
    assert_eq!(kinds, ["\"Service\"", "\"Deployment\"", "\"Service\""]);
    // Once more changes nothing.
    assert_eq!(injector().inject(&injected.text).unwrap().text, injected.text);
}

#[test]
fn lists_are_injected_item_by_item() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
         "spec": {"containers": [{"name": "a", "image": "a"}]}}]});
    let made = objects(&injector().inject(&list.to_string()).unwrap().text);
    assert_eq!(made[0]["items"][0], list["items"][0]);
    assert_eq!(init(&made[0]["items"][1], ""), ["istio-init", "istio-proxy"]);
}

#[test]
fn who_is_not_injected_is_told() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: true, \
               containers: []}\n";
    let injected = injector().inject(pod).unwrap();
    assert_eq!(injected.text, pod);
    let note = "Pod default/p is not injected: the pod uses the node's network";
    assert_eq!(injected.notes, [note]);
}

#[test]
fn values_that_kubectl_would_misread_stay_texts() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {a: \"n\", b: \"0644\", c: \
               \"1e3\", d: \"~\"}}\nspec: {containers: [{name: a, image: a}], volumes: [{name: v, \
               configMap: {name: c, defaultMode: 0644}}]}\n";
    let made = objects(&injector().inject(pod).unwrap().text);
    let annotations = &made[0]["metadata"]["annotations"];
    for (key, value) in [("a", "n"), ("b", "0644"), ("c", "1e3"), ("d", "~")] {
        assert_eq!(annotations[key], value);
    }
    assert_eq!(made[0]["spec"]["volumes"][0]["configMap"]["defaultMode"], 420);
}

#[test]
fn errors_name_document_and_object() {
    let refused = |text: &str| injector().inject(text).unwrap_err();
    let text = refused("a: 1\n---\na: [\n");
    assert!(text.starts_with("document 2: malformed YAML"), "{text}");
    let text = refused("kind: Deployment\nmetadata: {name: d, namespace: shop}\nspec: {}\n");
    assert_eq!(text, "document 1: Deployment shop/d has no pod at /spec/template");
    let text = refused(
        "kind: Pod\nmetadata: {name: p, annotations: {sidecar.istio.io/interceptionMode: x}}\n\
         spec: {containers: []}\n",
    );
    assert!(text.starts_with("document 1: Pod default/p: pod default/p: annotation"), "{text}");
}
