//! Takes the chains away, also where another program holds the lock of the tables just then: the
//! queues are gone by that time, so that the rules let everything pass and there is time.

use std::time::Duration;

use crate::firewall::{Error, Iptables};

/// How long one try waits for the lock. Whoever wants Muzzle gone is not kept waiting: the queues
/// go after that, and with them the rules' effect.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// From one try to the next.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// After that the rules stay, which is said. The next start replaces them.
const TRIES: u32 = 60;

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swept {
    /// No chain of ours is left.
    Clean,
    /// Another program works on the tables: worth another try.
    NotYet,
    /// What is left cannot be taken away; why was said.
    Never,
}

/// The chains are to go.
#[derive(Debug)]
pub(super) struct Sweep {
    iptables: Iptables,
    tries: u32,
}

impl Sweep {
    pub(super) fn new(iptables: Iptables) -> Self {
        Self {
            iptables: iptables.with_lock_wait(LOCK_WAIT),
            tries: 0,
        }
    }

    /// Tries once; takes as long as [`LOCK_WAIT`] where the lock is held.
    pub(super) fn attempt(&mut self) -> Swept {
        self.tries += 1;
        let Err(errors) = self.iptables.remove() else {
            return Swept::Clean;
        };
        let again = self.tries < TRIES && errors.iter().any(Error::is_for_now);
        // Once at the beginning and once at the end.
        if self.tries == 1 || !again {
            for error in errors {
                log::error!("{:#}", anyhow::Error::new(error));
            }
        }
        match (again, self.tries) {
            (true, 1) => log::warn!("the rules stay for now, and let everything pass"),
            (true, _) => {}
            (false, _) => log::error!("rules are left, and let everything pass"),
        }
        if again { Swept::NotYet } else { Swept::Never }
    }
}
