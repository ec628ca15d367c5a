//! `muzzle replay FILE`: what the daemon would have decided about the packets of a capture. It
//! reads the config and needs no daemon and no root.

use std::collections::HashSet;
use std::fmt;
use std::hash::BuildHasher;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use foldhash::fast::RandomState;
use serde::Serialize;

use super::log;
use crate::apps::{PackageName, Packages};
use crate::capture::pcapdroid::App;
use crate::capture::{Capture, Packet, Picked, Prefilter};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::decide::{Action, Mode, Outcome, Protocol, Reason, Rule, Uid};
use crate::inspect::{Inspector, Reading, Ruleset, Sighting};
use crate::record::{Event, EvidenceKind, Learned, Record, ResolvedNames};

/// Room for what the daemon would inject, which is not looked at.
const SCRATCH_BYTES: usize = 2048;

/// Arguments of `muzzle replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  muzzle replay phone.pcap                   what is in the catalogue or has a rule
  muzzle replay --all phone.pcapng           every name seen
  muzzle replay --json phone.pcap | jq .     for other programs: one JSON object a line
  tcpdump -i wlan0 -w - | muzzle replay -    while it is captured")]
pub struct Args {
    /// The capture, pcap or pcapng; `-` reads standard input.
    file: PathBuf,
    /// Print also what is allowed because nothing knows it: every name seen.
    #[arg(long)]
    all: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand: decisions go to `out`, the summary to `notes`.
///
/// # Errors
/// The config is wrong, or the file is no capture, is damaged or cannot be read to its end. What
/// was read until then has been printed.
pub fn run(
    args: &Args,
    config: Option<&Path>,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let rules = Rules::read(config)?;
    let mut replay = Replay::new(rules, args.all, args.json);
    let ended = if args.file == Path::new("-") {
        replay
            .read(io::stdin().lock(), out)
            .context("standard input")
    } else {
        let name = args.file.display();
        let file = std::fs::File::open(&args.file);
        let file = file.with_context(|| format!("cannot open {name}"))?;
        // Of a capture that is still growing each line is shown at once; here nobody waits for one.
        let mut gathered = io::BufWriter::new(&mut *out);
        let read = replay.read(file, &mut gathered);
        gathered.flush()?;
        read.with_context(|| name.to_string())
    };
    out.flush()?;
    for app in replay.rules.unknown_apps() {
        writeln!(
            notes,
            "which user id {app} has is not known here, so its rules did not apply: name a copy \
             of the phone's packages.list as [apps] packages_list"
        )?;
    }
    writeln!(notes, "{}", replay.summary)?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// What the packets are judged by.
#[derive(Clone, Debug)]
pub struct Rules {
    config: Config,
    catalogue: Arc<Catalogue>,
    packages: Packages,
    ruleset: Arc<Ruleset>,
}

impl Rules {
    /// Those of `config`. `packages` are the apps known by name; captures of PCAPdroid add theirs.
    #[must_use]
    pub fn new(config: Config, catalogue: Catalogue, packages: Packages) -> Self {
        let catalogue = Arc::new(catalogue);
        let ruleset = Arc::new(Ruleset::new(&config, Arc::clone(&catalogue), &packages));
        Self {
            config,
            catalogue,
            packages,
            ruleset,
        }
    }

    /// Reads config, catalogue and packages as the daemon does. Where there is no list of
    /// packages, as on any other machine than the phone, none are known.
    fn read(named: Option<&Path>) -> anyhow::Result<Self> {
        let (config, _) = Config::find(named)?;
        let catalogue = Catalogue::choose(config.catalogue_directory.as_deref())?;
        let list = std::fs::read(&config.packages_list).unwrap_or_default();
        let packages = Packages::parse(&String::from_utf8_lossy(&list));
        Ok(Self::new(config, catalogue, packages))
    }

    /// Takes in what a capture says of an app.
    fn learn(&mut self, app: &App) {
        let Some(package) = &app.package else {
            return;
        };
        if self.packages.app_id(package).is_some() {
            return;
        }
        self.packages.add(package.clone(), app.uid.app_id());
        let is_for_it = |rule: &Rule| rule.app.as_ref() == Some(package);
        if self.config.rules.iter().any(is_for_it) {
            let catalogue = Arc::clone(&self.catalogue);
            let ruleset = Ruleset::new(&self.config, catalogue, &self.packages);
            self.ruleset = Arc::new(ruleset);
        }
    }

    /// Apps that have rules of their own which can never apply.
    fn unknown_apps(&self) -> impl Iterator<Item = &PackageName> {
        let apps = self
            .config
            .rules
            .iter()
            .filter_map(|rule| rule.app.as_ref());
        apps.filter(|app| self.packages.app_id(app).is_none())
    }

    /// Who sent it: the package or, where that is not known, what PCAPdroid calls the app.
    fn label(&self, uid: Uid, app: Option<&App>) -> String {
        let is_known =
            uid.app_id().system_name().is_some() || self.packages.of(uid).next().is_some();
        match app.filter(|app| !is_known && !app.title.is_empty()) {
            Some(app) => format!("{} (uid {})", app.title, uid.0),
            None => self.packages.label(uid),
        }
    }
}

/// What came of a capture.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Packets read.
    pub packets: u64,
    /// Packets, or frames, whose bytes are not what their place says.
    pub malformed: u64,
    /// Decisions, printed or not.
    pub decisions: u64,
    /// Of those, the ones that block.
    pub blocked: u64,
    /// Blocks are not carried out.
    observes: bool,
    /// Names seen, by their hashes.
    names: HashSet<u64>,
    hasher: RandomState,
}

impl Summary {
    /// Different names seen.
    #[must_use]
    pub fn names(&self) -> usize {
        self.names.len()
    }

