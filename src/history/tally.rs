//! Records → counts: how often an app and a name met with one outcome in one hour. And the block in
//! which the counts are kept.
//!
//! ```text
//! payload  texts: a table; count of rows; rows
//! row      hour (step from the one before) name [app + 1] [entry + 1] outcome decisions tries
//! ```

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::block::{About, HEADER_BYTES, block};
use super::coding::{Source, Table, put, put_place, put_step};
use super::decode::{RecordRef, outcome};
use super::{Row, UnixHours, encode};
use crate::decide::Outcome;
use crate::parse::Malformed;
use crate::record::hotspot_client;

/// Decisions on the same that are at most so far apart are one try.
const TRY_MILLIS: u64 = 1000;
/// So many different rows, or so many bytes of texts, are counted at a time. A phone has some
/// dozens an hour; an app that makes up names has not the memory of this one.
const FULL: (usize, usize) = (8192, 512 * 1024);

/// Counts in the making.
#[derive(Debug, Default)]
pub struct Tally {
    about: Option<About>,
    texts: Table<String>,
    rows: HashMap<Key, Count, RandomState>,
}

/// What is counted as the same; texts by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    hour: UnixHours,
    name: u32,
    app: Option<u32>,
    entry: Option<u32>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    decisions: u64,
    tries: u64,
    last_millis: u64,
}

impl Tally {
    /// Counts a record. Their numbers are to rise.
    pub fn add(&mut self, record: &RecordRef<'_>) {
        let millis = record.unix_millis;
        let about = self.about.get_or_insert(About {
            first: record.number,
            count: 0,
            from_millis: millis,
            to_millis: millis,
        });
        let count = (record.number + 1).saturating_sub(about.first);
        about.count = u32::try_from(count).unwrap_or(u32::MAX);
        about.from_millis = about.from_millis.min(millis);
        about.to_millis = about.to_millis.max(millis);
        let name = match record.name {
            Some(name) => self.texts.text(name),
            None => self.texts.text(&record.remote.ip().to_string()),
        };
        let key = Key {
            hour: UnixHours::from_millis(millis),
            name,
            app: match (record.app, record.client()) {
                (Some((_, label)), _) => Some(self.texts.text(label)),
                (None, Some(client)) => Some(self.texts.text(&hotspot_client(client))),
                (None, None) => None,
            },
            entry: record.entry().map(|entry| self.texts.text(entry)),
            outcome: record.outcome,
        };
        let count = self.rows.entry(key).or_default();
        count.decisions += 1;
        if count.tries == 0 || count.last_millis.abs_diff(millis) > TRY_MILLIS {
            count.tries += 1;
        }
        count.last_millis = millis;
    }

    /// Whether it is time to take the counts away and begin anew.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows.len() >= FULL.0 || self.texts.len_bytes() >= FULL.1
    }

    /// The counts so far; then it is empty.
    pub fn rows(&mut self) -> Vec<Row> {
        let block = self.seal();
        let payload = block.as_deref().and_then(|block| block.get(HEADER_BYTES..));
        payload.map_or_else(Vec::new, |payload| rows(payload).unwrap_or_default())
    }

    /// The counts so far as a block, or none where nothing was counted; then it is empty.
    pub fn seal(&mut self) -> Option<Vec<u8>> {
        let about = self.about.take()?;
        let mut rows: Vec<_> = self.rows.drain().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        let sealed = block(&about, |out| {
            self.texts.put(out);
            put(out, rows.len() as u64);
            let mut before = 0;
            for (key, count) in &rows {
                put_step(out, before, key.hour.0.into());
                before = key.hour.0.into();
                put(out, key.name.into());
                put_place(out, key.app);
                put_place(out, key.entry);
                out.push(encode::outcome(key.outcome));
                put(out, count.decisions);
                put(out, count.tries);
            }
        });
        self.texts.clear();
        Some(sealed)
    }
}

/// Reads the rows of a block's payload.
///
/// # Errors
/// It is not what this version writes.
pub fn rows(payload: &[u8]) -> Result<Vec<Row>, Malformed> {
    let mut source = Source(payload);
    let texts = source.list(|it| it.text())?;
    let mut before = 0;
    source.list(|it| {
        before = it.step(before)?;
        let hour = UnixHours(u32::try_from(before).map_err(|_| Malformed)?);
        let name = it.of(&texts)?.to_owned();
        let app = it.maybe_of(&texts)?.map(str::to_owned);
        let entry = it.maybe_of(&texts)?.map(str::to_owned);
        let [number] = it.array()?;
        Ok(Row {
            hour,
            app,
            name,
            entry,
            outcome: outcome(number),
            decisions: it.number()?,
            tries: it.number()?,
        })
    })
}
