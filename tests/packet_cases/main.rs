//! Every file of `tests/packets` is a case: what is in force, the packets of one phone, and what
//! is to become of each. See the README there.
//!
//! Packets are built and forged ones read back by etherparse and hickory-proto, never by the code
//! under test.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod build;
mod case;
mod forged;
mod quic;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use case::{Act, Case, ENTRY_DEFAULTS, Packet, Part, Reading};
use forged::Before;
use hickory_proto::rr::RecordType;
use jiff::Timestamp;
use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::config::Config;
use muzzle::decide::{Uid, UnixSeconds};
use muzzle::inspect::{
    self, Inspection, Inspector, Resolution, Ruleset, Sighting, SightingKind,
};
use quic::Close as QuicClose;

/// As much as a queue thread has.
const SCRATCH_BYTES: usize = 2048;

#[test]
fn every_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packets");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no case in {}", folder.display());
    let mut failed = String::new();
    for file in &files {
        // A case that cannot even be read must not hide the others.
        let found = panic::catch_unwind(AssertUnwindSafe(|| run(file)));
        let problems = found.unwrap_or_else(|_| vec!["panicked, see above".to_owned()]);
        for problem in problems {
            let name = file.file_name().unwrap().display();
            write!(failed, "\n{name}: {problem}").unwrap();
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

fn run(file: &Path) -> Vec<String> {
    let case: Case = match toml::from_str(&fs::read_to_string(file).unwrap()) {
        Ok(case) => case,
        Err(error) => return vec![error.to_string()],
    };
    let ruleset = ruleset(&case);
    let mut inspector = Inspector::default();
    let mut problems = Vec::new();
    for (number, packet) in (1..).zip(&case.packet) {
        let mut differences = send(&case, packet, &ruleset, &mut inspector);
        differences
            .iter_mut()
            .for_each(|text| text.insert_str(0, &format!("packet {number}: ")));
        problems.append(&mut differences);
    }
    problems
}

fn ruleset(case: &Case) -> Arc<Ruleset> {
    let config =
        Config::parse("config", &case.config).unwrap_or_else(|error| panic!("{error}"));
    let entries: Vec<_> = case.endpoint.iter().map(entry_text).collect();
    let catalogue = Catalogue::from_files(&[("endpoint", entries.concat())]);
    let mut catalogue = catalogue.unwrap_or_else(|error| panic!("{error}"));
    if case.built_in_catalogue {
        catalogue.endpoints.extend(Catalogue::built_in().endpoints);
    }
    let packages = Packages::parse(&case.packages);
    Arc::new(Ruleset::new(&config, Arc::new(catalogue), &packages))
}

/// An entry as a catalogue file has it.
fn entry_text(entry: &toml::Table) -> String {
    let mut text = "[[endpoint]]\nsources = []\n".to_owned();
    for (key, value) in entry {
        // Texts, numbers and lists of them are written alike in JSON and in TOML.
        let value = serde_json::to_string(value).unwrap();
        writeln!(text, "{key} = {value}").unwrap();
    }
    for (key, value) in ENTRY_DEFAULTS {
        if !entry.contains_key(key) {
            writeln!(text, "{key} = \"{value}\"").unwrap();
        }
    }
    text
}

/// Hands a packet over and says what came out other than expected.
fn send(
    case: &Case,
    packet: &Packet,
    ruleset: &Arc<Ruleset>,
    inspector: &mut Inspector,
) -> Vec<String> {
    let from = packet.from.unwrap_or(case.from);
    let to = packet.to.or(case.to).expect("a packet goes to somebody");
    let uid = packet.uid.or(case.uid).map(Uid);
    let now = packet.now.as_ref().or(case.now.as_ref());
    let now: Timestamp = now.map_or(Timestamp::UNIX_EPOCH, |now| {
        now.to_string().parse().unwrap()
    });
    let now = UnixSeconds(now.as_second());
    let mut differences = Vec::new();
    let (source, destination) = if packet.answer {
        (packet.via.unwrap_or(to), from)
    } else {
        (from, to)
    };
    let mut packets = build::packets(packet, source, destination);
    let last = packets.pop().unwrap();
    let mut scratch = [0; SCRATCH_BYTES];
    let inspect = |inspector: &mut Inspector, bytes: &[u8], scratch: &mut [u8]| {
        if case.forwarded {
            inspector.inspect_forwarded(bytes, now, ruleset, scratch)
        } else {
            inspector.inspect(bytes, uid.into(), now, ruleset, scratch)
        }
    };
    for (number, segment) in (1..).zip(&packets) {
        let seen = if packet.answer {
            inspector
                .inspect_answer(segment, now, ruleset, &mut scratch)
                .0
        } else {
            inspect(inspector, segment, &mut scratch)
        };
        if (act(&seen), reading(&seen), seen.sighting.is_some())
            != (Act::Pass, Reading::Incomplete, false)
        {
            differences.push(format!(
                "segment {number} should pass as incomplete: {seen:?}"
            ));
        }
    }
    let (seen, learned) = if packet.answer {
        inspector.inspect_answer(&last, now, ruleset, &mut scratch)
    } else {
        let seen = inspect(inspector, &last, &mut scratch);
        (seen, None)
    };
    let mut compare = |what: &str, expected: String, found: String| {
        if expected != found {
            differences.push(format!("{what}\n  expected {expected}\n  found    {found}"));
        }
    };
    let words = |lines: &[String]| format!("{lines:#?}");
    compare(
        "act",
        format!("{:?}", packet.act),
        format!("{:?}", act(&seen)),
    );
    compare(
        "reading",
        format!("{:?}", packet.reading),
        format!("{:?}", reading(&seen)),
    );
    compare(
        "forged",
        words(&packet.forged),
        words(&forged(
            &seen,
            &scratch,
            (from, packet.via.unwrap_or(to)),
            packet,
        )),
    );
    compare(
        "learned",
        packet.learned.clone().unwrap_or_default(),
        learned.as_ref().map(learned_words).unwrap_or_default(),
    );
    let sighting = seen.sighting.as_ref();
    compare(
        "sighting",
        packet.sighting.clone().unwrap_or_default(),
        sighting.map(sighting_words).unwrap_or_default(),
    );
    if let (Some(expected), Some(sighting)) = (&packet.reason, sighting) {
        let reason = ruleset.policy.explain(&sighting.decision, now).to_string();
        compare("reason", expected.clone(), reason);
    }
    if let Some(sighting) = sighting {
        let ends = (
            sighting.flow.local,
            sighting.flow.remote,
            sighting.attribution.uid(),
        );
        compare(
            "flow",
            format!("{:?}", (from, to, uid)),
            format!("{ends:?}"),
        );
    }
    differences
}

const fn act(seen: &Inspection) -> Act {
    match seen.act {
        muzzle::act::Act::Pass | muzzle::act::Act::Follow | muzzle::act::Act::Leave => {
            Act::Pass
        }
        muzzle::act::Act::Vanish => Act::Vanish,
        muzzle::act::Act::Answer { .. } => Act::Answer,
        muzzle::act::Act::Rewrite { .. } => Act::Rewrite,
        muzzle::act::Act::Sever { .. } => Act::Sever,
    }
}

const fn reading(seen: &Inspection) -> Reading {
    match seen.reading {
        inspect::Reading::Understood => Reading::Understood,
        inspect::Reading::Malformed => Reading::Malformed,
        inspect::Reading::Incomplete => Reading::Incomplete,
        inspect::Reading::UnknownVersion => Reading::UnknownVersion,
        inspect::Reading::Unasked => Reading::Unasked,
        inspect::Reading::Empty => Reading::Empty,
    }
}

fn forged(
    seen: &Inspection,
    scratch: &[u8],
    (from, to): (SocketAddr, SocketAddr),
    packet: &Packet,
) -> Vec<String> {
    use muzzle::act::Act::{Answer, Follow, Leave, Pass, Rewrite, Sever, Vanish};
    let (flow, length, second_length) = match seen.act {
        Pass | Follow | Leave | Vanish => return Vec::new(),
        Rewrite { length } => (None, length, 0),
        Answer {
            flow,
            length,
            second_length,
        } => (Some(flow), length, second_length),
        Sever { flow, reset_length } => (Some(flow), reset_length, 0),
    };
    if let Some(flow) = flow.filter(|flow| (flow.local, flow.remote) != (from, to)) {
        return vec![format!("the act is for another flow: {flow:?}")];
    }
    if length == 0 {
        return Vec::new();
    }
    let first_destination = packet.payload.iter().find_map(|part| match part {
        Part::Initial(initial) => initial.first_destination.as_deref(),
        _ => None,
    });
    let before = Before {
        first_destination: first_destination.map(str::as_bytes),
        length: packet.answer && packet.bytes.as_ref().is_some_and(|it| it.start == 2),
    };
    let (first, rest) = scratch.split_at(length);
    let packets = [first, &rest[..second_length]];
    let packets = packets.into_iter().filter(|packet| !packet.is_empty());
    packets
        .flat_map(|packet| {
            let told = before.tell(packet, to, from);
            told.unwrap_or_else(|error| vec![error])
        })
        .collect()
}

fn learned_words(learned: &Resolution) -> String {
    let addresses = learned.addresses().iter().map(ToString::to_string);
    let addresses = addresses.collect::<Vec<_>>().join(" ");
    format!("{} {}: {addresses}", learned.name, learned.ttl_secs)
}

/// `blocked: A host.example.com`.
fn sighting_words(sighting: &Sighting) -> String {
    let outcome = sighting.outcome.as_str();
    let kind = match sighting.kind {
        SightingKind::Question(qtype) => RecordType::from(qtype).to_string(),
        SightingKind::Alias(qtype) => {
            let (asked, qtype) = (&sighting.asked, RecordType::from(qtype));
            return format!("{outcome}: {} as alias of {qtype} {asked}", sighting.name);
        }
        SightingKind::Suffixed(qtype) => {
            let (qtype, suffix) = (RecordType::from(qtype), sighting.search_suffix().unwrap());
            return format!("{outcome}: {qtype} {} with {suffix}", sighting.asked);
        }
        SightingKind::Sni => "SNI".to_owned(),
        SightingKind::Host => "Host".to_owned(),
        SightingKind::Unnamed => return format!("{outcome}: no name"),
        SightingKind::Syn => return format!("{outcome}: SYN"),
        SightingKind::Datagram => return format!("{outcome}: datagram"),
        SightingKind::Open => unreachable!("no packet says that"),
    };
    format!("{outcome}: {kind} {}", sighting.name)
}