    fn count(&mut self, sighting: &Sighting) {
        self.decisions += 1;
        if matches!(sighting.outcome, Outcome::Blocked | Outcome::WouldBlock) {
            self.blocked += 1;
        }
        if !sighting.name.is_root() {
            self.names.insert(self.hasher.hash_one(&sighting.name));
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocked = if self.observes {
            Outcome::WouldBlock
        } else {
            Outcome::Blocked
        };
        write!(
            out,
            "{} packets read ({} of them malformed), {} names seen; {} decisions, {} {}",
            self.packets,
            self.malformed,
            self.names(),
            self.decisions,
            self.blocked,
            blocked.as_str()
        )
    }
}

/// A run through a capture.
#[derive(Debug)]
pub struct Replay {
    rules: Rules,
    all: bool,
    json: bool,
    prefilter: Prefilter,
    inspector: Inspector,
    names: ResolvedNames,
    /// What came of it so far.
    pub summary: Summary,
}

impl Replay {
    /// Prints every sighting where `all` is set, and JSON where `json` is.
    #[must_use]
    pub fn new(rules: Rules, all: bool, json: bool) -> Self {
        let summary = Summary {
            observes: rules.config.mode == Mode::Observe,
            ..Summary::default()
        };
        Self {
            rules,
            all,
            json,
            prefilter: Prefilter::default(),
            inspector: Inspector::default(),
            names: ResolvedNames::default(),
            summary,
        }
    }

    /// Reads a capture to its end.
    ///
    /// # Errors
    /// See [`crate::capture::CaptureError`], or `out` cannot be written to.
    pub fn read(&mut self, input: impl Read, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut capture = Capture::open(input)?;
        while let Some(packet) = capture.next_packet()? {
            self.packet(&packet, out)?;
        }
        Ok(())
    }

    fn packet(&mut self, packet: &Packet<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
        self.summary.packets += 1;
        if let Some(app) = &packet.app {
            self.rules.learn(app);
        }
        let Some(sighting) = self.inspect(packet) else {
            return Ok(());
        };
        self.summary.count(&sighting);
        let decision = sighting.decision;
        if self.all || decision.action != Action::Allow || decision.reason != Reason::Unlisted {
            self.print(packet, sighting, out)?;
        }
        Ok(())
    }

    /// What the daemon would have seen in a packet.
    fn inspect(&mut self, packet: &Packet<'_>) -> Option<Sighting> {
        let (ruleset, now) = (&self.rules.ruleset, packet.captured());
        let picked = match packet.ip {
            Ok(Some(ip)) => self.prefilter.pick(ip, &ruleset.named_ports, now),
            Ok(None) => return None,
            Err(malformed) => Err(malformed),
        };
        let (Ok(Some(ip)), Ok(picked)) = (packet.ip, picked) else {
            self.summary.malformed += 1;
            return None;
        };
        let mut scratch = [0; SCRATCH_BYTES];
        let inspection = match picked? {
            Picked::Outgoing(flow) => {
                let uid = packet.app.as_ref().map(|app| app.uid);
                let seen = self
                    .inspector
                    .inspect(ip, uid.into(), now, ruleset, &mut scratch);
                self.prefilter.heed(flow, &seen, now);
                seen
            }
            Picked::Answer => {
                let (seen, resolution) =
                    self.inspector
                        .inspect_answer(ip, now, ruleset, &mut scratch);
                if let Some(resolution) = resolution {
                    self.names.learn(&Learned {
                        unix_millis: packet.unix_nanos / 1_000_000,
                        resolution,
                    });
                }
                seen
            }
        };
        if inspection.reading == Reading::Malformed {
            self.summary.malformed += 1;
        }
        inspection.sighting
    }

    fn print(
        &self,
        packet: &Packet<'_>,
        sighting: Sighting,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let action = sighting.decision.action;
        let app = sighting
            .attribution
            .uid()
            .map(|uid| self.rules.label(uid, packet.app.as_ref()));
        let event = Event {
            unix_millis: packet.unix_nanos / 1_000_000,
            sighting,
            ruleset: Arc::clone(&self.rules.ruleset),
        };
        let names = self.names.told_by(&event);
        let told = Record::new(self.summary.packets, &event, &names, &self.rules.packages);
        let record = Record { app, ..told };
        if self.json {
            let time = jiff::Timestamp::from_nanosecond(packet.unix_nanos.into())?;
            let line = Line::new(time, action, &record);
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        } else {
            writeln!(out, "{}", log::line(&record))?;
        }
        Ok(())
    }
}

/// A decision as other programs read it. What is not known is `null`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// RFC 3339, in UTC, with microseconds.
    time: String,
    proto: Protocol,
    src: IpAddr,
    dst: IpAddr,
    dport: u16,
    evidence: EvidenceKind,
    name: Option<&'a str>,
    app: Option<&'a str>,
    /// What is asked for, whatever the mode.
    action: Action,
    reason: &'a str,
    entry: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn new(time: jiff::Timestamp, action: Action, record: &'a Record) -> Self {
        Self {
            time: format!("{time:.6}"),
            proto: record.protocol,
            src: record.local.ip(),
            dst: record.remote.ip(),
            dport: record.remote.port(),
            evidence: record.evidence,
            name: record.name.as_deref(),
            app: record.app.as_deref(),
            action,
            reason: &record.reason,
            entry: record.entry.as_deref(),
        }
    }
}
