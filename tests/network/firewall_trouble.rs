//! Programs that are missing, refuse, lie, wait or hang. Scripts stand in for them.

use std::path::PathBuf;
use std::time::Duration;

use muzzle::firewall::apply::{Error, Warning};
use muzzle::firewall::{CommandError, Family, Feature, Iptables};
use nix::fcntl::{Flock, FlockArg};

use crate::firewall::plan;
use crate::lab::Lab;

/// The system's programs behind shell scripts that run `first` before; `$NAME` is the program's
/// name (`ip6tables-restore`), `$INPUT` a file with what it is fed.
fn scripted(lab: &Lab, first: &str) -> Iptables {
    let iptables = Iptables::find(Some(&scripts(lab, first))).expect("just made");
    iptables.with_lock_wait(Duration::from_secs(1))
}

/// Writes these scripts and says which is the IPv4 program.
pub(crate) fn scripts(lab: &Lab, first: &str) -> PathBuf {
    let system = Iptables::find(None).expect("iptables is installed");
    let folder = lab.folder().join("bin");
    std::fs::create_dir_all(&folder).expect("the lab's folder is there");
    for family in Family::BOTH {
        let name = if family == Family::V4 {
            "iptables"
        } else {
            "ip6tables"
        };
        for suffix in ["", "-restore", "-save"] {
            let program = system.program(family).display();
            let input = lab.folder().join(format!("{name}{suffix}.input"));
            let input = input.display();
            let text = format!(
                "#!/bin/sh\nNAME={name}{suffix}\nINPUT={input}\ncat > $INPUT\n{first}\n\
                 exec {program}{suffix} \"$@\" < $INPUT\n"
            );
            let path = folder.join(format!("{name}{suffix}"));
            // Written by another process: a file that this one has open for writing while
            // another test forks could not be run ("text file busy").
            lab.phone.feed(&format!("tee {}", path.display()), &text);
            lab.phone(&format!("chmod 755 {}", path.display())).ok();
        }
    }
    folder.join("iptables")
}

/// The step that made `apply` fail, and the whole text.
fn step(error: Error) -> (Error, String) {
    let text = text(&error);
    let Error::NotApplied { source, undo } = error else {
        panic!("{error:?}")
    };
    assert!(undo.is_empty(), "{undo:?}");
    (*source, text)
}

/// The whole text with every cause, as `{:#}` of anyhow prints it.
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn no_iptables_is_said_clearly() {
    let error = Iptables::find(Some(&PathBuf::from("/nowhere/iptables"))).expect_err("nowhere");
    assert_eq!(
        error.to_string(),
        "no iptables with its -restore: looked for /nowhere/iptables"
    );
}

