//! Why, in words: for the log, the command line and the web page.

use std::fmt;

use super::{
    Action, Choice, Decision, Outcome, Pause, Policy, Reason, Rule, RuleId, UnixSeconds,
};
use crate::catalogue::{Category, Endpoint, Pattern};

/// Everything there is to say of one decision.
#[derive(Clone, Copy, Debug)]
pub struct Explanation<'p> {
    /// The decision itself.
    pub decision: Decision,
    /// What came of it.
    pub outcome: Outcome,
    /// The rule that decided, with its number.
    pub rule: Option<(RuleId, &'p Rule)>,
    /// What the user decided by command, where that decided.
    pub choice: Option<&'p Choice>,
    /// The pause that lets it pass.
    pub pause: Option<&'p Pause>,
    /// The catalogue entry that decided.
    pub endpoint: Option<&'p Endpoint>,
    /// The preset made something else of the entry than what the entry itself says.
    pub preset_changed_it: bool,
}

impl<'p> Explanation<'p> {
    pub(super) fn new(policy: &'p Policy, decision: Decision, now: UnixSeconds) -> Self {
        let rule = match decision.reason {
            Reason::Rule(id) => numbered(policy.rules(), id),
            _ => None,
        };
        let choice = match decision.reason {
            Reason::Choice(id) => place(&policy.chosen().choices, id),
            _ => None,
        };
        let outcome = policy.outcome(&decision, now);
        let endpoint = match decision.reason {
            Reason::Protected(id) | Reason::Catalogue(id) => policy.endpoint(id),
            _ => None,
        };
        Self {
            decision,
            outcome,
            rule,
            choice,
            pause: policy.pause(now).filter(|_| outcome == Outcome::WouldBlock),
            endpoint,
            preset_changed_it: endpoint.is_some_and(|entry| entry.action != decision.action),
        }
    }

    /// What may stop working, as far as the catalogue knows; `None` where nothing is refused.
    #[must_use]
    pub fn breaks(&self) -> Option<&'p str> {
        let endpoint = self.endpoint?;
        let refused = matches!(self.outcome, Outcome::Blocked | Outcome::WouldBlock);
        refused.then_some(endpoint.breaks.as_str())
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.decision.reason, self.rule, self.endpoint) {
            _ if let Some(choice) = self.choice => {
                write!(out, "your choice {}: {}", choice.when, choice.rule)?;
            }
            (_, Some((id, rule)), _) => write!(out, "your rule {id}: {rule}")?,
            (Reason::Protected(_), _, Some(entry)) => {
                write!(out, "essential service: {} ({})", entry.system, entry.owner)?;
            }
            (_, _, Some(entry)) if let Pattern::Path(path) = &entry.pattern => {
                write!(
                    out,
                    "looks like {} ({}): a request of {path}…",
                    entry.system, entry.owner
                )?;
            }
            (_, _, Some(entry)) => {
                let purpose = purpose(entry.category);
                write!(
                    out,
                    "catalogue: {purpose}, {} ({})",
                    entry.system, entry.owner
                )?;
            }
            (Reason::EncryptedDns, ..) if self.decision.action == Action::Block => {
                out.write_str(
                    "encrypted DNS of the system: refused, so that it asks in the open",
                )?;
            }
            (Reason::EncryptedDns, ..) => {
                out.write_str("DNS over TLS or QUIC: the questions in it are not seen")?;
            }
            _ => out.write_str("not in the catalogue and no rule for it")?,
        }
        if self.preset_changed_it {
            out.write_str("; decided by the preset")?;
        }
        if let Some(pause) = self.pause {
            write!(out, "; it passes: paused {}", pause.when)?;
        }
        Ok(())
    }
}

fn numbered(rules: &[Rule], id: RuleId) -> Option<(RuleId, &Rule)> {
    Some((id, place(rules, id)?))
}

/// What `id` stands for, counted from 1.
fn place<T>(list: &[T], id: RuleId) -> Option<&T> {
    list.get(usize::try_from(id.0).ok()?.checked_sub(1)?)
}

const fn purpose(category: Category) -> &'static str {
    match category {
        Category::Telemetry => "telemetry",
        Category::Crash => "crash reports",
        Category::Ads => "advertising",
        Category::Config => "configuration of telemetry and ads",
        Category::Httpdns => "name resolution past the system resolver",
        Category::EncryptedDns => "encrypted DNS: the questions in it are not seen",
        Category::Push => "push messages",
        Category::Ota => "updates",
        Category::Cloud => "the user's cloud data",
        Category::Functional => "a feature that users see",
        Category::Essential => "essential service",
    }
}
