//! `muzzle doctor`: what this kernel can do; with `--bundle`, a redacted report on the whole phone.

mod attribution;
mod bundle;
mod command;
mod netfilter;
mod network;
mod own;
mod page;
mod phone;
pub mod redact;
mod timing;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use crate::config::{Config, HotspotClients};
use crate::daemon::private_dns;
use crate::decide::PrivateDns;
use crate::firewall::{Capability, Family, Iptables, Plan};
use crate::queue::SocketDestroyer;

/// Arguments of `muzzle doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Installs a rule of each kind in a scratch chain (muzzle_probe) and takes \
                        it away again. Exits with 1 where something required is missing."
)]
pub struct Args {
    /// Print one JSON object.
    #[arg(long, conflicts_with = "bundle")]
    json: bool,
    /// Write a report on this phone into a new file, for a bug report: firewall, kernel, network,
    /// whose packets are whose. What could identify you is left out or replaced; read it before
    /// you send it. Takes some ten seconds
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Have the names of the installed apps in the bundle
    #[arg(long, requires = "bundle")]
    with_apps: bool,
}

#[derive(serde::Serialize)]
struct Findings {
    capabilities: Vec<Capability>,
    /// Whether the kernel can end an app's connection (`SOCK_DESTROY`); else why not.
    socket_destroy: Result<(), String>,
    /// Android's setting, which says what is not seen; else why it is not known.
    private_dns: Result<PrivateDns, String>,
    /// What the config asks for, as far as this kernel can do it.
    hotspot: HotspotClients,
}

/// What the sections of a bundle have in common.
struct Context {
    config: Config,
    /// The programs, or why there are none.
    iptables: Result<Iptables, String>,
    /// The owner allows names of apps.
    with_apps: bool,
    saved: OnceLock<netfilter::Saved>,
}

impl Context {
    /// The rules before the active checks.
    fn saved(&self) -> &netfilter::Saved {
        self.saved.get_or_init(|| netfilter::save(&self.iptables))
    }
}

/// Runs the subcommand.
///
/// # Errors
/// The tables cannot be worked on at all, or the bundle cannot be written.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.bundle {
        bundle::create(path, args.with_apps, config, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (config, _) = Config::find(config)?;
    let iptables = Iptables::find(config.firewall.iptables.as_deref())?;
    let findings = examine(&iptables, &config)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        print(&findings, out)?;
    }
    let unusable = findings
        .capabilities
        .iter()
        .any(|it| !it.present && it.feature.is_required() && it.family == Family::V4);
    Ok(ExitCode::from(if unusable {
        super::EXIT_FAILURE
    } else {
        0
    }))
}

fn examine(iptables: &Iptables, config: &Config) -> anyhow::Result<Findings> {
    let socket_destroy = SocketDestroyer::open()
        .map_err(|error| error.to_string())
        .and_then(|destroyer| destroyer.probe().map_err(|error| error.to_string()));
    let capabilities = iptables.probe()?;
    let plan = Plan {
        forwarded: true,
        ..Plan::default()
    };
    let covers = plan.fitted(&capabilities).is_ok_and(|it| it.forwarded);
    Ok(Findings {
        hotspot: if covers {
            config.hotspot.clients
        } else {
            HotspotClients::Ignore
        },
        capabilities,
        socket_destroy,
        private_dns: private_dns::ask(),
    })
}

/// An error and all its causes in one line.
fn with_causes(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

fn print(findings: &Findings, out: &mut dyn Write) -> std::io::Result<()> {
    for capability in &findings.capabilities {
        let Capability {
            family,
            name,
            present,
            error,
            consequence,
            ..
        } = capability;
        if *present {
            writeln!(out, "ok       {family} {name}")?;
        } else {
            let error = error.as_deref().unwrap_or("no reason given");
            writeln!(
                out,
                "missing  {family} {name}: {consequence}\n         ({error})"
            )?;
        }
    }
    match &findings.socket_destroy {
        Ok(()) => writeln!(out, "ok       ending connections of apps (SOCK_DESTROY)")?,
        Err(error) => writeln!(
            out,
            "missing  ending connections of apps (SOCK_DESTROY): apps get a forged reset \
             instead\n         ({error})"
        )?,
    }
    writeln!(out, "note     hotspot {}", findings.hotspot)?;
    match &findings.private_dns {
        Ok(setting) => writeln!(out, "note     private DNS {setting}"),
        Err(error) => writeln!(
            out,
            "note     private DNS {}\n         ({error})",
            PrivateDns::Unknown
        ),
    }
}
