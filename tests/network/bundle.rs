//! `muzzle doctor --bundle`: what is in it, what is not, and that it leaves nothing behind.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use muzzle::firewall::Family;
use muzzle::queue::QueueSocket;
use muzzle::queue::message::QueueParameters;

use crate::firewall_trouble::scripts;
use crate::lab::{APP_UID, Daemon, Finished, Lab, MUZZLE, addresses};
use crate::running::{APP, BLOCKED, config, record, start};

/// In the built-in catalogue.
const PUBLIC_NAME: &str = "sa.api.intl.miui.com";
const SERIAL: &str = "8a2f91c7Q";

/// Rules as other programs have them.
fn add_foreign_rules(lab: &Lab) {
    for family in Family::BOTH {
        let (program, dns) = (addresses(family).iptables, addresses(family).dns);
        for rule in [
            "-t filter -A OUTPUT -p udp --dport 5060 -j NFQUEUE --queue-num 20 --queue-bypass",
            "-t mangle -A OUTPUT -p tcp --dport 25 -j MARK --or-mark 0x4000000",
            "-t filter -A INPUT -m mac --mac-source 02:1f:e2:d3:c4:b5 -j ACCEPT",
            "-t mangle -A OUTPUT -m comment --comment Anna -j ACCEPT",
            &format!("-t nat -A OUTPUT -p udp --dport 5353 -j DNAT --to-destination {dns}"),
        ] {
            lab.phone(&format!("{program} -w 5 {rule}")).ok();
        }
    }
    lab.phone("ip rule add fwmark 0x4000000/0x4000000 lookup 77")
        .ok();
}

/// Programs of Android; `settings` never answers.
fn add_android(lab: &Lab) -> String {
    let folder = lab.folder().join("android");
    std::fs::create_dir(&folder).expect("the lab's folder is there");
    let getprop = format!(
        "case $1 in ro.serialno) echo {SERIAL};; ro.build.version.sdk) echo 33;; *) echo;; esac"
    );
    for (name, text) in [("getprop", &getprop[..]), ("settings", "exec sleep 100")] {
        let path = folder.join(name);
        let path = path.display();
        // By another process: one that is open for writing cannot be run.
        lab.phone
            .feed(&format!("tee {path}"), &format!("#!/bin/sh\n{text}\n"));
        lab.phone(&format!("chmod 755 {path}")).ok();
    }
    folder.display().to_string()
}

fn bundle(lab: &Lab, config: &Path, file: &Path, options: &str) -> Finished {
    let path = std::env::var("PATH").expect("there is one");
    let android = lab.folder().join("android");
    let (config, file) = (config.display(), file.display());
    lab.phone(&format!(
        "env PATH={}:{path} {MUZZLE} --config {config} doctor --bundle {file} {options}",
        android.display()
    ))
}

#[track_caller]
fn read(file: &Path) -> String {
    let text = std::fs::read_to_string(file).expect("the bundle is there");
    assert!(text.ends_with("\nEnd of the bundle.\n"), "{text}");
    text
}

/// The lines of the section with this title.
#[track_caller]
fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let (_, rest) = text
        .split_once(&format!(". {title}\n"))
        .unwrap_or_else(|| panic!("no section {title}: {text}"));
    rest.split("\n== ")
        .next()
        .expect("split gives one at least")
}

