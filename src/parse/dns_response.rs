//! DNS answers, as far as Muzzle looks at them: which question they answer, through which aliases
//! (CNAME, RFC 1035 section 3.3.1; SVCB and HTTPS, RFC 9460), since a tracker may hide behind one,
//! and with which addresses.

use std::net::IpAddr;

use super::cursor::Cursor;
use super::dns::{
    CLASS_IN, FLAG_RESPONSE, FLAG_TRUNCATED, HEADER_BYTES, Header, Query, Questions, Record,
    TYPE_A, TYPE_AAAA, TYPE_CNAME, TYPE_HTTPS, TYPE_SVCB,
};
use super::{DomainName, Malformed};

/// Most aliases followed from one question; resolvers follow about as many.
pub const MAX_ALIASES: u8 = 16;
/// Most records of an answer section that are looked at. An answer fits a packet or two, and has
/// a handful.
const MAX_RECORDS: u16 = 128;

/// SvcParamKeys of RFC 9460 section 14.3.2.
const IPV4HINT: u16 = 4;
const IPV6HINT: u16 = 6;

/// A DNS response whose header and questions have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    message: &'a [u8],
    header: Header,
    answers: Cursor<'a>,
}

impl<'a> Response<'a> {
    /// Checks the header and every question; there may be none.
    ///
    /// # Errors
    /// This is a query, or a question does not parse.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::at(message, 0);
        let header = cursor.header()?;
        if header.flags & FLAG_RESPONSE == 0 {
            return Err(Malformed);
        }
        for _ in 0..header.questions {
            cursor.question()?;
        }
        Ok(Self {
            message,
            header,
            answers: cursor,
        })
    }

    /// What ties it to its query.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.header.id
    }

    /// The RCODE of the header (RFC 1035 section 4.1.1): 0 no error, 3 no such name.
    #[must_use]
    pub const fn rcode(&self) -> u8 {
        self.header.flags.to_be_bytes()[1] & 0x0f
    }

    /// Whether it was cut to fit a datagram, so that the asker asks again over TCP.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        self.header.flags & FLAG_TRUNCATED != 0
    }

    /// The questions it repeats.
    #[must_use]
    pub const fn questions(&self) -> Questions<'a> {
        let cursor = Cursor::at(self.message, HEADER_BYTES);
        Questions::new(cursor, self.header.questions)
    }

    /// The query it answers, as far as it repeats it: all that a refusal needs.
    ///
    /// # Errors
    /// It repeats no question.
    pub fn query(&self) -> Result<Query<'a>, Malformed> {
        Query::asked_in(self.message)
    }

    /// The names that stand in for `name` in the answer section, as a client follows them, in
    /// whatever order the records stand there: from CNAME to CNAME and along SVCB and HTTPS
    /// records in AliasMode; a record in ServiceMode names one host more. At most
    /// [`MAX_ALIASES`].
    #[must_use]
    pub fn aliases(&self, name: &DomainName) -> Aliases<'a> {
        let records = self.records();
        Aliases {
            end: name.clone(),
            unseen: records.count,
            records,
            aliases_left: MAX_ALIASES,
        }
    }

    /// Hands the addresses that the answer section gives `owner` to `each`, every one with the
    /// seconds for which it holds: A and AAAA records, and the hints of SVCB and HTTPS ones.
    pub fn addresses(&self, owner: &DomainName, mut each: impl FnMut(IpAddr, u32)) {
        let mut records = self.records();
        for _ in 0..records.count {
            let Some(record) = records.next() else {
                return;
            };
            if matches!(record.rtype, TYPE_A | TYPE_AAAA | TYPE_SVCB | TYPE_HTTPS)
                && record.belongs_to(owner)
            {
                let mut each = |address| each(address, record.ttl);
                // One that makes no sense gives what stands before that.
                let _read = match record.rtype {
                    TYPE_A => record.address::<4>(&mut each),
                    TYPE_AAAA => record.address::<16>(&mut each),
                    _ => record.hints(&mut each),
                };
            }
        }
    }

    fn records(&self) -> Records<'a> {
        Records {
            start: self.answers,
            cursor: self.answers,
            count: self.header.answers.min(MAX_RECORDS),
            read: 0,
        }
    }
}

