//! A capture of real clients, made with no daemon about, is told as a daemon logs the same
//! traffic.

use std::net::SocketAddr;
use std::time::Duration;

use muzzle::decide::Outcome;
use muzzle::firewall::Family;
use muzzle::record::Record;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::clients::{NamePlace, TcpAsker, client_hello};
use crate::lab::{Lab, addresses, send, wait_for};
use crate::quic;
use crate::running::{BLOCKED, ask, config, records, start};

/// Blocked by a rule, blocked by the catalogue, protected by it, and unknown.
const NAMES: [&str; 4] = [
    BLOCKED,
    "data.mistat.xiaomi.com",
    "connect.rom.miui.com",
    "free.example",
];
/// Of these, those that pass: a client that is refused says more over TCP.
const OVER_QUIC: [&str; 2] = ["connect.rom.miui.com", "free.example"];
/// An alias of a name below [`BLOCKED`].
const CLOAKED: &str = "cloaked.example";
/// What the resolver knows.
const ZONE: [&str; 4] = [
    "--address=/#/198.51.100.7",
    "--address=/#/2001:db8:7::7",
    "--host-record=x.blocked.example,198.51.100.7,2001:db8:7::7",
    "--cname=cloaked.example,x.blocked.example",
];
/// Asked for when all else is done.
const LAST: &str = "last.example";
/// An interface as tcpdump is told it, and the link-layer header it is to write.
const CAPTURES: [(&str, &str, &str); 3] = [
    ("ethernet", "wlan0", "EN10MB"),
    ("cooked", "any", "LINUX_SLL"),
    ("cooked2", "any", "LINUX_SLL2"),
];

/// Each name on each way; what becomes of it is another matter.
fn traffic(lab: &Lab) {
    for family in Family::BOTH {
        let (dns, web) = (addresses(family).dns, addresses(family).web);
        lab.phone(&format!("dig +tries=1 +time=2 @{dns} {CLOAKED} AAAA"));
        for name in OVER_QUIC {
            assert!(quic::serves(lab, name, web), "{family} {name}");
        }
        let sink = SocketAddr::new(addresses(family).sink, 443);
        for name in NAMES {
            for tcp in ["+notcp", "+tcp"] {
                lab.phone(&format!("dig +tries=1 +time=2 {tcp} @{dns} {name} AAAA"));
            }
            let curl = |url: &str, port| {
                let to = SocketAddr::new(web, port);
                let to = format!("--connect-to ::{to}");
                lab.phone(&format!("curl -s --insecure --max-time 5 {to} {url}"));
            };
            curl(&format!("http://{name}/"), 80);
            curl(&format!("https://{name}/"), 443);
            // A port where no name is looked for.
            curl(&format!("http://{name}:8080/"), 8080);
            let web = SocketAddr::new(web, 443);
            lab.phone(&format!(
                "openssl s_client -connect {web} -tls1_2 -servername {name}"
            ));
            // In two segments, the name in the second.
            TcpAsker::new(lab, sink).send(&client_hello(name, NamePlace::Last));
        }
    }
    lab.dig(Family::V4, LAST, "A").ok();
}

/// How many sockets on the phone get every packet.
fn captures_running(lab: &Lab) -> usize {
    lab.phone("cat /proc/net/packet")
        .ok()
        .lines()
        .skip(1)
        .count()
}

/// What was sent where, and what came of it, in a form that both can be brought into.
type Told = [String; 6];

fn told_by_daemon(record: &Record) -> Told {
    let word = |value: Result<Value, _>| match value {
        Ok(Value::String(word)) => word,
        other => panic!("{other:?}"),
    };
    let action = match record.outcome {
        Outcome::Blocked => "block",
        _ => "allow",
    };
    [
        word(serde_json::to_value(record.evidence)),
        record.name.clone().unwrap_or_default(),
        word(serde_json::to_value(record.protocol)),
        record.remote.to_string(),
        action.to_owned(),
        record.reason.clone(),
    ]
}

