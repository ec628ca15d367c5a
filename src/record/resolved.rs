//! Which names the phone was told an address for: a help for telling what a connection without a
//! name may be. Nothing is decided by it, for many hosts stand at one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Event, Learned};
use crate::inspect::SightingKind;

/// Addresses that names are kept for.
const MAX_ADDRESSES: usize = 2048;
/// Names kept for one address, the latest.
const MAX_NAMES: usize = 8;
/// For how long a name is kept, in seconds, whatever its TTL: apps hold on to an address for
/// minutes, and a day is more than any of them does.
const KEPT_SECS: RangeInclusive<u32> = 300..=86_400;

/// Names by address, each for its time.
#[derive(Debug, Default)]
pub struct ResolvedNames {
    /// Of each address, the latest first.
    names: HashMap<IpAddr, Vec<ResolvedName>>,
}

#[derive(Debug)]
struct ResolvedName {
    name: Arc<str>,
    /// In milliseconds since 1970-01-01 UTC.
    until_millis: u64,
}

impl ResolvedNames {
    /// Keeps what the phone was told.
    pub fn learn(&mut self, learned: &Learned) {
        let resolution = &learned.resolution;
        let (least, most) = KEPT_SECS.into_inner();
        let kept_secs = resolution.ttl_secs.clamp(least, most);
        let until_millis = learned.unix_millis + u64::from(kept_secs) * 1000;
        let text = resolution.name.to_string();
        let name: Arc<str> = text.into();
        for address in resolution.addresses() {
            self.make_room(*address, learned.unix_millis);
            let names = self.names.entry(*address).or_default();
            names
                .retain(|known| known.name != name && known.until_millis > learned.unix_millis);
            names.truncate(MAX_NAMES - 1);
            let name = Arc::clone(&name);
            names.insert(0, ResolvedName { name, until_millis });
        }
    }

    /// The names for the far end of `event`, the latest first; none where it has one of its own.
    #[must_use]
    pub fn told_by(&self, event: &Event) -> Vec<Arc<str>> {
        let sighting = &event.sighting;
        use SightingKind::{Datagram, Syn, Unnamed};
        if !matches!(sighting.kind, Syn | Datagram | Unnamed) {
            return Vec::new();
        }
        let address = sighting.flow.remote.ip().to_canonical();
        let names = self.names.get(&address).map(Vec::as_slice);
        let in_time = |it: &&ResolvedName| it.until_millis > event.unix_millis;
        let names = names.unwrap_or_default().iter().filter(in_time);
        names.map(|it| Arc::clone(&it.name)).collect()
    }

    /// Where a new address would be too many, those go whose time is over, or else the one whose
    /// time is over first.
    fn make_room(&mut self, address: IpAddr, now_millis: u64) {
        if self.names.len() < MAX_ADDRESSES || self.names.contains_key(&address) {
            return;
        }
        let end = |names: &[ResolvedName]| names.iter().map(|it| it.until_millis).max();
        self.names.retain(|_, names| end(names) > Some(now_millis));
        if self.names.len() < MAX_ADDRESSES {
            return;
        }
        let first = self.names.iter().min_by_key(|(_, names)| end(names));
        if let Some((&address, _)) = first {
            self.names.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::config::Config;
    use crate::decide::{Attribution, Decision, FlowKey, Outcome, Protocol};
    use crate::inspect::{Resolution, Ruleset, Sighting};
    use crate::parse::DomainName;

    fn learned(name: &str, addresses: &[&str], ttl_secs: u32, unix_millis: u64) -> Learned {
        let name = DomainName::from_ascii(name.as_bytes()).unwrap();
        let mut resolution = Resolution::new(name);
        for address in addresses {
            resolution.add(address.parse().unwrap(), ttl_secs);
        }
        Learned {
            unix_millis,
            resolution,
        }
    }

    fn event(kind: SightingKind, address: &str, unix_millis: u64) -> Event {
        let sighting = Sighting {
            flow: FlowKey {
                protocol: Protocol::Tcp,
                local: ([10, 0, 0, 2], 40_000).into(),
                remote: (address.parse::<IpAddr>().unwrap(), 5222).into(),
            },
            attribution: Attribution::UNKNOWN,
            forwarded: false,
            kind,
            name: DomainName::root(),
            asked: DomainName::root(),
            decision: Decision::UNLISTED,
            outcome: Outcome::Allowed,
        };
        let catalogue = Arc::new(Catalogue::default());
        let ruleset = Ruleset::new(&Config::default(), catalogue, &Default::default());
        Event {
            unix_millis,
            sighting,
            ruleset: Arc::new(ruleset),
        }
    }

    fn syn(names: &ResolvedNames, address: &str, unix_millis: u64) -> Vec<String> {
        let told = names.told_by(&event(SightingKind::Syn, address, unix_millis));
        told.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_name_of_an_address_is_told_the_latest_first() {
        let mut names = ResolvedNames::default();
        names.learn(&learned("a.test", &["192.0.2.1", "2001:db8::1"], 600, 0));
        names.learn(&learned("b.test", &["192.0.2.1"], 600, 1));
        assert_eq!(syn(&names, "192.0.2.1", 2), ["b.test", "a.test"]);
        assert_eq!(syn(&names, "::ffff:192.0.2.1", 2), ["b.test", "a.test"]);
        assert_eq!(syn(&names, "2001:db8::1", 2), ["a.test"]);
        assert!(syn(&names, "192.0.2.2", 2).is_empty());
        names.learn(&learned("a.test", &["192.0.2.1"], 600, 3));
        assert_eq!(syn(&names, "192.0.2.1", 4), ["a.test", "b.test"]);
        let named = event(SightingKind::Sni, "192.0.2.1", 4);
        assert!(names.told_by(&named).is_empty());
        let unnamed = event(SightingKind::Unnamed, "192.0.2.1", 4);
        assert_eq!(names.told_by(&unnamed).len(), 2);
    }

    #[test]
    fn names_go_with_their_time() {
        let mut names = ResolvedNames::default();
        for (name, ttl_secs, kept_secs) in [
            ("short.test", 0, 300),
            ("usual.test", 3600, 3600),
            ("long.test", u32::MAX, 86_400),
        ] {
            names.learn(&learned(name, &["192.0.2.1"], ttl_secs, 1000));
            let end = 1000 + kept_secs * 1000;
            let told = |at| syn(&names, "192.0.2.1", at).contains(&name.to_owned());
            assert!(told(end - 1) && !told(end), "{name}");
        }
    }

    #[test]
    fn addresses_and_their_names_are_bounded() {
        let mut names = ResolvedNames::default();
        for number in 0..12 {
            let name = format!("n{number}.test");
            names.learn(&learned(&name, &["192.0.2.1"], 600, number));
        }
        let expected: Vec<_> = (4..12).rev().map(|it| format!("n{it}.test")).collect();
        assert_eq!(syn(&names, "192.0.2.1", 20), expected);
        let address = |number: usize| format!("10.0.{}.{}", number / 256, number % 256);
        for number in 0..MAX_ADDRESSES {
            let millis = 1000 + u64::try_from(number).unwrap();
            names.learn(&learned("more.test", &[&address(number)], 600, millis));
        }
        // The one whose time would have been over first made room.
        assert_eq!(names.names.len(), MAX_ADDRESSES);
        assert!(syn(&names, "192.0.2.1", 5000).is_empty());
        assert_eq!(syn(&names, &address(0), 5000), ["more.test"]);
        // When all are over, one new address clears them out.
        names.learn(&learned("new.test", &["192.0.2.9"], 600, 10_000_000));
        assert_eq!(names.names.len(), 1);
    }
}
