//! What to answer to one DNS message.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Seconds answers from the name table may be cached, as Istio's agent says.
const TTL: u32 = 30;
/// Largest UDP message, in bytes: it passes any link without fragments.
pub const UDP_MESSAGE: u16 = 1232;
/// Largest UDP message for clients that say nothing, in bytes (RFC 1035 §2.3.4).
const PLAIN_UDP_MESSAGE: u16 = 512;

/// The name table, as one question sees it.
pub trait Names {
    /// The addresses of a host, wildcard hosts included; `None` when the table has no such host.
    fn addresses(&self, host: &str) -> Option<Vec<IpAddr>>;
}

/// What is to be done about a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing: it is no question.
    Ignore,
    /// Send this.
    Reply(Message),
    /// The table does not know the name: ask the pod's servers, and send `reply` with their answer.
    Forward {
        /// The reply so far.
        reply: Message,
        /// What to ask.
        question: Query,
    },
}

/// Decides about the bytes of a request. `search` are the pod's search domains; `turn` rotates
/// addresses, so that clients which take the first one spread over all.
pub fn decide(names: &dyn Names, search: &[String], request: &[u8], turn: usize) -> Decision {
    let request = match Message::from_vec(request) {
        Ok(request) => request,
        Err(_) => return malformed(request),
    };
    if request.metadata.message_type != MessageType::Query {
        return Decision::Ignore;
    }
    let mut reply = reply_to(&request);
    if let Some(code) = refusal(&request) {
        reply.metadata.response_code = code;
        return Decision::Reply(reply);
    }
    let Some(question) = request.queries.first() else { return Decision::Ignore };
    reply.add_query(question.clone());
    answer(names, search, question, reply, turn)
}

/// The host a question is about: lower case, without the last dot.
pub fn host(name: &Name) -> String {
    let mut text = name.to_lowercase().to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

fn answer(
    names: &dyn Names,
    search: &[String],
    question: &Query,
    mut reply: Message,
    turn: usize,
) -> Decision {
    let forward = |reply| Decision::Forward { reply, question: question.clone() };
    let asked = host(question.name());
    let Some((target, addresses)) = find(names, search, &asked) else { return forward(reply) };
    if !matches!(question.query_type(), RecordType::A | RecordType::AAAA) {
        return forward(reply);
    }
    reply.metadata.authoritative = true;
    let mut owner = question.name().clone();
    if target != asked
        && let Ok(mut name) = Name::from_ascii(&target)
    {
        name.set_fqdn(true);
        reply.add_answer(Record::from_rdata(owner, TTL, RData::CNAME(CNAME(name.clone()))));
        owner = name;
    }
    let mut records: Vec<Record> = addresses
        .into_iter()
        .filter_map(|ip| match (ip, question.query_type()) {
            (IpAddr::V4(ip), RecordType::A) => Some(RData::A(A(ip))),
            (IpAddr::V6(ip), RecordType::AAAA) => Some(RData::AAAA(AAAA(ip))),
            _ => None,
        })
        .map(|data| Record::from_rdata(owner.clone(), TTL, data))
        .collect();
    if !records.is_empty() {
        let first = turn % records.len();
        records.rotate_left(first);
    }
    // Without a record of that type the answer is empty, which says: the name exists.
    reply.add_answers(records);
    Decision::Reply(reply)
}

/// The host that a name stands for, and its addresses: the name itself; a short name completed by
/// a search domain; or a whole name to which the client's library appended a search domain. Only
/// the last is another host than the one asked for, and is answered by an alias.
fn find(names: &dyn Names, search: &[String], asked: &str) -> Option<(String, Vec<IpAddr>)> {
    if let Some(addresses) = names.addresses(asked) {
        return Some((asked.to_owned(), addresses));
    }
    for domain in search {
        if let Some(addresses) = names.addresses(&format!("{asked}.{domain}")) {
            return Some((asked.to_owned(), addresses));
        }
    }
    search.iter().find_map(|domain| {
        let whole = asked.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        Some((whole.to_owned(), names.addresses(whole)?))
    })
}

/// The hosts that a name may stand for, as [`decide`] looks for them: what to ask for where the
/// table is not held as a whole.
pub fn candidates(search: &[String], asked: &str) -> Vec<String> {
    let whole = |domain: &String| asked.strip_suffix(domain.as_str())?.strip_suffix('.');
    let mut hosts = vec![asked.to_owned()];
    match search.iter().find_map(whole) {
        Some(whole) => hosts.push(whole.to_owned()),
        None => hosts.extend(search.iter().map(|domain| format!("{asked}.{domain}"))),
    }
    hosts
}

/// The bytes of a reply. Over UDP, a reply longer than the client takes is cut to its header and
/// question with the truncation bit, so that the client asks again over TCP.
pub fn encode(reply: &Message, request: &[u8], udp: bool) -> Vec<u8> {
    let limit = if udp { usize::from(udp_limit(request)) } else { usize::from(u16::MAX) };
    let whole = reply.to_vec().unwrap_or_default();
    if !whole.is_empty() && whole.len() <= limit {
        return whole;
    }
    reply.truncate().to_vec().unwrap_or_default()
}

fn udp_limit(request: &[u8]) -> u16 {
    let asked = Message::from_vec(request).ok().and_then(|m| m.edns.map(|e| e.max_payload()));
    asked.unwrap_or(PLAIN_UDP_MESSAGE).clamp(PLAIN_UDP_MESSAGE, UDP_MESSAGE)
}

/// A request whose header can be read gets `FORMERR`; anything else gets nothing.
fn malformed(request: &[u8]) -> Decision {
    match request {
        [high, low, flags, ..] if request.len() >= 12 && flags & 0x80 == 0 => {
            let id = u16::from_be_bytes([*high, *low]);
            Decision::Reply(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
        }
        _ => Decision::Ignore,
    }
}

fn reply_to(request: &Message) -> Message {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MESSAGE);
        reply.set_edns(edns);
    }
    reply
}

