//! `pods/exec` and `pods/attach`: a process of a container, its streams carried by SPDY or by
//! websocket channels, its exit code by a `Status`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use local_model::refusal::Refusal;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::body::ResponseBody;
use crate::api::error::Result;
use crate::api::query::Query;
use crate::api::request::Request;
use crate::api::server::Server;
use crate::api::subresource::container;
use crate::api::subresource::port_forward::carry;
use crate::api::upgrade::{self, Wire};
use crate::node_api::{
    Command, CommandAction, CommandEnd, CommandRequest, CommandStreams, PodRef, TerminalSize,
};
use crate::stream::channel::{Incoming, Outgoing};
use crate::stream::{spdy, websocket};

/// A `Status` tells the end.
const V4: &str = "v4.channel.k8s.io";
/// And the client tells the end of a channel.
const V5: &str = "v5.channel.k8s.io";

/// Websocket channels: standard input, output and error, status, sizes.
const CHANNELS: u8 = 5;
/// How long a SPDY client may take to open all streams.
const OPEN: Duration = Duration::from_secs(30);
/// Longest word of a size that is waited for.
const SIZE: usize = 1024;
/// Sizes that may wait; only the last one matters.
const SIZES: usize = 8;

/// Which streams the client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// The client's streams, and where the end is told.
#[derive(Default)]
struct Streams {
    command: CommandStreams,
    status: Option<Outgoing>,
    /// Sizes as the client sends them.
    sizes: Option<Incoming>,
}

/// Answers a request to run or to join a process.
pub(super) async fn serve(
    server: &Arc<Server>,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    upgrade::authorize(server, request)?;
    let pod = server
        .store
        .get(&request.resource.storage, &request.key())
        .ok_or_else(|| request.not_found())?;
    container::check_host(&pod)?;
    let (command, wanted) = command(&pod, &request.path.subresource, &request.query)?;
    let command = server.node()?.pod_command(command).await?;
    let agreement = upgrade::agree(server, request, &[V5, V4], &[V4])?;
    let (wire, protocol) = (agreement.wire, agreement.protocol);
    let shutdown = server.shutdown.clone();
    Ok(server.upgrades.start(agreement, shutdown, move |io| async move {
        match wire {
            Wire::Spdy => by_spdy(io, wanted, command).await,
            Wire::WebSocket => by_websocket(io, protocol == V5, wanted, command).await,
        }
    }))
}

fn command(
    pod: &Value,
    subresource: &str,
    query: &Query,
) -> std::result::Result<(CommandRequest, Wanted), Refusal> {
    let tty = query.flag("tty")?;
    let wanted = Wanted {
        stdin: query.flag("stdin")?,
        stdout: query.flag("stdout")?,
        // A terminal has one output.
        stderr: query.flag("stderr")? && !tty,
        tty,
    };
    if !wanted.stdin && !wanted.stdout && !wanted.stderr {
        let message = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(Refusal::bad_request(message));
    }
    let container = container::named(pod, query.get("container"))?;
    let action = if subresource == "exec" {
        let argv: Vec<String> = query.all("command").into_iter().map(str::to_owned).collect();
        if argv.first().is_none_or(String::is_empty) {
            return Err(Refusal::bad_request("command: Required value"));
        }
        CommandAction::Exec(argv)
    } else {
        CommandAction::Attach
    };
    Ok((CommandRequest { pod: PodRef::of(pod), container, action, tty }, wanted))
}

async fn by_websocket<T>(io: T, ends: bool, wanted: Wanted, command: Command)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (channels, work) = websocket::channels(websocket::accept(io).await, CHANNELS, ends);
    let mut streams = Streams::default();
    for (number, (incoming, outgoing)) in channels.into_iter().enumerate() {
        match number {
            0 => streams.command.stdin = wanted.stdin.then_some(incoming),
            1 => streams.command.stdout = wanted.stdout.then_some(outgoing),
            2 => streams.command.stderr = wanted.stderr.then_some(outgoing),
            3 => streams.status = Some(outgoing),
            _ => streams.sizes = wanted.tty.then_some(incoming),
        }
    }
    carry(run(streams, command), work).await;
}

