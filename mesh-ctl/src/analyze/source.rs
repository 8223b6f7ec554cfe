//! Files of objects: which there are, what is in them, and where each object stands.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Error;

/// Largest file that is read.
const MAX_FILE: u64 = 64 << 20;
/// Directories below a named one are not followed further than this.
const MAX_DEPTH: usize = 32;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file, as it was named.
    pub file: String,
    /// The line the document begins at, counted from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// What it says.
    pub value: Value,
}

/// What files hold.
#[derive(Debug, Default)]
pub struct Documents {
    /// The documents, in order.
    pub documents: Vec<Document>,
    /// Why some documents could not be read, each with its file.
    pub unreadable: Vec<String>,
}

/// Reads files, the files of directories, and standard input for `-`. Only YAML and JSON files of
/// a directory count, and only those of its own unless `recursive`.
pub fn read(paths: &[PathBuf], recursive: bool) -> Result<Documents, Error> {
    let mut all = Documents::default();
    for path in paths {
        let mut files = Vec::new();
        if path.is_dir() {
            list(path, if recursive { MAX_DEPTH } else { 0 }, &mut files)?;
        } else {
            files.push(path.clone());
        }
        for file in files {
            let text = text(&file)?;
            parse(&file.display().to_string(), &text, &mut all);
        }
    }
    Ok(all)
}

/// The documents of one text.
pub fn parse(file: &str, text: &str, all: &mut Documents) {
    let mut line = 1;
    for part in local_model::yaml::split(text) {
        match local_model::yaml::document(part) {
            Ok(Value::Null) => {}
            Ok(value) => {
                let (file, text) = (file.to_owned(), part.to_owned());
                all.documents.push(Document { file, line, text, value });
            }
            Err(error) => all.unreadable.push(format!("{file}: {error}")),
        }
        line += part.matches('\n').count() + 1;
    }
}

fn list(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |error| Error::file(format!("cannot list {}", dir.display()), error);
    let mut entries = std::fs::read_dir(dir)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    entries.sort();
    for path in entries {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, files)?;
            }
        } else if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            files.push(path);
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, Error> {
    let failed = |error| Error::file(format!("cannot read {}", path.display()), error);
    let mut text = String::new();
    let length = if path == Path::new("-") {
        std::io::stdin().take(MAX_FILE + 1).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_FILE + 1).read_to_string(&mut text)
    };
    if length.map_err(failed)? as u64 > MAX_FILE {
        return Err(Error::Manifest(format!("{} is larger than {MAX_FILE} bytes", path.display())));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_know_their_lines() {
        let mut all = Documents::default();
        parse("a.yaml", "# x\nkind: A\n---\n\nkind: B\n---\n# only\n---\nkind: [\n", &mut all);
        let lines: Vec<_> =
            all.documents.iter().map(|one| (one.line, &one.value["kind"])).collect();
        assert_eq!(lines, [(1, &"A".into()), (4, &"B".into())]);
        assert_eq!(all.unreadable.len(), 1);
    }

    #[test]
    fn directories_are_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        for (name, kind) in [("b.yaml", "B"), ("a.yml", "A"), ("c.txt", "C"), ("deep/d.json", "D")]
        {
            std::fs::write(dir.path().join(name), format!("{{\"kind\": \"{kind}\"}}")).unwrap();
        }
        let kinds = |recursive| {
            let all = read(&[dir.path().to_owned()], recursive).unwrap();
            all.documents.iter().map(|one| one.value["kind"].as_str().unwrap().to_owned()).collect()
        };
        let flat: Vec<String> = kinds(false);
        assert_eq!(flat, ["A", "B"]);
        let deep: Vec<String> = kinds(true);
        assert_eq!(deep, ["A", "B", "D"]);
    }
}
