//! The start of a stream, cut anywhere: an answer never changes with more bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::parse::Detected;
use muzzle::parse::http::request;

fuzz_target!(|stream: &[u8]| {
    let whole = request(stream);
    for end in 0..stream.len() {
        let part = request(&stream[..end]);
        assert!(
            part == Detected::Incomplete || part == whole,
            "changed after {end}"
        );
    }
});
