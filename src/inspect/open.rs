//! Connections that were open before the rules in force.

use std::sync::Arc;

use super::{Context, Ruleset, Sighting, SightingKind};
use crate::decide::{Attribution, Evidence, FlowKey, Uid, UnixSeconds};
use crate::parse::DomainName;

/// Decides on an open TCP connection as on a new one: by the `name` that its client said when it
/// began, the root where it named nobody; where that was not seen, by what a SYN tells.
#[must_use]
pub fn judge_open(
    flow: FlowKey,
    uid: Uid,
    name: Option<&DomainName>,
    now: UnixSeconds,
    ruleset: &Arc<Ruleset>,
) -> Sighting {
    let context = Context {
        flow,
        attribution: Attribution::inet_diag(uid),
        forwarded: false,
        now,
        ruleset,
    };
    let evidence = match name {
        Some(name) if name.is_root() => Evidence::Unnamed,
        // The path of a request is not known any more: only the name counts.
        Some(name) => Evidence::Sni(name),
        None => Evidence::Syn {
            name_follows: context.names_follow(),
        },
    };
    Sighting {
        kind: SightingKind::Open,
        ..context.sighting(evidence, context.decide(evidence))
    }
}
