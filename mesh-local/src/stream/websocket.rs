//! Numbered channels in the binary messages of a websocket: the first byte is the channel, as
//! `v4.channel.k8s.io` and `v5.channel.k8s.io` have it.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::channel::{Incoming, Outbound, Outgoing};
use super::{INCOMING, LINGER, OUTBOUND};

/// The channel on which `v5` tells that another one has ended.
const CLOSE: u8 = 255;
/// Largest message that is read.
const MESSAGE: usize = 1 << 20;

/// The server's side of a websocket on a connection that has been upgraded.
pub(crate) async fn accept<T>(io: T) -> WebSocketStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE)).max_frame_size(Some(MESSAGE));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// The end of a conversation in which all was said; clients take one without a code for an error.
pub(super) fn end() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}

/// The channels 0 to `count` - 1, and the work behind them. `ends`: the peer tells the end of a
/// channel (`v5`). The work is done when the peer has gone, or when all `Outgoing` are dropped and
/// what they sent has been written.
pub(crate) fn channels<T>(
    socket: WebSocketStream<T>,
    count: u8,
    ends: bool,
) -> (Vec<(Incoming, Outgoing)>, impl Future<Output = Result<(), Error>>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (queue, outbound) = mpsc::channel(OUTBOUND);
    let mut readers = HashMap::new();
    let channels = (0..count)
        .map(|number| {
            let (sender, incoming) = mpsc::channel(INCOMING);
            readers.insert(number, sender);
            (incoming, Outgoing::new(u32::from(number), queue.clone(), None))
        })
        .collect();
    drop(queue);
    let (sink, source) = socket.split();
    let work = async move {
        let mut reading = std::pin::pin!(read(source, readers, ends));
        tokio::select! {
            ended = &mut reading => return ended,
            ended = write(sink, outbound) => ended?,
        }
        // To close with bytes unread would take back what was just written.
        let _ = tokio::time::timeout(LINGER, reading).await;
        Ok(())
    };
    (channels, work)
}

async fn read(
    mut source: impl Stream<Item = Result<Message, Error>> + Unpin,
    mut readers: HashMap<u8, mpsc::Sender<Bytes>>,
    ends: bool,
) -> Result<(), Error> {
    while let Some(message) = source.next().await {
        let mut data = match message? {
            Message::Binary(data) if !data.is_empty() => data,
            Message::Close(_) => return Ok(()),
            _ => continue,
        };
        let number = data.split_to(1)[0];
        if number == CLOSE && ends {
            if let Some(ended) = data.first() {
                readers.remove(ended);
            }
        } else if !data.is_empty()
            && let Some(reader) = readers.get(&number)
            && reader.send(data).await.is_err()
        {
            // Nobody reads it any more: what still comes is dropped.
            readers.remove(&number);
        }
    }
    Ok(())
}

async fn write(
    mut sink: impl Sink<Message, Error = Error> + Unpin,
    mut outbound: mpsc::Receiver<Outbound>,
) -> Result<(), Error> {
    while let Some(message) = outbound.recv().await {
        let Outbound::Data(channel, data) = message else { continue };
        let mut framed = BytesMut::with_capacity(data.len() + 1);
        framed.put_u8(u8::try_from(channel).unwrap_or(u8::MAX));
        framed.put_slice(&data);
        sink.send(Message::Binary(framed.freeze())).await?;
    }
    sink.send(end()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn channels_are_kept_apart_and_end_one_by_one() {
        let (client, server) = tokio::io::duplex(1024);
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let (mut channels, work) = channels(accept(server).await, 2, true);
        let (mut in1, out1) = channels.pop().unwrap();
        let (mut in0, out0) = channels.pop().unwrap();
        let user = async move {
            assert_eq!(in0.recv().await.unwrap(), "a");
            assert_eq!(in0.recv().await, None, "its end was told");
            assert_eq!(in1.recv().await.unwrap(), "b");
            drop(out0);
            out1.send(Bytes::from_static(b"answer")).await.unwrap();
        };
        let peer = async move {
            for message in [&b"\x00a"[..], b"\xff\x00", b"", b"\x07nobody", b"\x01b"] {
                client.send(Message::binary(message)).await.unwrap();
            }
            let answer = client.next().await.unwrap().unwrap();
            assert_eq!(answer.into_data(), &b"\x01answer"[..]);
            assert!(client.next().await.unwrap().unwrap().is_close());
        };
        let (work, (), ()) = tokio::join!(work, user, peer);
        work.unwrap();
    }
}
