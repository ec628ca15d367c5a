//! `muzzle verify`: whether a release is whole, and who signed it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{EXIT_FAILURE, UsageError};
use crate::config::Config;
use crate::release::{
    Fault, Files, Findings, MAX_BYTES, PUBLIC_KEY, PublicKey, SUMS, Signature, read_up_to,
};

/// Keys and signatures have some 300 bytes.
const MAX_TEXT: usize = 4096;

/// Arguments of `muzzle verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A zip must be signed by the key of the installed module, where that has one; its \
                  signature is FILE.minisig beside it, or inside. A key that came with what is \
                  checked shows only that nothing was changed since: compare it with the one that \
                  its maker publishes.\n\n\
                  Exits with 0 where all is whole and signed by the key that is wanted, or where \
                  no key is wanted and there is no signature; else with 1."
)]
pub struct Args {
    /// A zip, or the folder of a module or a catalogue; without it, the installed module and the
    /// catalogue that the config names
    #[arg(value_name = "FILE")]
    path: Option<PathBuf>,
    /// The key that must have signed it: as minisign shows it, or a file with it
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A key, and where it is from.
#[derive(Clone, Debug)]
struct WantedKey {
    key: PublicKey,
    origin: String,
}

/// What was found out about a zip or a folder.
#[derive(Debug)]
struct Report {
    path: PathBuf,
    wanted: Option<WantedKey>,
    findings: Findings,
}

/// Runs the subcommand.
///
/// # Errors
/// Something cannot be read, or is no release at all.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let given = args.public_key.as_deref().map(given_key).transpose()?;
    let module = installed_module();
    let mut reports = Vec::new();
    let mut remark = None;
    match (&args.path, module) {
        (Some(path), _) if path.is_dir() => reports.push(check_folder(path, given)?),
        (Some(path), module) => {
            let of_module = || module.as_deref().map(key_of).transpose();
            let wanted = match given {
                Some(key) => Some(key),
                None => of_module()?.flatten(),
            };
            reports.push(check_zip(path, wanted)?);
        }
        (None, Some(module)) => {
            reports.push(check_folder(&module, given.clone())?);
            match Config::find(config)?.0.catalogue_directory {
                Some(folder) if folder.join(SUMS).exists() => {
                    reports.push(check_folder(&folder, given)?);
                }
                folder => remark = Some(unlisted(folder.as_deref())),
            }
        }
        (None, None) => bail!(UsageError(
            "this program is not that of an installed module; name a zip or a folder".into()
        )),
    }
    if args.json {
        let reports: Vec<_> = reports.iter().map(Report::to_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&reports)?)?;
    } else {
        for report in &reports {
            report.print(out)?;
        }
        if let Some(remark) = remark {
            writeln!(out, "{remark}")?;
        }
    }
    let is_good = reports.iter().all(Report::is_good);
    Ok(ExitCode::from(if is_good { 0 } else { EXIT_FAILURE }))
}

/// The folder above that of this program, where a manager has unpacked a release there.
fn installed_module() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?.parent()?;
    folder.join(SUMS).is_file().then(|| folder.to_owned())
}

fn given_key(text: &str) -> anyhow::Result<WantedKey> {
    let file = Path::new(text);
    let parsed = if file.exists() {
        PublicKey::parse(&read_text(file)?)
    } else {
        PublicKey::parse(text.as_bytes())
    };
    let key = parsed.map_err(|error| UsageError(format!("--public-key {text}: {error}")))?;
    let origin = "--public-key".into();
    Ok(WantedKey { key, origin })
}

/// The key of an installed module that is signed.
fn key_of(module: &Path) -> anyhow::Result<Option<WantedKey>> {
    let path = module.join(PUBLIC_KEY);
    if !path.exists() {
        return Ok(None);
    }
    let key =
        PublicKey::parse(&read_text(&path)?).with_context(|| path.display().to_string())?;
    let origin = "the installed module's".into();
    Ok(Some(WantedKey { key, origin }))
}

fn check_folder(path: &Path, wanted: Option<WantedKey>) -> anyhow::Result<Report> {
    let named = || path.display().to_string();
    let files = Files::read_folder(path).with_context(named)?;
    let findings = files
        .verify(wanted.as_ref().map(|it| &it.key))
        .with_context(named)?;
    Ok(Report {
        path: path.to_owned(),
        wanted,
        findings,
    })
}

