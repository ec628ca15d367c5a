//! Connections that are open when rules come into force which refuse them: they are ended, as far
//! as it is known what host they are to.

use std::sync::Arc;

use crate::apps::SocketDiagnosis;
use crate::clock;
use crate::decide::{Outcome, UnixSeconds};
use crate::inspect::{Ruleset, judge_open};
use crate::queue::SocketDestroyer;
use crate::record::{ConnectionNames, Event, Log};

/// DNS over TCP is judged question by question.
const DNS_PORT: u16 = 53;

/// Ends the open connections that `ruleset` refuses, and records them; says how many that were.
/// Takes some 20 µs for each, and as much for a few dozens that stay.
pub(super) fn end_refused(ruleset: &Arc<Ruleset>, names: &ConnectionNames, log: &Log) -> u64 {
    match try_end_refused(ruleset, names, log) {
        Ok(ended) => ended,
        Err(error) => {
            log::warn!("cannot look for open connections ({error}): those that are stay");
            0
        }
    }
}

fn try_end_refused(
    ruleset: &Arc<Ruleset>,
    names: &ConnectionNames,
    log: &Log,
) -> std::io::Result<u64> {
    let open = SocketDiagnosis::open()?.open_connections()?;
    let destroyer = SocketDestroyer::open()?;
    let unix_millis = clock::unix_millis();
    let now = UnixSeconds::from_millis(unix_millis);
    let mut ended = 0;
    for socket in open {
        if socket.flow.remote.port() == DNS_PORT {
            continue;
        }
        let name = names.of(&socket.flow, socket.uid, now);
        let sighting = judge_open(socket.flow, socket.uid, name.as_ref(), now, ruleset);
        // Where the kernel cannot do it, a warning of the queues says so.
        if sighting.outcome == Outcome::Blocked
            && destroyer.destroy(&socket.flow, socket.interface).is_ok()
        {
            ended += 1;
            let event = Event {
                unix_millis,
                sighting,
                ruleset: Arc::clone(ruleset),
            };
            log.push(event, Vec::new(), None);
        }
    }
    Ok(ended)
}

/// What is said of it: nothing where there was none.
pub(super) fn in_words(ended: u64) -> Option<String> {
    match ended {
        0 => None,
        1 => Some("1 open connection ended".to_owned()),
        _ => Some(format!("{ended} open connections ended")),
    }
}
