//! Files → the rules in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::apps::Packages;
use crate::catalogue::{Catalogue, Endpoint};
use crate::config::Config;
use crate::decide::{Action, Policy};
use crate::inspect::Ruleset;

/// Everything that was read, as one.
pub(super) struct Loaded {
    pub(super) config: Config,
    /// The config file; absent where the defaults stand in for it.
    pub(super) path: Option<PathBuf>,
    pub(super) ruleset: Arc<Ruleset>,
    pub(super) packages: Arc<Packages>,
    /// Entries of the catalogue.
    pub(super) endpoints: usize,
    pub(super) ports: Ports,
    /// What is odd but no reason not to run.
    pub(super) warnings: Vec<String>,
}

/// TCP ports whose first payload is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) tls: Vec<u16>,
    pub(super) http: Vec<u16>,
}

impl Loaded {
    /// Reads config, catalogue and packages.
    pub(super) fn read(named: Option<&Path>) -> anyhow::Result<Self> {
        let (config, path) = Config::find(named)?;
        let catalogue = Catalogue::choose(config.catalogue_directory.as_deref())?;
        let catalogue = Arc::new(catalogue);
        let mut warnings = Vec::new();
        let packages = Arc::new(read_packages(&config.packages_list, &mut warnings));
        let ports = Ports::of(&config, &catalogue);
        let policy = Policy::compile(
            config.mode,
            config.preset,
            &config.rules,
            Arc::clone(&catalogue),
            &packages,
        );
        let ruleset = Arc::new(Ruleset {
            policy,
            dns: config.dns.clone(),
            connections: config.connections.clone(),
            named_ports: ports.all(),
            record: config.log.record,
        });
        let endpoints = catalogue.endpoints.len();
        Ok(Self {
            config,
            path,
            ruleset,
            packages,
            endpoints,
            ports,
            warnings,
        })
    }

    /// Keys that a reload cannot change, where they differ.
    pub(super) fn needs_restart_for(&self, other: &Self) -> Vec<&'static str> {
        let (old, new) = (&self.config, &other.config);
        [
            ("[queue]", old.queue != new.queue),
            ("[firewall]", old.firewall != new.firewall),
            ("[control]", old.control_socket != new.control_socket),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }

    pub(super) fn summary(&self) -> String {
        format!(
            "mode {}, preset {}, {} endpoints, {} own rules, {} packages",
            word(self.config.mode),
            word(self.config.preset),
            self.endpoints,
            self.config.rules.len(),
            self.packages.len(),
        )
    }
}

impl Ports {
    /// The config's ports, and on top of them those of endpoints that are not simply allowed.
    /// Nobody says what is spoken there, so both are looked for.
    fn of(config: &Config, catalogue: &Catalogue) -> Self {
        let watched = |endpoint: &&Endpoint| config.preset.action(endpoint) != Action::Allow;
        let endpoints = catalogue.endpoints.iter().filter(watched);
        let named: Vec<u16> = endpoints.flat_map(|it| it.ports.iter().copied()).collect();
        let with = |configured: &[u16]| {
            let mut ports: Vec<u16> = configured.iter().chain(&named).copied().collect();
            ports.sort_unstable();
            ports.dedup();
            ports
        };
        Self {
            tls: with(&config.connections.tls_ports),
            http: with(&config.connections.http_ports),
        }
    }

    fn all(&self) -> Vec<u16> {
        let mut all: Vec<u16> = self.tls.iter().chain(&self.http).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn read_packages(path: &Path, warnings: &mut Vec<String>) -> Packages {
    match std::fs::read(path) {
        Ok(bytes) => Packages::parse(&String::from_utf8_lossy(&bytes)),
        Err(error) => {
            warnings.push(format!(
                "apps are shown by user id and rules for apps do nothing: cannot read {} ({error})",
                path.display()
            ));
            Packages::default()
        }
    }
}

/// A setting as it is written in the config file.
pub(super) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}
