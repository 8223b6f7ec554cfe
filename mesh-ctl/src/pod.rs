//! Which pod a user means by `[<type>/]<name>[.<namespace>]`, and HTTP to one of its ports.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Method;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::Error;

/// A proxy's answer may have this many bytes.
const ANSWER_LIMIT: usize = 256 << 20;

/// How long a proxy may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a user typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    kind: String,
    name: String,
    namespace: String,
}

impl Target {
    /// Reads `[<type>/]<name>[.<namespace>]`.
    ///
    /// # Errors
    /// When a part is empty.
    pub fn parse(text: &str, default_namespace: &str) -> Result<Self, Error> {
        let (kind, rest) = text.split_once('/').unwrap_or(("pod", text));
        let (name, namespace) = rest.split_once('.').unwrap_or((rest, default_namespace));
        if kind.is_empty() || name.is_empty() || namespace.is_empty() {
            return Err(Error::Usage(format!(
                "{text:?} names no pod; write [<type>/]<name>[.<namespace>], \
                 such as deployment/reviews-v1.default"
            )));
        }
        let parts = [kind, name, namespace].map(str::to_owned);
        let [kind, name, namespace] = parts;
        Ok(Self { kind, name, namespace })
    }

    /// The pod: itself, or a running one of the workload or service.
    ///
    /// # Errors
    /// When there is none, or the type is not one that has pods.
    pub async fn pod(&self, client: &Client) -> Result<(String, String), Error> {
        let namespace = &self.namespace;
        let selector = match self.kind.to_ascii_lowercase().as_str() {
            "pod" | "pods" | "po" => return Ok((self.name.clone(), namespace.clone())),
            "deployment" | "deployments" | "deploy" => {
                let found: Deployment = self.get(client).await?;
                found.spec.map(|spec| spec.selector)
            }
            "statefulset" | "statefulsets" | "sts" => {
                let found: StatefulSet = self.get(client).await?;
                found.spec.map(|spec| spec.selector)
            }
            "daemonset" | "daemonsets" | "ds" => {
                let found: DaemonSet = self.get(client).await?;
                found.spec.map(|spec| spec.selector)
            }
            "replicaset" | "replicasets" | "rs" => {
                let found: ReplicaSet = self.get(client).await?;
                found.spec.map(|spec| spec.selector)
            }
            "service" | "services" | "svc" => {
                let found: Service = self.get(client).await?;
                found.spec.map(|spec| LabelSelector {
                    match_labels: spec.selector,
                    ..LabelSelector::default()
                })
            }
            other => {
                return Err(Error::Usage(format!(
                    "{other:?} is not a type that has pods; use pod, deployment, statefulset, \
                     daemonset, replicaset or service"
                )));
            }
        };
        self.running(client, &selector.unwrap_or_default()).await
    }

    async fn get<K>(&self, client: &Client) -> Result<K, Error>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(client.clone(), &self.namespace);
        let what = || format!("{}/{}.{}", self.kind, self.name, self.namespace);
        api.get(&self.name).await.map_err(|error| Error::api(what(), error))
    }

    async fn running(
        &self,
        client: &Client,
        selector: &LabelSelector,
    ) -> Result<(String, String), Error> {
        let labels = selector.match_labels.clone().unwrap_or_default();
        let none = || {
            Error::Failed(format!(
                "no running pod of {}/{} in namespace {}",
                self.kind, self.name, self.namespace
            ))
        };
        if labels.is_empty() {
            return Err(none());
        }
        let query: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let running = running(client, &self.namespace, &query.join(",")).await?;
        let pod = running.into_iter().next().ok_or_else(none)?;
        Ok((pod, self.namespace.clone()))
    }
}

/// The names of the running pods of a namespace that have these labels.
///
/// # Errors
/// When the API server refuses to list pods.
pub async fn running(
    client: &Client,
    namespace: &str,
    selector: &str,
) -> Result<Vec<String>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = api
        .list(&ListParams::default().labels(selector))
        .await
        .map_err(|error| Error::api(format!("list pods of {namespace}"), error))?;
    let is_running = |pod: &&Pod| {
        pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
            && pod.metadata.deletion_timestamp.is_none()
    };
    Ok(list.items.iter().filter(is_running).map(ResourceExt::name_any).collect())
}

/// `GET path` on a port of a pod, through the API server's port-forward.
///
/// # Errors
/// When the pod cannot be reached, or the answer is not 200.
pub async fn get(
    client: &Client,
    pod: (&str, &str),
    port: u16,
    path: &str,
) -> Result<Bytes, Error> {
    request(client, pod, port, (Method::GET, path)).await
}

/// `POST path` without a body, as [`get`].
///
/// # Errors
/// When the pod cannot be reached, or the answer is not 200.
pub async fn post(
    client: &Client,
    pod: (&str, &str),
    port: u16,
    path: &str,
) -> Result<Bytes, Error> {
    request(client, pod, port, (Method::POST, path)).await
}

/// A value for a query, percent-encoded.
pub fn query_value(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

async fn request(
    client: &Client,
    pod: (&str, &str),
    port: u16,
    (method, path): (Method, &str),
) -> Result<Bytes, Error> {
    let what = format!("{method} {path}");
    let answer = exchange(client, pod, port, (method, path));
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
        Err(Error::TimedOut(format!(
            "{}.{} did not answer {what} on port {port} within {} s",
            pod.0,
            pod.1,
            ANSWER_TIMEOUT.as_secs()
        )))
    })
}

async fn exchange(
    client: &Client,
    (pod, namespace): (&str, &str),
    port: u16,
    (method, path): (Method, &str),
) -> Result<Bytes, Error> {
    let failed = |what: String| Error::Failed(format!("{pod}.{namespace} port {port}: {what}"));
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut forward = pods
        .portforward(pod, &[port])
        .await
        .map_err(|error| Error::api(format!("port-forward to {pod}.{namespace}"), error))?;
    let stream = forward.take_stream(port).ok_or_else(|| failed("no stream".to_owned()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let what = format!("{method} {path}");
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.to_string()))?;
    let answer = async {
        let response =
            sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(failed(format!("{what} answered {status}: {}", text.trim_end())));
        }
        Ok(body)
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end before the answer was read to its end.
        _ended = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_type() {
        let parsed = |text| Target::parse(text, "default").expect("valid");
        let target = |kind: &str, name: &str, namespace: &str| Target {
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        assert_eq!(parsed("reviews-v1-abc"), target("pod", "reviews-v1-abc", "default"));
        assert_eq!(parsed("a.shop"), target("pod", "a", "shop"));
        assert_eq!(parsed("deploy/a.shop"), target("deploy", "a", "shop"));
        for bad in ["", "/", "deploy/", "a.", "/a"] {
            let error = Target::parse(bad, "default").expect_err("names nothing").to_string();
            assert!(error.contains("[<type>/]<name>[.<namespace>]"), "{error}");
        }
    }
}
