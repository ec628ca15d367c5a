use super::*;
use crate::decide::Action;

const NOW: UnixSeconds = UnixSeconds(1_795_000_000);
const BOOT: &str = "6f1e1c9b-0000-4000-8000-000000000001";

fn wish(target: &str) -> Wish {
    Wish {
        target: target.to_owned(),
        app: None,
        for_secs: None,
    }
}

fn allow(target: &str) -> Change {
    Change::Allow(wish(target))
}

fn block(target: &str) -> Change {
    Change::Block(wish(target))
}

fn undo() -> Change {
    Change::Undo {
        target: None,
        app: None,
    }
}

/// What a change says when it is carried out `seconds` after the beginning.
#[track_caller]
fn at(choices: &mut Choices, seconds: i64, change: &Change) -> String {
    let now = UnixSeconds(NOW.0 + seconds);
    let applied = choices.apply(change, now, BOOT).unwrap();
    let again = Choices::parse("again", &choices.text()).unwrap();
    assert_eq!(&again, choices, "{}", choices.text());
    applied.done
}

/// Each as `block host.example`, without times.
fn rules(choices: &Choices) -> Vec<String> {
    let chosen = choices.chosen(BOOT).choices;
    chosen.iter().map(|it| it.rule.to_string()).collect()
}

fn refusal(choices: &mut Choices, change: &Change) -> String {
    let before = choices.clone();
    let error = choices.apply(change, NOW, BOOT).unwrap_err();
    assert_eq!(*choices, before, "a refusal changes nothing");
    error.to_string()
}

#[test]
fn undo_takes_back_one_after_the_other_and_what_they_covered_counts_again() {
    let mut choices = Choices::default();
    at(&mut choices, 0, &block("a.example.org"));
    at(&mut choices, 1, &allow("a.example.org"));
    at(&mut choices, 2, &Change::Pause { for_secs: 600 });
    at(&mut choices, 3, &Change::Pause { for_secs: 60 });
    at(&mut choices, 4, &block("*.example.net"));
    assert!(at(&mut choices, 5, &undo()).starts_with("taken back: block *.example.net (of "));
    let pause = |choices: &Choices| {
        choices
            .chosen(BOOT)
            .pause
            .map(|pause| pause.until.0 - NOW.0)
    };
    assert_eq!(pause(&choices), Some(63));
    assert!(at(&mut choices, 6, &undo()).starts_with("taken back: pause (of "));
    assert_eq!(pause(&choices), Some(602), "the one before it");
    at(&mut choices, 7, &undo());
    assert_eq!(pause(&choices), None);
    assert_eq!(
        rules(&choices),
        ["block a.example.org", "allow a.example.org"]
    );
    at(&mut choices, 8, &undo());
    assert_eq!(rules(&choices), ["block a.example.org"]);
    at(&mut choices, 9, &undo());
    assert_eq!(choices, Choices::default());
    assert_eq!(
        refusal(&mut choices, &undo()),
        "there is nothing to take back"
    );
}

#[test]
fn undo_by_name_takes_back_the_last_one_about_it() {
    let mut choices = Choices::default();
    for target in [
        "a.example.org",
        "b.example.org",
        "a.example.org",
        "c.example.org",
    ] {
        at(&mut choices, 0, &block(target));
    }
    let for_app = Wish {
        app: Some("com.a".to_owned()),
        ..wish("a.example.org")
    };
    at(&mut choices, 0, &Change::Allow(for_app));
    let undo = |app: Option<&str>| Change::Undo {
        target: Some("https://A.example.org/".to_owned()),
        app: app.map(str::to_owned),
    };
    at(&mut choices, 1, &undo(Some("com.a")));
    at(&mut choices, 1, &undo(None));
    assert_eq!(
        rules(&choices),
        [
            "block a.example.org",
            "block b.example.org",
            "block c.example.org"
        ]
    );
    let told = refusal(&mut choices, &undo(Some("com.a")));
    assert!(
        told.starts_with("nothing was decided about a.example.org for com.a by command"),
        "{told}"
    );
}

#[test]
fn what_has_ended_is_dropped_with_the_next_change() {
    let mut choices = Choices::default();
    let short = Wish {
        for_secs: Some(10),
        ..wish("a.example.org")
    };
    at(&mut choices, 0, &Change::Allow(short));
    at(&mut choices, 0, &Change::Pause { for_secs: 100 });
    at(&mut choices, 0, &Change::Pause { for_secs: 20 });
    at(&mut choices, 9, &block("b.example.org"));
    assert_eq!(choices.list().len(), 4);
    at(&mut choices, 10, &block("c.example.org"));
    assert_eq!(
        rules(&choices),
        ["block b.example.org", "block c.example.org"]
    );
    assert_eq!(choices.list().len(), 4);
    // The longer pause before it does not come back when the shorter ends.
    at(&mut choices, 20, &block("d.example.org"));
    assert_eq!(choices.list().len(), 3);
    assert_eq!(choices.chosen(BOOT).pause, None);
}