#[test]
fn a_bundle_tells_of_the_phone_and_not_of_its_owner() {
    let lab = Lab::new();
    add_android(&lab);
    let other = lab.phone.within(|| {
        let parameters = QueueParameters {
            number: 20,
            copy_range: 64,
            length: 16,
        };
        QueueSocket::bind(parameters, 1 << 16).expect("nobody else has it")
    });
    let daemon = start(&lab, "");
    // With them it would not have started: one uses its mark.
    add_foreign_rules(&lab);
    for name in [PUBLIC_NAME, BLOCKED, "private.example"] {
        lab.dig(Family::V4, name, "A");
        record(&lab, &daemon, |it| it.name.as_deref() == Some(name));
    }
    let rules = lab.saved_rules();
    let routing = lab.phone("ip rule").ok();
    let file = lab.folder().join("bundle.txt");

    let said = bundle(&lab, &daemon.config, &file, "").ok();
    assert!(said.contains("Read it before you send it"), "{said}");
    let mode = std::fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(lab.saved_rules(), rules, "nothing is changed");
    assert_eq!(lab.phone("ip rule").ok(), routing);

    let text = read(&file);
    assert!(
        text.contains("plain text so that you\ncan read all of it"),
        "{text}"
    );
    let chains = section(&text, "Chains");
    assert!(chains.contains("-A OUTPUT -j muzzle_out"), "{chains}");
    assert!(chains.contains("--mac-source mac-1"), "{chains}");
    assert!(chains.contains("--comment TEXT-1"), "{chains}");
    assert!(chains.contains("--to-destination v4-public-1"), "{chains}");
    assert!(chains.contains("--to-destination v6-public-"), "{chains}");
    let queues = section(&text, "Queues");
    let holder = std::fs::read_to_string("/proc/self/comm").expect("there is one");
    assert!(
        queues
            .lines()
            .any(|it| it.starts_with("   20 ") && it.ends_with(holder.trim())),
        "{queues}"
    );
    assert_eq!(
        queues.matches("-j NFQUEUE --queue-num 20").count(),
        2,
        "{queues}"
    );
    let marks = section(&text, "Packet marks and routing rules");
    for told in [
        "IPv4 rules: 1",
        "IPv6 rules: 1",
        "IPv4 routing rules: 1",
        "--set-xmark 0x4000000/0x4000000",
        "fwmark 0x4000000/0x4000000 lookup 77",
    ] {
        assert!(marks.contains(told), "{told}: {marks}");
    }
    let dns = section(&text, "Private DNS");
    assert_eq!(dns.trim(), "not done: private_dns_mode: timed out");
    assert!(section(&text, "Android").contains("ro.build.version.sdk         33"));
    let doctor = section(&text, "Doctor");
    assert!(doctor.contains("ok       IPv4 NFQUEUE"), "{doctor}");
    assert!(section(&text, "Apps").contains("packages                     1"));
    let records = section(&text, "Newest records");
    assert!(
        records.contains(&format!("Blocked  Dns A  {PUBLIC_NAME}  app")),
        "{records}"
    );
    assert!(records.contains("Blocked  Dns A  NAME-"), "{records}");
    assert!(records.contains("Allowed  Dns A  NAME-"), "{records}");

    let given = section(&text, "Whose packet: a socket given away");
    for (family, table) in [("IPv4", "/proc/net/udp"), ("IPv6", "/proc/net/udp6")] {
        let line = given
            .lines()
            .find(|it| it.starts_with(&format!("{family}: to ")))
            .unwrap_or_else(|| panic!("{given}"));
        assert!(line.contains("NFQA_UID 0, inet_diag 9999 ("), "{line}");
        assert!(line.contains(&format!("{table} 9999 (")), "{line}");
        assert!(
            given.contains(&format!("{family} from sending to receiving")),
            "{given}"
        );
    }
    let lookup = section(&text, "Whose packet: the system's resolver");
    assert!(
        lookup.contains("to v4-public-1:53: NFQA_UID 2000, inet_diag 2000 ("),
        "{lookup}"
    );
    let after = section(&text, "Chains afterwards");
    assert!(after.starts_with("as before: "), "{after}");
    let time = section(&text, "Time that the firewall takes");
    assert_eq!(time.matches("median").count(), 2, "{time}");

    assert!(lab.phone("ip -o addr").ok().contains("ff:fe"));
    let hardware = lab.phone("cat /sys/class/net/wlan0/address").ok();
    for private in [
        "203.0.113.",
        "198.51.100.",
        "2001:db8",
        // What the kernel makes of a hardware address (RFC 4291 appendix A).
        "ff:fe",
        "Anna",
        "02:1f:e2",
        hardware.trim(),
        BLOCKED,
        "private.example",
        APP,
        SERIAL,
    ] {
        assert!(!text.contains(private), "{private}: {text}");
    }
    // The owner may want the apps in it.
    let file = lab.folder().join("with-apps.txt");
    bundle(&lab, &daemon.config, &file, "--with-apps").ok();
    let text = read(&file);
    assert!(section(&text, "Apps").contains(APP), "{text}");
    assert!(section(&text, "Newest records").contains(APP), "{text}");
    assert!(!text.contains("private.example"), "{text}");
    assert_eq!(lab.saved_rules(), rules);
    drop(other);
    assert!(daemon.stop().success());
}

