//! Answers of resolvers over TCP, cut anywhere and sent again: what its client then reads.

use std::net::SocketAddr;

use hickory_proto::op::{Message, ResponseCode};
use muzzle::act::Act;
use muzzle::decide::UnixSeconds;
use muzzle::inspect::{Inspector, Reading};
use muzzle::parse::dns_response::Response;
use muzzle::parse::ip::IpPacket;
use muzzle::parse::tcp::TcpSegment;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::answers::{has_alias, query_of, response, ruleset};
use super::inspector::segment;
use super::{Forged, damaged};

const PUSH: u8 = 0x18;
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// Near the end of the numbers there are.
const START: u32 = u32::MAX - 300;

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message].concat()
}

fn at(offset: usize) -> u32 {
    START.wrapping_add(u32::try_from(offset).unwrap())
}

proptest! {
    /// However a stream is cut: an answer with a blocked alias is refused in its place, or its end
    /// never arrives; all others arrive as they are.
    #[test]
    fn a_stream_of_answers_goes_on_beside_what_is_refused(
        messages in prop::collection::vec(response(), 1..5),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        again in prop::collection::vec(any::<bool>(), 8),
        blocked in select(vec!["a.test", "b.test", "d.example.test"]),
        is_v6: bool,
    ) {
        let ruleset = ruleset(blocked);
        let (phone, resolver): (SocketAddr, SocketAddr) = if is_v6 {
            ("[2001:db8::2]:4000".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap())
        } else {
            ("10.77.0.2:4000".parse().unwrap(), "203.0.113.53:53".parse().unwrap())
        };
        let (mut inspector, mut scratch) = (Inspector::default(), [0; 0x4000]);
        let mut answers: Vec<Vec<u8>> = Vec::new();
        for message in messages {
            let bytes = message.to_vec().unwrap();
            let query = framed(&query_of(&bytes));
            // Each on a connection of its own as far as queries go: a refused one ends it.
            let packet = segment((phone, resolver), PUSH, 1000, &query);
            let asked = inspector.inspect(&packet, None.into(), NOW, &ruleset, &mut [0; 2048]);
            let syn = segment((phone, resolver), 2, 999, b"");
            inspector.inspect(&syn, None.into(), NOW, &ruleset, &mut [0; 2048]);
            if asked.act == Act::Pass {
                answers.push(bytes);
            }
        }
        let stream: Vec<u8> = answers.iter().flat_map(|answer| framed(answer)).collect();
        let mut borders: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        borders.extend([0, stream.len()]);
        borders.sort_unstable();
        borders.dedup();
        let mut came = Vec::new();
        let mut ended = false;
        for (pair, again) in borders.windows(2).zip(again.iter().cycle()) {
            let (start, end) = (pair[0], pair[1]);
            let sent = segment((resolver, phone), PUSH, at(start), &stream[start..end]);
            let (seen, _) = inspector.inspect_answer(&sent, NOW, &ruleset, &mut scratch);
            match seen.act {
                Act::Pass => came.extend(&stream[start..end]),
                Act::Rewrite { length } => {
                    let first = &scratch[..length];
                    let packet = IpPacket::parse(first).unwrap();
                    prop_assert_eq!((packet.source, packet.destination), (resolver.ip(), phone.ip()));
                    let rewritten = TcpSegment::parse(packet.payload).unwrap();
                    prop_assert_eq!(rewritten.sequence, at(start));
                    prop_assert_eq!(rewritten.payload.len(), end - start);
                    came.extend(rewritten.payload);
                }
                Act::Sever { reset_length, .. } => {
                    Forged::default().tell(&scratch[..reset_length], resolver, phone).unwrap();
                    ended = true;
                    break;
                }
                other => panic!("{other:?}"),
            }
            if *again && start == 0 {
                // The start of the stream, where an answer begins for sure.
                let (twice, _) = inspector.inspect_answer(&sent, NOW, &ruleset, &mut [0; 0x4000]);
                let awaited = end > 14;
                prop_assert!(!awaited || twice.sighting.is_none());
            }
        }
        prop_assert!(ended || came.len() == stream.len());
        let mut rest = &came[..];
        for answer in &answers {
            let is_blocked = has_alias(&Response::parse(answer).unwrap(), blocked);
            let Some(here) = rest.get(2..2 + answer.len()) else {
                prop_assert!(ended);
                break;
            };
            prop_assert_eq!(&rest[..2], &framed(answer)[..2]);
            if is_blocked {
                let refusal = Message::from_vec(here).unwrap();
                prop_assert_eq!(refusal.metadata.response_code, ResponseCode::NXDomain);
                prop_assert!(refusal.answers.is_empty());
                prop_assert_eq!(refusal.metadata.id.to_be_bytes(), [answer[0], answer[1]]);
            } else {
                prop_assert_eq!(here, &answer[..]);
            }
            rest = &rest[2 + answer.len()..];
        }
    }

    #[test]
    fn any_segments_from_a_resolver(
        segments in prop::collection::vec(
            (
                damaged(response().prop_map(|message| framed(&message.to_vec().unwrap()))),
                prop_oneof![Just(0), Just(2), Just(1), Just(4), Just(16), Just(PUSH)],
                prop_oneof![Just(0), 0..200_u32, any::<u32>()],
            ),
            0..12,
        ),
        room in prop_oneof![Just(0x4000), 0..300_usize],
    ) {
        let ends = ("203.0.113.53:53".parse().unwrap(), "10.77.0.2:4000".parse().unwrap());
        let (ruleset, mut inspector) = (ruleset("a.test"), Inspector::default());
        let mut scratch = vec![0; room];
        let mut sequence = 1_u32;
        for (payload, flags, off) in segments {
            let packet = segment(ends, flags, sequence.wrapping_sub(off), &payload);
            let seen = inspector.inspect_answer(&packet, NOW, &ruleset, &mut scratch).0;
            // Nothing was asked.
            prop_assert_eq!(seen.act, Act::Pass);
            prop_assert_eq!(seen.reading == Reading::Empty, payload.is_empty());
            sequence = sequence.wrapping_add(u32::try_from(payload.len()).unwrap());
        }
    }
}
