//! What the user decides by command: at once, for as long as was said, and never lost.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::choices::Choices;
use muzzle::decide::Outcome;
use muzzle::firewall::Family;
use nix::sys::signal::Signal;

use crate::clients::{NamePlace, TcpAsker, client_hello};
use crate::lab::{APP_UID, Daemon, Finished, Lab, addresses, send, wait_for};
use crate::recovery::{RESTART, blocks_again, fate};
use crate::running::{APP, BLOCKED, ask, config, record, start, status};

const FREE: &str = "free.example";
const SOON: Duration = Duration::from_secs(5);

fn file(daemon: &Daemon) -> PathBuf {
    daemon.config.with_file_name("choices.toml")
}

fn read(path: &Path) -> Choices {
    let text = fs::read_to_string(path).unwrap_or_default();
    Choices::parse("choices.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[track_caller]
fn passes(lab: &Lab, name: &str) {
    for family in Family::BOTH {
        assert_eq!(
            fate(lab, family, name),
            Some(ResponseCode::NoError),
            "{family}"
        );
    }
}

#[track_caller]
fn is_refused(lab: &Lab, name: &str) {
    for family in Family::BOTH {
        assert_eq!(
            fate(lab, family, name),
            Some(ResponseCode::NXDomain),
            "{family}"
        );
    }
}

/// A connection on which the client has said what host it is to.
fn connected(lab: &Lab, name: &str) -> (TcpAsker, SocketAddr) {
    let to = SocketAddr::new(addresses(Family::V4).sink, 443);
    let mut asker = TcpAsker::new(lab, to);
    let hello = client_hello(name, NamePlace::First);
    asker.send(&hello);
    lab.server.wait_received(to, hello.len());
    (asker, to)
}

#[test]
fn allow_frees_before_the_command_returns_and_undo_takes_it_back() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    is_refused(&lab, BLOCKED);
    let said = ask(&lab, &daemon, &format!("allow {BLOCKED}")).ok();
    passes(&lab, BLOCKED);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], format!("{BLOCKED}: allowed"), "{said}");
    assert!(
        lines[1].starts_with("  why      your choice of 20"),
        "{said}"
    );
    let told = record(&lab, &daemon, |it| it.choice.is_some());
    assert_eq!(told.outcome, Outcome::Allowed);
    assert!(told.reason.starts_with("your choice of 20"), "{told:?}");
    assert!(told.rule.is_none(), "{told:?}");
    let checked = ask(&lab, &daemon, &format!("check {BLOCKED}")).ok();
    assert!(checked.contains("why      your choice of 20"), "{checked}");
    assert_eq!(status(&lab, &daemon).choices, 1);

    let said = ask(&lab, &daemon, "undo").ok();
    assert!(
        said.starts_with(&format!("taken back: allow {BLOCKED} (of 20")),
        "{said}"
    );
    assert!(said.contains(&format!("{BLOCKED}: blocked\n")), "{said}");
    is_refused(&lab, BLOCKED);
    let said = ask(&lab, &daemon, "undo");
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("nothing to take back"), "{said:?}");
}

#[test]
fn block_ends_what_is_open_and_only_for_the_app_that_was_named() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let (mut open, _) = connected(&lab, FREE);
    let said = ask(
        &lab,
        &daemon,
        &format!("block https://{FREE}/page --app {APP}"),
    )
    .ok();
    assert!(!said.contains("ended"), "it is root's: {said}");
    passes(&lab, FREE);
    let dig = |uid| {
        let dns = addresses(Family::V4).dns;
        let line = format!("dig +tries=1 +time=2 @{dns} {FREE}");
        lab.phone_as(uid, &line).ok().contains("NXDOMAIN")
    };
    assert!(dig(APP_UID) && !dig(10_999));
    let said = ask(&lab, &daemon, &format!("block *.{FREE}")).ok();
    assert!(said.contains("  ended    1 open connection"), "{said}");
    assert!(open.is_over());
    is_refused(&lab, "www.free.example");
    // One after the other.
    ask(&lab, &daemon, "undo").ok();
    passes(&lab, FREE);
    assert!(dig(APP_UID));
    ask(&lab, &daemon, "undo").ok();
    assert!(!dig(APP_UID));
    assert_eq!(read(&file(&daemon)), Choices::default());
}

