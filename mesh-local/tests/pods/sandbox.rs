//! What a pod must do, seen from inside and from outside.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use mesh_local::sandbox::ShimCommand;
use mesh_local::sandbox::network::{LoopbackNetwork, PodLink, PodNetwork};
use mesh_local::sandbox::pod::{ExecOutcome, PodEvent, PodEvents, PodSandbox};
use mesh_local::sandbox::spec::{
    ContainerSpec, Exit, MemoryDir, Mount, PodSetup, ProcessSpec, StepError,
};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::Case;

/// All cases.
pub(crate) const ALL: &[Case] = &[
    ("the_root_is_private", || Box::pin(the_root_is_private())),
    ("volumes_follow_the_container_not_the_host", || {
        Box::pin(volumes_follow_the_container_not_the_host())
    }),
    ("mount_points_among_programs_leave_the_host_alone", || {
        Box::pin(mount_points_among_programs_leave_the_host_alone())
    }),
    ("a_container_is_its_own_pid_namespace", || Box::pin(a_container_is_its_own_pid_namespace())),
    ("start_failures_name_the_step", || Box::pin(start_failures_name_the_step())),
    ("commands_run_inside", || Box::pin(commands_run_inside())),
    ("signals_and_exit_codes", || Box::pin(signals_and_exit_codes())),
    ("killing_the_pod_leaves_nothing", || Box::pin(killing_the_pod_leaves_nothing())),
    ("kill_nine_of_the_server_ends_its_pods", || Box::pin(kill_nine_of_the_server_ends_its_pods())),
    ("dropping_the_pod_ends_it", || Box::pin(dropping_the_pod_ends_it())),
    ("capabilities_are_limited", || Box::pin(capabilities_are_limited())),
    ("the_network_is_reachable_from_the_server", || {
        Box::pin(the_network_is_reachable_from_the_server())
    }),
    ("pods_start_quickly_in_parallel", || Box::pin(pods_start_quickly_in_parallel())),
];

/// A pod with a scratch directory of the host.
struct Pod {
    sandbox: PodSandbox,
    events: PodEvents,
    dir: tempfile::TempDir,
    count: u32,
}

impl Pod {
    async fn new() -> Self {
        Self::with(PodSetup { hostname: "pod-a".to_owned(), ..PodSetup::default() }).await
    }

