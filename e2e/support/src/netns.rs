//! Network namespaces: pods' networks without a cluster.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

/// A network of its own. It is gone when nothing runs in it and this is dropped.
#[derive(Debug)]
pub struct Netns {
    file: File,
}

impl Netns {
    /// An empty network with its loopback up.
    ///
    /// # Panics
    /// Without the right to make one: it needs root.
    pub fn new() -> Self {
        let thread = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("making a network namespace needs root");
            ip("link set lo up");
            File::open("/proc/thread-self/ns/net").expect("/proc")
        });
        Self { file: thread.join().expect("the thread ends well") }
    }

    /// Runs `work` on a thread in this network. Threads and processes that it starts stay in it.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).expect("entering a network");
                work()
            });
            thread.join()
        });
        match done {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Adds an address to the loopback.
    ///
    /// # Panics
    /// If `ip` refuses.
    pub fn add_address(&self, address: Ipv4Addr) {
        self.run(|| ip(&format!("addr add {address}/32 dev lo")));
    }

    /// A path by which other programs find this network, such as `nsenter`, while this lives.
    pub fn path(&self) -> PathBuf {
        let (process, file) = (std::process::id(), self.file.as_raw_fd());
        PathBuf::from(format!("/proc/{process}/fd/{file}"))
    }

    /// Joins this network and another by a link; each end has an address, and all traffic to
    /// elsewhere goes to the other end.
    ///
    /// # Panics
    /// If `ip` refuses.
    pub fn link(&self, own: Ipv4Addr, other: &Netns, theirs: Ipv4Addr) {
        self.run(|| {
            other.run_held(|thread| {
                ip(&format!("link add eth0 type veth peer name eth0 netns {thread}"));
            });
        });
        let up = |address: Ipv4Addr, gateway: Ipv4Addr| {
            ip(&format!("addr add {address}/16 dev eth0"));
            ip("link set eth0 up");
            ip(&format!("route add default via {gateway}"));
        };
        self.run(|| up(own, theirs));
        other.run(|| up(theirs, own));
    }

    /// Runs `work` here, while a thread of the given id is in this network.
    fn run_held(&self, work: impl FnOnce(i32)) {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).expect("entering a network");
                tell.send(nix::unistd::gettid().as_raw()).expect("somebody waits");
                // Ends when the sender is dropped.
                let _ended = ended.recv();
            });
            work(told.recv().expect("the thread's id"));
            drop(end);
        });
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("ip is missing: sudo apt-get install iproute2");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {told}");
}
