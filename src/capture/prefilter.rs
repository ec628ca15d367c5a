//! Which packets of a capture the kernel would have queued: [`crate::firewall::Plan`] as code.

use std::net::SocketAddr;

use crate::act::Act;
use crate::decide::{FlowKey, FlowTable, Protocol, UnixSeconds};
use crate::inspect::{Inspection, NamedPorts, Reading};
use crate::parse::Malformed;
use crate::parse::ip::{self, IpPacket};
use crate::parse::tcp::{TcpFlags, TcpSegment};
use crate::parse::udp::UdpDatagram;
use crate::parse::{http, quic, tls};

const DNS_PORT: u16 = 53;
/// Connections that are followed side by side, and how long they are when they say nothing: many
/// more than the inspector waits for, as the kernel has room for.
const FOLLOWED: (usize, u32) = (4096, 300);
/// Bytes of a payload that the kernel's u32 reads.
const U32_BYTES: usize = 4;

/// Which of the kernel's rules has picked a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picked {
    /// Those for what goes out, on this flow.
    Outgoing(FlowKey),
    /// Those for answers of resolvers, which come in.
    Answer,
}

/// Picks packets as the rules in the kernel do. Every packet but the answer of a resolver counts as
/// outgoing: who is the phone is not said in a capture, and a question, a SYN, a hello and a request
/// tell who the client is.
#[derive(Debug)]
pub struct Prefilter {
    /// Connections whose client's first words are awaited, as their mark tells the kernel.
    followed: FlowTable<()>,
}

impl Default for Prefilter {
    fn default() -> Self {
        Self {
            followed: FlowTable::new(FOLLOWED.0, FOLLOWED.1),
        }
    }
}

impl Prefilter {
    /// The rule that would queue an IP packet, if one would.
    ///
    /// # Errors
    /// A header of it is no such header or is cut short, or it is a later fragment.
    pub fn pick(
        &mut self,
        packet: &[u8],
        ports: &NamedPorts,
        now: UnixSeconds,
    ) -> Result<Option<Picked>, Malformed> {
        let packet = IpPacket::parse(packet)?;
        let flow = |protocol, source_port, destination_port| FlowKey {
            protocol,
            local: SocketAddr::new(packet.source, source_port),
            remote: SocketAddr::new(packet.destination, destination_port),
        };
        let (flow, is_picked) = match packet.protocol {
            ip::UDP => {
                let datagram = UdpDatagram::parse(packet.payload)?;
                let port = datagram.destination_port;
                let flow = flow(Protocol::Udp, datagram.source_port, port);
                let is_quic = ports.quic.binary_search(&port).is_ok();
                let is_initial = is_quic && quic::starts_initial(datagram.payload);
                let is_picked = port == DNS_PORT || is_initial;
                if !is_picked && datagram.source_port == DNS_PORT {
                    return Ok(Some(Picked::Answer));
                }
                (flow, is_picked)
            }
            ip::TCP => {
                let segment = TcpSegment::parse(packet.payload)?;
                let port = segment.destination_port;
                let flow = flow(Protocol::Tcp, segment.source_port, port);
                let comes_in = segment.source_port == DNS_PORT && !segment.opens();
                if comes_in && port != DNS_PORT {
                    return Ok(Some(Picked::Answer));
                }
                let is_followed = self.followed.get_mut(&flow, now).is_some();
                (flow, picks(&segment, ports, is_followed))
            }
            _ => return Ok(None),
        };
        Ok(is_picked.then_some(Picked::Outgoing(flow)))
    }

    /// Takes in what came of a picked packet, as the mark on its verdict tells the kernel.
    pub fn heed(&mut self, flow: FlowKey, inspection: &Inspection, now: UnixSeconds) {
        // The kernel knows no connection whose SYN was not marked; a capture may begin later.
        let is_incomplete =
            inspection.reading == Reading::Incomplete && flow.remote.port() != DNS_PORT;
        if flow.protocol == Protocol::Udp {
            return; // QUIC is picked by what its packets say
        }
        if inspection.act == Act::Leave {
            self.followed.remove(&flow);
        } else if inspection.act == Act::Follow || is_incomplete {
            self.followed.insert(flow, (), now);
        }
    }
}

/// The rules for TCP of both outgoing chains of [`crate::firewall::Plan`].
fn picks(segment: &TcpSegment<'_>, ports: &NamedPorts, is_followed: bool) -> bool {
    let (port, payload) = (segment.destination_port, segment.payload);
    let is_among = |ports: &[u16]| ports.binary_search(&port).is_ok();
    let is_push = segment.flags.contains(TcpFlags::PSH);
    port == DNS_PORT
        || is_plain_syn(segment.flags)
        || is_among(&ports.tls) && tls::starts_client_hello(payload)
        || is_among(&ports.http) && http::starts_request(payload)
        || is_followed && (is_push || payload.len() >= U32_BYTES)
}

