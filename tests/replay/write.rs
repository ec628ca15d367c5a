//! Writes capture files, byte by byte as their formats say (draft-ietf-opsawg-pcap,
//! draft-ietf-opsawg-pcapng), in either byte order.

// Each test binary that includes this uses another part of it.
#![allow(dead_code)]

pub(crate) const ETHERNET: u16 = 1;
pub(crate) const RAW: u16 = 101;

/// `opt_comment`, `if_tsresol`, `if_tsoffset`.
pub(crate) const COMMENT: u16 = 1;
pub(crate) const RESOLUTION: u16 = 9;
pub(crate) const OFFSET: u16 = 14;

/// A number of the file's header or of a block in the file's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) const BOTH: [Self; 2] = [Self::Little, Self::Big];

    fn u16(self, number: u16) -> [u8; 2] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

/// A classic file with this time stamp, in nanoseconds, on every frame.
pub(crate) fn pcap(
    order: Order,
    nanos: bool,
    link: u16,
    at: u64,
    frames: &[Vec<u8>],
) -> Vec<u8> {
    let (magic, unit) = if nanos {
        (0xa1b2_3c4d, 1)
    } else {
        (0xa1b2_c3d4, 1000)
    };
    let mut file = order.u32(magic).to_vec();
    file.extend([order.u16(2), order.u16(4)].concat());
    for number in [0, 0, 262_144, link.into()] {
        file.extend(order.u32(number));
    }
    let secs = u32::try_from(at / 1_000_000_000).unwrap();
    let fraction = u32::try_from(at % 1_000_000_000 / unit).unwrap();
    for frame in frames {
        for number in [secs, fraction, length(frame), length(frame)] {
            file.extend(order.u32(number));
        }
        file.extend(frame);
    }
    file
}

/// A section of a pcapng file, block by block.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    order: Order,
    pub(crate) bytes: Vec<u8>,
}

impl Section {
    pub(crate) fn new(order: Order) -> Self {
        let mut section = Self {
            order,
            bytes: Vec::new(),
        };
        let body = [
            &order.u32(0x1a2b_3c4d)[..],
            &order.u16(1),
            &order.u16(0),
            &[0xff; 8], // its length is not told
        ];
        section.block(0x0a0d_0d0a, &body.concat());
        section
    }

    pub(crate) fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let total = u32::try_from(padded + 12).unwrap();
        self.bytes.extend(self.order.u32(kind));
        self.bytes.extend(self.order.u32(total));
        self.bytes.extend(body);
        self.bytes.extend(vec![0; padded - body.len()]);
        self.bytes.extend(self.order.u32(total));
    }

    fn options(&self, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, value) in options {
            bytes.extend(self.order.u16(*code));
            bytes.extend(self.order.u16(u16::try_from(value.len()).unwrap()));
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            bytes.extend([0; 4]); // opt_endofopt
        }
        bytes
    }

    pub(crate) fn interface(&mut self, link: u16, options: &[(u16, &[u8])]) {
        let snap_length = self.order.u32(0);
        let head = [&self.order.u16(link)[..], &[0, 0], &snap_length].concat();
        self.block(1, &[head, self.options(options)].concat());
    }

    /// An Enhanced Packet Block.
    pub(crate) fn packet(
        &mut self,
        interface: u32,
        stamp: u64,
        frame: &[u8],
        options: &[(u16, &[u8])],
    ) {
        let [high, low] =
            [stamp >> 32, stamp & 0xffff_ffff].map(|it| u32::try_from(it).unwrap());
        let numbers = [interface, high, low, length(frame), length(frame)];
        let mut body = numbers.map(|number| self.order.u32(number)).concat();
        body.extend(frame);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(self.options(options));
        self.block(6, &body);
    }

    /// A Simple Packet Block.
    pub(crate) fn simple_packet(&mut self, frame: &[u8]) {
        let length = self.order.u32(length(frame));
        self.block(3, &[&length[..], frame].concat());
    }
}
