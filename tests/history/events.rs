//! Events as the queue threads send them, made up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use muzzle::apps::Packages;
use muzzle::catalogue::Catalogue;
use muzzle::config::Config;
use muzzle::decide::{Attribution, Evidence, Facts, FlowKey, Protocol, Uid, UnixSeconds};
use muzzle::history::RecordsBlock;
use muzzle::inspect::{Ruleset, Sighting, SightingKind};
use muzzle::parse::DomainName;
use muzzle::record::{Event, Record};

/// 2026-11-20 12:00:00 UTC, a whole hour.
pub(crate) const NOON_MILLIS: u64 = 1_795_176_000_000;

/// What decides, and who is installed.
pub(crate) struct Phone {
    pub(crate) ruleset: Arc<Ruleset>,
    pub(crate) packages: Arc<Packages>,
}

impl Phone {
    pub(crate) fn new() -> Self {
        let packages = Packages::parse(
            "com.example.app 10123 0 /data/user/0/com.example.app default none\n\
             com.example.a 10200 0 /data/user/0/com.example.a default none\n\
             com.example.b 10200 0 /data/user/0/com.example.b default none\n",
        );
        let config = "[[rule]]\nname = \"*.blocked.example\"\naction = \"block\"\n\
                      comment = \"a \\u001b[31mcomment\"\n";
        let config = Config::parse("config", config).unwrap();
        let catalogue = Arc::new(Catalogue::built_in());
        Self {
            ruleset: Arc::new(Ruleset::new(&config, catalogue, &packages)),
            packages: Arc::new(packages),
        }
    }

    /// What this phone makes of a sighting of `name`; of an address where there is none.
    pub(crate) fn event(&self, unix_millis: u64, name: &[u8], kind: SightingKind) -> Event {
        let mut labels = DomainName::root();
        for label in name.split(|&byte| byte == b'.').filter(|it| !it.is_empty()) {
            labels.push_label(label).unwrap();
        }
        self.sighting(
            unix_millis,
            labels,
            DomainName::root(),
            kind,
            Some(10_123),
            "192.0.2.53",
        )
    }

    pub(crate) fn sighting(
        &self,
        unix_millis: u64,
        name: DomainName,
        asked: DomainName,
        kind: SightingKind,
        uid: Option<u32>,
        remote: &str,
    ) -> Event {
        let remote: IpAddr = remote.parse().unwrap();
        let is_dns = matches!(
            kind,
            SightingKind::Question(_) | SightingKind::Suffixed(_) | SightingKind::Alias(_)
        );
        let (protocol, port) = if is_dns || kind == SightingKind::Datagram {
            (Protocol::Udp, 53)
        } else {
            (Protocol::Tcp, 443)
        };
        let local: IpAddr = if remote.is_ipv6() {
            "2001:db8::2".parse().unwrap()
        } else {
            "10.77.0.2".parse().unwrap()
        };
        let flow = FlowKey {
            protocol,
            local: SocketAddr::new(
                local,
                40_000 + u16::try_from(unix_millis % 20_000).unwrap(),
            ),
            remote: SocketAddr::new(remote, port),
        };
        let evidence = match kind {
            _ if name.is_root() => Evidence::Unnamed,
            SightingKind::Question(qtype) => Evidence::Question { name: &name, qtype },
            _ => Evidence::Sni(&name),
        };
        // Each way to know it.
        let attribution = match (uid.map(Uid), unix_millis % 3) {
            (None, _) => Attribution::UNKNOWN,
            (Some(uid), 0) => Attribution::socket(uid),
            (Some(uid), 1) => Attribution::inet_diag(uid),
            (Some(uid), _) => Attribution::proc(uid),
        };
        let policy = &self.ruleset.policy;
        let now = UnixSeconds::from_millis(unix_millis);
        let decision = policy.decide(
            &Facts {
                flow,
                attribution,
                evidence,
            },
            now,
        );
        Event {
            unix_millis,
            sighting: Sighting {
                flow,
                attribution,
                // Some that no app has sent.
                forwarded: uid.is_none() && unix_millis.is_multiple_of(2),
                kind,
                outcome: policy.outcome(&decision, now),
                name,
                asked,
                decision,
            },
            ruleset: Arc::clone(&self.ruleset),
        }
    }

    /// What the log shows of an event.
    pub(crate) fn record(&self, number: u64, event: &Event, names: &[Arc<str>]) -> Record {
        Record::new(number, event, names, &self.packages)
    }

    /// `count` records from number `first` on, `step_millis` apart, in one block or more.
    pub(crate) fn batch(
        &self,
        first: u64,
        count: u64,
        millis: u64,
        step_millis: u64,
    ) -> Vec<Vec<u8>> {
        const NAMES: &[&str] = &[
            "www.shop.example.org",
            "sa.api.intl.miui.com",
            "x.blocked.example",
            "data.mistat.xiaomi.com",
            "connectivitycheck.gstatic.com",
        ];
        let mut blocks = Vec::new();
        let mut block: Option<RecordsBlock> = None;
        for number in first..first + count {
            let name = NAMES[usize::try_from(number).unwrap() % NAMES.len()];
            let millis = millis + (number - first) * step_millis;
            let event = self.event(millis, name.as_bytes(), SightingKind::Question(1));
            if !block
                .as_ref()
                .is_some_and(|it| it.takes(number, &event, &self.packages))
            {
                blocks.extend(block.take().map(RecordsBlock::seal));
            }
            block
                .get_or_insert_with(|| RecordsBlock::new(number, &self.ruleset, &self.packages))
                .push(&event, &[], None);
        }
        blocks.extend(block.map(RecordsBlock::seal));
        blocks
    }
}
