//! The daemon as a module starts it: the root manager's switch, the boot guard, and others who
//! rebuild the tables.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;

use crate::clients::{A, UdpAsker, query, told};
use crate::firewall_trouble::scripts;
use crate::lab::{Lab, addresses, wait_for};
use crate::running::{BLOCKED, ask, config, start, status};

/// Long enough for a stop or a start on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn fate(lab: &Lab, name: &str) -> ResponseCode {
    let asker = UdpAsker::new(lab, addresses(Family::V4).dns);
    told(&asker.ask(&query(1, name, A)).expect("an answer at once")).0
}

/// A module's folder whose description script writes into a file.
fn module(lab: &Lab) -> PathBuf {
    let folder = lab.folder().join("module");
    fs::create_dir(&folder).expect("the lab's folder is there");
    let script = "printf '%s: %s\\n' \"$1\" \"$2\" >>\"${0%/*}/told\"\n";
    fs::write(folder.join("description.sh"), script).expect("just made");
    folder
}

#[test]
fn the_root_managers_switch_works_at_once() {
    let lab = Lab::new();
    let before = lab.saved_rules();
    let module = module(&lab);
    let daemon = lab.start_service(&config(&lab, ""), &module);
    let describes = |text: &str| {
        wait_for(text, SOON, || {
            let told = fs::read_to_string(module.join("told")).unwrap_or_default();
            told.lines().last() == Some(text)
        });
    };
    describes("protecting: telemetry is refused");
    assert_eq!(fate(&lab, BLOCKED), ResponseCode::NXDomain);
    for flag in ["disable", "remove"] {
        fs::write(module.join(flag), "").expect("the folder is there");
        wait_for("the rules to be gone", SOON, || lab.saved_rules() == before);
        describes("off: the module is disabled");
        assert_eq!(fate(&lab, BLOCKED), ResponseCode::NoError, "{flag}");
        fs::remove_file(module.join(flag)).expect("just written");
        describes("protecting: telemetry is refused");
        assert_eq!(fate(&lab, BLOCKED), ResponseCode::NXDomain, "{flag}");
    }
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), before);
}

#[test]
fn a_daemon_that_starts_switched_off_waits_for_the_switch() {
    let lab = Lab::new();
    let module = module(&lab);
    fs::write(module.join("disable"), "").expect("the folder is there");
    let text = config(&lab, "");
    std::thread::scope(|scope| {
        let switch_on = || {
            // Time enough for a daemon that does not look.
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(
                fate(&lab, BLOCKED),
                ResponseCode::NoError,
                "it started all the same"
            );
            fs::remove_file(module.join("disable")).expect("just written");
        };
        scope.spawn(switch_on);
        // Returns when its control socket answers.
        let daemon = lab.start_service(&text, &module);
        assert_eq!(fate(&lab, BLOCKED), ResponseCode::NXDomain);
        assert!(daemon.stop().success());
    });
}

#[test]
fn after_three_short_boots_it_only_observes_and_says_so() {
    let lab = Lab::new();
    let module = module(&lab);
    let text = config(&lab, "");
    let daemon = lab.start_service(&text, &module);
    let note = daemon.socket.parent().expect("a folder").join("boot");
    assert!(
        fs::read_to_string(&note)
            .expect("it counts boots")
            .contains("pending 0")
    );
    daemon.kill_both();
    for (unclean, mode) in [(1, "enforce"), (2, "observe")] {
        // As another boot left it that ended early.
        fs::write(&note, format!("another-boot pending {unclean}\n")).expect("it is there");
        let daemon = lab.start_service(&text, &module);
        let said = status(&lab, &daemon);
        assert_eq!(said.mode, mode, "after {} short boots", unclean + 1);
        let observes = mode == "observe";
        assert_eq!(
            said.warnings
                .iter()
                .any(|it| it.contains("restarted 3 times")),
            observes
        );
        assert_eq!(fate(&lab, BLOCKED) == ResponseCode::NoError, observes);
        daemon.kill_both();
    }
    // A stop in good order ends the row.
    let daemon = lab.start_service(&text, &module);
    assert!(daemon.stop().success());
    let note_text = fs::read_to_string(&note).expect("it is there");
    assert!(note_text.contains("settled 0"), "{note_text}");
    let daemon = lab.start_service(&text, &module);
    assert_eq!(status(&lab, &daemon).mode, "enforce");
}

