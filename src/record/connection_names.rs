//! What hosts open connections are to, as their clients said when they began: for the day that
//! rules change.

use std::sync::{Mutex, PoisonError};

use crate::decide::{FlowKey, FlowTable, Outcome, Protocol, Uid, UnixSeconds};
use crate::inspect::{Sighting, SightingKind};
use crate::parse::DomainName;

/// Connections remembered, and for how long: push services keep theirs for days.
const NAMED: (usize, u32) = (1024, 7 * 86_400);

/// The names of the newest connections that passed.
#[derive(Debug)]
pub struct ConnectionNames(Mutex<FlowTable<Named>>);

#[derive(Debug)]
struct Named {
    /// The root where the client named nobody. Boxed: the table has room for many.
    name: Box<DomainName>,
    uid: Option<Uid>,
}

impl Default for ConnectionNames {
    fn default() -> Self {
        Self(Mutex::new(FlowTable::new(NAMED.0, NAMED.1)))
    }
}

impl ConnectionNames {
    /// Whether such a sighting says what host a connection of the phone's is to.
    #[must_use]
    pub fn learns_from(sighting: &Sighting) -> bool {
        use SightingKind::{Host, Sni, Unnamed};
        sighting.flow.protocol == Protocol::Tcp
            && !sighting.forwarded
            && matches!(sighting.kind, Sni | Host | Unnamed)
    }

    /// Remembers what was seen. What a client says on the same ports later is of a new connection.
    pub fn learn(&self, sighting: &Sighting, now: UnixSeconds) {
        if !Self::learns_from(sighting) {
            return;
        }
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sighting.outcome == Outcome::Blocked {
            table.remove(&sighting.flow);
            return;
        }
        let named = Named {
            name: Box::new(sighting.name.clone()),
            uid: sighting.attribution.uid(),
        };
        table.insert(sighting.flow, named, now);
    }

    /// The host that the connection `flow` of `uid` is to; the root where its client named nobody,
    /// none where that is not known.
    #[must_use]
    pub fn of(&self, flow: &FlowKey, uid: Uid, now: UnixSeconds) -> Option<DomainName> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let named = table.get_mut(flow, now)?;
        // Another user's socket is another connection, whose hello passed unseen.
        let is_same = named.uid.is_none_or(|it| it == uid);
        is_same.then(|| (*named.name).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Attribution, Decision};

    const NOW: UnixSeconds = UnixSeconds(1000);
    const APP: Uid = Uid(10_123);

    fn sighting(kind: SightingKind, name: &[u8], outcome: Outcome) -> Sighting {
        Sighting {
            flow: FlowKey {
                protocol: Protocol::Tcp,
                local: ([10, 0, 0, 2], 40_000).into(),
                remote: ([192, 0, 2, 1], 443).into(),
            },
            attribution: Attribution::socket(APP),
            forwarded: false,
            kind,
            name: DomainName::from_ascii(name).unwrap_or_else(|_| DomainName::root()),
            asked: DomainName::root(),
            decision: Decision::UNLISTED,
            outcome,
        }
    }

    #[test]
    fn what_a_client_said_last_on_these_ports_counts_and_nothing_refused() {
        use SightingKind::{Host, Sni, Syn, Unnamed};
        let names = ConnectionNames::default();
        let flow = sighting(Sni, b"", Outcome::Allowed).flow;
        let after = |kind, name: &[u8], outcome| {
            names.learn(&sighting(kind, name, outcome), NOW);
            names.of(&flow, APP, NOW).map(|name| name.to_string())
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(after(Syn, b"", Outcome::Logged), None);
        assert_eq!(after(Sni, b"a.test", Outcome::Allowed), named("a.test"));
        assert_eq!(after(Host, b"b.test", Outcome::WouldBlock), named("b.test"));
        assert_eq!(after(Sni, b"c.test", Outcome::Blocked), None);
        assert_eq!(
            after(Unnamed, b"", Outcome::Allowed),
            named(&DomainName::root().to_string())
        );
    }

    #[test]
    fn another_users_connection_on_the_same_ports_has_no_name() {
        let names = ConnectionNames::default();
        let seen = sighting(SightingKind::Sni, b"a.test", Outcome::Allowed);
        names.learn(&seen, NOW);
        assert!(names.of(&seen.flow, APP, NOW).is_some());
        assert!(names.of(&seen.flow, Uid(10_124), NOW).is_none());
    }
}