    async fn with(mut setup: PodSetup) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let shm = dir.path().join("shm");
        std::fs::create_dir(&shm).expect("a directory");
        setup.memory_dirs.push(MemoryDir { path: shm, size_bytes: 1 << 20 });
        let (sandbox, events) =
            PodSandbox::start(&ShimCommand::default(), "test", setup).await.expect("a pod");
        Self { sandbox, events, dir, count: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A container that runs a shell script.
    fn shell(&mut self, script: &str) -> (String, ContainerSpec, PathBuf) {
        self.count += 1;
        let id = format!("c{}", self.count);
        let root_dir = self.path(&format!("root-{id}"));
        std::fs::create_dir(&root_dir).expect("a directory");
        let output = self.path(&format!("out-{id}"));
        File::create(&output).expect("a file");
        let spec = ContainerSpec {
            root_dir,
            root_size_bytes: 16 << 20,
            shm_dir: Some(self.path("shm")),
            process: ProcessSpec {
                argv: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
                env: vec![("GREETING".to_owned(), "hello".to_owned())],
                cwd: PathBuf::from("/"),
                stdout: Some(output.clone()),
                stderr: Some(output.clone()),
                ..ProcessSpec::default()
            },
            ..ContainerSpec::default()
        };
        (id, spec, output)
    }

    /// Runs a container to its end and returns what it wrote.
    async fn run(&mut self, id: &str, spec: ContainerSpec, output: &Path) -> (Exit, String) {
        self.sandbox.start_container(id, spec).await.expect("sent");
        match self.events.next().await {
            Some(PodEvent::Started { id: started, .. }) => assert_eq!(started, id),
            other => panic!("not started: {other:?}"),
        }
        let exit = self.ended(id).await;
        (exit, std::fs::read_to_string(output).expect("readable"))
    }

    async fn started(&mut self, id: &str) {
        let event = self.events.next().await;
        assert!(matches!(&event, Some(PodEvent::Started { id: i, .. }) if i == id), "{event:?}");
    }

    async fn refused(&mut self, id: &str) -> StepError {
        match self.events.next().await {
            Some(PodEvent::StartFailed { id: refused, error }) => {
                assert_eq!(refused, id);
                error
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    async fn ended(&mut self, id: &str) -> Exit {
        match self.events.next().await {
            Some(PodEvent::Exited { id: ended, exit }) => {
                assert_eq!(ended, id);
                exit
            }
            other => panic!("not ended: {other:?}"),
        }
    }
}

/// The host's programs are there and cannot be changed; the rest of the host is not there.
async fn the_root_is_private() {
    let mut pod = Pod::new().await;
    let marker = pod.path("marker");
    std::fs::write(&marker, "host").expect("written");
    let script = format!(
        "set -e; test ! -e {}; test ! -e /boot; touch /usr/x 2>/dev/null && exit 3; \
         touch /proc/sys/x 2>/dev/null && exit 5; test ! -s /proc/kcore; \
         echo scratch > /tmp/file; echo data > /dev/shm/x; echo x > /dev/null; \
         head -c 4 /dev/urandom | wc -c; hostname; pwd; echo $GREETING; umask; \
         ls -d /var/run/lock; cat /proc/1/comm; echo err >&2",
        marker.display()
    );
    let (id, spec, output) = pod.shell(&script);
    let (exit, text) = pod.run(&id, spec, &output).await;
    assert_eq!(
        (exit, text.as_str()),
        (Exit::Code(0), "4\npod-a\n/\nhello\n0022\n/var/run/lock\nsh\nerr\n")
    );
    assert!(!Path::new("/tmp/file").exists(), "the pod's /tmp is its own");

    let (id, mut spec, output) = pod.shell("touch /tmp/x || exit 9");
    spec.read_only_root = true;
    let (exit, text) = pod.run(&id, spec, &output).await;
    assert_eq!(exit, Exit::Code(9), "{text}");
}

/// Mount points are found inside the container, links in volumes stay in it, and read-only is
/// read-only while a writable volume below it is not.
async fn volumes_follow_the_container_not_the_host() {
    let mut pod = Pod::new().await;
    let data = pod.path("data");
    let token = pod.path("token");
    std::fs::create_dir_all(data.join("inner")).expect("a directory");
    std::fs::write(&token, "secret").expect("written");
    std::os::unix::fs::symlink("/etc", data.join("escape")).expect("a link");
    let before = Path::new("/run/secrets/lateen-test").exists();
    let mount = |source: &Path, target: &str, read_only| Mount {
        source: source.to_owned(),
        sub_path: None,
        target: PathBuf::from(target),
        read_only,
    };
    let (id, mut spec, output) = pod.shell(
        "cat /var/run/secrets/lateen-test/token; echo; ls /run/secrets/lateen-test; \
         echo x > /data/y || echo read-only; echo z > /data/inner/z && echo writable; \
         cat /sub/z; echo new > /sub/w",
    );
    spec.mounts = vec![
        mount(&data.join("inner"), "/data/inner", false),
        mount(&data, "/data", true),
        mount(&token, "/var/run/secrets/lateen-test/token", true),
        Mount { sub_path: Some("inner".into()), ..mount(&data, "/sub", false) },
    ];
    let (exit, text) = pod.run(&id, spec, &output).await;
    assert_eq!(exit, Exit::Code(0), "{text}");
    assert!(text.contains("secret\ntoken\n"), "{text}");
    assert!(text.contains("read-only\nwritable\nz\n"), "{text}");
    assert_eq!(std::fs::read_to_string(data.join("inner/w")).expect("written"), "new\n");
    assert_eq!(Path::new("/run/secrets/lateen-test").exists(), before, "nothing on the host");

    // A link out of a volume resolves inside the container or not at all.
    let (id, mut spec, _) = pod.shell("true");
    spec.mounts =
        vec![Mount { sub_path: Some("escape/hostname".into()), ..mount(&data, "/h", true) }];
    pod.sandbox.start_container(&id, spec).await.expect("sent");
    let error = pod.refused(&id).await;
    assert!(error.step.starts_with("subPath escape/hostname of"), "{error}");
}

/// A mount point that the host's directory of programs lacks appears in the container only, and
/// what the directory holds stays usable.
async fn mount_points_among_programs_leave_the_host_alone() {
    let mut pod = Pod::new().await;
    let tool = pod.path("tool");
    std::fs::write(&tool, "#!/bin/sh\necho tool\n").expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&tool, executable).expect("permitted");
    let mount = |target: &str| Mount {
        source: tool.clone(),
        sub_path: None,
        target: PathBuf::from(target),
        read_only: true,
    };
    let (id, mut spec, output) = pod.shell(
        "set -e; lateen-test-tool; /usr/lib/lateen-test/deep/tool; /usr/bin/true; \
         test -x /bin/lateen-test-tool; ls / | wc -l > /dev/null; env | wc -l > /dev/null; \
         test $(ls /usr/bin | wc -l) -gt 10; test -d /usr/share; \
         for place in /usr/bin /usr/lib /.host/usr/bin; do \
           touch $place/x 2>/dev/null && exit 3; done; echo sealed",
    );
    // `true` is there: its mount point is the host's own file, as the container sees it.
    spec.mounts = vec![
        mount("/usr/lib/lateen-test/deep/tool"),
        mount("/usr/bin/true"),
        mount("/usr/bin/lateen-test-tool"),
    ];
    let (exit, text) = pod.run(&id, spec, &output).await;
    assert_eq!((exit, text.as_str()), (Exit::Code(0), "tool\ntool\ntool\nsealed\n"));
    for left in ["/usr/bin/lateen-test-tool", "/usr/lib/lateen-test"] {
        assert!(!Path::new(left).exists(), "{left} was made on the host");
    }
    let own = std::fs::read("/usr/bin/true").expect("readable");
    assert!(own.starts_with(b"\x7fELF"), "the host's program is its own");
}

/// The program is PID 1 of its container, and its end is the end of what it left behind.
async fn a_container_is_its_own_pid_namespace() {
    let mut pod = Pod::new().await;
    let fifo = pod.path("alive");
    mkfifo(&fifo, Mode::from_bits_truncate(0o666)).expect("a fifo");
    let (id, mut spec, output) =
        pod.shell("echo $$; sh -c 'exec sleep 1000 > /alive' & exec 3>/alive; exit 7");
    spec.mounts.push(Mount {
        source: fifo.clone(),
        sub_path: None,
        target: "/alive".into(),
        read_only: false,
    });
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        File::open(&fifo).expect("opened").read_to_string(&mut text).map(|_| text)
    });
    let (exit, text) = pod.run(&id, spec, &output).await;
    assert_eq!((exit, text.trim()), (Exit::Code(7), "1"));
    // The background child held the FIFO open: its end shows that the child is gone.
    assert_eq!(reader.join().expect("joined").expect("read"), "");
}

/// A container that cannot start says what failed.
async fn start_failures_name_the_step() {
    let mut pod = Pod::new().await;
    let (id, mut spec, _) = pod.shell("");
    spec.process.argv = vec!["no-such-program".to_owned()];
    pod.sandbox.start_container(&id, spec).await.expect("sent");
    let error = pod.refused(&id).await;
    assert_eq!(error.to_string(), "exec: \"no-such-program\": executable file not found in $PATH");

    let (id, mut spec, _) = pod.shell("");
    spec.mounts.push(Mount {
        source: "/no/such/source".into(),
        sub_path: None,
        target: "/x".into(),
        read_only: true,
    });
    pod.sandbox.start_container(&id, spec).await.expect("sent");
    let error = pod.refused(&id).await;
    assert_eq!(error.step, "open /no/such/source");
    // The pod is as good as before.
    let (id, spec, output) = pod.shell("echo fine");
    assert_eq!(pod.run(&id, spec, &output).await, (Exit::Code(0), "fine\n".to_owned()));
}

/// Commands see the container's files and processes, and end with their own code.
async fn commands_run_inside() {
    let mut pod = Pod::new().await;
    let (id, spec, _) = pod.shell("echo here > /tmp/mark; echo up > /dev/shm/up; sleep 1000");
    pod.sandbox.start_container(&id, spec).await.expect("sent");
    pod.started(&id).await;
    let output = pod.path("exec-out");
    File::create(&output).expect("a file");
    let command = |script: &str| ProcessSpec {
        argv: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        stdout: Some(output.clone()),
        ..ProcessSpec::default()
    };
    let script = "until test -s /tmp/mark; do :; done; cat /tmp/mark; cat /proc/1/comm; exit 4";
    let Pod { sandbox, events, .. } = &mut pod;
    let outcome = tokio::select! {
        outcome = sandbox.exec("e1", &id, command(script)) => outcome,
        event = events.next() => panic!("{event:?}"),
    };
    assert_eq!(outcome, ExecOutcome::Ended(Exit::Code(4)));
    assert_eq!(std::fs::read_to_string(&output).expect("readable"), "here\nsh\n");

    let outcome = tokio::select! {
        outcome = sandbox.exec("e2", "nobody", command("true")) => outcome,
        event = events.next() => panic!("{event:?}"),
    };
    assert!(matches!(outcome, ExecOutcome::NotStarted(err) if err.cause.contains("not running")));

    // A command that is told to end does, with all of its group.
    let outcome = tokio::select! {
        biased;
        outcome = sandbox.exec("e3", &id, command("sleep 1000; true")) => outcome,
        event = events.next() => panic!("{event:?}"),
        never = async {
            // Commands are obeyed in order, so the signal cannot come before the start.
            sandbox.signal("e3", Signal::SIGKILL).await.expect("sent");
            std::future::pending::<ExecOutcome>().await
        } => never,
    };
    assert_eq!(outcome, ExecOutcome::Ended(Exit::Signal(9)));
}

/// SIGTERM reaches a handler; without one PID 1 of a container ignores it, as in Kubernetes;
/// SIGKILL always ends it.
async fn signals_and_exit_codes() {
    let mut pod = Pod::new().await;
    let ready = pod.path("ready");
    mkfifo(&ready, Mode::from_bits_truncate(0o666)).expect("a fifo");
    let mount =
        Mount { source: ready.clone(), sub_path: None, target: "/ready".into(), read_only: false };
    for (script, signals, exit) in [
        (
            "trap 'exit 5' TERM; echo > /ready; while :; do sleep 0.01; done",
            vec![15],
            Exit::Code(5),
        ),
        ("echo > /ready; while :; do sleep 0.01; done", vec![15, 9], Exit::Signal(9)),
    ] {
        let (id, mut spec, _) = pod.shell(script);
        spec.mounts.push(mount.clone());
        pod.sandbox.start_container(&id, spec).await.expect("sent");
        pod.started(&id).await;
        let path = ready.clone();
        let wait = tokio::task::spawn_blocking(move || std::fs::read(path));
        wait.await.expect("joined").expect("the container is ready");
        for signal in signals {
            let signal = Signal::try_from(signal).expect("a signal");
            pod.sandbox.signal(&id, signal).await.expect("sent");
        }
        assert_eq!(pod.ended(&id).await, exit, "{script}");
    }
}

/// Holds a pod until this process is killed; says when it runs. `program hold <dir>`.
pub(crate) fn hold(args: &[std::ffi::OsString]) -> std::process::ExitCode {
    let fifo = PathBuf::from(args.get(1).expect("a path"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut pod = Pod::new().await;
        let (id, mut spec, _) = pod.shell("sleep 1000 & sleep 1000");
        spec.process.stdout = Some(fifo);
        pod.sandbox.start_container(&id, spec).await.expect("sent");
        pod.started(&id).await;
        println!("running");
        pod.ended(&id).await;
    });
    std::process::ExitCode::FAILURE
}

/// A server that is killed takes every process of its pods with it.
async fn kill_nine_of_the_server_ends_its_pods() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("alive");
    mkfifo(&fifo, Mode::from_bits_truncate(0o666)).expect("a fifo");
    let mut alive =
        tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).expect("a pipe");
    let mut server = std::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["program", "hold"])
        .arg(&fifo)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = String::new();
    let stdout = server.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut said).expect("read");
    assert_eq!(said, "running\n");
    server.kill().expect("killed");
    server.wait().expect("gone");
    // The pod's processes hold the pipe: its end is theirs.
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut alive, &mut rest).await.expect("the end");
    assert!(rest.is_empty());
}

