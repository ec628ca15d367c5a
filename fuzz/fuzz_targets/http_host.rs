//! The start of a stream, cut anywhere: an answer never changes with more bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::parse::{Detected, http::host};

fuzz_target!(|stream: &[u8]| {
    let whole = host(stream);
    for end in 0..stream.len() {
        let part = host(&stream[..end]);
        assert!(
            part == Detected::Incomplete || part == whole,
            "changed after {end}"
        );
    }
});
