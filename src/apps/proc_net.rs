//! Whose socket it is, as `/proc/net/udp` and its like say: for kernels without `INET_UDP_DIAG`.
//! Pure. Written by net/ipv4/udp.c `udp4_format_sock` and net/ipv6/datagram.c
//! `__ip6_dgram_sock_seq_show`: slot, local and remote address with port, and in the eighth field
//! the owner; between them the memory of packets it has sent and that have not left yet. Addresses are 32-bit words in the machine's byte order, in hexadecimal digits.

use std::net::{IpAddr, SocketAddr};

use crate::decide::{FlowKey, Uid};

/// A socket as the table tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSocket {
    /// The owner of its inode.
    pub uid: Uid,
    /// Memory of packets that it has sent and that have not left yet (`sk_wmem_alloc`).
    pub charged_bytes: u32,
}

/// The socket of `flow` in `table`, the text of `/proc/net/udp` for IPv4, of
/// `/proc/net/udp6` for IPv6. A connected socket comes before one that is bound to the port only.
#[must_use]
pub fn find(table: &str, flow: &FlowKey) -> Option<ListedSocket> {
    let rows = || table.lines().filter_map(row);
    let connected = (flow.local, flow.remote);
    let is_open = |end: SocketAddr| end.ip().is_unspecified();
    let connected = rows().find(|it| (it.local, it.remote) == connected);
    let bound = || {
        rows().find(|it| {
            it.local.port() == flow.local.port()
                && (it.local.ip() == flow.local.ip() || is_open(it.local))
                && is_open(it.remote)
        })
    };
    connected.or_else(bound).map(|it| it.socket)
}

struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    socket: ListedSocket,
}

fn row(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (end(fields.next()?)?, end(fields.next()?)?);
    let (charged, _received) = fields.nth(1)?.split_once(':')?;
    let charged_bytes = u32::from_str_radix(charged, 16).ok()?;
    let uid = Uid(fields.nth(2)?.parse().ok()?);
    Some(Row {
        local,
        remote,
        socket: ListedSocket { uid, charged_bytes },
    })
}

fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = address.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address: IpAddr = match address.len() {
        8 => word(0)?.into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at * 8)?);
            }
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Protocol;

    /// As a little-endian kernel 6.18 printed it.
    const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  163: 0100007F:C350 3500007F:0035 01 00000300:00000000 00:00000000 00000000 10123        0 4711 2 0000000000000000 0
  200: 00000000:C351 00000000:0000 07 00000000:00000000 00:00000000 00000000  1051        0 4712 2 0000000000000000 0
";

    const fn listed(uid: u32, charged_bytes: u32) -> ListedSocket {
        ListedSocket {
            uid: Uid(uid),
            charged_bytes,
        }
    }

    fn flow(local: &str, remote: &str) -> FlowKey {
        FlowKey {
            protocol: Protocol::Udp,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_owner_of_a_connected_or_bound_socket_is_found() {
        let connected = flow("127.0.0.1:50000", "127.0.0.53:53");
        assert_eq!(find(UDP, &connected), Some(listed(10_123, 0x300)));
        let bound = flow("10.0.0.2:50001", "203.0.113.1:53");
        assert_eq!(find(UDP, &bound), Some(listed(1051, 0)));
    }

    #[test]
    fn a_socket_that_is_connected_elsewhere_is_nobodys() {
        let other = flow("127.0.0.1:50000", "127.0.0.54:53");
        assert_eq!(find(UDP, &other), None);
        assert_eq!(find("", &other), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn ipv6_addresses_are_words_too() {
        let table = " 9: B80D0120000000000000000002000000:C352 \
                     B80D0120000000000000000035000000:0035 01 00000000:00000000 00:00000000 \
                     00000000 10200 0 1";
        let flow = flow("[2001:db8::2]:50002", "[2001:db8::35]:53");
        assert_eq!(find(table, &flow), Some(listed(10_200, 0)));
    }
}
