//! Events → a block of records, without putting each into words: what a block says more than once
//! it says in tables, so that an event costs some look-ups and a dozen bytes.
//!
//! ```text
//! payload  texts, names, addresses, apps, whys: tables, each with its count in front
//!          records
//! app      user id, label (text)
//! why      reason, rule + 1, choice and end of the pause (each 0, or 1 and a time), then entry,
//!          owner, system, region, category, breaks (text + 1, or 0)
//! record   kind and outcome:1 present:1 time (step from the one before) [name] [asked] [type]
//!          [app] [process (text)] why local address, port:2 remote address, port
//!          [count, resolved from (texts)]
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use super::block::{About, block};
use super::coding::{Table, put, put_place, put_secs, put_step, put_text};
use crate::apps::Packages;
use crate::catalogue::{Category, word};
use crate::decide::{AttributionSource, Decision, Explanation, Outcome, Protocol, UnixSeconds};
use crate::inspect::{Ruleset, SightingKind};
use crate::record::Event;

/// What a record has beside what all have: bits of its second byte. Between them stands how the app
/// is known.
pub(super) mod present {
    pub(in super::super) const NAME: u8 = 1;
    pub(in super::super) const ASKED: u8 = 2;
    pub(in super::super) const APP: u8 = 4;
    pub(in super::super) const RESOLVED_FROM: u8 = 8;
    pub(in super::super) const PROCESS: u8 = 0x80;
    /// How far to the left the number of an [`AttributionSource`](crate::decide::AttributionSource)
    /// stands, of three bits.
    pub(in super::super) const SOURCE_SHIFT: u32 = 4;
}

/// Bits of the first byte: UDP; a packet that the phone only passed on.
pub(super) const UDP: u8 = 0x40;
pub(super) const FORWARDED: u8 = 0x80;

/// As many records, or so many bytes, make a block.
const FULL: (u32, usize) = (2048, 64 * 1024);

/// A block in the making: events that follow one another, decided by one ruleset.
#[derive(Debug)]
pub struct RecordsBlock {
    about: About,
    last_millis: u64,
    ruleset: Arc<Ruleset>,
    packages: Arc<Packages>,
    texts: Table<String>,
    names: Table<Vec<u8>>,
    addresses: Table<IpAddr>,
    apps: Table<u32>,
    /// Those of a pause apart: it is part of the words.
    whys: Table<(Decision, Outcome, bool)>,
    records: Vec<u8>,
}

impl RecordsBlock {
    /// An empty one, whose first record will have this number. `packages` are for the labels of
    /// apps.
    #[must_use]
    pub fn new(first: u64, ruleset: &Arc<Ruleset>, packages: &Arc<Packages>) -> Self {
        Self {
            about: About {
                first,
                count: 0,
                from_millis: u64::MAX,
                to_millis: 0,
            },
            last_millis: 0,
            ruleset: Arc::clone(ruleset),
            packages: Arc::clone(packages),
            texts: Table::default(),
            names: Table::default(),
            addresses: Table::default(),
            apps: Table::default(),
            whys: Table::default(),
            records: Vec::new(),
        }
    }

    /// Whether an event with this number, ruleset and list of packages may come next.
    #[must_use]
    pub fn takes(&self, number: u64, event: &Event, packages: &Arc<Packages>) -> bool {
        let About { first, count, .. } = self.about;
        number == first + u64::from(count)
            && Arc::ptr_eq(&self.ruleset, &event.ruleset)
            && Arc::ptr_eq(&self.packages, packages)
            && count < FULL.0
            && self.len_bytes() < FULL.1
    }

    /// About as many bytes it has.
    pub(super) fn len_bytes(&self) -> usize {
        self.records.len() + self.texts.len_bytes() + self.names.len_bytes()
    }

