//! One request and its answer over a connection, which is opened or used again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use mesh_rt::tasks::Tasks;
use mesh_rt::tls_stream::MaybeTls;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::args::Args;
use crate::connect::{CONNECT_TIMEOUT, Names, connect};
use crate::console::Console;
use crate::error::{CurlError, reason};
use crate::http1::{Framing, Head, Http1, ReadError};
use crate::http2;
use crate::request::Request;
use crate::stats::Stats;
use crate::tls::handshake_error;
use crate::url::{Scheme, Url};

/// An open connection that may be used again.
pub(crate) struct Connection {
    /// Scheme, host and port.
    key: String,
    link: Link,
    remote: SocketAddr,
    local: SocketAddr,
    /// Whether an answer came over it before.
    used: bool,
}

enum Link {
    Http1(Box<Http1<MaybeTls>>),
    Http2(http2::Sender),
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    pub(crate) head: Head,
    body: Body,
    connection: Connection,
}

enum Body {
    Framed(Framing),
    Stream(Incoming),
    /// Nothing more, and the connection is of use.
    End,
}

/// Opens connections.
pub(crate) struct Opener<'a> {
    pub(crate) args: &'a Args,
    pub(crate) names: Names,
    pub(crate) proxy: Option<(String, u16)>,
    /// Made at the first need.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) bundle: Option<std::path::PathBuf>,
    pub(crate) tasks: Tasks,
}

fn key(url: &Url) -> String {
    format!("{}://{}:{}", url.scheme.name(), url.bracketed(), url.port)
}

impl Opener<'_> {
    /// Sends `request` over `kept` if that leads there, else over a new connection.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
        kept: Option<Connection>,
        stats: &mut Stats,
        console: &mut Console,
    ) -> Result<Answer, CurlError> {
        if let Some(connection) = kept.filter(|kept| kept.key == key(&request.url)) {
            match self.send(connection, request, stats, console).await {
                // The peer may have closed it in the meantime.
                Err(CurlError::Empty | CurlError::Send(_) | CurlError::Recv(_)) => {}
                outcome => return outcome,
            }
        }
        let connection = self.open(&request.url, stats, console).await?;
        self.send(connection, request, stats, console).await
    }

    async fn open(
        &mut self,
        url: &Url,
        stats: &mut Stats,
        console: &mut Console,
    ) -> Result<Connection, CurlError> {
        let verbose = self.args.verbose;
        let (host, port) = match &self.proxy {
            Some(proxy) => proxy.clone(),
            None => self.names.detour(&url.host, url.port),
        };
        let addresses =
            self.names.resolve(&host, port).await.map_err(|error| match &self.proxy {
                Some((proxy, _)) => CurlError::Proxy(proxy.clone()),
                None => error,
            })?;
        stats.resolved = stats.elapsed();
        let limit = self.args.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let tell = |address: &SocketAddr, failed: Option<&io::Error>| {
            if verbose {
                console.note(&match failed {
                    None => format!("*   Trying {address}..."),
                    Some(error) => format!("* connect to {address} failed: {}", reason(error)),
                });
            }
        };
        let stream = connect(&addresses, &host, limit, tell).await?;
        let addressed = stream.peer_addr().and_then(|peer| Ok((peer, stream.local_addr()?)));
        let (remote, local) = addressed.map_err(|error| CurlError::Recv(reason(&error)))?;
        stats.connected = stats.elapsed();
        stats.is_connected = true;
        stats.connects += 1;
        if verbose {
            let (ip, port) = (remote.ip(), remote.port());
            console.note(&format!("* Connected to {host} ({ip}) port {port}"));
        }
        let (stream, agreed) = match url.scheme {
            Scheme::Http => (MaybeTls::Plain(stream), false),
            Scheme::Https => {
                let secured = timeout(limit, self.secure(stream, url, console)).await;
                let late = |_| CurlError::ConnectTimeout(stats.elapsed().as_millis());
                let secured = secured.map_err(late)??;
                stats.secured = stats.elapsed();
                secured
            }
        };
        let clear = self.args.http2_prior_knowledge && url.scheme == Scheme::Http;
        let link = if agreed || clear {
            Link::Http2(http2::begin(stream, &self.tasks).await?)
        } else {
            Link::Http1(Box::new(Http1::new(stream)))
        };
        Ok(Connection { key: key(url), link, remote, local, used: false })
    }

    /// Makes TLS, through a tunnel if there is a proxy; whether HTTP/2 was agreed on.
    async fn secure(
        &mut self,
        stream: TcpStream,
        url: &Url,
        console: &mut Console,
    ) -> Result<(MaybeTls, bool), CurlError> {
        let stream = match self.proxy {
            Some(_) => tunnel(stream, url).await?,
            None => stream,
        };
        let config = match &self.tls {
            Some(config) => config.clone(),
            None => {
                let made = crate::tls::config(self.args, self.bundle.as_deref())?;
                self.tls.insert(Arc::new(made)).clone()
            }
        };
        let name =
            ServerName::try_from(url.host.clone()).map_err(|_| CurlError::Url("Bad hostname"))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream = stream.map_err(|error| handshake_error(&error, &url.host))?;
        let session = stream.get_ref().1;
        let agreed = session.alpn_protocol() == Some(b"h2");
        if self.args.verbose {
            let version =
                session.protocol_version().and_then(|version| version.as_str().map(str::to_owned));
            let suite =
                session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
            let (version, suite) = (version.unwrap_or_default(), suite.unwrap_or_default());
            console.note(&format!("* SSL connection using {version} / {suite}"));
            console.note(if agreed { "* ALPN: server accepted h2" } else { "* using HTTP/1.x" });
        }
        Ok((MaybeTls::Tls(Box::new(stream.into())), agreed))
    }

    async fn send(
        &self,
        mut connection: Connection,
        request: &Request,
        stats: &mut Stats,
        console: &mut Console,
    ) -> Result<Answer, CurlError> {
        (stats.remote, stats.local) = (Some(connection.remote), Some(connection.local));
        if connection.used && self.args.verbose {
            console.note(&format!("* Reusing existing connection with host {}", request.url.host));
        }
        let absolute = self.proxy.is_some() && request.url.scheme == Scheme::Http;
        let version = if self.args.http1_0 { "HTTP/1.0" } else { "HTTP/1.1" };
        let shown = if matches!(connection.link, Link::Http2(_)) { "HTTP/2" } else { version };
        let encoded = request.encode(version, absolute);
        if self.args.verbose {
            lines(console, '>', &request.encode(shown, absolute));
        }
        stats.request_bytes += encoded.len() as u64;
        stats.upload_bytes += request.body.as_ref().map_or(0, Vec::len) as u64;
        stats.sent = stats.elapsed();
        connection.used = true;
        let (head, body) = match &mut connection.link {
            Link::Http1(link) => {
                let bytes = [encoded.as_slice(), request.body.as_deref().unwrap_or_default()];
                let sent = link.send(&bytes.concat()).await;
                let head = self.final_head(link, console).await;
                let head = match (head, sent) {
                    // A peer may answer and close before it has read all.
                    (Ok(head), _) => head,
                    (Err(_), Err(error)) => return Err(CurlError::Send(reason(&error))),
                    (Err(error), Ok(())) => return Err(error),
                };
                let framing = head.framing(&request.method);
                (head, Body::Framed(framing))
            }
            Link::Http2(sender) => {
                let (head, body) = http2::send(sender, request).await?;
                (head, Body::Stream(body))
            }
        };
        stats.first_byte = stats.elapsed();
        if self.args.verbose {
            lines(console, '<', &head.raw);
        }
        Ok(Answer { head, body, connection })
    }

    /// The head that is no informational one.
    async fn final_head(
        &self,
        link: &mut Http1<MaybeTls>,
        console: &mut Console,
    ) -> Result<Head, CurlError> {
        loop {
            let head = link.head().await.map_err(read_error)?;
            if head.status >= 200 || head.status == 101 {
                return Ok(head);
            }
            if self.args.verbose {
                lines(console, '<', &head.raw);
            }
        }
    }
}

