//! DNS queries (RFC 1035 section 4, EDNS: RFC 6891).
//!
//! Names are followed through compression pointers, each of which must go back before the start
//! of what it was found in, so that every walk ends.

use super::cursor::Cursor;
use super::{DomainName, Malformed};

/// Length of the header of a DNS message (RFC 1035 section 4.1.1).
pub const HEADER_BYTES: usize = 12;
/// Over TCP, a message has its length in this many bytes before it (RFC 1035 section 4.2.2).
pub const LENGTH_PREFIX_BYTES: usize = 2;
/// Record type A: an IPv4 address.
pub const TYPE_A: u16 = 1;
/// Record type CNAME: another name for the same.
pub const TYPE_CNAME: u16 = 5;
/// Record type SOA: the start of a zone.
pub const TYPE_SOA: u16 = 6;
/// Record type AAAA: an IPv6 address (RFC 3596).
pub const TYPE_AAAA: u16 = 28;
/// Record type OPT: the EDNS pseudo-record.
pub const TYPE_OPT: u16 = 41;
/// Record type SVCB: how to reach a service (RFC 9460).
pub const TYPE_SVCB: u16 = 64;
/// Record type HTTPS: SVCB for web servers (RFC 9460 section 9).
pub const TYPE_HTTPS: u16 = 65;
/// Class IN: the Internet.
pub const CLASS_IN: u16 = 1;
/// Header flag: this is a response.
pub const FLAG_RESPONSE: u16 = 0x8000;
/// Header flag: the message was cut, and all of it is to be had over TCP.
pub const FLAG_TRUNCATED: u16 = 0x0200;
/// Bit of the OPT record's TTL: DNSSEC records are wanted (RFC 3225).
pub const EDNS_DNSSEC_OK: u32 = 0x8000;

/// Pointers followed for one name. A name has at most 127 labels, so a name that needs more
/// chains pointer to pointer.
const MAX_POINTERS: u32 = 127;

/// The fixed header of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) questions: u16,
    pub(super) answers: u16,
    pub(super) authorities: u16,
    pub(super) additionals: u16,
}

/// One entry of the question section (RFC 1035 section 4.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name asked for, lower case.
    pub name: DomainName,
    /// The record type asked for.
    pub qtype: u16,
    /// The class asked for, nearly always [`CLASS_IN`].
    pub qclass: u16,
}

/// What the OPT record of a query says (RFC 6891 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP answer the asker takes.
    pub udp_payload_size: u16,
    /// Whether DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
}

/// A DNS query whose header and questions have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    message: &'a [u8],
    header: Header,
    section_end: usize,
    compressed: bool,
    edns: Option<Edns>,
}

impl<'a> Query<'a> {
    /// Checks the header and every question. Bytes after the message are allowed; records after
    /// the questions that make no sense count as no EDNS.
    ///
    /// # Errors
    /// This is a response, has no question, or a question does not parse.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let query = Self::asked_in(message)?;
        if query.flags() & FLAG_RESPONSE != 0 {
            return Err(Malformed);
        }
        Ok(query)
    }

    /// The same of any message: an answer repeats what its query asked.
    pub(super) fn asked_in(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::at(message, 0);
        let header = cursor.header()?;
        if header.questions == 0 {
            return Err(Malformed);
        }
        let mut compressed = false;
        for _ in 0..header.questions {
            let start = cursor.offset();
            let question = cursor.question()?;
            // Root byte, type and class make 5. A pointer stands for 1 byte (the root) or for
            // at least 3, and takes 2: the lengths differ exactly where one was followed.
            compressed |= cursor.offset() - start != question.name.as_bytes().len() + 5;
        }
        Ok(Self {
            message,
            header,
            section_end: cursor.offset(),
            compressed,
            edns: find_edns(cursor, &header),
        })
    }

    /// What ties an answer to this query.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.header.id
    }

    /// The second header word: opcode, RD, CD and the like.
    #[must_use]
    pub const fn flags(&self) -> u16 {
        self.header.flags
    }

    /// How many questions there are; at least one, nearly always exactly one.
    #[must_use]
    pub const fn question_count(&self) -> u16 {
        self.header.questions
    }

    /// The questions, all of them: [`Self::parse`] has checked each.
    #[must_use]
    pub const fn questions(&self) -> Questions<'a> {
        Questions {
            cursor: Cursor::at(self.message, HEADER_BYTES),
            left: self.header.questions,
        }
    }

    /// The question section as it was sent, case and all.
    #[must_use]
    pub fn question_section(&self) -> &'a [u8] {
        self.message
            .get(HEADER_BYTES..self.section_end)
            .unwrap_or_default()
    }

    /// Whether a name in the question section holds a compression pointer, which may lead
    /// anywhere in the query, its header included.
    #[must_use]
    pub const fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// The OPT record, where the query has one.
    #[must_use]
    pub const fn edns(&self) -> Option<Edns> {
        self.edns
    }
}

