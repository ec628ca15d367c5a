//! DNS queries, by themselves and in a datagram.

use super::answer::Awaited;
use super::refusals::Refusals;
use super::{Context, Inspection, Reading, Sighting, SightingKind};
use crate::act::{Act, DnsRefusal, datagram as forge, dns_answer};
use crate::catalogue::PublicSuffix;
use crate::decide::{Decision, Evidence, Outcome};
use crate::parse::DomainName;
use crate::parse::dns::{Query, Question};

/// Decides on every question of a query; one that is blocked speaks for all, since they share
/// one answer. Of the others, the one with the most to tell is told of.
pub(super) fn judge(
    refusals: &mut Refusals,
    context: &Context<'_>,
    query: &Query<'_>,
) -> Option<Sighting> {
    let mut told: Option<Sighting> = None;
    for question in query.questions() {
        let evidence = Evidence::Question {
            name: &question.name,
            qtype: question.qtype,
        };
        let verdict = context.decide(evidence);
        if verdict.1 == Outcome::Blocked {
            refusals.add(context, &question.name);
        }
        // Only where nothing else knows the name.
        let suffixed = (verdict.0 == Decision::UNLISTED)
            .then(|| suffixed(refusals, context, &question))
            .flatten();
        let outcome = suffixed.as_ref().map_or(verdict.1, |it| it.outcome);
        if told.as_ref().is_none_or(|told| told.outcome < outcome) {
            told = Some(suffixed.unwrap_or_else(|| context.sighting(evidence, verdict)));
        }
        if matches!(outcome, Outcome::Blocked | Outcome::WouldBlock) {
            break;
        }
    }
    told
}

/// A name that was refused just before, asked for again with a search suffix, is refused for the
/// same reason.
fn suffixed(
    refusals: &Refusals,
    context: &Context<'_>,
    question: &Question,
) -> Option<Sighting> {
    let asked = refusals.begun_by(context, &question.name)?;
    let evidence = Evidence::Question {
        name: asked,
        qtype: question.qtype,
    };
    // The rules may be others by now.
    let verdict = context.decide(evidence);
    let sighting = Sighting {
        kind: SightingKind::Suffixed(question.qtype),
        name: question.name.clone(),
        asked: asked.clone(),
        ..context.sighting(evidence, verdict)
    };
    let is_refused =
        verdict.1 == Outcome::Blocked && is_of_a_network(&sighting.search_suffix()?);
    is_refused.then_some(sighting)
}

/// Whether a network may have this search suffix. None has `com` or `com.br`: what has that behind
/// a name is somebody else's. The exception is a registry's name for everybody's home (RFC 8375).
fn is_of_a_network(suffix: &DomainName) -> bool {
    suffix.as_bytes() == b"\x04home\x04arpa"
        || PublicSuffix::listed(suffix) != Some(PublicSuffix::Registry)
}

/// A UDP datagram to port 53.
pub(super) fn datagram(
    refusals: &mut Refusals,
    awaited: &mut Awaited,
    context: &Context<'_>,
    payload: &[u8],
    out: &mut [u8],
) -> Inspection {
    let Ok(query) = Query::parse(payload) else {
        return Inspection::pass(Reading::Malformed);
    };
    let sighting = judge(refusals, context, &query);
    let act = match &sighting {
        Some(blocked) if blocked.outcome.refuses() => refuse(context, &query, blocked, out),
        _ => {
            awaited.add(context, &query);
            Act::Pass
        }
    };
    Inspection {
        act,
        reading: Reading::Understood,
        sighting,
    }
}

fn refuse(context: &Context<'_>, query: &Query<'_>, blocked: &Sighting, out: &mut [u8]) -> Act {
    let ruleset = context.ruleset;
    let answer = ruleset.dns_refusal(blocked.judged(), context.attribution.uid());
    if answer == DnsRefusal::Drop {
        return Act::Vanish;
    }
    let length = forge::udp_reply(&context.flow, out, |body| {
        dns_answer::write(query, answer, ruleset.dns.ttl_secs(), body)
    });
    length.map_or(Act::Vanish, |length| Act::Answer {
        flow: context.flow,
        length,
        second_length: 0,
    })
}
