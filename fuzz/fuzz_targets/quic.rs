//! QUIC datagrams, as they come or opened already. The first byte of the input chooses: an even one
//! is followed by a datagram, an odd one by the frames of Initial packets, each run behind its
//! length in two bytes. A seed is a real client's datagram behind a zero.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::parse::Detected;
use muzzle::parse::quic::{
    MAX_INITIAL_BYTES, Packet, crypto_frames, packets,
};
use muzzle::parse::reassembly::{Reassembly, STREAM_BYTES};
use muzzle::parse::tls::server_name_in_handshake;

/// The frames of every packet that opens, one run a packet.
fn opened(datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut out = [0; MAX_INITIAL_BYTES];
    let mut runs = Vec::new();
    for packet in packets(datagram) {
        if let Ok(Packet::Initial(initial)) = packet {
            for id in [initial.destination, initial.source] {
                if let Ok(frames) = initial.open(&id, &mut out) {
                    runs.push(out[frames].to_vec());
                }
            }
        }
    }
    runs
}

fn as_they_are(mut input: &[u8]) -> Vec<Vec<u8>> {
    let mut runs = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (run, later) = rest.split_at(length);
        runs.push(run.to_vec());
        input = later;
    }
    runs
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    let runs = if choice % 2 == 0 {
        opened(rest)
    } else {
        as_they_are(rest)
    };
    let mut stream = Reassembly::new();
    for frame in runs.iter().flat_map(|run| crypto_frames(run)) {
        let Ok(frame) = frame else { break };
        let before = stream.start().len();
        stream.insert(frame.offset, frame.data);
        let start = stream.start();
        assert!((before..=STREAM_BYTES).contains(&start.len()));
        let fits = usize::try_from(frame.offset)
            .ok()
            .filter(|&at| at <= before);
        if let Some(at) = fits {
            let length = frame.data.len().min(STREAM_BYTES - at);
            assert_eq!(start[at..][..length], frame.data[..length]);
        }
    }
    let whole = server_name_in_handshake(stream.start());
    for end in 0..stream.start().len() {
        let part = server_name_in_handshake(&stream.start()[..end]);
        assert!(part == Detected::Incomplete || part == whole);
    }
});