/// A zip has two signatures: that of the list, which goes along wherever it is unpacked, and that
/// of the zip itself, which other programs can check.
fn check_zip(path: &Path, wanted: Option<WantedKey>) -> anyhow::Result<Report> {
    let named = || path.display().to_string();
    let zip =
        read_up_to(path, MAX_BYTES).with_context(|| format!("cannot read {}", named()))?;
    if zip.len() > MAX_BYTES {
        bail!(
            "{}: no release is larger than {} MiB",
            named(),
            MAX_BYTES >> 20
        );
    }
    let files = Files::read_zip(&zip).with_context(named)?;
    let key = wanted.as_ref().map(|it| &it.key);
    let mut findings = files.verify(key).with_context(named)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".minisig");
    let beside = Path::new(&beside);
    if beside.exists() {
        let of_zip =
            Signature::check(&zip, &read_text(beside)?, key, files.own_key()?.as_ref());
        findings.signature = of_zip.and(findings.signature);
    }
    Ok(Report {
        path: path.to_owned(),
        wanted,
        findings,
    })
}

fn read_text(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_up_to(path, MAX_TEXT).with_context(|| format!("cannot read {}", path.display()))
}

/// What there is to say of a catalogue without a list of sums.
fn unlisted(folder: Option<&Path>) -> String {
    match folder {
        None => "catalogue: the one in the program, checked with it".into(),
        Some(folder) => format!(
            "{}: your own catalogue, without a list of sums ({SUMS}) to check it by",
            folder.display()
        ),
    }
}

impl Report {
    fn is_good(&self) -> bool {
        self.findings.faults.is_empty()
            && match self.findings.signature {
                Signature::By { .. } => true,
                Signature::Absent => self.wanted.is_none(),
                _ => false,
            }
    }

    /// Two parts: of the files, and of the signature.
    fn verdict(&self) -> (&'static str, &'static str) {
        let files = if self.findings.faults.is_empty() {
            "whole"
        } else {
            "changed"
        };
        let signature = match self.findings.signature {
            Signature::Absent => "not signed",
            Signature::By { .. } => "signed",
            Signature::Unknown => "signed by an unknown key",
            Signature::ByAnother(_) => "signed by another key",
            Signature::Wrong(_) => "its signature is wrong",
        };
        (files, signature)
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let (files, signature) = self.verdict();
        writeln!(out, "{}: {files}, {signature}", self.path.display())?;
        for fault in &self.findings.faults {
            let file = fault.file().escape_debug();
            match fault {
                Fault::Changed(_) => writeln!(out, "  changed  {file}")?,
                Fault::Missing(_) => writeln!(out, "  missing  {file}")?,
                Fault::Added(_) => writeln!(out, "  added    {file}")?,
            }
        }
        writeln!(out, "  files    {} listed", self.findings.listed)?;
        match &self.findings.signature {
            Signature::Absent => {}
            Signature::By { key, comment } => {
                let origin = self.wanted.as_ref().map_or(ITS_OWN, |it| &it.origin);
                writeln!(out, "  key      {key} ({origin})")?;
                writeln!(
                    out,
                    "  comment  {}",
                    comment.replace('\t', " ").escape_debug()
                )?;
            }
            Signature::Unknown => writeln!(out, "  key      none came with it: --public-key")?,
            Signature::ByAnother(Some(key)) => writeln!(out, "  key      {key} ({ITS_OWN})")?,
            Signature::ByAnother(None) => {}
            Signature::Wrong(why) => writeln!(out, "  why      {why}")?,
        }
        if let Some(WantedKey { key, origin }) = &self.wanted
            && !self.is_good()
        {
            writeln!(out, "  wanted   {key} ({origin})")?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let (files, signature) = self.verdict();
        let (key, comment) = match &self.findings.signature {
            Signature::By { key, comment } => (Some(key), Some(comment)),
            Signature::ByAnother(key) => (key.as_ref(), None),
            _ => (None, None),
        };
        json!({
            "path": self.path.display().to_string(),
            "good": self.is_good(),
            "files": files,
            "faults": self.findings.faults,
            "signature": signature,
            "key": key.map(ToString::to_string),
            "comment": comment,
            "wanted": self.wanted.as_ref().map(|it| it.key.to_string()),
        })
    }
}

const ITS_OWN: &str = "came with it";
