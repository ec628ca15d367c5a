//! Answers to DNS queries, by themselves and in a datagram: the aliases in them are judged, since a
//! tracker may hide behind a name that nobody lists, and the addresses in them are told.
//!
//! An answer is matched to its query by the phone's end, the id and the questions, never by the
//! resolver's address: where the user redirects DNS, it comes from another resolver than the one
//! that the app addressed.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Context, Inspection, Reading, Ruleset, Sighting};
use crate::act::{Act, DnsRefusal, datagram as forge, dns_answer};
use crate::decide::{
    Attribution, Evidence, FlowKey, FlowTable, Outcome, Protocol, Reason, UnixSeconds,
};
use crate::parse::DomainName;
use crate::parse::dns::{Query, Questions};
use crate::parse::dns_response::{Aliases, Response};

/// Queries whose answers are awaited, for a page that loads asks a few dozen names at a time, and
/// for how many seconds: longer than any client waits.
const AWAITED: (usize, u32) = (512, 60);
/// Questions of one answer that are looked at. Resolvers answer no more than one, and a stranger's
/// thousands shall not hold up the queue.
const MAX_QUESTIONS: usize = 4;
/// Addresses kept of one answer.
const MAX_ADDRESSES: usize = 8;

/// Which addresses an answer gave to the name asked for.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The name asked for.
    pub name: DomainName,
    /// For how many seconds all of them hold.
    pub ttl_secs: u32,
    addresses: [IpAddr; MAX_ADDRESSES],
    count: usize,
}

impl Resolution {
    /// Of `name`, without an address so far.
    #[must_use]
    pub const fn new(name: DomainName) -> Self {
        Self {
            name,
            ttl_secs: u32::MAX,
            addresses: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); MAX_ADDRESSES],
            count: 0,
        }
    }

    /// Adds an address that holds for `ttl_secs`; beyond the first few it is left out.
    pub fn add(&mut self, address: IpAddr, ttl_secs: u32) {
        if let Some(place) = self.addresses.get_mut(self.count) {
            *place = address;
            self.count += 1;
            self.ttl_secs = self.ttl_secs.min(ttl_secs);
        }
    }

    /// The addresses, in the order of the answer.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses[..self.count]
    }
}

/// What ties an answer to its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct QueryKey {
    protocol: Protocol,
    local: SocketAddr,
    id: u16,
    /// A hash of all questions, the names in lower case.
    questions: u64,
}

/// What is remembered of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The resolver as the app addressed it.
    pub(super) remote: SocketAddr,
    attribution: Attribution,
}

/// What stays the same while one packet that came in is looked at.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    /// The ends as the packet has them, which are those of what is put in its place.
    pub(super) flow: FlowKey,
    pub(super) now: UnixSeconds,
    pub(super) ruleset: &'a Arc<Ruleset>,
}

impl<'a> Arrival<'a> {
    /// How an answer is refused in which this was seen, where it is.
    pub(super) fn refusal(&self, sighting: Option<&Sighting>) -> Option<DnsRefusal> {
        let blocked = sighting.filter(|it| it.outcome.refuses())?;
        Some(
            self.ruleset
                .dns_refusal(&blocked.name, blocked.attribution.uid()),
        )
    }

    /// What its query was decided in.
    pub(super) const fn context(&self, asked: &Asked) -> Context<'a> {
        Context {
            flow: FlowKey {
                remote: asked.remote,
                ..self.flow
            },
            attribution: asked.attribution,
            forwarded: false,
            now: self.now,
            ruleset: self.ruleset,
        }
    }
}

/// Queries that were let go and whose answers are awaited. An answer does not end that: where a
/// query is sent twice, it is answered twice.
#[derive(Debug)]
pub(super) struct Awaited {
    queries: FlowTable<Asked, QueryKey>,
    hasher: RandomState,
}

impl Default for Awaited {
    fn default() -> Self {
        Self {
            queries: FlowTable::new(AWAITED.0, AWAITED.1),
            hasher: RandomState::default(),
        }
    }
}

impl Awaited {
    /// Remembers a query that goes out, if its answer will be looked at. That to another device
    /// is not: where it comes in it still has the phone's address, and so another key.
    pub(super) fn add(&mut self, context: &Context<'_>, query: &Query<'_>) {
        if !context.ruleset.dns.answers || context.forwarded {
            return;
        }
        let key = self.key(&context.flow, query.id(), query.questions());
        let asked = Asked {
            remote: context.flow.remote,
            attribution: context.attribution,
        };
        self.queries.insert(key, asked, context.now);
    }

