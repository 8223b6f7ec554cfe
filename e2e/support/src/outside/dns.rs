//! The name server of the outside.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::address_of;

/// Seconds an address may be cached: few, so that a test sees it asked for again.
const TTL: u32 = 5;
/// Largest question over UDP.
const QUESTION: usize = 1232;

/// Answers over both transports.
pub(super) async fn serve(udp: UdpSocket, tcp: TcpListener) {
    let datagrams = async {
        let mut question = [0; QUESTION];
        while let Ok((count, from)) = udp.recv_from(&mut question).await {
            if let Some(reply) = answer(&question[..count]) {
                // Who asked may be gone.
                let _lost = udp.send_to(&reply, from).await;
            }
        }
    };
    let streams = async {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = tcp.accept().await {
            connections.spawn(converse(stream));
        }
    };
    tokio::join!(datagrams, streams);
}

/// Answers the questions of one connection until it ends.
async fn converse(mut stream: TcpStream) -> Option<()> {
    loop {
        let length = stream.read_u16().await.ok()?;
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.ok()?;
        let reply = answer(&question)?;
        stream.write_u16(u16::try_from(reply.len()).ok()?).await.ok()?;
        stream.write_all(&reply).await.ok()?;
    }
}

/// The reply to a question, if it is one.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    let name = query.name().to_lowercase().to_ascii();
    match address_of(name.trim_end_matches('.')) {
        None => reply.metadata.response_code = ResponseCode::NXDomain,
        Some(address) if query.query_type() == RecordType::A => {
            let record = Record::from_rdata(query.name().clone(), TTL, RData::A(A(address)));
            reply.add_answer(record);
        }
        Some(_) => {}
    }
    reply.add_query(query);
    reply.to_vec().ok()
}
