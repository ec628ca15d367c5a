//! DNS: hickory-proto is the judge of what a query asks and of what a forged answer says.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as HickoryQuery};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use muzzle::act::DnsRefusal;
use muzzle::act::dns_answer;
use muzzle::parse::DomainName;
use muzzle::parse::dns::{Query, Question};
use muzzle::parse::dns_response::Response;
use proptest::prelude::*;

use super::damaged;

const REFUSALS: [DnsRefusal; 4] = [
    DnsRefusal::Nxdomain,
    DnsRefusal::Nodata,
    DnsRefusal::Zero,
    DnsRefusal::Refused,
];

/// Labels of any bytes, mostly short; up to the longest name there may be.
pub(crate) fn name() -> impl Strategy<Value = Name> {
    let label = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 1..12),
        2 => "[a-zA-Z]{1,8}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..=63),
    ];
    prop::collection::vec(label, 0..7).prop_filter_map("over 255 bytes", |labels| {
        Name::from_labels(labels.iter().map(Vec::as_slice)).ok()
    })
}

pub(crate) fn question() -> impl Strategy<Value = HickoryQuery> {
    let qtype = prop_oneof![
        3 => prop::sample::select(vec![1_u16, 28, 65, 255]),
        1 => any::<u16>(),
    ];
    let class = prop_oneof![9 => Just(DNSClass::IN), 1 => Just(DNSClass::CH)];
    (name(), qtype, class).prop_map(|(name, qtype, class)| {
        let mut question = HickoryQuery::query(name, RecordType::from(qtype));
        question.set_query_class(class);
        question
    })
}

fn query() -> impl Strategy<Value = Message> {
    (
        any::<u16>(),
        any::<bool>(),
        prop_oneof![4 => prop::collection::vec(question(), 1..2),
                    1 => prop::collection::vec(question(), 2..4)],
        prop::option::of((any::<u16>(), any::<bool>())),
    )
        .prop_map(|(id, recursion_desired, questions, edns)| {
            let mut message = Message::new(id, MessageType::Query, OpCode::Query);
            message.metadata.recursion_desired = recursion_desired;
            message.add_queries(questions);
            message.edns = edns.map(|(size, dnssec_ok)| {
                let mut edns = Edns::new();
                edns.set_max_payload(size.max(512)).set_dnssec_ok(dnssec_ok);
                edns
            });
            message
        })
}

/// The question hickory read, in Muzzle's words.
fn question_of(query: &HickoryQuery) -> Question {
    Question {
        name: domain_name(query.name()),
        qtype: query.query_type().into(),
        qclass: query.query_class().into(),
    }
}

pub(crate) fn domain_name(name: &Name) -> DomainName {
    let mut domain = DomainName::root();
    for label in name.iter() {
        domain.push_label(label).unwrap();
    }
    domain
}

fn assert_same_query(message: &Message, query: &Query<'_>) {
    let expected: Vec<_> = message.queries.iter().map(question_of).collect();
    assert_eq!(query.questions().collect::<Vec<_>>(), expected);
    assert_eq!(query.id(), message.metadata.id);
}

fn is_address(question: &Question) -> bool {
    matches!((question.qtype, question.qclass), (1 | 28, 1))
}

/// What a forged answer must say, by hickory's reading of it.
fn assert_refuses(asked: &Message, refusal: DnsRefusal, ttl_secs: u32, answer: &[u8]) {
    let answer = Message::from_vec(answer).unwrap();
    let metadata = answer.metadata;
    assert_eq!(metadata.id, asked.metadata.id);
    assert_eq!(metadata.message_type, MessageType::Response);
    assert_eq!(metadata.op_code, asked.metadata.op_code);
    assert_eq!(metadata.recursion_desired, asked.metadata.recursion_desired);
    assert!(metadata.recursion_available && !metadata.authoritative && !metadata.truncation);
    let rcode = match refusal {
        DnsRefusal::Nxdomain => 3,
        DnsRefusal::Refused => 5,
        _ => 0,
    };
    assert_eq!(metadata.response_code.low(), rcode);
    assert_eq!(answer.queries, asked.queries);
    assert!(answer.additionals.is_empty());

    let addresses: Vec<_> = asked
        .queries
        .iter()
        .filter(|query| refusal == DnsRefusal::Zero && is_address(&question_of(query)))
        .collect();
    assert_eq!(answer.answers.len(), addresses.len());
    for (record, query) in answer.answers.iter().zip(&addresses) {
        assert_eq!((&record.name, record.ttl), (query.name(), ttl_secs));
        assert_eq!(record.record_type(), query.query_type());
        let ip = record.data.ip_addr().unwrap();
        assert!(ip == Ipv4Addr::UNSPECIFIED || ip == Ipv6Addr::UNSPECIFIED);
    }

    let soa_wanted = refusal != DnsRefusal::Refused && addresses.is_empty();
    assert_eq!(answer.authorities.len(), usize::from(soa_wanted));
    for record in &answer.authorities {
        assert_eq!(record.name, asked.queries[0].name().base_name());
        assert_eq!((record.ttl, record.dns_class), (ttl_secs, DNSClass::IN));
        let RData::SOA(soa) = &record.data else {
            panic!("no SOA: {record}");
        };
        assert_eq!(soa.minimum, ttl_secs);
        assert_eq!(soa.mname.to_ascii(), "muzzle.invalid.");
    }
    assert_edns(asked, &answer);
}