#[test]
fn no_permission_is_said_clearly() {
    let lab = Lab::bare();
    let iptables = scripted(
        &lab,
        "case $NAME in *6*) F=6;; *) F=;; esac\n\
         exec setpriv --reuid=65534 --regid=65534 --clear-groups \
         ip${F}tables-legacy${NAME#ip${F}tables} \"$@\" < $INPUT",
    );
    let before = lab.saved_rules();
    let error = lab
        .phone
        .within(|| iptables.apply(&plan()))
        .expect_err("nobody may not");
    let (step, whole) = step(error);
    let Error::List {
        source: CommandError::NoPermission { command, .. },
        ..
    } = step
    else {
        panic!("{step:?}")
    };
    assert!(command.ends_with("iptables -w 1 -t raw -S"), "{command}");
    assert!(whole.contains("no permission, root is needed"), "{whole}");
    let error = lab
        .phone
        .within(|| iptables.probe())
        .expect_err("nobody may not");
    assert!(
        text(&error).contains("no permission, root is needed"),
        "{error}"
    );
    let errors = lab
        .phone
        .within(|| iptables.remove())
        .expect_err("nobody may not");
    assert_eq!(errors.len(), 4, "it goes on after an error: {errors:?}");
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_held_lock_is_waited_for_and_then_named() {
    let lab = Lab::bare();
    let path = lab.folder().join("xtables.lock");
    let iptables = scripted(&lab, &format!("export XTABLES_LOCKFILE={}", path.display()));
    let file = std::fs::File::create(&path).expect("the lab's folder is there");
    let lock = Flock::lock(file, FlockArg::LockExclusive).expect("nobody else has it");
    let error = lab
        .phone
        .within(|| iptables.apply(&plan()))
        .expect_err("it is held");
    let (step, whole) = step(error);
    let Error::List {
        source: CommandError::Locked { wait, .. },
        ..
    } = step
    else {
        panic!("{step:?}")
    };
    assert_eq!(wait, Duration::from_secs(1));
    assert!(
        whole.contains("another program held the iptables lock for 1 s"),
        "{whole}"
    );
    let error = lab
        .phone
        .within(|| iptables.probe())
        .expect_err("a held lock is no lack");
    assert!(
        text(&error).contains("another program held the iptables lock"),
        "{error}"
    );

    let patient = iptables.clone().with_lock_wait(Duration::from_secs(5));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(lock);
        });
        let applied = lab.phone.within(|| patient.apply(&plan()));
        assert!(applied.expect("released in time").warnings.is_empty());
    });

    // What is in force stays so when it cannot be renewed.
    let before = lab.saved_rules();
    let file = std::fs::File::open(&path).expect("made above");
    let _lock = Flock::lock(file, FlockArg::LockExclusive).expect("nobody else has it");
    lab.phone
        .within(|| iptables.apply(&plan()))
        .expect_err("it is held again");
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_refused_table_takes_back_what_was_applied() {
    let lab = Lab::bare();
    let before = lab.saved_rules();
    // The second table of the first family, then of the second.
    for name in ["iptables-restore", "ip6tables-restore"] {
        let iptables = scripted(
            &lab,
            &format!(
                "if [ $NAME = {name} ] && grep -q '^-I PREROUTING' $INPUT; then \
                 echo no such thing >&2; exit 1; fi"
            ),
        );
        let error = lab
            .phone
            .within(|| iptables.apply(&plan()))
            .expect_err("refused");
        let (step, whole) = step(error);
        assert!(
            matches!(
                step,
                Error::Install {
                    chain: "muzzle_in",
                    ..
                }
            ),
            "{step:?}"
        );
        assert!(whole.ends_with("no such thing"), "{whole}");
        assert_eq!(lab.saved_rules(), before);
    }
}

#[test]
fn a_program_that_only_pretends_is_caught() {
    let lab = Lab::bare();
    let before = lab.saved_rules();
    let iptables = scripted(&lab, "if [ $NAME = ip6tables-restore ]; then exit 0; fi");
    let error = lab
        .phone
        .within(|| iptables.apply(&plan()))
        .expect_err("nothing was done");
    let (step, _) = step(error);
    let Error::NotAsInstalled {
        family: Family::V6,
        defects,
        ..
    } = step
    else {
        panic!("{step:?}")
    };
    assert_eq!(defects.len(), 2, "{defects:?}");
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_jump_deleted_meanwhile_is_no_failure() {
    let lab = Lab::bare();
    let once = lab.folder().join("once");
    // Between the listing and the first batch somebody else deletes the jump.
    let iptables = scripted(
        &lab,
        &format!(
            "if [ $NAME = iptables-restore ] && [ ! -e {0} ]; then touch {0}; \
             iptables-legacy -w 5 -t raw -D OUTPUT -j muzzle_out; fi",
            once.display()
        ),
    );
    lab.phone("iptables-legacy -w 5 -t raw -N muzzle_out").ok();
    lab.phone("iptables-legacy -w 5 -t raw -A OUTPUT -j muzzle_out")
        .ok();
    let applied = lab
        .phone
        .within(|| iptables.apply(&plan()))
        .expect("tried again");
    assert!(applied.warnings.is_empty());
}

#[test]
fn one_stubborn_rule_does_not_keep_the_others() {
    let lab = Lab::bare();
    let iptables = scripted(
        &lab,
        "if [ $NAME = iptables-restore ] && grep -q '^-D OUTPUT' $INPUT; then exit 1; fi",
    );
    assert!(
        lab.phone
            .within(|| iptables.apply(&plan()))
            .expect("no jump yet")
            .warnings
            .is_empty()
    );
    let errors = lab
        .phone
        .within(|| iptables.remove())
        .expect_err("one jump stays");
    assert!(matches!(&errors[0], Error::DeleteJump { .. }), "{errors:?}");
    let left = lab.phone("iptables-legacy-save").ok();
    let left: Vec<_> = left
        .lines()
        .filter(|line| line.contains("muzzle_"))
        .collect();
    // The chain cannot go while something leads to it, but it is empty: it holds nothing up.
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].starts_with(":muzzle_out ") && left[1] == "-A OUTPUT -j muzzle_out");
    assert!(!lab.phone("ip6tables-legacy-save").ok().contains("muzzle_"));
}

