//! The user's rules, sorted at compile time by the condition that finds them fastest.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::{
    Action, AddressSet, Choice, Decision, Evidence, Facts, NameSet, Protocol, Reason, Rule,
    RuleId, Uid, UnixSeconds,
};
use crate::apps::{AppId, Packages};
use crate::parse::DomainName;

/// Port of DNS (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

/// What of a packet rules look at beside its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    app: Option<AppId>,
    /// The far end; absent for DNS, whose far end is not the host asked for.
    pub(super) remote: Option<SocketAddr>,
    protocol: Protocol,
    /// Of an HTTP request.
    pub(super) path: Option<&'a [u8]>,
    /// A name will still be judged, so what would block without looking at one waits for it.
    name_follows: bool,
    now: UnixSeconds,
}

impl<'a> Context<'a> {
    pub(super) fn new(facts: &Facts<'a>, now: UnixSeconds) -> Self {
        let remote = facts.flow.remote;
        let is_dns = remote.port() == DNS_PORT
            || matches!(
                facts.evidence,
                Evidence::Question { .. } | Evidence::Alias { .. }
            );
        Self {
            app: facts.attribution.uid().map(Uid::app_id),
            remote: (!is_dns).then_some(remote),
            protocol: facts.flow.protocol,
            path: match facts.evidence {
                Evidence::Request { path, .. } => Some(path),
                _ => None,
            },
            name_follows: matches!(
                facts.evidence,
                Evidence::Syn { name_follows: true }
                    | Evidence::Datagram { name_follows: true }
            ),
            now,
        }
    }
}

/// A rule without its name: what is left to be checked once its name matched.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    id: RuleId,
    /// It was made by command.
    is_choice: bool,
    action: Action,
    until: Option<UnixSeconds>,
    /// `Some` and empty: a rule for an app that is not installed, which never applies.
    apps: Option<Box<[AppId]>>,
    address: Option<IpNet>,
    port: Option<u16>,
    protocol: Option<Protocol>,
    path: Option<Box<[u8]>>,
}

impl Candidate {
    fn new(id: RuleId, rule: &Rule, packages: &Packages) -> Self {
        let app_ids = |app| packages.app_ids(app).collect();
        Self {
            id,
            is_choice: false,
            action: rule.action,
            until: rule.until,
            apps: rule.app.as_ref().map(app_ids),
            address: rule.address.map(|range| range.trunc()),
            port: rule.port,
            protocol: rule.protocol,
            path: rule.path.as_deref().map(|path| path.as_bytes().into()),
        }
    }

    /// Best first among candidates of one name or range: for this app, then what was decided by
    /// command, the newest first, then more conditions, then the milder action, then the earlier
    /// rule.
    fn rank(&self) -> impl Ord + use<> {
        (
            self.apps.is_none(),
            Reverse(self.is_choice.then_some(self.id)),
            Reverse(self.address.map(|range| range.prefix_len())),
            Reverse(self.path.as_ref().map(|path| path.len())),
            self.port.is_none(),
            self.protocol.is_none(),
            self.action,
            self.id,
        )
    }

    fn holds(&self, context: &Context<'_>) -> bool {
        self.until.is_none_or(|until| context.now < until)
            && self
                .apps
                .as_ref()
                .is_none_or(|apps| context.app.is_some_and(|app| apps.contains(&app)))
            && self.remote_holds(context)
            && self
                .path
                .as_ref()
                .is_none_or(|start| context.path.is_some_and(|path| path.starts_with(start)))
    }

    fn remote_holds(&self, context: &Context<'_>) -> bool {
        if self.address.is_none() && self.port.is_none() && self.protocol.is_none() {
            return true;
        }
        context.remote.is_some_and(|remote| {
            let address = remote.ip().to_canonical();
            self.address.is_none_or(|range| range.contains(&address))
                && self.port.is_none_or(|port| port == remote.port())
                && self
                    .protocol
                    .is_none_or(|protocol| protocol == context.protocol)
        })
    }

    /// Whether this rule, which looks at no name and no address, leaves the packet to the name
    /// that follows: an essential host must stay reachable whoever asks for it. One that lets
    /// the packet pass need not wait.
    fn waits(&self, context: &Context<'_>) -> bool {
        context.name_follows && self.action == Action::Block
    }

    pub(super) const fn decision(&self) -> Decision {
        Decision {
            action: self.action,
            reason: if self.is_choice {
                Reason::Choice(self.id)
            } else {
                Reason::Rule(self.id)
            },
        }
    }
}

