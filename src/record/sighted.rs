//! A sighting told in full: what the log shows and later keeps.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Event;
use crate::apps::Packages;
use crate::catalogue::Category;
use crate::decide::{AttributionSource, Outcome, Protocol, UnixSeconds};
use crate::inspect::SightingKind;

/// Where a name stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceKind {
    /// A DNS question.
    Dns,
    /// An alias in the answer to one.
    Alias,
    /// The server name of a TLS ClientHello; over UDP, in a QUIC connection.
    Sni,
    /// The host of an HTTP request.
    Host,
    /// A ClientHello or request that names no host.
    Unnamed,
    /// The first packet of a TCP connection.
    Syn,
    /// A UDP datagram other than DNS.
    Datagram,
    /// A TCP connection that was open before the rules that refuse it.
    Open,
}

/// One line of the log. Absent fields are unknown, never guessed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts up from 1, also over restarts as far as there is a history.
    pub number: u64,
    /// Wall-clock time in milliseconds since 1970-01-01 UTC.
    pub unix_millis: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// The name; of an alias, the alias.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Where the name stood.
    pub evidence: EvidenceKind,
    /// The name asked for, where `name` is an alias of it; the name refused before, where `name` is
    /// it with a search suffix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked: Option<String>,
    /// The record type asked for, by its IANA mnemonic or as `TYPE123` (RFC 3597 section 5).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub qtype: Option<String>,
    /// The app, by package name, or what else the user id stands for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app: Option<String>,
    /// The user id of the socket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// How the user id is known; `shared` where several packages run under it.
    #[serde(default)]
    pub attribution: AttributionSource,
    /// The device that sent it, where the phone only passed it on: a hotspot client.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<IpAddr>,
    /// The process that opened the socket, where several packages run under the user id and the
    /// kernel tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub process: Option<String>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The phone's end, or that of `client`.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Where there is no name: those that the phone was told this address for, the latest first.
    /// Others may stand at the same address, so that none of them need be the one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub resolved_from: Vec<String>,
    /// Why, in words.
    pub reason: String,
    /// The number of the user's rule that decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<u32>,
    /// When what the user decided by command, and what decided here, was made: seconds since
    /// 1970-01-01 UTC.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub choice: Option<i64>,
    /// When the pause ends that let it pass: seconds since 1970-01-01 UTC.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub paused_until: Option<i64>,
    /// The catalogue entry that decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entry: Option<String>,
    /// Who runs the endpoint.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// The part of the phone's software it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system: Option<String>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<String>,
    /// What the endpoint is for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub category: Option<Category>,
    /// What blocking it may break; absent where nothing is refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub breaks: Option<String>,
}

impl Record {
    /// Tells `event`, which has this place in the log, in full.
    #[must_use]
    pub fn new(
        number: u64,
        event: &Event,
        resolved_from: &[Arc<str>],
        packages: &Packages,
    ) -> Self {
        let sighting = &event.sighting;
        let explanation = event.ruleset.policy.explain(
            &sighting.decision,
            UnixSeconds::from_millis(event.unix_millis),
        );
        let endpoint = explanation.endpoint;
        let (evidence, qtype) = match sighting.kind {
            SightingKind::Question(qtype) | SightingKind::Suffixed(qtype) => {
                (EvidenceKind::Dns, Some(qtype_name(qtype)))
            }
            SightingKind::Alias(qtype) => (EvidenceKind::Alias, Some(qtype_name(qtype))),
            SightingKind::Sni => (EvidenceKind::Sni, None),
            SightingKind::Host => (EvidenceKind::Host, None),
            SightingKind::Unnamed => (EvidenceKind::Unnamed, None),
            SightingKind::Syn => (EvidenceKind::Syn, None),
            SightingKind::Datagram => (EvidenceKind::Datagram, None),
            SightingKind::Open => (EvidenceKind::Open, None),
        };
        let attribution = sighting.attribution;
        let uid = attribution.uid();
        let mut reason = explanation.to_string();
        if let Some(suffix) = sighting.search_suffix() {
            reason.push_str(&asked_again(&suffix.to_string()));
        }
        Self {
            number,
            unix_millis: event.unix_millis,
            outcome: sighting.outcome,
            name: (!sighting.name.is_root()).then(|| sighting.name.to_string()),
            evidence,
            asked: (!sighting.asked.is_root()).then(|| sighting.asked.to_string()),
            qtype,
            app: uid.map(|uid| packages.label(uid)),
            uid: uid.map(|uid| uid.0),
            attribution: packages.source(attribution),
            client: sighting.forwarded.then(|| sighting.flow.local.ip()),
            process: None,
            protocol: sighting.flow.protocol,
            local: sighting.flow.local,
            remote: sighting.flow.remote,
            resolved_from: resolved_from.iter().map(ToString::to_string).collect(),
            reason,
            rule: explanation.rule.map(|(id, _)| id.0),
            choice: explanation.choice.map(|choice| choice.made.0),
            paused_until: explanation.pause.map(|pause| pause.until.0),
            entry: endpoint.map(|it| it.pattern.to_string()),
            owner: endpoint.map(|it| it.owner.to_string()),
            system: endpoint.map(|it| it.system.to_string()),
            region: endpoint.map(|it| it.region.to_string()),
            category: endpoint.map(|it| it.category),
            breaks: explanation.breaks().map(str::to_owned),
        }
    }
}

impl Record {
    /// Who sent it, in words.
    #[must_use]
    pub fn sender(&self) -> Cow<'_, str> {
        match (&self.app, self.client) {
            (Some(app), _) => match &self.process {
                Some(process) => format!("{app}, process {process}").into(),
                None => app.into(),
            },
            (None, Some(client)) => hotspot_client(client).into(),
            (None, None) => "unknown app".into(),
        }
    }
}

/// What a device is called that the phone passes packets on for.
pub(crate) fn hotspot_client(address: IpAddr) -> String {
    format!("hotspot client {address}")
}

/// What the reason goes on with where a refused name was asked for again.
pub(crate) fn asked_again(suffix: &str) -> String {
    format!("; asked again with the search suffix {suffix}")
}

/// The mnemonic of a record type as hickory knows it, else RFC 3597's `TYPE123`.
pub(crate) fn qtype_name(qtype: u16) -> String {
    match hickory_proto::rr::RecordType::from(qtype) {
        hickory_proto::rr::RecordType::Unknown(code) => format!("TYPE{code}"),
        known => known.to_string(),
    }
}
