//! Steps 2 to 4 of a packet's way in one pure call: bytes → facts → decision → what to do.
//!
//! The daemon's queue threads, offline replay and the fuzz targets all run this very code.

mod answer;
mod answer_stream;
mod checked;
mod connection;
mod datagram;
mod dns;
mod dns_stream;
mod open;
mod outline;
mod quic;
mod refusals;
mod ruleset;
mod strategy;

use std::sync::Arc;

use crate::act::Act;
use crate::decide::{
    Attribution, Decision, Evidence, Facts, FlowKey, FlowTable, Outcome, Protocol, UnixSeconds,
};
use crate::parse::DomainName;
use crate::parse::ip::{self, IpPacket};
use crate::parse::tcp::TcpSegment;
use crate::parse::udp::UdpDatagram;
pub use answer::Resolution;
use answer::{Arrival, Awaited};
use answer_stream::AnswerStream;
pub use checked::{Asked, Checked, CheckedAnswer, CheckedChoice, CheckedEntry, CheckedRule};
use connection::Connections;
use datagram::Datagrams;
use dns_stream::DnsStream;
pub use open::judge_open;
pub use outline::{Outline, Trace};
use refusals::Refusals;
pub use ruleset::{NamedPorts, Ruleset};

const DNS_PORT: u16 = 53;
/// DNS-over-TCP connections looked at side by side, of which a phone has one or two, and for how
/// long after their start: resolvers close idle ones within minutes.
const DNS_STREAMS: (usize, u32) = (64, 900);

/// What was seen in a packet and what was decided about it.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The flow of the packet.
    pub flow: FlowKey,
    /// Whose packet it is.
    pub attribution: Attribution,
    /// The phone only passes it on, for the device at the flow's local end.
    pub forwarded: bool,
    /// Where the name stood.
    pub kind: SightingKind,
    /// The name; the root where there is none.
    pub name: DomainName,
    /// The name asked for, where `name` is an alias of it or is it with a search suffix; the root
    /// elsewhere.
    pub asked: DomainName,
    /// What the policy said.
    pub decision: Decision,
    /// What became of the packet.
    pub outcome: Outcome,
}

impl Sighting {
    /// The name that was judged: one that was refused before is judged without its search suffix.
    #[must_use]
    pub const fn judged(&self) -> &DomainName {
        match self.kind {
            SightingKind::Suffixed(_) => &self.asked,
            _ => &self.name,
        }
    }

    /// The search suffix behind the name that was refused before.
    #[must_use]
    pub fn search_suffix(&self) -> Option<DomainName> {
        matches!(self.kind, SightingKind::Suffixed(_)).then_some(())?;
        let mut suffix = DomainName::root();
        for label in self.name.labels().skip(self.asked.labels().count()) {
            suffix.push_label(label).ok()?;
        }
        Some(suffix)
    }
}

/// [`Evidence`] without the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SightingKind {
    /// A DNS question for this record type.
    Question(u16),
    /// The same for a name that was refused just before, with a search suffix behind it.
    Suffixed(u16),
    /// A name that stands in for another in the answer to a question for this record type.
    Alias(u16),
    /// A TLS server name; over UDP, in a QUIC connection.
    Sni,
    /// An HTTP request's host.
    Host,
    /// A ClientHello or request without a name, or something else that a client said first.
    Unnamed,
    /// A TCP SYN.
    Syn,
    /// A UDP datagram, refused by its address.
    Datagram,
    /// Nowhere just now: the connection was open before these rules, and what it is to was seen
    /// when it began, or is its address.
    Open,
}

/// How far the look into a packet got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// There was something to decide on, or nothing was expected.
    Understood,
    /// The bytes are not what the ports say; the packet passes.
    Malformed,
    /// The name would stand in a later segment or datagram; the packet passes.
    Incomplete,
    /// A version of QUIC that nothing is known of; the packet passes.
    UnknownVersion,
    /// An answer to nothing that was asked, as far as is remembered; the packet passes.
    Unasked,
    /// No byte of an answer, where answers come; the packet passes.
    Empty,
}

