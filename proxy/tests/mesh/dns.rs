//! The application's DNS questions, answered from the name table that pilot makes.

use std::net::SocketAddr;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::{Object, Setup, read, service};
use crate::pods::{PATIENCE, Sidecar, Who};

const PODS: usize = 100;

fn headless() -> [Object; 2] {
    let service = json!({
        "metadata": { "name": "many", "namespace": "default" },
        "spec": { "clusterIP": "None", "ports": [{ "name": "tcp", "port": 7000 }] },
    });
    let endpoint = |number: usize| -> Value {
        json!({
            "addresses": [format!("10.1.0.{number}")], "hostname": format!("many-{number}"),
            "conditions": { "ready": true },
        })
    };
    let slice = json!({
        "metadata": {
            "name": "many-x", "namespace": "default",
            "labels": { "kubernetes.io/service-name": "many" },
        },
        "addressType": "IPv4", "ports": [{ "name": "tcp", "port": 7000 }],
        "endpoints": (0..PODS).map(endpoint).collect::<Vec<_>>(),
    });
    [Object::Service(read(service)), Object::EndpointSlice(read(slice))]
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut request = Message::query();
    request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    request.to_vec().unwrap()
}

async fn over_udp(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question(name, kind), server).await.unwrap();
    let mut buffer = [0; 4096];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap();
    Message::from_vec(&buffer[..received.unwrap()]).unwrap()
}

async fn over_tcp(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let talking = async {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let bytes = question(name, kind);
        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut answer).await.unwrap();
        Message::from_vec(&answer).unwrap()
    };
    tokio::time::timeout(PATIENCE, talking).await.unwrap()
}

/// Code and records of an answer.
fn told(message: &Message) -> (ResponseCode, Vec<String>) {
    let records = message.answers.iter().map(|record| record.data.to_string()).collect();
    (message.metadata.response_code, records)
}

async fn names_are_answered(on_demand: bool) {
    let setup = Setup::new(on_demand).await;
    setup.mesh.apply(headless().into());
    let data = setup.data.path().join("dns");
    std::fs::create_dir_all(&data).unwrap();
    let conf = data.join("resolv.conf");
    // No server: what the mesh does not know is refused.
    let text = "search default.svc.cluster.local svc.cluster.local cluster.local\n";
    std::fs::write(&conf, text).unwrap();
    let pilot = setup.pilot.as_ref().unwrap().address;
    let id = "sidecar~127.0.0.5~asks-v1.default~default.svc.cluster.local";
    let who = Who { id, app: "asks", pilot, on_demand, data: &data, dns: Some(&conf) };
    let asks = Sidecar::start(&who, &setup.ca).await;
    asks.ready().await;
    let server = asks.running.dns.unwrap();

    let (a, aaaa) = (RecordType::A, RecordType::AAAA);
    for (name, kind, expected) in [
        ("two.default.svc.cluster.local.", a, Some("10.96.0.5")),
        ("Two.Default.svc.cluster.local.", a, Some("10.96.0.5")),
        ("two.default.svc.cluster.local.", aaaa, None),
        ("reviews.", a, Some("10.96.0.2")),
        ("echo.default.", a, Some("10.96.0.3")),
        ("nobody.default.svc.", a, Some("10.96.0.4")),
        ("many-7.many.default.svc.cluster.local.", a, Some("10.1.0.7")),
        ("many-8.many.", a, Some("10.1.0.8")),
    ] {
        let expected = (ResponseCode::NoError, expected.map(str::to_owned).into_iter().collect());
        assert_eq!(told(&over_udp(server, name, kind).await), expected, "{name} {kind}");
        assert_eq!(told(&over_tcp(server, name, kind).await), expected, "{name} {kind}");
    }
    for name in ["elsewhere.example.", "absent.default.svc.cluster.local.", "many-100.many."] {
        let refused = (ResponseCode::Refused, Vec::new());
        assert_eq!(told(&over_udp(server, name, a).await), refused, "{name}");
    }
    // Too long for UDP.
    let name = "many.default.svc.cluster.local.";
    let cut = over_udp(server, name, a).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty(), "{cut:?}");
    let mut all = told(&over_tcp(server, name, a).await).1;
    all.sort();
    all.dedup();
    assert_eq!(all.len(), PODS);

    // What was absent comes, without being asked for anew.
    let port = json!({ "name": "tcp", "port": 7001 });
    setup.mesh.apply(vec![service("absent", "10.96.0.77", &port)]);
    let came = async {
        let expected = (ResponseCode::NoError, vec!["10.96.0.77".to_owned()]);
        while told(&over_udp(server, "absent.default.svc.cluster.local.", a).await) != expected {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, came).await.unwrap();
    assert_eq!(setup.mesh.nacks(), [""; 0]);
    asks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_answered_when_asked_for() {
    names_are_answered(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_answered_when_all_are_held() {
    names_are_answered(false).await;
}
