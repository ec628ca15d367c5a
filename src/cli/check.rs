//! `muzzle check NAME`: what would be decided about a name, and why. It reads the config and
//! needs no daemon and no root.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::UsageError;
use crate::apps::{PackageName, Packages, UserId};
use crate::catalogue::{Catalogue, Endpoint};
use crate::config::Config;
use crate::decide::{
    Evidence, Explanation, Facts, FlowKey, Policy, Protocol, Uid, UnixSeconds,
};
use crate::parse::DomainName;

/// IANA "Resource Record (RR) TYPEs": A.
const TYPE_A: u16 = 1;
/// The query's own addresses do not count for a question; these are for documentation (RFC 5737).
const QUERY: FlowKey = FlowKey {
    protocol: Protocol::Udp,
    local: std::net::SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        40_000,
    ),
    remote: std::net::SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 53)),
        53,
    ),
};

/// Say what would be decided about a DNS question for a name, and why.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The host, as in tracking.miui.com
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
    let name = DomainName::from_text(&args.name).map_err(|error| {
        let name = &args.name;
        UsageError(format!(
            "\"{name}\": {error}; name a host, as in tracking.miui.com"
        ))
    })?;
    let app = args.app.as_deref().map(package).transpose()?;
    let (config, path) = Config::find(config)?;
    let catalogue = Catalogue::choose(config.catalogue_directory.as_deref())?;
    let packages = load_packages(&config, app.as_ref());
    let policy = Policy::compile(
        config.mode,
        config.preset,
        &config.rules,
        Arc::new(catalogue),
        &packages,
    );
    let answer = Answer {
        name: &name,
        app: app.as_ref(),
        path: path.as_deref(),
        explanation: explain(&policy, &name, uid_of(&packages, app.as_ref()), now),
        entry: policy.catalogue_entry(&name).map(|(_, entry)| entry),
    };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &answer.to_json())?;
        writeln!(out).context("cannot print the answer")
    } else {
        answer.print(out).context("cannot print the answer")
    }
}

fn package(text: &str) -> Result<PackageName, UsageError> {
    PackageName::from_text(text).map_err(|error| UsageError(format!("--app {text}: {error}")))
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

fn uid_of(packages: &Packages, app: Option<&PackageName>) -> Option<Uid> {
    Some(packages.app_id(app?)?.uid(UserId(0)))
}

fn explain<'p>(
    policy: &'p Policy,
    name: &DomainName,
    uid: Option<Uid>,
    now: UnixSeconds,
) -> Explanation<'p> {
    let facts = Facts {
        flow: QUERY,
        uid,
        evidence: Evidence::Question {
            name,
            qtype: TYPE_A,
        },
    };
    policy.explain(&policy.decide(&facts, now))
}

/// All that is printed.
#[derive(Debug)]
struct Answer<'a> {
    name: &'a DomainName,
    app: Option<&'a PackageName>,
    /// The config file; absent where the built-in defaults stand in for it.
    path: Option<&'a Path>,
    explanation: Explanation<'a>,
    /// What the catalogue knows of the name, whoever decided.
    entry: Option<&'a Endpoint>,
}

impl Answer<'_> {
    fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let outcome = self.explanation.outcome.as_str();
        write!(out, "{}", self.name)?;
        if let Some(app) = self.app {
            write!(out, " for {app}")?;
        }
        writeln!(out, ": {outcome}")?;
        writeln!(out, "  why      {}", self.explanation)?;
        if let Some((_, rule)) = self.explanation.rule
            && !rule.comment.is_empty()
        {
            writeln!(out, "  comment  {}", rule.comment)?;
        }
        if let Some(entry) = self.entry {
            print_entry(entry, out)?;
        }
        match self.path {
            Some(path) => writeln!(out, "  config   {}", path.display()),
            None => {
                let path = Config::default_path();
                let path = path.display();
                writeln!(out, "  config   none at {path}: the built-in defaults")
            }
        }
    }

    fn to_json(&self) -> Value {
        let rule = self.explanation.rule.map(|(number, rule)| {
            json!({
                "number": number,
                "rule": rule.to_string(),
                "until": rule.until,
                "comment": rule.comment,
            })
        });
        json!({
            "name": self.name.to_string(),
            "app": self.app,
            "action": self.explanation.decision.action,
            "outcome": self.explanation.outcome,
            "reason": self.explanation.decision.reason,
            "why": self.explanation.to_string(),
            "rule": rule,
            "entry": self.entry.map(entry_json),
            "config": self.path.map(|path| path.display().to_string()),
        })
    }
}

fn print_entry(entry: &Endpoint, out: &mut dyn Write) -> std::io::Result<()> {
    let (action, region) = (entry.action, &entry.region);
    let (category, confidence) = (json!(entry.category), json!(entry.confidence));
    let [category, confidence] =
        [&category, &confidence].map(|word| word.as_str().unwrap_or("?"));
    writeln!(
        out,
        "  entry    {} ({action}, {category}, {region}, confidence {confidence})",
        entry.pattern
    )?;
    writeln!(out, "  breaks   {}", entry.breaks)?;
    for source in &entry.sources {
        writeln!(out, "  source   {source}")?;
    }
    Ok(())
}

fn entry_json(entry: &Endpoint) -> Value {
    json!({
        "pattern": entry.pattern.to_string(),
        "owner": entry.owner,
        "system": entry.system,
        "region": entry.region,
        "category": entry.category,
        "action": entry.action,
        "confidence": entry.confidence,
        "breaks": entry.breaks,
        "sources": entry.sources,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::catalogue::{Category, Confidence, Pattern, Preset};
    use crate::cli::{EXIT_USAGE, exit_code};
    use crate::decide::{Action, Mode};

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
                 comment  too loud\n  config   {path}\n"
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
                "entry": null,
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
            ("192.0.2.1", None, &good.0, &["it is an IP address"]),
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
        let name = DomainName::from_text("a.check.test").unwrap();
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
        let packages = Packages::default();
        let policy =
            Policy::compile(Mode::Enforce, Preset::Standard, &[], catalogue, &packages);
        let answer = Answer {
            name: &name,
            app: None,
            path: None,
            explanation: explain(&policy, &name, None, NOW),
            entry: policy.catalogue_entry(&name).map(|(_, entry)| entry),
        };
        let mut printed = Vec::new();
        answer.print(&mut printed).unwrap();
        let default_path = Config::default_path();
        assert_eq!(
            String::from_utf8(printed).unwrap(),
            format!(
                "a.check.test: blocked\n  \
                 why      catalogue: telemetry, Browser (Example)\n  \
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
