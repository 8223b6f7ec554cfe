//! Tests of answers, on the sample zone.

use proptest::prelude::{any, prop, prop_assert, proptest};

use super::super::zone::tests::sample;
use super::*;

fn request(name: &str, wanted: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), wanted));
    message
}

fn ask_at(message: &Message, turn: usize) -> Decision {
    decide(&sample(), &message.to_vec().expect("encodes"), turn)
}

fn reply(name: &str, wanted: RecordType) -> Message {
    match ask_at(&request(name, wanted), 0) {
        Decision::Reply(reply) => reply,
        other => panic!("{name} {wanted}: {other:?}"),
    }
}

fn show(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| format!("{} {} {}", r.name, r.record_type(), r.data)).collect()
}

#[test]
fn answers_by_name_and_type() {
    use RecordType as T;
    const REVIEWS: &str = "reviews.default.svc.cluster.local.";
    let cases: [(&str, T, ResponseCode, &[&str]); 10] = [
        (
            REVIEWS,
            T::A,
            ResponseCode::NoError,
            &["reviews.default.svc.cluster.local. A 10.96.0.20"],
        ),
        (
            "Reviews.Default.SVC.cluster.LOCAL.",
            T::A,
            ResponseCode::NoError,
            &["Reviews.Default.SVC.cluster.LOCAL. A 10.96.0.20"],
        ),
        (REVIEWS, T::AAAA, ResponseCode::NoError, &[]),
        (REVIEWS, T::TXT, ResponseCode::NoError, &[]),
        ("nothing.default.svc.cluster.local.", T::A, ResponseCode::NXDomain, &[]),
        ("nothing.default.svc.cluster.local.", T::AAAA, ResponseCode::NXDomain, &[]),
        (
            "near.default.svc.cluster.local.",
            T::A,
            ResponseCode::NoError,
            &[
                "near.default.svc.cluster.local. CNAME reviews.default.svc.cluster.local.",
                "reviews.default.svc.cluster.local. A 10.96.0.20",
            ],
        ),
        (
            "near.default.svc.cluster.local.",
            T::CNAME,
            ResponseCode::NoError,
            &["near.default.svc.cluster.local. CNAME reviews.default.svc.cluster.local."],
        ),
        (
            "20.0.96.10.in-addr.arpa.",
            T::PTR,
            ResponseCode::NoError,
            &["20.0.96.10.in-addr.arpa. PTR reviews.default.svc.cluster.local."],
        ),
        (
            "cluster.local.",
            T::NS,
            ResponseCode::NoError,
            &["cluster.local. NS ns.dns.cluster.local."],
        ),
    ];
    for (name, wanted, code, answers) in cases {
        let reply = reply(name, wanted);
        assert_eq!(reply.metadata.response_code, code, "{name} {wanted}");
        assert_eq!(show(&reply.answers), answers, "{name} {wanted}");
        assert!(reply.metadata.authoritative, "{name} {wanted}");
        assert_eq!(reply.metadata.id, 77);
        let soa = reply.authorities.iter().any(|r| r.record_type() == T::SOA);
        assert_eq!(soa, answers.is_empty(), "{name} {wanted}: {:?}", reply.authorities);
    }
}

#[test]
fn srv_answers_bring_the_addresses() {
    let reply = reply("_sql._tcp.db.default.svc.cluster.local.", RecordType::SRV);
    assert_eq!(reply.answers.len(), 2);
    assert_eq!(
        show(&reply.additionals),
        [
            "db-0.db.default.svc.cluster.local. A 10.244.0.7",
            "10-244-0-8.db.default.svc.cluster.local. A 10.244.0.8",
        ]
    );
}

#[test]
fn addresses_take_turns() {
    let message = request("db.default.svc.cluster.local.", RecordType::A);
    let firsts: Vec<String> = (0..3)
        .map(|turn| match ask_at(&message, turn) {
            Decision::Reply(reply) => reply.answers[0].data.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(firsts, ["10.244.0.7", "10.244.0.8", "10.244.0.7"]);
}

#[test]
fn other_names_are_asked_elsewhere() {
    let Decision::Ask { reply, question } = ask_at(&request("example.org.", RecordType::A), 0)
    else {
        panic!("not asked")
    };
    assert!(reply.answers.is_empty() && !reply.metadata.authoritative);
    assert_eq!(question.name().to_ascii(), "example.org.");

    let alias = request("out.default.svc.cluster.local.", RecordType::A);
    let Decision::Ask { reply, question } = ask_at(&alias, 0) else { panic!("not asked") };
    assert_eq!(show(&reply.answers), ["out.default.svc.cluster.local. CNAME Example.org."]);
    assert_eq!(question.name().to_ascii(), "Example.org.");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let code = |message: &Message| match ask_at(message, 0) {
        Decision::Reply(reply) => Some(reply.metadata.response_code),
        _ => None,
    };
    let circle = request("loop.default.svc.cluster.local.", RecordType::A);
    assert_eq!(code(&circle), Some(ResponseCode::ServFail));
    assert_eq!(code(&request("x.", RecordType::AXFR)), Some(ResponseCode::Refused));

    let mut update = request("x.", RecordType::A);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(code(&update), Some(ResponseCode::NotImp));

    let mut chaos = request("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), Some(ResponseCode::Refused));

    let mut twice = request("x.", RecordType::A);
    twice.add_query(Query::query(Name::root(), RecordType::A));
    assert_eq!(code(&twice), Some(ResponseCode::FormErr));

    let mut newer = request("x.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    assert_eq!(code(&newer), Some(ResponseCode::BADVERS));

    let mut response = request("x.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(ask_at(&response, 0), Decision::Ignore);
}

#[test]
fn long_replies_are_cut_over_udp_only() {
    let message = request("db.default.svc.cluster.local.", RecordType::A);
    let bytes = message.to_vec().expect("encodes");
    let mut reply = reply("db.default.svc.cluster.local.", RecordType::A);
    for _ in 0..100 {
        let again = reply.answers[0].clone();
        reply.add_answer(again);
    }
    let cut = Message::from_vec(&encode(&reply, &bytes, true)).expect("decodes");
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(cut.queries, message.queries);
    let whole = Message::from_vec(&encode(&reply, &bytes, false)).expect("decodes");
    assert_eq!(whole.answers.len(), 102);
}

#[test]
fn garbage_with_a_header_is_a_format_error() {
    let mut garbage = vec![0x12, 0x34, 0x01, 0x00, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0xc0];
    let Decision::Reply(reply) = decide(&sample(), &garbage, 0) else { panic!("no reply") };
    assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(reply.metadata.id, 0x1234);
    garbage[2] = 0x80;
    assert_eq!(decide(&sample(), &garbage, 0), Decision::Ignore);
    assert_eq!(decide(&sample(), &[0x12, 0x34], 0), Decision::Ignore);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Decision::Reply(reply) = decide(&sample(), &bytes, 3) {
            prop_assert!(encode(&reply, &bytes, true).len() <= usize::from(UDP_MESSAGE));
        }
    }

    #[test]
    fn no_damaged_request_makes_it_panic(at in 0usize..50, byte in any::<u8>(), cut in 0usize..50) {
        let mut bytes = request("db.default.svc.cluster.local.", RecordType::SRV)
            .to_vec()
            .expect("encodes");
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 10));
        let decision = decide(&sample(), &bytes, 1);
        if let Decision::Reply(reply) = decision {
            prop_assert!(encode(&reply, &bytes, true).len() <= usize::from(UDP_MESSAGE));
        }
    }
}