fn assert_edns(asked: &Message, answer: &Message) {
    let (Some(asked), Some(edns)) = (&asked.edns, &answer.edns) else {
        assert_eq!(asked.edns.is_some(), answer.edns.is_some());
        return;
    };
    assert_eq!((edns.version(), edns.max_payload()), (0, 1232));
    assert_eq!(edns.flags().dnssec_ok, asked.flags().dnssec_ok);
    let blocked = EdnsOption::Unknown(15, vec![0, 15]);
    assert_eq!(edns.option(EdnsCode::Unknown(15)), Some(&blocked));
}

proptest! {
    #[test]
    fn queries_are_read(message in query()) {
        let bytes = message.to_vec().unwrap();
        let query = Query::parse(&bytes).unwrap();
        assert_same_query(&message, &query);
        let edns = query.edns().map(|edns| (edns.udp_payload_size, edns.dnssec_ok));
        let expected = message.edns.as_ref();
        prop_assert_eq!(edns, expected.map(|e| (e.max_payload(), e.flags().dnssec_ok)));
    }

    #[test]
    fn answers_are_well_formed(message in query(), ttl_secs in 0_u32..=0x7fff_ffff) {
        let bytes = message.to_vec().unwrap();
        let query = Query::parse(&bytes).unwrap();
        let mut out = [0xee; 4096];
        for refusal in REFUSALS {
            let length = dns_answer::write(&query, refusal, ttl_secs, &mut out).unwrap();
            assert_refuses(&message, refusal, ttl_secs, &out[..length]);
            if !query.is_compressed() {
                let section = query.question_section();
                prop_assert_eq!(&out[12..12 + section.len()], section, "not byte for byte");
            }
            prop_assert_eq!(
                dns_answer::write(&query, refusal, ttl_secs, &mut out[..length - 1]), None
            );
        }
        prop_assert_eq!(dns_answer::write(&query, DnsRefusal::Drop, ttl_secs, &mut out), None);
    }

    /// Whatever hickory can read as a query, Muzzle reads too, and the same; and what Muzzle
    /// reads, it can answer so that hickory reads the answer.
    #[test]
    fn damaged_queries_are_read_as_hickory_reads_them(
        bytes in damaged(query().prop_map(|message| message.to_vec().unwrap()))
    ) {
        let ours = Query::parse(&bytes);
        let theirs = Message::from_vec(&bytes);
        if let Ok(message) = &theirs
            && message.metadata.message_type == MessageType::Query
            && !message.queries.is_empty()
        {
            let query = ours.unwrap();
            assert_same_query(message, &query);
            let dnssec_ok = message.edns.as_ref().map(|edns| edns.flags().dnssec_ok);
            prop_assert_eq!(query.edns().map(|edns| edns.dnssec_ok), dnssec_ok);
        }
        let Ok(query) = ours else { return Ok(()) };
        let expected: Vec<_> = query.questions().collect();
        prop_assert_eq!(expected.len(), usize::from(query.question_count()));
        let mut out = [0; 4096];
        for refusal in REFUSALS {
            let length = dns_answer::write(&query, refusal, 60, &mut out).unwrap();
            let answer = Message::from_vec(&out[..length]).unwrap();
            let questions: Vec<_> = answer.queries.iter().map(question_of).collect();
            prop_assert_eq!(&questions, &expected);
            let reread: Vec<_> = Response::parse(&out[..length]).unwrap().questions().collect();
            prop_assert_eq!(&reread, &expected);
        }
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Query::parse(&bytes);
    }
}