/// Iterator over the questions of a message.
#[derive(Clone, Debug)]
pub struct Questions<'a> {
    cursor: Cursor<'a>,
    left: u16,
}

impl<'a> Questions<'a> {
    pub(super) const fn new(cursor: Cursor<'a>, left: u16) -> Self {
        Self { cursor, left }
    }
}

impl Iterator for Questions<'_> {
    type Item = Question;

    fn next(&mut self) -> Option<Question> {
        self.left = self.left.checked_sub(1)?;
        self.cursor.question().ok()
    }
}

/// A resource record (RFC 1035 section 4.1.3), its owner left unread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Placed at the owner's name.
    pub(super) owner: Cursor<'a>,
    pub(super) rtype: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    /// Placed at the record's data.
    pub(super) data: Cursor<'a>,
    pub(super) data_end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn header(&mut self) -> Result<Header, Malformed> {
        Ok(Header {
            id: self.u16()?,
            flags: self.u16()?,
            questions: self.u16()?,
            answers: self.u16()?,
            authorities: self.u16()?,
            additionals: self.u16()?,
        })
    }

    pub(super) fn question(&mut self) -> Result<Question, Malformed> {
        Ok(Question {
            name: self.name()?,
            qtype: self.u16()?,
            qclass: self.u16()?,
        })
    }

    /// A name, perhaps compressed (RFC 1035 section 4.1.4).
    pub(super) fn name(&mut self) -> Result<DomainName, Malformed> {
        let mut name = DomainName::root();
        let mut reader = *self;
        let mut run_start = reader.offset();
        let mut after_pointer = None;
        let mut pointers = 0;
        loop {
            match reader.u8()? {
                0 => break,
                length @ 1..=0x3f => {
                    let label = reader.take(usize::from(length))?;
                    name.push_label(label).map_err(|_| Malformed)?;
                }
                high @ 0xc0..=0xff => {
                    let target = usize::from(u16::from_be_bytes([high & 0x3f, reader.u8()?]));
                    pointers += 1;
                    if target >= run_start || pointers > MAX_POINTERS {
                        return Err(Malformed);
                    }
                    after_pointer.get_or_insert(reader);
                    run_start = target;
                    reader = Cursor::at(self.bytes(), target);
                }
                _ => return Err(Malformed), // RFC 6891 section 5: no other label type is in use
            }
        }
        *self = after_pointer.unwrap_or(reader);
        Ok(name)
    }

    fn skip_name(&mut self) -> Result<(), Malformed> {
        loop {
            match self.u8()? {
                0 => return Ok(()),
                length @ 1..=0x3f => self.take(usize::from(length)).map(drop)?,
                0xc0..=0xff => return self.u8().map(drop),
                _ => return Err(Malformed),
            }
        }
    }

    pub(super) fn record(&mut self) -> Result<Record<'a>, Malformed> {
        let owner = *self;
        self.skip_name()?;
        let rtype = self.u16()?;
        let class = self.u16()?;
        let ttl = self.u32()?;
        let length = self.u16()?;
        let data = *self;
        self.take(usize::from(length))?;
        Ok(Record {
            owner,
            rtype,
            class,
            ttl,
            data,
            data_end: self.offset(),
        })
    }
}

