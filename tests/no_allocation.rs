//! The packet path allocates nothing: from bytes to facts, and from a refusal to bytes.

#![allow(unsafe_code, reason = "counting allocations takes a global allocator")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use muzzle::act::datagram::udp_reply;
use muzzle::act::icmp::port_unreachable;
use muzzle::act::segment::reset_for;
use muzzle::act::{DnsRefusal, dns_answer};
use muzzle::decide::{FlowKey, Protocol};
use muzzle::parse::dns::Query;
use muzzle::parse::dns_response::Response;
use muzzle::parse::http::host;
use muzzle::parse::ip::IpPacket;
use muzzle::parse::tcp::{TcpFlags, TcpSegment};
use muzzle::parse::tls::server_name;
use muzzle::parse::udp::UdpDatagram;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local
// without destructor, which neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\
    \x04data\x06mistat\x06xiaomi\x03com\x00\x00\x1c\x00\x01\
    \x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";

fn flow(protocol: Protocol) -> FlowKey {
    FlowKey {
        protocol,
        local: "[2001:db8::1]:4096".parse().unwrap(),
        remote: "[2001:db8::53]:53".parse().unwrap(),
    }
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(black_box(vec![1_u8]))), 1);
}

#[test]
fn a_refused_query() {
    let flow = flow(Protocol::Udp);
    let mut out = [0; 1280];
    let count = allocations(|| {
        let query = Query::parse(QUERY).unwrap();
        let length = udp_reply(&flow, &mut out, |payload| {
            dns_answer::write(&query, DnsRefusal::Nxdomain, 60, payload)
        });
        let packet = IpPacket::parse(&out[..length.unwrap()]).unwrap();
        let datagram = UdpDatagram::parse(packet.payload).unwrap();
        let response = Response::parse(datagram.payload).unwrap();
        assert_eq!((response.rcode(), response.names().count()), (3, 0));
        let mut error = [0; 1280];
        assert!(port_unreachable(&out[..length.unwrap()], &mut error).is_some());
    });
    assert_eq!(count, 0);
}

#[test]
fn a_reset_connection() {
    let flow = flow(Protocol::Tcp);
    let hello = include_bytes!("data/openssl3_fragments.bin");
    let request = include_bytes!("data/curl7_post.bin");
    let mut out = [0; 1280];
    let count = allocations(|| {
        black_box(server_name(hello));
        black_box(host(request));
        let segment = TcpSegment {
            source_port: 4096,
            destination_port: 443,
            sequence: 1,
            acknowledgment: 2,
            flags: TcpFlags::ACK,
            payload: hello,
        };
        assert!(reset_for(&flow, &segment, &mut out).is_some());
    });
    assert_eq!(count, 0);
}
