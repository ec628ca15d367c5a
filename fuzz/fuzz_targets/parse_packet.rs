//! A packet from the queue: parse it, and forge every reply to it.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use muzzle::act::{icmp::port_unreachable, segment::reset_for};
use muzzle::decide::{FlowKey, Protocol};
use muzzle::parse::{ip::IpPacket, tcp::TcpSegment, udp::UdpDatagram};

fuzz_target!(|packet: &[u8]| {
    let mut out = [0; 1280];
    if let Some(length) = port_unreachable(packet, &mut out) {
        assert!(IpPacket::parse(&out[..length]).is_ok());
    }
    let Ok(ip) = IpPacket::parse(packet) else {
        return;
    };
    let _ = UdpDatagram::parse(ip.payload);
    if let Ok(segment) = TcpSegment::parse(ip.payload) {
        let flow = FlowKey {
            protocol: Protocol::Tcp,
            local: SocketAddr::new(ip.source, segment.source_port),
            remote: SocketAddr::new(ip.destination, segment.destination_port),
        };
        if let Some(length) = reset_for(&flow, &segment, &mut out) {
            let reset = IpPacket::parse(&out[..length]).unwrap();
            assert_eq!(reset.source, ip.destination);
            assert!(TcpSegment::parse(reset.payload).unwrap().payload.is_empty());
        }
    }
});
