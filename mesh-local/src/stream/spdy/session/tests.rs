//! A client made of frames against the session.

use bytes::BufMut;
use tokio::io::DuplexStream;

use super::*;

fn syn_stream(out: &mut BytesMut, id: u32, headers: &[u8]) {
    out.put_u32(0x8003_0001);
    out.put_u32(u32::try_from(headers.len() + 10).unwrap());
    out.put_u32(id);
    out.put_u32(0);
    out.put_u16(0);
    out.put_slice(headers);
}

async fn frame_of(client: &mut DuplexStream) -> Frame {
    let mut head = [0; HEAD];
    client.read_exact(&mut head).await.unwrap();
    let head = Head::parse(&head).unwrap();
    let mut body = vec![0; head.length];
    client.read_exact(&mut body).await.unwrap();
    Frame::parse(head, Bytes::from(body)).unwrap()
}

#[tokio::test]
async fn streams_are_accepted_answered_and_ended() {
    let (mut client, server) = tokio::io::duplex(4096);
    let (mut acceptor, work) = session(server);
    let user = async move {
        let Opened { headers, mut incoming, outgoing } = acceptor.next().await.unwrap();
        assert_eq!(headers, [("streamtype".to_owned(), "data".to_owned())]);
        assert_eq!(incoming.recv().await.unwrap(), "ask");
        assert_eq!(incoming.recv().await, None);
        outgoing.send(Bytes::from_static(b"answer")).await.unwrap();
        outgoing.close().await;
    };
    let peer = async move {
        let mut headers = HeaderWriter::new();
        let mut out = BytesMut::new();
        let block = headers.write(&[("Streamtype".to_owned(), "data".to_owned())]).unwrap();
        syn_stream(&mut out, 1, &block);
        frame::ping(&mut out, 7);
        frame::data(&mut out, 1, true, b"ask");
        client.write_all(&out).await.unwrap();
        assert!(matches!(frame_of(&mut client).await, Frame::Headers { id: 1, fin: false, .. }));
        assert_eq!(frame_of(&mut client).await, Frame::Ping(7));
        let data = Bytes::from_static(b"answer");
        assert_eq!(frame_of(&mut client).await, Frame::Data { id: 1, fin: false, data });
        let data = Bytes::new();
        assert_eq!(frame_of(&mut client).await, Frame::Data { id: 1, fin: true, data });
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "all is said");
    };
    let (work, (), ()) = tokio::join!(work, user, peer);
    work.unwrap();
}

#[tokio::test]
async fn ids_only_grow_and_are_odd() {
    for ids in [&[2][..], &[3, 1], &[1, 1]] {
        let (mut client, server) = tokio::io::duplex(4096);
        let (acceptor, work) = session(server);
        let mut headers = HeaderWriter::new();
        let mut out = BytesMut::new();
        for id in ids {
            syn_stream(&mut out, *id, &headers.write(&[]).unwrap());
        }
        client.write_all(&out).await.unwrap();
        let ended = work.await.unwrap_err();
        assert!(matches!(ended, SpdyError::Frame(FrameError::Order(_))), "{ids:?}: {ended}");
        drop(acceptor);
    }
}
