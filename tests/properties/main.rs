//! Properties of the packet core that must hold for any bytes, judged by other people's parsers
//! where there is one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod answer_streams;
mod answers;
mod captures;
mod choices;
mod decode;
mod dns;
mod flow_table;
#[path = "../packet_cases/forged.rs"]
mod forged;
mod hellos;
mod inspector;
mod packets;
mod quic;
#[path = "../packet_cases/quic.rs"]
mod quic_packets;
mod redaction;
mod streams;
mod suffixes;
#[path = "../replay/write.rs"]
mod write;

use forged::Before as Forged;
use quic_packets::Close as QuicClose;

use proptest::prelude::*;

/// Bytes that are nearly `valid`: some of them changed, the end perhaps cut off.
fn damaged(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (valid, changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, changes, end, cut)| {
            if !bytes.is_empty() {
                for (at, value) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            if cut {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            bytes
        },
    )
}
