//! What is known about a packet when it is decided on. Nothing in here is a guess: what is not
//! known for sure is absent.

use std::fmt;
use std::net::SocketAddr;

use super::Attribution;
use crate::parse::DomainName;

/// A Linux user id; on Android each app has one per user (uid / 100000 is the user).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Uid(pub u32);

/// Transport protocol of a flow.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP (IP protocol 6).
    Tcp,
    /// UDP (IP protocol 17).
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// The two ends of a flow as the app's socket sees them, before any address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The phone's end.
    pub local: SocketAddr,
    /// The other end, as the app addressed it.
    pub remote: SocketAddr,
}

/// How the name, or the lack of one, came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence<'a> {
    /// A question in a DNS query.
    Question {
        /// The name asked for.
        name: &'a DomainName,
        /// The record type asked for (IANA "Resource Record (RR) TYPEs").
        qtype: u16,
    },
    /// A name that stands in for the one asked for, in the answer to a DNS query: the target of
    /// a CNAME, or of an SVCB or HTTPS record.
    Alias {
        /// The alias, which is what is judged.
        name: &'a DomainName,
        /// The name asked for.
        asked: &'a DomainName,
        /// The record type asked for.
        qtype: u16,
    },
    /// The server name of a TLS ClientHello (RFC 6066 section 3), in TCP or QUIC.
    Sni(&'a DomainName),
    /// An HTTP/1.x request.
    Request {
        /// The host it is for (RFC 9110 section 7.2), where that has a name.
        host: Option<&'a DomainName>,
        /// Path and query (RFC 9110 section 4.2.1).
        path: &'a [u8],
    },
    /// A TLS ClientHello that names no host, or something else that a client said first.
    Unnamed,
    /// A TCP SYN: only addresses are known. `name_follows` where the port is one whose first
    /// payload is looked at, so that a name can still be judged.
    Syn {
        /// The first payload of this connection will be looked at.
        name_follows: bool,
    },
    /// A UDP datagram other than DNS: only addresses are known, as with a SYN.
    Datagram {
        /// QUIC is looked for on this port.
        name_follows: bool,
    },
}

impl<'a> Evidence<'a> {
    /// The name, where there is one.
    #[must_use]
    pub const fn name(&self) -> Option<&'a DomainName> {
        match *self {
            Self::Question { name, .. } | Self::Alias { name, .. } | Self::Sni(name) => {
                Some(name)
            }
            Self::Request { host, .. } => host,
            Self::Unnamed | Self::Syn { .. } | Self::Datagram { .. } => None,
        }
    }
}

/// Everything a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The flow of the packet.
    pub flow: FlowKey,
    /// Whose packet it is.
    pub attribution: Attribution,
    /// The name and where it stood.
    pub evidence: Evidence<'a>,
}
