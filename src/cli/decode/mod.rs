//! `muzzle decode [FILE]`: what was captured of telemetry, in plain text. It reads no config and
//! needs no daemon and no root.

mod print;

use std::collections::HashMap;
use std::io::{self, Cursor, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use print::{BOLD, IDENTIFYING, Line, print, shown};

use super::EXIT_FAILURE;
use crate::capture::{Capture, Packet, Unpacked, is_capture};
use crate::decide::{FlowKey, Protocol};
use crate::decode::pasted::{self, Pasted};
use crate::decode::streams::{Captured, Streams};
use crate::decode::{
    Content, Field, Identity, Request, Upload, har, printable, printable_json,
};
use crate::parse::ip::{self, IpPacket};
use crate::parse::tcp::TcpSegment;

/// The largest file that is no capture, which has to be read whole.
const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// Different identifying values that are counted, and that are shown at the end.
const MAX_COUNTED: usize = 10_000;
const MAX_SUMMED_UP: usize = 40;

/// Arguments of `muzzle decode`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  muzzle decode capture.pcap                uploads over plain HTTP in a capture
  muzzle decode traffic.har                 what an intercepting proxy has seen
  muzzle decode --json body | jq .events    for other programs: one JSON object an upload
  xclip -o | muzzle decode                  a form, a URL, a curl command, base64

What it reads is Sensors Analytics and Mi Stat 2.x. What is encrypted for the collector alone is
named. Nothing is sent anywhere.")]
pub struct Args {
    /// A capture (pcap, pcapng), a HAR file, HTTP requests, URLs, `curl` commands, the body of a
    /// request, or base64; `-` reads standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Print one JSON object an upload.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand: uploads go to `out`, the summary to `notes`. The exit status is 1 where an
/// upload is damaged.
///
/// # Errors
/// The file cannot be read to its end, is too large, or is nothing that is known. What was read
/// until then has been printed.
pub fn run(
    args: &Args,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let mut decoding = Decoding::new(args.json);
    let ended = if args.file == Path::new("-") {
        let read = decoding.read(io::stdin().lock(), out);
        read.context("standard input")
    } else {
        let name = args.file.display();
        let file = std::fs::File::open(&args.file);
        let file = file.with_context(|| format!("cannot open {name}"))?;
        let mut gathered = io::BufWriter::new(&mut *out);
        let read = decoding.read(file, &mut gathered);
        gathered.flush()?;
        read.with_context(|| name.to_string())
    };
    if !args.json {
        decoding.sum_up(out)?;
    }
    out.flush()?;
    let summary = &decoding.summary;
    if summary.requests > 0 {
        writeln!(notes, "{}", summary.told())?;
    }
    ended?;
    Ok(match summary.damaged {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_FAILURE),
    })
}

/// What came of a file.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What the file was taken for.
    pub input: &'static str,
    /// Requests read.
    pub requests: u64,
    /// Those of them that are telemetry.
    pub uploads: u64,
    /// Uploads that only their collector can read.
    pub encrypted: u64,
    /// Uploads that are not what their format demands.
    pub damaged: u64,
    /// Events in the others.
    pub events: u64,
    /// Connections that there was no room to follow.
    given_up: u64,
}

impl Summary {
    fn told(&self) -> String {
        let mut told = format!(
            "{}: {} requests, {} uploads of telemetry ({} encrypted, {} damaged), {} events",
            self.input, self.requests, self.uploads, self.encrypted, self.damaged, self.events
        );
        if self.given_up > 0 {
            told += &format!("; {} connections were too many or too large", self.given_up);
        }
        told
    }
}

/// Where an identifying value was found.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    events: u64,
    uploads: u64,
}

/// A run through a file.
#[derive(Debug, Default)]
pub struct Decoding {
    json: bool,
    /// Identifying values by what they tell, and by the last part of their field's name.
    found: HashMap<(Identity, String, String), Found>,
    /// What came of it so far.
    pub summary: Summary,
}

