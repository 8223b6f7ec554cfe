//! `nc`: bytes from standard input to a TCP connection and back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::connect::{CONNECT_TIMEOUT, Names, connect};
use crate::error::{CurlError, reason};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// Sends standard input to HOST and PORT, and shows what comes back.
///
/// At the end of the input the connection is closed for sending; the program ends when the other
/// side closes it, too.
#[derive(Parser, Clone, Debug)]
#[command(name = "nc", version, about)]
pub struct Args {
    /// The host, or with -l the port.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// Seconds for the connection, and for silence after it.
    #[arg(short, value_name = "SECONDS")]
    pub wait: Option<u64>,
    /// Only connects.
    #[arg(short)]
    pub zero: bool,
    /// Tells of the connection on standard error.
    #[arg(short)]
    pub verbose: bool,
    /// Addresses are numbers. Names are looked up all the same.
    #[arg(short)]
    pub numeric: bool,
    /// Waits for one connection instead.
    #[arg(short)]
    pub listen: bool,
    /// The port to wait at.
    #[arg(short = 'p', value_name = "PORT")]
    pub local_port: Option<u16>,
    /// Closes for sending at the end of the input, as always.
    #[arg(short = 'N')]
    pub shutdown: bool,
}

/// Why there was no conversation.
#[derive(Debug, thiserror::Error)]
pub enum NcError {
    /// Host and port are missing.
    #[error("nc: host and port are expected; try 'nc --help'")]
    Usage,
    /// No connection.
    #[error("nc: {0}")]
    Connect(#[from] CurlError),
    /// The connection broke, or cannot be waited for.
    #[error("nc: {0}")]
    Broken(String),
    /// Nothing for as long as `-w` says.
    #[error("nc: timed out")]
    Silent,
}

/// Runs `args`; `note` takes messages.
///
/// # Errors
/// [`NcError`], to be shown, with exit code 1.
pub async fn run(
    args: &Args,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    mut note: impl FnMut(&str),
) -> Result<(), NcError> {
    let limit = args.wait.map(Duration::from_secs);
    let stream = if args.listen {
        accept(args).await?
    } else {
        let (Some(host), Some(port)) = (&args.host, args.port) else { return Err(NcError::Usage) };
        let addresses = Names::default().resolve(host, port).await?;
        connect(&addresses, host, limit.unwrap_or(CONNECT_TIMEOUT), |_, _| {}).await?
    };
    if args.verbose {
        let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
        note(&format!("{} ({peer}) open", args.host.as_deref().unwrap_or("connection")));
    }
    if args.zero { Ok(()) } else { converse(stream, input, output, limit).await }
}

async fn accept(args: &Args) -> Result<TcpStream, NcError> {
    let named = args.host.as_ref().and_then(|port| port.parse().ok());
    let port = args.local_port.or(args.port).or(named).ok_or(NcError::Usage)?;
    let broken = |error: io::Error| NcError::Broken(reason(&error));
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(address).await.map_err(broken)?;
    Ok(listener.accept().await.map_err(broken)?.0)
}

async fn converse(
    stream: TcpStream,
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    limit: Option<Duration>,
) -> Result<(), NcError> {
    let broken = |error: io::Error| NcError::Broken(reason(&error));
    let (mut reader, mut writer) = stream.into_split();
    let (mut typed, mut heard) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
    let mut at_end = false;
    loop {
        let silence = tokio::time::sleep(limit.unwrap_or(Duration::MAX));
        tokio::select! {
            read = input.read(&mut typed), if !at_end => match read.map_err(broken)? {
                0 => {
                    at_end = true;
                    // The peer may be gone already; what it sent is still to be read.
                    let _closed = writer.shutdown().await;
                }
                count => {
                    let sent = writer.write_all(&typed[..count]);
                    match limit {
                        Some(limit) => timeout(limit, sent).await.map_err(|_| NcError::Silent)?,
                        None => sent.await,
                    }
                    .map_err(broken)?;
                }
            },
            read = reader.read(&mut heard) => match read.map_err(broken)? {
                0 => return Ok(()),
                count => {
                    output.write_all(&heard[..count]).await.map_err(broken)?;
                    output.flush().await.map_err(broken)?;
                }
            },
            () = silence => return Err(NcError::Silent),
        }
    }
}