#[test]
fn missing_ipv6_is_a_warning() {
    let lab = Lab::bare();
    let before = lab.saved_rules();
    let gone = "case $NAME in ip6*) echo \"can't initialize ip6tables table \\`raw': Address \
                family not supported by protocol\" >&2; exit 3;; esac";
    let mut iptables = scripted(&lab, gone);
    for says in ["Address family not supported", "No such file or directory"] {
        let applied = lab
            .phone
            .within(|| iptables.apply(&plan()))
            .expect("IPv4 is there");
        assert_eq!(applied.families, [Family::V4]);
        let [warning @ Warning::NoIpv6(_)] = &applied.warnings[..] else {
            panic!("{applied:?}")
        };
        assert!(warning.to_string().contains(says), "{warning}");
        assert_eq!(
            lab.phone
                .within(|| iptables.verify(&plan()))
                .expect("listable"),
            []
        );
        let found = lab
            .phone
            .within(|| iptables.probe())
            .expect("IPv4 is there");
        let fitted = plan().fitted(&found).expect("IPv4 is whole");
        assert_eq!(
            fitted,
            muzzle::firewall::Plan {
                ipv6: false,
                ..plan()
            }
        );
        lab.phone
            .within(|| iptables.remove())
            .expect("IPv4 is removable");
        assert_eq!(lab.saved_rules(), before);
        // The second time the program itself is missing.
        let script = iptables.program(Family::V6).display();
        lab.phone(&format!("rm -f {script} {script}-restore")).ok();
        iptables = iptables.with_lock_wait(Duration::from_secs(2));
    }
}

#[test]
fn a_missing_feature_is_named_and_the_plan_does_without() {
    let lab = Lab::bare();
    let before = lab.saved_rules();
    let iptables = scripted(
        &lab,
        "if grep -q 'CT --notrack' $INPUT; then echo unknown target CT >&2; exit 2; fi",
    );
    let found = lab
        .phone
        .within(|| iptables.probe())
        .expect("root may probe");
    for capability in &found {
        let refused = capability.feature == Feature::Notrack;
        assert_eq!(capability.present, !refused, "{capability:?}");
        let error = capability.error.as_deref().unwrap_or_default();
        assert_eq!(
            error.contains("unknown target CT"),
            refused,
            "{capability:?}"
        );
    }
    assert_eq!(lab.saved_rules(), before);
    let fitted = plan().fitted(&found).expect("nothing required is missing");
    assert!(!fitted.notrack);
    let applied = lab
        .phone
        .within(|| iptables.apply(&fitted))
        .expect("without CT");
    assert!(applied.warnings.is_empty());
}

#[test]
fn a_program_that_hangs_is_killed() {
    let lab = Lab::bare();
    let iptables = scripted(&lab, "exec sleep 60");
    let error = lab
        .phone
        .within(|| iptables.verify(&plan()))
        .expect_err("it hangs");
    let Error::List {
        source: CommandError::Silent { limit, .. },
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(*limit, Duration::from_secs(6));
}
