//! Who sent it: rules for one app, the names in the log, and what `observe` makes of blocks.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muzzle::decide::{AttributionSource, Outcome};
use muzzle::firewall::Family;
use muzzle::record::EvidenceKind;

use crate::clients::{A, TcpAsker, UdpAsker, client_hello, framed, query, told};
use crate::lab::{APP_UID, Lab, addresses, wait_for};
use crate::running::{APP, BLOCKED, ask, queue, record, records, start, status};

/// Another app, which `packages.list` does not name.
const OTHER_UID: u32 = 10_200;

#[test]
fn a_rule_for_an_app_is_for_that_app_alone() {
    let lab = Lab::new();
    let rules = format!(
        "[[rule]]\nname = \"one.example\"\napp = \"{APP}\"\naction = \"block\"\n\
         [[rule]]\napp = \"{APP}\"\nport = 8080\naction = \"block\"\n"
    );
    let daemon = start(&lab, &rules);
    for family in Family::BOTH {
        let (dns, web) = (addresses(family).dns, addresses(family).web);
        let to = SocketAddr::new(web, 8080);
        for (uid, blocked) in [
            (APP_UID, true),
            (OTHER_UID, false),
            (1_000_000 + APP_UID, true),
        ] {
            let case = format!("{family} uid {uid}");
            for tcp in ["+notcp", "+tcp"] {
                let dig = format!("dig +tries=1 +time=2 {tcp} @{dns} one.example A");
                let text = lab.phone_as(uid, &dig).ok();
                assert_eq!(
                    text.contains("status: NXDOMAIN"),
                    blocked,
                    "{case} {tcp}: {text}"
                );
                assert_eq!(
                    text.contains("198.51.100.7"),
                    !blocked,
                    "{case} {tcp}: {text}"
                );
            }
            let url = format!("http://{to}/");
            let code = lab
                .phone_as(uid, &format!("curl -s --max-time 3 {url}"))
                .code;
            assert_eq!(code == Some(0), !blocked, "{case}: curl {code:?}");
            assert_ne!(code, Some(28), "{case}: not at once");
        }
        let told_of = |uid: u32, evidence: EvidenceKind| {
            record(&lab, &daemon, |it| {
                it.uid == Some(uid)
                    && it.evidence == evidence
                    && it.remote.ip()
                        == match evidence {
                            EvidenceKind::Dns => dns,
                            _ => web,
                        }
            })
        };
        for evidence in [EvidenceKind::Dns, EvidenceKind::Syn] {
            let it = told_of(APP_UID, evidence);
            assert_eq!(
                (it.app.as_deref(), it.outcome),
                (Some(APP), Outcome::Blocked),
                "{it:?}"
            );
            assert!(it.reason.contains(&format!("for {APP}")), "{it:?}");
            let other = told_of(OTHER_UID, evidence);
            assert_eq!(other.outcome, Outcome::Allowed, "{other:?}");
            let name = other.app.expect("its uid at least");
            assert_eq!(name, format!("uid {OTHER_UID} (unknown app)"));
            let twin = told_of(1_000_000 + APP_UID, evidence);
            assert_eq!(twin.app.as_deref(), Some("com.example.app (user 10)"));
        }
    }
}

#[test]
fn observe_lets_everything_pass_and_says_what_it_would_block() {
    let lab = Lab::new();
    let daemon = start(&lab, "mode = \"observe\"");
    for family in Family::BOTH {
        let (dns, sink) = (addresses(family).dns, addresses(family).sink);
        let answer = UdpAsker::new(&lab, dns)
            .ask(&query(1, BLOCKED, A))
            .expect("an answer");
        assert_eq!(told(&answer).1, [addresses(Family::V4).web], "{family}");
        let mut asker = TcpAsker::new(&lab, SocketAddr::new(dns, 53));
        asker.send(&framed(&query(2, BLOCKED, A)));
        let answer = asker.answer().expect("an answer");
        assert_eq!(told(&answer).1, [addresses(Family::V4).web], "{family}");
        let request = format!("GET / HTTP/1.1\r\nHost: {BLOCKED}\r\n\r\n");
        let hello = client_hello(BLOCKED, crate::clients::NamePlace::First);
        for (port, payload) in [(443, hello), (80, request.into_bytes())] {
            let to = SocketAddr::new(sink, port);
            let mut asker = TcpAsker::new(&lab, to);
            asker.send(&payload);
            lab.server.wait_received(to, payload.len());
        }
        for evidence in [EvidenceKind::Dns, EvidenceKind::Sni, EvidenceKind::Host] {
            let it = record(&lab, &daemon, |it| {
                it.evidence == evidence && it.remote.is_ipv6() == (family == Family::V6)
            });
            assert_eq!(it.outcome, Outcome::WouldBlock, "{it:?}");
            assert_eq!(it.name.as_deref(), Some(BLOCKED), "{it:?}");
        }
    }
    let refused = |purpose| {
        let counters = queue(&lab, &daemon, purpose).counters;
        counters.packets - counters.passed
    };
    assert_eq!((refused("dns"), refused("connections")), (0, 0));
    assert!(
        records(&lab, &daemon)
            .iter()
            .all(|it| it.outcome != Outcome::Blocked)
    );
}

/// A list with [`APP`] and so many more.
fn list_of(more: u32, uid: u32) -> String {
    let line =
        |name: &str, uid: u32| format!("{name} {uid} 0 /data/user/0/{name} default none\n");
    let others =
        (0..more).map(|number| line(&format!("com.example.n{number}"), 11_000 + number));
    others.chain([line(APP, uid)]).collect()
}