#[test]
fn an_address_is_blocked_and_freed_over_tcp_and_udp() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    let before = lab.saved_rules();
    for family in Family::BOTH {
        let sink = addresses(family).sink;
        let to = SocketAddr::new(sink, 8080);
        let connects = || {
            lab.phone
                .within(|| std::net::TcpStream::connect(to))
                .is_ok()
        };
        assert!(connects());
        let said = ask(&lab, &daemon, &format!("block {sink}")).ok();
        assert!(said.contains(&format!("{sink}: blocked")), "{said}");
        assert!(!connects(), "{family}");
        assert_ne!(lab.saved_rules(), before, "UDP to it is looked at");
        ask(&lab, &daemon, &format!("undo {sink}")).ok();
        assert!(connects(), "{family}");
        assert_eq!(lab.saved_rules(), before);
    }
}

#[test]
fn what_is_for_a_while_ends_by_itself_with_what_was_opened_meanwhile() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    ask(&lab, &daemon, &format!("allow {BLOCKED} --for 2s")).ok();
    passes(&lab, BLOCKED);
    let (mut open, _) = connected(&lab, BLOCKED);
    wait_for("its end", SOON, || {
        fate(&lab, Family::V4, BLOCKED) == Some(ResponseCode::NXDomain)
    });
    wait_for("the end of what is open", SOON, || {
        status(&lab, &daemon).open_ended == 1
    });
    assert!(open.is_over());
    assert_eq!(status(&lab, &daemon).choices, 0);
    let said = ask(&lab, &daemon, "undo");
    assert!(said.stderr.contains("nothing to take back"), "{said:?}");
}

#[test]
fn a_pause_lets_everything_pass_says_so_and_ends_by_itself() {
    let lab = Lab::new();
    let module = lab.folder().join("module");
    fs::create_dir(&module).expect("the lab's folder is there");
    let script = "printf '%s: %s\\n' \"$1\" \"$2\" >>\"${0%/*}/told\"\n";
    fs::write(module.join("description.sh"), script).expect("just made");
    let daemon = lab.start_service(&config(&lab, ""), &module);
    let describes = |start: &str| {
        wait_for(start, SOON, || {
            let told = fs::read_to_string(module.join("told")).unwrap_or_default();
            told.lines().last().is_some_and(|it| it.starts_with(start))
        });
    };
    describes("protecting: ");
    let said = ask(&lab, &daemon, "pause").ok();
    assert!(said.starts_with("paused until "), "{said}");
    passes(&lab, BLOCKED);
    describes("paused: nothing is blocked until ");
    let text = ask(&lab, &daemon, "status").ok();
    assert!(text.contains(" is paused until "), "{text}");
    let told = record(&lab, &daemon, |it| it.name.as_deref() == Some(BLOCKED));
    assert_eq!(told.outcome, Outcome::WouldBlock);
    assert!(
        told.reason.contains("; it passes: paused until "),
        "{told:?}"
    );
    assert_eq!(
        told.paused_until,
        status(&lab, &daemon).paused_until_unix_seconds
    );
    // It outlives the worker.
    send(daemon.worker(), Signal::SIGKILL);
    wait_for("another worker", RESTART, || {
        let text = ask(&lab, &daemon, "status");
        text.code == Some(0) && text.stdout.contains("paused until ")
    });
    passes(&lab, BLOCKED);
    describes("paused: ");

    let (mut open, _) = connected(&lab, BLOCKED);
    let said = ask(&lab, &daemon, "resume").ok();
    assert_eq!(said, "the pause is over\n  ended    1 open connection\n");
    is_refused(&lab, BLOCKED);
    assert!(open.is_over());
    describes("protecting: ");

    ask(&lab, &daemon, "pause 2s").ok();
    passes(&lab, BLOCKED);
    wait_for("its end", SOON, || {
        fate(&lab, Family::V4, BLOCKED) == Some(ResponseCode::NXDomain)
    });
    describes("protecting: ");
    assert_eq!(status(&lab, &daemon).paused_until_unix_seconds, None);
    assert_eq!(ask(&lab, &daemon, "resume").ok(), "there was no pause\n");
    // What it takes back is what still holds.
    ask(&lab, &daemon, "pause 1h").ok();
    assert!(
        ask(&lab, &daemon, "undo")
            .ok()
            .starts_with("taken back: pause (of 20")
    );
    is_refused(&lab, BLOCKED);
}

