//! A block of records → each record. What the bytes mean is in `encode.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::block::Header;
use super::coding::Source;
use super::encode::{FORWARDED, UDP, present};
use crate::catalogue::Category;
use crate::decide::{AttributionSource, Outcome, Protocol};
use crate::parse::Malformed;
use crate::record::{EvidenceKind, Record, asked_again, qtype_name};

/// The records of a block, read one after the other without a copy of their texts.
#[derive(Debug)]
pub struct Records<'a> {
    header: Header,
    texts: Vec<&'a str>,
    names: Vec<&'a str>,
    addresses: Vec<IpAddr>,
    apps: Vec<(u32, &'a str)>,
    whys: Vec<Why<'a>>,
    records: Source<'a>,
}

/// One record as it stands in its block; [`Record`] without the copies.
#[derive(Clone, Debug)]
pub struct RecordRef<'a> {
    /// See [`Record::number`].
    pub number: u64,
    /// See [`Record::unix_millis`].
    pub unix_millis: u64,
    /// See [`Record::outcome`].
    pub outcome: Outcome,
    /// See [`Record::name`].
    pub name: Option<&'a str>,
    /// See [`Record::asked`].
    pub asked: Option<&'a str>,
    /// User id and label of the app.
    pub app: Option<(u32, &'a str)>,
    /// See [`Record::process`].
    pub process: Option<&'a str>,
    /// See [`Record::remote`].
    pub remote: SocketAddr,
    attribution: AttributionSource,
    local: SocketAddr,
    is_forwarded: bool,
    protocol: Protocol,
    evidence: EvidenceKind,
    is_suffixed: bool,
    qtype: Option<u16>,
    resolved_from: Vec<&'a str>,
    why: Why<'a>,
}

/// What decided, in words.
#[derive(Clone, Copy, Debug)]
struct Why<'a> {
    reason: &'a str,
    rule: Option<u32>,
    choice: Option<i64>,
    paused_until: Option<i64>,
    entry: Option<&'a str>,
    owner: Option<&'a str>,
    system: Option<&'a str>,
    region: Option<&'a str>,
    category: Option<Category>,
    breaks: Option<&'a str>,
}

impl<'a> Records<'a> {
    /// Reads the tables of a block.
    ///
    /// # Errors
    /// They are not what this version writes.
    pub fn read(header: Header, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut source = Source(payload);
        let texts = source.list(|it| it.text())?;
        let names = source.list(|it| it.text())?;
        let addresses = source.list(address)?;
        let apps = source.list(|it| Ok((it.small()?, it.of(&texts)?)))?;
        let whys = source.list(|it| Why::read(it, &texts))?;
        Ok(Self {
            header,
            texts,
            names,
            addresses,
            apps,
            whys,
            records: source,
        })
    }

    /// The records, in the order of their numbers. What follows a malformed one is not read.
    pub fn iter(&self) -> impl Iterator<Item = Result<RecordRef<'a>, Malformed>> {
        let mut source = self.records;
        let mut millis = 0;
        let mut next = self.header.first;
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over || next >= self.header.end() {
                return None;
            }
            let record = self.record(&mut source, next, millis);
            match &record {
                Ok(record) => millis = record.unix_millis,
                Err(Malformed) => is_over = true,
            }
            next += 1;
            Some(record)
        })
    }

    fn record(
        &self,
        source: &mut Source<'a>,
        number: u64,
        before_millis: u64,
    ) -> Result<RecordRef<'a>, Malformed> {
        let [what, has] = source.array()?;
        let attribution = source_of(has >> present::SOURCE_SHIFT & 7)?;
        let unix_millis = source.step(before_millis)?;
        let (evidence, has_qtype) = evidence(what & 0x0f)?;
        let mut name = |bit: u8| match has & bit {
            0 => Ok(None),
            _ => source.of(&self.names).map(Some),
        };
        let (name, asked) = (name(present::NAME)?, name(present::ASKED)?);
        let qtype = has_qtype.then(|| source.small()).transpose()?;
        let app = match has & present::APP {
            0 => None,
            _ => Some(source.of(&self.apps)?),
        };
        let process = match has & present::PROCESS {
            0 => None,
            _ => Some(source.of(&self.texts)?),
        };
        let why = source.of(&self.whys)?;
        let local = source.of(&self.addresses)?;
        let local = SocketAddr::new(local, u16::from_le_bytes(source.array()?));
        let remote = source.of(&self.addresses)?;
        let remote = SocketAddr::new(remote, source.small()?);
        let resolved_from = match has & present::RESOLVED_FROM {
            0 => Vec::new(),
            _ => source.list(|it| it.of(&self.texts))?,
        };
        Ok(RecordRef {
            number,
            unix_millis,
            outcome: outcome(what >> 4 & 3),
            name,
            asked,
            app,
            process,
            remote,
            attribution,
            local,
            is_forwarded: what & FORWARDED != 0,
            protocol: if what & UDP == 0 {
                Protocol::Tcp
            } else {
                Protocol::Udp
            },
            evidence,
            is_suffixed: what & 0x0f == 1,
            qtype,
            resolved_from,
            why,
        })
    }
}

