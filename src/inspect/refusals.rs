//! Names that were refused a moment ago. A resolver that learns that there is no such name asks
//! for it again with each search suffix of the network behind it (resolv.conf(5), `search`), so
//! that the resolver of the network would see it after all.

use std::collections::VecDeque;

use super::Context;
use crate::decide::{Uid, UnixSeconds};
use crate::parse::DomainName;

/// Names remembered; the oldest makes room.
const NAMES: usize = 16;
/// For how long. The next question comes within milliseconds, or after the resolver's time-out
/// (5 s, resolv.conf(5)) where the first is not answered.
const SECONDS: u64 = 10;

/// The names refused last.
#[derive(Debug)]
pub(super) struct Refusals(VecDeque<Refusal>);

#[derive(Debug)]
struct Refusal {
    uid: Uid,
    name: DomainName,
    at: UnixSeconds,
}

impl Default for Refusals {
    fn default() -> Self {
        Self(VecDeque::with_capacity(NAMES))
    }
}

impl Refusals {
    /// Remembers that a question for `name` was refused.
    pub(super) fn add(&mut self, context: &Context<'_>, name: &DomainName) {
        let Some(uid) = context.attribution.uid() else {
            return;
        };
        let known = |it: &&mut Refusal| it.uid == uid && it.name == *name;
        if let Some(known) = self.0.iter_mut().find(known) {
            known.at = context.now;
            return;
        }
        if self.0.len() == NAMES {
            self.0.pop_front();
        }
        self.0.push_back(Refusal {
            uid,
            name: name.clone(),
            at: context.now,
        });
    }

    /// The name refused to the same user just now that `name` is with more labels behind it.
    pub(super) fn begun_by(
        &self,
        context: &Context<'_>,
        name: &DomainName,
    ) -> Option<&DomainName> {
        let uid = context.attribution.uid()?;
        let is_begin = |it: &&Refusal| {
            it.uid == uid
                && context.now.0.abs_diff(it.at.0) <= SECONDS
                && it.name != *name
                && name.as_bytes().starts_with(it.name.as_bytes())
        };
        self.0.iter().find(is_begin).map(|it| &it.name)
    }
}