#[test]
fn a_pause_of_another_boot_is_over() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    ask(&lab, &daemon, "pause 1h").ok();
    // Which it is not, while everything passes.
    let said = ask(&lab, &daemon, &format!("block {FREE}"));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains(": would be blocked\n"), "{said:?}");
    let file = file(&daemon);
    passes(&lab, BLOCKED);
    daemon.stop();
    let text = fs::read_to_string(&file).expect("just written");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux has one");
    let other = text.replace(boot_id.trim(), "6f1e1c9b-0000-4000-8000-000000000001");
    assert_ne!(text, other);
    fs::write(&file, other).expect("the lab's folder is there");
    let daemon = start(&lab, "");
    is_refused(&lab, BLOCKED);
    is_refused(&lab, FREE);
    assert_eq!(status(&lab, &daemon).paused_until_unix_seconds, None);
    let listed = ask(&lab, &daemon, "choices").ok();
    assert!(
        listed.starts_with(&format!("block {FREE} (of 20")),
        "{listed}"
    );
    assert_eq!(listed.lines().count(), 1, "{listed}");
}

#[test]
fn what_comes_to_something_else_than_was_asked_for_exits_with_1_and_says_why() {
    let lab = Lab::bare();
    let rule = "[[rule]]\nname = \"host.example.org\"\napp = \"com.example.app\"\naction = \"allow\"\n";
    let daemon = start(&lab, rule);
    // The name itself is essential, and blocked by its very name only.
    let wide = ask(&lab, &daemon, "block *.connect.rom.miui.com");
    assert_eq!(wide.code, Some(1), "{wide:?}");
    assert!(
        wide.stdout.contains("why      essential service"),
        "{wide:?}"
    );
    assert!(wide.stdout.contains("not what was asked for"), "{wide:?}");
    let exact = ask(&lab, &daemon, "block connect.rom.miui.com").ok();
    assert!(exact.contains("connect.rom.miui.com: blocked"), "{exact}");
    // What is left below it is said.
    let below = ask(&lab, &daemon, "block *.example.org").ok();
    assert!(
        below.contains("decided on by more specific rules or choices: allow host.example.org"),
        "{below}"
    );
    let essential = ask(&lab, &daemon, "block *.miui.com").ok();
    assert!(
        essential.contains("below it are essential and still pass"),
        "{essential}"
    );
    // Nobody has that app.
    let absent = ask(&lab, &daemon, "block host.example.net --app com.absent");
    assert_eq!(absent.code, Some(1), "{absent:?}");
    assert!(
        absent.stdout.contains("com.absent is not installed"),
        "{absent:?}"
    );
    for (arguments, told) in [
        ("block com", "everybody may have a name under com"),
        ("allow lan", "everybody may have a name under lan"),
        ("block *.co.uk", "everybody may have a name under co.uk"),
        ("block 0.0.0.0/0", "all addresses there are"),
        ("block a_b!.example", "no host name has"),
        ("allow host.example.org --app no-app", "a package name has"),
        ("pause 2d", "a day at most"),
        ("undo com", "everybody may have a name under com"),
    ] {
        let said = ask(&lab, &daemon, arguments);
        assert_eq!(said.code, Some(64), "{said:?}");
        assert!(said.stderr.contains(told), "{said:?}");
    }
    for arguments in [
        "pause 10",
        "allow host.example.org --for soon",
        "undo --app com.a",
    ] {
        assert_eq!(ask(&lab, &daemon, arguments).code, Some(64), "{arguments}");
    }
}

