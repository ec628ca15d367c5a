//! Step 2 of a packet's way: bytes → facts. Pure, allocation-free, never panics.
//!
//! Every parser checks lengths once at its gate; after it, accessors cannot fail. What cannot be
//! parsed is [`Malformed`] and is accepted by whoever asked: a bad packet is data, not an error.

#![forbid(unsafe_code)]

mod cursor;
pub mod dns;
pub mod dns_response;
pub mod http;
pub mod ip;
pub mod name;
pub mod quic;
pub mod reassembly;
pub mod tcp;
pub mod tls;
pub mod udp;

pub use name::{DomainName, NameError};

/// Bytes that are not what their place in the packet says. Carries no detail: the caller accepts
/// and counts the packet whatever the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What a detector says of the start of a byte stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected<T> {
    /// It is there.
    Found(T),
    /// It is not there, whatever bytes follow.
    NotPresent,
    /// More bytes are needed to tell.
    Incomplete,
}
