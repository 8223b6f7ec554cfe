//! The pod's ports: readiness for the kubelet, and drain for the preStop hook.

use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use mesh_api::bootstrap::{Drain, Status};
use mesh_rt::drain::DrainTrigger;
use mesh_rt::http_server::{AtDrain, HttpLimits, HttpServer, text};
use mesh_rt::net::{ListenError, ListenOptions};
use mesh_rt::process::Process;
use mesh_rt::readiness::Readiness;
use mesh_rt::tasks::Tasks;

const LIMITS: HttpLimits = HttpLimits {
    connections: 64,
    head_bytes: 16 * 1024,
    headers: 64,
    head_timeout: Duration::from_secs(10),
    request_timeout: Duration::from_secs(30),
};

/// What the ports speak of.
#[derive(Clone)]
struct State {
    readiness: Readiness,
    trigger: DrainTrigger,
}

/// Serves `/healthz/ready` on both ports, and `/drain` to this host on the agent's; also while
/// draining. Gives the addresses: readiness, agent.
///
/// # Errors
/// When a port cannot be bound.
pub fn serve(process: &Process, status: &Status) -> Result<[SocketAddr; 2], ListenError> {
    let state =
        State { readiness: process.readiness.clone(), trigger: process.tasks.trigger().clone() };
    let bind = |port: u16| {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = process.sockets.listen(address, ListenOptions::default())?;
        let bound = listener.local_addr().map_err(|source| ListenError { address, source })?;
        let state = state.clone();
        let handler = move |request: Request<Incoming>, peer| {
            ready(answer(&state, request.method(), request.uri().path(), peer))
        };
        let server = HttpServer { name: "status", limits: LIMITS, at_drain: AtDrain::KeepServing };
        server.serve(&process.tasks, listener, handler);
        Ok(bound)
    };
    Ok([bind(status.readiness_port)?, bind(status.port)?])
}

fn answer(state: &State, method: &Method, path: &str, peer: SocketAddr) -> Response<Full<Bytes>> {
    match (method, path) {
        (&Method::GET | &Method::HEAD, "/healthz/ready") => {
            if state.trigger.watcher().is_draining() {
                return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
            }
            let pending = state.readiness.pending();
            if pending.is_empty() {
                return text(StatusCode::OK, "ready\n");
            }
            let waiting = format!("not ready, waiting for: {}\n", pending.join(", "));
            text(StatusCode::SERVICE_UNAVAILABLE, waiting)
        }
        (&Method::POST, "/drain") if peer.ip().to_canonical().is_loopback() => {
            state.trigger.start();
            text(StatusCode::OK, "draining\n")
        }
        (&Method::POST, "/drain") => text(StatusCode::FORBIDDEN, "only from this pod\n"),
        (_, "/healthz/ready" | "/drain") => text(StatusCode::METHOD_NOT_ALLOWED, "no\n"),
        _ => text(StatusCode::NOT_FOUND, "no such page; there are: /healthz/ready, /drain\n"),
    }
}

/// Keeps the process alive for the drain's duration once it begins: endpoints vanish from other
/// proxies only after a while. With `exitOnZeroActiveConnections`, only for its minimum; the
/// connections under way hold it longer by themselves.
pub fn hold_drain(tasks: &Tasks, drain: &Drain) {
    let least = match drain.exit_on_zero_active_connections {
        true => drain.minimum.get(),
        false => drain.termination.get(),
    };
    let guard = tasks.drain().guard("termination drain");
    let watcher = tasks.drain().clone();
    let _detached = tasks.spawn_background("termination drain", async move {
        watcher.draining().await;
        tokio::time::sleep(least).await;
        drop(guard);
    });
}

#[cfg(test)]
mod tests {
    use mesh_rt::drain::DrainMode;
    use mesh_rt::process::Component;

    use super::*;

    const COMPONENT: Component = Component { name: "proxy", metrics_prefix: "proxy", admin: None };

    async fn get(address: SocketAddr) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let to = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
        let request = "GET /healthz/ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn ready_waits_for_what_blocks_and_ends_with_the_drain() {
        let process = Process::detached(COMPONENT);
        let status = Status { readiness_port: 0, port: 0, ..Status::default() };
        let [ready, agent] = serve(&process, &status).unwrap();
        let blocked = process.readiness.block("workload certificate");
        let waiting = get(ready).await;
        assert!(waiting.starts_with("HTTP/1.1 503") && waiting.contains("workload certificate"));
        drop(blocked);
        assert!(get(ready).await.starts_with("HTTP/1.1 200"));
        let drained =
            mesh_rt::tasks::spawn_blocking("drain", move || crate::cli::drain(agent.port()));
        assert_eq!(drained.await.unwrap().unwrap(), "draining\n");
        assert!(get(ready).await.contains("draining"));
        process.tasks.trigger().force();
    }

    #[test]
    fn only_this_pod_may_drain() {
        let (trigger, watcher) = mesh_rt::drain::channel();
        let state = State { readiness: Readiness::new(), trigger };
        let from = |peer: &str| {
            answer(&state, &Method::POST, "/drain", peer.parse().unwrap()).status().as_u16()
        };
        assert_eq!(from("10.0.0.1:9"), 403);
        assert!(!watcher.is_draining());
        assert_eq!(from("127.0.0.1:9"), 200);
        assert!(watcher.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_lasts_as_long_as_configured() {
        let mut drain = Drain { minimum: Duration::from_secs(2).into(), ..Drain::default() };
        for (on_zero, expected) in [(false, 5), (true, 2)] {
            drain.exit_on_zero_active_connections = on_zero;
            let (trigger, _watcher) = mesh_rt::drain::channel();
            let tasks = Tasks::new(trigger.clone());
            hold_drain(&tasks, &drain);
            let begun = tokio::time::Instant::now();
            let mode = DrainMode::Graceful { deadline: Duration::from_secs(60) };
            assert!(trigger.start_drain_and_wait(mode).await.is_clean());
            assert_eq!(begun.elapsed().as_secs(), expected);
        }
    }
}