/// Runs a dozen commands side by side; a daemon serves sixteen.
fn a_dozen_at_once(lab: &Lab, config: &Path) -> Vec<Finished> {
    std::thread::scope(|scope| {
        let commands: Vec<_> = (0..12)
            .map(|number| {
                let line = format!(
                    "--config {} block host{number}.example.org --json",
                    config.display()
                );
                scope.spawn(move || lab.muzzle(&line))
            })
            .collect();
        let finished = commands.into_iter().map(|it| it.join().expect("no panic"));
        finished.collect()
    })
}

#[test]
fn of_commands_at_the_same_time_none_is_lost_with_a_daemon_and_without() {
    let lab = Lab::new();
    let daemon = start(&lab, "");
    let (config, file) = (daemon.config.clone(), file(&daemon));
    for said in a_dozen_at_once(&lab, &config) {
        assert!(said.ok().contains("\"in_force\":true"));
    }
    assert_eq!(read(&file).list().len(), 12);
    daemon.stop();
    fs::remove_file(&file).expect("it was written");
    for said in a_dozen_at_once(&lab, &config) {
        assert!(said.ok().contains("\"in_force\":false"));
    }
    assert_eq!(read(&file).list().len(), 12);
    let mode = fs::metadata(&file)
        .map(|it| std::os::unix::fs::PermissionsExt::mode(&it.permissions()));
    assert_eq!(mode.expect("it is there") & 0o777, 0o600);
}

#[test]
fn without_a_daemon_a_choice_waits_for_its_start() {
    let lab = Lab::new();
    let text = config(&lab, "");
    let config = lab.folder().join("muzzle.toml");
    fs::write(&config, &text).expect("the lab's folder is there");
    let muzzle =
        |arguments: &str| lab.muzzle(&format!("--config {} {arguments}", config.display()));
    let said = muzzle(&format!("allow {BLOCKED}")).ok();
    assert!(said.contains(&format!("{BLOCKED}: allowed")), "{said}");
    assert!(
        said.contains("not running: this counts from its next start on"),
        "{said}"
    );
    let daemon = lab.start_daemon(&text);
    passes(&lab, BLOCKED);
    assert!(ask(&lab, &daemon, "undo").ok().contains(": blocked"));
    is_refused(&lab, BLOCKED);
    daemon.stop();
    let nobody = lab.phone_as(
        APP_UID,
        &format!(
            "{} --config {} block {FREE}",
            crate::lab::MUZZLE,
            config.display()
        ),
    );
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains("only root may"), "{nobody:?}");
}

