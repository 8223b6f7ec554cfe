//! What a running server says of itself, for the commands that look at it from outside.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use serde::{Deserialize, Serialize};

use super::{Paths, lock};

/// The state of a server that is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Process id of the server.
    pub pid: i32,
    /// The API server's URL.
    pub api_server: String,
    /// Version of the server's program.
    pub version: String,
    /// `root`, or how an ordinary user runs it.
    pub privilege: String,
    /// Whether pods reach the outside.
    #[serde(default = "on")]
    pub egress: bool,
}

fn on() -> bool {
    true
}

impl State {
    /// Writes the state so that a reader sees the old or the new one, never a part.
    pub fn save(&self, paths: &Paths) -> io::Result<()> {
        let temporary = paths.root().join("state.json.new");
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        std::fs::rename(temporary, paths.state())
    }

    /// The last state written, whether or not its server still runs.
    pub fn last(paths: &Paths) -> io::Result<Option<Self>> {
        match std::fs::read(paths.state()) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                let path = paths.state();
                let text = format!("{} is damaged ({error}); delete it", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The state of the server that runs now, if one does.
    pub fn running(paths: &Paths) -> io::Result<Option<Self>> {
        if lock::is_held(paths)? { Self::last(paths) } else { Ok(None) }
    }

    /// The port of the API server's URL, to listen there again after a restart.
    pub fn port(&self) -> Option<u16> {
        self.api_server.rsplit_once(':')?.1.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            pid: 7,
            api_server: "https://127.0.0.1:6443".into(),
            version: "0.1.0".into(),
            privilege: "root".into(),
            egress: false,
        }
    }

    #[test]
    fn what_is_saved_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        assert_eq!(State::last(&paths).unwrap(), None);
        state().save(&paths).unwrap();
        assert_eq!(State::last(&paths).unwrap(), Some(state()));
        assert_eq!(State::running(&paths).unwrap(), None, "nobody holds the lock");
        assert_eq!(state().port(), Some(6443));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        std::fs::write(paths.state(), "{").unwrap();
        let error = State::last(&paths).unwrap_err().to_string();
        assert!(error.contains("state.json is damaged") && error.contains("delete it"), "{error}");
    }
}
