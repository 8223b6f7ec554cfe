//! The server behind the proxies: one thread that answers every request with the same kilobyte.
//! Proxies send it one request at a time on a connection, and the load has no bodies: a request is
//! over where its head is.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::process::{Cpu, Running, on};
use crate::run::Error;

const BODY: usize = 1024;
/// Bytes of a head at most; a longer one ends its connection.
const MAX_HEAD: usize = 64 * 1024;

/// The running server.
pub struct Upstream {
    /// Its port.
    pub port: u16,
    _running: Running,
}

/// Starts the server as a process of its own.
pub fn start() -> Result<Upstream, Error> {
    let own = std::env::current_exe()
        .map_err(|error| Error::new(format!("cannot find this program: {error}")))?;
    let mut command = on(Cpu::Rest, &own);
    command.args(["bench", "upstream"]).stdout(Stdio::piped());
    let mut running = Running::start("the upstream", &mut command)?;
    let mut line = String::new();
    if let Some(output) = running.output() {
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(|error| Error::new(format!("the upstream says no port: {error}")))?;
    }
    let port = line.trim().parse();
    let port = port.map_err(|_| Error::new(format!("the upstream says no port but {line:?}")))?;
    Ok(Upstream { port, _running: running })
}

/// The server itself: prints its port and serves until it is killed.
pub fn run() -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::new(format!("the upstream: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(failed)?;
    tokio::task::LocalSet::new().block_on(&runtime, serve()).map_err(failed)
}

async fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    let response = response();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let response = response.clone();
        tokio::task::spawn_local(async move {
            // A client that goes away ends its connection, and nothing else.
            let _ended = answer(stream, &response).await;
        });
    }
}

async fn answer(mut stream: TcpStream, response: &[u8]) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(8 * 1024);
    while stream.read_buf(&mut buffer).await? > 0 && buffer.len() <= MAX_HEAD {
        if is_request(&buffer) {
            buffer.clear();
            stream.write_all(response).await?;
        }
    }
    Ok(())
}

fn is_request(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
}

fn response() -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\
         date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: bench\r\n\r\n"
    );
    let mut response = head.into_bytes();
    response.resize(response.len() + BODY, b'x');
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_with_an_empty_line() {
        assert!(is_request(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(!is_request(b"GET / HTTP/1.1\r\nhost: a\r\n"));
    }

    #[test]
    fn the_response_says_how_long_it_is() {
        let response = String::from_utf8(response()).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), BODY);
        assert!(head.contains("\r\ncontent-length: 1024\r\n"));
    }
}
