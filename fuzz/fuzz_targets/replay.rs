//! A capture file, replayed with the built-in catalogue: the first byte says how it is printed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::cli::replay::{Replay, Rules};
use muzzle::config::Config;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let rules = "[[rule]]\nname = \"*.a.test\"\naction = \"block\"\n\
                 [[rule]]\napp = \"com.a\"\naction = \"block\"\n";
    let config = Config::from_bytes("config", rules.as_bytes()).unwrap();
    let packages = Packages::parse("com.a 10123 0 /data none");
    Rules::new(config, Catalogue::built_in(), packages)
});

fuzz_target!(|input: &[u8]| {
    let Some((&choice, file)) = input.split_first() else {
        return;
    };
    let (all, json) = (choice & 1 == 0, choice & 2 == 0);
    let mut replay = Replay::new(RULES.clone(), all, json);
    let mut out = Vec::new();
    // An error is an answer too.
    let _ = replay.read(file, &mut out);
    let summary = &replay.summary;
    let lines = String::from_utf8(out).unwrap().lines().count();
    let decisions = usize::try_from(summary.decisions).unwrap();
    assert!(if all { lines == decisions } else { lines <= decisions });
    assert!(summary.malformed <= summary.packets && summary.blocked <= summary.decisions);
    assert!(summary.names() <= decisions);
});
