//! A zip from anywhere: what is taken is bounded and checked without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::release::{Files, MAX_FILES};

fuzz_target!(|zip: &[u8]| {
    if let Ok(files) = Files::read_zip(zip)
        && let Ok(findings) = files.verify(None)
    {
        assert!(findings.listed <= MAX_FILES);
    }
});
