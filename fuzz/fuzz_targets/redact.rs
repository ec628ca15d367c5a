//! Any text: nothing that reads as a global IPv6 or a public IPv4 address is left, and nothing that
//! a terminal would obey.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use muzzle::cli::doctor::redact::Redactor;

fuzz_target!(|text: &str| {
    let out = Redactor::new(&|_| false).text(text);
    assert!(!out.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{out:?}");
    // The number of a placeholder and what stood behind it may look like an address.
    let numbered = |rest: &'_ str| rest.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
    let out: Vec<_> = out.split("-public-").map(numbered).collect();
    let out = out.join(" ");
    let words = out.split(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.');
    for address in words.filter_map(|word| word.parse::<IpAddr>().ok()) {
        let is_telling = match address.to_canonical() {
            // Ranges in which there is nothing that is let through.
            IpAddr::V4(it) => matches!(it.octets()[0], 11..=99 | 128..=168 | 193..=222),
            IpAddr::V6(it) => it.segments()[0] & 0xe000 == 0x2000 && it.segments()[1..] != [0; 7],
        };
        assert!(!is_telling, "{address} in {out:?}");
    }
});
