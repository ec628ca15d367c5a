//! Packets from a file instead of a queue: what `muzzle replay` and `muzzle decode` read.
//!
//! [`Capture`] takes pcap and pcapng files apart, [`link`] finds the IP packet in a frame,
//! [`pcapdroid`] the app that PCAPdroid noted beside it, and [`Prefilter`] picks what the kernel
//! would have queued. None of it is on the daemon's packet path.

mod file;
pub mod link;
mod pcap;
pub mod pcapdroid;
mod pcapng;
mod prefilter;

use std::io::Read;

pub use file::{CaptureError, Place, Unpacked};
pub use link::LinkType;
pub use prefilter::{Picked, Prefilter};

use crate::decide::UnixSeconds;
use crate::parse::Malformed;
use file::File;
use pcap::Pcap;
use pcapdroid::App;
use pcapng::PcapNg;

/// Whether a file that starts so is a capture.
#[must_use]
pub fn is_capture(start: &[u8]) -> bool {
    let start = start.first_chunk();
    start.is_some_and(|start| pcapng::starts_section(start) || pcap::starts_file(start))
}

/// One packet of a capture.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// When it was captured, in nanoseconds since 1970-01-01 UTC.
    pub unix_nanos: u64,
    /// The IP packet, perhaps cut short; `None` where the frame holds something else, and
    /// [`Malformed`] where its link-layer header is cut short.
    pub ip: Result<Option<&'a [u8]>, Malformed>,
    /// Whose packet it is, where PCAPdroid noted it.
    pub app: Option<App>,
}

impl Packet<'_> {
    /// When it was captured, as rules that end count it.
    #[must_use]
    pub fn captured(&self) -> UnixSeconds {
        UnixSeconds::from_millis(self.unix_nanos / 1_000_000)
    }
}

/// A capture file, read packet by packet. Of the file no more than one block is in memory.
#[derive(Debug)]
pub struct Capture<R> {
    file: File<R>,
    format: Format,
    /// Packets so far.
    packets: u64,
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

impl<R: Read> Capture<R> {
    /// Reads the header of a file, which tells its format.
    ///
    /// # Errors
    /// `input` is no capture file, is compressed or cut short, or cannot be read.
    pub fn open(input: R) -> Result<Self, CaptureError> {
        let mut file = File::new(input)?;
        let format = match file.start()? {
            start if pcapng::starts_section(start) => Format::PcapNg(PcapNg::open(&mut file)?),
            _ => Format::Pcap(Pcap::open(&mut file)?),
        };
        Ok(Self {
            file,
            format,
            packets: 0,
        })
    }

    /// The next packet; `None` at the end of the file. After an error there is nothing more to
    /// be had.
    ///
    /// # Errors
    /// The file ends inside a packet, is damaged, cannot be read, or holds frames of a link type
    /// that is not known.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        self.file.after_packets(self.packets);
        self.packets += 1; // or this was the end
        match &mut self.format {
            Format::Pcap(pcap) => pcap.next_packet(&mut self.file),
            Format::PcapNg(pcapng) => pcapng.next_packet(&mut self.file),
        }
    }
}

/// What a frame of `link` type holds.
fn packet(link: LinkType, frame: &[u8], unix_nanos: u64) -> Packet<'_> {
    let app = match link {
        LinkType::Ethernet => pcapdroid::trailer(frame),
        _ => None,
    };
    Packet {
        unix_nanos,
        ip: link.ip_packet(frame),
        app,
    }
}
