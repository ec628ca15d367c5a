//! Whether it was a socket that sent a packet. Pure.
//!
//! While a packet waits in a queue its memory is charged to the socket that sent it (`truesize` to
//! `sk_wmem_alloc`), also after that socket was closed. So a socket that has the packet's port now
//! and is charged with nothing has not sent it: the one that has is gone, and the port is another's
//! by now. Nor has one that is charged with no more than its packets behind this one may come to.

/// `struct sk_buff` and `struct skb_shared_info`, which a packet's memory counts too: some 576
/// bytes on 64-bit kernels, less on 32-bit ones. The greatest that any has.
const OVERHEAD_BYTES: usize = 512;
const SK_BUFF_BYTES: usize = 256;

/// Whether the socket that is charged with `charged_bytes` has sent the packet in hand, where
/// packets from the same port, of these lengths with their IP header, wait `behind` it and may be
/// all that it has sent.
#[must_use]
pub fn has_sent(charged_bytes: u32, behind: impl Iterator<Item = usize>) -> bool {
    let charged = usize::try_from(charged_bytes).unwrap_or(usize::MAX);
    charged > behind.map(most_charged_for).fold(0, usize::saturating_add)
}

/// The most that a packet of so many bytes is charged with: the kernel gives it memory by powers of
/// two (net/core/skbuff.c, `__alloc_skb`), with room before it for a link's header.
const fn most_charged_for(packet_bytes: usize) -> usize {
    let wanted = packet_bytes.saturating_add(OVERHEAD_BYTES);
    match wanted.checked_next_power_of_two() {
        Some(given) => given.saturating_add(SK_BUFF_BYTES),
        None => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Linux 6.18 charges, by the length of the packet (measured).
    const fn charged(packet_bytes: usize) -> usize {
        match packet_bytes {
            0..226 => 832,
            226..674 => 1280,
            _ => 2304,
        }
    }

    fn sent(charged: usize, behind: &[usize]) -> bool {
        has_sent(u32::try_from(charged).unwrap(), behind.iter().copied())
    }

    #[test]
    fn a_socket_with_nothing_charged_has_sent_nothing() {
        assert!(!sent(0, &[]));
        assert!(sent(832, &[]));
        // A TCP acknowledgment is charged with next to nothing.
        assert!(sent(2, &[]));
    }

    #[test]
    fn what_waits_behind_may_be_all_that_it_has_sent() {
        for length in 40..1400 {
            assert!(!sent(charged(length), &[length]), "{length}");
            // Questions for both kinds of address, of one socket.
            assert!(sent(2 * charged(length), &[length]), "{length}");
            for other in 40..1400 {
                assert!(!sent(charged(length) + charged(other), &[length, other]));
            }
        }
    }

    /// As far as is known of other kernels: 768 where there is no cache of small heads, less on
    /// 32-bit ones.
    #[test]
    fn other_kernels_charge_otherwise() {
        for small in [704, 768, 960] {
            assert!(!sent(small, &[80]));
            assert!(sent(2 * small, &[80]));
        }
    }

    #[test]
    fn nothing_overflows() {
        assert!(!sent(4_000_000_000, &[usize::MAX, usize::MAX]));
    }
}
