//! Mirrored requests: a copy goes to another cluster, and nobody waits for its answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use tracing::debug;

use super::codec::body::RequestBody;
use super::context::{HttpDeps, find};
use super::replay::Replay;
use super::request::Head;
use super::router::Forwarding;
use crate::upstream::PickFor;
use crate::upstream::body::OutBody;

/// How long a mirrored exchange may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts the route's mirrors. A request with a body is mirrored when the body is complete, and
/// not at all when it is longer than what is kept of it.
pub(super) fn start(forwarding: &Forwarding<'_>, head: &Head, body: Option<&Replay<RequestBody>>) {
    let connection = &forwarding.stream.connection;
    for mirror in &forwarding.forward.mirrors {
        if !mirror.percentage.hits((connection.deps.random)()) {
            continue;
        }
        let copy = Copy {
            deps: Rc::clone(&connection.deps),
            cluster: Arc::clone(&mirror.cluster),
            request: request(head, mirror.shadow_host_suffix),
            pick: PickFor {
                original_destination: Some(connection.downstream.facts.destination),
                downstream_http2: head.version == http::Version::HTTP_2,
                ..PickFor::default()
            },
        };
        let body = body.cloned();
        connection.deps.tasks.spawn_local_background("mirrored request", async move {
            let sent = async {
                let bytes = match body {
                    None => Some(Vec::new()),
                    Some(body) => {
                        body.completed().await;
                        body.kept()
                    }
                };
                if let Some(bytes) = bytes {
                    copy.send(bytes).await;
                }
            };
            if tokio::time::timeout(LIMIT, sent).await.is_err() {
                debug!("a mirrored request took longer than {LIMIT:?}");
            }
        });
    }
}

struct Copy {
    deps: Rc<HttpDeps>,
    cluster: Arc<str>,
    request: Request<()>,
    pick: PickFor,
}

impl Copy {
    async fn send(self, body: Vec<Bytes>) {
        let found = find(&*self.deps.config, |held| held.cluster(&self.cluster).cloned()).await;
        let Ok(Some(cluster)) = found else { return };
        let exchange = match self.deps.upstreams.exchange(&cluster, &self.pick).await {
            Ok(exchange) => exchange,
            Err((failure, _)) => {
                let status = failure.kind.status().as_u16();
                self.deps.upstreams.shared(&cluster).counters.completed(status);
                debug!(cluster = %self.cluster, "a mirrored request was not sent: {failure}");
                return;
            }
        };
        let mut request = self.request;
        if exchange.is_http2() {
            *request.version_mut() = http::Version::HTTP_2;
            let host = request.headers_mut().remove(HOST);
            let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
            let uri = format!("http://{host}{}", request.uri());
            if let Ok(uri) = uri.parse() {
                *request.uri_mut() = uri;
            }
        }
        let body = match body.concat() {
            bytes if bytes.is_empty() => OutBody::Empty,
            bytes => OutBody::stream(Full::new(Bytes::from(bytes)).map_err(|never| match never {})),
        };
        let sent = exchange.send(request.map(|()| body)).await;
        self.deps.upstreams.shared(&cluster).counters.completed(match &sent {
            Ok(response) => response.status().as_u16(),
            Err(missed) => missed.failure.kind.status().as_u16(),
        });
        if let Ok(response) = sent {
            let mut body = response.into_body();
            // Read to its end, so that the connection is used again.
            while let Some(Ok(_)) = body.frame().await {}
        }
    }
}

fn request(head: &Head, suffix: bool) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = http::Uri::from(head.path.clone());
    *request.headers_mut() = head.headers.clone();
    let authority = head.authority();
    let host = if suffix { shadow(authority) } else { authority.to_owned() };
    if let Ok(host) = HeaderValue::from_str(&host) {
        request.headers_mut().insert(HOST, host);
    }
    request
}

/// `-shadow` at the end of the host, before a port.
fn shadow(authority: &str) -> String {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{host}-shadow:{port}")
        }
        _ => format!("{authority}-shadow"),
    }
}

#[cfg(test)]
mod tests {
    use super::shadow;

    #[test]
    fn the_suffix_stands_before_the_port() {
        for (authority, expected) in [
            ("a.example", "a.example-shadow"),
            ("a.example:8080", "a.example-shadow:8080"),
            ("[::1]:80", "[::1]-shadow:80"),
        ] {
            assert_eq!(shadow(authority), expected);
        }
    }
}
