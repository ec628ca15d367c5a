//! The policy: one immutable snapshot of everything that decides, built whole and swapped whole.
//!
//! The order, first answer wins:
//!
//! 1. the user's rule that names this very host,
//! 2. protected essentials of the catalogue, by name: the most specific entry of a name says
//!    whether it is protected,
//! 3. the user's other rules: app and name, name, app and address, app, address, path, port,
//! 4. encrypted DNS of the system, where that is to fall back to plain DNS,
//! 5. the catalogue, by name, then by address, then by path, read through the preset,
//! 6. everything else passes; DNS over TLS or QUIC is shown.
//!
//! Inside a step the most specific name wins, then what was decided by command (the newest first),
//! then the rule with more conditions, then the milder action (allow, log, block), then the earlier
//! rule.
//!
//! At a SYN only addresses are known. Rules and catalogue ranges with an address decide there and
//! then; a block that rests on the app or the port alone waits where a name follows, because the
//! name may be an essential one.
//!
//! The aliases in a DNS answer are judged by the same order, one by one from the question on, and
//! only while nothing knows the names before: the first that is known decides.

use std::cmp::Reverse;
use std::sync::Arc;

use super::encrypted_dns;
use super::rule_index::{Context, RuleIndex};
use super::{
    Action, AddressSet, Chosen, Decision, EncryptedDns, EndpointId, Explanation, Facts, Mode,
    NamePattern, NameSet, Outcome, Pause, PrivateDns, Reason, Rule, UnixSeconds,
};
use crate::apps::Packages;
use crate::catalogue::{Catalogue, Endpoint, Pattern, Preset};
use crate::parse::DomainName;

/// One snapshot of everything that decides.
#[derive(Clone, Debug)]
pub struct Policy {
    mode: Mode,
    preset: Preset,
    rules: Box<[Rule]>,
    chosen: Chosen,
    rule_index: RuleIndex,
    catalogue: Arc<Catalogue>,
    names: NameSet<Listed>,
    addresses: AddressSet<Listed>,
    /// The longest first.
    paths: Vec<(Box<[u8]>, Listed)>,
    /// Encrypted DNS of the system is refused.
    falls_back: bool,
}

/// An endpoint as the preset reads it. The order is the order of preference among entries for
/// the very same name or range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    is_unprotected: bool,
    action: Action,
    id: EndpointId,
}

impl Policy {
    /// Sorts everything into its place. `packages` turns the apps of rules into uids: compile
    /// again when it changes.
    #[must_use]
    pub fn compile(
        mode: Mode,
        preset: Preset,
        rules: &[Rule],
        catalogue: Arc<Catalogue>,
        packages: &Packages,
    ) -> Self {
        let mut policy = Self {
            mode,
            preset,
            rules: rules.into(),
            chosen: Chosen::default(),
            rule_index: RuleIndex::compile(rules, &[], packages),
            catalogue: Arc::clone(&catalogue),
            names: NameSet::default(),
            addresses: AddressSet::default(),
            paths: Vec::new(),
            falls_back: false,
        };
        for (id, endpoint) in (0..).map(EndpointId).zip(&catalogue.endpoints) {
            policy.list(id, endpoint);
        }
        policy
            .paths
            .sort_by_key(|(path, listed)| (Reverse(path.len()), *listed));
        policy
    }

    /// The same with what the user decided by command. `packages` as with [`Self::compile`].
    #[must_use]
    pub fn with_chosen(mut self, chosen: &Chosen, packages: &Packages) -> Self {
        self.rule_index = RuleIndex::compile(&self.rules, &chosen.choices, packages);
        self.chosen = chosen.clone();
        self
    }

    /// The same with what is done about encrypted DNS. A `setting` that is not known to have the
    /// system fall back is left alone: without its one server it would resolve nothing.
    #[must_use]
    pub fn with_encrypted_dns(mut self, wanted: EncryptedDns, setting: PrivateDns) -> Self {
        self.falls_back =
            wanted == EncryptedDns::FallBack && setting == PrivateDns::Opportunistic;
        self
    }

    fn list(&mut self, id: EndpointId, endpoint: &Endpoint) {
        let listed = Listed {
            is_unprotected: !endpoint.is_protected(),
            action: self.preset.action(endpoint),
            id,
        };
        let place = match &endpoint.pattern {
            Pattern::Exact(name) => self.names.place(&NamePattern::Exact(name.clone())),
            Pattern::Suffix(name) => self.names.place(&NamePattern::Suffix(name.clone())),
            Pattern::Range(range) => {
                let place = self.addresses.or_insert_with(*range, || listed);
                *place = listed.min(*place);
                return;
            }
            Pattern::Path(path) => {
                self.paths.push((path.as_bytes().into(), listed));
                return;
            }
        };
        *place = Some(place.map_or(listed, |other| listed.min(other)));
    }

