//! A running `meshctl dashboard`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::http::{self, Answer};

/// A port of this machine that leads to pages of the cluster, until it is dropped.
#[derive(Debug)]
pub struct Dashboard {
    child: Child,
    url: String,
    port: u16,
}

impl Dashboard {
    /// Starts the command and reads the URL that it prints.
    ///
    /// # Panics
    /// If it prints none.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("meshctl runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.read_line(&mut line).expect("read");
        let url = line.trim_end().to_owned();
        let port = url.strip_prefix("http://").and_then(|rest| rest.split(['/', ':']).nth(1));
        match port.and_then(|port| port.parse().ok()) {
            Some(port) => Self { child, url, port },
            None => panic!("{line:?} is no URL: {:?}", child.wait_with_output()),
        }
    }

    /// What was printed for the browser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Gets a page.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        http::get(self.port, path)
    }

    /// Asks Prometheus; the series it answers with.
    ///
    /// # Errors
    /// When it does not answer, or refuses the query.
    pub fn query(&self, query: &str) -> Result<Vec<serde_json::Value>, String> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let answer = self.get(&path)?;
        let document: serde_json::Value =
            serde_json::from_str(&answer.body).map_err(|error| format!("{error}: {answer:?}"))?;
        let series = document["data"]["result"].as_array().cloned();
        series.ok_or_else(|| format!("{query}: {document}"))
    }

    /// Ends it as Ctrl-C does; its exit code, and what it wrote to standard error.
    ///
    /// # Panics
    /// If it was killed by something else.
    pub fn interrupt(mut self) -> (i32, String) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        kill(pid, Signal::SIGINT).expect("it runs");
        let code = self.child.wait().expect("it ends").code().expect("by itself");
        let mut text = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut text).expect("read");
        (code, text)
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Percent-encoded for a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
