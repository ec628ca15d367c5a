//! Step 4 of a packet's way: decision → verdict and, where one is due, bytes to inject. Pure.
//!
//! What is forged goes to the phone's own end of a flow, as if the other end had sent it, and
//! is written whole into the caller's buffer: IP header, checksums and all.

#![forbid(unsafe_code)]

mod checksum;
pub mod datagram;
pub mod dns_answer;
pub mod icmp;
mod ip_header;
pub mod quic_close;
pub mod segment;
mod writer;

use crate::decide::FlowKey;

/// What a blocked DNS question is answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DnsRefusal {
    /// "No such name" with an SOA, which resolvers cache (RFC 2308 section 5).
    #[default]
    Nxdomain,
    /// "The name has no such record", with an SOA.
    Nodata,
    /// The unspecified address for A and AAAA, no records for other types.
    Zero,
    /// RCODE 5 (RFC 1035 section 4.1.1). Android counts it against the resolver.
    Refused,
    /// No answer: the app waits for its time-out.
    Drop,
}

/// How a blocked connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionRefusal {
    /// The app gets an error at once.
    #[default]
    Reset,
    /// The packets vanish: the app waits for its time-out.
    Drop,
}

/// What is to be done with a packet. The bytes that are to be injected stand in the caller's
/// scratch buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Accept it.
    Pass,
    /// Accept it, a SYN, and have the kernel deliver what the client says first on its connection
    /// whatever that looks like.
    Follow,
    /// Accept it, and have the kernel deliver no more of its connection than any other's.
    Leave,
    /// Drop it and say nothing.
    Vanish,
    /// Drop it and inject this many bytes, an IP packet to the local end of the flow, or two.
    Answer {
        /// The flow that is answered.
        flow: FlowKey,
        /// Bytes of the forged packet.
        length: usize,
        /// Bytes of a second one right behind it; 0 where there is none.
        second_length: usize,
    },
    /// Accept it with this many bytes, a whole IP packet with the same ends, in place of its own.
    Rewrite {
        /// Bytes of the packet.
        length: usize,
    },
    /// Drop it and end the connection: destroy the socket or, where the kernel cannot, inject
    /// the reset.
    Sever {
        /// The connection.
        flow: FlowKey,
        /// Bytes of the forged reset to the app; 0 where none is due.
        reset_length: usize,
    },
}

impl Act {
    /// Whether the packet is accepted.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Pass | Self::Follow | Self::Leave)
    }
}
