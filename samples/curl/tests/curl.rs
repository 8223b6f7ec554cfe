//! curl as people type it, against the httpbin sample and servers that misbehave.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may give up like the test")]

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use httpbin::routes::App;
use lateen_curl::console::Console;
use mesh_rt::tasks::Tasks;
use mesh_rt::tls::{ClientAuth, Identity, server_config};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

#[derive(Debug)]
struct Ran {
    code: u8,
    out: String,
    err: String,
}

struct World {
    tasks: Tasks,
    bin: SocketAddr,
    dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        mesh_rt::crypto::install();
        let (trigger, _watcher) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bin = listener.local_addr().unwrap();
        let app = App { hostname: "pod".to_owned() };
        httpbin::server::serve(app, &tasks, listener, Arc::new(|_| {}));
        Self { tasks, bin, dir: tempfile::tempdir().unwrap() }
    }

    /// Runs a command line; `BIN` is httpbin's address, `DIR` a directory, `~` a blank.
    async fn curl(&self, line: &str) -> Ran {
        let words = line.split(' ').map(|word| {
            word.replace("BIN", &self.bin.to_string())
                .replace("DIR", &self.dir.path().display().to_string())
                .replace('~', " ")
        });
        self.run(&words.collect::<Vec<_>>(), None).await
    }

    async fn run(&self, words: &[String], bundle: Option<PathBuf>) -> Ran {
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut console = Console {
            stdout: Box::new(out.clone()),
            stderr: Box::new(err.clone()),
            stdin: Box::new(&b"from stdin"[..]),
        };
        let code = lateen_curl::run::run(words, bundle, &self.tasks, &mut console).await;
        Ran { code, out: out.text(), err: err.text() }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// A server that reads once, answers with `bytes` and closes, `times` times.
    async fn answers(&self, bytes: &'static [&'static [u8]]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _detached = self.tasks.spawn_background("fake", async move {
            for answer in bytes {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _read = stream.read(&mut [0; 4096]).await;
                stream.write_all(answer).await.unwrap();
            }
        });
        address
    }
}

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[tokio::test]
async fn requests_are_as_asked_for() {
    let world = World::new().await;
    let got =
        world.curl("-s BIN/get?a=1 -H X-One:~two -A agent -e http://from -u u:p -b k=v").await;
    assert_eq!((got.code, got.err.as_str()), (0, ""));
    let shown = parsed(&got);
    assert_eq!(shown["args"], json!({"a": ["1"]}));
    for (name, value) in [
        ("X-One", "two"),
        ("User-Agent", "agent"),
        ("Referer", "http://from"),
        ("Authorization", "Basic dTpw"),
        ("Cookie", "k=v"),
        ("Accept", "*/*"),
    ] {
        assert_eq!(shown["headers"][name], json!([value]), "{name}");
    }
    let posted = parsed(&world.curl("-sS BIN/post -d a=1 --data-urlencode b=x&y").await);
    assert_eq!(posted["form"], json!({"a": ["1"], "b": ["x&y"]}));
    let put = parsed(&world.curl("-sX PUT BIN/put -H content-type:text/x -d @-").await);
    assert_eq!(put["data"], "from stdin");
    let form = parsed(&world.curl("-s BIN/post -F a=1 -F f=@-").await);
    assert_eq!(
        (&form["form"], &form["files"]),
        (&json!({"a": ["1"]}), &json!({"f": ["from stdin"]}))
    );
    let old = world.curl("-s0 -w %{http_version} BIN/status/204").await;
    assert_eq!(old.out, "1.0");
}

#[tokio::test]
async fn output_goes_where_it_should() {
    let world = World::new().await;
    let line = "-s -o /dev/null -w %{http_code}|%{num_connects}|%{size_download}\\n BIN/bytes/7";
    assert_eq!(world.curl(line).await.out, "200|1|7\n");
    let both = world.curl("-s -w %{num_connects},%{method}; BIN/base64/YQ== BIN/base64/Yg==").await;
    assert_eq!(both.out, "a1,GET;b0,GET;", "the connection is used again");
    let head = world.curl("-sI BIN/html").await.out;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let included = world.curl("-si BIN/base64/YQ==").await.out;
    assert!(included.contains("\r\n\r\na") && included.starts_with("HTTP/1.1 200"), "{included}");
    assert_eq!(world.curl("-s BIN/base64/YQ== -o DIR/body -D DIR/head").await.out, "");
    assert_eq!(world.file("body"), "a");
    assert!(world.file("head").starts_with("HTTP/1.1 200 OK\r\n"));
    let told = world.curl("-sv BIN/status/418").await;
    for part in
        ["*   Trying 127.0.0.1:", "> GET /status/418 HTTP/1.1\n", "> Host: 127", "< HTTP/1.1 418"]
    {
        assert!(told.err.contains(part), "{part}: {}", told.err);
    }
    assert_eq!(told.out, "I'm a teapot!");
}

