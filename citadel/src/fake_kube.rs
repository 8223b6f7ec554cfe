//! A Kubernetes API in memory, as far as citadel uses it: secrets, ConfigMaps, namespaces, watches
//! and token reviews.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;

type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// The cluster. Clones share it.
#[derive(Clone)]
pub(crate) struct FakeKube {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<(String, Value)>,
}

#[derive(Default)]
struct State {
    /// By path, as `/api/v1/namespaces/<namespace>/secrets/<name>`.
    objects: BTreeMap<String, Value>,
    version: u64,
    /// Reviews by token: the status.
    tokens: BTreeMap<String, Value>,
}

impl FakeKube {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), events: broadcast::channel(256).0 }
    }

    pub(crate) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// What a review of `token` says.
    pub(crate) fn token(&self, token: &str, user: &str, audience: &str) {
        let status = json!({
            "authenticated": true, "user": {"username": user}, "audiences": [audience],
        });
        self.state.lock().tokens.insert(token.to_owned(), status);
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.state.lock().objects.get(path).cloned()
    }

    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let (kind, name) = path.rsplit_once('/').unwrap();
        object["metadata"]["name"] = name.into();
        if let Some(namespace) = namespace_of(kind) {
            object["metadata"]["namespace"] = namespace.into();
        }
        let mut state = self.state.lock();
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        let event = if state.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        state.objects.insert(path.to_owned(), object.clone());
        let event = json!({"type": event, "object": object});
        // Nobody may be watching.
        let _sent = self.events.send((plural(kind).to_owned(), event));
    }

    pub(crate) fn delete(&self, path: &str) {
        let mut state = self.state.lock();
        let object = state.objects.remove(path).unwrap();
        let kind = plural(path.rsplit_once('/').unwrap().0).to_owned();
        let _sent = self.events.send((kind, json!({"type": "DELETED", "object": object})));
    }

    pub(crate) fn namespace(&self, name: &str) {
        self.put(&format!("/api/v1/namespaces/{name}"), json!({"status": {"phase": "Active"}}));
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if path.ends_with("/tokenreviews") {
            let token = body["spec"]["token"].as_str().unwrap_or_default();
            let unknown = json!({"authenticated": false, "error": "unknown or expired token"});
            let status = self.state.lock().tokens.get(token).cloned().unwrap_or(unknown);
            return reply(StatusCode::CREATED, &json!({"spec": {"token": ""}, "status": status}));
        }
        match parts.method {
            Method::GET if query.contains("watch=true") => self.watch(&path, &query),
            Method::GET => self.get(&path, &query),
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if self.object(&path).is_some() {
                    return refusal(StatusCode::CONFLICT, "AlreadyExists");
                }
                self.put(&path, body);
                reply(StatusCode::CREATED, &self.object(&path).unwrap())
            }
            Method::PUT => {
                let current = self.object(&path).unwrap();
                let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                if version(&current) != version(&body) {
                    return refusal(StatusCode::CONFLICT, "Conflict");
                }
                self.put(&path, body);
                reply(StatusCode::OK, &self.object(&path).unwrap())
            }
            Method::PATCH => {
                self.put(&path, body);
                reply(StatusCode::OK, &self.object(&path).unwrap())
            }
            _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn get(&self, path: &str, query: &str) -> Response<Answer> {
        if let Some(object) = self.object(path) {
            return reply(StatusCode::OK, &object);
        }
        if !matches!(plural(path), "secrets" | "configmaps" | "namespaces") {
            return refusal(StatusCode::NOT_FOUND, "NotFound");
        }
        let state = self.state.lock();
        let of_kind = |at: &&String| plural(at.rsplit_once('/').unwrap().0) == plural(path);
        let items: Vec<&Value> = state
            .objects
            .iter()
            .filter(|(at, object)| of_kind(at) && selected(object, query))
            .map(|(_, object)| object)
            .collect();
        let version = state.version.to_string();
        reply(StatusCode::OK, &json!({"metadata": {"resourceVersion": version}, "items": items}))
    }

    fn watch(&self, path: &str, query: &str) -> Response<Answer> {
        let (kind, query) = (plural(path).to_owned(), query.to_owned());
        let after = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let after: u64 = after.and_then(|text| text.parse().ok()).unwrap_or(0);
        let state = self.state.lock();
        let receiver = self.events.subscribe();
        // What was written between list and watch.
        let missed: Vec<Value> = state
            .objects
            .iter()
            .filter(|(at, object)| {
                let version = object["metadata"]["resourceVersion"].as_str().unwrap();
                plural(at.rsplit_once('/').unwrap().0) == kind
                    && version.parse::<u64>().unwrap() > after
                    && selected(object, &query)
            })
            .map(|(_, object)| json!({"type": "MODIFIED", "object": object}))
            .collect();
        let live = futures::stream::unfold(receiver, move |mut receiver| {
            let (kind, query) = (kind.clone(), query.clone());
            async move {
                loop {
                    let (of, event) = receiver.recv().await.ok()?;
                    if of == kind && selected(&event["object"], &query) {
                        return Some((event, receiver));
                    }
                }
            }
        });
        let lines = futures::stream::iter(missed)
            .chain(live)
            .map(|event| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))));
        Response::new(StreamBody::new(lines).boxed_unsync())
    }
}

fn selected(object: &Value, query: &str) -> bool {
    let name = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector="));
    let name = name.and_then(|text| text.strip_prefix("metadata.name%3D"));
    name.is_none_or(|name| object["metadata"]["name"] == name)
}

/// The last segment: the kind's plural name.
fn plural(path: &str) -> &str {
    path.rsplit_once('/').unwrap().1
}

fn namespace_of(path: &str) -> Option<&str> {
    path.strip_prefix("/api/v1/namespaces/")?.split_once('/').map(|(namespace, _)| namespace)
}

fn reply(status: StatusCode, body: &Value) -> Response<Answer> {
    let mut response = Response::new(Full::from(body.to_string().into_bytes()).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn refusal(status: StatusCode, reason: &str) -> Response<Answer> {
    let body = json!({
        "kind": "Status", "status": "Failure", "reason": reason, "message": reason,
        "code": status.as_u16(),
    });
    reply(status, &body)
}
