//! Answers of resolvers: hickory-proto is the judge of what stands in them, and a plain walk over
//! its records of which names and addresses that gives.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use muzzle::act::Act;
use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::config::Config;
use muzzle::decide::{Outcome, UnixSeconds};
use muzzle::inspect::{Inspector, Reading, Ruleset};
use muzzle::parse::DomainName;
use muzzle::parse::dns_response::Response;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::dns::{domain_name, name, question};
use super::inspector::datagram;
use super::{Forged, damaged};

/// Few names, so that chains meet and bite their tails.
fn few_names() -> impl Strategy<Value = Name> {
    select(vec![
        "a.test.",
        "B.test.",
        "c.",
        "d.example.test.",
        "e.test.",
        ".",
    ])
    .prop_map(|text| Name::from_ascii(text).unwrap())
}

fn any_name() -> impl Strategy<Value = Name> {
    prop_oneof![4 => few_names(), 1 => name()]
}

fn service() -> impl Strategy<Value = SVCB> {
    let hints = prop::collection::vec(any::<[u8; 4]>(), 0..3);
    let hints6 = prop::collection::vec(any::<[u8; 16]>(), 0..3);
    (0_u16..3, any_name(), hints, hints6).prop_map(|(priority, target, hints, hints6)| {
        let hints = hints.into_iter().map(|it| A(it.into())).collect();
        let hints6 = hints6.into_iter().map(|it| AAAA(it.into())).collect();
        let parameters = vec![
            (SvcParamKey::Port, SvcParamValue::Port(443)),
            (
                SvcParamKey::Ipv4Hint,
                SvcParamValue::Ipv4Hint(IpHint(hints)),
            ),
            (
                SvcParamKey::Ipv6Hint,
                SvcParamValue::Ipv6Hint(IpHint(hints6)),
            ),
        ];
        SVCB::new(priority, target, parameters)
    })
}

fn record() -> impl Strategy<Value = Record> {
    let data = prop_oneof![
        4 => any_name().prop_map(|target| RData::CNAME(CNAME(target))),
        1 => service().prop_map(RData::SVCB),
        2 => service().prop_map(|service| RData::HTTPS(HTTPS(service))),
        2 => any::<[u8; 4]>().prop_map(|it| RData::A(A(it.into()))),
        1 => any::<[u8; 16]>().prop_map(|it| RData::AAAA(AAAA(it.into()))),
    ];
    let class = prop_oneof![19 => Just(DNSClass::IN), 1 => Just(DNSClass::CH)];
    (any_name(), 0_u32..100_000, data, class).prop_map(|(owner, ttl, data, class)| {
        let mut record = Record::from_rdata(owner, ttl, data);
        record.dns_class = class;
        record
    })
}

pub(super) fn response() -> impl Strategy<Value = Message> {
    let asked = prop_oneof![
        3 => few_names().prop_map(|name| {
            hickory_proto::op::Query::query(name, RecordType::A)
        }),
        1 => question(),
    ];
    let records = prop::collection::vec(record(), 0..24);
    (any::<u16>(), prop::collection::vec(asked, 1..3), records).prop_map(
        |(id, questions, records)| {
            let mut message = Message::response(id, OpCode::Query);
            message.add_queries(questions);
            message.add_answers(records);
            message
        },
    )
}

/// What a record of class IN makes of its owner: a name, and whether the chain goes on there.
fn target(record: &Record) -> Option<(DomainName, bool)> {
    let service =
        |service: &SVCB| (domain_name(&service.target_name), service.svc_priority == 0);
    match &record.data {
        _ if record.dns_class != DNSClass::IN => None,
        RData::CNAME(target) => Some((domain_name(&target.0), true)),
        RData::SVCB(it) => Some(service(it)),
        RData::HTTPS(it) => Some(service(&it.0)),
        _ => None,
    }
}

/// All names from `asked` on, and the last one that is followed: from the record after the one
/// that led there, round and round.
fn walk(message: &Message, asked: &DomainName) -> (Vec<DomainName>, DomainName) {
    let records = &message.answers;
    let (mut names, mut end) = (Vec::new(), asked.clone());
    let (mut at, mut looked_at) = (0, 0);
    while looked_at < records.len() && names.len() < 16 {
        let record = &records[at % records.len()];
        (at, looked_at) = (at + 1, looked_at + 1);
        let Some((name, goes_on)) = target(record) else {
            continue;
        };
        if domain_name(&record.name) != end || name == end || name.is_root() {
            continue;
        }
        names.push(name.clone());
        if goes_on {
            (end, looked_at) = (name, 0);
        }
    }
    (names, end)
}

fn addresses(message: &Message, owner: &DomainName) -> Vec<(IpAddr, u32)> {
    let hints = |service: &SVCB| {
        let hints = |(_, value): &(SvcParamKey, SvcParamValue)| match value {
            SvcParamValue::Ipv4Hint(it) => it.0.iter().map(|it| IpAddr::V4(it.0)).collect(),
            SvcParamValue::Ipv6Hint(it) => it.0.iter().map(|it| IpAddr::V6(it.0)).collect(),
            _ => Vec::new(),
        };
        service.svc_params.iter().flat_map(hints).collect()
    };
    let of = |record: &Record| -> Vec<(IpAddr, u32)> {
        let addresses = match &record.data {
            _ if record.dns_class != DNSClass::IN || domain_name(&record.name) != *owner => {
                Vec::new()
            }
            RData::A(it) => vec![IpAddr::V4(it.0)],
            RData::AAAA(it) => vec![IpAddr::V6(it.0)],
            RData::SVCB(it) => hints(it),
            RData::HTTPS(it) => hints(&it.0),
            _ => Vec::new(),
        };
        addresses.into_iter().map(|it| (it, record.ttl)).collect()
    };
    message.answers.iter().flat_map(of).collect()
}