/// The answer of [`Inspector::inspect`].
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What to do with the packet.
    pub act: Act,
    /// How far the look got.
    pub reading: Reading,
    /// What to record, if anything.
    pub sighting: Option<Sighting>,
}

impl Inspection {
    const fn pass(reading: Reading) -> Self {
        Self {
            act: Act::Pass,
            reading,
            sighting: None,
        }
    }

    const fn act(act: Act) -> Self {
        Self {
            act,
            reading: Reading::Understood,
            sighting: None,
        }
    }
}

/// What stays the same while one packet is looked at.
#[derive(Clone, Copy)]
struct Context<'a> {
    flow: FlowKey,
    attribution: Attribution,
    forwarded: bool,
    now: UnixSeconds,
    ruleset: &'a Arc<Ruleset>,
}

impl Context<'_> {
    /// Whether what the client says first on such a connection is looked at for a name.
    fn names_follow(&self) -> bool {
        self.ruleset.named_ports.contains(self.flow.remote.port())
    }

    fn decide(&self, evidence: Evidence<'_>) -> (Decision, Outcome) {
        let facts = Facts {
            flow: self.flow,
            attribution: self.attribution,
            evidence,
        };
        let policy = &self.ruleset.policy;
        let decision = policy.decide(&facts, self.now);
        (decision, policy.outcome(&decision, self.now))
    }

    fn sighting(
        &self,
        evidence: Evidence<'_>,
        (decision, outcome): (Decision, Outcome),
    ) -> Sighting {
        let kind = match evidence {
            Evidence::Question { qtype, .. } => SightingKind::Question(qtype),
            Evidence::Alias { qtype, .. } => SightingKind::Alias(qtype),
            Evidence::Sni(_) => SightingKind::Sni,
            Evidence::Request { host: Some(_), .. } => SightingKind::Host,
            Evidence::Request { host: None, .. } | Evidence::Unnamed => SightingKind::Unnamed,
            Evidence::Syn { .. } => SightingKind::Syn,
            Evidence::Datagram { .. } => SightingKind::Datagram,
        };
        let name = evidence.name().cloned().unwrap_or_else(DomainName::root);
        let asked = match evidence {
            Evidence::Alias { asked, .. } => asked.clone(),
            _ => DomainName::root(),
        };
        Sighting {
            flow: self.flow,
            attribution: self.attribution,
            forwarded: self.forwarded,
            kind,
            name,
            asked,
            decision,
            outcome,
        }
    }
}

/// Looks into the packets of one queue. Keeps what must be remembered from one packet of a flow
/// to the next, in bounded tables that are made once.
#[derive(Debug)]
pub struct Inspector {
    awaited: Awaited,
    refusals: Refusals,
    dns_streams: FlowTable<DnsStream>,
    answer_streams: FlowTable<AnswerStream>,
    connections: Connections,
    datagrams: Datagrams,
}

impl Default for Inspector {
    fn default() -> Self {
        Self {
            awaited: Awaited::default(),
            refusals: Refusals::default(),
            dns_streams: FlowTable::new(DNS_STREAMS.0, DNS_STREAMS.1),
            answer_streams: FlowTable::new(DNS_STREAMS.0, DNS_STREAMS.1),
            connections: Connections::default(),
            datagrams: Datagrams::default(),
        }
    }
}

impl Inspector {
    /// Looks into one outgoing IP packet (perhaps cut short) and says what to do. Bytes to
    /// inject are written to `out`; how many is part of the answer.
    pub fn inspect(
        &mut self,
        bytes: &[u8],
        attribution: Attribution,
        now: UnixSeconds,
        ruleset: &Arc<Ruleset>,
        out: &mut [u8],
    ) -> Inspection {
        self.look(bytes, attribution, false, now, ruleset, out)
    }

