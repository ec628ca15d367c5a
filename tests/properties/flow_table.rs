//! The flow table against a list that does the same slowly.

use muzzle::decide::{FlowTable, UnixSeconds};
use proptest::prelude::*;

const LIFETIME_SECS: u32 = 10;

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u8),
    Remove(u8),
    Get(u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..9_u8;
    prop_oneof![
        4 => key.clone().prop_map(Step::Insert),
        2 => key.clone().prop_map(Step::Remove),
        2 => key.prop_map(Step::Get),
        1 => (0..15_u8).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn any_interleaving_is_that_of_a_list(
        capacity in 1..6_usize,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut table = FlowTable::<usize, u8>::new(capacity, LIFETIME_SECS);
        // Key, value and time, oldest first.
        let mut list: Vec<(u8, usize, i64)> = Vec::new();
        let (mut now, mut evicted) = (1000, 0);
        for (value, step) in steps.into_iter().enumerate() {
            let alive = |set_at: i64, now: i64| now - set_at <= i64::from(LIFETIME_SECS);
            let place = |list: &[(u8, usize, i64)], key| list.iter().position(|it| it.0 == key);
            match step {
                Step::Insert(key) => {
                    table.insert(key, value, UnixSeconds(now));
                    if let Some(at) = place(&list, key) {
                        list.remove(at);
                    } else if list.len() == capacity {
                        evicted += u64::from(alive(list.remove(0).2, now));
                    }
                    list.push((key, value, now));
                }
                Step::Remove(key) => {
                    let expected = place(&list, key).map(|at| list.remove(at).1);
                    prop_assert_eq!(table.remove(&key), expected);
                }
                Step::Get(key) => {
                    let found = place(&list, key).map(|at| list[at]);
                    let expected = found.filter(|it| alive(it.2, now)).map(|it| it.1);
                    let found = table.get_mut(&key, UnixSeconds(now)).copied();
                    prop_assert_eq!(found, expected);
                }
                Step::Wait(seconds) => now += i64::from(seconds),
            }
            prop_assert_eq!(table.evicted(), evicted);
        }
    }
}
