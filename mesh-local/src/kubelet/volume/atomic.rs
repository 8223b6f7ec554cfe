//! Writing a volume's files so that a reader sees the old ones or the new ones, never a mixture:
//! a directory of files behind the link `..data`, replaced by one rename.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use crate::kubelet::volume::Payload;

/// The link to the files of today.
const CURRENT: &str = "..data";

/// Its successor, before the rename.
const NEXT: &str = "..data_tmp";

/// Who may read the files besides their owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Owner; the server's own user when absent.
    pub uid: Option<u32>,
    /// Group (`fsGroup`), which may then read.
    pub gid: Option<u32>,
}

/// Replaces what `dir` shows by `payload`. `stamp` names the new generation and must be new.
/// Returns whether all files could be given to their owner: in a user namespace only some ids
/// exist.
pub fn replace(
    dir: &Path,
    payload: &Payload,
    stamp: &str,
    ownership: Ownership,
) -> io::Result<bool> {
    let generation = format!("..{stamp}");
    let files = dir.join(&generation);
    make_dir(&files)?;
    let mut owned = true;
    for (path, file) in payload {
        let target = files.join(path);
        let mut parent = files.clone();
        let below: Vec<&str> = path.split('/').collect();
        for part in &below[..below.len() - 1] {
            parent.push(part);
            if !parent.exists() {
                make_dir(&parent)?;
            }
        }
        let mode = if ownership.gid.is_some() { file.mode | 0o440 } else { file.mode };
        let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(&target)?;
        out.write_all(&file.data)?;
        // The umask of the server has no say.
        out.set_permissions(std::fs::Permissions::from_mode(mode))?;
        if ownership != Ownership::default() {
            owned &= std::os::unix::fs::chown(&target, ownership.uid, ownership.gid).is_ok();
        }
    }
    let old = std::fs::read_link(dir.join(CURRENT)).ok();
    let next = dir.join(NEXT);
    match std::fs::remove_file(&next) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    symlink(&generation, &next)?;
    std::fs::rename(&next, dir.join(CURRENT))?;
    show(dir, payload)?;
    if let Some(old) = old.filter(|old| old.as_os_str() != generation.as_str()) {
        std::fs::remove_dir_all(dir.join(old))?;
    }
    Ok(owned)
}

/// Links the top of every path, and removes links to what is no longer there.
fn show(dir: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = dir.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(CURRENT).join(name), link)?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::volume::File;

    fn payload(entries: &[(&str, &str)]) -> Payload {
        entries
            .iter()
            .map(|(path, data)| {
                ((*path).to_owned(), File { data: data.as_bytes().to_vec(), mode: 0o600 })
            })
            .collect()
    }

    #[test]
    fn generations_follow_each_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        let read = |name: &str| std::fs::read_to_string(path.join(name)).ok();
        let first = payload(&[("a", "1"), ("sub/b", "2")]);
        replace(path, &first, "1", Ownership::default()).expect("written");
        assert_eq!((read("a"), read("sub/b")), (Some("1".to_owned()), Some("2".to_owned())));
        let mode = std::fs::metadata(path.join("a")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let open = std::fs::File::open(path.join("a")).expect("opened");
        replace(path, &payload(&[("a", "3"), ("c", "4")]), "2", Ownership::default())
            .expect("written");
        assert_eq!(
            (read("a"), read("c"), read("sub/b")),
            (Some("3".to_owned()), Some("4".to_owned()), None)
        );
        let old = io::read_to_string(open).expect("readable");
        assert_eq!(old, "1", "a reader keeps what it opened");
        let mut names: Vec<String> = std::fs::read_dir(path)
            .expect("readable")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["..2", "..data", "a", "c"]);
    }
}
