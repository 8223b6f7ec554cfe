//! Requests that turn their connection into streams: what client and server agree on, and the
//! task that uses the connection from then on.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use local_model::refusal::{Reason, Refusal};
use mesh_rt::drain;
use mesh_rt::tasks::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;

use super::authz;
use super::body::ResponseBody;
use super::error::Result;
use super::rbac::Attributes;
use super::request::Request;
use super::route::Verb;
use super::server::Server;
use crate::stream::idle::Idle;

/// Connections that are streams at once.
const CONNECTIONS: usize = 512;
/// How long a connection may be silent, as a kubelet has it by default.
const IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// How long the client may take to use the connection that it has asked for.
const SWITCH: Duration = Duration::from_secs(30);
/// The name of raw SPDY in `Upgrade`.
const SPDY: &str = "SPDY/3.1";
/// In which a SPDY client names the protocols it knows, and the server its choice.
const STREAM_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// A connection that has been upgraded.
pub(crate) type Connection = Idle<TokioIo<Upgraded>>;

/// What carries the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Messages.
    WebSocket,
    /// SPDY frames.
    Spdy,
}

/// What client and server have agreed on.
#[derive(Debug)]
pub(crate) struct Agreement {
    pub(crate) wire: Wire,
    /// What the streams mean: one of those offered to [`agree`].
    pub(crate) protocol: &'static str,
    response: Response<ResponseBody>,
    upgrade: OnUpgrade,
    permit: OwnedSemaphorePermit,
}

/// The connections that are streams.
#[derive(Debug)]
pub(crate) struct Upgrades {
    tasks: Tasks,
    permits: Arc<Semaphore>,
}

impl Upgrades {
    pub(crate) fn new() -> Self {
        let (trigger, _) = drain::channel();
        Self { tasks: Tasks::new(trigger), permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Answers the request, and runs `work` on its connection when the client has the answer.
    pub(crate) fn start<F>(
        &self,
        agreement: Agreement,
        shutdown: CancellationToken,
        work: impl FnOnce(Connection) -> F + Send + 'static,
    ) -> Response<ResponseBody>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Agreement { response, upgrade, permit, .. } = agreement;
        let streams = async move {
            match tokio::time::timeout(SWITCH, upgrade).await {
                Ok(Ok(upgraded)) => {
                    Box::pin(work(Idle::new(TokioIo::new(upgraded), IDLE))).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "no connection to stream on"),
                Err(_) => tracing::debug!("a client asked for streams and did not begin"),
            }
            drop(permit);
        };
        self.tasks.spawn_background("streams", async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = streams => {}
            }
        });
        response
    }
}

/// Checks that the user may also `create` the subresource: what a stream does is no reading, even
/// where the client has to ask with GET because websockets have nothing else. Says who may.
pub(crate) fn authorize(server: &Server, request: &Request) -> Result<()> {
    let path = &request.path;
    let user = &request.user;
    if request.verb == Verb::Get {
        let attributes = Attributes {
            verb: Verb::Create.as_str(),
            group: &path.group,
            resource: &path.resource,
            subresource: &path.subresource,
            namespace: &path.namespace,
            name: &path.name,
            path: "",
        };
        authz::authorize(&server.authorizer, user, &attributes)?;
    }
    tracing::info!(
        user = %user.name, namespace = %path.namespace, pod = %path.name,
        subresource = %path.subresource, "stream allowed"
    );
    Ok(())
}

