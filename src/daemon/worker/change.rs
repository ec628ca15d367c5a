//! What the user decides by command, while the worker runs.

use super::{Ends, Worker, now, send_ready};
use crate::choices::{Applied, Change, ChoicesFile};
use crate::control::protocol::Changed;
use crate::daemon::rules;

impl Worker {
    /// Changes what is decided by command: in the file and in force, or not at all.
    pub(super) async fn change(&mut self, change: &Change) -> Result<Changed, String> {
        let path = self.config_path.clone();
        let file = ChoicesFile::beside(path.as_deref());
        let locked = file.lock().map_err(|error| error.to_string())?;
        // Somebody may have edited it, and taken it apart: then what is in force is taken further.
        let (mut choices, warning) = match file.read_or_set_aside() {
            (choices, None) => (choices, None),
            (_, warning) => (self.loaded.choices.clone(), warning),
        };
        let applied = choices.apply(change, now(), &rules::boot_id());
        let Applied {
            done,
            about,
            wanted,
        } = applied.map_err(|error| error.to_string())?;
        let mut loaded = self.loaded.with_choices(choices);
        loaded.warnings.extend(warning);
        // An address that UDP is refused to is in the rules of the kernel, too.
        self.apply(&loaded)
            .map_err(|error| format!("{error:#}\nnothing has changed"))?;
        if let Err(error) = locked.write(&loaded.choices) {
            let before = self.filter.apply(&self.loaded, self.queues.numbers());
            if let Err(error) = before {
                log::error!("the rules in force are wider than they need be: {error:#}");
            }
            return Err(error.to_string());
        }
        drop(locked);
        self.swap(loaded);
        let open_ended = self.end_refused_since().await;
        let checked = about.map(|(target, app)| {
            let (ruleset, packages) = (&self.loaded.ruleset, &self.loaded.packages);
            target.check(ruleset, packages, app.as_ref(), wanted, now())
        });
        Ok(Changed::new(done, open_ended, checked, wanted))
    }

    /// Somebody may have written the file between its being read at the start and the control
    /// socket's being there.
    pub(super) fn catch_up_with_choices(&mut self) {
        let path = self.config_path.clone();
        let file = ChoicesFile::beside(path.as_deref());
        // Whoever is at it did not find the socket when he began; whoever comes later does.
        let locked = file.folder().exists().then(|| file.lock());
        if let Ok(choices) = file.read()
            && choices != self.loaded.choices
        {
            let loaded = self.loaded.with_choices(choices);
            match self.apply(&loaded) {
                Ok(_) => self.swap(loaded),
                Err(error) => {
                    log::error!("what was decided meanwhile is not in force: {error:#}")
                }
            }
        }
        drop(locked);
        self.heed_choices();
    }

    /// Waits for the next end of what was decided for a while, and tells the supervisor of a pause.
    pub(super) fn heed_choices(&mut self) {
        self.ends = Ends::of(self.loaded.ruleset.policy.chosen());
        if let Err(errno) = send_ready(&self.link, &self.loaded) {
            log::warn!("the supervisor does not hear how it is: {errno}");
        }
    }

    /// What was decided for a while no longer holds, by the clock.
    pub(super) fn something_has_ended(&mut self) {
        log::info!("what was decided by command for a while has ended");
        if let Some(ended) = self.end_open_connections() {
            log::info!("{ended}");
        }
        self.heed_choices();
    }
}