    /// What is remembered of the query that `response` answers.
    pub(super) fn get(
        &mut self,
        arrival: &Arrival<'_>,
        response: &Response<'_>,
    ) -> Option<Asked> {
        let key = self.key(&arrival.flow, response.id(), response.questions());
        self.queries.get_mut(&key, arrival.now).copied()
    }

    fn key(&self, flow: &FlowKey, id: u16, questions: Questions<'_>) -> QueryKey {
        let mut hasher = self.hasher.build_hasher();
        for question in questions {
            question.hash(&mut hasher);
        }
        QueryKey {
            protocol: flow.protocol,
            local: flow.local,
            id,
            questions: hasher.finish(),
        }
    }
}

/// A UDP datagram from port 53.
pub(super) fn datagram(
    awaited: &mut Awaited,
    arrival: &Arrival<'_>,
    payload: &[u8],
    out: &mut [u8],
) -> (Inspection, Option<Resolution>) {
    let Ok(response) = Response::parse(payload) else {
        return (Inspection::pass(Reading::Malformed), None);
    };
    let Some(asked) = awaited.get(arrival, &response) else {
        return (Inspection::pass(Reading::Unasked), None);
    };
    let (sighting, resolution) = judge(&arrival.context(&asked), &response);
    let refusal = arrival.refusal(sighting.as_ref());
    if response.is_truncated() && refusal.is_none() {
        // All of it comes over TCP; clients that make do with the start are rare (musl 1.2.3).
        return (Inspection::pass(Reading::Incomplete), None);
    }
    let act = refusal.map_or(Act::Pass, |refusal| {
        refuse(arrival, refusal, &response, out)
    });
    let inspection = Inspection {
        act,
        reading: Reading::Understood,
        sighting,
    };
    (inspection, resolution)
}

/// Decides on an answer: what is worth telling, which is refused where it is blocked, and where it is
/// not, the addresses that are given.
pub(super) fn judge(
    context: &Context<'_>,
    response: &Response<'_>,
) -> (Option<Sighting>, Option<Resolution>) {
    let mut told: Option<Sighting> = None;
    let mut resolution = None;
    for question in response.questions().take(MAX_QUESTIONS) {
        let evidence = Evidence::Question {
            name: &question.name,
            qtype: question.qtype,
        };
        let mut aliases = response.aliases(&question.name);
        // What knows the name itself has decided on it when it was asked.
        if context.decide(evidence).0.reason == Reason::Unlisted
            && let Some(sighting) =
                known_alias(context, &mut aliases, &question.name, question.qtype)
        {
            if sighting.outcome.refuses() {
                // It speaks for all questions, since they share one answer.
                return (Some(sighting), None);
            }
            if told.as_ref().map(|told| told.outcome) < Some(sighting.outcome) {
                told = Some(sighting);
            }
        }
        while aliases.next().is_some() {}
        if resolution.is_none() {
            let mut found = Resolution::new(question.name);
            response.addresses(aliases.end(), |address, ttl| found.add(address, ttl));
            resolution = Some(found).filter(|found| !found.addresses().is_empty());
        }
    }
    (told, resolution)
}

/// Decides on the aliases one by one until something knows one. That it is allowed is not told:
/// the question has been.
fn known_alias(
    context: &Context<'_>,
    aliases: &mut Aliases<'_>,
    asked: &DomainName,
    qtype: u16,
) -> Option<Sighting> {
    aliases
        .find_map(|name| {
            let evidence = Evidence::Alias {
                name: &name,
                asked,
                qtype,
            };
            let verdict = context.decide(evidence);
            (verdict.0.reason != Reason::Unlisted).then(|| context.sighting(evidence, verdict))
        })
        .filter(|sighting| sighting.outcome != Outcome::Allowed)
}

/// Writes what the resolver would have said had it refused.
fn refuse(
    arrival: &Arrival<'_>,
    refusal: DnsRefusal,
    response: &Response<'_>,
    out: &mut [u8],
) -> Act {
    let (Ok(query), false) = (response.query(), refusal == DnsRefusal::Drop) else {
        return Act::Vanish;
    };
    let length = forge::udp_reply(&arrival.flow, out, |body| {
        dns_answer::write(&query, refusal, arrival.ruleset.dns.ttl_secs(), body)
    });
    length.map_or(Act::Vanish, |length| Act::Rewrite { length })
}
