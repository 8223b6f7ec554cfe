//! Files: a header that says the job, a bounded size, no words that promise instead of doing.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::run::Error;

/// No file is longer than this, whatever the reason.
const MAX_LINES: usize = 700;
/// No function is longer than this.
const MAX_FUNCTION_LINES: usize = 120;

/// Words that stand for work left undone, or that name a place outside the clone.
/// Spelled in halves so that this file passes its own check.
const BANNED: [(&str, &str); 8] = [
    (concat!("TO", "DO"), "finish it or write an issue"),
    (concat!("FIX", "ME"), "finish it or write an issue"),
    (concat!("#[ig", "nore"), "a test that does not run is not a test"),
    (concat!("```ig", "nore"), "a doc-test that does not run is not a test"),
    (concat!("unimpl", "emented!("), "finish it"),
    (concat!("for n", "ow,"), "comments say why, not when"),
    (concat!("in a real imp", "lementation"), "this is the real implementation"),
    (concat!("/wo", "rk/"), "no path of one machine"),
];

/// Every file that breaks a rule.
pub fn findings(root: &Path) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    for (path, text) in rust_files(root)? {
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        all.extend(check(&name, &text));
    }
    Ok(all)
}

/// All Rust sources under `dir`, with their text, in order.
pub fn rust_files(dir: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut files = Vec::new();
    let skip = ["target", ".git", "node_modules"];
    let walk = WalkDir::new(dir).sort_by_file_name().into_iter().filter_entry(|entry| {
        !entry.file_type().is_dir() || !skip.contains(&&*entry.file_name().to_string_lossy())
    });
    for entry in walk {
        let entry = entry.map_err(|error| Error::new(format!("cannot list files: {error}")))?;
        if entry.path().extension().is_some_and(|ext| ext == "rs") {
            let text = std::fs::read_to_string(entry.path()).map_err(|error| {
                Error::new(format!("cannot read {}: {error}", entry.path().display()))
            })?;
            files.push((entry.into_path(), text));
        }
    }
    Ok(files)
}

fn check(name: &str, text: &str) -> Vec<String> {
    let mut all = Vec::new();
    if !text.starts_with("//!") {
        all.push(format!("{name}:1: the file needs a `//!` header that says its job"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        all.push(format!("{name}: {lines} lines; split it (at most {MAX_LINES})"));
    }
    for (number, line) in text.lines().enumerate() {
        for (word, why) in BANNED {
            if line.contains(word) {
                all.push(format!("{name}:{}: `{word}`: {why}", number + 1));
            }
        }
    }
    all.extend(long_functions(name, text));
    all
}

/// Functions by rustfmt's shape: an `fn` line, and the closing brace at the same indentation.
fn long_functions(name: &str, text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open: Option<(usize, usize, &str)> = None;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        match open {
            None if is_function(trimmed) && !trimmed.ends_with(['}', ';']) => {
                open = Some((number, indent, trimmed));
            }
            Some((start, at, head)) if indent == at && trimmed.starts_with('}') => {
                let length = number - start + 1;
                if length > MAX_FUNCTION_LINES {
                    all.push(format!(
                        "{name}:{}: {length} lines in `{head}`; split it (at most \
                         {MAX_FUNCTION_LINES})",
                        start + 1
                    ));
                }
                open = None;
            }
            Some((_, at, _)) if indent == at && trimmed.ends_with(';') => open = None,
            _ => {}
        }
    }
    all
}

fn is_function(line: &str) -> bool {
    let words = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async "];
    let mut rest = line;
    while let Some(next) = words.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = next;
    }
    rest.starts_with("fn ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_passes() {
        assert_eq!(check("a.rs", "//! Adds.\n\nfn add() {\n}\n"), Vec::<String>::new());
    }

    #[test]
    fn each_rule_finds_its_breach() {
        let long = format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(130));
        assert!(check("a.rs", &long)[0].contains("132 lines in `fn f() {`"));
        assert!(check("a.rs", "fn f() {}\n")[0].contains("header"));
        let huge = format!("//! x\n{}", "//\n".repeat(701));
        assert!(check("a.rs", &huge)[0].contains("702 lines"));
        let word = format!("//! x\n// {}: later\n", concat!("TO", "DO"));
        assert!(check("a.rs", &word)[0].starts_with("a.rs:2:"));
    }
}
