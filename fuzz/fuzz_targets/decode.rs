//! What `muzzle decode` is given: the first byte says how it is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::cli::decode::Decoding;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, file)) = input.split_first() else {
        return;
    };
    let json = choice & 1 == 0;
    let mut decoding = Decoding::new(json);
    let mut out = Vec::new();
    // An error is an answer too.
    let _ = decoding.read(file, &mut out);
    let out = String::from_utf8(out).unwrap();
    let summary = &decoding.summary;
    assert!(summary.encrypted + summary.damaged <= summary.uploads);
    assert!(summary.uploads <= summary.requests);
    if json {
        assert_eq!(out.lines().count() as u64, summary.uploads);
        assert!(!out.contains(|c: char| c.is_control() && c != '\n'));
    }
});