    /// Appends an event that this block [takes](Self::takes).
    pub fn push(&mut self, event: &Event, resolved_from: &[Arc<str>], process: Option<&str>) {
        let sighting = &event.sighting;
        let attribution = sighting.attribution;
        let flow = &sighting.flow;
        let millis = event.unix_millis;
        self.about.count += 1;
        self.about.from_millis = self.about.from_millis.min(millis);
        self.about.to_millis = self.about.to_millis.max(millis);

        let is = |bit: u8, present: bool| if present { bit } else { 0 };
        let (kind, qtype) = kind(sighting.kind);
        let udp = is(UDP, flow.protocol == Protocol::Udp);
        let forwarded = is(FORWARDED, sighting.forwarded);
        self.records
            .push(kind | outcome(sighting.outcome) << 4 | udp | forwarded);
        self.records.push(
            is(present::NAME, !sighting.name.is_root())
                | is(present::ASKED, !sighting.asked.is_root())
                | is(present::APP, attribution.uid().is_some())
                | is(present::RESOLVED_FROM, !resolved_from.is_empty())
                | is(present::PROCESS, process.is_some())
                | source(self.packages.source(attribution)) << present::SOURCE_SHIFT,
        );
        put_step(&mut self.records, self.last_millis, millis);
        self.last_millis = millis;
        for name in [&sighting.name, &sighting.asked] {
            if !name.is_root() {
                let write = |out: &mut Vec<u8>| put_text(out, &name.to_string());
                let place = self.names.place(name.as_bytes(), write);
                put(&mut self.records, place.into());
            }
        }
        if let Some(qtype) = qtype {
            put(&mut self.records, qtype.into());
        }
        if let Some(uid) = attribution.uid() {
            let place = self.apps.place(&uid.0, |out| {
                put(out, uid.0.into());
                put(out, self.texts.text(&self.packages.label(uid)).into());
            });
            put(&mut self.records, place.into());
        }
        if let Some(process) = process {
            put(&mut self.records, self.texts.text(process).into());
        }
        let (policy, now) = (&self.ruleset.policy, UnixSeconds::from_millis(millis));
        let is_paused = policy.pause(now).is_some();
        let decided = (sighting.decision, sighting.outcome, is_paused);
        let why = self.whys.place(&decided, |out| {
            let explanation = policy.explain(&sighting.decision, now);
            put_why(out, &explanation, &mut self.texts);
        });
        put(&mut self.records, why.into());
        let mut address = |address: IpAddr| {
            self.addresses
                .place(&address, |out| put_address(out, address))
        };
        let (local, remote) = (address(flow.local.ip()), address(flow.remote.ip()));
        put(&mut self.records, local.into());
        self.records
            .extend_from_slice(&flow.local.port().to_le_bytes());
        put(&mut self.records, remote.into());
        put(&mut self.records, flow.remote.port().into());
        if !resolved_from.is_empty() {
            put(&mut self.records, resolved_from.len() as u64);
            for name in resolved_from {
                put(&mut self.records, self.texts.text(name).into());
            }
        }
    }

    /// The whole block, to be written.
    #[must_use]
    pub fn seal(self) -> Vec<u8> {
        block(&self.about, |out| {
            self.texts.put(out);
            self.names.put(out);
            self.addresses.put(out);
            self.apps.put(out);
            self.whys.put(out);
            out.extend_from_slice(&self.records);
        })
    }
}

/// The number of a kind, and the record type asked for.
const fn kind(kind: SightingKind) -> (u8, Option<u16>) {
    match kind {
        SightingKind::Question(qtype) => (0, Some(qtype)),
        SightingKind::Suffixed(qtype) => (1, Some(qtype)),
        SightingKind::Alias(qtype) => (2, Some(qtype)),
        SightingKind::Sni => (3, None),
        SightingKind::Host => (4, None),
        SightingKind::Unnamed => (5, None),
        SightingKind::Syn => (6, None),
        SightingKind::Datagram => (7, None),
        SightingKind::Open => (8, None),
    }
}

/// The number of an outcome.
pub(super) const fn outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Allowed => 0,
        Outcome::Logged => 1,
        Outcome::Blocked => 2,
        Outcome::WouldBlock => 3,
    }
}

/// The number of a way to know the app.
const fn source(source: AttributionSource) -> u8 {
    match source {
        AttributionSource::Unknown => 0,
        AttributionSource::Socket => 1,
        AttributionSource::InetDiag => 2,
        AttributionSource::Proc => 3,
        AttributionSource::Shared => 4,
    }
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
}

fn put_why(out: &mut Vec<u8>, explanation: &Explanation<'_>, texts: &mut Table<String>) {
    let endpoint = explanation.endpoint;
    put(out, texts.text(&explanation.to_string()).into());
    put_place(out, explanation.rule.map(|(id, _)| id.0));
    put_secs(out, explanation.choice.map(|choice| choice.made.0));
    put_secs(out, explanation.pause.map(|pause| pause.until.0));
    let entry = endpoint.map(|it| it.pattern.to_string());
    for text in [
        entry.as_deref(),
        endpoint.map(|it| it.owner.as_str()),
        endpoint.map(|it| it.system.as_str()),
        endpoint.map(|it| it.region.as_str()),
        endpoint.map(|it| word(Category::WORDS, it.category)),
        explanation.breaks(),
    ] {
        put_place(out, text.map(|text| texts.text(text)));
    }
}