#[tokio::test]
async fn redirects_and_cookies() {
    let world = World::new().await;
    let format = "%{http_code}~%{num_redirects}~%{redirect_url}";
    let stays = world.curl(&format!("-s -o /dev/null -w {format} BIN/redirect/2")).await.out;
    assert_eq!(stays, format!("302 0 http://{}/relative-redirect/1", world.bin));
    let follows = world.curl(&format!("-sL -o /dev/null -w {format} BIN/redirect/3")).await.out;
    assert_eq!(follows, "200 3 ");
    let limited = world.curl("-sSL --max-redirs 1 BIN/redirect/3").await;
    assert_eq!(
        (limited.code, limited.err.as_str()),
        (47, "curl: (47) Maximum (1) redirects followed\n")
    );
    let jar = world.curl("-sL -c DIR/jar BIN/cookies/set?k=v").await;
    assert_eq!(parsed(&jar), json!({"k": "v"}));
    assert!(world.file("jar").ends_with("\tk\tv\n"), "{}", world.file("jar"));
    assert_eq!(parsed(&world.curl("-s -b DIR/jar BIN/cookies").await), json!({"k": "v"}));
    // What is posted to a 302 is not posted on; to a 307 it is.
    let url = format!("http%3A%2F%2F{}%2Fanything", world.bin);
    for (status, method) in [(302, "GET"), (307, "POST")] {
        let to = format!("BIN/redirect-to?url={url}&status_code={status}");
        let shown = parsed(&world.curl(&format!("-sL -d a=1 {to}")).await);
        assert_eq!(shown["method"], method, "{status}");
    }
}

#[tokio::test]
async fn failures_have_curls_codes_and_words() {
    let world = World::new().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let empty = world.answers(&[b""]).await;
    let cut = world.answers(&[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]).await;
    let alien = world.answers(&[b"SSH-2.0-x\r\n\r\n"]).await;
    for (line, code, message) in [
        (
            "-sS BIN/status/404 -f".to_owned(),
            22,
            "The requested URL returned error: 404".to_owned(),
        ),
        (
            format!("-sS {nobody}"),
            7,
            format!("Failed to connect to 127.0.0.1 port {} after", nobody.port()),
        ),
        (
            "-sS http://no.such.name.invalid/".to_owned(),
            6,
            "Could not resolve host: no.such.name.invalid".to_owned(),
        ),
        (format!("-sS {empty}"), 52, "Empty reply from server".to_owned()),
        (format!("-sS {cut}"), 18, "transfer closed with 6 bytes remaining to read".to_owned()),
        (format!("-sS {alien}"), 1, "Received HTTP/0.9 when not allowed".to_owned()),
        ("-sS -m 0.05 BIN/delay/5".to_owned(), 28, "Operation timed out after".to_owned()),
        ("-sS ftp://x/".to_owned(), 1, "Protocol \"ftp\" not supported".to_owned()),
        ("-sS http://".to_owned(), 3, "URL rejected: No host part in the URL".to_owned()),
    ] {
        let ran = world.curl(&line).await;
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        assert!(ran.err.starts_with(&format!("curl: ({code}) {message}")), "{line}: {ran:?}");
    }
    let silent = world.curl(&format!("-s {nobody} -w %{{exitcode}}")).await;
    assert_eq!((silent.code, silent.out.as_str()), (7, "7"));
    let body = world.curl("-s --fail-with-body BIN/status/418").await;
    assert_eq!((body.code, body.out.as_str()), (22, "I'm a teapot!"));
    let unknown = world.curl("--nonsense x").await;
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.starts_with("curl: option --nonsense: is unknown\n"), "{}", unknown.err);
    assert!(world.curl("--help").await.out.contains("--write-out"));
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let world = World::new().await;
    const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let server = world.answers(&[BUSY, BUSY, b"HTTP/1.0 200 OK\r\n\r\ndone"]).await;
    let ran = world.curl(&format!("-sS --retry 2 --retry-delay 0.001 {server}")).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "done"), "{ran:?}");
}

