//! Charts and profiles as files: those this program carries, or those of a directory.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;

/// The files under `charts/`, by path.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/charts.rs"));
/// A directory of charts may hold this much text.
const MAX_BYTES: u64 = 32 << 20;
/// And directories this deep.
const MAX_DEPTH: usize = 16;

/// A tree of charts, by path below its root.
#[derive(Clone, Debug)]
pub struct Charts {
    files: BTreeMap<String, String>,
    /// How messages name it.
    source: String,
}

/// `Chart.yaml`: what installing needs of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// `v2`.
    pub api_version: String,
    /// Name of the chart.
    pub name: String,
    /// Version of the chart.
    pub version: String,
    /// Version of what it installs.
    #[serde(default)]
    pub app_version: String,
    /// One line about it.
    #[serde(default)]
    pub description: String,
    /// `application` or `library`.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// One chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What `Chart.yaml` says.
    pub metadata: Metadata,
    /// Default values.
    pub values: Value,
    /// `templates/…` by path in the chart, notes left out.
    pub templates: BTreeMap<String, String>,
    /// Files templates may read, by path in the chart.
    pub files: BTreeMap<String, String>,
}

impl Charts {
    /// The charts this program was built with.
    pub fn embedded() -> Self {
        let files = EMBEDDED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self { files: files.collect(), source: "the built-in charts".to_owned() }
    }

    /// The charts of a directory, laid out as this repository's `charts/`.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        let mut left = MAX_BYTES;
        read_into(dir, "", &mut files, &mut left, MAX_DEPTH)?;
        Ok(Self { files, source: dir.display().to_string() })
    }

    /// The chart in directory `dir`.
    pub fn chart(&self, dir: &str) -> Result<Chart, Error> {
        let text = |path: &str| self.files.get(&format!("{dir}/{path}")).map(String::as_str);
        let failed =
            |what: String| Error::Manifest(format!("chart {dir} of {}: {what}", self.source));
        let metadata =
            text("Chart.yaml").ok_or_else(|| failed("it has no Chart.yaml".to_owned()))?;
        let metadata: Metadata = serde_saphyr::from_str(metadata)
            .map_err(|error| failed(format!("Chart.yaml: {error}")))?;
        if metadata.api_version != "v2" {
            let found = &metadata.api_version;
            return Err(failed(format!("Chart.yaml: apiVersion: {found:?} is not v2")));
        }
        let values = match text("values.yaml") {
            Some(text) => {
                parse_values("values.yaml", text).map_err(|error| failed(error.to_string()))?
            }
            None => Value::Object(serde_json::Map::new()),
        };
        let mut chart =
            Chart { metadata, values, templates: BTreeMap::new(), files: BTreeMap::new() };
        let prefix = format!("{dir}/");
        for (path, text) in self.files.range(prefix.clone()..) {
            let Some(path) = path.strip_prefix(&prefix) else { break };
            if path == "Chart.yaml" || path == "values.yaml" || path == "templates/NOTES.txt" {
                continue;
            }
            let group = if path.starts_with("templates/") {
                &mut chart.templates
            } else {
                &mut chart.files
            };
            group.insert(path.to_owned(), text.clone());
        }
        Ok(chart)
    }

    /// The profile `name`, an IstioOperator document.
    pub fn profile(&self, name: &str) -> Result<&str, Error> {
        self.files.get(&format!("profiles/{name}.yaml")).map(String::as_str).ok_or_else(|| {
            let known: Vec<_> = self.profiles().collect();
            Error::Usage(format!(
                "profile {name:?} is not in {}; there are {}",
                self.source,
                known.join(", ")
            ))
        })
    }

    /// The names of the profiles.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.files.keys().filter_map(|path| {
            path.strip_prefix("profiles/").and_then(|name| name.strip_suffix(".yaml"))
        })
    }
}

/// Reads a document of values: a mapping, or nothing.
pub fn parse_values(name: &str, text: &str) -> Result<Value, Error> {
    let value = local_model::yaml::document(text)
        .map_err(|error| Error::Manifest(format!("{name} is not YAML: {error}")))?;
    match value {
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        Value::Object(_) => Ok(value),
        _ => Err(Error::Manifest(format!("{name}: the document must be a mapping"))),
    }
}

fn read_into(
    dir: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, String>,
    left: &mut u64,
    depth: usize,
) -> Result<(), Error> {
    let failed = |path: &Path, error| Error::file(format!("--charts {}", path.display()), error);
    let too_much = || {
        Error::Usage(format!("--charts {}: more than {MAX_BYTES} bytes or too deep", dir.display()))
    };
    if depth == 0 {
        return Err(too_much());
    }
    for entry in std::fs::read_dir(dir).map_err(|error| failed(dir, error))? {
        let path = entry.map_err(|error| failed(dir, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let meta = path.metadata().map_err(|error| failed(&path, error))?;
        if meta.is_dir() {
            read_into(&path, &name, files, left, depth - 1)?;
        } else {
            *left = left.checked_sub(meta.len()).ok_or_else(too_much)?;
            let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            files.insert(name, text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chart_this_program_carries_can_be_read() {
        let charts = Charts::embedded();
        for dir in ["base", "istiod", "gateway"] {
            let chart = charts.chart(dir).unwrap();
            assert_eq!(chart.metadata.name, dir);
            assert_eq!(chart.metadata.app_version, env!("CARGO_PKG_VERSION"));
            assert!(!chart.templates.is_empty(), "{dir}");
        }
        let profiles: Vec<_> = charts.profiles().collect();
        assert_eq!(profiles, ["default", "demo", "empty", "minimal"]);
    }

    #[test]
    fn what_a_directory_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("base")).unwrap();
        let charts = Charts::read(dir.path()).unwrap();
        let error = charts.chart("base").unwrap_err().to_string();
        assert!(
            error.contains("chart base of /") && error.ends_with("it has no Chart.yaml"),
            "{error}"
        );
        std::fs::write(
            dir.path().join("base/Chart.yaml"),
            "apiVersion: v1\nname: a\nversion: 1.0.0\n",
        )
        .unwrap();
        let error = Charts::read(dir.path()).unwrap().chart("base").unwrap_err().to_string();
        assert!(error.ends_with("Chart.yaml: apiVersion: \"v1\" is not v2"), "{error}");
        let error = Charts::embedded().profile("ambient").unwrap_err().to_string();
        assert!(error.contains("there are default, demo, empty, minimal"), "{error}");
    }
}
