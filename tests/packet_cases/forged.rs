//! The bytes of a forged packet → words, by etherparse and hickory-proto.

use std::net::{IpAddr, SocketAddr};

use super::QuicClose as Close;
use etherparse::{
    Icmpv4Type, Icmpv6Type, LaxPacketHeaders, NetHeaders, PacketHeaders, TcpHeader,
    TransportHeader, UdpHeader, icmpv4, icmpv6,
};
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, Record};

/// Extended DNS Error (RFC 8914).
const EXTENDED_ERROR: u16 = 15;
/// Padding (RFC 7830).
const PADDING: u16 = 12;

/// What went before a forged packet.
#[derive(Debug, Default)]
pub(crate) struct Before<'a> {
    /// Where the first packet of the QUIC connection went to; the source of its end where absent.
    pub(crate) first_destination: Option<&'a [u8]>,
    /// The length of the DNS message that a TCP segment begins with.
    pub(crate) length: bool,
}

impl Before<'_> {
    /// Tells the packet line by line. It must go from `from` to `to` and carry the checksums that
    /// etherparse computes for it.
    pub(crate) fn tell(
        &self,
        packet: &[u8],
        from: SocketAddr,
        to: SocketAddr,
    ) -> Result<Vec<String>, String> {
        let headers =
            PacketHeaders::from_ip_slice(packet).map_err(|error| error.to_string())?;
        let payload = headers.payload.slice();
        let ends = |source: u16, destination: u16| -> Result<(), String> {
            let (source_ip, destination_ip) = addresses(&headers)?;
            let there = SocketAddr::new(source_ip, source);
            let here = SocketAddr::new(destination_ip, destination);
            if (there, here) == (from, to) {
                Ok(())
            } else {
                Err(format!(
                    "it goes from {there} to {here}, not from {from} to {to}"
                ))
            }
        };
        match headers.transport.as_ref() {
            Some(TransportHeader::Udp(udp)) => {
                ends(udp.source_port, udp.destination_port)?;
                checksums(
                    &headers,
                    packet,
                    udp.checksum,
                    udp_checksum(udp, &headers, payload),
                )?;
                let mut lines = vec!["UDP".to_owned()];
                if payload.first().is_some_and(|first| first & 0x80 != 0) && from.port() != 53 {
                    lines.push(tell_close(payload, self.first_destination)?);
                } else {
                    tell_dns(payload, &mut lines)?;
                }
                Ok(lines)
            }
            Some(TransportHeader::Tcp(tcp)) => {
                ends(tcp.source_port, tcp.destination_port)?;
                checksums(
                    &headers,
                    packet,
                    tcp.checksum,
                    tcp_checksum(tcp, &headers, payload),
                )?;
                let mut lines = vec![tell_tcp(tcp)];
                let mut rest = payload;
                if self.length {
                    tell_dns(rest, &mut lines)?;
                    return Ok(lines);
                }
                while let Some((length, after)) = rest.split_first_chunk::<2>() {
                    let length = usize::from(u16::from_be_bytes(*length));
                    let (here, later) = after.split_at(length.min(after.len()));
                    if here.len() < length {
                        lines.push(format!("{} of {length} bytes", here.len()));
                    }
                    // Whatever follows in other segments must do.
                    let mut message = here.to_vec();
                    message.resize(length, 0x5a);
                    tell_dns(&message, &mut lines)?;
                    rest = later;
                }
                if rest.is_empty() {
                    Ok(lines)
                } else {
                    Err("one byte too many".to_owned())
                }
            }
            Some(TransportHeader::Icmpv4(icmp)) => {
                let right = icmp.icmp_type.calc_checksum(payload);
                checksums(&headers, packet, icmp.checksum, Some(right))?;
                let unreachable = icmpv4::DestUnreachableHeader::Port;
                if icmp.icmp_type != Icmpv4Type::DestinationUnreachable(unreachable) {
                    return Err(format!("another ICMP message: {icmp:?}"));
                }
                tell_quote(&headers, payload, from, to)
            }
            Some(TransportHeader::Icmpv6(icmp)) => {
                let Some(NetHeaders::Ipv6(ip, _)) = headers.net.as_ref() else {
                    return Err("ICMPv6 in another protocol".to_owned());
                };
                let right = icmp
                    .icmp_type
                    .calc_checksum(ip.source, ip.destination, payload);
                checksums(&headers, packet, icmp.checksum, right.ok())?;
                let unreachable = icmpv6::DestUnreachableCode::Port;
                if icmp.icmp_type != Icmpv6Type::DestinationUnreachable(unreachable) {
                    return Err(format!("another ICMPv6 message: {icmp:?}"));
                }
                tell_quote(&headers, payload, from, to)
            }
            other => Err(format!("none of UDP, TCP and ICMP: {other:?}")),
        }
    }
}

