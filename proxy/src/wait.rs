//! `proxy wait`: holds the application until the proxy of its pod is ready, as a postStart hook.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// Most bytes read of an answer.
const MAX_ANSWER: u64 = 4096;

/// Flags of `proxy wait`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Port on which the proxy answers whether it is ready.
    #[arg(long, default_value_t = 15021)]
    pub port: u16,
    /// Seconds after which it is not ready.
    #[arg(long = "timeoutSeconds", default_value_t = 60)]
    pub timeout_seconds: u64,
    /// Milliseconds between two questions.
    #[arg(
        long = "periodMillis",
        default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..=60_000)
    )]
    pub period_millis: u64,
}

/// Asks until the proxy says that it is ready.
///
/// # Errors
/// The last answer, when time is up.
pub fn run(args: &Args) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let begun = Instant::now();
    loop {
        let Err(error) = ask(address) else { return Ok(()) };
        if begun.elapsed() >= Duration::from_secs(args.timeout_seconds) {
            let text = format!("not ready after {} s: {error}", args.timeout_seconds);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(Duration::from_millis(args.period_millis));
    }
}

fn ask(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let request =
        format!("GET /healthz/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(io::Error::other(format!("{address} answered {status:?}")))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn waits_for_the_first_yes() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let read = stream.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /healthz/ready HTTP/1.1\r\n"));
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        run(&Args { port, timeout_seconds: 60, period_millis: 1 }).unwrap();
        server.join().unwrap();
        // Nobody listens any more.
        let error = run(&Args { port, timeout_seconds: 0, period_millis: 1 }).unwrap_err();
        assert!(error.to_string().starts_with("not ready after 0 s"), "{error}");
    }
}