/// The records of an answer section, round and round. The first one that does not parse ends the
/// section.
#[derive(Clone, Debug)]
struct Records<'a> {
    start: Cursor<'a>,
    cursor: Cursor<'a>,
    count: u16,
    /// How many have been read in this round.
    read: u16,
}

impl<'a> Records<'a> {
    fn next(&mut self) -> Option<Record<'a>> {
        if self.read == self.count {
            (self.cursor, self.read) = (self.start, 0);
        }
        if self.count == 0 {
            return None;
        }
        match self.cursor.record() {
            Ok(record) => {
                self.read += 1;
                Some(record)
            }
            Err(Malformed) => {
                self.count = self.read;
                self.next() // at most once: what has been read before can be read again
            }
        }
    }
}

/// Iterator of [`Response::aliases`].
#[derive(Clone, Debug)]
pub struct Aliases<'a> {
    records: Records<'a>,
    /// Where the chain has come to.
    end: DomainName,
    /// How many records have not been looked at for `end`.
    unseen: u16,
    aliases_left: u8,
}

impl Aliases<'_> {
    /// Where the chain has come to: once there is no further alias, the name that addresses
    /// belong to.
    #[must_use]
    pub const fn end(&self) -> &DomainName {
        &self.end
    }
}

impl Iterator for Aliases<'_> {
    type Item = DomainName;

    fn next(&mut self) -> Option<DomainName> {
        let aliases_left = self.aliases_left.checked_sub(1)?;
        loop {
            self.unseen = self.unseen.checked_sub(1)?;
            let record = self.records.next()?;
            let Some((name, goes_on)) = record.alias_of(&self.end) else {
                continue;
            };
            self.aliases_left = aliases_left;
            if goes_on {
                self.end = name.clone();
                self.unseen = self.records.count;
            }
            return Some(name);
        }
    }
}

