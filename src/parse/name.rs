//! Domain names in the one form the whole of Muzzle compares: lower-case A-labels in wire order,
//! without the root label (RFC 1035 section 3.1, RFC 4343 for case).
//!
//! Wire order (`\x03www\x02mi\x03com`) instead of dotted text, because a label may hold any byte,
//! a dot included: two different names can never compare equal, and every suffix of a name is a
//! suffix of its bytes.

use std::fmt;
use std::hash::{Hash, Hasher};

/// Longest name in wire form without its root byte (RFC 1035 section 2.3.4: 255 octets with it).
pub const MAX_NAME_BYTES: usize = 254;
/// Longest label (RFC 1035 section 2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;

/// A domain name: lower case, A-labels, no final dot; held inline, so that the packet path never
/// allocates for it.
///
/// Invariant: `bytes[..len]` is a sequence of labels, each a length byte of 1..=63 and that many
/// bytes, none of them an upper-case ASCII letter.
#[derive(Clone)]
pub struct DomainName {
    len: u8,
    bytes: [u8; MAX_NAME_BYTES],
}

/// Why a text or a run of labels is not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between two dots, or nothing at all.
    #[error("it has an empty label")]
    EmptyLabel,
    /// A label over [`MAX_LABEL_BYTES`].
    #[error("a label is longer than {MAX_LABEL_BYTES} bytes")]
    LabelTooLong,
    /// A name over [`MAX_NAME_BYTES`].
    #[error("it is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// A byte that no host name holds (white space, control characters, `/`, `:` and the like).
    #[error("it holds a character that no host name has")]
    BadCharacter,
    /// The text is an IP address; addresses have rules of their own.
    #[error("it is an IP address; write it as an address")]
    Address,
}

impl DomainName {
    /// The root: no labels yet. Push labels onto it with [`Self::push_label`].
    #[must_use]
    pub const fn root() -> Self {
        Self {
            len: 0,
            bytes: [0; MAX_NAME_BYTES],
        }
    }

    /// Appends one label as it stands in a packet, folding ASCII case (RFC 4343).
    ///
    /// # Errors
    /// The label is empty or over 63 bytes, or the name grows over 254 bytes.
    pub fn push_label(&mut self, label: &[u8]) -> Result<(), NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        let length = u8::try_from(label.len()).map_err(|_| NameError::LabelTooLong)?;
        if label.len() > MAX_LABEL_BYTES {
            return Err(NameError::LabelTooLong);
        }
        let start = usize::from(self.len);
        let end = start + 1 + label.len();
        let Some(slot) = self.bytes.get_mut(start..end) else {
            return Err(NameError::TooLong);
        };
        slot[0] = length;
        slot[1..].copy_from_slice(label);
        slot[1..].make_ascii_lowercase();
        self.len = u8::try_from(end).map_err(|_| NameError::TooLong)?;
        Ok(())
    }

    /// A name as TLS and HTTP carry it: dotted ASCII, perhaps with a final dot. No allocation.
    ///
    /// # Errors
    /// The text is no host name: see [`NameError`].
    pub fn from_ascii(text: &[u8]) -> Result<Self, NameError> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        if text.first() == Some(&b'[') || text.contains(&b':') || is_dotted_quad(text) {
            return Err(NameError::Address);
        }
        let mut name = Self::root();
        for label in text.split(|&byte| byte == b'.') {
            if !label.iter().all(|&byte| is_host_byte(byte)) {
                return Err(NameError::BadCharacter);
            }
            name.push_label(label)?;
        }
        Ok(name)
    }

    /// A name as people write it in a config, a list or on the command line: any case, IDN
    /// (U-labels become A-labels), perhaps with a final dot.
    ///
    /// # Errors
    /// The text is no host name: see [`NameError`].
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.is_ascii() {
            return Self::from_ascii(text.as_bytes());
        }
        let name =
            hickory_proto::rr::Name::from_utf8(text).map_err(|_| NameError::BadCharacter)?;
        Self::from_ascii(name.to_ascii().as_bytes())
    }

    /// The labels in wire form, without the root byte. Equal names have equal bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether this is the root, the name without labels.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.len == 0
    }

    /// Whether it has `other` behind it, with labels of its own before that.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self != other && self.suffixes().any(|suffix| suffix == other.as_bytes())
    }

    /// The labels, first one first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.suffixes()
            .map(|suffix| &suffix[1..=usize::from(suffix[0])])
    }

    /// The name itself and each of its parents, the most specific first, the root left out; in
    /// wire form, as keys of a name set.
    pub fn suffixes(&self) -> Suffixes<'_> {
        Suffixes {
            rest: self.as_bytes(),
        }
    }
}

