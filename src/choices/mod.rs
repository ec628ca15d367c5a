//! What the user decides by command (`muzzle allow`, `block`, `pause`, `undo`): a list in the order
//! in which it was decided, kept in a file beside the config. It is a record at the same time: the
//! last line is what `undo` takes back, and what it had covered counts again, also where it ends by
//! itself.

mod file;
mod target;
mod written;

use serde::{Deserialize, Serialize};

use crate::apps::PackageName;
use crate::clock;
use crate::decide::{Action, Choice, Chosen, Pause, Rule, UnixSeconds};
pub use file::{ChoicesFile, FileError, LockedChoices};
pub use target::Target;

/// So many of the newest are kept for `undo` although others cover them for good.
const UNDO: usize = 20;
/// Most there are. Who wants more writes rules.
const MAX: usize = 1000;
/// Longest time that something can be allowed or blocked for, in seconds: ten years.
const MAX_FOR_SECONDS: u64 = 10 * 366 * 86_400;

/// A change, as a command asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// Let a host or an address pass.
    Allow(Wish),
    /// Refuse it.
    Block(Wish),
    /// Let everything pass for a while.
    Pause {
        /// For how many seconds.
        for_secs: u64,
    },
    /// End the pause.
    Resume,
    /// Take the last one back, or the last one about `target` and `app`.
    Undo {
        /// As people write it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        target: Option<String>,
        /// A package.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        app: Option<String>,
    },
}

/// What to allow or block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// A host, `*.host`, an address or a URL, as people write them.
    pub target: String,
    /// A package; all apps where absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app: Option<String>,
    /// For how many seconds; until it is taken back where absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub for_secs: Option<u64>,
}

impl Change {
    /// Whether it makes sense, whatever was decided before.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self) -> Result<(), ChangeError> {
        match self {
            Self::Allow(wish) | Self::Block(wish) => wish.read().map(drop),
            Self::Pause { for_secs } => check_pause(*for_secs),
            Self::Resume => Ok(()),
            Self::Undo { target, app } => about(target.as_deref(), app.as_deref()).map(drop),
        }
    }
}

impl Wish {
    fn read(&self) -> Result<(Target, Option<PackageName>), ChangeError> {
        let target = Target::from_text(&self.target).map_err(ChangeError)?;
        let app = self.app.as_deref().map(package).transpose()?;
        match self.for_secs {
            Some(0) | Some(MAX_FOR_SECONDS..) => {
                let message = "the time must be at least a second and less than ten years";
                Err(ChangeError(message.to_owned()))
            }
            _ => Ok((target, app)),
        }
    }
}

fn check_pause(for_secs: u64) -> Result<(), ChangeError> {
    if (1..=Pause::MAX_SECONDS.unsigned_abs()).contains(&for_secs) {
        return Ok(());
    }
    let message = "a pause lasts a second at least and a day at most; to see what would be \
        blocked without blocking it for longer, set mode = \"observe\" in the config";
    Err(ChangeError(message.to_owned()))
}

/// What to take back: the last one about these; about anything where there is no target.
fn about(
    target: Option<&str>,
    app: Option<&str>,
) -> Result<Option<(Target, Option<PackageName>)>, ChangeError> {
    let app = app.map(package).transpose()?;
    match target {
        Some(target) => {
            let target = Target::from_text(target).map_err(ChangeError)?;
            Ok(Some((target, app)))
        }
        None if app.is_none() => Ok(None),
        None => {
            let message = "name what was allowed or blocked for that app";
            Err(ChangeError(message.to_owned()))
        }
    }
}

/// Why a change cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChangeError(pub String);

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// A sentence for the user.
    pub done: String,
    /// What the change was about, and for which app.
    pub about: Option<(Target, Option<PackageName>)>,
    /// What was asked for it.
    pub wanted: Option<Action>,
}

/// One thing that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// When.
    pub made: UnixSeconds,
    /// What.
    pub what: What,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are few of them, and most are the large one"
)]
pub enum What {
    /// A host or an address is allowed or blocked.
    Rule(Rule),
    /// Everything passes, in one boot of the phone.
    Pause {
        /// When it ends.
        until: UnixSeconds,
        /// `/proc/sys/kernel/random/boot_id` of that boot.
        boot_id: String,
    },
}

