//! After a fault: traffic flows within a second, and names are refused again.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use muzzle::firewall::Family;

use crate::clients::{A, UdpAsker, query, told};
use crate::lab::{Daemon, Lab, addresses, wait_for};
use crate::running::BLOCKED;

/// The contract's limit (docs/behaviour.md).
pub(crate) const RECOVERY: Duration = Duration::from_secs(1);
/// Until the worker is back: the pause after a first failure, and its start.
pub(crate) const RESTART: Duration = Duration::from_secs(5);

/// What an app is told of a name; none where it waited for longer than the contract allows.
pub(crate) fn fate(lab: &Lab, family: Family, name: &str) -> Option<ResponseCode> {
    let asker = UdpAsker::new(lab, addresses(family).dns);
    asker.wait_at_most(RECOVERY);
    asker.ask(&query(1, name, A)).map(|answer| told(&answer).0)
}

#[track_caller]
pub(crate) fn passes_in_both(lab: &Lab) {
    for family in Family::BOTH {
        let told = fate(lab, family, "free.example");
        assert_eq!(told, Some(ResponseCode::NoError), "{family}");
    }
}

#[track_caller]
pub(crate) fn blocks_again(lab: &Lab, daemon: &Daemon) {
    for family in Family::BOTH {
        wait_for("the worker to be back", RESTART, || {
            fate(lab, family, BLOCKED) == Some(ResponseCode::NXDomain)
        });
    }
    wait_for("its control socket", RESTART, || {
        std::os::unix::net::UnixStream::connect(&daemon.socket).is_ok()
    });
}