impl RecordRef<'_> {
    /// The catalogue entry that decided.
    #[must_use]
    pub const fn entry(&self) -> Option<&str> {
        self.why.entry
    }

    /// See [`Record::client`].
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.is_forwarded.then(|| self.local.ip())
    }

    /// The record by itself.
    #[must_use]
    pub fn to_record(&self) -> Record {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let why = &self.why;
        let mut reason = why.reason.to_owned();
        if self.is_suffixed {
            let (name, asked) = (self.name.unwrap_or("."), self.asked.unwrap_or_default());
            let suffix = name.strip_prefix(asked).unwrap_or(name);
            let suffix = suffix.strip_prefix('.').unwrap_or(suffix);
            reason.push_str(&asked_again(if suffix.is_empty() { "." } else { suffix }));
        }
        Record {
            number: self.number,
            unix_millis: self.unix_millis,
            outcome: self.outcome,
            name: owned(self.name),
            evidence: self.evidence,
            asked: owned(self.asked),
            qtype: self.qtype.map(qtype_name),
            app: self.app.map(|(_, label)| label.to_owned()),
            uid: self.app.map(|(uid, _)| uid),
            attribution: self.attribution,
            process: owned(self.process),
            client: self.client(),
            protocol: self.protocol,
            local: self.local,
            remote: self.remote,
            resolved_from: self.resolved_from.iter().map(ToString::to_string).collect(),
            reason,
            rule: why.rule,
            choice: why.choice,
            paused_until: why.paused_until,
            entry: owned(why.entry),
            owner: owned(why.owner),
            system: owned(why.system),
            region: owned(why.region),
            category: why.category,
            breaks: owned(why.breaks),
        }
    }
}

impl<'a> Why<'a> {
    fn read(source: &mut Source<'a>, texts: &[&'a str]) -> Result<Self, Malformed> {
        let reason = source.of(texts)?;
        let rule = match source.number()? {
            0 => None,
            after => Some(u32::try_from(after - 1).map_err(|_| Malformed)?),
        };
        let (choice, paused_until) = (source.maybe_secs()?, source.maybe_secs()?);
        let [entry, owner, system, region, category, breaks] = {
            let mut read = [None; 6];
            for text in &mut read {
                *text = source.maybe_of(texts)?;
            }
            read
        };
        // A word that this program does not know says nothing.
        let category = category.and_then(|word| {
            let known = Category::WORDS.iter().find(|(other, _)| *other == word);
            known.map(|&(_, category)| category)
        });
        Ok(Self {
            reason,
            rule,
            choice,
            paused_until,
            entry,
            owner,
            system,
            region,
            category,
            breaks,
        })
    }
}

/// What a kind's number stands for, and whether a record type follows.
const fn evidence(kind: u8) -> Result<(EvidenceKind, bool), Malformed> {
    Ok(match kind {
        0 | 1 => (EvidenceKind::Dns, true),
        2 => (EvidenceKind::Alias, true),
        3 => (EvidenceKind::Sni, false),
        4 => (EvidenceKind::Host, false),
        5 => (EvidenceKind::Unnamed, false),
        6 => (EvidenceKind::Syn, false),
        7 => (EvidenceKind::Datagram, false),
        8 => (EvidenceKind::Open, false),
        _ => return Err(Malformed),
    })
}

/// What an outcome's number stands for; of its two bits each stands for something.
pub(super) const fn outcome(number: u8) -> Outcome {
    match number & 3 {
        0 => Outcome::Allowed,
        1 => Outcome::Logged,
        2 => Outcome::Blocked,
        _ => Outcome::WouldBlock,
    }
}

/// What the number of a way to know the app stands for.
const fn source_of(number: u8) -> Result<AttributionSource, Malformed> {
    Ok(match number {
        0 => AttributionSource::Unknown,
        1 => AttributionSource::Socket,
        2 => AttributionSource::InetDiag,
        3 => AttributionSource::Proc,
        4 => AttributionSource::Shared,
        _ => return Err(Malformed),
    })
}

fn address(source: &mut Source<'_>) -> Result<IpAddr, Malformed> {
    match source.array()? {
        [4] => Ok(Ipv4Addr::from(source.array()?).into()),
        [6] => Ok(Ipv6Addr::from(source.array()?).into()),
        _ => Err(Malformed),
    }
}