fn assert_read_alike(message: &Message, bytes: &[u8]) {
    let response = Response::parse(bytes).unwrap();
    assert_eq!(response.id(), message.metadata.id);
    assert_eq!(response.is_truncated(), message.metadata.truncation);
    let names: Vec<_> = message
        .queries
        .iter()
        .map(|it| domain_name(it.name()))
        .collect();
    let questions: Vec<_> = response.questions().map(|it| it.name).collect();
    assert_eq!(questions, names);
    for asked in &names {
        let mut aliases = response.aliases(asked);
        let found: Vec<_> = aliases.by_ref().collect();
        assert_eq!((found, aliases.end().clone()), walk(message, asked));
        let mut found = Vec::new();
        response.addresses(aliases.end(), |address, ttl| found.push((address, ttl)));
        assert_eq!(found, addresses(message, aliases.end()));
    }
}

proptest! {
    #[test]
    fn answers_are_read_as_hickory_reads_them(message in response()) {
        let bytes = message.to_vec().unwrap();
        assert_read_alike(&message, &bytes);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop_oneof![
        3 => damaged(response().prop_map(|message| message.to_vec().unwrap())),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]) {
        if let Ok(response) = Response::parse(&bytes) {
            for question in response.questions() {
                prop_assert!(response.aliases(&question.name).count() <= 16);
                response.addresses(&question.name, |_, _| {});
            }
            prop_assert_eq!(response.query().is_ok(), response.questions().count() > 0);
        }
    }

    /// Whatever comes back on a query: it is refused exactly where a blocked name is in the
    /// chain of its question, the refusal is whole, and what is learned is what it says.
    #[test]
    fn an_answer_is_refused_exactly_for_a_blocked_alias(
        message in response(),
        blocked in any::<Index>(),
        damage in prop::option::weighted(0.3, damaged(Just(vec![0; 12]))),
        is_v6: bool,
    ) {
        let mut bytes = message.to_vec().unwrap();
        if let Some(damage) = damage {
            // The header stays; some bytes behind it change.
            for (at, byte) in damage.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                let at = 12 + (at * 31 + usize::from(*byte)) % (bytes.len() - 12).max(1);
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
        }
        let names = ["a.test", "b.test", "d.example.test", "e.test"];
        let blocked = names[blocked.index(names.len())];
        let ruleset = ruleset(blocked);
        let (phone, resolver): (SocketAddr, SocketAddr) = if is_v6 {
            ("[2001:db8::2]:4000".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap())
        } else {
            ("10.77.0.2:4000".parse().unwrap(), "203.0.113.53:53".parse().unwrap())
        };
        let mut inspector = Inspector::default();
        let mut scratch = [0; 2048];
        let now = UnixSeconds(1_800_000_000);
        let answer = datagram((resolver, phone), &bytes);
        let mut look = |inspector: &mut Inspector| {
            inspector.inspect_answer(&answer, now, &ruleset, &mut scratch)
        };
        let (before, learned) = look(&mut inspector);
        prop_assert_ne!(before.reading, Reading::Understood);
        prop_assert!(before.act == Act::Pass && learned.is_none());
        let Ok(response) = Response::parse(&bytes) else { return Ok(()) };
        let query = datagram((phone, resolver), &query_of(&bytes));
        let asked = inspector.inspect(&query, None.into(), now, &ruleset, &mut [0; 2048]);
        let (seen, learned) = look(&mut inspector);
        if asked.act != Act::Pass {
            prop_assert!(seen.reading == Reading::Unasked && seen.act == Act::Pass);
            return Ok(());
        }
        let is_blocked = has_alias(&response, blocked);
        prop_assert_eq!(matches!(seen.act, Act::Rewrite { .. }), is_blocked, "{:?}", seen);
        prop_assert_eq!(seen.act == Act::Pass, !is_blocked);
        if let Act::Rewrite { length } = seen.act {
            Forged::default().tell(&scratch[..length], resolver, phone).unwrap();
            prop_assert!(learned.is_none());
            let sighting = seen.sighting.unwrap();
            prop_assert_eq!(sighting.outcome, Outcome::Blocked);
            prop_assert_eq!(sighting.name.to_string(), blocked);
        }
    }
}

/// The query that an answer with good questions answers.
pub(super) fn query_of(answer: &[u8]) -> Vec<u8> {
    let mut query = answer[..12].to_vec();
    query[2] &= 0x7f;
    query[6..12].fill(0);
    for question in Response::parse(answer).unwrap().questions() {
        query.extend(question.name.as_bytes());
        query.extend([0]);
        query.extend(question.qtype.to_be_bytes());
        query.extend(question.qclass.to_be_bytes());
    }
    query
}

/// Whether a question of `response` has this alias.
pub(super) fn has_alias(response: &Response<'_>, alias: &str) -> bool {
    response.questions().any(|question| {
        response
            .aliases(&question.name)
            .any(|name| name.to_string() == alias)
    })
}

pub(super) fn ruleset(blocked: &str) -> Arc<Ruleset> {
    let rule = format!("[[rule]]\nname = \"{blocked}\"\naction = \"block\"");
    let config = Config::parse("config", &rule).unwrap();
    let catalogue = Arc::new(Catalogue::default());
    Arc::new(Ruleset::new(&config, catalogue, &Packages::default()))
}
