//! The server name of a TLS ClientHello (RFC 6066 section 3), from the start of a TCP stream or
//! of what QUIC carries in place of one.
//!
//! The hello may be spread over several TLS records (RFC 8446 section 5.1) and over several TCP
//! segments; it is walked byte by byte where it lies, so that nothing is copied but the name. QUIC
//! has no records (RFC 9001 section 4.1.3).

use super::{Detected, DomainName};

/// Longest handshake message believed to be a ClientHello. Those of today have up to 2 KiB.
const MAX_HELLO_BYTES: usize = 0xffff;

/// First byte of a record that carries a handshake (RFC 8446 section 5.1).
pub const RECORD_HANDSHAKE: u8 = 0x16;
const RECORD_VERSION_MAJOR: u8 = 3;
/// RFC 8446 section 5.1: a record holds at most 2^14 bytes, and of a handshake at least one.
const MAX_RECORD_BYTES: usize = 1 << 14;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: usize = 0;
const NAME_TYPE_HOST: u8 = 0;
/// A DNS name with a final dot, written as text.
const MAX_HOST_BYTES: usize = 255;

/// Why the walk ended without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Not a ClientHello, or one that names no host.
    NotPresent,
    /// The stream ended first.
    Incomplete,
}

/// Finds the host named by the ClientHello that `stream`, the contiguous start of a TCP stream,
/// begins with.
///
/// `Found` as soon as the whole server name extension has come. A name that is no host name (an
/// IP literal, for one) is `NotPresent`.
#[must_use]
pub fn server_name(stream: &[u8]) -> Detected<DomainName> {
    detected(walk(Handshake::in_records(stream)))
}

/// The same for the contiguous start of a stream of handshake messages without records.
#[must_use]
pub fn server_name_in_handshake(stream: &[u8]) -> Detected<DomainName> {
    detected(walk(Handshake::bare(stream)))
}

fn detected(walked: Result<DomainName, Stop>) -> Detected<DomainName> {
    match walked {
        Ok(name) => Detected::Found(name),
        Err(Stop::NotPresent) => Detected::NotPresent,
        Err(Stop::Incomplete) => Detected::Incomplete,
    }
}

/// Whether a stream starts like this with a ClientHello: its first record is of a handshake whose
/// first message is one. The kernel's prefilter asks the same (`firewall::expression`).
#[must_use]
pub fn starts_client_hello(stream: &[u8]) -> bool {
    matches!(
        stream,
        [
            RECORD_HANDSHAKE,
            RECORD_VERSION_MAJOR,
            0..=4,
            _,
            _,
            HANDSHAKE_CLIENT_HELLO,
            ..
        ]
    )
}

/// ClientHello: RFC 8446 section 4.1.2, the same since TLS 1.0.
fn walk(mut hello: Handshake<'_>) -> Result<DomainName, Stop> {
    if hello.u8()? != HANDSHAKE_CLIENT_HELLO {
        return Err(Stop::NotPresent);
    }
    let length = hello.uint(3)?;
    if length > MAX_HELLO_BYTES {
        return Err(Stop::NotPresent);
    }
    hello.message_left = length;
    if hello.u8()? != RECORD_VERSION_MAJOR {
        return Err(Stop::NotPresent);
    }
    hello.skip(1 + 32)?; // minor version, random
    for length_bytes in [1, 2, 1] {
        // session id, cipher suites, compression methods
        let length = hello.uint(length_bytes)?;
        hello.skip(length)?;
    }
    let mut left = hello.uint(2)?;
    while let Some(after_header) = left.checked_sub(4) {
        let extension = hello.uint(2)?;
        let length = hello.uint(2)?;
        left = after_header.checked_sub(length).ok_or(Stop::NotPresent)?;
        if extension == EXTENSION_SERVER_NAME {
            return host_name(&mut hello, length);
        }
        hello.skip(length)?;
    }
    Err(Stop::NotPresent)
}

/// The first host name of a server name list (RFC 6066 section 3).
fn host_name(hello: &mut Handshake<'_>, extension_bytes: usize) -> Result<DomainName, Stop> {
    let mut left = hello.uint(2)?;
    if left + 2 != extension_bytes {
        return Err(Stop::NotPresent);
    }
    while let Some(after_header) = left.checked_sub(3) {
        let name_type = hello.u8()?;
        let length = hello.uint(2)?;
        left = after_header.checked_sub(length).ok_or(Stop::NotPresent)?;
        if name_type != NAME_TYPE_HOST {
            hello.skip(length)?;
            continue;
        }
        let mut buffer = [0; MAX_HOST_BYTES];
        let host = buffer.get_mut(..length).ok_or(Stop::NotPresent)?;
        hello.fill(host)?;
        let name = DomainName::from_ascii(host).map_err(|_| Stop::NotPresent)?;
        hello.skip(left)?;
        return Ok(name);
    }
    Err(Stop::NotPresent)
}

