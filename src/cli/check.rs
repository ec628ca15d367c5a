//! `muzzle check NAME`: what would be decided about a name or an address, and why. It reads the
//! config and needs no daemon and no root.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;

use super::UsageError;
use crate::apps::{PackageName, Packages};
use crate::catalogue::Catalogue;
use crate::choices::{Choices, ChoicesFile, Target};
use crate::clock;
use crate::config::Config;
use crate::decide::{Action, UnixSeconds};
use crate::inspect::{Checked, CheckedAnswer, CheckedEntry, Ruleset};

/// Say what would be decided about a DNS question for a name, and why.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The host, as in tracking.miui.com, or an address
    pub name: String,
    /// The app that asks, as in com.android.browser; it need not be installed
    #[arg(long, value_name = "PACKAGE")]
    pub app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command; `now` is the time of day, for rules that end.
///
/// # Errors
/// The name, the package or the config is wrong, or `out` cannot be written to.
pub fn run(
    args: &CheckArgs,
    config: Option<&Path>,
    now: UnixSeconds,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let target = Target::named(&args.name).map_err(UsageError)?;
    let app = args.app.as_deref().map(package).transpose()?;
    let rules = Rules::read(config, app.as_ref())?;
    let checked = rules.check(&target, app.as_ref(), None, now);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &checked)?;
        writeln!(out).context("cannot print the answer")
    } else {
        print(&checked, out).context("cannot print the answer")
    }
}

fn package(text: &str) -> Result<PackageName, UsageError> {
    PackageName::from_text(text).map_err(|error| UsageError(format!("--app {text}: {error}")))
}

/// The rules that a daemon which starts now would have.
pub(super) struct Rules {
    ruleset: Ruleset,
    packages: Packages,
    /// The config file; absent where the built-in defaults stand in for it.
    path: Option<PathBuf>,
    notes: Vec<String>,
}

impl Rules {
    /// Reads config, choices, catalogue and packages; `app` is among the packages in any case.
    pub(super) fn read(
        named: Option<&Path>,
        app: Option<&PackageName>,
    ) -> anyhow::Result<Self> {
        let (config, path) = Config::find(named)?;
        let catalogue = Catalogue::choose(config.catalogue_directory.as_deref())?;
        let packages = load_packages(&config, app);
        let mut notes = Vec::new();
        let choices = ChoicesFile::beside(named).read().unwrap_or_else(|error| {
            notes.push(format!("what was decided by command is left out: {error}"));
            Choices::default()
        });
        let chosen = choices.chosen(&clock::boot_id().unwrap_or_default());
        let ruleset = Ruleset::with_chosen(&config, &chosen, Arc::new(catalogue), &packages);
        Ok(Self {
            ruleset,
            packages,
            path,
            notes,
        })
    }

    /// What they say of `target`, for which `wanted` was asked.
    pub(super) fn check(
        &self,
        target: &Target,
        app: Option<&PackageName>,
        wanted: Option<Action>,
        now: UnixSeconds,
    ) -> Checked {
        let (ruleset, packages) = (&self.ruleset, &self.packages);
        let mut checked = target.check(ruleset, packages, app, wanted, now);
        checked.notes.extend_from_slice(&self.notes);
        checked.config = self.path.as_ref().map(|path| path.display().to_string());
        checked
    }
}

/// The installed packages, for apps that share a uid; none off Android. The app that is asked
/// about is among them in any case.
fn load_packages(config: &Config, app: Option<&PackageName>) -> Packages {
    let text = std::fs::read_to_string(&config.packages_list).unwrap_or_default();
    let packages = Packages::parse(&text);
    match app {
        Some(app) => packages.with(app),
        None => packages,
    }
}

fn print(checked: &Checked, out: &mut dyn Write) -> std::io::Result<()> {
    print_answer(checked, out)?;
    if let Some(entry) = &checked.entry {
        print_sources(entry, out)?;
    }
    match &checked.config {
        Some(path) => writeln!(out, "  config   {path}"),
        None => {
            let path = Config::default_path();
            let path = path.display();
            writeln!(out, "  config   none at {path}: the built-in defaults")
        }
    }
}

/// All but where that is known from.
pub(super) fn print_answer(checked: &Checked, out: &mut dyn Write) -> std::io::Result<()> {
    write!(out, "{}", checked.name)?;
    if let Some(app) = &checked.app {
        write!(out, " for {app}")?;
    }
    writeln!(out, ": {}", checked.outcome.as_str())?;
    writeln!(out, "  why      {}", checked.why)?;
    if let Some(rule) = checked
        .rule
        .as_ref()
        .filter(|rule| !rule.comment.is_empty())
    {
        writeln!(out, "  comment  {}", rule.comment)?;
    }
    if let Some(answer) = checked.answer {
        writeln!(out, "  answer   {}", in_words(answer))?;
    }
    if let Some(entry) = &checked.entry {
        print_entry(entry, out)?;
    }
    for note in &checked.notes {
        writeln!(out, "  note     {note}")?;
    }
    Ok(())
}

/// In the words of the config.
fn in_words(answer: CheckedAnswer) -> String {
    let word = |value| match value {
        serde_json::Value::String(word) => word,
        other => other.to_string(),
    };
    let connections = word(json!(answer.connections));
    match answer.dns {
        Some(dns) => format!("{} to DNS, {connections} to connections", word(json!(dns))),
        None => format!("{connections} to connections"),
    }
}

pub(super) fn print_entry(entry: &CheckedEntry, out: &mut dyn Write) -> std::io::Result<()> {
    let (action, region) = (entry.action, &entry.region);
    let (category, confidence) = (json!(entry.category), json!(entry.confidence));
    let [category, confidence] =
        [&category, &confidence].map(|word| word.as_str().unwrap_or("?"));
    writeln!(
        out,
        "  entry    {} ({action}, {category}, {region}, confidence {confidence})",
        entry.pattern
    )?;
    writeln!(out, "  breaks   {}", entry.breaks)
}