#[test]
fn a_damaged_file_is_set_aside_and_said_and_the_rules_hold() {
    let lab = Lab::new();
    let file = lab.folder().join("choices.toml");
    let wrong =
        "[[choice]]\nmade = 2026-11-20T12:44:00Z\naction = \"allow\"\nname = \"*.blocked.exa";
    fs::write(&file, wrong).expect("the lab's folder is there");
    let daemon = start(&lab, "");
    is_refused(&lab, BLOCKED);
    let warned = status(&lab, &daemon).warnings.concat();
    assert!(
        warned.contains("what was decided by command is not in force"),
        "{warned}"
    );
    assert!(
        warned.contains("choices.toml:4: this is not TOML"),
        "{warned}"
    );
    let aside = lab.folder().join("choices.toml.damaged");
    assert_eq!(fs::read_to_string(&aside).expect("it is kept"), wrong);
    ask(&lab, &daemon, &format!("block {FREE}")).ok();
    // Taken apart while the daemon runs: a reload refuses it, a command goes on from what is known.
    fs::write(&file, [0xff, 0xfe, 0]).expect("the lab's folder is there");
    let said = ask(&lab, &daemon, "reload");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("choices.toml:1: this is not UTF-8"),
        "{said:?}"
    );
    is_refused(&lab, FREE);
    ask(&lab, &daemon, &format!("allow {BLOCKED}")).ok();
    assert_eq!(read(&file).list().len(), 2);
    is_refused(&lab, FREE);
    passes(&lab, BLOCKED);
    assert!(
        status(&lab, &daemon)
            .warnings
            .concat()
            .contains("not UTF-8")
    );
    // What somebody has edited well is read.
    let text = fs::read_to_string(&file).expect("just written");
    fs::write(&file, text.replace("\"allow\"", "\"block\""))
        .expect("the lab's folder is there");
    ask(&lab, &daemon, "reload").ok();
    is_refused(&lab, BLOCKED);
    // A worker that is started again does as a first start does.
    fs::write(&file, "nonsense").expect("the lab's folder is there");
    send(daemon.worker(), Signal::SIGKILL);
    wait_for("the end of the worker", SOON, || {
        daemon.try_worker().is_none()
    });
    blocks_again(&lab, &daemon);
    passes(&lab, FREE);
}

#[test]
fn on_a_full_disk_a_change_is_refused_whole() {
    let lab = Lab::new();
    let disk = lab.small_disk();
    let daemon = lab.start_daemon_in(&disk.path, &config(&lab, ""));
    ask(&lab, &daemon, &format!("block {FREE}")).ok();
    let file = file(&daemon);
    let before = fs::read(&file).expect("just written");
    disk.fill();
    for arguments in [&*format!("allow {BLOCKED}"), "pause", "undo"] {
        let said = ask(&lab, &daemon, arguments);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("nothing has changed"), "{said:?}");
        assert_eq!(fs::read(&file).expect("it stays"), before);
        is_refused(&lab, BLOCKED);
        is_refused(&lab, FREE);
    }
    disk.clear();
    ask(&lab, &daemon, &format!("allow {BLOCKED}")).ok();
    passes(&lab, BLOCKED);
    assert!(daemon.stop().success());
}

#[test]
fn whenever_the_power_goes_the_file_is_a_whole_one_and_says_what_was_answered() {
    let lab = Lab::new();
    let text = config(&lab, "");
    let file = lab.folder().join("choices.toml");
    for round in 0..6_u64 {
        let daemon = lab.start_daemon(&text);
        let before = read(&file).list().len();
        let config = daemon.config.clone();
        let answered = std::thread::scope(|scope| {
            let lab = &lab;
            let commands = scope.spawn(move || {
                let change = |number| {
                    let target = format!("host{round}-{number}.example.org");
                    lab.muzzle(&format!("--config {} block {target}", config.display()))
                };
                // Until it is gone; then the file is written without it.
                let in_force = |said: &Finished| {
                    said.code == Some(0) && !said.stdout.contains("not running")
                };
                (0..50).map(change).take_while(in_force).count()
            });
            std::thread::sleep(Duration::from_millis(150 + 131 * round));
            daemon.cut_power();
            commands.join().expect("no panic")
        });
        let now = read(&file).list().len();
        assert!(now >= before + answered, "{before} + {answered}, not {now}");
        assert!(
            now <= before + answered + 2,
            "{before} + {answered}, not {now}"
        );
    }
    let daemon = lab.start_daemon(&text);
    assert_eq!(status(&lab, &daemon).choices, read(&file).list().len());
    assert_eq!(status(&lab, &daemon).warnings, [""; 0]);
}