fn tell_close(payload: &[u8], first_destination: Option<&[u8]>) -> Result<String, String> {
    let close = Close::open(payload, first_destination);
    let close = close.ok_or("neither DNS nor the end of a QUIC connection")?;
    let id = String::from_utf8(close.destination.clone());
    let id = id.unwrap_or_else(|_| format!("{:02x?}", close.destination));
    Ok(format!(
        "QUIC {} to `{id}`: error {}, {}",
        close.version, close.error, close.reason
    ))
}

/// What an ICMP error from `from` to `to` quotes: a UDP packet of `to` to `from`, at least its
/// header, by which the kernel finds the socket.
fn tell_quote(
    error: &PacketHeaders<'_>,
    quote: &[u8],
    from: SocketAddr,
    to: SocketAddr,
) -> Result<Vec<String>, String> {
    let (source, destination) = addresses(error)?;
    if (source, destination) != (from.ip(), to.ip()) {
        return Err(format!("it goes from {source} to {destination}"));
    }
    // The quote is cut; the length of its IP header is not.
    let quoted = LaxPacketHeaders::from_ip(quote).map_err(|error| error.to_string())?;
    let ends = match (&quoted.net, &quoted.transport) {
        (Some(NetHeaders::Ipv4(ip, _)), Some(TransportHeader::Udp(udp))) => (
            SocketAddr::new(ip.source.into(), udp.source_port),
            SocketAddr::new(ip.destination.into(), udp.destination_port),
        ),
        (Some(NetHeaders::Ipv6(ip, _)), Some(TransportHeader::Udp(udp))) => (
            SocketAddr::new(ip.source.into(), udp.source_port),
            SocketAddr::new(ip.destination.into(), udp.destination_port),
        ),
        other => return Err(format!("it quotes no UDP: {other:?}")),
    };
    if ends == (to, from) {
        Ok(vec!["port unreachable".to_owned()])
    } else {
        Err(format!("it quotes a packet of {ends:?}"))
    }
}

fn addresses(headers: &PacketHeaders<'_>) -> Result<(IpAddr, IpAddr), String> {
    match headers.net.as_ref() {
        Some(NetHeaders::Ipv4(ip, _)) => Ok((ip.source.into(), ip.destination.into())),
        Some(NetHeaders::Ipv6(ip, _)) => Ok((ip.source.into(), ip.destination.into())),
        other => Err(format!("no IP: {other:?}")),
    }
}

fn udp_checksum(udp: &UdpHeader, headers: &PacketHeaders<'_>, payload: &[u8]) -> Option<u16> {
    match headers.net.as_ref()? {
        NetHeaders::Ipv4(ip, _) => udp.calc_checksum_ipv4(ip, payload).ok(),
        NetHeaders::Ipv6(ip, _) => udp.calc_checksum_ipv6(ip, payload).ok(),
        NetHeaders::Arp(_) => None,
    }
}

fn tcp_checksum(tcp: &TcpHeader, headers: &PacketHeaders<'_>, payload: &[u8]) -> Option<u16> {
    match headers.net.as_ref()? {
        NetHeaders::Ipv4(ip, _) => tcp.calc_checksum_ipv4(ip, payload).ok(),
        NetHeaders::Ipv6(ip, _) => tcp.calc_checksum_ipv6(ip, payload).ok(),
        NetHeaders::Arp(_) => None,
    }
}

