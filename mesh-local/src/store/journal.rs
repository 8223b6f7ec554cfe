//! Changes on their way to the store's file. A change is in a journal before it is acknowledged,
//! so the end of the process, however sudden, loses none of them. (The end of the machine may:
//! journals are not synchronised to the disk, the store's file is.)
//!
//! Two files take turns: while one batch goes into the store's file, new changes go into the
//! other journal, and the batch's own journal is emptied when the batch is safe.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change, as a line of JSON.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Entry<Row, Object> {
    /// The store's revision after the change.
    pub(super) revision: u64,
    /// Which object.
    pub(super) row: Row,
    /// Its new state; nothing when it was removed.
    pub(super) object: Option<Object>,
}

/// The two journals of a store.
#[derive(Debug)]
pub(super) struct Journals {
    files: [File; 2],
    /// The one that takes new changes.
    current: usize,
}

impl Journals {
    /// Opens the journals beside the store's file, and reads what an earlier process left there,
    /// oldest first. A line that was cut off ends its journal.
    pub(super) fn open(store: &Path) -> io::Result<(Self, Vec<Entry<String, Value>>)> {
        let mut left = Vec::new();
        let mut open = |number: u8| {
            let path = path(store, number);
            match std::fs::read_to_string(&path) {
                Ok(text) => left.extend(entries(&text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            OpenOptions::new().create(true).append(true).mode(0o600).open(path)
        };
        let files = [open(0)?, open(1)?];
        left.sort_by_key(|entry| entry.revision);
        Ok((Self { files, current: 0 }, left))
    }

    /// Writes a change.
    pub(super) fn append(&mut self, entry: &Entry<&str, &Value>) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.files[self.current].write_all(&line)
    }

    /// Lets the other journal take new changes; gives the one that holds those so far.
    pub(super) fn turn(&mut self) -> usize {
        let full = self.current;
        self.current = 1 - full;
        full
    }

    /// Empties a journal whose changes are in the store's file.
    pub(super) fn clear(&mut self, journal: usize) -> io::Result<()> {
        self.files[journal].set_len(0)?;
        self.files[journal].seek(SeekFrom::Start(0)).map(drop)
    }
}

fn path(store: &Path, number: u8) -> PathBuf {
    store.with_extension(format!("journal{number}"))
}

fn entries(text: &str) -> impl Iterator<Item = Entry<String, Value>> {
    text.lines().map_while(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn revisions(store: &Path) -> Vec<u64> {
        let (_, left) = Journals::open(store).unwrap();
        left.iter().map(|entry| entry.revision).collect()
    }

    #[test]
    fn what_was_not_cleared_is_read_again_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("s.redb");
        let (mut journals, left) = Journals::open(&store).unwrap();
        assert!(left.is_empty());
        let object = json!({ "a": 1 });
        let entry = |revision| Entry { revision, row: "row", object: Some(&object) };
        journals.append(&entry(1)).unwrap();
        let first = journals.turn();
        journals.append(&entry(2)).unwrap();
        assert_eq!(revisions(&store), [1, 2]);
        journals.clear(first).unwrap();
        assert_eq!(revisions(&store), [2]);
        journals.turn();
        journals.append(&entry(3)).unwrap();
        assert_eq!(revisions(&store), [2, 3]);
    }

    #[test]
    fn a_line_that_was_cut_off_is_left_out() {
        let text = "{\"revision\":1,\"row\":\"r\",\"object\":null}\n{\"revision\":2,\"ro";
        assert_eq!(entries(text).count(), 1);
    }
}