async fn by_spdy<T>(io: T, wanted: Wanted, command: Command)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (mut acceptor, work) = spdy::session(io);
    let user = async move {
        let mut missing = 1 + [wanted.stdin, wanted.stdout, wanted.stderr, wanted.tty]
            .iter()
            .filter(|wanted| **wanted)
            .count();
        let mut streams = Streams::default();
        let deadline = Instant::now() + OPEN;
        while missing > 0 {
            let opened = tokio::time::timeout_at(deadline, acceptor.next()).await;
            // A client that does not open what it asked for is not served.
            let Ok(Some(stream)) = opened else { return };
            let kind = stream.header("streamtype").unwrap_or_default().to_owned();
            let (incoming, outgoing) = (stream.incoming, stream.outgoing);
            match kind.as_str() {
                "stdin" if wanted.stdin => streams.command.stdin = Some(incoming),
                "stdout" if wanted.stdout => streams.command.stdout = Some(outgoing),
                "stderr" if wanted.stderr => streams.command.stderr = Some(outgoing),
                "error" => streams.status = Some(outgoing),
                "resize" if wanted.tty => streams.sizes = Some(incoming),
                _ => {
                    outgoing.reset().await;
                    continue;
                }
            }
            missing -= 1;
        }
        run(streams, command).await;
    };
    carry(user, work).await;
}

/// Runs the command, then tells its end.
async fn run(streams: Streams, command: Command) {
    let Streams { command: mut io, status, sizes } = streams;
    let (sender, receiver) = mpsc::channel(SIZES);
    io.resize = sizes.is_some().then_some(receiver);
    let reading = async {
        if let Some(sizes) = sizes {
            read_sizes(sizes, &sender).await;
        }
        // Nothing more of it, but the command goes on.
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = command(io) => end,
        () = reading => return,
    };
    if let Some(status_stream) = status {
        // The client may be gone, and then nobody asks how it ended.
        let _ = status_stream.send(Bytes::from(status_of(&end).to_string())).await;
        status_stream.close().await;
    }
}

/// The end as clients read it.
fn status_of(end: &CommandEnd) -> Value {
    match end {
        CommandEnd::Exited(0) => json!({"metadata": {}, "status": "Success"}),
        CommandEnd::Exited(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        CommandEnd::Failed(why) => Refusal::internal(why).to_status(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Reads sizes, which come as JSON objects one after the other, in pieces of any length.
async fn read_sizes(mut incoming: Incoming, sizes: &mpsc::Sender<TerminalSize>) {
    let mut unread = BytesMut::new();
    while let Some(bytes) = incoming.recv().await {
        unread.extend_from_slice(&bytes);
        let (found, used) = parse_sizes(&unread);
        for Size { width, height } in found {
            if sizes.send(TerminalSize { width, height }).await.is_err() {
                return;
            }
        }
        let _ = unread.split_to(used.min(unread.len()));
        if unread.len() > SIZE {
            return;
        }
    }
}

fn parse_sizes(text: &[u8]) -> (Vec<Size>, usize) {
    let mut all = serde_json::Deserializer::from_slice(text).into_iter::<Size>();
    let mut found = Vec::new();
    let mut used = 0;
    while let Some(Ok(size)) = all.next() {
        used = all.byte_offset();
        found.push(size);
    }
    (found, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
                         "spec": {"containers": [{"name": "a"}]}});
        let read = |text: &str, kind: &str| {
            command(&pod, kind, &Query::parse(text)).map_err(|refusal| refusal.message)
        };
        let (request, wanted) =
            read("command=ls&command=-l&stdout=true&stderr=true&stdin=1&tty=1", "exec").unwrap();
        assert_eq!(request.action, CommandAction::Exec(vec!["ls".to_owned(), "-l".to_owned()]));
        assert_eq!((request.container.as_str(), request.tty), ("a", true));
        assert!(wanted.stdin && wanted.stdout && !wanted.stderr, "a terminal has one output");
        assert_eq!(read("stdout=1", "attach").unwrap().0.action, CommandAction::Attach);
        for (text, message) in [
            ("command=ls", "you must specify at least 1 of stdin, stdout, stderr"),
            ("stdout=1", "command: Required value"),
            ("stdout=1&command=ls&container=z", "container z is not valid for pod p"),
        ] {
            assert_eq!(read(text, "exec").unwrap_err(), message);
        }
    }

    #[test]
    fn ends() {
        assert_eq!(status_of(&CommandEnd::Exited(0))["status"], "Success");
        let failed = status_of(&CommandEnd::Exited(3));
        assert_eq!(failed["details"]["causes"][0]["message"], "3");
        let early = status_of(&CommandEnd::Failed("no such program".to_owned()));
        assert_eq!(early["message"], "Internal error occurred: no such program");
    }

    #[test]
    fn sizes_come_in_pieces() {
        let text = b"{\"Width\":80,\"Height\":24}\n{\"Width\":100,\"Height\":30}{\"Wid";
        let (found, used) = parse_sizes(text);
        let found: Vec<_> = found.iter().map(|size| (size.width, size.height)).collect();
        assert_eq!(found, [(80, 24), (100, 30)]);
        assert_eq!(&text[used..], b"{\"Wid");
    }
}