#[test]
fn a_file_that_is_there_is_kept_and_a_full_disk_leaves_none() {
    let lab = Lab::bare();
    let config = lab.folder().join("muzzle.toml");
    std::fs::write(&config, "").expect("the lab's folder is there");
    let file = lab.folder().join("bundle.txt");
    std::fs::write(&file, "mine").expect("the lab's folder is there");
    let link = lab.folder().join("link.txt");
    std::os::unix::fs::symlink(lab.folder().join("nowhere"), &link)
        .expect("a link can be made");
    for file in [&file, &link] {
        let said = bundle(&lab, &config, file, "");
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("is there already"), "{said:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "mine");
    assert!(!lab.folder().join("nowhere").exists());

    // Mounted for this command only: `ip netns exec` has its own view of mounts.
    let folder = lab.folder().join("full");
    std::fs::create_dir(&folder).expect("the lab's folder is there");
    let folder = folder.display();
    let said = lab.phone_script(&format!(
        "mount -t tmpfs -o size=4k none {folder} || exit 9\n\
         {MUZZLE} doctor --bundle {folder}/bundle.txt; status=$?\nls {folder}; exit $status"
    ));
    assert_eq!((said.code, &said.stdout[..]), (Some(1), ""), "{said:?}");
    assert!(said.stderr.contains("No space left"), "{said:?}");
}

#[test]
fn without_root_each_check_says_why_and_the_rest_goes_on() {
    let lab = Lab::bare();
    let folder = lab.folder().join("open");
    std::fs::create_dir(&folder).expect("the lab's folder is there");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).expect("ours");
    let file = folder.join("bundle.txt");
    let rules = lab.saved_rules();
    lab.phone_as(
        APP_UID,
        &format!("{MUZZLE} doctor --bundle {}", file.display()),
    )
    .ok();
    let text = read(&file);
    for title in ["Chains", "Doctor", "Time that the firewall takes"] {
        let section = section(&text, title);
        assert!(section.contains("root is needed"), "{title}: {section}");
    }
    let given = section(&text, "Whose packet: a socket given away");
    assert!(given.contains("not done: IPv4: "), "{given}");
    assert!(
        section(&text, "Kernel, SELinux, root manager").contains("kernel  "),
        "{text}"
    );
    assert_eq!(lab.saved_rules(), rules);
}

/// Runs a bundle that gets `signal` once its rule is in force.
fn interrupted(lab: &Lab, signal: &str, config: &str) -> Finished {
    let iptables = scripts(
        lab,
        &format!(
            "if grep -q 'A muzzle_doctor' $INPUT; then\n\
             case $NAME in ip6*) F=6;; *) F=;; esac\n\
             ip${{F}}tables-legacy-restore \"$@\" < $INPUT; code=$?\n\
             kill -{signal} $PPID\nexit $code\nfi"
        ),
    );
    let config = format!(
        "{config}\n[firewall]\niptables = \"{}\"\n",
        iptables.display()
    );
    let path = lab.folder().join("scripted.toml");
    std::fs::write(&path, config).expect("the lab's folder is there");
    let file = lab.folder().join("interrupted.txt");
    let said = bundle(lab, &path, &file, "");
    assert!(!file.exists(), "{said:?}");
    said
}

#[test]
fn ctrl_c_leaves_no_rule_behind() {
    let lab = Lab::bare();
    let rules = lab.saved_rules();
    for signal in ["INT", "TERM", "HUP"] {
        let said = interrupted(&lab, signal, "");
        assert_ne!(said.code, Some(0), "{said:?}");
        assert_eq!(lab.saved_rules(), rules, "{signal}");
    }
}

#[test]
fn a_killed_doctor_holds_nothing_up_and_the_next_start_cleans_up() {
    let lab = Lab::new();
    let rules = lab.saved_rules();
    let said = interrupted(&lab, "KILL", "");
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(lab.saved_rules().contains("-A OUTPUT -j muzzle_doctor"));
    assert!(
        lab.dig(Family::V4, "free.example", "A")
            .ok()
            .contains("198.51.100.7")
    );
    let daemon: Daemon = lab.start_daemon(&config(&lab, ""));
    assert!(
        !lab.saved_rules().contains("muzzle_doctor"),
        "{}",
        lab.saved_rules()
    );
    assert!(daemon.stop().success());
    assert_eq!(lab.saved_rules(), rules);
}
