//! `muzzle doctor`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::config::Config;
use crate::firewall::{Capability, Family, Iptables};
use crate::queue::SocketDestroyer;

/// Arguments of `muzzle doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Installs a rule of each kind in a scratch chain (muzzle_probe) and takes \
                        it away again. Exits with 1 where something required is missing."
)]
pub struct Args {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Findings {
    capabilities: Vec<Capability>,
    /// Whether the kernel can end an app's connection (`SOCK_DESTROY`); else why not.
    socket_destroy: Result<(), String>,
}

/// Runs the subcommand.
///
/// # Errors
/// The tables cannot be worked on at all.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let (config, _) = Config::find(config)?;
    let iptables = Iptables::find(config.firewall.iptables.as_deref())?;
    let socket_destroy = SocketDestroyer::open()
        .map_err(|error| error.to_string())
        .and_then(|destroyer| destroyer.probe().map_err(|error| error.to_string()));
    let findings = Findings {
        capabilities: iptables.probe()?,
        socket_destroy,
    };
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
        Ok(()) => writeln!(out, "ok       ending connections of apps (SOCK_DESTROY)"),
        Err(error) => writeln!(
            out,
            "missing  ending connections of apps (SOCK_DESTROY): apps get a forged reset \
             instead\n         ({error})"
        ),
    }
}
