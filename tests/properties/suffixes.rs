//! Names refused a moment ago, asked for again with a search suffix: judged as by a list that
//! forgets nothing.

use std::net::{IpAddr, SocketAddr};

use muzzle::decide::{Uid, UnixSeconds};
use muzzle::inspect::Inspector;
use proptest::prelude::*;
use proptest::sample::select;

use super::inspector::{NOW, SCRATCH_BYTES, datagram, query, ruleset};

/// For how long a refusal counts, in seconds.
const SECONDS: i64 = 10;

#[derive(Clone, Debug)]
struct Asked {
    uid: u32,
    name: String,
    /// Seconds since the question before.
    pause: i64,
}

/// Few enough that they meet, and not more refused ones than are remembered.
fn asked() -> impl Strategy<Value = Asked> {
    let name = select(vec![
        "ads.test",
        "a.ads.test",
        "a.ads",
        "fine.ads.test",
        "a.test",
    ]);
    let suffix = select(vec![
        "",
        "",
        ".lan",
        ".test",
        ".a.example",
        ".co.uk",
        ".fine.ads.test",
    ]);
    (
        10_001..10_003_u32,
        name,
        suffix,
        prop_oneof![3 => 0..2_i64, 1 => 2..15_i64],
    )
        .prop_map(|(uid, name, suffix, pause)| Asked {
            uid,
            name: format!("{name}{suffix}"),
            pause,
        })
}

/// What the rules say of the name alone.
fn is_blocked(name: &str) -> bool {
    name != "fine.ads.test" && (name == "ads.test" || name.ends_with(".ads.test"))
}

/// What a rule names.
fn is_allowed(name: &str) -> bool {
    name == "fine.ads.test"
}

fn refusals(questions: &[Asked], config: &str) -> Vec<bool> {
    let resolver: IpAddr = [203, 0, 113, 53].into();
    let phone: IpAddr = [10, 77, 0, 2].into();
    let (rules, mut inspector, mut now) = (ruleset(config), Inspector::default(), NOW.0);
    let mut scratch = [0; SCRATCH_BYTES];
    let mut is_refused = |asked: &Asked| {
        now += asked.pause;
        let ends = (SocketAddr::new(phone, 4000), SocketAddr::new(resolver, 53));
        let packet = datagram(ends, &query(&asked.name));
        let uid = Some(Uid(asked.uid));
        let seen =
            inspector.inspect(&packet, uid.into(), UnixSeconds(now), &rules, &mut scratch);
        !seen.act.passes()
    };
    questions.iter().map(&mut is_refused).collect()
}

proptest! {
    #[test]
    fn a_suffix_is_refused_to_whom_the_name_was_and_soon_after(
        questions in prop::collection::vec(asked(), 1..40),
    ) {
        let (mut listed, mut now, mut expected) = (Vec::<(u32, String, i64)>::new(), 0, Vec::new());
        for asked in &questions {
            now += asked.pause;
            let blocked = is_blocked(&asked.name);
            if blocked {
                listed.push((asked.uid, asked.name.clone(), now));
            }
            let begins = |(uid, name, at): &(u32, String, i64)| {
                *uid == asked.uid
                    && now - at <= SECONDS
                    && asked.name.starts_with(&format!("{name}."))
                    && asked.name != format!("{name}.co.uk")
            };
            expected.push(blocked || (!is_allowed(&asked.name) && listed.iter().any(begins)));
        }
        prop_assert_eq!(refusals(&questions, ""), expected);
    }

    #[test]
    fn nothing_is_refused_while_observing(
        questions in prop::collection::vec(asked(), 1..40),
    ) {
        let seen = refusals(&questions, "mode = \"observe\"");
        prop_assert!(seen.iter().all(|refused| !refused));
    }
}
