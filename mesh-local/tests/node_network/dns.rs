//! The cluster's DNS server as pods use it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use mesh_local::dns::{DnsServer, Upstreams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::bench::{Outcome, Pod, eventually, node};
use crate::services::table_of;

fn question(name: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut message = Message::new(5, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name)?, RecordType::A));
    Ok(message.to_vec()?)
}

fn answers(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

pub(crate) async fn names_of_services() -> Outcome {
    let node = node().await?;
    let pod = Pod::start(&node, "client").await?;
    let (publish, table) = watch::channel(Arc::default());
    let server = DnsServer::bind(&node, Upstreams::Fixed(Vec::new())).await?;
    let served = server.run(table);
    let questions = async {
        let dns = SocketAddr::from((node.config().dns_server, 53));
        let socket = pod.sockets().bind_udp((Ipv4Addr::UNSPECIFIED, 0).into()).await?;
        socket.connect(dns).await?;
        let over_udp = async |name: &str| -> Result<Message, Box<dyn std::error::Error>> {
            socket.send(&question(name)?).await?;
            let mut buffer = [0; 1500];
            let count = socket.recv(&mut buffer).await?;
            Ok(Message::from_vec(&buffer[..count])?)
        };
        let name = "echo.default.svc.cluster.local.";
        assert_eq!(over_udp(name).await?.metadata.response_code, ResponseCode::NXDomain);
        publish.send_replace(Arc::new(table_of(serde_json::json!({}), &[&pod])?));
        eventually("the name appears", async || {
            Ok(answers(&over_udp(name).await?) == ["10.96.0.20"])
        })
        .await?;
        // Nobody to ask about other names here, and that is said at once.
        let outside = over_udp("example.org.").await?;
        assert_eq!(outside.metadata.response_code, ResponseCode::Refused);
        // Garbage gets no answer and does no harm.
        socket.send(b"garbage").await?;
        assert_eq!(answers(&over_udp(name).await?), ["10.96.0.20"]);

        // Several questions on one TCP connection.
        let mut stream = pod.connect(dns).await?;
        for _ in 0..2 {
            let bytes = question(name)?;
            stream.write_all(&u16::try_from(bytes.len())?.to_be_bytes()).await?;
            stream.write_all(&bytes).await?;
            let mut reply = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut reply).await?;
            assert_eq!(answers(&Message::from_vec(&reply)?), ["10.96.0.20"]);
        }
        Ok(())
    };
    tokio::select! {
        () = served => Err("the DNS server ended".into()),
        outcome = questions => outcome,
    }
}
