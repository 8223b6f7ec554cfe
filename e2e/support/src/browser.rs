//! A headless Chromium, driven by the Chrome DevTools Protocol: as much of it as a test of pages
//! needs.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::http;

/// How long the browser may take to start, or to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one open page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    sent: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts Chromium with a profile of its own.
    ///
    /// # Panics
    /// If it is not installed, with the install line, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        let child = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--window-size=1100,900"])
            .args(["--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("chromium: {error}; install it with `sudo apt-get install chromium`")
            });
        let socket = connect(profile.path());
        let mut browser = Self { child, socket, sent: 0, _profile: profile };
        browser.command("Page.enable", &json!({}));
        browser
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn open(&mut self, url: &str) {
        let opened = self.command("Page.navigate", &json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        self.loaded();
    }

    /// Runs `action`, which leads to another page, and waits until that is loaded.
    pub fn follow(&mut self, action: &str) {
        self.evaluate(action);
        self.loaded();
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    /// If it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let answer = self.command("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Types into the element that has the focus.
    pub fn type_text(&mut self, text: &str) {
        self.command("Input.insertText", &json!({ "text": text }));
    }

    /// Keeps a picture of the page.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn screenshot(&mut self, file: &Path) {
        let shot = self.command("Page.captureScreenshot", &json!({ "format": "png" }));
        let picture = shot["data"].as_str().expect("a picture");
        let picture = base64::engine::general_purpose::STANDARD.decode(picture).expect("base64");
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        std::fs::write(file, picture).expect("the picture is kept");
    }

    fn command(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let id = self.sent;
        let text = json!({ "id": id, "method": method, "params": params }).to_string();
        self.socket.send(Message::text(text)).expect("the browser listens");
        let mut answer = self.until(|message| message["id"] == json!(id));
        assert!(answer["error"].is_null(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    fn loaded(&mut self) {
        self.until(|message| message["method"] == "Page.loadEventFired");
    }

    /// Reads messages until one is as wanted.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Message::Text(text) = self.socket.read().expect("the browser answers") else {
                continue;
            };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if wanted(&message) {
                return message;
            }
        }
        panic!("no answer from the browser within {PATIENCE:?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Connects to the page's debugger, whose port the browser writes into its profile.
fn connect(profile: &Path) -> WebSocket<TcpStream> {
    let (port, url) = crate::eventually("chromium opens its debugging port", PATIENCE, || {
        let file = profile.join("DevToolsActivePort");
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        let port: u16 = text.lines().next().and_then(|line| line.parse().ok()).ok_or("no port")?;
        let pages: Value = serde_json::from_str(&http::get(port, "/json/list")?.body)
            .map_err(|e| e.to_string())?;
        let page = pages.as_array().into_iter().flatten().find(|page| page["type"] == "page");
        let url = page.and_then(|page| page["webSocketDebuggerUrl"].as_str());
        Ok::<_, String>((port, url.ok_or("no page yet")?.to_owned()))
    });
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the debugging port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    tungstenite::client(url, stream).expect("a websocket").0
}
