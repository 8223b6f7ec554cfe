//! Listener filters that look at what a connection begins with, and at which ports they do.

use serde_json::{Value, json};

use super::document::url;

/// What is looked for at one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A TLS ClientHello.
    pub(crate) tls: bool,
    /// The beginning of HTTP.
    pub(crate) http: bool,
}

/// Inspectors that look at every connection.
pub(crate) fn everywhere() -> Vec<Value> {
    vec![inspector("tls_inspector", "TlsInspector"), inspector("http_inspector", "HttpInspector")]
}

/// Inspectors that look for what each port wants, and at all other ports for what `rest` wants.
/// An inspector waits for the client's first bytes, so that where none is needed, a protocol in
/// which the server speaks first works.
pub(crate) fn at(ports: &[(u16, Wanted)], rest: Wanted) -> Vec<Value> {
    let mut all = Vec::new();
    all.extend(one("tls_inspector", "TlsInspector", ports, rest, |wanted| wanted.tls));
    all.extend(one("http_inspector", "HttpInspector", ports, rest, |wanted| wanted.http));
    all
}

fn one(
    name: &str,
    message: &str,
    ports: &[(u16, Wanted)],
    rest: Wanted,
    wants: impl Fn(&Wanted) -> bool,
) -> Option<Value> {
    let others = wants(&rest);
    let mut differing: Vec<u16> =
        ports.iter().filter(|(_, wanted)| wants(wanted) != others).map(|(port, _)| *port).collect();
    differing.sort_unstable();
    differing.dedup();
    if differing.is_empty() {
        return others.then(|| inspector(name, message));
    }
    let range = |port: &u16| {
        let port = u32::from(*port);
        json!({ "destination_port_range": { "start": port, "end": port + 1 } })
    };
    let ranges: Vec<Value> = differing.iter().map(range).collect();
    let these = match ranges.as_slice() {
        [only] => only.clone(),
        _ => json!({ "or_match": { "rules": ranges } }),
    };
    let mut filter = inspector(name, message);
    filter["filter_disabled"] = if others { these } else { json!({ "not_match": these }) };
    Some(filter)
}

fn inspector(name: &str, message: &str) -> Value {
    let message = url(&format!("envoy.extensions.filters.listener.{name}.v3.{message}"));
    let name = format!("envoy.filters.listener.{name}");
    json!({ "name": name, "typed_config": { "@type": message } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inspectors_are_off_where_they_are_not_wanted() {
        let (both, none) = (Wanted { tls: true, http: true }, Wanted { tls: false, http: false });
        let tls = Wanted { tls: true, http: false };
        let disabled = |ports: &[(u16, Wanted)], rest| {
            let filters = at(ports, rest);
            filters.iter().map(|filter| filter["filter_disabled"].clone()).collect::<Vec<_>>()
        };
        let range =
            |port: u32| json!({ "destination_port_range": { "start": port, "end": port + 1 } });
        assert_eq!(at(&[(80, both)], both), everywhere());
        assert_eq!(at(&[(80, none)], none), Vec::<Value>::new());
        assert_eq!(disabled(&[(80, tls)], both), [Value::Null, range(80)]);
        assert_eq!(
            disabled(&[(90, none), (80, none)], both),
            [
                json!({ "or_match": { "rules": [range(80), range(90)] } }),
                json!({ "or_match": { "rules": [range(80), range(90)] } }),
            ]
        );
        assert_eq!(disabled(&[(80, tls)], none), [json!({ "not_match": range(80) })]);
    }
}
