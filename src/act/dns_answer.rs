//! Forged answers to DNS queries (RFC 1035 section 4; negative answers: RFC 2308).
//!
//! The question section stands in the answer where it stood in the query, right after the
//! header, so that a compression pointer can name any part of it.

use super::DnsRefusal;
use super::writer::Writer;
use crate::parse::dns::{
    CLASS_IN, EDNS_DNSSEC_OK, Edns, FLAG_RESPONSE, HEADER_BYTES, LENGTH_PREFIX_BYTES, Query,
    TYPE_A, TYPE_AAAA, TYPE_OPT, TYPE_SOA,
};

/// What the answer repeats of the query's flags: opcode, RD, and CD (RFC 4035 section 3.2.2).
const ECHOED_FLAGS: u16 = 0x7910;
/// Recursion available: a stub resolver asked.
const RECURSION_AVAILABLE: u16 = 0x0080;
const RCODE_NO_ERROR: u16 = 0;
const RCODE_NXDOMAIN: u16 = 3;
const RCODE_REFUSED: u16 = 5;
/// Upper two bits of what stands for a name and points at it (RFC 1035 section 4.1.4).
const POINTER: u16 = 0xc000;
/// Most a TTL can be (RFC 2181 section 8).
const MAX_TTL_SECS: u32 = 0x7fff_ffff;

/// MNAME and RNAME of the forged SOA: whoever looks at the answer sees who gave it. The top
/// domain never exists (RFC 6761 section 6.4).
const SOA_MNAME: &[u8] = b"\x06muzzle\x07invalid\x00";
const SOA_RNAME: &[u8] = b"\x07blocked\x06muzzle\x07invalid\x00";
/// SERIAL, REFRESH, RETRY and EXPIRE mean nothing to a resolver; these are usual.
const SOA_TIMERS: [u32; 4] = [1, 3600, 600, 86400];
/// Names, four timers and MINIMUM.
const SOA_DATA_BYTES: usize = SOA_MNAME.len() + SOA_RNAME.len() + 5 * 4;

/// What the forged answer says it takes over UDP: fits every path unfragmented.
const EDNS_UDP_PAYLOAD_BYTES: u16 = 1232;
/// Extended DNS Error option (RFC 8914 section 2): INFO-CODE 15 "Blocked" (section 4.16).
const EDNS_BLOCKED: [u8; 6] = [0, 15, 0, 2, 0, 15];
/// Option code of Padding (RFC 7830 section 3).
const EDNS_PADDING: u16 = 12;
const OPTION_HEADER_BYTES: usize = 4;
/// Root, type, class, TTL and length of the data.
const ROOT_RECORD_BYTES: usize = 11;
/// An OPT record that says [`EDNS_BLOCKED`].
const OPT_BYTES: usize = ROOT_RECORD_BYTES + EDNS_BLOCKED.len();
/// Record type NULL: anything at all.
const TYPE_NULL: u16 = 10;

/// Writes into `out` the answer that refuses `query`; records in it live for `ttl_secs`.
///
/// Returns its length; none for [`DnsRefusal::Drop`], where `out` is too small, and where an
/// address record would need a name that starts beyond the first 16 KiB.
#[must_use]
pub fn write(
    query: &Query<'_>,
    refusal: DnsRefusal,
    ttl_secs: u32,
    out: &mut [u8],
) -> Option<usize> {
    let ttl_secs = ttl_secs.min(MAX_TTL_SECS);
    let (rcode, zero, soa) = meaning(refusal)?;
    let (header, body) = out.split_first_chunk_mut::<HEADER_BYTES>()?;
    let mut writer = Writer::new(body);
    let [answers, authorities] = put_sections(&mut writer, query, (zero, soa), ttl_secs)?;
    if let Some(edns) = query.edns() {
        put_edns(&mut writer, edns, None)?;
    }
    let additionals = u16::from(query.edns().is_some());
    put_header(header, query, rcode, [answers, authorities, additionals])?;
    Some(HEADER_BYTES + writer.written())
}

