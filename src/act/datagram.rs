//! Forged UDP datagrams (RFC 768).

use super::ip_header::Ends;
use crate::decide::FlowKey;
use crate::parse::ip::UDP;
use crate::parse::udp::HEADER_BYTES;

/// Writes into `out` a UDP packet from the flow's remote end to the phone, whose payload
/// `payload` writes into the slice it is given, saying how many bytes it took.
///
/// Returns the length of the packet; none where `payload` returns none, `out` is too small, or
/// the flow's ends are of different families.
#[must_use]
pub fn udp_reply(
    flow: &FlowKey,
    out: &mut [u8],
    payload: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<usize> {
    let ends = Ends::reply(flow)?;
    let (ip_header, rest) = out.split_at_mut_checked(ends.header_bytes())?;
    let payload_bytes = payload(rest.get_mut(HEADER_BYTES..)?)?;
    let datagram = rest.get_mut(..HEADER_BYTES.checked_add(payload_bytes)?)?;
    ends.write_header(UDP, datagram.len(), ip_header)?;
    let length = u16::try_from(datagram.len()).ok()?;
    let words = [flow.remote.port(), flow.local.port(), length, 0];
    let (header, _) = datagram.as_chunks_mut::<2>();
    for (field, word) in header.iter_mut().zip(words) {
        *field = word.to_be_bytes();
    }
    let checksum = match ends.checksum(UDP, datagram) {
        [0, 0] => [0xff, 0xff], // 0 would say that there is none
        checksum => checksum,
    };
    datagram.get_mut(6..8)?.copy_from_slice(&checksum);
    Some(ends.header_bytes() + datagram.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Protocol;
    use crate::parse::ip::IpPacket;
    use crate::parse::udp::UdpDatagram;

    fn flow(local: &str, remote: &str) -> FlowKey {
        FlowKey {
            protocol: Protocol::Udp,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    fn write(text: &'static [u8]) -> impl FnOnce(&mut [u8]) -> Option<usize> {
        move |out| {
            out.get_mut(..text.len())?.copy_from_slice(text);
            Some(text.len())
        }
    }

    #[test]
    fn an_ipv4_reply_byte_for_byte() {
        let mut out = [0xee; 64];
        let length = udp_reply(
            &flow("192.0.2.1:4096", "8.8.8.8:53"),
            &mut out,
            write(b"abc"),
        );
        let expected = [
            0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17, 0x68, 0xbd, 8, 8, 8, 8, 192, 0, 2,
            1, //
            0, 53, 0x10, 0, 0, 11, 0x59, 0x2f, b'a', b'b', b'c',
        ];
        assert_eq!(length, Some(expected.len()));
        assert_eq!(out[..expected.len()], expected);
    }

    #[test]
    fn an_ipv6_reply_goes_from_the_remote_end_to_the_phone() {
        let mut out = [0; 64];
        let flow = flow("[2001:db8::1]:4096", "[2001:db8::53]:53");
        let length = udp_reply(&flow, &mut out, write(b"abc")).unwrap();
        let packet = IpPacket::parse(&out[..length]).unwrap();
        assert_eq!(packet.source, flow.remote.ip());
        assert_eq!(packet.destination, flow.local.ip());
        let datagram = UdpDatagram::parse(packet.payload).unwrap();
        assert_eq!(
            (datagram.source_port, datagram.destination_port),
            (53, 4096)
        );
        assert_eq!(datagram.payload, b"abc");
    }

    #[test]
    fn what_cannot_be_written_is_none() {
        let ipv4 = flow("192.0.2.1:4096", "8.8.8.8:53");
        let mut out = [0; 64];
        for room in 0..31 {
            assert_eq!(udp_reply(&ipv4, &mut out[..room], write(b"abc")), None);
        }
        assert_eq!(udp_reply(&ipv4, &mut out, |_| None), None);
        assert_eq!(udp_reply(&ipv4, &mut out, |_| Some(usize::MAX)), None);
        let mixed = flow("192.0.2.1:4096", "[2001:db8::53]:53");
        assert_eq!(udp_reply(&mixed, &mut out, write(b"abc")), None);
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_ones() {
        let flow = flow("0.0.0.0:0", "0.0.0.0:0");
        let mut out = [0; 30];
        // Protocol 17 and twice the length 10 are all else there is: the sum becomes 0xffff.
        let fill = (0xffff_u16 - 37).to_be_bytes();
        let length = udp_reply(&flow, &mut out, |payload| {
            payload.copy_from_slice(&fill);
            Some(2)
        });
        assert_eq!(length, Some(30));
        assert_eq!(out[26..28], [0xff, 0xff]);
    }
}
