//! The classic format (draft-ietf-opsawg-pcap): a header, then packets.

use std::io::Read;

use pcap_parser::nom::{self, IResult, Needed};
use pcap_parser::{
    LegacyPcapBlock, PcapError, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header,
};

use super::file::{CaptureError, File};
use super::{LinkType, Packet, packet};

const FILE_HEADER_BYTES: u32 = 24;
const PACKET_HEADER_BYTES: u32 = 16;

/// With time stamps in microseconds and in nanoseconds, in either byte order.
const MAGIC_NUMBERS: [[u8; 4]; 4] = [
    0xa1b2_c3d4_u32.to_be_bytes(),
    0xa1b2_c3d4_u32.to_le_bytes(),
    0xa1b2_3c4d_u32.to_be_bytes(),
    0xa1b2_3c4d_u32.to_le_bytes(),
];

/// Whether a file that starts so is of this format.
pub(super) fn starts_file(start: &[u8; 4]) -> bool {
    MAGIC_NUMBERS.contains(start)
}

/// The library's parser for packets of one byte order.
type Parse = fn(&[u8]) -> IResult<&[u8], LegacyPcapBlock<'_>, PcapError<&[u8]>>;

/// What the file's header says of its packets.
#[derive(Debug)]
pub(super) struct Pcap {
    parse: Parse,
    /// One unit of the fraction in a time stamp.
    unit_nanos: u64,
    link: LinkType,
}

impl Pcap {
    /// Reads the file's header, which is its first block.
    pub(super) fn open(file: &mut File<impl Read>) -> Result<Self, CaptureError> {
        let place = file.place();
        let start = file.start()?;
        if !starts_file(start) {
            return Err(CaptureError::NotACapture(format!("{start:02x?}")));
        }
        let Ok((_, header)) = parse_pcap_header(file.block(FILE_HEADER_BYTES)?) else {
            return Err(place.damaged("a file header that cannot be read"));
        };
        // Beside it in the field: how long the checksum is that may trail each frame.
        let [_, _, high, low] = header.network.0.to_be_bytes();
        let code = u16::from_be_bytes([high, low]);
        Ok(Self {
            parse: if header.is_bigendian() {
                parse_pcap_frame_be
            } else {
                parse_pcap_frame
            },
            unit_nanos: if header.is_nanosecond_precision() {
                1
            } else {
                1000
            },
            link: place.link_type(code)?,
        })
    }

    /// See [`super::Capture::next_packet`].
    pub(super) fn next_packet<'f>(
        &self,
        file: &'f mut File<impl Read>,
    ) -> Result<Option<Packet<'f>>, CaptureError> {
        if !file.next_block()? {
            return Ok(None);
        }
        let place = file.place();
        // The header tells how many bytes follow it.
        let captured = match (self.parse)(file.block(PACKET_HEADER_BYTES)?) {
            Err(nom::Err::Incomplete(Needed::Size(bytes))) => bytes.get(),
            _ => 0,
        };
        let captured = u32::try_from(captured).unwrap_or(u32::MAX);
        let block = file.block(captured.saturating_add(PACKET_HEADER_BYTES))?;
        let Ok((_, frame)) = (self.parse)(block) else {
            return Err(place.damaged("a packet that cannot be read"));
        };
        let fraction = u64::from(frame.ts_usec) * self.unit_nanos;
        let unix_nanos = u64::from(frame.ts_sec) * 1_000_000_000 + fraction;
        Ok(Some(packet(self.link, frame.data, unix_nanos)))
    }
}