#[tokio::test]
async fn names_lead_where_the_user_says() {
    let world = World::new().await;
    let port = world.bin.port();
    let fixed = format!("-s --resolve shop.test:{port}:127.0.0.1 shop.test:{port}/headers");
    let shown = parsed(&world.curl(&fixed).await);
    assert_eq!(shown["headers"]["Host"], json!([format!("shop.test:{port}")]));
    let detour = "-s --connect-to shop.test:80:127.0.0.1:PORT http://shop.test/headers";
    let shown = parsed(&world.curl(&detour.replace("PORT", &port.to_string())).await);
    assert_eq!(shown["headers"]["Host"], json!(["shop.test"]));
    let proxied = parsed(&world.curl("-s -x BIN http://shop.test/get").await);
    assert_eq!(proxied["url"], "http://shop.test/get");
}

#[tokio::test]
async fn tls_is_checked_unless_told_otherwise() {
    let world = World::new().await;
    let made = rcgen::generate_simple_self_signed(vec!["shop.test".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let root = world.dir.path().join("root.pem");
    std::fs::write(&root, &cert).unwrap();
    let identity = Identity::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
    let config = server_config(identity, ClientAuth::None, &[b"h2", b"http/1.1"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let tasks = world.tasks.clone();
    let _detached = world.tasks.spawn_background("https", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            let _detached = tasks.spawn_background("https", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let text = format!("over {}", if h2 { "h2" } else { "http/1.1" });
                let service = hyper::service::service_fn(move |_request| {
                    let body = http_body_util::Full::new(bytes::Bytes::from(text.clone()));
                    async { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                let executor = hyper_util::rt::TokioExecutor::new();
                let server = hyper_util::server::conn::auto::Builder::new(executor);
                let _ended = server.serve_connection(io, service).await;
            });
        }
    });
    let line = |options: &str| {
        let text = format!(
            "-sS {options} --resolve shop.test:{port}:127.0.0.1 --resolve \
                            other.test:{port}:127.0.0.1"
        );
        text.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let run = async |options: &str, host: &str, bundle: Option<PathBuf>| {
        let mut words = line(options);
        words.push(format!("https://{host}:{port}/"));
        world.run(&words, bundle).await
    };
    let ok = run(&format!("--cacert {}", root.display()), "shop.test", None).await;
    assert_eq!((ok.code, ok.out.as_str()), (0, "over h2"), "{ok:?}");
    let old = run("--http1.1", "shop.test", Some(root.clone())).await;
    assert_eq!((old.code, old.out.as_str()), (0, "over http/1.1"), "{old:?}");
    let any = run("-k -w %{http_version}", "other.test", Some(root.clone())).await;
    assert_eq!((any.code, any.out.as_str()), (0, "over h22"), "{any:?}");
    let other = run("", "other.test", Some(root.clone())).await;
    assert_eq!(other.code, 60, "{other:?}");
    assert!(other.err.contains("matches target host name 'other.test'"), "{other:?}");
    let missing = run("--cacert /no/such/file", "shop.test", None).await;
    assert_eq!(missing.code, 77, "{missing:?}");
    let clear = world.curl("-sS https://BIN/").await;
    assert_eq!(clear.code, 35, "{clear:?}");
}

#[tokio::test]
async fn nc_talks_both_ways() {
    use clap::Parser;
    use lateen_curl::nc;
    let world = World::new().await;
    let server = world.answers(&[b"hello\n", b""]).await;
    let args = |words: &[&str]| {
        let port = server.port().to_string();
        let words = words.iter().copied().chain(["127.0.0.1", &port]);
        nc::Args::parse_from(std::iter::once("nc").chain(words))
    };
    let mut heard = Vec::new();
    nc::run(&args(&[]), &b"hi\n"[..], &mut heard, |_| {}).await.unwrap();
    assert_eq!(heard, b"hello\n");
    let mut notes = Vec::new();
    let note = |line: &str| notes.push(line.to_owned());
    nc::run(&args(&["-zv"]), tokio::io::empty(), tokio::io::sink(), note).await.unwrap();
    assert!(notes[0].ends_with(" open"), "{notes:?}");
    let none = nc::Args::parse_from(["nc", "127.0.0.1"]);
    nc::run(&none, tokio::io::empty(), tokio::io::sink(), |_| {}).await.unwrap_err();
}
