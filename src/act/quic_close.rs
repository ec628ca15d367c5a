//! "No connection is taken here": a server's Initial packet with a CONNECTION_CLOSE frame (RFC 9000
//! section 10.2.3), by which a QUIC client ends at once whose socket hears no ICMP error.
//!
//! It asks for no acknowledgment, so that it need not fill a datagram (RFC 9000 section 14.1).

use super::writer::Writer;
use crate::parse::quic::{
    CONNECTION_CLOSE, ConnectionId, Initial, TAG_BYTES, seal_from_server,
};

/// CONNECTION_REFUSED (RFC 9000 section 20.1).
const CONNECTION_REFUSED: u8 = 0x02;
/// What the client's own log may show.
const REASON: &[u8] = b"refused by Muzzle";
/// Packet number, frame type, error, type of the frame at fault (none), length of the reason, the
/// reason and the tag.
const PROTECTED_BYTES: usize = 5 + REASON.len() + TAG_BYTES;
/// One byte says their length (RFC 9000 section 16).
const _: () = assert!(PROTECTED_BYTES < 64);

/// Writes into `out` the packet that refuses the connection of `initial`, whose first packet was
/// sent to `first_destination`.
///
/// Returns its length; none where `out` is too small.
#[must_use]
pub fn write(
    initial: &Initial<'_>,
    first_destination: &ConnectionId,
    out: &mut [u8],
) -> Option<usize> {
    let mut writer = Writer::new(out);
    let (first_byte, version) = initial.version.initial_start();
    writer.put_u8(first_byte)?;
    writer.put_u32(version)?;
    // The client goes on with the destination that it has.
    for id in [&initial.source, &initial.destination] {
        writer.put_u8(u8::try_from(id.as_bytes().len()).ok()?)?;
        writer.put(id.as_bytes())?;
    }
    writer.put_u8(0)?; // no token
    writer.put_u8(u8::try_from(PROTECTED_BYTES).ok()?)?;
    let number_at = writer.written();
    writer.put_u8(0)?;
    writer.put_u8(u8::try_from(CONNECTION_CLOSE).ok()?)?;
    writer.put(&[CONNECTION_REFUSED, 0, u8::try_from(REASON.len()).ok()?])?;
    writer.put(REASON)?;
    writer.put(&[0; TAG_BYTES])?;
    let length = writer.written();
    let packet = out.get_mut(..length)?;
    seal_from_server(initial.version, first_destination, packet, number_at).ok()?;
    Some(length)
}
