//! Clients on the phone: DNS over UDP and TCP, byte by byte where a test wants that, and the
//! ClientHellos and requests of others.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;

use crate::lab::{Lab, Namespace};

/// What a client waits for an answer. Real ones wait 5 s and more: an answer within this one
/// came at once, also on a loaded machine.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(1500);

pub(crate) const A: u16 = 1;
pub(crate) const TXT: u16 = 16;
pub(crate) const AAAA: u16 = 28;
pub(crate) const HTTPS: u16 = 65;
pub(crate) const ANY: u16 = 255;

/// The EDNS record of a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edns {
    pub(crate) payload: u16,
    pub(crate) dnssec_ok: bool,
}

/// A question as it stands in a message.
pub(crate) fn question(name: &str, qtype: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(qtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// A query with these questions, recursion desired.
pub(crate) fn query_of(id: u16, questions: &[Vec<u8>], edns: Option<Edns>) -> Vec<u8> {
    let count = u8::try_from(questions.len()).expect("a few questions");
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, count, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
    bytes.extend(questions.concat());
    if let Some(edns) = edns {
        bytes.extend([0, 0, 41]);
        bytes.extend(edns.payload.to_be_bytes());
        bytes.extend([0, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
    }
    bytes
}

/// A query with one question and no EDNS.
pub(crate) fn query(id: u16, name: &str, qtype: u16) -> Vec<u8> {
    query_of(id, &[question(name, qtype)], None)
}

/// `message` as it goes over TCP.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a short message");
    [&length.to_be_bytes()[..], message].concat()
}

/// The addresses that an answer gives.
pub(crate) fn addresses_in(answer: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(address) => Some(Ipv4Addr::from(*address).into()),
        RData::AAAA(address) => Some(Ipv6Addr::from(*address).into()),
        _ => None,
    };
    let records = answer.answers.iter();
    records.filter_map(|record| address(&record.data)).collect()
}

/// The code of an answer and the addresses it gives: what an app gets to see.
pub(crate) fn told(answer: &Message) -> (ResponseCode, Vec<IpAddr>) {
    (answer.metadata.response_code, addresses_in(answer))
}

/// One UDP socket of the phone, connected to a resolver.
pub(crate) struct UdpAsker(UdpSocket);

impl UdpAsker {
    pub(crate) fn new(lab: &Lab, resolver: IpAddr) -> Self {
        let any: IpAddr = match resolver {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self::from_address(lab, any, resolver)
    }

    /// The same with the phone's end at `local`.
    pub(crate) fn from_address(lab: &Lab, local: IpAddr, resolver: IpAddr) -> Self {
        let socket = lab.phone.within(|| {
            let socket = UdpSocket::bind((local, 0)).expect("an address of the phone");
            socket.connect((resolver, 53)).expect("there is a route");
            socket
        });
        socket
            .set_read_timeout(Some(AT_ONCE))
            .expect("a time-out above 0");
        Self(socket)
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.0.local_addr().expect("connected")
    }

    pub(crate) fn wait_at_most(&self, limit: Duration) {
        let limit = Some(limit);
        self.0.set_read_timeout(limit).expect("a time-out above 0");
    }

    pub(crate) fn send(&self, message: &[u8]) {
        self.0.send(message).expect("a query can always be sent");
    }

    /// The next datagram, if one comes in time.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        loop {
            match self.0.recv(&mut buffer) {
                Ok(length) => return Some(buffer[..length].to_vec()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return None,
                Err(error) => panic!("a resolver's client got {error}"),
            }
        }
    }

    /// The answer to `query`, if one comes in time.
    pub(crate) fn ask(&self, query: &[u8]) -> Option<Message> {
        self.send(query);
        loop {
            let bytes = self.receive()?;
            let answer = Message::from_vec(&bytes).expect("an answer can be read");
            // What came too late for an earlier query is none of this one's.
            if answer.metadata.id.to_be_bytes() == query[..2] {
                return Some(answer);
            }
        }
    }
}

/// What a TCP client saw.
#[derive(Debug)]
pub(crate) enum TcpEnd {
    /// A FIN or, which is as good an end, a reset.
    Over,
    /// Nothing within [`AT_ONCE`].
    Silence,
}

/// One TCP connection, of the phone unless said otherwise.
pub(crate) struct TcpAsker(TcpStream);

impl TcpAsker {
    /// # Panics
    /// It cannot be made at once.
    pub(crate) fn new(lab: &Lab, to: SocketAddr) -> Self {
        Self::of(&lab.phone, to)
    }

    /// The same of another device.
    pub(crate) fn of(device: &Namespace, to: SocketAddr) -> Self {
        let stream = device
            .within(|| TcpStream::connect_timeout(&to, AT_ONCE))
            .unwrap_or_else(|error| panic!("no connection to {to}: {error}"));
        stream
            .set_read_timeout(Some(AT_ONCE))
            .expect("a time-out above 0");
        stream.set_nodelay(true).expect("a TCP socket");
        Self(stream)
    }

    /// One segment.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the connection stands");
    }

    /// Each piece as a segment of its own, as far as the other end lets it.
    pub(crate) fn send_pieces<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) {
        for piece in pieces {
            if self.0.write_all(piece).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The next answer of a resolver, or the end.
    pub(crate) fn answer(&mut self) -> Result<Message, TcpEnd> {
        let mut length = [0; 2];
        self.fill(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        self.fill(&mut message)?;
        Ok(Message::from_vec(&message).expect("an answer can be read"))
    }

    /// Whether the other end has ended the connection, and nothing else comes.
    pub(crate) fn is_over(&mut self) -> bool {
        matches!(self.fill(&mut [0]), Err(TcpEnd::Over))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TcpEnd> {
        self.0.read_exact(buffer).map_err(|error| {
            if is_timeout(&error) {
                TcpEnd::Silence
            } else {
                TcpEnd::Over
            }
        })
    }
}

pub(crate) fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Where the server's name stands in a [`client_hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamePlace {
    /// Before the key share.
    First,
    /// After it.
    Last,
}

/// A ClientHello of about 1,800 bytes, as browsers send it with a post-quantum key share
/// (X25519MLKEM768, 1216 bytes) and some padding.
pub(crate) fn client_hello(server: &str, place: NamePlace) -> Vec<u8> {
    let extension = |kind: u16, data: &[u8]| {
        let length = u16::try_from(data.len()).expect("a short extension");
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
    };
    let length = |plus: usize| {
        let length = u16::try_from(server.len() + plus).expect("a short name");
        length.to_be_bytes()
    };
    let host = [&length(3)[..], &[0], &length(0), server.as_bytes()].concat();
    let name = extension(0, &host);
    let mut share = vec![0x04, 0xc4, 0x11, 0xec, 0x04, 0xc0];
    share.extend([0x5a; 1216]);
    let share = extension(51, &share);
    let padding = extension(21, &[0; 400]);
    let extensions = match place {
        NamePlace::First => [name, share, padding].concat(),
        NamePlace::Last => [padding, share, name].concat(),
    };
    let mut body = vec![3, 3];
    body.extend([0x77; 32]);
    body.extend([32]);
    body.extend([0x66; 32]);
    body.extend([0, 4, 0x13, 1, 0x13, 2, 1, 0]);
    body.extend(
        u16::try_from(extensions.len())
            .expect("short")
            .to_be_bytes(),
    );
    body.extend(extensions);
    let length = u16::try_from(body.len()).expect("a short hello");
    let handshake = [&[1, 0][..], &length.to_be_bytes(), &body].concat();
    let length = u16::try_from(handshake.len()).expect("a short hello");
    [&[0x16, 3, 1][..], &length.to_be_bytes(), &handshake].concat()
}