/// The bytes of one handshake message, record headers between them left out.
#[derive(Clone, Debug)]
struct Handshake<'a> {
    stream: &'a [u8],
    /// Bytes of the present record not read yet.
    record_left: usize,
    /// Bytes of the message not read yet; a read beyond it means that the message lies.
    message_left: usize,
}

impl<'a> Handshake<'a> {
    const fn in_records(stream: &'a [u8]) -> Self {
        Self {
            stream,
            record_left: 0,
            message_left: 4, // the handshake header, until that has told
        }
    }

    /// As one record without end.
    const fn bare(stream: &'a [u8]) -> Self {
        Self {
            record_left: usize::MAX,
            ..Self::in_records(stream)
        }
    }

    fn raw_byte(&mut self) -> Result<u8, Stop> {
        let (&byte, rest) = self.stream.split_first().ok_or(Stop::Incomplete)?;
        self.stream = rest;
        Ok(byte)
    }

    /// Steps over a record header where one is due (RFC 8446 section 5.1).
    fn enter_record(&mut self) -> Result<(), Stop> {
        if self.record_left > 0 {
            return Ok(());
        }
        if self.raw_byte()? != RECORD_HANDSHAKE || self.raw_byte()? != RECORD_VERSION_MAJOR {
            return Err(Stop::NotPresent);
        }
        self.raw_byte()?; // minor version
        let length = u16::from_be_bytes([self.raw_byte()?, self.raw_byte()?]);
        self.record_left = usize::from(length);
        if (1..=MAX_RECORD_BYTES).contains(&self.record_left) {
            Ok(())
        } else {
            Err(Stop::NotPresent)
        }
    }

