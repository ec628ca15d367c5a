//! Frame → IP packet, for each link-layer header type that captures of a phone's traffic have
//! (<https://www.tcpdump.org/linktypes.html>).

use crate::parse::Malformed;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q, 802.1ad, and what came before 802.1ad.
const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// `AF_INET`, the same everywhere.
const IPV4_FAMILY: u32 = 2;
/// `AF_INET6` of Linux; of NetBSD and OpenBSD; of FreeBSD; of macOS and iOS.
const IPV6_FAMILIES: [u32; 4] = [10, 24, 28, 30];

/// What stands before the IP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// The address family in four bytes, in the byte order of the machine that captured (`NULL`)
    /// or of the network (`LOOP`).
    Loopback,
    /// An Ethernet header, perhaps with VLAN tags.
    Ethernet,
    /// Nothing.
    RawIp,
    /// Linux's header for captures on any interface (`SLL`).
    LinuxCooked,
    /// Its second version (`SLL2`).
    LinuxCooked2,
}

impl LinkType {
    /// The known ones, for people.
    pub const KNOWN: &str = "0 (BSD loopback), 1 (Ethernet), 12, 14, 101, 228 and 229 (raw IP), \
                             108 (OpenBSD loopback), 113 and 276 (Linux cooked)";

    /// The link type with this number in a file. 12 and 14 are raw IP as BSDs number it.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0 | 108 => Self::Loopback,
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            113 => Self::LinuxCooked,
            276 => Self::LinuxCooked2,
            _ => return None,
        })
    }

    /// The IP packet in `frame` and whatever trails it; `None` where the frame holds something
    /// else, ARP for one.
    ///
    /// # Errors
    /// The header is cut short.
    pub fn ip_packet(self, frame: &[u8]) -> Result<Option<&[u8]>, Malformed> {
        match self {
            Self::Loopback => {
                let (family, packet) = frame.split_first_chunk().ok_or(Malformed)?;
                let families = [u32::from_le_bytes(*family), u32::from_be_bytes(*family)];
                let is_ip =
                    |family: &u32| *family == IPV4_FAMILY || IPV6_FAMILIES.contains(family);
                Ok(families.iter().any(is_ip).then_some(packet))
            }
            Self::Ethernet => behind_ethertype(frame, 12, 14),
            Self::RawIp => match frame.first().ok_or(Malformed)? >> 4 {
                4 | 6 => Ok(Some(frame)),
                _ => Ok(None),
            },
            Self::LinuxCooked => behind_ethertype(frame, 14, 16),
            Self::LinuxCooked2 => behind_ethertype(frame, 0, 20),
        }
    }
}

/// The packet at `start` of a frame that has its EtherType at `ethertype`, behind any VLAN tags.
fn behind_ethertype(
    frame: &[u8],
    ethertype: usize,
    start: usize,
) -> Result<Option<&[u8]>, Malformed> {
    let field = |bytes: &[u8], at: usize| {
        let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
        field
            .map(|field| u16::from_be_bytes(*field))
            .ok_or(Malformed)
    };
    let mut kind = field(frame, ethertype)?;
    let mut packet = frame.get(start..).ok_or(Malformed)?;
    while VLAN_TAGS.contains(&kind) {
        kind = field(packet, 2)?;
        packet = packet.get(4..).ok_or(Malformed)?;
    }
    Ok(matches!(kind, ETHERTYPE_IPV4 | ETHERTYPE_IPV6).then_some(packet))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: &[u8] = &[0x45, 0, 0, 20];

    fn framed(header: &[u8]) -> Vec<u8> {
        [header, PACKET].concat()
    }

    /// Every proper prefix of `header` is cut short, and behind the whole comes the packet.
    fn assert_holds_packet(link: LinkType, header: &[u8]) {
        let frame = framed(header);
        assert_eq!(link.ip_packet(&frame), Ok(Some(PACKET)), "{header:x?}");
        for end in 0..header.len() {
            assert_eq!(link.ip_packet(&frame[..end]), Err(Malformed), "{end}");
        }
    }

    #[test]
    fn ethernet_with_any_number_of_vlan_tags() {
        let addresses = [2; 12];
        for tags in [
            &[][..],
            &[0x81, 0, 0, 7],
            &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 7],
            &[0x91, 0, 0, 1, 0x88, 0xa8, 0, 1, 0x81, 0, 0, 7],
        ] {
            for ethertype in [[8, 0], [0x86, 0xdd]] {
                let header = [&addresses[..], tags, &ethertype].concat();
                assert_holds_packet(LinkType::Ethernet, &header);
            }
            let arp = framed(&[&addresses[..], tags, &[8, 6]].concat());
            assert_eq!(LinkType::Ethernet.ip_packet(&arp), Ok(None));
        }
    }

    #[test]
    fn linux_cooked() {
        let v1 = [0, 4, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0];
        let v2 = [0, 0, 0, 0, 0, 2, 0, 1, 4, 6, 2, 2, 2, 2, 2, 2, 0, 0];
        for ethertype in [[8, 0], [0x86, 0xdd]] {
            assert_holds_packet(LinkType::LinuxCooked, &[&v1[..], &ethertype].concat());
            assert_holds_packet(LinkType::LinuxCooked2, &[&ethertype[..], &v2].concat());
        }
        let tagged = [&v1[..], &[0x81, 0, 0, 7, 8, 0]].concat();
        assert_holds_packet(LinkType::LinuxCooked, &tagged);
        // 802.2 frames, which have a number under 0x0600 there.
        let other = framed(&[&v1[..], &[0, 4]].concat());
        assert_eq!(LinkType::LinuxCooked.ip_packet(&other), Ok(None));
    }

    #[test]
    fn loopback_in_either_byte_order() {
        for family in [2_u32, 10, 24, 28, 30] {
            assert_holds_packet(LinkType::Loopback, &family.to_le_bytes());
            assert_holds_packet(LinkType::Loopback, &family.to_be_bytes());
        }
        // AppleTalk.
        let other = framed(&16_u32.to_le_bytes());
        assert_eq!(LinkType::Loopback.ip_packet(&other), Ok(None));
    }

    #[test]
    fn raw_ip_is_told_by_its_version() {
        assert_eq!(LinkType::RawIp.ip_packet(PACKET), Ok(Some(PACKET)));
        let v6 = [0x60, 0, 0, 0];
        assert_eq!(LinkType::RawIp.ip_packet(&v6), Ok(Some(&v6[..])));
        assert_eq!(LinkType::RawIp.ip_packet(&[0x51, 0]), Ok(None));
        assert_eq!(LinkType::RawIp.ip_packet(&[]), Err(Malformed));
    }
}
