//! What was decided by command for a while ends with the clock, packet by packet, and needs nobody
//! for that. What is left to do then is to end the connections that were opened meanwhile, and to
//! say so.

use std::time::Duration;

use crate::clock;
use crate::decide::{Chosen, UnixSeconds};

/// The next end of something.
#[derive(Debug, Default)]
pub(super) struct Ends {
    next: Option<UnixSeconds>,
}

impl Ends {
    /// Waits for the next end of what is in `chosen`.
    pub(super) fn of(chosen: &Chosen) -> Self {
        let now = now();
        let choices = chosen.choices.iter().filter_map(|it| it.rule.until);
        let pause = chosen.pause.iter().filter(|pause| pause.holds(now));
        let ends = choices.chain(pause.map(|pause| pause.until));
        Self {
            next: ends.filter(|&end| now < end).min(),
        }
    }

    /// Waits until something has ended, for ever where nothing will. A timer that counts while the
    /// phone is awake: it wakes nobody, and is set once for each end.
    pub(super) async fn due(&self) {
        let Some(next) = self.next else {
            return std::future::pending().await;
        };
        // The clock may be set meanwhile, or the phone sleep.
        while let Some(seconds) = next.0.checked_sub(now().0).filter(|&left| left > 0) {
            tokio::time::sleep(Duration::from_secs(seconds.unsigned_abs())).await;
        }
    }
}

fn now() -> UnixSeconds {
    UnixSeconds::from_millis(clock::unix_millis())
}