/// All that was decided and may still count, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices(Vec<Decided>);

impl Choices {
    /// The list, the oldest first.
    #[must_use]
    pub fn list(&self) -> &[Decided] {
        &self.0
    }

    /// What of it has not ended.
    #[must_use]
    pub fn in_force(mut self, now: UnixSeconds, boot_id: &str) -> Self {
        self.drop_ended(now, boot_id);
        self
    }

    /// Carries `change` out, and drops what has ended. `boot_id` is that of this boot.
    ///
    /// # Errors
    /// It cannot be: then nothing has changed.
    pub fn apply(
        &mut self,
        change: &Change,
        now: UnixSeconds,
        boot_id: &str,
    ) -> Result<Applied, ChangeError> {
        let mut next = self.clone().in_force(now, boot_id);
        let applied = match change {
            Change::Allow(wish) => next.choose(Action::Allow, wish, now)?,
            Change::Block(wish) => next.choose(Action::Block, wish, now)?,
            Change::Pause { for_secs } => next.pause(*for_secs, now, boot_id)?,
            Change::Resume => next.resume(),
            Change::Undo { target, app } => next.undo(target.as_deref(), app.as_deref())?,
        };
        next.drop_covered();
        if next.0.len() > MAX {
            return Err(ChangeError(format!(
                "there are {MAX} of them already; take some back (`muzzle undo NAME`), or write \
                 [[rule]] sections into the config"
            )));
        }
        *self = next;
        Ok(applied)
    }

    /// What of it decides, in the boot with this id.
    #[must_use]
    pub fn chosen(&self, boot_id: &str) -> Chosen {
        let choices = self.0.iter().filter_map(|decided| match &decided.what {
            What::Rule(rule) => Some(Choice {
                rule: rule.clone(),
                made: decided.made,
                when: decided.when().into(),
            }),
            What::Pause { .. } => None,
        });
        Chosen {
            choices: choices.collect(),
            pause: self.last_pause(boot_id).map(|(made, until)| Pause {
                until,
                when: format!("until {}", clock::face(until, Some(made))).into(),
            }),
        }
    }

    /// When the last pause began and when it ends, over or not; none where it was in another boot.
    fn last_pause(&self, boot_id: &str) -> Option<(UnixSeconds, UnixSeconds)> {
        let last = self.0.iter().rev().find_map(|decided| match &decided.what {
            What::Pause { until, boot_id } => Some((decided.made, *until, boot_id)),
            What::Rule(_) => None,
        });
        last.filter(|(_, _, id)| *id == boot_id)
            .map(|(made, until, _)| (made, until))
    }

    fn choose(
        &mut self,
        action: Action,
        wish: &Wish,
        now: UnixSeconds,
    ) -> Result<Applied, ChangeError> {
        let (target, app) = wish.read()?;
        let rule = Rule {
            app: app.clone(),
            until: wish.for_secs.map(|seconds| later(now, seconds)),
            ..target.rule(action)
        };
        let decided = Decided {
            made: now,
            what: What::Rule(rule),
        };
        let done = decided.to_string();
        self.0.push(decided);
        Ok(Applied {
            done,
            about: Some((target, app)),
            wanted: Some(action),
        })
    }

    fn pause(
        &mut self,
        for_secs: u64,
        now: UnixSeconds,
        boot_id: &str,
    ) -> Result<Applied, ChangeError> {
        check_pause(for_secs)?;
        let until = later(now, for_secs);
        let what = What::Pause {
            until,
            boot_id: boot_id.to_owned(),
        };
        self.0.push(Decided { made: now, what });
        Ok(Applied {
            done: format!(
                "paused until {}: everything passes",
                clock::face(until, Some(now))
            ),
            about: None,
            wanted: None,
        })
    }

    fn resume(&mut self) -> Applied {
        let before = self.0.len();
        self.0
            .retain(|decided| matches!(decided.what, What::Rule(_)));
        let done = if self.0.len() < before {
            "the pause is over"
        } else {
            "there was no pause"
        };
        Applied {
            done: done.to_owned(),
            about: None,
            wanted: None,
        }
    }

