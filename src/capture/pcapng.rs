//! The newer format (draft-ietf-opsawg-pcapng): sections of blocks, each with interfaces of its
//! own and a byte order of its own.

use std::collections::HashMap;
use std::io::Read;

use pcap_parser::nom::{self, IResult};
use pcap_parser::{
    CB_MAGIC, EPB_MAGIC, IDB_MAGIC, OptionCode, PcapError, PcapNGOption, SHB_MAGIC, SPB_MAGIC,
    parse_customblock_be, parse_customblock_le, parse_enhancedpacketblock_be,
    parse_enhancedpacketblock_le, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le, parse_sectionheaderblock, parse_simplepacketblock_be,
    parse_simplepacketblock_le,
};

use super::file::{CaptureError, File, Place};
use super::pcapdroid::{self, App};
use super::{Packet, packet};
use crate::decide::Uid;

/// The type of a Section Header Block, the same in either byte order.
const SECTION: [u8; 4] = SHB_MAGIC.to_le_bytes();
/// Type of the block that held packets in the first drafts.
const OBSOLETE_PACKET: u32 = 2;
/// What a section has at byte 8, in its own byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Type, length, and the length once more.
const LEAST_BLOCK_BYTES: u32 = 12;

/// More than any machine has: a bound for files that lie.
const MAX_INTERFACES: usize = 4096;
/// Android gives a user no more app ids than that.
const MAX_APPS: usize = 10_000;
const NANOS_PER_SEC: u64 = 1_000_000_000;

/// What a parser of the library's makes of a block.
type Parsed<'b, T> = IResult<&'b [u8], T, PcapError<&'b [u8]>>;

/// Whether a file that starts so is of this format.
pub(super) fn starts_section(start: &[u8; 4]) -> bool {
    *start == SECTION
}

/// What the blocks so far say of those that follow.
#[derive(Debug, Default)]
pub(super) struct PcapNg {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// What PCAPdroid calls whom.
    apps: HashMap<Uid, App>,
    /// When the packet before was captured, which is also said of one without a time stamp.
    unix_nanos: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    /// `if_tsresol`: see [`Self::unix_nanos`].
    resolution: u8,
    /// Seconds to add to each time stamp.
    offset_secs: i64,
}

impl Interface {
    /// A time stamp of this interface. Its unit is a negative power of ten or, with the highest
    /// bit of the resolution, of two.
    fn unix_nanos(self, stamp: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7f);
        let base: u128 = if self.resolution & 0x80 == 0 { 10 } else { 2 };
        // A unit under a 10^-38th of a second: then no stamp comes to a nanosecond.
        let nanos = base.checked_pow(exponent).map_or(0, |per_second| {
            u128::from(stamp) * u128::from(NANOS_PER_SEC) / per_second
        });
        let offset = i128::from(self.offset_secs) * i128::from(NANOS_PER_SEC);
        // Both are under 2^97.
        let sum = i128::try_from(nanos)
            .unwrap_or(i128::MAX)
            .saturating_add(offset);
        u64::try_from(sum.max(0)).unwrap_or(u64::MAX)
    }
}

impl PcapNg {
    /// Reads the file's first block.
    pub(super) fn open(file: &mut File<impl Read>) -> Result<Self, CaptureError> {
        let mut this = Self::default();
        this.read_block(file)?;
        Ok(this)
    }

