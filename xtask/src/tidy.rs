//! `cargo xtask tidy`: the house rules that a program can check.

mod files;
mod layers;

use std::path::Path;

use crate::run::{Error, say};

/// Checks the workspace at `root`; lists every finding.
pub fn run(root: &Path) -> Result<(), Error> {
    let findings = findings(root)?;
    for finding in &findings {
        say(finding);
    }
    match findings.len() {
        0 => {
            say("tidy: nothing to mend");
            Ok(())
        }
        n => Err(Error::new(format!("tidy: {n} findings"))),
    }
}

fn findings(root: &Path) -> Result<Vec<String>, Error> {
    let mut all = layers::findings(root)?;
    all.extend(files::findings(root)?);
    Ok(all)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        let findings = super::findings(&crate::workspace::root()).unwrap();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