/// Iterator of [`DomainName::suffixes`].
#[derive(Clone, Debug)]
pub struct Suffixes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Suffixes<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let suffix = self.rest;
        let (&length, _) = suffix.split_first()?;
        self.rest = &suffix[1 + usize::from(length)..];
        Some(suffix)
    }
}

/// Letters, digits, `-` and `_`: what host names in use are made of (RFC 952, RFC 8552).
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_dotted_quad(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'.')
        && text.iter().filter(|&&byte| byte == b'.').count() == 3
}

impl PartialEq for DomainName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for DomainName {}

impl Hash for DomainName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for DomainName {
    /// Dotted text; a byte outside printable ASCII, a dot or a backslash inside a label is
    /// written as `\DDD` (RFC 1035 section 5.1).
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return out.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                out.write_str(".")?;
            }
            for &byte in label {
                if byte.is_ascii_graphic() && byte != b'.' && byte != b'\\' {
                    write!(out, "{}", char::from(byte))?;
                } else {
                    write!(out, "\\{byte:03}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DomainName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_name_gives_the_same_name() {
        let expected = DomainName::from_ascii(b"sa.api.intl.miui.com").unwrap();
        for text in [
            "SA.API.intl.MIUI.com",
            "sa.api.intl.miui.com.",
            " sa.api.intl.miui.com ",
        ] {
            assert_eq!(DomainName::from_text(text).unwrap(), expected);
        }
        let mut from_labels = DomainName::root();
        for label in [&b"sA"[..], b"api", b"INTL", b"miui", b"com"] {
            from_labels.push_label(label).unwrap();
        }
        assert_eq!(from_labels, expected);
        assert_eq!(expected.to_string(), "sa.api.intl.miui.com");
    }

    #[test]
    fn idn_becomes_a_labels() {
        let name = DomainName::from_text("bücher.example").unwrap();
        assert_eq!(name.to_string(), "xn--bcher-kva.example");
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_its_reason() {
        for (text, error) in [
            ("", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            ("a b.example", NameError::BadCharacter),
            ("http://a.example/", NameError::Address),
            ("192.0.2.1", NameError::Address),
            ("2001:db8::1", NameError::Address),
            (&"a".repeat(64), NameError::LabelTooLong),
            (&"abc.".repeat(70), NameError::TooLong),
        ] {
            assert_eq!(DomainName::from_text(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn suffixes_go_from_the_name_to_the_top() {
        let name = DomainName::from_ascii(b"a.b.com").unwrap();
        let suffixes: Vec<_> = name.suffixes().collect();
        assert_eq!(
            suffixes,
            [&b"\x01a\x01b\x03com"[..], b"\x01b\x03com", b"\x03com"]
        );
    }

    #[test]
    fn a_dot_inside_a_label_is_not_a_label_border() {
        let mut odd = DomainName::root();
        odd.push_label(b"a.b").unwrap();
        odd.push_label(b"com").unwrap();
        assert_ne!(odd, DomainName::from_ascii(b"a.b.com").unwrap());
        assert_eq!(odd.to_string(), "a\\046b.com");
    }
}
