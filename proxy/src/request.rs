//! `proxy request`: one request to the admin interface of the proxy in this pod, as
//! `pilot-agent request GET stats` is typed at it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long connecting and each read or write may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1024;
/// Most bytes of a refusal's body that are told of.
const MAX_REFUSAL: u64 = 64 * 1024;

/// Flags of `proxy request`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The method: GET to read, POST to change.
    pub method: String,
    /// The page, with or without its first slash: `stats?filter=http`.
    pub path: String,
    /// What is sent, joined by blanks.
    #[arg(trailing_var_arg = true)]
    pub body: Vec<String>,
    /// Port of the admin interface on this host.
    #[arg(long = "debug-port", default_value_t = 15000)]
    pub debug_port: u16,
}

/// Asks, and copies the body of the answer to `out`.
///
/// # Errors
/// When method or path are no HTTP, nobody listens there, the answer breaks off, or its status is
/// 400 or more.
pub fn run(args: &Args, out: &mut impl Write) -> io::Result<()> {
    let (method, path) = (&args.method, args.path.trim_start_matches('/'));
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphabetic());
    if !is_token(method) {
        return Err(invalid(format!("{method:?} is no method of HTTP")));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid(format!("{path:?} is no path: blanks in it are written %20")));
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.debug_port));
    let at = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let body = args.body.join(" ");
    // In HTTP/1.0 a body ends with the connection, which is all there is to read of it.
    let request = format!(
        "{} /{path} HTTP/1.0\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{body}",
        method.to_ascii_uppercase(),
        body.len(),
    );
    stream.write_all(request.as_bytes()).map_err(at)?;
    let (head, begun) = head(&mut stream).map_err(at)?;
    let status = head.lines().next().unwrap_or_default().split(' ').nth(1).unwrap_or_default();
    match status.parse::<u16>() {
        Ok(..400) => {
            out.write_all(&begun)?;
            io::copy(&mut stream, out)?;
            out.flush()
        }
        Ok(status) => {
            let mut body = begun;
            stream.take(MAX_REFUSAL).read_to_end(&mut body)?;
            let body = String::from_utf8_lossy(&body);
            Err(io::Error::other(format!("{address} answered {status}: {}", body.trim_end())))
        }
        Err(_) => Err(invalid(format!("{address} does not speak HTTP: {status:?}"))),
    }
}

fn invalid(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, words)
}

/// The answer's head, and what was read of its body with it.
fn head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece)?;
        let from = all.len().saturating_sub(3);
        all.extend_from_slice(&piece[..read]);
        if let Some(end) = all[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            let body = all.split_off(from + end + 4);
            return Ok((String::from_utf8_lossy(&all).into_owned(), body));
        }
        if read == 0 || all.len() > MAX_HEAD {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    /// What is sent for a command line, and what comes of that answer.
    fn ask(words: &[&str], answer: &'static str) -> (String, Result<String, String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let flag = ["--debug-port", port.as_str()];
        let all = ["/usr/local/bin/pilot-agent", "request"].iter().chain(&flag).chain(words);
        let Command::Request(args) = Cli::try_parse_from(all).unwrap().command else {
            panic!("another command");
        };
        let mut out = Vec::new();
        let done = run(&args, &mut out).map_err(|error| error.to_string());
        (server.join().unwrap(), done.map(|()| String::from_utf8(out).unwrap()))
    }

    #[test]
    fn the_body_of_the_answer_is_what_is_printed() {
        let (sent, done) = ask(&["GET", "stats?filter=a"], "HTTP/1.0 200 OK\r\n\r\na.b: 1\n");
        assert!(sent.starts_with("GET /stats?filter=a HTTP/1.0\r\n"), "{sent}");
        assert_eq!(done.as_deref(), Ok("a.b: 1\n"));
        let (sent, _) = ask(&["post", "/logging", "a", "b"], "HTTP/1.1 200 OK\r\n\r\n");
        assert!(sent.starts_with("POST /logging HTTP/1.0\r\n"), "{sent}");
        assert!(sent.ends_with("content-length: 3\r\n\r\na b"), "{sent}");
    }

    #[test]
    fn refusals_are_errors() {
        let (_, done) = ask(&["GET", "nothing"], "HTTP/1.1 404 Not Found\r\n\r\nno page\n");
        assert!(done.unwrap_err().ends_with(" answered 404: no page"));
        let (_, done) = ask(&["GET", "x"], "HTTP/1.1 200 OK\r\ncontent-");
        assert!(done.is_err());
        let args = |method: &str, path: &str| Args {
            method: method.to_owned(),
            path: path.to_owned(),
            body: Vec::new(),
            debug_port: 0,
        };
        for (method, path) in [("G E", "stats"), ("GET", "a b"), ("GET", "a\r\nx: y")] {
            let error = run(&args(method, path), &mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{method} {path}");
        }
    }
}
