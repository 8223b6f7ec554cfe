//! A running `kubectl port-forward`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::kubectl::Kubectl;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port of this machine that leads into the cluster until it is dropped.
#[derive(Debug)]
pub struct Forward {
    child: Child,
    port: u16,
}

impl Forward {
    /// Starts `kubectl port-forward` with `args`, such as a target and `:80`.
    ///
    /// # Panics
    /// If it does not name its port.
    #[track_caller]
    pub fn start(kubectl: &Kubectl, args: &[&str]) -> Self {
        let mut command = kubectl.command(&[&["port-forward"], args].concat());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.read_line(&mut line).expect("read");
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
        let port = port.and_then(|port| port.parse().ok());
        // kubectl writes a line for each connection.
        child.stdout = Some(out.into_inner());
        match port {
            Some(port) => Self { child, port },
            None => panic!("{line}{:?}", child.wait_with_output()),
        }
    }

    /// The port on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends bytes and returns all that comes until the other end closes.
    ///
    /// # Panics
    /// If the connection fails.
    pub fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("read");
        answer
    }

    /// The whole answer to a GET.
    pub fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        String::from_utf8_lossy(&self.send(request.as_bytes())).into_owned()
    }

    /// What kubectl complained of, once it has ended.
    ///
    /// # Panics
    /// If it was asked before.
    pub fn complaint(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut text).expect("read");
        text
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
