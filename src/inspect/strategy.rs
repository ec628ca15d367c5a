//! How refusals of single endpoints are told, where that is not as everywhere: the app that asks
//! again all the time after one answer may be quiet after another.

use crate::act::{ConnectionRefusal, DnsRefusal};
use crate::apps::{AppId, Packages};
use crate::config::EndpointAnswer;
use crate::decide::{NameSet, Uid};
use crate::parse::DomainName;

/// All `[[answer]]` of the config, by name.
#[derive(Debug, Default)]
pub(super) struct Strategies(NameSet<Vec<Strategy>>);

#[derive(Debug)]
struct Strategy {
    /// `Some` and empty: for an app that is not installed.
    apps: Option<Box<[AppId]>>,
    dns: Option<DnsRefusal>,
    connections: Option<ConnectionRefusal>,
}

impl Strategies {
    pub(super) fn new(answers: &[EndpointAnswer], packages: &Packages) -> Self {
        let mut names: NameSet<Vec<Strategy>> = NameSet::default();
        for answer in answers {
            let app_ids = |app| packages.app_ids(app).collect();
            names
                .place(&answer.name)
                .get_or_insert_default()
                .push(Strategy {
                    apps: answer.app.as_ref().map(app_ids),
                    dns: answer.dns,
                    connections: answer.connections,
                });
        }
        Self(names)
    }

    /// How a refused question for `name` is answered.
    pub(super) fn dns(&self, name: &DomainName, uid: Option<Uid>) -> Option<DnsRefusal> {
        self.find(name, uid, |strategy| strategy.dns)
    }

    /// How a refused connection to `name` ends.
    pub(super) fn connections(
        &self,
        name: &DomainName,
        uid: Option<Uid>,
    ) -> Option<ConnectionRefusal> {
        self.find(name, uid, |strategy| strategy.connections)
    }

    /// As with rules: one for this app comes first, then the most specific name, then the earlier
    /// one.
    fn find<T: Copy>(
        &self,
        name: &DomainName,
        uid: Option<Uid>,
        of: impl Fn(&Strategy) -> Option<T>,
    ) -> Option<T> {
        let app = uid.map(Uid::app_id);
        let exact = self.0.exact(name).into_iter();
        let mut for_all = None;
        for strategy in exact.chain(self.0.covering(name)).flatten() {
            let found = of(strategy);
            match &strategy.apps {
                None => for_all = for_all.or(found),
                Some(apps) if app.is_some_and(|app| apps.contains(&app)) && found.is_some() => {
                    return found;
                }
                Some(_) => {}
            }
        }
        for_all
    }
}
