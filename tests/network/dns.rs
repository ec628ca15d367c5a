//! DNS queries over UDP: what is blocked is answered on the phone, whatever asks and however.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use muzzle::firewall::Family;

use crate::clients::{
    A, AAAA, ANY, Edns, HTTPS, TXT, UdpAsker, query, query_of, question, told,
};
use crate::lab::{Lab, addresses};
use crate::running::{BLOCKED, Door, queue, reload, start};

const TYPES: [u16; 8] = [A, AAAA, HTTPS, TXT, ANY, 2, 64, 65_280];

fn edns() -> [Option<Edns>; 3] {
    let record = |payload, dnssec_ok| Some(Edns { payload, dnssec_ok });
    [None, record(1232, false), record(4096, true)]
}

/// The question as it was asked: letter case and all.
fn asked(answer: &Message) -> String {
    let question = answer.queries.first().expect("the question is echoed");
    question.name.to_ascii()
}

#[test]
fn a_blocked_name_is_answered_whatever_is_asked_of_it() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let door = Door::watch(&lab);
    for family in Family::BOTH {
        lab.count_arriving(family, "queries", "-p udp --dport 53");
        let asker = UdpAsker::new(&lab, addresses(family).dns);
        let mut id = 100;
        for name in [BLOCKED, "TraCk.A.bLockeD.eXample"] {
            for (qtype, edns) in TYPES.iter().flat_map(|it| edns().map(|edns| (*it, edns))) {
                id += 1;
                let case = format!("{family} {name} {qtype} {edns:?}");
                let answer = asker.ask(&query_of(id, &[question(name, qtype)], edns));
                let answer = answer.unwrap_or_else(|| panic!("{case}: no answer at once"));
                assert_eq!(told(&answer), (ResponseCode::NXDomain, vec![]), "{case}");
                assert_eq!(asked(&answer), format!("{name}."), "{case}");
                let soa = answer.authorities.iter();
                let soa: Vec<_> = soa.map(|it| (it.record_type(), it.ttl)).collect();
                assert_eq!(soa, [(RecordType::SOA, 60)], "{case}");
                let echoed = answer.edns.as_ref().map(|it| it.flags().dnssec_ok);
                assert_eq!(echoed, edns.map(|it| it.dnssec_ok), "{case}");
            }
        }
        // The name before it and the name after it are others.
        for name in ["unblocked.example", "blocked.example.org", "example"] {
            let answer = asker
                .ask(&query(7, name, A))
                .expect("an answer of the resolver");
            assert_eq!(
                told(&answer).1,
                [addresses(Family::V4).web],
                "{family} {name}"
            );
        }
        assert_eq!(lab.arrived(family, "queries"), 3, "{family}");
    }
    door.assert_nothing_forged_left();
    assert_eq!(queue(&lab, &daemon, "dns").counters.answered, 96);
}

#[test]
fn each_setting_answers_in_its_own_way() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let unspecified = |family: Family| match family {
        Family::V4 => "0.0.0.0".parse().expect("an address"),
        Family::V6 => "::".parse().expect("an address"),
    };
    let (zero4, zero6) = (vec![unspecified(Family::V4)], vec![unspecified(Family::V6)]);
    // Setting; what A, AAAA and TXT are told; whether an SOA lets the last be remembered.
    let cases = [
        ("nodata", ResponseCode::NoError, [vec![], vec![], vec![]], 1),
        ("zero", ResponseCode::NoError, [zero4, zero6, vec![]], 1),
        (
            "refused",
            ResponseCode::Refused,
            [vec![], vec![], vec![]],
            0,
        ),
        (
            "nxdomain",
            ResponseCode::NXDomain,
            [vec![], vec![], vec![]],
            1,
        ),
    ];
    for (setting, code, addresses_told, soas) in cases {
        reload(
            &lab,
            &daemon,
            &format!("[dns]\nanswer = \"{setting}\"\nttl_secs = 7"),
        )
        .ok();
        for family in Family::BOTH {
            let asker = UdpAsker::new(&lab, addresses(family).dns);
            for (qtype, wanted) in [A, AAAA, TXT].into_iter().zip(&addresses_told) {
                let case = format!("{setting} {family} {qtype}");
                let answer = asker.ask(&query(qtype, BLOCKED, qtype)).expect(&case);
                assert_eq!(told(&answer), (code, wanted.clone()), "{case}");
                let records = answer.answers.iter().chain(&answer.authorities);
                assert!(records.clone().all(|record| record.ttl == 7), "{case}");
                if qtype == TXT {
                    assert_eq!(answer.authorities.len(), soas, "{case}");
                }
            }
        }
    }
    reload(&lab, &daemon, "[dns]\nanswer = \"drop\"").ok();
    for family in Family::BOTH {
        let asker = UdpAsker::new(&lab, addresses(family).dns);
        assert!(asker.ask(&query(1, BLOCKED, A)).is_none(), "{family}");
        assert!(
            asker.ask(&query(2, "free.example", A)).is_some(),
            "{family}"
        );
    }
    assert!(!lab.was_asked_for(BLOCKED) && lab.was_asked_for("free.example"));
}

#[test]
fn what_is_no_single_plain_question_reaches_the_resolver() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let good = query(1, "a.example", A);
    let mut pointer_loop = query(1, "a", A);
    pointer_loop[12..15].copy_from_slice(&[0xc0, 12, 0]);
    let nonsense: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        good[..11].to_vec(),
        good[..12].to_vec(),
        good[..good.len() - 1].to_vec(),
        // A response; no question; more questions than there are.
        [&good[..2], &[0x81, 0x80], &good[4..]].concat(),
        [&good[..5], &[0], &good[6..]].concat(),
        [&good[..5], &[9], &good[6..]].concat(),
        pointer_loop,
        vec![0xff; 512],
        b"GET / HTTP/1.1\r\nHost: blocked.example\r\n\r\n".to_vec(),
        vec![0x20; 1400],
    ];
    let malformed = nonsense.len() as u64;
    let several = |names: &[&str]| {
        let questions: Vec<_> = names.iter().map(|name| question(name, A)).collect();
        query_of(9, &questions, None)
    };
    let trailing = [&good[..], &[0xaa; 100]].concat();
    let good = [several(&["a.example", "b.example", "c.example"]), trailing];
    for (round, family) in (1..).zip(Family::BOTH) {
        let asker = UdpAsker::new(&lab, addresses(family).dns);
        lab.count_arriving(family, "queries", "-p udp --dport 53");
        for message in nonsense.iter().chain(&good) {
            asker.send(message);
        }
        // One name of several is blocked: they share one answer.
        let mixed = several(&["a.example", BLOCKED, "c.example"]);
        let asker = UdpAsker::new(&lab, addresses(family).dns);
        let answer = asker.ask(&mixed).expect("a forged answer");
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(answer.queries.len(), 3, "{family}");
        assert_eq!(lab.arrived(family, "queries"), malformed + 2, "{family}");
        let counters = queue(&lab, &daemon, "dns").counters;
        assert_eq!(counters.malformed, round * malformed, "{family}");
    }
}
