//! An outside for a test: a network of its own with hosts, names and certificates, which the
//! programs that the test starts there take for the internet.

mod dns;
mod hosts;

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread::JoinHandle;

use tempfile::TempDir;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::ca::{Leaf, TestCa};
use crate::netns::Netns;

/// The host of [`WWW`], [`EDITION`] and all names under `wild.example`: HTTP on port 80 and HTTPS
/// on port 443.
pub const WEB: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The host of [`ECHO`]: what is sent to its port 9000 by TCP comes back.
pub const ECHO_HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// The name server.
const NAMES: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);

/// A site of [`WEB`].
pub const WWW: &str = "www.external.example";
/// Another site of [`WEB`]; over plain HTTP it leads to the same page by HTTPS.
pub const EDITION: &str = "edition.external.example";
/// The name of [`ECHO_HOST`].
pub const ECHO: &str = "echo.external.example";

/// Runs a command with the name server and, where Debian keeps them, the roots of the outside, in
/// a mount namespace that ends with it.
const WITH_NAMES: &str = "\
    mount --bind \"$0/resolv.conf\" /etc/resolv.conf || exit
    roots=/etc/ssl/certs/ca-certificates.crt
    test ! -e $roots || mount --bind \"$0/roots.pem\" $roots || exit
    exec \"$@\"";

/// The outside. Its hosts are gone when this is dropped, its network when also the last program
/// in it has ended.
#[derive(Debug)]
pub struct Outside {
    network: Netns,
    files: TempDir,
    stop: Option<oneshot::Sender<()>>,
    hosts: Option<JoinHandle<()>>,
}

impl Outside {
    /// Makes a network, in which all hosts listen when this returns.
    ///
    /// # Panics
    /// Without the right to make networks: it needs root.
    pub fn new() -> Self {
        let network = Netns::new();
        for host in [WEB, ECHO_HOST, NAMES] {
            network.add_address(host);
        }
        let files = tempfile::Builder::new().prefix("lateen-outside-").tempdir().expect("a place");
        let resolvers = format!("nameserver {NAMES}\n");
        std::fs::write(files.path().join("resolv.conf"), resolvers).expect("own file");
        let ca = TestCa::root("The outside's authority");
        let (chain, key) = ca.leaf(&Leaf::server(&[WWW, EDITION, "*.wild.example"]));
        let tls = hosts::acceptor(&chain, &key);
        std::fs::write(files.path().join("roots.pem"), ca.root_pem()).expect("own file");
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        // A thread that is started in a network stays in it.
        let hosts = network.run(|| {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(serve(tls, tell, stopped));
            })
        });
        told.recv().expect("the hosts listen");
        Self { network, files, stop: Some(stop), hosts: Some(hosts) }
    }

    /// A command that runs `program` in this network, where names are those of the outside and
    /// the certificates of its hosts are trusted.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut network = std::ffi::OsString::from("--net=");
        network.push(self.network.path());
        let mut command = Command::new("nsenter");
        command.arg(network).args(["--", "unshare", "--mount", "--", "/bin/sh", "-c", WITH_NAMES]);
        command.arg(self.files.path()).arg(program);
        command
    }

    /// Runs `work` on a thread in this network.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.network.run(work)
    }
}

impl Default for Outside {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(hosts) = self.hosts.take() {
            let ended = hosts.join();
            if !std::thread::panicking() {
                ended.expect("the hosts of the outside end well");
            }
        }
    }
}

/// Is all hosts until it is told to stop.
async fn serve(
    tls: TlsAcceptor,
    tell: std::sync::mpsc::Sender<()>,
    stopped: oneshot::Receiver<()>,
) {
    let tcp = async |host: Ipv4Addr, port: u16| {
        TcpListener::bind((host, port)).await.expect("an address of our own")
    };
    let (plain, secure) = (tcp(WEB, 80).await, tcp(WEB, 443).await);
    let (echo, names_tcp) = (tcp(ECHO_HOST, 9000).await, tcp(NAMES, 53).await);
    let names_udp = UdpSocket::bind((NAMES, 53)).await.expect("an address of our own");
    tell.send(()).expect("somebody waits");
    tokio::select! {
        () = hosts::web(plain, None) => {}
        () = hosts::web(secure, Some(tls)) => {}
        () = hosts::echo(echo) => {}
        () = dns::serve(names_udp, names_tcp) => {}
        _told = stopped => {}
    }
}

/// The address of a name of the outside.
fn address_of(name: &str) -> Option<Ipv4Addr> {
    match name {
        WWW | EDITION => Some(WEB),
        ECHO => Some(ECHO_HOST),
        other => other.ends_with(".wild.example").then_some(WEB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_outside_have_addresses() {
        let cases = [
            (WWW, Some(WEB)),
            (ECHO, Some(ECHO_HOST)),
            ("en.wild.example", Some(WEB)),
            ("wild.example", None),
            ("www.external.example.svc.cluster.local", None),
        ];
        for (name, address) in cases {
            assert_eq!(address_of(name), address, "{name}");
        }
    }
}
