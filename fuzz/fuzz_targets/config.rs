//! Any text as a config, as a catalogue file and as a file of choices: it is read, or every problem is told with its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muzzle::catalogue::Catalogue;
use muzzle::choices::Choices;
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
    match Choices::parse("choices", text) {
        Ok(choices) => {
            let again = Choices::parse("again", &choices.text());
            assert_eq!(again, Ok(choices), "not written as it was read");
        }
        Err(problems) => check(&problems),
    }
    if let Err(problems) = Catalogue::from_files(&[("catalogue", text)]) {
        check(&problems);
    }
});
