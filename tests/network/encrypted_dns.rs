//! Encrypted DNS: shown, and that of the system refused where it then asks in the open.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use muzzle::decide::{ENCRYPTED_DNS_PORT, Outcome};
use muzzle::firewall::Family;
use muzzle::record::EvidenceKind;
use nix::unistd::Uid;
use socket2::{Domain, Socket, Type};

use crate::clients::AT_ONCE;
use crate::lab::{APP_UID, Lab, addresses, wait_for};
use crate::quic;
use crate::running::{records, reload, start};

const SHOWN: &str = "DNS over TLS or QUIC: the questions in it are not seen";
const FALL_BACK: &str = "[encrypted_dns]\npolicy = \"fall-back\"\n";

/// `AID_DNS` (system/core, `android_filesystem_config.h`).
const AID_DNS: Uid = Uid::from_raw(1051);

/// A resolver that takes DNS over TLS, as far as its connections go.
struct Resolver {
    address: SocketAddr,
    _listener: TcpListener,
}

impl Resolver {
    fn start(lab: &Lab, family: Family) -> Self {
        let address = SocketAddr::new(addresses(family).web, ENCRYPTED_DNS_PORT);
        let listener = lab.internet.within(|| TcpListener::bind(address));
        Self {
            address,
            _listener: listener.expect("nobody else listens there"),
        }
    }

    /// Whether root can connect to it with a socket of its own.
    fn takes_root(&self, lab: &Lab) -> bool {
        self.takes(lab, None)
    }

    /// Whether the system's resolver can: as root, with a socket that it has given to `AID_DNS`.
    fn takes_system(&self, lab: &Lab) -> bool {
        self.takes(lab, Some(AID_DNS))
    }

    fn takes(&self, lab: &Lab, owner: Option<Uid>) -> bool {
        let connect = || {
            let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
            if owner.is_some() {
                nix::unistd::fchown(&socket, owner, None)?;
            }
            socket.connect_timeout(&self.address.into(), AT_ONCE)
        };
        match lab.phone.within(connect) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => false,
            Err(error) => panic!("neither taken nor refused: {error}"),
        }
    }

    /// Whether an app can.
    fn takes_app(&self, lab: &Lab) -> bool {
        // What curl says of a connection that could not be made.
        const CANNOT_CONNECT: Option<i32> = Some(7);
        let line = format!("curl --silent --max-time 1 telnet://{}", self.address);
        lab.phone_as(APP_UID, &line).code != CANNOT_CONNECT
    }
}

/// A phone whose `settings` answers so.
fn have_settings_say(lab: &Lab, mode: &str) {
    let folder = lab.folder().join("bin");
    std::fs::create_dir_all(&folder).expect("the lab's folder");
    let program = folder.join("settings");
    let text =
        format!("#!/bin/sh\n[ \"$3\" = private_dns_mode ] && echo {mode} || echo null\n");
    std::fs::write(&program, text).expect("the lab's folder");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, executable).expect("its own file");
}

#[test]
fn dns_over_tls_is_shown() {
    let lab = Lab::bare();
    let daemon = start(&lab, "");
    for family in Family::BOTH {
        let resolver = Resolver::start(&lab, family);
        assert!(resolver.takes_root(&lab), "{family}");
        let shown = || {
            let of_it = |it: &&muzzle::record::Record| it.remote == resolver.address;
            let records = records(&lab, &daemon);
            records.iter().find(of_it).cloned()
        };
        wait_for("a record", Duration::from_secs(3), || shown().is_some());
        let record = shown().expect("waited for");
        assert_eq!(record.outcome, Outcome::Logged, "{family}");
        assert_eq!(record.reason, SHOWN);
    }
}

/// DNS over QUIC as far as its connections go, by aioquic as `AID_DNS`, as root and as an app.
#[test]
fn dns_over_quic_is_shown_and_that_of_the_system_falls_back() {
    let mut lab = Lab::bare();
    lab.start_https(&[]);
    quic::start_server(&mut lab, ENCRYPTED_DNS_PORT, false);
    for (setting, falls_back) in [("opportunistic", true), ("strict", false)] {
        let text = format!("{FALL_BACK}private_dns = \"{setting}\"");
        let daemon = start(&lab, &text);
        // The history has those of the daemon before.
        let before = records(&lab, &daemon).len();
        for family in Family::BOTH {
            let case = format!("{family} {setting}");
            let remote = SocketAddr::new(addresses(family).web, ENCRYPTED_DNS_PORT);
            for (uid, is_system) in [(AID_DNS.as_raw(), true), (0, false), (APP_UID, false)] {
                let run = |line: &str| lab.phone_as(uid, line);
                let client = quic::client_with(run, "dns.example", remote, "");
                let refused = client.quic != "served";
                assert_eq!(refused, falls_back && is_system, "{case} {uid}: {client:?}");
            }
            let seen = |outcome| {
                let of_it = |it: &muzzle::record::Record| {
                    it.remote == remote && it.outcome == outcome && it.name.is_some()
                };
                records(&lab, &daemon).into_iter().skip(before).find(of_it)
            };
            wait_for("a record", Duration::from_secs(3), || {
                seen(Outcome::Logged).is_some()
            });
            let shown = seen(Outcome::Logged).expect("waited for");
            assert_eq!(
                (shown.reason.as_str(), shown.evidence),
                (SHOWN, EvidenceKind::Sni)
            );
            assert_eq!(seen(Outcome::Blocked).is_some(), falls_back, "{case}");
        }
        assert!(daemon.stop().success());
    }
}

#[test]
fn that_of_the_system_falls_back_where_private_dns_is_automatic() {
    let lab = Lab::bare();
    for (setting, falls_back) in [("opportunistic", true), ("strict", false), ("off", false)] {
        let text = format!("{FALL_BACK}private_dns = \"{setting}\"");
        let daemon = start(&lab, &text);
        for family in Family::BOTH {
            let resolver = Resolver::start(&lab, family);
            let case = format!("{family} {setting}");
            assert_eq!(resolver.takes_system(&lab), !falls_back, "{case}");
            assert!(resolver.takes_root(&lab), "{case}");
            assert!(resolver.takes_app(&lab), "{case}");
        }
        assert!(daemon.stop().success());
    }
}

/// What it says may change while the daemon runs.
#[test]
fn android_is_asked_how_private_dns_is_set() {
    let lab = Lab::bare();
    have_settings_say(&lab, "hostname");
    let daemon = start(&lab, FALL_BACK);
    let resolver = Resolver::start(&lab, Family::V4);
    assert!(resolver.takes_system(&lab));
    have_settings_say(&lab, "opportunistic");
    reload(&lab, &daemon, FALL_BACK).ok();
    wait_for("the setting to be heeded", Duration::from_secs(5), || {
        !resolver.takes_system(&lab)
    });
    // A change of interfaces comes with a change of the setting often enough.
    have_settings_say(&lab, "off");
    lab.phone.ip("link add other type veth peer name another");
    wait_for("the setting to be heeded", Duration::from_secs(8), || {
        resolver.takes_system(&lab)
    });
}