/// Writes the same over another answer to `query` of `message_bytes`, whose length it keeps; `out`
/// is the start of that, as much as can still be changed. What is too much is padding: of EDNS (RFC
/// 7830) or, where the query has none, a NULL record (RFC 1035 section 3.3.10). Both may hold
/// anything, such as what follows `out`. Records that do not fit are left out: a refusal without
/// SOA is not cached.
///
/// None where not even that fits, which no answer with an alias comes to.
#[must_use]
pub fn write_in_place(
    query: &Query<'_>,
    refusal: DnsRefusal,
    ttl_secs: u32,
    message_bytes: usize,
    out: &mut [u8],
) -> Option<()> {
    let ttl_secs = ttl_secs.min(MAX_TTL_SECS);
    let (rcode, zero, soa) = meaning(refusal)?;
    let mut write = |records| {
        let (header, body) = out.split_first_chunk_mut::<HEADER_BYTES>()?;
        let mut writer = Writer::new(body);
        let [answers, authorities] = put_sections(&mut writer, query, records, ttl_secs)?;
        let left = message_bytes.checked_sub(HEADER_BYTES + writer.written())?;
        let additionals = put_padding(&mut writer, query, left)?;
        put_header(header, query, rcode, [answers, authorities, additionals])?;
        let end = writer.written();
        body.get_mut(end..)?.fill(0);
        Some(())
    };
    write((zero, soa)).or_else(|| write((false, false)))
}

/// Code, whether unspecified addresses are given, and whether an SOA; none where nothing is said.
const fn meaning(refusal: DnsRefusal) -> Option<(u16, bool, bool)> {
    match refusal {
        DnsRefusal::Nxdomain => Some((RCODE_NXDOMAIN, false, true)),
        DnsRefusal::Nodata => Some((RCODE_NO_ERROR, false, true)),
        DnsRefusal::Zero => Some((RCODE_NO_ERROR, true, true)),
        DnsRefusal::Refused => Some((RCODE_REFUSED, false, false)),
        DnsRefusal::Drop => None,
    }
}

/// The same for a query that came over TCP: the answer with its length before it (RFC 1035
/// section 4.2.2).
#[must_use]
pub fn write_framed(
    query: &Query<'_>,
    refusal: DnsRefusal,
    ttl_secs: u32,
    out: &mut [u8],
) -> Option<usize> {
    let (prefix, message) = out.split_first_chunk_mut::<LENGTH_PREFIX_BYTES>()?;
    let length = write(query, refusal, ttl_secs, message)?;
    *prefix = u16::try_from(length).ok()?.to_be_bytes();
    Some(LENGTH_PREFIX_BYTES + length)
}

/// The question section, and of the records that are wanted, unspecified addresses or else an SOA,
/// those that there are; returns how many answers and authorities.
fn put_sections(
    writer: &mut Writer<'_>,
    query: &Query<'_>,
    (zero, soa): (bool, bool),
    ttl_secs: u32,
) -> Option<[u16; 2]> {
    put_questions(writer, query)?;
    let answers = if zero {
        put_zero_addresses(writer, query, ttl_secs)?
    } else {
        0
    };
    let soa = soa && answers == 0;
    if soa {
        put_soa(writer, query, ttl_secs)?;
    }
    Some([answers, u16::from(soa)])
}

/// RFC 1035 section 4.1.1; AA, TC, Z and AD are 0. `counts` are those of the records.
fn put_header(
    header: &mut [u8],
    query: &Query<'_>,
    rcode: u16,
    counts: [u16; 3],
) -> Option<()> {
    let flags = FLAG_RESPONSE | query.flags() & ECHOED_FLAGS | RECURSION_AVAILABLE | rcode;
    let mut writer = Writer::new(header);
    writer.put_u16(query.id())?;
    writer.put_u16(flags)?;
    writer.put_u16(query.question_count())?;
    counts
        .into_iter()
        .try_for_each(|count| writer.put_u16(count))
}

/// Repeats the questions byte for byte. Compressed names are written out, for a pointer into the
/// query's header would lead to other bytes here.
fn put_questions(writer: &mut Writer<'_>, query: &Query<'_>) -> Option<()> {
    if !query.is_compressed() {
        return writer.put(query.question_section());
    }
    for question in query.questions() {
        writer.put(question.name.as_bytes())?;
        writer.put_u8(0)?;
        writer.put_u16(question.qtype)?;
        writer.put_u16(question.qclass)?;
    }
    Some(())
}

/// One record for each question that asks for an address; returns how many.
fn put_zero_addresses(
    writer: &mut Writer<'_>,
    query: &Query<'_>,
    ttl_secs: u32,
) -> Option<u16> {
    let mut answers = 0;
    let mut offset = HEADER_BYTES;
    for question in query.questions() {
        let owner = offset;
        offset += question.name.as_bytes().len() + 5; // root byte, type, class
        let address: &[u8] = match (question.qclass, question.qtype) {
            (CLASS_IN, TYPE_A) => &[0; 4],
            (CLASS_IN, TYPE_AAAA) => &[0; 16],
            _ => continue,
        };
        put_pointer(writer, owner)?;
        put_record_fields(writer, question.qtype, ttl_secs, address.len())?;
        writer.put(address)?;
        answers += 1;
    }
    Some(answers)
}