/// All rules. Every list of candidates is sorted by [`Candidate::rank`].
#[derive(Clone, Debug, Default)]
pub(super) struct RuleIndex {
    /// Rules with a name.
    names: NameSet<Vec<Candidate>>,
    /// Rules with an address and no name.
    addresses: AddressSet<Vec<Candidate>>,
    /// Rules with an app, and neither name nor address.
    apps: HashMap<AppId, Vec<Candidate>, RandomState>,
    /// Rules with a path, and neither name, address nor app.
    paths: Vec<Candidate>,
    /// Rules with nothing but a port, or a port and a protocol.
    ports: Vec<Candidate>,
}

impl RuleIndex {
    pub(super) fn compile(rules: &[Rule], choices: &[Choice], packages: &Packages) -> Self {
        let mut index = Self::default();
        for (id, Choice { rule, .. }) in (1..).map(RuleId).zip(choices) {
            let candidate = Candidate::new(id, rule, packages);
            index.add(
                rule,
                Candidate {
                    is_choice: true,
                    ..candidate
                },
            );
        }
        for (id, rule) in (1..).map(RuleId).zip(rules) {
            index.add(rule, Candidate::new(id, rule, packages));
        }
        index.sort();
        index
    }

    fn add(&mut self, rule: &Rule, candidate: Candidate) {
        if let Some(name) = &rule.name {
            let place = self.names.place(name);
            place.get_or_insert_default().push(candidate);
        } else if let Some(range) = candidate.address {
            let place = self.addresses.or_insert_with(range, Vec::new);
            place.push(candidate);
        } else if let Some(apps) = &candidate.apps {
            for &app in apps {
                self.apps.entry(app).or_default().push(candidate.clone());
            }
        } else if candidate.path.is_some() {
            self.paths.push(candidate);
        } else if candidate.port.is_some() {
            self.ports.push(candidate);
        }
        // A rule without any condition is refused by the config; here it decides nothing.
    }

    fn sort(&mut self) {
        let names = self.names.values_mut();
        let addresses = self.addresses.values_mut();
        let apps = self.apps.values_mut();
        let others = [&mut self.paths, &mut self.ports];
        for list in names.chain(addresses).chain(apps).chain(others) {
            list.sort_by_key(Candidate::rank);
        }
    }

    /// The rule that names this very host.
    pub(super) fn naming_host(
        &self,
        name: &DomainName,
        context: &Context<'_>,
    ) -> Option<&Candidate> {
        first_holding(self.names.exact(name)?, context)
    }

    /// The rule that decides where none names this very host: app and name, name, app and
    /// address, app, address, path, port; the first that applies.
    pub(super) fn other(
        &self,
        name: Option<&DomainName>,
        context: &Context<'_>,
    ) -> Option<&Candidate> {
        let by_name = name.and_then(|name| {
            let lists = self.names.covering(name);
            split(lists, context).first()
        });
        by_name.or_else(|| self.without_name(context))
    }

    fn without_name(&self, context: &Context<'_>) -> Option<&Candidate> {
        let remote = context.remote.map(|remote| remote.ip());
        let lists = remote
            .into_iter()
            .flat_map(|address| self.addresses.holding(address));
        let by_address = split(lists, context);
        by_address
            .with_app
            .or_else(|| self.by_app(context).filter(|rule| !rule.waits(context)))
            .or(by_address.for_all)
            .or_else(|| first_holding(&self.paths, context))
            .or_else(|| first_holding(&self.ports, context).filter(|rule| !rule.waits(context)))
    }

    fn by_app(&self, context: &Context<'_>) -> Option<&Candidate> {
        first_holding(self.apps.get(&context.app?)?, context)
    }
}

fn first_holding<'c>(list: &'c [Candidate], context: &Context<'_>) -> Option<&'c Candidate> {
    list.iter().find(|candidate| candidate.holds(context))
}

/// The best rule for this app and the best for all apps.
#[derive(Clone, Copy, Debug, Default)]
struct Split<'c> {
    with_app: Option<&'c Candidate>,
    for_all: Option<&'c Candidate>,
}

impl<'c> Split<'c> {
    fn first(self) -> Option<&'c Candidate> {
        self.with_app.or(self.for_all)
    }
}

/// Takes lists from the most specific on. One walk serves both: a rule for this app wins over
/// one for all apps even where the latter is more specific otherwise.
fn split<'c>(
    lists: impl Iterator<Item = &'c Vec<Candidate>>,
    context: &Context<'_>,
) -> Split<'c> {
    let mut found = Split::default();
    for candidate in lists.flatten().filter(|candidate| candidate.holds(context)) {
        if candidate.apps.is_some() {
            found.with_app = Some(candidate);
            break;
        }
        found.for_all = found.for_all.or(Some(candidate));
    }
    found
}
