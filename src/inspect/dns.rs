//! DNS queries, by themselves and in a datagram.

use super::answer::Awaited;
use super::{Context, Inspection, Reading, Sighting};
use crate::act::{Act, DnsRefusal, datagram as forge, dns_answer};
use crate::decide::{Evidence, Outcome};
use crate::parse::dns::Query;

/// Decides on every question of a query; one that is blocked speaks for all, since they share
/// one answer. Of the others, the one with the most to tell is told of.
pub(super) fn judge(context: &Context<'_>, query: &Query<'_>) -> Option<Sighting> {
    let mut told: Option<Sighting> = None;
    for question in query.questions() {
        let evidence = Evidence::Question {
            name: &question.name,
            qtype: question.qtype,
        };
        let verdict = context.decide(evidence);
        if told.as_ref().is_none_or(|told| told.outcome < verdict.1) {
            told = Some(context.sighting(evidence, verdict));
        }
        if matches!(verdict.1, Outcome::Blocked | Outcome::WouldBlock) {
            break;
        }
    }
    told
}

/// A UDP datagram to port 53.
pub(super) fn datagram(
    awaited: &mut Awaited,
    context: &Context<'_>,
    payload: &[u8],
    out: &mut [u8],
) -> Inspection {
    let Ok(query) = Query::parse(payload) else {
        return Inspection::pass(Reading::Malformed);
    };
    let sighting = judge(context, &query);
    let blocked = sighting.as_ref().is_some_and(|it| it.outcome.refuses());
    let act = if blocked {
        refuse(context, &query, out)
    } else {
        awaited.add(context, &query);
        Act::Pass
    };
    Inspection {
        act,
        reading: Reading::Understood,
        sighting,
    }
}

fn refuse(context: &Context<'_>, query: &Query<'_>, out: &mut [u8]) -> Act {
    let settings = &context.ruleset.dns;
    if settings.answer == DnsRefusal::Drop {
        return Act::Vanish;
    }
    let length = forge::udp_reply(&context.flow, out, |body| {
        dns_answer::write(query, settings.answer, settings.ttl_secs(), body)
    });
    length.map_or(Act::Vanish, |length| Act::Answer {
        flow: context.flow,
        length,
    })
}
