//! A bounded table of what is remembered from one packet to the next. When it is full, what was
//! set longest ago makes room; what is older than its lifetime is gone.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use foldhash::fast::RandomState;

use super::{FlowKey, UnixSeconds};

/// State by key, for at most `capacity` keys; allocates only when it is made.
///
/// Invariant: `order` holds each entry's key and number, oldest first, and between them those of
/// entries that were removed or set anew since, at most `2 * capacity` in all.
#[derive(Debug)]
pub struct FlowTable<V, K = FlowKey> {
    entries: HashMap<K, Entry<V>, RandomState>,
    order: VecDeque<(K, u64)>,
    capacity: usize,
    lifetime_secs: u64,
    /// How many entries were ever set.
    set: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    number: u64,
    set_at: UnixSeconds,
}

impl<V, K: Copy + Eq + Hash> FlowTable<V, K> {
    /// An empty table for `capacity` keys, at least one, each kept for `lifetime_secs` after it
    /// was set.
    #[must_use]
    pub fn new(capacity: usize, lifetime_secs: u32) -> Self {
        let capacity = capacity.max(1);
        Self {
            // Twice what is used: a map that is at most half full clears the traces of removed
            // keys in place, a fuller one grows to get rid of them.
            entries: HashMap::with_capacity_and_hasher(2 * capacity, RandomState::default()),
            order: VecDeque::with_capacity(2 * capacity),
            capacity,
            lifetime_secs: lifetime_secs.into(),
            set: 0,
            evicted: 0,
        }
    }

    /// The state of `key`, if it has one and that has not outlived itself.
    pub fn get_mut(&mut self, key: &K, now: UnixSeconds) -> Option<&mut V> {
        // Most tables are empty most of the time, and this runs for every packet.
        if self.entries.is_empty() {
            return None;
        }
        let lifetime = self.lifetime_secs;
        let entry = self.entries.get_mut(key)?;
        is_alive(entry.set_at, now, lifetime).then_some(&mut entry.value)
    }

    /// Gives `key` the state `value`, in place of any it had.
    pub fn insert(&mut self, key: K, value: V, now: UnixSeconds) {
        if !self.entries.contains_key(&key) && self.entries.len() == self.capacity {
            self.make_room(now);
        }
        if self.order.len() == 2 * self.capacity {
            let entries = &self.entries;
            self.order.retain(|&kept| is_current(entries, kept));
        }
        self.set += 1;
        self.order.push_back((key, self.set));
        let entry = Entry {
            value,
            number: self.set,
            set_at: now,
        };
        self.entries.insert(key, entry);
    }

    /// Forgets `key`; its state, where it had one.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        if self.entries.is_empty() {
            return None;
        }
        let removed = self.entries.remove(key);
        if self.entries.is_empty() {
            self.order.clear();
        }
        removed.map(|entry| entry.value)
    }

    fn make_room(&mut self, now: UnixSeconds) {
        while let Some(oldest) = self.order.pop_front() {
            if !is_current(&self.entries, oldest) {
                continue;
            }
            if let Some(entry) = self.entries.remove(&oldest.0) {
                let alive = is_alive(entry.set_at, now, self.lifetime_secs);
                self.evicted += u64::from(alive);
            }
            return;
        }
    }
}

impl<V, K> FlowTable<V, K> {
    /// How many entries had to make room for newer ones before their time.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// Where the clock was set meanwhile, either way, an entry may seem too old and be forgotten.
fn is_alive(set_at: UnixSeconds, now: UnixSeconds, lifetime_secs: u64) -> bool {
    now.0.abs_diff(set_at.0) <= lifetime_secs
}

fn is_current<V, K: Eq + Hash>(
    entries: &HashMap<K, Entry<V>, RandomState>,
    (key, number): (K, u64),
) -> bool {
    entries
        .get(&key)
        .is_some_and(|entry| entry.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1000);

    fn table(capacity: usize) -> FlowTable<u32, u32> {
        FlowTable::new(capacity, 60)
    }

    #[test]
    fn the_oldest_makes_room_and_is_counted() {
        let mut table = table(2);
        for key in 1..=3 {
            table.insert(key, 10 * key, NOW);
        }
        assert_eq!(table.get_mut(&1, NOW), None);
        assert_eq!(table.get_mut(&2, NOW), Some(&mut 20));
        assert_eq!(table.get_mut(&3, NOW), Some(&mut 30));
        assert_eq!(table.evicted(), 1);
    }

    #[test]
    fn what_is_set_anew_is_young_again() {
        let mut table = table(2);
        table.insert(1, 10, NOW);
        table.insert(2, 20, NOW);
        table.insert(1, 11, NOW);
        table.insert(3, 30, NOW);
        assert_eq!(table.get_mut(&1, NOW), Some(&mut 11));
        assert_eq!(table.get_mut(&2, NOW), None);
    }

    #[test]
    fn what_is_removed_frees_its_place() {
        let mut table = table(2);
        table.insert(1, 10, NOW);
        table.insert(2, 20, NOW);
        assert_eq!(table.remove(&1), Some(10));
        assert_eq!(table.remove(&1), None);
        table.insert(3, 30, NOW);
        assert_eq!(table.get_mut(&1, NOW), None);
        assert_eq!(table.get_mut(&2, NOW), Some(&mut 20));
        assert_eq!(table.get_mut(&3, NOW), Some(&mut 30));
        assert_eq!(table.evicted(), 0);
    }

    #[test]
    fn what_has_outlived_itself_is_gone_and_makes_room_uncounted() {
        let mut table = table(1);
        table.insert(1, 10, NOW);
        assert_eq!(table.get_mut(&1, UnixSeconds(1060)), Some(&mut 10));
        let later = UnixSeconds(1061);
        assert_eq!(table.get_mut(&1, later), None);
        table.insert(2, 20, later);
        assert_eq!(table.get_mut(&2, later), Some(&mut 20));
        assert_eq!(table.evicted(), 0);
    }

    /// However often keys come, change and go, nothing grows, and nobody is lost.
    #[test]
    fn a_busy_table_stays_in_its_bounds() {
        let mut table = table(4);
        let room = (table.entries.capacity(), table.order.capacity());
        for round in 0..10_000 {
            let key = round % 7;
            table.insert(key, round, NOW);
            assert_eq!(table.get_mut(&key, NOW), Some(&mut { round }));
            if round % 3 == 0 {
                table.remove(&((round + 4) % 7));
            }
            assert!(table.entries.len() <= 4 && table.order.len() <= 8);
        }
        assert_eq!((table.entries.capacity(), table.order.capacity()), room);
    }
}