impl Decoding {
    /// Prints JSON where `json` is set.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self {
            json,
            ..Self::default()
        }
    }

    /// Reads a file to its end.
    ///
    /// # Errors
    /// See [`run`], or `out` cannot be written to.
    pub fn read(&mut self, input: impl Read, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut input = Unpacked::new(input)?;
        let mut start = Vec::new();
        input.by_ref().take(4).read_to_end(&mut start)?;
        let is_capture = is_capture(&start);
        let whole = Cursor::new(start).chain(input);
        if is_capture {
            self.summary.input = "capture";
            return self.capture(whole, out);
        }
        let mut document = Vec::new();
        let limit = MAX_DOCUMENT_BYTES as u64 + 1;
        whole.take(limit).read_to_end(&mut document)?;
        match document.len() {
            0 => bail!("there is nothing to decode"),
            1..=MAX_DOCUMENT_BYTES => self.document(&document, out),
            _ => bail!(
                "it is larger than {} MiB, and no capture; cut out the requests in question",
                MAX_DOCUMENT_BYTES >> 20
            ),
        }
    }

    fn capture(&mut self, input: impl Read, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut capture = Capture::open(input)?;
        let mut streams = Streams::default();
        let mut requests = Vec::new();
        let ended = loop {
            match capture.next_packet() {
                Ok(Some(packet)) => take(&packet, &mut streams, &mut |it| requests.push(it)),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            for request in requests.drain(..) {
                self.request(&request, out)?;
            }
        };
        streams.finish(&mut |it| requests.push(it));
        for request in requests.drain(..) {
            self.request(&request, out)?;
        }
        self.summary.given_up = streams.given_up;
        Ok(ended?)
    }

    fn document(&mut self, document: &[u8], out: &mut dyn Write) -> anyhow::Result<()> {
        if har::is_har(document) {
            self.summary.input = "HAR";
            let requests = har::requests(document).context("it is no whole HAR file")?;
            for request in &requests {
                self.request(request, out)?;
            }
            return Ok(());
        }
        let pasted = pasted::read(document);
        self.summary.input = pasted.as_str();
        let requests = match pasted {
            Pasted::Base64(upload) => {
                self.summary.requests += 1;
                return self.upload(&Request::default(), &upload, out);
            }
            Pasted::Body(request) => vec![request],
            Pasted::Requests(all) | Pasted::Curl(all) | Pasted::Urls(all) => all,
        };
        for request in &requests {
            self.request(request, out)?;
        }
        if self.summary.uploads == 0 {
            let damage = requests
                .iter()
                .find_map(|request| request.damage.as_deref());
            let damage = damage.map(|it| format!(" ({})", printable(it)));
            bail!(
                "taken for {}, there is no upload of a known format in it{}; known are Sensors \
                 Analytics (data_list=, data=) and Mi Stat 2.x (stat_value=), see docs/decode.md",
                self.summary.input,
                damage.unwrap_or_default()
            );
        }
        Ok(())
    }

    fn request(&mut self, request: &Request, out: &mut dyn Write) -> anyhow::Result<()> {
        self.summary.requests += 1;
        match Upload::of(request) {
            Some(upload) => self.upload(request, &upload, out),
            None => Ok(()),
        }
    }

    fn upload(
        &mut self,
        request: &Request,
        upload: &Upload,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        self.summary.uploads += 1;
        match &upload.content {
            Content::Events { events, left_out } => {
                self.summary.events += (events.len() + left_out) as u64;
                for event in events {
                    self.count(&event.fields, |found| found.events += 1);
                }
            }
            Content::Encrypted(_) => self.summary.encrypted += 1,
            Content::Damaged(_) => self.summary.damaged += 1,
        }
        self.count(&upload.fields, |found| found.uploads += 1);
        if self.json {
            let line = serde_json::to_string(&Line::new(request, upload))?;
            writeln!(out, "{}", printable_json(&line))?;
            return Ok(());
        }
        print(self.summary.uploads, request, upload, out)?;
        Ok(())
    }

    fn count(&mut self, fields: &[Field], add: impl Fn(&mut Found)) {
        for field in fields {
            let Some(identity) = field.identity else {
                continue;
            };
            let name = field.name.rsplit('.').next().unwrap_or_default();
            let key = (identity, shown(name), shown(&field.value));
            if self.found.len() < MAX_COUNTED || self.found.contains_key(&key) {
                add(self.found.entry(key).or_default());
            }
        }
    }

    /// Prints which values tell whose uploads these are, and how often each went out.
    ///
    /// # Errors
    /// `out` cannot be written to.
    pub fn sum_up(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut all: Vec<_> = self.found.iter().collect();
        all.sort_by(|(one, of_one), (other, of_other)| {
            let often = of_other.events.cmp(&of_one.events);
            one.0.cmp(&other.0).then(often).then(one.cmp(other))
        });
        writeln!(out, "{BOLD}What tells who this is{BOLD:#}")?;
        for ((identity, name, value), found) in all.iter().take(MAX_SUMMED_UP) {
            let mut places = Vec::new();
            if found.events > 0 {
                places.push(format!(
                    "{} of {} events",
                    found.events, self.summary.events
                ));
            }
            if found.uploads > 0 {
                places.push(format!(
                    "{} of {} uploads",
                    found.uploads, self.summary.uploads
                ));
            }
            writeln!(
                out,
                "  {:<22} {:<20} {IDENTIFYING}{}{IDENTIFYING:#}  in {}",
                identity.as_str(),
                name,
                value,
                places.join(" and ")
            )?;
        }
        match all.len().saturating_sub(MAX_SUMMED_UP) {
            0 => Ok(()),
            more => writeln!(out, "  and {more} more"),
        }
    }
}

/// Takes a packet's segment to its stream.
fn take(packet: &Packet<'_>, streams: &mut Streams, found: &mut dyn FnMut(Request)) {
    let Ok(Some(bytes)) = packet.ip else {
        return;
    };
    let Ok(outer) = IpPacket::parse(bytes) else {
        return;
    };
    if outer.protocol != ip::TCP {
        return;
    }
    let Ok(segment) = TcpSegment::parse(outer.payload) else {
        return;
    };
    let flow = FlowKey {
        protocol: Protocol::Tcp,
        local: SocketAddr::new(outer.source, segment.source_port),
        remote: SocketAddr::new(outer.destination, segment.destination_port),
    };
    let app = packet.app.as_ref().map(|app| match &app.package {
        Some(package) => package.to_string(),
        None => app.title.clone(),
    });
    let captured = Captured {
        unix_millis: packet.unix_nanos / 1_000_000,
        app,
    };
    streams.segment(flow, &segment, captured, found);
}
