//! DNS answers, as far as Muzzle looks at them: which question they answer and through which
//! aliases (RFC 1035 section 3.3.1), since a tracker may hide behind a CNAME.

use super::cursor::Cursor;
use super::dns::{CLASS_IN, FLAG_RESPONSE, Header, Questions, Record, TYPE_CNAME};
use super::{DomainName, Malformed};

/// Most aliases looked at in one answer; resolvers follow about as many.
pub const MAX_CNAMES: u8 = 16;

/// A DNS response whose header and questions have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    header: Header,
    questions: Cursor<'a>,
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
        let questions = cursor;
        for _ in 0..header.questions {
            cursor.question()?;
        }
        Ok(Self {
            header,
            questions,
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

    /// The questions it repeats.
    #[must_use]
    pub const fn questions(&self) -> Questions<'a> {
        Questions::new(self.questions, self.header.questions)
    }

    /// The target of each CNAME in the answer section, in the order they stand there, at most
    /// [`MAX_CNAMES`]. Ends at the first record that does not parse.
    #[must_use]
    pub const fn names(&self) -> CnameTargets<'a> {
        CnameTargets {
            cursor: self.answers,
            records_left: self.header.answers,
            names_left: MAX_CNAMES,
        }
    }
}

/// Iterator of [`Response::names`].
#[derive(Clone, Debug)]
pub struct CnameTargets<'a> {
    cursor: Cursor<'a>,
    records_left: u16,
    names_left: u8,
}

impl Iterator for CnameTargets<'_> {
    type Item = DomainName;

    fn next(&mut self) -> Option<DomainName> {
        let names_left = self.names_left.checked_sub(1)?;
        loop {
            self.records_left = self.records_left.checked_sub(1)?;
            let record = self.cursor.record().ok()?;
            if record.rtype == TYPE_CNAME && record.class == CLASS_IN {
                self.names_left = names_left;
                return cname_target(record);
            }
        }
    }
}

/// The name that is a record's whole data.
fn cname_target(mut record: Record<'_>) -> Option<DomainName> {
    let name = record.data.name().ok()?;
    (record.data.offset() == record.data_end).then_some(name)
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

    fn names(message: &[u8]) -> Vec<String> {
        let response = Response::parse(message).unwrap();
        response.names().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_aliases_come_in_order() {
        let response = Response::parse(RESPONSE).unwrap();
        assert_eq!((response.id(), response.rcode()), (7, 0));
        let question = response.questions().next().unwrap();
        assert_eq!(question.name.to_string(), "www.a.com");
        assert_eq!(names(RESPONSE), ["t.a.com", "x.tracker.net"]);
    }

    #[test]
    fn a_cut_answer_section_gives_what_was_whole() {
        let first_record_end = 12 + 15 + 16;
        assert!(names(&RESPONSE[..first_record_end - 1]).is_empty());
        assert_eq!(names(&RESPONSE[..first_record_end]), ["t.a.com"]);
    }

    #[test]
    fn a_target_that_leaves_its_record_is_none() {
        let mut bad = RESPONSE.to_vec();
        bad[12 + 15 + 11] = 3; // the first CNAME's data is one byte shorter than its name
        assert!(names(&bad).is_empty());
    }

    #[test]
    fn queries_are_no_responses_and_a_missing_question_is_fine() {
        let mut query = RESPONSE.to_vec();
        query[2] &= 0x7f;
        assert!(Response::parse(&query).is_err());
        let empty = [0, 7, 0x81, 0x83, 0, 0, 0, 0, 0, 0, 0, 0];
        let response = Response::parse(&empty).unwrap();
        assert_eq!(response.rcode(), 3);
        assert_eq!(response.questions().count() + response.names().count(), 0);
    }

    #[test]
    fn at_most_sixteen_aliases() {
        let mut message = RESPONSE[..27].to_vec();
        message[7] = 20;
        for _ in 0..20 {
            message.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01t\xc0\x10");
        }
        assert_eq!(names(&message).len(), usize::from(MAX_CNAMES));
    }
}
