//! Runs `nft` inside a namespace.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::NodeError;
use super::namespace::Namespace;

/// Where `nft` is looked for besides the search path: an ordinary user's path often lacks
/// `/usr/sbin`.
pub const NFT_DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/run/current-system/sw/bin"];

/// The path of `nft`, from [`NFT_DIRECTORIES`].
///
/// # Errors
/// [`NodeError::NftMissing`], with the remedy.
pub fn find_nft() -> Result<PathBuf, NodeError> {
    NFT_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join("nft"))
        .find(|path| path.is_file())
        .ok_or_else(|| NodeError::NftMissing { searched: NFT_DIRECTORIES.join(", ") })
}

/// Gives `commands` to `nft -f -` in the namespace: one transaction, all or nothing.
pub(super) async fn apply(
    namespace: &Namespace,
    nft: &Path,
    commands: String,
) -> Result<(), NodeError> {
    let nft = nft.to_owned();
    let (success, message) = namespace
        .run("netns-nft", move || run(&nft, &commands))
        .await
        .map_err(NodeError::step("run nft"))?;
    if success { Ok(()) } else { Err(NodeError::Nft { message }) }
}

fn run(nft: &Path, commands: &str) -> io::Result<(bool, String)> {
    let mut child = Command::new(nft)
        .args(["-f", "-"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let written =
        child.stdin.take().map_or(Ok(()), |mut input| input.write_all(commands.as_bytes()));
    let output = child.wait_with_output()?;
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match written {
        // nft stops reading at an error; its own words say more than "broken pipe".
        Err(err) if message.is_empty() => Err(err),
        _ => Ok((output.status.success(), message)),
    }
}