    fn undo(
        &mut self,
        target: Option<&str>,
        app: Option<&str>,
    ) -> Result<Applied, ChangeError> {
        let wanted = about(target, app)?;
        let index = match &wanted {
            None => self.0.len().checked_sub(1),
            Some(_) => self.0.iter().rposition(|it| it.about() == wanted),
        };
        let Some(index) = index else {
            return Err(ChangeError(match wanted {
                None => "there is nothing to take back".to_owned(),
                Some((target, app)) => {
                    let app = app.map(|app| format!(" for {app}")).unwrap_or_default();
                    format!(
                        "nothing was decided about {target}{app} by command, or it has ended; \
                         `muzzle choices` shows what was"
                    )
                }
            }));
        };
        let decided = self.0.remove(index);
        Ok(Applied {
            done: format!("taken back: {decided}"),
            about: decided.about(),
            wanted: None,
        })
    }

    /// What has ended by itself cannot count again. A pause that is over ends those before it, too.
    fn drop_ended(&mut self, now: UnixSeconds, boot_id: &str) {
        let last = self.last_pause(boot_id);
        let is_paused = last.is_some_and(|(_, until)| Pause::is_within(until, now));
        self.0.retain(|decided| match &decided.what {
            What::Rule(rule) => rule.until.is_none_or(|until| now < until),
            What::Pause { boot_id: id, .. } => is_paused && id == boot_id,
        });
    }

    /// What later ones cover for good is only of use to `undo`.
    fn drop_covered(&mut self) {
        let old = self.0.len().saturating_sub(UNDO);
        let is_covered = |index: usize| {
            let (before, later) = self.0.split_at(index + 1);
            before
                .last()
                .is_some_and(|it| later.iter().any(|other| other.covers(it)))
        };
        let covered: Vec<bool> = (0..self.0.len())
            .map(|index| index < old && is_covered(index))
            .collect();
        let mut covered = covered.into_iter();
        self.0.retain(|_| !covered.next().unwrap_or(false));
    }
}

impl Decided {
    /// What it is about, and for which app; nothing for a pause.
    fn about(&self) -> Option<(Target, Option<PackageName>)> {
        match &self.what {
            What::Rule(rule) => Target::of(rule).map(|target| (target, rule.app.clone())),
            What::Pause { .. } => None,
        }
    }

    /// Whether `before`, which was decided earlier, cannot count while this one does, nor after it.
    fn covers(&self, before: &Self) -> bool {
        match (&self.what, &before.what) {
            (What::Pause { .. }, What::Pause { .. }) => true,
            (What::Rule(rule), What::Rule(old)) => {
                (&rule.name, rule.address, &rule.app) == (&old.name, old.address, &old.app)
                    && rule
                        .until
                        .is_none_or(|until| old.until.is_some_and(|it| it <= until))
            }
            _ => false,
        }
    }

    /// `of 2026-11-20 12:44, until 12:54`.
    fn when(&self) -> String {
        let until = match &self.what {
            What::Rule(rule) => rule.until,
            What::Pause { until, .. } => Some(*until),
        };
        let until =
            until.map(|until| format!(", until {}", clock::face(until, Some(self.made))));
        let made = clock::face(self.made, None);
        format!("of {made}{}", until.unwrap_or_default())
    }
}

impl std::fmt::Display for Decided {
    /// `allow example.com (of 2026-11-20 12:44, until 12:54)`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.what {
            What::Rule(rule) => write!(out, "{rule} ({})", self.when()),
            What::Pause { .. } => write!(out, "pause ({})", self.when()),
        }
    }
}

fn package(text: &str) -> Result<PackageName, ChangeError> {
    PackageName::from_text(text).map_err(|error| ChangeError(format!("--app {text}: {error}")))
}

fn later(now: UnixSeconds, seconds: u64) -> UnixSeconds {
    UnixSeconds(now.0.saturating_add_unsigned(seconds))
}

#[cfg(test)]
mod tests;