/// An SOA for the zone above the first question's name (RFC 2308 section 3): its TTL and its
/// MINIMUM both say how long the answer may be cached (section 5).
fn put_soa(writer: &mut Writer<'_>, query: &Query<'_>, ttl_secs: u32) -> Option<()> {
    let name = query.questions().next()?.name;
    match name.suffixes().nth(1) {
        Some(parent) => {
            let first_label = name.as_bytes().len() - parent.len();
            put_pointer(writer, HEADER_BYTES + first_label)?;
        }
        None => writer.put_u8(0)?, // the root
    }
    put_record_fields(writer, TYPE_SOA, ttl_secs, SOA_DATA_BYTES)?;
    writer.put(SOA_MNAME)?;
    writer.put(SOA_RNAME)?;
    for timer in SOA_TIMERS {
        writer.put_u32(timer)?;
    }
    writer.put_u32(ttl_secs)
}

/// The last `bytes` of a message, or what of them is not merely filled; returns how many records
/// they are.
fn put_padding(writer: &mut Writer<'_>, query: &Query<'_>, bytes: usize) -> Option<u16> {
    if let Some(edns) = query.edns() {
        let padding = match bytes.checked_sub(OPT_BYTES)? {
            0 => None,
            more => Some(more.checked_sub(OPTION_HEADER_BYTES)?),
        };
        put_edns(writer, edns, padding)?;
        return Some(1);
    }
    if bytes == 0 {
        return Some(0);
    }
    writer.put_u8(0)?; // owner: the root
    let data_bytes = bytes.checked_sub(ROOT_RECORD_BYTES)?;
    put_record_fields(writer, TYPE_NULL, 0, data_bytes)?;
    Some(1)
}

/// An OPT record, as there is one where the query has one (RFC 6891 section 6.1.1): version 0, DO
/// repeated (RFC 3225 section 3). Of the option for `padding` bytes, if any, only the header.
fn put_edns(writer: &mut Writer<'_>, edns: Edns, padding: Option<usize>) -> Option<()> {
    let dnssec_ok = if edns.dnssec_ok { EDNS_DNSSEC_OK } else { 0 };
    writer.put_u8(0)?;
    writer.put_u16(TYPE_OPT)?;
    writer.put_u16(EDNS_UDP_PAYLOAD_BYTES)?;
    writer.put_u32(dnssec_ok)?;
    let padding_bytes = padding.map_or(0, |bytes| OPTION_HEADER_BYTES + bytes);
    writer.put_u16(u16::try_from(EDNS_BLOCKED.len() + padding_bytes).ok()?)?;
    writer.put(&EDNS_BLOCKED)?;
    if let Some(bytes) = padding {
        writer.put_u16(EDNS_PADDING)?;
        writer.put_u16(u16::try_from(bytes).ok()?)?;
    }
    Some(())
}

/// What stands between a record's owner and its data, class IN.
fn put_record_fields(
    writer: &mut Writer<'_>,
    rtype: u16,
    ttl_secs: u32,
    data_bytes: usize,
) -> Option<()> {
    writer.put_u16(rtype)?;
    writer.put_u16(CLASS_IN)?;
    writer.put_u32(ttl_secs)?;
    writer.put_u16(u16::try_from(data_bytes).ok()?)
}