    /// Decides. Total, without allocation, input/output or clock: `now` is handed in for rules
    /// that end.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>, now: UnixSeconds) -> Decision {
        let context = Context::new(facts, now);
        let name = facts.evidence.name();
        if let Some(rule) = name.and_then(|name| self.rule_index.naming_host(name, &context)) {
            return rule.decision();
        }
        let listed = name.and_then(|name| self.names.most_specific(name));
        if let Some(entry) = listed.filter(|entry| !entry.is_unprotected) {
            return Decision {
                action: Action::Allow,
                reason: Reason::Protected(entry.id),
            };
        }
        if let Some(rule) = self.rule_index.other(name, &context) {
            return rule.decision();
        }
        let category = || Some(self.endpoint(listed?.id)?.category);
        if self.falls_back && encrypted_dns::is_of_system(facts, category()) {
            return Decision {
                action: Action::Block,
                reason: Reason::EncryptedDns,
            };
        }
        let range = || self.addresses.holding(context.remote?.ip()).next();
        let path = || {
            let path = context.path?;
            let begins = |(start, _): &&(Box<[u8]>, Listed)| path.starts_with(start);
            self.paths.iter().find(begins).map(|(_, listed)| listed)
        };
        match listed.or_else(range).or_else(path) {
            Some(entry) => Decision {
                action: entry.action,
                reason: Reason::Catalogue(entry.id),
            },
            None if encrypted_dns::has_own_port(facts) => Decision {
                action: Action::Log,
                reason: Reason::EncryptedDns,
            },
            None => Decision::UNLISTED,
        }
    }

    /// What comes of `decision` in this policy's mode at `now`.
    #[must_use]
    pub fn outcome(&self, decision: &Decision, now: UnixSeconds) -> Outcome {
        match (decision.action, self.mode) {
            (Action::Allow, _) => Outcome::Allowed,
            (Action::Log, _) => Outcome::Logged,
            (Action::Block, Mode::Enforce) if self.pause(now).is_none() => Outcome::Blocked,
            (Action::Block, _) => Outcome::WouldBlock,
        }
    }

    /// The pause that holds at `now`.
    #[must_use]
    pub fn pause(&self, now: UnixSeconds) -> Option<&Pause> {
        self.chosen.pause.as_ref().filter(|pause| pause.holds(now))
    }

    /// Everything there is to say of `decision`, which this policy made at `now`.
    #[must_use]
    pub fn explain(&self, decision: &Decision, now: UnixSeconds) -> Explanation<'_> {
        Explanation::new(self, *decision, now)
    }

    /// The catalogue entry for `name`, whoever decides about it: the most specific one.
    #[must_use]
    pub fn catalogue_entry(&self, name: &DomainName) -> Option<(EndpointId, &Endpoint)> {
        let id = self.names.most_specific(name)?.id;
        Some((id, self.endpoint(id)?))
    }

    /// The catalogue entry with this number.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        let index = usize::try_from(id.0).ok()?;
        self.catalogue.endpoints.get(index)
    }

    /// The user's rules in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the user decided by command.
    #[must_use]
    pub const fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// The protected entries below `name`, which come before any rule for `*.name`.
    pub fn protected_below(&self, name: &DomainName) -> impl Iterator<Item = String> {
        let entries = self.catalogue.endpoints.iter();
        let protected = entries.filter(|entry| entry.is_protected());
        protected
            .filter(|entry| entry.pattern.name().is_some_and(|it| it.is_below(name)))
            .map(|entry| entry.pattern.to_string())
    }

    /// The user's rules and choices about names below `name`.
    pub fn rules_below(&self, name: &DomainName) -> impl Iterator<Item = &Rule> {
        let choices = self.chosen.choices.iter().map(|choice| &choice.rule);
        self.rules.iter().chain(choices).filter(|rule| {
            let pattern = rule.name.as_ref();
            pattern.is_some_and(|pattern| pattern.name().is_below(name))
        })
    }

    /// Whether blocks are carried out.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// How cautious the catalogue's blocks are.
    #[must_use]
    pub const fn preset(&self) -> Preset {
        self.preset
    }
}