#[test]
fn apps_that_come_and_go_are_known_at_once() {
    let lab = Lab::new();
    let rule =
        format!("[[rule]]\nname = \"one.example\"\napp = \"{APP}\"\naction = \"block\"\n");
    let daemon = start(&lab, &rule);
    let list = lab.folder().join("packages.list");
    let replace = |text: &str| {
        let fresh = lab.folder().join("packages.list.tmp");
        std::fs::write(&fresh, text).expect("the lab's folder is there");
        std::fs::rename(&fresh, &list).expect("the lab's folder is there");
    };
    let is_refused = |uid: u32| {
        let dns = addresses(Family::V4).dns;
        let dig = format!("dig +tries=1 +time=2 @{dns} one.example A");
        lab.phone_as(uid, &dig).ok().contains("status: NXDOMAIN")
    };
    let limit = Duration::from_secs(6);
    assert!(is_refused(APP_UID) && !is_refused(OTHER_UID));
    // Installed again, under another number, among two thousand.
    replace(&list_of(2000, OTHER_UID));
    wait_for("the new list", limit, || is_refused(OTHER_UID));
    assert!(!is_refused(APP_UID));
    assert_eq!(status(&lab, &daemon).packages, 2001);
    // What is missing, empty or cut changes nothing, and is said.
    let warning = || status(&lab, &daemon).warnings.join("\n");
    let whole = list_of(2000, APP_UID);
    let cut = &whole[..whole.len() - 30];
    for (text, said) in [(cut, "ends in half a line"), ("", "is empty")] {
        std::fs::write(&list, text).expect("the lab's folder is there");
        wait_for(said, limit, || warning().contains(said));
        assert!(is_refused(OTHER_UID), "{said}");
    }
    std::fs::remove_file(&list).expect("it is there");
    let told = ask(&lab, &daemon, "reload").ok();
    assert!(told.contains("2001 packages"), "{told}");
    assert!(warning().contains("cannot read"), "{}", warning());
    assert!(is_refused(OTHER_UID));
    // Replaced again and again while it is read.
    for number in 0..200 {
        replace(&list_of(2000, 13_000 + number));
    }
    replace(&list_of(2000, APP_UID));
    wait_for("the last list", limit, || is_refused(APP_UID));
    assert!(!is_refused(OTHER_UID));
    assert_eq!(warning(), "");
}

/// A control group for one process of `uid`, as Android makes it.
struct ProcessGroup {
    folder: PathBuf,
}

impl ProcessGroup {
    /// Makes it for `pid` and puts that into it.
    fn new(mount: &Path, uid: u32, pid: u32) -> Self {
        let folder = mount.join(format!("uid_{uid}/pid_{pid}"));
        std::fs::create_dir_all(&folder).expect("root may");
        let group = Self { folder };
        let procs = group.folder.join("cgroup.procs");
        std::fs::write(procs, pid.to_string()).expect("root may");
        group
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // Not while its process lives.
        let gone = || std::fs::remove_dir(&self.folder).is_ok();
        wait_for("the process to end", Duration::from_secs(5), gone);
        let _others = self.folder.parent().map(std::fs::remove_dir);
    }
}

#[test]
fn of_packages_that_share_a_number_the_process_is_told() {
    // Nobody else's in the machine's control groups.
    let uid = 13_000 + std::process::id() % 1000;
    let mut lab = Lab::new();
    let mount = lab.control_groups();
    let daemon = start(&lab, "");
    let (one, two) = ("com.example.one", "com.example.two");
    let text = format!("{one} {uid} 0 /data/user/0/x default none\n");
    let list = text.clone() + &text.replace(one, two);
    std::fs::write(lab.folder().join("packages.list"), list).expect("the lab's folder");
    ask(&lab, &daemon, "reload").ok();
    let to = SocketAddr::new(addresses(Family::V4).sink, 8443);
    // It waits until it is in its group, and then for an answer that never comes.
    let [go, itself] = ["go", "pid"].map(|name| lab.folder().join(name));
    let script = lab.folder().join("script");
    let text = format!(
        "echo $$ > {}\nuntil test -e {}; do sleep 0.1; done\nexec setpriv --reuid={uid} --regid={uid} \
         --clear-groups curl --silent --max-time 3 http://{to}/\n",
        itself.display(),
        go.display()
    );
    std::fs::write(&script, text).expect("the lab's folder is there");
    lab.spawn(&format!("sh {}", script.display()));
    let mut pid = None;
    wait_for("the process", Duration::from_secs(5), || {
        let text = std::fs::read_to_string(&itself).unwrap_or_default();
        pid = text.trim_end().parse::<u32>().ok();
        pid.is_some()
    });
    let pid = pid.expect("waited for");
    let group = ProcessGroup::new(&mount, uid, pid);
    std::fs::write(&go, "").expect("the lab's folder is there");
    let told = record(&lab, &daemon, |it| it.remote == to);
    assert_eq!(
        (told.uid, told.attribution),
        (Some(uid), AttributionSource::Shared)
    );
    assert_eq!(told.process.as_deref(), Some("curl"), "{told:?}");
    let app = told.app.expect("both are known");
    assert_eq!(app, format!("{one}, {two} (shared uid {uid})"));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("it waits still");
    drop(group);
    nix::mount::umount(&mount).expect("mounted here");
}