fn checksums(
    headers: &PacketHeaders<'_>,
    packet: &[u8],
    found: u16,
    right: Option<u16>,
) -> Result<(), String> {
    if right != Some(found) {
        return Err(format!(
            "transport checksum {found:#x} should be {right:x?}"
        ));
    }
    let (length, rest) = match headers.net.as_ref() {
        Some(NetHeaders::Ipv4(ip, _)) => {
            if ip.header_checksum != ip.calc_header_checksum() {
                return Err("the IP header's checksum is wrong".to_owned());
            }
            (ip.total_len, packet.len())
        }
        Some(NetHeaders::Ipv6(ip, _)) => (ip.payload_length, packet.len() - 40),
        other => return Err(format!("no IP: {other:?}")),
    };
    if usize::from(length) == rest {
        Ok(())
    } else {
        Err(format!(
            "the IP length says {length}, there are {rest} bytes"
        ))
    }
}

fn tell_tcp(tcp: &TcpHeader) -> String {
    let flags = [
        ("SYN ", tcp.syn),
        ("FIN ", tcp.fin),
        ("RST ", tcp.rst),
        ("PSH ", tcp.psh),
        ("ACK ", tcp.ack),
    ];
    let set = flags
        .iter()
        .filter_map(|&(word, is_set)| is_set.then_some(word));
    let (seq, ack) = (tcp.sequence_number, tcp.acknowledgment_number);
    format!("TCP {}seq {seq} ack {ack}", set.collect::<String>())
}

fn tell_dns(message: &[u8], lines: &mut Vec<String>) -> Result<(), String> {
    let message = Message::from_vec(message).map_err(|error| format!("DNS: {error}"))?;
    let metadata = &message.metadata;
    if metadata.message_type != MessageType::Response
        || metadata.authoritative
        || metadata.truncation
    {
        return Err(format!("odd DNS flags: {metadata:?}"));
    }
    let flags = [
        (" RD", metadata.recursion_desired),
        (" RA", metadata.recursion_available),
    ];
    let set = flags
        .iter()
        .filter_map(|&(word, is_set)| is_set.then_some(word));
    let flags: String = set.collect();
    lines.push(format!(
        "{:?} id {}{flags}",
        metadata.response_code, metadata.id
    ));
    for question in &message.queries {
        lines.push(format!(
            "question {} {}",
            question.name(),
            question.query_type()
        ));
    }
    lines.extend(
        message
            .answers
            .iter()
            .map(|record| tell_record("answer", record)),
    );
    lines.extend(
        message
            .authorities
            .iter()
            .map(|record| tell_record("authority", record)),
    );
    lines.extend(
        message
            .additionals
            .iter()
            .map(|record| tell_record("additional", record)),
    );
    if let Some(edns) = &message.edns {
        let dnssec_ok = if edns.flags().dnssec_ok { " DO" } else { "" };
        let error = match edns.option(EdnsCode::from(EXTENDED_ERROR)) {
            Some(EdnsOption::Unknown(_, data)) => format!(" extended error {data:?}"),
            other => format!(" no extended error but {other:?}"),
        };
        let padding = match edns.option(EdnsCode::from(PADDING)) {
            Some(EdnsOption::Unknown(_, data)) => format!(" padding {}", data.len()),
            _ => String::new(),
        };
        lines.push(format!(
            "EDNS {}{dnssec_ok}{error}{padding}",
            edns.max_payload()
        ));
    }
    Ok(())
}

fn tell_record(section: &str, record: &Record) -> String {
    let what = match &record.data {
        RData::NULL(null) => format!("NULL of {} bytes", null.anything.len()),
        RData::SOA(soa) => format!("SOA {} minimum {}", soa.mname, soa.minimum),
        other => format!("{} {other}", record.record_type()),
    };
    format!("{section} {} {} {what}", record.name, record.ttl)
}