    /// The same with a packet that the phone passes on for another device. It has no app, and what
    /// is refused of it is dropped: an answer would be a forged packet on the air.
    pub fn inspect_forwarded(
        &mut self,
        bytes: &[u8],
        now: UnixSeconds,
        ruleset: &Arc<Ruleset>,
        out: &mut [u8],
    ) -> Inspection {
        let mut inspection = self.look(bytes, Attribution::UNKNOWN, true, now, ruleset, out);
        if matches!(inspection.act, Act::Answer { .. } | Act::Sever { .. }) {
            inspection.act = Act::Vanish;
        }
        inspection
    }

    fn look(
        &mut self,
        bytes: &[u8],
        attribution: Attribution,
        forwarded: bool,
        now: UnixSeconds,
        ruleset: &Arc<Ruleset>,
        out: &mut [u8],
    ) -> Inspection {
        let malformed = Inspection::pass(Reading::Malformed);
        let Ok(packet) = IpPacket::parse(bytes) else {
            return malformed;
        };
        let context = |protocol, source_port, destination_port| Context {
            flow: FlowKey {
                protocol,
                local: (packet.source, source_port).into(),
                remote: (packet.destination, destination_port).into(),
            },
            attribution,
            forwarded,
            now,
            ruleset,
        };
        match packet.protocol {
            ip::UDP => {
                let Ok(datagram) = UdpDatagram::parse(packet.payload) else {
                    return malformed;
                };
                let context = context(
                    Protocol::Udp,
                    datagram.source_port,
                    datagram.destination_port,
                );
                if datagram.destination_port == DNS_PORT {
                    dns::datagram(
                        &mut self.refusals,
                        &mut self.awaited,
                        &context,
                        datagram.payload,
                        out,
                    )
                } else {
                    self.datagrams
                        .datagram(&context, bytes, datagram.payload, out)
                }
            }
            ip::TCP => {
                let Ok(segment) = TcpSegment::parse(packet.payload) else {
                    return malformed;
                };
                let context =
                    context(Protocol::Tcp, segment.source_port, segment.destination_port);
                if segment.destination_port == DNS_PORT {
                    dns_stream::segment(
                        (&mut self.refusals, &mut self.awaited),
                        &mut self.dns_streams,
                        &context,
                        &segment,
                        out,
                    )
                } else {
                    self.connections.segment(&context, &segment, out)
                }
            }
            _ => malformed,
        }
    }

    /// How many flows were forgotten before their time, because newer ones needed their place.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.dns_streams.evicted()
            + self.answer_streams.evicted()
            + self.connections.evicted()
            + self.datagrams.evicted()
    }

    /// Looks into one incoming IP packet, the answer of a resolver, and says what to do; beside it, which addresses it gives to the name asked for. Bytes to inject are as with
    /// [`Self::inspect`].
    pub fn inspect_answer(
        &mut self,
        packet: &[u8],
        now: UnixSeconds,
        ruleset: &Arc<Ruleset>,
        out: &mut [u8],
    ) -> (Inspection, Option<Resolution>) {
        let malformed = (Inspection::pass(Reading::Malformed), None);
        let Ok(packet) = IpPacket::parse(packet) else {
            return malformed;
        };
        let arrival = |protocol, source_port, destination_port| Arrival {
            flow: FlowKey {
                protocol,
                local: (packet.destination, destination_port).into(),
                remote: (packet.source, source_port).into(),
            },
            now,
            ruleset,
        };
        match packet.protocol {
            ip::UDP => {
                let Ok(datagram) = UdpDatagram::parse(packet.payload) else {
                    return malformed;
                };
                let ports = (datagram.source_port, datagram.destination_port);
                let arrival = arrival(Protocol::Udp, ports.0, ports.1);
                answer::datagram(&mut self.awaited, &arrival, datagram.payload, out)
            }
            ip::TCP => {
                let Ok(segment) = TcpSegment::parse(packet.payload) else {
                    return malformed;
                };
                let ports = (segment.source_port, segment.destination_port);
                let arrival = arrival(Protocol::Tcp, ports.0, ports.1);
                answer_stream::segment(
                    &mut self.awaited,
                    &mut self.answer_streams,
                    &arrival,
                    (packet.payload, &segment),
                    out,
                )
            }
            _ => malformed,
        }
    }
}
