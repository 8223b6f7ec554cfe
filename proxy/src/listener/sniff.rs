//! Whether a connection of which nobody said it begins as HTTP/2 does.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::stream::Replay;

/// How every HTTP/2 client begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is decided, and returns the connection with what was read; `None` when the client
/// goes away first.
pub async fn http2<S: AsyncRead + Unpin>(mut io: S) -> Option<(Replay<S>, bool)> {
    let mut prefix = BytesMut::new();
    let is_http2 = loop {
        let seen = prefix.len().min(PREFACE.len());
        if prefix[..seen] != PREFACE[..seen] {
            break false;
        }
        if seen == PREFACE.len() {
            break true;
        }
        match io.read_buf(&mut prefix).await {
            Ok(0) if prefix.is_empty() => return None,
            Ok(0) => break false,
            Ok(_more) => {}
            Err(_reset) => return None,
        }
    };
    Some((Replay::new(prefix.freeze(), io), is_http2))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    async fn sniff(chunks: &[&str]) -> Option<(bool, String)> {
        let (mut client, server) = duplex(64);
        let sniffing = http2(server);
        let sending = async {
            for chunk in chunks {
                client.write_all(chunk.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let (found, ()) = tokio::join!(sniffing, sending);
        let (mut io, http2) = found?;
        let mut again = String::new();
        io.read_to_string(&mut again).await.unwrap();
        Some((http2, again))
    }

    #[tokio::test]
    async fn the_preface_decides_and_comes_again() {
        let told = |http2, text: &str| Some((http2, text.to_owned()));
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert_eq!(sniff(&[&preface[..9], &preface[9..]]).await, told(true, preface));
        assert_eq!(sniff(&["PUT / HTTP/1.1\r\n"]).await, told(false, "PUT / HTTP/1.1\r\n"));
        assert_eq!(sniff(&["PRI"]).await, told(false, "PRI"));
        assert_eq!(sniff(&[]).await, None);
    }
}