    /// See [`super::Capture::next_packet`].
    pub(super) fn next_packet<'f>(
        &mut self,
        file: &'f mut File<impl Read>,
    ) -> Result<Option<Packet<'f>>, CaptureError> {
        while file.next_block()? {
            let (kind, length) = self.read_block(file)?;
            if matches!(kind, EPB_MAGIC | SPB_MAGIC) {
                let place = file.place();
                return self.packet(kind, file.block(length)?, place).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads a block whole and takes in what it says of the blocks that follow. Gives its type
    /// and its length.
    fn read_block(&mut self, file: &mut File<impl Read>) -> Result<(u32, u32), CaptureError> {
        let place = file.place();
        let [kind, length, byte_order] = words(file.block(LEAST_BLOCK_BYTES)?);
        if kind == SECTION {
            self.big_endian = byte_order == BYTE_ORDER.to_be_bytes();
            if !self.big_endian && byte_order != BYTE_ORDER.to_le_bytes() {
                return Err(place.damaged("a section header without byte order"));
            }
        }
        let [kind, claimed] = [kind, length].map(|word| self.u32(word));
        if claimed < LEAST_BLOCK_BYTES || claimed % 4 != 0 {
            return Err(place.damaged(format!("a block that claims {claimed} bytes")));
        }
        let block = file.block(claimed)?;
        if block.last_chunk() != Some(&length) {
            return Err(place.damaged("a block that has another length at its end"));
        }
        match self.learn(kind, block) {
            Ok(()) => Ok((kind, claimed)),
            Err(problem) => Err(place.damaged(problem)),
        }
    }

    /// Takes in what a block that is no packet says.
    fn learn(&mut self, kind: u32, block: &[u8]) -> Result<(), String> {
        match kind {
            SHB_MAGIC => {
                let (_, section) = parse_sectionheaderblock(block).map_err(unparsed)?;
                self.interfaces.clear();
                match section.major_version {
                    1 => Ok(()),
                    version => Err(format!("pcapng of version {version}; known is 1")),
                }
            }
            IDB_MAGIC => {
                let interface = self.parse(
                    block,
                    parse_interfacedescriptionblock_le,
                    parse_interfacedescriptionblock_be,
                )?;
                if self.interfaces.len() == MAX_INTERFACES {
                    return Err(format!("more than {MAX_INTERFACES} interfaces"));
                }
                self.interfaces.push(Interface {
                    // Two bytes in the file.
                    link: u16::try_from(interface.linktype.0).unwrap_or(u16::MAX),
                    resolution: interface.if_tsresol,
                    offset_secs: self.offset_secs(&interface.options),
                });
                Ok(())
            }
            CB_MAGIC => {
                let block = self.parse(block, parse_customblock_le, parse_customblock_be)?;
                if block.pen == pcapdroid::ENTERPRISE
                    && self.apps.len() < MAX_APPS
                    && let Some(app) = pcapdroid::app_block(block.data)
                {
                    self.apps.insert(app.uid, app);
                }
                Ok(())
            }
            OBSOLETE_PACKET => Err("a Packet Block, which newer blocks have replaced; \
                     `editcap -F pcapng OLD NEW` makes a new file of this one"
                .to_owned()),
            _ => Ok(()),
        }
    }

    /// The packet in a block of one of the two types that hold one.
    fn packet<'b>(
        &mut self,
        kind: u32,
        block: &'b [u8],
        place: Place,
    ) -> Result<Packet<'b>, CaptureError> {
        let damaged = |problem| place.damaged(problem);
        if kind == SPB_MAGIC {
            // No time stamp, no options, and the first interface.
            let simple = self
                .parse(
                    block,
                    parse_simplepacketblock_le,
                    parse_simplepacketblock_be,
                )
                .map_err(damaged)?;
            let length = usize::try_from(simple.origlen).unwrap_or(usize::MAX);
            let frame = simple.data.get(..length).unwrap_or(simple.data);
            let link = place.link_type(self.interface(0).map_err(damaged)?.link)?;
            return Ok(packet(link, frame, self.unix_nanos));
        }
        let enhanced = self
            .parse(
                block,
                parse_enhancedpacketblock_le,
                parse_enhancedpacketblock_be,
            )
            .map_err(damaged)?;
        let interface = self.interface(enhanced.if_id).map_err(damaged)?;
        let stamp = u64::from(enhanced.ts_high) << 32 | u64::from(enhanced.ts_low);
        self.unix_nanos = interface.unix_nanos(stamp);
        let length = usize::try_from(enhanced.caplen).unwrap_or(usize::MAX);
        let frame = enhanced.data.get(..length).unwrap_or(enhanced.data);
        let link = place.link_type(interface.link)?;
        let packet = packet(link, frame, self.unix_nanos);
        Ok(Packet {
            app: self.commented_app(&enhanced.options).or(packet.app),
            ..packet
        })
    }

    fn interface(&self, number: u32) -> Result<Interface, String> {
        let interface = usize::try_from(number)
            .ok()
            .and_then(|at| self.interfaces.get(at));
        interface.copied().ok_or_else(|| {
            let count = self.interfaces.len();
            format!("a packet of interface {number}, where {count} are described")
        })
    }

    /// The app whose uid is a comment of the packet, if PCAPdroid has named it before: anybody
    /// may comment on a packet.
    fn commented_app(&self, options: &[PcapNGOption<'_>]) -> Option<App> {
        let comments = options.iter().filter(|it| it.code == OptionCode::Comment);
        let mut texts = comments.filter_map(|comment| comment.as_str().ok());
        let uid = texts.find_map(pcapdroid::comment_uid)?;
        self.apps.get(&uid).cloned()
    }

    /// `if_tsoffset`.
    fn offset_secs(&self, options: &[PcapNGOption<'_>]) -> i64 {
        let offset = options.iter().find(|it| it.code == OptionCode::IfTsoffset);
        let bytes = offset.and_then(|it| it.value().first_chunk());
        let number = if self.big_endian {
            i64::from_be_bytes
        } else {
            i64::from_le_bytes
        };
        bytes.map_or(0, |bytes| number(*bytes))
    }

    const fn u32(&self, word: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(word)
        } else {
            u32::from_le_bytes(word)
        }
    }

    /// What the parser for the section's byte order makes of a whole block.
    fn parse<'b, T>(
        &self,
        block: &'b [u8],
        little: impl FnOnce(&'b [u8]) -> Parsed<'b, T>,
        big: impl FnOnce(&'b [u8]) -> Parsed<'b, T>,
    ) -> Result<T, String> {
        let parsed = if self.big_endian {
            big(block)
        } else {
            little(block)
        };
        parsed.map(|(_, parsed)| parsed).map_err(unparsed)
    }
}

/// The first three words of a block, which are there.
fn words(block: &[u8]) -> [[u8; 4]; 3] {
    let (words, _) = block.as_chunks();
    words.first_chunk().copied().unwrap_or_default()
}

/// In the parser's words, without the bytes that it did not like.
fn unparsed(error: nom::Err<PcapError<&[u8]>>) -> String {
    let what = match error {
        nom::Err::Incomplete(_) => "something in it is longer than itself",
        nom::Err::Error(_) | nom::Err::Failure(_) => "its fields contradict each other",
    };
    format!("a block that cannot be read: {what}")
}
