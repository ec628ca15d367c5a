//! Any text as a config and as a catalogue file: it is read, or every problem is told with its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::catalogue::Catalogue;
use muzzle::config::{Config, Problems};

fuzz_target!(|text: &str| {
    // What is missing at the end of the text is missing on the line that would come next.
    let lines = text.lines().count() + 1;
    let check = |problems: &Problems| {
        assert!(!problems.0.is_empty(), "refused without a word");
        for problem in &problems.0 {
            assert!((1..=lines).contains(&problem.line), "{problem}");
        }
    };
    if let Err(problems) = Config::parse("config", text) {
        check(&problems);
    }
    if let Err(problems) = Catalogue::from_files(&[("catalogue", text)]) {
        check(&problems);
    }
});
