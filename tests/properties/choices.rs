//! What is decided by command, over any row of commands.

use muzzle::choices::{Change, Choices, What, Wish};
use muzzle::decide::UnixSeconds;
use proptest::prelude::*;
use proptest::sample::select;

const BOOT: &str = "6f1e1c9b-0000-4000-8000-000000000001";
const START: i64 = 1_795_000_000;

fn wish() -> impl Strategy<Value = Wish> {
    let targets = [
        "a.example.org",
        "*.example.org",
        "https://b.example.org/x",
        "203.0.113.7",
        "2001:db8::/32",
    ];
    let apps = prop::option::of(select(vec!["com.a", "com.b"]));
    let length = prop::option::of(1_u64..100);
    (select(targets.to_vec()), apps, length).prop_map(|(target, app, for_secs)| Wish {
        target: target.to_owned(),
        app: app.map(str::to_owned),
        for_secs,
    })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => wish().prop_map(Change::Allow),
        3 => wish().prop_map(Change::Block),
        2 => (1_u64..100).prop_map(|for_secs| Change::Pause { for_secs }),
        1 => Just(Change::Resume),
        2 => Just(Change::Undo { target: None, app: None }),
        1 => wish().prop_map(|Wish { target, app, .. }| Change::Undo {
            target: Some(target),
            app,
        }),
    ]
}

proptest! {
    /// The text says all of it, and `undo` is the way back from every change that adds something.
    #[test]
    fn what_is_written_is_read_and_what_is_done_is_undone(
        changes in prop::collection::vec((change(), 0_i64..60), 0..40),
    ) {
        let mut choices = Choices::default();
        let mut now = UnixSeconds(START);
        for (change, seconds) in changes {
            now.0 += seconds;
            let before = choices.clone().in_force(now, BOOT);
            let applied = choices.apply(&change, now, BOOT);
            let adds = matches!(change, Change::Allow(_) | Change::Block(_) | Change::Pause { .. });
            if applied.is_err() {
                prop_assert!(matches!(change, Change::Undo { .. }), "{:?}", change);
            }
            let text = choices.text();
            let again = Choices::parse("choices.toml", &text).map_err(|error| {
                TestCaseError::fail(format!("{error}\n{text}"))
            })?;
            prop_assert_eq!(&again, &choices);
            if adds {
                prop_assert_eq!(choices.list().len(), before.list().len() + 1);
                let mut back = choices.clone();
                let undo = Change::Undo { target: None, app: None };
                prop_assert!(back.apply(&undo, now, BOOT).is_ok());
                prop_assert_eq!(back, before);
            }
            // Nothing that has ended is kept once something has changed.
            for decided in choices.list().iter().filter(|_| applied.is_ok()) {
                let until = match &decided.what {
                    What::Rule(rule) => rule.until,
                    What::Pause { .. } => None,
                };
                prop_assert!(until.is_none_or(|until| now < until));
            }
        }
    }

    /// Of any text, and of a good one that is damaged.
    #[test]
    fn no_text_is_too_much(
        bytes in crate::damaged(Just({
            let mut choices = Choices::default();
            for change in [
                Change::Pause { for_secs: 60 },
                Change::Block(Wish {
                    target: "*.example.org".to_owned(),
                    app: Some("com.a".to_owned()),
                    for_secs: Some(60),
                }),
            ] {
                choices.apply(&change, UnixSeconds(START), BOOT).unwrap();
            }
            choices.text().into_bytes()
        })),
        any_text in ".{0,200}",
    ) {
        for text in [String::from_utf8_lossy(&bytes).into_owned(), any_text] {
            if let Ok(choices) = Choices::parse("choices.toml", &text) {
                let again = Choices::parse("choices.toml", &choices.text());
                prop_assert_eq!(again.as_ref(), Ok(&choices));
                // Whatever it says, it decides something or nothing.
                let _chosen = choices.chosen(BOOT);
            }
        }
    }
}