/// `--tcp-flags FIN,SYN,RST,ACK SYN`
fn is_plain_syn(flags: TcpFlags) -> bool {
    let others = [TcpFlags::FIN, TcpFlags::RST, TcpFlags::ACK];
    flags.contains(TcpFlags::SYN) && !others.iter().any(|flag| flags.contains(*flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> NamedPorts {
        NamedPorts {
            tls: vec![443, 8443],
            http: vec![80, 8443],
            quic: vec![443],
        }
    }

    /// IPv4 from 10.77.0.2:40000 to 203.0.113.7 at `port`.
    fn packet(protocol: u8, port: u16, transport: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        packet.extend([10, 77, 0, 2, 203, 0, 113, 7, 0x9c, 0x40]);
        packet.extend(port.to_be_bytes());
        packet.extend(transport);
        packet
    }

    fn segment(port: u16, flags: TcpFlags, payload: &[u8]) -> Vec<u8> {
        let mut header = [0; 16];
        (header[8], header[9]) = (0x50, flags.0);
        packet(ip::TCP, port, &[&header[..], payload].concat())
    }

    fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
        packet(ip::UDP, port, &[&[0; 4], payload].concat())
    }

    #[test]
    fn quic_is_picked_by_its_initials() {
        let mut prefilter = Prefilter::default();
        let initial = include_bytes!("../../tests/data/aioquic1_v2.bin");
        assert!(is_picked(&mut prefilter, &datagram(443, initial)));
        assert!(!is_picked(&mut prefilter, &datagram(8443, initial)));
        assert!(!is_picked(&mut prefilter, &datagram(443, &[0x40; 1200])));
    }

    const NOW: UnixSeconds = UnixSeconds(1000);

    fn is_picked(prefilter: &mut Prefilter, packet: &[u8]) -> bool {
        prefilter.pick(packet, &ports(), NOW).unwrap().is_some()
    }

    /// Heeds what an inspector makes of a packet that is picked.
    fn heed(prefilter: &mut Prefilter, packet: &[u8], act: Act, reading: Reading) {
        let picked = prefilter.pick(packet, &ports(), NOW).unwrap();
        let Some(Picked::Outgoing(flow)) = picked else {
            panic!("{picked:?}");
        };
        let inspection = Inspection {
            act,
            reading,
            sighting: None,
        };
        prefilter.heed(flow, &inspection, NOW);
    }

    const DATA: TcpFlags = TcpFlags::PSH.with(TcpFlags::ACK);
    const HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];

    #[test]
    fn packets_are_picked_by_what_they_are() {
        let answer = TcpFlags::SYN.with(TcpFlags::ACK);
        for (expected, packet) in [
            (true, packet(ip::UDP, 53, &[0, 8, 0, 0])),
            (false, packet(ip::UDP, 443, &[0, 8, 0, 0])),
            (false, packet(ip::ICMP, 53, &[])),
            (true, segment(53, TcpFlags::ACK, b"")),
            (true, segment(5222, TcpFlags::SYN, b"")),
            (true, segment(443, TcpFlags::SYN, HELLO)),
            (false, segment(5222, answer, b"")),
            (false, segment(443, TcpFlags::ACK, b"")),
            (true, segment(8443, DATA, HELLO)),
            (false, segment(80, DATA, HELLO)),
            (true, segment(80, DATA, b"GET / HTTP/1.1\r\n")),
            (true, segment(8443, DATA, b"POST /")),
            (false, segment(443, DATA, b"GET / HTTP/1.1\r\n")),
            (false, segment(5222, DATA, HELLO)),
        ] {
            let picked = is_picked(&mut Prefilter::default(), &packet);
            assert_eq!(picked, expected, "{packet:02x?}");
        }
    }

    #[test]
    fn headers_that_are_cut_are_malformed() {
        let whole = segment(443, TcpFlags::SYN, b"");
        for end in 0..whole.len() {
            let picked = Prefilter::default().pick(&whole[..end], &ports(), NOW);
            assert_eq!(picked, Err(Malformed), "{end}");
        }
    }

    #[test]
    fn a_connection_is_followed_until_it_is_left() {
        let mut prefilter = Prefilter::default();
        let piece = segment(443, TcpFlags::ACK, &[0x2a; 9]);
        let [end, tail] = [DATA, TcpFlags::ACK].map(|flags| segment(443, flags, &[0x2a; 3]));
        assert!(!is_picked(&mut prefilter, &piece));
        let syn = segment(443, TcpFlags::SYN, b"");
        heed(&mut prefilter, &syn, Act::Follow, Reading::Understood);
        assert!(is_picked(&mut prefilter, &piece));
        // Too short for u32, unless it ends what was written.
        assert!(is_picked(&mut prefilter, &end) && !is_picked(&mut prefilter, &tail));
        heed(&mut prefilter, &piece, Act::Pass, Reading::Incomplete);
        assert!(is_picked(&mut prefilter, &piece));
        heed(&mut prefilter, &piece, Act::Leave, Reading::Understood);
        assert!(!is_picked(&mut prefilter, &piece) && !is_picked(&mut prefilter, &end));
    }

    /// A capture may begin in the middle of a connection.
    #[test]
    fn a_hello_that_is_not_whole_needs_no_syn() {
        let mut prefilter = Prefilter::default();
        let start = segment(443, DATA, HELLO);
        heed(&mut prefilter, &start, Act::Pass, Reading::Incomplete);
        assert!(is_picked(&mut prefilter, &segment(443, DATA, &[0x2a; 9])));
    }
}