/// The OPT record among the additional records; its owner is the root (RFC 6891 section 6.1.2).
fn find_edns(mut cursor: Cursor<'_>, header: &Header) -> Option<Edns> {
    let before = u32::from(header.answers) + u32::from(header.authorities);
    for _ in 0..before {
        cursor.record().ok()?;
    }
    for _ in 0..header.additionals {
        let owner_is_root = cursor.bytes().get(cursor.offset()) == Some(&0);
        let record = cursor.record().ok()?;
        if record.rtype == TYPE_OPT && owner_is_root {
            return Some(Edns {
                udp_payload_size: record.class,
                dnssec_ok: record.ttl & EDNS_DNSSEC_OK != 0,
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `dig +noadflag +dnssec DATA.mistat.xiaomi.com AAAA`: RD, one question, OPT with DO and
    /// 1232 bytes.
    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\
        \x04DATA\x06mistat\x06xiaomi\x03com\x00\x00\x1c\x00\x01\
        \x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";

    /// A query without EDNS around a raw question section.
    fn query(questions: u8, section: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 7, 1, 0, 0, questions, 0, 0, 0, 0, 0, 0];
        message.extend(section);
        message
    }

    fn names(message: &[u8]) -> Vec<String> {
        let query = Query::parse(message).unwrap();
        query.questions().map(|q| q.name.to_string()).collect()
    }

    #[test]
    fn a_query_gives_its_question_and_edns() {
        let query = Query::parse(QUERY).unwrap();
        assert_eq!((query.id(), query.flags()), (0x1234, 0x0100));
        let questions: Vec<_> = query.questions().collect();
        assert_eq!(
            questions,
            [Question {
                name: DomainName::from_ascii(b"data.mistat.xiaomi.com").unwrap(),
                qtype: TYPE_AAAA,
                qclass: CLASS_IN,
            }]
        );
        assert_eq!(query.question_section(), &QUERY[12..QUERY.len() - 11]);
        assert!(!query.is_compressed());
        assert_eq!(
            query.edns(),
            Some(Edns {
                udp_payload_size: 1232,
                dnssec_ok: true,
            })
        );
    }

    #[test]
    fn what_follows_the_questions_never_spoils_them() {
        let question_end = QUERY.len() - 11;
        for end in question_end..QUERY.len() {
            assert_eq!(Query::parse(&QUERY[..end]).unwrap().edns(), None, "{end}");
        }
        let mut trailing = QUERY.to_vec();
        trailing.extend(b"trailing");
        assert!(Query::parse(&trailing).unwrap().edns().is_some());
        for end in 0..question_end {
            assert!(Query::parse(&QUERY[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn edns_is_found_behind_other_records() {
        let mut message = query(1, b"\x01a\x00\x00\x01\x00\x01");
        message[9] = 1; // one authority record, two additional ones
        message[11] = 2;
        message.extend(b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x02so");
        message.extend(b"\x01b\x00\x00\x29\x00\x01\x00\x00\x00\x00\x00\x00"); // owner not root
        message.extend(b"\x00\x00\x29\x02\x00\x00\x00\x00\x00\x00\x00");
        let edns = Query::parse(&message).unwrap().edns();
        assert_eq!(edns.map(|edns| edns.udp_payload_size), Some(512));
    }

    #[test]
    fn responses_and_messages_without_question_are_no_queries() {
        let mut response = QUERY.to_vec();
        response[2] |= 0x80;
        assert!(Query::parse(&response).is_err());
        assert!(Query::parse(&query(0, b"\x01a\x00\x00\x01\x00\x01")).is_err());
        assert!(Query::parse(&query(2, b"\x01a\x00\x00\x01\x00\x01")).is_err());
    }

    #[test]
    fn compression_pointers_are_followed_backwards_only() {
        let two = b"\x01a\x03com\x00\x00\x01\x00\x01\x01b\xc0\x0e\x00\x01\x00\x01";
        assert_eq!(names(&query(2, two)), ["a.com", "b.com"]);
        assert!(Query::parse(&query(2, two)).unwrap().is_compressed());
        for bad in [
            &b"\xc0\x0c\x00\x01\x00\x01"[..], // to itself
            b"\x01a\xc0\x0c\x00\x01\x00\x01", // to the start of its own name
            b"\xc0\x10\x00\x01\x00\x01",      // forwards
            b"\x40a\x00\x00\x01\x00\x01",     // label types 01 and 10
            b"\x80a\x00\x00\x01\x00\x01",
            b"\xc0",
        ] {
            assert!(Query::parse(&query(1, bad)).is_err(), "{bad:x?}");
        }
    }

    #[test]
    fn names_have_at_most_254_bytes_before_the_root() {
        let mut longest = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(3);
        longest.push(61);
        longest.extend([b'b'; 61]);
        let mut too_long = longest.clone();
        longest.extend(b"\x00\x00\x01\x00\x01");
        assert!(Query::parse(&query(1, &longest)).is_ok());
        too_long.extend(b"\x01c\x00\x00\x01\x00\x01");
        assert!(Query::parse(&query(1, &too_long)).is_err());
    }

    #[test]
    fn a_chain_of_pointers_is_bounded() {
        for (hops, accepted) in [(MAX_POINTERS, true), (MAX_POINTERS + 1, false)] {
            let hops = usize::try_from(hops).unwrap();
            let mut section = b"\x00\x00\x01\x00\x01".to_vec(); // the root, at 12
            let mut target = 12;
            for _ in 0..hops {
                let here = HEADER_BYTES + section.len();
                section.extend((0xc000 | u16::try_from(target).unwrap()).to_be_bytes());
                section.extend(b"\x00\x01\x00\x01");
                target = here;
            }
            let questions = u8::try_from(hops + 1).unwrap();
            let parsed = Query::parse(&query(questions, &section)).is_ok();
            assert_eq!(parsed, accepted, "{hops} pointers");
        }
    }

    #[test]
    fn the_root_can_be_asked_for() {
        assert_eq!(names(&query(1, b"\x00\x00\x02\x00\x01")), ["."]);
    }
}