/// After `kill` no process and no mount of the pod is left.
async fn killing_the_pod_leaves_nothing() {
    let links_before = std::fs::read_to_string("/proc/net/dev").expect("readable");
    let mut pod = Pod::new().await;
    let (id, mut spec, _) = pod.shell("sleep 1000 & sleep 1000");
    spec.process.env.push(("LATEEN_MARK".to_owned(), pod.dir.path().display().to_string()));
    let mark = format!("LATEEN_MARK={}", pod.dir.path().display());
    pod.sandbox.start_container(&id, spec).await.expect("sent");
    pod.started(&id).await;
    assert!(processes_with(&mark) > 0);
    pod.sandbox.kill().await;
    assert_eq!(processes_with(&mark), 0);
    assert_eq!(pod.events.next().await, None);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
    assert!(!mounts.contains(&pod.dir.path().display().to_string()));
    let names = |text: &str| {
        text.lines().filter_map(|l| l.split(':').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    let links_after = std::fs::read_to_string("/proc/net/dev").expect("readable");
    assert_eq!(names(&links_before), names(&links_after));
}

/// The end of the control connection is enough.
async fn dropping_the_pod_ends_it() {
    let mut pod = Pod::new().await;
    let fifo = pod.path("alive");
    mkfifo(&fifo, Mode::from_bits_truncate(0o666)).expect("a fifo");
    let (id, mut spec, _) = pod.shell("sleep 1000");
    spec.process.stdout = Some(fifo.clone());
    let reader = tokio::task::spawn_blocking(move || std::fs::read(fifo));
    // The reader may not have opened its end yet; the shim refuses then, and we start anew.
    let mut attempt = 0;
    loop {
        let mut spec = spec.clone();
        attempt += 1;
        spec.root_dir = pod.path(&format!("again-{attempt}"));
        std::fs::create_dir(&spec.root_dir).expect("a directory");
        pod.sandbox.start_container(&id, spec).await.expect("sent");
        match pod.events.next().await {
            Some(PodEvent::Started { .. }) => break,
            Some(PodEvent::StartFailed { .. }) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
    drop(pod);
    assert_eq!(reader.await.expect("joined").expect("read"), b"");
}

/// What a container is not given it cannot get back.
async fn capabilities_are_limited() {
    let mut pod = Pod::new().await;
    let script = "grep CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status";
    let (id, mut spec, output) = pod.shell(script);
    spec.process.capabilities = Some(vec!["NET_ADMIN".to_owned(), "CHOWN".to_owned()]);
    spec.process.no_new_privileges = true;
    let (exit, text) = pod.run(&id, spec, &output).await;
    assert_eq!(exit, Exit::Code(0));
    assert_eq!(text, "CapBnd:\t0000000000001001\nNoNewPrivs:\t1\n");
}

/// A port of the pod answers through the network, before and after other pods.
async fn the_network_is_reachable_from_the_server() {
    let network = LoopbackNetwork::new();
    let pod = Pod::new().await;
    let netns = pod.sandbox.netns().expect("a namespace");
    let link = PodLink { pod_uid: "u1".to_owned(), netns, preferred: None };
    let addresses = network.attach(link).await.expect("attached");
    assert_eq!(addresses.all(), vec![addresses.primary]);
    let inside = mesh_local::sandbox::network::inside(pod.sandbox.netns().expect("ns"), || {
        std::net::TcpListener::bind(("127.0.0.1", 0))
    });
    let listener = inside.await.expect("listening in the pod");
    let target = listener.local_addr().expect("an address");
    network.dial("u1", target).await.expect("connected");
    // The same port of the host is another matter.
    std::net::TcpListener::bind(target).expect("free on the host");
    network.detach("u1").await;
    network.dial("u1", target).await.expect_err("forgotten");
}

/// Eight pods at once, each with a container, all run.
async fn pods_start_quickly_in_parallel() {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        tasks.spawn(async {
            let mut pod = Pod::new().await;
            let (id, spec, output) = pod.shell("echo up");
            let (exit, text) = pod.run(&id, spec, &output).await;
            pod.sandbox.kill().await;
            (exit, text)
        });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.expect("joined"), (Exit::Code(0), "up\n".to_owned()));
    }
}

/// How many processes of the machine carry `mark` in their environment.
fn processes_with(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("readable");
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok())
        .filter(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes()))
        .count()
}
