//! Everything that a reload swaps at once, made of what the user and the catalogue say.

use std::sync::Arc;

use ipnet::IpNet;

use super::strategy::Strategies;
use crate::act::{ConnectionRefusal, DnsRefusal};
use crate::apps::{AppId, Packages};
use crate::catalogue::{Catalogue, Endpoint, Pattern};
use crate::config::{Config, ConnectionSettings, DnsSettings, Recorded};
use crate::decide::{Action, Chosen, ENCRYPTED_DNS_PORT, Outcome, Policy, Protocol, Rule, Uid};
use crate::parse::DomainName;

/// The rules in force: who may talk to whom, and how those who may not are told.
#[derive(Debug)]
pub struct Ruleset {
    /// Who may talk to whom.
    pub policy: Policy,
    /// How blocked questions are answered.
    pub dns: DnsSettings,
    /// How blocked connections end.
    pub connections: ConnectionSettings,
    /// How those of single endpoints are told instead.
    strategies: Strategies,
    /// Ports whose first payload is looked at for a name.
    pub named_ports: NamedPorts,
    /// Addresses to which UDP is refused, or that of some apps; sorted, without repeats.
    pub udp_ranges: Vec<IpNet>,
    /// What is worth a record.
    pub record: Recorded,
    /// Numbers that several packages share; sorted.
    shared_apps: Vec<AppId>,
}

impl Ruleset {
    /// The rules that `config` asks for. `packages` turns the apps of its rules into user ids.
    #[must_use]
    pub fn new(config: &Config, catalogue: Arc<Catalogue>, packages: &Packages) -> Self {
        Self::with_chosen(config, &Chosen::default(), catalogue, packages)
    }

    /// The same with what the user decided by command.
    #[must_use]
    pub fn with_chosen(
        config: &Config,
        chosen: &Chosen,
        catalogue: Arc<Catalogue>,
        packages: &Packages,
    ) -> Self {
        let named_ports = NamedPorts::new(config, &catalogue);
        let udp_ranges = udp_ranges(config, chosen, &catalogue);
        let policy = Policy::compile(
            config.mode,
            config.preset,
            &config.rules,
            catalogue,
            packages,
        )
        .with_encrypted_dns(
            config.encrypted_dns.policy,
            config.encrypted_dns.private_dns,
        )
        .with_chosen(chosen, packages);
        Self {
            policy,
            dns: config.dns.clone(),
            connections: config.connections.clone(),
            strategies: Strategies::new(&config.answers, packages),
            named_ports,
            udp_ranges,
            record: config.log.record,
            shared_apps: packages.shared(),
        }
    }

    /// How a refused question for `name` is answered. Without allocation.
    #[must_use]
    pub fn dns_refusal(&self, name: &DomainName, uid: Option<Uid>) -> DnsRefusal {
        let own = self.strategies.dns(name, uid);
        own.unwrap_or(self.dns.answer)
    }

    /// How a refused connection ends, to `name` where it has named its host. Without allocation.
    #[must_use]
    pub fn connection_refusal(
        &self,
        name: Option<&DomainName>,
        uid: Option<Uid>,
    ) -> ConnectionRefusal {
        let own = name.and_then(|name| self.strategies.connections(name, uid));
        own.unwrap_or(self.connections.refuse)
    }

    /// Whether several packages run under `uid`.
    #[must_use]
    pub fn is_shared(&self, uid: Uid) -> bool {
        self.shared_apps.binary_search(&uid.app_id()).is_ok()
    }

    /// Whether something that came out like this is worth a record.
    #[must_use]
    pub fn records(&self, outcome: Outcome) -> bool {
        self.record == Recorded::All || outcome != Outcome::Allowed
    }
}

fn udp_ranges(config: &Config, chosen: &Chosen, catalogue: &Catalogue) -> Vec<IpNet> {
    let blocks =
        |rule: &&Rule| rule.action == Action::Block && rule.protocol != Some(Protocol::Tcp);
    let of_rules = config
        .rules
        .iter()
        .chain(chosen.choices.iter().map(|choice| &choice.rule))
        .filter(blocks)
        .filter_map(|rule| rule.address);
    let of_catalogue = catalogue.endpoints.iter().filter_map(|endpoint| {
        let is_blocked = config.preset.action(endpoint) == Action::Block;
        match &endpoint.pattern {
            Pattern::Range(range) if is_blocked => Some(*range),
            _ => None,
        }
    });
    let mut ranges: Vec<IpNet> = of_rules.chain(of_catalogue).collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

/// Ports whose first payload is looked at for a name; each list sorted, without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedPorts {
    /// Where a TLS ClientHello is looked for.
    pub tls: Vec<u16>,
    /// Where an HTTP request is looked for.
    pub http: Vec<u16>,
    /// UDP ports where QUIC is looked for.
    pub quic: Vec<u16>,
}

impl NamedPorts {
    /// The config's ports, and on top of them those of endpoints that are not simply allowed.
    /// Nobody says what is spoken there, so all are looked for. QUIC is looked for where DNS runs
    /// over it, too.
    fn new(config: &Config, catalogue: &Catalogue) -> Self {
        let watched = |endpoint: &&Endpoint| config.preset.action(endpoint) != Action::Allow;
        let endpoints = catalogue.endpoints.iter().filter(watched);
        let named: Vec<u16> = endpoints.flat_map(|it| it.ports.iter().copied()).collect();
        let with = |configured: &[u16]| {
            let mut ports = [configured, &named].concat();
            ports.sort_unstable();
            ports.dedup();
            ports
        };
        Self {
            tls: with(&config.connections.tls_ports),
            http: with(&config.connections.http_ports),
            quic: with(&[&config.connections.quic_ports[..], &[ENCRYPTED_DNS_PORT]].concat()),
        }
    }

    /// Whether a name is looked for in the first payload of TCP connections to `port`.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        [&self.tls, &self.http]
            .into_iter()
            .any(|ports| ports.binary_search(&port).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: &str = "owner = \"x\"\nsystem = \"x\"\nregion = \"EU\"\n\
        category = \"telemetry\"\nconfidence = \"high\"\nbreaks = \"x\"\nsources = []\n";

    #[test]
    fn ports_of_endpoints_that_pass_are_not_looked_at() {
        let text = format!(
            "[[endpoint]]\nname = \"a.test\"\naction = \"block\"\nports = [9000, 443]\n{ENDPOINT}\
             [[endpoint]]\nname = \"b.test\"\naction = \"allow\"\nports = [5222]\n{ENDPOINT}"
        );
        let catalogue = Catalogue::from_files(&[("catalogue", text)]).unwrap();
        let config = Config::parse("config", "[connections]\ntls_ports = [8443, 443]").unwrap();
        let ports =
            Ruleset::new(&config, Arc::new(catalogue), &Packages::default()).named_ports;
        assert_eq!(ports.tls, [443, 8443, 9000]);
        assert_eq!(ports.http, [80, 443, 9000]);
        assert_eq!(ports.quic, [443, ENCRYPTED_DNS_PORT, 9000]);
        assert!(ports.contains(8443) && ports.contains(80) && !ports.contains(5222));
    }
}
