//! Address ranges with something to say about them: longest prefix first.
//!
//! One small hash map per prefix length in use, so a look-up costs at most as many probes as
//! there are different lengths (33 for IPv4, 129 for IPv6), in practice two or three. A look-up
//! does not allocate.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;

/// Address range → value.
#[derive(Clone, Debug)]
pub struct AddressSet<V> {
    /// Longest prefix first.
    v4: Vec<Ranges<V>>,
    /// Longest prefix first.
    v6: Vec<Ranges<V>>,
}

/// The ranges of one prefix length, by their first address.
#[derive(Clone, Debug)]
struct Ranges<V> {
    prefix: u8,
    values: HashMap<IpAddr, V, RandomState>,
}

impl<V> Default for AddressSet<V> {
    fn default() -> Self {
        Self {
            v4: Vec::new(),
            v6: Vec::new(),
        }
    }
}

impl<V> AddressSet<V> {
    /// The value of `range`, put there by `value` where there is none yet.
    pub fn or_insert_with(&mut self, range: IpNet, value: impl FnOnce() -> V) -> &mut V {
        let range = range.trunc();
        let family = match range {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        };
        let prefix = range.prefix_len();
        let place = family.partition_point(|ranges| ranges.prefix > prefix);
        if family
            .get(place)
            .is_none_or(|ranges| ranges.prefix != prefix)
        {
            family.insert(
                place,
                Ranges {
                    prefix,
                    values: HashMap::default(),
                },
            );
        }
        family[place]
            .values
            .entry(range.addr())
            .or_insert_with(value)
    }

    /// The values of the ranges that hold `address`, the longest prefix first. An IPv4 address
    /// in IPv6 clothes (`::ffff:a.b.c.d`) is looked up as what it is.
    pub fn holding(&self, address: IpAddr) -> impl Iterator<Item = &V> {
        let address = address.to_canonical();
        let family = match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        family
            .iter()
            .filter_map(move |ranges| ranges.values.get(&first_address(address, ranges.prefix)))
    }

    /// Every value, in no order, to be finished after all were placed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.v4
            .iter_mut()
            .chain(&mut self.v6)
            .flat_map(|ranges| ranges.values.values_mut())
    }
}

/// `address` with all bits after the first `prefix` cleared.
fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_prefix_first_in_each_family() {
        let mut set = AddressSet::default();
        for text in [
            "0.0.0.0/0",
            "203.0.113.0/24",
            "203.0.113.7/32",
            "203.0.112.0/23",
            "::/0",
            "2001:db8::/32",
            "2001:db8::1/128",
        ] {
            set.or_insert_with(text.parse().unwrap(), || text);
        }
        for (address, expected) in [
            (
                "203.0.113.7",
                &[
                    "203.0.113.7/32",
                    "203.0.113.0/24",
                    "203.0.112.0/23",
                    "0.0.0.0/0",
                ][..],
            ),
            ("203.0.112.255", &["203.0.112.0/23", "0.0.0.0/0"]),
            ("203.0.114.0", &["0.0.0.0/0"]),
            ("::ffff:203.0.114.0", &["0.0.0.0/0"]),
            ("2001:db8::1", &["2001:db8::1/128", "2001:db8::/32", "::/0"]),
            ("2001:db9::1", &["::/0"]),
        ] {
            let found: Vec<_> = set.holding(address.parse().unwrap()).copied().collect();
            assert_eq!(found, expected, "{address}");
        }
    }

    #[test]
    fn host_bits_do_not_hide_a_range() {
        let mut set = AddressSet::default();
        set.or_insert_with("203.0.113.9/24".parse().unwrap(), || 1);
        set.or_insert_with("203.0.113.0/24".parse().unwrap(), || 2);
        let found: Vec<_> = set.holding("203.0.113.200".parse().unwrap()).collect();
        assert_eq!(found, [&1]);
    }
}