impl Answer {
    /// Reads on in the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, CurlError> {
        let chunk = match (&mut self.body, &mut self.connection.link) {
            (Body::Framed(left), Link::Http1(link)) => {
                let chunk = link.chunk(left).await.map_err(read_error)?;
                if chunk.is_none() && *left == Framing::UntilClose {
                    return Ok(None);
                }
                chunk
            }
            (Body::Stream(body), _) => http2::chunk(body).await?,
            _ => return Ok(None),
        };
        if chunk.is_none() {
            self.body = Body::End;
        }
        Ok(chunk)
    }

    /// The connection, if the answer was read to its end and leaves it open.
    pub(crate) fn into_connection(self) -> Option<Connection> {
        let open = match self.connection.link {
            Link::Http1(_) => self.head.keeps_alive() && self.head.status != 101,
            Link::Http2(_) => true,
        };
        (open && matches!(self.body, Body::End)).then_some(self.connection)
    }
}

/// Asks an HTTP proxy for a tunnel.
async fn tunnel(stream: TcpStream, url: &Url) -> Result<TcpStream, CurlError> {
    let mut link = Http1::new(stream);
    let to = format!("{}:{}", url.bracketed(), url.port);
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    let sent = link.send(request.as_bytes()).await;
    sent.map_err(|error| CurlError::Send(reason(&error)))?;
    let head = link.head().await.map_err(read_error)?;
    match head.status {
        200..=299 => Ok(link.into_inner()),
        status => Err(CurlError::Tunnel(status)),
    }
}

fn read_error(error: ReadError) -> CurlError {
    match error {
        ReadError::Empty => CurlError::Empty,
        ReadError::Cut(Some(left)) => CurlError::Partial(format!("{left} bytes remaining to read")),
        ReadError::Cut(None) => CurlError::Partial("outstanding read data remaining".to_owned()),
        ReadError::NotHttp => CurlError::Http09,
        ReadError::Framing(text) => CurlError::Framing(text),
        ReadError::Io(error) => CurlError::Recv(reason(&error)),
    }
}

/// Shows a head as `-v` does.
fn lines(console: &mut Console, mark: char, head: &[u8]) {
    for line in String::from_utf8_lossy(head).lines() {
        console.note(format!("{mark} {line}").trim_end_matches('\r'));
    }
}