/// Finds what the client asks for among what the server offers, by the client's preference for
/// SPDY and by the server's for websockets.
pub(crate) fn agree(
    server: &Server,
    request: &Request,
    websocket: &[&'static str],
    spdy: &[&'static str],
) -> Result<Agreement> {
    let method = if request.verb == Verb::Get { Method::GET } else { Method::POST };
    let (wire, protocol, mut response) = choose(&method, &request.headers, websocket, spdy)?;
    let upgrade = request.upgrade.lock().take();
    // HTTP/2 and clients within this process have no connection to give away.
    let upgrade = upgrade.ok_or_else(required)?;
    let permit = Arc::clone(&server.upgrades.permits).try_acquire_owned().map_err(|_| {
        let message = format!("{CONNECTIONS} streaming connections are open: close some");
        Refusal::new(Reason::TooManyRequests, message)
    })?;
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    Ok(Agreement { wire, protocol, response, upgrade, permit })
}

fn choose(
    method: &Method,
    headers: &HeaderMap,
    websocket: &[&'static str],
    spdy: &[&'static str],
) -> std::result::Result<(Wire, &'static str, Response<ResponseBody>), Refusal> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    let lists = |name: &HeaderName, wanted: &str| {
        list(headers, name).iter().any(|value| value.eq_ignore_ascii_case(wanted))
    };
    if !lists(&header::CONNECTION, "upgrade") {
        return Err(required());
    }
    let refuse = |name: &HeaderName, offered: &[&str]| {
        Refusal::bad_request(format!(
            "unable to upgrade: unable to negotiate protocol: client supports {:?}, server \
             accepts {offered:?}",
            list(headers, name)
        ))
    };
    let out = response.headers_mut();
    if lists(&header::UPGRADE, "websocket") && *method == Method::GET {
        let version = headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
        if version != Some(b"13") {
            return Err(Refusal::bad_request("Sec-WebSocket-Version must be 13"));
        }
        let key = headers
            .get(header::SEC_WEBSOCKET_KEY)
            .ok_or_else(|| Refusal::bad_request("Sec-WebSocket-Key: Required value"))?;
        let name = header::SEC_WEBSOCKET_PROTOCOL;
        let protocol = websocket.iter().find(|offered| lists(&name, offered));
        let protocol = *protocol.ok_or_else(|| refuse(&name, websocket))?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
        let accept =
            accept.map_err(|_| Refusal::bad_request("Sec-WebSocket-Key: Invalid value"))?;
        out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        out.insert(name, HeaderValue::from_static(protocol));
        return Ok((Wire::WebSocket, protocol, response));
    }
    if lists(&header::UPGRADE, SPDY) {
        let wanted = list(headers, &STREAM_VERSION);
        let protocol = wanted.iter().find_map(|w| spdy.iter().find(|offered| *offered == w));
        let protocol = *protocol.ok_or_else(|| refuse(&STREAM_VERSION, spdy))?;
        out.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
        out.insert(STREAM_VERSION, HeaderValue::from_static(protocol));
        return Ok((Wire::Spdy, protocol, response));
    }
    Err(required())
}

fn required() -> Refusal {
    Refusal::bad_request(format!(
        "Upgrade request required: this is a stream, over HTTP/1.1 with Upgrade: websocket (GET) \
         or Upgrade: {SPDY}"
    ))
}

/// The comma-separated values of all headers of a name.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|v| !v.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

    fn chosen(method: &Method, headers: &[(&str, &str)]) -> (String, HeaderMap) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        match choose(method, &map, &CHANNELS, &["v4.channel.k8s.io"]) {
            Ok((wire, protocol, response)) => {
                (format!("{wire:?} {protocol}"), response.headers().clone())
            }
            Err(refusal) => (refusal.message, HeaderMap::new()),
        }
    }

    #[test]
    fn protocols_are_agreed_on_or_refused() {
        let websocket = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            // Key and answer of RFC 6455, section 1.3.
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let protocol = |name: &'static str| {
            let mut all = websocket.to_vec();
            all.push(("sec-websocket-protocol", name));
            all
        };
        let (choice, answer) =
            chosen(&Method::GET, &protocol("v4.channel.k8s.io, v5.channel.k8s.io"));
        assert_eq!(choice, "WebSocket v5.channel.k8s.io");
        assert_eq!(answer["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let (choice, _) = chosen(&Method::GET, &protocol("base64.channel.k8s.io"));
        assert!(choice.contains("client supports [\"base64.channel.k8s.io\"]"), "{choice}");
        let spdy = [
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v5.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ];
        let (choice, answer) = chosen(&Method::POST, &spdy);
        assert_eq!(choice, "Spdy v4.channel.k8s.io");
        assert_eq!(answer["x-stream-protocol-version"], "v4.channel.k8s.io");
        for (method, headers) in [
            (Method::GET, &spdy[1..]),
            (Method::POST, &websocket[..]),
            (Method::GET, &[("connection", "upgrade"), ("upgrade", "h2c")]),
            (Method::GET, &[]),
        ] {
            let (choice, _) = chosen(&method, headers);
            assert!(choice.starts_with("Upgrade request required"), "{headers:?}: {choice}");
        }
    }
}
