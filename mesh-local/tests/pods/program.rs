//! What this executable does inside a pod: a small HTTP server, or a server that holds a pod until
//! it is killed.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;

/// Runs `program <role>`.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    match args.first().and_then(|arg| arg.to_str()) {
        Some("http") => serve(),
        Some("get") => get(args),
        Some("hold") => crate::sandbox::hold(args),
        _ => ExitCode::FAILURE,
    }
}

/// Prints the first line of the answer of an HTTP server: `program get <address>`.
fn get(args: &[OsString]) -> ExitCode {
    let address = args[1].to_str().expect("an address");
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
    let answer = std::io::read_to_string(stream).expect("read");
    println!("{}", answer.lines().next().unwrap_or_default());
    ExitCode::SUCCESS
}

/// Answers on port 8080: 200, or 503 for `/fail` and while `/tmp/unready` exists.
fn serve() -> ExitCode {
    let listener = TcpListener::bind(("0.0.0.0", 8080)).expect("port 8080 is free in the pod");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 1024];
        let count = stream.read(&mut request).unwrap_or(0);
        let fails = request[..count].starts_with(b"GET /fail")
            || std::path::Path::new("/tmp/unready").exists();
        let status = if fails { "503 Service Unavailable" } else { "200 OK" };
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        // The client may be gone.
        let _ = stream.write_all(answer.as_bytes());
    }
    ExitCode::SUCCESS
}
