//! `cargo xtask conformance`: public test inputs for meshes of Istio's kind, run against this build.

mod analyzers;
mod crd_validation;
mod server;

use std::path::{Path, PathBuf};

use crate::run::{Error, say};

/// Options of `cargo xtask conformance`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder that holds `crd-validation` and `analyzers`.
    #[arg(long)]
    dir: PathBuf,
}

/// How many cases of a part passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
}

/// Runs every part below the folder that `args` names.
pub fn run(args: &Args) -> Result<(), Error> {
    run_in(&args.dir)
}

fn run_in(dir: &Path) -> Result<(), Error> {
    let mut tally = crd_validation::run(&dir.join("crd-validation"))?;
    let analyzers = analyzers::run(&dir.join("analyzers"))?;
    tally.passed += analyzers.passed;
    tally.failed += analyzers.failed;
    say(&format!("conformance: {} passed, {} failed", tally.passed, tally.failed));
    match tally.failed {
        0 => Ok(()),
        failed => Err(Error::new(format!("conformance: {failed} cases failed"))),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::{crd_validation, run_in};
    use crate::workspace;

    #[test]
    fn our_own_documents_are_judged_as_they_say() {
        let tally =
            crd_validation::run(&workspace::root().join("mesh-api/testdata/crd-validation"));
        let tally = tally.unwrap();
        assert_eq!(tally.failed, 0);
        assert!(tally.passed > 450, "only {} documents", tally.passed);
    }

    #[test]
    fn a_case_that_fails_fails_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("analyzers/cases.json", "[]");
        let good = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\n";
        write("crd-validation/good.yaml", good);
        run_in(dir.path()).unwrap();
        write("crd-validation/bad.yaml", &format!("_err: must fail\n{good}"));
        let error = run_in(dir.path()).unwrap_err().to_string();
        assert_eq!(error, "conformance: 1 cases failed");
        write("crd-validation/bad.yaml", "apiVersion: example.com/v1\nkind: Stranger\n");
        assert!(run_in(dir.path()).is_err(), "an unknown kind is not accepted");
    }
}
