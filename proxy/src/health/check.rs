//! Asks the application, as a prober says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, LOCATION, TE, USER_AGENT};
use http::uri::Uri;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use prost::Message;
use tokio::net::TcpStream;

use super::fetch::{self, FetchError, Target};
use super::prober::{HttpGet, Probe, Prober};

/// Redirects that are followed, as the kubelet does.
const MAX_REDIRECTS: usize = 10;
/// Bytes of an answer at most; what it says does not matter.
const MAX_BODY: usize = 1 << 20;
/// Bytes of a health message at most.
const MAX_MESSAGE: usize = 4096;

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The status the kubelet is answered with.
    pub status: StatusCode,
    /// Why, in words.
    pub words: String,
}

impl Checked {
    fn good() -> Self {
        Self { status: StatusCode::OK, words: String::new() }
    }

    fn bad(words: impl ToString) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, words: words.to_string() }
    }
}

/// Asks the application on `pod`. `asked` are the headers of the kubelet's own question.
pub async fn check(prober: &Prober, pod: IpAddr, asked: &HeaderMap) -> Checked {
    let checking = async {
        match &prober.probe {
            Probe::Http(get) => http(get, pod, asked, prober.timeout).await,
            Probe::Tcp { port } => {
                let address = SocketAddr::new(pod, *port);
                fetch::connect(address, prober.timeout).await.map(|_connected| Checked::good())
            }
            Probe::Grpc { port, service } => {
                let address = SocketAddr::new(pod, *port);
                let stream = fetch::connect(address, prober.timeout).await;
                match stream {
                    Ok(stream) => Ok(grpc(stream, address, service).await),
                    Err(error) => Err(error),
                }
            }
        }
    };
    match tokio::time::timeout(prober.timeout, checking).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(error)) => Checked::bad(error),
        Err(_elapsed) => {
            Checked::bad(format!("the application did not answer within {:?}", prober.timeout))
        }
    }
}

async fn http(
    get: &HttpGet,
    pod: IpAddr,
    asked: &HeaderMap,
    patience: Duration,
) -> Result<Checked, FetchError> {
    let mut headers = get.headers.clone();
    if !headers.contains_key(USER_AGENT)
        && let Some(agent) = asked.get(USER_AGENT)
    {
        headers.insert(USER_AGENT, agent.clone());
    }
    let mut target = Target {
        address: SocketAddr::new(get.host.unwrap_or(pod), get.port),
        tls: get.tls,
        path: get.path.clone(),
        authority: get.authority.clone(),
        headers,
    };
    for _ in 0..MAX_REDIRECTS {
        let answer = fetch::get(&target, patience, MAX_BODY).await?;
        let status = answer.status();
        let next = answer.headers().get(LOCATION).filter(|_| status.is_redirection());
        match next.and_then(|location| same_place(&target, location)) {
            Some(path) => target.path = path,
            None => {
                let words = format!("the application answers {status}");
                return Ok(Checked { status, words });
            }
        }
    }
    Ok(Checked::bad(format!("more than {MAX_REDIRECTS} redirects")))
}

/// The path of a redirect to the same place. Others are not followed: what is there says nothing
/// of the application, and may be anybody's.
fn same_place(target: &Target, location: &HeaderValue) -> Option<String> {
    let location: Uri = location.to_str().ok()?.parse().ok()?;
    let path = location.path_and_query().map(|path| path.as_str().to_owned());
    let Some(authority) = location.authority() else {
        return path.filter(|path| path.starts_with('/'));
    };
    let scheme = if target.tls { "https" } else { "http" };
    let own = target.address.to_string();
    let host = target.authority.as_ref().and_then(|host| host.to_str().ok());
    let same = location.scheme_str() == Some(scheme)
        && (authority.as_str() == own || Some(authority.as_str()) == host);
    same.then(|| path.unwrap_or_else(|| "/".to_owned()))
}

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

async fn grpc(stream: TcpStream, address: SocketAddr, service: &str) -> Checked {
    let asked = async {
        let (client, connection) = h2::client::handshake(stream).await?;
        tokio::select! {
            answer = ask(client, address, service) => answer,
            // The answer is what ends the connection, not the other way round.
            ended = connection => Ok(Err(match ended {
                Ok(()) => "the connection was closed".to_owned(),
                Err(error) => error.to_string(),
            })),
        }
    };
    match asked.await {
        Ok(Ok(SERVING)) => Checked::good(),
        Ok(Ok(status)) => {
            Checked::bad(format!("the health of {service:?} is {status}, not SERVING"))
        }
        Ok(Err(words)) => Checked::bad(words),
        Err(error) => Checked::bad(format!("gRPC with {address}: {error}")),
    }
}

async fn ask(
    client: h2::client::SendRequest<Bytes>,
    address: SocketAddr,
    service: &str,
) -> Result<Result<i32, String>, h2::Error> {
    let mut client = client.ready().await?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, "kube-probe")
        .body(());
    let Ok(request) = request else { return Ok(Err("the request cannot be made".to_owned())) };
    let (answer, mut sending) = client.send_request(request, false)?;
    let message = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    sending.send_data(frame.freeze(), true)?;
    let answer = answer.await?;
    if let Some(refused) = refusal(answer.headers()) {
        return Ok(Err(refused));
    }
    let mut body = answer.into_body();
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if bytes.len() + data.len() > MAX_MESSAGE {
            return Ok(Err(format!("the answer has more than {MAX_MESSAGE} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    if let Some(refused) = body.trailers().await?.as_ref().and_then(refusal) {
        return Ok(Err(refused));
    }
    let health = bytes.get(5..).and_then(|bytes| HealthCheckResponse::decode(bytes).ok());
    Ok(health.map(|health| health.status).ok_or_else(|| "the answer is no health".to_owned()))
}

/// A status of gRPC that is not OK.
fn refusal(headers: &HeaderMap) -> Option<String> {
    let status = headers.get("grpc-status")?.to_str().unwrap_or_default();
    (status != "0").then(|| {
        let message = headers.get("grpc-message").and_then(|message| message.to_str().ok());
        format!("gRPC status {status}: {}", message.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests;