/// Where an entry is known from.
pub(super) fn print_sources(entry: &CheckedEntry, out: &mut dyn Write) -> std::io::Result<()> {
    for source in &entry.sources {
        writeln!(out, "  source   {source}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::catalogue::{Category, Confidence, Endpoint, Pattern};
    use crate::cli::{EXIT_USAGE, exit_code};
    use crate::parse::DomainName;

    const NOW: UnixSeconds = UnixSeconds(1_750_000_000);

    /// A config file that is gone when the test is over.
    struct TemporaryConfig(PathBuf);

    impl TemporaryConfig {
        fn new(test: &str, text: &str) -> Self {
            let name = format!("muzzle-check-{test}-{}.toml", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for TemporaryConfig {
        fn drop(&mut self) {
            // The test has passed or failed by now; a file left behind changes neither.
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn check(
        name: &str,
        app: Option<&str>,
        config: &Path,
        json: bool,
    ) -> anyhow::Result<String> {
        let args = CheckArgs {
            name: name.to_owned(),
            app: app.map(str::to_owned),
            json,
        };
        let mut out = Vec::new();
        run(&args, Some(config), NOW, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_rule_for_an_app_that_is_not_installed_is_answered() {
        let config = TemporaryConfig::new(
            "app",
            "[[rule]]\nname = \"*.check.test\"\napp = \"com.absent\"\naction = \"block\"\n\
             comment = \"too loud\"\n",
        );
        let path = config.0.display();
        assert_eq!(
            check("A.check.test.", Some("com.absent"), &config.0, false).unwrap(),
            format!(
                "a.check.test for com.absent: blocked\n  \
                 why      your rule 1: block *.check.test for com.absent\n  \
                 comment  too loud\n  \
                 answer   nxdomain to DNS, reset to connections\n  config   {path}\n"
            )
        );
        assert_eq!(
            check("a.check.test", None, &config.0, false).unwrap(),
            format!(
                "a.check.test: allowed\n  \
                 why      not in the catalogue and no rule for it\n  config   {path}\n"
            )
        );
    }

    #[test]
    fn json_says_the_same() {
        let text =
            "mode = \"observe\"\n[[rule]]\nname = \"a.check.test\"\naction = \"block\"\n";
        let config = TemporaryConfig::new("json", text);
        let printed = check("a.check.test", None, &config.0, true).unwrap();
        let answer: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(
            answer,
            json!({
                "name": "a.check.test",
                "app": null,
                "action": "block",
                "outcome": "would-block",
                "reason": {"by": "rule", "id": 1},
                "why": "your rule 1: block a.check.test",
                "rule": {
                    "number": 1,
                    "rule": "block a.check.test",
                    "until": null,
                    "comment": "",
                },
                "choice": null,
                "answer": {"dns": "nxdomain", "connections": "reset"},
                "entry": null,
                "notes": [],
                "config": config.0.display().to_string(),
            })
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_exit_status_64() {
        let good = TemporaryConfig::new("good", "");
        let bad = TemporaryConfig::new("bad", "mode = 1\n[dns]\nttl = 5\n");
        let absent = Path::new("/nonexistent/muzzle.toml");
        for (name, app, config, told) in [
            (
                "a b",
                None,
                &*good.0,
                &["\"a b\": it holds a character"][..],
            ),
            ("192.0.2.1/24", None, &good.0, &["the range begins at"]),
            (
                "a.test",
                Some("no-app"),
                &good.0,
                &["--app no-app: a package name"],
            ),
            (
                "a.test",
                None,
                &bad.0,
                &[":1: mode must be", ":3: dns.ttl is not a key"],
            ),
            ("a.test", None, absent, &["/nonexistent/muzzle.toml: "]),
        ] {
            let error = check(name, app, config, false).unwrap_err();
            assert_eq!(exit_code(&error), EXIT_USAGE);
            let message = error.to_string();
            assert!(told.iter().all(|part| message.contains(part)), "{message}");
        }
    }

    #[test]
    fn a_catalogue_entry_is_shown_whoever_decided() {
        let entry = Endpoint {
            pattern: Pattern::Suffix(DomainName::from_text("check.test").unwrap()),
            owner: "Example".into(),
            system: "Browser".into(),
            region: "SG".into(),
            category: Category::Telemetry,
            action: Action::Block,
            confidence: Confidence::High,
            ports: Vec::new(),
            breaks: "nothing reported".into(),
            sources: vec![
                "https://example.com/1".into(),
                "https://example.com/2".into(),
            ],
        };
        let catalogue = Arc::new(Catalogue {
            endpoints: vec![entry],
        });
        let rules = Rules {
            ruleset: Ruleset::new(&Config::default(), catalogue, &Packages::default()),
            packages: Packages::default(),
            path: None,
            notes: Vec::new(),
        };
        let target = Target::named("a.check.test").unwrap();
        let mut printed = Vec::new();
        print(&rules.check(&target, None, None, NOW), &mut printed).unwrap();
        let default_path = Config::default_path();
        assert_eq!(
            String::from_utf8(printed).unwrap(),
            format!(
                "a.check.test: blocked\n  \
                 why      catalogue: telemetry, Browser (Example)\n  \
                 answer   nxdomain to DNS, reset to connections\n  \
                 entry    *.check.test (block, telemetry, SG, confidence high)\n  \
                 breaks   nothing reported\n  \
                 source   https://example.com/1\n  \
                 source   https://example.com/2\n  \
                 config   none at {}: the built-in defaults\n",
                default_path.display()
            )
        );
    }
}
