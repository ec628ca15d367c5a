//! Forms and queries: `name=value&name=value` (WHATWG URL section 5).

/// Fields beyond that are left out: no upload has so many.
const MAX_FIELDS: usize = 256;

/// The fields of a form, in its order. Of a name that is there twice the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Reads a form. Any bytes are one: what has no `=` is a name with an empty value, and what is
    /// no UTF-8 gets replacement characters.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let pieces = bytes.split(|&byte| byte == b'&');
        let fields = pieces.filter(|piece| !piece.is_empty()).take(MAX_FIELDS);
        Self {
            fields: fields.map(field).collect(),
        }
    }

    /// A form of fields that are no longer percent-encoded.
    #[must_use]
    pub fn of(fields: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            fields: fields.into_iter().take(MAX_FIELDS).collect(),
        }
    }

    /// The value of a field that is there and not empty.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(known, _)| known == name);
        field
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn field(piece: &[u8]) -> (String, String) {
    let at = piece.iter().position(|&byte| byte == b'=');
    let (name, value) = piece.split_at(at.unwrap_or(piece.len()));
    (decoded(name), decoded(value.get(1..).unwrap_or_default()))
}

/// Without its percent-encoding; `+` stands for a blank.
fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            bytes.push(high << 4 | low);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(if first == b'+' { b' ' } else { first });
            rest = after;
        }
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex_digit(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_write_them() {
        let form = Form::read(b"a=1&b=%E4%BD%A0+x&c&=d&&e=f=g&h=%zz%4&a=2&i=%ff");
        let fields: Vec<_> = form.iter().collect();
        let expected = [
            ("a", "1"),
            ("b", "\u{4f60} x"),
            ("c", ""),
            ("", "d"),
            ("e", "f=g"),
            ("h", "%zz%4"),
            ("a", "2"),
            ("i", "\u{fffd}"),
        ];
        assert_eq!(fields, expected);
        assert_eq!(form.value("a"), Some("1"));
        assert_eq!((form.value("c"), form.value("z")), (None, None));
    }
}