#[test]
fn a_pause_ends_with_the_boot() {
    let mut choices = Choices::default();
    at(&mut choices, 0, &Change::Pause { for_secs: 600 });
    assert!(choices.chosen(BOOT).pause.is_some());
    let other = "6f1e1c9b-0000-4000-8000-000000000002";
    assert_eq!(choices.chosen(other).pause, None);
    assert_eq!(choices.in_force(NOW, other), Choices::default());
}

#[test]
fn resume_ends_the_pause_and_says_whether_there_was_one() {
    let mut choices = Choices::default();
    at(&mut choices, 0, &block("a.example.org"));
    assert_eq!(at(&mut choices, 0, &Change::Resume), "there was no pause");
    at(&mut choices, 0, &Change::Pause { for_secs: 600 });
    assert_eq!(at(&mut choices, 1, &Change::Resume), "the pause is over");
    assert_eq!(rules(&choices), ["block a.example.org"]);
}

#[test]
fn what_later_ones_cover_for_good_is_kept_for_the_last_twenty_changes_only() {
    let mut choices = Choices::default();
    let number_of = |choices: &Choices| {
        let rules = rules(choices);
        rules
            .iter()
            .filter(|it| it.ends_with(" a.example.org"))
            .count()
    };
    let ending = Wish {
        for_secs: Some(1000),
        ..wish("a.example.org")
    };
    at(&mut choices, 0, &block("a.example.org"));
    at(&mut choices, 0, &Change::Allow(ending));
    for round in 0..100 {
        let change = [allow("b.example.org"), block("b.example.org")][round % 2].clone();
        at(&mut choices, 1, &change);
    }
    // What ends covers nothing for good.
    assert_eq!(number_of(&choices), 2);
    assert_eq!(choices.list().len(), 22);
}

#[test]
fn there_are_no_more_than_a_thousand() {
    let decided = |number| Decided {
        made: NOW,
        what: What::Rule(
            Target::from_text(&format!("host{number}.example.org"))
                .unwrap()
                .rule(Action::Block),
        ),
    };
    let mut choices = Choices((0..1000).map(decided).collect());
    let told = refusal(&mut choices, &block("one.example.org"));
    assert!(told.starts_with("there are 1000 of them already"), "{told}");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    let mut choices = Choices::default();
    let timed = |for_secs| {
        Change::Block(Wish {
            for_secs: Some(for_secs),
            ..wish("a.example.org")
        })
    };
    let for_app = |app: &str| {
        Change::Block(Wish {
            app: Some(app.to_owned()),
            ..wish("a.example.org")
        })
    };
    for (change, told) in [
        (block("com"), "\"com\": everybody may have a name under com"),
        (allow("lan"), "everybody may have a name under lan"),
        (timed(0), "at least a second"),
        (timed(u64::MAX), "less than ten years"),
        (Change::Pause { for_secs: 0 }, "a day at most"),
        (Change::Pause { for_secs: 86_401 }, "a day at most"),
        (for_app("no app"), "--app no app: a package name has"),
        (
            Change::Undo {
                target: None,
                app: Some("com.a".to_owned()),
            },
            "name what was allowed",
        ),
    ] {
        assert!(change.check().is_err(), "{change:?}");
        let error = refusal(&mut choices, &change);
        assert!(error.contains(told), "{change:?}: {error}");
    }
}

#[test]
fn a_file_that_is_wrong_is_told_line_by_line() {
    let text = "\
        [[choice]]\nmade = 2026-11-20T12:44:00Z\naction = \"deny\"\nname = \"a.example.org\"\n\
        [[choice]]\naction = \"allow\"\nname = \"com\"\n\
        [[choice]]\nmade = 2026-11-20T12:44:00Z\naction = \"pause\"\n\
        [[choice]]\nmade = 2026-11-20T12:44:00Z\naction = \"block\"\n\
        [pause]\n";
    let problems = Choices::parse("choices.toml", text)
        .unwrap_err()
        .to_string();
    let told: Vec<_> = problems.lines().collect();
    assert_eq!(
        told,
        [
            "choices.toml:3: choice.action = \"deny\": must be one of \"allow\", \"block\", \"pause\"",
            "choices.toml:4: choice.name is not a key that Muzzle knows; known here: made, until, action",
            "choices.toml:5: this choice has no made",
            "choices.toml:7: choice.name = \"com\": \"com\": everybody may have a name under com; name a host below it",
            "choices.toml:8: this pause has no until",
            "choices.toml:11: this choice must have either a name or an address",
            "choices.toml:14: pause is not a key that Muzzle knows; known here: choice",
        ]
    );
}

#[test]
fn a_choice_has_the_keys_of_a_rule() {
    let mut choices = Choices::default();
    let change = Change::Block(Wish {
        app: Some("com.android.browser".to_owned()),
        for_secs: Some(600),
        ..wish("*.example.com")
    });
    at(&mut choices, 0, &change);
    let text = choices.text().replace("[[choice]]", "[[rule]]");
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("made"))
        .map(|line| format!("{line}\n"))
        .collect();
    let config = crate::config::Config::parse("muzzle.toml", &text).unwrap();
    assert_eq!(config.rules, [choices.chosen(BOOT).choices[0].rule.clone()]);
    assert_eq!(config.rules[0].action, Action::Block);
}
