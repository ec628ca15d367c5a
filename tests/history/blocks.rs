//! What is read from a block is what was written, or nothing.

use std::sync::Arc;

use muzzle::history::block::{About, HEADER_BYTES, Header, block};
use muzzle::history::{Records, RecordsBlock, Tally, rows};
use muzzle::inspect::SightingKind;
use muzzle::parse::DomainName;
use muzzle::record::Record;
use proptest::prelude::*;

use crate::events::{NOON_MILLIS, Phone};

fn read(block: &[u8]) -> Option<Vec<Record>> {
    let header = Header::read(block).ok()?;
    let payload = &block[HEADER_BYTES..];
    if !header.fits(payload) {
        return None;
    }
    let records = Records::read(header, payload).ok()?;
    records
        .iter()
        .map(|it| it.ok().map(|it| it.to_record()))
        .collect()
}

fn name(labels: &[Vec<u8>]) -> DomainName {
    let mut name = DomainName::root();
    for label in labels {
        // What grows too long ends there.
        let _full = name.push_label(label);
    }
    name
}

fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let label = proptest::collection::vec(any::<u8>(), 1..=63);
    proptest::collection::vec(label, 0..6)
}

fn kinds() -> impl Strategy<Value = SightingKind> {
    use SightingKind::{Alias, Datagram, Host, Open, Question, Sni, Suffixed, Syn, Unnamed};
    prop_oneof![
        any::<u16>().prop_map(Question),
        any::<u16>().prop_map(Suffixed),
        any::<u16>().prop_map(Alias),
        Just(Sni),
        Just(Host),
        Just(Unnamed),
        Just(Syn),
        Just(Datagram),
        Just(Open),
    ]
}

/// Time, name, what was asked before it, kind, user id, whether the far end has IPv6, addresses.
type Made = (
    u64,
    Vec<Vec<u8>>,
    Vec<Vec<u8>>,
    SightingKind,
    Option<u32>,
    bool,
    Vec<String>,
    Option<String>,
);

fn made() -> impl Strategy<Value = Vec<Made>> {
    let one = (
        prop_oneof![any::<u64>(), NOON_MILLIS..NOON_MILLIS + 60_000],
        labels(),
        labels(),
        kinds(),
        proptest::option::of(prop_oneof![any::<u32>(), Just(10_123), Just(10_200)]),
        any::<bool>(),
        proptest::collection::vec(".{0,40}", 0..3),
        proptest::option::of(".{0,40}"),
    );
    proptest::collection::vec(one, 1..12)
}

fn block_of(phone: &Phone, made: Vec<Made>) -> (Vec<u8>, Vec<Record>) {
    let mut block = RecordsBlock::new(7, &phone.ruleset, &phone.packages);
    let mut expected = Vec::new();
    for (number, it) in (7..).zip(made) {
        let (millis, mut labels, asked, kind, uid, ipv6, names, process) = it;
        let asked_name = name(&asked);
        if matches!(kind, SightingKind::Suffixed(_)) {
            // By its nature it is the other with something behind it.
            labels = [asked, vec![b"lan".to_vec()]].concat();
        }
        let remote = if ipv6 { "2001:db8::53" } else { "192.0.2.53" };
        let event = phone.sighting(millis, name(&labels), asked_name, kind, uid, remote);
        let names: Vec<Arc<str>> = names.into_iter().map(Into::into).collect();
        assert!(block.takes(number, &event, &phone.packages));
        block.push(&event, &names, process.as_deref());
        expected.push(Record {
            process,
            ..phone.record(number, &event, &names)
        });
    }
    (block.seal(), expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_comes_back_as_the_log_tells_it(made in made()) {
        let (block, expected) = block_of(&Phone::new(), made);
        prop_assert_eq!(read(&block), Some(expected));
    }

    #[test]
    fn a_block_with_a_flipped_bit_or_cut_short_is_none(
        made in made(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let (mut block, _) = block_of(&Phone::new(), made);
        let at = at.index(block.len());
        prop_assert_eq!(read(&block[..at]), None);
        block[at] ^= 1 << bit;
        prop_assert_eq!(read(&block), None);
    }

    #[test]
    fn no_payload_makes_a_reader_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let about = About { first: 1, count: 1000, from_millis: 0, to_millis: 0 };
        let block = block(&about, |out| out.extend_from_slice(&payload));
        let header = Header::read(&block).unwrap();
        if let Ok(records) = Records::read(header, &payload) {
            records.iter().flatten().for_each(|it| drop(it.to_record()));
        }
        let _rows = rows(&payload);
    }
}

#[test]
fn payloads_that_are_damaged_behind_their_sum_do_no_harm() {
    let phone = Phone::new();
    let [block] = phone.batch(1, 20, NOON_MILLIS, 10).try_into().unwrap();
    let header = Header::read(&block).unwrap();
    let payload = &block[HEADER_BYTES..];
    for at in 0..payload.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = payload.to_vec();
            damaged[at] = value;
            if let Ok(records) = Records::read(header, &damaged) {
                let mut tally = Tally::default();
                for record in records.iter().flatten() {
                    drop(record.to_record());
                    tally.add(&record);
                }
                let _rows = tally.rows();
            }
        }
    }
}

#[test]
fn what_an_app_asks_for_twice_within_a_second_is_one_try() {
    let phone = Phone::new();
    let mut block = RecordsBlock::new(1, &phone.ruleset, &phone.packages);
    let a = SightingKind::Question(1);
    let aaaa = SightingKind::Question(28);
    for (millis, name, kind) in [
        (0, "x.blocked.example", a),
        (3, "x.blocked.example", aaaa),
        (900, "y.blocked.example", a),
        (1003, "x.blocked.example", a),
        (2004, "x.blocked.example", a),
        // The clock was set back.
        (100, "x.blocked.example", a),
        // The next hour.
        (3_600_000, "x.blocked.example", a),
    ] {
        block.push(
            &phone.event(NOON_MILLIS + millis, name.as_bytes(), kind),
            &[],
            None,
        );
    }
    let block = block.seal();
    let records = Records::read(Header::read(&block).unwrap(), &block[HEADER_BYTES..]).unwrap();
    let mut tally = Tally::default();
    records.iter().for_each(|it| tally.add(&it.unwrap()));
    let rows: Vec<_> = tally
        .rows()
        .into_iter()
        .map(|row| {
            (
                row.hour.0,
                row.name,
                row.app.unwrap(),
                row.decisions,
                row.tries,
            )
        })
        .collect();
    let hour = u32::try_from(NOON_MILLIS / 3_600_000).unwrap();
    let row = |hour, name: &str, decisions, tries| {
        (
            hour,
            name.to_owned(),
            "com.example.app".to_owned(),
            decisions,
            tries,
        )
    };
    assert_eq!(
        rows,
        [
            row(hour, "x.blocked.example", 5, 3),
            row(hour, "y.blocked.example", 1, 1),
            row(hour + 1, "x.blocked.example", 1, 1),
        ]
    );
    assert!(tally.rows().is_empty());
}
