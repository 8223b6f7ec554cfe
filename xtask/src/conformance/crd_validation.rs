//! Documents that the API server must accept or refuse by schema and CEL rules alone.
//!
//! A document with `_err` must be refused with a message that contains its text; any other must
//! be accepted.

use std::path::{Path, PathBuf};

use serde_json::Value;
use walkdir::WalkDir;

use super::server::Server;
use super::{Tally, read};
use crate::run::{Error, say};

/// Judges every document of every file in `dir`, and says what failed.
pub(super) fn run(dir: &Path) -> Result<Tally, Error> {
    let server = Server::start()?;
    let mut total = Tally::default();
    for path in files(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut tally = Tally::default();
        let documents = local_model::yaml::documents(&read(&path)?)
            .map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        for (index, mut document) in documents.into_iter().enumerate() {
            let label = format!("{name}#{index} {}", label(&document));
            let expected = document.as_object_mut().and_then(|object| object.remove("_err"));
            match judge(expected.as_ref().and_then(Value::as_str), &server.refusal(document)) {
                Ok(()) => tally.passed += 1,
                Err(difference) => {
                    tally.failed += 1;
                    say(&format!("FAIL {label}\n{difference}"));
                }
            }
        }
        say(&format!("crd-validation/{name}: {} passed, {} failed", tally.passed, tally.failed));
        total.passed += tally.passed;
        total.failed += tally.failed;
    }
    Ok(total)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.map_err(|error| Error::new(format!("cannot list documents: {error}")))?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|ext| ext == "yaml")
        {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        return Err(Error::new(format!("no documents in {}", dir.display())));
    }
    Ok(files)
}

fn label(document: &Value) -> String {
    let name = document["metadata"]["name"].as_str().unwrap_or("without name");
    format!("{} {name}", document["kind"].as_str().unwrap_or("without kind"))
}

/// Compares what the document expects (`None`: accepted) with what happened (`None`: accepted).
fn judge(expected: Option<&str>, refusal: &Option<String>) -> Result<(), String> {
    let matches = match (expected, refusal) {
        (None, None) => true,
        (Some(part), Some(message)) => message.contains(part),
        _ => false,
    };
    if matches {
        return Ok(());
    }
    let expected = expected.map_or("accepted".to_owned(), |part| format!("refused with {part:?}"));
    let got = refusal.as_deref().map_or("accepted".to_owned(), |text| format!("refused: {text}"));
    Err(format!("  expected: {expected}\n  got:      {got}"))
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn judges() {
        let refusal = Some("spec.a: Invalid value: 1".to_owned());
        assert_eq!(judge(None, &None), Ok(()));
        assert_eq!(judge(Some("Invalid value"), &refusal), Ok(()));
        assert!(judge(Some("other"), &refusal).unwrap_err().contains("refused with \"other\""));
        assert!(judge(None, &refusal).unwrap_err().contains("expected: accepted"));
        assert!(judge(Some("x"), &None).unwrap_err().contains("got:      accepted"));
    }
}