    /// The next bytes that lie together, at least one and at most `wanted`, which is not 0.
    fn piece(&mut self, wanted: usize) -> Result<&'a [u8], Stop> {
        if wanted > self.message_left {
            return Err(Stop::NotPresent);
        }
        self.enter_record()?;
        let length = wanted.min(self.record_left).min(self.stream.len());
        if length == 0 {
            return Err(Stop::Incomplete);
        }
        let (piece, rest) = self
            .stream
            .split_at_checked(length)
            .ok_or(Stop::Incomplete)?;
        self.stream = rest;
        self.record_left -= length; // both at least `length`, by the checks above
        self.message_left -= length;
        Ok(piece)
    }

    fn skip(&mut self, mut length: usize) -> Result<(), Stop> {
        while length > 0 {
            length -= self.piece(length)?.len(); // a piece is no longer than asked for
        }
        Ok(())
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), Stop> {
        let mut unfilled = out;
        while !unfilled.is_empty() {
            let piece = self.piece(unfilled.len())?;
            let (target, rest) = unfilled
                .split_at_mut_checked(piece.len())
                .ok_or(Stop::NotPresent)?;
            target.copy_from_slice(piece);
            unfilled = rest;
        }
        Ok(())
    }

    fn u8(&mut self) -> Result<u8, Stop> {
        let mut byte = [0; 1];
        self.fill(&mut byte)?;
        Ok(byte[0])
    }

    /// A big-endian number of up to three bytes.
    fn uint(&mut self, length: u8) -> Result<usize, Stop> {
        let mut value = 0;
        for _ in 0..length {
            value = value << 8 | usize::from(self.u8()?);
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENSSL_TLS13: &[u8] = include_bytes!("../../tests/data/openssl3_tls13.bin");
    const OPENSSL_TLS12: &[u8] = include_bytes!("../../tests/data/openssl3_tls12.bin");
    const OPENSSL_NO_SNI: &[u8] = include_bytes!("../../tests/data/openssl3_no_sni.bin");
    const OPENSSL_FRAGMENTS: &[u8] = include_bytes!("../../tests/data/openssl3_fragments.bin");
    const CURL_HTTP2: &[u8] = include_bytes!("../../tests/data/curl7_http2.bin");

    fn found(name: &str) -> Detected<DomainName> {
        Detected::Found(DomainName::from_text(name).unwrap())
    }

    fn extension(number: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap();
        [&number.to_be_bytes(), &length.to_be_bytes(), data].concat()
    }

    /// A server name extension with one entry.
    fn sni(name_type: u8, name: &[u8]) -> Vec<u8> {
        let length = u16::try_from(name.len()).unwrap();
        let list = (length + 3).to_be_bytes();
        let data = [&list[..], &[name_type], &length.to_be_bytes(), name].concat();
        extension(0, &data)
    }

    /// A ClientHello with these extensions, without record headers.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([0xaa; 32]); // random
        body.extend([2, 1, 2]); // session id
        body.extend([0, 4, 0x0a, 0x0a, 0x13, 0x01]); // cipher suites: GREASE, AES-128-GCM
        body.extend([1, 0]); // compression: none
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1][..], &length, &body].concat()
    }

    /// Handshake bytes in records of at most `size` bytes.
    fn records(handshake: &[u8], size: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        for piece in handshake.chunks(size) {
            stream.extend([0x16, 3, 1]);
            stream.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
            stream.extend(piece);
        }
        stream
    }

    #[test]
    fn hellos_of_real_clients() {
        for stream in [OPENSSL_TLS13, OPENSSL_TLS12, OPENSSL_FRAGMENTS, CURL_HTTP2] {
            assert_eq!(server_name(stream), found("data.mistat.xiaomi.com"));
        }
        assert_eq!(server_name(OPENSSL_NO_SNI), Detected::NotPresent);
        let cut = &OPENSSL_NO_SNI[..OPENSSL_NO_SNI.len() - 1];
        assert_eq!(server_name(cut), Detected::Incomplete);
    }

    #[test]
    fn any_extension_order_and_any_record_size() {
        let grease = extension(0x0a0a, b"");
        let key_share = extension(51, &[7; 1250]); // as large as X25519MLKEM768
        let name = sni(0, b"Tracking.MIUI.com");
        for order in [
            [&name, &grease, &key_share],
            [&grease, &name, &key_share],
            [&key_share, &grease, &name],
        ] {
            let hello = hello(&order.map(Vec::as_slice).concat());
            for size in [1, 5, 64, 1000, 4000] {
                let stream = records(&hello, size);
                assert_eq!(server_name(&stream), found("tracking.miui.com"), "{size}");
            }
        }
    }

    #[test]
    fn the_same_without_records() {
        let hello = hello(&[extension(51, &[7; 1250]), sni(0, b"a.example")].concat());
        assert_eq!(server_name_in_handshake(&hello), found("a.example"));
        for end in 0..hello.len() {
            let start = &hello[..end];
            assert_eq!(server_name_in_handshake(start), Detected::Incomplete);
        }
        let nameless = self::hello(&extension(51, &[7; 50]));
        assert_eq!(server_name_in_handshake(&nameless), Detected::NotPresent);
        assert_eq!(server_name_in_handshake(b"\x02"), Detected::NotPresent);
    }

    #[test]
    fn found_with_the_last_byte_of_the_extension() {
        let name = sni(0, b"a.example");
        let whole = hello(&[&name[..], &extension(21, &[0; 100])].concat());
        let stream = records(&whole, 4000);
        let needed = stream.len() - 104;
        assert_eq!(server_name(&stream[..needed]), found("a.example"));
        assert_eq!(server_name(&stream[..needed - 1]), Detected::Incomplete);
    }

    #[test]
    fn a_name_that_is_no_host_name_is_not_present() {
        for extensions in [
            sni(0, b"192.0.2.1"),
            sni(0, b"2001:db8::1"),
            sni(0, b""),
            sni(0, b"a b"),
            sni(0, &[b'a'; 256]),
            sni(1, b"a.example"), // no host_name
            extension(0, b""),
            extension(0, b"\x00\x05\x00\x00\x01a"), // the list claims too much
            extension(0, b"\x00\x04\x00\x00\x02a"), // the name claims too much
            extension(16, b"\x00\x03\x02h2"),       // no server name at all
            vec![],
        ] {
            let stream = records(&hello(&extensions), 4000);
            assert_eq!(
                server_name(&stream),
                Detected::NotPresent,
                "{extensions:x?}"
            );
        }
    }

    #[test]
    fn a_hello_without_extensions_ends_with_its_message() {
        let mut bare = hello(&[]);
        bare.truncate(bare.len() - 2);
        bare[3] -= 2;
        assert_eq!(server_name(&records(&bare, 4000)), Detected::NotPresent);
    }

    #[test]
    fn other_streams_are_told_by_their_first_wrong_byte() {
        for stream in [
            &b"\x15"[..],                            // an alert
            b"\x17",                                 // application data
            b"\x16\x02",                             // no TLS version
            b"\x16\x03\x01\x00\x00",                 // an empty record
            b"\x16\x03\x01\x40\x01",                 // a record over 2^14
            b"\x16\x03\x03\x00\x46\x02",             // a ServerHello
            b"\x16\x03\x03\x00\x46\x10",             // the second flight of TLS 1.2
            b"\x16\x03\x01\x02\x00\x01\x01\x00\x00", // a hello over 64 KiB
            b"\x80\x2e\x01\x03\x01",                 // SSL 2
        ] {
            assert_eq!(server_name(stream), Detected::NotPresent, "{stream:x?}");
            let before = &stream[..stream.len() - 1];
            if before != b"\x80\x2e\x01\x03" {
                assert_eq!(server_name(before), Detected::Incomplete, "{before:x?}");
            }
        }
        assert_eq!(server_name(b""), Detected::Incomplete);
    }

    #[test]
    fn another_record_type_inside_the_hello_ends_it() {
        let mut stream = records(&hello(&sni(0, b"a.example")), 20);
        stream[25] = 0x15;
        assert_eq!(server_name(&stream), Detected::NotPresent);
    }
}
