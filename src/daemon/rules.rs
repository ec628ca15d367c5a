//! Files → the rules in force.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::apps::Packages;
use crate::catalogue::Catalogue;
use crate::choices::{Choices, ChoicesFile};
use crate::clock;
use crate::config::Config;
use crate::decide::{EncryptedDns, Mode, PrivateDns};
use crate::inspect::Ruleset;

/// How often the list of packages is read while others replace it; the watch tells of the last.
const MAX_READS: u32 = 3;

/// Everything that was read, as one.
pub(super) struct Loaded {
    pub(super) config: Config,
    /// The config file; absent where the defaults stand in for it.
    pub(super) path: Option<PathBuf>,
    /// What the user decided by command.
    pub(super) choices: Choices,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) ruleset: Arc<Ruleset>,
    pub(super) packages: Arc<Packages>,
    /// Android's setting "Private DNS" makes a difference.
    pub(super) asks_android: bool,
    /// What is odd but no reason not to run.
    pub(super) warnings: Vec<String>,
    /// What is wrong with the list of packages.
    pub(super) package_warning: Option<String>,
}

impl Loaded {
    /// Reads config, choices, catalogue and packages. Where there is a reason to `observe`, that is the
    /// mode, whatever the config says. `private_dns` is Android's setting as far as it is known.
    /// `before` is what was read before: the packages stay where their list cannot be read any more.
    /// At the start there is none, and a file of choices that is wrong is moved out of the way.
    pub(super) fn read(
        named: Option<&Path>,
        observe: Option<&str>,
        private_dns: PrivateDns,
        before: Option<&Self>,
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
        let file = ChoicesFile::beside(named);
        let choices = if before.is_some() {
            file.read()?
        } else {
            let (choices, warning) = file.read_or_set_aside();
            warnings.extend(warning);
            choices
        };
        let packages = before.map(|before| &before.packages);
        let (packages, package_warning) = read_packages(&config.packages_list, packages);
        let ruleset = compile(&config, &choices, &catalogue, &packages);
        Ok(Self {
            config,
            path,
            choices,
            catalogue,
            ruleset,
            packages,
            asks_android,
            warnings,
            package_warning,
        })
    }

    /// The same with other choices, and with the packages of now.
    pub(super) fn with_choices(&self, choices: Choices) -> Self {
        let config = self.config.clone();
        let list = &config.packages_list;
        let (packages, package_warning) = read_packages(list, Some(&self.packages));
        let catalogue = Arc::clone(&self.catalogue);
        let ruleset = compile(&config, &choices, &catalogue, &packages);
        Self {
            config,
            path: self.path.clone(),
            choices,
            catalogue,
            ruleset,
            packages,
            asks_android: self.asks_android,
            warnings: self.warnings.clone(),
            package_warning,
        }
    }

    /// Keys that a reload cannot change, where they differ.
    pub(super) fn needs_restart_for(&self, other: &Self) -> Vec<&'static str> {
        let (old, new) = (&self.config, &other.config);
        [
            ("[queue]", old.queue != new.queue),
            ("[firewall]", old.firewall != new.firewall),
            ("[control]", old.control_socket != new.control_socket),
            (
                "[history] enabled or directory",
                old.history.enabled != new.history.enabled
                    || old.history.directory != new.history.directory,
            ),
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
            self.catalogue.endpoints.len(),
            self.config.rules.len(),
            self.packages.len(),
        )
    }
}

fn compile(
    config: &Config,
    choices: &Choices,
    catalogue: &Arc<Catalogue>,
    packages: &Packages,
) -> Arc<Ruleset> {
    let chosen = choices.chosen(&boot_id());
    let catalogue = Arc::clone(catalogue);
    Arc::new(Ruleset::with_chosen(config, &chosen, catalogue, packages))
}

/// Where the kernel does not tell, a pause ends by the clock alone.
pub(super) fn boot_id() -> String {
    clock::boot_id().unwrap_or_default()
}

/// The packages of `path` and what is wrong with the list. Where it is not there, or not whole,
/// those known `before` stay.
fn read_packages(
    path: &Path,
    before: Option<&Arc<Packages>>,
) -> (Arc<Packages>, Option<String>) {
    let (lines, wrong) = match read_list(path) {
        Ok(text) => match Packages::whole_lines(&text) {
            Ok(lines) => return (Arc::new(Packages::parse(lines)), None),
            Err((lines, wrong)) => (lines.to_owned(), format!("{}: {wrong}", path.display())),
        },
        Err(error) => (
            String::new(),
            format!("cannot read {} ({error})", path.display()),
        ),
    };
    let known = before.filter(|packages| !packages.is_empty());
    let packages = known.map_or_else(|| Arc::new(Packages::parse(&lines)), Arc::clone);
    let consequence = if known.is_some() {
        "apps installed since are unknown"
    } else {
        "apps that are not known are shown by user id and rules for them do nothing"
    };
    let warning = format!("{consequence}: {wrong}");
    (packages, Some(warning))
}

/// The text of the list. Where another has taken its place while it was read, of that one.
fn read_list(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    for _ in 0..MAX_READS {
        let mut file = File::open(path)?;
        bytes.clear();
        file.read_to_end(&mut bytes)?;
        let (read, there) = (file.metadata()?, std::fs::metadata(path)?);
        if (read.dev(), read.ino(), read.len()) == (there.dev(), there.ino(), there.len()) {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A setting as it is written in the config file.
pub(super) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}
