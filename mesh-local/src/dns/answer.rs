//! What to answer to one DNS message.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::{Data, Lookup, Zone};

/// Seconds records of the zone may be cached; names that do not exist too.
const TTL: u32 = 5;
/// Aliases followed before giving up.
const ALIASES: usize = 8;
/// Largest UDP message sent, in bytes: it passes any link without fragments.
const UDP_MESSAGE: u16 = 1232;
/// Largest UDP message for clients that say nothing, in bytes (RFC 1035).
const PLAIN_UDP_MESSAGE: u16 = 512;
/// Top of the zone records' `SOA` names.
const MAILBOX: &str = "hostmaster";

/// What is to be done about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is no question.
    Ignore,
    /// Send this.
    Reply(Message),
    /// Ask the host's resolvers `question`, and send `reply` with what they answer.
    Ask {
        /// The reply so far: empty, or the aliases that lead to the question.
        reply: Message,
        /// What to ask.
        question: Query,
    },
}

/// Decides about the bytes of a request. `turn` rotates the addresses of a name, so that clients
/// which take the first one spread over all.
pub fn decide(zone: &Zone, request: &[u8], turn: usize) -> Decision {
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
    answer(zone, question, reply, turn)
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

/// How long a UDP reply to this request may be.
fn udp_limit(request: &[u8]) -> u16 {
    let asked = Message::from_vec(request).ok().and_then(|m| m.edns.map(|e| e.max_payload()));
    asked.unwrap_or(PLAIN_UDP_MESSAGE).clamp(PLAIN_UDP_MESSAGE, UDP_MESSAGE)
}

/// A request whose header can be read gets `FORMERR`; anything else gets nothing.
fn malformed(request: &[u8]) -> Decision {
    let [high, low, flags, ..] = *request else { return Decision::Ignore };
    let is_response = flags & 0x80 != 0;
    if is_response || request.len() < 12 {
        return Decision::Ignore;
    }
    let id = u16::from_be_bytes([high, low]);
    Decision::Reply(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
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
    let class = question.query_class();
    (transfer || class != DNSClass::IN).then_some(ResponseCode::Refused)
}

fn answer(zone: &Zone, question: &Query, mut reply: Message, turn: usize) -> Decision {
    let wanted = question.query_type();
    let mut name = question.name().clone();
    for _ in 0..ALIASES {
        let (apex, data) = match zone.lookup(&key(&name)) {
            Lookup::Foreign => {
                let question = Query::query(name, wanted);
                return Decision::Ask { reply, question };
            }
            Lookup::Missing { apex } => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                return negative(reply, apex);
            }
            Lookup::Found { apex, data } => (apex, data),
        };
        reply.metadata.authoritative = true;
        let alias = data.iter().find_map(|data| match data {
            Data::Alias(target) => Some(target.clone()),
            _ => None,
        });
        if let Some(target) = alias {
            reply.add_answer(record(&name, RData::CNAME(CNAME(target.clone()))));
            if wanted == RecordType::CNAME {
                return Decision::Reply(reply);
            }
            name = target;
            continue;
        }
        let mut records: Vec<Record> =
            data.into_iter().map(|data| record(&name, rdata(data))).collect();
        if key(&name) == apex {
            records.extend(soa(apex));
        }
        records.retain(|r| wanted == RecordType::ANY || r.record_type() == wanted);
        if records.is_empty() {
            return negative(reply, apex);
        }
        let first = turn % records.len();
        records.rotate_left(first);
        add_targets(zone, &mut reply, &records);
        reply.add_answers(records);
        return Decision::Reply(reply);
    }
    // The aliases lead in a circle.
    reply.metadata.response_code = ResponseCode::ServFail;
    Decision::Reply(reply)
}

/// The addresses of the hosts that SRV records name.
fn add_targets(zone: &Zone, reply: &mut Message, records: &[Record]) {
    let mut seen: Vec<&Name> = Vec::new();
    for record in records {
        let RData::SRV(srv) = &record.data else { continue };
        if seen.contains(&&srv.target) {
            continue;
        }
        seen.push(&srv.target);
        if let Lookup::Found { data, .. } = zone.lookup(&key(&srv.target)) {
            for data in data {
                if let Data::Address(address) = data {
                    reply.add_additional(self::record(&srv.target, RData::A(A(address))));
                }
            }
        }
    }
}

/// No such name, or nothing of the wanted type: with the SOA, so that it may be cached.
fn negative(mut reply: Message, apex: &str) -> Decision {
    reply.metadata.authoritative = true;
    if let Some(soa) = soa(apex) {
        reply.add_authority(soa);
    }
    Decision::Reply(reply)
}

fn soa(apex: &str) -> Option<Record> {
    let name = Name::from_ascii(apex).ok()?;
    let server = Name::from_ascii(format!("ns.dns.{}.", super::CLUSTER_DOMAIN)).ok()?;
    let mailbox = Name::from_ascii(format!("{MAILBOX}.{}.", super::CLUSTER_DOMAIN)).ok()?;
    // Nobody transfers the zone, so its serial number says nothing.
    let soa = SOA::new(server, mailbox, 1, 7200, 1800, 86_400, TTL);
    let mut fqdn = name;
    fqdn.set_fqdn(true);
    Some(record(&fqdn, RData::SOA(soa)))
}

fn rdata(data: Data) -> RData {
    match data {
        Data::Address(address) => RData::A(A(address)),
        Data::Alias(name) => RData::CNAME(CNAME(name)),
        Data::Service { port, target } => RData::SRV(SRV::new(0, 1, port, target)),
        Data::Pointer(name) => RData::PTR(PTR(name)),
        Data::NameServer(name) => RData::NS(NS(name)),
    }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

/// A name as the zone's keys are written.
fn key(name: &Name) -> String {
    let mut text = name.to_lowercase().to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests;
