//! DNS over TCP: queries cut anywhere and sent in a row. A blocked one is answered in the stream,
//! which ends there; a new connection works.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;

use crate::clients::{A, TcpAsker, framed, query, told};
use crate::lab::{Lab, addresses, wait_for};
use crate::running::{BLOCKED, Door, start};

const FREE: &str = "free.example";

fn resolver(family: Family) -> SocketAddr {
    SocketAddr::new(addresses(family).dns, 53)
}

/// What becomes of a name.
fn fate(name: &str) -> (ResponseCode, usize) {
    if name.ends_with(BLOCKED) {
        (ResponseCode::NXDomain, 0)
    } else {
        (ResponseCode::NoError, 1)
    }
}

#[test]
fn a_query_may_be_cut_anywhere() {
    let lab = Lab::new();
    let _daemon = start(&lab, "");
    let door = Door::watch(&lab);
    for family in Family::BOTH {
        for name in [FREE, BLOCKED] {
            let message = framed(&query(77, name, A));
            let bytes = message.chunks(1).collect();
            let cuts: [Vec<&[u8]>; 6] = [
                vec![&message],
                vec![&message[..1], &message[1..]],
                vec![&message[..2], &message[2..]],
                vec![&message[..20], &message[20..]],
                vec![
                    &message[..1],
                    &message[1..message.len() - 1],
                    &message[message.len() - 1..],
                ],
                bytes,
            ];
            for pieces in cuts {
                let case = format!("{family} {name} in {} pieces", pieces.len());
                let mut asker = TcpAsker::new(&lab, resolver(family));
                asker.send_pieces(pieces);
                let answer = asker.answer().expect(&case);
                let (code, addresses) = told(&answer);
                assert_eq!((code, addresses.len()), fate(name), "{case}");
                assert_eq!(answer.metadata.id, 77, "{case}");
                if name == BLOCKED {
                    assert!(asker.is_over(), "{case}");
                }
            }
        }
    }
    door.assert_nothing_forged_left();
    assert!(!lab.was_asked_for(BLOCKED) && lab.was_asked_for(FREE));
    // Nobody is left to wait for the rest of a query.
    wait_for(
        "the resolver's last connection to end",
        Duration::from_secs(3),
        || {
            lab.internet("ss -Htn state established sport = :53")
                .ok()
                .is_empty()
        },
    );
}

/// How queries in a row are sent.
#[derive(Clone, Copy, Debug)]
enum Row {
    /// Each once the one before was answered.
    Answered,
    /// All in one segment.
    OneSegment,
    /// Cut in the middle of the second one's length.
    CutInLength,
}

#[test]
fn a_stream_goes_on_until_a_blocked_query_ends_it() {
    let lab = Lab::new();
    let _daemon = start(&lab, "");
    let door = Door::watch(&lab);
    // What is asked in a row, how, and whose answers come before the end.
    let cases: [(&[&str], Row, &[usize]); 8] = [
        (&[FREE, FREE, FREE], Row::Answered, &[0, 1, 2]),
        (&[FREE, BLOCKED], Row::Answered, &[0, 1]),
        (&[FREE, FREE, BLOCKED, FREE], Row::Answered, &[0, 1, 2]),
        (&[FREE, FREE], Row::OneSegment, &[0, 1]),
        (&[FREE, FREE, FREE], Row::CutInLength, &[0, 1, 2]),
        // What waits with a blocked one is asked anew on a new connection.
        (&[BLOCKED, FREE], Row::OneSegment, &[0]),
        (&[FREE, BLOCKED], Row::OneSegment, &[1]),
        (&[BLOCKED, FREE], Row::CutInLength, &[0]),
    ];
    for family in Family::BOTH {
        for (names, row, answered) in cases {
            let case = format!("{family} {names:?} {row:?}");
            let ids = 0_u16..;
            let queries: Vec<_> = ids
                .zip(names)
                .map(|(id, name)| framed(&query(id, name, A)))
                .collect();
            let mut asker = TcpAsker::new(&lab, resolver(family));
            let all = queries.concat();
            match row {
                Row::Answered => {}
                Row::OneSegment => asker.send(&all),
                Row::CutInLength => {
                    let (first, second) = all.split_at(queries[0].len() + 1);
                    asker.send_pieces([first, second]);
                }
            }
            let mut ended = false;
            for &index in answered {
                if matches!(row, Row::Answered) {
                    asker.send(&queries[index]);
                }
                let answer = asker.answer().expect(&case);
                let (code, addresses) = told(&answer);
                assert_eq!(usize::from(answer.metadata.id), index, "{case}");
                assert_eq!((code, addresses.len()), fate(names[index]), "{case}");
                ended |= names[index] == BLOCKED;
            }
            if ended {
                assert!(asker.is_over(), "{case}");
            }
            let mut anew = TcpAsker::new(&lab, resolver(family));
            anew.send(&queries[names.iter().position(|name| *name == FREE).expect("one is")]);
            let answer = anew.answer().expect(&case);
            assert_eq!(
                answer.metadata.response_code,
                ResponseCode::NoError,
                "{case}"
            );
        }
    }
    door.assert_nothing_forged_left();
    assert!(!lab.was_asked_for(BLOCKED) && lab.was_asked_for(FREE));
}

#[test]
fn a_dropped_query_leaves_its_client_waiting() {
    let lab = Lab::new();
    let _daemon = start(&lab, "[dns]\nanswer = \"drop\"");
    for family in Family::BOTH {
        let mut asker = TcpAsker::new(&lab, resolver(family));
        asker.send(&framed(&query(1, BLOCKED, A)));
        assert!(!asker.is_over(), "{family}: nothing comes at all");
    }
    assert!(!lab.was_asked_for(BLOCKED));
}
