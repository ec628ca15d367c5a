//! The resolvers that programs use take a forged answer at once, instead of waiting for the real
//! one. All of them wait 5 s for an answer that does not come.

use std::path::{Path, PathBuf};
use std::process::Command;

use muzzle::decide::Outcome;
use muzzle::firewall::Family;

use crate::lab::{APP_UID, Lab, addresses};
use crate::running::{BLOCKED, record, reload, start};

/// Seconds after which a resolver was not told at once. Most of it is for starting the program
/// on a loaded machine.
pub(crate) const LIMIT: &str = "timeout 3";
/// The exit code of `timeout` where that came first.
const TIMED_OUT: i32 = 124;

/// `getaddrinfo` of musl's libc, built into one program.
pub(crate) fn musl_resolver(folder: &Path) -> PathBuf {
    let (source, program) = ("tests/network/resolve.c", folder.join("resolve"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let built = Command::new("musl-gcc")
        .args(["-static", "-Wall", "-Werror", "-o"])
        .args([&program, &source])
        .output()
        .expect("musl-tools are installed");
    assert!(built.status.success(), "{built:?}");
    program
}

#[test]
fn libcs_are_told_at_once() {
    let lab = Lab::new();
    let musl = musl_resolver(lab.folder());
    let programs = ["getent ahosts".to_owned(), musl.display().to_string()];
    let daemon = start(&lab, "");
    // Setting, exit code of both, what they print.
    let cases = [
        ("nxdomain", 2, ""),
        ("nodata", 2, ""),
        ("zero", 0, "0.0.0.0"),
    ];
    for (setting, code, printed) in cases {
        reload(&lab, &daemon, &format!("[dns]\nanswer = \"{setting}\"")).ok();
        for family in Family::BOTH {
            lab.phone.set_resolver(addresses(family).dns);
            for program in &programs {
                let case = format!("{setting} {family} {program}");
                let name = format!("a.{BLOCKED}");
                let told = lab.phone_as(APP_UID, &format!("{LIMIT} {program} {name}"));
                assert_eq!(told.code, Some(code), "{case}: {told:?}");
                assert!(told.stdout.contains(printed), "{case}: {told:?}");
                assert!(!told.stdout.contains("198.51.100.7"), "{case}: {told:?}");
                let free = lab.phone_as(APP_UID, &format!("{LIMIT} {program} free.example"));
                assert!(free.ok().contains("198.51.100.7"), "{case}");
            }
        }
    }
    assert!(!lab.was_asked_for(&format!("a.{BLOCKED}")) && lab.was_asked_for("free.example"));
}

#[test]
fn dig_is_told_at_once_over_udp_and_tcp() {
    let lab = Lab::new();
    let _daemon = start(&lab, "");
    for family in Family::BOTH {
        let dns = addresses(family).dns;
        for options in [
            "",
            "+tcp",
            "+noedns",
            "+dnssec",
            "+tcp +noedns",
            "+bufsize=512",
        ] {
            let case = format!("{family} {options}");
            let dig = format!("{LIMIT} dig +time=5 +tries=1 {options} @{dns}");
            for qtype in ["A", "AAAA", "HTTPS", "TXT", "ANY"] {
                let told = lab.phone_as(APP_UID, &format!("{dig} b.{BLOCKED} {qtype}"));
                assert_ne!(told.code, Some(TIMED_OUT), "{case} {qtype}");
                let text = told.ok();
                assert!(text.contains("status: NXDOMAIN"), "{case} {qtype}: {text}");
                assert!(text.contains("muzzle.invalid."), "{case} {qtype}: {text}");
                // What dig takes offence at.
                assert!(!text.contains(";; Warning"), "{case} {qtype}: {text}");
                assert!(!text.contains("expected"), "{case} {qtype}: {text}");
            }
            let free = lab.phone_as(APP_UID, &format!("{dig} free.example A")).ok();
            assert!(free.contains("198.51.100.7"), "{case}: {free}");
        }
    }
    assert!(!lab.was_asked_for(&format!("b.{BLOCKED}")) && lab.was_asked_for("free.example"));
}

/// glibc, with a network whose search list has two suffixes: over UDP, and over TCP (`use-vc`).
#[test]
fn a_refused_name_does_not_get_out_with_a_search_suffix() {
    // There are no such names, so that every suffix is tried.
    let lab = Lab::with_dns(&["--local=/#/"]);
    let daemon = start(&lab, "");
    let ask = |name: &str| {
        let told = lab.phone_as(APP_UID, &format!("{LIMIT} getent ahosts {name}"));
        assert_eq!(told.code, Some(2), "{name}: {told:?}");
    };
    for family in Family::BOTH {
        for (transport, options) in [("udp", ""), ("tcp", "options use-vc")] {
            let lines = format!("search lan corp.example\n{options}");
            let dns = addresses(family).dns;
            lab.phone.configure_resolver(dns, &lines);
            let [missing, refused] = ["missing.example", BLOCKED]
                .map(|name| format!("{transport}.{family}.{name}").to_lowercase());
            ask(&missing);
            ask(&refused);
            for suffix in ["", ".lan", ".corp.example"] {
                // It is what glibc does where the resolver says so.
                assert!(
                    lab.was_asked_for(&format!("{missing}{suffix}")),
                    "{missing}"
                );
                assert!(
                    !lab.was_asked_for(&format!("{refused}{suffix}")),
                    "{refused}"
                );
            }
            let told = record(&lab, &daemon, |it| {
                it.name == Some(format!("{refused}.lan"))
            });
            assert_eq!(told.asked, Some(refused.clone()));
            assert_eq!((told.outcome, told.rule), (Outcome::Blocked, Some(1)));
            let reason = "; asked again with the search suffix lan";
            assert!(told.reason.ends_with(reason), "{}", told.reason);
        }
    }
}
