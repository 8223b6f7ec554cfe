//! Walks a page on a cluster of its own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_test::{Cluster, Mesh, Outside, settings};

use crate::output::difference;
use crate::page::{self, Block, Needs, Page};
use crate::shell::Shell;

/// How long a block that is repeated may take until it prints what it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs every command of `docs/tasks/<file>`.
#[track_caller]
pub(crate) fn page(file: &str) {
    let path = settings::repository().join("docs/tasks").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let page = page::parse(&text).unwrap_or_else(|error| panic!("docs/tasks/{file}: {error}"));
    let Page { needs, blocks } = page;
    let mesh = prepare(&needs);
    let mut shell = Shell::start(bash(&mesh));
    for block in &blocks {
        let mut tried = attempt(&mesh, &mut shell, block);
        let deadline = Instant::now() + PATIENCE;
        while block.retry && tried.is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(300));
            tried = attempt(&mesh, &mut shell, block);
        }
        tried.unwrap_or_else(|wrong| panic!("{}\ndocs/tasks/{file}, {wrong}", mesh.state()));
    }
}

fn prepare(needs: &Needs) -> Mesh {
    let mut sets = vec!["meshConfig.accessLogFile=/dev/stdout"];
    sets.extend(needs.sets.iter().map(String::as_str));
    let cluster = match needs.outside {
        true => Cluster::start_within(&Arc::new(Outside::new())),
        false => Cluster::start(),
    };
    let mesh = Mesh::install_on(cluster, &sets);
    if needs.bookinfo {
        mesh.bookinfo();
    } else {
        mesh.kubectl.ok(&["label", "namespace", "default", "istio-injection=enabled"]);
    }
    mesh
}

/// A shell as the user's: in the repository, with the programs and the cluster.
#[allow(clippy::disallowed_methods, reason = "programs are found where the tests find theirs")]
fn bash(mesh: &Mesh) -> Command {
    let kubectl = settings::kubectl_newest();
    let own = [Some(settings::bin_dir()), kubectl.parent().map(Into::into)];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(own.into_iter().flatten().chain(std::env::split_paths(&path)));
    let mut command = mesh.command(Path::new("bash"));
    command
        .args(["--noprofile", "--norc"])
        .current_dir(settings::repository())
        .env("PATH", path.expect("directories of programs have no colon in their names"))
        .env("KUBECONFIG", mesh.kubeconfig())
        .env("HOME", mesh.home());
    command
}

/// Runs a block's commands; the error names the line of the page.
fn attempt(mesh: &Mesh, shell: &mut Shell, block: &Block) -> Result<(), String> {
    for (index, step) in block.steps.iter().enumerate() {
        let printed = shell.run(&step.command);
        let place = format!("line {}: $ {}", step.line, step.command);
        let fails = block.fails && index + 1 == block.steps.len();
        if (printed.code != 0) != fails {
            let code = printed.code;
            return Err(format!("{place}\nended with {code} and printed\n{}", printed.text));
        }
        if let Some(wrong) = difference(&step.expected, &printed.text) {
            return Err(format!("{place}\n{wrong}"));
        }
        mesh.acknowledged(&printed.text);
    }
    Ok(())
}
