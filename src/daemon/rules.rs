//! Files → the rules in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::apps::Packages;
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::decide::{EncryptedDns, Mode, PrivateDns};
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
    /// Android's setting "Private DNS" makes a difference.
    pub(super) asks_android: bool,
    /// What is odd but no reason not to run.
    pub(super) warnings: Vec<String>,
}

impl Loaded {
    /// Reads config, catalogue and packages. Where there is a reason to `observe`, that is the
    /// mode, whatever the config says. `private_dns` is Android's setting as far as it is known.
    /// `before` are the packages known before: they stay where the list cannot be read any more.
    pub(super) fn read(
        named: Option<&Path>,
        observe: Option<&str>,
        private_dns: PrivateDns,
        before: Option<&Arc<Packages>>,
    ) -> anyhow::Result<Self> {
        let (mut config, path) = Config::find(named)?;
        let encrypted_dns = &mut config.encrypted_dns;
        let asks_android = encrypted_dns.policy == EncryptedDns::FallBack
            && encrypted_dns.private_dns == PrivateDns::Unknown;
        if asks_android {
            encrypted_dns.private_dns = private_dns;
        }
        let catalogue = Arc::new(Catalogue::choose(config.catalogue_directory.as_deref())?);
        let mut warnings = Vec::new();
        if let Some(reason) = observe {
            config.mode = Mode::Observe;
            warnings.push(reason.to_owned());
        }
        let packages = read_packages(&config.packages_list, before, &mut warnings);
        let endpoints = catalogue.endpoints.len();
        let ruleset = Arc::new(Ruleset::new(&config, catalogue, &packages));
        Ok(Self {
            config,
            path,
            ruleset,
            packages,
            endpoints,
            asks_android,
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

fn read_packages(
    path: &Path,
    before: Option<&Arc<Packages>>,
    warnings: &mut Vec<String>,
) -> Arc<Packages> {
    let error = match std::fs::read(path) {
        Ok(bytes) => return Arc::new(Packages::parse(&String::from_utf8_lossy(&bytes))),
        Err(error) => format!("cannot read {} ({error})", path.display()),
    };
    match before.filter(|packages| !packages.is_empty()) {
        Some(packages) => {
            warnings.push(format!("apps installed since are unknown: {error}"));
            Arc::clone(packages)
        }
        None => {
            warnings.push(format!(
                "apps are shown by user id and rules for apps do nothing: {error}"
            ));
            Arc::default()
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