/// A compression pointer; none beyond the 16 KiB one can reach (RFC 1035 section 4.1.4).
fn put_pointer(writer: &mut Writer<'_>, offset: usize) -> Option<()> {
    let offset = u16::try_from(offset)
        .ok()
        .filter(|&offset| offset < 0x4000)?;
    writer.put_u16(POINTER | offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Ads.Example A`, RD and CD set; with an OPT record of 4096 bytes and DO where `edns`.
    fn query(qtype: u8, edns: bool) -> Vec<u8> {
        let mut message = b"\xab\xcd\x01\x10\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        message.extend(b"\x03Ads\x07Example\x00\x00");
        message.extend([qtype, 0, 1]);
        if edns {
            message[11] = 1;
            message.extend(b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00");
        }
        message
    }

    fn answer(query: &[u8], refusal: DnsRefusal) -> Vec<u8> {
        let mut out = vec![0xee; 512];
        let query = Query::parse(query).unwrap();
        let length = write(&query, refusal, 60, &mut out).unwrap();
        out.truncate(length);
        out
    }

    const QUESTION: &[u8] = b"\x03Ads\x07Example\x00\x00\x01\x00\x01";
    /// Owner: pointer to `Example`; TTL and MINIMUM 60.
    const SOA: &[u8] = b"\xc0\x10\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x3c\
        \x06muzzle\x07invalid\x00\x07blocked\x06muzzle\x07invalid\x00\
        \x00\x00\x00\x01\x00\x00\x0e\x10\x00\x00\x02\x58\x00\x01\x51\x80\x00\x00\x00\x3c";
    const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x06\x00\x0f\x00\x02\x00\x0f";

    #[test]
    fn nxdomain_byte_for_byte() {
        let header = b"\xab\xcd\x81\x93\x00\x01\x00\x00\x00\x01\x00\x01";
        let expected = [&header[..], QUESTION, SOA, OPT].concat();
        assert_eq!(answer(&query(1, true), DnsRefusal::Nxdomain), expected);
    }

    #[test]
    fn nodata_without_edns_byte_for_byte() {
        let header = b"\xab\xcd\x81\x90\x00\x01\x00\x00\x00\x01\x00\x00";
        let expected = [&header[..], QUESTION, SOA].concat();
        assert_eq!(answer(&query(1, false), DnsRefusal::Nodata), expected);
    }

    #[test]
    fn zero_byte_for_byte() {
        let header = b"\xab\xcd\x81\x90\x00\x01\x00\x01\x00\x00\x00\x01";
        let address = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x00\x00\x00\x00";
        let expected = [&header[..], QUESTION, address, OPT].concat();
        assert_eq!(answer(&query(1, true), DnsRefusal::Zero), expected);
    }

    #[test]
    fn zero_for_a_type_without_address_is_nodata() {
        for edns in [false, true] {
            let https = query(65, edns);
            let nodata = answer(&https, DnsRefusal::Nodata);
            assert_eq!(answer(&https, DnsRefusal::Zero), nodata);
        }
    }

    #[test]
    fn refused_has_no_soa() {
        let header = b"\xab\xcd\x81\x95\x00\x01\x00\x00\x00\x00\x00\x01";
        let expected = [&header[..], QUESTION, OPT].concat();
        assert_eq!(answer(&query(1, true), DnsRefusal::Refused), expected);
    }

    #[test]
    fn drop_and_too_small_a_buffer_are_none() {
        let message = query(1, true);
        let query = Query::parse(&message).unwrap();
        let mut out = [0; 512];
        assert_eq!(write(&query, DnsRefusal::Drop, 60, &mut out), None);
        for refusal in [DnsRefusal::Nxdomain, DnsRefusal::Zero, DnsRefusal::Refused] {
            let length = write(&query, refusal, 60, &mut out).unwrap();
            for room in 0..length {
                assert_eq!(write(&query, refusal, 60, &mut out[..room]), None);
            }
            assert_eq!(write(&query, refusal, 60, &mut out[..length]), Some(length));
        }
    }

    #[test]
    fn a_name_without_parent_has_its_soa_at_the_root() {
        for section in [&b"\x03com\x00\x00\x01\x00\x01"[..], b"\x00\x00\x02\x00\x01"] {
            let message =
                [b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", section].concat();
            let answer = answer(&message, DnsRefusal::Nxdomain);
            assert_eq!(answer[message.len()..], [&[0], &SOA[2..]].concat());
        }
    }

    #[test]
    fn a_pointer_into_the_header_is_written_out() {
        // The name is `a` and then the root at offset 4, which is the high byte of QDCOUNT.
        let message = b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\
            \x01a\xc0\x04\x00\x01\x00\x01";
        let query = Query::parse(message).unwrap();
        assert!(query.is_compressed());
        let answer = answer(message, DnsRefusal::Zero);
        assert_eq!(answer[12..19], *b"\x01a\x00\x00\x01\x00\x01");
        assert_eq!(answer[19..21], *b"\xc0\x0c");
    }

    #[test]
    fn over_tcp_the_length_comes_first() {
        let message = query(1, true);
        let query = Query::parse(&message).unwrap();
        let mut out = [0; 512];
        let length = write_framed(&query, DnsRefusal::Nxdomain, 60, &mut out).unwrap();
        let answer = answer(&message, DnsRefusal::Nxdomain);
        assert_eq!(
            usize::from(u16::from_be_bytes([out[0], out[1]])),
            answer.len()
        );
        assert_eq!(out[2..length], answer);
    }
}
