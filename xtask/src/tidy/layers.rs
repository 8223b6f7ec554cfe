//! Layers: a crate may depend on crates of a lower layer only, and a pure crate on no I/O.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::run::Error;

/// The rules, as `layers.toml` states them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    layer: Vec<Layer>,
    pure: Pure,
    #[serde(default)]
    forbidden: Vec<Forbidden>,
    #[serde(default)]
    inside: Vec<Inside>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    number: u32,
    crates: Vec<String>,
}

/// Crates that decide and never act.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pure {
    crates: Vec<String>,
    denied: Vec<String>,
}

/// An arrow that the layers would allow but the design does not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forbidden {
    from: String,
    to: Vec<String>,
    reason: String,
}

/// Arrows inside one crate: files under `from` may not name the modules in `to`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inside {
    from: String,
    to: Vec<String>,
    reason: String,
}

/// Every arrow that points the wrong way.
pub fn findings(root: &Path) -> Result<Vec<String>, Error> {
    let path = root.join("layers.toml");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))?;
    let rules: Rules = toml::from_str(&text)
        .map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .map_err(|error| Error::new(format!("cargo metadata failed: {error}")))?;
    let members: BTreeMap<String, Vec<String>> = metadata
        .packages
        .iter()
        .map(|package| {
            let normal = package
                .dependencies
                .iter()
                .filter(|dep| dep.kind == cargo_metadata::DependencyKind::Normal)
                .map(|dep| dep.name.clone());
            (package.name.to_string(), normal.collect())
        })
        .collect();
    let mut all = crate_arrows(&rules, &members);
    all.extend(inside_arrows(root, &rules.inside)?);
    Ok(all)
}

fn crate_arrows(rules: &Rules, members: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let layer_of: BTreeMap<&str, u32> = rules
        .layer
        .iter()
        .flat_map(|layer| layer.crates.iter().map(|name| (name.as_str(), layer.number)))
        .collect();
    let mut all = Vec::new();
    for name in layer_of.keys().filter(|name| !members.contains_key(**name)) {
        all.push(format!("layers.toml: no workspace member is called {name}"));
    }
    for (name, dependencies) in members {
        let Some(&own) = layer_of.get(name.as_str()) else {
            all.push(format!("layers.toml: {name} has no layer"));
            continue;
        };
        for dependency in dependencies {
            if let Some(&other) = layer_of.get(dependency.as_str())
                && (other > own || (other == own && !tests_may_meet(own)))
            {
                all.push(format!(
                    "{name} (layer {own}) must not depend on {dependency} (layer {other})"
                ));
            }
            if rules.pure.crates.contains(name) && rules.pure.denied.contains(dependency) {
                all.push(format!("{name} is pure: it must not depend on {dependency}"));
            }
        }
        for rule in rules.forbidden.iter().filter(|rule| rule.from == *name) {
            for dependency in rule.to.iter().filter(|to| dependencies.contains(to)) {
                all.push(format!("{name} must not depend on {dependency}: {}", rule.reason));
            }
        }
    }
    all
}

/// The top layer holds tests and tools, which may use each other.
fn tests_may_meet(layer: u32) -> bool {
    layer >= 4
}

fn inside_arrows(root: &Path, rules: &[Inside]) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    for rule in rules {
        let files = super::files::rust_files(&root.join(&rule.from))?;
        if files.is_empty() {
            all.push(format!("layers.toml: no file is under {}", rule.from));
        }
        for (path, text) in files {
            for module in &rule.to {
                let named = [format!("crate::{module}::"), format!("crate::{module};")];
                for (number, line) in text.lines().enumerate() {
                    if !line.trim_start().starts_with("//")
                        && named.iter().any(|name| line.contains(name.as_str()))
                    {
                        all.push(format!(
                            "{}:{}: must not name {module}: {}",
                            path.strip_prefix(root).unwrap_or(&path).display(),
                            number + 1,
                            rule.reason
                        ));
                    }
                }
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        toml::from_str(
            r#"
            [[layer]]
            number = 0
            crates = ["words"]
            [[layer]]
            number = 1
            crates = ["decide"]
            [[layer]]
            number = 2
            crates = ["act", "other"]
            [pure]
            crates = ["decide"]
            denied = ["tokio"]
            [[forbidden]]
            from = "act"
            to = ["hyper"]
            reason = "hyper stops at the codec"
            "#,
        )
        .unwrap()
    }

    fn members(list: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        list.iter()
            .map(|(name, deps)| ((*name).to_owned(), deps.iter().map(|d| (*d).into()).collect()))
            .collect()
    }

    #[test]
    fn arrows_down_are_fine() {
        let good = members(&[
            ("words", &[]),
            ("decide", &["words"]),
            ("act", &["decide", "words", "tokio"]),
            ("other", &[]),
        ]);
        assert_eq!(crate_arrows(&rules(), &good), Vec::<String>::new());
    }

    #[test]
    fn arrows_up_sideways_and_impure_are_named() {
        let bad = members(&[
            ("words", &["decide"]),
            ("decide", &["tokio"]),
            ("act", &["other", "hyper"]),
            ("other", &[]),
            ("stranger", &[]),
        ]);
        let found = crate_arrows(&rules(), &bad).join("\n");
        for want in [
            "words (layer 0) must not depend on decide (layer 1)",
            "decide is pure: it must not depend on tokio",
            "act (layer 2) must not depend on other (layer 2)",
            "act must not depend on hyper: hyper stops at the codec",
            "stranger has no layer",
        ] {
            assert!(found.contains(want), "{want} missing in\n{found}");
        }
    }

    #[test]
    fn arrows_inside_a_crate_are_found_in_code_and_not_in_comments() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("part")).unwrap();
        let source = "//! Part.\n// crate::other::Y is not named.\nuse crate::other::X;\n";
        std::fs::write(dir.path().join("part/a.rs"), source).unwrap();
        let rule = |from: &str| Inside {
            from: from.to_owned(),
            to: vec!["other".to_owned()],
            reason: "parts are apart".to_owned(),
        };
        let found = inside_arrows(dir.path(), &[rule("part")]).unwrap();
        assert_eq!(found, ["part/a.rs:3: must not name other: parts are apart"]);
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        let found = inside_arrows(dir.path(), &[rule("empty")]).unwrap();
        assert!(found[0].contains("no file is under empty"), "{found:?}");
    }
}
