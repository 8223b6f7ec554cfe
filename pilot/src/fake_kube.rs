//! A Kubernetes API in memory: lists, watches that end after each batch of events, JSON patches,
//! token reviews; kinds it does not serve, and times when it is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use kube::Client;
use mesh_rt::http_server::{AtDrain, HttpLimits, HttpServer, json, read_body, reply};
use mesh_rt::net::{ListenOptions, listen};
use mesh_rt::tasks::Tasks;
use serde_json::{Value, json};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(20);

/// The API. Clones share it.
#[derive(Clone)]
pub(crate) struct FakeKube {
    state: watch::Sender<State>,
    url: http::Uri,
}

#[derive(Default)]
struct State {
    /// By path.
    objects: BTreeMap<String, Value>,
    /// Version, path and event.
    events: Vec<(u64, String, Value)>,
    /// Users by token.
    tokens: BTreeMap<String, String>,
    /// Collections that are not served.
    absent: BTreeSet<String>,
    is_down: bool,
}

impl FakeKube {
    pub(crate) fn start(tasks: &Tasks) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = listen(any, ListenOptions::default()).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let api = Self { state: watch::Sender::default(), url };
        let (limits, at_drain) = (HttpLimits::default(), AtDrain::KeepServing);
        let server = HttpServer { name: "kubernetes", limits, at_drain };
        let shared = api.clone();
        server.serve(tasks, listener, move |request, _peer| shared.clone().answer(request));
        api
    }

    pub(crate) fn client(&self) -> Client {
        mesh_rt::crypto::install();
        let mut config = kube::Config::new(self.url.clone());
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    pub(crate) fn put(&self, path: &str, mut object: Value) {
        self.state.send_modify(|state| {
            let version = state.events.len() as u64 + 1;
            object["metadata"]["name"] = path.rsplit_once('/').unwrap().1.into();
            object["metadata"]["resourceVersion"] = version.to_string().into();
            if let Some((_, rest)) = path.split_once("/namespaces/")
                && let Some((namespace, _)) = rest.split_once('/')
            {
                object["metadata"]["namespace"] = namespace.into();
            }
            let is_known = state.objects.insert(path.to_owned(), object.clone()).is_some();
            let kind = if is_known { "MODIFIED" } else { "ADDED" };
            let event = json!({"type": kind, "object": object});
            state.events.push((version, path.to_owned(), event));
        });
    }

    pub(crate) fn delete(&self, path: &str) {
        self.state.send_modify(|state| {
            let version = state.events.len() as u64 + 1;
            let mut object = state.objects.remove(path).unwrap();
            object["metadata"]["resourceVersion"] = version.to_string().into();
            let event = json!({"type": "DELETED", "object": object});
            state.events.push((version, path.to_owned(), event));
        });
    }

    /// A review of `token` says that it is this service account's.
    pub(crate) fn token(&self, token: &str, namespace: &str, account: &str) {
        let user = format!("system:serviceaccount:{namespace}:{account}");
        self.state.send_modify(|state| {
            state.tokens.insert(token.to_owned(), user);
        });
    }

    /// Whether a collection is served.
    pub(crate) fn serves(&self, collection: &str, served: bool) {
        self.state.send_modify(|state| {
            match served {
                true => state.absent.remove(collection),
                false => state.absent.insert(collection.to_owned()),
            };
        });
    }

    /// Whether anything is answered at all; watches end when it is not.
    pub(crate) fn is_down(&self, is_down: bool) {
        self.state.send_modify(|state| state.is_down = is_down);
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.state.borrow().objects.get(path).cloned()
    }

    pub(crate) async fn until(&self, path: &str, is: impl Fn(Option<&Value>) -> bool) {
        let mut state = self.state.subscribe();
        let found = state.wait_for(|state| is(state.objects.get(path)));
        let found = tokio::time::timeout(PATIENCE, found).await;
        assert!(found.is_ok(), "{path} is {:?}", self.object(path));
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let (is_down, is_absent) = {
            let state = self.state.borrow();
            (state.is_down, state.absent.contains(path))
        };
        if is_down {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "down");
        }
        if is_absent {
            return refusal(StatusCode::NOT_FOUND, "NotFound", "no such kind");
        }
        match parts.method {
            Method::POST => {
                let body = read_body(body, 1 << 20).await.unwrap();
                let review: Value = serde_json::from_slice(&body).unwrap();
                let token = review["spec"]["token"].as_str().unwrap_or_default();
                let status = match self.state.borrow().tokens.get(token) {
                    Some(user) => json!({
                        "authenticated": true, "user": {"username": user}, "audiences": ["istio-ca"],
                    }),
                    None => json!({"authenticated": false, "error": "unknown token"}),
                };
                json(StatusCode::CREATED, &json!({"spec": {}, "status": status}))
            }
            Method::GET if query.contains("watch=true") => self.watch(path, query).await,
            Method::GET => {
                let state = self.state.borrow();
                let version = state.events.len().to_string();
                let all =
                    state.objects.iter().filter(|(at, object)| wanted(at, object, path, query));
                let items: Vec<&Value> = all.map(|(_, object)| object).collect();
                let list = json!({"metadata": {"resourceVersion": version}, "items": items});
                json(StatusCode::OK, &list)
            }
            Method::PATCH => {
                let body = read_body(body, 1 << 20).await.unwrap();
                let patch: json_patch::Patch = serde_json::from_slice(&body).unwrap();
                let mut object = self.object(path).unwrap();
                if let Err(error) = json_patch::patch(&mut object, &patch) {
                    let status = StatusCode::UNPROCESSABLE_ENTITY;
                    return refusal(status, "Invalid", &error.to_string());
                }
                self.put(path, object);
                json(StatusCode::OK, &self.object(path).unwrap())
            }
            _ => json(StatusCode::METHOD_NOT_ALLOWED, &json!({})),
        }
    }

    async fn watch(&self, path: &str, query: &str) -> Response<Full<Bytes>> {
        let after = parameter(query, "resourceVersion").and_then(|text| text.parse().ok());
        let after: u64 = after.unwrap_or(0);
        let news = |state: &State| {
            let all = state.events.iter().filter(|(version, at, event)| {
                *version > after && wanted(at, &event["object"], path, query)
            });
            all.map(|(_, _, event)| format!("{event}\n")).collect::<String>()
        };
        let mut state = self.state.subscribe();
        let state = state.wait_for(|state| state.is_down || !news(state).is_empty()).await.unwrap();
        reply(StatusCode::OK, "application/json", news(&state))
    }
}

fn refusal(status: StatusCode, reason: &str, message: &str) -> Response<Full<Bytes>> {
    let body = json!({
        "kind": "Status", "status": "Failure", "reason": reason, "message": message,
        "code": status.as_u16(),
    });
    json(status, &body)
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(key, _)| *key == name)?.1;
    Some(value.replace("%3D", "=").replace("%2F", "/"))
}

/// Whether an object is of the collection at `path` and selected by the query.
fn wanted(at: &str, object: &Value, path: &str, query: &str) -> bool {
    let name = parameter(query, "fieldSelector");
    let label = parameter(query, "labelSelector");
    let collection = at.rsplit_once('/').unwrap().0;
    // Of one namespace, or of all.
    let (group, rest) = collection.split_once("/namespaces/").unwrap_or((collection, ""));
    let of_all = rest.split_once('/').map(|(_, plural)| format!("{group}/{plural}"));
    (collection == path || of_all.as_deref() == Some(path))
        && name.is_none_or(|name| {
            name.strip_prefix("metadata.name=").is_some_and(|n| object["metadata"]["name"] == n)
        })
        && label.is_none_or(|label| {
            let (key, value) = label.split_once('=').unwrap();
            object["metadata"]["labels"][key] == value
        })
}