impl Record<'_> {
    fn belongs_to(&self, name: &DomainName) -> bool {
        let mut owner = self.owner;
        self.class == CLASS_IN && owner.name().is_ok_and(|owner| owner == *name)
    }

    /// What it makes of `name`: another name, and whether that one's records count from there on
    /// instead of those of `name`.
    fn alias_of(mut self, name: &DomainName) -> Option<(DomainName, bool)> {
        let goes_on = match self.rtype {
            TYPE_CNAME => true,
            // SvcPriority 0 is AliasMode (RFC 9460 section 2.4.1).
            TYPE_SVCB | TYPE_HTTPS => self.data.u16() == Ok(0),
            _ => return None,
        };
        if !self.belongs_to(name) {
            return None;
        }
        let target = self.data.name().ok()?;
        let fits = match self.rtype {
            TYPE_CNAME => self.data.offset() == self.data_end,
            _ => self.data.offset() <= self.data_end,
        };
        // The root stands for "none" in AliasMode and for the owner in ServiceMode (RFC 9460
        // section 2.5).
        (fits && !target.is_root() && target != *name).then_some((target, goes_on))
    }

    fn address<const N: usize>(mut self, each: &mut impl FnMut(IpAddr)) -> Result<(), Malformed>
    where
        IpAddr: From<[u8; N]>,
    {
        if self.data_end - self.data.offset() != N {
            return Err(Malformed);
        }
        each(self.data.array::<N>()?.into());
        Ok(())
    }

    /// RFC 9460 sections 2.2 and 7.3.
    fn hints(mut self, each: &mut impl FnMut(IpAddr)) -> Result<(), Malformed> {
        self.data.u16()?; // SvcPriority
        self.data.name()?; // TargetName
        while self.data.offset() < self.data_end {
            let (key, length) = (self.data.u16()?, self.data.u16()?);
            let value = self.data.take(usize::from(length))?;
            if self.data.offset() > self.data_end {
                return Err(Malformed);
            }
            match key {
                IPV4HINT => value
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .for_each(|&it| each(it.into())),
                IPV6HINT => value
                    .as_chunks::<16>()
                    .0
                    .iter()
                    .for_each(|&it| each(it.into())),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `www.a.com A`: two CNAMEs, `t.a.com` and `x.tracker.net`, and an address.
    const RESPONSE: &[u8] = b"\x00\x07\x81\x80\x00\x01\x00\x03\x00\x00\x00\x00\
        \x03www\x01a\x03com\x00\x00\x01\x00\x01\
        \xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01t\xc0\x10\
        \xc0\x27\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x0f\x01x\x07tracker\x03net\x00\
        \xc0\x37\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01";
    const QUESTION_END: usize = 12 + 15;
    const FIRST_RECORD_END: usize = QUESTION_END + 16;
    const SECOND_RECORD_END: usize = FIRST_RECORD_END + 27;

    /// The names that stand in for the first question's.
    fn aliases(message: &[u8]) -> Vec<String> {
        let response = Response::parse(message).unwrap();
        let asked = response.questions().next().unwrap().name;
        response
            .aliases(&asked)
            .map(|name| name.to_string())
            .collect()
    }

    fn addresses(message: &[u8], owner: &str) -> Vec<String> {
        let mut found = Vec::new();
        let owner = DomainName::from_ascii(owner.as_bytes()).unwrap();
        let each = |address: IpAddr, ttl| found.push(format!("{address} {ttl}"));
        Response::parse(message).unwrap().addresses(&owner, each);
        found
    }

    /// An answer to `a HTTPS` with records of `a`, each its type and data.
    fn of_a(records: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = b"\x00\x07\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        message.extend(b"\x01a\x00\x00\x41\x00\x01");
        for (rtype, data) in records {
            message[7] += 1;
            message.extend([0xc0, 12, 0, *rtype, 0, 1, 0, 0, 0, 60, 0]);
            message.push(u8::try_from(data.len()).unwrap());
            message.extend(*data);
        }
        message
    }

    #[test]
    fn the_chain_is_followed_to_its_addresses() {
        let response = Response::parse(RESPONSE).unwrap();
        assert_eq!((response.id(), response.rcode()), (7, 0));
        assert!(!response.is_truncated());
        let question = response.questions().next().unwrap();
        assert_eq!(question.name.to_string(), "www.a.com");
        assert_eq!(aliases(RESPONSE), ["t.a.com", "x.tracker.net"]);
        let mut chain = response.aliases(&question.name);
        assert_eq!(chain.by_ref().count(), 2);
        assert_eq!(chain.end().to_string(), "x.tracker.net");
        assert_eq!(addresses(RESPONSE, "x.tracker.net"), ["192.0.2.1 60"]);
        assert!(addresses(RESPONSE, "www.a.com").is_empty());
    }

    #[test]
    fn records_may_stand_in_any_order() {
        // Written out in full, for a pointer may only go back.
        let record = |owner: &[u8], rtype: u8, data: &[u8]| {
            let length = u8::try_from(data.len()).unwrap();
            [owner, &[0, rtype, 0, 1, 0, 0, 0, 60, 0, length], data].concat()
        };
        let [a, b, c] = [b"\x01a\x00", b"\x01b\x00", b"\x01c\x00"];
        let chain = [
            record(a, 5, b),
            record(b, 5, c),
            record(c, 1, &[192, 0, 2, 1]),
            record(b"\x01d\x00", 5, b"\x01e\x00"), // nobody asked
        ];
        for first in 0..4 {
            for step in [1, 3] {
                let mut message = b"\x00\x07\x81\x80\x00\x01\x00\x04\x00\x00\x00\x00".to_vec();
                message.extend(b"\x01a\x00\x00\x01\x00\x01");
                (0..4).for_each(|turn| message.extend(&chain[(first + turn * step) % 4]));
                assert_eq!(aliases(&message), ["b", "c"], "{first} {step}");
                assert_eq!(addresses(&message, "c"), ["192.0.2.1 60"]);
            }
        }
    }

    #[test]
    fn a_chain_that_bites_its_tail_ends() {
        let mut message = b"\x00\x07\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00".to_vec();
        message.extend(b"\x01a\x00\x00\x01\x00\x01");
        message.extend(b"\x01a\x00\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x03\x01b\x00");
        message.extend(b"\x01b\x00\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x03\x01a\x00");
        assert_eq!(aliases(&message), ["b", "a"].repeat(8));
        let to_itself = of_a(&[(5, b"\x01a\x00")]);
        assert!(aliases(&to_itself).is_empty());
    }

    #[test]
    fn a_cut_answer_section_gives_what_was_whole() {
        assert!(aliases(&RESPONSE[..FIRST_RECORD_END - 1]).is_empty());
        for end in FIRST_RECORD_END..SECOND_RECORD_END {
            assert_eq!(aliases(&RESPONSE[..end]), ["t.a.com"], "{end}");
        }
        let end = RESPONSE.len() - 1;
        assert_eq!(aliases(&RESPONSE[..end]), ["t.a.com", "x.tracker.net"]);
        assert!(addresses(&RESPONSE[..end], "x.tracker.net").is_empty());
    }

    #[test]
    fn a_target_that_leaves_its_record_is_none() {
        let mut bad = RESPONSE.to_vec();
        bad[QUESTION_END + 11] = 3; // the first CNAME's data is one byte shorter than its name
        assert!(aliases(&bad).is_empty());
        let mut other_class = RESPONSE.to_vec();
        other_class[QUESTION_END + 5] = 3;
        assert!(aliases(&other_class).is_empty());
    }

    #[test]
    fn service_records_name_hosts_and_hint_at_addresses() {
        let alias_mode = of_a(&[(65, b"\x00\x00\x01b\x00")]);
        assert_eq!(aliases(&alias_mode), ["b"]);
        let itself: &[u8] = b"\x00\x01\x00\x00\x04\x00\x08\xc0\x00\x02\x01\xc0\x00\x02\x02\
            \x00\x06\x00\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01";
        let others: [(u8, &[u8]); 4] = [
            (65, itself),
            (65, b"\x00\x02\x01b\x00\x00\x01\x00\x03\x02h2"),
            (64, b"\x00\x03\x01c\x00"),
            (5, b"\x01d\x00"),
        ];
        // The host itself goes on being looked at after a service's name.
        assert_eq!(aliases(&of_a(&others)), ["b", "c", "d"]);
        let hints = ["192.0.2.1 60", "192.0.2.2 60", "2001:db8::1 60"];
        assert_eq!(addresses(&of_a(&others), "a"), hints);
        // A parameter that leaves its record.
        let mut cut = of_a(&[(65, itself)]);
        cut.extend([0; 8]);
        cut[7 + 12 + 11] -= 1;
        assert_eq!(addresses(&cut, "a"), hints[..2]);
    }

    #[test]
    fn queries_are_no_responses_and_a_missing_question_is_fine() {
        let mut query = RESPONSE.to_vec();
        query[2] &= 0x7f;
        assert!(Response::parse(&query).is_err());
        let empty = [0, 7, 0x83, 0x83, 0, 0, 0, 0, 0, 0, 0, 0];
        let response = Response::parse(&empty).unwrap();
        assert_eq!((response.rcode(), response.is_truncated()), (3, true));
        assert_eq!(response.questions().count(), 0);
        assert_eq!(response.aliases(&DomainName::root()).count(), 0);
        assert!(response.query().is_err());
    }

    #[test]
    fn the_query_is_what_the_answer_repeats() {
        let query = Response::parse(RESPONSE).unwrap().query().unwrap();
        assert_eq!((query.id(), query.question_count()), (7, 1));
        assert_eq!(query.question_section(), &RESPONSE[12..QUESTION_END]);
        assert_eq!(query.edns(), None);
        let mut message = RESPONSE.to_vec();
        message[11] = 1;
        message.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00");
        let edns = Response::parse(&message).unwrap().query().unwrap().edns();
        assert!(edns.unwrap().dnssec_ok);
    }

    #[test]
    fn chains_and_sections_are_bounded() {
        let mut message = b"\x00\x07\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        message.extend(b"\x01a\x00\x00\x01\x00\x01");
        for byte in b'a'..=b'y' {
            message[7] += 1;
            message.extend([1, byte, 0, 0, 5, 0, 1, 0, 0, 0, 60, 0, 3, 1, byte + 1, 0]);
        }
        assert_eq!(aliases(&message).len(), usize::from(MAX_ALIASES));
        // An alias behind more records than are looked at.
        let mut records = vec![(1, &[192, 0, 2, 1][..]); usize::from(MAX_RECORDS)];
        records[127] = (5, b"\x01b\x00");
        assert_eq!(aliases(&of_a(&records)), ["b"]);
        records.insert(0, (1, &[192, 0, 2, 1]));
        assert!(aliases(&of_a(&records)).is_empty());
    }
}
