//! `cargo xtask gen crds`: the CustomResourceDefinitions of the base chart, from the Rust types.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::run::{Error, say};
use crate::workspace;

const HEAD: &str = "# Written by `cargo xtask gen crds` from the types in mesh-api; do not edit.\n";

/// Writes the chart's definitions, or with `check` only says whether they are up to date.
pub fn run(check: bool) -> Result<(), Error> {
    let path = path(&workspace::root());
    let wanted = render()?;
    if std::fs::read_to_string(&path).is_ok_and(|found| found == wanted) {
        say(&format!("{} is up to date", path.display()));
        return Ok(());
    }
    if check {
        let text = format!("{} is stale: run `cargo xtask gen crds`", path.display());
        return Err(Error::new(text));
    }
    std::fs::write(&path, wanted)
        .map_err(|error| Error::new(format!("cannot write {}: {error}", path.display())))?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}

fn path(root: &Path) -> PathBuf {
    root.join("charts/base/files/crds.yaml")
}

fn render() -> Result<String, Error> {
    let mut text = HEAD.to_owned();
    for crd in mesh_api::crd::manifests() {
        let yaml = serde_saphyr::to_string(&crd)
            .map_err(|error| Error::new(format!("cannot write a definition as YAML: {error}")))?;
        write!(text, "---\n{yaml}").map_err(|error| Error::new(error.to_string()))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[test]
    fn the_chart_is_up_to_date() {
        super::run(true).unwrap();
    }

    #[test]
    fn the_chart_says_what_the_types_say() {
        let text = std::fs::read_to_string(super::path(&crate::workspace::root())).unwrap();
        let parsed: Vec<Value> = local_model::yaml::documents(&text).unwrap();
        assert_eq!(parsed, mesh_api::crd::manifests());
    }
}