fn told_by_replay(line: &Value) -> Told {
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let address = text("dst").parse().expect("an address");
    let port = line["dport"].as_u64().and_then(|port| port.try_into().ok());
    let remote = SocketAddr::new(address, port.expect("a port"));
    [
        text("evidence"),
        text("name"),
        text("proto"),
        remote.to_string(),
        text("action"),
        text("reason"),
    ]
}

#[test]
fn a_capture_is_told_as_the_daemon_logs_it() {
    let mut lab = Lab::with_dns(&ZONE);
    quic::start_servers(&mut lab, false);
    // Otherwise the kernel hands over as one what it cuts later.
    lab.phone.ip("link set wlan0 gso_max_segs 1");
    let file = |lab: &Lab, name: &str| format!("{}/{name}.pcap", lab.folder().display());
    let captures = CAPTURES.map(|(name, interface, link)| {
        let file = file(&lab, name);
        // Room for 2048 packets: with the usual lengths there is room for 8.
        let room = "--immediate-mode -s 4096 -B 8192";
        let pid = lab.spawn(&format!(
            "tcpdump -Z root -U {room} -i {interface} -y {link} -w {file}"
        ));
        Pid::from_raw(pid.cast_signed())
    });
    let limit = Duration::from_secs(5);
    wait_for("tcpdump", limit, || {
        captures_running(&lab) == captures.len()
    });
    traffic(&lab);
    for (name, _, _) in CAPTURES {
        let file = file(&lab, name);
        wait_for("the last packet", limit, || {
            let bytes = std::fs::read(&file).unwrap_or_default();
            bytes.windows(5).any(|bytes| bytes == b"\x04last")
        });
    }
    for pid in captures {
        send(pid, Signal::SIGTERM);
    }
    wait_for("tcpdump's end", limit, || captures_running(&lab) == 0);

    let daemon = start(&lab, "");
    traffic(&lab);
    // Two DNS queries, three hellos, a request and a connection a name; hellos over QUIC; a question
    // and an alias; and the last question.
    let count = Family::BOTH.len() * (NAMES.len() * 7 + OVER_QUIC.len() + 2) + 1;
    wait_for("the daemon's log", limit, || {
        records(&lab, &daemon).len() >= count
    });
    let mut logged: Vec<_> = records(&lab, &daemon).iter().map(told_by_daemon).collect();
    logged.sort();
    assert_eq!(logged.len(), count, "{logged:#?}");
    let blocked = logged.iter().filter(|told| told[4] == "block").count();
    assert_eq!(blocked, Family::BOTH.len() * (2 * 6 + 1), "{logged:#?}");

    for (name, _, _) in CAPTURES {
        let replay = format!("replay --all --json {}", file(&lab, name));
        let finished = ask(&lab, &daemon, &replay);
        let parse = |line| serde_json::from_str::<Value>(line).expect("each line is JSON");
        let lines: Vec<_> = finished.ok().lines().map(parse).collect();
        let mut replayed: Vec<_> = lines.iter().map(told_by_replay).collect();
        replayed.sort();
        assert_eq!(replayed, logged, "{name}");
        assert!(
            finished
                .stderr
                .contains("(0 of them malformed), 7 names seen")
        );
        assert!(lines.iter().map(|line| line["time"].as_str()).is_sorted());
    }
    // Only what somebody knows, for people.
    let finished = ask(&lab, &daemon, &format!("replay {}", file(&lab, "cooked")));
    let text = finished.ok();
    for name in NAMES {
        assert_eq!(text.contains(name), name != "free.example", "{text}");
    }
    let config_text = config(&lab, "mode = \"observe\"");
    std::fs::write(&daemon.config, config_text).expect("the lab's folder is there");
    let finished = ask(&lab, &daemon, &format!("replay {}", file(&lab, "ethernet")));
    assert!(finished.ok().contains("would block"), "{}", finished.stdout);
    let summary = format!("{blocked} would be blocked");
    assert!(finished.stderr.contains(&summary), "{}", finished.stderr);
}
