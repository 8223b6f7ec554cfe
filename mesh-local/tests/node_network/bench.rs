//! Pods for tests: a process in a network namespace of its own that answers with its name.

use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use mesh_local::net::{Namespace, Node, NodeConfig, SocketFactory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// First argument of a process that is an echo server.
pub(crate) const ECHO_ROLE: &str = "--echo-server";
/// The port echo servers listen on.
pub(crate) const ECHO_PORT: u16 = 8080;
/// Longer than anything here takes, so that a failure ends the test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs one scenario on a runtime of its own.
pub(crate) fn drive(scenario: impl Future<Output = Outcome>) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, scenario).await? })
}

/// A process in its own network namespace, attached to a node.
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) address: Ipv4Addr,
    sockets: SocketFactory,
    child: Child,
}

impl Pod {
    /// Starts an echo server called `name` and attaches it.
    pub(crate) async fn start(node: &Node, name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let namespace = Namespace::create().await?;
        let program = std::env::current_exe()?;
        let label = name.to_owned();
        let mut child = namespace
            .run("pod", move || {
                Command::new(program)
                    .args([ECHO_ROLE, &label])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
            })
            .await?;
        // The server says so when it listens.
        let mut ready = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut ready)?;
        let inside = Namespace::of_process(child.id())?;
        let address = node.attach_pod(name, inside.clone(), None).await?.ok_or("no address")?;
        let sockets = SocketFactory::start(&inside).await?;
        Ok(Self { uid: name.to_owned(), address, sockets, child })
    }

    /// Where its server listens.
    pub(crate) fn server(&self) -> SocketAddr {
        SocketAddr::from((self.address, ECHO_PORT))
    }

    /// Connects from the pod.
    pub(crate) async fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        self.sockets.connect(target).await
    }

    /// Makes sockets in the pod.
    pub(crate) fn sockets(&self) -> &SocketFactory {
        &self.sockets
    }

    /// The answer a server at `target` gives to this pod.
    pub(crate) async fn ask(&self, target: SocketAddr) -> io::Result<String> {
        ask(self.connect(target).await?).await
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks an echo server who it is and whom it sees: `<name> <peer address>`.
pub(crate) async fn ask(mut stream: TcpStream) -> io::Result<String> {
    stream.write_all(b"who?").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Asks again and again until `probe` says yes; the scenario's time limit ends it otherwise.
pub(crate) async fn eventually(what: &str, probe: impl AsyncFn() -> Probe) -> Outcome {
    for _ in 0..2000 {
        if probe().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("not seen: {what}").into())
}

/// What a probe of [`eventually`] says.
pub(crate) type Probe = Result<bool, Box<dyn std::error::Error>>;

/// A node with the default addresses.
pub(crate) async fn node() -> Result<Node, Box<dyn std::error::Error>> {
    Ok(Node::create(NodeConfig::default()).await?)
}

/// Answers each connection with the name and the peer's address. Ends when its input does.
pub(crate) fn echo_server(arguments: &[String]) -> ExitCode {
    let name = arguments.first().cloned().unwrap_or_default();
    let Ok(listener) = TcpListener::bind(("0.0.0.0", ECHO_PORT)) else {
        return ExitCode::FAILURE;
    };
    println!("ready");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
            let mut question = Vec::new();
            let _ = stream.read_to_end(&mut question);
            let _ = write!(stream, "{name} {peer}");
        }
    });
    // The test's process holds the other end: this ends with it, however that ends.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}
