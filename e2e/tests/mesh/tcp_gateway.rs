//! Connections of bytes through a gateway: split by weight between versions of a service.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use mesh_test::mesh::{Mesh, PATIENCE};
use mesh_test::{eventually, settings};

/// Connections that are counted. With a share of 20 % the odds against counts outside the bounds
/// below are above a million to one.
const CONNECTIONS: usize = 200;

fn manifest(name: &str) -> String {
    settings::repository().join("samples/tcp-echo").join(name).display().to_string()
}

/// What the service answers to a line at that port of this machine.
fn echo(port: u16) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(text)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(text)?;
    stream.write_all(b"world\n").map_err(text)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(text)?;
    Ok(line.trim_end().to_owned())
}

#[test]
fn connections_through_a_gateway_are_split_by_weight() {
    let mesh = Mesh::install(&[]);
    mesh.kubectl.ok(&["label", "namespace", "default", "istio-injection=enabled"]);
    for file in ["tcp-echo-services.yaml", "tcp-echo-all-v1.yaml"] {
        mesh.kubectl.ok(&["apply", "-f", &manifest(file)]);
    }
    mesh.ready("default");
    let path = "jsonpath={.spec.ports[?(@.name==\"tcp\")].nodePort}";
    let args = ["get", "svc", "istio-ingressgateway", "-n", "istio-system", "-o", path];
    let port: u16 = mesh.kubectl.ok(&args).parse().unwrap();
    eventually("version 1 answers at the gateway", PATIENCE, || match echo(port) {
        Ok(answer) if answer == "one world" => Ok(()),
        other => Err(format!("{other:?}\n{}", mesh.state())),
    });
    let count = |answer: &str| {
        let answers = (0..CONNECTIONS).map(|_| echo(port).unwrap());
        let answers: Vec<String> = answers.collect();
        assert!(answers.iter().all(|a| a == "one world" || a == "two world"), "{answers:?}");
        answers.iter().filter(|a| *a == answer).count()
    };
    assert_eq!(count("two world"), 0);

    mesh.kubectl.ok(&["apply", "-f", &manifest("tcp-echo-20-v2.yaml")]);
    mesh.effective("virtualservice/tcp-echo");
    let two = count("two world");
    assert!((12..=72).contains(&two), "{two} of {CONNECTIONS}");

    mesh.kubectl.ok(&["delete", "-f", &manifest("tcp-echo-all-v1.yaml")]);
    eventually("the gateway's port is closed", PATIENCE, || match echo(port) {
        Err(_) => Ok(()),
        Ok(answer) if answer.is_empty() => Ok(()),
        Ok(answer) => Err(answer),
    });
}