#[test]
fn rules_that_somebody_has_taken_away_come_back() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let rules = lab.saved_rules();
    let flush = || {
        for family in Family::BOTH {
            let program = addresses(family).iptables;
            for table in ["raw", "mangle"] {
                lab.phone(&format!("{program} -w 5 -t {table} -F")).ok();
            }
        }
        assert_eq!(fate(&lab, BLOCKED), ResponseCode::NoError);
    };
    flush();
    // Networks change when somebody rebuilds the tables.
    lab.phone.ip("link add veth8 type veth peer name veth9");
    wait_for("the rules to be back", SOON, || lab.saved_rules() == rules);
    assert_eq!(fate(&lab, BLOCKED), ResponseCode::NXDomain);
    flush();
    ask(&lab, &daemon, "reload").ok();
    assert_eq!(lab.saved_rules(), rules);
    assert!(daemon.log().contains("somebody has changed the rules"));
}

/// Another program's rule before ours stays there, and nothing is written again and again.
#[test]
fn a_rule_before_ours_is_left_alone() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    lab.phone("iptables-legacy -w 5 -t raw -I OUTPUT 1 -p udp --dport 9999")
        .ok();
    let rules = lab.saved_rules();
    ask(&lab, &daemon, "reload").ok();
    assert_eq!(lab.saved_rules(), rules);
    assert_eq!(fate(&lab, BLOCKED), ResponseCode::NXDomain);
}

/// At boot another program may hold the lock of the tables for longer than Muzzle waits.
#[test]
fn a_lock_that_is_held_at_boot_is_outlived() {
    let lab = Lab::new();
    let module = module(&lab);
    let lock = lab.folder().join("lock");
    fs::write(&lock, "").expect("the lab's folder is there");
    let held = format!(
        "if [ -e {} ]; then echo 'Another app is currently holding the xtables lock' >&2; \
         exit 4; fi",
        lock.display()
    );
    let program = scripts(&lab, &held);
    let text = config(
        &lab,
        &format!("[firewall]\niptables = \"{}\"", program.display()),
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(
                fate(&lab, BLOCKED),
                ResponseCode::NoError,
                "nothing is held up"
            );
            fs::remove_file(&lock).expect("just written");
        });
        let daemon = lab.start_service(&text, &module);
        assert_eq!(fate(&lab, BLOCKED), ResponseCode::NXDomain);
        assert!(daemon.log().contains("xtables lock"), "{}", daemon.log());
        assert!(daemon.stop().success());
    });
}

/// A wrong config at boot keeps Muzzle off, and `muzzle reload` brings it back once it is mended.
#[test]
fn a_service_that_is_off_tries_again_when_asked() {
    let lab = Lab::new();
    let module = module(&lab);
    let good = config(&lab, "");
    let daemon = lab.start_service_with(&config(&lab, "mode = 7"), &module, false);
    let ask = |line: &str| ask(&lab, &daemon, line);
    wait_for("it to be off", SOON, || {
        let said = ask("status");
        said.code == Some(1) && daemon.log().contains("Muzzle stays off")
    });
    assert_eq!(fate(&lab, BLOCKED), ResponseCode::NoError);
    fs::write(&daemon.config, good).expect("the lab's folder is there");
    ask("reload").ok();
    wait_for("it to block", SOON, || {
        fate(&lab, BLOCKED) == ResponseCode::NXDomain
    });
    assert!(daemon.stop().success());
}
