//! Load as people send it, against the httpbin sample and the program's own server.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may give up like the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use httpbin::routes::App;
use load::flags::{self, Command};
use load::program::{self, Output};
use mesh_rt::tasks::Tasks;
use tokio::net::TcpListener;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn tasks() -> Tasks {
    let (trigger, _watcher) = mesh_rt::drain::channel();
    Tasks::new(trigger)
}

/// Code, results, and how many messages there were.
async fn run(line: &str) -> (u8, String, usize) {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let mut results = Vec::new();
    let count = AtomicUsize::new(0);
    let messages = |_: &str| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let mut output = Output { results: &mut results, messages: &messages };
    let code = match flags::parse(&words).unwrap() {
        Command::Load(flags) => program::load(&flags, &mut output).await.unwrap(),
        Command::Curl(flags) => program::curl(&flags, &mut output).await.unwrap(),
        other => panic!("{other:?}"),
    };
    (code, String::from_utf8(results).unwrap(), count.load(Ordering::Relaxed))
}

#[tokio::test]
async fn load_is_counted() {
    let tasks = tasks();
    let (socket, bin) = listener().await;
    let app = App { hostname: "pod".to_owned() };
    httpbin::server::serve(app, &tasks, socket, Arc::new(|_| {}));
    let (code, text, told) =
        run(&format!("load -c 2 -qps 0 -n 21 -loglevel Warning http://{bin}/get")).await;
    assert_eq!((code, told), (0, 0), "{text}");
    for line in [
        "Starting at max qps with 2 thread(s)",
        "for exactly 21 calls (10 per thread + 1)",
        " : 21 calls. qps=",
        "Aggregated Function Time : count 21 avg ",
        "# target 99.9% ",
        "Sockets used: 2 (for perfect keepalive, would be 2)",
        "Code 200 : 21 (100.0 %)",
        "All done 21 calls (plus 0 warmup)",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (_, text, told) =
        run(&format!("load -quiet -c 1 -qps 0 -n 4 http://{bin}/status/503")).await;
    assert!(text.contains("Code 503 : 4 (100.0 %)") && text.starts_with("Ended after"), "{text}");
    assert!(text.contains("Sockets used: 4 (for perfect keepalive, would be 1)"), "{text}");
    assert_eq!(told, 0);
    let (_, text, told) = run(&format!("load -c 1 -qps 200 -t 50ms http://{bin}/get")).await;
    let calls = text.split("All done ").nth(1).unwrap().split(' ').next().unwrap();
    assert!((1..=10).contains(&calls.parse::<u32>().unwrap()), "{text}");
    assert_eq!(told, 0);
}

#[tokio::test]
async fn what_is_not_answered_is_counted_too() {
    let (socket, nobody) = listener().await;
    drop(socket);
    let (code, text, told) = run(&format!("load -c 1 -qps 0 -n 3 http://{nobody}/")).await;
    assert_eq!((code, told), (0, 3));
    assert!(text.contains("Code  -1 : 3 (100.0 %)"), "{text}");
    assert_eq!(run(&format!("curl http://{nobody}/")).await.0, 1);
    let (socket, _silent) = listener().await;
    let silent = socket.local_addr().unwrap();
    let (_, text, _) = run(&format!("load -c 1 -qps 0 -n 1 -timeout 20ms http://{silent}/")).await;
    assert!(text.contains("Code  -1 : 1 (100.0 %)"), "{text}");
}

#[tokio::test]
async fn the_server_answers_as_asked() {
    let tasks = tasks();
    let (socket, echo) = listener().await;
    load::server::serve(&tasks, socket);
    let (code, text, _) = run(&format!("curl -payload hello -H X:y http://{echo}/")).await;
    assert_eq!(code, 0);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nhello"), "{text}");
    for (query, status) in [
        ("status=503", "503"),
        ("size=3", "200"),
        ("delay=1ms", "200"),
        ("delay=31s", "400"),
        ("delay=x", "400"),
        ("size=999999", "400"),
        ("status=7", "400"),
    ] {
        let (_, text, _) = run(&format!("load -curl http://{echo}/echo?{query}")).await;
        assert_eq!(text.split(' ').nth(1), Some(status), "{query}: {text}");
    }
    let flags = flags::parse(&["curl".to_owned(), "https://h/".to_owned()]).unwrap();
    let Command::Curl(flags) = flags else { panic!("no curl") };
    let error = load::target::Target::new(&flags).unwrap_err().to_string();
    assert!(error.contains("http:// is expected"), "{error}");
}
