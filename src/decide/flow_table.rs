//! A bounded table of flows. When it is full, the flow that came first makes room.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::FlowKey;

/// State by flow, for at most `capacity` flows; allocates only when it is made.
///
/// Invariant: `order` holds every key of `flows` once, oldest first.
#[derive(Debug)]
pub struct FlowTable<V> {
    flows: HashMap<FlowKey, V, RandomState>,
    order: VecDeque<FlowKey>,
    capacity: usize,
    evicted: u64,
}

impl<V> FlowTable<V> {
    /// An empty table for `capacity` flows, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            // Twice what is used: a map that is at most half full clears the traces of removed
            // flows in place, a fuller one grows to get rid of them.
            flows: HashMap::with_capacity_and_hasher(2 * capacity, RandomState::default()),
            order: VecDeque::with_capacity(capacity),
            capacity,
            evicted: 0,
        }
    }

    /// The state of `flow`, if it has one.
    pub fn get_mut(&mut self, flow: &FlowKey) -> Option<&mut V> {
        // Most tables are empty most of the time, and this runs for every packet.
        if self.flows.is_empty() {
            None
        } else {
            self.flows.get_mut(flow)
        }
    }

    /// Gives `flow` the state `value`, in place of any it had.
    pub fn insert(&mut self, flow: FlowKey, value: V) {
        if let Some(present) = self.flows.get_mut(&flow) {
            *present = value;
            return;
        }
        if self.order.len() == self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.flows.remove(&oldest);
            self.evicted += 1;
        }
        self.order.push_back(flow);
        self.flows.insert(flow, value);
    }

    /// Forgets `flow`.
    pub fn remove(&mut self, flow: &FlowKey) {
        if self.flows.remove(flow).is_some() {
            self.order.retain(|kept| kept != flow);
        }
    }

    /// How many flows had to make room for newer ones.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Protocol;

    fn flow(port: u16) -> FlowKey {
        FlowKey {
            protocol: Protocol::Tcp,
            local: ([10, 0, 0, 2], port).into(),
            remote: ([192, 0, 2, 1], 443).into(),
        }
    }

    #[test]
    fn the_oldest_flow_makes_room_and_is_counted() {
        let mut table = FlowTable::new(2);
        for port in 1..=3 {
            table.insert(flow(port), port);
        }
        assert_eq!(table.get_mut(&flow(1)), None);
        assert_eq!(table.get_mut(&flow(2)), Some(&mut 2));
        assert_eq!(table.get_mut(&flow(3)), Some(&mut 3));
        assert_eq!(table.evicted(), 1);
    }

    #[test]
    fn a_removed_flow_frees_its_place() {
        let mut table = FlowTable::new(2);
        table.insert(flow(1), 1);
        table.insert(flow(2), 2);
        table.remove(&flow(1));
        table.insert(flow(3), 3);
        table.insert(flow(3), 30);
        assert_eq!(table.get_mut(&flow(1)), None);
        assert_eq!(table.get_mut(&flow(2)), Some(&mut 2));
        assert_eq!(table.get_mut(&flow(3)), Some(&mut 30));
        assert_eq!(table.evicted(), 0);
    }
}