/// Why a request cannot be answered at all.
fn refusal(request: &Message) -> Option<ResponseCode> {
    if request.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Some(ResponseCode::BADVERS);
    }
    let [question] = request.queries.as_slice() else { return Some(ResponseCode::FormErr) };
    let transfer = matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR);
    (transfer || question.query_class() != DNSClass::IN).then_some(ResponseCode::Refused)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::{any, proptest};

    use super::*;

    struct Table(HashMap<&'static str, Vec<IpAddr>>);

    impl Names for Table {
        fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
            self.0.get(host).cloned()
        }
    }

    fn table() -> Table {
        let ips = |texts: &[&str]| texts.iter().map(|ip| ip.parse().unwrap()).collect();
        Table(HashMap::from([
            ("reviews.shop.svc.cluster.local", ips(&["10.96.1.1", "fd00::1"])),
            ("many.example", ips(&["10.0.0.1", "10.0.0.2", "10.0.0.3"])),
            ("www.example.org", ips(&["240.240.0.1"])),
        ]))
    }

    fn ask(name: &str, kind: RecordType, turn: usize) -> Decision {
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let search = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
        decide(&table(), &search.map(str::to_owned), &request.to_vec().unwrap(), turn)
    }

    /// The answer's records, one text each; `None` when it is forwarded.
    fn records(name: &str, kind: RecordType) -> Option<Vec<String>> {
        match ask(name, kind, 0) {
            Decision::Reply(reply) => Some(
                reply.answers.iter().map(|r| format!("{} {} {}", r.name, r.ttl, r.data)).collect(),
            ),
            _ => None,
        }
    }

    #[test]
    fn names_of_the_mesh_are_answered() {
        let fqdn = "reviews.shop.svc.cluster.local.";
        let v4 = |name: &str| Some(vec![format!("{name} 30 10.96.1.1")]);
        assert_eq!(records(fqdn, RecordType::A), v4(fqdn));
        assert_eq!(records("Reviews.Shop.svc.cluster.local.", RecordType::A).unwrap().len(), 1);
        assert_eq!(records(fqdn, RecordType::AAAA), Some(vec![format!("{fqdn} 30 fd00::1")]));
        for short in ["reviews.", "reviews.shop.", "reviews.shop.svc."] {
            assert_eq!(records(short, RecordType::A), v4(short), "{short}");
        }
    }

    #[test]
    fn what_a_name_may_stand_for() {
        let search = ["shop.svc.cluster.local", "svc.cluster.local"].map(str::to_owned);
        let expected = ["reviews", "reviews.shop.svc.cluster.local", "reviews.svc.cluster.local"];
        assert_eq!(candidates(&search, "reviews"), expected);
        let expanded = "www.example.org.svc.cluster.local";
        assert_eq!(candidates(&search, expanded), [expanded, "www.example.org"]);
        assert_eq!(candidates(&[], "reviews"), ["reviews"]);
    }

    #[test]
    fn search_expanded_names_get_an_alias() {
        let found = records("www.example.org.shop.svc.cluster.local.", RecordType::A).unwrap();
        let expected = [
            "www.example.org.shop.svc.cluster.local. 30 www.example.org.",
            "www.example.org. 30 240.240.0.1",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_known_name_without_that_family_exists_all_the_same() {
        assert_eq!(records("www.example.org.", RecordType::AAAA), Some(Vec::new()));
    }

    #[test]
    fn everything_else_is_forwarded() {
        assert_eq!(records("elsewhere.example.", RecordType::A), None);
        assert_eq!(records("www.example.org.", RecordType::MX), None);
    }

    #[test]
    fn addresses_take_turns() {
        let first = |turn| match ask("many.example.", RecordType::A, turn) {
            Decision::Reply(reply) => reply.answers[0].data.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 2, 3].map(first), ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1"]);
    }

    #[test]
    fn long_answers_are_cut_over_udp_only() {
        let mut reply = Message::response(1, OpCode::Query);
        let name = Name::from_ascii("many.example.").unwrap();
        for i in 0..100 {
            let data = RData::A(A([10, 0, 0, i].into()));
            reply.add_answer(Record::from_rdata(name.clone(), TTL, data));
        }
        let cut = Message::from_vec(&encode(&reply, &[], true)).unwrap();
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        let whole = Message::from_vec(&encode(&reply, &[], false)).unwrap();
        assert_eq!(whole.answers.len(), 100);
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let search = ["svc.cluster.local".to_owned()];
            if let Decision::Reply(reply) = decide(&table(), &search, &bytes, 1) {
                encode(&reply, &bytes, true);
            }
        }
    }
}
